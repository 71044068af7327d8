//! WHEP over HTTP, line by line of our conformance list, as far as it is HTTP's.
//!
//! What changes a session or looks into it is in `sessions.rs`, WHIP's half in `whip.rs`.

use std::{collections::HashSet, process::Command, time::Duration};

use axum::{body::Body, http::Request};
use server::{auth::Auth, client_addr::Peer};
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::fixture::{Application, OFFER, SDP, TEST_CAMERA, TOKEN};

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
    for content_type in [&[][..], &[("content-type", "text/plain")], &[("content-type", "")]] {
        application.send("POST", "/whep/door", content_type, OFFER).await.problem(415).await;
    }
    application.send("POST", "/whep/door", SDP, vec![b'a'; 100_000]).await.problem(413).await;
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
async fn line_3_an_offer_without_the_cameras_codec_gets_an_offer_back_and_its_answer_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let counter = application.send("POST", "/whep/door", SDP, without_h264()).await;
    assert_eq!((counter.status, counter.header("content-type")), (406, "application/sdp"));
    assert!(counter.header("valid-until").ends_with(" GMT"), "{:?}", counter.headers);
    assert!(counter.header("etag").starts_with('"'));
    let session = counter.header("location").to_owned();
    assert!(session.starts_with("/whep/door/"), "{session}");
    let offer = counter.text().await;
    assert!(offer.contains(" H264/90000\r\n") && offer.contains("a=setup:actpass"), "{offer}");
    assert!(offer.contains("a=sendonly") && offer.contains("a=candidate:"), "{offer}");

    // Until then there is no session to look into, and an answer that is none changes nothing.
    application.send("GET", &format!("{session}/stats"), &[], "").await.problem(404).await;
    for bad in ["v=0\r\n".to_owned(), answer_to(&offer).replace("H264", "VP8")] {
        application.send("PATCH", &session, SDP, bad).await.problem(400).await;
    }
    let elsewhere = session.replace("/door/", "/yard/");
    let answer = answer_to(&offer);
    application.send("PATCH", &elsewhere, SDP, answer.clone()).await.problem(404).await;
    let taken = application.send("PATCH", &session, SDP, answer.clone()).await;
    assert_eq!((taken.status, taken.header("etag")), (204, ""));
    assert!(taken.bytes().await.is_empty());

    let stats = application.send("GET", &format!("{session}/stats"), &[], "").await;
    assert_eq!(stats.status, 200, "a session as any other");
    application.send("PATCH", &session, SDP, answer).await.problem(422).await;
    assert_eq!(application.send("DELETE", &session, &[], "").await.status, 200);
    application.send("DELETE", &session, &[], "").await.problem(404).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_3_an_offer_of_the_servers_is_taken_back_by_delete_and_takes_a_place_until_then() {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!("[live]\nmax_sessions = 1\n{TEST_CAMERA}");
    let application = Application::start(folder.path(), Auth::open(vec![]), &toml).await;
    application.wait_live("door").await;
    let counter = application.send("POST", "/whep/door", SDP, without_h264()).await;
    let session = counter.header("location").to_owned();
    let answer = answer_to(&counter.text().await);
    application.offer("/whep/door", &[]).await.problem(503).await;
    assert_eq!(application.send("DELETE", &session, &[], "").await.status, 200);
    application.send("PATCH", &session, SDP, answer).await.problem(404).await;
    assert_eq!(application.offer("/whep/door", &[]).await.status, 201);
}

/// What a player says that has not the test camera's codec, or does not tell.
fn without_h264() -> String {
    OFFER.replace(" H264/90000", " XX/90000")
}

/// A player's answer to an offer of the server's: the same, from the other side.
fn answer_to(offer: &str) -> String {
    let lines = offer.lines().filter_map(|line| match line.split_once(':').unwrap_or((line, "")) {
        ("a=ice-lite" | "a=candidate" | "a=end-of-candidates" | "a=ssrc" | "a=ssrc-group", _) => {
            None
        }
        ("a=ice-ufrag", _) => Some("a=ice-ufrag:fJd/".to_owned()),
        ("a=ice-pwd", _) => Some("a=ice-pwd:d1kmiUsc++9Iq+8bTBRibIII".to_owned()),
        ("a=setup", _) => Some("a=setup:active".to_owned()),
        ("a=sendonly", _) => Some("a=recvonly".to_owned()),
        _ => Some(line.to_owned()),
    });
    lines.map(|line| line + "\r\n").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_4_the_answer_carries_every_candidate_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!(
        "[live]\ntcp_addr = \"127.0.0.1:0\"\n\
         announced_ips = [\"192.0.2.1\", \"198.51.100.7\", \"::1\"]\n{TEST_CAMERA}"
    );
    let application = Application::start(folder.path(), Auth::open(vec![]), &toml).await;
    application.wait_live("door").await;
    let answer = application.offer("/whep/door", &[]).await.text().await;
    assert!(answer.contains("a=ice-lite") && answer.contains("a=end-of-candidates"), "{answer}");
    // Protocol, address and port of each.
    let candidates = answer.lines().filter_map(|line| {
        let words: Vec<&str> = line.strip_prefix("a=candidate:")?.split(' ').collect();
        Some((words[2], words[4], words[5]))
    });
    let candidates: Vec<_> = candidates.collect();
    let addresses: Vec<_> = candidates.iter().map(|(name, ip, _)| (*name, *ip)).collect();
    let ips = ["192.0.2.1", "198.51.100.7", "::1"];
    let expected: Vec<_> =
        ["udp", "tcp"].iter().flat_map(|name| ips.map(|ip| (*name, ip))).collect();
    assert_eq!(addresses, expected, "UDP first, in the order of the configuration");
    for name in ["udp", "tcp"] {
        let ports: HashSet<_> =
            candidates.iter().filter(|of| of.0 == name).map(|of| of.2).collect();
        assert_eq!(ports.len(), 1, "one port for all: {candidates:?}");
    }
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
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_8_options_tell_what_may_be_sent_without_asking_for_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let application = Application::start(folder.path(), Auth::token(TOKEN), "").await;
    let endpoint = application.send("OPTIONS", "/whep/door", &[], "").await;
    assert_eq!((endpoint.status, endpoint.header("accept-post")), (200, "application/sdp"));
    assert_eq!(endpoint.header("access-control-allow-origin"), "");
    let session = application.send("OPTIONS", "/whep/door/x", &[], "").await;
    assert_eq!(session.status, 200);
    assert!(session.header("accept-patch").contains("application/trickle-ice-sdpfrag"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_9_get_has_no_content_and_head_names_sdp() {
    let folder = tempfile::tempdir().unwrap();
    let application = Application::start(folder.path(), Auth::open(vec![]), "").await;
    for path in ["/whep/door", "/whep/door/session"] {
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
    for unknown in ["/whep/yard", "/whep/%2e%2e", "/whep/Door"] {
        application.offer(unknown, &[]).await.problem(404).await;
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
async fn line_13_sound_and_video_are_bundled_multiplexed_and_one_media_stream() {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("with sound.mkv");
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=30"])
        .args(["-f", "lavfi", "-i", "sine=sample_rate=48000", "-t", "4", "-c:v", "libx264"])
        .args(["-profile:v", "baseline", "-g", "30", "-pix_fmt", "yuv420p", "-c:a", "libopus"])
        .arg(&clip)
        .status();
    assert!(made.unwrap().success());
    let toml = format!("[[cameras]]\nid = \"door\"\nurl = \"ffmpeg:{}\"\n", clip.display());
    let application = Application::start(folder.path(), Auth::open(vec![]), &toml).await;
    let mut statuses = application.live.statuses();
    let has_sound = statuses.wait_for(|cameras| {
        cameras.iter().any(|camera| camera.state.is_live() && camera.audio.is_some())
    });
    timeout(Duration::from_secs(20), has_sound).await.expect("picture and sound").unwrap();

    let answer = application.offer("/whep/door", &[]).await.text().await;
    assert!(answer.contains("a=group:BUNDLE 0 1\r\n"), "{answer}");
    let sections: Vec<&str> = answer.split("\r\nm=").skip(1).collect();
    let kinds: Vec<_> = sections.iter().map(|section| section.split(' ').next().unwrap()).collect();
    assert_eq!(kinds, ["video", "audio"]);
    let mut streams = HashSet::new();
    for section in sections {
        assert!(section.contains("a=rtcp-mux\r\n"), "{section}");
        assert_ne!(section.split(' ').nth(1), Some("0"), "{section}");
        let mut msids = section.lines().filter_map(|line| line.strip_prefix("a=msid:"));
        streams.insert(msids.next().unwrap().split(' ').next().unwrap());
        assert_eq!(msids.next(), None, "one track a section");
    }
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
async fn line_10_the_limit_of_a_camera_and_that_of_the_server_answer_503_each_in_its_turn() {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!(
        "[live]\nmax_sessions = 3\nmax_sessions_per_camera = 2\n{TEST_CAMERA}\
         [[cameras]]\nid = \"yard\"\nurl = \"test:64x64\"\n\
         [[cameras]]\nid = \"phone\"\nurl = \"whip:\"\n"
    );
    let application = Application::start(folder.path(), Auth::open(vec![]), &toml).await;
    application.wait_live("door").await;
    application.wait_live("yard").await;
    let refused = async |path: &str, of: &str| {
        let refused = application.offer(path, &[]).await;
        assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
        let text = refused.problem(503).await;
        assert!(text.contains(of), "{text}");
    };
    let (first, _) = application.session().await;
    let (second, _) = application.session().await;
    refused("/whep/door", "of this camera").await;
    assert_eq!(application.offer("/whep/yard", &[]).await.status, 201, "another has its own");
    refused("/whep/yard", "on this server").await;
    refused("/whep/door", "on this server").await;
    // Publishers and offers of the server's count as viewers do.
    let sending = OFFER.replace("a=recvonly", "a=sendonly");
    application.send("POST", "/whip/phone", SDP, sending).await.problem(503).await;
    application.send("POST", "/whep/yard", SDP, without_h264()).await.problem(503).await;

    assert_eq!(application.send("DELETE", &first, &[], "").await.status, 200);
    assert_eq!(application.offer("/whep/yard", &[]).await.status, 201);
    refused("/whep/yard", "on this server").await;
    assert_eq!(application.send("DELETE", &second, &[], "").await.status, 200);
    refused("/whep/yard", "of this camera").await;
    assert_eq!(application.offer("/whep/door", &[]).await.status, 201);
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
        application.front.clone().oneshot(request).await.unwrap().status().as_u16()
    };
    assert_eq!(from("192.0.2.1", "").await, 201);
    assert_eq!(from("192.0.2.1", "198.51.100.1").await, 201, "not a proxy of ours");
    assert_eq!(from("192.0.2.1", "198.51.100.2").await, 503);
    assert_eq!(from("10.0.0.1", "192.0.2.1").await, 503, "the same player by our proxy");
    assert_eq!(from("10.0.0.1", "192.0.2.2").await, 201);
    assert_eq!(from("192.0.2.3", "").await, 201);
}
