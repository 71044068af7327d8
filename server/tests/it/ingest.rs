//! What comes into the library: events of the store, and commands that are killed in the middle.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use catalog::{Catalog, CatalogUrl};
use domain::{AssetQuery, PageLimit};
use proptest::prelude::*;
use serde_json::json;
use server::auth::Auth;
use tokio::sync::mpsc;

use crate::{
    damwall,
    fixture::Application,
    program::{Installation, write_picture},
    stderr, stdout,
};

const EVENTS: &str = "[store]\nevents_token = \"the-events-token\"\n";
const JSON: (&str, &str) = ("content-type", "application/json");
const BEARER: (&str, &str) = ("authorization", "Bearer the-events-token");

fn message(bucket: &str, key: &str) -> String {
    let record = json!({"eventName": "s3:ObjectCreated:Put",
        "s3": {"bucket": {"name": bucket}, "object": {"key": key}}});
    json!({"EventName": "s3:ObjectCreated:Put", "Key": key, "Records": [record]}).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_tells_of_changed_objects_with_its_own_token() {
    let folder = tempfile::tempdir().unwrap();
    // The server's token is none of the store's business.
    let auth = Auth::token(crate::fixture::TOKEN);
    let mut app = Application::start(folder.path(), auth, EVENTS).await;
    let told = message("media", "trip%2Fday+1%2Fa%C3%BC.jpg");
    for header in [BEARER, ("authorization", "the-events-token")] {
        let taken = app.send("POST", "/events", &[JSON, header], told.clone()).await;
        assert_eq!(taken.status, 202);
        assert_eq!(taken.json().await, json!({"accepted": 1, "ignored": 0}));
        assert_eq!(app.changed.recv().await.unwrap().as_str(), "trip/day 1/aü.jpg");
    }
    let foreign = app.send("POST", "/events", &[JSON, BEARER], message("other", "a.jpg")).await;
    assert_eq!(foreign.json().await, json!({"accepted": 0, "ignored": 1}));
    let trick = app.send("POST", "/events", &[JSON, BEARER], message("media", "..%2f..%2fx")).await;
    assert_eq!(trick.json().await, json!({"accepted": 0, "ignored": 1}));

    for wrong in [("authorization", "Bearer x"), ("authorization", ""), ("x", "y")] {
        let refused = app.send("POST", "/events", &[JSON, wrong], told.clone()).await;
        assert_eq!(refused.header("www-authenticate"), "Bearer");
        refused.problem(401).await;
    }
    for bad in ["", "[]", "{\"Records\":[{}]}", "{\"Records\":{}}"] {
        app.send("POST", "/events", &[JSON, BEARER], bad).await.problem(400).await;
    }
    let large = vec![b' '; (1 << 20) + 1];
    app.send("POST", "/events", &[JSON, BEARER], large).await.problem(413).await;
    app.send("GET", "/events", &[BEARER], "").await.problem(405).await;
    let changed = std::sync::Mutex::new(std::mem::replace(&mut app.changed, mpsc::channel(1).1));
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        proptest!(ProptestConfig::with_cases(300), |(
            text in "\\PC{0,60}", key in "(%[0-9a-f]{2}|[./a%+]){0,12}", bytes: Vec<u8>,
        )| {
            for body in [text.into_bytes(), message("media", &key).into_bytes(), bytes] {
                let answer = runtime.block_on(app.send("POST", "/events", &[JSON, BEARER], body));
                prop_assert!(matches!(answer.status, 202 | 400), "{}", answer.status);
                while let Ok(key) = changed.lock().unwrap().try_recv() {
                    prop_assert!(key.segments().all(|segment| segment != ".."));
                }
            }
        });
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_for_them_no_events_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let app = Application::start(folder.path(), Auth::open(vec![]), "").await;
    app.send("POST", "/events", &[JSON, BEARER], message("media", "a")).await.problem(404).await;
}

fn picture(n: u32) -> Vec<u8> {
    [b"\xff\xd8\xff\xe0\0\x10JFIF\0".as_slice(), &n.to_be_bytes()].concat()
}

#[tokio::test]
async fn a_look_through_the_store_that_was_killed_goes_on_and_finds_everything_once() {
    const OBJECTS: u32 = 3500;
    let folder = tempfile::tempdir().unwrap();
    let blobs = folder.path().join("data/blobs");
    for n in 0..OBJECTS {
        let path = blobs.join(format!("shoot {:02}/{n:05}.jpg", n % 20));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, picture(n)).unwrap();
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_damwall"))
        .arg("reindex")
        .current_dir(folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A line after each page: killed while it is at the third.
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while lines.next().unwrap().unwrap() != "2000 objects" {}
    child.kill().unwrap();
    child.wait().unwrap();

    let catalog = folder.path().join("data/catalog.sqlite");
    let catalog = Catalog::open(&CatalogUrl::Sqlite(catalog)).await.unwrap();
    let before = catalog.counts().await.unwrap().assets;
    assert!((1000..u64::from(OBJECTS)).contains(&before), "{before}");
    // Waits until the killed one's lease is over.
    let output = damwall(folder.path(), &["reindex", "--resume", "--json"], &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let summary: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert!(summary["listed"].as_u64().unwrap() < u64::from(OBJECTS), "it went on: {summary}");
    assert_eq!(catalog.counts().await.unwrap().assets, u64::from(OBJECTS));

    let query = AssetQuery { limit: PageLimit::try_from(500).unwrap(), ..AssetQuery::default() };
    let (mut keys, mut page) = (std::collections::HashSet::new(), query.clone());
    loop {
        let found = catalog.list_assets(&page).await.unwrap();
        keys.extend(found.items.into_iter().map(|asset| asset.key));
        match found.next_cursor {
            Some(cursor) => page = query.after(cursor),
            None => break,
        }
    }
    assert_eq!(keys.len(), OBJECTS as usize);
}

#[test]
fn an_import_tells_programs_what_it_did_and_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("in/day")).unwrap();
    std::fs::write(folder.path().join("in/a.jpg"), picture(1)).unwrap();
    std::fs::write(folder.path().join("in/day/same.jpg"), picture(1)).unwrap();
    std::fs::write(folder.path().join("in/note.txt"), "hello").unwrap();
    let import = ["import", "in", "--folder", "Studio/2026", "--json"];
    let output = damwall(folder.path(), &import, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let lines: Vec<serde_json::Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.last().unwrap();
    assert_eq!(
        (&summary["event"], &summary["imported"], &summary["already_there"], &summary["skipped"]),
        (&json!("summary"), &json!(1), &json!(1), &json!(1))
    );
    assert_eq!(lines.iter().filter(|line| line["event"] == "file").count(), 3);
    let again = damwall(folder.path(), &["import", "in"], &[]);
    assert!(
        stdout(&again).starts_with("0 imported, 2 already there, 1 skipped"),
        "{}",
        stdout(&again)
    );
    let bad = damwall(folder.path(), &["import", "in", "--folder", "../x"], &[]);
    assert!(!bad.status.success() && stderr(&bad).contains("--folder"), "{}", stderr(&bad));
}

#[test]
fn an_import_leaves_out_the_store_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = "[server]\ndata_dir = \"state\"\n[store]\nroot = \"kept\"\n";
    std::fs::write(folder.path().join("damwall.toml"), store).unwrap();
    std::fs::write(folder.path().join("a.jpg"), picture(1)).unwrap();
    // Something that was made of another original.
    std::fs::create_dir_all(folder.path().join("kept/derived")).unwrap();
    std::fs::write(folder.path().join("kept/derived/b.jpg"), picture(2)).unwrap();
    for expected in ["1 imported, 0 already there", "0 imported, 1 already there"] {
        let output = damwall(folder.path(), &["import", "."], &[]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stdout(&output).starts_with(expected), "{}", stdout(&output));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_takes_what_is_put_into_a_watched_folder_and_what_the_store_tells_of() {
    const LIST: &str = "/assets?limit=100";
    let installation = Installation::new();
    let watched = installation.dir.path().join("in");
    std::fs::create_dir(&watched).unwrap();
    // It never looks by itself.
    let toml = format!(
        "{EVENTS}scan_interval_secs = 0\n[[watch]]\npath = \"in\"\nfolder = \"Desk\"\nsettle_secs = 1\n"
    );
    installation.configure("data", &toml);
    let server = installation.serve("data");
    write_picture(&watched, "watched.png", 1);
    server.time_until(LIST, "watched.png").await;
    let list = server.send("GET", "/api/assets?folder=Desk", "").await.json().await;
    assert_eq!(list["items"][0]["name"], "watched.png");

    write_picture(&installation.dir.path().join("data/blobs/by hand"), "behind.png", 2);
    let told = message("media", "by+hand%2Fbehind.png");
    let taken = server.send_with("POST", "/events", &[JSON, BEARER], &told).await;
    assert_eq!(taken.status, 202);
    server.time_until(LIST, "behind.png").await;
}
