//! Collections: assets that somebody put together.

use std::collections::HashMap;

use domain::{AssetId, Collection, CollectionId, Title};
use jiff::Timestamp;

use super::{
    Catalog, CatalogError,
    sql::{built_query, query},
};
use crate::changes::Tag;

impl Catalog {
    /// Makes an empty collection.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub async fn create_collection(&self, title: &Title) -> Result<Collection, CatalogError> {
        let mut write = self.write().await?;
        let (id,) =
            query("INSERT INTO collections (title, created_ms) VALUES ($1, $2) RETURNING id")
                .bind(title.as_str())
                .bind(Timestamp::now().as_millisecond())
                .fetch_one::<(i64,)>(&mut write.tx)
                .await?;
        write.touch(Tag::Collections);
        write.commit().await?;
        Ok(Collection { id: collection_id(id)?, title: title.to_string(), assets: 0 })
    }

    /// Every collection, by title.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn collections(&self) -> Result<Vec<Collection>, CatalogError> {
        let rows: Vec<(i64, String, i64)> = query(
            "SELECT c.id, c.title, (SELECT COUNT(*) FROM collection_assets m \
             WHERE m.collection_id = c.id) FROM collections c ORDER BY LOWER(c.title), c.id",
        )
        .fetch_all(&self.pool)
        .await?;
        // The trash is small: counting it apart spares a look at every asset.
        let trashed: Vec<(i64, i64)> = query(
            "SELECT m.collection_id, COUNT(*) FROM assets a \
             JOIN collection_assets m ON m.seq = a.seq \
             WHERE a.trashed_us IS NOT NULL GROUP BY m.collection_id",
        )
        .fetch_all(&self.pool)
        .await?;
        let trashed: HashMap<i64, i64> = trashed.into_iter().collect();
        let collection = |(id, title, assets): (i64, String, i64)| {
            let assets = assets - trashed.get(&id).copied().unwrap_or(0);
            Ok(Collection { id: collection_id(id)?, title, assets: assets.max(0).unsigned_abs() })
        };
        rows.into_iter().map(collection).collect()
    }

    /// Gives a collection another title; `false` when there is none of that id.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub async fn rename_collection(
        &self,
        id: CollectionId,
        title: &Title,
    ) -> Result<bool, CatalogError> {
        let mut write = self.write().await?;
        let renamed = query("UPDATE collections SET title = $2 WHERE id = $1")
            .bind(id.get())
            .bind(title.as_str())
            .execute(&mut write.tx)
            .await?;
        write.touch(Tag::Collections);
        write.commit().await?;
        Ok(renamed > 0)
    }

    /// Forgets a collection, not its assets; `false` when there is none of that id.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub async fn delete_collection(&self, id: CollectionId) -> Result<bool, CatalogError> {
        let mut write = self.write().await?;
        let deleted = query("DELETE FROM collections WHERE id = $1")
            .bind(id.get())
            .execute(&mut write.tx)
            .await?;
        write.touch(Tag::Collections);
        write.touch(Tag::Assets);
        write.commit().await?;
        Ok(deleted > 0)
    }

    /// Puts assets into a collection; returns how many there are of these ids, or `None` when there is
    /// no such collection.
    ///
    /// # Errors
    /// When the catalog cannot be written; nothing has changed then.
    pub async fn add_to_collection(
        &self,
        id: CollectionId,
        assets: &[AssetId],
    ) -> Result<Option<u64>, CatalogError> {
        let statement = "INSERT INTO collection_assets (collection_id, seq) VALUES ($1, $2) \
             ON CONFLICT (collection_id, seq) DO NOTHING";
        self.change_collection(id, assets, statement).await
    }

    /// Takes assets out of a collection; returns how many there are of these ids, or `None` when there
    /// is no such collection.
    ///
    /// # Errors
    /// When the catalog cannot be written; nothing has changed then.
    pub async fn remove_from_collection(
        &self,
        id: CollectionId,
        assets: &[AssetId],
    ) -> Result<Option<u64>, CatalogError> {
        let statement = "DELETE FROM collection_assets WHERE collection_id = $1 AND seq = $2";
        self.change_collection(id, assets, statement).await
    }

    /// Collections that an asset is in.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn collections_with(&self, id: &AssetId) -> Result<Vec<CollectionId>, CatalogError> {
        let rows: Vec<(i64,)> = query(
            "SELECT m.collection_id FROM collection_assets m JOIN assets a ON a.seq = m.seq \
             WHERE a.id = $1 ORDER BY m.collection_id",
        )
        .bind(id.as_str())
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(|(id,)| collection_id(id)).collect()
    }

    async fn change_collection(
        &self,
        id: CollectionId,
        assets: &[AssetId],
        statement: &'static str,
    ) -> Result<Option<u64>, CatalogError> {
        let mut write = self.write().await?;
        // Meanwhile it could be deleted; SQLite has one writer at a time.
        let lock = if write.tx.is_postgres() { " FOR KEY SHARE" } else { "" };
        let sql = format!("SELECT id FROM collections WHERE id = $1{lock}");
        let there =
            built_query(sql, vec![id.get().into()]).fetch_optional::<(i64,)>(&mut write.tx).await?;
        if there.is_none() {
            return Ok(None);
        }
        let found = write.find(assets).await?;
        for (seq, _) in &found {
            query(statement).bind(id.get()).bind(*seq).execute(&mut write.tx).await?;
        }
        write.touch(Tag::Collections);
        write.touch(Tag::Assets);
        write.commit().await?;
        Ok(Some(found.len() as u64))
    }
}

fn collection_id(id: i64) -> Result<CollectionId, CatalogError> {
    let bad = |_| CatalogError::BadRow { row: format!("collection {id}"), column: "id" };
    CollectionId::try_from(id).map_err(bad)
}
