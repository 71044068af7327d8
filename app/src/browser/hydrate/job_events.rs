//! What the server tells of its jobs, while a page that is looked at waits for some.
//!
//! Must not: keep the connection longer than that (a browser has six for all pages of a server), or know
//! what a page shows.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use domain::JobStatus;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::{EventSource, MessageEvent};

use super::dom::{self, Listener};

const URL: &str = "/api/jobs/events";
/// A stream that told nothing of concern for so long may be of a server that does other jobs than ours.
const SILENT_MS: f64 = 10_000.0;

/// The events of one page.
#[derive(Clone, Copy, Debug)]
pub struct JobEvents(StoredValue<Rc<Inner>, LocalStorage>);

struct Inner {
    on_job: Box<dyn Fn(Option<JobStatus>) -> bool>,
    /// What the page wants.
    is_wanted: Cell<bool>,
    /// Whether the server refused, or broke off: it is not asked again on this page.
    has_failed: Cell<bool>,
    heard_ms: Cell<Option<f64>>,
    stream: RefCell<Option<Stream>>,
    visibility: RefCell<Option<Listener>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("is_wanted", &self.is_wanted).finish_non_exhaustive()
    }
}

/// Dropping it ends the connection.
struct Stream {
    source: EventSource,
    _listeners: [Listener; 4],
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.source.close();
    }
}

impl JobEvents {
    /// Not listening yet. `on_job` gets what becomes of each job, or `None` when some was missed, and
    /// says whether that is of concern.
    pub fn new(on_job: impl Fn(Option<JobStatus>) -> bool + 'static) -> Self {
        Self(StoredValue::new_local(Rc::new(Inner {
            on_job: Box::new(on_job),
            is_wanted: Cell::new(false),
            has_failed: Cell::new(false),
            heard_ms: Cell::new(None),
            stream: RefCell::default(),
            visibility: RefCell::default(),
        })))
    }

    /// Listens while the page is looked at, until [`JobEvents::close`].
    pub fn listen(self) {
        let Some(inner) = self.0.try_get_value() else { return };
        if inner.is_wanted.replace(true) {
            return;
        }
        let weak = Rc::downgrade(&inner);
        let on_change = move |_| {
            if let Some(inner) = weak.upgrade() {
                inner.follow();
            }
        };
        let listener = Listener::new(&dom::document(), "visibilitychange", on_change);
        inner.visibility.replace(Some(listener));
        inner.follow();
    }

    /// Listens no longer.
    pub fn close(self) {
        let Some(inner) = self.0.try_get_value() else { return };
        inner.is_wanted.set(false);
        inner.visibility.take();
        inner.follow();
    }

    /// Whether the server has told something of concern a moment ago.
    pub fn is_speaking(self) -> bool {
        self.0.try_get_value().is_some_and(|inner| {
            inner.heard_ms.get().is_some_and(|heard| dom::now_ms() - heard < SILENT_MS)
        })
    }
}

impl Inner {
    /// Opens or ends the stream, as it should be now.
    fn follow(self: &Rc<Self>) {
        let should = self.is_wanted.get() && !self.has_failed.get() && !dom::page_is_hidden();
        if !should {
            self.heard_ms.set(None);
            self.stream.take();
        } else if self.stream.borrow().is_none() {
            let stream = self.open();
            self.stream.replace(stream);
        }
    }

    fn open(self: &Rc<Self>) -> Option<Stream> {
        let source = EventSource::new(URL).ok()?;
        let on = |event, callback: fn(&Rc<Self>, &web_sys::Event)| {
            let weak = Rc::downgrade(self);
            Listener::new(&source, event, move |event| {
                if let Some(inner) = weak.upgrade() {
                    callback(&inner, &event);
                }
            })
        };
        let listeners = [
            // Between the page's content and the stream's beginning something may have happened.
            on("open", |inner, _| inner.tell(None)),
            on("missed", |inner, _| inner.tell(None)),
            on("job", |inner, event| {
                let text =
                    event.dyn_ref::<MessageEvent>().and_then(|event| event.data().as_string());
                inner.tell(text.and_then(|text| serde_json::from_slice(text.as_bytes()).ok()));
            }),
            on("error", |inner, _| {
                inner.has_failed.set(true);
                // Not from within its own listener.
                let weak = Rc::downgrade(inner);
                dom::after(0, move || {
                    if let Some(inner) = weak.upgrade() {
                        inner.follow();
                    }
                });
            }),
        ];
        Some(Stream { source, _listeners: listeners })
    }

    fn tell(&self, job: Option<JobStatus>) {
        if (self.on_job)(job) {
            self.heard_ms.set(Some(dom::now_ms()));
        }
    }
}
