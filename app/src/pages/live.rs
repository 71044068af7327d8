//! `/live`: every camera at once.

use domain::CameraStatus;
use leptos::prelude::*;
use leptos_meta::Title;

use super::refresh::refresh_while;
use crate::{
    api,
    browser::Wall,
    components::{CameraTile, ErrorNotice},
};

/// `/live`
#[component]
pub fn LivePage() -> impl IntoView {
    let outcome = Resource::new(|| (), |()| api::list_cameras());
    refresh_while(outcome, |_| false);
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
        2 => "two",
        3..=4 => "few",
        _ => "many",
    };
    let empty = move || cameras.with(Vec::is_empty).then(|| view! { <NoCameras /> });
    view! {
        {empty}
        <div class="live-grid" data-testid="live-grid" data-size=size>
            <For each=move || cameras.get() key=|camera| camera.id.clone() let:camera>
                <CameraTile camera cameras wall />
            </For>
        </div>
    }
}

const EXAMPLE: &str = r#"[[cameras]]
id = "door"
name = "Front door"
url = "rtsp://user:password@192.168.1.20/stream1""#;

#[component]
fn NoCameras() -> impl IntoView {
    view! {
        <section class="notice" data-testid="empty-state">
            <h2>"No cameras yet"</h2>
            <p>"Add one to " <code>"damwall.toml"</code> ":"</p>
            <pre class="example">
                {EXAMPLE}
            </pre>
            <p>
                "or set " <code>"CAM_RTSP_DOOR=rtsp://…"</code>
                " in the environment, then start Damwall again."
            </p>
        </section>
    }
}

#[cfg(test)]
mod tests {
    use domain::CameraState;

    use super::*;

    fn html(cameras: Vec<CameraStatus>) -> String {
        Owner::new().with(|| view! { <CameraWall cameras /> }.to_html())
    }

    #[test]
    fn wall_without_cameras_says_how_to_add_one() {
        let html = html(Vec::new());
        assert!(html.contains(r#"data-testid="empty-state""#), "{html}");
        assert!(html.contains("CAM_RTSP_DOOR"), "{html}");
    }

    #[test]
    fn camera_is_listed_with_its_state_before_anything_plays() {
        let html = html(vec![CameraStatus {
            id: "door".parse().unwrap(),
            name: "Front door".into(),
            state: CameraState::Lost { reason: "connection refused".into() },
            viewers: 0,
            layers: Vec::new(),
            audio: None,
        }]);
        assert!(html.contains(r#"data-camera-id="door""#), "{html}");
        assert!(html.contains(r#"data-state="offline""#), "{html}");
        assert!(html.contains("connection refused"), "{html}");
        assert!(html.contains("muted"), "{html}");
        assert!(!html.contains(" style="), "{html}");
    }
}
