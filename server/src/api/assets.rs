//! `/api/assets…`: lists and single assets. Reads are pure; what is signed is never kept.

use std::{sync::Arc, time::Duration};

use app::ssr::{MadeFrom, Operator, Viewer};
use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse as _, Redirect, Response},
};
use catalog::{BlobKey, BlobStore, Catalog, Disposition, PresignGet, Tag};
use domain::{Asset, AssetFilter, AssetId, AssetPatch, AssetQuery, DateBucket, Metadata, Page};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    input::{self, Id, RawQuery},
    openapi::schema,
};
use crate::{HttpSettings, cache_policy::CachePolicy, error::Problem, store_health::StoreHealth};

/// How long a signed URL lives.
const URL_TTL: Duration = Duration::from_secs(3600);

/// Assets
///
/// One page of the assets for which every given key holds. Keys that take several values may be repeated;
/// any one of them will do.
#[utoipa::path(get, path = "/api/assets", tag = "assets", params(schema::AssetQuery),
    responses((status = 200, body = schema::AssetPage)))]
pub(crate) async fn list(
    _viewer: Viewer,
    made_from: MadeFrom,
    State(catalog): State<Catalog>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<Asset>>, Problem> {
    let query = AssetQuery::parse(&query)?;
    made_from.note(Tag::Assets);
    let page = catalog.list_assets(&query).await?;
    page.items.iter().for_each(|asset| made_from.note(Tag::Asset(asset.id.clone())));
    Ok(Json(page))
}

/// How many of the filtered assets there are on which days.
#[derive(Serialize, ToSchema)]
pub(crate) struct Buckets {
    /// All of them.
    total: u64,
    /// Newest first; days, or months when they span a long time.
    #[schema(value_type = Vec<schema::DateBucket>)]
    items: Vec<DateBucket>,
}

/// Counts by date
///
/// For a scrubber: how many assets came into being on which days, or in which months if they span a long
/// time. Takes the keys of a filter, without `sort`, `limit` and `after`.
#[utoipa::path(get, path = "/api/buckets", tag = "assets", params(schema::AssetFilter),
    responses((status = 200, body = Buckets)))]
pub(crate) async fn buckets(
    _viewer: Viewer,
    made_from: MadeFrom,
    State(catalog): State<Catalog>,
    RawQuery(query): RawQuery,
) -> Result<Json<Buckets>, Problem> {
    let filter = AssetFilter::parse(&query)?;
    made_from.note(Tag::Assets);
    let items = catalog.buckets(&filter).await?;
    let total = catalog.count_assets(&filter).await?;
    Ok(Json(Buckets { total, items }))
}

/// One asset
#[utoipa::path(get, path = "/api/assets/{id}", tag = "assets", params(schema::AssetIdParam),
    responses((status = 200, body = schema::Asset)))]
pub(crate) async fn show(
    _viewer: Viewer,
    made_from: MadeFrom,
    State(catalog): State<Catalog>,
    Id(id): Id<AssetId>,
) -> Result<Json<Asset>, Problem> {
    made_from.note(Tag::Asset(id.clone()));
    find(&catalog, &id).await.map(Json)
}

/// Change an asset
///
/// What is left out stays. `labels` are all of its labels from then on.
#[utoipa::path(patch, path = "/api/assets/{id}", tag = "assets", params(schema::AssetIdParam),
    request_body = schema::AssetPatch, responses((status = 200, body = schema::Asset)))]
pub(crate) async fn update(
    _operator: Operator,
    State(catalog): State<Catalog>,
    Id(id): Id<AssetId>,
    input::Json(patch): input::Json<AssetPatch>,
) -> Result<Json<Asset>, Problem> {
    catalog.update_asset(&id, &patch).await?;
    find(&catalog, &id).await.map(Json)
}

/// What an original says of itself.
#[derive(Serialize, ToSchema)]
pub(crate) struct Details {
    #[serde(flatten)]
    #[schema(value_type = schema::Metadata)]
    metadata: Metadata,
    /// Since when the original has been missing from the blob store; `null` while it is there.
    #[schema(value_type = Option<String>, format = DateTime)]
    missing_since: Option<Timestamp>,
}

/// Metadata
///
/// What the original says of itself (EXIF), and whether it is there. `location` is only told if
/// `library.show_location` is set.
#[utoipa::path(get, path = "/api/assets/{id}/metadata", tag = "assets", params(schema::AssetIdParam),
    responses((status = 200, body = Details)))]
pub(crate) async fn metadata(
    _viewer: Viewer,
    made_from: MadeFrom,
    State(catalog): State<Catalog>,
    State(http): State<Arc<HttpSettings>>,
    Id(id): Id<AssetId>,
) -> Result<Json<Details>, Problem> {
    made_from.note(Tag::Asset(id.clone()));
    find(&catalog, &id).await?;
    let mut metadata = catalog.metadata(&id).await?;
    if !http.show_location {
        metadata.location = None;
    }
    Ok(Json(Details { metadata, missing_since: catalog.missing_since(&id).await? }))
}

/// Answer of a download.
#[derive(Serialize, ToSchema)]
pub(crate) struct Download {
    /// Signed; answers for 3600 s, with ranges.
    url: String,
}

/// Download
///
/// A signed URL that saves the original under its name; it lives for 3600 s. 503 while the blob store does
/// not answer.
#[utoipa::path(get, path = "/api/assets/{id}/download", tag = "assets", params(schema::AssetIdParam),
    responses((status = 200, body = Download)))]
pub(crate) async fn download(
    _viewer: Viewer,
    State(catalog): State<Catalog>,
    State(store): State<BlobStore>,
    State(health): State<StoreHealth>,
    Id(id): Id<AssetId>,
) -> Result<Response, Problem> {
    let asset = find(&catalog, &id).await?;
    health.check().await?;
    let url = sign(&store, &asset, Wanted::Attachment).await?;
    Ok(never_kept(Json(Download { url })))
}

/// Query of an original.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OriginalQuery {
    /// `1` saves it instead of showing it.
    download: Option<u8>,
}

/// Original
///
/// Leads to a fresh signed URL: a stable `src` for players and pictures. 503 while the blob store does not
/// answer.
#[utoipa::path(get, path = "/api/assets/{id}/original", tag = "assets",
    params(schema::AssetIdParam, OriginalQuery), responses((status = 307)))]
pub(crate) async fn original(
    _viewer: Viewer,
    State(catalog): State<Catalog>,
    State(store): State<BlobStore>,
    State(health): State<StoreHealth>,
    Id(id): Id<AssetId>,
    query: Result<Query<OriginalQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    let asset = find(&catalog, &id).await?;
    health.check().await?;
    let wanted = if query.download == Some(1) { Wanted::Attachment } else { Wanted::Inline };
    Ok(never_kept(Redirect::temporary(&sign(&store, &asset, wanted).await?)))
}

/// A signed URL is for who asked, and for now.
fn never_kept(answer: impl axum::response::IntoResponse) -> Response {
    let policy = (axum::http::header::CACHE_CONTROL, CachePolicy::NoStore.header());
    ([policy], answer).into_response()
}

async fn find(catalog: &Catalog, id: &AssetId) -> Result<Asset, Problem> {
    let asset = catalog.asset(id).await?;
    asset.ok_or_else(|| Problem::not_found("there is no asset of this id").field("id"))
}
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Inline,
    Attachment,
}

/// Types that a browser shows without running anything in them. SVG and HTML are not among them.
fn is_safe_inline(mime: &str) -> bool {
    let is_picture = matches!(
        mime,
        "image/jpeg" | "image/png" | "image/gif" | "image/webp" | "image/avif" | "image/bmp"
    );
    is_picture || mime.starts_with("video/") || mime.starts_with("audio/")
}

async fn sign(store: &BlobStore, asset: &Asset, wanted: Wanted) -> Result<String, Problem> {
    let key: BlobKey = asset.key.parse().map_err(|error: catalog::blob::ParseBlobKeyError| {
        Problem::unavailable("the original", &error)
    })?;
    let filename = asset.name.clone();
    let get = if wanted == Wanted::Inline && is_safe_inline(&asset.mime) {
        PresignGet {
            content_type: asset.mime.clone(),
            disposition: Disposition::Inline { filename },
        }
    } else {
        let is_safe = is_safe_inline(&asset.mime);
        let mime = if is_safe { asset.mime.clone() } else { "application/octet-stream".to_owned() };
        PresignGet { content_type: mime, disposition: Disposition::Attachment { filename } }
    };
    Ok(store.presign_get(&key, URL_TTL, &get).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_run_a_script_is_never_shown_in_place() {
        for mime in ["image/jpeg", "image/png", "image/webp", "video/mp4", "audio/mpeg"] {
            assert!(is_safe_inline(mime), "{mime}");
        }
        for mime in [
            "image/svg+xml",
            "IMAGE/SVG+XML",
            "text/html",
            "application/xhtml+xml",
            "text/xml",
            "application/xml",
            "application/pdf",
            "text/javascript",
            "text/plain",
            "multipart/x-mixed-replace",
            "image/",
            "image/jpeg+xml",
            "image/jpeg; charset=utf-7",
            "",
        ] {
            assert!(!is_safe_inline(mime), "{mime}");
        }
    }
}
