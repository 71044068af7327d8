//! Cameras in: one task a camera, which connects, publishes, and tries again.
//!
//! Must not: know viewers. A camera that fails costs its own task's time and nothing else.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use domain::{CameraState, CameraStatus, VideoParameters};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    camera::{CameraConfig, SourceUrl},
    hub::Feed,
    ingest::{rtsp::RtspSessions, whep::WhepSessions},
    sansio::{
        access_unit::AccessUnit,
        assemble::Assembled,
        backoff::Backoff,
        format::{Codec, Format},
        h264::ParameterSets,
        timeline::{CLOCK_90K, Timeline},
    },
};

pub mod rtsp;
pub mod test_pattern;
mod whep;

/// Without a picture for this long a camera counts as lost.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(3);
/// For telling a camera at the end that its session is over.
const STOP_TEARDOWN_TIMEOUT: Duration = Duration::from_secs(4);

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
    /// No H.264 among its tracks.
    #[error("no H.264 video; the camera offers {0}")]
    NoH264(String),
    /// The SPS cannot be read.
    #[error("the camera's H.264 parameter sets cannot be read")]
    BadParameterSets,
    /// Packets stopped.
    #[error("no picture for 3 seconds")]
    Silent,
    /// It ended the stream.
    #[error("the camera ended the stream")]
    Ended,
    /// ffmpeg is missing.
    #[error("ffmpeg is not installed")]
    NoFfmpeg,
    /// ffmpeg ended; its last words.
    #[error("ffmpeg failed: {0}")]
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
    /// TLS.
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

/// What a camera does now, as its task last said.
#[derive(Debug)]
pub struct Camera {
    /// Its configuration.
    pub config: CameraConfig,
    /// Its ring.
    pub feed: Arc<Feed>,
    state: Mutex<CameraState>,
}

impl Camera {
    /// A camera that has not been tried yet.
    pub fn new(config: CameraConfig, feed: Arc<Feed>) -> Self {
        Self { config, feed, state: Mutex::new(CameraState::Connecting) }
    }

    /// What the camera does now.
    pub fn status(&self) -> CameraStatus {
        CameraStatus {
            id: self.config.id.clone(),
            name: self.config.name.clone(),
            state: self.state.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            viewers: self.feed.viewers(),
            layers: Vec::new(),
            audio: None,
        }
    }

    fn set_state(&self, state: CameraState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// Where a source puts its access units.
#[derive(Debug)]
pub struct Publisher<'a> {
    camera: &'a Camera,
    timeline: &'a mut Timeline,
    video: Option<VideoParameters>,
    window: Window,
    has_published: bool,
}

/// Counts of the current second.
#[derive(Debug)]
struct Window {
    since: Instant,
    frames: u32,
    len_bytes: usize,
}

impl<'a> Publisher<'a> {
    fn new(camera: &'a Camera, timeline: &'a mut Timeline) -> Self {
        let window = Window { since: Instant::now(), frames: 0, len_bytes: 0 };
        Self { camera, timeline, video: None, window, has_published: false }
    }

    /// Publishes one access unit; `parameter_sets` are those in force for it.
    ///
    /// # Errors
    /// [`SourceError::BadParameterSets`]: no decoder could show this camera.
    pub fn publish(
        &mut self,
        unit: Assembled,
        parameter_sets: &ParameterSets,
        now: Instant,
    ) -> Result<(), SourceError> {
        if unit.is_key {
            self.learn(parameter_sets)?;
        }
        let time = self.timeline.place(unit.timestamp_90k, now);
        let unit =
            AccessUnit { time, is_key: unit.is_key, payloads: unit.payloads, arrived_at: now };
        self.window.frames += 1;
        self.window.len_bytes += unit.len_bytes();
        self.camera.feed.layers()[0].publish(unit);

        let window = now.saturating_duration_since(self.window.since).as_secs_f32();
        if (window >= 1.0 || !self.has_published)
            && let Some(video) = &self.video
        {
            // The first second has no rate yet; the state still has to say that pictures arrive.
            let per_sec = if self.has_published { 1.0 / window } else { 0.0 };
            self.camera.set_state(CameraState::Live {
                video: video.clone(),
                fps: self.window.frames as f32 * per_sec,
                bitrate_kbps: (self.window.len_bytes as f32 * 8.0 / 1000.0 * per_sec) as u32,
            });
            self.window = Window { since: now, frames: 0, len_bytes: 0 };
            self.has_published = true;
        }
        Ok(())
    }

    fn learn(&mut self, parameter_sets: &ParameterSets) -> Result<(), SourceError> {
        let video = parameter_sets.video_parameters().map_err(|_| SourceError::BadParameterSets)?;
        let h264_profile = match parameter_sets.sps.as_deref() {
            Some([_, profile_idc, constraint_flags, ..]) => Some([*profile_idc, *constraint_flags]),
            _ => None,
        };
        self.camera.feed.layers()[0].set_format(Format {
            codec: Codec::H264,
            rid: "main".to_owned(),
            video: Some(video.clone()),
            h264_profile,
        });
        if self.video.as_ref() != Some(&video) {
            let id = &self.camera.config.id;
            info!(
                camera.id = %id, codec = %video.codec, width_px = video.width_px,
                height_px = video.height_px,
                "camera {id} is live: {} {}x{}", video.codec, video.width_px, video.height_px
            );
            self.video = Some(video);
        }
        Ok(())
    }
}

/// Runs one camera until `token` is cancelled: connect, publish, and after a failure try again.
pub async fn supervise(camera: Arc<Camera>, token: CancellationToken) {
    let id = camera.config.id.clone();
    let mut backoff = Backoff::default();
    let mut timeline = Timeline::new(camera.feed.epoch(), CLOCK_90K);
    let mut last_reason = None;
    let sessions = Sessions::default();
    loop {
        timeline.reconnected();
        let mut publisher = Publisher::new(&camera, &mut timeline);
        let ended = tokio::select! {
            biased;
            () = token.cancelled() => None,
            error = run_once(&camera.config.source, &mut publisher, &sessions) => Some(error),
        };
        let has_published = publisher.has_published;
        let Some(error) = ended else {
            sessions.rtsp.wait_for_teardown(STOP_TEARDOWN_TIMEOUT).await;
            sessions.whep.wait_for_goodbyes(STOP_TEARDOWN_TIMEOUT).await;
            return;
        };
        if has_published {
            backoff.reset();
            last_reason = None;
        }
        camera.feed.clear();
        let reason = error.to_string();
        camera.set_state(CameraState::Lost { reason: reason.clone() });
        let delay = backoff.next_delay(rand::random());
        // The same reason again and again is one line, not one a try.
        if last_reason.as_ref() != Some(&reason) {
            warn!(
                camera.id = %id, error = %reason, retry_in_ms = delay.as_millis() as u64,
                "camera {id} lost: {reason}; retrying until it is back"
            );
            last_reason = Some(reason);
        }
        tokio::select! {
            biased;
            () = token.cancelled() => return,
            () = tokio::time::sleep(delay) => {}
        }
    }
}

/// Sessions of one source that its other side may still have to be told the end of.
#[derive(Default)]
struct Sessions {
    rtsp: RtspSessions,
    whep: WhepSessions,
}

/// Publishes until the source fails; there is no other way to end.
async fn run_once(
    source: &SourceUrl,
    publisher: &mut Publisher<'_>,
    sessions: &Sessions,
) -> SourceError {
    let ended = match source {
        SourceUrl::Rtsp(url) => rtsp::run(url, publisher, &sessions.rtsp).await,
        SourceUrl::Whep(url) => whep::run(url, publisher, &sessions.whep).await,
        SourceUrl::Test { width_px, height_px } => {
            test_pattern::run(*width_px, *height_px, publisher).await
        }
    };
    match ended {
        Ok(never) => match never {},
        Err(error) => error,
    }
}
