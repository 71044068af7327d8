//! `/api/folders`, `/api/labels`, `/api/facets`, `/api/collections…`, `/api/filters…`.

use app::ssr::{MadeFrom, Operator, Viewer};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use catalog::{Catalog, Tag};
use domain::{
    AssetFilter, AssetId, Collection, CollectionId, Facets, FolderInfo, FolderPath, PAGE_LIMIT_MAX,
    SavedFilter, SavedFilterId, TagInfo, Title,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    input::{self, Id, RawQuery, bad_field},
    openapi::schema,
    session,
};
use crate::error::Problem;

/// Largest body of [`change_members`]: as many ids as it takes, and room for how they are written.
pub(crate) const MEMBERS_BODY_BYTES: usize = 128 << 10;

/// Folders.
#[derive(Serialize, ToSchema)]
pub(crate) struct Folders {
    /// In alphabetical order.
    #[schema(value_type = Vec<schema::FolderInfo>)]
    items: Vec<FolderInfo>,
}

/// Query of folders.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only its description is used")]
pub(crate) struct FoldersParams {
    /// Only folders right below this one; the topmost unless given.
    prefix: Option<String>,
}

/// Folders
///
/// The folders right below one, each with how many assets lie in it and below it.
#[utoipa::path(get, path = "/api/folders", tag = "library", params(FoldersParams),
    responses((status = 200, body = Folders)))]
pub(crate) async fn folders(
    _viewer: Viewer,
    made_from: MadeFrom,
    State(catalog): State<Catalog>,
    RawQuery(query): RawQuery,
) -> Result<Json<Folders>, Problem> {
    let prefix = read_prefix(&query)?;
    made_from.note(Tag::Folders);
    Ok(Json(Folders { items: catalog.folders(&prefix).await? }))
}

/// `prefix` of a query that has no other key; the top without.
pub(super) fn read_prefix(query: &str) -> Result<FolderPath, Problem> {
    let mut prefix = None;
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if key != "prefix" || prefix.is_some() {
            return Err(Problem::bad_request(format!("{key}: expected `prefix`, once")).field(key));
        }
        let parsed = value.parse::<FolderPath>();
        prefix = Some(parsed.map_err(|error| bad_field("prefix", error))?);
    }
    match prefix {
        Some(prefix) => Ok(prefix),
        None => "".parse().map_err(|error| bad_field("prefix", error)),
    }
}

/// Labels.
#[derive(Serialize, ToSchema)]
pub(crate) struct Labels {
    /// In alphabetical order.
    #[schema(value_type = Vec<schema::TagInfo>)]
    items: Vec<TagInfo>,
}

/// Labels
///
/// Every label that assets bear, with how many.
#[utoipa::path(get, path = "/api/labels", tag = "library", responses((status = 200, body = Labels)))]
pub(crate) async fn labels(
    _viewer: Viewer,
    made_from: MadeFrom,
    State(catalog): State<Catalog>,
) -> Result<Json<Labels>, Problem> {
    made_from.note(Tag::Tags);
    Ok(Json(Labels { items: catalog.tags().await? }))
}

/// Cameras and codecs
///
/// Values that there are to filter by, besides folders and labels.
#[utoipa::path(get, path = "/api/facets", tag = "library",
    responses((status = 200, body = schema::Facets)))]
pub(crate) async fn facets(
    _viewer: Viewer,
    made_from: MadeFrom,
    State(catalog): State<Catalog>,
) -> Result<Json<Facets>, Problem> {
    made_from.note(Tag::Assets);
    Ok(Json(catalog.facets().await?))
}

/// Collections.
#[derive(Serialize, ToSchema)]
pub(crate) struct Collections {
    /// By title.
    #[schema(value_type = Vec<schema::Collection>)]
    items: Vec<Collection>,
}

/// What a collection is called.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Titled {
    /// 1 to 100 characters.
    #[schema(value_type = String)]
    title: Title,
}

/// Assets that come in and go out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Members {
    /// Ids of assets, at most 500.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    add: Vec<AssetId>,
    /// Ids of assets, at most 500.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    remove: Vec<AssetId>,
}

/// Collections
#[utoipa::path(get, path = "/api/collections", tag = "library",
    responses((status = 200, body = Collections)))]
pub(crate) async fn collections(
    _viewer: Viewer,
    made_from: MadeFrom,
    State(catalog): State<Catalog>,
) -> Result<Json<Collections>, Problem> {
    made_from.note(Tag::Collections);
    Ok(Json(Collections { items: catalog.collections().await? }))
}

/// Make a collection
#[utoipa::path(post, path = "/api/collections", tag = "library", request_body = Titled,
    responses((status = 201, body = schema::Collection)))]
pub(crate) async fn create_collection(
    _operator: Operator,
    State(catalog): State<Catalog>,
    input::Json(body): input::Json<Titled>,
) -> Result<Response, Problem> {
    let made = catalog.create_collection(&body.title).await?;
    let location = session::header(format!("/api/collections/{}", made.id))?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(made)).into_response())
}

/// One collection
///
/// Its assets are listed by `GET /api/assets?collection=ID`.
#[utoipa::path(get, path = "/api/collections/{id}", tag = "library", params(schema::NumberIdParam),
    responses((status = 200, body = schema::Collection)))]
pub(crate) async fn show_collection(
    _viewer: Viewer,
    made_from: MadeFrom,
    State(catalog): State<Catalog>,
    Id(id): Id<CollectionId>,
) -> Result<Json<Collection>, Problem> {
    made_from.note(Tag::Collections);
    find_collection(&catalog, id).await.map(Json)
}

/// Rename a collection
#[utoipa::path(patch, path = "/api/collections/{id}", tag = "library", params(schema::NumberIdParam),
    request_body = Titled, responses((status = 200, body = schema::Collection)))]
pub(crate) async fn rename_collection(
    _operator: Operator,
    State(catalog): State<Catalog>,
    Id(id): Id<CollectionId>,
    input::Json(body): input::Json<Titled>,
) -> Result<Json<Collection>, Problem> {
    catalog.rename_collection(id, &body.title).await?;
    find_collection(&catalog, id).await.map(Json)
}

/// Remove a collection
///
/// Its assets stay.
#[utoipa::path(delete, path = "/api/collections/{id}", tag = "library", params(schema::NumberIdParam),
    responses((status = 204)))]
pub(crate) async fn delete_collection(
    _operator: Operator,
    State(catalog): State<Catalog>,
    Id(id): Id<CollectionId>,
) -> Result<StatusCode, Problem> {
    find_collection(&catalog, id).await?;
    catalog.delete_collection(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Put assets into a collection, or take them out
#[utoipa::path(post, path = "/api/collections/{id}/assets", tag = "library",
    params(schema::NumberIdParam), request_body = Members,
    responses((status = 200, body = schema::Collection)))]
pub(crate) async fn change_members(
    _operator: Operator,
    State(catalog): State<Catalog>,
    Id(id): Id<CollectionId>,
    input::Json(body): input::Json<Members>,
) -> Result<Json<Collection>, Problem> {
    for (name, ids) in [("add", &body.add), ("remove", &body.remove)] {
        if ids.len() > PAGE_LIMIT_MAX as usize {
            return Err(bad_field(name, format!("expected {PAGE_LIMIT_MAX} assets at most")));
        }
    }
    find_collection(&catalog, id).await?;
    if !body.add.is_empty() {
        catalog.add_to_collection(id, &body.add).await?;
    }
    if !body.remove.is_empty() {
        catalog.remove_from_collection(id, &body.remove).await?;
    }
    find_collection(&catalog, id).await.map(Json)
}

async fn find_collection(catalog: &Catalog, id: CollectionId) -> Result<Collection, Problem> {
    let found = catalog.collections().await?.into_iter().find(|collection| collection.id == id);
    found.ok_or_else(|| Problem::not_found("there is no collection of this id").field("id"))
}

/// Saved filters.
#[derive(Serialize, ToSchema)]
pub(crate) struct Filters {
    /// By title.
    #[schema(value_type = Vec<schema::SavedFilter>)]
    items: Vec<SavedFilter>,
}

/// A filter to be kept.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewFilter {
    /// 1 to 100 characters.
    #[schema(value_type = String)]
    title: Title,
    /// Keys of `GET /api/assets`, without `sort`, `limit` and `after`: `kind=video&folder=2026`.
    query: String,
}

/// Saved filters
#[utoipa::path(get, path = "/api/filters", tag = "library", responses((status = 200, body = Filters)))]
pub(crate) async fn filters(
    _viewer: Viewer,
    made_from: MadeFrom,
    State(catalog): State<Catalog>,
) -> Result<Json<Filters>, Problem> {
    made_from.note(Tag::Filters);
    Ok(Json(Filters { items: catalog.saved_filters().await? }))
}

/// Save a filter
#[utoipa::path(post, path = "/api/filters", tag = "library", request_body = NewFilter,
    responses((status = 201, body = schema::SavedFilter)))]
pub(crate) async fn create_filter(
    _operator: Operator,
    State(catalog): State<Catalog>,
    input::Json(body): input::Json<NewFilter>,
) -> Result<Response, Problem> {
    let filter = AssetFilter::parse(&body.query).map_err(|error| bad_field("query", error))?;
    let made = catalog.save_filter(&body.title, &filter).await?;
    let location = session::header(format!("/api/filters/{}", made.id))?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(made)).into_response())
}

/// Forget a saved filter
#[utoipa::path(delete, path = "/api/filters/{id}", tag = "library", params(schema::NumberIdParam),
    responses((status = 204)))]
pub(crate) async fn delete_filter(
    _operator: Operator,
    State(catalog): State<Catalog>,
    Id(id): Id<SavedFilterId>,
) -> Result<StatusCode, Problem> {
    match catalog.delete_filter(id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found("there is no saved filter of this id").field("id")),
    }
}
