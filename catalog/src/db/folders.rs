//! Folders, and what an asset is called and where it lies. Must not: move an original in the store.

use domain::{Asset, AssetId, AssetPatch, FolderInfo, FolderPath};

use super::{
    Catalog, CatalogError,
    sql::{built_query, query},
};
use crate::changes::Tag;

impl Catalog {
    /// Folders directly in `folder`, by name, with how much lies in them and below them. Folders
    /// without any asset are left out.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn folders(&self, folder: &FolderPath) -> Result<Vec<FolderInfo>, CatalogError> {
        let prefix = if folder.is_top() { String::new() } else { format!("{folder}/") };
        let (range, values) = if folder.is_top() {
            ("f.path > ''", Vec::new())
        } else {
            // The character after the slash ends what lies below.
            (
                "f.path >= $1 AND f.path < $2",
                vec![prefix.as_str().into(), format!("{folder}0").into()],
            )
        };
        let sql = format!(
            "SELECT f.path, (SELECT COUNT(*) FROM assets a WHERE a.folder_id = f.id \
             AND a.trashed_us IS NULL) FROM folders f WHERE {range} ORDER BY f.path"
        );
        let rows: Vec<(String, i64)> = built_query(sql, values).fetch_all(&self.pool).await?;
        let mut folders: Vec<FolderInfo> = Vec::new();
        for (path, count) in rows {
            let count = count.unsigned_abs();
            let below = path.strip_prefix(&prefix).unwrap_or_default();
            let name = below.split('/').next().unwrap_or_default();
            let is_direct = name.len() == below.len();
            let path = format!("{prefix}{name}");
            // `a`, `a-b` and `a/b` come in this order; a folder may come up again.
            let info = match folders.iter().position(|info| info.path == path) {
                Some(index) => &mut folders[index],
                None => {
                    folders.push(FolderInfo { path, assets: 0, below: 0 });
                    let last = folders.len() - 1;
                    &mut folders[last]
                }
            };
            if is_direct {
                info.assets += count;
            } else {
                info.below += count;
            }
        }
        folders.retain(|info| info.assets + info.below > 0);
        folders.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(folders)
    }

    /// Changes what an asset is called, where it lies and its labels; returns it as it is then, or
    /// `None` when there is none of that id.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub async fn update_asset(
        &self,
        id: &AssetId,
        patch: &AssetPatch,
    ) -> Result<Option<Asset>, CatalogError> {
        let mut write = self.write().await?;
        if !write.update(id, patch).await? {
            return Ok(None);
        }
        write.commit().await?;
        self.asset(id).await
    }

    /// Puts assets into a folder; returns how many there are of these ids.
    ///
    /// # Errors
    /// When the catalog cannot be written; none has moved then.
    pub async fn move_assets(
        &self,
        ids: &[AssetId],
        folder: &FolderPath,
    ) -> Result<u64, CatalogError> {
        let mut write = self.write().await?;
        let found = write.find(ids).await?;
        for (seq, _) in &found {
            write.put_into(*seq, folder).await?;
            write.index(*seq).await?;
        }
        write.touch_assets(found.iter().map(|(_, id)| id));
        write.commit().await?;
        Ok(found.len() as u64)
    }
}

impl super::write::Write {
    /// Changes one asset; returns whether there is one.
    pub(super) async fn update(
        &mut self,
        id: &AssetId,
        patch: &AssetPatch,
    ) -> Result<bool, CatalogError> {
        let Some((seq, id)) = self.find(std::slice::from_ref(id)).await?.pop() else {
            return Ok(false);
        };
        if let Some(name) = &patch.name {
            query("UPDATE assets SET name = $2 WHERE seq = $1")
                .bind(seq)
                .bind(name.as_str())
                .execute(&mut self.tx)
                .await?;
        }
        if let Some(folder) = &patch.folder {
            self.put_into(seq, folder).await?;
        }
        if let Some(labels) = &patch.labels {
            query("DELETE FROM asset_labels WHERE seq = $1")
                .bind(seq)
                .execute(&mut self.tx)
                .await?;
            self.label(seq, labels).await?;
            self.touch(Tag::Tags);
        }
        self.index(seq).await?;
        self.touch_assets([&id]);
        Ok(true)
    }

    async fn put_into(&mut self, seq: i64, folder: &FolderPath) -> Result<(), CatalogError> {
        let folder = self.folder(folder.as_str()).await?;
        query("UPDATE assets SET folder_id = $2 WHERE seq = $1")
            .bind(seq)
            .bind(folder)
            .execute(&mut self.tx)
            .await?;
        self.touch(Tag::Folders);
        Ok(())
    }
}
