//! Definitions of cameras, kept as opaque text. Must not: read one, or log one (it may hold credentials).

use jiff::Timestamp;

use super::{Catalog, CatalogError, sql::query};

impl Catalog {
    /// Every camera's id and definition, ordered by id.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn camera_definitions(&self) -> Result<Vec<(String, String)>, CatalogError> {
        Ok(query("SELECT id, definition FROM cameras ORDER BY id").fetch_all(&self.pool).await?)
    }

    /// Keeps a camera's definition in place of the one there was.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub async fn put_camera_definition(
        &self,
        id: &str,
        definition: &str,
    ) -> Result<(), CatalogError> {
        query(
            "INSERT INTO cameras (id, definition, created_ms, updated_ms) VALUES ($1, $2, $3, $3) \
             ON CONFLICT (id) DO UPDATE SET definition = excluded.definition, \
             updated_ms = excluded.updated_ms",
        )
        .bind(id)
        .bind(definition)
        .bind(Timestamp::now().as_millisecond())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Forgets a camera.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub async fn remove_camera_definition(&self, id: &str) -> Result<(), CatalogError> {
        query("DELETE FROM cameras WHERE id = $1").bind(id).execute(&self.pool).await?;
        Ok(())
    }
}
