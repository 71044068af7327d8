//! Filters that somebody keeps under a title.

use domain::{AssetFilter, SavedFilter, SavedFilterId, Title};
use jiff::Timestamp;

use super::{Catalog, CatalogError, sql::query};
use crate::changes::Tag;

impl Catalog {
    /// Keeps a filter.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub async fn save_filter(
        &self,
        title: &Title,
        filter: &AssetFilter,
    ) -> Result<SavedFilter, CatalogError> {
        let text = filter.to_query();
        let mut write = self.write().await?;
        let (id,) = query(
            "INSERT INTO saved_filters (title, query, created_ms) VALUES ($1, $2, $3) RETURNING id",
        )
        .bind(title.as_str())
        .bind(&text)
        .bind(Timestamp::now().as_millisecond())
        .fetch_one::<(i64,)>(&mut write.tx)
        .await?;
        write.touch(Tag::Filters);
        write.commit().await?;
        Ok(SavedFilter { id: filter_id(id)?, title: title.to_string(), query: text })
    }

    /// Every saved filter, by title.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn saved_filters(&self) -> Result<Vec<SavedFilter>, CatalogError> {
        let rows: Vec<(i64, String, String)> =
            query("SELECT id, title, query FROM saved_filters ORDER BY LOWER(title), id")
                .fetch_all(&self.pool)
                .await?;
        let saved = |(id, title, query)| Ok(SavedFilter { id: filter_id(id)?, title, query });
        rows.into_iter().map(saved).collect()
    }

    /// Forgets a saved filter; `false` when there is none of that id.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub async fn delete_filter(&self, id: SavedFilterId) -> Result<bool, CatalogError> {
        let mut write = self.write().await?;
        let deleted = query("DELETE FROM saved_filters WHERE id = $1")
            .bind(id.get())
            .execute(&mut write.tx)
            .await?;
        write.touch(Tag::Filters);
        write.commit().await?;
        Ok(deleted > 0)
    }
}

fn filter_id(id: i64) -> Result<SavedFilterId, CatalogError> {
    let bad = |_| CatalogError::BadRow { row: format!("saved filter {id}"), column: "id" };
    SavedFilterId::try_from(id).map_err(bad)
}
