//! What a camera offers, for `damwall camera probe`. Must not: keep a connection open afterwards.

use std::time::{Duration, Instant};

use domain::{RtspTransport, VideoParameters};
use tokio::time::timeout;

use crate::{
    camera::RtspUrl,
    ingest::{SILENCE_TIMEOUT, SourceError, rtsp},
};

/// How long the video is watched, so that two key frames of most cameras fall into it.
const WATCH: Duration = Duration::from_secs(6);
/// For telling the camera that it is over.
const TEARDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// One track of a camera's SDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// `video`, `audio` or `application`.
    pub media: String,
    /// RTP encoding name, lower case.
    pub codec: String,
    /// RTP clock in Hz.
    pub clock_rate_hz: u32,
    /// Channels of audio.
    pub channels: Option<u16>,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Report {
    /// From DESCRIBE to the first picture.
    pub first_picture: Duration,
    /// Every track offered.
    pub tracks: Vec<Track>,
    /// The video's parameters.
    pub video: Option<VideoParameters>,
    /// Frames per second, measured on the camera's clock.
    pub fps: f64,
    /// Payload rate while watched.
    pub bitrate_kbps: f64,
    /// Time between key frames; `None` if fewer than two came.
    pub key_frame_interval: Option<Duration>,
    /// Packets lost on the way.
    pub lost_packets: u64,
}

/// Connects, watches the video for a few seconds, and reports.
///
/// # Errors
/// Why the camera cannot be used, as a sentence.
pub async fn probe(url: &RtspUrl) -> Result<Report, SourceError> {
    let began = Instant::now();
    let sessions = rtsp::RtspSessions::default();
    let described = rtsp::describe(url, &sessions).await?;
    let tracks = described
        .streams()
        .iter()
        .map(|stream| Track {
            media: stream.media().to_owned(),
            codec: stream.encoding_name().to_owned(),
            clock_rate_hz: stream.clock_rate_hz(),
            channels: stream.channels().map(|channels| channels.get()),
        })
        .collect();
    let mut playback = rtsp::play(described, RtspTransport::Tcp, None).await?;

    let (mut times, mut keys, mut len_bytes, mut lost_packets) = (Vec::new(), Vec::new(), 0, 0);
    let (mut first_picture, mut last_at) = (None, began);
    while first_picture.is_none_or(|first: Instant| first.elapsed() < WATCH) {
        let packet = timeout(SILENCE_TIMEOUT, playback.next_packet()).await;
        let rtsp::Packet::Video(packet) = packet.map_err(|_| SourceError::Silent)?? else {
            continue;
        };
        lost_packets += u64::from(packet.lost_before);
        for unit in playback.assembler.push(packet).into_iter().flatten() {
            first_picture.get_or_insert_with(Instant::now);
            last_at = Instant::now();
            times.push(unit.timestamp_90k);
            len_bytes += unit.payloads.iter().map(|payload| payload.len()).sum::<usize>();
            if unit.is_key {
                keys.push(unit.timestamp_90k);
            }
        }
        if first_picture.is_none() && began.elapsed() > 3 * WATCH {
            return Err(SourceError::Silent);
        }
    }
    let first = first_picture.ok_or(SourceError::Silent)?;
    let watched = (last_at - first).as_secs_f64().max(0.001);
    let mean_step = |times: &[i64]| {
        let steps = times.len().checked_sub(1).filter(|steps| *steps > 0)?;
        Some((times[steps] - times[0]) as f64 / steps as f64 / 90_000.0)
    };
    let report = Report {
        first_picture: first - began,
        tracks,
        video: playback.assembler.parameter_sets().video_parameters().ok(),
        fps: mean_step(&times).filter(|step| *step > 0.0).map_or(0.0, |step| 1.0 / step),
        bitrate_kbps: len_bytes as f64 * 8.0 / 1000.0 / watched,
        key_frame_interval: mean_step(&keys)
            .and_then(|step| Duration::try_from_secs_f64(step).ok()),
        lost_packets,
    };
    drop(playback);
    sessions.wait_for_teardown(TEARDOWN_TIMEOUT).await;
    Ok(report)
}
