//! WHEP and WHIP over HTTP, line by line of our conformance list, as far as it is HTTP's.
//!
//! What changes a session or looks into it is in `sessions.rs`.

use std::time::{Duration, Instant};

use axum::{body::Body, http::Request};
use server::{auth::Auth, client_addr::Peer};
use tower::ServiceExt as _;

use crate::fixture::{Application, OFFER, TEST_CAMERA, TOKEN};

const SDP: &[(&str, &str)] = &[("content-type", "application/sdp")];

async fn start(folder: &tempfile::TempDir) -> Application {
    let application = Application::start(folder.path(), Auth::open(vec![]), TEST_CAMERA).await;
    application.wait_live("door").await;
    application
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_1_an_offer_is_answered_with_a_location_that_cannot_be_guessed_and_a_strong_etag() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let created = application.offer("/whep/door", &[]).await;
    assert_eq!((created.status, created.header("content-type")), (201, "application/sdp"));
    assert_eq!(created.header("cache-control"), "private, no-store");
    let secret = created.header("location").strip_prefix("/whep/door/").unwrap();
    assert!(secret.len() >= 22 && secret.bytes().all(|b| b.is_ascii_alphanumeric()), "{secret}");
    let etag = created.header("etag").strip_prefix('"').unwrap().strip_suffix('"').unwrap();
    assert!(!etag.is_empty() && !etag.contains('"'));
    let other = application.offer("/whep/door", &[]).await;
    assert_ne!(other.header("location"), created.header("location"));
    assert!(created.text().await.starts_with("v=0\r\n"));

    let with_charset = [("content-type", "Application/SDP; charset=utf-8")];
    assert_eq!(application.send("POST", "/whep/door", &with_charset, OFFER).await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_1_what_is_no_offer_is_refused_with_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    for path in ["/whep/door", "/whip/door"] {
        for content_type in [&[][..], &[("content-type", "text/plain")], &[("content-type", "")]] {
            application.send("POST", path, content_type, OFFER).await.problem(415).await;
        }
        let giant = vec![b'a'; 100_000];
        application.send("POST", path, SDP, giant).await.problem(413).await;
    }
    for body in ["", "{\"sdp\": 1}", "\0\u{1}\u{fffd}"] {
        application.send("POST", "/whep/door", SDP, body.to_owned()).await.problem(400).await;
    }
    application.send("POST", "/whep/door", SDP, vec![0xff; 1000]).await.problem(400).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_2_a_player_receives_and_never_sends() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let both_ways = OFFER.replace("a=recvonly", "a=sendrecv");
    let created = application.send("POST", "/whep/door", SDP, both_ways).await;
    assert_eq!(created.status, 201);
    let answer = created.text().await;
    assert!(answer.contains("a=sendonly") && !answer.contains("a=sendrecv"), "{answer}");
    for direction in ["a=sendonly", "a=inactive"] {
        let offer = OFFER.replace("a=recvonly", direction);
        application.send("POST", "/whep/door", SDP, offer).await.problem(422).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_4_the_answer_carries_every_candidate_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let answer = application.offer("/whep/door", &[]).await.text().await;
    assert!(answer.contains("a=ice-lite") && answer.contains("a=candidate:"), "{answer}");
    assert!(answer.contains(" 127.0.0.1 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_7_a_deleted_session_is_gone_and_if_match_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let (session, _) = application.session().await;
    let camera = session.replace("/door/", "/yard/");
    application.send("DELETE", &camera, &[], "").await.problem(404).await;
    let stale = [("if-match", "\"stale\"")];
    assert_eq!(application.send("DELETE", &session, &stale, "").await.status, 200);
    application.send("DELETE", &session, &[], "").await.problem(404).await;
    let fragment = [("content-type", "application/trickle-ice-sdpfrag"), ("if-match", "*")];
    application.send("PATCH", &session, &fragment, "a=x").await.problem(404).await;
    application.send("DELETE", "/whip/door/nobody", &[], "").await.problem(404).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_8_options_tell_what_may_be_sent_without_asking_for_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let application = Application::start(folder.path(), Auth::token(TOKEN), "").await;
    for kind in ["whep", "whip"] {
        let endpoint = application.send("OPTIONS", &format!("/{kind}/door"), &[], "").await;
        assert_eq!((endpoint.status, endpoint.header("accept-post")), (200, "application/sdp"));
        assert_eq!(endpoint.header("access-control-allow-origin"), "");
        let session = application.send("OPTIONS", &format!("/{kind}/door/x"), &[], "").await;
        assert_eq!(session.status, 200);
        assert!(session.header("accept-patch").contains("application/trickle-ice-sdpfrag"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_9_get_has_no_content_and_head_names_sdp() {
    let folder = tempfile::tempdir().unwrap();
    let application = Application::start(folder.path(), Auth::open(vec![]), "").await;
    for path in ["/whep/door", "/whep/door/session", "/whip/door", "/whip/door/session"] {
        let get = application.send("GET", path, &[], "").await;
        assert_eq!((get.status, get.bytes().await.len()), (204, 0), "{path}");
        let head = application.send("HEAD", path, &[], "").await;
        assert_eq!((head.status, head.header("content-type")), (200, "application/sdp"), "{path}");
    }
    let put = application.send("PUT", "/whep/door", &[], "").await;
    assert!(put.header("allow").contains("POST"));
    put.problem(405).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_10_a_camera_that_is_not_live_is_409_and_one_that_is_not_there_404() {
    let folder = tempfile::tempdir().unwrap();
    // Port 9 (discard) has no listener here.
    let lost = "[[cameras]]\nid = \"door\"\nurl = \"rtsp://127.0.0.1:9/x\"\n";
    let application = Application::start(folder.path(), Auth::open(vec![]), lost).await;
    let refused = application.offer("/whep/door", &[]).await;
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
    refused.problem(409).await;
    for unknown in ["/whep/yard", "/whep/%2e%2e", "/whep/Door", "/whip/yard"] {
        application.offer(unknown, &[]).await.problem(404).await;
    }
    let sending = OFFER.replace("a=recvonly", "a=sendonly");
    application.send("POST", "/whip/door", SDP, sending).await.problem(409).await;
}

/// Also the hostile one: sessions that are never connected are few, and are gone after a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_10_thousands_of_half_open_sessions_are_503_and_pass_away() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let began = Instant::now();
    let mut count = 0;
    let refused = loop {
        let answer = application.offer("/whep/door", &[]).await;
        if answer.status != 201 {
            break answer;
        }
        count += 1;
        assert!(count < 5000, "there is a limit");
    };
    assert!(count > 100, "{count}");
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
    refused.problem(503).await;
    // `CONNECT_TIMEOUT` of a session is 15 s.
    while application.offer("/whep/door", &[]).await.status != 201 {
        assert!(began.elapsed() < Duration::from_secs(60), "sessions that came to nothing stay");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_11_ice_servers_are_linked() {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!(
        "[[live.ice_servers]]\nurl = \"stun:stun.example\"\n\
         [[live.ice_servers]]\nurl = \"turn:turn.example?transport=udp\"\nusername = \"user\"\n\
         credential = \"pass\"\n{TEST_CAMERA}"
    );
    let application = Application::start(folder.path(), Auth::open(vec![]), &toml).await;
    application.wait_live("door").await;
    let created = application.offer("/whep/door", &[]).await;
    let links = created.links();
    assert!(links.contains(&"<stun:stun.example>; rel=\"ice-server\""), "{links:?}");
    assert!(
        links.contains(
            &"<turn:turn.example?transport=udp>; rel=\"ice-server\"; username=\"user\"; \
              credential=\"pass\"; credential-type=\"password\""
        ),
        "{links:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_12_a_token_comes_as_bearer_or_in_the_url_and_is_not_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let auth = Auth::token(TOKEN);
    let token = auth.expose_token().unwrap().to_owned();
    let application = Application::start(folder.path(), auth, TEST_CAMERA).await;
    application.wait_live("door").await;
    let refused = application.offer("/whep/door", &[]).await;
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    refused.problem(401).await;
    application.offer("/whep/door?token=wrong", &[]).await.problem(401).await;

    let bearer = format!("Bearer {token}");
    let by_header = application.offer("/whep/door", &[("authorization", &bearer)]).await;
    assert_eq!(by_header.status, 201);
    let session = by_header.header("location").to_owned();
    application.send("DELETE", &session, &[], "").await.problem(401).await;
    let deleted = application.send("DELETE", &session, &[("authorization", &bearer)], "").await;
    assert_eq!(deleted.status, 200);

    // A player that cannot send headers gets URLs that stand for themselves.
    let by_url = application.offer(&format!("/whep/door?token={token}"), &[]).await;
    assert_eq!(by_url.status, 201);
    let told = format!("{:?}", by_url.headers);
    assert!(!told.contains(&token), "{told}");
    let session = by_url.header("location").to_owned();
    let path = session.split('?').next().unwrap();
    application.send("DELETE", path, &[], "").await.problem(401).await;
    assert_eq!(application.send("DELETE", &session, &[], "").await.status, 200);
    // Where a page would be redirected to the login, with its URL.
    let accept = [("accept", "text/html")];
    application.send("GET", "/whep/door?token=wrong", &accept, "").await.problem(401).await;
    let elsewhere = format!("/api/cameras?token={token}");
    application.send("GET", &elsewhere, &[], "").await.problem(401).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_13_the_answer_is_bundled_and_multiplexed() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let answer = application.offer("/whep/door", &[]).await.text().await;
    let section = answer.split("m=").nth(1).unwrap();
    assert!(answer.contains("a=group:BUNDLE 0") && section.contains("a=rtcp-mux"), "{answer}");
    let streams: std::collections::HashSet<&str> =
        answer.lines().filter_map(|line| line.strip_prefix("a=msid:")?.split(' ').next()).collect();
    assert_eq!(streams.len(), 1, "one MediaStream: {answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_14_and_15_the_extensions_are_linked_with_paths_of_the_session() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let created = application.offer("/whep/door", &[]).await;
    let session = created.header("location");
    for (name, rel) in [
        (
            "sse",
            "\"urn:ietf:params:whep:ext:core:server-sent-events\"; \
             events=\"active,inactive,layers,reconnect,viewercount\"",
        ),
        ("layer", "\"urn:ietf:params:whep:ext:core:layer\""),
        ("pause", "\"urn:damwall:whep:ext:pause\""),
        ("stats", "\"urn:damwall:whep:ext:stats\""),
    ] {
        let link = format!("<{session}/{name}>; rel={rel}");
        assert!(created.links().contains(&link.as_str()), "{:?} lacks {link}", created.links());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_older_json_form_answers_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let offer = serde_json::json!({ "type": "offer", "sdp": OFFER });
    let created = application.send_json("POST", "/api/offer/door", offer).await;
    assert_eq!((created.status, created.header("cache-control")), (200, "private, no-store"));
    let answer = created.json().await;
    assert!(answer["sdp"].as_str().unwrap().starts_with("v=0"));
    assert_eq!(answer["type"], "answer");
    let session = answer["location"].as_str().unwrap();
    assert_eq!(application.send("DELETE", session, &[], "").await.status, 200);

    application.send("POST", "/api/offer/door", SDP, OFFER).await.problem(415).await;
    for bad in [
        serde_json::json!({}),
        serde_json::json!({ "sdp": 1 }),
        serde_json::json!({ "sdp": "" }),
        serde_json::json!(OFFER),
    ] {
        application.send_json("POST", "/api/offer/door", bad).await.problem(400).await;
    }
    let json = [("content-type", "application/json")];
    let deep = "[".repeat(60_000);
    application.send("POST", "/api/offer/door", &json, deep).await.problem(400).await;
    let offer = serde_json::json!({ "sdp": OFFER });
    application.send_json("POST", "/api/offer/yard", offer).await.problem(404).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_gets_no_more_than_its_share_and_cannot_pretend_to_be_another() {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!(
        "[server]\ntrusted_proxies = [\"10.0.0.0/8\"]\n[live]\nmax_sessions_per_address = 2\n{TEST_CAMERA}"
    );
    let application = Application::start(folder.path(), Auth::open(vec![]), &toml).await;
    application.wait_live("door").await;
    let from = async |peer: &str, forwarded: &str| {
        let request = Request::post("/whep/door")
            .header("host", "localhost")
            .header("content-type", "application/sdp")
            .header("x-forwarded-for", forwarded)
            .extension(Peer(peer.parse().unwrap()))
            .body(Body::from(OFFER))
            .unwrap();
        application.router.clone().oneshot(request).await.unwrap().status().as_u16()
    };
    assert_eq!(from("192.0.2.1", "").await, 201);
    assert_eq!(from("192.0.2.1", "198.51.100.1").await, 201, "not a proxy of ours");
    assert_eq!(from("192.0.2.1", "198.51.100.2").await, 503);
    assert_eq!(from("10.0.0.1", "192.0.2.1").await, 503, "the same player by our proxy");
    assert_eq!(from("10.0.0.1", "192.0.2.2").await, 201);
    assert_eq!(from("192.0.2.3", "").await, 201);
}
