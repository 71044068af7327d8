//! What handlers share.

use axum::extract::FromRef;
use catalog::{BlobStore, Catalog};
use leptos::config::LeptosOptions;
use media::egress::handle::RtcHandle;

use crate::auth::Auth;

/// What handlers share; cheap to clone.
#[derive(Clone, Debug, FromRef)]
pub struct AppState {
    /// What pages read.
    pub backend: app::ssr::Backend,
    /// Assets.
    pub catalog: Catalog,
    /// Originals and renditions.
    pub store: BlobStore,
    /// WHEP sessions.
    pub rtc: RtcHandle,
    /// Who may come in.
    pub auth: Auth,
    /// Where the build's files are.
    pub leptos: LeptosOptions,
}
