//! The server's side of `hydrate`: nothing happens.

use domain::{CameraId, CameraStatus, JobStatus, Upload, UploadId};
use leptos::{
    ev::{DragEvent, KeyboardEvent, MouseEvent},
    html,
    prelude::{NodeRef, RwSignal},
};

use super::{Devices, KeyPlace, PlayerParts, Row, TileNodes, TileSignals};
use crate::{
    api::IceServer,
    state::{
        focus::Arrow,
        publish::{Choice, Layers, PublishStatus, Resolution},
        sources::Trouble,
    },
};

/// The players of a page.
#[derive(Clone, Copy, Debug)]
pub struct Wall;

impl Wall {
    /// A wall without tiles, which keeps `cameras` current while it needs to.
    pub fn new(_cameras: RwSignal<Vec<CameraStatus>>, _ice_servers: &[IceServer]) -> Self {
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
        _ice_servers: &[IceServer],
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

/// The files of one page.
#[derive(Clone, Copy, Debug)]
pub struct Uploader;

impl Uploader {
    /// No files yet; looks for uploads that were left unfinished.
    pub fn new(_rows: RwSignal<Vec<Row>>, _unfinished: RwSignal<Vec<Upload>>) -> Self {
        Self
    }

    /// Takes what was chosen in a file field, and empties it.
    pub fn take_chosen(self, _input: NodeRef<html::Input>, _folder: NodeRef<html::Input>) {}

    /// Takes what was dropped.
    pub fn take_dropped(self, _event: &DragEvent, _folder: NodeRef<html::Input>) {}

    /// Lets a file rest.
    pub fn pause(self, _key: u32) {}

    /// Goes on with it, or tries it again.
    pub fn resume(self, _key: u32) {}

    /// Ends an upload, removes what was sent, and takes its file off the page.
    pub fn remove(self, _key: u32) {}

    /// Ends an upload that was left unfinished.
    pub fn abort_unfinished(self, _id: UploadId) {}

    /// Sends nothing more; what has arrived stays for the next time.
    pub fn close(self) {}
}

/// Which assets of a list are ticked.
#[derive(Clone, Copy, Debug)]
pub struct Selection;

impl Selection {
    /// None.
    pub fn new() -> Self {
        Self
    }

    /// Ticks what lies between two clicks, when Shift was held.
    pub fn extend(self, _event: &MouseEvent) {}

    /// Ticks all of them.
    pub fn all(self, _event: &MouseEvent) {}

    /// Whether something is ticked.
    pub fn is_begun(self) -> bool {
        false
    }
}

/// What the server tells of its jobs.
#[derive(Clone, Copy, Debug)]
pub struct JobEvents;

impl JobEvents {
    /// Nothing is told.
    pub fn new(_on_job: impl Fn(Option<JobStatus>) -> bool + 'static) -> Self {
        Self
    }

    /// Listens while the page is looked at, until [`JobEvents::close`].
    pub fn listen(self) {}

    /// Listens no longer.
    pub fn close(self) {}

    /// Whether the server has told something of concern a moment ago.
    pub fn is_speaking(self) -> bool {
        false
    }
}

/// The player of one asset.
#[derive(Clone, Copy, Debug)]
pub struct MediaPlayer;

impl MediaPlayer {
    /// Watches over the player in `stage`; tells its `trouble` while nothing plays.
    pub fn new(
        _stage: NodeRef<html::Div>,
        _parts: PlayerParts,
        _trouble: RwSignal<Option<Trouble>>,
    ) -> Self {
        Self
    }

    /// Ends that.
    pub fn close(self) {}
}
