//! A camera on the wall.

use domain::CameraStatus;
use leptos::{ev::KeyboardEvent, prelude::*};

use crate::{
    browser::{TileNodes, Wall, toggle_fullscreen},
    state::{player::Status, tile::TileFace},
};

/// One camera: its video, what it says, and its figures.
#[component]
pub fn CameraTile(
    /// As first listed.
    camera: CameraStatus,
    /// Every camera as last listed.
    cameras: RwSignal<Vec<CameraStatus>>,
    /// Plays it.
    wall: Wall,
) -> impl IntoView {
    let CameraStatus { id, name, .. } = camera;
    let status = RwSignal::new(Status::Idle);
    let nodes = TileNodes { tile: NodeRef::new(), video: NodeRef::new(), hud: NodeRef::new() };
    let hud_is_shown = RwSignal::new(false);
    let face = Memo::new({
        let id = id.clone();
        move |_| {
            cameras.with(|cameras| {
                let camera = cameras.iter().find(|camera| camera.id == id);
                TileFace::of(status.get(), camera.map(|camera| &camera.state))
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
                wall.join(id.clone(), nodes, status);
            }
            ready
        }
    });
    on_cleanup({
        let id = id.clone();
        move || wall.leave(&id)
    });

    let on_keydown = move |event: KeyboardEvent| {
        // Enter on a button of the tile is that button's.
        if event.key() == "Enter" && event.target() == event.current_target() {
            toggle_fullscreen(nodes.tile);
        }
    };
    let tile_label = name.clone();
    let video_label = format!("Live picture of {name}");
    view! {
        <article
            class="tile"
            node_ref=nodes.tile
            tabindex="0"
            aria-label=tile_label
            data-testid="camera-tile"
            data-camera-id=id.to_string()
            data-state=move || face.with(|face| face.state)
            data-presented-frames="0"
            data-fps="0.0"
            on:keydown=on_keydown
        >
            <video
                class="tile-video"
                node_ref=nodes.video
                muted
                autoplay
                playsinline
                prop:muted=true
                aria-label=video_label
                on:dblclick=move |_| toggle_fullscreen(nodes.tile)
            ></video>
            <pre
                class="hud"
                node_ref=nodes.hud
                hidden=move || !hud_is_shown.get()
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
                <h2 class="tile-name">{name}</h2>
                <span class="chip" data-testid="tile-chip">
                    {move || face.with(|face| face.label)}
                </span>
                <button
                    class="tile-button"
                    type="button"
                    aria-pressed=move || if hud_is_shown.get() { "true" } else { "false" }
                    title="Figures of this stream"
                    data-testid="hud-toggle"
                    on:click=move |_| hud_is_shown.update(|shown| *shown = !*shown)
                >
                    "HUD"
                </button>
                <button
                    class="tile-button"
                    type="button"
                    aria-label="Full screen"
                    title="Full screen"
                    data-testid="fullscreen"
                    on:click=move |_| toggle_fullscreen(nodes.tile)
                >
                    <svg viewBox="0 0 24 24" aria-hidden="true">
                        <path d="M4 4h6v2H6v4H4zM14 4h6v6h-2V6h-4zM4 14h2v4h4v2H4zM18 14h2v6h-6v-2h4z" />
                    </svg>
                </button>
            </footer>
        </article>
    }
}
