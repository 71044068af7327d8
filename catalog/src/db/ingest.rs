//! What imports and watched folders remember, and what originals say of themselves. Must not: read a file.

use domain::{AssetId, AssetPatch, Metadata};
use jiff::Timestamp;

use super::{Catalog, CatalogError, sql::query, write::Write};
use crate::{blob::BlobKey, settle::Stamp};

/// What was written down about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenFile {
    /// What it looked like.
    pub(crate) stamp: Stamp,
    /// What it became; `None` if it never was an asset, or the asset was purged.
    pub(crate) asset: Option<AssetId>,
    /// Why it is none.
    pub(crate) reason: Option<String>,
}

impl Catalog {
    /// What was written down about a file of a machine.
    pub(crate) async fn seen_file(
        &self,
        node: &str,
        path: &str,
    ) -> Result<Option<SeenFile>, CatalogError> {
        let row = query(
            "SELECT len_bytes, modified_us, asset_id, reason FROM seen_files \
             WHERE node = $1 AND path = $2",
        )
        .bind(node)
        .bind(path)
        .fetch_optional::<(i64, i64, Option<String>, Option<String>)>(&self.pool)
        .await?;
        let Some((len_bytes, modified_us, asset, reason)) = row else { return Ok(None) };
        let bad = |column| CatalogError::BadRow { row: path.to_owned(), column };
        Ok(Some(SeenFile {
            stamp: Stamp {
                len_bytes: u64::try_from(len_bytes).map_err(|_| bad("len_bytes"))?,
                modified_us,
            },
            asset: asset.map(|id| id.parse()).transpose().map_err(|_| bad("asset_id"))?,
            reason,
        }))
    }

    /// Writes down what became of a file: an asset, or the reason why not.
    pub(crate) async fn record_file(
        &self,
        node: &str,
        path: &str,
        stamp: Stamp,
        outcome: Result<&AssetId, &str>,
    ) -> Result<(), CatalogError> {
        query(
            "INSERT INTO seen_files (node, path, len_bytes, modified_us, asset_id, reason) \
             VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (node, path) DO UPDATE SET len_bytes = excluded.len_bytes, \
             modified_us = excluded.modified_us, asset_id = excluded.asset_id, \
             reason = excluded.reason",
        )
        .bind(node)
        .bind(path)
        .bind(i64::try_from(stamp.len_bytes).unwrap_or(i64::MAX))
        .bind(stamp.modified_us)
        .bind(outcome.ok().map(AssetId::as_str))
        .bind(outcome.err())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Writes down what a look into the original has found, where nothing is known yet, and dates the
    /// asset by it.
    pub(crate) async fn add_metadata(
        &self,
        id: &AssetId,
        found: Metadata,
    ) -> Result<(), CatalogError> {
        if found.is_empty() {
            return Ok(());
        }
        let known = self.metadata(id).await?;
        let is_dated = known.taken_at.is_some();
        let merged = Metadata {
            taken_at: known.taken_at.or(found.taken_at),
            orientation: known.orientation.or(found.orientation),
            camera_make: known.camera_make.or(found.camera_make),
            camera_model: known.camera_model.or(found.camera_model),
            lens: known.lens.or(found.lens),
            exposure_secs: known.exposure_secs.or(found.exposure_secs),
            f_number: known.f_number.or(found.f_number),
            iso: known.iso.or(found.iso),
            focal_length_mm: known.focal_length_mm.or(found.focal_length_mm),
            fps: found.fps.or(known.fps),
            sample_rate_hz: found.sample_rate_hz.or(known.sample_rate_hz),
            location: known.location.or(found.location),
        };
        let mut write = self.write().await?;
        // Assets are locked before what hangs on them.
        if write.find(std::slice::from_ref(id)).await?.is_empty() {
            return Ok(());
        }
        write.set_metadata(id, &merged).await?;
        if let Some(taken_at) = found.taken_at.filter(|_| !is_dated) {
            // A recording of ours knows better when it began.
            query("UPDATE assets SET created_ms = $2 WHERE id = $1 AND camera = ''")
                .bind(id.as_str())
                .bind(taken_at.as_millisecond())
                .execute(&mut write.tx)
                .await?;
        }
        write.commit().await
    }

    /// What an original says of itself, with its place; empty if nothing.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn metadata(&self, id: &AssetId) -> Result<Metadata, CatalogError> {
        let row = query("SELECT document FROM asset_metadata WHERE asset_id = $1")
            .bind(id.as_str())
            .fetch_optional::<(String,)>(&self.pool)
            .await?;
        let Some((document,)) = row else { return Ok(Metadata::default()) };
        serde_json::from_str(&document)
            .map_err(|_| CatalogError::BadRow { row: id.to_string(), column: "document" })
    }

    /// Since when an asset's original has been missing from the store; `None` while it is there.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn missing_since(&self, id: &AssetId) -> Result<Option<Timestamp>, CatalogError> {
        let row = query("SELECT since_ms FROM missing_originals WHERE asset_id = $1")
            .bind(id.as_str())
            .fetch_optional::<(i64,)>(&self.pool)
            .await?;
        let bad = |_| CatalogError::BadRow { row: id.to_string(), column: "since_ms" };
        row.map(|(ms,)| Timestamp::from_millisecond(ms).map_err(bad)).transpose()
    }

    /// Marks an asset whose original is not in the store. The row stays.
    pub(crate) async fn mark_missing(&self, id: &AssetId) -> Result<(), CatalogError> {
        let mut write = self.write().await?;
        query(
            "INSERT INTO missing_originals (asset_id, since_ms) VALUES ($1, $2) \
             ON CONFLICT (asset_id) DO NOTHING",
        )
        .bind(id.as_str())
        .bind(Timestamp::now().as_millisecond())
        .execute(&mut write.tx)
        .await?;
        write.touch_assets([id]);
        write.commit().await
    }

    /// Says where an asset's original lies from now on, and that it is there.
    pub(crate) async fn original_found(
        &self,
        id: &AssetId,
        key: &BlobKey,
    ) -> Result<(), CatalogError> {
        let mut write = self.write().await?;
        query("UPDATE assets SET object_key = $2 WHERE id = $1")
            .bind(id.as_str())
            .bind(key.as_str())
            .execute(&mut write.tx)
            .await?;
        query("DELETE FROM missing_originals WHERE asset_id = $1")
            .bind(id.as_str())
            .execute(&mut write.tx)
            .await?;
        write.touch_assets([id]);
        write.commit().await
    }

    /// A file was moved: its asset takes its name and folder. Names that an asset cannot have stay.
    pub(crate) async fn follow_file(
        &self,
        id: &AssetId,
        origin_path: &str,
        name: &str,
        folder: &str,
    ) -> Result<(), CatalogError> {
        let patch =
            AssetPatch { name: name.parse().ok(), folder: folder.parse().ok(), labels: None };
        let mut write = self.write().await?;
        if !write.update(id, &patch).await? {
            return Ok(());
        }
        query("UPDATE assets SET origin_path = $2 WHERE id = $1")
            .bind(id.as_str())
            .bind(origin_path)
            .execute(&mut write.tx)
            .await?;
        write.commit().await
    }
}

impl Write {
    /// Writes down what an original says of itself.
    pub(super) async fn set_metadata(
        &mut self,
        id: &AssetId,
        metadata: &Metadata,
    ) -> Result<(), CatalogError> {
        let document = serde_json::to_string(metadata)
            .map_err(|_| CatalogError::BadRow { row: id.to_string(), column: "document" })?;
        query(
            "INSERT INTO asset_metadata (asset_id, document) VALUES ($1, $2) \
             ON CONFLICT (asset_id) DO UPDATE SET document = excluded.document",
        )
        .bind(id.as_str())
        .bind(document)
        .execute(&mut self.tx)
        .await?;
        self.touch_assets([id]);
        Ok(())
    }
}
