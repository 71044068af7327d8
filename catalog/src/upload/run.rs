//! Uploads that wait to be verified: claimed, kept while they are, tried again; and those that nobody
//! came back to. Must not: know what verifying is, or hold an upload without its lease.

use std::{pin::pin, time::Duration};

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{Uploads, verify};
use crate::db::{CatalogError, ClaimedUpload};

/// Uploads verified at once: each reads as fast as the store gives.
const PARALLEL: usize = 2;
/// After a store that could not be reached, and for uploads that another process accepted.
const RETRY: Duration = Duration::from_secs(5);
/// How often stale uploads are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// How uploads are verified.
#[derive(Debug, Clone)]
pub struct UploadOptions {
    /// How long an upload that is being verified is held without a sign of life.
    pub lease: Duration,
    /// Nobody else works on this catalog: what is held when [`Uploads::run`] begins was cut off.
    pub is_alone: bool,
}

impl Default for UploadOptions {
    /// Half a minute, and others may be at it too.
    fn default() -> Self {
        Self { lease: Duration::from_secs(30), is_alone: false }
    }
}

impl Uploads {
    /// Verifies uploads until `token` is cancelled, those first that a crash left behind, then lets go of
    /// those under way.
    pub async fn run(&self, token: CancellationToken) {
        if self.0.options.is_alone {
            match self.0.catalog.release_cut_off_uploads().await {
                Ok(0) => {}
                Ok(count) => info!(count, "{count} uploads were cut off and are verified again"),
                Err(error) => warn!(%error, "cut-off uploads wait for their lease: {error}"),
            }
        }
        let lanes = join_all((0..PARALLEL).map(|_| self.run_lane(&token)));
        tokio::join!(lanes, self.run_sweeps(&token));
    }

    async fn run_lane(&self, token: &CancellationToken) {
        while !token.is_cancelled() {
            // From here on an upload that is complete ends the wait below.
            let mut asked = pin!(self.0.wake.notified());
            asked.as_mut().enable();
            if let Err(error) = self.verify_waiting(token).await {
                error!(%error, "uploads wait for the catalog: {error}");
            }
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                () = asked => {}
                () = sleep(RETRY) => {}
            }
        }
    }

    async fn run_sweeps(&self, token: &CancellationToken) {
        let mut sweeps = interval(SWEEP_EVERY);
        loop {
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                _ = sweeps.tick() => {}
            }
            let swept = tokio::select! {
                biased;
                () = token.cancelled() => return,
                swept = self.sweep(Timestamp::now()) => swept,
            };
            if let Err(error) = swept {
                warn!(%error, "cannot end stale uploads: {error}");
            }
        }
    }

    async fn verify_waiting(&self, token: &CancellationToken) -> Result<(), CatalogError> {
        while !token.is_cancelled() {
            let now = self.0.catalog.now().await?;
            let claimed = self.0.catalog.claim_upload(now, self.held_until(now)).await?;
            let Some(upload) = claimed else { break };
            let attempted = self.attempt(&upload, token).await;
            self.0.settled.send_modify(|count| *count += 1);
            attempted?;
        }
        Ok(())
    }

    fn held_until(&self, now: Timestamp) -> Timestamp {
        let lease = SignedDuration::try_from(self.0.options.lease).unwrap_or(SignedDuration::MAX);
        now.checked_add(lease).unwrap_or(Timestamp::MAX)
    }

    /// Verifies an upload while its lease is renewed.
    async fn attempt(
        &self,
        upload: &ClaimedUpload,
        token: &CancellationToken,
    ) -> Result<(), CatalogError> {
        let (catalog, id) = (&self.0.catalog, &upload.row.upload.id);
        let outcome = tokio::select! {
            biased;
            () = token.cancelled() => {
                return catalog.release_upload(upload, Timestamp::UNIX_EPOCH).await;
            }
            outcome = verify::verify(catalog, &self.0.store, upload) => outcome,
            // Both go on at once: a renewal may have to wait for a transaction of the work to end.
            () = self.lost(upload) => {
                warn!(upload = %id, "another server verifies upload {id} by now");
                return Ok(());
            }
        };
        match outcome {
            Ok(Ok(added)) => {
                let asset = &upload.row.upload.asset_id;
                info!(upload = %id, %asset, ?added, "upload {id} is asset {asset}");
            }
            Ok(Err(reason)) => info!(upload = %id, reason, "upload {id} failed: {reason}"),
            Err(error) => {
                warn!(upload = %id, %error, "upload {id} is tried again: {error}");
                catalog.release_upload(upload, Timestamp::now() + RETRY).await?;
            }
        }
        Ok(())
    }

    /// Renews a lease again and again; ends when somebody else has the upload.
    async fn lost(&self, upload: &ClaimedUpload) {
        let period = self.0.options.lease / 3;
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let renewed = async {
                let held_until = self.held_until(self.0.catalog.now().await?);
                self.0.catalog.renew_upload(upload, held_until).await
            };
            match renewed.await {
                Ok(true) => {}
                Ok(false) => return,
                // It is still ours until the lease ends; the next tick tries again.
                Err(error) => warn!(%error, "an upload's lease is not renewed: {error}"),
            }
        }
    }
}
