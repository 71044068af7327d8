//! Cameras of every kind, against real servers and encoders: what comes of them in their feed.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{CameraState, CameraStatus, MediaSettings, RtspTransport};
use http_body_util::Full;
use hyper::{Response, body::Bytes};
use media::{
    camera::CameraConfig,
    hub::{Cursor, Hub, Ingress, Read, Track, TrackIndex},
    ingest::{self, Camera, DEMAND_LINGER},
    sansio::{
        access_unit::AccessUnit,
        assemble::Assembled,
        format::{Codec, Format},
    },
};
use tokio::{
    process::Command,
    sync::Notify,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    certificate::{Directory, run_trusting, trusting_url},
    rtsp_server::RtspServer,
    whep_origin::{HttpServer, Origin},
};

const PATIENCE: Duration = Duration::from_secs(30);

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

/// Seconds from a unit's time to its arrival, of the one where that is least: others may have waited for their
/// turn on a busy machine. Negative if the first one, which tells when time begins, waited.
fn least_late(units: &[Arc<AccessUnit>], codec: Codec, epoch: Instant) -> f64 {
    let late = |unit: &Arc<AccessUnit>| {
        let time = unit.time as f64 / f64::from(codec.clock_rate_hz());
        (unit.arrived_at - epoch).as_secs_f64() - time
    };
    units.iter().map(late).min_by(|one, other| one.abs().total_cmp(&other.abs())).unwrap()
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
    assert!(after.as_secs_f64() > DEMAND_LINGER.as_secs_f64() - 0.5, "{after:?}");
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
    let frozen = Instant::now();
    server.freeze();
    let lost = door.wait_for(|status| !status.state.is_live()).await;
    assert_eq!(lost.state, CameraState::Lost { reason: "no picture for 3 seconds".into() });
    let after = frozen.elapsed().as_secs_f64();
    println!("lost {after} s after its pictures stopped");
    assert!((1.5..20.0).contains(&after), "{after} s");
    server.thaw();
    door.wait_for(|status| status.state.is_live()).await;
    door.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_that_changes_its_size_in_mid_stream_goes_on() {
    let server = RtspServer::start(0, &["--switch-after", "6", "--events"]);
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

/// What a camera answers to a client that set up a session and then said nothing for a while.
fn answer_after(silence: Duration, url: &str, port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut ask = |request: String| {
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 1024];
        let len = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..len]).into_owned()
    };
    let set_up = ask(format!(
        "SETUP {url}/stream=0 RTSP/1.0\r\nCSeq: 1\r\n\
         Transport: RTP/AVP;unicast;client_port=40000-40001\r\n\r\n"
    ));
    let session = set_up.split_once("Session: ").unwrap().1.split(';').next().unwrap();
    std::thread::sleep(silence);
    ask(format!("GET_PARAMETER {url} RTSP/1.0\r\nCSeq: 2\r\nSession: {session}\r\n\r\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_over_udp_is_kept_alive_for_longer_than_its_time_out() {
    // Over UDP nothing but our requests tells the camera that somebody still listens.
    const SESSION_TIMEOUT: Duration = Duration::from_secs(5);
    let server = RtspServer::start(0, &["--session-timeout", "5"]);
    let udp = CameraConfig { rtsp_transport: RtspTransport::Udp, ..config(&server.url()) };
    let door = supervise(udp);
    door.wait_for(|status| status.state.is_live()).await;
    assert_eq!(server.wait_for_event(PATIENCE).as_deref(), Some("play /cam"));

    let held = 2 * SESSION_TIMEOUT + Duration::from_secs(2);
    let (url, port) = (server.url(), server.port());
    let silent = tokio::task::spawn_blocking(move || answer_after(held, &url, port));
    let began = Instant::now();
    let mut reader = Reader::new(&door.camera.feed.layers()[0]);
    while began.elapsed() < held {
        reader.next().await;
        assert!(door.camera.status().state.is_live());
    }
    let answer = silent.await.unwrap();
    assert!(answer.starts_with("RTSP/1.0 454 "), "the silent one is ended: {answer}");
    assert_eq!(server.wait_for_event(Duration::ZERO), None, "one PLAY all the time");
    door.stop().await;
    assert_eq!(server.wait_for_event(PATIENCE).as_deref(), Some("teardown /cam"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_that_browsers_play_is_passed_through() {
    for (option, codec, packet_ticks) in [
        ("mulaw", Codec::Pcmu, 80..=1200),
        ("alaw", Codec::Pcma, 80..=1200),
        ("opus", Codec::Opus, 960..=960),
    ] {
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
        let late = least_late(&units, codec, door.camera.feed.epoch());
        assert!(late.abs() < 0.5, "sound came {late} s after its time");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_low_layer_of_an_h265_camera_is_made_by_one_encoder_while_it_is_read() {
    let server = RtspServer::start(0, &["--codec", "h265"]);
    // A rate that the encoders of other tests' cameras are not told.
    let max_kbps = 5_001 + std::process::id() % 90_000;
    let media = MediaSettings { max_kbps, ..MediaSettings::default() };
    let encoders = || processes_with(&format!("-maxrate\0{max_kbps}k\0"));
    let door = supervise(CameraConfig { media, ..config(&server.url()) });
    let status = door.wait_for(|status| status.layers.len() == 2).await;
    assert_eq!(sizes(&status), [("main", 320, 180), ("low", 320, 180)]);
    Reader::new(&door.camera.feed.layers()[0]).take(60).await;
    assert_eq!(encoders(), 0, "it is on offer, and nobody reads it");

    let low = &door.camera.feed.layers()[2].clone();
    let announced = low.format().unwrap();
    assert_eq!(announced.codec, Codec::H264);
    let (mut first, mut second) = (Reader::new(low), Reader::new(low));
    let units = first.take(60).await;
    assert!(units[0].is_key && units[30..].iter().any(|unit| unit.is_key));
    assert_eq!(low.format().unwrap(), announced, "what was announced is what comes");
    let late = units[59].arrived_at.duration_since(door.camera.feed.epoch()).as_secs_f64()
        - units[59].time as f64 / 90_000.0;
    assert!(late.abs() < 1.0, "{late} s late");
    second.take(60).await;
    assert_eq!(encoders(), 1, "one for both readers");
    drop(first);
    second.take(30).await;
    assert_eq!(encoders(), 1, "one reader is left");

    drop(second);
    let left = Instant::now();
    while encoders() > 0 {
        assert!(left.elapsed() < PATIENCE, "the encoder goes on without readers");
        sleep(Duration::from_millis(20)).await;
    }
    assert!(left.elapsed() > Duration::from_secs(4), "who comes back at once finds it running");
    assert_eq!(low.format().unwrap(), announced, "still on offer");
    // The reader is one that wants it, so it comes again.
    assert!(Reader::new(low).take(2).await[0].is_key);
    assert_eq!(encoders(), 1);
    door.stop().await;
    assert!(low.format().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aac_becomes_opus() {
    let server = RtspServer::start(0, &["--audio", "aac"]);
    let door = supervise(config(&server.url()));
    let status = door.wait_for(|status| status.audio.is_some()).await;
    assert_eq!(status.audio.as_deref(), Some("opus"));
    let units = Reader::new(door.camera.feed.audio()).take(100).await;
    for pair in units.windows(2) {
        assert_eq!(pair[1].time - pair[0].time, 960, "20 ms");
    }
    door.wait_for(|status| status.state.is_live()).await;
    door.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rtsps_takes_a_certificate_of_an_authority_that_the_operator_names() {
    if let Some(url) = trusting_url() {
        let door = supervise(config(&url));
        door.wait_for(|status| status.state.is_live()).await;
        door.stop().await;
        return;
    }
    let directory = Directory::new("rtsps-authority");
    let signed = directory.signed().await;
    let server = RtspServer::start(0, &["--tls", &signed.pem]);
    let name = "sources::rtsps_takes_a_certificate_of_an_authority_that_the_operator_names";
    run_trusting(&signed.authority, &server.url(), name).await;
    assert_eq!(server.wait_for_event(PATIENCE).as_deref(), Some("play /cam"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rtsps_goes_by_the_certificate_unless_told_otherwise() {
    let directory = Directory::new("rtsps");
    let server = RtspServer::start(0, &["--tls", &directory.signed().await.pem]);

    let door = supervise(config(&server.url()));
    let is_lost = |status: &CameraStatus| matches!(status.state, CameraState::Lost { .. });
    let CameraState::Lost { reason } = door.wait_for(is_lost).await.state else { unreachable!() };
    assert!(reason.contains("certificate is not trusted"), "{reason}");
    door.stop().await;

    let door = supervise(config(&format!("{}#insecure", server.url())));
    door.wait_for(|status| status.state.is_live()).await;
    door.stop().await;
    assert_eq!(server.wait_for_event(PATIENCE).as_deref(), Some("play /cam"));
    assert_eq!(server.wait_for_event(PATIENCE).as_deref(), Some("teardown /cam"));
}

/// A clip of one second, made by ffmpeg.
async fn clip(name: &str, arguments: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("damwall-{}-{name}", std::process::id()));
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=30:d=1"])
        .args(["-f", "lavfi", "-i", "sine=d=1"])
        .args(arguments.split(' '))
        .arg(&path)
        .output()
        .await
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_played_in_a_loop_in_its_own_time() {
    let clip = clip("loop.mp4", "-c:v libx264 -bf 0 -g 15 -pix_fmt yuv420p -c:a aac").await;
    let door = supervise(config(&format!("ffmpeg:{}", clip.display())));
    let status = door.wait_for(|status| status.layers.len() == 1 && status.audio.is_some()).await;
    assert_eq!(sizes(&status), [("main", 320, 180)]);
    assert!(status.layers[0].video.codec.starts_with("avc1.64"), "copied: {status:?}");
    let mut pictures = Reader::new(&door.camera.feed.layers()[0]);
    let began = Instant::now();
    let units = pictures.take(75).await;
    let took = began.elapsed().as_secs_f64();
    assert!((1.0..15.0).contains(&took), "75 frames in {took} s");
    for pair in units.windows(2) {
        let ticks = pair[1].time - pair[0].time;
        // Where the clip begins again its sound, which is a little longer, makes a gap.
        assert!((2900..9000).contains(&ticks), "{ticks}");
    }
    let sound = Reader::new(door.camera.feed.audio()).take(50).await;
    // There too.
    let steps: Vec<_> = sound.windows(2).map(|pair| pair[1].time - pair[0].time).collect();
    assert!(steps.iter().all(|step| (900..3000).contains(step)), "{steps:?}");
    door.stop().await;
    std::fs::remove_file(clip).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_a_web_server_is_played_in_a_loop_in_its_own_time() {
    let options = "-an -c:v libx264 -bf 0 -g 15 -pix_fmt yuv420p -movflags +faststart";
    let clip = clip("http.mp4", options).await;
    let contents = Bytes::from(std::fs::read(&clip).unwrap());
    std::fs::remove_file(clip).unwrap();
    let http = HttpServer::start(0, move |request| {
        let range = request.headers().get("range").and_then(|range| range.to_str().ok());
        let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        let from: usize = from.and_then(|from| from.parse().ok()).unwrap_or_default();
        let len = contents.len();
        let answer = Response::builder()
            .status(206)
            .header("accept-ranges", "bytes")
            .header("content-range", format!("bytes {from}-{}/{len}", len - 1))
            .body(Full::new(contents.slice(from.min(len)..)))
            .unwrap();
        Box::pin(async { answer })
    })
    .await;
    let door = supervise(config(&format!("ffmpeg:http://{}/clip.mp4", http.addr)));
    let status = door.wait_for(|status| status.state.is_live()).await;
    assert_eq!(sizes(&status), [("main", 320, 180)]);
    assert!(status.layers[0].video.codec.starts_with("avc1.64"), "copied: {status:?}");
    let began = Instant::now();
    Reader::new(&door.camera.feed.layers()[0]).take(75).await;
    let took = began.elapsed().as_secs_f64();
    assert!((1.0..15.0).contains(&took), "75 frames of a clip of 30 in {took} s");
    assert!(door.camera.status().state.is_live());
    door.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_sends_packets_but_no_key_frame_is_lost_and_says_so() {
    // A minute with one key frame, at its beginning: who comes later finds it gone.
    let options = "-an -vf loop=loop=-1:size=30 -t 60 -c:v libx264 -preset ultrafast -bf 0 -g 9999 \
        -pix_fmt yuv420p";
    let clip = clip("one-key.mp4", options).await;
    let server = RtspServer::start(0, &["--clip", clip.to_str().unwrap()]);
    let first = supervise(config(&server.url()));
    let server = tokio::task::spawn_blocking(move || {
        assert_eq!(server.wait_for_event(PATIENCE).as_deref(), Some("play /cam"));
        server
    });
    let server = server.await.unwrap();
    sleep(Duration::from_secs(2)).await;
    let late = supervise(config(&server.url()));
    assert_eq!(late.camera.status().state, CameraState::Connecting);
    let began = Instant::now();
    let lost = late.wait_for(|status| matches!(status.state, CameraState::Lost { .. })).await;
    let reason = "packets come, but no key frame for 20 seconds".to_owned();
    assert_eq!(lost.state, CameraState::Lost { reason });
    assert!(began.elapsed() > Duration::from_secs(19), "{:?}", began.elapsed());
    late.stop().await;
    first.stop().await;
    std::fs::remove_file(clip).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sound_of_a_camera_of_another_server_comes_through_its_session() {
    for (option, codec) in [("opus", Codec::Opus), ("alaw", Codec::Pcma)] {
        let server = RtspServer::start(0, &["--audio", option]);
        let origin = Origin::of(&server.url()).await;
        let mut statuses = origin.live.statuses();
        let has_sound = timeout(PATIENCE, statuses.wait_for(|all| all[0].audio.is_some()));
        has_sound.await.expect("in time").expect("the live plane runs");
        let door = supervise(config(&origin.url()));
        let status = door.wait_for(|s| s.audio.is_some() && s.state.is_live()).await;
        assert_eq!(status.audio.as_deref(), Some(codec.encoding_name()));
        let units = Reader::new(door.camera.feed.audio()).take(100).await;
        let epoch = door.camera.feed.epoch();
        let late = [&units[..50], &units[50..]].map(|half| least_late(half, codec, epoch));
        assert!((late[1] - late[0]).abs() < 1.0, "in its own time: {late:?} s late");
        assert!(units.iter().all(|unit| !unit.payloads[0].is_empty()));
        door.stop().await;
        origin.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_h265_file_is_copied_and_offers_h264_on_demand() {
    let clip = clip("h265.mkv", "-c:v libx265 -x265-params bframes=0 -g 15 -pix_fmt yuv420p").await;
    let door = supervise(config(&format!("ffmpeg:{}", clip.display())));
    let status = door.wait_for(|status| status.layers.len() == 2).await;
    assert!(status.layers[0].video.codec.starts_with("hvc1."), "{status:?}");
    assert!(status.layers[1].video.codec.starts_with("avc1."), "{status:?}");
    assert!(Reader::new(&door.camera.feed.layers()[2]).take(30).await[0].is_key);
    door.stop().await;
    std::fs::remove_file(clip).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_browsers_cannot_play_is_encoded() {
    let door = supervise(config("ffmpeg:lavfi:testsrc2=s=320x180:r=30"));
    let status = door.wait_for(|status| status.state.is_live()).await;
    assert_eq!(sizes(&status), [("main", 320, 180)]);
    assert!(status.layers[0].video.codec.starts_with("avc1.42c0"), "{status:?}");
    let units = Reader::new(&door.camera.feed.layers()[0]).take(100).await;
    let keys: Vec<_> = units.iter().filter(|unit| unit.is_key).map(|unit| unit.time).collect();
    assert!(keys.windows(2).all(|pair| pair[1] - pair[0] == 135_000), "every 1.5 s: {keys:?}");
    assert!(keys.len() >= 2);
    door.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn srt_comes_by_ffmpeg() {
    let port = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    // A listener of ffmpeg's ends with its caller, and ffprobe calls before ffmpeg does.
    let script = format!(
        "while :; do timeout 60 ffmpeg -nostdin -v error -re -f lavfi -i testsrc2=s=320x180:r=30 \
         -c:v libx264 -preset ultrafast -tune zerolatency -g 30 -pix_fmt yuv420p -f mpegts \
         'srt://127.0.0.1:{port}?mode=listener'; done"
    );
    let mut listener = Command::new("sh");
    let listener = listener.args(["-c", &script]).stderr(Stdio::null()).kill_on_drop(true).spawn();
    let door = supervise(config(&format!("ffmpeg:srt://127.0.0.1:{port}")));
    let status = door.wait_for(|status| status.state.is_live()).await;
    assert_eq!(sizes(&status), [("main", 320, 180)]);
    assert!(status.layers[0].video.codec.starts_with("avc1."), "{status:?}");
    let units = Reader::new(&door.camera.feed.layers()[0]).take(60).await;
    assert!(units.iter().filter(|unit| unit.is_key).count() >= 2, "copied, with its key frames");
    // It would start another when this caller goes.
    listener.unwrap().kill().await.unwrap();
    door.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_input_that_is_not_there_viewers_learn_no_path() {
    let door = supervise(config("ffmpeg:/nowhere/secret-clip.mp4"));
    let is_lost = |status: &CameraStatus| matches!(status.state, CameraState::Lost { .. });
    let CameraState::Lost { reason } = door.wait_for(is_lost).await.state else { unreachable!() };
    assert_eq!(reason, "ffmpeg cannot read this source; the log says why");
    door.stop().await;
}

/// Processes whose command line has `needle` in it.
fn processes_with(needle: &str) -> usize {
    let of_process = |entry: std::io::Result<std::fs::DirEntry>| {
        std::fs::read(entry.ok()?.path().join("cmdline")).ok()
    };
    let has_it = |line: &Vec<u8>| {
        let line = String::from_utf8_lossy(line).into_owned();
        line.starts_with("ffmpeg") && line.contains(needle)
    };
    std::fs::read_dir("/proc").unwrap().filter_map(of_process).filter(has_it).count()
}

/// Input of the camera in the process that is killed.
const VICTIM: &str = "DAMWALL_TEST_VICTIM";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ffmpeg_dies_with_its_parent_even_when_that_is_killed() {
    // A FIFO that nobody writes to: ffmpeg hangs in reading it, and would never find out.
    let fifo = std::env::temp_dir().join(format!("damwall-victim-{}.fifo", std::process::id()));
    if let Ok(input) = std::env::var(VICTIM) {
        let _door = supervise(config(&format!("ffmpeg:{input}")));
        sleep(PATIENCE).await;
        return;
    }
    assert!(Command::new("mkfifo").arg(&fifo).status().await.unwrap().success());
    let running = format!("testsrc2=s=64x64:r=10:d={}", 1_000_000 + std::process::id());
    let hanging = format!("movie={}", fifo.display());
    for needle in [&running, &hanging] {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sources::ffmpeg_dies_with_its_parent_even_when_that_is_killed"])
            .env(VICTIM, format!("lavfi:{needle}"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while processes_with(needle) == 0 {
            assert!(began.elapsed() < PATIENCE, "ffmpeg starts");
            sleep(Duration::from_millis(20)).await;
        }
        victim.kill().await.unwrap();
        let killed = Instant::now();
        while processes_with(needle) > 0 {
            assert!(killed.elapsed() < PATIENCE, "ffmpeg outlives its parent");
            sleep(Duration::from_millis(20)).await;
        }
    }
    std::fs::remove_file(&fifo).unwrap();
}

#[tokio::test]
async fn what_a_publisher_hands_over_is_live_until_it_leaves() {
    let door = supervise(config("whip:"));
    let nobody = CameraState::Lost { reason: "nobody publishes".into() };
    door.wait_for(|status| status.state == nobody).await;
    let feed = &door.camera.feed;
    for _ in 0..2 {
        let ingress = feed.ingress().expect("the camera takes a publisher");
        let (high, low) = (TrackIndex::Layer(0), TrackIndex::Layer(1));
        let vp8 = |rid: &str| Format {
            codec: Codec::Vp8,
            rid: rid.into(),
            video: None,
            h264_profile: None,
        };
        let unit = |timestamp_90k| Assembled {
            timestamp_90k,
            is_key: true,
            payloads: vec![vec![0; 10].into()],
        };
        let opus = Format { codec: Codec::Opus, ..vp8("audio") };
        for message in [
            Ingress::Format(high, vp8("h")),
            Ingress::Format(low, vp8("l")),
            Ingress::Format(TrackIndex::Audio, opus),
            Ingress::Unit(high, unit(0)),
            Ingress::Unit(low, unit(0)),
            Ingress::Unit(high, unit(3000)),
            Ingress::Unit(TrackIndex::Audio, unit(960)),
        ] {
            ingress.send(message).await.unwrap();
        }
        let status = door.wait_for(|status| status.audio.is_some()).await;
        assert_eq!(sizes(&status), [("h", 0, 0), ("l", 0, 0)]);
        assert_eq!(status.layers[0].video.codec, "vp8");
        assert!(status.state.is_live());
        ingress.send(Ingress::Ended("the publisher left".into())).await.unwrap();
        let status = door.wait_for(|status| status.state == nobody).await;
        assert!(status.layers.is_empty() && status.audio.is_none());
    }
    let feed = feed.clone();
    door.stop().await;
    assert!(feed.ingress().is_none(), "nobody takes a publisher any more");
}

#[tokio::test]
async fn a_layer_that_its_publisher_stopped_goes_off_offer_and_the_others_stay() {
    let door = supervise(config("whip:"));
    let is_waiting = |status: &CameraStatus| matches!(status.state, CameraState::Lost { .. });
    door.wait_for(is_waiting).await;
    let ingress = door.camera.feed.ingress().expect("the camera takes a publisher");
    let format =
        |rid: &str| Format { codec: Codec::Vp8, rid: rid.into(), video: None, h264_profile: None };
    let send = async |layer: usize, n: i64| {
        let payloads = vec![vec![0; 10].into()];
        let unit = Assembled { timestamp_90k: n * 9_000, is_key: true, payloads };
        ingress.send(Ingress::Unit(TrackIndex::Layer(layer), unit)).await.unwrap();
    };
    for (layer, rid) in [(0, "h"), (1, "l")] {
        ingress.send(Ingress::Format(TrackIndex::Layer(layer), format(rid))).await.unwrap();
        send(layer, 0).await;
    }
    for n in 1..40 {
        send(1, n).await;
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(sizes(&door.camera.status()), [("l", 0, 0)]);
    let silent = CameraState::Lost { reason: "no picture for 3 seconds".into() };
    door.wait_for(|status| status.state == silent).await;
    ingress.send(Ingress::Format(TrackIndex::Layer(0), format("h"))).await.unwrap();
    send(0, 40).await;
    let status = door.wait_for(|status| status.state.is_live()).await;
    assert_eq!(sizes(&status), [("h", 0, 0)]);
    door.stop().await;
}
