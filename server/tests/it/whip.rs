//! WHIP over HTTP, line by line of our conformance list. WHEP's half is in `signalling.rs` and `sessions.rs`.

use serde_json::json;
use server::auth::Auth;

use crate::fixture::{Application, FRAGMENT, RESTART, SDP, TEST_CAMERA, TOKEN, TRICKLE};

/// What Chromium offers to send a camera and a microphone.
const OFFER: &str = include_str!("../../../media/src/sansio/fixtures/whip-chromium.sdp");
const SIMULCAST: &str =
    include_str!("../../../media/src/sansio/fixtures/whip-chromium-simulcast.sdp");
/// A camera that somebody may publish to.
const PHONE: &str = "[[cameras]]\nid = \"phone\"\nurl = \"whip:\"\n";

async fn start(folder: &tempfile::TempDir) -> Application {
    Application::start(folder.path(), Auth::open(vec![]), PHONE).await
}

/// A publisher's session; its path and entity tag.
async fn publish(application: &Application) -> (String, String) {
    let created = application.send("POST", "/whip/phone", SDP, OFFER).await;
    assert_eq!(created.status, 201);
    (created.header("location").to_owned(), created.header("etag").to_owned())
}

/// The offer's head, its sound and its video.
fn parts() -> (&'static str, &'static str, &'static str) {
    let (audio_at, video_at) = (OFFER.find("m=audio").unwrap(), OFFER.find("m=video").unwrap());
    (&OFFER[..audio_at], &OFFER[audio_at..video_at], &OFFER[video_at..])
}

fn value<'a>(sdp: &'a str, name: &str) -> &'a str {
    sdp.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_1_a_publishers_offer_is_answered_with_a_location_and_a_strong_etag() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let created = application.send("POST", "/whip/phone", SDP, OFFER).await;
    assert_eq!((created.status, created.header("content-type")), (201, "application/sdp"));
    assert_eq!(created.header("cache-control"), "private, no-store");
    let secret = created.header("location").strip_prefix("/whip/phone/").unwrap().to_owned();
    assert!(secret.len() >= 22 && secret.bytes().all(|b| b.is_ascii_alphanumeric()), "{secret}");
    let etag = created.header("etag").strip_prefix('"').unwrap().strip_suffix('"').unwrap();
    assert!(!etag.is_empty() && !etag.contains('"'));
    assert!(created.text().await.starts_with("v=0\r\n"));

    let session = format!("/whip/phone/{secret}");
    assert_eq!(application.send("DELETE", &session, &[], "").await.status, 200);
    let (other, _) = publish(&application).await;
    assert_ne!(other, session);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_1_what_is_no_publishers_offer_is_refused_with_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    for content_type in [&[][..], &[("content-type", "text/plain")], &[FRAGMENT]] {
        let refused = application.send("POST", "/whip/phone", content_type, OFFER).await;
        refused.problem(415).await;
    }
    let incomplete = ["a=ice-ufrag", "a=ice-pwd", "a=fingerprint", "a=rtcp-mux", "a=mid"]
        .map(|line| OFFER.replace(line, "a=x"));
    let broken = ["", "hello", "{\"sdp\": 1}", "\0\u{1}\u{fffd}"].map(str::to_owned);
    for body in broken.into_iter().chain(incomplete) {
        application.send("POST", "/whip/phone", SDP, body).await.problem(400).await;
    }
    application.send("POST", "/whip/phone", SDP, vec![0xff; 1000]).await.problem(400).await;
    application.send("POST", "/whip/phone", SDP, vec![b'a'; 100_000]).await.problem(413).await;
    publish(&application).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_2_a_publisher_sends_and_never_receives() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    for direction in ["a=sendonly", "a=sendrecv"] {
        let offer = OFFER.replace("a=sendonly", direction);
        let created = application.send("POST", "/whip/phone", SDP, offer).await;
        assert_eq!(created.status, 201, "{direction}");
        let session = created.header("location").to_owned();
        let answer = created.text().await;
        assert_eq!(answer.matches("a=recvonly\r\n").count(), 2, "{answer}");
        assert!(!answer.contains("a=send"), "{answer}");
        assert_eq!(application.send("DELETE", &session, &[], "").await.status, 200);
    }
    for direction in ["a=recvonly", "a=inactive"] {
        let offer = OFFER.replace("a=sendonly", direction);
        application.send("POST", "/whip/phone", SDP, offer).await.problem(422).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_4_the_answer_to_a_publisher_carries_every_candidate_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!(
        "[live]\ntcp_addr = \"127.0.0.1:0\"\nannounced_ips = [\"192.0.2.1\", \"::1\"]\n{PHONE}"
    );
    let application = Application::start(folder.path(), Auth::open(vec![]), &toml).await;
    let created = application.send("POST", "/whip/phone", SDP, OFFER).await;
    let answer = created.text().await;
    assert!(answer.contains("a=ice-lite") && answer.contains("a=end-of-candidates"), "{answer}");
    let candidates: Vec<_> =
        answer.lines().filter_map(|line| line.strip_prefix("a=candidate:")).collect();
    let is_there = |name: &str, ip: &str| {
        let mut words = candidates.iter().map(|line| line.split(' ').collect::<Vec<_>>());
        words.any(|words| (words[2], words[4]) == (name, ip))
    };
    for (name, ip) in [("udp", "192.0.2.1"), ("udp", "::1"), ("tcp", "192.0.2.1"), ("tcp", "::1")] {
        assert!(is_there(name, ip), "no {name} {ip}: {candidates:?}");
    }
    assert_eq!(candidates.len(), 4, "each of them once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_5_a_publishers_candidates_are_204_without_a_body_and_an_etag() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let (session, etag) = publish(&application).await;
    let more = TRICKLE.replace("fJd/", value(OFFER, "a=ice-ufrag:"));
    for if_match in [etag.as_str(), "*", &format!("\"other\", {etag}")] {
        let headers = [FRAGMENT, ("if-match", if_match)];
        let answer = application.send("PATCH", &session, &headers, more.clone()).await;
        assert_eq!((answer.status, answer.header("etag")), (204, ""), "{if_match}");
        assert!(answer.bytes().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_5_a_change_of_a_publisher_names_its_ice_session() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let (session, etag) = publish(&application).await;
    application.send("PATCH", &session, &[FRAGMENT], TRICKLE).await.problem(428).await;
    for stale in ["\"stale\"", &format!("W/{etag}"), "\"\""] {
        let headers = [FRAGMENT, ("if-match", stale)];
        application.send("PATCH", &session, &headers, TRICKLE).await.problem(412).await;
    }
    let matching = ("if-match", etag.as_str());
    for content_type in ["application/json", "text/plain"] {
        let headers = [("content-type", content_type), matching];
        application.send("PATCH", &session, &headers, TRICKLE).await.problem(415).await;
    }
    for bad in ["", "\u{0}", "a=ice-ufrag:\r\n", "nonsense"] {
        let refused = application.send("PATCH", &session, &[FRAGMENT, matching], bad).await;
        refused.problem(400).await;
    }
    let giant = vec![b'a'; 100_000];
    application.send("PATCH", &session, &[FRAGMENT, matching], giant).await.problem(413).await;
    let nobody = "/whip/phone/nobody";
    application.send("PATCH", nobody, &[FRAGMENT, matching], TRICKLE).await.problem(404).await;
    // A publisher is never asked for an answer.
    let answer = crate::fixture::OFFER;
    application.send("PATCH", &session, SDP, answer).await.problem(422).await;
    assert_eq!(application.send("DELETE", &session, &[], "").await.status, 200, "still there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_6_a_publishers_ice_restart_is_200_with_a_new_ufrag_and_etag() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let created = application.send("POST", "/whip/phone", SDP, OFFER).await;
    let (session, mut etag) =
        (created.header("location").to_owned(), created.header("etag").to_owned());
    let mut local = value(&created.text().await, "a=ice-ufrag:").to_owned();
    for (if_match, ufrag) in [("*", "Zyxw"), ("\"*\"", "Abcd")] {
        let body = RESTART.replace("Zyxw", ufrag);
        let headers = [FRAGMENT, ("if-match", if_match)];
        let answer = application.send("PATCH", &session, &headers, body).await;
        assert_eq!(answer.status, 200, "{if_match}");
        assert_eq!(answer.header("content-type"), FRAGMENT.1);
        let new = answer.header("etag").to_owned();
        assert!(new.starts_with('"') && new.ends_with('"') && new != etag, "{new}");
        let fragment = answer.text().await;
        let ours = value(&fragment, "a=ice-ufrag:").to_owned();
        assert!(!ours.is_empty() && ours != local, "{fragment}");
        assert!(value(&fragment, "a=ice-pwd:").len() >= 22, "{fragment}");
        assert!(fragment.contains("a=candidate:"), "{fragment}");
        let old = [FRAGMENT, ("if-match", etag.as_str())];
        application.send("PATCH", &session, &old, TRICKLE).await.problem(412).await;
        (etag, local) = (new, ours);
    }
    let broken = RESTART.replace("a=ice-pwd", "a=x");
    let headers = [FRAGMENT, ("if-match", "*")];
    application.send("PATCH", &session, &headers, broken).await.problem(400).await;
    let deleted = application.send("DELETE", &session, &[], "").await;
    assert_eq!(deleted.status, 200, "a restart that fails leaves the session as it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_7_a_publisher_that_was_deleted_is_gone_and_makes_room_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let (session, _) = publish(&application).await;
    let again = application.send("POST", "/whip/phone", SDP, OFFER).await;
    assert!(again.header("retry-after").parse::<u32>().unwrap() > 0);
    again.problem(409).await;
    let elsewhere = session.replace("/phone/", "/yard/");
    application.send("DELETE", &elsewhere, &[], "").await.problem(404).await;

    let stale = [("if-match", "\"stale\"")];
    assert_eq!(application.send("DELETE", &session, &stale, "").await.status, 200);
    application.send("DELETE", &session, &[], "").await.problem(404).await;
    let headers = [FRAGMENT, ("if-match", "*")];
    application.send("PATCH", &session, &headers, TRICKLE).await.problem(404).await;
    publish(&application).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_8_options_of_whip_tell_what_may_be_sent_without_asking_for_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let application = Application::start(folder.path(), Auth::token(TOKEN), PHONE).await;
    let endpoint = application.send("OPTIONS", "/whip/phone", &[], "").await;
    assert_eq!((endpoint.status, endpoint.header("accept-post")), (200, "application/sdp"));
    assert_eq!(endpoint.header("access-control-allow-origin"), "");
    let session = application.send("OPTIONS", "/whip/phone/x", &[], "").await;
    assert_eq!(session.status, 200);
    assert!(session.header("accept-patch").contains(FRAGMENT.1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_9_get_of_whip_is_no_error_and_has_no_content() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let (session, _) = publish(&application).await;
    for path in ["/whip/phone", &session] {
        let get = application.send("GET", path, &[], "").await;
        assert_eq!((get.status, get.bytes().await.len()), (204, 0), "{path}");
    }
    let put = application.send("PUT", "/whip/phone", &[], "").await;
    assert!(put.header("allow").contains("POST"));
    put.problem(405).await;
    assert_eq!(application.send("DELETE", &session, &[], "").await.status, 200, "still there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_10_a_publisher_too_many_is_503_and_one_without_a_camera_404() {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!(
        "[live]\nmax_sessions = 1\n{PHONE}[[cameras]]\nid = \"tablet\"\nurl = \"whip:\"\n{TEST_CAMERA}"
    );
    let application = Application::start(folder.path(), Auth::open(vec![]), &toml).await;
    let (session, _) = publish(&application).await;
    let refused = application.send("POST", "/whip/tablet", SDP, OFFER).await;
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
    refused.problem(503).await;
    assert_eq!(application.send("DELETE", &session, &[], "").await.status, 200);
    assert_eq!(application.send("POST", "/whip/tablet", SDP, OFFER).await.status, 201);

    for unknown in ["/whip/yard", "/whip/%2e%2e", "/whip/Phone"] {
        application.send("POST", unknown, SDP, OFFER).await.problem(404).await;
    }
    let not_that_kind = application.send("POST", "/whip/door", SDP, OFFER).await;
    not_that_kind.problem(409).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_11_ice_servers_are_linked_for_publishers() {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!(
        "[[live.ice_servers]]\nurl = \"stun:stun.example\"\n\
         [[live.ice_servers]]\nurl = \"turn:turn.example?transport=udp\"\nusername = \"user\"\n\
         credential = \"pass\"\n{PHONE}"
    );
    let application = Application::start(folder.path(), Auth::open(vec![]), &toml).await;
    let created = application.send("POST", "/whip/phone", SDP, OFFER).await;
    assert_eq!(created.status, 201);
    assert_eq!(
        created.links(),
        [
            "<stun:stun.example>; rel=\"ice-server\"",
            "<turn:turn.example?transport=udp>; rel=\"ice-server\"; username=\"user\"; \
             credential=\"pass\"; credential-type=\"password\""
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_12_publishing_needs_a_token_as_bearer_or_in_the_url() {
    let folder = tempfile::tempdir().unwrap();
    let auth = Auth::token(TOKEN);
    let token = auth.expose_token().unwrap().to_owned();
    let application = Application::start(folder.path(), auth, PHONE).await;
    let refused = application.send("POST", "/whip/phone", SDP, OFFER).await;
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    refused.problem(401).await;
    let wrong = application.send("POST", "/whip/phone?token=wrong", SDP, OFFER).await;
    wrong.problem(401).await;

    let bearer = format!("Bearer {token}");
    let bearer = ("authorization", bearer.as_str());
    let created = application.send("POST", "/whip/phone", &[SDP[0], bearer], OFFER).await;
    assert_eq!(created.status, 201);
    let session = created.header("location").to_owned();
    let any = ("if-match", "*");
    application.send("PATCH", &session, &[FRAGMENT, any], TRICKLE).await.problem(401).await;
    application.send("DELETE", &session, &[], "").await.problem(401).await;
    let restarted = application.send("PATCH", &session, &[FRAGMENT, any, bearer], RESTART).await;
    assert_eq!(restarted.status, 200);
    assert_eq!(application.send("DELETE", &session, &[bearer], "").await.status, 200);

    // As OBS without a bearer token does it: the URL stands for itself.
    let by_url = format!("/whip/phone?token={token}");
    let by_url = application.send("POST", &by_url, SDP, OFFER).await;
    assert_eq!(by_url.status, 201);
    assert!(!format!("{:?}", by_url.headers).contains(&token), "it is not given back");
    let session = by_url.header("location").to_owned();
    assert_eq!(application.send("DELETE", &session, &[], "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_13_a_publishers_answer_is_bundled_and_multiplexed_and_refuses_no_section() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let answer = application.send("POST", "/whip/phone", SDP, OFFER).await.text().await;
    assert!(answer.contains("a=group:BUNDLE 0 1\r\n"), "{answer}");
    let sections: Vec<&str> = answer.split("\r\nm=").skip(1).collect();
    assert_eq!(sections.len(), 2);
    for section in sections {
        assert!(section.contains("a=rtcp-mux\r\n"), "{section}");
        assert_ne!(section.split(' ').nth(1), Some("0"), "no partial reject: {section}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_13_what_cannot_be_received_is_422_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let application = start(&folder).await;
    let (head, audio, video) = parts();
    let second_video = video.replace("a=mid:1", "a=mid:2");
    let second_audio = audio.replace("a=mid:0", "a=mid:2");
    let all = head.replace("BUNDLE 0 1", "BUNDLE 0 1 2");
    let data =
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\na=sctp-port:5000\r\n";
    for (why, offer) in [
        ("two videos", format!("{all}{audio}{video}{second_video}")),
        ("two sounds", format!("{all}{audio}{video}{second_audio}")),
        ("a data channel", format!("{all}{audio}{video}{data}")),
        ("two streams", format!("{head}{audio}{}", video.replace("a=msid:", "a=msid:x"))),
        ("not bundled", OFFER.replace("BUNDLE 0 1", "BUNDLE 0")),
        (
            "a codec of nobody's",
            ["H264", "VP8", "VP9", "AV1"]
                .iter()
                .fold(OFFER.to_owned(), |offer, codec| offer.replace(codec, "XX")),
        ),
        ("a section that is off", OFFER.replace("m=video 9", "m=video 0")),
    ] {
        let refused = application.send("POST", "/whip/phone", SDP, offer).await;
        assert_eq!(refused.status, 422, "{why}");
        refused.problem(422).await;
    }
    publish(&application).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_13_a_simulcast_by_rid_is_taken_unless_the_camera_wants_none() {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!(
        "{PHONE}[[cameras]]\nid = \"one\"\nurl = \"whip:\"\n[cameras.media]\nsimulcast = false\n"
    );
    let application = Application::start(folder.path(), Auth::open(vec![]), &toml).await;
    for (camera, rids) in [("phone", &["h", "m", "l"][..]), ("one", &["h"])] {
        let path = format!("/whip/{camera}");
        let answer = application.send("POST", &path, SDP, SIMULCAST).await.text().await;
        let taken = format!("a=simulcast:recv {}\r\n", rids.join(";"));
        assert!(answer.contains(&taken), "{answer}");
        for rid in rids {
            assert!(answer.contains(&format!("a=rid:{rid} recv\r\n")), "{answer}");
        }
        assert_eq!(answer.matches("a=rid:").count(), rids.len(), "{answer}");
    }
    let cameras = application.send("GET", "/api/cameras", &[], "").await.json().await;
    assert_ne!(cameras["items"][0]["state"], json!("live"), "nothing was sent yet");
}
