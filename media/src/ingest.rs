//! Cameras in: one task a camera, which connects, publishes, and tries again.
//!
//! Must not: know viewers. A camera that fails costs its own task's time and nothing else.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use domain::{CameraState, CameraStatus, LayerStatus, VideoParameters};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    camera::{CameraConfig, SourceUrl},
    hub::{Feed, MAX_LAYERS, Track, TrackIndex},
    ingest::{publisher::TrackPublisher, rtsp::RtspSessions, whep::WhepSessions},
    sansio::backoff::Backoff,
};

mod child;
mod ffmpeg;
mod loopback;
pub mod publisher;
pub mod rtsp;
pub mod test_pattern;
mod tls_relay;
mod transcode;
mod warning;
mod watchdog;
mod whep;
mod whip;

/// Without a picture for this long a camera counts as lost.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(3);
/// A camera on demand stays connected for this long after its last viewer.
pub const DEMAND_LINGER: Duration = Duration::from_secs(10);
/// Somebody looks at a camera that is away: it is tried this often at least, to be back within 2 s of its
/// return, of which a camera takes some to answer and to give its first picture.
const WATCHED_RETRY: Duration = Duration::from_secs(1);
/// For telling a camera at the end that its session is over.
const STOP_TEARDOWN_TIMEOUT: Duration = Duration::from_secs(4);

/// Layer of a camera's own stream.
const MAIN: (TrackIndex, &str) = (TrackIndex::Layer(0), "main");
/// Layer of its smaller stream.
const SUB: (TrackIndex, &str) = (TrackIndex::Layer(1), "sub");

/// Why a camera stopped. `Display` is for people and carries no address and no credentials.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// The name or network is not reachable.
    #[error("host not reachable")]
    Unreachable,
    /// Connected, but no answer in time.
    #[error("the camera does not answer")]
    Timeout,
    /// RTSP 401 or 403.
    #[error("the camera refuses the user name or password")]
    Unauthorized,
    /// RTSP 404.
    #[error("the camera has no stream at this path")]
    NoSuchStream,
    /// Another RTSP status.
    #[error("the camera answers with RTSP status {0}")]
    Status(u16),
    /// No video among its tracks that can be used.
    #[error("no H.264 or H.265 video; the camera offers {0}")]
    NoVideo(String),
    /// The SPS cannot be read.
    #[error("the camera's parameter sets cannot be read")]
    BadParameterSets,
    /// `rtsps`: the certificate is not one to trust.
    #[error("the camera's certificate is not trusted; `#insecure` behind the URL takes any")]
    Certificate,
    /// `rtsps` or `whep+https`: no common ground.
    #[error("the camera does not speak TLS as we do")]
    Tls,
    /// Packets stopped.
    #[error("no picture for 3 seconds")]
    Silent,
    /// Nothing that a decoder could begin with.
    #[error("packets come, but no key frame for 20 seconds")]
    NoKeyFrame,
    /// Nothing that says what the pictures are.
    #[error("packets come, but no parameter sets (SPS and PPS) for 20 seconds")]
    NoParameterSets,
    /// It ended the stream.
    #[error("the camera ended the stream")]
    Ended,
    /// ffmpeg is missing.
    #[error("ffmpeg is not installed")]
    NoFfmpeg,
    /// ffmpeg ended; its last words, which may name hosts and files.
    #[error("ffmpeg cannot read this source; the log says why")]
    Ffmpeg(String),
    /// The camera broke RTSP; the debug log has the details.
    #[error("the camera's RTSP answers make no sense")]
    Protocol,
    /// WHEP 409.
    #[error("the origin's camera is not live now")]
    OriginNotLive,
    /// WHEP 503.
    #[error("the origin takes no more viewers now")]
    OriginFull,
    /// WHEP 406.
    #[error("the origin refuses our offer; it may have none of our codecs")]
    OfferRefused,
    /// Another HTTP status.
    #[error("the origin answers with HTTP status {0}")]
    HttpStatus(u16),
    /// `whep+https`: the certificate is not one to trust.
    #[error("the origin's certificate is not trusted")]
    NotTrusted,
    /// Nothing to verify an origin with.
    #[error("this server has no root certificates; install `ca-certificates`")]
    NoRoots,
    /// The origin broke HTTP or SDP; the debug log has the details.
    #[error("the origin's WHEP answers make no sense")]
    Origin,
    /// HTTP works and UDP does not.
    #[error("the origin answers, but no packets come; is UDP let through?")]
    NoPackets,
    /// The connection failed.
    #[error("{0}")]
    Io(std::io::ErrorKind),
}

impl SourceError {
    /// For those who read the log, who may know more than viewers.
    fn for_log(&self) -> String {
        match self {
            Self::Ffmpeg(line) => format!("ffmpeg failed: {line}"),
            other => other.to_string(),
        }
    }
}

/// What a camera does now, as its task last said.
#[derive(Debug)]
pub struct Camera {
    /// Its configuration.
    pub config: CameraConfig,
    /// Its tracks.
    pub feed: Arc<Feed>,
    /// What it does while no layer is live.
    away: Mutex<CameraState>,
    /// Frames in the last second of every layer, the bits of an `f32`.
    layer_fps: [AtomicU32; MAX_LAYERS],
    /// Between the last two key frames of every layer, in ms, to 0.1 s; 0 before there were two.
    layer_key_interval_ms: [AtomicU32; MAX_LAYERS],
}

impl Camera {
    /// A camera that has not been tried yet.
    pub fn new(config: CameraConfig, feed: Arc<Feed>) -> Self {
        let state = if config.on_demand { CameraState::Idle } else { CameraState::Connecting };
        Self {
            config,
            feed,
            away: Mutex::new(state),
            layer_fps: Default::default(),
            layer_key_interval_ms: Default::default(),
        }
    }

    /// What the camera does now.
    pub fn status(&self) -> CameraStatus {
        let layers = self.layers();
        // The picture of any layer is better than none.
        let state = match layers.first() {
            Some(best) => CameraState::Live {
                video: best.video.clone(),
                fps: best.fps,
                bitrate_kbps: best.bitrate_kbps,
            },
            None => self.away.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        let audio = self.feed.audio().format();
        CameraStatus {
            id: self.config.id.clone(),
            name: self.config.name.clone(),
            state,
            viewers: self.feed.viewers(),
            source: self.config.source.kind().to_owned(),
            warning: self.warning(&layers),
            layers,
            audio: audio.map(|format| format.codec.encoding_name().to_owned()),
        }
    }

    /// What of a camera that is passed through is too much; what is encoded here keeps to its settings.
    fn warning(&self, layers: &[LayerStatus]) -> Option<String> {
        let is_passed_through =
            matches!(self.config.source, SourceUrl::Rtsp(_) | SourceUrl::Whep(_));
        let own = |layer: &&LayerStatus| [MAIN.1, SUB.1].contains(&layer.rid.as_str());
        let mut own = layers.iter().filter(own).filter(|_| is_passed_through);
        own.find_map(|layer| warning::of(layer, &self.config.media))
    }

    fn layers(&self) -> Vec<LayerStatus> {
        let layer = |((track, fps), interval): ((&Arc<Track>, &AtomicU32), &AtomicU32)| {
            let format = track.format()?;
            // VP8 and its like tell their size in the stream, which nobody here reads.
            let unknown = || VideoParameters {
                codec: format.codec.encoding_name().to_ascii_lowercase(),
                width_px: 0,
                height_px: 0,
            };
            Some(LayerStatus {
                rid: format.rid.clone(),
                video: format.video.clone().unwrap_or_else(unknown),
                fps: f32::from_bits(fps.load(Ordering::Relaxed)),
                bitrate_kbps: track.bitrate_bps() / 1000,
                key_frame_interval_ms: Some(interval.load(Ordering::Relaxed)).filter(|ms| *ms > 0),
            })
        };
        let tracks = self.feed.layers().iter().zip(&self.layer_fps);
        tracks.zip(&self.layer_key_interval_ms).filter_map(layer).collect()
    }

    fn set_away(&self, state: CameraState) {
        *self.away.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// Runs one camera until `token` is cancelled: always, or while somebody wants it.
pub async fn supervise(camera: Arc<Camera>, token: CancellationToken) {
    // Nobody can be asked to publish.
    let is_published_to = camera.config.source == SourceUrl::Whip;
    if !camera.config.on_demand || is_published_to {
        run_sources(&camera, &token).await;
        return;
    }
    let id = &camera.config.id;
    let mut demand = camera.feed.watch_demand();
    loop {
        camera.set_away(CameraState::Idle);
        tokio::select! {
            biased;
            () = token.cancelled() => return,
            _ = demand.wait_for(|count| *count > 0) => {}
        }
        info!(camera.id = %id, "camera {id} is wanted; connecting");
        camera.set_away(CameraState::Connecting);
        let wanted = token.child_token();
        let close_unwanted = async {
            unwanted(&mut demand).await;
            info!(camera.id = %id, "camera {id} is not wanted any more; closing");
            wanted.cancel();
            std::future::pending().await
        };
        tokio::select! {
            () = run_sources(&camera, &wanted) => {}
            () = close_unwanted => {}
        }
        camera.feed.clear();
    }
}

/// Waits until nobody has wanted the camera for [`DEMAND_LINGER`].
async fn unwanted(demand: &mut watch::Receiver<u32>) {
    loop {
        // The sender lives in the feed, which the camera holds.
        let _ = demand.wait_for(|count| *count == 0).await;
        tokio::select! {
            _ = demand.wait_for(|count| *count > 0) => {}
            () = sleep(DEMAND_LINGER) => return,
        }
    }
}

/// Runs every source of a camera until `token` is cancelled; one that is lost does not stop the others.
async fn run_sources(camera: &Camera, token: &CancellationToken) {
    let main = async {
        match &camera.config.source {
            SourceUrl::Whip => whip::run(camera, token).await,
            source => run_source(camera, source, MAIN, token).await,
        }
    };
    let sub = async {
        match (&camera.config.source, &camera.config.sub) {
            // A publisher brings its layers itself.
            (SourceUrl::Whip, _) | (_, None | Some(SourceUrl::Whip)) => {}
            (_, Some(sub)) => run_source(camera, sub, SUB, token).await,
        }
    };
    tokio::join!(main, sub, transcode::supervise_low(camera, token));
}

/// Where one source publishes to.
#[derive(Debug)]
struct Publishers<'a> {
    video: TrackPublisher<'a>,
    /// `None` when the camera's sound is not wanted, or not of this source.
    audio: Option<TrackPublisher<'a>>,
}

/// One source of a camera, as [`retry`] needs it.
trait Source {
    /// Publishes until the source fails; there is no other way to end.
    fn run_once(
        &mut self,
        publishers: &mut Publishers<'_>,
    ) -> impl Future<Output = Result<Infallible, SourceError>> + Send;

    /// Waits before the next try.
    fn pause(&mut self, pause: Duration) -> impl Future<Output = ()> + Send;
}

/// The source at a URL.
struct UrlSource<'a> {
    url: &'a SourceUrl,
    sessions: Sessions,
}

impl Source for UrlSource<'_> {
    async fn run_once(
        &mut self,
        publishers: &mut Publishers<'_>,
    ) -> Result<Infallible, SourceError> {
        let sessions = &self.sessions;
        match self.url {
            SourceUrl::Rtsp(url) => rtsp::run(url, publishers, &sessions.rtsp).await,
            SourceUrl::Whep(url) => whep::run(url, publishers, &sessions.whep).await,
            SourceUrl::Ffmpeg(input) => ffmpeg::run(input, publishers).await,
            SourceUrl::Test { width_px, height_px } => {
                test_pattern::run(*width_px, *height_px, &mut publishers.video).await
            }
            // Has a loop of its own, [`whip::run`].
            SourceUrl::Whip => std::future::pending().await,
        }
    }

    async fn pause(&mut self, pause: Duration) {
        sleep(pause).await;
    }
}

/// Runs one source until `token` is cancelled, and ends its sessions.
async fn run_source(
    camera: &Camera,
    url: &SourceUrl,
    track: (TrackIndex, &'static str),
    token: &CancellationToken,
) {
    let mut source = UrlSource { url, sessions: Sessions::default() };
    retry(camera, &mut source, track, token).await;
    source.sessions.rtsp.wait_for_teardown(STOP_TEARDOWN_TIMEOUT).await;
    source.sessions.whep.wait_for_goodbyes(STOP_TEARDOWN_TIMEOUT).await;
}

/// Connects, publishes, and after a failure tries again, until `token` is cancelled.
async fn retry(
    camera: &Camera,
    source: &mut impl Source,
    (index, rid): (TrackIndex, &'static str),
    token: &CancellationToken,
) {
    let id = &camera.config.id;
    let is_main = (index, rid) == MAIN;
    let mut backoff = Backoff::default();
    let mut last_reason = None;
    let has_audio = is_main && camera.config.audio;
    let mut publishers = Publishers {
        video: TrackPublisher::new(camera, index, rid),
        audio: has_audio.then(|| TrackPublisher::new(camera, TrackIndex::Audio, "audio")),
    };
    loop {
        let ended = tokio::select! {
            biased;
            () = token.cancelled() => None,
            Err(error) = source.run_once(&mut publishers) => Some(error),
        };
        if publishers.video.has_published() {
            backoff.reset();
            last_reason = None;
        }
        publishers.video.clear();
        if let Some(audio) = &mut publishers.audio {
            audio.clear();
        }
        let Some(error) = ended else { break };
        if is_main {
            camera.set_away(CameraState::Lost { reason: error.to_string() });
        }
        let reason = error.for_log();
        let mut delay = backoff.next_delay(rand::random());
        if camera.feed.viewers() > 0 {
            delay = delay.min(WATCHED_RETRY);
        }
        // The same reason again and again is one line, not one a try.
        if last_reason.as_ref() != Some(&reason) {
            warn!(
                camera.id = %id, layer = rid, error = %reason, retry_in_ms = delay.as_millis() as u64,
                "camera {id} lost its layer {rid}: {reason}; retrying until it is back"
            );
            last_reason = Some(reason);
        }
        tokio::select! {
            biased;
            () = token.cancelled() => break,
            () = source.pause(delay) => {}
        }
    }
}

/// Sessions of one source that its other side may still have to be told the end of.
#[derive(Default)]
struct Sessions {
    rtsp: RtspSessions,
    whep: WhepSessions,
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{hub::Hub, sansio::assemble::Assembled};

    fn camera() -> Camera {
        let id: domain::CameraId = "door".parse().unwrap();
        let feed = Hub::default().add(&id);
        let source = "rtsp://camera/".parse().unwrap();
        Camera::new(CameraConfig::new(id, "Door".to_owned(), source), feed)
    }

    /// Fails again and again, after one picture where `has_picture` says so of the try.
    struct Failing<F> {
        has_picture: F,
        tries: usize,
        pauses: Vec<f64>,
        /// Cancelled after so many.
        most: usize,
        token: CancellationToken,
    }

    impl<F: Fn(usize) -> bool + Send> Source for Failing<F> {
        async fn run_once(
            &mut self,
            publishers: &mut Publishers<'_>,
        ) -> Result<Infallible, SourceError> {
            if (self.has_picture)(self.tries) {
                let payloads = vec![vec![0; 10].into()];
                let unit = Assembled { timestamp_90k: 0, is_key: true, payloads };
                publishers.video.publish(unit, Instant::now());
            }
            self.tries += 1;
            Err(SourceError::Refused)
        }

        async fn pause(&mut self, pause: Duration) {
            self.pauses.push(pause.as_secs_f64());
            if self.tries == self.most {
                self.token.cancel();
            }
        }
    }

    /// Each pause is the expected one, in seconds, with up to a quarter taken off.
    async fn check(camera: &Camera, has_picture: impl Fn(usize) -> bool + Send, expected: &[f64]) {
        let token = CancellationToken::new();
        let (pauses, most) = (Vec::new(), expected.len());
        let mut source = Failing { has_picture, tries: 0, pauses, most, token: token.clone() };
        retry(camera, &mut source, MAIN, &token).await;
        let pauses = source.pauses;
        assert_eq!((source.tries, pauses.len()), (most, most));
        for (pause, expected) in pauses.iter().zip(expected) {
            assert!((expected * 0.75..=*expected).contains(pause), "{pause} s in {pauses:?}");
        }
    }

    #[tokio::test]
    async fn pauses_between_tries_grow_until_pictures_come_and_then_begin_again() {
        let camera = camera();
        let expected = [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 0.5, 0.5, 1.0];
        check(&camera, |attempt| matches!(attempt, 7 | 8), &expected).await;
        let lost = CameraState::Lost { reason: "connection refused".to_owned() };
        assert_eq!(camera.status().state, lost);
    }

    #[tokio::test]
    async fn a_camera_that_somebody_waits_for_is_tried_every_second() {
        let camera = camera();
        let _viewer = camera.feed.count_viewer();
        check(&camera, |_| false, &[0.5, 1.0, 1.0, 1.0, 1.0, 1.0]).await;
    }
}
