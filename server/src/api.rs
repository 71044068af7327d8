//! The API: every handler names the role it needs.

pub(crate) mod assets;
pub(crate) mod bucket_events;
pub(crate) mod cameras;
pub(crate) mod docs;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod input;
pub(crate) mod jobs;
pub(crate) mod library;
pub(crate) mod links;
pub(crate) mod offer;
pub(crate) mod older;
pub mod openapi;
pub(crate) mod renditions;
pub(crate) mod selection;
pub(crate) mod session;
pub(crate) mod uploads;
pub(crate) mod whep;
pub(crate) mod whip;

use axum::{
    extract::Request,
    http::{HeaderMap, header},
};

use crate::error::Problem;

/// Whether only programs ask for this path, so that its errors are problems and never pages.
pub(crate) fn is_machines(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let is_first =
        matches!(first, "api" | "v1" | "events" | "blob" | "whep" | "whip" | "healthz" | "readyz");
    is_first || path.starts_with("/assets/thumbs/")
}

/// Whether the caller is a browser that navigates.
pub(crate) fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// Anything that no route answers. Runs behind [`crate::auth`] like the routes do.
pub(crate) fn not_found(request: &Request) -> Problem {
    Problem::not_found(format!("there is nothing at {}", request.uri().path()))
}
