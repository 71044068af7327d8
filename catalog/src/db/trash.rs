//! The trash: out of every list, and back. Must not: delete what lies in the store.

use domain::{AssetId, TrashId};
use jiff::Timestamp;

use super::{
    Catalog, CatalogError,
    sql::{Value, built_query, query, seq_list, settled},
    write::Write,
};
use crate::{blob::BlobKey, changes::Tag, keys};

/// Assets purged in one transaction.
const PURGE_BATCH: i64 = 500;

impl Catalog {
    /// Puts assets into the trash. What it returns takes them out again together; those that were in
    /// the trash already stay as they are.
    ///
    /// # Errors
    /// When the catalog cannot be written; nothing has changed then.
    pub async fn trash(&self, ids: &[AssetId]) -> Result<TrashId, CatalogError> {
        let now_us = Timestamp::now().as_microsecond().max(1);
        let bad = |_| CatalogError::BadRow { row: "trash".into(), column: "trashed_us" };
        let trash_id = TrashId::try_from(now_us).map_err(bad)?;
        self.set_trashed(ids, Some(now_us)).await?;
        Ok(trash_id)
    }

    /// Takes assets out of the trash; returns how many there are of these ids.
    ///
    /// # Errors
    /// When the catalog cannot be written; nothing has changed then.
    pub async fn restore(&self, ids: &[AssetId]) -> Result<u64, CatalogError> {
        self.set_trashed(ids, None).await
    }

    /// Takes out of the trash what was put into it together; returns how many assets that were.
    ///
    /// # Errors
    /// When the catalog cannot be written; nothing has changed then.
    pub async fn undo_trash(&self, trash_id: TrashId) -> Result<u64, CatalogError> {
        let rows: Vec<(String,)> = query("SELECT id FROM assets WHERE trashed_us = $1")
            .bind(trash_id.get())
            .fetch_all(&self.pool)
            .await?;
        let ids: Vec<AssetId> = rows.iter().filter_map(|(id,)| id.parse().ok()).collect();
        self.restore(&ids).await
    }

    async fn set_trashed(
        &self,
        ids: &[AssetId],
        trashed_us: Option<i64>,
    ) -> Result<u64, CatalogError> {
        let mut write = self.write().await?;
        let found = write.find(ids).await?;
        let (list, mut values) =
            seq_list(found.iter().map(|(seq, _)| *seq), write.tx.is_postgres());
        values.push(trashed_us.into());
        // From trash to trash nothing changes, nor from outside to outside.
        let is_other = if trashed_us.is_some() { "IS NULL" } else { "IS NOT NULL" };
        let sql = format!(
            "UPDATE assets SET trashed_us = $2 WHERE seq IN ({list}) AND trashed_us {is_other}"
        );
        built_query(sql, values).execute(&mut write.tx).await?;
        write.touch_assets(found.iter().map(|(_, id)| id));
        for tag in [Tag::Folders, Tag::Tags, Tag::Collections] {
            write.touch(tag);
        }
        write.commit().await?;
        Ok(found.len() as u64)
    }

    /// Forgets assets that were put into the trash before `older_than`, 500 at most; returns the
    /// objects that nothing in the catalog refers to any more, originals and renditions. Call it again
    /// until it returns none.
    ///
    /// Those that Damwall put there (`keys::is_own`) are on the list of objects to be removed from then on,
    /// by which whoever removes them hears of the same bytes coming back. All others are left alone, and
    /// are no news to the next look through the store.
    ///
    /// # Errors
    /// When the catalog cannot be written; nothing is forgotten then.
    pub async fn purge(&self, older_than: Timestamp) -> Result<Vec<BlobKey>, CatalogError> {
        settled(|| {
            self.forget_trashed("trashed_us < $1 AND recording = 0", older_than.as_microsecond())
        })
        .await
    }

    /// The same for one asset; returns no objects if it is not in the trash.
    ///
    /// # Errors
    /// When the catalog cannot be written; nothing is forgotten then.
    pub async fn purge_asset(&self, id: &AssetId) -> Result<Vec<BlobKey>, CatalogError> {
        let which = "id = $1 AND trashed_us IS NOT NULL AND recording = 0";
        settled(|| self.forget_trashed(which, id.as_str())).await
    }

    /// Forgets assets of the trash, [`PURGE_BATCH`] at most; returns the objects they had. Who takes one
    /// out of the trash at the same time waits, or has done so before this sees it.
    async fn forget_trashed(
        &self,
        which: &'static str,
        value: impl Into<Value>,
    ) -> Result<Vec<BlobKey>, CatalogError> {
        let mut write = self.write().await?;
        let select = format!("SELECT seq, id, object_key FROM assets WHERE {which}");
        // SQLite has one writer at a time; the order is everyone's, see `Write::find`.
        let sql = match write.tx.is_postgres() {
            true => format!("{select} ORDER BY seq LIMIT {PURGE_BATCH} FOR UPDATE"),
            false => format!("{select} LIMIT {PURGE_BATCH}"),
        };
        let found = built_query(sql, vec![value.into()]);
        let rows = found.fetch_all(&mut write.tx).await?;
        write.forget(rows).await
    }
}

impl Write {
    /// Forgets assets (`seq`, id, key of the original), commits, and returns the objects they had.
    async fn forget(
        mut self,
        rows: Vec<(i64, String, String)>,
    ) -> Result<Vec<BlobKey>, CatalogError> {
        let mut freed: Vec<BlobKey> = Vec::new();
        for (seq, id_text, key) in rows {
            let bad = |column| CatalogError::BadRow { row: id_text.clone(), column };
            let id: AssetId = id_text.parse().map_err(|_| bad("id"))?;
            let key: BlobKey = key.parse().map_err(|_| bad("object_key"))?;
            // What others put into the store stays there, with every copy of it. In this transaction: a
            // process that ends after it would leave them to the next look as if they were new.
            query("UPDATE scanned_objects SET reason = 'its asset was purged' WHERE asset_id = $1")
                .bind(&id_text)
                .execute(&mut self.tx)
                .await?;
            freed.extend(self.remove_asset(seq).await?);
            if keys::is_own(key.as_str()) {
                self.free_objects([&key]).await?;
            }
            freed.push(key);
            self.touch_assets([&id]);
        }
        self.commit().await?;
        Ok(freed)
    }
}
