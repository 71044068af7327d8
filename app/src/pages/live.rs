//! `/live`: every camera at once.

use domain::CameraStatus;
use leptos::prelude::*;
use leptos_meta::Title;

use crate::{
    api,
    browser::Wall,
    components::{CameraTile, ErrorNotice},
};

/// `/live`
#[component]
pub fn LivePage() -> impl IntoView {
    let outcome = Resource::new(|| (), |()| api::list_cameras());
    view! {
        <Title text="Live" />
        <header class="page-head">
            <h1>"Live"</h1>
            <noscript>"Playing live video needs JavaScript. The cameras and their state:"</noscript>
        </header>
        <Suspense fallback=|| {
            view! { <p class="loading">"Loading…"</p> }
        }>
            {move || {
                outcome
                    .get()
                    .map(|outcome| match outcome {
                        Ok(cameras) => view! { <CameraWall cameras /> }.into_any(),
                        Err(error) => view! { <ErrorNotice error /> }.into_any(),
                    })
            }}
        </Suspense>
    }
}

#[component]
fn CameraWall(cameras: Vec<CameraStatus>) -> impl IntoView {
    let cameras = RwSignal::new(cameras);
    let wall = Wall::new(cameras);
    let size = move || match cameras.with(Vec::len) {
        1 => "one",
        2..=4 => "few",
        _ => "many",
    };
    let empty = move || {
        cameras.with(Vec::is_empty).then(|| view! { <NoCameras /> })
    };
    view! {
        {empty}
        <div class="live-grid" data-testid="live-grid" data-size=size>
            <For each=move || cameras.get() key=|camera| camera.id.clone() let:camera>
                <CameraTile camera cameras wall />
            </For>
        </div>
    }
}

#[component]
fn NoCameras() -> impl IntoView {
    view! {
        <section class="notice" data-testid="empty-state">
            <h2>"No cameras yet"</h2>
            <p>"Add one to " <code>"damwall.toml"</code> ":"</p>
            <pre class="example">
                "[cameras.door]\nname = \"Front door\"\nurl = \"rtsp://user:password@192.168.1.20/stream\""
            </pre>
            <p>
                "or set " <code>"CAM_RTSP_DOOR=rtsp://…"</code>
                " in the environment, then start Damwall again."
            </p>
        </section>
    }
}
