//! A camera on the wall.

use domain::CameraStatus;
use leptos::prelude::*;

use crate::{
    browser::{TileNodes, TileSignals, Wall},
    state::tile::TileFace,
};

/// Whether a tile is the one that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// One of many.
    InGrid,
    /// Alone on the page.
    Solo,
    /// On the page, but not to be seen: another one is alone.
    BehindSolo,
}

impl Standing {
    fn as_str(self) -> &'static str {
        match self {
            Self::InGrid => "grid",
            Self::Solo => "solo",
            Self::BehindSolo => "behind",
        }
    }
}

/// One camera: its video, what it says, and its figures.
#[component]
pub fn CameraTile(
    /// As first listed.
    camera: CameraStatus,
    /// Every camera as last listed.
    cameras: RwSignal<Vec<CameraStatus>>,
    /// Plays it.
    wall: Wall,
    /// How it stands among the others.
    #[prop(into)]
    standing: Signal<Standing>,
    /// Makes it the only one on the page.
    on_solo: Callback<()>,
) -> impl IntoView {
    let CameraStatus { id, name, .. } = camera;
    let signals = TileSignals::new();
    let nodes = TileNodes { tile: NodeRef::new(), video: NodeRef::new(), hud: NodeRef::new() };
    let face = Memo::new({
        let id = id.clone();
        move |_| {
            cameras.with(|cameras| {
                let camera = cameras.iter().find(|camera| camera.id == id);
                TileFace::of(signals.status.get(), camera.map(|camera| &camera.state))
            })
        }
    });

    Effect::new({
        let id = id.clone();
        move |joined: Option<bool>| {
            if joined == Some(true) {
                return true;
            }
            let ready = nodes.tile.get().is_some()
                && nodes.video.get().is_some()
                && nodes.hud.get().is_some();
            if ready {
                wall.join(id.clone(), nodes, signals);
            }
            ready
        }
    });
    on_cleanup({
        let id = id.clone();
        move || wall.leave(&id)
    });

    let href = solo_path(&id);
    let on_click = move |_| {
        if standing.get_untracked() == Standing::InGrid {
            on_solo.run(());
        }
    };
    let id = StoredValue::new(id);
    let toggle_fullscreen = move || id.with_value(|id| wall.toggle_fullscreen(id));
    let pressed = |is_on: bool| if is_on { "true" } else { "false" };
    let tile_label = name.clone();
    let video_label = format!("Live picture of {name}");
    view! {
        <article
            class="tile"
            node_ref=nodes.tile
            tabindex="0"
            aria-label=tile_label
            data-testid="camera-tile"
            data-camera-id=id.with_value(ToString::to_string)
            data-state=move || face.with(|face| face.state)
            data-standing=move || standing.get().as_str()
            data-presented-frames="0"
            data-fps="0.0"
        >
            <video
                class="tile-video"
                node_ref=nodes.video
                muted
                autoplay
                playsinline
                prop:muted=move || !signals.sound_is_on.get()
                aria-label=video_label
                on:click=on_click
                on:dblclick=move |_| toggle_fullscreen()
            ></video>
            <pre
                class="hud"
                node_ref=nodes.hud
                hidden=move || !signals.hud_is_shown.get()
                data-testid="hud"
            ></pre>
            <p
                class="tile-message"
                role="status"
                hidden=move || face.with(|face| face.message.is_empty())
                data-testid="tile-message"
            >
                {move || face.with(|face| face.message.clone())}
            </p>
            <footer class="tile-bar">
                <h2 class="tile-name">
                    <a href=href data-testid="solo-link">
                        {name}
                    </a>
                </h2>
                <span class="chip" data-testid="tile-chip">
                    {move || face.with(|face| face.label)}
                </span>
                <button
                    class="tile-button"
                    type="button"
                    aria-pressed=move || pressed(signals.sound_is_on.get())
                    aria-label="Sound"
                    title="Sound (m)"
                    data-testid="sound-toggle"
                    hidden=move || !signals.has_sound.get()
                    on:click=move |_| id.with_value(|id| wall.toggle_sound(id))
                >
                    <svg viewBox="0 0 24 24" aria-hidden="true">
                        <path d="M3 9v6h4l5 5V4L7 9z" />
                        <path class="sound-waves" d="M14 8a5 5 0 0 1 0 8zM14 3.5a9 9 0 0 1 0 17v-2.2a7 7 0 0 0 0-12.6z" />
                        <path class="sound-cross" d="M14.6 8.2 16 6.8l8 8-1.4 1.4zM22.6 6.8 24 8.2l-8 8-1.4-1.4z" />
                    </svg>
                </button>
                <button
                    class="tile-button"
                    type="button"
                    aria-pressed=move || pressed(signals.hud_is_shown.get())
                    title="Figures of this stream (h)"
                    data-testid="hud-toggle"
                    on:click=move |_| id.with_value(|id| wall.toggle_hud(id))
                >
                    "HUD"
                </button>
                <button
                    class="tile-button"
                    type="button"
                    aria-label="Full screen"
                    title="Full screen (f)"
                    data-testid="fullscreen"
                    on:click=move |_| toggle_fullscreen()
                >
                    <svg viewBox="0 0 24 24" aria-hidden="true">
                        <path d="M4 4h6v2H6v4H4zM14 4h6v6h-2V6h-4zM4 14h2v4h4v2H4zM18 14h2v6h-6v-2h4z" />
                    </svg>
                </button>
            </footer>
        </article>
    }
}

/// The address of one camera on the wall.
pub fn solo_path(camera: &domain::CameraId) -> String {
    format!("/live?camera={camera}")
}
