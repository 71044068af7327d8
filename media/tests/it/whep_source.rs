//! A camera of another server, pulled by WHEP.

use std::sync::{Arc, Mutex, atomic::Ordering};

use domain::CameraState;
use hyper::header::AUTHORIZATION;

use crate::{
    certificate::{Directory, run_trusting, trusting_url},
    plays_at_its_pace, start, wait_for, wait_for_status,
    whep_origin::{HttpServer, Origin, answer},
};

fn has_frames(state: &CameraState) -> bool {
    matches!(state, CameraState::Live { fps, .. } if *fps > 0.0)
}

fn reason(state: CameraState) -> String {
    match state {
        CameraState::Lost { reason } => reason,
        other => panic!("lost, not {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_of_another_damwall_is_pulled_and_its_session_deleted_at_the_end() {
    let origin = Origin::start(0).await;
    let live = start(&origin.url()).await;
    let status = wait_for(&live, plays_at_its_pace).await;
    let CameraState::Live { video, .. } = status.state else { unreachable!() };
    assert_eq!((video.width_px, video.height_px), (320, 180));
    wait_for_status(&origin.live, |status| status.viewers == 1).await;

    live.close_cameras().await;
    assert_eq!(origin.deleted.load(Ordering::SeqCst), 1, "told by DELETE, before we are gone");
    wait_for_status(&origin.live, |status| status.state.is_live() && status.viewers == 0).await;
    live.close_viewers().await;
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_goes_away_is_lost_with_a_sentence_and_live_again_when_it_is_back() {
    let origin = Origin::start(0).await;
    let (port, url) = (origin.http.addr.port(), origin.url());
    let live = start(&url).await;
    wait_for(&live, has_frames).await;
    origin.stop().await;
    let lost = wait_for(&live, |state| matches!(state, CameraState::Lost { .. })).await;
    let reason = reason(lost.state);
    let sentences =
        ["the camera ended the stream", "no picture for 3 seconds", "connection refused"];
    assert!(sentences.contains(&&*reason), "{reason}");

    let origin = Origin::start(port).await;
    wait_for(&live, has_frames).await;
    live.close_cameras().await;
    live.close_viewers().await;
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_refuses_says_why() {
    for (status, sentence) in [
        (401, "the camera refuses the user name or password"),
        (404, "the camera has no stream at this path"),
        (406, "the origin refuses our offer; it may have none of our codecs"),
        (409, "the origin's camera is not live now"),
        (418, "the origin answers with HTTP status 418"),
        (503, "the origin takes no more viewers now"),
        (201, "the origin's WHEP answers make no sense"),
    ] {
        let http = HttpServer::start(0, move |_| {
            Box::pin(async move { answer(status, ("retry-after", "1"), "no SDP".into()) })
        })
        .await;
        let live = start(&format!("whep+http://{}/cam", http.addr)).await;
        let lost = wait_for(&live, |state| matches!(state, CameraState::Lost { .. })).await;
        assert_eq!(reason(lost.state), sentence);
        live.close_cameras().await;
        live.close_viewers().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_over_tls_is_pulled_when_its_certificate_is_trusted() {
    if let Some(url) = trusting_url() {
        let live = start(&url).await;
        wait_for(&live, has_frames).await;
        live.close_cameras().await;
        live.close_viewers().await;
        return;
    }
    let directory = Directory::new("whep-authority");
    let signed = directory.signed().await;
    let origin = Origin::start_tls(&signed.pem).await;
    let name = "whep_source::an_origin_over_tls_is_pulled_when_its_certificate_is_trusted";
    run_trusting(&signed.authority, &origin.url(), name).await;
    assert_eq!(origin.deleted.load(Ordering::SeqCst), 1, "its DELETE is trusted too");
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_whose_tls_is_not_to_be_trusted_says_so() {
    let directory = Directory::new("whep");
    let origin = Origin::start_tls(&directory.signed().await.pem).await;
    let without_tls = HttpServer::start(0, |_| Box::pin(async { unreachable!("over TLS") })).await;
    for (url, sentence) in [
        (origin.url(), "the origin's certificate is not trusted"),
        (
            format!("whep+https://{}/cam", without_tls.addr),
            "the camera does not speak TLS as we do",
        ),
    ] {
        let live = start(&url).await;
        let lost = wait_for(&live, |state| matches!(state, CameraState::Lost { .. })).await;
        assert_eq!(reason(lost.state), sentence);
        live.close_cameras().await;
        live.close_viewers().await;
    }
    assert_eq!(origin.deleted.load(Ordering::SeqCst), 0);
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_followed_but_the_token_stays_with_its_origin() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = |request: &hyper::Request<_>, seen: &Arc<Mutex<Vec<_>>>| {
        let token = request.headers().get(AUTHORIZATION).map(|v| v.to_str().unwrap().to_owned());
        seen.lock().unwrap().push((request.uri().path().to_owned(), token));
    };
    let seen_there = seen.clone();
    let there = HttpServer::start(0, move |request| {
        log(&request, &seen_there);
        Box::pin(async { answer(404, ("x", "x"), String::new()) })
    })
    .await;
    let (seen_here, elsewhere) = (seen.clone(), format!("http://{}/there", there.addr));
    let here = HttpServer::start(0, move |request| {
        log(&request, &seen_here);
        let is_first = request.uri().path() == "/a/cam";
        let location = if is_first { "other".to_owned() } else { elsewhere.clone() };
        Box::pin(async move { answer(307, ("location", &location), String::new()) })
    })
    .await;
    let live = start(&format!("whep+http://s3cret@{}/a/cam", here.addr)).await;
    wait_for(&live, |state| matches!(state, CameraState::Lost { .. })).await;
    live.close_cameras().await;
    live.close_viewers().await;
    let token = Some("Bearer s3cret".to_owned());
    assert_eq!(
        seen.lock().unwrap()[..3],
        [("/a/cam".into(), token.clone()), ("/a/other".into(), token), ("/there".into(), None)]
    );
}
