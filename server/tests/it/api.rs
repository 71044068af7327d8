//! The API for programs, on the real router: what it answers, and what it refuses.

use catalog::{BlobStore, blob::S3Store, reconcile::reconcile_key};
use domain::AssetId;
use proptest::prelude::*;
use serde_json::{Value, json};
use server::{HttpSettings, auth::Auth};

use crate::{
    fixture::{Answer, Application, TOKEN, folder_store},
    weed::Weed,
};

impl Application {
    /// Puts a picture into the store, as others do, and has it looked at.
    pub(crate) async fn put_picture(&self, key: &str, n: u32) -> String {
        let bytes = [b"\xff\xd8\xff\xe0\0\x10JFIF\0".as_slice(), &n.to_be_bytes()].concat();
        self.put_original(key, bytes, "image/jpeg").await
    }

    /// The same with any file.
    pub(crate) async fn put_original(&self, key: &str, bytes: Vec<u8>, mime: &str) -> String {
        let parsed = key.parse().unwrap();
        self.store.put_bytes(&parsed, bytes.into(), mime).await.unwrap();
        reconcile_key(&self.catalog, &self.store, &parsed).await.unwrap();
        let found = async {
            // Kept answers hear of a change a moment after it was made.
            loop {
                let page = self.get("/api/assets?limit=500").await;
                let items = page["items"].as_array().unwrap();
                if let Some(asset) = items.iter().find(|asset| asset["key"] == key) {
                    return asset["id"].as_str().unwrap().to_owned();
                }
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(std::time::Duration::from_secs(10), found).await;
        in_time.unwrap_or_else(|_| panic!("{key} is no asset"))
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.send("GET", path, &[], "").await;
        let status = answer.status;
        let json = answer.json().await;
        assert_eq!(status, 200, "{path}: {json}");
        json
    }

    pub(crate) async fn change(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let answer = self.send_json(method, path, body).await;
        let status = answer.status;
        let bytes = answer.bytes().await;
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }
}

async fn open(folder: &std::path::Path) -> Application {
    Application::start(folder, Auth::open(vec![]), "").await
}

fn names(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn assets_are_filtered_sorted_and_paged() {
    let folder = tempfile::tempdir().unwrap();
    let app = open(folder.path()).await;
    for (n, key) in ["trip/b.jpg", "trip/day/a.jpg", "home/c.jpg"].into_iter().enumerate() {
        app.put_picture(key, n as u32).await;
    }
    let all = app.get("/api/assets?sort=name").await;
    assert_eq!(names(&all), ["a.jpg", "b.jpg", "c.jpg"]);
    let page = app.get("/api/assets?sort=name&limit=2").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = app.get(&format!("/api/assets?sort=name&limit=2&after={cursor}")).await;
    assert_eq!((names(&page).len(), names(&rest)), (2, vec!["c.jpg"]));
    assert_eq!(rest["next_cursor"], Value::Null);
    let trip = app.get("/api/assets?folder=trip&kind=image&sort=name").await;
    assert_eq!(names(&trip), ["a.jpg", "b.jpg"]);
    let buckets = app.get("/api/buckets?folder=trip").await;
    assert_eq!(buckets["total"], 2);
    let folders = app.get("/api/folders").await;
    assert_eq!(folders["items"][1], json!({"path": "trip", "assets": 1, "below": 1}));
    assert_eq!(app.get("/api/folders?prefix=trip").await["items"][0]["path"], "trip/day");

    let older = app.get("/v1/assets?folder=trip&page=2&page_size=1").await;
    assert_eq!((&older["total"], &older["page"]), (&json!(2), &json!(2)));
    assert_eq!(older["items"].as_array().unwrap().len(), 1);
    assert_eq!(app.get("/v1/assets?page=3").await["items"], json!([]));
    assert_eq!(app.get("/v1/folders").await["total"], 2);
    for key in [
        "id",
        "key",
        "size",
        "hash",
        "mime",
        "folder",
        "labels",
        "created_at",
        "source_node",
        "origin_path",
        "external_ref",
    ] {
        assert!(older["items"][0].get(key).is_some(), "{key} is part of the older shape");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn assets_are_changed_one_by_one_and_many_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let app = open(folder.path()).await;
    let a = app.put_picture("a.jpg", 1).await;
    let b = app.put_picture("b.jpg", 2).await;
    let (status, changed) = app
        .change(
            "PATCH",
            &format!("/api/assets/{a}"),
            json!({"name": "dawn.jpg", "folder": "x/y", "labels": ["best", "dawn"]}),
        )
        .await;
    assert_eq!(status, 200, "{changed}");
    assert_eq!(changed["name"], "dawn.jpg");
    assert_eq!((&changed["folder"], &changed["labels"]), (&json!("x/y"), &json!(["best", "dawn"])));

    let both = json!([a, b]);
    let change = json!({"ids": both, "add": ["trip"], "remove": ["best"]});
    assert_eq!(app.change("POST", "/api/assets/labels", change).await.0, 200);
    let labels = app.get("/api/labels").await;
    assert_eq!(labels["items"][1], json!({"tag": "trip", "assets": 2}));
    let moved = json!({"ids": [b], "folder": "x"});
    assert_eq!(app.change("POST", "/api/assets/move", moved).await, (200, json!({"changed": 1})));

    let (_, trashed) = app.change("POST", "/api/assets/trash", json!({"ids": both})).await;
    assert_eq!(names(&app.get("/api/assets").await).len(), 0);
    assert_eq!(names(&app.get("/api/assets?trashed=1").await).len(), 2);
    let undo = json!({"trash_id": trashed["trash_id"]});
    assert_eq!(app.change("POST", "/api/assets/restore", undo).await, (200, json!({"changed": 2})));
    app.change("POST", "/api/assets/trash", json!({"ids": [b]})).await;
    let (status, _) = app.change("POST", "/api/trash/purge", json!({"older_than_days": 0})).await;
    assert_eq!(status, 200);
    app.send("GET", &format!("/api/assets/{b}"), &[], "").await.problem(404).await;
    assert_eq!(names(&app.get("/api/assets").await), ["dawn.jpg"]);

    let facets = app.get("/api/facets").await;
    assert_eq!(facets, json!({"cameras": [], "codecs": []}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_and_filters_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let app = open(folder.path()).await;
    let a = app.put_picture("a.jpg", 1).await;
    let (status, made) = app.change("POST", "/api/collections", json!({"title": "Best"})).await;
    assert_eq!((status, &made["title"]), (201, &json!("Best")));
    let path = format!("/api/collections/{}", made["id"]);
    let members = format!("{path}/assets");
    let (_, filled) = app.change("POST", &members, json!({"add": [a]})).await;
    assert_eq!(filled["assets"], 1);
    let listed = app.get(&format!("/api/assets?collection={}", made["id"])).await;
    assert_eq!(names(&listed), ["a.jpg"]);
    assert_eq!(app.change("PATCH", &path, json!({"title": "Worst"})).await.1["title"], "Worst");
    assert_eq!(app.change("POST", &members, json!({"remove": [a]})).await.1["assets"], 0);
    // As many as it takes at once.
    let ids = |from: u32| -> Vec<String> {
        let id = |n: u32| AssetId::from_digest(std::array::from_fn(|at| n.to_be_bytes()[at % 4]));
        (from..from + 500).map(|n| id(n).to_string()).collect()
    };
    let many = json!({"add": ids(0), "remove": ids(500)});
    assert_eq!(app.change("POST", &members, many).await.0, 200);
    assert_eq!(app.send("DELETE", &path, &[], "").await.status, 204);
    app.send("GET", &path, &[], "").await.problem(404).await;
    app.send("DELETE", &path, &[], "").await.problem(404).await;

    let saved = json!({"title": "Films", "query": "kind=video&q=&kind=image"});
    let (status, saved) = app.change("POST", "/api/filters", saved).await;
    assert_eq!((status, &saved["query"]), (201, &json!("kind=image&kind=video")));
    assert_eq!(app.get("/api/filters").await["items"].as_array().unwrap().len(), 1);
    let path = format!("/api/filters/{}", saved["id"]);
    assert_eq!(app.send("DELETE", &path, &[], "").await.status, 204);
    app.send("DELETE", &path, &[], "").await.problem(404).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let app = open(folder.path()).await;
    let asset = format!("/api/assets/{}", app.put_picture("a.jpg", 1).await);
    let long = format!("/api/assets?q={}", "x".repeat(9000));
    let id = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let unknown = format!("/api/assets/{id}");
    for (method, path, body, status, field) in [
        ("GET", "/api/assets?limit=-1", "", 400, "limit"),
        ("GET", "/api/assets?limit=501", "", 400, "limit"),
        ("GET", "/api/assets?limit=1e9", "", 400, "limit"),
        ("GET", "/api/assets?after=n.99999999999999999999.1", "", 400, "after"),
        ("GET", "/api/assets?after=a.00.1&sort=name", "", 400, "after"),
        ("GET", "/api/assets?sort=size%3BDROP", "", 400, "sort"),
        ("GET", "/api/assets?colour=red", "", 400, "colour"),
        ("GET", "/api/assets?folder=..%2f..%2fetc", "", 400, "folder"),
        ("GET", "/api/assets?q=%00", "", 400, "query"),
        ("GET", "/api/assets?q=%ff", "", 400, "query"),
        ("GET", long.as_str(), "", 400, "query"),
        ("GET", "/api/buckets?limit=5", "", 400, "limit"),
        ("GET", "/api/folders?prefix=a%2f%2fb", "", 400, "prefix"),
        ("GET", "/api/folders?x=1", "", 400, "x"),
        ("GET", "/v1/assets?page=0", "", 400, "page"),
        ("GET", "/v1/assets?page=10000&page_size=500", "", 400, "page"),
        ("GET", "/v1/assets?page_size=-1", "", 400, "page_size"),
        ("GET", "/api/assets/..%2f..%2fetc%2fpasswd", "", 404, "id"),
        ("GET", "/api/assets/%00", "", 404, "id"),
        ("GET", "/api/assets/%ff", "", 404, "id"),
        ("GET", "/api/assets/nonsense/download", "", 404, "id"),
        ("GET", unknown.as_str(), "", 404, "id"),
        ("GET", "/api/collections/0", "", 404, "id"),
        ("GET", "/api/collections/99999999999999999999", "", 404, "id"),
        ("POST", "/api/assets/trash", r#"{"ids": []}"#, 400, "ids"),
        ("POST", "/api/assets/restore", "{}", 400, "ids"),
        ("POST", "/api/filters", r#"{"title": "x", "query": "kind=cat"}"#, 400, "query"),
    ] {
        let json = ("content-type", "application/json");
        let answer = app.send(method, path, &[json], body.to_owned()).await;
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
        let (got, body) = (answer.status, answer.json().await);
        assert_eq!((got, &body["field"]), (status, &json!(field)), "{method} {path}: {body}");
    }
    let json = [("content-type", "application/json")];
    let refused = [
        (app.send("GET", "/api/nowhere", &[], "").await, 404),
        (app.send("DELETE", "/api/assets", &[], "").await, 405),
        (app.send("PATCH", &asset, &[("content-type", "text/plain")], "{}").await, 415),
        (app.send("PATCH", &asset, &json, "{").await, 400),
        (app.send("PATCH", &asset, &json, "[]").await, 400),
        (app.send("PATCH", &asset, &json, r#"{"size": 1}"#).await, 400),
        (app.send("PATCH", &asset, &json, r#"{"folder": "../x"}"#).await, 400),
        (app.send("PATCH", &asset, &json, r#"{"name": "a/b"}"#).await, 400),
        (app.send("POST", "/api/assets/trash", &json, vec![b' '; 70_000]).await, 413),
        (app.send("GET", &format!("{asset}/original?download=yes"), &[], "").await, 400),
        (app.send("POST", "/healthz", &[], "").await, 405),
    ];
    for (answer, status) in refused {
        assert!(!answer.problem(status).await.is_empty());
    }
    let allow = app.send("DELETE", "/api/assets", &[], "").await;
    assert!(allow.header("allow").contains("GET"), "{}", allow.header("allow"));
    let foreign = [json[0], ("origin", "https://evil.example")];
    app.send("PATCH", &asset, &foreign, "{}").await.problem(403).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_tries_tokens_or_asks_for_links_without_end_is_told_to_wait() {
    let folder = tempfile::tempdir().unwrap();
    let auth = Auth::token(TOKEN);
    let token = auth.expose_token().unwrap().to_owned();
    // Links come back so slowly that a busy machine asks faster.
    let store = folder_store(folder.path());
    let slowly = |http: &mut HttpSettings| {
        assert!(http.transfers.0 >= 600, "a folder of small files passes: {:?}", http.transfers);
        http.transfers.1 = 1;
    };
    let app = Application::start_with(folder.path(), auth, "", store, slowly).await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let mut refused = None;
    for _ in 0..100 {
        let answer = app.send("POST", "/login", &form, "token=guess").await;
        if answer.status != 403 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.unwrap();
    assert_eq!(refused.header("retry-after"), "1");
    assert!(refused.problem(429).await.contains("too many requests"));

    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let path = format!("/api/assets/sha256:{}/download", "0".repeat(64));
    let mut statuses = Vec::new();
    for _ in 0..5000 {
        statuses.push(app.send("GET", &path, &headers, "").await.status);
        if statuses.last() != Some(&404) {
            break;
        }
    }
    assert!(statuses.len() > 600, "{}", statuses.len());
    assert_eq!(statuses.last(), Some(&429));
    // What costs nothing goes on.
    assert_eq!(app.send("GET", "/api/assets", &headers, "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_function_without_its_arguments_is_a_bad_request() {
    let folder = tempfile::tempdir().unwrap();
    let app = open(folder.path()).await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for (method, path, body) in [
        ("GET", "/fn/asset", ""),
        ("GET", "/fn/assets?%FF=%FF", ""),
        ("POST", "/fn/assets-change", "ids[x]=%00"),
        ("POST", "/fn/asset-save", ""),
        ("POST", "/fn/camera-add", "definition=1"),
    ] {
        let answer = app.send(method, path, &form, body).await;
        let status = answer.status;
        assert_eq!(status, 400, "{method} {path}: {}", answer.text().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_no_server_function_takes_is_refused_and_a_form_is_led_back() {
    let folder = tempfile::tempdir().unwrap();
    let app = open(folder.path()).await;
    let form = ("content-type", "application/x-www-form-urlencoded");
    let page = "http://localhost:3000/live/cameras/new";
    let browser = [form, ("accept", "text/html"), ("referer", page)];
    let no_text = vec![0xff, 0xfe, b'='];
    let too_long = vec![b'a'; (64 << 10) + 1];
    for path in ["/fn/assets-change", "/fn/camera-add"] {
        for (body, status) in [(&no_text, 400), (&too_long, 413)] {
            let answer = app.send("POST", path, &[form], body.clone()).await;
            assert_eq!(answer.status, status, "{path}");
            let answer = app.send("POST", path, &browser, body.clone()).await;
            assert_eq!(answer.status, 302, "{path}");
            assert!(answer.header("location").starts_with(page), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_answered_with_a_server_error() {
    let folder = tempfile::tempdir().unwrap();
    let app = open(folder.path()).await;
    app.put_picture("a/b.jpg", 1).await;
    let paths = prop_oneof![
        Just("/api/assets"),
        Just("/api/buckets"),
        Just("/api/folders"),
        Just("/v1/assets"),
        Just("/v1/folders"),
        Just("/api/assets/{}"),
        Just("/api/assets/{}/download"),
        Just("/api/assets/{}/metadata"),
        Just("/api/assets/{}/original"),
        Just("/api/collections/{}"),
        Just("/api/filters/{}"),
        Just("/assets/thumbs/{}"),
        Just("/blob/{}"),
        Just("/assets"),
        Just("/assets/{}"),
        Just("/assets/trash"),
        Just("/assets/collections/{}"),
        Just("/api/jobs"),
        Just("/api/uploads/{}"),
        Just("/fn/assets"),
        Just("/fn/asset"),
        Just("/fn/derived"),
        Just("/fn/{}"),
    ];
    let keys = "(q|kind|tag|folder|camera|codec|from|to|min_size|limit|sort|after|collection|page|prefix|\\PC{0,3})";
    let values = "([nosda]\\.[0-9a-f]{0,20}\\.[0-9]{0,20}|[-0-9]{0,22}|(%[0-9a-f]{2}){0,6}|[a-z./%]{0,12}|\\PC{0,12}|(?s:.{0,3}))";
    let query = proptest::collection::vec((keys, values), 0..5);
    let body = "(\\{\"(ids|add|title|query|folder|trash_id)\":(\\[\"?\\PC{0,5}\"?\\]|\"\\PC{0,9}\"|-?[0-9]{0,22})\\}|\\PC{0,30})";
    let strategy = (paths, values, query, body, any::<bool>());
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        proptest!(ProptestConfig::with_cases(400), |((path, id, query, body, changes) in strategy)| {
            let query: Vec<String> = query.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let target = format!("{}?{}", path.replace("{}", &id), query.join("&"));
            // What no client could send is no request.
            let encoded = encode(&target);
            prop_assume!(encoded.parse::<axum::http::Uri>().is_ok());
            let is_machines = !path.starts_with("/fn") && (path == "/assets/thumbs/{}" || !path.starts_with("/assets"));
            let answer = runtime.block_on(async {
                if changes {
                    let json = [("content-type", "application/json")];
                    app.send("POST", "/api/assets/labels", &json, body.clone()).await;
                    app.send("POST", "/api/assets/restore", &json, body.clone()).await;
                    app.send("POST", &encoded, &json, body).await
                } else {
                    app.send("GET", &encoded, &[], "").await
                }
            });
            prop_assert!(answer.status < 500, "{} for {encoded}", answer.status);
            if answer.status >= 400 && is_machines {
                prop_assert_eq!(answer.header("content-type"), "application/problem+json");
            }
        });
    });
}

/// Percent-encodes what an address cannot hold, and leaves the rest as it is.
fn encode(target: &str) -> String {
    const SET: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'<')
        .add(b'>')
        .add(b'`')
        .add(b'#')
        .add(b'{')
        .add(b'}')
        .add(b'|')
        .add(b'\\')
        .add(b'^');
    percent_encoding::utf8_percent_encode(target, SET).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_read_and_only_those_with_a_token_change() {
    let folder = tempfile::tempdir().unwrap();
    let auth = Auth::token(TOKEN);
    let app = Application::start(folder.path(), auth, "").await;
    for (method, path) in [
        ("GET", "/api/buckets"),
        ("GET", "/api/folders"),
        ("GET", "/api/labels"),
        ("GET", "/api/facets"),
        ("GET", "/api/collections"),
        ("GET", "/api/filters"),
        ("GET", "/v1/assets"),
        ("GET", "/v1/folders"),
        ("POST", "/api/assets/labels"),
        ("POST", "/api/assets/move"),
        ("POST", "/api/assets/trash"),
        ("POST", "/api/assets/restore"),
        ("POST", "/api/trash/purge"),
        ("POST", "/api/collections"),
        ("POST", "/api/filters"),
        ("GET", "/api/docs"),
        ("GET", "/api/openapi.json"),
    ] {
        app.send(method, path, &[], "").await.problem(401).await;
    }
    // A page of another site that may look may not change.
    drop(app);
    let other = tempfile::tempdir().unwrap();
    let toml = "[server]\nallowed_origins = [\"https://player.example\"]\n";
    let app = Application::start(other.path(), Auth::open(vec![]), toml).await;
    let player = [("origin", "https://player.example"), ("content-type", "application/json")];
    assert_eq!(app.send("GET", "/api/labels", &player[..1], "").await.status, 200);
    for path in ["/api/assets/trash", "/api/trash/purge", "/api/collections"] {
        assert_eq!(app.send("POST", path, &player, "{}").await.status, 403, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_stops_transfers_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let weed = Weed::start().await;
    let store = BlobStore::S3(S3Store::new(&weed.config()));
    let app = Application::start_on(folder.path(), Auth::open(vec![]), "", store).await;
    let id = app.put_picture("a.jpg", 1).await;
    let (download, original) =
        (format!("/api/assets/{id}/download"), format!("/api/assets/{id}/original"));
    assert!(app.get(&download).await["url"].as_str().unwrap().contains("a.jpg"));
    drop(weed);
    // What the store last answered counts for 2 s.
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    for path in [&download, &original] {
        let answer = app.send("GET", path, &[], "").await;
        assert_eq!(answer.header("retry-after"), "5", "{path}");
        let sentence = answer.problem(503).await;
        assert!(sentence.contains("blob store is not available"), "{sentence}");
    }
    assert_eq!(names(&app.get("/api/assets").await), ["a.jpg"]);
    assert_eq!(app.get(&format!("/api/assets/{id}")).await["name"], "a.jpg");
    for page in ["/assets".to_owned(), format!("/assets/{id}")] {
        let answer: Answer = app.send("GET", &page, &[("accept", "text/html")], "").await;
        assert_eq!(answer.status, 200, "{page}");
    }
}
