//! A job's folder for temporary files.
//!
//! Must not: be removed by a thread of the runtime. It may hold gigabytes, and the file system takes its time.

use std::{io, path::Path};

use tempfile::TempDir;
use tokio::task::{JoinHandle, spawn_blocking};

/// Gone some time after it is dropped.
#[derive(Debug)]
pub(super) struct TempFolder(Option<TempDir>);

impl TempFolder {
    /// A new one in `parent`.
    pub(super) fn within(parent: &Path) -> io::Result<Self> {
        tempfile::Builder::new().prefix("damwall-job-").tempdir_in(parent).map(Some).map(Self)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.as_ref().expect("it is there until it is dropped").path()
    }

    /// Removes it; done when it is gone.
    pub(super) async fn close(mut self) {
        if let Some(removal) = self.remove() {
            // It does not panic, and ends early only with the runtime.
            let _ = removal.await;
        }
    }

    fn remove(&mut self) -> Option<JoinHandle<()>> {
        let dir = self.0.take()?;
        Some(spawn_blocking(move || {
            let path = dir.path().to_owned();
            if let Err(error) = dir.close() {
                let path = path.display();
                tracing::warn!(%error, "a job's temporary files stay at {path}: {error}");
            }
        }))
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // Its job was stopped, or lost: nobody waits.
        drop(self.remove());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// One thread of its own, and one for what takes long.
    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap()
    }

    #[test]
    fn folder_of_a_job_that_was_stopped_is_removed_beside_the_runtime() {
        let (dir, runtime) = (tempfile::tempdir().unwrap(), runtime());
        let (go_on, wait) = mpsc::channel::<()>();
        let path = runtime.block_on(async {
            // The one thread that may remove it is busy.
            let busy = spawn_blocking(move || wait.recv().unwrap());
            let temp = TempFolder::within(dir.path()).unwrap();
            let path = temp.path().to_owned();
            std::fs::write(path.join("original"), "bytes").unwrap();
            drop(temp);
            assert!(path.join("original").exists(), "this thread has removed it");
            go_on.send(()).unwrap();
            busy.await.unwrap();
            // Behind the removal in the queue.
            spawn_blocking(|| {}).await.unwrap();
            path
        });
        assert!(!path.exists());
    }

    #[test]
    fn folder_of_a_job_that_has_ended_is_gone() {
        let (dir, runtime) = (tempfile::tempdir().unwrap(), runtime());
        let temp = TempFolder::within(dir.path()).unwrap();
        let path = temp.path().to_owned();
        runtime.block_on(temp.close());
        assert!(!path.exists());
    }
}
