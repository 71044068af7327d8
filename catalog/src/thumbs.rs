//! The background job: looks into each new original and makes its thumbnails.
//!
//! Must not: decode anything in this process, or give an asset up for a store's fault before the
//! third attempt.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use domain::{Asset, AssetKind};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    blob::{BlobError, BlobStore},
    child::{self, ChildError},
    db::{Catalog, CatalogError, ClaimedJob, NewRendition},
    keys::{self, ThumbKind},
    probe::{self, MediaInfo},
    worker::{SizePx, ThumbReport},
};

/// Attempts at a job whose failures are not the file's fault.
const MAX_ATTEMPTS: u32 = 3;
/// Wait before the second attempt; before the third it is four times as long.
const FIRST_RETRY: SignedDuration = SignedDuration::from_secs(10);
/// Largest thumbnail that is taken over or served.
const THUMB_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// MIME type of thumbnails.
const THUMB_MIME: &str = "image/webp";
/// Where in a video its thumbnail is taken at the latest.
const LATEST_FRAME_MS: u64 = 10_000;
/// Squares the pixels, then fits the frame into the larger thumbnail's square.
const FRAME_FILTER: &str = "scale=iw*sar:ih,\
    scale=w='min(640,iw)':h='min(640,ih)':force_original_aspect_ratio=decrease";

/// How the background job works.
#[derive(Debug, Clone)]
pub struct ThumbWorkerOptions {
    /// Program that runs [`crate::worker::main`] on `<exe> worker …`.
    pub worker_exe: PathBuf,
    /// Program or path.
    pub ffmpeg: PathBuf,
    /// Program or path.
    pub ffprobe: PathBuf,
    /// Jobs at a time.
    pub parallel: usize,
    /// Wait between looks for jobs that another process has added.
    pub poll: Duration,
    /// Folder for temporary files.
    pub temp_dir: PathBuf,
}

impl ThumbWorkerOptions {
    /// Two jobs at a time, with ffmpeg from the path and temporary files where the system has them.
    pub fn new(worker_exe: PathBuf) -> Self {
        Self {
            worker_exe,
            ffmpeg: "ffmpeg".into(),
            ffprobe: "ffprobe".into(),
            parallel: 2,
            poll: Duration::from_secs(3),
            temp_dir: std::env::temp_dir(),
        }
    }
}

/// Works on the catalog's jobs. One process at a time may do so.
#[derive(Debug, Clone)]
pub struct ThumbWorker {
    catalog: Catalog,
    store: BlobStore,
    options: ThumbWorkerOptions,
}

/// Why a thumbnail could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ThumbBytesError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] BlobError),
}

/// The bytes of `<64 hex>.webp`, or `None` when there is no such thumbnail.
///
/// # Errors
/// When the catalog or the store fails.
pub async fn thumb_bytes(
    catalog: &Catalog,
    store: &BlobStore,
    file: &str,
) -> Result<Option<Bytes>, ThumbBytesError> {
    let Some(name) = keys::parse_thumb_file(file) else { return Ok(None) };
    let Some(key) = catalog.rendition_key(name).await? else { return Ok(None) };
    match store.read(&key, THUMB_MAX_BYTES).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(BlobError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
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

impl ThumbWorker {
    /// A worker that is not working yet.
    pub fn new(catalog: Catalog, store: BlobStore, options: ThumbWorkerOptions) -> Self {
        Self { catalog, store, options }
    }

    /// Works until `token` is cancelled, then puts back what it was doing.
    pub async fn run(&self, token: CancellationToken) {
        match self.catalog.requeue_running_jobs().await {
            Ok(0) => {}
            Ok(jobs) => tracing::info!(jobs, "{jobs} thumbnail jobs were cut off; queued again"),
            Err(error) => tracing::error!(%error, "cannot look for cut-off jobs: {error}"),
        }
        let mut lanes = JoinSet::new();
        for _ in 0..self.options.parallel.max(1) {
            let (worker, token) = (self.clone(), token.clone());
            lanes.spawn(async move { worker.run_lane(&token).await });
        }
        lanes.join_all().await;
        tracing::info!("thumbnail jobs stopped");
    }

    /// Does every job that is waiting now, and returns how many there were.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn drain(&self, token: &CancellationToken) -> Result<u64, CatalogError> {
        let mut lanes = JoinSet::new();
        for _ in 0..self.options.parallel.max(1) {
            let (worker, token) = (self.clone(), token.clone());
            lanes.spawn(async move { worker.drain_lane(&token).await });
        }
        // Every lane comes to its end, also when another fails.
        lanes.join_all().await.into_iter().sum()
    }

    async fn run_lane(&self, token: &CancellationToken) {
        while !token.is_cancelled() {
            if let Err(error) = self.drain_lane(token).await {
                tracing::error!(%error, "thumbnail jobs wait for the catalog: {error}");
            }
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                () = self.catalog.job_added() => {}
                () = tokio::time::sleep(self.options.poll) => {}
            }
        }
    }

    async fn drain_lane(&self, token: &CancellationToken) -> Result<u64, CatalogError> {
        let mut jobs = 0;
        while !token.is_cancelled() {
            let Some(job) = self.catalog.claim_job(Timestamp::now()).await? else { break };
            jobs += 1;
            tokio::select! {
                biased;
                () = token.cancelled() => self.catalog.release_job(&job.asset_id).await?,
                result = self.do_job(&job) => self.settle(&job, result).await?,
            }
        }
        Ok(jobs)
    }

    /// Writes down how a job ended.
    async fn settle(
        &self,
        job: &ClaimedJob,
        result: Result<Vec<NewRendition>, JobError>,
    ) -> Result<(), CatalogError> {
        let id = &job.asset_id;
        match result {
            Ok(renditions) => {
                tracing::debug!(asset.id = %id, renditions = renditions.len(), "looked into {id}");
                self.catalog.finish_job(id, &renditions).await
            }
            Err(JobError::Passing(reason)) if job.attempts < MAX_ATTEMPTS => {
                let wait = FIRST_RETRY * i32::try_from(job.attempts.pow(2)).unwrap_or(i32::MAX);
                let retry_in_s = wait.as_secs();
                tracing::warn!(asset.id = %id, %reason, retry_in_s, "{id}: no thumbnails yet");
                self.catalog.retry_job(id, &reason, Timestamp::now() + wait).await
            }
            Err(JobError::Passing(reason) | JobError::Hopeless(reason)) => {
                tracing::warn!(asset.id = %id, %reason, "{id}: no thumbnails: {reason}");
                self.catalog.fail_job(id, &reason).await
            }
            Err(JobError::Catalog(error)) => {
                // Another look at the same rows later, unless the catalog refuses that, too.
                self.catalog.release_job(id).await?;
                Err(error)
            }
        }
    }

    async fn do_job(&self, job: &ClaimedJob) -> Result<Vec<NewRendition>, JobError> {
        if job.attempts > MAX_ATTEMPTS {
            return Err(JobError::Hopeless("Each attempt to look into it was cut off.".into()));
        }
        let asset = self.catalog.asset(&job.asset_id).await?;
        // Deleted since: its job goes with it.
        let Some(asset) = asset else { return Ok(Vec::new()) };
        let temp = tempfile::Builder::new()
            .prefix("damwall-job-")
            .tempdir_in(&self.options.temp_dir)
            .map_err(|error| JobError::Passing(format!("No temporary folder: {error}.")))?;
        match asset.kind {
            // Markup that can reach out; it is shown only as an attachment.
            AssetKind::Image if asset.mime == "image/svg+xml" => Ok(Vec::new()),
            AssetKind::Image => {
                let input = self.local_file(&asset, &temp).await?;
                let (original, renditions) = self.make_thumbs(&asset, &input, &temp).await?;
                let size_px = Some((original.width_px, original.height_px));
                self.catalog.set_measures(&asset.id, size_px, None).await?;
                Ok(renditions)
            }
            AssetKind::Video => {
                let input = self.local_file(&asset, &temp).await?;
                let info = self.probe(&input).await?;
                self.catalog.set_measures(&asset.id, info.size_px, info.duration_ms).await?;
                if info.size_px.is_none() {
                    return Ok(Vec::new());
                }
                let frame = self.frame(&input, &info, &temp).await?;
                let (_, renditions) = self.make_thumbs(&asset, &frame, &temp).await?;
                Ok(renditions)
            }
            AssetKind::Audio => {
                let input = self.local_file(&asset, &temp).await?;
                let info = self.probe(&input).await?;
                self.catalog.set_measures(&asset.id, None, info.duration_ms).await?;
                Ok(Vec::new())
            }
            AssetKind::Other => Ok(Vec::new()),
        }
    }

    async fn local_file(&self, asset: &Asset, temp: &TempDir) -> Result<PathBuf, JobError> {
        let key = asset
            .key
            .parse()
            .map_err(|_| JobError::Hopeless("Its object key is not one.".into()))?;
        match self.store.local_file(&key, &temp.path().join("original")).await {
            Ok(path) => Ok(path),
            Err(BlobError::NotFound { .. }) => {
                Err(JobError::Hopeless("Its original is no longer in the blob store.".into()))
            }
            Err(error) => Err(JobError::Passing(format!("Its original cannot be read: {error}."))),
        }
    }

    async fn probe(&self, input: &Path) -> Result<MediaInfo, JobError> {
        let args = [probe::INPUT_GUARD_ARGS, probe::FFPROBE_ARGS].concat();
        let mut args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
        args.push(input.into());
        let json = child::run_limited(&self.options.worker_exe, &self.options.ffprobe, args)
            .await
            .map_err(|error| child_failed("The file cannot be read as video or sound", error))?;
        probe::parse_ffprobe(&json).map_err(|error| JobError::Hopeless(format!("{error}.")))
    }

    /// One picture out of a video, upright.
    async fn frame(
        &self,
        input: &Path,
        info: &MediaInfo,
        temp: &TempDir,
    ) -> Result<PathBuf, JobError> {
        let frame = temp.path().join("frame.png");
        let at_ms = (info.duration_ms.unwrap_or(0) / 10).min(LATEST_FRAME_MS);
        // From the beginning if there is no frame where the file says there should be.
        for at_ms in [at_ms, 0] {
            let at = format!("{}.{:03}", at_ms / 1000, at_ms % 1000);
            let mut args: Vec<OsString> = vec!["-nostdin".into(), "-v".into(), "error".into()];
            args.extend(probe::INPUT_GUARD_ARGS.iter().map(OsString::from));
            args.extend(["-threads", "2", "-ss", &at, "-i"].map(OsString::from));
            args.push(input.into());
            args.extend(["-an", "-sn", "-dn", "-frames:v", "1", "-vf"].map(OsString::from));
            args.extend([FRAME_FILTER, "-c:v", "png", "-f", "image2", "-y"].map(OsString::from));
            args.push(frame.clone().into());
            child::run_limited(&self.options.worker_exe, &self.options.ffmpeg, args)
                .await
                .map_err(|error| child_failed("The video cannot be decoded", error))?;
            if tokio::fs::try_exists(&frame).await.unwrap_or(false) {
                return Ok(frame);
            }
        }
        Err(JobError::Hopeless("The video holds no picture that can be decoded.".into()))
    }

    /// Has the worker shrink a picture, and stores the results.
    async fn make_thumbs(
        &self,
        asset: &Asset,
        input: &Path,
        temp: &TempDir,
    ) -> Result<(SizePx, Vec<NewRendition>), JobError> {
        let files = ["320.webp", "640.webp"].map(|name| temp.path().join(name));
        let args = [Path::new("thumb"), input, &files[0], &files[1]].map(OsString::from);
        let line = child::run_worker(&self.options.worker_exe, args.into())
            .await
            .map_err(|error| child_failed("The picture cannot be decoded", error))?;
        let report = serde_json::from_slice(&line).map_err(|error| {
            JobError::Passing(format!("The worker wrote something unexpected: {error}."))
        })?;
        let (original, small, large) = match report {
            ThumbReport::Made { original, small, large } => (original, small, large),
            ThumbReport::Refused { reason } => return Err(JobError::Hopeless(reason)),
        };
        let mut renditions = Vec::new();
        let kinds = [(ThumbKind::Thumb320, small), (ThumbKind::Thumb640, large)];
        for ((kind, size), file) in kinds.into_iter().zip(&files) {
            let meta = tokio::fs::metadata(file).await;
            let size_bytes = meta
                .map(|meta| meta.len())
                .map_err(|error| JobError::Passing(format!("A thumbnail is missing: {error}.")))?;
            if size_bytes > THUMB_MAX_BYTES {
                return Err(JobError::Hopeless("Its thumbnail came out too large.".into()));
            }
            self.store
                .put_file(&keys::thumb(&asset.id, kind), file, THUMB_MIME)
                .await
                .map_err(|error| JobError::Passing(format!("Not stored: {error}.")))?;
            let SizePx { width_px, height_px } = size;
            renditions.push(NewRendition { kind, size_bytes, width_px, height_px });
        }
        Ok((original, renditions))
    }
}

/// A child's failure as a sentence for the asset's page; its own words go to the log.
fn child_failed(what: &str, error: ChildError) -> JobError {
    match &error {
        ChildError::Run(_) => JobError::Passing(format!("{what}: {error}.")),
        ChildError::Failed { stderr, .. } => {
            tracing::debug!(%stderr, "a child process failed: {error}");
            JobError::Hopeless(format!("{what}."))
        }
        ChildError::NotInstalled { .. } | ChildError::TooSlow | ChildError::Killed { .. } => {
            JobError::Hopeless(format!("{what}: {error}."))
        }
    }
}
