//! Which objects a scan has already read. Must not: list a store.

use domain::AssetId;
use sqlx::Row;

use super::{Catalog, CatalogError};
use crate::blob::{BlobKey, ListedObject};

/// What an earlier scan wrote down about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownObject {
    len_bytes: i64,
    stamp: String,
    /// Whether it became an asset that is still there, or was found not to be one.
    settled: bool,
}

impl KnownObject {
    /// Whether there is nothing new to learn from reading the object.
    pub(crate) fn is_same(&self, object: &ListedObject) -> bool {
        self.settled
            && u64::try_from(self.len_bytes) == Ok(object.meta.len_bytes)
            && self.stamp == object.meta.stamp
    }
}

impl Catalog {
    /// What an earlier scan wrote down about the object of that key.
    pub(crate) async fn known_object(
        &self,
        key: &BlobKey,
    ) -> Result<Option<KnownObject>, CatalogError> {
        let row = sqlx::query(
            "SELECT len_bytes, stamp, asset_id, reason FROM scanned_objects WHERE object_key = $1",
        )
        .bind(key.as_str())
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let asset_id: Option<String> = row.try_get("asset_id")?;
        let reason: Option<String> = row.try_get("reason")?;
        Ok(Some(KnownObject {
            len_bytes: row.try_get("len_bytes")?,
            stamp: row.try_get("stamp")?,
            settled: asset_id.is_some() || reason.is_some(),
        }))
    }

    /// Writes down what became of an object: an asset, or the reason why not.
    pub(crate) async fn record_object(
        &self,
        object: &ListedObject,
        outcome: Result<&AssetId, &str>,
    ) -> Result<(), CatalogError> {
        sqlx::query(
            "INSERT INTO scanned_objects (object_key, len_bytes, stamp, asset_id, reason) \
             VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (object_key) DO UPDATE SET len_bytes = excluded.len_bytes, \
             stamp = excluded.stamp, asset_id = excluded.asset_id, reason = excluded.reason",
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
}
