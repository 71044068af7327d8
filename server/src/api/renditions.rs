//! `/api/assets/{id}/renditions…`: what there is of an asset beside its original.

use std::time::Duration;

use app::ssr::Viewer;
use axum::{Json, extract::State, response::Redirect};
use catalog::{BlobStore, Catalog, Disposition, JobFilter, PresignGet};
use domain::{AssetId, JobListing, Rendition, RenditionKind};
use serde::Serialize;
use utoipa::ToSchema;

use super::{input::Path, openapi::schema};
use crate::{error::Problem, store_health::StoreHealth};

/// How long a signed URL lives.
const URL_TTL: Duration = Duration::from_secs(3600);

/// Renditions of an asset, and the jobs that make them.
#[derive(Serialize, ToSchema)]
pub(crate) struct Renditions {
    #[schema(value_type = Vec<schema::Rendition>)]
    items: Vec<Rendition>,
    #[schema(value_type = Vec<schema::JobListing>)]
    jobs: Vec<JobListing>,
}

/// Renditions
///
/// What was derived from the original, and the jobs that do it.
#[utoipa::path(get, path = "/api/assets/{id}/renditions", tag = "renditions",
    params(schema::AssetIdParam), responses((status = 200, body = Renditions)))]
pub(crate) async fn list(
    _viewer: Viewer,
    State(catalog): State<Catalog>,
    Path(id): Path<String>,
) -> Result<Json<Renditions>, Problem> {
    let id = parse(&id)?;
    if catalog.asset(&id).await?.is_none() {
        return Err(Problem::not_found("there is no asset of this id"));
    }
    let items = catalog.renditions(&id).await?;
    let filter = JobFilter { asset: Some(id), state: None };
    let jobs = catalog.jobs(&filter, domain::JobKind::ALL.len() as u32, None).await?;
    Ok(Json(Renditions { items, jobs }))
}

/// One rendition
///
/// Leads to a fresh signed URL: a stable `src` for players.
#[utoipa::path(get, path = "/api/assets/{id}/renditions/{kind}", tag = "renditions",
    params(schema::AssetIdParam, ("kind" = String, Path, description = "Such as `proxy_720p`.")),
    responses((status = 307)))]
pub(crate) async fn show(
    _viewer: Viewer,
    State(catalog): State<Catalog>,
    State(store): State<BlobStore>,
    State(health): State<StoreHealth>,
    Path((id, kind)): Path<(String, String)>,
) -> Result<Redirect, Problem> {
    let id = parse(&id)?;
    let kind: RenditionKind = kind
        .parse()
        .map_err(|error: domain::ParseWordError| Problem::not_found(error.to_string()))?;
    let no_rendition = || Problem::not_found("this asset has no such rendition");
    let key = catalog.rendition_key(&id, kind).await?.ok_or_else(no_rendition)?;
    health.check().await?;
    let get = PresignGet {
        content_type: kind.mime().to_owned(),
        disposition: Disposition::Inline { filename: format!("{kind}.{}", kind.extension()) },
    };
    Ok(Redirect::temporary(&store.presign_get(&key, URL_TTL, &get).await?))
}

fn parse(id: &str) -> Result<AssetId, Problem> {
    id.parse().map_err(|error: domain::ParseAssetIdError| Problem::not_found(error.to_string()))
}
