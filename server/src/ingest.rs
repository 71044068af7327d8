//! What comes into the library by itself: watched folders, the look through the store, and objects that
//! the store says have changed.
//!
//! Must not: answer requests. Each is a task on the jobs' tracker and ends on its token.

use std::{sync::Arc, time::Duration};

use catalog::{
    BlobKey, BlobStore, Catalog, ReconcileOptions,
    reconcile::{ReconcileError, ReconcileSummary, reconcile_key},
    watch::{WatchedFolder, watch},
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

use crate::config::Config;

/// Objects that are said to have changed and wait to be looked at. What does not fit is found by the
/// look through the store.
const EVENT_QUEUE: usize = 1024;

/// Takes what the store says has changed; cheap to clone.
#[derive(Clone)]
pub struct BucketEvents(Option<Arc<Inner>>);

struct Inner {
    token: String,
    bucket: String,
    keys: mpsc::Sender<BlobKey>,
}

impl std::fmt::Debug for BucketEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "BucketEvents(…)" } else { "BucketEvents(off)" })
    }
}

impl BucketEvents {
    /// Takes events if the configuration has a token for them; the other end gives their keys.
    pub fn new(config: &Config) -> (Self, mpsc::Receiver<BlobKey>) {
        let (keys, changed) = mpsc::channel(EVENT_QUEUE);
        let inner = config.store.events_token.as_ref().map(|token| {
            let (token, bucket) = (token.expose().to_owned(), config.store.bucket.clone());
            Arc::new(Inner { token, bucket, keys })
        });
        (Self(inner), changed)
    }

    /// The secret that a store has to bring; `None` when no events are taken.
    pub(crate) fn token(&self) -> Option<&str> {
        self.0.as_ref().map(|inner| inner.token.as_str())
    }

    /// Has an object looked at; `false` if it is another bucket's or too many wait.
    pub(crate) fn push(&self, bucket: &str, key: BlobKey) -> bool {
        let inner = self.0.as_ref().filter(|inner| inner.bucket == bucket);
        inner.is_some_and(|inner| inner.keys.try_send(key).is_ok())
    }
}

/// Starts all of it.
pub(crate) fn start(
    config: &Config,
    catalog: &Catalog,
    store: &BlobStore,
    changed: mpsc::Receiver<BlobKey>,
    jobs: &TaskTracker,
    token: &CancellationToken,
) {
    let until = |token: &CancellationToken| token.clone();
    jobs.spawn(look_at_changed(catalog.clone(), store.clone(), changed, until(token)));
    if config.store.scan_interval_secs > 0 {
        let period = Duration::from_secs(config.store.scan_interval_secs);
        jobs.spawn(reconcile_now_and_then(catalog.clone(), store.clone(), period, until(token)));
    }
    for section in &config.watch {
        let folder = WatchedFolder {
            path: section.path.clone(),
            folder: section.library_folder(),
            settle: Duration::from_secs(section.settle_secs),
            node: hostname(),
            exclude: vec![config.server.data_dir.clone(), config.store_root()],
        };
        jobs.spawn(watch(catalog.clone(), store.clone(), folder, until(token)));
    }
}

/// This machine's name.
pub(crate) fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

async fn look_at_changed(
    catalog: Catalog,
    store: BlobStore,
    mut changed: mpsc::Receiver<BlobKey>,
    token: CancellationToken,
) {
    let work = async {
        while let Some(key) = changed.recv().await {
            if let Err(cause) = reconcile_key(&catalog, &store, &key).await {
                warn!(key = %key, error = %cause, "object {key} has to wait for the next look: {cause}");
            }
        }
        // Nobody tells of changes.
        std::future::pending().await
    };
    tokio::select! {
        biased;
        () = token.cancelled() => {}
        () = work => {}
    }
}

async fn reconcile_now_and_then(
    catalog: Catalog,
    store: BlobStore,
    period: Duration,
    token: CancellationToken,
) {
    let options = ReconcileOptions::default();
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_failed = 0;
    loop {
        tokio::select! {
            biased;
            () = token.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let outcome = tokio::select! {
            biased;
            () = token.cancelled() => return,
            outcome = catalog::reconcile(&catalog, &store, &options, |_| {}) => outcome,
        };
        match outcome {
            Ok(summary) => tell(&summary, &mut last_failed),
            // Another replica is at it, for all of us.
            Err(ReconcileError::Busy) => {}
            Err(cause) => error!(error = %cause, "look through the blob store failed: {cause}"),
        }
    }
}

fn tell(summary: &ReconcileSummary, last_failed: &mut u64) {
    if summary.is_change() {
        let ReconcileSummary { registered, moved, missing, found_again, .. } = summary;
        info!(
            registered,
            moved,
            missing,
            found_again,
            "blob store: {registered} originals found, {moved} moved, {missing} missing, \
             {found_again} found again"
        );
    }
    // The same bad objects are met at every look and told of once.
    if summary.failed != *last_failed {
        *last_failed = summary.failed;
        for failed in &summary.failures {
            warn!(key = %failed.key, "object {} was left out: {}", failed.key, failed.reason);
        }
    }
}
