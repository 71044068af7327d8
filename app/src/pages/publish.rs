//! `/live/publish/{camera}`: sends a camera or a screen of this computer to the wall.

use domain::{CameraId, Role};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;

use crate::{
    api::{self, IceServer, PageError},
    browser::{Device, Devices, Publisher},
    components::{Back, Loaded, solo_path},
    state::publish::{Choice, Layers, PublishStatus, Resolution, Sound, Source},
};

/// `/live/publish/{camera}`
#[component]
pub fn PublishPage() -> impl IntoView {
    api::allow_camera_and_microphone();
    let params = use_params_map();
    let id = Memo::new(move |_| params.with(|params| params.get("camera").unwrap_or_default()));
    let outcome = api::read(
        move || id.get(),
        |id| async move {
            if !api::read_session().await?.role.includes(Role::Operator) {
                return Err(PageError::Forbidden);
            }
            let camera = api::list_cameras().await?.into_iter().find(|c| c.id.as_str() == id);
            let camera = camera.ok_or(PageError::NotFound)?;
            Ok((camera.id, camera.name, api::list_ice_servers().await?))
        },
    );
    view! {
        <Back href="/live" to="Live" />
        <Loaded
            outcome
            title="Publish"
            show=|(id, name, ice_servers)| {
                view! { <PublishView id name ice_servers /> }.into_any()
            }
        />
    }
}

#[component]
fn PublishView(id: CameraId, name: String, ice_servers: Vec<IceServer>) -> impl IntoView {
    let status = RwSignal::new(PublishStatus::Idle);
    let devices = RwSignal::new(Devices::default());
    let (preview, figures) = (NodeRef::new(), NodeRef::new());
    let publisher = Publisher::new(id.clone(), &ice_servers, status, devices, preview, figures);
    let choice = Chosen::new();
    on_cleanup(move || publisher.close());

    let is_publishing = move || status.with(PublishStatus::is_publishing);
    let has_preview =
        move || status.with(|status| *status == PublishStatus::Preview || status.is_publishing());
    let is_refused = move || status.with(|status| matches!(status, PublishStatus::Failed(_)));
    let title = format!("Publish to {name}");
    view! {
        <Title text=title.clone() />
        <header class="page-head">
            <h1>{title}</h1>
            <noscript>"Publishing needs JavaScript."</noscript>
        </header>
        <div
            class="publish"
            data-testid="publish"
            data-state=move || status.with(PublishStatus::name)
        >
            <div class="tile publish-stage" data-state=move || status.with(PublishStatus::name)>
                <video
                    class="tile-video"
                    node_ref=preview
                    muted
                    autoplay
                    playsinline
                    prop:muted=true
                    aria-label="What is captured"
                    data-testid="publish-preview"
                ></video>
                <pre
                    class="hud"
                    node_ref=figures
                    hidden=move || !is_publishing()
                    data-testid="publish-figures"
                ></pre>
            </div>
            <div class="form publish-side">
                <p
                    class="publish-status"
                    role="status"
                    class:form-error=is_refused
                    data-testid="publish-status"
                >
                    {move || status.with(PublishStatus::text)}
                </p>
                <p class="form-actions">
                    <button
                        class="button"
                        type="button"
                        disabled=is_publishing
                        data-testid="open-camera"
                        on:click=move |_| publisher.open(choice.take(Source::Camera))
                    >
                        "Camera"
                    </button>
                    <button
                        class="button"
                        type="button"
                        disabled=is_publishing
                        data-testid="open-screen"
                        on:click=move |_| publisher.open(choice.take(Source::Screen))
                    >
                        "Screen"
                    </button>
                </p>
                <PublishOptions
                    choice
                    devices
                    is_publishing=Signal::derive(is_publishing)
                    on_change=Callback::new(move |()| {
                        // A screen would have to be picked again.
                        if has_preview() && choice.source.get_untracked() == Source::Camera {
                            publisher.open(choice.take(Source::Camera));
                        }
                    })
                />
                <p class="form-actions">
                    <Show
                        when=is_publishing
                        fallback=move || {
                            view! {
                                <button
                                    class="button primary"
                                    type="button"
                                    disabled=move || !status.with(PublishStatus::can_start)
                                    data-testid="publish-start"
                                    on:click=move |_| {
                                        publisher
                                            .start(
                                                choice.resolution.get_untracked(),
                                                choice.layers.get_untracked(),
                                            );
                                    }
                                >
                                    "Start"
                                </button>
                            }
                        }
                    >
                        <button
                            class="button danger"
                            type="button"
                            data-testid="publish-stop"
                            on:click=move |_| publisher.stop()
                        >
                            "Stop"
                        </button>
                    </Show>
                    <button
                        class="button"
                        type="button"
                        disabled=move || !has_preview()
                        data-testid="publish-close"
                        on:click=move |_| publisher.close()
                    >
                        "Turn the source off"
                    </button>
                </p>
                <p class="hint">
                    "It shows on the wall as "
                    <a href=solo_path(&id) target="_blank" rel="external">
                        {name}
                    </a> "."
                </p>
            </div>
        </div>
    }
}

/// What the form says.
#[derive(Clone, Copy, Debug)]
struct Chosen {
    source: RwSignal<Source>,
    resolution: RwSignal<Resolution>,
    layers: RwSignal<Layers>,
    sound: RwSignal<Sound>,
    camera_id: RwSignal<String>,
    microphone_id: RwSignal<String>,
}

impl Chosen {
    fn new() -> Self {
        Self {
            source: RwSignal::new(Source::Camera),
            resolution: RwSignal::new(Resolution::default()),
            layers: RwSignal::new(Layers::default()),
            sound: RwSignal::new(Sound::default()),
            camera_id: RwSignal::new(String::new()),
            microphone_id: RwSignal::new(String::new()),
        }
    }

    /// All of it, for the source that is asked for now.
    fn take(self, source: Source) -> Choice {
        self.source.set(source);
        Choice {
            source,
            resolution: self.resolution.get_untracked(),
            camera_id: self.camera_id.get_untracked(),
            microphone_id: self.microphone_id.get_untracked(),
            sound: self.sound.get_untracked(),
        }
    }
}

#[component]
fn PublishOptions(
    choice: Chosen,
    devices: RwSignal<Devices>,
    is_publishing: Signal<bool>,
    /// What is captured is to be something else.
    on_change: Callback<()>,
) -> impl IntoView {
    let resolutions = Resolution::ALL.map(|one| {
        view! {
            <option value=one.name() selected=one == Resolution::default()>
                {one.name()}
            </option>
        }
    });
    let cameras = Signal::derive(move || devices.with(|devices| devices.cameras.clone()));
    let microphones = Signal::derive(move || devices.with(|devices| devices.microphones.clone()));
    view! {
        <fieldset class="fields" disabled=move || is_publishing.get()>
            <DeviceField
                id="publish-camera"
                label="Camera"
                devices=cameras
                chosen=choice.camera_id
                on_change
            />
            <DeviceField
                id="publish-microphone"
                label="Microphone"
                devices=microphones
                chosen=choice.microphone_id
                on_change
            />
            <div class="field">
                <label for="publish-resolution">"Size"</label>
                <select
                    id="publish-resolution"
                    on:change=move |event| {
                        choice.resolution.set(Resolution::from_name(&event_target_value(&event)));
                        on_change.run(());
                    }
                >
                    {resolutions}
                </select>
            </div>
            <div class="field">
                <label class="check">
                    <input
                        type="checkbox"
                        checked
                        data-testid="publish-simulcast"
                        on:change=move |event| {
                            let is_on = event_target_checked(&event);
                            choice.layers.set(if is_on { Layers::Simulcast } else { Layers::One });
                        }
                    />
                    "Send smaller pictures too, for small tiles"
                </label>
                <label class="check">
                    <input
                        type="checkbox"
                        checked
                        data-testid="publish-sound"
                        on:change=move |event| {
                            let is_on = event_target_checked(&event);
                            choice.sound.set(if is_on { Sound::On } else { Sound::Off });
                            on_change.run(());
                        }
                    />
                    "Sound"
                </label>
                <p class="hint">"For a screen, size and sound count when it is chosen."</p>
            </div>
        </fieldset>
    }
}

#[component]
fn DeviceField(
    id: &'static str,
    label: &'static str,
    devices: Signal<Vec<Device>>,
    chosen: RwSignal<String>,
    on_change: Callback<()>,
) -> impl IntoView {
    let options = move || {
        devices
            .get()
            .into_iter()
            .map(|device| view! { <option value=device.id>{device.label}</option> })
            .collect::<Vec<_>>()
    };
    view! {
        // Nothing to choose from before the browser may tell, or with one device.
        <div class="field" hidden=move || devices.with(|devices| devices.len() < 2)>
            <label for=id>{label}</label>
            <select
                id=id
                on:change=move |event| {
                    chosen.set(event_target_value(&event));
                    on_change.run(());
                }
            >
                {options}
            </select>
        </div>
    }
}
