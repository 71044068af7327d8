//! Uploads over HTTP into the folder store: every answer, and that nothing is left of what is refused.

use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::stream;
use serde_json::{Value, json};
use server::auth::Auth;
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Answer, Application, TOKEN};

/// The beginning of a JPEG is all that is looked at here.
const PICTURE: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0 and whatever else";

fn announced(bytes: &[u8]) -> Value {
    json!({
        "name": "a b.jpg",
        "size": bytes.len(),
        "sha256": hex::encode(Sha256::digest(bytes)),
        "folder": "takes",
    })
}

async fn put(application: &Application, url: &str, body: impl Into<Body>) -> Answer {
    application.send("PUT", url, &[], body).await
}

/// An upload of [`PICTURE`] and the link of its only part.
async fn begun(application: &Application) -> (String, String) {
    let created = application.send_json("POST", "/api/uploads", announced(PICTURE)).await;
    assert_eq!(created.status, 201);
    let path = created.header("location").to_owned();
    let upload = created.json().await;
    assert_eq!((upload["state"].as_str(), &upload["parts_done"]), (Some("open"), &json!([])));
    let parts = format!("{path}/parts");
    let links = application.send_json("POST", &parts, json!({"numbers": [1]})).await.json().await;
    assert_eq!(links["items"][0]["size"], PICTURE.len());
    let url = links["items"][0]["url"].as_str().unwrap().to_owned();
    (path, url)
}

fn files_below(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files_below(&entry.path())),
            false => found.push(entry.file_name().into_string().unwrap()),
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_announced_sent_completed_and_read_by_ranges() {
    let folder = tempfile::tempdir().unwrap();
    let open = Application::start(folder.path(), Auth::open(vec![]), "").await;
    let token = CancellationToken::new();
    let (uploads, stop) = (open.uploads.clone(), token.clone());
    let verifier = tokio::spawn(async move { uploads.run(stop).await });

    let (path, url) = begun(&open).await;
    let listed = open.send("GET", "/api/uploads", &[], "").await.json().await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let early = open.send_json("POST", &format!("{path}/complete"), json!({"parts": []})).await;
    assert!(early.problem(409).await.contains("missing: 1"));

    let sent = put(&open, &url, PICTURE).await;
    assert_eq!((sent.status, sent.header("cache-control")), (200, "no-store"));
    let etag = sent.header("etag").to_owned();
    let parts = json!({"parts": [{"number": 1, "etag": etag}]});
    let wrong = json!({"parts": [{"number": 1, "etag": "\"other\""}]});
    let refused = open.send_json("POST", &format!("{path}/complete"), wrong).await;
    assert!(refused.problem(409).await.contains("another etag"));
    let complete = open.send_json("POST", &format!("{path}/complete"), parts.clone()).await;
    assert!([200, 202].contains(&complete.status), "{}", complete.status);
    let verified = async {
        while open.send("GET", &path, &[], "").await.json().await["state"] != "done" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), verified).await.expect("it is an asset");
    let done = open.send_json("POST", &format!("{path}/complete"), parts).await;
    assert_eq!(done.status, 200);
    let asset = done.json().await;
    assert_eq!(
        (asset["name"].as_str(), asset["folder"].as_str()),
        (Some("a b.jpg"), Some("takes"))
    );

    let known = open.send_json("POST", "/api/uploads", announced(PICTURE)).await;
    assert_eq!((known.status, known.json().await["id"].clone()), (200, asset["id"].clone()));

    let original = format!("/api/assets/{}/original", asset["id"].as_str().unwrap());
    let link = open.send("GET", &original, &[], "").await.header("location").to_owned();
    let range = open.send("GET", &link, &[("range", "bytes=2-4")], "").await;
    let etag = range.header("etag").to_owned();
    assert_eq!((range.status, range.bytes().await), (206, Bytes::from_static(&PICTURE[2..5])));
    let same = open.send("GET", &link, &[("if-none-match", &etag)], "").await;
    assert_eq!(same.status, 304);

    token.cancel();
    verifier.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_an_upload_is_said_with_a_clear_status() {
    let folder = tempfile::tempdir().unwrap();
    let open = Application::start(folder.path(), Auth::open(vec![]), "").await;
    let with = |field: &str, value: Value| {
        let mut new = announced(PICTURE);
        new[field] = value;
        new
    };
    for (new, named) in [
        (with("name", json!("../a.jpg")), "name"),
        (with("name", json!("")), "name"),
        (with("size", json!(0)), "size"),
        (with("size", json!(-1)), "expected u64"),
        (with("size", json!(u64::MAX)), "size"),
        (with("sha256", json!("AB")), "sha256"),
        (with("folder", json!("a/../../b")), "folder"),
        (with("modified_ms", json!(i64::MAX)), "modified_ms"),
        (with("key", json!("blobs/sha256/x")), "key"),
        (json!([]), "JSON"),
    ] {
        let refused = open.send_json("POST", "/api/uploads", new.clone()).await;
        let detail = refused.problem(400).await;
        assert!(detail.contains(named) || named == "JSON", "{new}: {detail}");
    }
    let (path, url) = begun(&open).await;
    for numbers in [json!([]), json!([0]), json!([2]), json!(vec![1; 101])] {
        let refused =
            open.send_json("POST", &format!("{path}/parts"), json!({"numbers": numbers})).await;
        refused.problem(400).await;
    }
    for id in ["nonsense", "../../etc/passwd", &"ab".repeat(16)] {
        let id = id.replace('/', "%2F");
        open.send("GET", &format!("/api/uploads/{id}"), &[], "").await.problem(404).await;
        open.send("DELETE", &format!("/api/uploads/{id}"), &[], "").await.problem(404).await;
    }

    let longer = [PICTURE, b"x"].concat();
    let announced_longer = [("content-length", "1000000000000")];
    open.send("PUT", &url, &announced_longer, "").await.problem(403).await;
    put(&open, &url, longer).await.problem(403).await;
    put(&open, &url, &PICTURE[1..]).await.problem(403).await;
    let unsigned = url.split('?').next().unwrap();
    put(&open, unsigned, PICTURE).await.problem(403).await;
    put(&open, &url.replace("part=1", "part=2"), PICTURE).await.problem(403).await;
    put(&open, &url.replace("exp=", "exp=9"), PICTURE).await.problem(403).await;
    let foreign = [("origin", "https://evil.example")];
    open.send("PUT", &url, &foreign, PICTURE).await.problem(403).await;
    open.send("GET", &url, &[], "").await.problem(403).await;
    // Cut off in the middle.
    let cut =
        stream::iter([Ok(Bytes::from_static(&PICTURE[..5])), Err(std::io::Error::other("cut"))]);
    put(&open, &url, Body::from_stream(cut)).await.problem(400).await;
    let left = || {
        let mut left = files_below(&folder.path().join("blobs"));
        left.retain(|name| name != "store-id");
        left
    };
    assert_eq!(left(), ["key"], "nothing of what was refused is left");

    assert_eq!(open.send("DELETE", &path, &[], "").await.status, 204);
    put(&open, &url, PICTURE).await.problem(404).await;
    assert_eq!(left(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_is_said_in_a_sentence_and_pages_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let open = Application::start(folder.path(), Auth::open(vec![]), "").await;
    let (_, url) = begun(&open).await;
    let blobs = folder.path().join("blobs");
    std::fs::remove_dir_all(&blobs).unwrap();
    std::fs::write(&blobs, "in the way").unwrap();
    let other = [PICTURE, b"other"].concat();
    let refused = open.send_json("POST", "/api/uploads", announced(&other)).await;
    assert_eq!(refused.header("retry-after"), "5");
    assert!(refused.problem(503).await.contains("the blob store is not available"));
    put(&open, &url, PICTURE).await.problem(404).await;
    for page in ["/assets", "/assets/upload", "/api/assets"] {
        assert_eq!(open.send("GET", page, &[], "").await.status, 200, "{page}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_without_javascript_leads_to_the_asset_or_back_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let open = Application::start(folder.path(), Auth::open(vec![]), "").await;
    let submit = |parts: Vec<(&'static str, Option<&'static str>, Vec<u8>)>| {
        let mut body = Vec::new();
        for (name, file, bytes) in parts {
            let file = file.map_or(String::new(), |file| format!("; filename=\"{file}\""));
            body.extend_from_slice(
                format!("--X\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n")
                    .as_bytes(),
            );
            body.extend_from_slice(&bytes);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--X--\r\n");
        let open = &open;
        async move {
            let form = [("content-type", "multipart/form-data; boundary=X")];
            let answer = open.send("POST", "/api/uploads/form", &form, body).await;
            assert_eq!(answer.status, 303);
            answer.header("location").to_owned()
        }
    };
    let picture = || ("file", Some("a.jpg"), PICTURE.to_vec());
    let page = submit(vec![("folder", None, b"/by form/".to_vec()), picture()]).await;
    let hash = hex::encode(Sha256::digest(PICTURE));
    assert_eq!(page, format!("/assets/sha256:{hash}"));
    let asset = open.send("GET", &format!("/api{page}"), &[], "").await.json().await;
    assert_eq!(asset["folder"], "by form");
    assert_eq!(submit(vec![picture(), picture()]).await, "/assets");

    let told = |codes: &str, added: u8, left: u8| {
        format!("/assets/upload?refused={codes}&added={added}&left={left}")
    };
    let refused = |code: &str| told(code, 0, 0);
    assert_eq!(submit(vec![]).await, refused("empty"));
    assert_eq!(submit(vec![("file", Some(""), vec![])]).await, refused("empty"));
    let text = || ("file", Some("a.jpg"), b"text".to_vec());
    assert_eq!(submit(vec![text()]).await, told("not-media", 0, 1));
    let badly_named = ("file", Some("../a"), PICTURE.to_vec());
    assert_eq!(submit(vec![badly_named.clone()]).await, told("bad-name", 0, 1));
    // The others are taken, whatever comes before them.
    let empty = ("file", Some("a.jpg"), Vec::new());
    let another = ("file", Some("b.jpg"), [PICTURE, b"another"].concat());
    let mixed = submit(vec![text(), picture(), badly_named, empty, text(), another]).await;
    assert_eq!(mixed, told("bad-name.empty-file.not-media", 2, 4));
    let dots = ("folder", None, b"..".to_vec());
    let other = [PICTURE, b"other"].concat();
    let in_dots = submit(vec![dots, ("file", Some("a.jpg"), other)]).await;
    assert_eq!(in_dots, refused("bad-folder"));
    let huge = vec![7; 33 << 20];
    assert_eq!(submit(vec![("file", Some("a.jpg"), huge)]).await, refused("too-large"));
    let form = [("content-type", "text/plain")];
    let other = open.send("POST", "/api/uploads/form", &form, "x").await;
    assert_eq!(other.header("location"), refused("malformed"));
    assert!(
        !folder.path().join("data/tmp").exists()
            || files_below(&folder.path().join("data/tmp")).is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_are_for_those_who_are_logged_in() {
    let folder = tempfile::tempdir().unwrap();
    let closed = Application::start(folder.path(), Auth::token(TOKEN), "").await;
    let id = "ab".repeat(16);
    for (method, path) in [
        ("GET", "/api/uploads".to_owned()),
        ("POST", "/api/uploads".to_owned()),
        ("POST", "/api/uploads/form".to_owned()),
        ("GET", format!("/api/uploads/{id}")),
        ("DELETE", format!("/api/uploads/{id}")),
        ("POST", format!("/api/uploads/{id}/parts")),
        ("POST", format!("/api/uploads/{id}/complete")),
        ("GET", "/assets/upload".to_owned()),
    ] {
        assert_eq!(closed.send(method, &path, &[], "").await.status, 401, "{method} {path}");
    }
}
