//! Labels of assets, which filters call tags.

use std::collections::HashMap;

use domain::{AssetId, Label, TagInfo};

use super::{Catalog, CatalogError, sql::query, write::Write};
use crate::changes::Tag;

impl Catalog {
    /// Every label that an asset outside the trash bears, in alphabetical order.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn tags(&self) -> Result<Vec<TagInfo>, CatalogError> {
        // The trash is small: counting it apart spares a look at every asset.
        let all: Vec<(String, i64)> =
            query("SELECT label, COUNT(*) FROM asset_labels GROUP BY label ORDER BY label")
                .fetch_all(&self.pool)
                .await?;
        let trashed: Vec<(String, i64)> = query(
            "SELECT l.label, COUNT(*) FROM assets a JOIN asset_labels l ON l.seq = a.seq \
             WHERE a.trashed_us IS NOT NULL GROUP BY l.label",
        )
        .fetch_all(&self.pool)
        .await?;
        let trashed: HashMap<String, i64> = trashed.into_iter().collect();
        let tags = all.into_iter().map(|(tag, count)| {
            let count = count - trashed.get(&tag).copied().unwrap_or(0);
            TagInfo { tag, assets: count.max(0).unsigned_abs() }
        });
        Ok(tags.filter(|info| info.assets > 0).collect())
    }

    /// Gives every one of these assets all of these labels; returns how many assets there are of these
    /// ids.
    ///
    /// # Errors
    /// When the catalog cannot be written; nothing has changed then.
    pub async fn add_labels(&self, ids: &[AssetId], labels: &[Label]) -> Result<u64, CatalogError> {
        let mut write = self.write().await?;
        let found = write.find(ids).await?;
        for (seq, _) in &found {
            write.label(*seq, labels).await?;
            write.index(*seq).await?;
        }
        write.labels_changed(&found).await
    }

    /// Takes these labels from every one of these assets; returns how many assets there are of these
    /// ids.
    ///
    /// # Errors
    /// When the catalog cannot be written; nothing has changed then.
    pub async fn remove_labels(
        &self,
        ids: &[AssetId],
        labels: &[Label],
    ) -> Result<u64, CatalogError> {
        let mut write = self.write().await?;
        let found = write.find(ids).await?;
        for (seq, _) in &found {
            for label in labels {
                query("DELETE FROM asset_labels WHERE label = $1 AND seq = $2")
                    .bind(label.as_str())
                    .bind(*seq)
                    .execute(&mut write.tx)
                    .await?;
            }
            write.index(*seq).await?;
        }
        write.labels_changed(&found).await
    }
}

impl Write {
    pub(super) async fn label(&mut self, seq: i64, labels: &[Label]) -> Result<(), CatalogError> {
        for label in labels {
            query(
                "INSERT INTO asset_labels (label, seq) VALUES ($1, $2) \
                 ON CONFLICT (label, seq) DO NOTHING",
            )
            .bind(label.as_str())
            .bind(seq)
            .execute(&mut self.tx)
            .await?;
        }
        Ok(())
    }

    async fn labels_changed(mut self, found: &[(i64, AssetId)]) -> Result<u64, CatalogError> {
        self.touch_assets(found.iter().map(|(_, id)| id));
        self.touch(Tag::Tags);
        self.commit().await?;
        Ok(found.len() as u64)
    }
}
