//! The description of the API says what there is, and nothing else.

use std::collections::BTreeSet;

use serde_json::Value;
use server::{api::openapi, auth::Auth};

use crate::fixture::Application;

/// Every method of every route below /api and /v1, as the router's own text has them: axum lists none.
fn routes_of_the_router() -> BTreeSet<String> {
    let text = include_str!("../../src/router.rs");
    let mut routes = BTreeSet::new();
    for rest in text.split(".route(").skip(1) {
        let path = rest.split('"').nth(1).unwrap();
        if !["/api/", "/v1/", "/events"].iter().any(|start| path.starts_with(start)) {
            continue;
        }
        // Up to where the parenthesis of `.route(` closes.
        let mut depth = 1;
        let end = rest.find(|c| {
            depth += match c {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            depth == 0
        });
        let call: String = rest[..end.unwrap()].split_whitespace().collect();
        for method in ["get", "post", "put", "patch", "delete"] {
            let is_word =
                |at: usize| !call[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let word = format!("{method}(");
            if call.match_indices(&word).any(|(at, _)| is_word(at)) {
                routes.insert(format!("{method} {path}"));
            }
        }
    }
    routes
}

fn described() -> BTreeSet<String> {
    let api = serde_json::to_value(openapi::api()).unwrap();
    let mut routes = BTreeSet::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            routes.insert(format!("{method} {path}"));
        }
    }
    routes
}

#[test]
fn every_route_is_described_and_what_is_described_is_a_route() {
    let (routes, described) = (routes_of_the_router(), described());
    assert!(routes.len() > 20, "{routes:?}");
    let missing: Vec<_> = routes.difference(&described).collect();
    assert!(missing.is_empty(), "not described: {missing:?}");
    let invented: Vec<_> = described.difference(&routes).collect();
    assert!(invented.is_empty(), "no such route: {invented:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_described_is_answered_and_an_asset_looks_as_described() {
    let folder = tempfile::tempdir().unwrap();
    let app = Application::start(folder.path(), Auth::open(vec![]), "").await;
    for route in described() {
        let (method, path) = route.split_once(' ').unwrap();
        let path = path.replace("{id}", "x").replace("{camera}", "x");
        let answer = app.send(&method.to_uppercase(), &path, &[], "").await;
        assert_ne!(answer.status, 405, "{route}");
        let detail = if answer.status == 404 { answer.text().await } else { String::new() };
        assert!(!detail.contains("there is nothing at"), "{route}");
    }

    let api = app.get("/api/openapi.json").await;
    assert!(api["openapi"].as_str().unwrap().starts_with("3."));
    let id = app.put_picture("a.jpg", 1).await;
    let asset = app.get(&format!("/api/assets/{id}")).await;
    let schema = &api["components"]["schemas"]["Asset"];
    check_object(&asset, schema);
    let metadata = app.get(&format!("/api/assets/{id}/metadata")).await;
    assert_eq!(metadata["missing_since"], Value::Null);

    let page = app.send("GET", "/api/docs", &[("accept", "text/html")], "").await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").to_owned();
    assert!(!policy.contains("unsafe") && policy.contains("style-src 'self'"), "{policy}");
    assert!(page.text().await.contains("/api/collections/{id}/assets"));
    assert_eq!(app.send("GET", "/api/docs/style.css", &[], "").await.status, 200);
}

/// Every field that is sent is described, and every one that is always sent is there.
fn check_object(sent: &Value, schema: &Value) {
    let sent: BTreeSet<&String> = sent.as_object().unwrap().keys().collect();
    let properties: BTreeSet<&String> = schema["properties"].as_object().unwrap().keys().collect();
    let unknown: Vec<_> = sent.difference(&properties).collect();
    assert!(unknown.is_empty(), "not described: {unknown:?}");
    for name in schema["required"].as_array().unwrap() {
        assert!(sent.iter().any(|sent| *sent == name), "{name} is not sent");
    }
}
