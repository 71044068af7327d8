//! Uploads that wait to be verified: claimed, kept while they are, tried again; and those that nobody
//! came back to. Must not: know what verifying is, or hold an upload without its lease.

use std::{pin::pin, time::Duration};

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{UploadError, Uploads, verify};
use crate::db::{CatalogError, ClaimedUpload};

/// Uploads verified at once: each reads as fast as the store gives.
const PARALLEL: usize = 2;
/// How often uploads are looked for whose time has come, or that another process accepted.
const POLL: Duration = Duration::from_secs(5);
/// Attempts at an upload whose failures are not its fault: over an hour of a store that is away.
const ATTEMPTS_MAX: u32 = 16;
/// Wait between attempts at most.
const LONGEST_RETRY: Duration = Duration::from_secs(600);
/// How often stale uploads are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// How uploads are verified.
#[derive(Debug, Clone)]
pub struct UploadOptions {
    /// How long an upload that is being verified is held without a sign of life.
    pub lease: Duration,
    /// Nobody else works on this catalog: what is held when [`Uploads::run`] begins was cut off.
    pub is_alone: bool,
    /// Wait after a store that fails; each further one is twice as long.
    pub first_retry: Duration,
}

impl Default for UploadOptions {
    /// Half a minute, others may be at it too, and they wait 5 s at first.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            is_alone: false,
            first_retry: Duration::from_secs(5),
        }
    }
}

/// Wait before the attempt after `attempts` that failed; `None` when there is to be none.
fn retry_in(attempts: u32, first_retry: Duration) -> Option<Duration> {
    let factor = 2_u32.saturating_pow(attempts.saturating_sub(1));
    (attempts < ATTEMPTS_MAX).then(|| first_retry.saturating_mul(factor).min(LONGEST_RETRY))
}

/// What is said of an upload whose store or catalog failed.
fn reason(error: &UploadError) -> &'static str {
    match error {
        UploadError::Store(error) if error.is_full() => "The blob store has no room for it.",
        _ => "The blob store could not take it.",
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
                () = sleep(POLL) => {}
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
            () = token.cancelled() => return catalog.release_upload(upload).await,
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
            Err(error) => self.try_again(upload, &error).await?,
        }
        Ok(())
    }

    /// Postpones an upload whose store or catalog failed, or gives it up.
    async fn try_again(
        &self,
        upload: &ClaimedUpload,
        error: &UploadError,
    ) -> Result<(), CatalogError> {
        let (catalog, id) = (&self.0.catalog, &upload.row.upload.id);
        let reason = reason(error);
        if let Some(wait) = retry_in(upload.row.attempts + 1, self.0.options.first_retry) {
            let retry_in_s = wait.as_secs();
            warn!(upload = %id, %error, retry_in_s, "upload {id} is tried again: {error}");
            let not_before = catalog.now().await? + wait;
            return catalog.postpone_upload(upload, reason, not_before).await;
        }
        warn!(upload = %id, %error, "upload {id} is given up: {error}");
        if catalog.settle_upload(upload, Err(reason)).await?
            && let Err(error) = self.remove_sent(&upload.row).await
        {
            warn!(upload = %id, %error, "what was sent of {id} stays until it is swept: {error}");
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

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;
    use crate::blob::BlobError;

    #[test]
    fn attempts_come_later_and_later_and_end() {
        let first = Duration::from_secs(5);
        let secs: Vec<_> =
            (1..=ATTEMPTS_MAX).map(|n| retry_in(n, first).map(|wait| wait.as_secs())).collect();
        assert_eq!(secs[..4], [Some(5), Some(10), Some(20), Some(40)]);
        assert_eq!(secs[ATTEMPTS_MAX as usize - 2..], [Some(600), None]);
        assert!(secs.iter().flatten().sum::<u64>() > 3600);
        assert_eq!(retry_in(u32::MAX, first), None);
    }

    #[test]
    fn a_store_without_room_is_told_as_such() {
        let failed = |kind: ErrorKind| {
            let what = "it".to_owned();
            reason(&BlobError::File { action: "upload", what, source: kind.into() }.into())
        };
        assert!(failed(ErrorKind::StorageFull).contains("no room"));
        assert!(failed(ErrorKind::QuotaExceeded).contains("no room"));
        assert!(!failed(ErrorKind::PermissionDenied).contains("no room"));
    }
}
