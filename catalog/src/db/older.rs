//! Pages by number, for the API's older shape. Must not: be used where a cursor can be.

use domain::{Asset, AssetFilter, AssetQuery, Cursor, PAGE_LIMIT_MAX, PageLimit, Sort};

use super::{Catalog, CatalogError};

impl Catalog {
    /// The assets of a filter, newest first, after the first `skipped` ones.
    ///
    /// Takes longer the more are skipped: they are gone through.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn assets_from(
        &self,
        filter: &AssetFilter,
        skipped: u32,
        limit: PageLimit,
    ) -> Result<Vec<Asset>, CatalogError> {
        let mut query =
            AssetQuery { filter: filter.clone(), sort: Sort::Newest, limit, after: None };
        let mut conn = self.pool.acquire().await?;
        let mut left = skipped;
        while left > 0 {
            let step = left.min(PAGE_LIMIT_MAX);
            query.limit = PageLimit::try_from(step).unwrap_or_default();
            let mut hits = Self::hits(&mut conn, &query).await?;
            hits.truncate(query.limit.get() as usize);
            left = left.saturating_sub(query.limit.get());
            // Fewer than asked for: there is no such page.
            if hits.len() < query.limit.get() as usize {
                return Ok(Vec::new());
            }
            let Some(last) = hits.pop() else { return Ok(Vec::new()) };
            query.after = Some(Cursor { sort: query.sort, key: last.key, seq: last.seq });
        }
        drop(conn);
        query.limit = limit;
        Ok(self.list_assets(&query).await?.items)
    }
}
