//! The bar at the top of every page.

use domain::Role;
use leptos::prelude::*;
use leptos_router::components::A;

use crate::api;

/// Name, navigation, upload for those who may, and log out for those who logged in.
#[component]
pub fn Header() -> impl IntoView {
    let session = api::read(String::new, |_| api::read_session());
    view! {
        <header class="site-head">
            <a class="brand" href="/assets">
                <svg class="brand-mark" viewBox="0 0 32 32" aria-hidden="true">
                    <path d="M3 6h26v4H3zM5 12h10v5H5zM17 12h10v5H17zM7 19h18v5H7zM3 26h26v2H3z" />
                </svg>
                "Damwall"
            </a>
            <nav class="site-nav" aria-label="Main">
                <A href="/assets">"Assets"</A>
                <A href="/live">"Live"</A>
            </nav>
            <Suspense>
                {move || {
                    let session = session.get().and_then(Result::ok);
                    let may_upload = session
                        .is_some_and(|session| session.role.includes(Role::Operator));
                    let may_log_out = session.is_some_and(|session| session.token_login);
                    let upload = may_upload
                        .then(|| {
                            view! {
                                <a
                                    class="button upload-link"
                                    href="/assets/upload"
                                    data-testid="upload-link"
                                >
                                    "Upload"
                                </a>
                            }
                        });
                    let log_out = may_log_out
                        .then(|| {
                            view! {
                                <form class="log-out" method="post" action="/logout">
                                    <button class="button" type="submit">
                                        "Log out"
                                    </button>
                                </form>
                            }
                        });
                    view! {
                        {upload}
                        {log_out}
                    }
                }}
            </Suspense>
        </header>
    }
}
