//! Definitions of cameras, kept as opaque text. Must not: read one, or log one (it may hold credentials).

use jiff::Timestamp;

use super::{
    Catalog, CatalogError,
    sql::{Statement, query},
};
use crate::changes::Tag;

impl Catalog {
    /// Every camera's id and definition, ordered by id.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn camera_definitions(&self) -> Result<Vec<(String, String)>, CatalogError> {
        Ok(query("SELECT id, definition FROM cameras ORDER BY id").fetch_all(&self.pool).await?)
    }

    /// Keeps the definition of a new camera; `false` when there is one of that id.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub async fn add_camera_definition(
        &self,
        id: &str,
        definition: &str,
    ) -> Result<bool, CatalogError> {
        let insert = query(
            "INSERT INTO cameras (id, definition, created_ms, updated_ms) VALUES ($1, $2, $3, $3) \
             ON CONFLICT (id) DO NOTHING",
        );
        let now_ms = Timestamp::now().as_millisecond();
        self.write_cameras(insert.bind(id).bind(definition).bind(now_ms)).await
    }

    /// Keeps a camera's definition in place of the one there was; `false` when there was none.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub async fn change_camera_definition(
        &self,
        id: &str,
        definition: &str,
    ) -> Result<bool, CatalogError> {
        let update = query("UPDATE cameras SET definition = $2, updated_ms = $3 WHERE id = $1");
        let now_ms = Timestamp::now().as_millisecond();
        self.write_cameras(update.bind(id).bind(definition).bind(now_ms)).await
    }

    /// Forgets a camera; `false` when there is none of that id.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub async fn remove_camera_definition(&self, id: &str) -> Result<bool, CatalogError> {
        self.write_cameras(query("DELETE FROM cameras WHERE id = $1").bind(id)).await
    }

    /// Whether the statement changed anything.
    async fn write_cameras(&self, statement: Statement) -> Result<bool, CatalogError> {
        let mut write = self.write().await?;
        let rows = statement.execute(&mut write.tx).await?;
        if rows > 0 {
            write.touch(Tag::Cameras);
        }
        write.commit().await?;
        Ok(rows > 0)
    }
}
