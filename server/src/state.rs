//! What handlers share.

use std::sync::Arc;

use app::ssr::CameraAdmin;
use axum::{extract::FromRef, http::HeaderValue};
use catalog::{BlobStore, Catalog};
use leptos::config::LeptosOptions;
use media::egress::handle::RtcHandle;

use crate::{
    api::links, auth::Auth, client_addr::Network, config::Config, cors::AllowedOrigin,
    events::EventStreams,
};

/// What handlers share; cheap to clone.
#[derive(Clone, Debug, FromRef)]
pub struct AppState {
    /// What pages read.
    pub backend: app::ssr::Backend,
    /// Assets.
    pub catalog: Catalog,
    /// Originals and renditions.
    pub store: BlobStore,
    /// WHEP and WHIP sessions.
    pub rtc: RtcHandle,
    /// Event streams of WHEP sessions.
    pub events: EventStreams,
    /// Who may come in.
    pub auth: Auth,
    /// Of the configuration.
    pub http: Arc<HttpSettings>,
    /// Where the build's files are.
    pub leptos: LeptosOptions,
}

impl FromRef<AppState> for Arc<dyn CameraAdmin> {
    fn from_ref(state: &AppState) -> Self {
        state.backend.camera_admin.clone()
    }
}

/// What the configuration says of requests and answers.
#[derive(Debug, Clone, Default)]
pub struct HttpSettings {
    /// Origins of other sites whose pages may use the API and the signalling.
    pub allowed_origins: Arc<[AllowedOrigin]>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Arc<[Network]>,
    /// `Link` headers of STUN and TURN servers.
    pub ice_servers: Vec<HeaderValue>,
}

impl From<&Config> for HttpSettings {
    fn from(config: &Config) -> Self {
        let servers = config.live.ice_servers.iter();
        Self {
            allowed_origins: config.server.allowed_origins.clone().into(),
            trusted_proxies: config.server.trusted_proxies.clone().into(),
            // A configuration that was read has only servers that can be told.
            ice_servers: servers.filter_map(|server| links::ice_server(server).ok()).collect(),
        }
    }
}
