//! Empties the trash: assets, then the objects that only they had.
//!
//! Must not: remove an object that Damwall did not put into the store; the catalog has noted such a one, so
//! that a look through the store does not make an asset of it again. Nor one that has come back: whoever
//! puts an object under a key of ours calls [`keep_object`] first.

use std::time::Duration;

use domain::AssetId;
use jiff::Timestamp;

use crate::{
    blob::{BlobError, BlobKey, BlobStore},
    db::{Catalog, CatalogError},
    keys,
};

/// Why the trash was not emptied, or not wholly. What is done stays done.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The store failed: its object stays, and is in nobody's way.
    #[error(transparent)]
    Store(#[from] BlobError),
}

/// How long the store may take to say that it is there.
const PING_MAX: Duration = Duration::from_secs(5);
/// How long it may take to remove an object.
const REMOVE_MAX: Duration = Duration::from_secs(30);
/// How long an object is held by whoever removes it: longer than that may take.
const LEASE: Duration = Duration::from_secs(60);
/// How often whoever waits for an object to be removed looks whether it is.
const REMOVED_YET: Duration = Duration::from_millis(50);

/// Forgets assets that were put into the trash before `older_than`, and removes their objects; returns
/// how many objects. Goes on to its end if the caller goes away.
///
/// # Errors
/// When the catalog or the store fails; nothing is forgotten while the store does not answer.
pub async fn purge_trash(
    catalog: &Catalog,
    store: &BlobStore,
    older_than: Timestamp,
) -> Result<u64, PurgeError> {
    let (catalog, store) = (catalog.clone(), store.clone());
    to_the_end(async move {
        answers(&store).await?;
        let mut removed = 0;
        loop {
            let freed = catalog.purge(older_than).await?;
            if freed.is_empty() {
                break;
            }
            removed += remove(&catalog, &store, freed).await?;
        }
        // What earlier ones that were cut off have left.
        let left = catalog.freed_objects(catalog.now().await?).await?;
        Ok(removed + remove(&catalog, &store, left).await?)
    })
    .await
}

/// Forgets one asset and removes its objects; returns whether it was in the trash. Goes on to its end if
/// the caller goes away.
///
/// # Errors
/// When the catalog or the store fails; nothing is forgotten while the store does not answer.
pub async fn purge_asset(
    catalog: &Catalog,
    store: &BlobStore,
    id: &AssetId,
) -> Result<bool, PurgeError> {
    let (catalog, store, id) = (catalog.clone(), store.clone(), id.clone());
    to_the_end(async move {
        answers(&store).await?;
        let freed = catalog.purge_asset(&id).await?;
        let was_there = !freed.is_empty();
        remove(&catalog, &store, freed).await?;
        Ok(was_there)
    })
    .await
}

/// What is forgotten and not removed takes up space until the trash is emptied again.
async fn to_the_end<T: Send + 'static>(
    purge: impl Future<Output = Result<T, PurgeError>> + Send + 'static,
) -> Result<T, PurgeError> {
    tokio::spawn(purge).await.map_err(|error| store_error(error.into()))?
}

async fn answers(store: &BlobStore) -> Result<(), PurgeError> {
    let answer = tokio::time::timeout(PING_MAX, store.ping()).await;
    Ok(answer.map_err(|late| store_error(late.into()))??)
}

fn store_error(source: std::io::Error) -> PurgeError {
    BlobError::File { action: "remove", what: "what was in the trash".into(), source }.into()
}

/// Removes objects that are on the list of freed ones, but for those that somebody has put there again;
/// returns how many.
pub(crate) async fn remove(
    catalog: &Catalog,
    store: &BlobStore,
    freed: Vec<BlobKey>,
) -> Result<u64, PurgeError> {
    let mut removed = 0;
    for key in freed {
        if !keys::is_own(key.as_str()) {
            continue;
        }
        let now = catalog.now().await?;
        let Some(removal) = catalog.claim_removal(&key, now, now + LEASE).await? else { continue };
        // From here on nobody puts it there, but somebody may have before.
        if !catalog.refers_to(&key).await? {
            let deleted = tokio::time::timeout(REMOVE_MAX, store.delete(&key)).await;
            deleted.map_err(|late| store_error(late.into()))??;
            removed += 1;
        }
        catalog.end_removal(&removal).await?;
    }
    Ok(removed)
}

/// Makes sure that what is put under a key from now on is not removed with the asset that had it before:
/// waits while it is. To be called before one looks whether it is there.
///
/// # Errors
/// When the catalog fails.
pub(crate) async fn keep_object(catalog: &Catalog, key: &BlobKey) -> Result<(), CatalogError> {
    while !catalog.keep_object(key).await? {
        tokio::time::sleep(REMOVED_YET).await;
    }
    Ok(())
}
