//! Answers that are kept: pages and reads of the API, made once and sent many times (ISR).
//!
//! Owns: what is kept, for whom and how long, and that it is made once however many ask. Must not: decide
//! who a request is from (`crate::auth` does), know what a page shows, or read the catalog.
//!
//! # The way of a request
//!
//! `crate::front` asks `auth` who it is from, names the answer with a `key::Key`, and looks here:
//!
//! - **fresh** (60 s): sent at once. Neither Leptos nor the catalog nor the router is touched; the answer is
//!   clones of prepared headers and of a body that is kept in every encoding (`content`).
//! - **stale** (120 s more): sent at once, and made anew behind.
//! - **old or changed**: the asker waits for the new one, and gets the last good one only if that fails.
//! - **not there**: the asker waits.
//!
//! # Making an answer
//!
//! A `flight` makes one answer in a task of its own that outlives its askers; whoever asks for the
//! same meanwhile waits for it too. The render is given the key and nothing else of anybody's request. At
//! most `RENDERS_AT_ONCE` run at once, `FLIGHTS_MAX` wait, and one that takes `RENDER_TIMEOUT` has
//! failed.
//!
//! - A **5xx** never takes the place of a good answer; the next try is 3, 6 … 30 s later. With no good answer
//!   the failure itself is sent until then, so that a broken catalog is not asked by everyone again.
//! - **Any other status** but 200 is sent to who waits and not kept; a good answer of that key is forgotten,
//!   for a deleted asset must not stay.
//! - **`Set-Cookie` or `no-store`** is for one asker alone: nothing is kept or shared, and every asker's
//!   request is passed on to the router.
//! - An answer that **noted no tags** is not kept: nothing would tell that it has changed.
//!
//! # Changes
//!
//! `catalog.changes()` tells the tags of every write, of other processes too. An answer whose tags meet them
//! is old from then on, and so is one that is being made: who asks after the change gets an answer whose
//! render began after it, those who asked before need not wait longer. Renders of a page that changes all
//! the time keep 100 ms apart.
//!
//! # Memory and disk
//!
//! Bounded by bytes; what is asked for often stays (`moka`). Good answers are also written to the data
//! folder (`disk`), in a folder named by the build, and are stale after a restart: sent at once, made
//! behind.

mod content;
mod csp;
mod disk;
mod flight;
mod freshness;
mod key;
pub(crate) mod negotiate;
mod page;
mod tags;
#[cfg(test)]
mod tests;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use axum::{Router, http::HeaderMap};
use catalog::Tag;
use tokio::{
    sync::{Semaphore, broadcast, mpsc, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

pub(crate) use content::{Chosen, Content};
pub(crate) use key::{Key, Kind, Target};
pub(crate) use page::Page;

use self::{
    disk::Disk,
    flight::{Joined, Lanes, Outcome},
    freshness::Verdict,
    tags::TagSet,
};

/// Bytes of answers kept in memory.
const MEMORY_MAX_BYTES: u64 = 64 << 20;
/// An answer that nobody asked for so long is forgotten.
const IDLE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Renders at once.
pub(crate) const RENDERS_AT_ONCE: usize = 4;
/// Answers being made or waiting to be; above it askers are told to come again.
pub(crate) const FLIGHTS_MAX: usize = 1024;
/// A render that takes longer has failed.
const RENDER_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest answer that is kept.
const BODY_MAX_BYTES: usize = 8 << 20;
/// How often what is on disk is brought up to date.
const DISK_PERIOD: Duration = Duration::from_secs(30);

/// How to keep answers.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Folder for answers that outlive a restart; none are written without one.
    pub folder: Option<PathBuf>,
    /// Changes whenever another build or another configuration would make other answers.
    pub build: String,
    /// Whether others may keep answers too: there is no login.
    pub is_open: bool,
    /// Tells the time.
    pub clock: Clock,
}

/// A clock that only goes forward. Tests can make it jump.
#[derive(Debug, Clone)]
pub struct Clock {
    began: Instant,
    ahead_ms: Arc<AtomicI64>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { began: Instant::now(), ahead_ms: Arc::default() }
    }
}

impl Clock {
    /// Makes it this much later.
    pub fn advance(&self, by: Duration) {
        self.ahead_ms.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Relaxed);
    }

    pub(crate) fn now_ms(&self) -> i64 {
        let elapsed_ms = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        elapsed_ms.saturating_add(self.ahead_ms.load(Relaxed))
    }
}

/// Kept answers; cheap to clone.
#[derive(Debug, Clone)]
pub struct PageCache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pages: moka::sync::Cache<Key, Arc<Page>>,
    lanes: Mutex<Lanes>,
    /// Makes an answer from a request with an `Access` in it.
    render: Router,
    renders: Semaphore,
    render_timeout: Duration,
    /// One body at a time is compressed with brotli.
    brotli: Arc<Semaphore>,
    tasks: TaskTracker,
    rendered: AtomicU64,
    /// Askers who want every change told so far to be heard; answered in [`PageCache::run`].
    settle: mpsc::Sender<oneshot::Sender<()>>,
    settling: Mutex<Option<mpsc::Receiver<oneshot::Sender<()>>>>,
    /// Until it is run.
    disk: Mutex<Option<Disk>>,
    settings: Settings,
}

/// What a look at the kept answers found.
#[derive(Debug)]
pub(crate) enum Look {
    /// Send this.
    Serve(Arc<Page>, Served),
    /// Wait for a new one.
    Wait,
}

/// What an asker that waited gets.
#[derive(Debug)]
pub(crate) enum Waited {
    /// This.
    Serve(Arc<Page>, Served),
    /// An answer of its own, from the router.
    PassOn,
    /// Word that there is too much to do.
    Busy,
}

/// Why an answer is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    /// Kept and fresh.
    Hit {
        /// Seconds left.
        ttl_secs: i64,
    },
    /// Kept and no longer fresh; the next one is being made.
    Stale {
        /// Seconds left, negative.
        ttl_secs: i64,
    },
    /// Kept, because the last render failed.
    AfterFailure {
        /// Seconds left.
        ttl_secs: i64,
    },
    /// Made now.
    Made {
        /// There was an old one.
        was_kept: bool,
        /// Another asker had it made.
        collapsed: bool,
        /// It is kept from now on.
        is_kept: bool,
    },
}

impl PageCache {
    /// Keeps what `render` answers. Changes are heard of in [`PageCache::run`].
    pub(crate) fn new(render: Router, settings: Settings) -> Self {
        let weigh = |key: &Key, page: &Arc<Page>| {
            let tags_bytes = page.tags.numbers().len() * 8;
            let bytes = page.content.weight_bytes() + tags_bytes + key.target().len();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let pages = moka::sync::Cache::builder()
            .max_capacity(MEMORY_MAX_BYTES)
            .weigher(weigh)
            .time_to_idle(IDLE_MAX)
            .build();
        let (settle, settling) = mpsc::channel(16);
        Self(Arc::new(Inner {
            settle,
            settling: Mutex::new(Some(settling)),
            disk: Mutex::default(),
            pages,
            lanes: Mutex::default(),
            render,
            renders: Semaphore::new(RENDERS_AT_ONCE),
            render_timeout: RENDER_TIMEOUT,
            brotli: Arc::new(Semaphore::new(1)),
            tasks: TaskTracker::new(),
            rendered: AtomicU64::new(0),
            settings,
        }))
    }

    /// Renders so far, failed ones too.
    pub fn rendered(&self) -> u64 {
        self.0.rendered.load(Relaxed)
    }

    /// Finds what was kept under a key's text ([`Key::text`]).
    pub(crate) fn look(&self, key: &str) -> Look {
        let Some(page) = self.0.pages.get(key) else { return Look::Wait };
        let served = match page.age().verdict(self.0.settings.clock.now_ms()) {
            Verdict::Fresh { ttl_secs } => Served::Hit { ttl_secs },
            Verdict::BackOff { ttl_secs } => Served::AfterFailure { ttl_secs },
            Verdict::Stale { ttl_secs } => {
                // Nobody waits for it, so that there is too much to do now is no failure.
                self.join(&Key::from_text(key.to_owned()));
                Served::Stale { ttl_secs }
            }
            Verdict::Old => return Look::Wait,
        };
        Look::Serve(page, served)
    }

    /// Waits for an answer that is made after now.
    pub(crate) async fn wait(&self, key: &Key) -> Waited {
        let old = self.0.pages.get(key).filter(|page| page.is_good());
        loop {
            let mut ticket = match self.join(key) {
                Joined::There(page, served) => return Waited::Serve(page, served),
                Joined::Flight(ticket) => ticket,
                Joined::Full => return Waited::Busy,
            };
            let Ok(landed) = ticket.landed.wait_for(Option::is_some).await.map(|l| l.clone())
            else {
                // Only when the program ends.
                return Waited::Busy;
            };
            let Some(landed) = landed else { return Waited::Busy };
            if landed.outdated_at.is_some_and(|change| change <= ticket.changes_before) {
                // It was made from what was there before a change that this asker may know of.
                continue;
            }
            let made = |is_kept| Served::Made {
                was_kept: old.is_some(),
                collapsed: ticket.collapsed,
                is_kept,
            };
            return match landed.outcome {
                Outcome::Good(page) => Waited::Serve(page, made(true)),
                Outcome::Other(page) => Waited::Serve(page, made(false)),
                Outcome::Failed(failure) => match old {
                    Some(old) => {
                        let ttl_secs = match old.age().verdict(self.0.settings.clock.now_ms()) {
                            Verdict::BackOff { ttl_secs } => ttl_secs,
                            _ => 0,
                        };
                        Waited::Serve(old, Served::AfterFailure { ttl_secs })
                    }
                    None => Waited::Serve(failure, made(false)),
                },
                Outcome::ForOne => Waited::PassOn,
            };
        }
    }

    /// Has the brotli body made, once, when an asker would rather have it.
    pub(crate) fn ask_for_brotli(&self, page: &Page, request: &HeaderMap) {
        if !page.content.begin_brotli(request) {
            return;
        }
        let (content, turn) = (page.content.clone(), self.0.brotli.clone());
        self.0.tasks.spawn(async move {
            let Ok(_turn) = turn.acquire_owned().await else { return };
            // It only computes; a panic in it leaves the page without brotli.
            let _ = tokio::task::spawn_blocking(move || content.make_brotli()).await;
        });
    }

    /// Makes what depends on these tags old.
    pub(crate) fn note_change(&self, tags: &[Tag]) {
        let change = TagSet::of_change(tags);
        self.lanes().note_change(change.as_ref());
        for (_, page) in &self.0.pages {
            if change.as_ref().is_none_or(|change| change.meets(&page.tags)) {
                page.note_change();
            }
        }
    }

    /// Returns when every change that was told before has been heard of.
    pub async fn settle(&self) {
        let (heard, hears) = oneshot::channel();
        // Nobody listens before the start and after the end.
        if self.0.settle.send(heard).await.is_ok() {
            let _ = hears.await;
        }
    }

    /// Hears of changes and keeps the disk up to date until `token` is cancelled; renders under way are then
    /// given up. `changes` must be older than the first answer. To be run once.
    pub async fn run(&self, changes: broadcast::Receiver<Arc<[Tag]>>, token: CancellationToken) {
        tokio::join!(self.listen(changes, &token), self.keep_on_disk(&token));
    }

    async fn listen(
        &self,
        mut changes: broadcast::Receiver<Arc<[Tag]>>,
        token: &CancellationToken,
    ) {
        let settling = self.0.settling.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut settling) = settling else { return };
        loop {
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                change = changes.recv() => match change {
                    Ok(tags) => self.note_change(&tags),
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        warn!(missed, "{missed} changes were missed; every page is made anew");
                        self.note_change(&[Tag::Everything]);
                    }
                    // The catalog is gone: the program ends.
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                // After the changes, which are looked at first.
                Some(heard) = settling.recv() => drop(heard.send(())),
            }
        }
    }

    /// Takes over what an earlier process kept. To be done before the first request.
    pub async fn warm_up(&self) {
        let Some(folder) = self.0.settings.folder.clone() else { return };
        let cache = self.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let settings = &cache.0.settings;
            let mut disk = Disk::open(&folder, &settings.build);
            let loaded = disk.load(settings.clock.now_ms(), settings.is_open);
            if !loaded.is_empty() {
                info!(pages = loaded.len(), "{} pages are kept from before", loaded.len());
            }
            loaded.into_iter().for_each(|(key, page)| cache.0.pages.insert(key, page));
            disk
        });
        *self.0.disk.lock().unwrap_or_else(PoisonError::into_inner) = opened.await.ok();
    }

    async fn keep_on_disk(&self, token: &CancellationToken) {
        let mut disk = self.0.disk.lock().unwrap_or_else(PoisonError::into_inner).take();
        while let Some(open) = disk {
            let stopped = timeout(DISK_PERIOD, token.cancelled()).await;
            let cache = self.clone();
            let written = tokio::task::spawn_blocking(move || cache.sync(open));
            disk = written.await.ok();
            if stopped.is_ok() {
                return;
            }
        }
    }

    fn sync(&self, mut disk: Disk) -> Disk {
        let pages: Vec<_> =
            self.0.pages.iter().map(|(key, page)| (key.as_ref().clone(), page)).collect();
        disk.sync(&pages, self.0.settings.clock.now_ms());
        disk
    }

    fn lanes(&self) -> std::sync::MutexGuard<'_, Lanes> {
        self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
