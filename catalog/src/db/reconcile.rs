//! How far a look through the store has come, and what the catalog believes to be in a range of keys.
//! Must not: ask a store.

use domain::AssetId;
use jiff::Timestamp;

use super::{
    Catalog, CatalogError,
    sql::{built_query, query},
};
use crate::blob::{BlobKey, ListedObject};

/// Where a look through the store goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Key after which the listing goes on; `None` at its beginning.
    pub(crate) start_after: Option<String>,
    /// Highest key up to which the catalog was compared with the listing.
    pub(crate) checked_to: String,
}

/// An object that an earlier look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScannedObject {
    pub(crate) key: BlobKey,
    pub(crate) is_gone: bool,
    len_bytes: i64,
    stamp: String,
    /// Whether it became an asset that is still there, or was found not to be one.
    is_settled: bool,
}

impl ScannedObject {
    /// Whether there is nothing new to learn from reading the object.
    pub(crate) fn is_same(&self, object: &ListedObject) -> bool {
        self.is_settled
            && u64::try_from(self.len_bytes) == Ok(object.meta.len_bytes)
            && self.stamp == object.meta.stamp
    }
}

/// Columns of a [`ScannedObject`].
type ScannedRow = (String, i64, String, Option<String>, Option<String>, Option<i64>);

const SELECT_SCANNED: &str =
    "SELECT object_key, len_bytes, stamp, asset_id, reason, gone_ms FROM scanned_objects";

fn scanned(
    (key, len_bytes, stamp, asset, reason, gone_ms): ScannedRow,
) -> Result<ScannedObject, CatalogError> {
    Ok(ScannedObject {
        key: parse_key(key)?,
        is_gone: gone_ms.is_some(),
        len_bytes,
        stamp,
        is_settled: asset.is_some() || reason.is_some(),
    })
}

/// An asset's original, where it is believed to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Original {
    pub(crate) key: BlobKey,
    pub(crate) asset: AssetId,
    pub(crate) is_missing: bool,
}

impl Catalog {
    /// Begins a look through the store, or goes on with one that was cut off; `None` while another
    /// process is at it. Whoever has it keeps it until `lease_ms` from now.
    pub(crate) async fn claim_reconcile(
        &self,
        owner: &str,
        lease_ms: i64,
        anew: bool,
    ) -> Result<Option<Checkpoint>, CatalogError> {
        let now_ms = self.now().await?.as_millisecond();
        let mut tx = self.pool.begin_write().await?;
        query(
            "INSERT INTO reconcile_run (id, owner, lease_until_ms, started_ms) \
             VALUES (1, '', 0, $1) ON CONFLICT (id) DO NOTHING",
        )
        .bind(now_ms)
        .execute(&mut tx)
        .await?;
        let claimed = query(
            "UPDATE reconcile_run SET owner = $1, lease_until_ms = $2 \
             WHERE id = 1 AND (owner = $1 OR lease_until_ms < $3)",
        )
        .bind(owner)
        .bind(now_ms.saturating_add(lease_ms))
        .bind(now_ms)
        .execute(&mut tx)
        .await?;
        if claimed == 0 {
            return Ok(None);
        }
        if anew {
            query("UPDATE reconcile_run SET start_after = NULL, checked_to = NULL WHERE id = 1")
                .execute(&mut tx)
                .await?;
        }
        query(
            "UPDATE reconcile_run SET started_ms = $1, finished_ms = NULL \
             WHERE id = 1 AND start_after IS NULL",
        )
        .bind(now_ms)
        .execute(&mut tx)
        .await?;
        let (start_after, checked_to) =
            query("SELECT start_after, checked_to FROM reconcile_run WHERE id = 1")
                .fetch_one::<(Option<String>, Option<String>)>(&mut tx)
                .await?;
        tx.commit().await?;
        Ok(Some(Checkpoint { start_after, checked_to: checked_to.unwrap_or_default() }))
    }

    /// Notes which store is looked through, once it was claimed: the first one, or with `anew` any other.
    /// Whether it is that one.
    pub(crate) async fn is_same_store(&self, id: &str, anew: bool) -> Result<bool, CatalogError> {
        let noted = query(
            "UPDATE reconcile_run SET store_id = $1 \
             WHERE id = 1 AND (store_id IS NULL OR store_id = $1 OR $2 = 1)",
        );
        let noted = noted.bind(id).bind(i64::from(anew)).execute(&self.pool).await?;
        Ok(noted == 1)
    }

    /// Keeps the look for longer; `false` when another process has it by now.
    pub(crate) async fn renew_reconcile(
        &self,
        owner: &str,
        lease_ms: i64,
    ) -> Result<bool, CatalogError> {
        let until_ms = self.now().await?.as_millisecond().saturating_add(lease_ms);
        let renewed =
            query("UPDATE reconcile_run SET lease_until_ms = $2 WHERE id = 1 AND owner = $1")
                .bind(owner)
                .bind(until_ms)
                .execute(&self.pool)
                .await?;
        Ok(renewed > 0)
    }

    /// Writes down that everything before the checkpoint is done.
    pub(crate) async fn save_checkpoint(
        &self,
        owner: &str,
        checkpoint: &Checkpoint,
    ) -> Result<(), CatalogError> {
        query(
            "UPDATE reconcile_run SET start_after = $2, checked_to = $3 WHERE id = 1 AND owner = $1",
        )
        .bind(owner)
        .bind(&checkpoint.start_after)
        .bind(&checkpoint.checked_to)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Ends the look: the next one begins anew, and it is nobody's any more, so that a renewal still on
    /// its way changes nothing. Forgets objects that have been gone since before.
    pub(crate) async fn finish_reconcile(
        &self,
        owner: &str,
        forget_gone_before_ms: i64,
    ) -> Result<(), CatalogError> {
        query(
            "UPDATE reconcile_run SET start_after = NULL, checked_to = NULL, finished_ms = $2, \
             owner = '', lease_until_ms = 0 WHERE id = 1 AND owner = $1",
        )
        .bind(owner)
        .bind(Timestamp::now().as_millisecond())
        .execute(&self.pool)
        .await?;
        query("DELETE FROM scanned_objects WHERE gone_ms < $1")
            .bind(forget_gone_before_ms)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Lets another process have the look at once.
    pub(crate) async fn release_reconcile(&self, owner: &str) -> Result<(), CatalogError> {
        query(
            "UPDATE reconcile_run SET owner = '', lease_until_ms = 0 WHERE id = 1 AND owner = $1",
        )
        .bind(owner)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Objects that earlier looks found with keys after `after` and up to `to`, by the bytes of the key.
    pub(crate) async fn scanned_between(
        &self,
        after: &str,
        to: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ScannedObject>, CatalogError> {
        let rows = self.between(&format!("{SELECT_SCANNED} WHERE"), after, to, limit);
        let rows = rows.fetch_all::<ScannedRow>(&self.pool).await?;
        rows.into_iter().map(scanned).collect()
    }

    /// What an earlier look wrote down about the object of that key.
    pub(crate) async fn scanned_object(
        &self,
        key: &BlobKey,
    ) -> Result<Option<ScannedObject>, CatalogError> {
        let row = built_query(
            format!("{SELECT_SCANNED} WHERE object_key = $1"),
            vec![key.as_str().into()],
        );
        row.fetch_optional::<ScannedRow>(&self.pool).await?.map(scanned).transpose()
    }

    /// Writes down what became of an object: an asset, or the reason why not.
    pub(crate) async fn record_object(
        &self,
        object: &ListedObject,
        outcome: Result<&AssetId, &str>,
    ) -> Result<(), CatalogError> {
        query(
            "INSERT INTO scanned_objects (object_key, len_bytes, stamp, asset_id, reason) \
             VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (object_key) DO UPDATE SET len_bytes = excluded.len_bytes, \
             stamp = excluded.stamp, asset_id = excluded.asset_id, reason = excluded.reason, \
             gone_ms = NULL",
        )
        .bind(object.key.as_str())
        .bind(i64::try_from(object.meta.len_bytes).unwrap_or(i64::MAX))
        .bind(&object.meta.stamp)
        .bind(outcome.ok().map(AssetId::as_str))
        .bind(outcome.err())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Originals with keys after `after` and up to `to`, by the bytes of the key.
    pub(crate) async fn originals_between(
        &self,
        after: &str,
        to: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Original>, CatalogError> {
        let rows = self
            .between(
                // A recording's object may be anywhere until it is whole.
                "SELECT object_key, id, missing_originals.since_ms FROM assets \
                 LEFT JOIN missing_originals ON missing_originals.asset_id = assets.id \
                 WHERE recording = 0 AND",
                after,
                to,
                limit,
            )
            .fetch_all::<(String, String, Option<i64>)>(&self.pool)
            .await?;
        let original = |(key, id, since_ms): (String, String, Option<i64>)| {
            let asset = id.parse().map_err(|_| CatalogError::BadRow { row: id, column: "id" })?;
            Ok(Original { key: parse_key(key)?, asset, is_missing: since_ms.is_some() })
        };
        rows.into_iter().map(original).collect()
    }

    /// What `select`, up to its last condition, finds in a range of keys.
    fn between(
        &self,
        select: &str,
        after: &str,
        to: Option<&str>,
        limit: u32,
    ) -> super::sql::Statement {
        // SQLite compares bytes by itself; PostgreSQL as its operator chose when it was set up.
        let bytes = if self.pool.is_postgres() { "object_key COLLATE \"C\"" } else { "object_key" };
        let (to_clause, to_value) = match to {
            Some(to) => (format!("AND {bytes} <= $3"), vec![to.into()]),
            None => (String::new(), Vec::new()),
        };
        let sql = format!("{select} {bytes} > $1 {to_clause} ORDER BY {bytes} LIMIT $2");
        let values = [vec![after.into(), i64::from(limit).into()], to_value].concat();
        built_query(sql, values)
    }

    /// The asset whose original is believed to be there.
    pub(crate) async fn asset_at(&self, key: &BlobKey) -> Result<Option<AssetId>, CatalogError> {
        let row = query("SELECT id FROM assets WHERE object_key = $1")
            .bind(key.as_str())
            .fetch_optional::<(String,)>(&self.pool)
            .await?;
        let parse = |(id,): (String,)| {
            id.parse().map_err(|_| CatalogError::BadRow { row: id, column: "id" })
        };
        row.map(parse).transpose()
    }

    /// Whether a camera still writes the object.
    pub(crate) async fn is_being_recorded(&self, key: &BlobKey) -> Result<bool, CatalogError> {
        let row = query("SELECT seq FROM assets WHERE object_key = $1 AND recording = 1");
        Ok(row.bind(key.as_str()).fetch_optional::<(i64,)>(&self.pool).await?.is_some())
    }

    /// Whether an original or a rendition lies at a key.
    pub(crate) async fn refers_to(&self, key: &BlobKey) -> Result<bool, CatalogError> {
        // A rendition's key ends with its name, by which they are found.
        let name = key.as_str().rsplit('/').next().unwrap_or_default();
        let rendition = self.rendition_by_name(name).await?;
        Ok(rendition.is_some_and(|(_, at)| at == *key) || self.asset_at(key).await?.is_some())
    }

    /// Where else an asset's bytes were found, a few of them.
    pub(crate) async fn copies(
        &self,
        id: &AssetId,
        but: &BlobKey,
    ) -> Result<Vec<BlobKey>, CatalogError> {
        let rows = query(
            "SELECT object_key FROM scanned_objects \
             WHERE asset_id = $1 AND object_key <> $2 AND gone_ms IS NULL LIMIT 10",
        )
        .bind(id.as_str())
        .bind(but.as_str())
        .fetch_all::<(String,)>(&self.pool)
        .await?;
        rows.into_iter().map(|(key,)| parse_key(key)).collect()
    }

    /// Notes whether an object that a look found is still there.
    pub(crate) async fn set_gone(&self, key: &BlobKey, is_gone: bool) -> Result<(), CatalogError> {
        query("UPDATE scanned_objects SET gone_ms = $2 WHERE object_key = $1")
            .bind(key.as_str())
            .bind(is_gone.then(|| Timestamp::now().as_millisecond()))
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

fn parse_key(key: String) -> Result<BlobKey, CatalogError> {
    key.parse().map_err(|_| CatalogError::BadRow { row: key, column: "object_key" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::CatalogUrl;

    #[tokio::test]
    async fn a_look_that_has_ended_is_free_whatever_renewals_are_still_on_their_way() {
        let dir = tempfile::tempdir().unwrap();
        let catalog =
            Catalog::open(&CatalogUrl::Sqlite(dir.path().join("catalog.sqlite"))).await.unwrap();
        let claim = async |owner| catalog.claim_reconcile(owner, 60_000, false).await.unwrap();

        assert!(claim("a").await.is_some());
        assert_eq!(claim("b").await, None, "it is held");
        catalog.finish_reconcile("a", 0).await.unwrap();
        assert!(!catalog.renew_reconcile("a", 60_000).await.unwrap());
        assert!(claim("b").await.is_some());
        catalog.release_reconcile("b").await.unwrap();
        assert!(!catalog.renew_reconcile("b", 60_000).await.unwrap());
        assert!(claim("a").await.is_some());
    }
}
