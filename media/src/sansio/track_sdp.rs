//! The SDP by which an ffmpeg of ours learns what we send it: one track. Must not: know what the parameters
//! of a codec mean; those of a camera's sound are given on as they are.
//!
//! Source: RFC 8866 §6.6 (`rtpmap`), §6.15 (`fmtp`).

use std::fmt::{self, Display, Formatter};

use sdp_types::Session;

/// Payload type of what we send.
pub const PAYLOAD_TYPE: u8 = 96;

/// One track and the attributes of its format. `Display` is the SDP, CRLF lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackSdp {
    media: &'static str,
    attributes: Vec<String>,
}

impl TrackSdp {
    /// Video in H.265 whose parameter sets are in its packets.
    pub fn h265() -> Self {
        Self { media: "video", attributes: vec![format!("rtpmap:{PAYLOAD_TYPE} H265/90000")] }
    }

    /// The sound of this payload type, as a camera's SDP has it; `None` when that does not describe it.
    pub fn of_sound(sdp: &[u8], payload_type: u8) -> Option<Self> {
        let session = Session::parse(sdp).ok()?;
        let payload_type = payload_type.to_string();
        let media = session.medias.iter().find(|media| {
            media.media == "audio" && media.fmt.split(' ').any(|fmt| fmt == payload_type)
        })?;
        let attributes = media.attributes.iter().filter_map(|attribute| {
            let is_of_format = matches!(attribute.attribute.as_str(), "rtpmap" | "fmtp");
            let (of, value) = attribute.value.as_ref()?.split_once(' ')?;
            (is_of_format && of == payload_type)
                .then(|| format!("{}:{PAYLOAD_TYPE} {value}", attribute.attribute))
        });
        let attributes: Vec<_> = attributes.collect();
        // G.722 and its like have no `rtpmap`, and a number that says it all.
        (!attributes.is_empty()).then_some(Self { media: "audio", attributes })
    }
}

impl Display for TrackSdp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { media, attributes } = self;
        write!(
            f,
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m={media} 0 RTP/AVP {PAYLOAD_TYPE}\r\n"
        )?;
        for attribute in attributes {
            write!(f, "a={attribute}\r\n")?;
        }
        f.write_str("a=control:track\r\n")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_description_of_sound_is_taken_over_from_the_camera() {
        let camera = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n\
            a=rtpmap:96 H264/90000\r\nm=audio 0 RTP/AVP 97\r\n\
            a=rtpmap:97 mpeg4-generic/44100/1\r\na=control:x\r\n\
            a=fmtp:97 mode=AAC-hbr;config=1208\r\n";
        let ours = TrackSdp::of_sound(camera.as_bytes(), 97).unwrap().to_string();
        let (_, section) = ours.split_once("m=").unwrap();
        assert_eq!(
            section,
            "audio 0 RTP/AVP 96\r\na=rtpmap:96 mpeg4-generic/44100/1\r\n\
             a=fmtp:96 mode=AAC-hbr;config=1208\r\na=control:track\r\n"
        );
        assert_eq!(TrackSdp::of_sound(camera.as_bytes(), 98), None);
    }

    proptest! {
        #[test]
        fn hostile_sdp_never_panics_and_adds_no_lines(
            fmt in "[0-9 ]{0,6}", attribute in "(rtpmap|fmtp):9[67] [^\n]{0,40}", rest in "[^\n]{0,40}",
        ) {
            let text = format!(
                "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 0 RTP/AVP {fmt} 97\r\n\
                 a={attribute}\r\n{rest}"
            );
            if let Some(track) = TrackSdp::of_sound(text.as_bytes(), 97) {
                let ours = track.to_string();
                let lines = ours.trim_end_matches("\r\n").split("\r\n");
                prop_assert_eq!(lines.clone().count(), 7 + track.attributes.len());
                for line in lines {
                    prop_assert!(!line.contains(['\r', '\n', '\0']), "{:?}", line);
                }
            }
        }
    }
}
