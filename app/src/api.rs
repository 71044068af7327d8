//! What pages ask the server: server functions, and the response they are part of.
//!
//! Server functions are public endpoints: each authorises and validates for itself.

mod cameras;
mod error;
mod response;

use domain::{Asset, CameraStatus, Page, Role};
use leptos::{prelude::*, server_fn::codec::GetUrl};
use serde::{Deserialize, Serialize};

pub use cameras::{
    AddCamera, CameraField, FormError, ProbeCamera, RemoveCamera, SaveCamera, check_admin,
    list_camera_details, read_camera,
};
pub use error::PageError;
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

/// One page of assets, newest first. `limit` and `after` are as they stand in the page's address.
#[server(prefix = "/fn", endpoint = "assets", input = GetUrl)]
pub async fn list_assets(
    limit: Option<String>,
    after: Option<String>,
) -> Result<Page<Asset>, PageError> {
    response::viewer().await?;
    let request = response::or_status(error::parse_page_request(limit, after))?;
    let page =
        response::backend()?.catalog.list_assets(request.limit, request.after.as_ref()).await;
    response::or_unavailable(page)
}

/// One asset.
#[server(prefix = "/fn", endpoint = "asset", input = GetUrl)]
pub async fn find_asset(id: String) -> Result<Asset, PageError> {
    response::viewer().await?;
    let id = response::or_status(id.parse().map_err(|_| PageError::NotFound))?;
    let asset = response::or_unavailable(response::backend()?.catalog.asset(&id).await)?;
    response::or_status(asset.ok_or(PageError::NotFound))
}

/// Every camera and its state.
#[server(prefix = "/fn", endpoint = "cameras", input = GetUrl)]
pub async fn list_cameras() -> Result<Vec<CameraStatus>, PageError> {
    response::viewer().await?;
    Ok(response::backend()?.cameras.borrow().to_vec())
}
