//! Thumbnails of a store elsewhere, kept on this machine's disk: at most 1 GiB, none that nobody asked for
//! in 7 days.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::{sync::Notify, time::sleep};
use tracing::warn;

/// Bytes of all files.
const MAX_BYTES: u64 = 1 << 30;
/// A file that was not asked for in so long is removed.
const IDLE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// That a file was asked for is noted this often.
const TOUCH_PERIOD: Duration = Duration::from_secs(3600);
/// How often files are looked through, and after how many bytes written.
const SWEEP_PERIOD: Duration = Duration::from_secs(3600);
const SWEEP_AFTER_BYTES: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct ThumbDisk {
    folder: PathBuf,
    written_bytes: AtomicU64,
    sweep: Notify,
}

impl ThumbDisk {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, written_bytes: AtomicU64::new(0), sweep: Notify::new() }
    }

    /// Where a file of a checked name is: its modification time is when it was last asked for.
    fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file.get(..2).unwrap_or("_")).join(file)
    }

    pub(super) async fn read(&self, file: &str) -> Option<Bytes> {
        let path = self.path(file);
        let read = tokio::task::spawn_blocking(move || {
            let bytes = fs::read(&path).ok().filter(|bytes| !bytes.is_empty())?;
            let now = SystemTime::now();
            let asked = fs::metadata(&path).and_then(|metadata| metadata.modified());
            if asked.is_ok_and(|asked| now.duration_since(asked).is_ok_and(|t| t > TOUCH_PERIOD)) {
                let touch = |file: fs::File| file.set_modified(now);
                let _ = fs::File::options().write(true).open(&path).and_then(touch);
            }
            Some(Bytes::from(bytes))
        });
        read.await.ok()?
    }

    /// Writes a file whole or not at all; that it cannot be written is told and no more.
    pub(super) async fn write(&self, file: &str, bytes: Bytes) {
        let (path, len) = (self.path(file), bytes.len() as u64);
        let written = tokio::task::spawn_blocking(move || -> io::Result<()> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let temp = path.with_extension("tmp");
            fs::write(&temp, &bytes)?;
            fs::rename(&temp, &path)
        });
        if let Ok(Err(error)) = written.await {
            warn!(%error, "cannot keep a thumbnail in {}: {error}", self.folder.display());
        }
        if self.written_bytes.fetch_add(len, Relaxed) + len >= SWEEP_AFTER_BYTES {
            self.written_bytes.store(0, Relaxed);
            self.sweep.notify_one();
        }
    }

    pub(super) async fn has(&self, file: &str) -> bool {
        tokio::fs::try_exists(self.path(file)).await.unwrap_or(false)
    }

    pub(super) async fn remove(&self, file: &str) {
        let path = self.path(file);
        if let Err(error) = tokio::fs::remove_file(&path).await {
            warn!(%error, "cannot remove {}: {error}", path.display());
        }
    }

    /// Removes what is too old and too much, for ever.
    pub(super) async fn run(&self) {
        loop {
            let folder = self.folder.clone();
            let _ = tokio::task::spawn_blocking(move || sweep(&folder)).await;
            tokio::select! {
                () = self.sweep.notified() => {}
                () = sleep(SWEEP_PERIOD) => {}
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    path: PathBuf,
    len_bytes: u64,
    asked: SystemTime,
}

/// Removes what is too old and too much.
fn sweep(folder: &Path) {
    let list = |folder: &Path| fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let files = list(folder).flat_map(|below| list(&below.path())).filter_map(|file| {
        let metadata = file.metadata().ok().filter(fs::Metadata::is_file)?;
        let asked = metadata.modified().ok()?;
        Some(Kept { path: file.path(), len_bytes: metadata.len(), asked })
    });
    for file in to_remove(files.collect(), SystemTime::now(), MAX_BYTES) {
        if let Err(error) = fs::remove_file(&file.path) {
            warn!(%error, "cannot remove {}: {error}", file.path.display());
        }
    }
}

/// Files to remove: those not asked for in a week, then those asked for longest ago, until the rest is at
/// most `max_bytes`.
fn to_remove(mut files: Vec<Kept>, now: SystemTime, max_bytes: u64) -> Vec<Kept> {
    files.sort_by_key(|file| file.asked);
    let mut sum: u64 = files.iter().map(|file| file.len_bytes).sum();
    files
        .into_iter()
        .take_while(|file| {
            let is_idle = now.duration_since(file.asked).is_ok_and(|idle| idle > IDLE_MAX);
            let goes = is_idle || sum > max_bytes;
            sum = sum.saturating_sub(file.len_bytes);
            goes
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removed(files: &[(&str, u64, u64)], max_bytes: u64) -> Vec<String> {
        let now = SystemTime::now();
        let files = files.iter().map(|(name, len_bytes, idle_days)| Kept {
            path: name.into(),
            len_bytes: *len_bytes,
            asked: now - Duration::from_secs(idle_days * 24 * 3600),
        });
        let removed = to_remove(files.collect(), now, max_bytes);
        removed.into_iter().map(|file| file.path.display().to_string()).collect()
    }

    #[test]
    fn what_was_not_asked_for_in_a_week_goes_and_then_the_oldest_that_is_too_much() {
        let files = [("new", 10, 0), ("week", 10, 6), ("old", 10, 8), ("older", 10, 9)];
        assert_eq!(removed(&files, 100), ["older", "old"]);
        assert_eq!(removed(&files, 10), ["older", "old", "week"]);
        assert_eq!(removed(&files, 0), ["older", "old", "week", "new"]);
        assert_eq!(removed(&files[..2], 20), Vec::<String>::new());
        assert_eq!(removed(&[], 0), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_file_that_was_written_is_read_and_one_of_no_bytes_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let disk = ThumbDisk::new(folder.path().into());
        assert_eq!(disk.read("ab.webp").await, None);
        disk.write("ab.webp", Bytes::from_static(b"bytes")).await;
        assert_eq!(disk.read("ab.webp").await.unwrap(), "bytes");
        disk.write("ab.webp", Bytes::new()).await;
        assert_eq!(disk.read("ab.webp").await, None, "cut off by a power failure");
        sweep(folder.path());
        assert!(folder.path().join("ab/ab.webp").exists());
    }
}
