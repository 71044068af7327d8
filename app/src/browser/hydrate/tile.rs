//! One live tile: carries out what its player decides, and writes its figures to the page.
//!
//! Must not: use a signal per frame.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};

use domain::CameraId;
use leptos::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{HtmlElement, HtmlVideoElement};

use super::{
    dom,
    frames::FrameLoop,
    peer::{IceServers, Link},
    whep::{self, ControlError, Session, Sound},
};
use crate::{
    browser::{TileNodes, TileSignals},
    state::{
        asking::{Answer, Asking, LayerWish, SETTLE_MS},
        frames::FrameMeter,
        latency::{Arrival, LatencyMeter, Shown},
        player::{Action, Event, Player, Status},
        receiver::{Hud, HudLatency, ReceiverCounters, ReceiverRates, SessionStats},
    },
};

#[derive(Debug)]
pub(super) struct Tile {
    camera: CameraId,
    ice_servers: IceServers,
    pub(super) element: HtmlElement,
    video: HtmlVideoElement,
    hud: HtmlElement,
    pub(super) signals: TileSignals,
    player: RefCell<Player>,
    asking: RefCell<Asking>,
    view: Cell<View>,
    meter: RefCell<FrameMeter>,
    counters: Cell<Option<ReceiverCounters>>,
    rates: Cell<ReceiverRates>,
    stats: RefCell<SessionStats>,
    latency: RefCell<LatencyMeter>,
    /// The frame on the screen, where the browser tells which it is.
    shown: Cell<Option<Shown>>,
    sound: Cell<Sound>,
    session: RefCell<Option<Session>>,
    /// Of the latest offer; an answer to an earlier one is not wanted any more.
    attempt: Cell<u32>,
    frames: RefCell<Option<FrameLoop>>,
}

/// How the tile stands on the page.
#[derive(Clone, Copy, Debug, Default)]
struct View {
    /// Device pixels.
    size_px: (u32, u32),
    /// Alone on the page, or on the whole screen.
    is_large: bool,
    /// Within the window.
    on_screen: bool,
    /// The window can be seen.
    page_shown: bool,
}

/// How the tile stands on the page, changed in one way.
#[derive(Clone, Copy, Debug)]
pub(super) enum ViewChange {
    Resized(u32, u32),
    Large(bool),
    OnScreen(bool),
    PageShown(bool),
}

impl Tile {
    /// A tile that does nothing yet; `None` when its elements are not on the page.
    pub(super) fn new(
        camera: CameraId,
        ice_servers: IceServers,
        nodes: TileNodes,
        signals: TileSignals,
    ) -> Option<Rc<Self>> {
        let video: HtmlVideoElement = nodes.video.get_untracked()?;
        // The attribute does not mute a video that is made by script.
        video.set_muted(true);
        let tile = Rc::new(Self {
            camera,
            ice_servers,
            element: nodes.tile.get_untracked()?,
            video,
            hud: nodes.hud.get_untracked()?.into(),
            signals,
            player: RefCell::default(),
            asking: RefCell::default(),
            view: Cell::default(),
            meter: RefCell::default(),
            counters: Cell::default(),
            rates: Cell::default(),
            stats: RefCell::default(),
            latency: RefCell::default(),
            shown: Cell::default(),
            sound: Cell::new(Sound::No),
            session: RefCell::default(),
            attempt: Cell::new(0),
            frames: RefCell::default(),
        });
        let weak = Rc::downgrade(&tile);
        let frames = FrameLoop::new(&tile.video, move |now_ms, metadata| {
            if let Some(tile) = weak.upgrade() {
                // A count of frames, far below 2^53.
                tile.meter.borrow_mut().on_frame(now_ms, metadata.presented_frames() as u64);
                tile.shown.set(metadata.rtp_timestamp().map(|rtp_timestamp| Shown {
                    rtp_timestamp: rtp_timestamp as u32,
                    at_ms: metadata.expected_display_time(),
                }));
                tile.on_event(Event::Picture);
            }
        });
        tile.frames.replace(frames);
        Some(tile)
    }

    pub(super) fn camera(&self) -> &CameraId {
        &self.camera
    }

    /// Whether the camera's state would tell this tile something.
    pub(super) fn wants_camera_state(&self) -> bool {
        !matches!(self.player.borrow().status(), Status::Playing | Status::Idle)
    }

    /// Whether the next session is to bring sound.
    pub(super) fn want_sound(&self, sound: Sound) {
        self.sound.set(sound);
    }

    /// Begins to play, once it can be seen.
    pub(super) fn start(self: &Rc<Self>) {
        let View { on_screen, page_shown, .. } = self.view.get();
        if !(on_screen && page_shown) {
            self.on_event(Event::Hidden);
        }
        self.on_event(Event::Start);
    }

    /// Leaves the page.
    pub(super) fn stop(self: &Rc<Self>) {
        self.on_event(Event::Leave);
        self.frames.take();
        self.video.set_src_object(None);
    }

    pub(super) fn on_event(self: &Rc<Self>, event: Event) {
        let now_ms = now_ms();
        let (action, status) = {
            let mut player = self.player.borrow_mut();
            (player.on_event(now_ms, event), player.status())
        };
        if self.signals.status.try_get_untracked().is_some_and(|shown| shown != status) {
            self.signals.status.try_set(status);
        }
        match action {
            Action::None => {}
            Action::Connect => self.connect(),
            Action::Restart => self.restart(),
            Action::Disconnect => self.disconnect(),
            Action::LogIn => {
                self.disconnect();
                dom::go_to_login();
            }
        }
    }

    /// Takes in how the tile stands on the page; asks its session for what that needs.
    pub(super) fn on_view(self: &Rc<Self>, change: ViewChange) {
        let before = self.view.get();
        let mut view = before;
        match change {
            ViewChange::Resized(width, height) => view.size_px = (width, height),
            ViewChange::Large(is_large) => view.is_large = is_large,
            ViewChange::OnScreen(on_screen) => view.on_screen = on_screen,
            ViewChange::PageShown(page_shown) => view.page_shown = page_shown,
        }
        self.view.set(view);
        let wish = match (view.is_large, view.size_px) {
            (true, _) => LayerWish::Best,
            (false, (width_px, height_px)) => LayerWish::for_size(width_px, height_px),
        };
        self.asking.borrow_mut().wish(now_ms(), wish);
        let is_shown = view.on_screen && view.page_shown;
        if is_shown {
            self.asking.borrow_mut().show();
        } else {
            self.asking.borrow_mut().hide(now_ms());
        }
        if is_shown != (before.on_screen && before.page_shown) {
            self.meter.borrow_mut().excuse_next_gap();
            if is_shown && self.video.paused() {
                // Some browsers stop a video that nobody sees.
                self.play();
            }
            self.on_event(if is_shown { Event::Shown } else { Event::Hidden });
        }
        self.ask();
        // What has to settle first is asked for then.
        let weak = Rc::downgrade(self);
        let settle_ms = i32::try_from(SETTLE_MS).unwrap_or(i32::MAX);
        dom::after(settle_ms, move || {
            if let Some(tile) = weak.upgrade() {
                tile.ask();
            }
        });
    }

    /// Makes the request to the session that is due, if any.
    pub(super) fn ask(self: &Rc<Self>) {
        let Some(control) = self.session.borrow().as_ref().and_then(Session::control) else {
            return;
        };
        let Some(ask) = self.asking.borrow_mut().next(now_ms()) else { return };
        let attempt = self.attempt.get();
        let weak = Rc::downgrade(self);
        leptos::task::spawn_local(async move {
            let outcome = control.ask(ask).await;
            let Some(tile) = current(&weak, attempt) else { return };
            let answer = if outcome.is_ok() { Answer::Done } else { Answer::Failed };
            tile.asking.borrow_mut().answered(now_ms(), answer);
            match outcome {
                Err(ControlError::Gone) => tile.on_event(Event::SessionGone),
                Ok(()) | Err(ControlError::Failed) => tile.ask(),
            }
        });
    }

    fn connect(self: &Rc<Self>) {
        self.disconnect();
        let attempt = self.attempt.get();
        let (camera, sound) = (self.camera.clone(), self.sound.get());
        let servers = self.ice_servers.clone();
        let weak = Rc::downgrade(self);
        leptos::task::spawn_local(async move {
            let on_link: Rc<dyn Fn(Link)> = {
                let weak = weak.clone();
                Rc::new(move |link| {
                    if let Some(tile) = current(&weak, attempt) {
                        tile.on_event(match link {
                            Link::Up => Event::LinkUp,
                            Link::Lost => Event::LinkLost,
                        });
                    }
                })
            };
            let opened = Session::open(&camera, sound, &servers, on_link).await;
            // A session that nobody waits for any more is deleted by dropping it.
            let Some(tile) = current(&weak, attempt) else { return };
            match opened {
                Ok(session) => {
                    tile.show(&session);
                    tile.session.replace(Some(session));
                    tile.asking.borrow_mut().session_opened();
                    tile.on_event(Event::Answered);
                    // Before the first packet comes: it should be of the right layer.
                    tile.ask();
                }
                Err(refusal) => tile.on_event(Event::Refused(refusal)),
            }
        });
    }

    fn restart(self: &Rc<Self>) {
        let attempt = self.attempt.get();
        let weak = Rc::downgrade(self);
        let restart = self.session.borrow().as_ref().and_then(Session::restart);
        leptos::task::spawn_local(async move {
            let outcome = match restart {
                Some(restart) => restart.run().await.is_ok(),
                None => false,
            };
            if let (Some(tile), false) = (current(&weak, attempt), outcome) {
                tile.on_event(Event::RestartFailed);
            }
        });
    }

    fn show(&self, session: &Session) {
        let playing = session.playing();
        let has_sound = playing.as_ref().is_some_and(|playing| playing.has_sound);
        self.signals.has_sound.try_set(has_sound);
        self.video.set_src_object(playing.map(|playing| playing.stream).as_ref());
        self.play();
    }

    fn play(&self) {
        if let Ok(playing) = self.video.play() {
            leptos::task::spawn_local(async move {
                // Refused where not even muted video may start by itself; the tile then says that
                // no picture came.
                let _ = JsFuture::from(playing).await;
            });
        }
    }

    fn disconnect(&self) {
        self.attempt.set(self.attempt.get().wrapping_add(1));
        self.session.take();
        self.asking.borrow_mut().session_closed();
        self.counters.set(None);
        self.rates.set(ReceiverRates::default());
        self.stats.take();
        self.latency.take();
        self.shown.set(None);
    }

    /// Reads the receiver's counters, which also tell of pictures that are decoded unseen.
    pub(super) fn read_counters(self: &Rc<Self>) {
        let Some(rtc) = self.session.borrow().as_ref().map(Session::rtc) else { return };
        let attempt = self.attempt.get();
        let weak = Rc::downgrade(self);
        leptos::task::spawn_local(async move {
            let counters = whep::read_counters(&rtc, dom::now_ms()).await;
            let (Some(tile), Some(later)) = (current(&weak, attempt), counters) else { return };
            let Some(earlier) = tile.counters.replace(Some(later)) else { return };
            tile.rates.set(ReceiverRates::between(&earlier, &later));
            if later.frames_decoded > earlier.frames_decoded {
                if tile.frames.borrow().is_none() {
                    let mut meter = tile.meter.borrow_mut();
                    meter.excuse_next_gap();
                    meter.on_frame(later.at_ms, later.frames_decoded.unwrap_or_default() as u64);
                }
                tile.on_event(Event::Picture);
            }
        });
    }

    /// Asks the server for its figures of the session, while somebody reads them.
    pub(super) fn read_stats(self: &Rc<Self>) {
        if self.signals.hud_is_shown.try_get_untracked() != Some(true) {
            return;
        }
        let Some(control) = self.session.borrow().as_ref().and_then(Session::control) else {
            return;
        };
        let attempt = self.attempt.get();
        let weak = Rc::downgrade(self);
        leptos::task::spawn_local(async move {
            let answer = control.stats().await;
            let Some(tile) = current(&weak, attempt) else { return };
            match answer {
                Ok(answer) => {
                    let mut latency = tile.latency.borrow_mut();
                    if let Some(server_unix_ms) = answer.stats.server_unix_ms {
                        latency.on_clock(answer.sent_ms, answer.received_ms, server_unix_ms);
                    }
                    if let Some((rtp_timestamp, unix_ms)) = answer.stats.newest_frame {
                        latency.on_arrival(Arrival { rtp_timestamp, unix_ms });
                    }
                    tile.stats.replace(answer.stats);
                }
                Err(ControlError::Gone) => tile.on_event(Event::SessionGone),
                Err(ControlError::Failed) => {}
            }
        });
    }

    /// Writes the figures; called a few times a second.
    pub(super) fn show_figures(&self) {
        let (presented, fps) = {
            let mut meter = self.meter.borrow_mut();
            (meter.presented(), meter.fps(dom::now_ms()))
        };
        let set = |name, value: &str| {
            self.element.set_attribute(name, value).expect("these are attribute names");
        };
        set("data-presented-frames", &presented.to_string());
        set("data-fps", &format!("{fps:.1}"));
        if self.signals.hud_is_shown.try_get_untracked() == Some(true) {
            let hud = Hud {
                presented,
                missed: self.meter.borrow().missed(),
                fps,
                size_px: (self.video.video_width(), self.video.video_height()),
                rates: self.rates.get(),
                stats: self.stats.borrow().clone(),
                latency: self.hud_latency(),
            };
            self.hud.set_text_content(Some(&hud.text()));
        }
    }

    fn hud_latency(&self) -> HudLatency {
        match self.shown.get() {
            Some(shown) => match self.latency.borrow().latency(shown) {
                Some(latency) => HudLatency::RtpTime(latency),
                None => HudLatency::Unknown,
            },
            None if self.player.borrow().status() == Status::Playing => HudLatency::Unsupported,
            None => HudLatency::Unknown,
        }
    }
}

/// A whole number of milliseconds since the page began.
fn now_ms() -> u64 {
    dom::now_ms() as u64
}

/// The tile, if it is still there and still wants the outcome of this attempt.
fn current(tile: &Weak<Tile>, attempt: u32) -> Option<Rc<Tile>> {
    tile.upgrade().filter(|tile| tile.attempt.get() == attempt)
}
