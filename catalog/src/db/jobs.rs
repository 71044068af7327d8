//! The thin job queue and what its jobs make. Must not: do a job, or read a clock.
//!
//! One process works on a catalog's jobs. A job that is running when that process starts was cut
//! off, and is put back.

use domain::AssetId;
use jiff::Timestamp;
use sqlx::Row;

use super::{Catalog, CatalogError};
use crate::{
    blob::BlobKey,
    keys::{self, ThumbKind},
};

/// A job that is now this process's to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClaimedJob {
    pub(crate) asset_id: AssetId,
    /// This attempt counted; 1 on the first.
    pub(crate) attempts: u32,
}

/// A rendition that lies in the blob store under its own key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewRendition {
    pub(crate) kind: ThumbKind,
    pub(crate) size_bytes: u64,
    pub(crate) width_px: u32,
    pub(crate) height_px: u32,
}

impl Catalog {
    /// The job that has waited longest and may be done at `now`; it is running from then on.
    pub(crate) async fn claim_job(
        &self,
        now: Timestamp,
    ) -> Result<Option<ClaimedJob>, CatalogError> {
        let rows = sqlx::query(
            "UPDATE jobs SET state = 'running', attempts = attempts + 1 \
             WHERE kind = 'derive' AND state = 'pending' AND asset_id = ( \
                SELECT asset_id FROM jobs \
                WHERE kind = 'derive' AND state = 'pending' AND not_before_ms <= $1 \
                ORDER BY not_before_ms, queued_ms LIMIT 1) \
             RETURNING asset_id, attempts",
        )
        .bind(now.as_millisecond())
        // To the end: a statement left half-read holds the write lock a little longer.
        .fetch_all(&self.pool)
        .await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let id_text: String = row.try_get("asset_id")?;
        let attempts: i64 = row.try_get("attempts")?;
        let bad = |column| CatalogError::BadRow { row: id_text.clone(), column };
        Ok(Some(ClaimedJob {
            asset_id: id_text.parse().map_err(|_| bad("asset_id"))?,
            attempts: u32::try_from(attempts).map_err(|_| bad("attempts"))?,
        }))
    }

    /// Ends a job well, with the renditions it made.
    pub(crate) async fn finish_job(
        &self,
        id: &AssetId,
        renditions: &[NewRendition],
    ) -> Result<(), CatalogError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for rendition in renditions {
            let kind = rendition.kind;
            sqlx::query("DELETE FROM renditions WHERE asset_id = $1 AND kind = $2")
                .bind(id.as_str())
                .bind(kind.as_str())
                .execute(&mut *tx)
                .await?;
            sqlx::query(
                "INSERT INTO renditions \
                 (asset_id, kind, name, object_key, size_bytes, width_px, height_px) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(id.as_str())
            .bind(kind.as_str())
            .bind(keys::thumb_name(id, kind))
            .bind(keys::thumb(id, kind).as_str())
            .bind(i64::try_from(rendition.size_bytes).unwrap_or(i64::MAX))
            .bind(i64::from(rendition.width_px))
            .bind(i64::from(rendition.height_px))
            .execute(&mut *tx)
            .await?;
        }
        sqlx::query(
            "UPDATE jobs SET state = 'done', reason = NULL WHERE asset_id = $1 AND kind = 'derive'",
        )
        .bind(id.as_str())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Gives a job up, with a sentence for the asset's page.
    pub(crate) async fn fail_job(&self, id: &AssetId, reason: &str) -> Result<(), CatalogError> {
        sqlx::query(
            "UPDATE jobs SET state = 'failed', reason = $2 WHERE asset_id = $1 AND kind = 'derive'",
        )
        .bind(id.as_str())
        .bind(reason)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Puts a job back, to be tried again at `not_before`.
    pub(crate) async fn retry_job(
        &self,
        id: &AssetId,
        reason: &str,
        not_before: Timestamp,
    ) -> Result<(), CatalogError> {
        sqlx::query(
            "UPDATE jobs SET state = 'pending', reason = $2, not_before_ms = $3 \
             WHERE asset_id = $1 AND kind = 'derive'",
        )
        .bind(id.as_str())
        .bind(reason)
        .bind(not_before.as_millisecond())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Puts a job back as if it had not been tried: this process is stopping.
    pub(crate) async fn release_job(&self, id: &AssetId) -> Result<(), CatalogError> {
        sqlx::query(
            "UPDATE jobs SET state = 'pending', attempts = attempts - 1 \
             WHERE asset_id = $1 AND kind = 'derive' AND state = 'running'",
        )
        .bind(id.as_str())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Puts back every job that a process now gone was doing; returns how many.
    ///
    /// The attempt counts, so that a job which takes its process down is given up in the end.
    pub(crate) async fn requeue_running_jobs(&self) -> Result<u64, CatalogError> {
        let requeued = sqlx::query("UPDATE jobs SET state = 'pending' WHERE state = 'running'")
            .execute(&self.pool)
            .await?;
        Ok(requeued.rows_affected())
    }

    /// Queues every job that was given up once more; returns how many. For after ffmpeg was
    /// installed or the store repaired.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub async fn retry_failed_jobs(&self) -> Result<u64, CatalogError> {
        let requeued = sqlx::query(
            "UPDATE jobs SET state = 'pending', reason = NULL, attempts = 0, not_before_ms = 0 \
             WHERE state = 'failed'",
        )
        .execute(&self.pool)
        .await?;
        self.jobs_added.notify_one();
        Ok(requeued.rows_affected())
    }

    /// Key of the rendition of that public name.
    pub(crate) async fn rendition_key(&self, name: &str) -> Result<Option<BlobKey>, CatalogError> {
        let row = sqlx::query("SELECT object_key FROM renditions WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let key: String = row.try_get("object_key")?;
        let bad = || CatalogError::BadRow { row: name.to_owned(), column: "object_key" };
        key.parse().map(Some).map_err(|_| bad())
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::db::NewAsset;

    async fn catalog_with_one_asset(dir: &tempfile::TempDir) -> (Catalog, AssetId) {
        let catalog = Catalog::open_sqlite(&dir.path().join("catalog.sqlite")).await.unwrap();
        let id = AssetId::from_digest([1; 32]);
        let new = NewAsset {
            id: id.clone(),
            key: keys::original(&id),
            name: "a.jpg".into(),
            size_bytes: 1,
            mime: "image/jpeg".into(),
            folder: String::new(),
            created_at: Timestamp::UNIX_EPOCH,
            source_node: None,
            origin_path: None,
        };
        catalog.add_asset(&new).await.unwrap();
        (catalog, id)
    }

    #[tokio::test]
    async fn job_put_back_waits_for_its_time_and_counts_its_attempts() {
        let dir = tempfile::tempdir().unwrap();
        let (catalog, id) = catalog_with_one_asset(&dir).await;
        let now = Timestamp::UNIX_EPOCH;
        let later = now + SignedDuration::from_secs(10);

        assert_eq!(catalog.claim_job(now).await.unwrap().unwrap().attempts, 1);
        assert_eq!(catalog.claim_job(later).await.unwrap(), None, "it is claimed once");
        catalog.retry_job(&id, "The store was away.", later).await.unwrap();
        assert_eq!(catalog.claim_job(now).await.unwrap(), None);
        assert_eq!(catalog.claim_job(later).await.unwrap().unwrap().attempts, 2);

        catalog.release_job(&id).await.unwrap();
        assert_eq!(catalog.claim_job(later).await.unwrap().unwrap().attempts, 2);
        assert_eq!(catalog.requeue_running_jobs().await.unwrap(), 1);
        assert_eq!(catalog.claim_job(later).await.unwrap().unwrap().attempts, 3);

        catalog.fail_job(&id, "No.").await.unwrap();
        assert_eq!(catalog.claim_job(later).await.unwrap(), None);
        assert_eq!(catalog.retry_failed_jobs().await.unwrap(), 1);
        assert_eq!(catalog.claim_job(now).await.unwrap().unwrap().attempts, 1);
    }
}
