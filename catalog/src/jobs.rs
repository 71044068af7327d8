//! The background jobs: claimed, kept, tried again, and written down.
//!
//! A job that fails for the file's own sake is given up with its reason; one that fails because the
//! store is away is tried again, later and later. While a job runs its lease is renewed, so that
//! another server takes it over when this one is gone, and only then.
//!
//! Must not: decode anything in this process, or hold a job without its lease.

mod derive;
mod media;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use domain::{Asset, JobKind, RenditionKind};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    blob::{BlobError, BlobStore},
    child::ChildError,
    db::{Catalog, CatalogError, ClaimedJob, Finished, Made, NewRendition},
    keys,
    trash::keep_object,
};

/// Attempts at a job whose failures are not the file's fault: over an hour of a store that is away.
const MAX_ATTEMPTS: u32 = 12;
/// A job whose server went away that many times is taken for the reason.
const MAX_CUT_OFF: u32 = 3;
/// Wait before the second attempt; each further one is four times as long.
const FIRST_RETRY: SignedDuration = SignedDuration::from_secs(10);
/// Wait between attempts at most.
const LONGEST_RETRY: SignedDuration = SignedDuration::from_secs(600);
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
    /// Another server has the job.
    Lost,
}

/// How far a running job is, in percent.
#[derive(Debug)]
struct Progress(AtomicU8);

impl Progress {
    const UNKNOWN: u8 = u8::MAX;

    fn set(&self, percent: Option<u8>) {
        self.0.store(percent.unwrap_or(Self::UNKNOWN), Ordering::Relaxed);
    }

    fn percent(&self) -> Option<u8> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&percent| percent != Self::UNKNOWN)
    }
}

/// Kinds of jobs that share a lane, first things first. Proxies have lanes of their own: a film's
/// proxy takes as long as a thousand thumbnails.
const LOOKS: &[JobKind] = &[JobKind::Derive, JobKind::Waveform, JobKind::Storyboard];
const PROXIES: &[JobKind] = &[JobKind::Proxy720p, JobKind::Proxy1080p];

/// Wait before the attempt after `attempts` that failed; `None` when there is to be none.
fn retry_in(attempts: u32) -> Option<SignedDuration> {
    if attempts >= MAX_ATTEMPTS {
        return None;
    }
    let factor = 4_i32.checked_pow(attempts.saturating_sub(1)).unwrap_or(i32::MAX);
    Some(FIRST_RETRY.checked_mul(factor).unwrap_or(LONGEST_RETRY).min(LONGEST_RETRY))
}

impl JobWorker {
    /// A worker that is not working yet.
    pub fn new(catalog: Catalog, store: BlobStore, options: JobWorkerOptions) -> Self {
        Self { catalog, store, options }
    }

    /// Works until `token` is cancelled, then puts back what it was doing.
    pub async fn run(&self, token: CancellationToken) {
        if self.options.is_alone {
            self.requeue_cut_off(Timestamp::MAX).await;
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
            self.requeue_cut_off(Timestamp::now()).await;
        }
    }

    async fn requeue_cut_off(&self, now: Timestamp) {
        match self.catalog.requeue_cut_off_jobs(now).await {
            Ok(0) => {}
            Ok(jobs) => tracing::info!(jobs, "{jobs} jobs were cut off; queued again"),
            Err(error) => tracing::error!(%error, "cannot look for cut-off jobs: {error}"),
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
            match self.attempt(&job, token).await {
                Attempt::Ended(result) => self.settle(&job, result).await?,
                Attempt::Stopped => self.catalog.release_job(&job).await?,
                Attempt::Lost => {
                    tracing::warn!(asset.id = %job.asset_id, job = %job.kind, "another server has this job");
                }
            }
        }
        Ok(jobs)
    }

    async fn claim(&self, kinds: &[JobKind]) -> Result<Option<ClaimedJob>, CatalogError> {
        for &kind in kinds {
            let now = Timestamp::now();
            if let Some(job) = self.catalog.claim_job(kind, now, self.lease_until(now)).await? {
                return Ok(Some(job));
            }
        }
        Ok(None)
    }

    fn lease_until(&self, now: Timestamp) -> Timestamp {
        SignedDuration::try_from(self.options.lease)
            .ok()
            .and_then(|lease| now.checked_add(lease).ok())
            .unwrap_or(Timestamp::MAX)
    }

    /// Does a job while its lease is renewed and its progress told.
    async fn attempt(&self, job: &ClaimedJob, token: &CancellationToken) -> Attempt {
        let progress = Progress(AtomicU8::new(Progress::UNKNOWN));
        let mut work = std::pin::pin!(self.do_job(job, &progress));
        let mut ticks = interval(PROGRESS_TICK.min(self.options.lease / 4));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut told, mut renewed) = (None, Instant::now());
        loop {
            tokio::select! {
                biased;
                () = token.cancelled() => return Attempt::Stopped,
                result = &mut work => return Attempt::Ended(result),
                _ = ticks.tick() => {}
            }
            let percent = progress.percent();
            let is_told = percent == told;
            if !is_told {
                self.catalog.tell_progress(job, percent);
                told = percent;
            }
            let is_due = renewed.elapsed() >= self.options.lease / 3;
            if is_due || (!is_told && renewed.elapsed() >= 4 * PROGRESS_TICK) {
                let until = self.lease_until(Timestamp::now());
                match self.catalog.renew_job(job, until, percent).await {
                    Ok(true) => renewed = Instant::now(),
                    Ok(false) => return Attempt::Lost,
                    // It is still ours until the lease ends; the next tick tries again.
                    Err(error) => tracing::warn!(%error, "a job's lease is not renewed: {error}"),
                }
            }
        }
    }

    /// Writes down how a job ended.
    async fn settle(
        &self,
        job: &ClaimedJob,
        result: Result<Made, JobError>,
    ) -> Result<(), CatalogError> {
        let (id, kind) = (&job.asset_id, job.kind);
        match result {
            Ok(made) => {
                tracing::debug!(asset.id = %id, job = %kind, renditions = made.renditions.len(), "{kind} of {id} done");
                match self.catalog.finish_job(job, &made, Timestamp::now()).await? {
                    Finished::Written { replaced } => self.delete(&replaced).await,
                    Finished::Lost => {}
                }
                Ok(())
            }
            Err(JobError::Passing(reason)) => match retry_in(job.attempts) {
                Some(wait) => {
                    let retry_in_s = wait.as_secs();
                    tracing::warn!(asset.id = %id, job = %kind, %reason, retry_in_s, "no {kind} of {id} yet");
                    self.catalog.postpone_job(job, &reason, Timestamp::now() + wait).await
                }
                None => self.give_up(job, &reason).await,
            },
            Err(JobError::Hopeless(reason)) => self.give_up(job, &reason).await,
            Err(JobError::Catalog(error)) => {
                // Another look at the same rows later, unless the catalog refuses that, too.
                self.catalog.release_job(job).await?;
                Err(error)
            }
        }
    }

    async fn give_up(&self, job: &ClaimedJob, reason: &str) -> Result<(), CatalogError> {
        let (id, kind) = (&job.asset_id, job.kind);
        tracing::warn!(asset.id = %id, job = %kind, %reason, "no {kind} of {id}: {reason}");
        self.catalog.fail_job(job, reason).await
    }

    /// Deletes objects that no row names any more. One that stays behind does no harm.
    async fn delete(&self, keys: &[crate::BlobKey]) {
        for key in keys {
            if let Err(error) = self.store.delete(key).await {
                tracing::warn!(%error, %key, "an old rendition stays in the store: {error}");
            }
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
        let temp = tempfile::Builder::new()
            .prefix("damwall-job-")
            .tempdir_in(&self.options.temp_dir)
            .map_err(|error| JobError::Passing(format!("No temporary folder: {error}.")))?;
        let bench = Bench { worker: self, asset: &asset, temp: &temp, progress };
        match job.kind {
            JobKind::Derive => bench.derive().await,
            JobKind::Storyboard => bench.storyboard().await,
            JobKind::Waveform => bench.waveform().await,
            JobKind::Proxy720p => bench.proxy(RenditionKind::Proxy720p).await,
            JobKind::Proxy1080p => bench.proxy(RenditionKind::Proxy1080p).await,
        }
    }
}

/// One job being done: the asset, and a folder that is gone afterwards.
#[derive(Clone, Copy)]
struct Bench<'a> {
    worker: &'a JobWorker,
    asset: &'a Asset,
    temp: &'a TempDir,
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
    use super::*;

    #[test]
    fn retries_come_later_and_later_and_end() {
        let secs: Vec<_> =
            (1..=MAX_ATTEMPTS).map(|n| retry_in(n).map(|wait| wait.as_secs())).collect();
        assert_eq!(secs[..5], [Some(10), Some(40), Some(160), Some(600), Some(600)]);
        assert_eq!(secs.last(), Some(&None));
        assert!(secs.iter().flatten().sum::<i64>() > 3600);
    }
}
