//! The API described in OpenAPI 3.1. A test holds it against the router, both ways.
//!
//! Must not: describe WHEP and WHIP, which have specifications of their own, or server functions of pages.

pub(crate) mod schema;

use std::sync::LazyLock;

use app::ssr::Viewer;
use axum::{Json, response::IntoResponse};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        RefOr, Response,
        content::ContentBuilder,
        path::Operation,
        response::ResponseBuilder,
        schema::Ref,
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use super::{
    assets, bucket_events, cameras, docs, jobs, library, offer, older, renditions, selection,
    uploads,
};
use crate::error;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Damwall",
        description = "Assets over a blob store, and cameras. Errors are problems as of RFC 9457. Where the \
                       server needs its access token, send it as a bearer.",
    ),
    paths(
        assets::list, assets::show, assets::update, assets::metadata, assets::download, assets::original,
        assets::buckets,
        renditions::list, renditions::show,
        jobs::list, jobs::events, jobs::retry, jobs::retry_failed,
        selection::labels, selection::move_to_folder, selection::trash, selection::restore,
        selection::purge,
        library::folders, library::labels, library::facets,
        library::collections, library::create_collection, library::show_collection,
        library::rename_collection, library::delete_collection, library::change_members,
        library::filters, library::create_filter, library::delete_filter,
        older::folders, older::assets,
        uploads::list, uploads::create, uploads::show, uploads::sign_parts, uploads::complete,
        uploads::abort, uploads::form,
        bucket_events::receive,
        cameras::list, cameras::create, cameras::show, cameras::replace, cameras::remove, cameras::probe,
        offer::create,
        document, docs::show, docs::style,
    ),
    components(schemas(error::Body)),
    tags(
        (name = "assets", description = "Lists, single assets and their originals. For viewers."),
        (name = "changes", description = "Changes to many assets at once. For operators."),
        (name = "library", description = "Folders, labels, collections and saved filters."),
        (name = "renditions", description = "What is derived from originals, and the jobs that do it."),
        (name = "uploads", description = "Files sent in parts straight to the blob store. For operators."),
        (name = "older", description = "Shapes of the system that this one replaces."),
        (name = "cameras", description = "Cameras: states for viewers, definitions for administrators."),
        (name = "events", description = "What the blob store tells of itself."),
        (name = "this", description = "This description."),
    ),
    modifiers(&Common),
)]
struct Api;

/// What every operation has in common: how it fails, and the token.
struct Common;

impl Modify for Common {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("token", bearer);
        for item in api.paths.paths.values_mut() {
            let operations =
                [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
            for operation in operations.into_iter().flatten() {
                complete(operation);
            }
        }
    }
}

fn complete(operation: &mut Operation) {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let problem: RefOr<Response> = ResponseBuilder::new()
        .description("A problem: what went wrong, in a sentence.")
        .content("application/problem+json", problem)
        .into();
    operation.responses.responses.insert("default".to_owned(), problem);
    let token = SecurityRequirement::new("token", [""; 0]);
    // Without a token, too, where the server needs none.
    operation.security = Some(vec![token, SecurityRequirement::default()]);
}

static API: LazyLock<utoipa::openapi::OpenApi> = LazyLock::new(Api::openapi);

/// The whole description.
pub fn api() -> &'static utoipa::openapi::OpenApi {
    &API
}

/// This description
#[utoipa::path(get, path = "/api/openapi.json", tag = "this",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")))]
pub(crate) async fn document(_viewer: Viewer) -> impl IntoResponse {
    Json(api())
}
