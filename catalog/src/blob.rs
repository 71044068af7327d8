//! Where originals and renditions lie: one interface over a local folder or an S3 bucket.
//!
//! Must not: know what an asset is, or let a caller name an object by anything but a [`BlobKey`].
//! Large bytes leave through signed links ([`BlobStore::presign_get`]), not through this process.

mod attribute;
mod disposition;
mod folder;
mod key;
mod listing;
mod multipart;
mod s3;
mod signed_url;
mod staging;

use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::{Path, PathBuf},
    pin::Pin,
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt};

pub use disposition::Disposition;
pub use folder::{FolderStore, SignedFile};
pub use key::{BlobKey, ParseBlobKeyError};
pub use multipart::{
    Completed, MultipartId, ObjectInfo, PART_MIN_BYTES, PARTS_MAX, ParseMultipartIdError,
    PartNumber, StoredPart,
};
pub use s3::{S3Config, S3Store};
pub use signed_url::{BLOB_PATH, LinkSecret, SignedPart};
pub use staging::{PutError, PutWriter};

/// Most objects on a page of [`BlobStore::list`].
pub const LIST_LIMIT_MAX: usize = 1000;

/// Bytes of an object as they arrive.
pub type BlobReader = Pin<Box<dyn AsyncRead + Send>>;

/// A blob store; cheap to clone.
#[derive(Clone, Debug)]
pub enum BlobStore {
    /// Files below a local folder.
    Folder(FolderStore),
    /// A bucket of anything that speaks S3.
    S3(S3Store),
}

/// What a store knows about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Length in bytes.
    pub len_bytes: u64,
    /// Changes whenever the object does: ETag, or file time. Opaque.
    pub stamp: String,
    /// When it was last written, if the store says so.
    pub modified: Option<Timestamp>,
    /// MIME type it was stored with. A file put into a folder by hand has none, and listings leave it out.
    pub mime: Option<String>,
    /// Names and values it was stored with; see [`ObjectInfo::metadata`]. Listings leave them out.
    pub metadata: BTreeMap<String, String>,
}

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Its name.
    pub key: BlobKey,
    /// What is known of it.
    pub meta: ObjectMeta,
}

/// A page of a listing, in the store's order (by bytes of the key, as far as the store keeps to it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage {
    /// Objects whose keys are [`BlobKey`]s; others are left out.
    pub objects: Vec<ListedObject>,
    /// Folders that this process may not read, each ending in a slash; what is in them is left out.
    pub unreadable: Vec<String>,
    /// `start_after` of the next page; `None` on the last one.
    pub next: Option<String>,
}

/// How a signed link answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresignGet {
    /// MIME type of the response.
    pub content_type: String,
    /// Shown or saved, and under which name.
    pub disposition: Disposition,
}

/// Why a blob store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is no such object.
    #[error("object {key} is not in the blob store")]
    NotFound {
        /// Its name.
        key: BlobKey,
    },
    /// The object is longer than the caller allows.
    #[error("object {key} has {len_bytes} bytes, more than the {max_bytes} allowed here")]
    TooLarge {
        /// Its name.
        key: BlobKey,
        /// Its length.
        len_bytes: u64,
        /// What the caller allows.
        max_bytes: u64,
    },
    /// A file operation failed.
    #[error("blob store: cannot {action} {what}: {source}")]
    File {
        /// A verb.
        action: &'static str,
        /// The key or path.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The S3 store refused or could not be reached.
    #[error("blob store: cannot {action} {what}: {reason}")]
    S3 {
        /// A verb.
        action: &'static str,
        /// The key, prefix or bucket.
        what: String,
        /// Why, without the request's URL.
        reason: String,
    },
}

impl BlobError {
    /// Whether there is no room for more.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::File { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

/// Why a signed link is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Its time is over; sign a new one.
    #[error("this link has expired")]
    Expired,
    /// It was not made by this server, or was changed since.
    #[error("this link is not valid")]
    BadSignature,
    /// It is good, but the object is gone.
    #[error("what this link leads to is no longer there")]
    NotFound,
}

impl BlobStore {
    /// The folder store, whose links this server answers itself; `None` for S3.
    pub fn as_folder(&self) -> Option<&FolderStore> {
        match self {
            Self::Folder(store) => Some(store),
            Self::S3(_) => None,
        }
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// When the folder or bucket cannot be reached.
    pub async fn ping(&self) -> Result<(), BlobError> {
        match self {
            Self::Folder(store) => store.ping().await,
            Self::S3(store) => store.ping().await,
        }
    }

    /// Stores a copy of a file, replacing any object of that key. Readers see all of it or nothing.
    ///
    /// # Errors
    /// When the file cannot be read or the store cannot be written.
    pub async fn put_file(&self, key: &BlobKey, path: &Path, mime: &str) -> Result<(), BlobError> {
        match self {
            Self::Folder(store) => store.put_file(key, path, mime).await,
            Self::S3(store) => store.put_file(key, path, mime).await,
        }
    }

    /// Stores some bytes; otherwise like [`BlobStore::put_file`].
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn put_bytes(&self, key: &BlobKey, body: Bytes, mime: &str) -> Result<(), BlobError> {
        match self {
            Self::Folder(store) => store.put_bytes(key, body, mime).await,
            Self::S3(store) => store.put_bytes(key, body, mime).await,
        }
    }

    /// Gives an object another key, replacing any object there. Its bytes stay within the store.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], or when the store cannot be written.
    pub async fn move_object(&self, from: &BlobKey, to: &BlobKey) -> Result<(), BlobError> {
        match self {
            Self::Folder(store) => store.move_object(from, to).await,
            Self::S3(store) => store.move_object(from, to).await,
        }
    }

    /// Begins an upload in parts. Nothing is seen of it until it is completed.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn create_multipart(
        &self,
        key: &BlobKey,
        info: &ObjectInfo,
    ) -> Result<MultipartId, BlobError> {
        match self {
            Self::Folder(store) => store.create_multipart(key, info).await,
            Self::S3(store) => store.create_multipart(key, info).await,
        }
    }

    /// Parts that the store has, in order; `None` when it knows no such upload of this key.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list_parts(
        &self,
        key: &BlobKey,
        id: &MultipartId,
    ) -> Result<Option<Vec<StoredPart>>, BlobError> {
        match self {
            Self::Folder(store) => store.list_parts(key, id).await,
            Self::S3(store) => store.list_parts(key, id).await,
        }
    }

    /// Makes one object of these parts and their etags, in order. All parts but the last are to have at
    /// least [`PART_MIN_BYTES`].
    ///
    /// # Errors
    /// When the store cannot be written; it may be asked again.
    pub async fn complete_multipart(
        &self,
        key: &BlobKey,
        id: &MultipartId,
        parts: &[(PartNumber, String)],
    ) -> Result<Completed, BlobError> {
        match self {
            Self::Folder(store) => store.complete_multipart(key, id, parts).await,
            Self::S3(store) => store.complete_multipart(key, id, parts).await,
        }
    }

    /// Ends an upload and removes its parts; that there is none is not an error.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn abort_multipart(&self, key: &BlobKey, id: &MultipartId) -> Result<(), BlobError> {
        match self {
            Self::Folder(store) => store.abort_multipart(key, id).await,
            Self::S3(store) => store.abort_multipart(key, id).await,
        }
    }

    /// Ends every upload below `prefix` that is older than `before` and not of a key in `keep`; how many.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn abort_multiparts(
        &self,
        prefix: &str,
        before: Timestamp,
        keep: &HashSet<BlobKey>,
    ) -> Result<u64, BlobError> {
        match self {
            Self::Folder(store) => store.abort_multiparts(prefix, before, keep).await,
            Self::S3(store) => store.abort_multiparts(prefix, before, keep).await,
        }
    }

    /// What the store knows about an object, or `None` when there is none of that key.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn head(&self, key: &BlobKey) -> Result<Option<ObjectMeta>, BlobError> {
        match self {
            Self::Folder(store) => store.head(key).await,
            Self::S3(store) => store.head(key).await,
        }
    }

    /// An object's length and its bytes as a stream.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], or when the store cannot be read.
    pub async fn open(&self, key: &BlobKey) -> Result<(u64, BlobReader), BlobError> {
        match self {
            Self::Folder(store) => store.open_object(key).await,
            Self::S3(store) => store.open_object(key).await,
        }
    }

    /// A whole small object.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], [`BlobError::TooLarge`], or when the store cannot be read.
    pub async fn read(&self, key: &BlobKey, max_bytes: u64) -> Result<Bytes, BlobError> {
        let (len_bytes, reader) = self.open(key).await?;
        if len_bytes > max_bytes {
            return Err(BlobError::TooLarge { key: key.clone(), len_bytes, max_bytes });
        }
        let mut body = Vec::with_capacity(usize::try_from(len_bytes).unwrap_or(0));
        // The cap holds even if the object grows while it is read.
        reader.take(max_bytes).read_to_end(&mut body).await.map_err(file_error("read", key))?;
        Ok(body.into())
    }

    /// A local file with the object's bytes: the store's own if it has one, else a copy at `temp`.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], or when the store cannot be read or `temp` not be written.
    pub async fn local_file(&self, key: &BlobKey, temp: &Path) -> Result<PathBuf, BlobError> {
        if let Self::Folder(store) = self {
            return store.path(key).await;
        }
        let (_, mut reader) = self.open(key).await?;
        let copy = async {
            let mut file = tokio::fs::File::create_new(temp).await?;
            tokio::io::copy(&mut reader, &mut file).await?;
            tokio::io::AsyncWriteExt::flush(&mut file).await
        };
        copy.await.map_err(file_error("download", key))?;
        Ok(temp.to_owned())
    }

    /// A page of at most `limit` objects (itself at most [`LIST_LIMIT_MAX`]) whose keys begin with
    /// `prefix` and follow `start_after`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
    ) -> Result<ListPage, BlobError> {
        let limit = limit.clamp(1, LIST_LIMIT_MAX);
        match self {
            Self::Folder(store) => store.list(prefix, start_after, limit).await,
            Self::S3(store) => store.list(prefix, start_after, limit).await,
        }
    }

    /// Removes an object; that there is none is not an error.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        match self {
            Self::Folder(store) => store.delete(key).await,
            Self::S3(store) => store.delete(key).await,
        }
    }

    /// A link that reads the object for `ttl` from now, with ranges. A secret: never log it.
    ///
    /// A folder's link is a path on this server, an S3 store's a whole URL. Whether the object
    /// exists is not asked.
    ///
    /// # Errors
    /// When the S3 client cannot sign (a `ttl` over a week, a bad public endpoint).
    pub async fn presign_get(
        &self,
        key: &BlobKey,
        ttl: Duration,
        get: &PresignGet,
    ) -> Result<String, BlobError> {
        self.presign_get_at(key, ttl, get, Timestamp::now()).await
    }

    /// Like [`BlobStore::presign_get`], valid from `now` on.
    ///
    /// # Errors
    /// See [`BlobStore::presign_get`].
    pub async fn presign_get_at(
        &self,
        key: &BlobKey,
        ttl: Duration,
        get: &PresignGet,
        now: Timestamp,
    ) -> Result<String, BlobError> {
        match self {
            Self::Folder(store) => Ok(store.presign_get(key, ttl, get, now)),
            Self::S3(store) => store.presign_get(key, ttl, get, now).await,
        }
    }

    /// A link that writes one part of an upload, of exactly `len_bytes`, for `ttl` from `now`.
    ///
    /// # Errors
    /// See [`BlobStore::presign_get`].
    pub async fn presign_part(
        &self,
        key: &BlobKey,
        part: (&MultipartId, PartNumber),
        len_bytes: u64,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<String, BlobError> {
        match self {
            Self::Folder(store) => Ok(store.presign_part(key, part, len_bytes, ttl, now)),
            Self::S3(store) => store.presign_part(key, part, len_bytes, ttl, now).await,
        }
    }
}

/// Adds what was being done to which key to an I/O error.
fn file_error(action: &'static str, key: &BlobKey) -> impl FnOnce(io::Error) -> BlobError {
    let what = key.to_string();
    move |source| BlobError::File { action, what, source }
}
