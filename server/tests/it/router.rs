//! Who may come to each route, and how long its answer may be kept, on the real router.

use std::{io, sync::Arc};

use axum::http::StatusCode;
use flate2::read::GzDecoder;
use server::auth::Auth;

use crate::fixture::{Application, TOKEN};

const ID: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

struct Answer {
    status: StatusCode,
    cache_control: String,
    content_type: String,
}

async fn ask(
    application: &Application,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let answer = application.send(method, path, headers, "").await;
    for name in ["content-security-policy", "x-content-type-options", "referrer-policy"] {
        assert!(answer.headers.contains_key(name), "{method} {path} lacks {name}");
    }
    Answer {
        status: StatusCode::from_u16(answer.status).unwrap(),
        cache_control: answer.header("cache-control").to_owned(),
        content_type: answer.header("content-type").to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_says_how_long_it_may_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let open = Application::start(folder.path(), Auth::open(vec![]), "").await;
    for (path, status, cache_control) in [
        ("/assets", 200, "public, max-age=0, s-maxage=60, stale-while-revalidate=120"),
        ("/live", 200, "private, no-store"),
        ("/api/assets", 200, "public, max-age=5, s-maxage=60, stale-while-revalidate=120"),
        ("/api/cameras", 200, "private, no-store"),
        ("/api/jobs", 200, "private, no-store"),
        ("/api/jobs?state=lost", 400, "private, no-store"),
        ("/api/assets/nonsense/renditions", 404, "private, no-store"),
        ("/fn/cameras", 200, "private, no-store"),
        ("/fn/ice-servers", 200, "private, no-store"),
        ("/healthz", 200, "private, no-store"),
        ("/readyz", 200, "private, no-store"),
        ("/pkg/damwall.abc.js", 200, "public, max-age=31536000, immutable"),
        ("/favicon.svg", 200, "public, max-age=3600"),
        // Errors are never kept, whatever the route's policy is.
        ("/pkg/damwall.old.js", 404, "private, no-store"),
        ("/assets/thumbs/none.webp", 404, "private, no-store"),
        ("/api/assets?limit=0", 400, "private, no-store"),
        ("/api/assets?after=nonsense", 400, "private, no-store"),
        ("/api/assets/nonsense", 404, "private, no-store"),
        ("/assets?limit=0", 400, "private, no-store"),
        ("/nowhere", 404, "private, no-store"),
    ] {
        let answer = ask(&open, "GET", path, &[]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.cache_control.as_str()),
            (status, cache_control),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_only_health_login_and_the_builds_files_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let auth = Auth::token(TOKEN);
    let bearer = format!("Bearer {}", auth.expose_token().unwrap());
    let closed = Application::start(folder.path(), auth, "").await;
    let asset = format!("/assets/{ID}");
    let download = format!("/api/assets/{ID}/download");
    let guarded = [
        ("GET", "/"),
        ("GET", "/assets"),
        ("GET", asset.as_str()),
        ("GET", "/live"),
        ("GET", "/assets/thumbs/none.webp"),
        ("GET", "/api/assets"),
        ("GET", download.as_str()),
        ("GET", "/api/cameras"),
        ("GET", "/fn/session"),
        ("GET", "/fn/assets"),
        ("GET", "/fn/asset"),
        ("GET", "/fn/cameras"),
        ("GET", "/fn/ice-servers"),
        ("GET", "/fn/library"),
        ("GET", "/fn/derived"),
        ("GET", "/fn/collections"),
        ("POST", "/fn/assets-change"),
        ("POST", "/fn/assets-undo"),
        ("POST", "/fn/asset-save"),
        ("POST", "/fn/trash-empty"),
        ("POST", "/fn/collection-add"),
        ("POST", "/fn/collection-change"),
        ("POST", "/fn/filter-save"),
        ("POST", "/fn/filter-delete"),
        ("POST", "/fn/jobs-retry"),
        ("GET", "/assets/trash"),
        ("GET", "/assets/collections"),
        ("GET", "/assets/collections/1"),
        ("POST", "/api/cameras"),
        ("POST", "/api/cameras/probe"),
        ("GET", "/api/cameras/door"),
        ("PUT", "/api/cameras/door"),
        ("DELETE", "/api/cameras/door"),
        ("OPTIONS", "/api/cameras"),
        ("POST", "/api/offer/door"),
        ("GET", "/whep/door"),
        ("HEAD", "/whep/door"),
        ("POST", "/whep/door"),
        ("PUT", "/whep/door"),
        ("GET", "/whep/door/session"),
        ("PATCH", "/whep/door/session"),
        ("DELETE", "/whep/door/session"),
        ("POST", "/whep/door/session/layer"),
        ("POST", "/whep/door/session/pause"),
        ("GET", "/whep/door/session/stats"),
        ("POST", "/whep/door/session/sse"),
        ("GET", "/whep/door/session/sse/stream"),
        ("DELETE", "/whep/door/session/sse/stream"),
        ("GET", "/whep/door/session/elsewhere"),
        ("GET", "/whip/door"),
        ("POST", "/whip/door"),
        ("PATCH", "/whip/door/session"),
        ("DELETE", "/whip/door/session"),
        ("POST", "/logout"),
        ("GET", "/readyz"),
        ("GET", "/nowhere"),
        ("GET", "/api/nowhere"),
    ];
    for (method, path) in guarded {
        let answer = ask(&closed, method, path, &[]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        assert_eq!(answer.content_type, "application/problem+json", "{method} {path}");
        assert_eq!(answer.cache_control, "private, no-store", "{method} {path}");
        let with_token = ask(&closed, method, path, &[("authorization", &bearer)]).await;
        assert_ne!(with_token.status, StatusCode::UNAUTHORIZED, "{method} {path} with the token");
    }
    for path in ["/whep/door", "/whep/door/session", "/whip/door", "/whip/door/session"] {
        let options = ask(&closed, "OPTIONS", path, &[]).await;
        assert_eq!(options.status, StatusCode::OK, "{path}: says the same to everyone");
        assert_eq!(options.cache_control, "private, no-store", "{path}");
    }
    for path in ["/healthz", "/login", "/favicon.svg", "/pkg/damwall.abc.js"] {
        assert_eq!(ask(&closed, "GET", path, &[]).await.status, StatusCode::OK, "{path}");
    }
    let unsigned = ask(&closed, "GET", "/blob/a.jpg", &[("authorization", &bearer)]).await;
    assert_eq!(unsigned.status, StatusCode::FORBIDDEN, "the signature is the permission");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_no_text_leads_nowhere_and_says_so_in_whatever_encoding() {
    let folder = tempfile::tempdir().unwrap();
    let open = Application::start(folder.path(), Auth::open(vec![]), "").await;
    for (method, path) in [
        ("GET", "/api/assets/%ff"),
        ("GET", "/api/assets/%ff/renditions"),
        ("GET", "/api/uploads/%ff"),
        ("POST", "/api/jobs/%ff/proxy_720p/retry"),
        ("GET", "/api/cameras/%ff"),
        ("DELETE", "/api/cameras/%ff"),
        ("POST", "/whep/%ff"),
        ("GET", "/whep/door/%ff/stats"),
        ("GET", "/assets/thumbs/%ff"),
    ] {
        for accepted in ["gzip", "br", "identity"] {
            let answer = open.send(method, path, &[("accept-encoding", accepted)], "").await;
            assert_eq!(answer.status, 404, "{method} {path}");
            assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
            let encoding = answer.header("content-encoding").to_owned();
            let body = answer.bytes().await;
            let text = match encoding.as_str() {
                "gzip" => io::read_to_string(GzDecoder::new(&*body)).unwrap(),
                "br" => io::read_to_string(brotli::Decompressor::new(&*body, 4096)).unwrap(),
                _ => String::from_utf8(body.to_vec()).unwrap(),
            };
            let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.ends_with("is not UTF-8"), "{method} {path}: {detail}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ice_servers_and_their_credentials_are_for_viewers_only() {
    let folder = tempfile::tempdir().unwrap();
    let toml = "[[live.ice_servers]]\nurl = \"stun:stun.example\"\n\
                [[live.ice_servers]]\nurl = \"turn:turn.example\"\nusername = \"u\"\ncredential = \"s3cret\"\n";
    let auth = Auth::token(TOKEN);
    let bearer = format!("Bearer {}", auth.expose_token().unwrap());
    let closed = Application::start(folder.path(), auth, toml).await;
    for path in ["/fn/ice-servers", "/live", "/live/publish/door", "/whep/door"] {
        for method in ["GET", "OPTIONS"] {
            let answer = closed.send(method, path, &[], "").await;
            let headers = format!("{:?}", answer.headers);
            assert!(!headers.contains("turn.example"), "{method} {path}: {headers}");
            assert!(!answer.text().await.contains("turn.example"), "{method} {path}");
        }
    }
    let told = closed.send("GET", "/fn/ice-servers", &[("authorization", &bearer)], "").await;
    let expected = serde_json::json!([
        {"urls": "stun:stun.example"},
        {"urls": "turn:turn.example", "username": "u", "credential": "s3cret"},
    ]);
    assert_eq!(told.json().await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_the_build_are_sent_as_they_were_compressed_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let app = Application::start(folder.path(), Auth::token(TOKEN), "").await;
    let path = "/pkg/damwall.abc.wasm";
    for (accepted, encoding, text) in [
        ("", "", "code"),
        ("gzip", "gzip", "code in gzip"),
        ("gzip, deflate, br", "br", "code in brotli"),
        ("br;q=0, gzip", "gzip", "code in gzip"),
        ("zstd", "", "code"),
    ] {
        let headers: &[_] = &[("accept-encoding", accepted)];
        let answer = app.send("GET", path, headers, "").await;
        assert_eq!((answer.status, answer.header("content-encoding")), (200, encoding));
        assert_eq!(answer.header("content-type"), "application/wasm");
        assert_eq!(answer.header("vary"), "Accept-Encoding");
        assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable");
        let etag = answer.header("etag").to_owned();
        assert_eq!(answer.text().await, text, "{accepted}");
        let known = [headers[0], ("if-none-match", etag.as_str())];
        assert_eq!(app.send("GET", path, &known, "").await.status, 304);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pages_head_names_the_files_of_its_own_part_however_many_are_made_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let open = Arc::new(Application::start(folder.path(), Auth::open(vec![]), "").await);
    let pages = [
        ("/live?camera=door", vec!["chunk_0.c", "split_live.d"]),
        ("/live/cameras", vec!["chunk_0.c", "split_manage.e"]),
        ("/live/cameras/new", vec!["chunk_0.c", "split_manage.e"]),
        ("/nowhere", vec![]),
    ];
    // None of them is kept: each is rendered, beside others.
    let askers = pages.iter().cycle().take(200).cloned().map(|(path, files)| {
        let open = open.clone();
        tokio::spawn(async move {
            let page = open.send("GET", path, &[("accept", "text/html")], "").await.text().await;
            let named: Vec<_> = page
                .split("/pkg/")
                .skip(1)
                .filter_map(|rest| rest.split_once(".wasm\""))
                .map(|(file, _)| file)
                .filter(|file| file.starts_with("chunk_") || file.starts_with("split_"))
                .collect();
            assert_eq!(named, files, "{path}");
            assert_eq!(
                page.contains("modulepreload\" href=\"/pkg/__wasm_split"),
                !files.is_empty()
            );
        })
    });
    for asker in askers.collect::<Vec<_>>() {
        asker.await.unwrap();
    }
}
