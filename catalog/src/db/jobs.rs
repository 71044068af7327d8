//! The job queue and what its jobs make. Must not: do a job, or read this machine's clock where servers
//! have to agree.
//!
//! A job is a row of (asset, kind), so that none is there twice. Whoever claims it holds it until its
//! lease ends, under a name made up for this attempt, and writes nothing when it has lost it. That is
//! all that several servers, or one that was killed, need to share the queue.

use std::{slice, time::Duration};

use domain::{AssetId, JobKind, JobListing, JobState, JobStatus, Rendition, RenditionKind};

use super::{
    Catalog, CatalogError, Measures,
    sql::{Tx, Value, built_query, now_ms, query},
    write::Write,
};
use crate::{blob::BlobKey, changes::Tag, keys};

/// A job that is now this process's to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClaimedJob {
    pub(crate) asset_id: AssetId,
    pub(crate) kind: JobKind,
    /// This attempt counted; 1 on the first.
    pub(crate) attempts: u32,
    /// Earlier attempts whose server went away.
    pub(crate) cut_off: u32,
    /// Name of this attempt.
    pub(crate) claim: String,
}

/// A rendition that lies in the blob store under its own key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewRendition {
    pub(crate) kind: RenditionKind,
    pub(crate) size_bytes: u64,
    /// Zero for what is no picture.
    pub(crate) width_px: u32,
    /// Zero for what is no picture.
    pub(crate) height_px: u32,
}

/// What a job that ended well has made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Made {
    pub(crate) measures: Option<Measures>,
    pub(crate) renditions: Vec<NewRendition>,
    /// Jobs to queue now, unless they have been.
    pub(crate) follow_ups: Vec<JobKind>,
}

/// What a job that ended well leaves to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    /// Written down; these objects are no longer named by any row, and on the list of those to be removed.
    Written { replaced: Vec<BlobKey> },
    /// Somebody else has the job by now; nothing is written.
    Lost,
}

/// Which jobs a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only those in this state.
    pub state: Option<JobState>,
    /// Only those of this asset.
    pub asset: Option<AssetId>,
}

/// Columns of a [`JobListing`].
type JobRow = (String, String, String, Option<i64>, Option<String>, i64, String);

impl Catalog {
    /// The job of that kind that has waited longest and may be done by now; it is running from then on,
    /// and this process's until the lease ends.
    pub(crate) async fn claim_job(
        &self,
        kind: JobKind,
        lease: Duration,
    ) -> Result<Option<ClaimedJob>, CatalogError> {
        let claim = hex::encode(rand::random::<[u8; 16]>());
        let mut write = self.write().await?;
        let is_postgres = write.tx.is_postgres();
        // SQLite has one writer at a time; servers of a PostgreSQL pass over each other's rows.
        let lock = if is_postgres { "FOR UPDATE SKIP LOCKED" } else { "" };
        let now = now_ms(is_postgres);
        let sql = format!(
            "UPDATE jobs SET state = 'running', attempts = attempts + 1, claim = $1, \
             lease_until_ms = {now} + $2, progress_percent = NULL \
             WHERE kind = $3 AND state = 'pending' AND asset_id = ( \
                SELECT asset_id FROM jobs \
                WHERE kind = $3 AND state = 'pending' AND not_before_ms <= {now} \
                ORDER BY not_before_ms, queued_ms LIMIT 1 {lock}) \
             RETURNING asset_id, attempts, cut_off"
        );
        let values: Vec<Value> =
            vec![claim.as_str().into(), as_ms(lease).into(), kind.as_str().into()];
        let row = built_query(sql, values).fetch_optional::<(String, i64, i64)>(&mut write.tx);
        let Some((id_text, attempts, cut_off)) = row.await? else { return Ok(None) };
        let bad = |column| CatalogError::BadRow { row: id_text.clone(), column };
        let job = ClaimedJob {
            asset_id: id_text.parse().map_err(|_| bad("asset_id"))?,
            kind,
            attempts: u32::try_from(attempts).map_err(|_| bad("attempts"))?,
            cut_off: u32::try_from(cut_off).map_err(|_| bad("cut_off"))?,
            claim,
        };
        write.touch_jobs_of([&job.asset_id]);
        write.commit().await?;
        self.tell_job(&job, JobState::Running, None, None);
        Ok(Some(job))
    }

    /// Says that a job is still being done, and how far it is. `false` when somebody else has it. Of the
    /// progress only those hear who listen: it is not told as a change.
    pub(crate) async fn renew_job(
        &self,
        job: &ClaimedJob,
        lease: Duration,
        progress_percent: Option<u8>,
    ) -> Result<bool, CatalogError> {
        let sql = format!(
            "UPDATE jobs SET lease_until_ms = {} + $4, progress_percent = $5 \
             WHERE asset_id = $1 AND kind = $2 AND claim = $3 AND state = 'running'",
            now_ms(self.pool.is_postgres()),
        );
        let values: Vec<Value> = vec![
            job.asset_id.as_str().into(),
            job.kind.as_str().into(),
            job.claim.as_str().into(),
            as_ms(lease).into(),
            progress_percent.map(i64::from).into(),
        ];
        Ok(built_query(sql, values).execute(&self.pool).await? == 1)
    }

    /// Ends a job well, with what it made.
    pub(crate) async fn finish_job(
        &self,
        job: &ClaimedJob,
        made: &Made,
    ) -> Result<Finished, CatalogError> {
        let id = &job.asset_id;
        let mut write = self.write().await?;
        // The asset before what hangs on it: whoever removes one goes that way, too.
        if write.find(slice::from_ref(id)).await?.is_empty() {
            return Ok(Finished::Lost);
        }
        let ended = query(
            "UPDATE jobs SET state = 'done', reason = NULL, progress_percent = NULL, claim = NULL \
             WHERE asset_id = $1 AND kind = $2 AND claim = $3 AND state = 'running'",
        )
        .bind(id.as_str())
        .bind(job.kind.as_str())
        .bind(&job.claim)
        .execute(&mut write.tx)
        .await?;
        if ended == 0 {
            return Ok(Finished::Lost);
        }
        if let Some(measures) = &made.measures {
            set_measures(&mut write.tx, id, measures).await?;
        }
        let mut replaced = Vec::new();
        for rendition in &made.renditions {
            replaced.extend(put_rendition(&mut write.tx, id, rendition).await?);
        }
        write.free_objects(&replaced).await?;
        for kind in &made.follow_ups {
            queue_job(&mut write.tx, id, *kind).await?;
        }
        write.touch_assets([id]);
        write.touch(Tag::Jobs);
        write.commit().await?;
        self.tell_job(job, JobState::Done, None, None);
        if !made.follow_ups.is_empty() {
            self.tell_jobs_added();
        }
        Ok(Finished::Written { replaced })
    }

    /// Gives a job up, with a sentence for the asset's page. What it has stored is on the list of objects
    /// to be removed from then on, unless a row names it. `false` when somebody else has it.
    pub(crate) async fn fail_job(
        &self,
        job: &ClaimedJob,
        reason: &str,
        stored: &[BlobKey],
    ) -> Result<bool, CatalogError> {
        let mut write = self.write().await?;
        if write.find(slice::from_ref(&job.asset_id)).await?.is_empty() {
            return Ok(false);
        }
        let failed = query(
            "UPDATE jobs SET state = 'failed', reason = $4, progress_percent = NULL, claim = NULL \
             WHERE asset_id = $1 AND kind = $2 AND claim = $3 AND state = 'running'",
        )
        .bind(job.asset_id.as_str())
        .bind(job.kind.as_str())
        .bind(&job.claim)
        .bind(reason)
        .execute(&mut write.tx)
        .await?;
        if failed == 0 {
            return Ok(false);
        }
        write.free_objects(stored).await?;
        write.touch_assets([&job.asset_id]);
        write.touch(Tag::Jobs);
        write.commit().await?;
        self.tell_job(job, JobState::Failed, None, Some(reason));
        Ok(true)
    }

    /// Puts a job back, to be tried again after `wait`. `false` when somebody else has it.
    pub(crate) async fn postpone_job(
        &self,
        job: &ClaimedJob,
        reason: &str,
        wait: Duration,
    ) -> Result<bool, CatalogError> {
        let mut write = self.write().await?;
        let sql = format!(
            "UPDATE jobs SET state = 'pending', reason = $4, not_before_ms = {} + $5, \
             progress_percent = NULL, claim = NULL \
             WHERE asset_id = $1 AND kind = $2 AND claim = $3 AND state = 'running'",
            now_ms(write.tx.is_postgres()),
        );
        let values: Vec<Value> = vec![
            job.asset_id.as_str().into(),
            job.kind.as_str().into(),
            job.claim.as_str().into(),
            reason.into(),
            as_ms(wait).into(),
        ];
        if built_query(sql, values).execute(&mut write.tx).await? == 0 {
            return Ok(false);
        }
        write.touch_jobs_of([&job.asset_id]);
        write.commit().await?;
        self.tell_job(job, JobState::Pending, None, Some(reason));
        Ok(true)
    }

    /// Puts a job back as if it had not been tried: this process is stopping.
    pub(crate) async fn release_job(&self, job: &ClaimedJob) -> Result<(), CatalogError> {
        let mut write = self.write().await?;
        query(
            "UPDATE jobs SET state = 'pending', attempts = attempts - 1, progress_percent = NULL, \
             claim = NULL \
             WHERE asset_id = $1 AND kind = $2 AND claim = $3 AND state = 'running'",
        )
        .bind(job.asset_id.as_str())
        .bind(job.kind.as_str())
        .bind(&job.claim)
        .execute(&mut write.tx)
        .await?;
        write.touch_jobs_of([&job.asset_id]);
        write.commit().await
    }

    /// Puts what a job has stored on the list of objects to be removed, if its asset is gone: then no row
    /// will ever name it. Otherwise whoever has the job stores the same again.
    pub(crate) async fn free_if_gone(
        &self,
        job: &ClaimedJob,
        stored: &[BlobKey],
    ) -> Result<bool, CatalogError> {
        let mut write = self.write().await?;
        let found = write.find(slice::from_ref(&job.asset_id)).await?;
        // A recording goes on under another id.
        if found.iter().any(|(_, id)| *id == job.asset_id) {
            return Ok(false);
        }
        write.free_objects(stored).await?;
        write.commit().await?;
        Ok(true)
    }

    /// Puts back every job whose lease has ended: its server is gone. Returns how many.
    pub(crate) async fn requeue_cut_off_jobs(&self) -> Result<u64, CatalogError> {
        let now = now_ms(self.pool.is_postgres());
        self.requeue_jobs(&format!("state = 'running' AND lease_until_ms <= {now}")).await
    }

    /// Puts back every job that is being done: by nobody, says who is alone. Returns how many.
    pub(crate) async fn requeue_running_jobs(&self) -> Result<u64, CatalogError> {
        self.requeue_jobs("state = 'running'").await
    }

    async fn requeue_jobs(&self, which: &str) -> Result<u64, CatalogError> {
        let mut write = self.write().await?;
        let sql = format!(
            "UPDATE jobs SET state = 'pending', cut_off = cut_off + 1, attempts = attempts - 1, \
             progress_percent = NULL, claim = NULL WHERE {} RETURNING asset_id",
            jobs_not_held(which, write.tx.is_postgres())
        );
        let rows: Vec<(String,)> = built_query(sql, Vec::new()).fetch_all(&mut write.tx).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let ids: Vec<AssetId> = rows.iter().filter_map(|(id,)| id.parse().ok()).collect();
        write.touch_jobs_of(&ids);
        write.commit().await?;
        self.tell_jobs_added();
        Ok(rows.len() as u64)
    }

    /// Queues every job that was given up once more; returns how many. For after ffmpeg was
    /// installed or the store repaired.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub async fn retry_failed_jobs(&self) -> Result<u64, CatalogError> {
        let mut write = self.write().await?;
        let sql = format!(
            "UPDATE jobs SET state = 'pending', reason = NULL, attempts = 0, cut_off = 0, \
             not_before_ms = 0 WHERE {}",
            jobs_not_held("state = 'failed'", write.tx.is_postgres())
        );
        let requeued = built_query(sql, Vec::new()).execute(&mut write.tx).await?;
        // Whose jobs they are is not looked up: every list and asset may show them.
        write.touch(Tag::Everything);
        write.commit().await?;
        self.tell_jobs_added();
        Ok(requeued)
    }

    /// Queues a job once more that was given up, or has been done and is wanted again; one that waits
    /// is tried at once. `None` when the asset has no such job; one that is running goes on.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub async fn retry_job(
        &self,
        id: &AssetId,
        kind: JobKind,
    ) -> Result<Option<JobStatus>, CatalogError> {
        let mut write = self.write().await?;
        let requeued = query(
            "UPDATE jobs SET state = 'pending', reason = NULL, attempts = 0, cut_off = 0, \
             not_before_ms = 0 WHERE asset_id = $1 AND kind = $2 AND state <> 'running'",
        )
        .bind(id.as_str())
        .bind(kind.as_str())
        .execute(&mut write.tx)
        .await?;
        write.touch_assets([id]);
        write.touch(Tag::Jobs);
        write.commit().await?;
        let status = self.job(id, kind).await?;
        if let Some(status) = status.as_ref().filter(|_| requeued == 1) {
            self.send_job_event(status.clone());
            self.tell_jobs_added();
        }
        Ok(status)
    }

    /// One job, if the asset has it.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn job(
        &self,
        id: &AssetId,
        kind: JobKind,
    ) -> Result<Option<JobStatus>, CatalogError> {
        let filter = JobFilter { asset: Some(id.clone()), state: None };
        let jobs = self.jobs(&filter, JobKind::ALL.len() as u32, None).await?;
        Ok(jobs.into_iter().map(|listing| listing.job).find(|job| job.kind == kind))
    }

    /// Jobs in the order of their assets' ids, at most `limit`, after the job named by `after`.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn jobs(
        &self,
        filter: &JobFilter,
        limit: u32,
        after: Option<&(AssetId, JobKind)>,
    ) -> Result<Vec<JobListing>, CatalogError> {
        let mut sql = String::from(
            "SELECT j.asset_id, j.kind, j.state, j.progress_percent, j.reason, j.attempts, a.name \
             FROM jobs j JOIN assets a ON a.id = j.asset_id WHERE 1 = 1",
        );
        let mut values: Vec<Value> = Vec::new();
        let mut and = |condition: &str, value: Value| {
            values.push(value);
            sql.push_str(&condition.replace('?', &format!("${}", values.len())));
        };
        if let Some(state) = filter.state {
            and(" AND j.state = ?", state.as_str().into());
        }
        if let Some(asset) = &filter.asset {
            and(" AND j.asset_id = ?", asset.as_str().into());
        }
        if let Some((asset, kind)) = after {
            and(" AND (j.asset_id, j.kind) > (?, ", asset.as_str().into());
            and("?)", kind.as_str().into());
        }
        and(" ORDER BY j.asset_id, j.kind LIMIT ?", i64::from(limit).into());
        let rows = built_query(sql, values).fetch_all::<JobRow>(&self.pool).await?;
        rows.into_iter().map(listing_of_row).collect()
    }

    /// Kind and key of the rendition of that public name.
    pub(crate) async fn rendition_by_name(
        &self,
        name: &str,
    ) -> Result<Option<(RenditionKind, BlobKey)>, CatalogError> {
        let row = query("SELECT kind, object_key FROM renditions WHERE name = $1")
            .bind(name)
            .fetch_optional::<(String, String)>(&self.pool)
            .await?;
        let Some((kind, key)) = row else { return Ok(None) };
        let bad = |column| CatalogError::BadRow { row: name.to_owned(), column };
        let kind = kind.parse().map_err(|_| bad("kind"))?;
        Ok(Some((kind, key.parse().map_err(|_| bad("object_key"))?)))
    }

    /// Key of an asset's rendition of that kind.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn rendition_key(
        &self,
        id: &AssetId,
        kind: RenditionKind,
    ) -> Result<Option<BlobKey>, CatalogError> {
        let row = query("SELECT object_key FROM renditions WHERE asset_id = $1 AND kind = $2")
            .bind(id.as_str())
            .bind(kind.as_str())
            .fetch_optional::<(String,)>(&self.pool)
            .await?;
        let bad = |_| CatalogError::BadRow { row: id.to_string(), column: "object_key" };
        row.map(|(key,)| key.parse().map_err(bad)).transpose()
    }

    /// What there is of an asset, beside its original.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn renditions(&self, id: &AssetId) -> Result<Vec<Rendition>, CatalogError> {
        Ok(self.asset(id).await?.map(|asset| asset.renditions).unwrap_or_default())
    }

    /// Tells whoever listens how far a job is; nothing is written.
    pub(crate) fn tell_progress(&self, job: &ClaimedJob, progress_percent: Option<u8>) {
        self.tell_job(job, JobState::Running, progress_percent, None);
    }

    fn tell_job(
        &self,
        job: &ClaimedJob,
        state: JobState,
        progress_percent: Option<u8>,
        reason: Option<&str>,
    ) {
        self.send_job_event(JobStatus {
            asset: job.asset_id.clone(),
            kind: job.kind,
            state,
            progress_percent,
            reason: reason.map(str::to_owned),
            attempts: job.attempts,
        });
    }
}

/// Condition for jobs that nobody else is changing or removing: to wait for one while holding others
/// could be for ever. SQLite has one writer at a time.
fn jobs_not_held(which: &str, postgres: bool) -> String {
    match postgres {
        true => format!(
            "(asset_id, kind) IN (SELECT asset_id, kind FROM jobs WHERE {which} \
             FOR UPDATE SKIP LOCKED)"
        ),
        false => which.to_owned(),
    }
}

impl Write {
    /// Notes assets whose jobs wait or are done by now: their own pages show that, and the lists of jobs do,
    /// but no other list.
    fn touch_jobs_of<'a>(&mut self, ids: impl IntoIterator<Item = &'a AssetId>) {
        for id in ids {
            self.touch(Tag::Asset(id.clone()));
        }
        self.touch(Tag::Jobs);
    }
}

fn as_ms(wait: Duration) -> i64 {
    // So that it can be added to any time.
    i64::try_from(wait.as_millis()).unwrap_or(i64::MAX).min(i64::MAX / 2)
}

/// Adds a job, unless the asset has it.
pub(super) async fn queue_job(
    tx: &mut Tx,
    id: &AssetId,
    kind: JobKind,
) -> Result<(), CatalogError> {
    let sql = format!(
        "INSERT INTO jobs (asset_id, kind, state, attempts, not_before_ms, queued_ms) \
         VALUES ($1, $2, 'pending', 0, 0, {}) ON CONFLICT (asset_id, kind) DO NOTHING",
        now_ms(tx.is_postgres()),
    );
    built_query(sql, vec![id.as_str().into(), kind.as_str().into()]).execute(tx).await?;
    Ok(())
}

async fn set_measures(tx: &mut Tx, id: &AssetId, measures: &Measures) -> Result<(), CatalogError> {
    let (width, height) = measures.size_px.unwrap_or_default();
    let duration_ms = measures.duration_ms.unwrap_or_default();
    query(
        "UPDATE assets SET width_px = $2, height_px = $3, duration_ms = $4, codec = $5, \
         thumbhash = $6 WHERE id = $1",
    )
    .bind(id.as_str())
    .bind(i64::from(width))
    .bind(i64::from(height))
    .bind(i64::try_from(duration_ms).unwrap_or(i64::MAX))
    .bind(measures.codec.as_deref().unwrap_or_default())
    .bind(&measures.thumbhash)
    .execute(tx)
    .await?;
    Ok(())
}

/// Puts a rendition in the place of the one before; returns that one's key if it was another.
async fn put_rendition(
    tx: &mut Tx,
    id: &AssetId,
    rendition: &NewRendition,
) -> Result<Option<BlobKey>, CatalogError> {
    let kind = rendition.kind;
    let key = keys::rendition(id, kind);
    let before =
        query("DELETE FROM renditions WHERE asset_id = $1 AND kind = $2 RETURNING object_key")
            .bind(id.as_str())
            .bind(kind.as_str())
            .fetch_optional::<(String,)>(&mut *tx)
            .await?;
    query(
        "INSERT INTO renditions \
         (asset_id, kind, name, object_key, size_bytes, width_px, height_px) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(id.as_str())
    .bind(kind.as_str())
    .bind(keys::rendition_name(id, kind))
    .bind(key.as_str())
    .bind(i64::try_from(rendition.size_bytes).unwrap_or(i64::MAX))
    .bind(i64::from(rendition.width_px))
    .bind(i64::from(rendition.height_px))
    .execute(tx)
    .await?;
    Ok(before.and_then(|(before,)| before.parse().ok()).filter(|before| *before != key))
}

fn listing_of_row(row: JobRow) -> Result<JobListing, CatalogError> {
    let (asset, kind, state, progress_percent, reason, attempts, asset_name) = row;
    let bad = |column| CatalogError::BadRow { row: asset.clone(), column };
    Ok(JobListing {
        job: JobStatus {
            asset: asset.parse().map_err(|_| bad("asset_id"))?,
            kind: kind.parse().map_err(|_| bad("kind"))?,
            state: state.parse().map_err(|_| bad("state"))?,
            progress_percent: progress_percent.and_then(|percent| u8::try_from(percent).ok()),
            reason,
            attempts: u32::try_from(attempts).unwrap_or(0),
        },
        asset_name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{CatalogUrl, NewAsset};

    const HOUR: Duration = Duration::from_secs(3600);

    async fn catalog_with_one_asset(dir: &tempfile::TempDir) -> (Catalog, AssetId) {
        let catalog =
            Catalog::open(&CatalogUrl::Sqlite(dir.path().join("catalog.sqlite"))).await.unwrap();
        let id = AssetId::from_digest([1; 32]);
        catalog.add_asset(&NewAsset::new(id.clone(), "a.jpg", 1, "image/jpeg")).await.unwrap();
        (catalog, id)
    }

    #[tokio::test]
    async fn job_put_back_waits_for_its_time_and_counts_its_attempts() {
        let dir = tempfile::tempdir().unwrap();
        let (catalog, id) = catalog_with_one_asset(&dir).await;
        let claim = async || catalog.claim_job(JobKind::Derive, HOUR).await.unwrap();
        let an_hour_passes = async || {
            let passed = query("UPDATE jobs SET not_before_ms = not_before_ms - 3600000");
            passed.execute(&catalog.pool).await.unwrap();
        };

        let job = claim().await.unwrap();
        assert_eq!((job.attempts, job.cut_off), (1, 0));
        assert_eq!(claim().await, None, "it is claimed once");
        assert!(catalog.postpone_job(&job, "The store was away.", HOUR).await.unwrap());
        assert_eq!(claim().await, None);
        an_hour_passes().await;
        let job = claim().await.unwrap();
        assert_eq!(job.attempts, 2);
        catalog.release_job(&job).await.unwrap();

        let job = claim().await.unwrap();
        assert_eq!(job.attempts, 2);
        assert!(catalog.fail_job(&job, "No.", &[]).await.unwrap());
        assert_eq!(claim().await, None);
        assert_eq!(catalog.retry_failed_jobs().await.unwrap(), 1);
        let job = claim().await.unwrap();
        assert_eq!(job.attempts, 1);
        assert!(catalog.fail_job(&job, "No.", &[]).await.unwrap());
        let status = catalog.retry_job(&id, JobKind::Derive).await.unwrap().unwrap();
        assert_eq!((status.state, status.reason), (JobState::Pending, None));
        assert_eq!(catalog.retry_job(&id, JobKind::Waveform).await.unwrap(), None);
    }

    #[tokio::test]
    async fn job_whose_lease_has_ended_is_another_servers_and_counts_as_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let (catalog, id) = catalog_with_one_asset(&dir).await;
        let claim = async |lease| catalog.claim_job(JobKind::Derive, lease).await.unwrap().unwrap();

        let first = claim(Duration::ZERO).await;
        assert!(catalog.renew_job(&first, HOUR, Some(7)).await.unwrap());
        assert_eq!(
            catalog.job(&id, JobKind::Derive).await.unwrap().unwrap().progress_percent,
            Some(7)
        );
        assert_eq!(catalog.requeue_cut_off_jobs().await.unwrap(), 0, "it is held");
        assert!(catalog.renew_job(&first, Duration::ZERO, None).await.unwrap());
        assert_eq!(catalog.requeue_cut_off_jobs().await.unwrap(), 1);
        let second = claim(HOUR).await;
        assert_eq!((second.attempts, second.cut_off), (1, 1));

        // The first is late, and changes nothing.
        assert!(!catalog.renew_job(&first, HOUR, None).await.unwrap());
        let made = Made { follow_ups: vec![JobKind::Waveform], ..Made::default() };
        assert_eq!(catalog.finish_job(&first, &made).await.unwrap(), Finished::Lost);
        assert!(!catalog.fail_job(&first, "No.", &[]).await.unwrap());
        assert!(!catalog.postpone_job(&first, "No.", HOUR).await.unwrap());
        assert_eq!(catalog.job(&id, JobKind::Waveform).await.unwrap(), None);
        let finished = catalog.finish_job(&second, &made).await.unwrap();
        assert_eq!(finished, Finished::Written { replaced: Vec::new() });
        let states: Vec<_> = catalog
            .jobs(&JobFilter { asset: Some(id), state: None }, 10, None)
            .await
            .unwrap()
            .into_iter()
            .map(|listing| (listing.job.kind, listing.job.state))
            .collect();
        assert_eq!(
            states,
            [(JobKind::Derive, JobState::Done), (JobKind::Waveform, JobState::Pending)]
        );
    }

    #[tokio::test]
    async fn whatever_becomes_of_a_job_is_told_to_the_pages_that_show_it() {
        let dir = tempfile::tempdir().unwrap();
        let (catalog, id) = catalog_with_one_asset(&dir).await;
        let mut changes = catalog.changes();
        let mut told = |what: &str, is_in_every_list: bool| {
            let tags = changes.try_recv().unwrap_or_else(|error| panic!("{what}: {error}"));
            let mut expected = vec![Tag::Asset(id.clone()), Tag::Jobs];
            if is_in_every_list {
                expected.insert(1, Tag::Assets);
            }
            assert_eq!(*tags, *expected, "{what}");
        };
        let claim = async || catalog.claim_job(JobKind::Derive, HOUR).await.unwrap().unwrap();

        let job = claim().await;
        told("it is being done", false);
        catalog.release_job(&job).await.unwrap();
        told("it waits again", false);
        claim().await;
        told("it is being done", false);
        catalog.requeue_running_jobs().await.unwrap();
        told("its server is gone", false);
        let job = claim().await;
        told("it is being done", false);
        catalog.postpone_job(&job, "The store was away.", Duration::ZERO).await.unwrap();
        told("it is tried again", false);
        let job = claim().await;
        told("it is being done", false);
        catalog.fail_job(&job, "No.", &[]).await.unwrap();
        told("it is given up", true);
        catalog.retry_job(&id, JobKind::Derive).await.unwrap();
        told("it is asked for", true);
        let job = claim().await;
        told("it is being done", false);
        catalog.finish_job(&job, &Made::default()).await.unwrap();
        told("it is done", true);
        assert_eq!(catalog.claim_job(JobKind::Derive, HOUR).await.unwrap(), None);
        assert_eq!(catalog.requeue_running_jobs().await.unwrap(), 0);
        assert!(changes.try_recv().is_err(), "nothing has changed");
    }
}
