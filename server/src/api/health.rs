//! Whether the process lives, and whether it can work.

use app::ssr::Viewer;
use axum::extract::State;
use catalog::{BlobStore, Catalog};

use crate::error::Problem;

/// `GET /healthz`: the process answers.
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the catalog and the blob store answer too.
pub(crate) async fn ready(
    _viewer: Viewer,
    State(catalog): State<Catalog>,
    State(store): State<BlobStore>,
) -> Result<&'static str, Problem> {
    catalog.ping().await?;
    store.ping().await?;
    Ok("ready\n")
}
