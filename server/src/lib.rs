//! The damwall program: command line, configuration, HTTP, start and stop.
//!
//! Must not: hold SQL (that is `catalog`) or touch media (that is `media`).

mod access_log;
pub mod api;
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
mod front;
mod http;
pub mod ingest;
mod login;
mod memory;
pub mod page_cache;
mod rate_limit;
pub mod router;
mod secrets;
mod serve;
pub mod site;
mod state;
pub mod store_health;
pub mod thumbs;
mod zero_copy;

pub use front::{Front, FrontBody};
pub use state::{AppState, HttpSettings, ice_servers};
