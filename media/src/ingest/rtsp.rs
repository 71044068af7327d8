//! RTSP cameras by `retina`, as raw RTP. Must not: depacketize into frames (the hub wants packets).
//!
//! Source: RFC 2326; retina handles sessions, digest authentication and keep-alive.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use retina::client::{
    Credentials, PacketItem, PlayOptions, Playing, Session, SessionGroup, SessionOptions,
    SetupOptions, Stream,
};
use tokio::time::timeout;

use super::{Publisher, SILENCE_TIMEOUT, SourceError};
use crate::{
    camera::RtspUrl,
    sansio::{
        assemble::{Assembler, RtpPacket},
        h264::ParameterSets,
    },
};

/// For connecting, and again for each request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);
/// For the end of the last session, before a new one is asked for.
const RETRY_TEARDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// A connected camera whose video has begun to play.
pub(crate) struct Playback {
    pub(crate) session: Session<Playing>,
    pub(crate) assembler: Assembler,
    stream_index: usize,
}

/// The RTSP sessions of one camera, until the camera knows that they are over.
#[derive(Default)]
pub(super) struct RtspSessions(Arc<SessionGroup>);

impl RtspSessions {
    /// Waits until the sessions that were dropped are torn down, within bounds.
    pub(super) async fn wait_for_teardown(&self, patience: Duration) {
        // A camera that does not answer its TEARDOWN times the session out by itself.
        let _ = timeout(patience, self.0.await_teardown()).await;
    }
}

/// Runs one connection; gives why it ended.
pub(super) async fn run(
    url: &RtspUrl,
    publisher: &mut Publisher<'_>,
    sessions: &RtspSessions,
) -> Result<Infallible, SourceError> {
    // Cameras with few session slots refuse a new one while they keep the old.
    sessions.wait_for_teardown(RETRY_TEARDOWN_TIMEOUT).await;
    let mut playback = connect(url, sessions.0.clone()).await?;
    loop {
        let packet = timeout(SILENCE_TIMEOUT, playback.next_packet())
            .await
            .map_err(|_| SourceError::Silent)??;
        let now = Instant::now();
        for unit in playback.assembler.push(packet).into_iter().flatten() {
            publisher.publish(unit, playback.assembler.parameter_sets(), now)?;
        }
    }
}

/// Asks a camera what it offers.
pub(crate) async fn describe(
    url: &RtspUrl,
    group: Arc<SessionGroup>,
) -> Result<Session<retina::client::Described>, SourceError> {
    let credentials =
        url.credentials.clone().map(|(username, password)| Credentials { username, password });
    let options = SessionOptions::default()
        .creds(credentials)
        .user_agent(concat!("Damwall/", env!("CARGO_PKG_VERSION")).to_owned())
        .session_group(group);
    request(Session::describe(url.url.clone(), options)).await
}

/// Index of the H.264 track.
pub(crate) fn h264_stream(streams: &[Stream]) -> Result<usize, SourceError> {
    let is_h264 =
        |s: &Stream| s.media() == "video" && s.encoding_name().eq_ignore_ascii_case("h264");
    streams.iter().position(is_h264).ok_or_else(|| {
        let offered: Vec<_> =
            streams.iter().map(|s| format!("{} {}", s.media(), s.encoding_name())).collect();
        SourceError::NoH264(if offered.is_empty() {
            "nothing".to_owned()
        } else {
            offered.join(", ")
        })
    })
}

/// Connects and starts the video; audio is left alone.
pub(crate) async fn connect(
    url: &RtspUrl,
    group: Arc<SessionGroup>,
) -> Result<Playback, SourceError> {
    let session = describe(url, group).await?;
    play(session).await
}

/// Starts the video of a described camera.
pub(crate) async fn play(
    mut session: Session<retina::client::Described>,
) -> Result<Playback, SourceError> {
    let stream_index = h264_stream(session.streams())?;
    let parameter_sets = match session.streams()[stream_index].parameters() {
        Some(retina::codec::ParametersRef::Video(video)) => {
            ParameterSets::of_avcc(video.extra_data())
        }
        _ => ParameterSets::default(),
    };
    request(session.setup(stream_index, SetupOptions::default())).await?;
    let session = request(session.play(PlayOptions::default())).await?;
    Ok(Playback { session, assembler: Assembler::new(parameter_sets), stream_index })
}

impl Playback {
    /// The next video packet.
    ///
    /// # Errors
    /// When the stream ended or failed.
    pub(crate) async fn next_packet(&mut self) -> Result<RtpPacket, SourceError> {
        loop {
            match self.session.next().await {
                Some(Ok(PacketItem::Rtp(packet))) if packet.stream_id() == self.stream_index => {
                    return Ok(RtpPacket {
                        timestamp_90k: packet.timestamp().timestamp(),
                        marker: packet.mark(),
                        lost_before: packet.loss(),
                        payload: packet.into_payload_bytes(),
                    });
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(classify(&error)),
                None => return Err(SourceError::Ended),
            }
        }
    }
}

async fn request<T>(
    request: impl Future<Output = Result<T, retina::Error>>,
) -> Result<T, SourceError> {
    match timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|error| classify(&error)),
        Err(_) => Err(SourceError::Timeout),
    }
}

/// A sentence for people. retina's own text names addresses and dumps messages; it goes no further than
/// the debug log.
fn classify(error: &retina::Error) -> SourceError {
    tracing::debug!(error = %error, "RTSP conversation failed");
    match error.status_code() {
        Some(401 | 403) => SourceError::Unauthorized,
        Some(404) => SourceError::NoSuchStream,
        Some(status) if status != 200 => SourceError::Status(status),
        _ => classify_text(&error.to_string()),
    }
}

/// retina keeps the causing `io::Error` to itself, so its words have to do.
fn classify_text(text: &str) -> SourceError {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["Connection refused"]) {
        SourceError::Refused
    } else if says(&[
        "failed to lookup",
        "Name or service not known",
        "unreachable",
        "No route to host",
    ]) {
        SourceError::Unreachable
    } else if says(&["timed out", "Timeout", "Unable to write keepalive", "respond to keepalive"]) {
        SourceError::Timeout
    } else if says(&["EOF", "end of file", "Connection reset", "Broken pipe", "closed"]) {
        SourceError::Ended
    } else {
        SourceError::Protocol
    }
}
