//! Browser callbacks that end when they are dropped, and small calls. Must not: know the wall.

use std::fmt;

use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;
use web_sys::{EventTarget, RequestInit, Response};

use crate::address::login_href;

pub(super) fn window() -> web_sys::Window {
    web_sys::window().expect("pages run in a window")
}

pub(super) fn document() -> web_sys::Document {
    window().document().expect("a window that runs a page has a document")
}

pub(super) fn page_is_hidden() -> bool {
    document().visibility_state() == web_sys::VisibilityState::Hidden
}

pub(super) fn go_to_login() {
    let location = window().location();
    let (path, search) = (location.pathname(), location.search());
    let href = login_href(&path.unwrap_or_default(), &search.unwrap_or_default());
    // Leaving is all this is for; a page that is already going elsewhere may.
    let _ = location.assign(&href);
}

/// Milliseconds since the page began; never goes back.
pub(super) fn now_ms() -> f64 {
    window().performance().map_or(0.0, |performance| performance.now())
}

/// An event listener, removed when dropped.
pub(super) struct Listener {
    target: EventTarget,
    event: &'static str,
    callback: Closure<dyn FnMut(web_sys::Event)>,
}

impl Listener {
    pub(super) fn new(
        target: &EventTarget,
        event: &'static str,
        callback: impl FnMut(web_sys::Event) + 'static,
    ) -> Self {
        let callback = Closure::new(callback);
        target
            .add_event_listener_with_callback(event, callback.as_ref().unchecked_ref())
            .expect("any event target takes a listener");
        Self { target: target.clone(), event, callback }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let callback = self.callback.as_ref().unchecked_ref();
        let _ = self.target.remove_event_listener_with_callback(self.event, callback);
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("event", &self.event).finish_non_exhaustive()
    }
}

/// A repeating timer, ended when dropped.
pub(super) struct Interval {
    handle: i32,
    _callback: Closure<dyn FnMut()>,
}

impl Interval {
    pub(super) fn new(period_ms: i32, callback: impl FnMut() + 'static) -> Self {
        let callback = Closure::new(callback);
        let handle = window()
            .set_interval_with_callback_and_timeout_and_arguments_0(
                callback.as_ref().unchecked_ref(),
                period_ms,
            )
            .expect("a window has timers");
        Self { handle, _callback: callback }
    }
}

impl Drop for Interval {
    fn drop(&mut self) {
        window().clear_interval_with_handle(self.handle);
    }
}

impl fmt::Debug for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interval").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// Calls back once, after `delay_ms`.
pub(super) fn after(delay_ms: i32, callback: impl FnOnce() + 'static) {
    let callback = Closure::once_into_js(callback);
    window()
        .set_timeout_with_callback_and_timeout_and_arguments_0(callback.unchecked_ref(), delay_ms)
        .expect("a window has timers");
}

pub(super) fn request(method: &str) -> RequestInit {
    let init = RequestInit::new();
    init.set_method(method);
    init
}

/// A request with a body of this type.
///
/// # Errors
/// The browser does not take a header.
pub(super) fn request_with(
    method: &str,
    content_type: &str,
    body: &str,
) -> Result<RequestInit, JsValue> {
    let init = request(method);
    let headers = web_sys::Headers::new()?;
    headers.set("Content-Type", content_type)?;
    init.set_headers(&headers);
    init.set_body(&JsValue::from_str(body));
    Ok(init)
}

/// # Errors
/// No answer came.
pub(super) async fn fetch(url: &str, init: &RequestInit) -> Result<Response, JsValue> {
    JsFuture::from(window().fetch_with_str_and_init(url, init)).await?.dyn_into()
}

/// # Errors
/// The body broke off.
pub(super) async fn text(response: &Response) -> Result<String, JsValue> {
    let text = JsFuture::from(response.text()?).await?;
    Ok(text.as_string().unwrap_or_default())
}
