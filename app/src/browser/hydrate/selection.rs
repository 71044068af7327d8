//! Ticking many assets of a list at once. Must not: know what becomes of them (that is the form's).

use leptos::{ev::MouseEvent, prelude::*};
use wasm_bindgen::JsCast as _;
use web_sys::{Element, HtmlInputElement};

use super::dom;

const TICKS: &str = r#"input[name="ids[]"]"#;

/// Which assets of a list are ticked.
#[derive(Clone, Copy, Debug)]
pub struct Selection {
    /// The id that was clicked last.
    last: StoredValue<Option<String>>,
}

impl Selection {
    /// None.
    pub fn new() -> Self {
        Self { last: StoredValue::new(None) }
    }

    /// Ticks what lies between two clicks, when Shift was held.
    pub fn extend(self, event: &MouseEvent) {
        let target = event.target().and_then(|target| target.dyn_into::<HtmlInputElement>().ok());
        let Some(clicked) = target.filter(|input| input.matches(TICKS).unwrap_or(false)) else {
            return;
        };
        let last = self.last.try_update_value(|last| last.replace(clicked.value())).flatten();
        if !event.shift_key() {
            return;
        }
        let ticks = ticks(&clicked);
        let place = |id: &str| ticks.iter().position(|tick| tick.value() == id);
        let (from, to) = (last.and_then(|last| place(&last)), place(&clicked.value()));
        if let (Some(from), Some(to)) = (from, to) {
            for tick in &ticks[from.min(to)..=from.max(to)] {
                tick.set_checked(clicked.checked());
            }
        }
    }

    /// Ticks all of them.
    pub fn all(self, event: &MouseEvent) {
        let target = event.target().and_then(|target| target.dyn_into::<Element>().ok());
        for tick in target.iter().flat_map(ticks) {
            tick.set_checked(true);
        }
    }

    /// Whether something is ticked, or is being typed about it.
    pub fn is_begun(self) -> bool {
        let begun = format!("{TICKS}:checked, .bulk :focus");
        dom::document().query_selector(&begun).ok().flatten().is_some()
    }
}

/// Every box of the form that an element is in.
fn ticks(within: &Element) -> Vec<HtmlInputElement> {
    let form = within.closest("form").ok().flatten();
    let Some(found) = form.and_then(|form| form.query_selector_all(TICKS).ok()) else {
        return Vec::new();
    };
    (0..found.length()).filter_map(|at| found.item(at)?.dyn_into().ok()).collect()
}
