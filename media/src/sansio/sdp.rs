//! A WHEP player's offer, and our answer to it. Must not: know sockets or sessions.
//!
//! Source: RFC 8866 (SDP), RFC 8829 §5.3 (answers), RFC 9143 (BUNDLE), draft-ietf-wish-whep.

use std::{fmt::Write as _, net::SocketAddr};

use sdp_types::{Media, Session};

/// Most media sections read.
const MAX_SECTIONS: usize = 16;

/// Why an offer cannot be answered; the text may be shown to the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Not SDP at all.
    #[error("the body is not an SDP offer: {0}")]
    Malformed(String),
    /// An attribute that WebRTC requires is missing or unusable.
    #[error("the offer has no usable `{0}`")]
    Missing(&'static str),
    /// The player does not want to receive video.
    #[error("the offer has no video section that receives (`recvonly` or `sendrecv`)")]
    NoReceivingVideo,
    /// The player cannot receive H.264 in packetization mode 1.
    #[error("the offer has no H.264 with packetization-mode=1, which this camera sends")]
    NoH264,
}

/// The part of an offer that decides the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The player's ICE user fragment.
    pub ice_ufrag: String,
    /// SHA-256 of the player's certificate.
    pub fingerprint: [u8; 32],
    sections: Vec<Section>,
    /// Index of the video section that is answered.
    video: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Section {
    media: String,
    proto: String,
    formats: String,
    mid: String,
    h264: Vec<H264Format>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct H264Format {
    payload_type: u8,
    fmtp: String,
    /// `profile_idc` and `constraint_flags` of `profile-level-id`.
    profile: [u8; 2],
}

impl Offer {
    /// Reads an offer.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub fn parse(body: &[u8]) -> Result<Self, OfferError> {
        let session =
            Session::parse(body).map_err(|error| OfferError::Malformed(error.to_string()))?;
        if session.medias.len() > MAX_SECTIONS {
            return Err(OfferError::Malformed(format!("more than {MAX_SECTIONS} media sections")));
        }
        let sections: Vec<Section> = session.medias.iter().map(Section::read).collect();
        let video = session
            .medias
            .iter()
            .position(|media| media.media == "video" && media.port != 0 && receives(media))
            .ok_or(OfferError::NoReceivingVideo)?;
        let media = &session.medias[video];
        if !media.has_attribute("rtcp-mux") {
            return Err(OfferError::Missing("rtcp-mux"));
        }
        if sections[video].mid.is_empty() {
            return Err(OfferError::Missing("mid"));
        }
        let value = |name: &str| -> Option<String> {
            let of_media = media.get_first_attribute_value(name).flatten();
            of_media
                .or_else(|| session.get_first_attribute_value(name).flatten())
                .map(str::to_owned)
        };
        let is_ice_text = |text: &String| {
            (4..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
        };
        let ice_ufrag =
            value("ice-ufrag").filter(is_ice_text).ok_or(OfferError::Missing("ice-ufrag"))?;
        value("ice-pwd").filter(|pwd| pwd.len() >= 22).ok_or(OfferError::Missing("ice-pwd"))?;
        if value("setup").is_some_and(|setup| !matches!(setup.as_str(), "actpass" | "active")) {
            return Err(OfferError::Missing("setup (actpass or active)"));
        }
        let fingerprint = value("fingerprint")
            .and_then(|text| parse_fingerprint(&text))
            .ok_or(OfferError::Missing("fingerprint (sha-256)"))?;
        Ok(Self { ice_ufrag, fingerprint, sections, video })
    }
}

impl Section {
    fn read(media: &Media) -> Self {
        let mid = media
            .get_first_attribute_value("mid")
            .flatten()
            .filter(|mid| mid.len() <= 64 && mid.bytes().all(|b| b.is_ascii_graphic()))
            .unwrap_or_default();
        Self {
            media: media.media.clone(),
            proto: media.proto.clone(),
            formats: media.fmt.clone(),
            mid: mid.to_owned(),
            h264: h264_formats(media),
        }
    }
}

fn receives(media: &Media) -> bool {
    !media.has_attribute("sendonly") && !media.has_attribute("inactive")
}

fn h264_formats(media: &Media) -> Vec<H264Format> {
    let payload_type_of =
        |value: &str| value.split(' ').next()?.parse::<u8>().ok().filter(|pt| *pt < 128);
    media
        .get_attribute_values("rtpmap")
        .flatten()
        .filter(|value| value.to_ascii_lowercase().contains(" h264/90000"))
        .filter_map(payload_type_of)
        .filter_map(|payload_type| {
            let fmtp = media
                .get_attribute_values("fmtp")
                .flatten()
                .find(|value| payload_type_of(value) == Some(payload_type))?
                .split_once(' ')?
                .1;
            let parameter = |name: &str| {
                fmtp.split(';')
                    .filter_map(|pair| pair.trim().split_once('='))
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.trim())
            };
            if parameter("packetization-mode") != Some("1") {
                return None;
            }
            let level_id = hex::decode(parameter("profile-level-id")?).ok()?;
            let [profile_idc, constraints, _level] = level_id[..] else { return None };
            Some(H264Format {
                payload_type,
                fmtp: fmtp.to_owned(),
                profile: [profile_idc, constraints],
            })
        })
        .collect()
}

fn parse_fingerprint(text: &str) -> Option<[u8; 32]> {
    let (algorithm, digits) = text.split_once(' ')?;
    if !algorithm.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    hex::decode(digits.trim().replace(':', "")).ok()?.try_into().ok()
}

/// What our side of a session is; goes into the answer.
#[derive(Debug, Clone)]
pub struct Local<'a> {
    /// ICE user fragment, also the key by which datagrams find the session.
    pub ice_ufrag: &'a str,
    /// ICE password.
    pub ice_pwd: &'a str,
    /// SHA-256 of our certificate, `AB:CD:…`.
    pub fingerprint: &'a str,
    /// SSRC of the video.
    pub ssrc: u32,
    /// Addresses of the one UDP port, best first.
    pub candidates: &'a [SocketAddr],
    /// `profile_idc` and `constraint_flags` of the camera's SPS, to choose the payload type by.
    pub profile: [u8; 2],
}

/// The answer and what it settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// SDP, CRLF lines.
    pub sdp: String,
    /// RTP payload type to send H.264 with.
    pub payload_type: u8,
}

impl Offer {
    /// Answers `sendonly` on the video section; every other section is refused.
    ///
    /// # Errors
    /// [`OfferError::NoH264`].
    pub fn answer(&self, local: &Local<'_>) -> Result<Answer, OfferError> {
        let formats = &self.sections[self.video].h264;
        // Browsers decode more profiles than they list, so a profile that is not listed still goes out
        // under the best listed one.
        let format = formats
            .iter()
            .find(|format| format.profile == local.profile)
            .or_else(|| formats.iter().find(|format| format.profile[0] == local.profile[0]))
            .or_else(|| formats.first())
            .ok_or(OfferError::NoH264)?;

        let mut sdp = String::with_capacity(2048);
        let mid = &self.sections[self.video].mid;
        write!(
            sdp,
            "v=0\r\no=- {} 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-lite\r\n\
             a=group:BUNDLE {mid}\r\na=msid-semantic: WMS *\r\n",
            local.ssrc
        )
        .expect("writing to a String does not fail");
        for (index, section) in self.sections.iter().enumerate() {
            if index == self.video {
                write_video(&mut sdp, section, format, local);
            } else {
                write_refused(&mut sdp, section);
            }
        }
        Ok(Answer { sdp, payload_type: format.payload_type })
    }
}

fn write_video(sdp: &mut String, section: &Section, format: &H264Format, local: &Local<'_>) {
    let Section { proto, mid, .. } = section;
    let H264Format { payload_type, fmtp, .. } = format;
    let Local { ice_ufrag, ice_pwd, fingerprint, ssrc, .. } = local;
    write!(
        sdp,
        "m=video 9 {proto} {payload_type}\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
         a=ice-ufrag:{ice_ufrag}\r\na=ice-pwd:{ice_pwd}\r\n\
         a=fingerprint:sha-256 {fingerprint}\r\na=setup:passive\r\n\
         a=mid:{mid}\r\na=sendonly\r\na=msid:damwall video\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
         a=rtpmap:{payload_type} H264/90000\r\na=fmtp:{payload_type} {fmtp}\r\n\
         a=ssrc:{ssrc} cname:damwall\r\na=ssrc:{ssrc} msid:damwall video\r\n"
    )
    .expect("writing to a String does not fail");
    for (index, address) in local.candidates.iter().enumerate() {
        // Host candidates (RFC 8445 §5.1.2.1): type preference 126, falling local preference.
        let priority = (126u32 << 24) | ((65_535 - index as u32) << 8) | 255;
        write!(
            sdp,
            "a=candidate:{foundation} 1 udp {priority} {ip} {port} typ host\r\n",
            foundation = index + 1,
            ip = address.ip(),
            port = address.port()
        )
        .expect("writing to a String does not fail");
    }
    sdp.push_str("a=end-of-candidates\r\n");
}

fn write_refused(sdp: &mut String, section: &Section) {
    let Section { media, proto, formats, mid, .. } = section;
    write!(sdp, "m={media} 0 {proto} {formats}\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\n")
        .expect("writing to a String does not fail");
    if !mid.is_empty() {
        write!(sdp, "a=mid:{mid}\r\n").expect("writing to a String does not fail");
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) const FINGERPRINT: &str = "00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:\
        10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F";

    pub(crate) fn offer(video_lines: &str) -> String {
        format!(
            "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=recvonly\r\n\
             a=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF 96 102 104 106\r\nc=IN IP4 0.0.0.0\r\n\
             a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
             a=fingerprint:sha-256 {FINGERPRINT}\r\na=setup:actpass\r\na=mid:1\r\na=rtcp-mux\r\n\
             a=rtpmap:96 VP8/90000\r\n{video_lines}"
        )
    }

    pub(crate) const H264_LINES: &str = "a=recvonly\r\n\
        a=rtpmap:102 H264/90000\r\n\
        a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f\r\n\
        a=rtpmap:104 H264/90000\r\n\
        a=fmtp:104 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
        a=rtpmap:106 H264/90000\r\n\
        a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f\r\n";

    fn local(profile: [u8; 2], candidates: &[SocketAddr]) -> Local<'_> {
        Local {
            ice_ufrag: "us",
            ice_pwd: "password",
            fingerprint: FINGERPRINT,
            ssrc: 7,
            candidates,
            profile,
        }
    }

    #[test]
    fn the_payload_type_fits_the_cameras_profile() {
        let offer = Offer::parse(offer(H264_LINES).as_bytes()).unwrap();
        for (profile, payload_type) in
            [([0x42, 0xe0], 104), ([0x42, 0xc0], 104), ([0x4d, 0x00], 106), ([0x64, 0x00], 104)]
        {
            assert_eq!(offer.answer(&local(profile, &[])).unwrap().payload_type, payload_type);
        }
    }

    #[test]
    fn the_answer_refuses_audio_and_carries_every_candidate() {
        let candidates = ["192.0.2.1:8189".parse().unwrap(), "[2001:db8::1]:8189".parse().unwrap()];
        let offer = Offer::parse(offer(H264_LINES).as_bytes()).unwrap();
        let sdp = offer.answer(&local([0x42, 0xe0], &candidates)).unwrap().sdp;
        let parsed = Session::parse(sdp.as_bytes()).unwrap();
        assert_eq!(parsed.get_first_attribute_value("group").flatten(), Some("BUNDLE 1"));
        assert_eq!(parsed.medias[0].port, 0);
        let video = &parsed.medias[1];
        assert_eq!(video.get_attribute_values("candidate").count(), 2);
        assert_eq!(video.get_first_attribute_value("setup").flatten(), Some("passive"));
        assert!(video.has_attribute("sendonly") && video.has_attribute("end-of-candidates"));
    }

    #[test]
    fn offers_that_cannot_be_answered_say_why() {
        let check = |offer: &str, expected: OfferError| {
            let outcome =
                Offer::parse(offer.as_bytes()).and_then(|o| o.answer(&local([0x42, 0], &[])));
            assert_eq!(outcome.map(|a| a.sdp), Err(expected));
        };
        let good = offer(H264_LINES);
        check(
            &good.replace("a=recvonly\r\na=rtpmap:102", "a=sendonly\r\na=rtpmap:102"),
            OfferError::NoReceivingVideo,
        );
        check(&offer("a=recvonly\r\n"), OfferError::NoH264);
        check(&good.replace("sha-256", "sha-1"), OfferError::Missing("fingerprint (sha-256)"));
        check(&good.replace("a=ice-ufrag:abcd\r\n", ""), OfferError::Missing("ice-ufrag"));
        assert!(matches!(Offer::parse(b"hello"), Err(OfferError::Malformed(_))));
        assert!(matches!(Offer::parse(b""), Err(OfferError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn hostile_offers_never_panic_and_never_add_lines(
            at in 0usize..1200, cut in 0usize..40, insert in "[\\x00-\\x7f]{0,20}"
        ) {
            let mut text = offer(H264_LINES);
            let at = at.min(text.len());
            let end = (at + cut).min(text.len());
            text.replace_range(at..end, &insert);
            if let Ok(answer) = Offer::parse(text.as_bytes()).and_then(|o| o.answer(&local([0x42, 0], &[]))) {
                for line in answer.sdp.split("\r\n") {
                    prop_assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
                }
                prop_assert!(Session::parse(answer.sdp.as_bytes()).is_ok());
            }
        }

        #[test]
        fn arbitrary_bytes_are_no_offer(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(Offer::parse(&bytes).is_err());
        }
    }
}
