//! What the server hands to the pages, and how a request shows what it may do.
//!
//! Must not: decide who a request is from (the server's `auth` does, and puts an [`Access`] into
//! the request's extensions).

use std::{
    collections::HashSet,
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use axum::extract::FromRequestParts;
use catalog::Tag;
use domain::{CameraDefinition, CameraDetails, CameraId, CameraProbe, CameraStatus, Role};
use http::{StatusCode, request::Parts};
use tokio::sync::watch;

pub use crate::api::IceServer;

/// What pages and server functions read from. Provided to Leptos as a context by the server.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Assets.
    pub catalog: catalog::Catalog,
    /// Their originals, to remove those of emptied trash.
    pub store: catalog::BlobStore,
    /// Every camera and its state, kept current by the live plane.
    pub cameras: watch::Receiver<Arc<[CameraStatus]>>,
    /// What cameras are configured to be, and how to change that.
    pub camera_admin: Arc<dyn CameraAdmin>,
    /// STUN and TURN servers, credentials and all: for viewers.
    pub ice_servers: Arc<[IceServer]>,
    /// Origin other than this server's that originals come from, `https://s3.example:9000`: pages
    /// allow pictures and players to load from it.
    pub media_origin: Option<String>,
    /// Whether pages tell where a picture was taken.
    pub show_location: bool,
}

/// Looks at and changes what cameras are configured to be. Callers check for [`Admin`] first.
pub trait CameraAdmin: Send + Sync + fmt::Debug {
    /// Every camera, ordered by id.
    fn list(&self) -> Answer<'_, Vec<CameraDetails>>;

    /// One camera, or [`CameraAdminError::NotFound`].
    fn details(&self, id: CameraId) -> Answer<'_, CameraDetails>;

    /// Adds a camera and starts it; its id must be new.
    fn create(&self, definition: CameraDefinition) -> Answer<'_, CameraDetails>;

    /// Changes a camera; its viewers stay connected. URLs left out stay as they are.
    fn update(&self, definition: CameraDefinition) -> Answer<'_, CameraDetails>;

    /// Takes a camera out; its viewers leave.
    fn remove(&self, id: CameraId) -> Answer<'_, ()>;

    /// Connects to a camera and tells what it offers; takes up to 15 s.
    fn probe(&self, url: String) -> Answer<'_, CameraProbe>;
}

/// What a [`CameraAdmin`] will answer.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, CameraAdminError>> + Send + 'a>>;

/// Why a camera was not shown, changed or probed; a sentence for the administrator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CameraAdminError {
    /// There is no such camera.
    #[error("there is no such camera")]
    NotFound,
    /// A field is not valid.
    #[error("{0}")]
    Invalid(String),
    /// The id is taken, or the camera is one of the configuration file.
    #[error("{0}")]
    Conflict(String),
    /// The camera that was probed does not answer as it should.
    #[error("{0}")]
    Unreachable(String),
    /// The catalog could not answer; the log says why.
    #[error("the catalog cannot answer at the moment")]
    Unavailable,
}

/// Who a request is from, as decided by the server's `auth` module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// What the caller may do.
    pub role: Role,
    /// Whether the caller came in with a token, and so can log out.
    pub token_login: bool,
}

/// What an answer was made from, noted while it is made: the page cache puts one into the request, and
/// makes the answer anew when something of these tags changes. An answer with no tags is not kept.
///
/// Note a list's tag before it is read, so that a change in between is not missed.
#[derive(Clone, Debug, Default)]
pub struct MadeFrom(Arc<Mutex<HashSet<Tag>>>);

impl MadeFrom {
    /// Notes that the answer depends on this.
    pub fn note(&self, tag: Tag) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(tag);
    }

    /// Everything noted so far.
    pub fn tags(&self) -> Vec<Tag> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Where nothing is kept, notes lead nowhere.
impl<S: Send + Sync> FromRequestParts<S> for MadeFrom {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// Why a request was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessDenied {
    /// No valid token came with the request.
    Unauthenticated,
    /// The caller's role does not include what was asked.
    Forbidden,
}

impl axum::response::IntoResponse for AccessDenied {
    fn into_response(self) -> axum::response::Response {
        let (status, text) = match self {
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "log in first"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "your role does not allow this"),
        };
        let title = status.canonical_reason().unwrap_or("Error");
        let body = format!(
            r#"{{"type":"about:blank","title":"{title}","status":{},"detail":"{text}"}}"#,
            status.as_u16()
        );
        (status, [(http::header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}

fn require(parts: &Parts, needed: Role) -> Result<Role, AccessDenied> {
    let access = parts.extensions.get::<Access>().ok_or(AccessDenied::Unauthenticated)?;
    if access.role.includes(needed) { Ok(access.role) } else { Err(AccessDenied::Forbidden) }
}

macro_rules! role_extractor {
    ($(#[$doc:meta])* $name:ident, $role:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = AccessDenied;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
                require(parts, $role).map(|_| Self)
            }
        }
    };
}

role_extractor!(
    /// The caller is at least a viewer.
    Viewer,
    Role::Viewer
);
role_extractor!(
    /// The caller is at least an operator.
    Operator,
    Role::Operator
);
role_extractor!(
    /// The caller is an administrator.
    Admin,
    Role::Admin
);

/// The policy of every page: only this server's files, and the inline script that carries `nonce`.
pub fn content_security_policy(nonce: &str, media_origin: Option<&str>) -> String {
    let origin = match media_origin {
        Some(origin) => format!(" {origin}"),
        None => String::new(),
    };
    format!(
        "default-src 'none'; \
         script-src 'self' 'nonce-{nonce}' 'wasm-unsafe-eval'; \
         style-src 'self' 'nonce-{nonce}'; \
         img-src 'self' data:{origin}; \
         media-src 'self' blob:{origin}; \
         connect-src 'self'{origin}; \
         font-src 'self'; \
         manifest-src 'self'; \
         form-action 'self'; \
         base-uri 'none'; \
         frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_allows_the_media_origin_for_pictures_players_and_uploads_only() {
        let policy = content_security_policy("abc", Some("https://s3.example:9000"));
        let naming: Vec<&str> =
            policy.split("; ").filter(|directive| directive.contains("s3.example")).collect();
        assert_eq!(
            naming,
            [
                "img-src 'self' data: https://s3.example:9000",
                "media-src 'self' blob: https://s3.example:9000",
                "connect-src 'self' https://s3.example:9000"
            ]
        );
        assert!(policy.contains("script-src 'self' 'nonce-abc' 'wasm-unsafe-eval'"));
        assert!(!policy.contains("unsafe-inline"));
    }
}
