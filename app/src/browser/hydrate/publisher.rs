//! Captures a camera or a screen, shows it, and publishes it. Must not: decide when (that is
//! [`crate::state::publish`]).

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};

use domain::CameraId;
use js_sys::{JSON, Reflect};
use leptos::{html, prelude::*};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    HtmlElement, HtmlVideoElement, MediaDeviceInfo, MediaDeviceKind, MediaDevices, MediaStream,
    MediaStreamTrack,
};

use super::{
    dom::{self, Interval, Listener},
    peer::{IceServers, Link},
    whip::{self, OpenError, Publication, Sent},
};
use crate::{
    api::IceServer,
    browser::{Device, Devices},
    format,
    state::publish::{self, Action, Choice, Event, Layers, PublishError, PublishStatus, Source},
};

const TICK_MS: i32 = 1_000;

/// What one page captures and publishes.
#[derive(Clone, Copy, Debug)]
pub struct Publisher(StoredValue<Rc<Inner>, LocalStorage>);

#[derive(Debug)]
struct Inner {
    camera: CameraId,
    ice_servers: IceServers,
    status: RwSignal<PublishStatus>,
    devices: RwSignal<Devices>,
    preview: NodeRef<html::Video>,
    figures: NodeRef<html::Pre>,
    state: RefCell<publish::Publisher>,
    encodings: RefCell<String>,
    captured: RefCell<Option<Captured>>,
    publication: RefCell<Option<Publication>>,
    /// Of the latest capture or offer; the outcome of an earlier one is not wanted any more.
    attempt: Cell<u32>,
    last_sent: Cell<Option<(f64, Sent)>>,
    tick: RefCell<Option<Interval>>,
}

/// What is captured; let go of when dropped.
#[derive(Debug)]
struct Captured {
    stream: MediaStream,
    _on_end: Vec<Listener>,
}

impl Drop for Captured {
    fn drop(&mut self) {
        for track in tracks(&self.stream) {
            track.stop();
        }
    }
}

fn tracks(stream: &MediaStream) -> impl Iterator<Item = MediaStreamTrack> + use<> {
    stream.get_tracks().into_iter().map(JsCast::unchecked_into)
}

impl Publisher {
    /// Captures nothing yet.
    pub fn new(
        camera: CameraId,
        ice_servers: &[IceServer],
        status: RwSignal<PublishStatus>,
        devices: RwSignal<Devices>,
        preview: NodeRef<html::Video>,
        figures: NodeRef<html::Pre>,
    ) -> Self {
        let inner = Rc::new(Inner {
            camera,
            ice_servers: IceServers::new(ice_servers),
            status,
            devices,
            preview,
            figures,
            state: RefCell::default(),
            encodings: RefCell::default(),
            captured: RefCell::default(),
            publication: RefCell::default(),
            attempt: Cell::new(0),
            last_sent: Cell::default(),
            tick: RefCell::default(),
        });
        let weak = Rc::downgrade(&inner);
        let tick = Interval::new(TICK_MS, move || {
            if let Some(inner) = weak.upgrade() {
                inner.on_event(Event::Tick);
                inner.read_sent();
            }
        });
        inner.tick.replace(Some(tick));
        Self(StoredValue::new_local(inner))
    }

    /// Captures what was chosen, and shows it.
    pub fn open(self, choice: Choice) {
        if let Some(inner) = self.0.try_get_value() {
            inner.open(choice);
        }
    }

    /// Publishes what is captured.
    pub fn start(self, resolution: publish::Resolution, layers: Layers) {
        if let Some(inner) = self.0.try_get_value() {
            inner.encodings.replace(publish::encodings(resolution, layers));
            inner.on_event(Event::Start);
        }
    }

    /// Publishes no more; the preview stays.
    pub fn stop(self) {
        if let Some(inner) = self.0.try_get_value() {
            inner.on_event(Event::Stop);
        }
    }

    /// Lets go of the source.
    pub fn close(self) {
        if let Some(inner) = self.0.try_get_value() {
            inner.on_event(Event::Close);
        }
    }
}

impl Inner {
    fn on_event(self: &Rc<Self>, event: Event) {
        let (action, status) = {
            let mut state = self.state.borrow_mut();
            // A whole number of milliseconds since the page began.
            (state.on_event(dom::now_ms() as u64, event), state.status().clone())
        };
        if self.status.try_with_untracked(|shown| *shown != status) == Some(true) {
            self.status.try_set(status);
        }
        match action {
            Action::None => {}
            Action::Connect => self.connect(),
            Action::Disconnect => self.disconnect(),
            Action::Release => {
                self.disconnect();
                self.captured.take();
                self.show(None);
            }
        }
    }

    fn next_attempt(&self) -> u32 {
        let attempt = self.attempt.get().wrapping_add(1);
        self.attempt.set(attempt);
        attempt
    }

    fn show(&self, stream: Option<&MediaStream>) {
        let Some(preview) = self.preview.get_untracked() else { return };
        let preview: HtmlVideoElement = preview;
        // One's own voice is not for one's own ears.
        preview.set_muted(true);
        preview.set_src_object(stream);
    }

    fn open(self: &Rc<Self>, choice: Choice) {
        self.on_event(Event::Open);
        // Before the new one: a camera can be captured once.
        self.captured.take();
        let attempt = self.next_attempt();
        let weak = Rc::downgrade(self);
        leptos::task::spawn_local(async move {
            let captured = capture(&choice).await;
            // A stream that nobody waits for any more must not keep its camera busy.
            let captured = captured.map(|stream| Captured { stream, _on_end: Vec::new() });
            let Some(inner) = current(&weak, attempt) else { return };
            match captured {
                Ok(mut captured) => {
                    captured._on_end = tracks(&captured.stream)
                        .map(|track| {
                            let weak = weak.clone();
                            Listener::new(&track, "ended", move |_| {
                                if let Some(inner) = weak.upgrade() {
                                    inner.on_event(Event::SourceEnded);
                                }
                            })
                        })
                        .collect();
                    inner.show(Some(&captured.stream));
                    inner.captured.replace(Some(captured));
                    inner.on_event(Event::Opened);
                    // Devices have names once one of them may be used.
                    inner.devices.try_set(list_devices().await.unwrap_or_default());
                }
                Err(error) => inner.on_event(Event::NotOpened(error)),
            }
        });
    }

    fn connect(self: &Rc<Self>) {
        self.disconnect();
        let attempt = self.attempt.get();
        let weak = Rc::downgrade(self);
        let stream = self.captured.borrow().as_ref().map(|captured| captured.stream.clone());
        let Some(stream) = stream else { return };
        let (camera, encodings) = (self.camera.clone(), self.encodings.borrow().clone());
        let servers = self.ice_servers.clone();
        leptos::task::spawn_local(async move {
            let on_link: Rc<dyn Fn(Link)> = {
                let weak = weak.clone();
                Rc::new(move |link| {
                    if let Some(inner) = current(&weak, attempt) {
                        inner.on_event(match link {
                            Link::Up => Event::LinkUp,
                            Link::Lost => Event::LinkLost,
                        });
                    }
                })
            };
            let opened = Publication::open(&camera, &stream, &encodings, &servers, on_link).await;
            // A session that nobody waits for any more is deleted by dropping it.
            let Some(inner) = current(&weak, attempt) else { return };
            match opened {
                Ok(publication) => {
                    inner.publication.replace(Some(publication));
                }
                Err(OpenError::Away) => inner.on_event(Event::LinkLost),
                Err(OpenError::Refused(error)) => inner.on_event(Event::Refused(error)),
            }
        });
    }

    fn disconnect(&self) {
        self.next_attempt();
        self.publication.take();
        self.last_sent.set(None);
        self.write_figures("");
    }

    fn read_sent(self: &Rc<Self>) {
        let Some(rtc) = self.publication.borrow().as_ref().map(Publication::rtc) else { return };
        let attempt = self.attempt.get();
        let weak = Rc::downgrade(self);
        leptos::task::spawn_local(async move {
            let now_ms = dom::now_ms();
            let sent = whip::read_sent(&rtc).await;
            let (Some(inner), Some(sent)) = (current(&weak, attempt), sent) else { return };
            let before = inner.last_sent.replace(Some((now_ms, sent)));
            let kbps = before.map(|(at_ms, before)| {
                // Bits in a millisecond are kilobits in a second.
                ((sent.bytes - before.bytes).max(0.0) * 8.0 / (now_ms - at_ms).max(1.0)) as u32
            });
            let total = format::bytes(sent.bytes as u64);
            inner.write_figures(&format!(
                "{}×{}  {:.0} fps  {} layer{}\n{}  {total} sent",
                sent.size_px.0,
                sent.size_px.1,
                sent.fps,
                sent.layers,
                if sent.layers == 1 { "" } else { "s" },
                kbps.map_or_else(|| "–".to_owned(), format::bitrate),
            ));
        });
    }

    fn write_figures(&self, text: &str) {
        if let Some(figures) = self.figures.try_get_untracked().flatten() {
            let figures: HtmlElement = figures.into();
            figures.set_text_content(Some(text));
        }
    }
}

/// The page, if it is still there and still wants the outcome of this attempt.
fn current(inner: &Weak<Inner>, attempt: u32) -> Option<Rc<Inner>> {
    inner.upgrade().filter(|inner| inner.attempt.get() == attempt)
}

fn media_devices() -> Result<MediaDevices, PublishError> {
    let devices = dom::window().navigator().media_devices();
    // Absent where the page did not come securely.
    devices.ok().filter(|devices| !devices.is_undefined()).ok_or(PublishError::Unsupported)
}

async fn capture(choice: &Choice) -> Result<MediaStream, PublishError> {
    let thrown = |error: JsValue| {
        let field = |name: &str| {
            Reflect::get(&error, &name.into()).ok().and_then(|v| v.as_string()).unwrap_or_default()
        };
        PublishError::from_capture(&field("name"), &field("message"))
    };
    let devices = media_devices()?;
    let constraints = JSON::parse(&choice.constraints()).map_err(thrown)?;
    let promise = match choice.source {
        Source::Camera => devices.get_user_media_with_constraints(&constraints.unchecked_into()),
        Source::Screen => {
            let name = JsValue::from_str("getDisplayMedia");
            if Reflect::has(&devices, &name) != Ok(true) {
                return Err(PublishError::Unsupported);
            }
            devices.get_display_media_with_constraints(&constraints.unchecked_into())
        }
    };
    let stream = JsFuture::from(promise.map_err(thrown)?).await.map_err(thrown)?;
    Ok(stream.unchecked_into())
}

async fn list_devices() -> Option<Devices> {
    let list = JsFuture::from(media_devices().ok()?.enumerate_devices().ok()?).await.ok()?;
    let mut devices = Devices::default();
    for device in js_sys::Array::from(&list) {
        let device: MediaDeviceInfo = device.unchecked_into();
        let found = Device { id: device.device_id(), label: device.label() };
        match device.kind() {
            MediaDeviceKind::Videoinput => devices.cameras.push(found),
            MediaDeviceKind::Audioinput => devices.microphones.push(found),
            _ => {}
        }
    }
    Some(devices)
}
