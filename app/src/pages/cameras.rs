//! `/live/cameras`: what cameras are configured to be; `…/new` and `…/{id}`: add, change, remove one.
//!
//! Every form works without JavaScript; only trying a source before it is saved needs it.

use domain::{CameraDetails, CameraState, CameraStatus, ManagedBy, VideoParameters};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;

use crate::{
    api::{self, AddCamera, RemoveCamera, SaveCamera},
    components::{Back, CameraFields, FormNotice, Loaded},
    format,
    refresh::refresh_while,
};

/// `/live/cameras`
#[component]
pub fn CamerasPage() -> impl IntoView {
    let details = api::read(String::new, |_| api::list_camera_details());
    let statuses = api::read(String::new, |_| api::list_cameras());
    refresh_while(statuses, |_| true);
    view! {
        <Back href="/live" to="Live" />
        <header class="page-head list-head">
            <h1>"Cameras"</h1>
            <a
                class="button primary page-action"
                href="/live/cameras/new"
                data-testid="add-camera"
            >
                "Add a camera"
            </a>
        </header>
        <Loaded
            outcome=details
            title="Cameras"
            show=move |details| {
                let statuses = statuses.get().and_then(Result::ok).unwrap_or_default();
                if details.is_empty() {
                    return view! { <NoCameras /> }.into_any();
                }
                view! { <CameraList details statuses /> }.into_any()
            }
        />
    }
}

#[component]
fn NoCameras() -> impl IntoView {
    view! {
        <section class="notice" data-testid="empty-state">
            <h2>"No cameras yet"</h2>
            <p>"Any camera that speaks RTSP will do. Its address is in its manual."</p>
        </section>
    }
}

#[component]
fn CameraList(details: Vec<CameraDetails>, statuses: Vec<CameraStatus>) -> impl IntoView {
    let rows: Vec<_> = details
        .into_iter()
        .map(|camera| {
            let status = statuses.iter().find(|status| status.id == camera.id).cloned();
            view! { <CameraRow camera status /> }
        })
        .collect();
    view! {
        <ul class="rows" data-testid="camera-list">
            {rows}
        </ul>
    }
}

/// Whether a camera's pictures come from browsers and encoders that push them.
fn is_published(camera: &CameraDetails) -> bool {
    camera.url.starts_with("whip:")
}

#[component]
fn CameraRow(camera: CameraDetails, status: Option<CameraStatus>) -> impl IntoView {
    let (state, label) = match status.as_ref().map(|status| &status.state) {
        Some(CameraState::Live { .. }) => ("playing", "Live"),
        Some(CameraState::Connecting) => ("connecting", "Connecting"),
        Some(CameraState::Idle) => ("idle", "On demand"),
        Some(CameraState::Lost { .. }) => ("error", "Lost"),
        None => ("idle", "–"),
    };
    let what = status.as_ref().map(describe).unwrap_or_default();
    let publish = is_published(&camera).then(|| {
        view! {
            // A document of its own: only that page may use the camera of this computer.
            <a
                class="button"
                href=format!("/live/publish/{}", camera.id)
                rel="external"
                data-testid="publish-link"
            >
                "Publish"
            </a>
        }
    });
    let change = match camera.managed {
        ManagedBy::Api => view! {
            <a
                class="button"
                href=format!("/live/cameras/{}", camera.id)
                data-testid="edit-camera"
            >
                "Edit"
            </a>
        }
        .into_any(),
        ManagedBy::Config => {
            view! { <span class="hint">"in the configuration file"</span> }.into_any()
        }
    };
    view! {
        <li
            class="row"
            data-testid="camera-row"
            data-camera-id=camera.id.to_string()
            data-state=state
        >
            <div class="row-main">
                <h2 class="row-name">
                    <a href=crate::components::solo_path(&camera.id)>{camera.name.clone()}</a>
                </h2>
                <p class="row-source">
                    <code>{camera.url.clone()}</code>
                    {camera
                        .url_has_credentials
                        .then(|| view! { <span class="hint">" with a password"</span> })}
                    {camera
                        .sub_url
                        .clone()
                        .map(|sub| {
                            view! {
                                <span class="hint">" · small pictures from "</span>
                                <code>{sub}</code>
                            }
                        })}
                </p>
                <p class="row-state">
                    <span class="chip" data-testid="camera-state">
                        {label}
                    </span>
                    <span>{what}</span>
                </p>
            </div>
            <div class="row-actions">{publish} {change}</div>
        </li>
    }
}

/// What arrives, or why nothing does.
fn describe(status: &CameraStatus) -> String {
    match &status.state {
        CameraState::Lost { reason } => reason.clone(),
        CameraState::Connecting | CameraState::Idle => String::new(),
        CameraState::Live { video, fps, bitrate_kbps } => {
            let stream = |video: &VideoParameters, fps: f32, kbps: u32| {
                let bitrate = format::bitrate(kbps);
                format!("{}×{} {fps:.0} fps {bitrate}", video.width_px, video.height_px)
            };
            let mut parts: Vec<String> = status
                .layers
                .iter()
                .map(|layer| {
                    let stream = stream(&layer.video, layer.fps, layer.bitrate_kbps);
                    let key_frames = layer.key_frame_interval_ms.map_or_else(String::new, |ms| {
                        format!(", a key frame every {:.1} s", f64::from(ms) / 1000.0)
                    });
                    format!("{} {stream}{key_frames}", layer.rid)
                })
                .collect();
            if parts.is_empty() {
                parts.push(stream(video, *fps, *bitrate_kbps));
            }
            parts.extend(status.audio.as_ref().map(|codec| format!("sound {codec}")));
            parts.push(match status.viewers {
                1 => "1 viewer".to_owned(),
                viewers => format!("{viewers} viewers"),
            });
            parts.extend(status.warning.clone());
            parts.join(" · ")
        }
    }
}

/// `/live/cameras/new`
#[component]
pub fn NewCameraPage() -> impl IntoView {
    let admin = api::read(String::new, |_| api::check_admin());
    let add = ServerAction::<AddCamera>::new();
    let error = Signal::derive(move || add.value().get().and_then(Result::err));
    view! {
        <Back href="/live/cameras" to="Cameras" />
        <header class="page-head">
            <h1>"Add a camera"</h1>
        </header>
        <Loaded
            outcome=admin
            title="Add a camera"
            show=move |()| {
                view! {
                    <ActionForm action=add attr:class="form" attr:data-testid="camera-form">
                        <FormNotice error />
                        <CameraFields error />
                        <FormActions label="Add the camera" pending=add.pending() />
                    </ActionForm>
                }
                    .into_any()
            }
        />
    }
}

/// What ends a camera's form.
#[component]
fn FormActions(
    label: &'static str,
    /// Whether it is on its way already.
    #[prop(into)]
    pending: Signal<bool>,
) -> impl IntoView {
    view! {
        <p class="form-actions">
            <button
                class="button primary"
                type="submit"
                disabled=move || pending.get()
                data-testid="save-camera"
            >
                {label}
            </button>
            <a class="button" href="/live/cameras">
                "Cancel"
            </a>
        </p>
    }
}

/// `/live/cameras/{id}`
#[component]
pub fn EditCameraPage() -> impl IntoView {
    let params = use_params_map();
    let id = Memo::new(move |_| params.with(|params| params.get("id").unwrap_or_default()));
    let outcome = api::read(move || id.get(), api::read_camera);
    view! {
        <Back href="/live/cameras" to="Cameras" />
        <Loaded outcome title="Camera" show=|camera| view! { <EditCamera camera /> }.into_any() />
    }
}

#[component]
fn EditCamera(camera: CameraDetails) -> impl IntoView {
    let save = ServerAction::<SaveCamera>::new();
    let remove = ServerAction::<RemoveCamera>::new();
    let error = Signal::derive(move || save.value().get().and_then(Result::err));
    let remove_error = Signal::derive(move || remove.value().get().and_then(Result::err));
    let name = camera.name.clone();
    let id = camera.id.to_string();
    let forms = match camera.managed {
        ManagedBy::Config => view! {
            <section class="notice" data-testid="managed-by-config">
                <h2>"Set in the configuration file"</h2>
                <p>
                    "Change it in " <code>"damwall.toml"</code>
                    " or in the environment, then start Damwall again."
                </p>
            </section>
        }
        .into_any(),
        ManagedBy::Api => {
            let to_remove = id.clone();
            let question = format!("{name} leaves the wall, and its viewers with it.");
            view! {
                <ActionForm action=save attr:class="form" attr:data-testid="camera-form">
                    <FormNotice error />
                    <CameraFields error camera />
                    <FormActions label="Save" pending=save.pending() />
                </ActionForm>
                // Open when it was not removed: the reason is in there.
                <details
                    class="form danger"
                    open=move || remove_error.with(Option::is_some)
                    data-testid="remove-details"
                >
                    <summary data-testid="remove-camera">"Remove this camera"</summary>
                    <FormNotice error=remove_error />
                    <p>{question}</p>
                    <ActionForm action=remove>
                        <input type="hidden" name="id" value=to_remove />
                        <button class="button danger" type="submit" data-testid="confirm-remove">
                            "Yes, remove it"
                        </button>
                    </ActionForm>
                </details>
            }
            .into_any()
        }
    };
    view! {
        <Title text=name.clone() />
        <header class="page-head">
            <h1 data-testid="camera-title">{name}</h1>
            <code class="hint">{id}</code>
        </header>
        {forms}
    }
}

#[cfg(test)]
mod tests {
    use domain::LayerStatus;

    use super::*;

    fn video(width_px: u32, height_px: u32) -> VideoParameters {
        VideoParameters { codec: "avc1.42c01f".into(), width_px, height_px }
    }

    #[test]
    fn live_camera_is_described_by_what_arrives() {
        let layer = |rid: &str, width_px, height_px, bitrate_kbps| LayerStatus {
            rid: rid.into(),
            video: video(width_px, height_px),
            fps: 25.04,
            bitrate_kbps,
            key_frame_interval_ms: (rid == "main").then_some(4_000),
        };
        let status = CameraStatus {
            id: "door".parse().unwrap(),
            name: "Door".into(),
            state: CameraState::Live { video: video(1920, 1080), fps: 25.0, bitrate_kbps: 4_000 },
            viewers: 1,
            source: "rtsp".into(),
            warning: Some("its layer main takes 4000 kbit/s, of 3000 at most".into()),
            layers: vec![layer("main", 1920, 1080, 4_000), layer("sub", 640, 360, 512)],
            audio: Some("opus".into()),
        };
        assert_eq!(
            describe(&status),
            "main 1920×1080 25 fps 4.0 Mbit/s, a key frame every 4.0 s · sub 640×360 25 fps 512 kbit/s · sound opus · 1 viewer · \
             its layer main takes 4000 kbit/s, of 3000 at most"
        );
    }

    #[test]
    fn lost_camera_is_described_by_the_reason() {
        let status = CameraStatus {
            id: "door".parse().unwrap(),
            name: "Door".into(),
            state: CameraState::Lost { reason: "connection refused".into() },
            viewers: 0,
            source: "rtsp".into(),
            warning: None,
            layers: vec![],
            audio: None,
        };
        assert_eq!(describe(&status), "connection refused");
    }
}
