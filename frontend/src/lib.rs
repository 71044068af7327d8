//! Browser entry point.

use leptos::prelude::location_pathname;
use wasm_bindgen::prelude::wasm_bindgen;

/// Brings the page that the server rendered to life; called by the script in the page.
#[wasm_bindgen]
pub async fn hydrate() {
    console_error_panic_hook::set_once();
    let path = location_pathname().unwrap_or_default();
    // Without its part, a page stays as the server rendered it: it works like that, too.
    if app::load_part_of(&path).await.is_ok() {
        leptos::mount::hydrate_body(app::App);
    }
}

/// Room that the splitter of the pages' code takes for itself. It lays constants out anew, each beside the code
/// that needs it, which repeats what the linker had merged; as soon as they would take a byte more than before, all
/// of them are loaded with every page. Nothing refers to this, so nobody loads it.
#[used]
static ROOM: [u8; 8192] = [1; 8192];
