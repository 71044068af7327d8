//! Who may come to each route, and how long its answer may be kept, on the real router.

use std::{net::SocketAddr, path::Path};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
};
use catalog::{
    BlobStore, Catalog,
    blob::{FolderStore, LinkSecret},
};
use media::live::{Live, LiveConfig};
use server::{AppState, auth::Auth, router::router, site};
use tokio::{runtime::Handle, sync::Mutex};
use tower::ServiceExt as _;

/// One application at a time. Damwall is one application on one runtime in a process, and Leptos keeps
/// state per process: rendered on two runtimes at once, it was seen to wait for ever.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

const TOKEN: [u8; 32] = [7; 32];
const ID: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

async fn application(folder: &Path, auth: Auth) -> Router {
    let site = folder.join("site");
    std::fs::create_dir_all(site.join("pkg")).unwrap();
    std::fs::write(site.join("pkg/damwall.abc.js"), "// code").unwrap();
    std::fs::write(site.join("favicon.svg"), "<svg/>").unwrap();
    let mut leptos = site::options(&site);
    // The names of hashed files are beside the program, which a test is not.
    leptos.hash_files = false;
    let live = LiveConfig {
        udp_addr: SocketAddr::from(([127, 0, 0, 1], 0)),
        announced: Vec::new(),
        limits: Default::default(),
        cameras: Vec::new(),
    };
    let live = Live::start(live, &Handle::current()).await.unwrap();
    let catalog = Catalog::open_sqlite(&folder.join("catalog.sqlite")).await.unwrap();
    let store = FolderStore::open(&folder.join("blobs"), LinkSecret::new([1; 32])).unwrap();
    router(AppState {
        backend: app::ssr::Backend {
            catalog: catalog.clone(),
            cameras: live.statuses(),
            media_origin: None,
        },
        catalog,
        store: BlobStore::Folder(store),
        rtc: live.rtc().clone(),
        auth,
        leptos,
    })
}

struct Answer {
    status: StatusCode,
    cache_control: String,
    content_type: String,
}

async fn ask(router: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost:3000");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let text = |name| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    for name in ["content-security-policy", "x-content-type-options", "referrer-policy"] {
        assert!(response.headers().contains_key(name), "{method} {path} lacks {name}");
    }
    Answer {
        status: response.status(),
        cache_control: text(header::CACHE_CONTROL),
        content_type: text(header::CONTENT_TYPE),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_says_how_long_it_may_be_kept() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let open = application(folder.path(), Auth::open(vec![])).await;
    for (path, status, cache_control) in [
        ("/assets", 200, "private, no-store"),
        ("/live", 200, "private, no-store"),
        ("/api/assets", 200, "private, no-store"),
        ("/api/cameras", 200, "private, no-store"),
        ("/fn/cameras", 200, "private, no-store"),
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
    let _turn = ONE_AT_A_TIME.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let auth = Auth::token(TOKEN);
    let bearer = format!("Bearer {}", auth.expose_token().unwrap());
    let closed = application(folder.path(), auth).await;
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
        ("POST", "/whep/door"),
        ("DELETE", "/whep/door/session"),
        ("OPTIONS", "/whep/door"),
        ("POST", "/logout"),
        ("GET", "/readyz"),
        ("GET", "/nowhere"),
        ("GET", "/api/nowhere"),
    ];
    for (method, path) in guarded {
        let answer = ask(&closed, method, path, &[]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        assert_eq!(answer.content_type, "application/problem+json", "{method} {path}");
        let with_token = ask(&closed, method, path, &[("authorization", &bearer)]).await;
        assert_ne!(with_token.status, StatusCode::UNAUTHORIZED, "{method} {path} with the token");
    }
    for path in ["/healthz", "/login", "/favicon.svg", "/pkg/damwall.abc.js"] {
        assert_eq!(ask(&closed, "GET", path, &[]).await.status, StatusCode::OK, "{path}");
    }
    let unsigned = ask(&closed, "GET", "/blob/a.jpg", &[("authorization", &bearer)]).await;
    assert_eq!(unsigned.status, StatusCode::FORBIDDEN, "the signature is the permission");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversized_offer_is_refused_with_a_problem() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let open = application(folder.path(), Auth::open(vec![])).await;
    let request = Request::post("/whep/door")
        .header("host", "localhost")
        .header("content-type", "application/sdp")
        .body(Body::from(vec![b'a'; 100_000]))
        .unwrap();
    let response = open.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
}
