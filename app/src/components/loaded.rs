//! What the pages of one thing have around it: the way back, and a word while or when it is not there.

use leptos::prelude::*;
use leptos_meta::Title;
use serde::{Serialize, de::DeserializeOwned};

use super::ErrorNotice;
use crate::{
    api::{self, Outcome, PageError},
    refresh::refresh_while,
};

/// The way to the page that this one belongs to.
#[component]
pub fn Back(
    /// Its path.
    href: &'static str,
    /// What it is called.
    to: &'static str,
) -> impl IntoView {
    view! {
        <p class="back">
            <a href=href>{format!("← {to}")}</a>
        </p>
    }
}

/// Shows what has been read, and why it cannot be shown otherwise. What is shown stays while it is
/// read again, as it is by itself after an error that may pass.
#[component]
pub fn Loaded<T, F>(
    /// What is read.
    outcome: Outcome<T>,
    /// Title of the page, unless what is shown has one.
    title: &'static str,
    /// Shows it.
    show: F,
) -> impl IntoView
where
    T: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
    F: Fn(T) -> AnyView + Send + Sync + 'static,
{
    refresh_while(outcome, |_| false);
    view! {
        <Title text=title />
        <Transition fallback=|| {
            view! { <p class="loading">"Loading…"</p> }
        }>
            {move || match outcome.get()? {
                Ok(found) => Some(show(found)),
                Err(error) => {
                    if error == PageError::NotFound {
                        api::set_not_found();
                    }
                    Some(view! { <ErrorNotice error /> }.into_any())
                }
            }}
        </Transition>
    }
}
