//! A camera as an administrator sees and changes it. Must not: know what a source URL may look like (the
//! server's live plane does).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{CameraId, MediaSettings, VideoParameters};

/// What a camera is to be: what an administrator sends.
///
/// When a camera is changed, a URL that is left out stays as it is, since no answer ever gives it away.
/// `Debug` never shows a URL.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraDefinition {
    /// Name in URLs; never changes.
    pub id: CameraId,
    /// Name to show; the id when empty.
    #[serde(default)]
    pub name: String,
    /// Where its pictures come from; with credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A smaller stream of the same picture; empty text takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_url: Option<String>,
    /// Connect only while somebody watches.
    #[serde(default)]
    pub on_demand: bool,
    /// Give its sound to viewers too.
    #[serde(default = "yes")]
    pub audio: bool,
    /// How an `rtsp://` camera sends.
    #[serde(default)]
    pub rtsp_transport: RtspTransport,
    /// What its media is to be like.
    #[serde(default)]
    pub media: MediaSettings,
}

fn yes() -> bool {
    true
}

impl CameraDefinition {
    /// A camera that is always connected, with sound and no second stream.
    pub fn new(id: CameraId, url: String) -> Self {
        Self {
            id,
            name: String::new(),
            url: Some(url),
            sub_url: None,
            on_demand: false,
            audio: true,
            rtsp_transport: RtspTransport::default(),
            media: MediaSettings::default(),
        }
    }
}

impl fmt::Debug for CameraDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CameraDefinition")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("on_demand", &self.on_demand)
            .field("audio", &self.audio)
            .field("rtsp_transport", &self.rtsp_transport)
            .field("media", &self.media)
            .finish_non_exhaustive()
    }
}

/// How RTP comes from an RTSP camera.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RtspTransport {
    /// Interleaved in the RTSP connection: nothing is lost on the way.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

/// Where a camera is defined, and so where it can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ManagedBy {
    /// The configuration file or the environment.
    Config,
    /// The API and the pages.
    Api,
}

/// What a camera is configured to be, as it is shown: of its URLs only scheme and host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameraDetails {
    /// Name in URLs.
    pub id: CameraId,
    /// Name to show.
    pub name: String,
    /// Where its pictures come from, without credentials, path and query: `rtsp://10.0.0.8/…`.
    pub url: String,
    /// Whether the URL carries a user name or password.
    pub url_has_credentials: bool,
    /// A smaller stream of the same picture, shortened in the same way.
    pub sub_url: Option<String>,
    /// Whether the second URL carries a user name or password.
    pub sub_url_has_credentials: bool,
    /// Connect only while somebody watches.
    pub on_demand: bool,
    /// Give its sound to viewers too.
    pub audio: bool,
    /// How an `rtsp://` camera sends.
    pub rtsp_transport: RtspTransport,
    /// What its media is to be like.
    pub media: MediaSettings,
    /// Where it can be changed.
    pub managed: ManagedBy,
}

/// What was found at a camera's URL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CameraProbe {
    /// From the first request to the first picture.
    pub first_picture_ms: u32,
    /// Every track offered.
    pub tracks: Vec<ProbedTrack>,
    /// What the video is.
    pub video: Option<VideoParameters>,
    /// Frames per second, on the camera's clock.
    pub fps: f32,
    /// Payload bits per second while watched, in kbit/s.
    pub bitrate_kbps: u32,
    /// Time between key frames; `None` if fewer than two came.
    pub key_frame_interval_ms: Option<u32>,
    /// Packets lost on the way.
    pub lost_packets: u32,
}

/// One track of a camera.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbedTrack {
    /// `video`, `audio` or `application`.
    pub media: String,
    /// RTP encoding name, lower case.
    pub codec: String,
    /// RTP clock in Hz.
    pub clock_rate_hz: u32,
    /// Channels of audio.
    pub channels: Option<u16>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_needs_only_an_id_and_a_url() {
        let json = r#"{"id": "door", "url": "rtsp://u:s3cret@host/"}"#;
        let definition: CameraDefinition = serde_json::from_str(json).unwrap();
        let expected =
            CameraDefinition::new("door".parse().unwrap(), "rtsp://u:s3cret@host/".into());
        assert_eq!(definition, expected);
        assert!(!format!("{definition:?}").contains("s3cret"));
        for bad in [r#"{"id": "door", "rtsp": "x"}"#, r#"{"id": "../x"}"#, r#"{"url": "test:"}"#] {
            assert!(serde_json::from_str::<CameraDefinition>(bad).is_err(), "{bad}");
        }
    }
}
