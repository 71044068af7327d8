//! Rows of uploads in parts. Must not: touch a store, or decide what becomes of an upload.
//!
//! Whoever verifies one holds it until its lease ends, under a name made up for this attempt, and writes
//! nothing when it has lost it. A statement that its caller gave up may still run: it names the attempt,
//! and ends with it.

use domain::{AssetId, Upload, UploadId, UploadPart, UploadState};
use jiff::Timestamp;

use super::{
    Catalog, CatalogError,
    sql::{Statement, built_query, query, row},
};
use crate::blob::MultipartId;

/// Most uploads of a list.
const LIST_MAX: i64 = 500;

/// An upload, and what only the server is to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UploadRow {
    /// Without its parts.
    pub(crate) upload: Upload,
    /// MIME type as announced.
    pub(crate) mime: String,
    /// When the file was last changed.
    pub(crate) modified_at: Option<Timestamp>,
    /// The store's name for it.
    pub(crate) store_upload: MultipartId,
    /// What it is to be put together from, once that was asked for.
    pub(crate) parts: Vec<UploadPart>,
    /// Attempts at verifying it that failed for no fault of what was sent.
    pub(crate) attempts: u32,
}

/// An upload that is now this process's to verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClaimedUpload {
    pub(crate) row: UploadRow,
    /// Name of this attempt.
    claim: String,
}

/// Columns of a [`Record`]. By name: a version that adds one may run beside this one.
const COLUMNS: &str = "id, asset_id, name, folder, size_bytes, mime, modified_ms, part_bytes, \
    store_upload_id, state, parts, reason, created_ms, attempts";

/// Uploads that `rest` chooses.
fn select(rest: &'static str) -> Statement {
    built_query(format!("SELECT {COLUMNS} FROM uploads {rest}"), Vec::new())
}

impl Catalog {
    /// Writes down an upload that was begun.
    pub(crate) async fn insert_upload(&self, row: &UploadRow) -> Result<(), CatalogError> {
        let upload = &row.upload;
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        query(
            "INSERT INTO uploads (id, asset_id, name, folder, size_bytes, mime, modified_ms, \
             part_bytes, store_upload_id, state, created_ms, touched_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'open', $10, $10)",
        )
        .bind(upload.id.as_str())
        .bind(upload.asset_id.as_str())
        .bind(&upload.name)
        .bind(&upload.folder)
        .bind(bytes(upload.size_bytes))
        .bind(&row.mime)
        .bind(row.modified_at.map(Timestamp::as_millisecond))
        .bind(bytes(upload.part_bytes))
        .bind(row.store_upload.as_str())
        .bind(upload.created_at.as_millisecond())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// One upload.
    pub(crate) async fn upload(&self, id: &UploadId) -> Result<Option<UploadRow>, CatalogError> {
        let row =
            select("WHERE id = $1").bind(id.as_str()).fetch_optional::<Record>(&self.pool).await?;
        row.map(Record::upload).transpose()
    }

    /// Uploads that are no assets yet, the latest first.
    pub(crate) async fn unfinished_uploads(&self) -> Result<Vec<UploadRow>, CatalogError> {
        let rows = select("WHERE state <> 'done' ORDER BY created_ms DESC, id LIMIT $1")
            .bind(LIST_MAX)
            .fetch_all::<Record>(&self.pool)
            .await?;
        rows.into_iter().map(Record::upload).collect()
    }

    /// Every upload that the store may have parts of.
    pub(crate) async fn uploads_in_store(&self) -> Result<Vec<UploadId>, CatalogError> {
        let rows = query("SELECT id FROM uploads WHERE state IN ('open', 'verifying')")
            .fetch_all::<(String,)>(&self.pool)
            .await?;
        let parse = |(id,): (String,)| {
            id.parse().map_err(|_| CatalogError::BadRow { row: id, column: "id" })
        };
        rows.into_iter().map(parse).collect()
    }

    /// Uploads without a sign of life since `before`, but for those being verified.
    pub(crate) async fn stale_uploads(
        &self,
        before: Timestamp,
    ) -> Result<Vec<UploadRow>, CatalogError> {
        let rows = select("WHERE state <> 'verifying' AND touched_ms < $1 LIMIT $2")
            .bind(before.as_millisecond())
            .bind(LIST_MAX)
            .fetch_all::<Record>(&self.pool)
            .await?;
        rows.into_iter().map(Record::upload).collect()
    }

    /// An open upload of the same file to the same place.
    pub(crate) async fn open_upload_of(
        &self,
        asset_id: &AssetId,
        name: &str,
        folder: &str,
        size_bytes: u64,
    ) -> Result<Option<UploadRow>, CatalogError> {
        let row = select(
            "WHERE asset_id = $1 AND state IN ('open', 'verifying') \
             AND name = $2 AND folder = $3 AND size_bytes = $4 ORDER BY created_ms LIMIT 1",
        )
        .bind(asset_id.as_str())
        .bind(name)
        .bind(folder)
        .bind(i64::try_from(size_bytes).unwrap_or(i64::MAX))
        .fetch_optional::<Record>(&self.pool)
        .await?;
        row.map(Record::upload).transpose()
    }

    /// How many uploads await parts.
    pub(crate) async fn open_uploads(&self) -> Result<u64, CatalogError> {
        let (count,) = query("SELECT COUNT(*) FROM uploads WHERE state = 'open'")
            .fetch_one::<(i64,)>(&self.pool)
            .await?;
        Ok(count.unsigned_abs())
    }

    /// Notes a sign of life.
    pub(crate) async fn touch_upload(&self, id: &UploadId) -> Result<(), CatalogError> {
        query("UPDATE uploads SET touched_ms = $2 WHERE id = $1")
            .bind(id.as_str())
            .bind(Timestamp::now().as_millisecond())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// From open to verifying, with the parts to put together; whether it was open.
    pub(crate) async fn begin_verifying(
        &self,
        id: &UploadId,
        parts: &[UploadPart],
    ) -> Result<bool, CatalogError> {
        let parts = serde_json::to_string(parts).expect("numbers and texts are JSON");
        let changed = query(
            "UPDATE uploads SET state = 'verifying', parts = $2, touched_ms = $3 \
             WHERE id = $1 AND state = 'open'",
        )
        .bind(id.as_str())
        .bind(parts)
        .bind(Timestamp::now().as_millisecond())
        .execute(&self.pool)
        .await?;
        Ok(changed == 1)
    }

    /// The upload that has waited longest to be verified and may be at `now`; it is this process's until
    /// `held_until`.
    pub(crate) async fn claim_upload(
        &self,
        now: Timestamp,
        held_until: Timestamp,
    ) -> Result<Option<ClaimedUpload>, CatalogError> {
        let claim = hex::encode(rand::random::<[u8; 16]>());
        // SQLite has one writer at a time; servers of a PostgreSQL pass over each other's rows.
        let lock = if self.pool.is_postgres() { "FOR UPDATE SKIP LOCKED" } else { "" };
        let sql = format!(
            "UPDATE uploads SET claim = $1, held_until_ms = $2 \
             WHERE state = 'verifying' AND held_until_ms <= $3 AND id = ( \
                SELECT id FROM uploads WHERE state = 'verifying' AND held_until_ms <= $3 \
                ORDER BY held_until_ms, touched_ms, id LIMIT 1 {lock}) \
             RETURNING {COLUMNS}"
        );
        let row = built_query(sql, Vec::new())
            .bind(&claim)
            .bind(held_until.as_millisecond())
            .bind(now.as_millisecond())
            .fetch_optional::<Record>(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(ClaimedUpload { row: row.upload()?, claim }))
    }

    /// Says that an upload is still being verified. `false` when it is no longer this attempt's.
    pub(crate) async fn renew_upload(
        &self,
        upload: &ClaimedUpload,
        held_until: Timestamp,
    ) -> Result<bool, CatalogError> {
        let renewed = query(
            "UPDATE uploads SET held_until_ms = $3 \
             WHERE id = $1 AND claim = $2 AND state = 'verifying'",
        )
        .bind(upload.row.upload.id.as_str())
        .bind(&upload.claim)
        .bind(held_until.as_millisecond())
        .execute(&self.pool)
        .await?;
        Ok(renewed == 1)
    }

    /// Leaves an upload to be verified by anyone, as if this attempt had not been.
    pub(crate) async fn release_upload(&self, upload: &ClaimedUpload) -> Result<(), CatalogError> {
        query(
            "UPDATE uploads SET claim = NULL, held_until_ms = 0 \
             WHERE id = $1 AND claim = $2 AND state = 'verifying'",
        )
        .bind(upload.row.upload.id.as_str())
        .bind(&upload.claim)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Leaves an upload to be verified by anyone, from `not_before` on, with a sentence that says why.
    pub(crate) async fn postpone_upload(
        &self,
        upload: &ClaimedUpload,
        reason: &str,
        not_before: Timestamp,
    ) -> Result<(), CatalogError> {
        query(
            "UPDATE uploads SET claim = NULL, held_until_ms = $3, reason = $4, \
             attempts = attempts + 1 WHERE id = $1 AND claim = $2 AND state = 'verifying'",
        )
        .bind(upload.row.upload.id.as_str())
        .bind(&upload.claim)
        .bind(not_before.as_millisecond())
        .bind(reason)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Leaves every upload that somebody verifies to be verified anew: they are gone. Returns how many.
    pub(crate) async fn release_cut_off_uploads(&self) -> Result<u64, CatalogError> {
        let released = query(
            "UPDATE uploads SET claim = NULL, held_until_ms = 0 \
             WHERE state = 'verifying' AND claim IS NOT NULL",
        );
        Ok(released.execute(&self.pool).await?)
    }

    /// From verifying to done, or to failed with a sentence. `false`, and nothing is written, when it is
    /// no longer this attempt's.
    pub(crate) async fn settle_upload(
        &self,
        upload: &ClaimedUpload,
        outcome: Result<(), &str>,
    ) -> Result<bool, CatalogError> {
        let state = if outcome.is_ok() { UploadState::Done } else { UploadState::Failed };
        let settled = query(
            "UPDATE uploads SET state = $3, reason = $4, touched_ms = $5, claim = NULL \
             WHERE id = $1 AND claim = $2 AND state = 'verifying'",
        )
        .bind(upload.row.upload.id.as_str())
        .bind(&upload.claim)
        .bind(state.as_str())
        .bind(outcome.err())
        .bind(Timestamp::now().as_millisecond())
        .execute(&self.pool)
        .await?;
        Ok(settled == 1)
    }

    /// From open, or from waiting to be verified, to failed: from then on nobody verifies it. Nothing is
    /// written while somebody does, or once it is settled.
    pub(crate) async fn end_upload(
        &self,
        id: &UploadId,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        query(
            "UPDATE uploads SET state = 'failed', reason = 'It was ended.', claim = NULL \
             WHERE id = $1 AND (state = 'open' OR state = 'verifying' \
             AND (claim IS NULL OR held_until_ms <= $2))",
        )
        .bind(id.as_str())
        .bind(now.as_millisecond())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Forgets an upload if it is still in that state; whether it was.
    pub(crate) async fn forget_upload(
        &self,
        id: &UploadId,
        state: UploadState,
    ) -> Result<bool, CatalogError> {
        let forgotten = query("DELETE FROM uploads WHERE id = $1 AND state = $2");
        let forgotten = forgotten.bind(id.as_str()).bind(state.as_str()).execute(&self.pool);
        Ok(forgotten.await? == 1)
    }
}

row! {
    struct Record {
        id: String,
        asset_id: String,
        name: String,
        folder: String,
        size_bytes: i64,
        mime: String,
        modified_ms: Option<i64>,
        part_bytes: i64,
        store_upload_id: String,
        state: String,
        parts: Option<String>,
        reason: Option<String>,
        created_ms: i64,
        attempts: i64,
    }
}

impl Record {
    fn upload(self) -> Result<UploadRow, CatalogError> {
        let bad = |column| CatalogError::BadRow { row: self.id.clone(), column };
        let bytes = |column, bytes: i64| u64::try_from(bytes).map_err(|_| bad(column));
        let at = |column, ms| Timestamp::from_millisecond(ms).map_err(|_| bad(column));
        let parts = self.parts.as_deref().map_or(Ok(Vec::new()), serde_json::from_str);
        Ok(UploadRow {
            upload: Upload {
                id: self.id.parse().map_err(|_| bad("id"))?,
                size_bytes: bytes("size_bytes", self.size_bytes)?,
                asset_id: self.asset_id.parse().map_err(|_| bad("asset_id"))?,
                part_bytes: bytes("part_bytes", self.part_bytes)?,
                parts_done: Vec::new(),
                state: match self.state.as_str() {
                    "open" => UploadState::Open,
                    "verifying" => UploadState::Verifying,
                    "done" => UploadState::Done,
                    "failed" => UploadState::Failed,
                    _ => return Err(bad("state")),
                },
                created_at: at("created_ms", self.created_ms)?,
                name: self.name.clone(),
                folder: self.folder.clone(),
                reason: self.reason.clone(),
            },
            modified_at: self.modified_ms.map(|ms| at("modified_ms", ms)).transpose()?,
            store_upload: self.store_upload_id.parse().map_err(|_| bad("store_upload_id"))?,
            parts: parts.map_err(|_| bad("parts"))?,
            attempts: u32::try_from(self.attempts).map_err(|_| bad("attempts"))?,
            mime: self.mime.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;
    use crate::db::CatalogUrl;

    #[tokio::test]
    async fn an_upload_is_verified_by_one_at_a_time_whatever_an_ended_attempt_still_writes() {
        let dir = tempfile::tempdir().unwrap();
        let catalog =
            Catalog::open(&CatalogUrl::Sqlite(dir.path().join("catalog.sqlite"))).await.unwrap();
        let begun = Timestamp::now();
        let after = |seconds: i64| begun + seconds.seconds();
        let id: UploadId = "ab".repeat(16).parse().unwrap();
        let upload = Upload {
            id: id.clone(),
            name: "a.jpg".into(),
            folder: String::new(),
            size_bytes: 1,
            asset_id: AssetId::from_digest([1; 32]),
            part_bytes: 1,
            parts_done: Vec::new(),
            state: UploadState::Open,
            reason: None,
            created_at: begun,
        };
        let row = UploadRow {
            upload,
            mime: String::new(),
            modified_at: None,
            store_upload: "store".parse().unwrap(),
            parts: Vec::new(),
            attempts: 0,
        };
        catalog.insert_upload(&row).await.unwrap();
        let claim = async |now| catalog.claim_upload(after(now), after(now + 10)).await.unwrap();
        assert_eq!(claim(0).await, None, "its parts are awaited");
        catalog.begin_verifying(&id, &[]).await.unwrap();

        let first = claim(0).await.unwrap();
        assert_eq!(claim(9).await, None, "it is held");
        assert!(catalog.renew_upload(&first, after(20)).await.unwrap());
        assert_eq!(claim(19).await, None, "for longer");
        let second = claim(20).await.expect("the first is gone");
        let is_lost = async |attempt: &ClaimedUpload| {
            catalog.release_upload(attempt).await.unwrap();
            catalog.postpone_upload(attempt, "late", begun).await.unwrap();
            !catalog.renew_upload(attempt, after(99)).await.unwrap()
                && !catalog.settle_upload(attempt, Err("failed")).await.unwrap()
        };
        assert!(is_lost(&first).await);
        assert_eq!(claim(29).await, None, "the second has it");

        catalog.postpone_upload(&second, "The store was away.", after(25)).await.unwrap();
        assert!(is_lost(&second).await);
        assert_eq!(claim(24).await, None, "later");
        let third = claim(25).await.unwrap();
        let reason = third.row.upload.reason.as_deref();
        assert_eq!((third.row.attempts, reason), (1, Some("The store was away.")));
        assert_eq!(catalog.release_cut_off_uploads().await.unwrap(), 1);
        assert!(is_lost(&third).await);
        let fourth = claim(0).await.unwrap();
        assert!(catalog.settle_upload(&fourth, Ok(())).await.unwrap());
        assert!(is_lost(&fourth).await);
        assert_eq!(claim(99).await, None);
        let row = catalog.upload(&id).await.unwrap().unwrap();
        assert_eq!((row.upload.state, row.upload.reason), (UploadState::Done, None));
    }
}
