//! The live plane against a real RTSP server (GStreamer's, not ours) and a real encoder.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod certificate;
mod rtsp_server;
mod sources;
mod whep_origin;
mod whep_source;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use domain::{CameraId, CameraState, CameraStatus};
use media::{
    camera::{CameraConfig, SourceUrl},
    egress::handle::{CreateError, Patch, PatchError, Patched, Resource, SessionKind},
    ingest::SourceError,
    live::{Live, LiveConfig},
};
use rtsp_server::RtspServer;
use tokio::{runtime::Handle, time::timeout};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(20);

async fn start(source: &str) -> Live {
    let config = LiveConfig {
        udp_addr: SocketAddr::from(([127, 0, 0, 1], 0)),
        tcp_addr: None,
        announced: Vec::new(),
        limits: Default::default(),
        cameras: vec![CameraConfig::new(
            "door".parse().unwrap(),
            "Door".into(),
            source.parse().unwrap(),
        )],
    };
    Live::start(config, &Handle::current()).await.unwrap()
}

/// Waits for the camera to be in a state; gives it.
async fn wait_for(live: &Live, wanted: impl Fn(&CameraState) -> bool) -> CameraStatus {
    wait_for_status(live, |status| wanted(&status.state)).await
}

async fn wait_for_status(live: &Live, wanted: impl Fn(&CameraStatus) -> bool) -> CameraStatus {
    let mut statuses = live.statuses();
    let found = timeout(PATIENCE, statuses.wait_for(|all| wanted(&all[0]))).await;
    found.expect("the camera gets there in time").expect("the live plane runs")[0].clone()
}

/// About 30 frames a second, of which the first figures may know a part.
fn plays_at_its_pace(state: &CameraState) -> bool {
    matches!(state, CameraState::Live { fps, .. } if (10.0..60.0).contains(fps))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_switched_off_and_on_again_comes_back_by_itself() {
    let server = RtspServer::start(0, &[]);
    let live = start(&server.url()).await;
    let status = wait_for(&live, plays_at_its_pace).await;
    let CameraState::Live { video, bitrate_kbps, .. } = status.state else { unreachable!() };
    assert_eq!((video.width_px, video.height_px), (320, 180));
    assert!(video.codec.starts_with("avc1."), "{}", video.codec);
    assert!(bitrate_kbps > 0);

    let port = server.port();
    drop(server);
    let lost = wait_for(&live, |state| matches!(state, CameraState::Lost { .. })).await;
    let CameraState::Lost { reason } = lost.state else { unreachable!() };
    assert!(!reason.contains("127.0.0.1"), "no address in public text: {reason}");
    let door = "door".parse().unwrap();
    let offer = include_bytes!("chromium_offer.sdp");
    assert!(matches!(live.rtc().create(&door, offer, LOCAL).await, Err(CreateError::NotLive)));

    let _server = RtspServer::start(port, &[]);
    wait_for(&live, CameraState::is_live).await;
    live.close_viewers().await;
    live.close_cameras().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_test_pattern_is_a_camera() {
    let live = start("test:320x180").await;
    let status =
        wait_for(&live, |state| matches!(state, CameraState::Live { fps, .. } if *fps > 0.0)).await;
    let CameraState::Live { video, .. } = status.state else { unreachable!() };
    assert_eq!((video.width_px, video.height_px), (320, 180));
    live.close_viewers().await;
    live.close_cameras().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_is_changed_is_listed_all_the_time_and_the_last_change_stays() {
    let live = start("test:320x180").await;
    wait_for(&live, |state| matches!(state, CameraState::Live { .. })).await;
    let id = "door".parse().unwrap();
    for size in ["64x64", "128x128", "256x256"] {
        let source: SourceUrl = format!("test:{size}").parse().unwrap();
        let changed = CameraConfig::new("door".parse().unwrap(), size.into(), source);
        live.cameras().put(changed.clone());
        assert_eq!(live.cameras().config(&id), Some(changed));
    }
    let mut statuses = live.statuses();
    let is_last = |status: &CameraStatus| matches!(&status.state, CameraState::Live { video, .. } if video.width_px == 256);
    let found = timeout(
        PATIENCE,
        statuses.wait_for(|all| {
            assert_eq!(all.len(), 1, "never out of the list");
            is_last(&all[0])
        }),
    );
    assert_eq!(found.await.unwrap().unwrap()[0].name, "256x256");
    live.close_viewers().await;
    live.close_cameras().await;
}

#[tokio::test]
async fn a_camera_that_is_not_there_says_why_and_viewers_are_asked_to_come_later() {
    // Port 9 (discard) has no listener here.
    let live = start("rtsp://127.0.0.1:9/none").await;
    let lost = wait_for(&live, |state| matches!(state, CameraState::Lost { .. })).await;
    assert_eq!(lost.state, CameraState::Lost { reason: "connection refused".into() });
    let offer = include_bytes!("chromium_offer.sdp");
    let door = "door".parse().unwrap();
    assert!(matches!(live.rtc().create(&door, offer, LOCAL).await, Err(CreateError::NotLive)));
    let other = "other".parse().unwrap();
    assert!(matches!(
        live.rtc().create(&other, offer, LOCAL).await,
        Err(CreateError::UnknownCamera)
    ));
    live.close_viewers().await;
    live.close_cameras().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromiums_offer_is_answered_and_a_session_ends_once() {
    let live = start("test:320x180").await;
    wait_for(&live, CameraState::is_live).await;
    let door = "door".parse().unwrap();
    let created =
        live.rtc().create(&door, include_bytes!("chromium_offer.sdp"), LOCAL).await.unwrap();
    assert!(created.sdp.contains("a=setup:passive"));
    let resource = Resource { kind: SessionKind::Viewer, camera: door, secret: created.secret };
    assert!(live.rtc().delete(&resource).await);
    assert!(!live.rtc().delete(&resource).await);
    live.close_viewers().await;
    live.close_cameras().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_without_the_cameras_codec_is_offered_what_there_is() {
    let live = start("test:320x180").await;
    wait_for(&live, CameraState::is_live).await;
    let (rtc, camera): (_, CameraId) = (live.rtc(), "door".parse().unwrap());
    let offer = include_str!("chromium_offer.sdp").replace(" H264/90000", " H263/90000");
    let created = rtc.create(&camera, offer.as_bytes(), LOCAL).await.unwrap();
    assert_eq!(created.counter_offer, Some(Duration::from_secs(30)));
    assert!(created.sdp.contains("a=setup:actpass") && created.sdp.contains(" H264/90000"));

    let resource = Resource { kind: SessionKind::Viewer, camera, secret: created.secret };
    let candidates = Patch::SdpFragment {
        body: b"a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n",
        if_match: Some(&created.etag),
    };
    assert_eq!(rtc.patch(&resource, candidates).await, Ok(Patched::Done));
    let refused = rtc.patch(&resource, Patch::Answer(offer.as_bytes())).await;
    assert!(matches!(refused, Err(PatchError::Malformed(_))), "{refused:?}");
    // The offer still stands for a better answer.
    let answer = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n\
        a=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 00:01:02:03:04:05:06:07:\
        08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\na=setup:active\r\n\
        a=mid:0\r\na=recvonly\r\na=rtcp-mux\r\na=rtpmap:96 H264/90000\r\n\
        a=fmtp:96 packetization-mode=1;profile-level-id=42e01f\r\n";
    assert_eq!(rtc.patch(&resource, Patch::Answer(answer.as_bytes())).await, Ok(Patched::Done));
    let again = rtc.patch(&resource, Patch::Answer(answer.as_bytes())).await;
    assert_eq!(again, Err(PatchError::NoAnswerExpected));
    assert!(rtc.delete(&resource).await);
    live.close_viewers().await;
    live.close_cameras().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probe_tells_what_a_camera_offers() {
    let server = RtspServer::start(0, &["--gop", "30"]);
    let SourceUrl::Rtsp(url) = server.url().parse().unwrap() else { unreachable!() };
    let report = media::probe::probe(&url).await.unwrap();
    assert_eq!(report.tracks[0].media, "video");
    assert_eq!(report.tracks[0].codec, "h264");
    let video = report.video.unwrap();
    assert_eq!((video.width_px, video.height_px), (320, 180));
    assert!((29.0..31.0).contains(&report.fps), "{} fps", report.fps);
    let interval = report.key_frame_interval.unwrap().as_secs_f64();
    assert!((0.9..1.1).contains(&interval), "{interval} s");
    assert_eq!(report.lost_packets, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_with_a_password_takes_the_right_one_only() {
    let server = RtspServer::start(0, &["--user", "ad min", "--password", "s3cr:t"]);
    let probe = async |user_info: &str| {
        let url = server.url().replace("rtsp://", &format!("rtsp://{user_info}"));
        let SourceUrl::Rtsp(url) = url.parse().unwrap() else { unreachable!() };
        media::probe::probe(&url).await
    };
    assert!(matches!(probe("").await, Err(SourceError::Unauthorized)));
    assert!(matches!(probe("ad%20min:wrong@").await, Err(SourceError::Unauthorized)));
    probe("ad%20min:s3cr%3At@").await.unwrap();
}
