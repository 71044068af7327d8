//! WHEP over HTTP, line by line of our conformance list: what changes a session, or looks into it.

use serde_json::json;
use server::auth::Auth;

use crate::{
    fixture::{Application, FRAGMENT, OFFER, RESTART, SDP, TEST_CAMERA, TOKEN, TRICKLE},
    program::Installation,
};

async fn start(folder: &tempfile::TempDir) -> Application {
    Application::start(folder.path(), Auth::open(vec![]), TEST_CAMERA).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_3_an_answer_that_nobody_waits_for_is_422() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let (session, _) = application.session().await;
    let answer = application.send("PATCH", &session, SDP, OFFER).await;
    answer.problem(422).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_5_more_candidates_are_204_without_a_body_and_an_etag() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let (session, etag) = application.session().await;
    // MediaMTX's player says `*` when it trickles, too.
    for if_match in [etag.as_str(), "*", &format!("\"other\", {etag}")] {
        let answer =
            application.send("PATCH", &session, &[FRAGMENT, ("if-match", if_match)], TRICKLE).await;
        assert_eq!((answer.status, answer.header("etag")), (204, ""), "{if_match}");
        assert!(answer.bytes().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_5_a_change_names_its_ice_session() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let (session, etag) = application.session().await;
    application.send("PATCH", &session, &[FRAGMENT], TRICKLE).await.problem(428).await;
    for stale in ["\"stale\"", &format!("W/{etag}"), "\"\""] {
        let headers = [FRAGMENT, ("if-match", stale)];
        application.send("PATCH", &session, &headers, TRICKLE).await.problem(412).await;
    }
    for content_type in ["application/json", "text/plain"] {
        let headers = [("content-type", content_type), ("if-match", &etag)];
        application.send("PATCH", &session, &headers, TRICKLE).await.problem(415).await;
    }
    let current = [FRAGMENT, ("if-match", etag.as_str())];
    for bad in ["", "\u{0}", "a=ice-ufrag:\r\n", "nonsense"] {
        application.send("PATCH", &session, &current, bad.to_owned()).await.problem(400).await;
    }
    let giant = vec![b'a'; 100_000];
    application.send("PATCH", &session, &current, giant).await.problem(413).await;
    application.send("PATCH", "/whep/door/nobody", &current, TRICKLE).await.problem(404).await;
    assert_eq!(application.send("DELETE", &session, &[], "").await.status, 200, "still there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_6_an_ice_restart_is_200_with_a_fragment_and_a_new_etag() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let (session, mut etag) = application.session().await;
    for (if_match, ufrag) in [("*", "Zyxw"), ("\"*\"", "Abcd")] {
        let body = RESTART.replace("Zyxw", ufrag);
        let headers = [FRAGMENT, ("if-match", if_match)];
        let answer = application.send("PATCH", &session, &headers, body).await;
        assert_eq!(answer.status, 200, "{if_match}");
        assert_eq!(answer.header("content-type"), "application/trickle-ice-sdpfrag");
        let new = answer.header("etag").to_owned();
        assert!(new.starts_with('"') && new.ends_with('"') && new != etag, "{new}");
        let fragment = answer.text().await;
        for part in ["a=ice-ufrag:", "a=ice-pwd:", "a=candidate:"] {
            assert!(fragment.contains(part), "{fragment}");
        }
        let old = [FRAGMENT, ("if-match", etag.as_str())];
        application.send("PATCH", &session, &old, TRICKLE).await.problem(412).await;
        etag = new;
    }
    // A restart that fails leaves the session as it was.
    let broken = RESTART.replace("a=ice-pwd", "a=x");
    let headers = [FRAGMENT, ("if-match", "*")];
    application.send("PATCH", &session, &headers, broken).await.problem(400).await;
    assert_eq!(application.send("DELETE", &session, &[], "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_14_a_stream_tells_of_the_camera_until_it_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let (session, _) = application.session().await;
    let sse = format!("{session}/sse");
    for bad in [json!(["active", "explosions"]), json!({}), json!([1]), json!("active")] {
        application.send_json("POST", &sse, bad).await.problem(400).await;
    }
    application.send("POST", &sse, &[], "[]").await.problem(415).await;
    let wanted = json!(["active", "inactive", "layers", "viewercount"]);
    let opened = application.send_json("POST", &sse, wanted).await;
    assert_eq!(opened.status, 201);
    let stream = opened.header("location").to_owned();
    assert!(stream.starts_with(&format!("{sse}/")), "{stream}");

    let mut events = application.send("GET", &stream, &[], "").await.events();
    assert_eq!(events.next("active").await, Some(json!({})));
    let count = events.next("viewercount").await.unwrap();
    assert!(count["viewercount"].is_u64(), "{count}");
    let layers = events.next("layers").await.unwrap();
    let layer = &layers["0"][0];
    assert_eq!((&layer["width"], &layer["height"]), (&json!(320), &json!(180)));
    assert_eq!((&layer["heigth"], &layer["rid"]), (&json!(180), &json!("main")));
    assert!(layer["bitrate"].is_u64() && layer["targetBitrate"].is_u64(), "{layer}");

    assert_eq!(application.send("DELETE", &stream, &[], "").await.status, 200);
    assert_eq!(events.next("nothing").await, None);
    application.send("DELETE", &stream, &[], "").await.problem(404).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_14_a_camera_that_is_lost_is_told_of_as_inactive() {
    let folder = tempfile::tempdir().unwrap();
    let program = Installation::new();
    program.configure("origin", "[live]\nudp_addr = \"127.0.0.1:0\"\n");
    let origin = program.serve("origin");
    let camera = json!({ "id": "door", "url": "test:320x180" }).to_string();
    assert_eq!(origin.send("POST", "/api/cameras", &camera).await.status, 201);
    origin.wait_live("door").await;
    // A camera of this server that is another's, from where it is taken away.
    let addr = origin.addr();
    let toml = format!("[[cameras]]\nid = \"door\"\nurl = \"whep+http://{addr}/whep/door\"\n");
    let application = Application::start(folder.path(), Auth::open(vec![]), &toml).await;
    let (session, _) = application.session().await;
    let wanted = json!(["active", "inactive"]);
    let opened = application.send_json("POST", &format!("{session}/sse"), wanted).await;
    let stream = opened.header("location").to_owned();
    let mut events = application.send("GET", &stream, &[], "").await.events();
    assert_eq!(events.next("active").await, Some(json!({})));

    assert!(origin.send("DELETE", "/api/cameras/door", "").await.status < 300);
    assert_eq!(events.next("inactive").await, Some(json!({})));
    assert_eq!(application.send("DELETE", &stream, &[], "").await.status, 200);
    assert_eq!(events.next("nothing").await, None);
    application.send("DELETE", &stream, &[], "").await.problem(404).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_14_a_stream_ends_by_its_own_deletion_and_by_that_of_its_session() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let (session, _) = application.session().await;
    let open = async || {
        let opened = application.send("POST", &format!("{session}/sse"), &[], "").await;
        assert_eq!(opened.status, 201, "without a body every event is wanted");
        opened.header("location").to_owned()
    };
    let (first, second) = (open().await, open().await);
    let mut events = application.send("GET", &first, &[], "").await.events();
    assert!(events.next("viewercount").await.is_some());
    assert_eq!(application.send("DELETE", &first, &[], "").await.status, 200);
    assert_eq!(events.next("nothing").await, None, "the reader is let go");
    application.send("DELETE", &first, &[], "").await.problem(404).await;
    application.send("GET", &first, &[], "").await.problem(404).await;

    let mut events = application.send("GET", &second, &[], "").await.events();
    assert!(events.next("viewercount").await.is_some());
    assert_eq!(application.send("DELETE", &session, &[], "").await.status, 200);
    assert_eq!(events.next("nothing").await, None);
    application.send("GET", &second, &[], "").await.problem(404).await;
    application.send("POST", &format!("{session}/sse"), &[], "").await.problem(404).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_14_a_server_that_stops_tells_its_players_to_connect_again() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let (session, _) = application.session().await;
    let sse = format!("{session}/sse");
    let opened = application.send_json("POST", &sse, json!(["reconnect"])).await;
    let stream = opened.header("location").to_owned();
    let mut events = application.send("GET", &stream, &[], "").await.events();
    application.events.stop();
    assert_eq!(events.next("reconnect").await, Some(json!({ "url": "/whep/door" })));
    assert_eq!(events.next("nothing").await, None, "and lets them go");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_14_a_session_has_few_streams() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let (session, _) = application.session().await;
    let sse = format!("{session}/sse");
    let mut opened = 0;
    let refused = loop {
        let answer = application.send("POST", &sse, &[], "").await;
        if answer.status != 201 {
            break answer;
        }
        opened += 1;
        assert!(opened < 100, "there is a limit");
    };
    refused.problem(409).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_15_a_layer_is_chosen_and_left_to_the_server_again() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let (session, _) = application.session().await;
    let layer = format!("{session}/layer");
    for good in [
        json!({ "mediaId": "0" }),
        json!({ "mediaId": "0", "rid": "main" }),
        json!({ "mediaId": "0", "encodingId": "main" }),
        json!({ "mediaId": 0, "maxWidth": 320, "maxHeight": 180, "maxBitrate": 5_000_000 }),
        json!({}),
    ] {
        let answer = application.send_json("POST", &layer, good.clone()).await;
        assert_eq!(answer.status, 200, "{good}");
    }
    let unknown = json!({ "mediaId": "7", "rid": "main" });
    application.send_json("POST", &layer, unknown).await.problem(400).await;
    let no_layer = json!({ "mediaId": "0", "rid": "nine" });
    application.send_json("POST", &layer, no_layer).await.problem(422).await;
    for bad in [json!([1]), json!("main"), json!({ "maxWidth": -1 })] {
        application.send_json("POST", &layer, bad).await.problem(400).await;
    }
    application.send("POST", &layer, &[], "{}").await.problem(415).await;
    let nobody = "/whep/door/nobody/layer";
    application.send_json("POST", nobody, json!({})).await.problem(404).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_paused_and_tells_how_it_is_doing() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let (session, _) = application.session().await;
    let (pause, stats) = (format!("{session}/pause"), format!("{session}/stats"));
    for is_paused in [true, false] {
        let answer = application.send_json("POST", &pause, json!({ "paused": is_paused })).await;
        assert_eq!(answer.status, 200);
        let answer = application.send("GET", &stats, &[], "").await;
        assert_eq!(answer.header("cache-control"), "private, no-store");
        let stats = answer.json().await;
        assert_eq!((&stats["is_paused"], &stats["media_id"]), (&json!(is_paused), &json!("0")));
        assert!(stats["server_unix_ms"].as_f64().unwrap() > 1.7e12, "{stats}");
    }
    for bad in [json!({}), json!({ "paused": "yes" }), json!(true)] {
        application.send_json("POST", &pause, bad).await.problem(400).await;
    }
    let nobody = json!({ "paused": true });
    application.send_json("POST", "/whep/door/nobody/pause", nobody).await.problem(404).await;
    application.send("GET", "/whep/door/nobody/stats", &[], "").await.problem(404).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_without_headers_uses_every_url_it_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let auth = Auth::token(TOKEN);
    let token = auth.expose_token().unwrap().to_owned();
    let application = Application::start(folder.path(), auth, TEST_CAMERA).await;
    application.wait_live("door").await;
    let created = application.offer(&format!("/whep/door?token={token}"), &[]).await;
    let link = |rel: &str| {
        let link = *created.links().iter().find(|link| link.contains(rel)).unwrap();
        link.split(['<', '>']).nth(1).unwrap().to_owned()
    };
    let stats = application.send("GET", &link("ext:stats"), &[], "").await;
    assert_eq!(stats.status, 200);
    let opened = application.send("POST", &link("server-sent-events"), &[], "").await;
    assert_eq!(opened.status, 201);
    let stream = opened.header("location").to_owned();
    let mut events = application.send("GET", &stream, &[], "").await.events();
    assert!(events.next("active").await.is_some());
}
