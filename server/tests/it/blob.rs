//! Signed links as browsers follow them: the suite of both stores with a folder's links answered by the program,
//! what may be done with the bytes of users, and what the log must not say.

use std::{fs, time::Duration};

use catalog::{
    BlobStore,
    blob::{FolderStore, LinkSecret, S3Store},
};
use serde_json::{Value, json};
use server::auth::Auth;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use crate::{
    fixture::Application,
    links::{Answer, Linked, http},
    program::{Installation, Server},
    store_suite::{HOUR, attachment, suite},
    weed::Weed,
};

/// What the program signs links with here.
const SECRET: [u8; 32] = [5; 32];
const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0 and whatever else";
const SVG: &[u8] = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";

/// The program on a folder, and that folder.
fn on_a_folder(log: &str) -> (Installation, Server, Linked) {
    let installation = Installation::new();
    let data = installation.dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("link.key"), hex::encode(SECRET)).unwrap();
    let toml = format!("[server]\nlog = \"{log}\"\n[store]\nscan_interval_secs = 0\n");
    installation.configure("data", &toml);
    let server = installation.serve("data");
    let store = FolderStore::open(&data.join("blobs"), LinkSecret::new(SECRET)).unwrap();
    let linked = Linked { store: BlobStore::Folder(store), origin: Some(server.origin()) };
    (installation, server, linked)
}

#[tokio::test]
async fn a_folder_whose_links_the_program_answers_passes_the_suite_of_stores() {
    let (_installation, server, linked) = on_a_folder("info");
    suite(&linked).await;
    server.stop();
}

/// Asserts that the answer cannot run as ours, however it came about.
fn assert_harmless(answer: &Answer, case: &str) {
    let policy = answer.header("content-security-policy");
    assert!(policy.starts_with("sandbox; default-src 'none';"), "{case}: {policy}");
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{case}");
    assert_eq!(answer.header("referrer-policy"), "no-referrer", "{case}");
    assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin", "{case}");
}

#[tokio::test]
async fn every_answer_of_a_signed_link_keeps_user_bytes_from_running() {
    let (_installation, server, linked) = on_a_folder("info");
    let key = "evil.svg".parse().unwrap();
    linked.store.put_bytes(&key, SVG.into(), "image/svg+xml").await.unwrap();
    let get = attachment("evil.svg");
    let url = linked.store.presign_get(&key, HOUR, &get).await.unwrap();
    for (status, header) in [
        (200, ("Accept", "*/*")),
        (206, ("Range", "bytes=0-3")),
        (304, ("If-None-Match", "*")),
        (416, ("Range", "bytes=999-")),
        (412, ("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT")),
    ] {
        let answer = linked.follow(&url, &[header]).await;
        assert_eq!(answer.status, status);
        assert_harmless(&answer, &status.to_string());
        let keep = if status < 400 { "private, max-age=3600" } else { "private, no-store" };
        assert_eq!(answer.header("cache-control"), keep, "{status}");
        assert!(answer.header("content-disposition").starts_with("attachment"), "{status}");
    }
    server.stop();
}

/// Follows the link that a request leads to or answers with.
async fn follow(app: &Application, path: &str) -> Answer {
    let answer = app.send("GET", path, &[], "").await;
    assert_eq!(answer.header("cache-control"), "private, no-store", "{path}");
    let url = match answer.status {
        307 => answer.header("location").to_owned(),
        _ => answer.json().await["url"].as_str().unwrap().to_owned(),
    };
    if url.starts_with("http") {
        return http("GET", &url, &[], b"").await;
    }
    let answer = app.send("GET", &url, &[], "").await;
    let headers = answer.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()));
    let (status, headers) = (answer.status, headers.collect());
    let answer = Answer { status, headers, body: answer.bytes().await.to_vec() };
    assert_harmless(&answer, path);
    answer
}

async fn originals_are_shown_or_saved(app: &Application) {
    let jpeg = app.put_original("a/photo ü.jpg", JPEG.to_vec(), "image/jpeg").await;
    let svg = app.put_original("a/drawing.svg", SVG.to_vec(), "image/svg+xml").await;
    let paths = |id: &str| {
        ["original", "original?download=1", "download"]
            .map(|leaf| format!("/api/assets/{id}/{leaf}"))
    };
    for (path, disposition) in paths(&jpeg).into_iter().zip(["inline", "attachment", "attachment"])
    {
        let answer = follow(app, &path).await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, JPEG), "{path}");
        assert_eq!(answer.header("content-type"), "image/jpeg", "{path}");
        let header = answer.header("content-disposition");
        assert!(
            header.starts_with(&format!("{disposition}; filename=\"photo _.jpg\"")),
            "{header}"
        );
        assert!(header.ends_with("filename*=UTF-8''photo%20%C3%BC.jpg"), "{header}");
    }
    // A browser would run the script in it.
    for path in paths(&svg) {
        let answer = follow(app, &path).await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, SVG), "{path}");
        assert_eq!(answer.header("content-type"), "application/octet-stream", "{path}");
        let header = answer.header("content-disposition");
        assert_eq!(header, "attachment; filename=\"drawing.svg\"", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jpeg_is_shown_and_an_svg_is_only_ever_saved() {
    let folder = tempfile::tempdir().unwrap();
    let app = Application::start(folder.path(), Auth::open(vec![]), "").await;
    originals_are_shown_or_saved(&app).await;
    app.stop().await;

    let folder = tempfile::tempdir().unwrap();
    let weed = Weed::start().await;
    let store = BlobStore::S3(S3Store::new(&weed.config()));
    let app = Application::start_on(folder.path(), Auth::open(vec![]), "", store).await;
    originals_are_shown_or_saved(&app).await;
    app.stop().await;
}

/// Sends, reads, and asks for what is refused, by signed links of the running program; all of them.
async fn use_links(server: &Server) -> Vec<String> {
    let absolute = |url: &str| match url.starts_with("http") {
        true => url.to_owned(),
        false => format!("{}{url}", server.origin()),
    };
    let digest = hex::encode(Sha256::digest(JPEG));
    let new = json!({"name": "a b.jpg", "size": JPEG.len(), "sha256": digest});
    let begun = server.send("POST", "/api/uploads", &new.to_string()).await;
    assert_eq!(begun.status, 201);
    let upload = begun.header("location").to_owned();
    let parts = server.send("POST", &format!("{upload}/parts"), r#"{"numbers": [1]}"#).await;
    let part = absolute(parts.json().await["items"][0]["url"].as_str().unwrap());
    assert_eq!(http("PUT", &part, &[], b"another length").await.status, 403);
    assert_eq!(http("PUT", &part, &[], JPEG).await.status, 200);
    let complete = server.send("POST", &format!("{upload}/complete"), r#"{"parts": []}"#).await;
    assert!([200, 202].contains(&complete.status), "{}", complete.status);
    let asset = async {
        loop {
            let page: Value = server.send("GET", "/api/assets", "").await.json().await;
            if let Some(id) = page["items"][0]["id"].as_str() {
                return id.to_owned();
            }
            tokio::task::yield_now().await;
        }
    };
    let id = timeout(Duration::from_secs(20), asset).await.expect("it is an asset");

    let original = server.send("GET", &format!("/api/assets/{id}/original"), "").await;
    let original = absolute(original.header("location"));
    let download = server.send("GET", &format!("/api/assets/{id}/download"), "").await;
    let download = absolute(download.json().await["url"].as_str().unwrap());
    for url in [&original, &download] {
        assert_eq!(http("GET", url, &[], b"").await.body, JPEG);
        assert_eq!(http("GET", url, &[("Range", "bytes=999-")], b"").await.status, 416);
        assert_eq!(http("GET", &url.replace("jpeg", "html"), &[], b"").await.status, 403);
    }
    vec![part, original, download]
}

/// That none of these links, nor a part of them that is a secret, is in the log.
fn assert_silent(log: &str, links: &[String]) {
    for secret in ["sig=", "exp=", "Signature", "X-Amz-", "x-amz-", "AWS4", "test-secret"] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
    for link in links {
        let (_, query) = link.split_once('?').unwrap();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let is_secret = value.len() >= 32;
            assert!(!is_secret || !log.contains(&*value), "{name} of a link is in the log");
        }
    }
    assert!(!log.contains(&hex::encode(SECRET)));
}

#[tokio::test]
async fn the_log_at_its_most_talkative_says_no_signature_and_no_query() {
    let (installation, server, _linked) = on_a_folder("debug");
    let links = use_links(&server).await;
    server.stop();
    let log = fs::read_to_string(installation.dir.path().join("data.log")).unwrap();
    assert!(log.contains("GET /blob/") && log.contains("PUT /blob/"), "{log}");
    assert!(log.contains("→ 403"), "{log}");
    assert_silent(&log, &links);

    let weed = Weed::start().await;
    let config = weed.config();
    let installation = Installation::new();
    installation.configure(
        "data",
        &format!(
            "[server]\nlog = \"debug\"\n[store]\nendpoint = \"{}\"\naccess_key = \"{}\"\nsecret_key = \"{}\"\n",
            config.endpoint, config.access_key, config.secret_key
        ),
    );
    let server = installation.serve("data");
    let links = use_links(&server).await;
    assert!(links.iter().all(|link| link.contains("X-Amz-Signature=")), "{links:?}");
    server.stop();
    let log = fs::read_to_string(installation.dir.path().join("data.log")).unwrap();
    assert!(log.contains("DEBUG") && log.contains("/original"), "{log}");
    assert_silent(&log, &links);
}
