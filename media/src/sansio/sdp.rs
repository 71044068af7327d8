//! A WHEP player's session descriptions, read. Must not: know sockets or sessions, or write one (that is
//! [`mod@write`]).
//!
//! Source: RFC 8866 (SDP), RFC 8829 §5.3 (answers), RFC 9143 (BUNDLE), draft-ietf-wish-whep.

use sdp_types::{Media, Session};

use super::{format::Codec, srtp::DtlsRole};

pub mod fragment;
pub mod write;

/// Most media sections read.
const MAX_SECTIONS: usize = 16;
/// Most payload types read of a section.
const MAX_FORMATS: usize = 128;

/// Why a description cannot be used; the text may be shown to the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Not SDP at all.
    #[error("the body is not an SDP description: {0}")]
    Malformed(String),
    /// An attribute that WebRTC requires is missing or unusable.
    #[error("the description has no usable `{0}`")]
    Missing(&'static str),
    /// The player does not want to receive video.
    #[error("the offer has no video section that receives (`recvonly` or `sendrecv`)")]
    NoReceivingVideo,
    /// Each section would need a transport of its own.
    #[error("the sections of the offer are not all in one BUNDLE group")]
    NotBundled,
    /// The player cannot receive any codec of the camera.
    #[error("the offer has no {0}, which this camera sends")]
    NoCodec(String),
}

/// A player's description: its offer, or its answer to ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The player's ICE user fragment.
    pub ice_ufrag: String,
    /// SHA-256 of the player's certificate.
    pub fingerprint: [u8; 32],
    /// Our side of DTLS: the server, unless the player insists on being it.
    pub role: DtlsRole,
    /// Whether the sections that receive are in a BUNDLE group; one alone need not be.
    pub is_bundled: bool,
    /// Every media section, in order.
    pub sections: Vec<Section>,
    /// Index of the video section that receives.
    pub video: usize,
    /// Index of the audio section that receives, if there is one.
    pub audio: Option<usize>,
}

/// One media section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// `video`, `audio`, `application`.
    pub media: String,
    /// Transport of the `m=` line.
    pub proto: String,
    /// Payload types as the `m=` line has them.
    pub formats: String,
    /// Identification tag; empty when there is none.
    pub mid: String,
    /// Codecs we know.
    pub payloads: Vec<Payload>,
    /// Header extensions: identifier and URI.
    pub extensions: Vec<(u8, String)>,
    /// Whether round trips may be measured by XR (`rcvr-rtt`).
    pub measures_round_trip: bool,
}

/// A codec of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// RTP payload type.
    pub payload_type: u8,
    /// The codec.
    pub codec: Codec,
    /// Format parameters, empty when there are none.
    pub fmtp: String,
    /// Payload type of retransmissions (RFC 4588).
    pub rtx: Option<u8>,
    /// `a=rtcp-fb` values.
    pub feedback: Vec<String>,
}

impl Payload {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.fmtp
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// H.264: `profile_idc` and `constraint_flags`; 42 00 is what RFC 6184 §8.1 infers.
    pub fn h264_profile(&self) -> Option<[u8; 2]> {
        let Some(level_id) = self.parameter("profile-level-id") else { return Some([0x42, 0]) };
        match hex::decode(level_id).ok()?[..] {
            [profile_idc, constraints, _level] => Some([profile_idc, constraints]),
            _ => None,
        }
    }

    /// Whether we can send it: H.264 in fragments, VP9 and AV1 of 8 bits.
    fn is_sendable(&self) -> bool {
        match self.codec {
            Codec::H264 => {
                self.parameter("packetization-mode") == Some("1") && self.h264_profile().is_some()
            }
            Codec::Vp9 => self.parameter("profile-id").is_none_or(|profile| profile == "0"),
            Codec::Av1 => self.parameter("profile").is_none_or(|profile| profile == "0"),
            _ => true,
        }
    }
}

impl Description {
    /// Reads an offer, or the answer to ours.
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
        let receiving = |kind: &str| {
            // With max-bundle a section may have port 0 and still be meant (RFC 9143 §6).
            let is_on = |media: &Media| media.port != 0 || media.has_attribute("bundle-only");
            let is_it = |media: &Media| media.media == kind && is_on(media) && receives(media);
            session.medias.iter().position(is_it)
        };
        let video = receiving("video").ok_or(OfferError::NoReceivingVideo)?;
        let audio = receiving("audio");
        let taken = || [Some(video), audio].into_iter().flatten();
        for index in taken() {
            check_section(&session.medias[index], &sections[index])?;
        }
        let is_bundled = is_bundled(&session, taken().map(|index| &sections[index]));
        if audio.is_some() && !is_bundled {
            return Err(OfferError::NotBundled);
        }
        let media = &session.medias[video];
        // With BUNDLE the transport's attributes may be on the section that is bundled first.
        let value = |name: &str| -> Option<String> {
            let of =
                |media: &Media| media.get_first_attribute_value(name).flatten().map(str::to_owned);
            let of_session = session.get_first_attribute_value(name).flatten();
            of(media).or(of_session.map(str::to_owned)).or_else(|| of(&session.medias[0]))
        };
        let ice_ufrag = value("ice-ufrag")
            .filter(|text| is_ufrag(text))
            .ok_or(OfferError::Missing("ice-ufrag"))?;
        value("ice-pwd").filter(|pwd| pwd.len() >= 22).ok_or(OfferError::Missing("ice-pwd"))?;
        let role = dtls_role(value("setup").as_deref())?;
        // There may be several, of several hashes.
        let all = |media: &Media| -> Option<[u8; 32]> {
            media.get_attribute_values("fingerprint").flatten().find_map(parse_fingerprint)
        };
        let of_session = session.get_attribute_values("fingerprint").flatten();
        let fingerprint = all(media)
            .or_else(|| of_session.into_iter().find_map(parse_fingerprint))
            .or_else(|| all(&session.medias[0]))
            .ok_or(OfferError::Missing("fingerprint (sha-256)"))?;
        Ok(Self { ice_ufrag, fingerprint, role, is_bundled, sections, video, audio })
    }
}

/// What WebRTC requires of a section that is taken.
pub(super) fn check_section(media: &Media, section: &Section) -> Result<(), OfferError> {
    // The second one is what a browser writes whose only candidates so far are of TCP (RFC 8829 §5.1.2).
    if !matches!(media.proto.as_str(), "UDP/TLS/RTP/SAVPF" | "TCP/TLS/RTP/SAVPF") {
        return Err(OfferError::Missing("UDP/TLS/RTP/SAVPF"));
    }
    if !media.has_attribute("rtcp-mux") {
        return Err(OfferError::Missing("rtcp-mux"));
    }
    if section.mid.is_empty() {
        return Err(OfferError::Missing("mid"));
    }
    Ok(())
}

/// Whether one BUNDLE group has all of these.
pub(super) fn is_bundled<'a>(
    session: &Session,
    sections: impl Iterator<Item = &'a Section> + Clone,
) -> bool {
    let groups = session.get_attribute_values("group").flatten();
    let mut bundles = groups.filter_map(|group| group.strip_prefix("BUNDLE "));
    bundles.any(|bundle| {
        sections.clone().all(|section| bundle.split(' ').any(|mid| mid == section.mid))
    })
}

/// Our side of DTLS with a peer that offers, or answers, this `setup`: the server wherever it may be.
///
/// Source: RFC 8842 §5.
pub(super) fn dtls_role(setup: Option<&str>) -> Result<DtlsRole, OfferError> {
    match setup {
        Some("actpass" | "active") | None => Ok(DtlsRole::Server),
        // FFmpeg's muxer offers this although RFC 9725 §4.2 asks for `actpass`.
        Some("passive") => Ok(DtlsRole::Client),
        Some(_) => Err(OfferError::Missing("setup (actpass, active or passive)")),
    }
}

/// The `setup` of an answer of ours.
pub(super) fn setup_of(role: DtlsRole) -> &'static str {
    match role {
        DtlsRole::Server => "passive",
        DtlsRole::Client => "active",
    }
}

/// Whether a text can be an ICE user fragment (RFC 8839 §5.4).
pub fn is_ufrag(text: &str) -> bool {
    (4..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

impl Section {
    pub(super) fn read(media: &Media) -> Self {
        let mid = media
            .get_first_attribute_value("mid")
            .flatten()
            .filter(|mid| mid.len() <= 16 && mid.bytes().all(|b| b.is_ascii_graphic()))
            .unwrap_or_default();
        let extensions = media
            .get_attribute_values("extmap")
            .flatten()
            .filter_map(|value| {
                let (id, uri) = value.split_once(' ')?;
                let id = id.split('/').next()?.parse().ok().filter(|id| (1..=14).contains(id))?;
                Some((id, uri.split(' ').next()?.to_owned()))
            })
            .collect();
        Self {
            media: media.media.clone(),
            proto: media.proto.clone(),
            formats: media.fmt.clone(),
            mid: mid.to_owned(),
            payloads: payloads(media),
            extensions,
            measures_round_trip: media
                .get_attribute_values("rtcp-xr")
                .flatten()
                .any(|xr| xr.contains("rcvr-rtt")),
        }
    }

    /// Identifier of a header extension.
    pub fn extension(&self, uri: &str) -> Option<u8> {
        self.extensions.iter().find(|(_, found)| found == uri).map(|(id, _)| *id)
    }

    /// The payload types to send `codec` with, the offer's preference first.
    pub fn sendable(&self, codec: Codec) -> impl Iterator<Item = &Payload> {
        let is_it = move |payload: &&Payload| payload.codec == codec && payload.is_sendable();
        self.payloads.iter().filter(is_it)
    }
}

fn receives(media: &Media) -> bool {
    !media.has_attribute("sendonly") && !media.has_attribute("inactive")
}

fn payloads(media: &Media) -> Vec<Payload> {
    // `102 H264/90000` → (102, `H264/90000`)
    let numbered = |value: &str| -> Option<(u8, String)> {
        let (payload_type, rest) = value.split_once(' ')?;
        let payload_type = payload_type.parse().ok().filter(|pt| *pt < 128)?;
        Some((payload_type, rest.trim().to_owned()))
    };
    let all = |name: &str| -> Vec<(u8, String)> {
        media.get_attribute_values(name).flatten().filter_map(numbered).collect()
    };
    let (maps, fmtps, feedback) = (all("rtpmap"), all("fmtp"), all("rtcp-fb"));
    let of = |table: &[(u8, String)], pt: u8| {
        table.iter().find(|(found, _)| *found == pt).map(|(_, value)| value.clone())
    };
    let apt = |pt: u8| {
        let fmtp = of(&fmtps, pt)?;
        fmtp.split(';').find_map(|pair| pair.trim().strip_prefix("apt=")?.parse::<u8>().ok())
    };
    let rtx: Vec<(u8, u8)> = maps
        .iter()
        .filter(|(_, map)| map.to_ascii_lowercase().starts_with("rtx/"))
        .filter_map(|(pt, _)| Some((apt(*pt)?, *pt)))
        .collect();
    media
        .fmt
        .split(' ')
        .take(MAX_FORMATS)
        .filter_map(|format| format.parse::<u8>().ok().filter(|pt| *pt < 128))
        .filter_map(|payload_type| {
            // Payload types 0 and 8 need no map (RFC 3551 §6).
            let map = of(&maps, payload_type).or_else(|| match payload_type {
                0 => Some("PCMU/8000".to_owned()),
                8 => Some("PCMA/8000".to_owned()),
                _ => None,
            })?;
            let mut parts = map.split('/');
            let codec = Codec::of_encoding_name(parts.next()?)?;
            let clock_rate_hz = parts.next()?.parse::<u32>().ok()?;
            (clock_rate_hz == codec.clock_rate_hz()).then(|| Payload {
                payload_type,
                codec,
                fmtp: of(&fmtps, payload_type).unwrap_or_default(),
                rtx: rtx.iter().find(|(apt, _)| *apt == payload_type).map(|(_, rtx)| *rtx),
                feedback: feedback
                    .iter()
                    .filter(|(pt, _)| *pt == payload_type)
                    .map(|(_, value)| value.clone())
                    .collect(),
            })
        })
        .collect()
}

pub(super) fn parse_fingerprint(text: &str) -> Option<[u8; 32]> {
    let (algorithm, digits) = text.split_once(' ')?;
    if !algorithm.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    hex::decode(digits.trim().replace(':', "")).ok()?.try_into().ok()
}
