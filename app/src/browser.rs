//! What pages ask of the browser: one interface, real in the browser and empty on the server.
//!
//! Must not: decide anything about playing (that is [`crate::state`]).

#[cfg(feature = "hydrate")]
mod hydrate;
#[cfg(feature = "hydrate")]
pub use hydrate::{Wall, toggle_fullscreen};

#[cfg(not(feature = "hydrate"))]
mod stub;
#[cfg(not(feature = "hydrate"))]
pub use stub::{Wall, toggle_fullscreen};

use leptos::{html, prelude::NodeRef};

/// The elements of one live tile.
#[derive(Clone, Copy, Debug)]
pub struct TileNodes {
    /// The tile: carries the `data-` attributes, and goes full screen.
    pub tile: NodeRef<html::Article>,
    /// Plays.
    pub video: NodeRef<html::Video>,
    /// Gets the figures as text.
    pub hud: NodeRef<html::Pre>,
}
