//! Objects as files below a local folder, with signed links that this server answers.
//!
//! Must not: follow a symbolic link below the root, or show a half-written object.

use std::{
    collections::{BTreeMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use jiff::Timestamp;
use tempfile::NamedTempFile;

use super::{
    BlobError, BlobKey, BlobReader, Completed, LinkSecret, ListPage, MultipartId, ObjectInfo,
    ObjectMeta, PartNumber, PresignGet, PutError, PutWriter, SignedPart, StoredPart, VerifyError,
    attribute, file_error, listing, signed_url, staging,
};

/// Folder below the root for files being written. Not part of the store's contents.
pub(super) const TEMP_FOLDER: &str = ".damwall-tmp";
/// File in it that tells this store from any other, such as the empty folder that is there while the store's
/// file system is not mounted.
const MARKER: &str = "store-id";
/// Leftovers of a crash older than this are removed at start.
const TEMP_MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// Blob store in a local folder; cheap to clone.
#[derive(Clone, Debug)]
pub struct FolderStore {
    root: Arc<Path>,
    /// What its marker says.
    id: Arc<str>,
    secret: LinkSecret,
}

/// What a verified link leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedFile {
    /// The object.
    pub key: BlobKey,
    /// Its file.
    pub path: PathBuf,
    /// Changes whenever the object does.
    pub stamp: String,
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
            let temp = root.join(TEMP_FOLDER);
            remove_leftovers(&temp)?;
            if !attribute::note(&tempfile::tempfile_in(&temp)?, &ObjectInfo::default())? {
                let folder = root.display();
                tracing::warn!(
                    %folder,
                    "the file system of {folder} has no extended attributes: types and metadata of objects \
                     are not kept"
                );
            }
            let id = mark(&temp)?;
            Ok((root, id))
        };
        let (root, id) = open().map_err(|source| BlobError::File {
            action: "open the folder",
            what: root.display().to_string(),
            source,
        })?;
        Ok(Self { root: root.into(), id: id.into(), secret })
    }

    /// The folder, without symbolic links in its path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What tells this store from any other, wherever its folder is.
    pub(crate) fn id(&self) -> &str {
        &self.id
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
        let get = signed_url::verify_get(&self.secret, path, query, now)?;
        match self.resolve(&get.key).await {
            Ok((path, meta)) => Ok(SignedFile {
                key: get.key,
                path,
                stamp: object_meta(&meta).stamp,
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

    /// Reads a signed link that writes back; `path` and `query` as in [`FolderStore::verify`].
    ///
    /// # Errors
    /// [`VerifyError::BadSignature`] or [`VerifyError::Expired`].
    pub fn verify_part(
        &self,
        path: &str,
        query: &str,
        now: Timestamp,
    ) -> Result<SignedPart, VerifyError> {
        signed_url::verify_part(&self.secret, path, query, now)
    }

    /// Takes what is sent to a verified link.
    ///
    /// # Errors
    /// [`PutError::Gone`] when the upload it belongs to has ended, or when the store cannot be written.
    pub async fn receive(&self, part: &SignedPart) -> Result<PutWriter, PutError> {
        PutWriter::open(self.root.clone(), part.clone()).await
    }

    pub(super) fn presign_part(
        &self,
        key: &BlobKey,
        part: (&MultipartId, PartNumber),
        len_bytes: u64,
        ttl: Duration,
        now: Timestamp,
    ) -> String {
        signed_url::sign_part(&self.secret, key, part, len_bytes, ttl, now)
    }

    pub(super) async fn create_multipart(
        &self,
        key: &BlobKey,
        info: &ObjectInfo,
    ) -> Result<MultipartId, BlobError> {
        let info =
            ObjectInfo { metadata: info.metadata.clone(), ..ObjectInfo::of_mime(&info.mime) };
        self.staged(key, move |root, key| staging::create(root, key, &info)).await
    }

    pub(super) async fn list_parts(
        &self,
        key: &BlobKey,
        id: &MultipartId,
    ) -> Result<Option<Vec<StoredPart>>, BlobError> {
        let id = id.clone();
        self.staged(key, move |root, key| staging::list(root, key, &id)).await
    }

    pub(super) async fn complete_multipart(
        &self,
        key: &BlobKey,
        id: &MultipartId,
        parts: &[(PartNumber, String)],
    ) -> Result<Completed, BlobError> {
        let (id, parts) = (id.clone(), parts.to_vec());
        self.staged(key, move |root, key| staging::complete(root, key, &id, &parts)).await
    }

    pub(super) async fn abort_multipart(
        &self,
        key: &BlobKey,
        id: &MultipartId,
    ) -> Result<(), BlobError> {
        let id = id.clone();
        self.staged(key, move |root, _| staging::abort(root, &id)).await
    }

    pub(super) async fn abort_multiparts(
        &self,
        prefix: &str,
        before: Timestamp,
        keep: &HashSet<BlobKey>,
    ) -> Result<u64, BlobError> {
        let (root, prefix, keep) = (self.root.clone(), prefix.to_owned(), keep.clone());
        let is_meant = move |key: &str| {
            key.starts_with(&prefix) && !key.parse().is_ok_and(|key| keep.contains(&key))
        };
        blocking(move || {
            staging::abort_older(&root, SystemTime::from(before), is_meant).map_err(|source| {
                BlobError::File { action: "clean", what: root.display().to_string(), source }
            })
        })
        .await
    }

    async fn staged<T: Send + 'static>(
        &self,
        key: &BlobKey,
        work: impl FnOnce(&Path, &BlobKey) -> io::Result<T> + Send + 'static,
    ) -> Result<T, BlobError> {
        let (root, key) = (self.root.clone(), key.clone());
        blocking(move || work(&root, &key).map_err(file_error("upload", &key))).await
    }

    pub(super) async fn move_object(&self, from: &BlobKey, to: &BlobKey) -> Result<(), BlobError> {
        let (path, _) = self.resolve(from).await?;
        let (root, to) = (self.root.clone(), to.clone());
        blocking(move || {
            let rename = || {
                let folder = make_folder(&root, &to)?;
                fs::rename(&path, folder.join(to.name()))?;
                fs::File::open(folder)?.sync_all()
            };
            rename().map_err(file_error("move to", &to))
        })
        .await
    }

    pub(super) fn presign_get(
        &self,
        key: &BlobKey,
        ttl: Duration,
        get: &PresignGet,
        now: Timestamp,
    ) -> String {
        signed_url::sign_get(&self.secret, key, ttl, get, now)
    }

    pub(super) async fn ping(&self) -> Result<(), BlobError> {
        let found = tokio::fs::read_to_string(self.root.join(TEMP_FOLDER).join(MARKER)).await;
        let source = match found {
            Ok(id) if *id == *self.id => return Ok(()),
            Ok(_) => io::Error::other("another store is there now"),
            Err(error) if is_absence(&error) => {
                let what = "its file `.damwall-tmp/store-id` is gone; is it mounted?";
                io::Error::new(error.kind(), what)
            }
            Err(error) => error,
        };
        let what = self.root.display().to_string();
        Err(BlobError::File { action: "reach", what, source })
    }

    pub(super) async fn put_file(
        &self,
        key: &BlobKey,
        from: &Path,
        mime: &str,
    ) -> Result<(), BlobError> {
        let from = from.to_owned();
        let fill = move |temp: &mut fs::File| io::copy(&mut fs::File::open(&from)?, temp).map(drop);
        self.write(key, mime, fill).await
    }

    pub(super) async fn put_bytes(
        &self,
        key: &BlobKey,
        body: Bytes,
        mime: &str,
    ) -> Result<(), BlobError> {
        let fill = move |temp: &mut fs::File| io::Write::write_all(temp, &body);
        self.write(key, mime, fill).await
    }

    pub(super) async fn head(&self, key: &BlobKey) -> Result<Option<ObjectMeta>, BlobError> {
        let (path, meta) = match self.resolve(key).await {
            Ok(found) => found,
            Err(BlobError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let key = key.clone();
        let info = blocking(move || attribute::read(&path).map_err(file_error("look at", &key)));
        let meta = object_meta(&meta);
        Ok(Some(match info.await? {
            Some(info) => ObjectMeta { mime: Some(info.mime), metadata: info.metadata, ..meta },
            None => meta,
        }))
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

    /// Fills a temporary file and makes an object of it.
    async fn write(
        &self,
        key: &BlobKey,
        mime: &str,
        fill: impl FnOnce(&mut fs::File) -> io::Result<()> + Send + 'static,
    ) -> Result<(), BlobError> {
        let (root, key, info) = (self.root.clone(), key.clone(), ObjectInfo::of_mime(mime));
        blocking(move || {
            let write = || {
                let mut temp = NamedTempFile::new_in(root.join(TEMP_FOLDER))?;
                fill(temp.as_file_mut())?;
                attribute::note(temp.as_file(), &info)?;
                staging::show(temp, &root, &key)
            };
            write().map_err(file_error("write", &key))
        })
        .await
    }
}

/// Makes the folders above an object, refusing to pass through a link.
pub(super) fn make_folder(root: &Path, key: &BlobKey) -> io::Result<PathBuf> {
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

/// Marks a store that is opened for the first time; returns what the mark says.
fn mark(temp: &Path) -> io::Result<String> {
    let path = temp.join(MARKER);
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        marked => return marked,
    }
    let mut marker = NamedTempFile::new_in(temp)?;
    io::Write::write_all(&mut marker, hex::encode(rand::random::<[u8; 16]>()).as_bytes())?;
    marker.as_file().sync_all()?;
    match marker.persist_noclobber(&path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        // Another process may have been faster.
        _ => fs::read_to_string(&path),
    }
}

/// Removes what a crash left behind, but not what another process may be writing.
fn remove_leftovers(temp: &Path) -> io::Result<()> {
    for entry in fs::read_dir(temp)? {
        let entry = entry?;
        // Uploads in parts last longer, and are ended by whoever knows of them.
        if entry.file_type()?.is_dir() || entry.file_name() == MARKER {
            continue;
        }
        let modified = entry.metadata().and_then(|meta| meta.modified());
        let age = modified.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        if age.is_some_and(|age| age > TEMP_MAX_AGE) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What a file's entry says about it; the rest is its attribute.
pub(super) fn object_meta(meta: &fs::Metadata) -> ObjectMeta {
    let modified = meta.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
    let nanos = modified.map_or(0, Timestamp::as_nanosecond);
    ObjectMeta {
        len_bytes: meta.len(),
        stamp: format!("{nanos}-{}", meta.len()),
        modified,
        mime: None,
        metadata: BTreeMap::new(),
    }
}

/// Whether a path leads nowhere.
fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidFilename)
}

/// Runs file work off the async threads; a panic in it goes on here.
pub(super) async fn blocking<T: Send + 'static>(
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
