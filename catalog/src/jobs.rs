//! The background jobs: claimed, kept, tried again, and written down.
//!
//! A job that fails for the file's own sake is given up with its reason; one that fails because the
//! store is away is tried again, later and later. While a job runs its lease is renewed, so that
//! another server takes it over when this one is gone, and only then.
//!
//! Must not: decode anything in this process, or hold a job without its lease.

mod derive;
mod media;
mod temp;

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use domain::{Asset, JobKind, RenditionKind};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use self::temp::TempFolder;
use crate::{
    blob::{BlobError, BlobKey, BlobStore},
    child::ChildError,
    db::{Catalog, CatalogError, ClaimedJob, Finished, Made, NewRendition},
    keys,
    trash::{self, keep_object},
};

/// Attempts at a job whose failures are not the file's fault: over an hour of a store that is away.
const MAX_ATTEMPTS: u32 = 12;
/// A job whose server went away that many times is taken for the reason.
const MAX_CUT_OFF: u32 = 3;
/// Wait before the second attempt; each further one is four times as long.
const FIRST_RETRY: Duration = Duration::from_secs(10);
/// Wait between attempts at most.
const LONGEST_RETRY: Duration = Duration::from_secs(600);
/// How often a running job's progress is looked at.
const PROGRESS_TICK: Duration = Duration::from_millis(500);

/// How the background jobs work.
#[derive(Debug, Clone)]
pub struct JobWorkerOptions {
    /// Program that runs [`crate::worker::main`] on `<exe> worker …`.
    pub worker_exe: PathBuf,
    /// Program or path.
    pub ffmpeg: PathBuf,
    /// Program or path.
    pub ffprobe: PathBuf,
    /// Jobs at a time that look into originals; none with 0.
    pub parallel: usize,
    /// Proxies encoded at a time, beside these; none with 0.
    pub proxies: usize,
    /// Wait between looks for jobs that another process has added or left.
    pub poll: Duration,
    /// How long a job is held without a sign of life.
    pub lease: Duration,
    /// Nobody else works on this catalog: what is running when this worker begins was cut off.
    pub is_alone: bool,
    /// Folder for temporary files.
    pub temp_dir: PathBuf,
}

impl JobWorkerOptions {
    /// Two jobs and one proxy at a time, with ffmpeg from the path and temporary files where the
    /// system has them.
    pub fn new(worker_exe: PathBuf) -> Self {
        Self {
            worker_exe,
            ffmpeg: "ffmpeg".into(),
            ffprobe: "ffprobe".into(),
            parallel: 2,
            proxies: 1,
            poll: Duration::from_secs(3),
            lease: Duration::from_secs(60),
            is_alone: false,
            temp_dir: std::env::temp_dir(),
        }
    }
}

/// Works on the catalog's jobs, beside others that do.
#[derive(Debug, Clone)]
pub struct JobWorker {
    catalog: Catalog,
    store: BlobStore,
    options: JobWorkerOptions,
}

/// Why a job did not end well.
#[derive(Debug, thiserror::Error)]
enum JobError {
    /// Trying again would not help.
    #[error("{0}")]
    Hopeless(String),
    /// It may work later.
    #[error("{0}")]
    Passing(String),
    /// The catalog failed: nothing can be written down.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// How an attempt ended.
enum Attempt {
    Ended(Result<Made, JobError>),
    /// This process is stopping.
    Stopped,
    /// Another server has the job, or its asset is gone.
    Lost,
}

/// How far a running job is: in percent, and what it has put into the store.
#[derive(Debug)]
struct Progress {
    percent: AtomicU8,
    stored: Mutex<Vec<BlobKey>>,
}

impl Progress {
    const UNKNOWN: u8 = u8::MAX;

    fn new() -> Self {
        Self { percent: AtomicU8::new(Self::UNKNOWN), stored: Mutex::default() }
    }

    fn set(&self, percent: Option<u8>) {
        self.percent.store(percent.unwrap_or(Self::UNKNOWN), Ordering::Relaxed);
    }

    fn percent(&self) -> Option<u8> {
        Some(self.percent.load(Ordering::Relaxed)).filter(|&percent| percent != Self::UNKNOWN)
    }

    /// Notes an object that it is about to put into the store, and that no row names yet.
    fn stores(&self, key: BlobKey) {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).push(key);
    }

    fn into_stored(self) -> Vec<BlobKey> {
        self.stored.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Kinds of jobs that share a lane, first things first. Proxies have lanes of their own: a film's
/// proxy takes as long as a thousand thumbnails.
const LOOKS: &[JobKind] = &[JobKind::Derive, JobKind::Waveform, JobKind::Storyboard];
const PROXIES: &[JobKind] = &[JobKind::Proxy720p, JobKind::Proxy1080p];

/// Wait before the attempt after `attempts` that failed; `None` when there is to be none.
fn retry_in(attempts: u32) -> Option<Duration> {
    let factor = 4_u32.saturating_pow(attempts.saturating_sub(1));
    (attempts < MAX_ATTEMPTS).then(|| FIRST_RETRY.saturating_mul(factor).min(LONGEST_RETRY))
}

impl JobWorker {
    /// A worker that is not working yet.
    pub fn new(catalog: Catalog, store: BlobStore, options: JobWorkerOptions) -> Self {
        Self { catalog, store, options }
    }

    /// Works until `token` is cancelled, then puts back what it was doing.
    pub async fn run(&self, token: CancellationToken) {
        if self.options.is_alone {
            say_requeued(self.catalog.requeue_running_jobs().await);
        }
        let mut lanes = JoinSet::new();
        for kinds in self.lanes() {
            let (worker, token) = (self.clone(), token.clone());
            lanes.spawn(async move { worker.run_lane(kinds, &token).await });
        }
        let (worker, reaper_token) = (self.clone(), token.clone());
        lanes.spawn(async move { worker.run_reaper(&reaper_token).await });
        lanes.join_all().await;
        tracing::info!("jobs stopped");
    }

    /// Does every job that is waiting now and what follows from them; returns how many there were.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn drain(&self, token: &CancellationToken) -> Result<u64, CatalogError> {
        let mut jobs = 0;
        loop {
            let mut lanes = JoinSet::new();
            for kinds in self.lanes() {
                let (worker, token) = (self.clone(), token.clone());
                lanes.spawn(async move { worker.drain_lane(kinds, &token).await });
            }
            // Every lane comes to its end, also when another fails.
            let done: u64 = lanes.join_all().await.into_iter().sum::<Result<_, _>>()?;
            jobs += done;
            if done == 0 || token.is_cancelled() {
                return Ok(jobs);
            }
        }
    }

    fn lanes(&self) -> impl Iterator<Item = &'static [JobKind]> {
        let looks = std::iter::repeat_n(LOOKS, self.options.parallel);
        looks.chain(std::iter::repeat_n(PROXIES, self.options.proxies))
    }

    async fn run_lane(&self, kinds: &[JobKind], token: &CancellationToken) {
        while !token.is_cancelled() {
            // From here on a job that is added ends the wait below.
            let mut added = std::pin::pin!(self.catalog.jobs_added());
            added.as_mut().enable();
            if let Err(error) = self.drain_lane(kinds, token).await {
                tracing::error!(%error, "jobs wait for the catalog: {error}");
            }
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                () = added => {}
                () = tokio::time::sleep(self.options.poll) => {}
            }
        }
    }

    async fn run_reaper(&self, token: &CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                () = tokio::time::sleep(self.options.poll) => {}
            }
            say_requeued(self.catalog.requeue_cut_off_jobs().await);
        }
    }

    async fn drain_lane(
        &self,
        kinds: &[JobKind],
        token: &CancellationToken,
    ) -> Result<u64, CatalogError> {
        let mut jobs = 0;
        while !token.is_cancelled() {
            let Some(job) = self.claim(kinds).await? else { break };
            jobs += 1;
            let progress = Progress::new();
            let work = self.do_job(&job, &progress);
            let attempt = self.attempt(&job, &progress, work, token).await;
            let stored = progress.into_stored();
            match attempt {
                Attempt::Ended(result) => self.settle(&job, result, stored).await?,
                Attempt::Stopped => self.catalog.release_job(&job).await?,
                Attempt::Lost => self.give_away(&job, stored).await?,
            }
        }
        Ok(jobs)
    }

    async fn claim(&self, kinds: &[JobKind]) -> Result<Option<ClaimedJob>, CatalogError> {
        for &kind in kinds {
            if let Some(job) = self.catalog.claim_job(kind, self.options.lease).await? {
                return Ok(Some(job));
            }
        }
        Ok(None)
    }

    /// Does a job's work while its lease is renewed and its progress told.
    async fn attempt(
        &self,
        job: &ClaimedJob,
        progress: &Progress,
        work: impl Future<Output = Result<Made, JobError>>,
        token: &CancellationToken,
    ) -> Attempt {
        tokio::select! {
            biased;
            () = token.cancelled() => Attempt::Stopped,
            result = work => Attempt::Ended(result),
            // Both go on at once: a renewal may have to wait for a transaction of the work to end.
            () = self.lost(job, progress) => Attempt::Lost,
        }
    }

    /// Renews a lease again and again, and tells the progress; ends when the job is lost.
    async fn lost(&self, job: &ClaimedJob, progress: &Progress) {
        let mut ticks = interval(PROGRESS_TICK.min(self.options.lease / 4));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut told, mut renewed) = (None, Instant::now());
        loop {
            ticks.tick().await;
            let percent = progress.percent();
            let is_told = percent == told;
            if !is_told {
                self.catalog.tell_progress(job, percent);
                told = percent;
            }
            let is_due = renewed.elapsed() >= self.options.lease / 3;
            if is_due || (!is_told && renewed.elapsed() >= 4 * PROGRESS_TICK) {
                match self.catalog.renew_job(job, self.options.lease, percent).await {
                    Ok(true) => renewed = Instant::now(),
                    Ok(false) => return,
                    // It is still ours until the lease ends; the next tick tries again.
                    Err(error) => tracing::warn!(%error, "a job's lease is not renewed: {error}"),
                }
            }
        }
    }

    /// Writes down how a job ended that has stored these objects.
    async fn settle(
        &self,
        job: &ClaimedJob,
        result: Result<Made, JobError>,
        stored: Vec<BlobKey>,
    ) -> Result<(), CatalogError> {
        let (id, kind) = (&job.asset_id, job.kind);
        match result {
            Ok(made) => {
                tracing::debug!(asset.id = %id, job = %kind, renditions = made.renditions.len(), "{kind} of {id} done");
                match self.catalog.finish_job(job, &made).await? {
                    Finished::Written { replaced } => self.remove(replaced).await,
                    Finished::Lost => self.give_away(job, stored).await?,
                }
                Ok(())
            }
            Err(JobError::Passing(reason)) => match retry_in(job.attempts) {
                Some(wait) => {
                    let retry_in_s = wait.as_secs();
                    tracing::warn!(asset.id = %id, job = %kind, %reason, retry_in_s, "no {kind} of {id} yet");
                    match self.catalog.postpone_job(job, &reason, wait).await? {
                        // The next attempt puts the same where this one did.
                        true => Ok(()),
                        false => self.give_away(job, stored).await,
                    }
                }
                None => self.give_up(job, &reason, stored).await,
            },
            Err(JobError::Hopeless(reason)) => self.give_up(job, &reason, stored).await,
            Err(JobError::Catalog(error)) => {
                // Another look at the same rows later, unless the catalog refuses that, too.
                self.catalog.release_job(job).await?;
                Err(error)
            }
        }
    }

    async fn give_up(
        &self,
        job: &ClaimedJob,
        reason: &str,
        stored: Vec<BlobKey>,
    ) -> Result<(), CatalogError> {
        let (id, kind) = (&job.asset_id, job.kind);
        tracing::warn!(asset.id = %id, job = %kind, %reason, "no {kind} of {id}: {reason}");
        match self.catalog.fail_job(job, reason, &stored).await? {
            true => self.remove(stored).await,
            false => self.give_away(job, stored).await?,
        }
        Ok(())
    }

    /// Leaves a lost job, and what it has stored, to the server that has it. If its asset is gone, nobody has.
    async fn give_away(&self, job: &ClaimedJob, stored: Vec<BlobKey>) -> Result<(), CatalogError> {
        let (id, kind) = (&job.asset_id, job.kind);
        if self.catalog.free_if_gone(job, &stored).await? {
            tracing::info!(asset.id = %id, job = %kind, "{id} was purged during its {kind}");
            self.remove(stored).await;
        } else {
            tracing::warn!(asset.id = %id, job = %kind, "another server has the {kind} of {id}");
        }
        Ok(())
    }

    /// Removes objects that no row names any more. What stays is removed when the trash is emptied.
    async fn remove(&self, freed: Vec<BlobKey>) {
        if let Err(error) = trash::remove(&self.catalog, &self.store, freed).await {
            tracing::warn!(%error, "renditions that nobody has stay in the store: {error}");
        }
    }

    async fn do_job(&self, job: &ClaimedJob, progress: &Progress) -> Result<Made, JobError> {
        if job.cut_off >= MAX_CUT_OFF {
            return Err(JobError::Hopeless("Each attempt at it was cut off.".into()));
        }
        // Deleted since: its job goes with it.
        let Some(asset) = self.catalog.asset(&job.asset_id).await? else {
            return Ok(Made::default());
        };
        let temp = TempFolder::within(&self.options.temp_dir)
            .map_err(|error| JobError::Passing(format!("No temporary folder: {error}.")))?;
        let bench = Bench { worker: self, asset: &asset, temp: &temp, progress };
        let outcome = match job.kind {
            JobKind::Derive => bench.derive().await,
            JobKind::Storyboard => bench.storyboard().await,
            JobKind::Waveform => bench.waveform().await,
            JobKind::Proxy720p => bench.proxy(RenditionKind::Proxy720p).await,
            JobKind::Proxy1080p => bench.proxy(RenditionKind::Proxy1080p).await,
        };
        // Before the next job needs the room.
        temp.close().await;
        outcome
    }
}

fn say_requeued(requeued: Result<u64, CatalogError>) {
    match requeued {
        Ok(0) => {}
        Ok(jobs) => tracing::info!(jobs, "{jobs} jobs were cut off; queued again"),
        Err(error) => tracing::error!(%error, "cannot look for cut-off jobs: {error}"),
    }
}

/// One job being done: the asset, and a folder that is gone afterwards.
#[derive(Clone, Copy)]
struct Bench<'a> {
    worker: &'a JobWorker,
    asset: &'a Asset,
    temp: &'a TempFolder,
    progress: &'a Progress,
}

impl Bench<'_> {
    fn options(&self) -> &JobWorkerOptions {
        &self.worker.options
    }

    fn file(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// The original as a file.
    async fn original(&self) -> Result<PathBuf, JobError> {
        let key = self
            .asset
            .key
            .parse()
            .map_err(|_| JobError::Hopeless("Its object key is not one.".into()))?;
        match self.worker.store.local_file(&key, &self.file("original")).await {
            Ok(path) => Ok(path),
            Err(BlobError::NotFound { .. }) => {
                Err(JobError::Hopeless("Its original is no longer in the blob store.".into()))
            }
            Err(error) => Err(JobError::Passing(format!("Its original cannot be read: {error}."))),
        }
    }

    /// Puts a file into the store as a rendition; `max_bytes` is the most that anyone will read.
    async fn keep(
        &self,
        kind: RenditionKind,
        file: &Path,
        (width_px, height_px): (u32, u32),
        max_bytes: u64,
    ) -> Result<NewRendition, JobError> {
        let size_bytes = tokio::fs::metadata(file)
            .await
            .map(|meta| meta.len())
            .map_err(|error| JobError::Passing(format!("A rendition is missing: {error}.")))?;
        if size_bytes == 0 || size_bytes > max_bytes {
            return Err(JobError::Hopeless(format!("Its {kind} came out empty or too large.")));
        }
        let key = keys::rendition(&self.asset.id, kind);
        keep_object(&self.worker.catalog, &key).await?;
        self.progress.stores(key.clone());
        self.worker
            .store
            .put_file(&key, file, kind.mime())
            .await
            .map_err(|error| JobError::Passing(format!("Not stored: {error}.")))?;
        Ok(NewRendition { kind, size_bytes, width_px, height_px })
    }
}

/// A child's failure as a sentence for the asset's page; its own words go to the log.
fn child_failed(what: &str, error: ChildError) -> JobError {
    match &error {
        ChildError::Run(_) => JobError::Passing(format!("{what}: {error}.")),
        ChildError::Machine { stderr } => {
            tracing::warn!(%stderr, "a child process failed for no fault of its file");
            JobError::Passing(format!("{what}: {error}."))
        }
        ChildError::Failed { stderr, .. } => {
            tracing::debug!(%stderr, "a child process failed: {error}");
            JobError::Hopeless(format!("{what}."))
        }
        ChildError::NotInstalled { .. }
        | ChildError::TooSlow { .. }
        | ChildError::Killed { .. } => JobError::Hopeless(format!("{what}: {error}.")),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::{
        CatalogUrl, NewAsset,
        blob::{FolderStore, LinkSecret},
    };

    async fn worker(dir: &TempDir, lease: Duration) -> JobWorker {
        let url = CatalogUrl::Sqlite(dir.path().join("catalog.sqlite"));
        let store = FolderStore::open(&dir.path().join("store"), LinkSecret::new([1; 32])).unwrap();
        let options = JobWorkerOptions { lease, ..JobWorkerOptions::new("worker".into()) };
        JobWorker::new(Catalog::open(&url).await.unwrap(), BlobStore::Folder(store), options)
    }

    async fn claimed_job(worker: &JobWorker) -> ClaimedJob {
        let id = domain::AssetId::from_digest([1; 32]);
        let asset = NewAsset::new(id, "a.jpg", 1, "image/jpeg");
        worker.catalog.add_asset(&asset).await.unwrap();
        worker.claim(LOOKS).await.unwrap().unwrap()
    }

    #[test]
    fn retries_come_later_and_later_and_end() {
        let secs: Vec<_> =
            (1..=MAX_ATTEMPTS).map(|n| retry_in(n).map(|wait| wait.as_secs())).collect();
        assert_eq!(secs[..5], [Some(10), Some(40), Some(160), Some(600), Some(600)]);
        assert_eq!(secs.last(), Some(&None));
        assert!(secs.iter().flatten().sum::<u64>() > 3600);
    }

    #[tokio::test]
    async fn work_that_writes_goes_on_while_its_lease_is_renewed() {
        let dir = tempfile::tempdir().unwrap();
        let worker = worker(&dir, Duration::from_millis(600)).await;
        let job = claimed_job(&worker).await;
        let work = async {
            let write = worker.catalog.write().await.unwrap();
            // Meanwhile the lease is to be renewed, which has to wait for this.
            tokio::time::sleep(worker.options.lease).await;
            write.commit().await.unwrap();
            Ok(Made::default())
        };
        let (begun, token) = (Instant::now(), CancellationToken::new());
        let attempt = worker.attempt(&job, &Progress::new(), work, &token).await;
        assert!(matches!(attempt, Attempt::Ended(Ok(_))));
        // After 10 s SQLite would have had enough of waiting.
        assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn what_a_job_has_stored_that_is_given_up_goes_unless_a_row_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let worker = worker(&dir, Duration::from_secs(3600)).await;
        let job = claimed_job(&worker).await;
        let kinds = [RenditionKind::Thumb320, RenditionKind::Thumb640];
        let stored = kinds.map(|kind| keys::rendition(&job.asset_id, kind));
        for key in &stored {
            worker.store.put_bytes(key, "x".into(), "image/webp").await.unwrap();
        }
        let left = async || {
            let listed = worker.store.list("derived/", None, 10).await.unwrap().objects;
            listed.into_iter().map(|object| object.key).collect::<Vec<_>>()
        };
        let thumb = NewRendition { kind: kinds[0], size_bytes: 1, width_px: 1, height_px: 1 };
        let made = Made { renditions: vec![thumb], ..Made::default() };
        worker.settle(&job, Ok(made), stored[..1].to_vec()).await.unwrap();
        assert_eq!(left().await, stored, "it is done");

        let again = async || {
            worker.catalog.retry_job(&job.asset_id, job.kind).await.unwrap();
            worker.claim(LOOKS).await.unwrap().unwrap()
        };
        let passing = Err(JobError::Passing("The store was away.".into()));
        worker.settle(&again().await, passing, stored.to_vec()).await.unwrap();
        assert_eq!(left().await, stored, "it is to be tried again");

        let hopeless = Err(JobError::Hopeless("No.".into()));
        worker.settle(&again().await, hopeless, stored.to_vec()).await.unwrap();
        assert_eq!(left().await, stored[..1]);
    }
}
