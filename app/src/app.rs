//! The document around all pages, and which page is at which path.

use leptos::prelude::*;
use leptos_meta::{HashedStylesheet, MetaTags, Title, provide_meta_context};
use leptos_router::{
    SsrMode,
    components::{FlatRoutes, Redirect, Route, Router},
    path,
};

use crate::{
    api,
    components::Header,
    pages::{LibraryPage, ManagePage, NotFoundPage, Page, PartFiles},
};

/// The whole HTML document, as the server sends it. Sets the `Content-Security-Policy` header.
pub fn shell(options: LeptosOptions) -> impl IntoView {
    api::set_content_security_policy();
    view! {
        <!DOCTYPE html>
        <html lang="en">
            <head>
                <meta charset="utf-8" />
                <meta name="viewport" content="width=device-width, initial-scale=1" />
                <meta name="color-scheme" content="dark light" />
                <meta
                    name="theme-color"
                    content="#14171a"
                    media="(prefers-color-scheme: dark)"
                />
                <meta
                    name="theme-color"
                    content="#f7f8f9"
                    media="(prefers-color-scheme: light)"
                />
                <link rel="icon" type="image/svg+xml" href="/favicon.svg" />
                <HashedStylesheet options=options.clone() id="leptos" />
                <HydrationScripts options />
                <PartFiles />
                <MetaTags />
            </head>
            <body>
                <App />
            </body>
        </html>
    }
}

/// Every page. All are rendered completely before they are sent, so that they work without
/// JavaScript.
#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    view! {
        <Title formatter=|title: String| format!("{title} · Damwall") />
        <Router>
            <a class="skip" href="#main" rel="external">
                "Skip to content"
            </a>
            <Header />
            <main id="main" class="main" tabindex="-1">
                <FlatRoutes fallback=NotFoundPage>
                    <Route path=path!("/") view=Home ssr=SsrMode::Async />
                    <Route path=path!("/assets") view=Page::Library(LibraryPage::Assets) ssr=SsrMode::Async />
                    <Route path=path!("/assets/upload") view=Page::Manage(ManagePage::Upload) ssr=SsrMode::Async />
                    <Route path=path!("/assets/trash") view=Page::Library(LibraryPage::Assets) ssr=SsrMode::Async />
                    <Route
                        path=path!("/assets/collections")
                        view=Page::Library(LibraryPage::Collections)
                        ssr=SsrMode::Async
                    />
                    <Route
                        path=path!("/assets/collections/:id")
                        view=Page::Library(LibraryPage::Assets)
                        ssr=SsrMode::Async
                    />
                    <Route path=path!("/assets/:id") view=Page::Asset ssr=SsrMode::Async />
                    <Route path=path!("/live") view=Page::Live ssr=SsrMode::Async />
                    <Route path=path!("/live/cameras") view=Page::Manage(ManagePage::Cameras) ssr=SsrMode::Async />
                    <Route path=path!("/live/cameras/new") view=Page::Manage(ManagePage::NewCamera) ssr=SsrMode::Async />
                    <Route path=path!("/live/cameras/:id") view=Page::Manage(ManagePage::EditCamera) ssr=SsrMode::Async />
                    <Route path=path!("/live/publish/:camera") view=Page::Manage(ManagePage::Publish) ssr=SsrMode::Async />
                </FlatRoutes>
            </main>
        </Router>
    }
}

#[component]
fn Home() -> impl IntoView {
    api::set_found();
    view! { <Redirect path="/assets" /> }
}
