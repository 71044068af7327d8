//! The API: every handler names the role it needs.

pub(crate) mod assets;
pub(crate) mod cameras;
pub(crate) mod health;
pub(crate) mod whep;

use app::ssr::Viewer;
use axum::http::Uri;

use crate::error::Problem;

/// Anything that no route answers.
pub(crate) async fn not_found(_viewer: Viewer, uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at {}", uri.path()))
}
