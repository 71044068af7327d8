//! The server's side of `hydrate`: nothing happens.

use domain::{CameraId, CameraStatus};
use leptos::prelude::{NodeRef, RwSignal};

use super::TileNodes;
use crate::state::player::Status;

/// The players of a page.
#[derive(Clone, Copy, Debug)]
pub struct Wall;

impl Wall {
    /// A wall without tiles, which keeps `cameras` current while it needs to.
    pub fn new(_cameras: RwSignal<Vec<CameraStatus>>) -> Self {
        Self
    }

    /// Plays `camera` in `nodes` until [`Wall::leave`].
    pub fn join(self, _camera: CameraId, _nodes: TileNodes, _status: RwSignal<Status>) {}

    /// Ends what [`Wall::join`] began.
    pub fn leave(self, _camera: &CameraId) {}
}

/// Puts an element on the whole screen, or back.
pub fn toggle_fullscreen(_element: NodeRef<leptos::html::Article>) {}
