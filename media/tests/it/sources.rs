//! Cameras of every kind, against real servers and encoders: what comes of them in their feed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{CameraState, CameraStatus};
use media::{
    camera::{CameraConfig, RtspTransport},
    hub::{Cursor, Hub, Read, Track},
    ingest::{self, Camera, DEMAND_LINGER},
    sansio::{access_unit::AccessUnit, format::Codec},
};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::rtsp_server::RtspServer;

const PATIENCE: Duration = Duration::from_secs(20);

/// A camera under supervision.
struct Supervised {
    camera: Arc<Camera>,
    token: CancellationToken,
    task: JoinHandle<()>,
}

fn config(source: &str) -> CameraConfig {
    CameraConfig::new("door".parse().unwrap(), "Door".into(), source.parse().unwrap())
}

fn supervise(config: CameraConfig) -> Supervised {
    let feed = Hub::default().add(&config.id);
    let camera = Arc::new(Camera::new(config, feed));
    let token = CancellationToken::new();
    let task = tokio::spawn(ingest::supervise(camera.clone(), token.clone()));
    Supervised { camera, token, task }
}

impl Supervised {
    async fn wait_for(&self, wanted: impl Fn(&CameraStatus) -> bool) -> CameraStatus {
        let began = Instant::now();
        loop {
            let status = self.camera.status();
            if wanted(&status) {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "the camera does not get there: {status:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn stop(self) {
        self.token.cancel();
        timeout(PATIENCE, self.task).await.expect("it ends").expect("it does not panic");
    }
}

/// The next unit of a track.
struct Reader {
    cursor: Cursor,
    wake: Arc<Notify>,
}

impl Reader {
    fn new(track: &Arc<Track>) -> Self {
        let wake = Arc::new(Notify::new());
        Self { cursor: track.subscribe(wake.clone()), wake }
    }

    async fn next(&mut self) -> Arc<AccessUnit> {
        let next = async {
            loop {
                match self.cursor.try_next() {
                    Read::Unit(unit) => return unit,
                    Read::Lagged => {}
                    Read::Empty => self.wake.notified().await,
                }
            }
        };
        timeout(PATIENCE, next).await.expect("a unit comes")
    }

    async fn take(&mut self, count: usize) -> Vec<Arc<AccessUnit>> {
        let mut units = Vec::with_capacity(count);
        while units.len() < count {
            units.push(self.next().await);
        }
        units
    }
}

fn sizes(status: &CameraStatus) -> Vec<(&str, u32, u32)> {
    let size = |layer: &'_ domain::LayerStatus| (layer.video.width_px, layer.video.height_px);
    status.layers.iter().map(|layer| (layer.rid.as_str(), size(layer).0, size(layer).1)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn main_and_sub_stream_are_two_layers_and_the_sub_lost_does_not_stop_the_main() {
    let main = RtspServer::start(0, &[]);
    let sub = RtspServer::start(0, &["--sub"]);
    let sub_port = sub.port();
    let sub_url = sub.url().replace("/cam", "/sub").parse().unwrap();
    let door = supervise(CameraConfig { sub: Some(sub_url), ..config(&main.url()) });
    let status = door.wait_for(|status| status.layers.len() == 2).await;
    assert_eq!(sizes(&status), [("main", 320, 180), ("sub", 160, 90)]);
    let status = door.wait_for(|s| s.layers.iter().all(|layer| layer.fps > 10.0)).await;
    assert!(status.layers.iter().all(|layer| layer.bitrate_kbps > 0), "{status:?}");

    drop(sub);
    door.wait_for(|status| status.layers.len() == 1).await;
    let mut reader = Reader::new(&door.camera.feed.layers()[0]);
    reader.take(30).await;
    assert!(door.camera.status().state.is_live());

    let _sub = RtspServer::start(sub_port, &["--sub"]);
    door.wait_for(|status| status.layers.len() == 2).await;
    drop(main);
    let status = door.wait_for(|status| status.layers.len() == 1).await;
    assert_eq!(sizes(&status), [("sub", 160, 90)], "the sub stream is better than nothing");
    assert!(status.state.is_live());
    door.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_on_demand_connects_for_the_first_viewer_and_closes_after_the_last() {
    let server = RtspServer::start(0, &[]);
    let door = supervise(CameraConfig { on_demand: true, ..config(&server.url()) });
    assert_eq!(server.wait_for_event(Duration::from_millis(500)), None);
    assert_eq!(door.camera.status().state, CameraState::Idle);

    let wanted = door.camera.feed.demand();
    door.wait_for(|status| status.state.is_live()).await;
    assert_eq!(server.wait_for_event(PATIENCE).as_deref(), Some("play /cam"));
    drop(wanted);
    sleep(Duration::from_secs(1)).await;
    // Somebody who comes back in time finds it running.
    let again = door.camera.feed.demand();
    sleep(Duration::from_millis(50)).await;
    drop(again);
    let left = Instant::now();
    let torn_down = tokio::task::spawn_blocking(move || {
        let event = server.wait_for_event(PATIENCE);
        (server, event, left.elapsed())
    });
    let (server, event, after) = torn_down.await.unwrap();
    assert_eq!(event.as_deref(), Some("teardown /cam"));
    assert!((DEMAND_LINGER.as_secs_f64() - 0.5..12.0).contains(&after.as_secs_f64()), "{after:?}");
    door.wait_for(|status| status.state == CameraState::Idle).await;

    let _wanted = door.camera.feed.demand();
    door.wait_for(|status| status.state.is_live()).await;
    assert_eq!(server.wait_for_event(PATIENCE).as_deref(), Some("play /cam"));
    door.stop().await;
    assert_eq!(server.wait_for_event(PATIENCE).as_deref(), Some("teardown /cam"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_falls_silent_without_closing_is_lost_and_comes_back() {
    let server = RtspServer::start(0, &[]);
    let door = supervise(config(&server.url()));
    door.wait_for(|status| status.state.is_live()).await;
    server.freeze();
    let frozen = Instant::now();
    let lost = door.wait_for(|status| !status.state.is_live()).await;
    assert_eq!(lost.state, CameraState::Lost { reason: "no picture for 3 seconds".into() });
    let after = frozen.elapsed().as_secs_f64();
    assert!((2.5..4.5).contains(&after), "{after} s");
    server.thaw();
    door.wait_for(|status| status.state.is_live()).await;
    door.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_that_changes_its_size_in_mid_stream_goes_on() {
    let server = RtspServer::start(0, &["--switch-after", "2", "--events"]);
    let door = supervise(config(&server.url()));
    let status = door.wait_for(|status| status.state.is_live()).await;
    assert_eq!(sizes(&status), [("main", 320, 180)]);
    let status = door.wait_for(|status| sizes(status) != [("main", 320, 180)]).await;
    assert_eq!(sizes(&status), [("main", 160, 90)], "never lost in between");
    let mut reader = Reader::new(&door.camera.feed.layers()[0]);
    reader.take(10).await;
    assert_eq!(server.wait_for_event(PATIENCE).as_deref(), Some("play /cam"));
    assert_eq!(server.wait_for_event(Duration::ZERO), None, "one connection all the time");
    door.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_can_send_over_udp_and_ask_for_a_digest() {
    let arguments = ["--user", "admin", "--password", "s3cret", "--digest"];
    let server = RtspServer::start(0, &arguments);
    let url = server.url().replace("://", "://admin:s3cret@");
    let door = supervise(CameraConfig { rtsp_transport: RtspTransport::Udp, ..config(&url) });
    door.wait_for(|status| matches!(status.state, CameraState::Live { fps, .. } if fps > 10.0))
        .await;
    door.stop().await;
    assert_eq!(server.wait_for_event(PATIENCE).as_deref(), Some("play /cam"));
    assert_eq!(server.wait_for_event(PATIENCE).as_deref(), Some("teardown /cam"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_that_browsers_play_is_passed_through() {
    for (option, codec, packet_ticks) in
        [("mulaw", Codec::Pcmu, 80..=1200), ("opus", Codec::Opus, 960..=960)]
    {
        let server = RtspServer::start(0, &["--audio", option]);
        let door = supervise(config(&server.url()));
        let status = door.wait_for(|status| status.audio.is_some()).await;
        assert_eq!(status.audio.as_deref(), Some(codec.encoding_name()));
        let units = Reader::new(door.camera.feed.audio()).take(20).await;
        for pair in units.windows(2) {
            let ticks = pair[1].time - pair[0].time;
            assert!(packet_ticks.contains(&ticks), "{codec:?}: {ticks}");
            assert!(pair[0].is_key && pair[0].payloads.len() == 1);
        }
        let seconds = units[0].time as f64 / f64::from(codec.clock_rate_hz());
        let wall = (units[0].arrived_at - door.camera.feed.epoch()).as_secs_f64();
        assert!((seconds - wall).abs() < 0.5, "sound at {seconds} s came at {wall} s");
        door.wait_for(|status| status.state.is_live()).await;
        door.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_that_is_not_wanted_is_not_asked_for() {
    let server = RtspServer::start(0, &["--audio", "mulaw"]);
    let door = supervise(CameraConfig { audio: false, ..config(&server.url()) });
    let status = door.wait_for(|status| status.state.is_live()).await;
    assert_eq!(status.audio, None);
    door.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_h265_camera_is_passed_through() {
    let server = RtspServer::start(0, &["--codec", "h265"]);
    let door = supervise(config(&server.url()));
    let status = door.wait_for(|status| status.state.is_live()).await;
    let CameraState::Live { video, .. } = status.state else { unreachable!() };
    assert!(video.codec.starts_with("hvc1.1.6.L"), "{}", video.codec);
    assert_eq!((video.width_px, video.height_px), (320, 180));
    let mut reader = Reader::new(&door.camera.feed.layers()[0]);
    let units = reader.take(40).await;
    assert!(units.iter().any(|unit| unit.is_key));
    door.stop().await;
}
