//! `requestVideoFrameCallback`, which web-sys lacks. Must not: count.
//!
//! Source: <https://wicg.github.io/video-rvfc/>

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::{Rc, Weak},
};

use wasm_bindgen::{JsCast, JsValue, closure::Closure, prelude::wasm_bindgen};
use web_sys::HtmlVideoElement;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(extends = HtmlVideoElement)]
    type VideoElement;

    #[wasm_bindgen(method, structural, js_name = requestVideoFrameCallback)]
    fn request_video_frame_callback(this: &VideoElement, callback: &js_sys::Function) -> f64;

    #[wasm_bindgen(method, structural, js_name = cancelVideoFrameCallback)]
    fn cancel_video_frame_callback(this: &VideoElement, handle: f64);

    /// What the browser says of one presented frame.
    pub(super) type FrameMetadata;

    #[wasm_bindgen(method, structural, getter, js_name = presentedFrames)]
    pub(super) fn presented_frames(this: &FrameMetadata) -> f64;

    /// When the frame is to be on the screen, by the page's clock.
    #[wasm_bindgen(method, structural, getter, js_name = expectedDisplayTime)]
    pub(super) fn expected_display_time(this: &FrameMetadata) -> f64;

    /// Not in every browser.
    #[wasm_bindgen(method, structural, getter, js_name = rtpTimestamp)]
    pub(super) fn rtp_timestamp(this: &FrameMetadata) -> Option<f64>;
}

/// Calls back once for every frame a video presents, until dropped.
pub(super) struct FrameLoop(Rc<Inner>);

type FrameCallback = Closure<dyn FnMut(f64, FrameMetadata)>;

struct Inner {
    video: VideoElement,
    handle: Cell<f64>,
    callback: RefCell<Option<FrameCallback>>,
}

impl FrameLoop {
    /// `None` in browsers without it.
    pub(super) fn new(
        video: &HtmlVideoElement,
        mut on_frame: impl FnMut(f64, &FrameMetadata) + 'static,
    ) -> Option<Self> {
        let name = JsValue::from_str("requestVideoFrameCallback");
        if js_sys::Reflect::has(video, &name) != Ok(true) {
            return None;
        }
        let inner = Rc::new(Inner {
            video: video.clone().unchecked_into(),
            handle: Cell::new(0.0),
            callback: RefCell::default(),
        });
        let weak: Weak<Inner> = Rc::downgrade(&inner);
        let callback = Closure::new(move |now_ms: f64, metadata: FrameMetadata| {
            if let Some(inner) = weak.upgrade() {
                inner.request();
                on_frame(now_ms, &metadata);
            }
        });
        inner.callback.replace(Some(callback));
        inner.request();
        Some(Self(inner))
    }
}

impl Inner {
    fn request(&self) {
        if let Some(callback) = self.callback.borrow().as_ref() {
            let function = callback.as_ref().unchecked_ref();
            self.handle.set(self.video.request_video_frame_callback(function));
        }
    }
}

impl Drop for FrameLoop {
    fn drop(&mut self) {
        self.0.video.cancel_video_frame_callback(self.0.handle.get());
    }
}

impl fmt::Debug for FrameLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FrameLoop")
    }
}
