//! Recordings: assets that grow. Must not: know a camera beyond its name, or touch a file.
//!
//! An asset is named by the hash of its bytes, which a recording does not have yet. Until it is
//! finished it bears a provisional id, the hash of its object key, that nothing else can bear. Then it
//! takes the name of its bytes, and the provisional one goes on leading to it.

use domain::{Asset, AssetId, AssetKind, AssetName, CameraId, FolderPath};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{Catalog, CatalogError, assets::Measures, search, sql::query, write::Write};
use crate::{blob::BlobKey, changes::Tag};

/// A recording that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecording {
    /// Who records.
    pub camera: CameraId,
    /// Where it is being written.
    pub key: BlobKey,
    /// File name to show.
    pub name: AssetName,
    /// Folder to lie in.
    pub folder: FolderPath,
    /// MIME type.
    pub mime: String,
    /// When its first frame was taken.
    pub started_at: Timestamp,
    /// What is known of it already.
    pub measures: Measures,
}

/// A recording whose bytes are all there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedRecording {
    /// Name by content.
    pub id: AssetId,
    /// Where it lies from now on.
    pub key: BlobKey,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Playing time in milliseconds.
    pub duration_ms: u64,
}

impl Catalog {
    /// Adds a recording that is being written; returns its provisional id. The same one again when it
    /// is there already.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub async fn begin_recording(&self, new: &NewRecording) -> Result<AssetId, CatalogError> {
        let id = provisional_id(&new.key);
        let (width, height) = new.measures.size_px.unwrap_or_default();
        let mut write = self.write().await?;
        let folder = write.folder(new.folder.as_str()).await?;
        let inserted = query(
            "INSERT INTO assets (id, object_key, name, name_key, size_bytes, mime, kind, folder_id, \
             camera, codec, created_ms, added_ms, recording, width_px, height_px) \
             VALUES ($1, $2, $3, $4, 0, $5, $6, $7, $8, $9, $10, $11, 1, $12, $13) \
             ON CONFLICT (id) DO NOTHING RETURNING seq",
        )
        .bind(id.as_str())
        .bind(new.key.as_str())
        .bind(new.name.as_str())
        .bind(search::name_key(new.name.as_str()))
        .bind(&new.mime)
        .bind(AssetKind::of_mime(&new.mime).as_str())
        .bind(folder)
        .bind(new.camera.as_str())
        .bind(new.measures.codec.as_deref().unwrap_or_default())
        .bind(new.started_at.as_millisecond())
        .bind(Timestamp::now().as_millisecond())
        .bind(i64::from(width))
        .bind(i64::from(height))
        .fetch_optional::<(i64,)>(&mut write.tx)
        .await?;
        if let Some((seq,)) = inserted {
            write.index(seq).await?;
            write.touch_assets([&id]);
            write.touch(Tag::Folders);
        }
        write.commit().await?;
        Ok(id)
    }

    /// Says how long a recording is by now; `false` when none of that id is under way.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub async fn grow_recording(
        &self,
        id: &AssetId,
        size_bytes: u64,
        duration_ms: u64,
    ) -> Result<bool, CatalogError> {
        let mut write = self.write().await?;
        let grown = query(
            "UPDATE assets SET size_bytes = $2, duration_ms = $3 WHERE id = $1 AND recording = 1",
        )
        .bind(id.as_str())
        .bind(i64::try_from(size_bytes).unwrap_or(i64::MAX))
        .bind(i64::try_from(duration_ms).unwrap_or(i64::MAX))
        .execute(&mut write.tx)
        .await?;
        if grown > 0 {
            write.touch_assets([id]);
        }
        write.commit().await?;
        Ok(grown > 0)
    }

    /// Ends a recording under the name of its bytes and queues its job; `false` when none of that id is
    /// under way. If there is an asset of the same bytes, the recording becomes one with it, and the
    /// recording's own object is nobody's.
    ///
    /// # Errors
    /// When the catalog cannot be written; the recording is still under way then.
    pub async fn finish_recording(
        &self,
        id: &AssetId,
        finished: &FinishedRecording,
    ) -> Result<bool, CatalogError> {
        let mut write = self.write().await?;
        let found = write.find(&[id.clone(), finished.id.clone()]).await?;
        let Some(seq) = write.recording(id).await? else { return Ok(false) };
        let is_known = found.iter().any(|(_, known)| *known == finished.id);
        if is_known {
            write.remove_asset(seq).await?;
        } else {
            // Whatever was found out about the bytes that there were: they have another name now.
            for statement in [
                "DELETE FROM jobs WHERE asset_id = $1",
                "DELETE FROM asset_metadata WHERE asset_id = $1",
                "DELETE FROM missing_originals WHERE asset_id = $1",
                "UPDATE scanned_objects SET asset_id = NULL WHERE asset_id = $1",
            ] {
                query(statement).bind(id.as_str()).execute(&mut write.tx).await?;
            }
            query(
                "UPDATE assets SET id = $2, object_key = $3, size_bytes = $4, duration_ms = $5, \
                 recording = 0 WHERE seq = $1",
            )
            .bind(seq)
            .bind(finished.id.as_str())
            .bind(finished.key.as_str())
            .bind(i64::try_from(finished.size_bytes).unwrap_or(i64::MAX))
            .bind(i64::try_from(finished.duration_ms).unwrap_or(i64::MAX))
            .execute(&mut write.tx)
            .await?;
            write.queue_derive(&finished.id).await?;
        }
        query(
            "INSERT INTO asset_aliases (alias, id) VALUES ($1, $2) ON CONFLICT (alias) DO NOTHING",
        )
        .bind(id.as_str())
        .bind(finished.id.as_str())
        .execute(&mut write.tx)
        .await?;
        write.touch_assets([id, &finished.id]);
        write.commit().await?;
        self.tell_jobs_added();
        Ok(true)
    }

    /// Forgets a recording that is under way and of which nothing is left; `false` when there is none
    /// of that id.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub async fn abandon_recording(&self, id: &AssetId) -> Result<bool, CatalogError> {
        let mut write = self.write().await?;
        let Some(seq) = write.recording(id).await? else { return Ok(false) };
        write.remove_asset(seq).await?;
        write.touch_assets([id]);
        write.touch(Tag::Folders);
        write.commit().await?;
        Ok(true)
    }

    /// Recordings under way, and those that a process left so when it ended: a recorder finishes or
    /// abandons them.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn recordings_under_way(&self) -> Result<Vec<Asset>, CatalogError> {
        let mut conn = self.pool.acquire().await?;
        let seqs: Vec<(i64,)> = query("SELECT seq FROM assets WHERE recording = 1 ORDER BY seq")
            .fetch_all(&mut conn)
            .await?;
        Self::assets_of(&mut conn, seqs.into_iter().map(|(seq,)| seq).collect()).await
    }
}

impl Write {
    /// Number of a recording that is under way.
    async fn recording(&mut self, id: &AssetId) -> Result<Option<i64>, CatalogError> {
        let row = query("SELECT seq FROM assets WHERE id = $1 AND recording = 1");
        Ok(row.bind(id.as_str()).fetch_optional::<(i64,)>(&mut self.tx).await?.map(|(seq,)| seq))
    }
}

fn provisional_id(key: &BlobKey) -> AssetId {
    AssetId::from_digest(Sha256::digest(format!("damwall recording|{key}")).into())
}
