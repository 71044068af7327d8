//! Uploads in parts of the folder store: each part a file until all are put together.
//!
//! Below the folder of temporary files there is `uploads/<id>/`, with `key` (the object to be, and as its
//! attribute what it is stored with) and `part.00001.<etag>`. Must not: hold a part in memory, or show a part that is not whole. Blocks, all of
//! it, except [`PutWriter`].

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::{
    BlobError, BlobKey, Completed, MultipartId, ObjectInfo, PartNumber, SignedPart, StoredPart,
    attribute, file_error,
    folder::{TEMP_FOLDER, blocking, make_folder},
};

const UPLOADS: &str = "uploads";
const KEY_FILE: &str = "key";
const PART_PREFIX: &str = "part.";
/// Ending of the folder's name while an upload is removed.
const GOING: &str = "going";
/// Hex digits of a part's etag: enough to tell parts from each other; the whole is verified by SHA-256.
const ETAG_DIGITS: usize = 32;
/// Written and hashed at a time.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Folder of an upload, if there is one.
fn folder_of(root: &Path, id: &MultipartId) -> Option<PathBuf> {
    // Ours are letters and digits only, so this cannot lead elsewhere.
    let is_ours = id.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric());
    let folder = root.join(TEMP_FOLDER).join(UPLOADS).join(id.as_str());
    (is_ours && folder.is_dir()).then_some(folder)
}

/// Begins an upload.
pub(super) fn create(root: &Path, key: &BlobKey, info: &ObjectInfo) -> io::Result<MultipartId> {
    let uploads = root.join(TEMP_FOLDER).join(UPLOADS);
    fs::create_dir_all(&uploads)?;
    let folder = tempfile::Builder::new().prefix("").rand_bytes(24).tempdir_in(uploads)?;
    let mut key_file = fs::File::create_new(folder.path().join(KEY_FILE))?;
    attribute::note(&key_file, info)?;
    io::Write::write_all(&mut key_file, key.as_str().as_bytes())?;
    let folder = folder.keep();
    let name = folder.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.parse().map_err(io::Error::other)
}

/// Parts that are whole; `None` when there is no such upload of this key.
pub(super) fn list(
    root: &Path,
    key: &BlobKey,
    id: &MultipartId,
) -> io::Result<Option<Vec<StoredPart>>> {
    let Some(folder) = folder_of(root, id).filter(|folder| is_of(folder, key)) else {
        return Ok(None);
    };
    // A part sent twice leaves two files if a crash came between; the later one counts.
    let mut found = BTreeMap::<PartNumber, (SystemTime, StoredPart)>::new();
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some((number, etag)) = name.to_str().and_then(parse_part) else { continue };
        let meta = match entry.metadata() {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let at = meta.modified()?;
        let part = StoredPart { number, etag: etag.to_owned(), len_bytes: meta.len() };
        if found.get(&number).is_none_or(|(earlier, _)| *earlier <= at) {
            found.insert(number, (at, part));
        }
    }
    Ok(Some(found.into_values().map(|(_, part)| part).collect()))
}

/// Puts the object together from these parts, in order, and shows it whole.
pub(super) fn complete(
    root: &Path,
    key: &BlobKey,
    id: &MultipartId,
    parts: &[(PartNumber, String)],
) -> io::Result<Completed> {
    let Some(folder) = folder_of(root, id).filter(|folder| is_of(folder, key)) else {
        return Ok(Completed::Gone);
    };
    if parts.is_empty() || !parts.is_sorted_by(|a, b| a.0 < b.0) {
        return Ok(Completed::Refused("the parts are not in order".into()));
    }
    // Before the parts: if somebody else ends the upload meanwhile, one of those is missing.
    let info = attribute::read(&folder.join(KEY_FILE))?;
    let mut whole = NamedTempFile::new_in(root.join(TEMP_FOLDER))?;
    for (number, etag) in parts {
        let opened = match parse_part(&part_name(*number, etag)) {
            Some(_) => fs::File::open(folder.join(part_name(*number, etag))),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let mut part = match opened {
            Ok(part) => part,
            // Put together meanwhile by somebody else.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.is_dir() => {
                return Ok(Completed::Gone);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Completed::Refused(format!("part {number} is not there as named")));
            }
            Err(error) => return Err(error),
        };
        // From file to file the kernel copies; some file systems only share the blocks.
        io::copy(&mut part, whole.as_file_mut())?;
    }
    if let Some(info) = info {
        attribute::note(whole.as_file(), &info)?;
    }
    show(whole, root, key)?;
    remove(&folder)?;
    Ok(Completed::Stored)
}

/// Ends an upload and removes its parts; that there is none is fine.
pub(super) fn abort(root: &Path, id: &MultipartId) -> io::Result<()> {
    folder_of(root, id).map_or(Ok(()), |folder| remove(&folder))
}

/// Ends uploads that nothing was added to since `before` and whose key `is_meant`; how many.
pub(super) fn abort_older(
    root: &Path,
    before: SystemTime,
    is_meant: impl Fn(&str) -> bool,
) -> io::Result<u64> {
    let mut aborted = 0;
    let entries = match fs::read_dir(root.join(TEMP_FOLDER).join(UPLOADS)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let is_old = entry.metadata().and_then(|meta| meta.modified()).is_ok_and(|at| at < before);
        // Without its key it is of a process that ended while it made it.
        let key = fs::read_to_string(entry.path().join(KEY_FILE));
        if is_old && key.map_or(true, |key| is_meant(&key)) {
            remove(&entry.path())?;
            aborted += 1;
        }
    }
    Ok(aborted)
}

/// Removes an upload at once, though its files go one after the other: whoever finds it finds all of it.
fn remove(folder: &Path) -> io::Result<()> {
    // No upload's name; what a process leaves of it that ends here is swept as an old upload is.
    let going = folder.with_extension(GOING);
    match fs::rename(folder, &going).and_then(|()| fs::remove_dir_all(going)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn is_of(folder: &Path, key: &BlobKey) -> bool {
    fs::read_to_string(folder.join(KEY_FILE)).is_ok_and(|text| text == key.as_str())
}

fn part_name(number: PartNumber, etag: &str) -> String {
    format!("{PART_PREFIX}{:05}.{etag}", number.get())
}

fn parse_part(name: &str) -> Option<(PartNumber, &str)> {
    let (number, etag) = name.strip_prefix(PART_PREFIX)?.split_once('.')?;
    let is_hex = etag.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = number.parse().ok().and_then(PartNumber::new)?;
    (etag.len() == ETAG_DIGITS && is_hex).then_some((number, etag))
}

/// Makes a written file the object of that key: fsync, rename, fsync of the folder.
pub(super) fn show(whole: NamedTempFile, root: &Path, key: &BlobKey) -> io::Result<()> {
    whole.as_file().sync_all()?;
    let folder = make_folder(root, key)?;
    whole.persist(folder.join(key.name()))?;
    fs::File::open(folder)?.sync_all()
}

/// A part that comes through a signed link, shown only when it is finished; gone when dropped before.
#[derive(Debug)]
pub struct PutWriter {
    open: Open,
    /// Not written yet.
    waiting: BytesMut,
    len_bytes: u64,
    expected_bytes: u64,
}

/// What goes to the blocking threads and comes back.
#[derive(Debug)]
struct Open {
    temp: NamedTempFile,
    hasher: Sha256,
    /// Of the upload.
    folder: PathBuf,
    number: PartNumber,
    key: BlobKey,
}

/// Why a write was given up.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// More or fewer bytes came than were signed for.
    #[error("this link takes exactly {expected_bytes} bytes, and {len_bytes} came")]
    Length {
        /// As signed.
        expected_bytes: u64,
        /// As came; at least these.
        len_bytes: u64,
    },
    /// The upload was completed or aborted meanwhile.
    #[error("there is no such upload any more")]
    Gone,
    /// The store could not be written.
    #[error(transparent)]
    Store(#[from] BlobError),
}

impl PutWriter {
    pub(super) async fn open(root: Arc<Path>, part: SignedPart) -> Result<Self, PutError> {
        let SignedPart { key, len_bytes: expected_bytes, id, number } = part;
        let open = blocking(move || {
            let folder = folder_of(&root, &id).filter(|folder| is_of(folder, &key));
            let Some(folder) = folder else { return Ok(None) };
            let temp = NamedTempFile::new_in(&folder).map_err(file_error("write", &key))?;
            Ok(Some(Open { temp, hasher: Sha256::new(), folder, number, key }))
        });
        let open = open.await.map_err(gone)?.ok_or(PutError::Gone)?;
        Ok(Self { open, waiting: BytesMut::new(), len_bytes: 0, expected_bytes })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`PutError::Length`] as soon as there are too many.
    pub async fn write(mut self, bytes: Bytes) -> Result<Self, PutError> {
        self.len_bytes += bytes.len() as u64;
        if self.len_bytes > self.expected_bytes {
            return Err(self.wrong_length());
        }
        self.waiting.extend_from_slice(&bytes);
        if self.waiting.len() >= CHUNK_BYTES { self.flush().await } else { Ok(self) }
    }

    /// Shows what was written, and gives its etag.
    ///
    /// # Errors
    /// See [`PutError`].
    pub async fn finish(self) -> Result<String, PutError> {
        if self.len_bytes != self.expected_bytes {
            return Err(self.wrong_length());
        }
        let Open { temp, hasher, folder, number, key } = self.flush().await?.open;
        let mut etag = hex::encode(hasher.finalize());
        etag.truncate(ETAG_DIGITS);
        let finish = blocking(move || {
            show_part(temp, &folder, number, &etag).map_err(file_error("write", &key))?;
            Ok(etag)
        });
        finish.await.map_err(gone)
    }

    async fn flush(self) -> Result<Self, PutError> {
        let Self { mut open, mut waiting, len_bytes, expected_bytes } = self;
        let flush = blocking(move || {
            open.hasher.update(&waiting);
            let written = io::Write::write_all(open.temp.as_file_mut(), &waiting);
            written.map_err(file_error("write", &open.key))?;
            waiting.clear();
            Ok((open, waiting))
        });
        let (open, waiting) = flush.await?;
        Ok(Self { open, waiting, len_bytes, expected_bytes })
    }

    fn wrong_length(&self) -> PutError {
        PutError::Length { expected_bytes: self.expected_bytes, len_bytes: self.len_bytes }
    }
}

fn show_part(temp: NamedTempFile, folder: &Path, number: PartNumber, etag: &str) -> io::Result<()> {
    temp.as_file().sync_data()?;
    let name = part_name(number, etag);
    temp.persist(folder.join(&name))?;
    // What was sent for this place before.
    for entry in fs::read_dir(folder)? {
        let other = entry?.file_name();
        let place = other.to_str().and_then(parse_part).map(|(number, _)| number);
        if place == Some(number) && other.to_str() != Some(&name) {
            match fs::remove_file(folder.join(other)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// A folder that went away is an upload that was ended.
fn gone(error: BlobError) -> PutError {
    match error {
        BlobError::File { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            PutError::Gone
        }
        other => PutError::Store(other),
    }
}
