//! `GET /api/assets…`

use std::time::Duration;

use app::ssr::Viewer;
use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    response::Redirect,
};
use catalog::{BlobKey, BlobStore, Catalog, Disposition, PresignGet};
use domain::{Asset, Cursor, Page, PageLimit};
use serde::{Deserialize, Serialize};

use crate::error::Problem;

/// How long a signed URL lives.
const URL_TTL: Duration = Duration::from_secs(3600);

/// Query of the list.
#[derive(Deserialize)]
pub(crate) struct ListQuery {
    #[serde(default)]
    limit: PageLimit,
    after: Option<Cursor>,
}

pub(crate) async fn list(
    _viewer: Viewer,
    State(catalog): State<Catalog>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Page<Asset>>, Problem> {
    let Query(query) = query?;
    Ok(Json(catalog.list_assets(query.limit, query.after.as_ref()).await?))
}

pub(crate) async fn show(
    _viewer: Viewer,
    State(catalog): State<Catalog>,
    Path(id): Path<String>,
) -> Result<Json<Asset>, Problem> {
    find(&catalog, &id).await.map(Json)
}

/// Answer of a download.
#[derive(Serialize)]
pub(crate) struct Download {
    url: String,
}

pub(crate) async fn download(
    _viewer: Viewer,
    State(catalog): State<Catalog>,
    State(store): State<BlobStore>,
    Path(id): Path<String>,
) -> Result<Json<Download>, Problem> {
    let asset = find(&catalog, &id).await?;
    Ok(Json(Download { url: sign(&store, &asset, Wanted::Attachment).await? }))
}

/// Query of an original.
#[derive(Deserialize)]
pub(crate) struct OriginalQuery {
    download: Option<u8>,
}

/// A stable address that leads to a fresh signed URL: the `src` of players and pictures.
pub(crate) async fn original(
    _viewer: Viewer,
    State(catalog): State<Catalog>,
    State(store): State<BlobStore>,
    Path(id): Path<String>,
    query: Result<Query<OriginalQuery>, QueryRejection>,
) -> Result<Redirect, Problem> {
    let Query(query) = query?;
    let asset = find(&catalog, &id).await?;
    let wanted = if query.download == Some(1) { Wanted::Attachment } else { Wanted::Inline };
    Ok(Redirect::temporary(&sign(&store, &asset, wanted).await?))
}

async fn find(catalog: &Catalog, id: &str) -> Result<Asset, Problem> {
    let id = id
        .parse()
        .map_err(|error: domain::ParseAssetIdError| Problem::not_found(error.to_string()))?;
    catalog.asset(&id).await?.ok_or_else(|| Problem::not_found("there is no asset of this id"))
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
