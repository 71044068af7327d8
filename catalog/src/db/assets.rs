//! Rows of assets, and what pages read. Must not: decide what becomes an asset.

use std::collections::HashMap;

use domain::{
    Asset, AssetFilter, AssetId, AssetKind, AssetQuery, Cursor, DateBucket, Facets, JobKind,
    Metadata, Page, Rendition, RenditionKind, Thumb,
};
use jiff::{Timestamp, ToSpan as _, civil::Date};

use super::{
    Catalog, CatalogError, dates,
    jobs::queue_job,
    search,
    sql::{Conn, built_query, id_list, query, row, seq_list},
    write::Write,
};
use crate::{blob::BlobKey, changes::Tag, keys};

/// An original that lies in the blob store and is to become an asset.
#[derive(Debug, Clone, PartialEq)]
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
    /// What it says of itself.
    pub metadata: Metadata,
}

impl NewAsset {
    /// An original under its own key that came into being now, in the top folder and from nowhere known.
    pub fn new(id: AssetId, name: &str, size_bytes: u64, mime: &str) -> Self {
        Self {
            key: keys::original(&id),
            id,
            name: name.to_owned(),
            size_bytes,
            mime: mime.to_owned(),
            folder: String::new(),
            created_at: Timestamp::now(),
            source_node: None,
            origin_path: None,
            metadata: Metadata::default(),
        }
    }
}

/// What became of a [`NewAsset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is an asset now, and its job is queued.
    New,
    /// There was one of the same bytes, which is unchanged.
    Known,
}

/// What a look into an original found; what is `None` it has not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Measures {
    /// Width and height as displayed, in pixels.
    pub size_px: Option<(u32, u32)>,
    /// Playing time in milliseconds.
    pub duration_ms: Option<u64>,
    /// Codec as ffprobe names it.
    pub codec: Option<String>,
    /// ThumbHash in base64.
    pub thumbhash: Option<String>,
}

impl Catalog {
    /// One page of assets.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn list_assets(&self, query: &AssetQuery) -> Result<Page<Asset>, CatalogError> {
        let mut conn = self.pool.acquire().await?;
        let mut hits = Self::hits(&mut conn, query).await?;
        let page_len = query.limit.get() as usize;
        let has_more = hits.len() > page_len;
        hits.truncate(page_len);
        let next_cursor = hits.last().filter(|_| has_more).map(|last| Cursor {
            sort: query.sort,
            key: last.key.clone(),
            seq: last.seq,
        });
        let items = Self::assets_of(&mut conn, hits.iter().map(|hit| hit.seq).collect()).await?;
        Ok(Page { items, next_cursor })
    }

    /// One asset, or `None` when there is none of that id. A recording is also found by the
    /// provisional id that it had while it was written.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn asset(&self, id: &AssetId) -> Result<Option<Asset>, CatalogError> {
        let mut conn = self.pool.acquire().await?;
        let row = query(
            "SELECT seq FROM assets WHERE id = $1 UNION ALL SELECT a.seq FROM asset_aliases n \
             JOIN assets a ON a.id = n.id WHERE n.alias = $1",
        )
        .bind(id.as_str())
        .fetch_optional::<(i64,)>(&mut conn)
        .await?;
        let Some((seq,)) = row else { return Ok(None) };
        Ok(Self::assets_of(&mut conn, vec![seq]).await?.pop())
    }

    /// How many assets pass a filter; exact.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn count_assets(&self, filter: &AssetFilter) -> Result<u64, CatalogError> {
        Ok(self.count_hits(filter).await?.unsigned_abs())
    }

    /// How many assets that pass a filter came into being when, the latest first: by day, or by month
    /// when there are more than 400 days between the first and the last. Days without any are left out.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn buckets(&self, filter: &AssetFilter) -> Result<Vec<DateBucket>, CatalogError> {
        if let Some(days) = self.count_by_day(filter).await? {
            let day = |(day, count): (i64, i64)| {
                let bad = |_| CatalogError::BadRow { row: "asset".into(), column: "created_ms" };
                let date = Date::constant(1970, 1, 1).checked_add(day.days()).map_err(bad)?;
                Ok(DateBucket { from: date, to: date, count: count.unsigned_abs() })
            };
            let days = days.into_iter().map(day).collect::<Result<_, CatalogError>>()?;
            return Ok(dates::by_month_if_long(days));
        }
        let Some((first, last)) = self.created_span(filter).await? else { return Ok(Vec::new()) };
        let mut buckets = self.counted(filter, dates::buckets(first, last)).await?;
        // Months were counted, and what passes is within a shorter time.
        if let Some(days) = dates::days_of_months(&buckets) {
            buckets = self.counted(filter, days).await?;
        }
        Ok(buckets)
    }

    /// Fills buckets, and returns those that are not empty, the latest first.
    async fn counted(
        &self,
        filter: &AssetFilter,
        mut buckets: Vec<DateBucket>,
    ) -> Result<Vec<DateBucket>, CatalogError> {
        let ranges: Vec<(i64, i64)> = buckets.iter().map(dates::range_ms).collect();
        let counts = self.count_between(filter, &ranges).await?;
        for (bucket, count) in buckets.iter_mut().zip(counts) {
            bucket.count = count.unsigned_abs();
        }
        buckets.retain(|bucket| bucket.count > 0);
        buckets.reverse();
        Ok(buckets)
    }

    /// Cameras and codecs that there are to filter by.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn facets(&self) -> Result<Facets, CatalogError> {
        // From one value to the next, without reading all that have the same.
        macro_rules! distinct {
            ($column:literal) => {
                concat!(
                    "WITH RECURSIVE seen (value) AS (",
                    "SELECT MIN(",
                    $column,
                    ") FROM assets WHERE trashed_us IS NULL AND ",
                    $column,
                    " > '' UNION ALL SELECT (SELECT MIN(a.",
                    $column,
                    ") FROM assets a WHERE a.trashed_us IS NULL AND a.",
                    $column,
                    " > seen.value) ",
                    "FROM seen WHERE seen.value IS NOT NULL) ",
                    "SELECT value FROM seen WHERE value IS NOT NULL",
                )
            };
        }
        let texts = |rows: Vec<(String,)>| rows.into_iter().map(|(text,)| text).collect();
        Ok(Facets {
            cameras: texts(query(distinct!("camera")).fetch_all(&self.pool).await?),
            codecs: texts(query(distinct!("codec")).fetch_all(&self.pool).await?),
        })
    }

    /// Adds an asset and queues its job, unless there is one of the same bytes.
    ///
    /// An asset of other bytes under the same key is removed, for its original has been replaced; a new
    /// asset takes over its name, folder, labels and collections.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub async fn add_asset(&self, new: &NewAsset) -> Result<Added, CatalogError> {
        let now_ms = Timestamp::now().as_millisecond();
        let mut write = self.write().await?;
        let replaced = write.replaced_by(new).await?;
        if let Some((replaced, id)) = &replaced {
            // It is needed until the new one has inherited, and a key is only one asset's.
            query("UPDATE assets SET object_key = '' WHERE seq = $1")
                .bind(*replaced)
                .execute(&mut write.tx)
                .await?;
            write.touch_assets([id]);
        }
        let folder = write.folder(&new.folder).await?;
        let kind = AssetKind::of_mime(&new.mime);
        let inserted = query(
            "INSERT INTO assets (id, object_key, name, name_key, size_bytes, mime, kind, folder_id, \
             created_ms, added_ms, source_node, origin_path) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
             ON CONFLICT (id) DO NOTHING RETURNING seq",
        )
        .bind(new.id.as_str())
        .bind(new.key.as_str())
        .bind(&new.name)
        .bind(search::name_key(&new.name))
        .bind(i64::try_from(new.size_bytes).unwrap_or(i64::MAX))
        .bind(&new.mime)
        .bind(kind.as_str())
        .bind(folder)
        .bind(new.created_at.as_millisecond())
        .bind(now_ms)
        .bind(&new.source_node)
        .bind(&new.origin_path)
        .fetch_optional::<(i64,)>(&mut write.tx)
        .await?;
        if let Some((replaced, _)) = replaced {
            match inserted {
                Some((heir,)) => write.inherit(heir, replaced).await?,
                // The bytes are an asset already: it has a name and a folder.
                None => write.join(&new.id, replaced).await?,
            }
            write.remove_asset(replaced).await?;
        }
        let Some((seq,)) = inserted else {
            write.commit().await?;
            return Ok(Added::Known);
        };
        if !new.metadata.is_empty() {
            write.set_metadata(&new.id, &new.metadata).await?;
        }
        write.index(seq).await?;
        write.queue_derive(&new.id).await?;
        write.touch_assets([&new.id]);
        write.touch(Tag::Folders);
        write.commit().await?;
        self.tell_jobs_added();
        Ok(Added::New)
    }

    /// Writes down what the assets of an older catalog are sorted and found by.
    pub(super) async fn index_old_assets(&self) -> Result<(), CatalogError> {
        loop {
            let mut write = self.write().await?;
            // Several servers may start at once.
            let lock = if write.tx.is_postgres() { " FOR NO KEY UPDATE" } else { "" };
            let sql = format!(
                "SELECT seq FROM assets WHERE trashed_us IS NULL AND name_key = '' \
                 ORDER BY seq LIMIT 1000{lock}"
            );
            let seqs: Vec<(i64,)> = built_query(sql, Vec::new()).fetch_all(&mut write.tx).await?;
            if seqs.is_empty() {
                return Ok(());
            }
            for (seq,) in seqs {
                write.index(seq).await?;
            }
            write.commit().await?;
        }
    }

    /// Assets of these numbers, in this order; those that are gone are left out.
    pub(super) async fn assets_of(
        conn: &mut Conn,
        seqs: Vec<i64>,
    ) -> Result<Vec<Asset>, CatalogError> {
        if seqs.is_empty() {
            return Ok(Vec::new());
        }
        let (list, values) = seq_list(seqs.iter().copied(), conn.is_postgres());
        let sql = format!(
            "SELECT a.seq, a.id, a.object_key, a.name, a.size_bytes, a.mime, f.path AS folder, \
             a.camera, a.codec, a.created_ms, a.trashed_us, a.recording, a.source_node, \
             a.origin_path, a.external_ref, a.thumbhash, a.width_px, a.height_px, a.duration_ms \
             FROM assets a JOIN folders f ON f.id = a.folder_id WHERE a.seq IN ({list})"
        );
        let rows: Vec<AssetRow> = built_query(sql, values.clone()).fetch_all(&mut *conn).await?;
        let sql =
            format!("SELECT seq, label FROM asset_labels WHERE seq IN ({list}) ORDER BY label");
        let label_rows: Vec<(i64, String)> = built_query(sql, values).fetch_all(&mut *conn).await?;
        let mut labels: HashMap<i64, Vec<String>> = HashMap::new();
        for (seq, label) in label_rows {
            labels.entry(seq).or_default().push(label);
        }
        let mut derived = Derived::read(conn, rows.iter().map(|row| row.id.as_str())).await?;
        let mut assets: HashMap<i64, Asset> = HashMap::with_capacity(rows.len());
        for row in rows {
            let labels = labels.remove(&row.seq).unwrap_or_default();
            assets.insert(row.seq, asset_of_row(row, labels, &mut derived)?);
        }
        Ok(seqs.iter().filter_map(|seq| assets.remove(seq)).collect())
    }
}

impl Write {
    /// Queues the job that looks into an original.
    pub(super) async fn queue_derive(&mut self, id: &AssetId) -> Result<(), CatalogError> {
        queue_job(&mut self.tx, id, JobKind::Derive).await?;
        self.touch(Tag::Jobs);
        Ok(())
    }

    /// The asset of other bytes that lay where a new one lies; it and one of the same bytes are locked.
    async fn replaced_by(
        &mut self,
        new: &NewAsset,
    ) -> Result<Option<(i64, AssetId)>, CatalogError> {
        // What a camera still writes is an asset that nothing has replaced.
        let other =
            query("SELECT id FROM assets WHERE object_key = $1 AND id <> $2 AND recording = 0")
                .bind(new.key.as_str())
                .bind(new.id.as_str());
        let Some((id,)) = other.clone().fetch_optional::<(String,)>(&mut self.tx).await? else {
            return Ok(None);
        };
        let id: AssetId = id.parse().map_err(|_| CatalogError::BadRow { row: id, column: "id" })?;
        let found = self.find(&[id.clone(), new.id.clone()]).await?;
        // Until it was locked it may have followed its original elsewhere, or have been purged.
        let is_there = other.fetch_optional::<(String,)>(&mut self.tx).await?;
        Ok(found.into_iter().find(|(_, found)| *found == id).filter(|_| is_there.is_some()))
    }

    /// Gives an asset what people gave the one whose place it takes.
    async fn inherit(&mut self, heir: i64, from: i64) -> Result<(), CatalogError> {
        query(
            "UPDATE assets SET (name, folder_id) = \
             (SELECT name, folder_id FROM assets WHERE seq = $2) WHERE seq = $1",
        )
        .bind(heir)
        .bind(from)
        .execute(&mut self.tx)
        .await?;
        self.inherit_lists(heir, from).await
    }

    /// Gives an asset that there was already the labels and collections of one that goes.
    async fn join(&mut self, id: &AssetId, from: i64) -> Result<(), CatalogError> {
        let Some((heir, id)) = self.find(std::slice::from_ref(id)).await?.pop() else {
            return Ok(());
        };
        self.inherit_lists(heir, from).await?;
        self.index(heir).await?;
        self.touch_assets([&id]);
        Ok(())
    }

    async fn inherit_lists(&mut self, heir: i64, from: i64) -> Result<(), CatalogError> {
        for statement in [
            "INSERT INTO asset_labels (label, seq) \
             SELECT label, $1 FROM asset_labels WHERE seq = $2 ON CONFLICT DO NOTHING",
            "INSERT INTO collection_assets (collection_id, seq) \
             SELECT collection_id, $1 FROM collection_assets WHERE seq = $2 ON CONFLICT DO NOTHING",
        ] {
            query(statement).bind(heir).bind(from).execute(&mut self.tx).await?;
        }
        Ok(())
    }

    /// Removes an asset's row and all that hangs on it. Its renditions are on the list of what is to be
    /// removed from the store, and returned; its original is not.
    pub(super) async fn remove_asset(&mut self, seq: i64) -> Result<Vec<BlobKey>, CatalogError> {
        self.forget_words(seq).await?;
        let derived = query(
            "SELECT r.object_key FROM renditions r JOIN assets a ON a.id = r.asset_id \
             WHERE a.seq = $1",
        )
        .bind(seq)
        .fetch_all::<(String,)>(&mut self.tx)
        .await?;
        let derived = derived.into_iter().map(|(key,)| {
            key.parse().map_err(|_| CatalogError::BadRow { row: key, column: "object_key" })
        });
        let derived = derived.collect::<Result<Vec<BlobKey>, _>>()?;
        self.free_objects(&derived).await?;
        query("DELETE FROM asset_aliases WHERE id = (SELECT id FROM assets WHERE seq = $1)")
            .bind(seq)
            .execute(&mut self.tx)
            .await?;
        query("DELETE FROM assets WHERE seq = $1").bind(seq).execute(&mut self.tx).await?;
        for tag in [Tag::Folders, Tag::Tags, Tag::Collections] {
            self.touch(tag);
        }
        Ok(derived)
    }
}

row! {
    struct AssetRow {
        seq: i64,
        id: String,
        object_key: String,
        name: String,
        size_bytes: i64,
        mime: String,
        folder: String,
        camera: String,
        codec: String,
        created_ms: i64,
        trashed_us: Option<i64>,
        recording: i64,
        source_node: Option<String>,
        origin_path: Option<String>,
        external_ref: Option<String>,
        thumbhash: Option<String>,
        width_px: i64,
        height_px: i64,
        duration_ms: i64,
    }
}

row! {
    struct RenditionRow {
        asset_id: String,
        kind: String,
        name: String,
        size_bytes: i64,
        width_px: i64,
        height_px: i64,
    }
}

/// What was derived from some originals, or is going to be.
struct Derived {
    renditions: HashMap<String, Vec<RenditionRow>>,
    jobs: HashMap<String, (String, Option<String>)>,
}

impl Derived {
    async fn read<'a>(
        conn: &mut Conn,
        ids: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<Self, CatalogError> {
        let (list, values) = id_list(ids.clone(), conn.is_postgres());
        let sql = format!(
            "SELECT asset_id, kind, name, size_bytes, width_px, height_px FROM renditions \
             WHERE asset_id IN ({list}) ORDER BY kind"
        );
        let rows: Vec<RenditionRow> = built_query(sql, values).fetch_all(&mut *conn).await?;
        let mut renditions: HashMap<String, Vec<RenditionRow>> = HashMap::new();
        for row in rows {
            renditions.entry(row.asset_id.clone()).or_default().push(row);
        }
        // Only of what has no thumbnail a page tells whether it will have one.
        let has_thumb = |id: &str| renditions.get(id).is_some_and(|of_it| thumbs(of_it).is_some());
        let without: Vec<&str> = ids.filter(|id| !has_thumb(id)).collect();
        let mut jobs: Vec<(String, String, Option<String>)> = Vec::new();
        if !without.is_empty() {
            let (list, values) = id_list(without, conn.is_postgres());
            let sql = format!(
                "SELECT asset_id, state, reason FROM jobs \
                 WHERE kind = 'derive' AND asset_id IN ({list})"
            );
            jobs = built_query(sql, values).fetch_all(conn).await?;
        }
        let jobs = jobs.into_iter().map(|(id, state, reason)| (id, (state, reason))).collect();
        Ok(Self { renditions, jobs })
    }
}

fn asset_of_row(
    row: AssetRow,
    labels: Vec<String>,
    derived: &mut Derived,
) -> Result<Asset, CatalogError> {
    let bad = |column| CatalogError::BadRow { row: row.id.clone(), column };
    let id: AssetId = row.id.parse().map_err(|_| bad("id"))?;
    let kind = AssetKind::of_mime(&row.mime);
    // 0 is "not known".
    let px = |px: i64, column| match u32::try_from(px) {
        Ok(0) => Ok(None),
        Ok(px) => Ok(Some(px)),
        Err(_) => Err(bad(column)),
    };
    let trashed_at = row.trashed_us.map(Timestamp::from_microsecond).transpose();
    let camera = Some(row.camera.as_str()).filter(|camera| !camera.is_empty());
    let renditions = derived.renditions.remove(&row.id).unwrap_or_default();
    let job = derived.jobs.remove(&row.id);
    Ok(Asset {
        hash: id.hex().to_owned(),
        size_bytes: u64::try_from(row.size_bytes).map_err(|_| bad("size_bytes"))?,
        kind,
        labels,
        created_at: Timestamp::from_millisecond(row.created_ms).map_err(|_| bad("created_ms"))?,
        width_px: px(row.width_px, "width_px")?,
        height_px: px(row.height_px, "height_px")?,
        duration_ms: u64::try_from(row.duration_ms).ok().filter(|ms| *ms > 0),
        camera: camera.map(str::parse).transpose().map_err(|_| bad("camera"))?,
        recording: row.recording != 0,
        trashed_at: trashed_at.map_err(|_| bad("trashed_us"))?,
        thumb: thumb(&renditions, job, kind).ok_or_else(|| bad("job_state"))?,
        // A kind that an older version made, or a newer one makes, is none of ours.
        renditions: renditions.into_iter().filter_map(|row| rendition(&id, row)).collect(),
        id,
        codec: Some(row.codec).filter(|codec| !codec.is_empty()),
        key: row.object_key,
        name: row.name,
        mime: row.mime,
        folder: row.folder,
        source_node: row.source_node,
        origin_path: row.origin_path,
        external_ref: row.external_ref,
        thumbhash: row.thumbhash,
    })
}

fn rendition(id: &AssetId, row: RenditionRow) -> Option<Rendition> {
    let kind: RenditionKind = row.kind.parse().ok()?;
    let px = |px: i64| u32::try_from(px).ok().filter(|px| *px > 0);
    Some(Rendition {
        kind,
        url: keys::rendition_url(id, kind, &row.name),
        mime: kind.mime().to_owned(),
        size_bytes: u64::try_from(row.size_bytes).ok()?,
        width_px: px(row.width_px),
        height_px: px(row.height_px),
    })
}

/// The small and the large thumbnail, if there are both.
fn thumbs(renditions: &[RenditionRow]) -> Option<(&RenditionRow, &RenditionRow)> {
    let find = |kind: &str| renditions.iter().find(|row| row.kind == kind);
    find("thumb_320").zip(find("thumb_640"))
}

/// `None` when the columns contradict each other.
fn thumb(
    renditions: &[RenditionRow],
    job: Option<(String, Option<String>)>,
    kind: AssetKind,
) -> Option<Thumb> {
    if let Some((small, large)) = thumbs(renditions) {
        return Some(Thumb::Ready {
            url_320: keys::thumb_url(&small.name),
            url_640: keys::thumb_url(&large.name),
            width_px: small.width_px.try_into().ok()?,
            height_px: small.height_px.try_into().ok()?,
        });
    }
    let has_picture = matches!(kind, AssetKind::Image | AssetKind::Video);
    let (state, reason) = job.unzip();
    match state.as_deref() {
        Some("pending" | "running") if has_picture => Some(Thumb::Pending),
        Some("pending" | "running" | "done") | None => Some(Thumb::None),
        Some("failed") => {
            Some(Thumb::Failed { reason: reason.flatten().unwrap_or_else(|| "It failed.".into()) })
        }
        Some(_) => None,
    }
}
