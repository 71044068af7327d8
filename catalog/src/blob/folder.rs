//! Objects as files below a local folder, with signed links that this server answers.
//!
//! Must not: follow a symbolic link below the root, or show a half-written object.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use jiff::Timestamp;
use tempfile::NamedTempFile;

use super::{
    BlobError, BlobKey, BlobReader, LinkSecret, ListPage, ObjectMeta, PresignGet, VerifyError,
    file_error, listing, signed_url,
};

/// Folder below the root for files being written. Not part of the store's contents.
pub(super) const TEMP_FOLDER: &str = ".damwall-tmp";
/// Leftovers of a crash older than this are removed at start.
const TEMP_MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// Blob store in a local folder; cheap to clone.
#[derive(Clone, Debug)]
pub struct FolderStore {
    root: Arc<Path>,
    secret: LinkSecret,
}

/// What a verified link leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedFile {
    /// The object.
    pub key: BlobKey,
    /// Its file.
    pub path: PathBuf,
    /// Signed `Content-Type`.
    pub content_type: String,
    /// Signed `Content-Disposition`.
    pub content_disposition: String,
}

impl FolderStore {
    /// Opens a store, creating its folder as needed. `secret` signs its links.
    ///
    /// # Errors
    /// When the folder cannot be made or written.
    pub fn open(root: &Path, secret: LinkSecret) -> Result<Self, BlobError> {
        let open = || {
            fs::create_dir_all(root.join(TEMP_FOLDER))?;
            let root = root.canonicalize()?;
            remove_leftovers(&root.join(TEMP_FOLDER))?;
            Ok(root)
        };
        let root = open().map_err(|source| BlobError::File {
            action: "open the folder",
            what: root.display().to_string(),
            source,
        })?;
        Ok(Self { root: root.into(), secret })
    }

    /// The folder, without symbolic links in its path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Reads a signed link back.
    ///
    /// `path` and `query` are as the browser sent them, still percent-encoded.
    ///
    /// # Errors
    /// [`VerifyError::BadSignature`] before [`VerifyError::Expired`] before
    /// [`VerifyError::NotFound`], so that only holders of a good link learn what exists.
    pub async fn verify(
        &self,
        path: &str,
        query: &str,
        now: Timestamp,
    ) -> Result<SignedFile, VerifyError> {
        let get = signed_url::verify(&self.secret, path, query, now)?;
        match self.path(&get.key).await {
            Ok(path) => Ok(SignedFile {
                key: get.key,
                path,
                content_type: get.content_type,
                content_disposition: get.content_disposition,
            }),
            Err(BlobError::NotFound { .. }) => Err(VerifyError::NotFound),
            Err(error) => {
                let key = &get.key;
                tracing::warn!(%key, %error, "signed link of {key} leads to an unreadable file");
                Err(VerifyError::NotFound)
            }
        }
    }

    pub(super) fn presign_get(
        &self,
        key: &BlobKey,
        ttl: Duration,
        get: &PresignGet,
        now: Timestamp,
    ) -> String {
        signed_url::sign(&self.secret, key, ttl, get, now)
    }

    pub(super) async fn ping(&self) -> Result<(), BlobError> {
        let what = || self.root.display().to_string();
        match tokio::fs::metadata(&self.root).await {
            Ok(meta) if meta.is_dir() => Ok(()),
            Ok(_) => Err(BlobError::File {
                action: "use",
                what: what(),
                source: io::ErrorKind::NotADirectory.into(),
            }),
            Err(source) => Err(BlobError::File { action: "reach", what: what(), source }),
        }
    }

    pub(super) async fn put_file(&self, key: &BlobKey, from: &Path) -> Result<(), BlobError> {
        let from = from.to_owned();
        self.write(key, move |temp| io::copy(&mut fs::File::open(&from)?, temp).map(drop)).await
    }

    pub(super) async fn put_bytes(&self, key: &BlobKey, body: Bytes) -> Result<(), BlobError> {
        self.write(key, move |temp| io::Write::write_all(temp, &body)).await
    }

    pub(super) async fn head(&self, key: &BlobKey) -> Result<Option<ObjectMeta>, BlobError> {
        match self.resolve(key).await {
            Ok((_, meta)) => Ok(Some(object_meta(&meta))),
            Err(BlobError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn open_object(&self, key: &BlobKey) -> Result<(u64, BlobReader), BlobError> {
        let (path, _) = self.resolve(key).await?;
        let open = async {
            let file = tokio::fs::File::open(path).await?;
            let len_bytes = file.metadata().await?.len();
            Ok((len_bytes, Box::pin(file) as BlobReader))
        };
        open.await.map_err(file_error("open", key))
    }

    /// The object's file.
    pub(super) async fn path(&self, key: &BlobKey) -> Result<PathBuf, BlobError> {
        self.resolve(key).await.map(|(path, _)| path)
    }

    pub(super) async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
    ) -> Result<ListPage, BlobError> {
        let root = self.root.clone();
        let (prefix, start_after) = (prefix.to_owned(), start_after.map(str::to_owned));
        blocking(move || {
            listing::list(&root, &prefix, start_after.as_deref(), limit).map_err(|source| {
                BlobError::File { action: "list", what: root.display().to_string(), source }
            })
        })
        .await
    }

    pub(super) async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        let path = match self.path(key).await {
            Ok(path) => path,
            Err(BlobError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        match tokio::fs::remove_file(path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(file_error("delete", key)(error))
            }
            _ => Ok(()),
        }
    }

    /// Path and metadata of the object's file, which is a file and has no link above it.
    async fn resolve(&self, key: &BlobKey) -> Result<(PathBuf, fs::Metadata), BlobError> {
        let (root, key) = (self.root.clone(), key.clone());
        blocking(move || {
            let not_found = || BlobError::NotFound { key: key.clone() };
            if key.segments().next() == Some(TEMP_FOLDER) {
                return Err(not_found());
            }
            let mut path = root.to_path_buf();
            let mut found = None;
            for segment in key.segments() {
                path.push(segment);
                let meta = match fs::symlink_metadata(&path) {
                    Ok(meta) if !meta.is_symlink() => meta,
                    Ok(_) => return Err(not_found()),
                    Err(error) if is_absence(&error) => return Err(not_found()),
                    Err(error) => return Err(file_error("look at", &key)(error)),
                };
                found = Some(meta);
            }
            match found {
                Some(meta) if meta.is_file() => Ok((path, meta)),
                _ => Err(not_found()),
            }
        })
        .await
    }

    /// Writes an object: temporary file, fsync, rename, fsync of the folder.
    async fn write(
        &self,
        key: &BlobKey,
        fill: impl FnOnce(&mut fs::File) -> io::Result<()> + Send + 'static,
    ) -> Result<(), BlobError> {
        let (root, key) = (self.root.clone(), key.clone());
        blocking(move || {
            let write = || {
                let mut temp = NamedTempFile::new_in(root.join(TEMP_FOLDER))?;
                fill(temp.as_file_mut())?;
                temp.as_file().sync_all()?;
                let folder = make_folder(&root, &key)?;
                temp.persist(folder.join(key.name()))?;
                fs::File::open(folder)?.sync_all()
            };
            write().map_err(file_error("write", &key))
        })
        .await
    }
}

/// Makes the folders above an object, refusing to pass through a link.
fn make_folder(root: &Path, key: &BlobKey) -> io::Result<PathBuf> {
    if key.segments().next() == Some(TEMP_FOLDER) {
        return Err(io::Error::other("the key is in the folder of temporary files"));
    }
    let mut folder = root.to_path_buf();
    for segment in key.folder().split('/').filter(|segment| !segment.is_empty()) {
        folder.push(segment);
        match fs::create_dir(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !fs::symlink_metadata(&folder)?.is_dir() {
                    return Err(io::Error::other("a file or symbolic link is in the way"));
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(folder)
}

/// Removes what a crash left behind, but not what another process may be writing.
fn remove_leftovers(temp: &Path) -> io::Result<()> {
    for entry in fs::read_dir(temp)? {
        let entry = entry?;
        let modified = entry.metadata().and_then(|meta| meta.modified());
        let age = modified.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        if age.is_some_and(|age| age > TEMP_MAX_AGE) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What the store says about a file.
pub(super) fn object_meta(meta: &fs::Metadata) -> ObjectMeta {
    let modified = meta.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
    let nanos = modified.map_or(0, Timestamp::as_nanosecond);
    ObjectMeta {
        len_bytes: meta.len(),
        stamp: format!("{nanos}-{}", meta.len()),
        modified,
        mime: None,
    }
}

/// Whether a path leads nowhere.
fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidFilename)
}

/// Runs file work off the async threads; a panic in it goes on here.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(BlobError::File {
            action: "finish",
            what: "file work".into(),
            source: io::Error::other(error),
        }),
    }
}
