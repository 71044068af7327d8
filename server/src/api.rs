//! The API: every handler names the role it needs.

pub(crate) mod assets;
pub(crate) mod cameras;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod links;
pub(crate) mod offer;
pub(crate) mod session;
pub(crate) mod whep;
pub(crate) mod whip;

use axum::{
    extract::Request,
    http::{HeaderMap, header},
};

use crate::error::Problem;

/// Whether the caller is a browser that navigates.
pub(crate) fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// Anything that no route answers. Runs behind [`crate::auth`] like the routes do.
pub(crate) fn not_found(request: &Request) -> Problem {
    Problem::not_found(format!("there is nothing at {}", request.uri().path()))
}
