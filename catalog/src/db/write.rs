//! A change to the catalog: a transaction, and what it is told as. Must not: tell before it is done.

use std::sync::Arc;

use domain::AssetId;

use super::{
    Catalog, CatalogError,
    sql::{Tx, built_query, id_list, query},
};
use crate::changes::{Changes, Tag, words};

/// A transaction that writes; undone when dropped.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) tx: Tx,
    tags: Vec<Tag>,
    changes: Arc<Changes>,
}

impl Catalog {
    /// Begins to write.
    pub(crate) async fn write(&self) -> Result<Write, CatalogError> {
        let tx = self.pool.begin_write().await?;
        Ok(Write { tx, tags: Vec::new(), changes: self.changes.clone() })
    }
}

impl Write {
    /// Notes something that is different after this.
    pub(crate) fn touch(&mut self, tag: Tag) {
        if !self.tags.contains(&tag) {
            self.tags.push(tag);
        }
    }

    /// Notes assets, and with them every list.
    pub(crate) fn touch_assets<'a>(&mut self, ids: impl IntoIterator<Item = &'a AssetId>) {
        let before = self.tags.len();
        self.tags.extend(ids.into_iter().cloned().map(Tag::Asset));
        if self.tags.len() > before {
            self.touch(Tag::Assets);
        }
    }

    /// Makes it last, then tells of it: all the way, even if the caller goes away in between.
    pub(crate) async fn commit(mut self) -> Result<(), CatalogError> {
        if !self.tags.is_empty() {
            let tell = match self.tx.is_postgres() {
                true => query("SELECT pg_notify('damwall', $1 || ' ' || $2)"),
                false => query("INSERT INTO changes (origin, tags) VALUES ($1, $2)"),
            };
            tell.bind(self.changes.origin()).bind(words(&self.tags)).execute(&mut self.tx).await?;
        }
        // A caller that goes away would leave a change of this process that it never hears of.
        let last = tokio::spawn(async move {
            self.tx.commit().await?;
            if !self.tags.is_empty() {
                self.changes.tell(self.tags);
            }
            Ok::<(), sqlx::Error>(())
        });
        last.await.map_err(|error| sqlx::Error::Io(error.into()))??;
        Ok(())
    }

    /// Numbers and ids of those that there are, and will be to the end of the transaction. A recording is
    /// also found by its provisional id.
    ///
    /// Whoever locks assets does so here, before any row that hangs on them, all at once and in the order
    /// of their numbers: two that did so in other orders could wait for each other.
    pub(super) async fn find(
        &mut self,
        ids: &[AssetId],
    ) -> Result<Vec<(i64, AssetId)>, CatalogError> {
        let ids = ids.iter().map(AssetId::as_str);
        let (list, values) = id_list(ids, self.tx.is_postgres());
        // Meanwhile they could be purged; SQLite has one writer at a time.
        let lock = if self.tx.is_postgres() { " FOR NO KEY UPDATE" } else { "" };
        let sql = format!(
            "SELECT seq, id FROM assets WHERE id IN ({list} UNION ALL \
             SELECT n.id FROM asset_aliases n WHERE n.alias IN ({list})) ORDER BY seq{lock}"
        );
        let rows: Vec<(i64, String)> = built_query(sql, values).fetch_all(&mut self.tx).await?;
        let found = rows.into_iter().map(|(seq, id)| match id.parse() {
            Ok(id) => Ok((seq, id)),
            Err(_) => Err(CatalogError::BadRow { row: id, column: "id" }),
        });
        found.collect()
    }

    /// Number of a folder, which is made if there is none.
    pub(super) async fn folder(&mut self, path: &str) -> Result<i64, CatalogError> {
        let find = || query("SELECT id FROM folders WHERE path = $1").bind(path);
        if let Some((id,)) = find().fetch_optional::<(i64,)>(&mut self.tx).await? {
            return Ok(id);
        }
        // Another process may be making the same one.
        query("INSERT INTO folders (path) VALUES ($1) ON CONFLICT (path) DO NOTHING")
            .bind(path)
            .execute(&mut self.tx)
            .await?;
        let (id,) = find().fetch_one::<(i64,)>(&mut self.tx).await?;
        Ok(id)
    }
}
