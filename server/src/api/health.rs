//! Whether the process lives, and whether it can work.

use std::time::Duration;

use app::ssr::Viewer;
use axum::extract::State;
use catalog::Catalog;
use tokio::time::timeout;

use crate::{error::Problem, store_health::StoreHealth};

/// A catalog that takes longer is away, as far as somebody who waits is concerned.
const CATALOG_TIMEOUT: Duration = Duration::from_secs(2);

/// `GET /healthz`: the process answers.
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the catalog and the blob store answer too.
pub(crate) async fn ready(
    _viewer: Viewer,
    State(catalog): State<Catalog>,
    State(store): State<StoreHealth>,
) -> Result<&'static str, Problem> {
    let silent = |_| Problem::unavailable("the catalog", &"no answer in 2 s");
    timeout(CATALOG_TIMEOUT, catalog.ping()).await.map_err(silent)??;
    store.check().await?;
    Ok("ready\n")
}
