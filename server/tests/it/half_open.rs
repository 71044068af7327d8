//! Sessions that were asked for and never connected, and offers of the server's that nobody answered: on the
//! program itself, whose memory is its own.

use futures::{StreamExt as _, stream};

use crate::{
    fixture::{FRAGMENT, OFFER, SDP, TEST_CAMERA},
    program::{Installation, Server},
};

/// Sessions at once.
const PLACES: usize = 2000;
/// Requests at once: all places are to be taken before the first session is given up, after 15 s.
const AT_ONCE: usize = 16;
/// How much more memory may be in use after twice `PLACES` sessions have come and gone: 4 KiB for each, where
/// one that is there takes some 18 KiB.
const MAX_GROWTH_BYTES: u64 = 16 << 20;

async fn start(installation: &Installation) -> Server {
    let limits = format!(
        "max_sessions = {PLACES}\nmax_sessions_per_camera = 9000\nmax_sessions_per_address = 9000\n"
    );
    let live = "[live]\nudp_addr = \"127.0.0.1:0\"\n";
    installation.configure("server", &format!("{live}{limits}{TEST_CAMERA}"));
    let server = installation.serve("server");
    server.wait_live("door").await;
    server
}

/// Offers once more than there are places; the sessions.
async fn fill(server: &Server) -> Vec<String> {
    let offers = (0..=PLACES).map(|_| server.send_with("POST", "/whep/door", SDP, OFFER));
    let mut answers = stream::iter(offers).buffer_unordered(AT_ONCE);
    let (mut sessions, mut refused) = (Vec::new(), None);
    while let Some(answer) = answers.next().await {
        match answer.status {
            201 => sessions.push(answer.header("location").to_owned()),
            _ => assert!(refused.replace(answer).is_none(), "only the last finds no place"),
        }
    }
    let refused = refused.expect("there is a limit");
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
    let text = refused.problem(503).await;
    assert!(text.contains("on this server"), "{text}");
    sessions
}

/// Ends them; where that took long, some have been given up before.
async fn delete(server: &Server, sessions: &[String]) {
    let requests = sessions.iter().map(|session| server.send("DELETE", session, ""));
    let mut answers = stream::iter(requests).buffer_unordered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        assert!([200, 404].contains(&answer.status), "{}", answer.status);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_10_thousands_of_half_open_sessions_are_503_pass_away_and_leave_nothing() {
    let installation = Installation::new();
    let server = start(&installation).await;
    // What the allocator keeps of the first crowds it has for those that follow.
    for _ in 0..2 {
        let sessions = fill(&server).await;
        assert_eq!(sessions.len(), PLACES, "each place is given back by DELETE");
        delete(&server, &sessions).await;
    }
    let before = server.rss_bytes();
    let sessions = fill(&server).await;
    let full = server.rss_bytes();
    // The newest is the last to be given up.
    let stats = format!("{}/stats", sessions.last().unwrap());
    let is_over = async |server: &Server| server.send("GET", &stats, "").await.status == 404;
    server.wait_for("given up", is_over).await;
    let sessions = fill(&server).await;
    assert_eq!(sessions.len(), PLACES, "each place was given back by time");
    delete(&server, &sessions).await;
    let after = server.rss_bytes();
    println!("{before} bytes before, {full} with {PLACES} sessions, {after} after {}", 2 * PLACES);
    assert!(after < before + MAX_GROWTH_BYTES, "{before} bytes have become {after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_3_an_offer_of_the_servers_that_nobody_answers_is_over_when_it_says() {
    let installation = Installation::new();
    let server = start(&installation).await;
    let offer = OFFER.replace(" H264/90000", " XX/90000");
    let counter = server.send_with("POST", "/whep/door", SDP, &offer).await;
    assert_eq!(counter.status, 406);
    let session = counter.header("location").to_owned();
    let format = "%a, %d %b %Y %H:%M:%S GMT";
    let until = jiff::fmt::strtime::parse(format, counter.header("valid-until")).unwrap();
    let until = until.to_datetime().unwrap().in_tz("UTC").unwrap().timestamp();
    let stands = until.duration_since(jiff::Timestamp::now()).as_secs();
    assert!((25..=30).contains(&stands), "{stands} s");

    // While it stands its candidates are taken.
    let fragment = [FRAGMENT, ("if-match", "*")];
    let patch = async |server: &Server| {
        server.send_with("PATCH", &session, &fragment, "a=end-of-candidates\r\n").await.status
    };
    assert_eq!(patch(&server).await, 204);
    server.wait_for("over", async |server| patch(server).await == 404).await;
    let early = until.duration_since(jiff::Timestamp::now());
    assert!(early.as_secs() <= 1, "{early} before it says");
}
