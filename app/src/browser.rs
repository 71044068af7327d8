//! What pages ask of the browser: one interface, real in the browser and empty on the server.
//!
//! Must not: decide anything about playing (that is [`crate::state`]).

#[cfg(feature = "hydrate")]
mod hydrate;
#[cfg(feature = "hydrate")]
pub use hydrate::{JobEvents, MediaPlayer, Publisher, Selection, Uploader, Wall, go_back};

#[cfg(not(feature = "hydrate"))]
mod stub;
#[cfg(not(feature = "hydrate"))]
pub use stub::{JobEvents, MediaPlayer, Publisher, Selection, Uploader, Wall, go_back};

use domain::{AssetId, CameraId};
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

/// A file of the upload page.
#[derive(Clone, Debug)]
pub struct Row {
    /// Names it on this page.
    pub key: u32,
    /// File name.
    pub name: String,
    /// Folder it goes to.
    pub folder: String,
    /// Length in bytes.
    pub size_bytes: String,
    /// How far it is.
    pub seen: RwSignal<Seen>,
}

/// How far a file is, as the page shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// One word.
    pub state: &'static str,
    /// A sentence.
    pub text: String,
    /// Bytes read or sent.
    pub done_bytes: f64,
    /// What has become of it.
    pub asset: Option<AssetId>,
}

impl Row {
    /// A file that nothing was done for yet.
    #[cfg_attr(
        not(any(feature = "hydrate", test)),
        expect(dead_code, reason = "no files are chosen on a server")
    )]
    pub fn new(name: String, folder: String, size_bytes: u64) -> Self {
        let seen = RwSignal::new(Seen { state: "waiting", ..Seen::default() });
        Self { key: 0, name, folder, size_bytes: size_bytes.to_string(), seen }
    }
}

/// What an asset's player plays and shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlayerParts {
    /// Addresses that lead to signed links, the best first; the first is in the page already.
    pub sources: Vec<String>,
    /// The storyboard's picture and its WebVTT.
    pub storyboard: Option<(String, String)>,
    /// The waveform.
    pub waveform: Option<String>,
}
