//! One part on its way to the blob store. Must not: try again.

use std::{cell::Cell, rc::Rc};

use wasm_bindgen::{JsCast, JsValue};
use web_sys::{File, ProgressEvent, XmlHttpRequest};

use super::super::dom::{self, Listener};
use crate::state::upload::Event;

/// A connection over which nothing goes for longer is given up.
const STALL_MS: f64 = 60_000.0;

/// A part that is being sent; stops when dropped. `XMLHttpRequest`, for `fetch` tells no progress.
#[derive(Debug)]
pub(super) struct Sending {
    request: XmlHttpRequest,
    listeners: Vec<Listener>,
    last_ms: Rc<Cell<f64>>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        // First: what is stopped has nothing to tell.
        self.listeners.clear();
        let _ = self.request.abort();
    }
}

impl Sending {
    /// Sends bytes `start..end` of a file as part `number`.
    ///
    /// # Errors
    /// The browser does not take the address.
    pub(super) fn start(
        file: &File,
        url: &str,
        number: u16,
        (start, end): (u64, u64),
        on_event: impl Fn(Event) + 'static,
    ) -> Result<Self, JsValue> {
        // Numbers of bytes are whole in an f64 up to 9 PB.
        let body = file.slice_with_f64_and_f64(start as f64, end as f64)?;
        let request = XmlHttpRequest::new()?;
        request.open_with_async("PUT", url, true)?;
        let last_ms = Rc::new(Cell::new(dom::now_ms()));
        let on_event = Rc::new(on_event);
        let progress = {
            let (on_event, last_ms) = (Rc::clone(&on_event), Rc::clone(&last_ms));
            move |event: web_sys::Event| {
                last_ms.set(dom::now_ms());
                let event: ProgressEvent = event.unchecked_into();
                on_event(Event::Sent(number, event.loaded() as u64));
            }
        };
        let answered = {
            let (on_event, request) = (Rc::clone(&on_event), request.clone());
            move |_: web_sys::Event| on_event(outcome(number, &request))
        };
        let lost = move |_: web_sys::Event| on_event(Event::PartLost(number));
        let upload = request.upload()?;
        let listeners = vec![
            Listener::new(&upload, "progress", progress),
            Listener::new(&request, "load", answered),
            Listener::new(&request, "error", lost.clone()),
            Listener::new(&request, "abort", lost),
        ];
        let sending = Self { request, listeners, last_ms };
        sending.request.send_with_opt_blob(Some(&body))?;
        Ok(sending)
    }

    pub(super) fn is_stalled(&self, now_ms: f64) -> bool {
        now_ms - self.last_ms.get() > STALL_MS
    }
}

fn outcome(number: u16, request: &XmlHttpRequest) -> Event {
    let etag = request.get_response_header("ETag").ok().flatten();
    match (request.status().unwrap_or(0), etag) {
        (200..=299, Some(etag)) => Event::Arrived(number, etag),
        // Without the header the bucket does not let pages read it: `damwall store cors`.
        (200..=299, None) => Event::Refused(
            "The blob store does not let this page read the ETag of a part. \
             See store.cors_origins in the configuration."
                .to_owned(),
        ),
        (status @ (400..=499 | 507), _) if !matches!(status, 408 | 429) => {
            Event::PartRefused(number, status)
        }
        _ => Event::PartLost(number),
    }
}
