//! Any other path.

use leptos::prelude::*;
use leptos_meta::Title;

use crate::api;

/// "Not found", with status 404 when the server renders it.
#[component]
pub fn NotFoundPage() -> impl IntoView {
    api::set_not_found();
    view! {
        <Title text="Not found" />
        <section class="notice">
            <h1>"Not found"</h1>
            <p>"There is no page at this address."</p>
            <p>
                <a class="button" href="/assets">
                    "Assets"
                </a>
            </p>
        </section>
    }
}
