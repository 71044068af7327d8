//! Cameras by the API, beside those of the configuration file.

use std::time::Duration;

use app::ssr::{CameraAdmin as _, CameraAdminError};
use catalog::Catalog;
use domain::{CameraDefinition, CameraDetails};
use media::live::Live;
use serde_json::{Value, json};
use server::{auth::Auth, cameras::CameraRegistry, config::Config};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    database::{Database, on_both},
    fixture::{Application, TEST_CAMERA, config, start_live},
};

async fn ids(application: &Application) -> Vec<String> {
    // The live plane's own list: what runs, not what was written down.
    let configs = application.live.cameras().configs();
    configs.iter().map(|camera| camera.id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_is_added_shown_changed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let application = Application::start(folder.path(), Auth::open(vec![]), "").await;
    let definition = json!({
        "id": "yard", "name": "Yard", "url": "rtsp://admin:s3cret@127.0.0.1:9/main?pw=s3cret",
        "sub_url": "rtsp://127.0.0.1:9/sub", "on_demand": true, "audio": false,
        "rtsp_transport": "udp", "media": { "max_kbps": 8000 },
    });
    let created = application.send_json("POST", "/api/cameras", definition).await;
    assert_eq!((created.status, created.header("location")), (201, "/api/cameras/yard"));
    let shown = json!({
        "id": "yard", "name": "Yard", "url": "rtsp://127.0.0.1:9/…", "url_has_credentials": true,
        "sub_url": "rtsp://127.0.0.1:9/…", "sub_url_has_credentials": false, "on_demand": true,
        "audio": false, "rtsp_transport": "udp", "managed": "api",
        "media": {
            "target_kbps": 3000, "max_kbps": 8000, "min_kbps": 600, "key_frame_interval_ms": 1500,
            "jitter_buffer_ms": 60, "simulcast": true,
        },
    });
    assert_eq!(created.json().await, shown);
    let found = application.send("GET", "/api/cameras/yard", &[], "").await;
    assert_eq!(found.header("cache-control"), "private, no-store");
    assert_eq!(found.json().await, shown);

    // Without a URL: the one there was, password and all.
    let before = application.live.cameras().config(&"yard".parse().unwrap()).unwrap();
    let change = json!({ "id": "yard", "name": "Back yard", "on_demand": true });
    let changed = application.send_json("PUT", "/api/cameras/yard", change).await;
    assert_eq!(changed.status, 200);
    assert_eq!(changed.json().await["name"], "Back yard");
    let after = application.live.cameras().config(&"yard".parse().unwrap()).unwrap();
    assert_eq!((after.source, after.sub), (before.source, before.sub));
    assert!(after.audio, "what is left out is as by default");

    let again = json!({ "id": "yard", "url": "test:" });
    let text = application.send_json("POST", "/api/cameras", again).await.problem(409).await;
    assert!(text.contains("yard"), "{text}");
    assert_eq!(application.send("DELETE", "/api/cameras/yard", &[], "").await.status, 204);
    assert!(ids(&application).await.is_empty());
    for method in ["GET", "DELETE"] {
        application.send(method, "/api/cameras/yard", &[], "").await.problem(404).await;
    }
    let change = json!({ "id": "yard", "url": "test:" });
    application.send_json("PUT", "/api/cameras/yard", change).await.problem(404).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cameras_of_the_api_are_there_after_a_restart_and_the_file_wins() {
    let folder = tempfile::tempdir().unwrap();
    let application = Application::start(folder.path(), Auth::open(vec![]), "").await;
    for id in ["door", "yard"] {
        let camera = json!({ "id": id, "url": "test:640x360" });
        assert_eq!(application.send_json("POST", "/api/cameras", camera).await.status, 201);
    }
    application.live.close_cameras().await;
    drop(application);

    let application = Application::start(folder.path(), Auth::open(vec![]), TEST_CAMERA).await;
    assert_eq!(ids(&application).await, ["door", "yard"]);
    application.wait_live("yard").await;
    let list = application.send("GET", "/api/cameras", &[], "").await.json().await;
    let managed: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|c| (&c["id"], &c["managed"])).collect();
    assert_eq!(managed, [(&json!("door"), &json!("config")), (&json!("yard"), &json!("api"))]);
    let of_file = application.send("GET", "/api/cameras/door", &[], "").await.json().await;
    assert_eq!(of_file["url"], "test:320x180");
    let change = json!({ "id": "door", "url": "test:" });
    for refused in [
        application.send_json("POST", "/api/cameras", change.clone()).await,
        application.send_json("PUT", "/api/cameras/door", change).await,
        application.send("DELETE", "/api/cameras/door", &[], "").await,
    ] {
        let text = refused.problem(409).await;
        assert!(text.contains("configuration file") && text.contains("SIGHUP"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_is_read_again_changes_only_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!("{TEST_CAMERA}[[cameras]]\nid = \"gate\"\nurl = \"test:128x128\"\n");
    let application = Application::start(folder.path(), Auth::open(vec![]), &toml).await;
    let yard = json!({ "id": "yard", "url": "test:64x64" });
    assert_eq!(application.send_json("POST", "/api/cameras", yard).await.status, 201);
    application.wait_live("door").await;
    application.wait_live("gate").await;

    let toml = format!("{TEST_CAMERA}[[cameras]]\nid = \"yard\"\nurl = \"test:256x256\"\n");
    application.cameras.set_config(config(folder.path(), &toml).cameras()).await;
    assert_eq!(ids(&application).await, ["door", "yard"]);
    let source = |id: &str| {
        let config = application.live.cameras().config(&id.parse().unwrap()).unwrap();
        config.source.to_string()
    };
    assert_eq!(source("yard"), "test:256x256", "the file wins");
    let (door, _) = application.session().await;
    application.cameras.set_config(config(folder.path(), TEST_CAMERA).cameras()).await;
    assert_eq!(source("yard"), "test:64x64", "the API's own again");
    assert_eq!(application.send("DELETE", &door, &[], "").await.status, 200, "its session goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_definition_is_refused_with_a_sentence_and_nothing_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let application = Application::start(folder.path(), Auth::open(vec![]), "").await;
    for bad in [
        json!(null),
        json!([]),
        json!({}),
        json!({ "id": "a" }),
        json!({ "id": "../a", "url": "test:" }),
        json!({ "id": 1, "url": "test:" }),
        json!({ "id": "a", "url": ["s3cret"] }),
        json!({ "id": "a", "url": "http://admin:s3cret@host/" }),
        json!({ "id": "a", "url": "test:", "sub_url": "s3cret" }),
        json!({ "id": "a", "url": "test:", "rtsp_transport": "quic" }),
        json!({ "id": "a", "url": "test:", "name": "x".repeat(5000) }),
        json!({ "id": "a", "url": "test:", "colour": "red" }),
    ] {
        let text = application.send_json("POST", "/api/cameras", bad).await.problem(400).await;
        assert!(!text.contains("s3cret"), "{text}");
    }
    let json = [("content-type", "application/json")];
    application.send("POST", "/api/cameras", &json, "{\"id\":").await.problem(400).await;
    application.send("POST", "/api/cameras", &json, vec![0xff; 64]).await.problem(400).await;
    application.send("POST", "/api/cameras", &json, vec![b' '; 100_000]).await.problem(413).await;
    application.send("POST", "/api/cameras", &[], "{}").await.problem(415).await;
    // `/api/cameras/probe` and `/live/cameras/new` are none of a camera's.
    for reserved in ["probe", "new"] {
        let camera = json!({ "id": reserved, "url": "test:" });
        application.send_json("POST", "/api/cameras", camera).await.problem(409).await;
    }
    let other = json!({ "id": "b", "url": "test:" });
    application.send_json("PUT", "/api/cameras/a", other).await.problem(400).await;
    assert!(ids(&application).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_says_why_a_camera_cannot_be_reached_and_never_repeats_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let application = Application::start(folder.path(), Auth::open(vec![]), "").await;
    // Port 9 (discard) has no listener here.
    let url = json!({ "url": "rtsp://admin:s3cret@127.0.0.1:9/stream" });
    let text = application.send_json("POST", "/api/cameras/probe", url).await.problem(502).await;
    assert!(text.contains("connection refused") && !text.contains("s3cret"), "{text}");
    for bad in ["test:", "http://admin:s3cret@host/", "", "\0"] {
        let url = json!({ "url": bad });
        let text =
            application.send_json("POST", "/api/cameras/probe", url).await.problem(400).await;
        assert!(!text.contains("s3cret"), "{text}");
    }
}

/// One of several servers on a catalog, as far as cameras go.
struct Replica {
    catalog: Catalog,
    live: Live,
    cameras: CameraRegistry,
}

impl Replica {
    async fn start(db: &Database) -> Self {
        let catalog = db.open().await;
        let live = start_live(&Config::default()).await;
        let registry = CameraRegistry::start(catalog.clone(), live.cameras().clone(), Vec::new());
        let cameras = registry.await.unwrap();
        Self { catalog, live, cameras }
    }

    /// Hears what others do, until the handle is dropped.
    fn follow(&self) -> AbortOnDropHandle<()> {
        let (cameras, changes) = (self.cameras.clone(), self.catalog.changes());
        let run = async move { cameras.run(changes, CancellationToken::new()).await };
        AbortOnDropHandle::new(tokio::spawn(run))
    }

    async fn create(&self, camera: Value) -> Result<CameraDetails, CameraAdminError> {
        self.cameras.create(definition(camera)).await
    }

    async fn update(&self, camera: Value) -> Result<CameraDetails, CameraAdminError> {
        self.cameras.update(definition(camera)).await
    }

    /// Waits until the live plane runs cameras of these ids and names, and no others.
    async fn wait_runs(&self, expected: &[(&str, &str)]) {
        let mut statuses = self.live.statuses();
        let is_so = statuses.wait_for(|cameras| {
            cameras.iter().map(|c| (c.id.as_str(), c.name.as_str())).eq(expected.iter().copied())
        });
        let waited = timeout(Duration::from_secs(20), is_so).await.map(|found| found.is_ok());
        assert_eq!(waited, Ok(true), "{expected:?}, not {:?}", self.live.cameras().configs());
    }
}

fn definition(json: Value) -> CameraDefinition {
    serde_json::from_value(json).unwrap()
}

on_both! {
    async fn servers_of_one_catalog_run_the_same_cameras(db: Database) {
        let (one, two) = (Replica::start(&db).await, Replica::start(&db).await);
        let _following = (one.follow(), two.follow());
        one.create(json!({ "id": "yard", "url": "test:64x64" })).await.unwrap();
        two.wait_runs(&[("yard", "yard")]).await;
        // Its URL is the one that the other server was told.
        two.update(json!({ "id": "yard", "name": "Back yard" })).await.unwrap();
        one.wait_runs(&[("yard", "Back yard")]).await;
        let id = "yard".parse().unwrap();
        assert_eq!(one.live.cameras().config(&id), two.live.cameras().config(&id));
        one.cameras.remove(id).await.unwrap();
        two.wait_runs(&[]).await;
    }

    async fn a_camera_that_another_server_made_or_removed_is_not_overwritten(db: Database) {
        // Neither has heard of what the other does.
        let (one, two) = (Replica::start(&db).await, Replica::start(&db).await);
        one.create(json!({ "id": "door", "name": "One's", "url": "test:64x64" })).await.unwrap();
        let again = two.create(json!({ "id": "door", "url": "test:128x128" })).await;
        assert!(matches!(again, Err(CameraAdminError::Conflict(_))), "{again:?}");
        let changed = two.update(json!({ "id": "door", "name": "Two's" })).await.unwrap();
        assert_eq!((changed.name.as_str(), changed.url.as_str()), ("Two's", "test:64x64"));
        one.cameras.remove("door".parse().unwrap()).await.unwrap();
        let gone = two.update(json!({ "id": "door", "name": "Two's" })).await;
        assert_eq!(gone.unwrap_err(), CameraAdminError::NotFound);

        // At once, so that each finds the id free.
        for number in 0..10 {
            let camera = |name| json!({ "id": format!("c{number}"), "name": name, "url": "test:64x64" });
            let made = tokio::join!(one.create(camera("One's")), two.create(camera("Two's")));
            let (winner, loser) = match made {
                (Ok(made), Err(refused)) | (Err(refused), Ok(made)) => (made, refused),
                both => panic!("{both:?}"),
            };
            assert!(matches!(loser, CameraAdminError::Conflict(_)), "{loser:?}");
            let kept = one.catalog.camera_definitions().await.unwrap();
            let (_, kept) = kept.iter().find(|(id, _)| *id == winner.id.as_str()).unwrap();
            assert_eq!(serde_json::from_str::<Value>(kept).unwrap()["name"], winner.name.as_str());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_is_told_where_its_form_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let application = Application::start(folder.path(), Auth::open(vec![]), TEST_CAMERA).await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for (path, body, field) in [
        ("/fn/camera-add", "camera[id]=door&camera[url]=test:", json!("id")),
        ("/fn/camera-save", "camera[id]=door", json!(null)),
        ("/fn/camera-remove", "id=door", json!(null)),
    ] {
        let error = application.send("POST", path, &form, body).await.json().await;
        assert_eq!(error["field"], field, "{path}: {error}");
        assert!(error["message"].as_str().unwrap().contains("configuration file"), "{error}");
    }
}
