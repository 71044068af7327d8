//! What handlers share.

use std::{path::PathBuf, sync::Arc};

use app::ssr::{CameraAdmin, IceServer};
use axum::{extract::FromRef, http::HeaderValue};
use catalog::{BlobStore, Catalog, Uploads};
use leptos::config::LeptosOptions;
use media::egress::handle::RtcHandle;

use crate::{
    api::links,
    auth::Auth,
    client_addr::Network,
    config::{self, Config},
    cors::AllowedOrigin,
    events::EventStreams,
    ingest::BucketEvents,
    page_cache,
    rate_limit::TRANSFERS,
    store_health::StoreHealth,
    thumbs::ThumbCache,
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
    /// Whether the store answers.
    pub store_health: StoreHealth,
    /// What is on its way into the store.
    pub uploads: Uploads,
    /// WHEP and WHIP sessions.
    pub rtc: RtcHandle,
    /// Event streams of WHEP sessions.
    pub events: EventStreams,
    /// Takes what the store says has changed.
    pub bucket_events: BucketEvents,
    /// Who may come in.
    pub auth: Auth,
    /// Of the configuration.
    pub http: Arc<HttpSettings>,
    /// How answers are kept.
    pub cache: page_cache::Settings,
    /// Thumbnails at hand.
    pub thumbs: ThumbCache,
    /// Where the build's files are.
    pub leptos: LeptosOptions,
}

/// STUN and TURN servers as pages need them.
pub fn ice_servers(config: &Config) -> Arc<[IceServer]> {
    let shown = |server: &config::IceServer| IceServer {
        urls: server.url.clone(),
        username: server.username.clone(),
        credential: server.credential.as_ref().map(|secret| secret.expose().to_owned()),
    };
    config.live.ice_servers.iter().map(shown).collect()
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
    /// Tell viewers where pictures were taken.
    pub show_location: bool,
    /// Folder for files on their way into the store.
    pub spool_dir: PathBuf,
    /// Signed URLs and steps of uploads that one client may ask for: as many at once, then so many a second.
    pub transfers: (u32, u32),
}

impl From<&Config> for HttpSettings {
    fn from(config: &Config) -> Self {
        let servers = config.live.ice_servers.iter();
        Self {
            allowed_origins: config.server.allowed_origins.clone().into(),
            trusted_proxies: config.server.trusted_proxies.clone().into(),
            // A configuration that was read has only servers that can be told.
            ice_servers: servers.filter_map(|server| links::ice_server(server).ok()).collect(),
            show_location: config.library.show_location,
            spool_dir: config.server.data_dir.join("tmp"),
            transfers: TRANSFERS,
        }
    }
}
