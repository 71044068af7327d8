//! Takes the pictures, videos and sounds of a local folder into the blob store and the catalog.
//!
//! Must not: decode a file, change the folder, follow a symbolic link, or let one file stop the
//! rest. The original is stored before its row is written, so that a run cut off loses nothing
//! and the next one finishes its work.

mod file;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use domain::AssetId;
use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use walkdir::WalkDir;

use crate::{
    blob::BlobStore,
    db::{Catalog, CatalogError},
};

pub(crate) use file::{Importer, Purged, stamp, stamp_of};
pub use file::{Progress, parse_folder};

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
    /// Folder of the library that the imported one becomes, see [`parse_folder`]; its name unless given.
    pub folder: Option<String>,
    /// Where to tell how far it has come.
    pub progress: Arc<Progress>,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            parallel: 2,
            source_node: None,
            exclude: Vec::new(),
            folder: None,
            progress: Arc::default(),
        }
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
/// An asset's folder is the name of `folder` (or [`ImportOptions::folder`]) and the file's folders
/// below it. Hidden files and folders are left out. Files that an earlier run has read and that look
/// the same are not read again, so that a run cut off goes on where it was.
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
    let exclude = file::canonical(&options.exclude);
    let (count_root, count_exclude) = (root.clone(), exclude.clone());
    let progress = options.progress.clone();
    // Ahead of the import, so that its end can be foretold.
    let count = tokio::task::spawn_blocking(move || {
        for entry in wanted(&count_root, &count_exclude).flatten() {
            if entry.file_type().is_file() {
                progress.add_found(entry.metadata().map_or(0, |meta| meta.len()));
            }
        }
        progress.is_all_found.store(true, Ordering::Relaxed);
    });
    let walk_root = root.clone();
    // Ends by itself when this function returns early: nobody takes what it finds any more.
    let walk = tokio::task::spawn_blocking(move || walk(&walk_root, &exclude, &found_tx));

    let found = stream::unfold(found_rx, |mut rx| async { rx.recv().await.map(|f| (f, rx)) });
    let run = Importer {
        catalog: catalog.clone(),
        store: store.clone(),
        folder: options.folder.clone().unwrap_or_else(|| file::folder_named_like(&root)).into(),
        root: root.into(),
        node: options.source_node.as_deref().unwrap_or_default().into(),
        purged: Purged::TakeAgain,
        progress: options.progress.clone(),
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
    count.await.map_err(|error| folder_error(io::Error::other(error)))?;
    Ok(summary)
}

/// What the walk comes across.
enum Found {
    File(PathBuf),
    Unreadable(FailedFile),
}

/// Files and folders below `root`, without hidden ones and those of `exclude`, by name.
pub(crate) fn wanted(
    root: &Path,
    exclude: &[PathBuf],
) -> impl Iterator<Item = walkdir::Result<walkdir::DirEntry>> {
    let is_wanted = move |entry: &walkdir::DirEntry| {
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        (entry.depth() == 0 || !is_hidden) && !exclude.iter().any(|path| path == entry.path())
    };
    WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(is_wanted)
}

/// Sends every file below `root`; blocks.
fn walk(root: &Path, exclude: &[PathBuf], found: &mpsc::Sender<Found>) {
    for entry in wanted(root, exclude) {
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
