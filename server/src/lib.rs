//! The damwall program: command line, configuration, HTTP, start and stop.
//!
//! Must not: hold SQL (that is `catalog`) or touch media (that is `media`).

mod access_log;
mod api;
pub mod auth;
mod blob;
mod cache_policy;
pub mod cameras;
pub mod cli;
pub mod client_addr;
pub mod config;
pub mod cors;
mod error;
pub mod events;
mod http;
mod login;
pub mod router;
mod secrets;
mod serve;
pub mod site;
mod state;
mod thumbs;

pub use state::{AppState, HttpSettings};
