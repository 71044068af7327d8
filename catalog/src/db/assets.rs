//! Rows of assets, and what pages read. Must not: decide what becomes an asset.

use domain::{Asset, AssetId, AssetKind, Cursor, Page, PageLimit, Thumb};
use jiff::Timestamp;
use sqlx::{Row, sqlite::SqliteRow};

use super::{Catalog, CatalogError};
use crate::{blob::BlobKey, keys};

/// An original that lies in the blob store and is to become an asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAsset {
    /// Name by content.
    pub id: AssetId,
    /// Where the original lies.
    pub key: BlobKey,
    /// File name to show and to download under.
    pub name: String,
    /// Length of the original in bytes.
    pub size_bytes: u64,
    /// MIME type.
    pub mime: String,
    /// Slash-separated folder without a slash at either end.
    pub folder: String,
    /// When the original came into being.
    pub created_at: Timestamp,
    /// Host it came from.
    pub source_node: Option<String>,
    /// Path it had there.
    pub origin_path: Option<String>,
}

/// What became of a [`NewAsset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is an asset now, and its job is queued.
    New,
    /// There was one of the same bytes, which is unchanged.
    Known,
}

/// An asset with its job and its thumbnails; the argument is what follows the joins.
macro_rules! select_assets {
    ($tail:literal) => {
        concat!(
            "SELECT a.*, j.state AS job_state, j.reason AS job_reason, \
             small.name AS name_320, small.width_px AS thumb_width_px, \
             small.height_px AS thumb_height_px, large.name AS name_640 \
             FROM assets a \
             LEFT JOIN jobs j ON j.asset_id = a.id AND j.kind = 'derive' \
             LEFT JOIN renditions small ON small.asset_id = a.id AND small.kind = 'thumb_320' \
             LEFT JOIN renditions large ON large.asset_id = a.id AND large.kind = 'thumb_640' ",
            $tail
        )
    };
}

impl Catalog {
    /// One page of assets, newest first.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn list_assets(
        &self,
        limit: PageLimit,
        after: Option<&Cursor>,
    ) -> Result<Page<Asset>, CatalogError> {
        // One more than asked for tells whether there is a next page.
        let fetched = i64::from(limit.get()) + 1;
        let rows = match after {
            None => {
                sqlx::query(select_assets!("ORDER BY a.created_ms DESC, a.id DESC LIMIT $1"))
                    .bind(fetched)
                    .fetch_all(&self.pool)
                    .await?
            }
            Some(cursor) => {
                sqlx::query(select_assets!(
                    "WHERE (a.created_ms, a.id) < ($1, $2) \
                     ORDER BY a.created_ms DESC, a.id DESC LIMIT $3"
                ))
                .bind(cursor.created_ms)
                .bind(cursor.id.as_str())
                .bind(fetched)
                .fetch_all(&self.pool)
                .await?
            }
        };
        let page_len = limit.get() as usize;
        let has_more = rows.len() > page_len;
        let items: Vec<Asset> =
            rows.iter().take(page_len).map(asset_of_row).collect::<Result<_, _>>()?;
        let next_cursor = items.last().filter(|_| has_more).map(|last| Cursor {
            created_ms: last.created_at.as_millisecond(),
            id: last.id.clone(),
        });
        Ok(Page { items, next_cursor })
    }

    /// One asset, or `None` when there is none of that id.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn asset(&self, id: &AssetId) -> Result<Option<Asset>, CatalogError> {
        let row = sqlx::query(select_assets!("WHERE a.id = $1"))
            .bind(id.as_str())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(asset_of_row).transpose()
    }

    /// Adds an asset and queues its job, unless there is one of the same bytes.
    ///
    /// An asset of other bytes under the same key is removed: its original has been replaced.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub async fn add_asset(&self, new: &NewAsset) -> Result<Added, CatalogError> {
        let now_ms = Timestamp::now().as_millisecond();
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("DELETE FROM assets WHERE object_key = $1 AND id <> $2")
            .bind(new.key.as_str())
            .bind(new.id.as_str())
            .execute(&mut *tx)
            .await?;
        let inserted = sqlx::query(
            "INSERT INTO assets (id, object_key, name, size_bytes, mime, folder, labels, \
             created_ms, added_ms, source_node, origin_path) \
             VALUES ($1, $2, $3, $4, $5, $6, '[]', $7, $8, $9, $10) \
             ON CONFLICT (id) DO NOTHING",
        )
        .bind(new.id.as_str())
        .bind(new.key.as_str())
        .bind(&new.name)
        .bind(i64::try_from(new.size_bytes).unwrap_or(i64::MAX))
        .bind(&new.mime)
        .bind(&new.folder)
        .bind(new.created_at.as_millisecond())
        .bind(now_ms)
        .bind(&new.source_node)
        .bind(&new.origin_path)
        .execute(&mut *tx)
        .await?;
        let added = if inserted.rows_affected() == 1 {
            sqlx::query(
                "INSERT INTO jobs (asset_id, kind, state, attempts, not_before_ms, queued_ms) \
                 VALUES ($1, 'derive', 'pending', 0, 0, $2)",
            )
            .bind(new.id.as_str())
            .bind(now_ms)
            .execute(&mut *tx)
            .await?;
            Added::New
        } else {
            Added::Known
        };
        tx.commit().await?;
        if added == Added::New {
            self.jobs_added.notify_one();
        }
        Ok(added)
    }

    /// Says where an asset's original lies from now on.
    pub(crate) async fn move_original(
        &self,
        id: &AssetId,
        key: &BlobKey,
    ) -> Result<(), CatalogError> {
        sqlx::query("UPDATE assets SET object_key = $2 WHERE id = $1")
            .bind(id.as_str())
            .bind(key.as_str())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Writes what a look into the original found.
    pub(crate) async fn set_measures(
        &self,
        id: &AssetId,
        size_px: Option<(u32, u32)>,
        duration_ms: Option<u64>,
    ) -> Result<(), CatalogError> {
        sqlx::query(
            "UPDATE assets SET width_px = $2, height_px = $3, duration_ms = $4 WHERE id = $1",
        )
        .bind(id.as_str())
        .bind(size_px.map(|(width, _)| i64::from(width)))
        .bind(size_px.map(|(_, height)| i64::from(height)))
        .bind(duration_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX)))
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

fn asset_of_row(row: &SqliteRow) -> Result<Asset, CatalogError> {
    let id_text: String = row.try_get("id")?;
    let bad = |column| CatalogError::BadRow { row: id_text.clone(), column };
    let id: AssetId = id_text.parse().map_err(|_| bad("id"))?;
    let mime: String = row.try_get("mime")?;
    let kind = AssetKind::of_mime(&mime);
    let labels: String = row.try_get("labels")?;
    let duration_ms: Option<i64> = row.try_get("duration_ms")?;
    Ok(Asset {
        hash: id.hex().to_owned(),
        id,
        key: row.try_get("object_key")?,
        name: row.try_get("name")?,
        size_bytes: u64::try_from(row.try_get::<i64, _>("size_bytes")?)
            .map_err(|_| bad("size_bytes"))?,
        kind,
        mime,
        folder: row.try_get("folder")?,
        labels: serde_json::from_str(&labels).map_err(|_| bad("labels"))?,
        created_at: Timestamp::from_millisecond(row.try_get("created_ms")?)
            .map_err(|_| bad("created_ms"))?,
        source_node: row.try_get("source_node")?,
        origin_path: row.try_get("origin_path")?,
        external_ref: row.try_get("external_ref")?,
        width_px: px(row, "width_px").map_err(bad)?,
        height_px: px(row, "height_px").map_err(bad)?,
        duration_ms: duration_ms.map(u64::try_from).transpose().map_err(|_| bad("duration_ms"))?,
        thumb: thumb_of_row(row, kind)?.ok_or_else(|| bad("job_state"))?,
    })
}

/// `None` when the columns contradict each other.
fn thumb_of_row(row: &SqliteRow, kind: AssetKind) -> Result<Option<Thumb>, CatalogError> {
    let name_320: Option<String> = row.try_get("name_320")?;
    let name_640: Option<String> = row.try_get("name_640")?;
    if let (Some(name_320), Some(name_640)) = (name_320, name_640) {
        let size = px(row, "thumb_width_px").ok().flatten();
        let size = size.zip(px(row, "thumb_height_px").ok().flatten());
        return Ok(size.map(|(width_px, height_px)| Thumb::Ready {
            url_320: keys::thumb_url(&name_320),
            url_640: keys::thumb_url(&name_640),
            width_px,
            height_px,
        }));
    }
    let has_picture = matches!(kind, AssetKind::Image | AssetKind::Video);
    let state: Option<String> = row.try_get("job_state")?;
    Ok(match state.as_deref() {
        Some("pending" | "running") if has_picture => Some(Thumb::Pending),
        Some("pending" | "running" | "done") | None => Some(Thumb::None),
        Some("failed") => {
            let reason: Option<String> = row.try_get("job_reason")?;
            Some(Thumb::Failed { reason: reason.unwrap_or_else(|| "It failed.".into()) })
        }
        Some(_) => None,
    })
}

/// A column of pixels, or its name when it holds something else.
fn px(row: &SqliteRow, column: &'static str) -> Result<Option<u32>, &'static str> {
    let px: Option<i64> = row.try_get(column).map_err(|_| column)?;
    px.map(u32::try_from).transpose().map_err(|_| column)
}
