//! A camera as everyone but the live plane sees it: its id and its state.

mod definition;
mod media;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub use definition::{
    CameraDefinition, CameraDetails, CameraProbe, ManagedBy, ProbedTrack, RtspTransport,
};
pub use media::MediaSettings;

/// Name of a camera: 1–64 of `a-z 0-9 - _`, beginning with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CameraId(String);

/// The text is not a camera id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a camera id is 1 to 64 of `a-z 0-9 - _` and begins with a letter or digit")]
pub struct ParseCameraIdError;

impl CameraId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CameraId {
    type Err = ParseCameraIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        let starts_well = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if starts_well && text.len() <= 64 && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseCameraIdError)
        }
    }
}

impl TryFrom<String> for CameraId {
    type Error = ParseCameraIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CameraId> for String {
    fn from(id: CameraId) -> Self {
        id.0
    }
}

impl fmt::Display for CameraId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a camera's video is, read from its parameter sets and its packets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoParameters {
    /// RFC 6381 codec string, `avc1.42c01f`.
    pub codec: String,
    /// Coded width after cropping.
    pub width_px: u32,
    /// Coded height after cropping.
    pub height_px: u32,
}

/// What a camera is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum CameraState {
    /// On demand, and nobody watches: connected when somebody does.
    Idle,
    /// First connection under way.
    Connecting,
    /// Pictures arrive.
    Live {
        /// What arrives.
        video: VideoParameters,
        /// Frames received in the last second.
        fps: f32,
        /// Payload bits received in the last second, in kbit/s.
        bitrate_kbps: u32,
    },
    /// Not reachable; it is tried again by itself.
    Lost {
        /// A sentence for the tile; carries no address and no credentials.
        reason: String,
    },
}

impl CameraState {
    /// Whether pictures arrive.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Live { .. })
    }
}

/// One encoding of a camera's picture, as it arrives now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerStatus {
    /// Name of the layer, as WHEP's layer extension and RFC 8851 call it: `main`, `sub`, `low`, or the
    /// rid of a simulcast.
    pub rid: String,
    /// What arrives.
    #[serde(flatten)]
    pub video: VideoParameters,
    /// Frames received in the last second.
    pub fps: f32,
    /// Payload bits received in the last second, in kbit/s.
    pub bitrate_kbps: u32,
    /// Between its last two key frames, to 0.1 s; `None` before there were two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_frame_interval_ms: Option<u32>,
}

/// One camera in a listing. Carries no URL, which may hold credentials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CameraStatus {
    /// Name in URLs.
    pub id: CameraId,
    /// Name to show.
    pub name: String,
    /// What it is doing.
    #[serde(flatten)]
    pub state: CameraState,
    /// Viewers connected now.
    pub viewers: u32,
    /// Layers that arrive now, best first.
    #[serde(default)]
    pub layers: Vec<LayerStatus>,
    /// Kind of its source: `rtsp`, `whep`, `ffmpeg`, `whip` (somebody publishes to it) or `test`.
    #[serde(default)]
    pub source: String,
    /// What of it is too much, a sentence: more than its settings say, or than viewers can be shown at
    /// once. Only for sources that are passed through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// RTP encoding name of the audio that viewers get, `opus`, `PCMU` or `PCMA`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn camera_id_refuses_what_a_url_or_a_log_would_trip_over() {
        for bad in ["", "-door", "Front", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert_eq!(bad.parse::<CameraId>(), Err(ParseCameraIdError), "{bad:?}");
        }
        for good in ["door", "0", "yard_2-low"] {
            assert_eq!(good.parse::<CameraId>().map(|id| id.to_string()), Ok(good.to_owned()));
        }
    }

    #[test]
    fn camera_status_is_flat_json() {
        let status = CameraStatus {
            id: "door".parse().unwrap(),
            name: "Door".into(),
            state: CameraState::Lost { reason: "connection refused".into() },
            viewers: 0,
            layers: vec![],
            source: "rtsp".into(),
            warning: None,
            audio: None,
        };
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(json["state"], "lost");
        assert_eq!(json["reason"], "connection refused");
    }
}
