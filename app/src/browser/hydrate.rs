//! The live wall in the browser: one timer, one poller and one set of page listeners and observers for
//! all tiles.
//!
//! Must not: decide when to connect (that is [`crate::state::player`]), or use a signal per frame.

mod dom;
mod frames;
mod job_events;
mod media;
mod peer;
mod publisher;
mod selection;
mod tile;
mod uploader;
mod view;
mod whep;
mod whip;

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};

use domain::{CameraId, CameraState, CameraStatus};
use leptos::{ev::KeyboardEvent, prelude::*};
use serde::Deserialize;
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement};

use self::{
    dom::{Interval, Listener},
    peer::IceServers,
    tile::{Tile, ViewChange},
    view::ViewObserver,
    whep::Sound,
};
pub use self::{
    job_events::JobEvents, media::MediaPlayer, publisher::Publisher, selection::Selection,
    uploader::Uploader,
};
use super::{KeyPlace, TileNodes, TileSignals};
use crate::{
    api::IceServer,
    state::{
        focus::{Arrow, Place, neighbour},
        player::{CameraSeen, Event},
    },
};

/// How often tiles look at the time and write their figures.
const TICK_MS: i32 = 250;
/// The receiver's counters are read every so many ticks.
const STATS_TICKS: u32 = 4;
/// The server's figures of a session are read every so many ticks, while they are shown.
const SERVER_STATS_TICKS: u32 = 8;
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
    ice_servers: IceServers,
    tiles: RefCell<Vec<Rc<Tile>>>,
    ticks: Cell<u32>,
    /// Tick at which the poll under way began.
    polling_since: Cell<Option<u32>>,
    /// Whether a tile wanted to know its camera's state at the last tick.
    was_waiting: Cell<bool>,
    solo: RefCell<Option<CameraId>>,
    /// Present while there is a tile.
    running: RefCell<Option<Running>>,
}

/// Dropping it ends the callbacks.
#[derive(Debug)]
struct Running {
    _tick: Interval,
    _listeners: [Listener; 4],
    views: ViewObserver,
}

impl Wall {
    /// A wall without tiles, which keeps `cameras` current while it needs to.
    pub fn new(cameras: RwSignal<Vec<CameraStatus>>, ice_servers: &[IceServer]) -> Self {
        Self(StoredValue::new_local(Rc::new(Inner {
            cameras,
            ice_servers: IceServers::new(ice_servers),
            tiles: RefCell::default(),
            ticks: Cell::new(0),
            polling_since: Cell::new(None),
            was_waiting: Cell::new(false),
            solo: RefCell::default(),
            running: RefCell::default(),
        })))
    }

    /// Plays `camera` in `nodes` until [`Wall::leave`].
    pub fn join(self, camera: CameraId, nodes: TileNodes, signals: TileSignals) {
        let Some(inner) = self.0.try_get_value() else { return };
        let Some(tile) = Tile::new(camera, inner.ice_servers.clone(), nodes, signals) else {
            return;
        };
        inner.run();
        inner.tiles.borrow_mut().push(Rc::clone(&tile));
        let is_solo = inner.solo.borrow().as_ref() == Some(tile.camera());
        let ratio = dom::window().device_pixel_ratio();
        let px = |css: i32| (f64::from(css) * ratio).ceil() as u32;
        let element = &tile.element;
        tile.on_view(ViewChange::Resized(px(element.client_width()), px(element.client_height())));
        tile.on_view(ViewChange::Large(is_solo));
        tile.on_view(ViewChange::PageShown(!dom::page_is_hidden()));
        tile.on_view(ViewChange::OnScreen(view::is_on_screen(element)));
        if let Some(running) = inner.running.borrow().as_ref() {
            running.views.observe(element);
        }
        inner.cameras.with_untracked(|cameras| tell_camera(&tile, cameras));
        tile.start();
    }

    /// Ends what [`Wall::join`] began.
    pub fn leave(self, camera: &CameraId) {
        let Some(inner) = self.0.try_get_value() else { return };
        let (gone, kept) = inner.tiles.take().into_iter().partition(|tile| tile.camera() == camera);
        inner.tiles.replace(kept);
        let gone: Vec<Rc<Tile>> = gone;
        for tile in gone {
            if let Some(running) = inner.running.borrow().as_ref() {
                running.views.unobserve(&tile.element);
            }
            tile.stop();
        }
        if inner.tiles.borrow().is_empty() {
            inner.running.take();
        }
    }

    /// Gives one camera the best picture there is, and the others what fits them.
    pub fn set_solo(self, camera: Option<CameraId>) {
        let Some(inner) = self.0.try_get_value() else { return };
        inner.solo.replace(camera);
        inner.tell_large();
    }

    /// Where a key was pressed.
    pub fn key_place(self, event: &KeyboardEvent) -> KeyPlace {
        if event.ctrl_key() || event.alt_key() || event.meta_key() || event.default_prevented() {
            return KeyPlace::Elsewhere;
        }
        let target = event.target().and_then(|target| target.dyn_into::<Element>().ok());
        let Some(target) = target else { return KeyPlace::Page };
        if target.matches("input, select, textarea, summary").unwrap_or(false) {
            return KeyPlace::Elsewhere;
        }
        match self.tile(|tile| tile.element.contains(Some(&target))) {
            Some(tile) if *tile.element == target => KeyPlace::Tile(tile.camera().clone()),
            Some(tile) => KeyPlace::WithinTile(tile.camera().clone()),
            None if target.matches("a, button").unwrap_or(false) => KeyPlace::Elsewhere,
            None => KeyPlace::Page,
        }
    }

    /// Goes to a tile.
    pub fn focus(self, camera: &CameraId) {
        if let Some(tile) = self.tile(|tile| tile.camera() == camera) {
            focus(&tile.element);
        }
    }

    /// Goes to the tile that way from the one the browser is at.
    pub fn focus_neighbour(self, arrow: Arrow) {
        let Some(inner) = self.0.try_get_value() else { return };
        let active = dom::document().active_element();
        // In the order of the page, which is not always the one they came in.
        let Ok(found) = dom::document().query_selector_all("[data-testid='camera-tile']") else {
            return;
        };
        let elements: Vec<HtmlElement> = (0..found.length())
            .filter_map(|index| found.item(index)?.dyn_into().ok())
            .filter(|element| inner.tiles().iter().any(|tile| tile.element == *element))
            .collect();
        let places: Vec<Place> = elements
            .iter()
            .map(|element| {
                let rect = element.get_bounding_client_rect();
                Place { x: rect.x() + rect.width() / 2.0, y: rect.y() + rect.height() / 2.0 }
            })
            .collect();
        let from = elements.iter().position(|element| element.contains(active.as_deref()));
        if let Some(index) = neighbour(&places, from, arrow) {
            focus(&elements[index]);
        }
    }

    /// Puts a tile on the whole screen, or back.
    pub fn toggle_fullscreen(self, camera: &CameraId) {
        let document = dom::document();
        if document.fullscreen_element().is_some() {
            document.exit_fullscreen();
        } else if let Some(tile) = self.tile(|tile| tile.camera() == camera) {
            // A browser that refuses leaves the tile as it was.
            let _ = tile.element.request_fullscreen();
        }
    }

    /// Shows or hides a tile's figures.
    pub fn toggle_hud(self, camera: &CameraId) {
        if let Some(tile) = self.tile(|tile| tile.camera() == camera) {
            tile.signals.hud_is_shown.try_update(|is_shown| *is_shown = !*is_shown);
            tile.read_stats();
            tile.show_figures();
        }
    }

    /// Lets a tile be heard, or not.
    pub fn toggle_sound(self, camera: &CameraId) {
        if let Some(tile) = self.tile(|tile| tile.camera() == camera)
            && tile.signals.has_sound.try_get_untracked() == Some(true)
        {
            tile.signals.sound_is_on.try_update(|is_on| *is_on = !*is_on);
        }
    }

    fn tile(self, is_wanted: impl Fn(&Tile) -> bool) -> Option<Rc<Tile>> {
        self.0.try_get_value()?.tiles().into_iter().find(|tile| is_wanted(tile))
    }
}

fn focus(element: &HtmlElement) {
    // Only an element that is not focusable would refuse.
    let _ = element.focus();
}

/// Goes back one page in the browser's history.
pub fn go_back() {
    if let Ok(history) = dom::window().history() {
        let _ = history.back();
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
        let on_wall = |act: fn(&Self)| {
            let wall = Rc::downgrade(self);
            move |_: web_sys::Event| {
                if let Some(wall) = wall.upgrade() {
                    act(&wall);
                }
            }
        };
        let wall = Rc::downgrade(self);
        let views = ViewObserver::new(move |element, change| {
            let tiles = wall.upgrade().map(|wall| wall.tiles()).unwrap_or_default();
            if let Some(tile) = tiles.iter().find(|tile| *tile.element == *element) {
                tile.on_view(change);
            }
        });
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
                on_wall(|wall| {
                    let is_shown = !dom::page_is_hidden();
                    for tile in wall.tiles() {
                        tile.on_view(ViewChange::PageShown(is_shown));
                    }
                }),
            ),
            Listener::new(&dom::document(), "fullscreenchange", on_wall(Self::tell_large)),
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
        self.running.replace(Some(Running { _tick: tick, _listeners: listeners, views }));
    }

    /// Tells tiles whether they are alone on the page, or on the whole screen.
    fn tell_large(&self) {
        let fullscreen = dom::document().fullscreen_element();
        for tile in self.tiles() {
            let is_solo = self.solo.borrow().as_ref() == Some(tile.camera());
            let is_full = fullscreen.as_ref().is_some_and(|element| *tile.element == *element);
            tile.on_view(ViewChange::Large(is_solo || is_full));
        }
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
            tile.ask();
            if ticks.is_multiple_of(STATS_TICKS) {
                tile.read_counters();
            }
            if ticks.is_multiple_of(SERVER_STATS_TICKS) {
                tile.read_stats();
            }
            tile.show_figures();
        }
        let waiting = self.tiles.borrow().iter().any(|tile| tile.wants_camera_state());
        // At once when a tile begins to wait: how soon a stall is mended hangs on it.
        let is_due = ticks.is_multiple_of(POLL_TICKS) || !self.was_waiting.get();
        self.was_waiting.set(waiting);
        if waiting && is_due && !dom::page_is_hidden() {
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
                        tell_camera(&tile, &cameras);
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

/// Tells a tile what is known of its camera.
fn tell_camera(tile: &Rc<Tile>, cameras: &[CameraStatus]) {
    let camera = cameras.iter().find(|camera| camera.id == *tile.camera());
    // A camera that is not connected may turn out to have sound.
    let may_have_sound =
        camera.is_none_or(|camera| camera.audio.is_some() || !camera.state.is_live());
    tile.want_sound(if may_have_sound { Sound::Wanted } else { Sound::No });
    tile.on_event(Event::Camera(match camera.map(|camera| &camera.state) {
        Some(CameraState::Live { .. }) => CameraSeen::Live,
        Some(CameraState::Connecting | CameraState::Lost { .. }) => CameraSeen::Down,
        // A viewer is what such a camera waits for.
        Some(CameraState::Idle) | None => CameraSeen::Unknown,
    }));
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
            match serde_json::from_slice::<Items>(text.as_bytes()) {
                Ok(Items { items }) => Listing::Cameras(items),
                Err(_) => Listing::Nothing,
            }
        }
        Ok(response) if response.status() == 401 => Listing::LoggedOut,
        Ok(_) | Err(_) => Listing::Nothing,
    }
}
