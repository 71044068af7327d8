//! Pages of other sites: only those on the list, and only with a token of their own.

use catalog::reconcile::reconcile_key;
use serde_json::json;
use server::auth::Auth;
use sha2::{Digest as _, Sha256};

use crate::fixture::{Application, TEST_CAMERA, TOKEN};

const PLAYER: (&str, &str) = ("origin", "https://player.example");
const STRANGER: (&str, &str) = ("origin", "https://evil.example");
const ALLOW: &str = "[server]\nallowed_origins = [\"https://player.example\"]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preflights_are_answered_for_origins_on_the_list_only_and_ask_for_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let application = Application::start(folder.path(), Auth::token(TOKEN), ALLOW).await;
    let ask = ("access-control-request-method", "PATCH");
    for path in ["/whep/door", "/whep/door/session", "/whip/door", "/api/cameras"] {
        let allowed = application.send("OPTIONS", path, &[PLAYER, ask], "").await;
        assert_eq!(allowed.status, 200, "{path}");
        assert_eq!(allowed.header("access-control-allow-origin"), PLAYER.1);
        assert!(allowed.header("access-control-allow-methods").contains("PATCH"));
        let headers = allowed.header("access-control-allow-headers");
        assert!(headers.contains("Authorization") && headers.contains("If-Match"), "{headers}");
        assert_eq!(allowed.header("access-control-allow-credentials"), "");
        assert!(allowed.header("vary").contains("Origin"));

        let stranger = application.send("OPTIONS", path, &[STRANGER, ask], "").await;
        assert_eq!(stranger.header("access-control-allow-origin"), "", "{path}");
        assert_eq!(stranger.header("access-control-allow-methods"), "", "{path}");
    }
    let page = application.send("OPTIONS", "/assets", &[PLAYER, ask], "").await;
    assert_eq!(page.header("access-control-allow-origin"), "", "pages are nobody else's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_on_the_list_plays_with_a_token_and_reads_the_headers_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let auth = Auth::token(TOKEN);
    let bearer = format!("Bearer {}", auth.expose_token().unwrap());
    let toml = format!("{ALLOW}{TEST_CAMERA}");
    let application = Application::start(folder.path(), auth, &toml).await;
    application.wait_live("door").await;
    let created =
        application.offer("/whep/door", &[PLAYER, ("authorization", bearer.as_str())]).await;
    assert_eq!(created.status, 201);
    assert_eq!(created.header("access-control-allow-origin"), PLAYER.1);
    let exposed = created.header("access-control-expose-headers");
    for name in ["Location", "ETag", "Link", "Accept-Post", "Retry-After"] {
        assert!(exposed.contains(name), "{exposed}");
    }
    let refused = application.offer("/whep/door", &[PLAYER]).await;
    assert_eq!(refused.header("access-control-allow-origin"), PLAYER.1, "it may read why");
    refused.problem(401).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_is_no_permission_for_a_page_of_another_site() {
    let folder = tempfile::tempdir().unwrap();
    let auth = Auth::token(TOKEN);
    let token = auth.expose_token().unwrap().to_owned();
    let application = Application::start(folder.path(), auth, ALLOW).await;
    let login = application.send("GET", &format!("/login?token={token}"), &[], "").await;
    let cookie = login.header("set-cookie").split(';').next().unwrap().to_owned();
    let own = [("cookie", cookie.as_str())];
    assert_eq!(application.send("GET", "/api/cameras", &own, "").await.status, 200);
    let foreign = [own[0], PLAYER];
    application.send("GET", "/api/cameras", &foreign, "").await.problem(401).await;
    application.offer("/whep/door", &foreign).await.problem(401).await;
    application.offer("/whep/door", &[own[0], STRANGER]).await.problem(403).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_a_page_on_the_list_may_look_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let application = Application::start(folder.path(), Auth::open(vec![]), ALLOW).await;
    assert_eq!(application.send("GET", "/api/cameras", &[PLAYER], "").await.status, 200);
    application.offer("/whep/door", &[PLAYER]).await.problem(404).await;
    let refused = application.offer("/whip/door", &[PLAYER]).await;
    assert_eq!(refused.status, 403);
    let refused = application.send("DELETE", "/api/cameras/door", &[PLAYER], "").await;
    assert_eq!(refused.status, 403);
    application.offer("/whep/door", &[STRANGER]).await.problem(403).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_on_the_list_sends_what_it_began_and_shows_what_links_lead_to() {
    const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0 and whatever else";
    let folder = tempfile::tempdir().unwrap();
    let auth = Auth::token(TOKEN);
    let bearer = format!("Bearer {}", auth.expose_token().unwrap());
    let application = Application::start(folder.path(), auth, ALLOW).await;
    let json = ("content-type", "application/json");
    let page = [PLAYER, json, ("authorization", bearer.as_str())];
    let sha256 = hex::encode(Sha256::digest(JPEG));
    let new = json!({ "name": "a.jpg", "size": JPEG.len(), "sha256": sha256 }).to_string();
    let begun = application.send("POST", "/api/uploads", &page, new).await;
    assert_eq!(begun.status, 201);
    let parts = format!("{}/parts", begun.header("location"));
    let numbers = json!({ "numbers": [1] }).to_string();
    let links = application.send("POST", &parts, &page, numbers).await.json().await;
    let link = links["items"][0]["url"].as_str().unwrap();

    // The link alone is the permission, once its page may be told of the answer.
    let ask = ("access-control-request-method", "PUT");
    let preflight = application.send("OPTIONS", link, &[PLAYER, ask], "").await;
    assert_eq!((preflight.status, preflight.header("accept-post")), (200, ""));
    assert_eq!(preflight.header("access-control-allow-origin"), PLAYER.1);
    assert!(preflight.header("access-control-allow-methods").contains("PUT"));
    let stranger = application.send("OPTIONS", link, &[STRANGER, ask], "").await;
    assert_eq!(stranger.header("access-control-allow-origin"), "");
    let refused = application.send("PUT", link, &[STRANGER], JPEG).await;
    assert_eq!(refused.header("access-control-allow-origin"), "");
    refused.problem(403).await;
    let sent = application.send("PUT", link, &[PLAYER], JPEG).await;
    assert_eq!((sent.status, sent.header("access-control-allow-origin")), (200, PLAYER.1));
    assert!(!sent.header("etag").is_empty());
    assert!(sent.header("access-control-expose-headers").contains("ETag"));

    let key = "b.jpg".parse().unwrap();
    application.store.put_bytes(&key, JPEG.into(), "image/jpeg").await.unwrap();
    reconcile_key(&application.catalog, &application.store, &key).await.unwrap();
    let download = format!("/api/assets/sha256:{sha256}/download");
    let answer = application.send("GET", &download, &page, "").await.json().await;
    let link = answer["url"].as_str().unwrap();
    // What an element loads says no origin.
    for (headers, allowed, resource) in [
        (&[PLAYER][..], PLAYER.1, "cross-origin"),
        (&[], "", "cross-origin"),
        (&[STRANGER], "", "same-origin"),
    ] {
        let shown = application.send("GET", link, headers, "").await;
        assert_eq!((shown.status, shown.header("access-control-allow-origin")), (200, allowed));
        assert_eq!(shown.header("cross-origin-resource-policy"), resource, "{headers:?}");
        assert!(shown.header("vary").contains("Origin"));
    }
}
