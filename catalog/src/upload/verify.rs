//! From parts to an asset, one repeatable step after the other. Must not: retry, or know who asked.

use super::{UploadError, stored_asset};
use crate::{
    blob::{BlobError, BlobStore, Completed, PartNumber},
    db::{Added, Catalog, ClaimedUpload, NewAsset, UploadRow},
    facts::{self, Facts},
    keys,
    trash::keep_object,
};

const GONE: &str = "The parts are gone from the blob store. Upload the file again.";
const CHANGED: &str =
    "What arrived is not what was announced: the length or SHA-256 differs. Upload the file again.";
const NOT_MEDIA: &str = "It is no picture, video or sound.";

/// Puts an upload together, verifies it, makes it an asset, and writes down what became of it.
///
/// # Errors
/// When the store or the catalog fails: the upload stays as it is, to be tried again.
pub(super) async fn verify(
    catalog: &Catalog,
    store: &BlobStore,
    upload: &ClaimedUpload,
) -> Result<Result<Added, &'static str>, UploadError> {
    let row = &upload.row;
    let outcome = steps(catalog, store, row).await?;
    if outcome.is_err() {
        store.abort_multipart(&keys::upload(&row.upload.id), &row.store_upload).await?;
    }
    // Either it lies under its own name now, or it is of no use. Of one that was not there, another
    // process may be putting together what was sent: that is not this one's to remove.
    if outcome != Err(GONE) {
        store.delete(&keys::upload(&row.upload.id)).await?;
    }
    if !catalog.settle_upload(upload, outcome.map(drop)).await? {
        let id = &row.upload.id;
        tracing::warn!(upload = %id, "upload {id} is another server's by now; what it says counts");
    }
    Ok(outcome)
}

async fn steps(
    catalog: &Catalog,
    store: &BlobStore,
    row: &UploadRow,
) -> Result<Result<Added, &'static str>, UploadError> {
    let staged = keys::upload(&row.upload.id);
    let original = keys::original(&row.upload.asset_id);
    let parts = row
        .parts
        .iter()
        .filter_map(|part| PartNumber::new(part.number).map(|number| (number, part.etag.clone())));
    let parts: Vec<_> = parts.collect();
    match store.complete_multipart(&staged, &row.store_upload, &parts).await? {
        Completed::Stored | Completed::Gone => {}
        // Another process may just have put them together: what is there decides.
        Completed::Refused(reason) => {
            let id = &row.upload.id;
            tracing::warn!(upload = %id, reason, "the store refuses the parts of {id}: {reason}");
        }
    }
    let id = &row.upload.asset_id;
    let found = look_at(store, row, &staged).await?;
    if let Some(Err(reason)) = found {
        return Ok(Err(reason));
    }
    if stored_asset(catalog, store, id).await?.is_some() {
        return Ok(Ok(Added::Known));
    }
    keep_object(catalog, &original).await?;
    let found = match found {
        Some(_) => {
            store.move_object(&staged, &original).await?;
            found
        }
        // Done before by a process that ended, or by another one just now: what lies under the
        // content-addressed name was verified.
        None => look_at(store, row, &original).await?,
    };
    let facts = match found.unwrap_or(Err(GONE)) {
        Ok(facts) => facts,
        Err(reason) => return Ok(Err(reason)),
    };
    let upload = &row.upload;
    let now = NewAsset::new(id.clone(), &upload.name, facts.len_bytes, &facts.mime);
    let asset = NewAsset {
        folder: upload.folder.clone(),
        created_at: facts.metadata.taken_at.or(row.modified_at).unwrap_or(now.created_at),
        metadata: facts.metadata,
        ..now
    };
    let added = catalog.add_asset(&asset).await?;
    if added == Added::Known {
        // Its original had been lost, and is back.
        catalog.original_found(id, &original).await?;
    }
    Ok(Ok(added))
}

/// Reads an object to its end and compares it with what was announced: facts about it, a sentence if it is
/// something else, `None` if there is nothing.
async fn look_at(
    store: &BlobStore,
    row: &UploadRow,
    key: &crate::BlobKey,
) -> Result<Option<Result<Facts, &'static str>>, UploadError> {
    let read_error = |source| BlobError::File { action: "read", what: key.to_string(), source };
    let (len_bytes, reader) = match store.open(key).await {
        Ok(opened) => opened,
        Err(BlobError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if len_bytes != row.upload.size_bytes {
        return Ok(Some(Err(CHANGED)));
    }
    let facts = facts::of_stream(reader, &row.upload.name).await.map_err(read_error)?;
    let Some(facts) = facts else { return Ok(Some(Err(NOT_MEDIA))) };
    if facts.len_bytes != len_bytes {
        // Cut off on the way here; what is stored may be whole.
        return Err(read_error(std::io::ErrorKind::UnexpectedEof.into()).into());
    }
    let is_same = facts.id == row.upload.asset_id;
    Ok(Some(if is_same { Ok(facts) } else { Err(CHANGED) }))
}
