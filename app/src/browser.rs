//! What pages ask of the browser: one interface, real in the browser and empty on the server.
//!
//! Must not: decide anything about playing (that is [`crate::state`]).

#[cfg(feature = "hydrate")]
mod hydrate;
#[cfg(feature = "hydrate")]
pub use hydrate::{Publisher, Wall, go_back};

#[cfg(not(feature = "hydrate"))]
mod stub;
#[cfg(not(feature = "hydrate"))]
pub use stub::{Publisher, Wall, go_back};

use domain::CameraId;
use leptos::{
    html,
    prelude::{NodeRef, RwSignal},
};

use crate::state::player::Status;

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

/// What a tile and its player tell each other.
#[derive(Clone, Copy, Debug)]
pub struct TileSignals {
    /// What the player does.
    pub status: RwSignal<Status>,
    /// Whether somebody reads the figures.
    pub hud_is_shown: RwSignal<bool>,
    /// Whether the session brings sound.
    pub has_sound: RwSignal<bool>,
    /// Whether it is to be heard.
    pub sound_is_on: RwSignal<bool>,
}

impl TileSignals {
    /// As the server renders a tile.
    pub fn new() -> Self {
        Self {
            status: RwSignal::new(Status::Idle),
            hud_is_shown: RwSignal::new(false),
            has_sound: RwSignal::new(false),
            sound_is_on: RwSignal::new(false),
        }
    }
}

/// Where on the page a key was pressed.
#[cfg_attr(not(feature = "hydrate"), expect(dead_code, reason = "no keys are pressed on a server"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// On a tile itself.
    Tile(CameraId),
    /// On a button or a link of a tile.
    WithinTile(CameraId),
    /// Somewhere without a use for keys.
    Page,
    /// In a field, or with a modifier: not ours.
    Elsewhere,
}

/// A camera or a microphone of this computer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// As the browser names it.
    pub id: String,
    /// As people do.
    pub label: String,
}

/// What this computer has; empty before the browser may tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// Cameras.
    pub cameras: Vec<Device>,
    /// Microphones.
    pub microphones: Vec<Device>,
}
