//! Every route on one screen, with who may come and how long an answer may be kept.

use std::time::Duration;

use app::{App, shell};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{from_fn, from_fn_with_state},
    response::IntoResponse as _,
    routing::{get, patch, post},
};
use leptos_axum::{LeptosRoutes as _, generate_route_list};
use tower_http::{
    compression::CompressionLayer,
    services::{ServeDir, ServeFile},
    timeout::RequestBodyTimeoutLayer,
};

use crate::{
    AppState, access_log, api, auth, blob,
    cache_policy::{CachePolicy, apply, security_headers},
    client_addr, cors, login, site, thumbs,
};

/// Largest body taken anywhere but where a route says otherwise.
const BODY_LIMIT_BYTES: usize = 64 << 10;
/// A body that stalls for longer is given up.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The whole application.
pub fn router(state: AppState) -> Router {
    use CachePolicy::{Immutable, NoStore, PrivateThumbnail, Static, Thumbnail};
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
    let api = Router::new()
        .route("/api/assets", get(api::assets::list))
        .route("/api/assets/{id}", get(api::assets::show))
        .route("/api/assets/{id}/download", get(api::assets::download))
        .route("/api/assets/{id}/original", get(api::assets::original))
        .route("/api/cameras", get(api::cameras::list).post(api::cameras::create))
        .route("/api/cameras/probe", post(api::cameras::probe))
        .route(
            "/api/cameras/{id}",
            get(api::cameras::show).put(api::cameras::replace).delete(api::cameras::remove),
        )
        .route("/api/offer/{camera}", post(api::offer::create))
        .route("/readyz", get(api::health::ready))
        .route("/logout", post(login::logout));
    use api::session::{self, describe, method_not_allowed};
    use app::ssr::{Operator, Viewer};
    // `OPTIONS` is answered before anything else, by `cors`.
    let signalling = Router::new()
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
    let thumbnail = if state.auth.is_open() { Thumbnail } else { PrivateThumbnail };
    let thumbs =
        Router::new().route("/assets/thumbs/{name}", get(thumbs::show)).layer(keep(thumbnail));

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

    let guarded = pages
        .merge(api)
        .fallback(not_found)
        .layer(CompressionLayer::new())
        .merge(signalling)
        .merge(thumbs)
        .layer(from_fn_with_state(state.auth.clone(), auth::require_access))
        .layer(keep(NoStore))
        .layer(from_fn_with_state(state.http.allowed_origins.clone(), cors::apply))
        .layer(from_fn_with_state(state.http.trusted_proxies.clone(), client_addr::resolve));

    let pkg =
        ServeDir::new(site::pkg_folder(&state.leptos)).precompressed_br().precompressed_gzip();
    let mut files = Router::new();
    for name in site::top_files(&state.leptos) {
        let file = ServeFile::new(std::path::Path::new(&*state.leptos.site_root).join(&name));
        files = files.route_service(&format!("/{name}"), file);
    }
    let open = Router::new()
        .route("/healthz", get(api::health::alive))
        .route("/login", get(login::show).post(login::submit))
        .layer(keep(NoStore))
        .merge(Router::new().route("/blob/{*key}", get(blob::show)))
        .merge(Router::new().nest_service("/pkg", pkg).layer(keep(Immutable)))
        .merge(files.layer(keep(Static)));

    guarded
        .merge(open)
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .layer(RequestBodyTimeoutLayer::new(BODY_TIMEOUT))
        .layer(from_fn(security_headers))
        .layer(from_fn(access_log::log))
        .with_state(state)
}
