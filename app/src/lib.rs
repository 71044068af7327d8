//! Damwall's pages, rendered on the server and hydrated in the browser.
//!
//! Must not: use `cfg` outside `api/`, `ssr.rs` and `browser/`, or know the live plane (players
//! speak WHEP like any other viewer).

mod address;
mod api;
mod app;
mod browser;
mod components;
pub mod format;
mod pages;
mod refresh;
#[cfg(feature = "ssr")]
pub mod ssr;
pub mod state;

pub use app::{App, shell};
pub use pages::load_part_of;
