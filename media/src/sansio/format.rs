//! What a track carries. Must not: parse a codec's own headers.

use domain::VideoParameters;

/// Codecs that RTP carries between cameras and browsers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// ITU-T H.264, RFC 6184.
    H264,
    /// ITU-T H.265, RFC 7798.
    H265,
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// AOMedia AV1 over RTP.
    Av1,
    /// RFC 7587.
    Opus,
    /// G.711 µ-law, static payload type 0.
    Pcmu,
    /// G.711 A-law, static payload type 8.
    Pcma,
}

impl Codec {
    /// RTP encoding name, as in `a=rtpmap`.
    pub fn encoding_name(self) -> &'static str {
        match self {
            Self::H264 => "H264",
            Self::H265 => "H265",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::Av1 => "AV1",
            Self::Opus => "opus",
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
        }
    }

    /// RTP clock, in Hz.
    pub fn clock_rate_hz(self) -> u32 {
        match self {
            Self::H264 | Self::H265 | Self::Vp8 | Self::Vp9 | Self::Av1 => 90_000,
            Self::Opus => 48_000,
            Self::Pcmu | Self::Pcma => 8_000,
        }
    }

    /// Whether it is a codec of sound.
    pub fn is_audio(self) -> bool {
        matches!(self, Self::Opus | Self::Pcmu | Self::Pcma)
    }

    /// The codec of an RTP encoding name, in any case.
    pub fn of_encoding_name(name: &str) -> Option<Self> {
        const ALL: [Codec; 8] = [
            Codec::H264,
            Codec::H265,
            Codec::Vp8,
            Codec::Vp9,
            Codec::Av1,
            Codec::Opus,
            Codec::Pcmu,
            Codec::Pcma,
        ];
        ALL.into_iter().find(|codec| codec.encoding_name().eq_ignore_ascii_case(name))
    }
}

/// What a track carries now.
#[derive(Debug, Clone, PartialEq)]
pub struct Format {
    /// The codec.
    pub codec: Codec,
    /// Name of the layer: `main`, `sub`, `low`, or the rid of a simulcast. `audio` for sound.
    pub rid: String,
    /// Size and RFC 6381 codec string; `None` for sound, and for video that has not shown them yet.
    pub video: Option<VideoParameters>,
    /// H.264: `profile_idc` and `constraint_flags` of the SPS.
    pub h264_profile: Option<[u8; 2]>,
}
