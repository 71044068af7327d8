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
    whep::{self, Link, Session},
};
use crate::{
    browser::TileNodes,
    state::{
        frames::FrameMeter,
        player::{Action, Event, Player, Status},
        receiver::{Hud, ReceiverCounters, ReceiverRates},
    },
};

#[derive(Debug)]
pub(super) struct Tile {
    camera: CameraId,
    element: HtmlElement,
    video: HtmlVideoElement,
    hud: HtmlElement,
    status: RwSignal<Status>,
    player: RefCell<Player>,
    meter: RefCell<FrameMeter>,
    counters: Cell<Option<ReceiverCounters>>,
    rates: Cell<ReceiverRates>,
    session: RefCell<Option<Session>>,
    /// Of the latest offer; an answer to an earlier one is not wanted any more.
    attempt: Cell<u32>,
    frames: RefCell<Option<FrameLoop>>,
}

impl Tile {
    /// A tile that does nothing yet; `None` when its elements are not on the page.
    pub(super) fn new(
        camera: CameraId,
        nodes: TileNodes,
        status: RwSignal<Status>,
    ) -> Option<Rc<Self>> {
        let video = nodes.video.get_untracked()?;
        // The attribute alone does not mute a video that is made by script.
        video.set_muted(true);
        let tile = Rc::new(Self {
            camera,
            element: nodes.tile.get_untracked()?,
            video,
            hud: nodes.hud.get_untracked()?.into(),
            status,
            player: RefCell::default(),
            meter: RefCell::default(),
            counters: Cell::default(),
            rates: Cell::default(),
            session: RefCell::default(),
            attempt: Cell::new(0),
            frames: RefCell::default(),
        });
        let weak = Rc::downgrade(&tile);
        let frames = FrameLoop::new(&tile.video, move |now_ms, metadata| {
            if let Some(tile) = weak.upgrade() {
                // A count of frames, far below 2^53.
                tile.meter.borrow_mut().on_frame(now_ms, metadata.presented_frames() as u64);
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

    /// Leaves the page.
    pub(super) fn stop(self: &Rc<Self>) {
        self.on_event(Event::Leave);
        self.frames.take();
        self.video.set_src_object(None);
    }

    pub(super) fn on_event(self: &Rc<Self>, event: Event) {
        if event == Event::Visible {
            self.meter.borrow_mut().excuse_next_gap();
        }
        // A whole number of milliseconds since the page began.
        let now_ms = dom::now_ms() as u64;
        let (action, status) = {
            let mut player = self.player.borrow_mut();
            (player.on_event(now_ms, event), player.status())
        };
        if self.status.try_get_untracked().is_some_and(|shown| shown != status) {
            self.status.try_set(status);
        }
        match action {
            Action::None => {}
            Action::Connect => self.connect(),
            Action::Disconnect => self.disconnect(),
            Action::LogIn => {
                self.disconnect();
                dom::go_to_login();
            }
        }
    }

    fn connect(self: &Rc<Self>) {
        self.disconnect();
        let attempt = self.attempt.get();
        let camera = self.camera.clone();
        let weak = Rc::downgrade(self);
        leptos::task::spawn_local(async move {
            let on_link = {
                let weak = weak.clone();
                move |link| {
                    if let Some(tile) = current(&weak, attempt) {
                        tile.on_event(match link {
                            Link::Up => Event::LinkUp,
                            Link::Lost => Event::LinkLost,
                        });
                    }
                }
            };
            let opened = Session::open(&camera, on_link).await;
            // A session that nobody waits for any more is deleted by dropping it.
            let Some(tile) = current(&weak, attempt) else { return };
            match opened {
                Ok(session) => {
                    tile.show(&session);
                    tile.session.replace(Some(session));
                    tile.on_event(Event::Answered);
                }
                Err(refusal) => tile.on_event(Event::Refused(refusal)),
            }
        });
    }

    fn show(&self, session: &Session) {
        self.video.set_src_object(session.stream().as_ref());
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
        self.counters.set(None);
        self.rates.set(ReceiverRates::default());
    }

    /// Reads the receiver's counters, which also tell of pictures that are decoded unseen.
    pub(super) fn read_counters(self: &Rc<Self>) {
        let Some(peer) = self.session.borrow().as_ref().map(Session::peer) else { return };
        let attempt = self.attempt.get();
        let weak = Rc::downgrade(self);
        leptos::task::spawn_local(async move {
            let counters = whep::read_counters(&peer, dom::now_ms()).await;
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

    /// Writes the figures; called a few times a second.
    pub(super) fn show_figures(&self) {
        let hud = {
            let mut meter = self.meter.borrow_mut();
            Hud {
                presented: meter.presented(),
                missed: meter.missed(),
                fps: meter.fps(dom::now_ms()),
                size_px: (self.video.video_width(), self.video.video_height()),
                rates: self.rates.get(),
            }
        };
        let set = |name, value: &str| {
            self.element.set_attribute(name, value).expect("these are attribute names");
        };
        set("data-presented-frames", &hud.presented.to_string());
        set("data-fps", &format!("{:.1}", hud.fps));
        self.hud.set_text_content(Some(&hud.text()));
    }
}

/// The tile, if it is still there and still wants the outcome of this attempt.
fn current(tile: &Weak<Tile>, attempt: u32) -> Option<Rc<Tile>> {
    tile.upgrade().filter(|tile| tile.attempt.get() == attempt)
}
