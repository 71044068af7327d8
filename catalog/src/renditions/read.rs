//! Small renditions by their public name. Must not: give out a proxy (players load those from the store).

use bytes::Bytes;

use crate::{
    blob::{BlobError, BlobKey, BlobStore},
    db::{Catalog, CatalogError},
    keys,
};

/// Largest rendition that is read into memory.
pub(crate) const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Where the rendition of a file name such as `<64 hex>.webp` lies, or `None` when there is none, or none
/// any more.
///
/// # Errors
/// When the catalog cannot be read.
pub async fn rendition_file_key(
    catalog: &Catalog,
    file: &str,
) -> Result<Option<BlobKey>, CatalogError> {
    let Some((name, extension)) = keys::parse_rendition_file(file) else { return Ok(None) };
    let found = catalog.rendition_by_name(name).await?;
    let of_file = found.filter(|(kind, _)| !kind.is_proxy() && kind.extension() == extension);
    Ok(of_file.map(|(_, key)| key))
}

/// A rendition's bytes; `None` when the store has lost it.
///
/// # Errors
/// When the store fails.
pub async fn rendition_bytes(store: &BlobStore, key: &BlobKey) -> Result<Option<Bytes>, BlobError> {
    match store.read(key, MAX_BYTES).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(BlobError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
