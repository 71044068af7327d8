//! The server's side of `hydrate`: nothing happens.

use domain::{CameraId, CameraStatus};
use leptos::{
    ev::KeyboardEvent,
    html,
    prelude::{NodeRef, RwSignal},
};

use super::{Devices, KeyPlace, TileNodes, TileSignals};
use crate::state::{
    focus::Arrow,
    publish::{Choice, Layers, PublishStatus, Resolution},
};

/// The players of a page.
#[derive(Clone, Copy, Debug)]
pub struct Wall;

impl Wall {
    /// A wall without tiles, which keeps `cameras` current while it needs to.
    pub fn new(_cameras: RwSignal<Vec<CameraStatus>>) -> Self {
        Self
    }

    /// Plays `camera` in `nodes` until [`Wall::leave`].
    pub fn join(self, _camera: CameraId, _nodes: TileNodes, _signals: TileSignals) {}

    /// Ends what [`Wall::join`] began.
    pub fn leave(self, _camera: &CameraId) {}

    /// Gives one camera the best picture there is, and the others what fits them.
    pub fn set_solo(self, _camera: Option<CameraId>) {}

    /// Where a key was pressed.
    pub fn key_place(self, _event: &KeyboardEvent) -> KeyPlace {
        KeyPlace::Elsewhere
    }

    /// Goes to a tile.
    pub fn focus(self, _camera: &CameraId) {}

    /// Goes to the tile that way from the one the browser is at.
    pub fn focus_neighbour(self, _arrow: Arrow) {}

    /// Puts a tile on the whole screen, or back.
    pub fn toggle_fullscreen(self, _camera: &CameraId) {}

    /// Shows or hides a tile's figures.
    pub fn toggle_hud(self, _camera: &CameraId) {}

    /// Lets a tile be heard, or not.
    pub fn toggle_sound(self, _camera: &CameraId) {}
}

/// Goes back one page in the browser's history.
pub fn go_back() {}

/// What one page captures and publishes.
#[derive(Clone, Copy, Debug)]
pub struct Publisher;

impl Publisher {
    /// Captures nothing yet.
    pub fn new(
        _camera: CameraId,
        _status: RwSignal<PublishStatus>,
        _devices: RwSignal<Devices>,
        _preview: NodeRef<html::Video>,
        _figures: NodeRef<html::Pre>,
    ) -> Self {
        Self
    }

    /// Captures what was chosen, and shows it.
    pub fn open(self, _choice: Choice) {}

    /// Publishes what is captured.
    pub fn start(self, _resolution: Resolution, _layers: Layers) {}

    /// Publishes no more; the preview stays.
    pub fn stop(self) {}

    /// Lets go of the source.
    pub fn close(self) {}
}
