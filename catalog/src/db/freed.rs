//! Objects that no asset has any more and that are still to be removed. Must not: touch a store.
//!
//! The list is what a purge and the return of the same bytes meet at. A purge writes keys into it in the
//! transaction that forgets their assets. Whoever removes an object claims its key, then looks whether
//! anything refers to it again; whoever puts one there takes the key off the list first, or waits while
//! it is claimed. So an object is removed either before it is put there again, or not at all.

use jiff::Timestamp;

use super::{
    Catalog, CatalogError,
    sql::{built_query, id_list, query},
    write::Write,
};
use crate::blob::BlobKey;

/// Most objects of a list.
const LIST_MAX: i64 = 1000;

/// An object that is now this process's to remove.
#[derive(Debug)]
pub(crate) struct Removal {
    key: BlobKey,
    /// Name of this attempt.
    claim: String,
}

impl Catalog {
    /// Objects to be removed that nobody is removing at `now`: an earlier purge was cut off.
    pub(crate) async fn freed_objects(&self, now: Timestamp) -> Result<Vec<BlobKey>, CatalogError> {
        let rows = query(
            "SELECT object_key FROM freed_objects WHERE held_until_ms <= $1 \
             ORDER BY held_until_ms, object_key LIMIT $2",
        )
        .bind(now.as_millisecond())
        .bind(LIST_MAX)
        .fetch_all::<(String,)>(&self.pool)
        .await?;
        let parse = |(key,): (String,)| {
            key.parse().map_err(|_| CatalogError::BadRow { row: key, column: "object_key" })
        };
        rows.into_iter().map(parse).collect()
    }

    /// Has this process remove an object, until `held_until`; `None` if it is not to be removed any more,
    /// or another process is at it.
    pub(crate) async fn claim_removal(
        &self,
        key: &BlobKey,
        now: Timestamp,
        held_until: Timestamp,
    ) -> Result<Option<Removal>, CatalogError> {
        let claim = hex::encode(rand::random::<[u8; 16]>());
        let claimed = query(
            "UPDATE freed_objects SET claim = $2, held_until_ms = $4 \
             WHERE object_key = $1 AND held_until_ms <= $3",
        )
        .bind(key.as_str())
        .bind(&claim)
        .bind(now.as_millisecond())
        .bind(held_until.as_millisecond())
        .execute(&self.pool)
        .await?;
        Ok((claimed == 1).then(|| Removal { key: key.clone(), claim }))
    }

    /// The object is removed, or is referred to again.
    pub(crate) async fn end_removal(&self, removal: &Removal) -> Result<(), CatalogError> {
        query("DELETE FROM freed_objects WHERE object_key = $1 AND claim = $2")
            .bind(removal.key.as_str())
            .bind(&removal.claim)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Takes an object off the list; `false` while somebody is removing it.
    pub(crate) async fn keep_object(&self, key: &BlobKey) -> Result<bool, CatalogError> {
        let is_freed = async || {
            let freed = query("SELECT object_key FROM freed_objects WHERE object_key = $1");
            let freed = freed.bind(key.as_str()).fetch_optional::<(String,)>(&self.pool);
            Ok::<_, CatalogError>(freed.await?.is_some())
        };
        // Mostly it is on no list, and nothing has to be written.
        if !is_freed().await? {
            return Ok(true);
        }
        query("DELETE FROM freed_objects WHERE object_key = $1 AND held_until_ms <= $2")
            .bind(key.as_str())
            .bind(self.now().await?.as_millisecond())
            .execute(&self.pool)
            .await?;
        Ok(!is_freed().await?)
    }
}

impl Write {
    /// Puts objects on the list.
    pub(super) async fn free_objects<'a>(
        &mut self,
        keys: impl IntoIterator<Item = &'a BlobKey>,
    ) -> Result<(), CatalogError> {
        let (list, values) = id_list(keys.into_iter().map(BlobKey::as_str), self.tx.is_postgres());
        // SQLite takes an ON after a FROM for a join's, but for a WHERE between.
        let sql = format!(
            "INSERT INTO freed_objects (object_key) {list} WHERE 1 = 1 \
             ON CONFLICT (object_key) DO NOTHING"
        );
        built_query(sql, values).execute(&mut self.tx).await?;
        Ok(())
    }
}
