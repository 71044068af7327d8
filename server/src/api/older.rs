//! `/v1/…`: the shapes of the system that this one replaces, thin adapters.

use app::ssr::{MadeFrom, Viewer};
use axum::{Json, extract::State};
use catalog::{Catalog, Tag};
use domain::{Asset, AssetFilter, FolderInfo, PAGE_LIMIT_MAX, PageLimit};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    input::{RawQuery, bad_field},
    library,
    openapi::schema,
};
use crate::error::Problem;

/// Highest page: finding one by its number takes longer the further it is; cursors do not.
const PAGE_MAX: u32 = 10_000;
/// Most assets before a page.
const SKIPPED_MAX: u32 = 100_000;
/// Items on a page unless the caller says otherwise.
const PAGE_SIZE_DEFAULT: u32 = 50;

/// Folders in the older shape.
#[derive(Serialize, ToSchema)]
pub(crate) struct FolderList {
    total: u64,
    page: u32,
    #[schema(value_type = Vec<schema::FolderInfo>)]
    items: Vec<FolderInfo>,
}

/// Assets in the older shape.
#[derive(Serialize, ToSchema)]
pub(crate) struct AssetList {
    /// In the folder and below it, on all pages.
    total: u64,
    page: u32,
    #[schema(value_type = Vec<schema::Asset>)]
    items: Vec<Asset>,
}

/// Query of assets.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only its description is used")]
pub(crate) struct AssetListParams {
    /// Only assets in this folder and below it.
    folder: Option<String>,
    /// From 1 to 10 000.
    #[param(minimum = 1, maximum = 10000)]
    page: Option<u32>,
    /// 1 to 500; 50 unless given.
    #[param(minimum = 1, maximum = 500)]
    page_size: Option<u32>,
}

/// Folders, older shape
#[utoipa::path(get, path = "/v1/folders", tag = "older", params(library::FoldersParams),
    responses((status = 200, body = FolderList)))]
pub(crate) async fn folders(
    _viewer: Viewer,
    made_from: MadeFrom,
    State(catalog): State<Catalog>,
    RawQuery(query): RawQuery,
) -> Result<Json<FolderList>, Problem> {
    made_from.note(Tag::Folders);
    let items = catalog.folders(&library::read_prefix(&query)?).await?;
    Ok(Json(FolderList { total: items.len() as u64, page: 1, items }))
}

/// Assets, older shape
///
/// Newest first. `GET /api/assets` is faster on later pages, and can filter.
#[utoipa::path(get, path = "/v1/assets", tag = "older", params(AssetListParams),
    responses((status = 200, body = AssetList)))]
pub(crate) async fn assets(
    _viewer: Viewer,
    made_from: MadeFrom,
    State(catalog): State<Catalog>,
    RawQuery(query): RawQuery,
) -> Result<Json<AssetList>, Problem> {
    let (mut filter, mut page, mut page_size) = (AssetFilter::default(), 1, PAGE_SIZE_DEFAULT);
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "folder" => {
                let folder: domain::FolderPath =
                    value.parse().map_err(|error| bad_field("folder", error))?;
                if !folder.is_top() {
                    filter.folders = vec![folder];
                }
            }
            "page" => page = number("page", &value, PAGE_MAX)?,
            "page_size" => page_size = number("page_size", &value, PAGE_LIMIT_MAX)?,
            _ => {
                let text = format!("{key}: expected folder, page or page_size");
                return Err(Problem::bad_request(text).field(key));
            }
        }
    }
    made_from.note(Tag::Assets);
    let total = catalog.count_assets(&filter).await?;
    let skipped = (page - 1).saturating_mul(page_size);
    if skipped > SKIPPED_MAX {
        return Err(bad_field("page", "too far on; GET /api/assets pages by cursor"));
    }
    let limit = PageLimit::try_from(page_size).map_err(|error| bad_field("page_size", error))?;
    let items = catalog.assets_from(&filter, skipped, limit).await?;
    Ok(Json(AssetList { total, page, items }))
}

fn number(name: &'static str, text: &str, max: u32) -> Result<u32, Problem> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| is_digits && (1..=max).contains(number));
    number.ok_or_else(|| bad_field(name, format!("expected a number from 1 to {max}")))
}
