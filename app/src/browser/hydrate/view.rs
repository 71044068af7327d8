//! How tiles stand on the page: their size on the screen, and whether they can be seen. Must not:
//! draw conclusions from it (tiles do).

use std::fmt;

use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{
    Element, IntersectionObserver, IntersectionObserverEntry, IntersectionObserverInit,
    ResizeObserver, ResizeObserverEntry,
};

use super::{dom, tile::ViewChange};

/// A tile this far outside the window already counts as seen, so that it plays when it is.
const MARGIN: &str = "128px";

/// Watches elements until dropped. Both observers tell of an element once at the start.
pub(super) struct ViewObserver {
    sizes: ResizeObserver,
    places: IntersectionObserver,
    _on_sizes: Closure<dyn FnMut(js_sys::Array)>,
    _on_places: Closure<dyn FnMut(js_sys::Array)>,
}

impl ViewObserver {
    pub(super) fn new(on_change: impl Fn(&Element, ViewChange) + Clone + 'static) -> Self {
        let on_resize = on_change.clone();
        let on_sizes = Closure::new(move |entries: js_sys::Array| {
            for entry in entries {
                let entry: ResizeObserverEntry = entry.unchecked_into();
                let (rect, ratio) = (entry.content_rect(), dom::window().device_pixel_ratio());
                let px = |css: f64| (css * ratio).ceil() as u32;
                on_resize(
                    &entry.target(),
                    ViewChange::Resized(px(rect.width()), px(rect.height())),
                );
            }
        });
        let on_places = Closure::new(move |entries: js_sys::Array| {
            for entry in entries {
                let entry: IntersectionObserverEntry = entry.unchecked_into();
                on_change(&entry.target(), ViewChange::OnScreen(entry.is_intersecting()));
            }
        });
        let options = IntersectionObserverInit::new();
        options.set_root_margin(MARGIN);
        let places =
            IntersectionObserver::new_with_options(on_places.as_ref().unchecked_ref(), &options)
                .expect("the margin is one");
        let sizes = ResizeObserver::new(on_sizes.as_ref().unchecked_ref())
            .expect("a function is all it takes");
        Self { sizes, places, _on_sizes: on_sizes, _on_places: on_places }
    }

    pub(super) fn observe(&self, element: &Element) {
        self.sizes.observe(element);
        self.places.observe(element);
    }

    pub(super) fn unobserve(&self, element: &Element) {
        self.sizes.unobserve(element);
        self.places.unobserve(element);
    }
}

impl Drop for ViewObserver {
    fn drop(&mut self) {
        self.sizes.disconnect();
        self.places.disconnect();
    }
}

impl fmt::Debug for ViewObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ViewObserver")
    }
}

/// Whether an element is within the window at this moment, which the observer tells only after the
/// next frame.
pub(super) fn is_on_screen(element: &Element) -> bool {
    let window = dom::window();
    let side = |side: Result<wasm_bindgen::JsValue, wasm_bindgen::JsValue>| {
        side.ok().and_then(|px| px.as_f64()).unwrap_or_default()
    };
    let (width, height) = (side(window.inner_width()), side(window.inner_height()));
    let rect = element.get_bounding_client_rect();
    rect.width() > 0.0
        && rect.bottom() > 0.0
        && rect.top() < height
        && rect.right() > 0.0
        && rect.left() < width
}
