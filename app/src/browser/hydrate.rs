//! The live wall in the browser: one timer, one poller and one set of page listeners for all tiles.
//!
//! Must not: decide when to connect (that is [`crate::state::player`]), or use a signal per frame.

mod dom;
mod frames;
mod tile;
mod whep;

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};

use domain::{CameraId, CameraState, CameraStatus};
use leptos::prelude::*;
use serde::Deserialize;
use wasm_bindgen::JsCast;

use self::{
    dom::{Interval, Listener},
    tile::Tile,
};
use super::TileNodes;
use crate::state::player::{CameraSeen, Event, Status};

/// How often tiles look at the time and write their figures.
const TICK_MS: i32 = 250;
/// The receiver's counters are read every so many ticks.
const STATS_TICKS: u32 = 4;
/// Cameras are polled every so many ticks, while a tile is not playing.
const POLL_TICKS: u32 = 8;
/// A poll that takes longer is not waited for.
const POLL_STALE_TICKS: u32 = 40;

/// The players of a page.
#[derive(Clone, Copy, Debug)]
pub struct Wall(StoredValue<Rc<Inner>, LocalStorage>);

#[derive(Debug)]
struct Inner {
    cameras: RwSignal<Vec<CameraStatus>>,
    tiles: RefCell<Vec<Rc<Tile>>>,
    ticks: Cell<u32>,
    /// Tick at which the poll under way began.
    polling_since: Cell<Option<u32>>,
    /// Present while there is a tile.
    running: RefCell<Option<Running>>,
}

/// Dropping it ends the callbacks.
#[derive(Debug)]
struct Running {
    _tick: Interval,
    _listeners: [Listener; 3],
}

impl Wall {
    /// A wall without tiles, which keeps `cameras` current while it needs to.
    pub fn new(cameras: RwSignal<Vec<CameraStatus>>) -> Self {
        Self(StoredValue::new_local(Rc::new(Inner {
            cameras,
            tiles: RefCell::default(),
            ticks: Cell::new(0),
            polling_since: Cell::new(None),
            running: RefCell::default(),
        })))
    }

    /// Plays `camera` in `nodes` until [`Wall::leave`].
    pub fn join(self, camera: CameraId, nodes: TileNodes, status: RwSignal<Status>) {
        let (Some(inner), Some(tile)) = (self.0.try_get_value(), Tile::new(camera, nodes, status))
        else {
            return;
        };
        inner.run();
        inner.tiles.borrow_mut().push(Rc::clone(&tile));
        if dom::page_is_hidden() {
            tile.on_event(Event::Hidden);
        }
        let seen = inner.cameras.with_untracked(|cameras| seen(cameras, tile.camera()));
        tile.on_event(Event::Camera(seen));
        tile.on_event(Event::Start);
    }

    /// Ends what [`Wall::join`] began.
    pub fn leave(self, camera: &CameraId) {
        let Some(inner) = self.0.try_get_value() else { return };
        let (gone, kept) = inner.tiles.take().into_iter().partition(|tile| tile.camera() == camera);
        inner.tiles.replace(kept);
        let gone: Vec<Rc<Tile>> = gone;
        for tile in gone {
            tile.stop();
        }
        if inner.tiles.borrow().is_empty() {
            inner.running.take();
        }
    }
}

impl Inner {
    fn run(self: &Rc<Self>) {
        if self.running.borrow().is_some() {
            return;
        }
        let on_all = |event: fn(&web_sys::Event) -> Option<Event>| {
            let wall = Rc::downgrade(self);
            move |browser_event: web_sys::Event| {
                if let (Some(wall), Some(event)) = (wall.upgrade(), event(&browser_event)) {
                    wall.all(event);
                }
            }
        };
        let wall = Rc::downgrade(self);
        let tick = Interval::new(TICK_MS, move || {
            if let Some(wall) = wall.upgrade() {
                wall.tick();
            }
        });
        let window = dom::window();
        let listeners = [
            Listener::new(
                &dom::document(),
                "visibilitychange",
                on_all(|_| {
                    Some(if dom::page_is_hidden() { Event::Hidden } else { Event::Visible })
                }),
            ),
            Listener::new(&window, "pagehide", on_all(|_| Some(Event::Leave))),
            Listener::new(
                &window,
                "pageshow",
                on_all(|event| {
                    // The first `pageshow` of a page is not a return to it.
                    let from_history = event
                        .dyn_ref::<web_sys::PageTransitionEvent>()
                        .is_some_and(|e| e.persisted());
                    from_history.then_some(Event::Start)
                }),
            ),
        ];
        self.running.replace(Some(Running { _tick: tick, _listeners: listeners }));
    }

    /// Tiles at this moment; a callback may add or remove one.
    fn tiles(&self) -> Vec<Rc<Tile>> {
        self.tiles.borrow().clone()
    }

    fn all(&self, event: Event) {
        for tile in self.tiles() {
            tile.on_event(event);
        }
    }

    fn tick(self: &Rc<Self>) {
        let ticks = self.ticks.get().wrapping_add(1);
        self.ticks.set(ticks);
        for tile in self.tiles() {
            tile.on_event(Event::Tick);
            if ticks.is_multiple_of(STATS_TICKS) {
                tile.read_counters();
            }
            tile.show_figures();
        }
        let waiting = self.tiles.borrow().iter().any(|tile| tile.wants_camera_state());
        if waiting && ticks.is_multiple_of(POLL_TICKS) && !dom::page_is_hidden() {
            self.poll(ticks);
        }
    }

    fn poll(self: &Rc<Self>, ticks: u32) {
        let fresh = |since: u32| ticks.wrapping_sub(since) < POLL_STALE_TICKS;
        if self.polling_since.get().is_some_and(fresh) {
            return;
        }
        self.polling_since.set(Some(ticks));
        let wall: Weak<Self> = Rc::downgrade(self);
        leptos::task::spawn_local(async move {
            let listing = fetch_cameras().await;
            let Some(wall) = wall.upgrade() else { return };
            if wall.polling_since.get() != Some(ticks) {
                return;
            }
            wall.polling_since.set(None);
            match listing {
                Listing::Cameras(cameras) => {
                    for tile in wall.tiles() {
                        tile.on_event(Event::Camera(seen(&cameras, tile.camera())));
                    }
                    // Last: it may remove tiles, or add some.
                    if wall.cameras.try_with_untracked(|old| *old != cameras) == Some(true) {
                        wall.cameras.try_set(cameras);
                    }
                }
                Listing::LoggedOut => dom::go_to_login(),
                Listing::Nothing => wall.all(Event::Camera(CameraSeen::Unknown)),
            }
        });
    }
}

fn seen(cameras: &[CameraStatus], id: &CameraId) -> CameraSeen {
    match cameras.iter().find(|camera| camera.id == *id).map(|camera| &camera.state) {
        Some(CameraState::Live { .. }) => CameraSeen::Live,
        Some(CameraState::Connecting | CameraState::Lost { .. }) => CameraSeen::Down,
        // A viewer is what such a camera waits for.
        Some(CameraState::Idle) | None => CameraSeen::Unknown,
    }
}

enum Listing {
    Cameras(Vec<CameraStatus>),
    LoggedOut,
    Nothing,
}

async fn fetch_cameras() -> Listing {
    #[derive(Deserialize)]
    struct Items {
        items: Vec<CameraStatus>,
    }
    match dom::fetch("/api/cameras", &dom::request("GET")).await {
        Ok(response) if response.ok() => {
            let text = dom::text(&response).await.unwrap_or_default();
            match serde_json::from_str::<Items>(&text) {
                Ok(Items { items }) => Listing::Cameras(items),
                Err(_) => Listing::Nothing,
            }
        }
        Ok(response) if response.status() == 401 => Listing::LoggedOut,
        Ok(_) | Err(_) => Listing::Nothing,
    }
}

/// Puts an element on the whole screen, or back.
pub fn toggle_fullscreen(element: NodeRef<leptos::html::Article>) {
    let document = dom::document();
    if document.fullscreen_element().is_some() {
        document.exit_fullscreen();
    } else if let Some(element) = element.get_untracked() {
        // A browser that refuses leaves the tile as it was.
        let _ = element.request_fullscreen();
    }
}
