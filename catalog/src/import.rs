//! Takes the pictures, videos and sounds of a local folder into the blob store and the catalog.
//!
//! Must not: decode a file, change the folder, follow a symbolic link, or let one file stop the
//! rest. The original is stored before its row is written, so that a run cut off loses nothing
//! and the next one finishes its work.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use domain::AssetId;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use tokio::sync::mpsc;
use walkdir::WalkDir;

use crate::{
    blob::{BlobError, BlobStore},
    db::{Added, Catalog, CatalogError, NewAsset},
    hash, keys, sniff,
};

/// Found files waiting to be imported; the walk pauses when there are more.
const FOUND_QUEUE: usize = 64;

/// How to import.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// Files read at a time.
    pub parallel: usize,
    /// Host name to note as the originals' source.
    pub source_node: Option<String>,
    /// Folders to leave out, such as the data folder of this server.
    pub exclude: Vec<PathBuf>,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self { parallel: 2, source_node: None, exclude: Vec::new() }
    }
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportOutcome {
    /// It is a new asset.
    Imported(AssetId),
    /// There was an asset of the same bytes.
    AlreadyThere(AssetId),
    /// It is no picture, video or sound.
    Skipped,
    /// It could not be read or stored; the sentence says why.
    Failed(String),
}

/// One file done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportEvent {
    /// Its path.
    pub path: PathBuf,
    /// What became of it.
    pub outcome: ImportOutcome,
}

/// A file that could not be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedFile {
    /// Its path.
    pub path: PathBuf,
    /// A sentence.
    pub reason: String,
}

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportSummary {
    /// New assets.
    pub imported: u64,
    /// Files whose bytes were an asset already.
    pub already_there: u64,
    /// Files that are no picture, video or sound.
    pub skipped: u64,
    /// Files that could not be imported.
    pub failed: Vec<FailedFile>,
}

/// Why a run could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The folder itself cannot be read.
    #[error("cannot read the folder {}: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The catalog failed; no further file would fare better.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Imports every picture, video and sound below `folder`, calling `on_file` after each file.
///
/// An asset's folder is the name of `folder` and the file's folders below it. Hidden files and
/// folders are left out.
///
/// # Errors
/// When `folder` is not a readable folder or the catalog fails. What was imported stays.
pub async fn import_folder(
    catalog: &Catalog,
    store: &BlobStore,
    folder: &Path,
    options: &ImportOptions,
    mut on_file: impl FnMut(&ImportEvent),
) -> Result<ImportSummary, ImportError> {
    let folder_error = |source| ImportError::Folder { folder: folder.to_owned(), source };
    let root = tokio::fs::canonicalize(folder).await.map_err(folder_error)?;
    // Also tells a file from a folder.
    drop(tokio::fs::read_dir(&root).await.map_err(folder_error)?);

    let (found_tx, found_rx) = mpsc::channel(FOUND_QUEUE);
    // As the walk will meet them; what is not there need not be left out.
    let exclude: Vec<PathBuf> =
        options.exclude.iter().filter_map(|path| path.canonicalize().ok()).collect();
    let walk_root = root.clone();
    // Ends by itself when this function returns early: nobody takes what it finds any more.
    let walk = tokio::task::spawn_blocking(move || walk(&walk_root, &exclude, &found_tx));

    let found = stream::unfold(found_rx, |mut rx| async { rx.recv().await.map(|f| (f, rx)) });
    let run = Run {
        catalog: catalog.clone(),
        store: store.clone(),
        root: root.into(),
        source_node: options.source_node.clone(),
    };
    let outcomes = found.map(|found| {
        let run = run.clone();
        async move {
            match found {
                Found::File(path) => {
                    let outcome = run.import_file(&path).await?;
                    Ok::<_, CatalogError>(ImportEvent { path, outcome })
                }
                Found::Unreadable(failed) => Ok(ImportEvent {
                    path: failed.path,
                    outcome: ImportOutcome::Failed(failed.reason),
                }),
            }
        }
    });
    let mut outcomes = std::pin::pin!(outcomes.buffer_unordered(options.parallel.max(1)));

    let mut summary = ImportSummary::default();
    while let Some(event) = outcomes.next().await {
        let event = event?;
        match &event.outcome {
            ImportOutcome::Imported(_) => summary.imported += 1,
            ImportOutcome::AlreadyThere(_) => summary.already_there += 1,
            ImportOutcome::Skipped => summary.skipped += 1,
            ImportOutcome::Failed(reason) => {
                let path = event.path.clone();
                summary.failed.push(FailedFile { path, reason: reason.clone() });
            }
        }
        on_file(&event);
    }
    walk.await.map_err(|error| folder_error(io::Error::other(error)))?;
    Ok(summary)
}

/// What the walk comes across.
enum Found {
    File(PathBuf),
    Unreadable(FailedFile),
}

/// Sends every file below `root`; blocks.
fn walk(root: &Path, exclude: &[PathBuf], found: &mpsc::Sender<Found>) {
    let is_wanted = |entry: &walkdir::DirEntry| {
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        (entry.depth() == 0 || !is_hidden) && !exclude.iter().any(|path| path == entry.path())
    };
    for entry in WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(is_wanted) {
        let found_here = match entry {
            Ok(entry) if entry.file_type().is_file() => Found::File(entry.into_path()),
            Ok(_) => continue,
            Err(error) => Found::Unreadable(FailedFile {
                path: error.path().unwrap_or(root).to_owned(),
                reason: format!("It cannot be read: {error}."),
            }),
        };
        if found.blocking_send(found_here).is_err() {
            return;
        }
    }
}

/// What one look at a file tells.
struct FileFacts {
    mime: String,
    id: AssetId,
    len_bytes: u64,
    modified: Option<std::time::SystemTime>,
}

/// What every file of one import shares.
#[derive(Clone)]
struct Run {
    catalog: Catalog,
    store: BlobStore,
    root: Arc<Path>,
    source_node: Option<String>,
}

impl Run {
    /// Fails only if the catalog does.
    async fn import_file(&self, path: &Path) -> Result<ImportOutcome, CatalogError> {
        let looked_at = path.to_owned();
        let facts = match tokio::task::spawn_blocking(move || look_at(&looked_at)).await {
            Ok(Ok(Some(facts))) => facts,
            Ok(Ok(None)) => return Ok(ImportOutcome::Skipped),
            Ok(Err(error)) => {
                return Ok(ImportOutcome::Failed(format!("It cannot be read: {error}.")));
            }
            Err(error) => return Ok(ImportOutcome::Failed(format!("It cannot be read: {error}."))),
        };
        let id = facts.id.clone();
        let known = self.catalog.asset(&id).await?;
        if let Some(key) = known.as_ref().and_then(|asset| asset.key.parse().ok()) {
            match self.store.head(&key).await {
                Ok(Some(_)) => return Ok(ImportOutcome::AlreadyThere(id)),
                // Its original was lost: this is a chance to put it back.
                Ok(None) => {}
                Err(error) => return Ok(store_failed(&error)),
            }
        }

        let key = keys::original(&id);
        if let Err(outcome) = self.store_original(path, &facts).await {
            return Ok(outcome);
        }
        if known.is_some() {
            self.catalog.move_original(&id, &key).await?;
            return Ok(ImportOutcome::Imported(id));
        }
        let added = self
            .catalog
            .add_asset(&NewAsset {
                id: id.clone(),
                key,
                name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                size_bytes: facts.len_bytes,
                mime: facts.mime,
                folder: folder_of(&self.root, path),
                created_at: facts
                    .modified
                    .and_then(|time| Timestamp::try_from(time).ok())
                    .unwrap_or_else(Timestamp::now),
                source_node: self.source_node.clone(),
                origin_path: Some(path.to_string_lossy().into_owned()),
            })
            .await?;
        Ok(match added {
            Added::New => ImportOutcome::Imported(id),
            // Another file of the same bytes was faster.
            Added::Known => ImportOutcome::AlreadyThere(id),
        })
    }

    /// Copies the file into the store unless its bytes are there.
    async fn store_original(&self, path: &Path, facts: &FileFacts) -> Result<(), ImportOutcome> {
        let key = keys::original(&facts.id);
        let stored = self.store.head(&key).await.map_err(|error| store_failed(&error))?;
        if stored.is_some_and(|meta| meta.len_bytes == facts.len_bytes) {
            return Ok(());
        }
        self.store.put_file(&key, path, &facts.mime).await.map_err(|error| store_failed(&error))?;
        // A file being written to is not what was hashed any more, and must not bear that name.
        let meta = tokio::fs::metadata(path).await;
        let is_same = meta.is_ok_and(|meta| {
            meta.len() == facts.len_bytes && meta.modified().ok() == facts.modified
        });
        if is_same {
            return Ok(());
        }
        self.store.delete(&key).await.map_err(|error| store_failed(&error))?;
        Err(ImportOutcome::Failed(
            "It changed while it was being imported; import it again.".into(),
        ))
    }
}

fn store_failed(error: &BlobError) -> ImportOutcome {
    ImportOutcome::Failed(format!("It could not be stored: {error}."))
}

/// `None` when the file is no media. Blocks.
fn look_at(path: &Path) -> io::Result<Option<FileFacts>> {
    let meta = fs::metadata(path)?;
    let mut head = Vec::with_capacity(sniff::HEAD_BYTES);
    File::open(path)?.take(sniff::HEAD_BYTES as u64).read_to_end(&mut head)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(mime) = sniff::media_mime(&head, &name) else { return Ok(None) };
    let id = AssetId::from_digest(hash::sha256_file(path)?);
    Ok(Some(FileFacts { mime, id, len_bytes: meta.len(), modified: meta.modified().ok() }))
}

/// Name of the imported folder and the folders below it, slash-separated.
fn folder_of(root: &Path, path: &Path) -> String {
    let below = path.parent().and_then(|parent| parent.strip_prefix(root).ok());
    let below = below.into_iter().flat_map(Path::iter);
    let segments: Vec<_> = root
        .file_name()
        .into_iter()
        .chain(below)
        .map(|segment| segment.to_string_lossy())
        .collect();
    segments.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(root: &str, path: &str, expected: &str) {
        assert_eq!(folder_of(Path::new(root), Path::new(path)), expected);
    }

    #[test]
    fn asset_folder_begins_with_the_name_of_the_imported_folder() {
        check("/home/x/Photos", "/home/x/Photos/a.jpg", "Photos");
        check("/home/x/Photos", "/home/x/Photos/2024/may/a.jpg", "Photos/2024/may");
        check("/", "/mnt/a.jpg", "mnt");
    }
}
