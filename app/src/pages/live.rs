//! `/live`: every camera at once; `/live?camera=<id>`: one of them, large, in the same session.

use domain::{CameraId, CameraStatus, Role};
use leptos::{ev::KeyboardEvent, prelude::*};
use leptos_meta::Title;
use leptos_router::{
    NavigateOptions,
    hooks::{use_navigate, use_query_map},
};

use crate::{
    api::{self, IceServer},
    browser::{KeyPlace, Wall, go_back},
    components::{CameraTile, Loaded, Standing, solo_path},
    state::focus::Arrow,
};

/// `/live`
#[component]
pub fn LivePage() -> impl IntoView {
    let outcome = api::read(String::new, |_| async {
        Ok((api::list_cameras().await?, api::list_ice_servers().await?))
    });
    let session = api::read(String::new, |_| api::read_session());
    let role = move || session.get().and_then(Result::ok).map(|session| session.role);
    view! {
        <Loaded
            outcome
            title="Live"
            show=move |(cameras, ice_servers)| {
                view! { <CameraWall cameras ice_servers role=role() /> }.into_any()
            }
        />
    }
}

#[component]
fn CameraWall(
    cameras: Vec<CameraStatus>,
    ice_servers: Vec<IceServer>,
    role: Option<Role>,
) -> impl IntoView {
    let can = |needed: Role| role.is_some_and(|role| role.includes(needed));
    let (can_manage, can_publish) = (can(Role::Admin), can(Role::Operator));
    let query = use_query_map();
    let asked = Memo::new(move |_| query.with(|query| query.get("camera")));
    let cameras = RwSignal::new(cameras);
    let wall = Wall::new(cameras, &ice_servers);
    let solo: Memo<Option<CameraId>> = Memo::new(move |_| {
        let asked: CameraId = asked.get()?.parse().ok()?;
        cameras.with(|cameras| cameras.iter().any(|camera| camera.id == asked)).then_some(asked)
    });
    let (go_solo, go_to_grid) = use_solo(cameras, solo);
    Effect::new(move || {
        let solo = solo.get();
        wall.set_solo(solo.clone());
        if let Some(id) = solo {
            // Keys are for the tile that one looks at.
            wall.focus(&id);
        }
    });
    use_keys(wall, cameras, solo, go_solo, go_to_grid);

    let size = move || match cameras.with(Vec::len) {
        _ if solo.with(Option::is_some) => "solo",
        1 => "one",
        2 => "two",
        3..=4 => "few",
        _ => "many",
    };
    let standing = move |id: CameraId| {
        Signal::derive(move || {
            solo.with(|solo| match solo {
                None => Standing::InGrid,
                Some(solo) if *solo == id => Standing::Solo,
                Some(_) => Standing::BehindSolo,
            })
        })
    };
    // The title outlives the page by a moment.
    let solo_name = move || {
        let solo = solo.try_get().flatten()?;
        let name = |cameras: &Vec<CameraStatus>| {
            cameras.iter().find(|camera| camera.id == solo).map(|camera| camera.name.clone())
        };
        cameras.try_with(name).flatten()
    };
    let title = move || match solo_name() {
        Some(name) => format!("{name} · Live"),
        None => "Live".to_owned(),
    };
    let heading = move || solo_name().unwrap_or_else(|| "Live".to_owned());
    let is_unknown = move || asked.with(Option::is_some) && solo.with(Option::is_none);
    let empty = move || cameras.with(Vec::is_empty).then(|| view! { <NoCameras can_manage /> });
    view! {
        <Title text=title />
        <header class="page-head">
            <Show when=move || solo.with(Option::is_some)>
                <a
                    class="back-link"
                    href="/live"
                    data-testid="solo-back"
                    on:click=move |event| {
                        event.prevent_default();
                        go_to_grid.run(());
                    }
                >
                    "← All cameras"
                </a>
            </Show>
            <h1>{heading}</h1>
            <noscript>"Playing live video needs JavaScript. The cameras and their state:"</noscript>
            <Show when=move || can_publish && solo.with(Option::is_none)>
                <For
                    each=move || published_to(&cameras.read())
                    key=|(id, _)| id.clone()
                    let:camera
                >
                    // A document of its own: only that page may use the camera of this computer.
                    <a
                        class="page-action"
                        href=format!("/live/publish/{}", camera.0)
                        rel="external"
                        data-testid="wall-publish-link"
                    >
                        {format!("Publish to {}", camera.1)}
                    </a>
                </For>
            </Show>
            <Show when=move || can_manage && solo.with(Option::is_none)>
                <a class="page-action" href="/live/cameras" data-testid="manage-cameras">
                    "Manage cameras"
                </a>
            </Show>
        </header>
        <Show when=is_unknown>
            <p class="hint" role="alert" data-testid="unknown-camera">
                "There is no camera of that name. "
                <a href="/live">"All cameras"</a>
            </p>
        </Show>
        {empty}
        <div class="live-grid" data-testid="live-grid" data-size=size>
            <For each=move || cameras.get() key=|camera| camera.id.clone() let:camera>
                {
                    let id = camera.id.clone();
                    let standing = standing(id.clone());
                    let on_solo = Callback::new(move |()| go_solo.run(id.clone()));
                    view! { <CameraTile camera cameras wall standing on_solo /> }
                }
            </For>
        </div>
    }
}

/// Cameras whose pictures come from browsers and encoders that push them, with their names.
fn published_to(cameras: &[CameraStatus]) -> Vec<(CameraId, String)> {
    let published = cameras.iter().filter(|camera| camera.source == "whip");
    published.map(|camera| (camera.id.clone(), camera.name.clone())).collect()
}

/// Ways to one camera, and back to all.
fn use_solo(
    cameras: RwSignal<Vec<CameraStatus>>,
    solo: Memo<Option<CameraId>>,
) -> (Callback<CameraId>, Callback<()>) {
    let navigate = StoredValue::new(use_navigate());
    let go = move |path: &str, replace: bool| {
        let options = NavigateOptions { replace, scroll: false, ..Default::default() };
        navigate.with_value(|navigate| navigate(path, options));
    };
    // Whether the page in the browser's history before this one is the grid.
    let came_from_grid = StoredValue::new(false);
    let go_solo = Callback::new(move |id: CameraId| {
        let is_solo = solo.with_untracked(Option::is_some);
        if !is_solo {
            came_from_grid.set_value(true);
        }
        if cameras.with_untracked(|cameras| cameras.len() > 1) {
            go(&solo_path(&id), is_solo);
        }
    });
    let go_to_grid = Callback::new(move |()| {
        if came_from_grid.get_value() {
            came_from_grid.set_value(false);
            go_back();
        } else {
            go("/live", true);
        }
    });
    (go_solo, go_to_grid)
}

/// Arrows lead from tile to tile, Enter makes one large, Escape goes back, f h m are its buttons.
fn use_keys(
    wall: Wall,
    cameras: RwSignal<Vec<CameraStatus>>,
    solo: Memo<Option<CameraId>>,
    go_solo: Callback<CameraId>,
    go_to_grid: Callback<()>,
) {
    let on_key = move |event: KeyboardEvent| {
        let place = wall.key_place(&event);
        if place == KeyPlace::Elsewhere {
            return;
        }
        let solo = solo.get_untracked();
        let only = || {
            cameras.with_untracked(|cameras| match cameras.as_slice() {
                [camera] => Some(camera.id.clone()),
                _ => None,
            })
        };
        let tile = match &place {
            KeyPlace::Tile(id) | KeyPlace::WithinTile(id) => Some(id.clone()),
            KeyPlace::Page | KeyPlace::Elsewhere => solo.clone().or_else(only),
        };
        match (event.key().as_str(), tile) {
            ("Escape", _) if solo.is_some() => {
                go_to_grid.run(());
                if let Some(id) = solo {
                    wall.focus(&id);
                }
            }
            ("Enter", Some(id)) if matches!(place, KeyPlace::Tile(_)) && solo.is_none() => {
                go_solo.run(id);
            }
            ("f", Some(id)) => wall.toggle_fullscreen(&id),
            ("h", Some(id)) => wall.toggle_hud(&id),
            ("m", Some(id)) => wall.toggle_sound(&id),
            (key, _) => match (Arrow::from_key(key), solo) {
                (Some(arrow), Some(solo)) => {
                    match beside(&cameras.read_untracked(), &solo, arrow) {
                        Some(id) => go_solo.run(id),
                        None => return,
                    }
                }
                (Some(arrow), None) => wall.focus_neighbour(arrow),
                (None, _) => return,
            },
        }
        event.prevent_default();
    };
    Effect::new(move || {
        let listening = window_event_listener(leptos::ev::keydown, on_key);
        on_cleanup(move || listening.remove());
    });
}

/// The camera before or after one.
fn beside(cameras: &[CameraStatus], solo: &CameraId, arrow: Arrow) -> Option<CameraId> {
    let here = cameras.iter().position(|camera| camera.id == *solo)?;
    let there = match arrow {
        Arrow::Left => here.checked_sub(1)?,
        Arrow::Right => here + 1,
        Arrow::Up | Arrow::Down => return None,
    };
    cameras.get(there).map(|camera| camera.id.clone())
}

const EXAMPLE: &str = r#"[[cameras]]
id = "door"
name = "Front door"
url = "rtsp://user:password@192.168.1.20/stream1""#;

#[component]
fn NoCameras(can_manage: bool) -> impl IntoView {
    let by_page = can_manage.then(|| {
        view! {
            <p>
                <a class="button primary" href="/live/cameras/new" data-testid="add-camera">
                    "Add a camera"
                </a>
            </p>
        }
    });
    view! {
        <section class="notice" data-testid="empty-state">
            <h2>"No cameras yet"</h2>
            {by_page}
            <p>"Cameras can also be in " <code>"damwall.toml"</code> ":"</p>
            <pre class="example">
                {EXAMPLE}
            </pre>
            <p>
                "or in the environment, as " <code>"CAM_RTSP_DOOR=rtsp://…"</code>
                "; these are read when Damwall starts."
            </p>
        </section>
    }
}

#[cfg(test)]
mod tests {
    use domain::CameraState;

    use super::*;

    fn html(cameras: Vec<CameraStatus>) -> String {
        html_at("/live", cameras)
    }

    fn html_at(path: &str, cameras: Vec<CameraStatus>) -> String {
        Owner::new().with(|| {
            provide_context(leptos_router::location::RequestUrl::new(path));
            leptos_meta::provide_meta_context();
            view! {
                <leptos_router::components::Router>
                    <CameraWall cameras ice_servers=Vec::new() role=Some(Role::Admin) />
                </leptos_router::components::Router>
            }
            .to_html()
        })
    }

    fn lost(id: &str) -> CameraStatus {
        CameraStatus {
            id: id.parse().unwrap(),
            name: format!("The {id}"),
            state: CameraState::Lost { reason: "connection refused".into() },
            viewers: 0,
            source: "rtsp".into(),
            warning: None,
            layers: Vec::new(),
            audio: None,
        }
    }

    #[test]
    fn operators_find_the_publish_page_of_a_camera_that_is_published_to() {
        let studio = CameraStatus { source: "whip".into(), ..lost("studio") };
        let html = html(vec![lost("door"), studio]);
        assert!(html.contains("href=\"/live/publish/studio\""), "{html}");
        assert!(!html.contains("/live/publish/door"), "{html}");
    }

    #[test]
    fn wall_without_cameras_says_how_to_add_one() {
        let html = html(Vec::new());
        assert!(html.contains(r#"data-testid="empty-state""#), "{html}");
        assert!(html.contains("CAM_RTSP_DOOR"), "{html}");
    }

    #[test]
    fn camera_is_listed_with_its_state_before_anything_plays() {
        let html = html(vec![lost("door")]);
        assert!(html.contains(r#"data-camera-id="door""#), "{html}");
        assert!(html.contains(r#"data-state="offline""#), "{html}");
        assert!(html.contains("connection refused"), "{html}");
        assert!(html.contains("muted"), "{html}");
        assert!(!html.contains(" style="), "{html}");
    }

    #[test]
    fn address_of_one_camera_shows_it_alone() {
        let html = html_at("/live?camera=yard", vec![lost("door"), lost("yard")]);
        assert!(html.contains(r#"data-size="solo""#), "{html}");
        assert_eq!(html.matches(r#"data-standing="solo""#).count(), 1, "{html}");
        assert_eq!(html.matches(r#"data-standing="behind""#).count(), 1, "{html}");
        assert!(html.contains("<h1>The yard<"), "{html}");
    }

    #[test]
    fn address_of_no_camera_says_so_and_shows_all() {
        let html = html_at("/live?camera=attic", vec![lost("door")]);
        assert!(html.contains(r#"data-testid="unknown-camera""#), "{html}");
        assert!(html.contains(r#"data-standing="grid""#), "{html}");
    }

    #[test]
    fn arrows_in_solo_lead_to_the_next_camera() {
        let cameras = [lost("a"), lost("b"), lost("c")];
        let check = |from: &str, arrow, to: Option<&str>| {
            let to = to.map(|id| id.parse().unwrap());
            assert_eq!(beside(&cameras, &from.parse().unwrap(), arrow), to, "{from} {arrow:?}");
        };
        check("b", Arrow::Right, Some("c"));
        check("b", Arrow::Left, Some("a"));
        check("c", Arrow::Right, None);
        check("a", Arrow::Left, None);
        check("b", Arrow::Up, None);
        check("x", Arrow::Left, None);
    }
}
