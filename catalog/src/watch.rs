//! Watched folders: what is put into them becomes assets by itself.
//!
//! Must not: change or remove anything in a watched folder, or take a file that is still being written.
//!
//! Rules: a file is taken once its length and time have stayed the same for the settling time. Hidden
//! files and the names of unfinished downloads are left out. Originals are copied into the store, so a
//! file that is removed from the folder changes nothing; one that is moved within it takes its asset's
//! name and folder along, unless somebody has given the asset others. A changed file is a new asset. A
//! file whose asset was purged is not taken again.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    blob::BlobStore,
    db::{Catalog, CatalogError},
    import::{ImportOutcome, Importer, Purged, stamp, stamp_of, wanted},
    settle::{Settling, Stamp},
};

/// Changes waiting to be looked at; when there are more, the whole folder is looked through.
const CHANGE_QUEUE: usize = 1024;
/// Files on their way from a look through the folder.
const FOUND_QUEUE: usize = 64;
/// The folder is looked through this often even where changes are told: what is told can be lost.
const SWEEP_PERIOD: Duration = Duration::from_secs(300);
/// And this often where they are not.
const POLL_PERIOD: Duration = Duration::from_secs(10);
/// Files that failed and are not told of again while they look the same.
const MAX_FAILED: usize = 1000;
/// What browsers and transfer programs call a file until it is whole.
const UNFINISHED: [&str; 5] = ["part", "partial", "crdownload", "filepart", "tmp"];

/// A folder to be watched.
#[derive(Debug, Clone)]
pub struct WatchedFolder {
    /// The folder on this machine.
    pub path: PathBuf,
    /// Folder of the library that it becomes; empty is the top.
    pub folder: String,
    /// How long a file has to stay the same before it is taken.
    pub settle: Duration,
    /// This machine's name.
    pub node: Option<String>,
    /// Folders below it to be left out.
    pub exclude: Vec<PathBuf>,
}

/// Watches a folder until the token is cancelled. A folder that is not there is waited for.
pub async fn watch(
    catalog: Catalog,
    store: BlobStore,
    folder: WatchedFolder,
    token: CancellationToken,
) {
    let mut was_told = false;
    loop {
        match tokio::fs::canonicalize(&folder.path).await {
            Ok(root) => {
                let importer = Importer {
                    catalog: catalog.clone(),
                    store: store.clone(),
                    root: root.into(),
                    folder: folder.folder.as_str().into(),
                    node: folder.node.as_deref().unwrap_or_default().into(),
                    purged: Purged::Leave,
                    progress: Arc::default(),
                };
                let exclude = folder.exclude.iter().filter_map(|path| path.canonicalize().ok());
                let watch = Watch {
                    importer,
                    exclude: exclude.collect(),
                    settling: Settling::new(folder.settle),
                    failed: HashMap::new(),
                };
                return watch.run(&token).await;
            }
            Err(cause) if !was_told => {
                was_told = true;
                let path = folder.path.display();
                warn!(path = %path, error = %cause, "watched folder {path} is not there yet: {cause}");
            }
            Err(_) => {}
        }
        tokio::select! {
            biased;
            () = token.cancelled() => return,
            () = tokio::time::sleep(POLL_PERIOD) => {}
        }
    }
}

/// One watched folder.
struct Watch {
    importer: Importer,
    exclude: Vec<PathBuf>,
    settling: Settling,
    failed: HashMap<PathBuf, Stamp>,
}

/// What the system tells of changes.
struct Changes {
    paths: mpsc::Receiver<PathBuf>,
    /// Some were not told.
    is_overrun: Arc<AtomicBool>,
    /// Stops telling when dropped; `None` where the system cannot tell.
    watcher: Option<notify::RecommendedWatcher>,
}

impl Changes {
    fn listen(root: &Path) -> Self {
        let (sender, paths) = mpsc::channel(CHANGE_QUEUE);
        let is_overrun = Arc::new(AtomicBool::new(false));
        let overrun = is_overrun.clone();
        let tell = move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return overrun.store(true, Ordering::Relaxed) };
            if event.kind.is_access() {
                return;
            }
            let is_lost = event.need_rescan();
            let is_full = event.paths.into_iter().any(|path| sender.try_send(path).is_err());
            if is_lost || is_full {
                overrun.store(true, Ordering::Relaxed);
            }
        };
        let watcher = notify::recommended_watcher(tell).and_then(|mut watcher| {
            watcher.watch(root, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        let watcher = watcher.map_err(|cause| {
            let (root, secs) = (root.display(), POLL_PERIOD.as_secs());
            warn!(
                path = %root, error = %cause,
                "changes in {root} are not told ({cause}); it is looked through every {secs} s"
            );
        });
        Self { paths, is_overrun, watcher: watcher.ok() }
    }
}

impl Watch {
    async fn run(mut self, token: &CancellationToken) {
        let root = self.importer.root.clone();
        let mut changes = Changes::listen(&root);
        info!(path = %root.display(), "watching {}", root.display());
        let mut sweep_at = Instant::now();
        loop {
            let next = self.settling.next_due().map_or(sweep_at, |due| due.min(sweep_at));
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                Some(path) = changes.paths.recv() => {
                    if self.changed(path).await {
                        sweep_at = Instant::now();
                    }
                    if changes.is_overrun.swap(false, Ordering::Relaxed) {
                        sweep_at = Instant::now();
                    }
                    // Files that settled meanwhile are not to wait for the changes to end.
                    if Instant::now() < next {
                        continue;
                    }
                }
                () = tokio::time::sleep_until(next.into()) => {}
            }
            let work = async {
                if Instant::now() >= sweep_at {
                    self.sweep().await?;
                    let is_told = changes.watcher.is_some();
                    sweep_at = Instant::now() + if is_told { SWEEP_PERIOD } else { POLL_PERIOD };
                }
                self.take_settled().await
            };
            let outcome = tokio::select! {
                biased;
                () = token.cancelled() => return,
                outcome = work => outcome,
            };
            if let Err(cause) = outcome {
                let root = root.display();
                warn!(path = %root, error = %cause, "watched folder {root} has to wait: {cause}");
                sweep_at = Instant::now() + POLL_PERIOD;
            }
        }
    }

    /// Whether the whole folder is to be looked through.
    async fn changed(&mut self, path: PathBuf) -> bool {
        if !self.is_wanted(&path) {
            return false;
        }
        match tokio::fs::symlink_metadata(&path).await {
            Ok(meta) if meta.is_file() => {
                self.settling.saw(&path, stamp_of(&meta), Instant::now());
                false
            }
            // A folder that was moved here has files of which nothing is told.
            Ok(meta) => meta.is_dir(),
            Err(_) => {
                self.settling.forget(&path);
                false
            }
        }
    }

    fn is_wanted(&self, path: &Path) -> bool {
        let Ok(below) = path.strip_prefix(&self.importer.root) else { return false };
        let is_hidden = below.iter().any(|part| part.as_encoded_bytes().starts_with(b"."));
        !is_hidden
            && !is_unfinished(path)
            && !self.exclude.iter().any(|exclude| path.starts_with(exclude))
    }

    /// Looks through the folder for files that were not taken as they are now.
    async fn sweep(&mut self) -> Result<(), CatalogError> {
        let (sender, mut found) = mpsc::channel(FOUND_QUEUE);
        let (root, exclude) = (self.importer.root.clone(), self.exclude.clone());
        // Ends by itself when nobody takes what it finds any more.
        let walk = tokio::task::spawn_blocking(move || {
            for entry in wanted(&root, &exclude).flatten() {
                if !entry.file_type().is_file() || is_unfinished(entry.path()) {
                    continue;
                }
                let Ok(meta) = entry.metadata() else { continue };
                if sender.blocking_send((entry.into_path(), stamp_of(&meta))).is_err() {
                    return;
                }
            }
        });
        while let Some((path, stamp)) = found.recv().await {
            let seen = match path.to_str() {
                Some(text) => self.importer.catalog.seen_file(&self.importer.node, text).await?,
                None => None,
            };
            if seen.is_none_or(|seen| seen.stamp != stamp) {
                self.settling.saw(&path, stamp, Instant::now());
            }
        }
        // A walk that failed has found what it could.
        drop(walk.await);
        Ok(())
    }

    async fn take_settled(&mut self) -> Result<(), CatalogError> {
        for (path, settled) in self.settling.due(Instant::now()) {
            match stamp(&path).await {
                Ok(now) if now == settled => self.settling.forget(&path),
                Ok(now) => {
                    self.settling.saw(&path, now, Instant::now());
                    continue;
                }
                Err(_) => {
                    self.settling.forget(&path);
                    continue;
                }
            }
            let outcome = self.importer.import_file(&path).await?;
            let shown = path.display();
            match outcome {
                ImportOutcome::Imported(id) => {
                    info!(asset = %id, path = %shown, "{shown} is an asset now");
                }
                // The next look through the folder tries it again.
                ImportOutcome::Failed(reason) => {
                    if self.failed.len() >= MAX_FAILED {
                        self.failed.clear();
                    }
                    if self.failed.insert(path.clone(), settled) != Some(settled) {
                        warn!(path = %shown, "{shown} was left out: {reason}");
                    }
                }
                ImportOutcome::AlreadyThere(_) | ImportOutcome::Skipped => {}
            }
        }
        Ok(())
    }
}

fn is_unfinished(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|ext| UNFINISHED.iter().any(|known| ext.eq_ignore_ascii_case(known)))
}
