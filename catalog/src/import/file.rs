//! One file into the blob store and the catalog; what an import and a watched folder have in common.
//!
//! Must not: decode the file, change it, or follow a symbolic link.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::SystemTime,
};

use domain::{Asset, AssetId};
use jiff::Timestamp;

use super::ImportOutcome;
use crate::{
    blob::{BlobError, BlobKey, BlobStore},
    db::{Added, Catalog, CatalogError, NewAsset, SeenFile},
    facts::{self, Facts},
    keys,
    settle::Stamp,
    trash::keep_object,
};

/// How far an import has come; read by whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files found so far.
    pub files_found: AtomicU64,
    /// Their bytes.
    pub bytes_found: AtomicU64,
    /// Whether all are found.
    pub is_all_found: AtomicBool,
    /// Files done.
    pub files_done: AtomicU64,
    /// Bytes read, or known without reading.
    pub bytes_done: AtomicU64,
}

impl Progress {
    pub(super) fn add_found(&self, len_bytes: u64) {
        self.files_found.fetch_add(1, Ordering::Relaxed);
        self.bytes_found.fetch_add(len_bytes, Ordering::Relaxed);
    }

    fn add_read(&self, len_bytes: u64) {
        self.bytes_done.fetch_add(len_bytes, Ordering::Relaxed);
    }
}

/// What to do with a file whose asset was purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purged {
    /// Leave it: somebody wanted it gone.
    Leave,
    /// Take it again: somebody asked for just that.
    TakeAgain,
}

/// What every file of one folder shares; cheap to clone.
#[derive(Clone)]
pub(crate) struct Importer {
    pub(crate) catalog: Catalog,
    pub(crate) store: BlobStore,
    /// The folder on this machine.
    pub(crate) root: Arc<Path>,
    /// The folder of the library that it becomes; empty is the top.
    pub(crate) folder: Arc<str>,
    /// This machine's name.
    pub(crate) node: Arc<str>,
    pub(crate) purged: Purged,
    pub(crate) progress: Arc<Progress>,
}

impl Importer {
    /// Takes in one file. Fails only if the catalog does.
    pub(crate) async fn import_file(&self, path: &Path) -> Result<ImportOutcome, CatalogError> {
        let outcome = self.take(path).await;
        self.progress.files_done.fetch_add(1, Ordering::Relaxed);
        outcome
    }

    async fn take(&self, path: &Path) -> Result<ImportOutcome, CatalogError> {
        let stamp = match stamp(path).await {
            Ok(stamp) => stamp,
            Err(error) => return Ok(unreadable(&error)),
        };
        // Paths that are no text are taken in, but not remembered.
        let path_text = path.to_str();
        if let Some(text) = path_text
            && let Some(seen) = self.catalog.seen_file(&self.node, text).await?
            && seen.stamp == stamp
            && let Some(outcome) = self.known_outcome(seen).await?
        {
            self.progress.add_read(stamp.len_bytes);
            return Ok(outcome);
        }
        let (looked_at, progress) = (path.to_owned(), self.progress.clone());
        let looked = tokio::task::spawn_blocking(move || look_at(&looked_at, stamp, &progress));
        let facts = match looked.await {
            Ok(Ok(Some(facts))) => facts,
            Ok(Ok(None)) => {
                self.remember(path_text, stamp, Err("no picture, video or sound")).await?;
                return Ok(ImportOutcome::Skipped);
            }
            Ok(Err(error)) => return Ok(unreadable(&error)),
            Err(error) => return Ok(unreadable(&error)),
        };
        let outcome = self.store_and_add(path, stamp, facts).await?;
        if let ImportOutcome::Imported(id) | ImportOutcome::AlreadyThere(id) = &outcome {
            self.remember(path_text, stamp, Ok(id)).await?;
        }
        Ok(outcome)
    }

    /// What became of a file that has not changed since; `None` when it has to be looked at again.
    async fn known_outcome(&self, seen: SeenFile) -> Result<Option<ImportOutcome>, CatalogError> {
        if seen.reason.is_some() {
            return Ok(Some(ImportOutcome::Skipped));
        }
        let Some(id) = seen.asset else {
            return Ok((self.purged == Purged::Leave).then_some(ImportOutcome::Skipped));
        };
        let Some(asset) = self.catalog.asset(&id).await? else { return Ok(None) };
        Ok(match self.is_stored(&asset).await {
            Ok(true) => Some(ImportOutcome::AlreadyThere(id)),
            Ok(false) => None,
            Err(error) => Some(store_failed(&error)),
        })
    }

    async fn remember(
        &self,
        path: Option<&str>,
        stamp: Stamp,
        outcome: Result<&AssetId, &str>,
    ) -> Result<(), CatalogError> {
        match path {
            Some(path) => self.catalog.record_file(&self.node, path, stamp, outcome).await,
            None => Ok(()),
        }
    }

    async fn is_stored(&self, asset: &Asset) -> Result<bool, BlobError> {
        match asset.key.parse() {
            Ok(key) => Ok(self.store.head(&key).await?.is_some()),
            Err(_) => Ok(false),
        }
    }

    async fn store_and_add(
        &self,
        path: &Path,
        stamp: Stamp,
        facts: Facts,
    ) -> Result<ImportOutcome, CatalogError> {
        let id = &facts.id;
        let known = self.catalog.asset(id).await?;
        if let Some(asset) = &known {
            match self.is_stored(asset).await {
                Ok(true) => {
                    self.follow(path, asset).await?;
                    return Ok(ImportOutcome::AlreadyThere(id.clone()));
                }
                // Its original was lost: this is a chance to put it back.
                Ok(false) => {}
                Err(error) => return Ok(store_failed(&error)),
            }
        }
        let key = keys::original(id);
        keep_object(&self.catalog, &key).await?;
        match self.store_original(path, &facts).await {
            Ok(true) => {}
            Ok(false) => return Ok(ImportOutcome::Failed(CHANGED.into())),
            Err(error) => return Ok(store_failed(&error)),
        }
        if known.is_some() {
            self.catalog.original_found(id, &key).await?;
            return Ok(ImportOutcome::Imported(id.clone()));
        }
        let modified =
            Timestamp::from_microsecond(stamp.modified_us).unwrap_or_else(|_| Timestamp::now());
        let added = self
            .catalog
            .add_asset(&NewAsset {
                id: id.clone(),
                key,
                name: name_of(path),
                size_bytes: facts.len_bytes,
                mime: facts.mime,
                folder: folder_of(&self.folder, &self.root, path),
                created_at: facts.metadata.taken_at.unwrap_or(modified),
                source_node: Some(self.node.to_string()).filter(|node| !node.is_empty()),
                origin_path: Some(path.to_string_lossy().into_owned()),
                metadata: facts.metadata,
            })
            .await?;
        Ok(match added {
            Added::New => ImportOutcome::Imported(id.clone()),
            // Another file of the same bytes was faster.
            Added::Known => ImportOutcome::AlreadyThere(id.clone()),
        })
    }

    /// A file that was moved takes its asset's folder and name along, unless somebody has given the
    /// asset others since.
    async fn follow(&self, path: &Path, asset: &Asset) -> Result<(), CatalogError> {
        let Some(old) = asset.origin_path.as_deref().map(Path::new) else { return Ok(()) };
        let is_untouched = asset.name == name_of(old)
            && asset.folder == folder_of(&self.folder, &self.root, old)
            && asset.source_node.as_deref().unwrap_or_default() == &*self.node;
        if old == path || !is_untouched || !old.starts_with(&self.root) {
            return Ok(());
        }
        if tokio::fs::symlink_metadata(old).await.is_ok() {
            return Ok(());
        }
        let folder = folder_of(&self.folder, &self.root, path);
        self.catalog.follow_file(&asset.id, &path.to_string_lossy(), &name_of(path), &folder).await
    }

    /// Copies the file into the store unless its bytes are there. `false` if it is not what was hashed any
    /// more: somebody writes to it.
    async fn store_original(&self, path: &Path, facts: &Facts) -> Result<bool, BlobError> {
        let key = keys::original(&facts.id);
        let stored = self.store.head(&key).await?;
        if stored.is_some_and(|meta| meta.len_bytes == facts.len_bytes) {
            return Ok(true);
        }
        // What bears the name of its bytes was read where it lies; others may have the same bytes.
        let staged = keys::staged_copy();
        let taken = self.take_copy(path, &staged, &key, facts).await;
        if !matches!(taken, Ok(true)) {
            // If this fails as well, it is swept with what uploads have left.
            let _ = self.store.delete(&staged).await;
        }
        taken
    }

    async fn take_copy(
        &self,
        path: &Path,
        staged: &BlobKey,
        key: &BlobKey,
        facts: &Facts,
    ) -> Result<bool, BlobError> {
        self.store.put_file(staged, path, &facts.mime).await?;
        let (_, reader) = self.store.open(staged).await?;
        let copy = facts::of_stream(reader, &name_of(path)).await.map_err(|source| {
            BlobError::File { action: "read", what: staged.to_string(), source }
        })?;
        let is_same = copy.is_some_and(|copy| copy.id == facts.id);
        if is_same {
            self.store.move_object(staged, key).await?;
        }
        Ok(is_same)
    }
}

const CHANGED: &str = "It changed while it was being imported; import it again.";

fn unreadable(error: &dyn std::fmt::Display) -> ImportOutcome {
    ImportOutcome::Failed(format!("It cannot be read: {error}."))
}

fn store_failed(error: &BlobError) -> ImportOutcome {
    ImportOutcome::Failed(format!("It could not be stored: {error}."))
}

/// What a file looks like now, if it is a file and no link to one.
pub(crate) async fn stamp(path: &Path) -> io::Result<Stamp> {
    let meta = tokio::fs::symlink_metadata(path).await?;
    if !meta.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    Ok(stamp_of(&meta))
}

pub(crate) fn stamp_of(meta: &fs::Metadata) -> Stamp {
    let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let modified = Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH);
    // Microseconds, which every catalog can keep.
    Stamp { len_bytes: meta.len(), modified_us: modified.as_microsecond() }
}

/// `None` when the file is no media. Blocks.
fn look_at(path: &Path, stamp: Stamp, progress: &Progress) -> io::Result<Option<Facts>> {
    let mut read_bytes = 0;
    let facts = facts::of_file(File::open(path)?, &name_of(path), |len_bytes| {
        read_bytes += len_bytes;
        progress.add_read(len_bytes);
    })?;
    if facts.is_none() {
        // The rest is done without being read.
        progress.add_read(stamp.len_bytes.saturating_sub(read_bytes));
    }
    Ok(facts)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The library's folder and the folders of `path` below `root`, slash-separated.
fn folder_of(folder: &str, root: &Path, path: &Path) -> String {
    let below = path.parent().and_then(|parent| parent.strip_prefix(root).ok());
    let below = below.into_iter().flat_map(Path::iter).map(|segment| segment.to_string_lossy());
    let segments: Vec<_> = Some(folder.into())
        .filter(|folder: &std::borrow::Cow<'_, str>| !folder.is_empty())
        .into_iter()
        .chain(below)
        .collect();
    segments.join("/")
}

/// A folder of the library as a person writes it: segments between slashes, `/` is the top.
///
/// # Errors
/// A sentence's end.
pub fn parse_folder(text: &str) -> Result<String, &'static str> {
    let folder = text.trim_matches('/');
    if folder.is_empty() {
        return Ok(String::new());
    }
    match folder.parse::<BlobKey>() {
        Ok(_) => Ok(folder.to_owned()),
        Err(_) => Err("expected names between slashes, none of them empty, `.` or `..`"),
    }
}

/// The library's folder for a folder of this machine: its name.
pub(super) fn folder_named_like(root: &Path) -> String {
    root.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Paths as a walk meets them; what is not there need not be left out.
pub(super) fn canonical(paths: &[PathBuf]) -> Vec<PathBuf> {
    paths.iter().filter_map(|path| path.canonicalize().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        blob::{FolderStore, LinkSecret},
        db::CatalogUrl,
    };

    fn check(folder: &str, root: &str, path: &str, expected: &str) {
        assert_eq!(folder_of(folder, Path::new(root), Path::new(path)), expected);
    }

    #[test]
    fn asset_folder_is_the_librarys_and_the_folders_below_the_imported_one() {
        check("Photos", "/home/x/Photos", "/home/x/Photos/a.jpg", "Photos");
        check("Photos", "/home/x/Photos", "/home/x/Photos/2024/may/a.jpg", "Photos/2024/may");
        check("", "/home/x/Photos", "/home/x/Photos/2024/a.jpg", "2024");
        check("", "/", "/mnt/a.jpg", "mnt");
        assert_eq!(folder_named_like(Path::new("/home/x/Photos")), "Photos");
    }

    #[tokio::test]
    async fn a_file_that_changes_behind_its_stamp_bears_no_name_of_other_bytes() {
        const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0 and whatever else";
        let dir = tempfile::tempdir().unwrap();
        let url = CatalogUrl::Sqlite(dir.path().join("catalog.sqlite"));
        let folder = FolderStore::open(&dir.path().join("store"), LinkSecret::new([1; 32]));
        let run = Importer {
            catalog: Catalog::open(&url).await.unwrap(),
            store: BlobStore::Folder(folder.unwrap()),
            root: dir.path().into(),
            folder: "".into(),
            node: "".into(),
            purged: Purged::Leave,
            progress: Arc::default(),
        };
        let path = dir.path().join("a.jpg");
        fs::write(&path, JPEG).unwrap();
        let was = stamp(&path).await.unwrap();
        let facts = || look_at(&path, was, &run.progress).unwrap().unwrap();
        let (seen, key) = (facts(), keys::original(&facts().id));
        // Of the same length, at the same time.
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, JPEG.to_ascii_uppercase()).unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!(stamp(&path).await.unwrap(), was);

        let outcome = run.store_and_add(&path, was, seen).await.unwrap();
        assert_eq!(outcome, ImportOutcome::Failed(CHANGED.into()));
        assert_eq!(run.catalog.counts().await.unwrap().assets, 0);
        assert_eq!(run.store.list("", None, 9).await.unwrap().objects, []);

        fs::write(&path, JPEG).unwrap();
        let outcome = run.store_and_add(&path, was, facts()).await.unwrap();
        assert!(matches!(outcome, ImportOutcome::Imported(_)), "{outcome:?}");
        assert_eq!(run.store.read(&key, 99).await.unwrap(), JPEG);
        assert_eq!(run.store.list("", None, 9).await.unwrap().objects.len(), 1);
    }

    #[test]
    fn a_folder_of_the_library_is_refused_if_it_plays_tricks() {
        assert_eq!(parse_folder("/"), Ok(String::new()));
        assert_eq!(parse_folder("/Studio/Day 1/"), Ok("Studio/Day 1".into()));
        for bad in ["a//b", "../a", "a/./b", "a\0b", "a\\b"] {
            assert!(parse_folder(bad).is_err(), "{bad}");
        }
    }
}
