//! The little RTSP that ffmpeg speaks with us on the loopback interface, and we with it. Must not: be
//! shown to a network; cameras are spoken to by `retina`.
//!
//! Source: RFC 2326 §4, §10.12 (interleaved data).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Buf as _, Bytes, BytesMut};

use super::{assemble::ParameterSets, format::Codec, h264, h265};

/// Most bytes of a request with its body.
const MAX_REQUEST_BYTES: usize = 64 << 10;

/// Why what came is not RTSP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtspError {
    /// Longer than any request of ffmpeg's.
    #[error("RTSP request is too long")]
    TooLong,
    /// Not text, or a number that is none.
    #[error("RTSP request cannot be read")]
    Malformed,
}

/// What came over a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A request, or an answer to one of ours.
    Request(Request),
    /// An RTP (even channel) or RTCP packet.
    Interleaved(u8, Bytes),
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `ANNOUNCE`, `SETUP`, ….
    pub method: String,
    /// What it is about.
    pub url: String,
    /// To be repeated in the answer.
    pub cseq: u32,
    /// SDP.
    pub body: Bytes,
}

impl Message {
    /// Takes the next whole message out of `buffer`; `None` when more must come first.
    ///
    /// # Errors
    /// When it cannot become one.
    pub fn take(buffer: &mut BytesMut) -> Result<Option<Self>, RtspError> {
        if let [b'$', channel, len_hi, len_lo, rest @ ..] = &buffer[..] {
            let (channel, len) = (*channel, usize::from(u16::from_be_bytes([*len_hi, *len_lo])));
            if rest.len() < len {
                return Ok(None);
            }
            buffer.advance(4);
            return Ok(Some(Self::Interleaved(channel, buffer.split_to(len).freeze())));
        }
        if buffer.first() == Some(&b'$') {
            return Ok(None);
        }
        let searched = &buffer[..buffer.len().min(MAX_REQUEST_BYTES)];
        let Some(head_len) = searched.windows(4).position(|at| at == b"\r\n\r\n") else {
            let is_too_long = buffer.len() >= MAX_REQUEST_BYTES;
            return if is_too_long { Err(RtspError::TooLong) } else { Ok(None) };
        };
        let head = std::str::from_utf8(&buffer[..head_len]).map_err(|_| RtspError::Malformed)?;
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let url = words.next().unwrap_or_default().to_owned();
        let (mut cseq, mut body_len) = (0, 0);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let number = || value.trim().parse::<u32>().map_err(|_| RtspError::Malformed);
            if name.eq_ignore_ascii_case("CSeq") {
                cseq = number()?;
            } else if name.eq_ignore_ascii_case("Content-Length") {
                body_len = number()? as usize;
            }
        }
        if body_len > MAX_REQUEST_BYTES {
            return Err(RtspError::TooLong);
        }
        if buffer.len() < head_len + 4 + body_len {
            return Ok(None);
        }
        buffer.advance(head_len + 4);
        let body = buffer.split_to(body_len).freeze();
        Ok(Some(Self::Request(Request { method, url, cseq, body })))
    }
}

impl Request {
    /// `200 OK` with what this request needs in its answer; `sdp` is for DESCRIBE.
    pub fn answer(&self, sdp: &str) -> String {
        let cseq = self.cseq;
        let more = match self.method.as_str() {
            "SETUP" => {
                "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n".to_owned()
            }
            "DESCRIBE" => {
                format!(
                    "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
                    sdp.len()
                )
            }
            _ => "Session: 1\r\n\r\n".to_owned(),
        };
        format!("RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\n{more}")
    }
}

/// What ffmpeg announces to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announced {
    /// A picture.
    Video(ParameterSets),
    /// Sound.
    Audio(Codec),
}

impl Announced {
    /// The first track of an SDP that is of a codec browsers know.
    pub fn of_sdp(sdp: &[u8]) -> Option<Self> {
        let session = sdp_types::Session::parse(sdp).ok()?;
        session.medias.iter().find_map(|media| {
            let codec = match media.get_first_attribute_value("rtpmap").flatten() {
                Some(map) => Codec::of_encoding_name(map.split([' ', '/']).nth(1)?)?,
                None if media.fmt == "0" => Codec::Pcmu,
                None if media.fmt == "8" => Codec::Pcma,
                None => return None,
            };
            let fmtp = media.get_first_attribute_value("fmtp").flatten();
            let parameters = fmtp.and_then(|fmtp| fmtp.split_once(' '));
            let parameters = parameters.map_or("", |(_payload_type, parameters)| parameters);
            match codec {
                Codec::H264 => {
                    let mut sets = h264::ParameterSets::default();
                    sprops(parameters, &["sprop-parameter-sets"], |nal| sets.update(nal));
                    Some(Self::Video(sets.into()))
                }
                Codec::H265 => {
                    let mut sets = h265::ParameterSets::default();
                    let names = ["sprop-vps", "sprop-sps", "sprop-pps"];
                    sprops(parameters, &names, |nal| sets.update(nal));
                    Some(Self::Video(sets.into()))
                }
                codec if codec.is_audio() => Some(Self::Audio(codec)),
                _ => None,
            }
        })
    }
}

/// Calls `f` with each NAL unit of the named format parameters; what is not Base64 is passed over.
fn sprops(parameters: &str, names: &[&str], mut f: impl FnMut(Bytes)) {
    let pairs = parameters.split(';').filter_map(|pair| pair.trim().split_once('='));
    for (_, value) in pairs.filter(|(name, _)| names.contains(name)) {
        for nal in value.split(',').filter_map(|nal| STANDARD.decode(nal).ok()) {
            f(nal.into());
        }
    }
}

/// RTP timestamps without their wrap-around.
#[derive(Debug, Default)]
pub struct Unwrap {
    last: Option<i64>,
}

impl Unwrap {
    /// The timestamp that is nearest to the last one.
    pub fn next(&mut self, timestamp: u32) -> i64 {
        let next = self.last.map_or(i64::from(timestamp), |last| {
            last + i64::from(timestamp.wrapping_sub(last as u32).cast_signed())
        });
        self.last = Some(next);
        next
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SDP: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=No Name\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
        m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
        a=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z2QADayyAoM/PgIgAAADACAAAAeR4oVJ,aOvDyyLA; \
        profile-level-id=64000D\r\na=control:streamid=0\r\n";

    #[test]
    fn requests_and_packets_are_told_apart() {
        let mut buffer = BytesMut::from(&b"ANNOUNCE rtsp://h/x RTSP/1.0\r\nCSeq: 2\r\n"[..]);
        assert_eq!(Message::take(&mut buffer), Ok(None));
        buffer.extend_from_slice(b"Content-Length: 3\r\n\r\nv=0$\x01\x00\x02hi$");
        let Ok(Some(Message::Request(request))) = Message::take(&mut buffer) else { panic!() };
        assert_eq!((request.method.as_str(), request.url.as_str()), ("ANNOUNCE", "rtsp://h/x"));
        assert_eq!((request.cseq, &request.body[..]), (2, &b"v=0"[..]));
        let packet = Message::Interleaved(1, Bytes::from_static(b"hi"));
        assert_eq!(Message::take(&mut buffer), Ok(Some(packet)));
        assert_eq!(Message::take(&mut buffer), Ok(None));
        assert_eq!(&buffer[..], b"$");
    }

    #[test]
    fn what_ffmpeg_announces_is_understood() {
        let Some(Announced::Video(sets)) = Announced::of_sdp(SDP.as_bytes()) else { panic!() };
        let video = sets.video_parameters().unwrap();
        assert_eq!((video.width_px, video.height_px), (320, 180));
        let opus = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 0 RTP/AVP 97\r\n\
            a=rtpmap:97 opus/48000/2\r\n";
        assert_eq!(Announced::of_sdp(opus.as_bytes()), Some(Announced::Audio(Codec::Opus)));
        let alaw = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 0 RTP/AVP 8\r\n";
        assert_eq!(Announced::of_sdp(alaw.as_bytes()), Some(Announced::Audio(Codec::Pcma)));
    }

    #[test]
    fn timestamps_go_on_over_their_wrap_around() {
        let mut unwrap = Unwrap::default();
        let times = [u32::MAX - 1, 1, 0, 90_000].map(|timestamp| unwrap.next(timestamp));
        let wrap = 1 << 32;
        assert_eq!(times, [wrap - 2, wrap + 1, wrap, wrap + 90_000]);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(
            head in prop::sample::select(vec!["", "$", "SETUP x RTSP/1.0\r\n", "CSeq:1\r\nContent-Length:9\r\n\r\n"]),
            bytes in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut buffer = BytesMut::from(head.as_bytes());
            buffer.extend_from_slice(&bytes);
            while let Ok(Some(_)) = Message::take(&mut buffer) {}
        }

        #[test]
        fn hostile_sdp_never_panics(cut in 0usize..SDP.len(), bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut sdp = SDP.as_bytes()[..cut].to_vec();
            sdp.extend(bytes);
            let _ = Announced::of_sdp(&sdp);
        }
    }
}
