//! What pages ask the server: server functions, and the response they are part of.
//!
//! Server functions are public endpoints: each authorises and validates for itself.

mod assets;
mod cameras;
mod changes;
mod error;
mod notice;
mod outcome;
mod response;

use std::fmt;

use domain::{CameraStatus, Role};
use leptos::{prelude::*, server_fn::codec::GetUrl};
use serde::{Deserialize, Serialize};

pub use assets::{
    AssetDetail, Card, Collections, Derived, Library, Listing, find_asset, list_assets,
    list_collections, read_derived, read_library,
};
pub use cameras::{
    AddCamera, CameraField, FormError, ProbeCamera, RemoveCamera, SaveCamera, check_admin,
    list_camera_details, read_camera,
};
pub use changes::{
    AddCollection, ChangeAssets, ChangeCollection, DeleteFilter, EmptyTrash, PurgeAsset, RetryJobs,
    SaveAsset, SaveFilter, UndoTrash,
};
pub use error::PageError;
#[cfg(test)]
pub use notice::NoticeKind;
pub use notice::{Notice, take_notice};
pub use outcome::{Outcome, read};
pub use response::{
    allow_camera_and_microphone, set_content_security_policy, set_found, set_not_found,
};

/// Who is looking, as far as pages show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Whether there is something to log out of.
    pub token_login: bool,
    /// What they may do.
    pub role: Role,
}

/// Who is looking.
#[server(prefix = "/fn", endpoint = "session", input = GetUrl)]
pub async fn read_session() -> Result<Session, PageError> {
    response::viewer().await?;
    let access = response::access()?;
    Ok(Session { token_login: access.token_login, role: access.role })
}

/// A STUN or TURN server, as `RTCConfiguration.iceServers` has it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    /// `stun:host[:port]`, `turn:…` or `turns:…`.
    pub urls: String,
    /// TURN: user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// TURN: password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl fmt::Debug for IceServer {
    /// Shows no credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceServer").field("urls", &self.urls).finish_non_exhaustive()
    }
}

/// The servers that help players and publishers to connect. Players need them before they offer: the
/// `Link` headers of WHEP come with the answer.
#[server(prefix = "/fn", endpoint = "ice-servers", input = GetUrl)]
pub async fn list_ice_servers() -> Result<Vec<IceServer>, PageError> {
    response::viewer().await?;
    Ok(response::backend()?.ice_servers.to_vec())
}

/// Every camera and its state.
#[server(prefix = "/fn", endpoint = "cameras", input = GetUrl)]
pub async fn list_cameras() -> Result<Vec<CameraStatus>, PageError> {
    response::viewer().await?;
    Ok(response::backend()?.cameras.borrow().to_vec())
}
