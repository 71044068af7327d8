//! Finds originals that others put into the blob store and makes assets of them.
//!
//! Must not: run on a request path, move or change an object, or read again what it has read.

use domain::AssetId;
use jiff::Timestamp;
use tokio::io::AsyncReadExt;

use crate::{
    blob::{BlobError, BlobStore, LIST_LIMIT_MAX, ListedObject},
    db::{Added, Catalog, CatalogError, NewAsset},
    hash, keys, sniff,
};

/// What a scan did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanSummary {
    /// New assets.
    pub registered: u64,
    /// Objects that an earlier scan had read, or whose bytes are an asset already.
    pub already_there: u64,
    /// Objects that are no picture, video or sound.
    pub skipped: u64,
    /// Objects that could not be read; the next scan tries them again.
    pub failed: Vec<FailedObject>,
}

/// An object that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedObject {
    /// Its key.
    pub key: String,
    /// A sentence.
    pub reason: String,
}

/// Why a scan could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The store could not be listed.
    #[error(transparent)]
    Store(#[from] BlobError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// What became of one object.
enum Outcome {
    Registered,
    AlreadyThere,
    Skipped,
}

/// Walks the store's listing page by page and registers originals that the catalog does not know.
///
/// # Errors
/// When the store cannot be listed or the catalog fails. What was registered stays; the next scan
/// goes on from there.
pub async fn scan_store(catalog: &Catalog, store: &BlobStore) -> Result<ScanSummary, ScanError> {
    let mut summary = ScanSummary::default();
    let mut start_after = None;
    loop {
        let page = store.list("", start_after.as_deref(), LIST_LIMIT_MAX).await?;
        summary.failed.extend(page.unreadable.into_iter().map(|folder| FailedObject {
            key: folder,
            reason: "This process may not read the folder.".to_owned(),
        }));
        for object in page.objects.iter().filter(|object| !keys::is_own(object.key.as_str())) {
            match scan_object(catalog, store, object).await {
                Ok(Outcome::Registered) => summary.registered += 1,
                Ok(Outcome::AlreadyThere) => summary.already_there += 1,
                Ok(Outcome::Skipped) => summary.skipped += 1,
                Err(ScanError::Store(error)) => summary.failed.push(FailedObject {
                    key: object.key.to_string(),
                    reason: format!("It cannot be read: {error}."),
                }),
                Err(error @ ScanError::Catalog(_)) => return Err(error),
            }
        }
        start_after = page.next;
        if start_after.is_none() {
            return Ok(summary);
        }
    }
}

async fn scan_object(
    catalog: &Catalog,
    store: &BlobStore,
    object: &ListedObject,
) -> Result<Outcome, ScanError> {
    let key = &object.key;
    if catalog.known_object(key).await?.is_some_and(|known| known.is_same(object)) {
        return Ok(Outcome::AlreadyThere);
    }
    let read_error = |source| BlobError::File { action: "read", what: key.to_string(), source };
    let (_, mut reader) = store.open(key).await?;
    let mut head = Vec::with_capacity(sniff::HEAD_BYTES);
    (&mut reader)
        .take(sniff::HEAD_BYTES as u64)
        .read_to_end(&mut head)
        .await
        .map_err(read_error)?;
    let Some(mime) = sniff::media_mime(&head, key.name()) else {
        catalog.record_object(object, Err("no picture, video or sound")).await?;
        return Ok(Outcome::Skipped);
    };
    let (digest, size_bytes) = hash::sha256_stream(&head, &mut reader).await.map_err(read_error)?;
    if size_bytes != object.meta.len_bytes {
        let source = std::io::Error::other("its length is not the one listed");
        return Err(read_error(source).into());
    }
    let id = AssetId::from_digest(digest);
    let added = catalog
        .add_asset(&NewAsset {
            id: id.clone(),
            key: key.clone(),
            name: key.name().to_owned(),
            size_bytes,
            mime,
            folder: key.folder().to_owned(),
            created_at: object.meta.modified.unwrap_or_else(Timestamp::now),
            source_node: None,
            origin_path: None,
        })
        .await?;
    catalog.record_object(object, Ok(&id)).await?;
    Ok(match added {
        Added::New => Outcome::Registered,
        Added::Known => Outcome::AlreadyThere,
    })
}
