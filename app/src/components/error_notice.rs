//! Why a page has nothing to show.

use leptos::prelude::*;

use crate::api::PageError;

/// An error as a sentence, and a way on.
#[component]
pub fn ErrorNotice(
    /// What went wrong.
    error: PageError,
) -> impl IntoView {
    let (href, way_on) = match &error {
        PageError::LoggedOut => ("/login", "Log in"),
        _ => ("/assets", "First page"),
    };
    let hint = error.is_passing().then(|| view! { <p>"It is tried again by itself."</p> });
    view! {
        <section class="notice" role="alert" data-testid="error">
            <h2>"Nothing to show"</h2>
            <p>{error.to_string()}</p>
            {hint}
            <p>
                <a class="button" href=href rel="external">
                    {way_on}
                </a>
            </p>
        </section>
    }
}
