//! Why a page has nothing to show.

use leptos::prelude::*;
use leptos_router::hooks::use_location;

use crate::{address::login_href, api::PageError};

/// An error as a sentence, and a way on. Whoever shows one reads again what may pass.
#[component]
pub fn ErrorNotice(
    /// What went wrong.
    error: PageError,
) -> impl IntoView {
    let (href, way_on) = match &error {
        PageError::LoggedOut => {
            let here = use_location();
            let href = login_href(&here.pathname.read_untracked(), &here.search.read_untracked());
            (href, "Log in")
        }
        _ => ("/assets".to_owned(), "First page"),
    };
    let runs_in_browser = RwSignal::new(false);
    Effect::new(move || runs_in_browser.set(true));
    let hint = error.is_passing().then(|| {
        view! {
            <p hidden=move || !runs_in_browser.get() data-testid="error-hint">
                "It is tried again by itself."
            </p>
        }
    });
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

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_said_to_be_tried_again_only_where_a_script_does_it() {
        let html =
            |error: PageError| Owner::new().with(|| view! { <ErrorNotice error /> }.to_html());
        let passing = html(PageError::Unavailable);
        assert!(passing.contains("<p hidden data-testid=\"error-hint\">"), "{passing}");
        assert!(!html(PageError::NotFound).contains("by itself"));
    }
}
