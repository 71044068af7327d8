//! Every route on one screen, with who may come and how long an answer may be kept.

use std::time::Duration;

use app::{App, shell};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{from_fn, from_fn_with_state},
    response::IntoResponse as _,
    routing::{delete, get, patch, post},
};
use leptos_axum::{LeptosRoutes as _, generate_route_list};
use tower_http::{compression::CompressionLayer, timeout::RequestBodyTimeoutLayer};

use crate::{
    AppState, access_log, api, auth, blob,
    cache_policy::{CachePolicy, apply, security_headers},
    client_addr, cors,
    error::{self, Problem},
    front::{Front, Parts},
    login,
    page_cache::PageCache,
    rate_limit::{self, RateLimit},
    site::Files,
    thumbs,
};

/// Largest body taken anywhere but where a route says otherwise.
const BODY_LIMIT_BYTES: usize = 64 << 10;
/// Largest message of a store.
const EVENTS_LIMIT_BYTES: usize = 1 << 20;
/// A body that stalls for longer is given up.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The whole application: the router, and before it what is kept of its answers.
pub fn router(state: AppState) -> Front {
    use CachePolicy::NoStore;
    let keep = |policy: CachePolicy| from_fn(move |request, next| apply(policy, request, next));

    let (backend, options) = (state.backend.clone(), state.leptos.clone());
    let context = move || leptos::context::provide_context(backend.clone());
    let document = move || shell(options.clone());
    let pages = Router::new().leptos_routes_with_context(
        &state,
        generate_route_list(App),
        context.clone(),
        document.clone(),
    );
    let transfers = Router::new()
        .route("/api/assets/{id}/download", get(api::assets::download))
        .route("/api/assets/{id}/original", get(api::assets::original))
        .route("/api/assets/{id}/renditions/{kind}", get(api::renditions::show))
        .route("/api/uploads", get(api::uploads::list).post(api::uploads::create))
        .route("/api/uploads/form", post(api::uploads::form))
        .route("/api/uploads/{id}", get(api::uploads::show).delete(api::uploads::abort))
        .route("/api/uploads/{id}/parts", post(api::uploads::sign_parts))
        .route(
            "/api/uploads/{id}/complete",
            post(api::uploads::complete)
                .layer(DefaultBodyLimit::max(api::uploads::COMPLETE_BODY_BYTES)),
        )
        .route_layer(from_fn_with_state(RateLimit::new(state.http.transfers), rate_limit::apply));
    let api = Router::new()
        .route("/api/assets", get(api::assets::list))
        .route("/api/assets/labels", post(api::selection::labels))
        .route("/api/assets/move", post(api::selection::move_to_folder))
        .route("/api/assets/trash", post(api::selection::trash))
        .route("/api/assets/restore", post(api::selection::restore))
        .route("/api/trash/purge", post(api::selection::purge))
        .route("/api/assets/{id}", get(api::assets::show).patch(api::assets::update))
        .route("/api/assets/{id}/metadata", get(api::assets::metadata))
        .route("/api/buckets", get(api::assets::buckets))
        .route("/api/folders", get(api::library::folders))
        .route("/api/labels", get(api::library::labels))
        .route("/api/facets", get(api::library::facets))
        .route(
            "/api/collections",
            get(api::library::collections).post(api::library::create_collection),
        )
        .route(
            "/api/collections/{id}",
            get(api::library::show_collection)
                .patch(api::library::rename_collection)
                .delete(api::library::delete_collection),
        )
        .route(
            "/api/collections/{id}/assets",
            post(api::library::change_members)
                .layer(DefaultBodyLimit::max(api::library::MEMBERS_BODY_BYTES)),
        )
        .route("/api/filters", get(api::library::filters).post(api::library::create_filter))
        .route("/api/filters/{id}", delete(api::library::delete_filter))
        .route("/v1/folders", get(api::older::folders))
        .route("/v1/assets", get(api::older::assets))
        .route("/api/openapi.json", get(api::openapi::document))
        .route("/api/docs", get(api::docs::show))
        .route("/api/docs/style.css", get(api::docs::style))
        .route("/api/assets/{id}/renditions", get(api::renditions::list))
        .route("/api/jobs", get(api::jobs::list))
        .route("/api/jobs/retry", post(api::jobs::retry_failed))
        .route("/api/jobs/{asset}/{kind}/retry", post(api::jobs::retry))
        .route("/api/cameras", get(api::cameras::list).post(api::cameras::create))
        .route("/api/cameras/probe", post(api::cameras::probe))
        .route(
            "/api/cameras/{id}",
            get(api::cameras::show).put(api::cameras::replace).delete(api::cameras::remove),
        )
        .route("/api/offer/{camera}", post(api::offer::create))
        .route("/readyz", get(api::health::ready))
        .route("/logout", post(login::logout))
        .merge(transfers);
    use api::session::{self, describe, method_not_allowed};
    use app::ssr::{Operator, Viewer};
    // `OPTIONS` is answered before anything else, by `cors`.
    let signalling = Router::new()
        .route("/api/jobs/events", get(api::jobs::events))
        .route("/whep/{camera}", post(api::whep::create).get(describe))
        .route(
            "/whep/{camera}/{session}",
            patch(session::patch::<Viewer>).delete(session::delete::<Viewer>).get(describe),
        )
        .route("/whep/{camera}/{session}/layer", post(api::whep::select_layer))
        .route("/whep/{camera}/{session}/pause", post(api::whep::pause))
        .route("/whep/{camera}/{session}/stats", get(api::whep::stats))
        .route("/whep/{camera}/{session}/sse", post(api::events::open))
        .route(
            "/whep/{camera}/{session}/sse/{stream}",
            get(api::events::read).delete(api::events::close),
        )
        .route("/whip/{camera}", post(api::whip::create).get(describe))
        .route(
            "/whip/{camera}/{session}",
            patch(session::patch::<Operator>).delete(session::delete::<Operator>).get(describe),
        )
        .method_not_allowed_fallback(method_not_allowed);
    let thumbs = Router::new().route("/assets/thumbs/{name}", get(thumbs::show));

    let page_not_found = leptos_axum::render_app_async_with_context(context, document);
    let not_found = move |request: Request| {
        let page = page_not_found.clone();
        async move {
            match api::wants_page(request.headers()) {
                true => page(request).await,
                false => api::not_found(&request).into_response(),
            }
        }
    };

    // What is kept is made here: a request comes in with its `Access`, and goes out as it will be sent.
    let made = pages.clone().merge(api.clone()).layer(from_fn(security_headers));

    let cors = from_fn_with_state(state.http.allowed_origins.clone(), cors::apply);
    let guarded = pages
        .merge(api)
        .fallback(not_found)
        .layer(CompressionLayer::new())
        .merge(signalling)
        .merge(thumbs)
        .layer(from_fn_with_state(state.auth.clone(), auth::require_access))
        .layer(keep(NoStore))
        .layer(cors.clone());

    let logins = from_fn_with_state(RateLimit::logins(), rate_limit::apply);
    let open = Router::new()
        .route("/healthz", get(api::health::alive))
        .route("/login", get(login::show).post(login::submit).layer(logins))
        // Has a token of its own.
        .route(
            "/events",
            post(api::bucket_events::receive).layer(DefaultBodyLimit::max(EVENTS_LIMIT_BYTES)),
        )
        .route("/blob/{*key}", get(blob::show).put(blob::receive).layer(cors.clone()))
        .route("/pkg/{*file}", get(no_such_file))
        .layer(keep(NoStore));

    let router = guarded
        .merge(open)
        .layer(from_fn_with_state(state.http.trusted_proxies.clone(), client_addr::resolve))
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .layer(RequestBodyTimeoutLayer::new(BODY_TIMEOUT))
        .layer(from_fn(error::as_problems))
        .layer(from_fn(security_headers))
        .layer(from_fn(access_log::log))
        .with_state(state.clone());
    let pages = PageCache::new(made.with_state(state.clone()), state.cache);
    let files = Files::read(&state.leptos);
    let (thumbs, origins) = (state.thumbs, state.http.allowed_origins.clone());
    Front::new(Parts { router, pages, thumbs, files, auth: state.auth, origins })
}

/// Files of this build are answered before the router; this is one of another.
async fn no_such_file() -> Problem {
    Problem::not_found("this file is not of this build; load the page again")
}
