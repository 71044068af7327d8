//! A WHIP publisher's offer, read, and our answer to it. Must not: know sockets or sessions.
//!
//! An offer is taken whole or refused whole: a publisher must not believe that it sends what nobody takes.
//!
//! Source: RFC 9725 §4.2 and §4.4, RFC 8829 §5.3 (answers), RFC 9143 (BUNDLE), RFC 8853 (simulcast),
//! RFC 8851 (rid).

use std::fmt::Write as _;

use sdp_types::{Media, Session};

use super::{
    format::Codec,
    rtp::uri,
    sdp::{
        OfferError, Payload, Section, check_section, dtls_role, is_bundled, is_ufrag,
        parse_fingerprint, setup_of,
        write::{Local, Tagged, candidate_lines, open_section, put, write_codec},
    },
    srtp::DtlsRole,
};

/// Most layers of a simulcast that are taken.
pub const MAX_LAYERS: usize = 3;

/// Video codecs that are taken, best first. H.265 comes last: few browsers play it.
const VIDEO: [Codec; 5] = [Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H265];
/// Sound codecs that are taken, best first.
const AUDIO: [Codec; 3] = [Codec::Opus, Codec::Pcmu, Codec::Pcma];
/// Header extensions that we read.
const EXTENSIONS: [&str; 4] =
    [uri::MID, uri::RTP_STREAM_ID, uri::REPAIRED_RTP_STREAM_ID, uri::ABS_SEND_TIME];

/// Why an offer cannot be answered; the text may be shown to the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhipOfferError {
    /// Not SDP, or without what WebRTC requires.
    #[error(transparent)]
    Malformed(#[from] OfferError),
    /// Neither sound nor video.
    #[error("the offer has no audio and no video")]
    NoMedia,
    /// A data channel, or something unknown.
    #[error("the offer has a section that is neither audio nor video")]
    UnknownMedia,
    /// Two videos, two sounds, or tracks of several streams.
    #[error("the offer has more than one {0}")]
    TooMany(&'static str),
    /// A section that is disabled, or does not send.
    #[error("a section of the offer does not send (`sendonly` or `sendrecv`)")]
    NotSending,
    /// Each section would need a transport of its own.
    #[error("the sections of the offer are not all in one BUNDLE group")]
    NotBundled,
    /// The publisher cannot send any codec we take.
    #[error("the offer's {0} has no codec that is taken ({1})")]
    NoCodec(&'static str, &'static str),
}

impl WhipOfferError {
    /// Whether the offer is wrong (HTTP 400); otherwise it is right but not supported (HTTP 422).
    pub fn is_malformed(&self) -> bool {
        matches!(self, Self::Malformed(_))
    }
}

/// What was settled for one track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reception {
    /// The codec.
    pub codec: Codec,
    /// RTP payload type; no two tracks have the same.
    pub payload_type: u8,
    /// Payload type of retransmissions (RFC 4588).
    pub rtx: Option<u8>,
    /// Whether lost packets may be asked for.
    pub has_nack: bool,
    /// Whether key frames may be asked for.
    pub has_pli: bool,
    /// Whether the publisher heeds what we say can be received.
    pub has_remb: bool,
    /// Names of the layers of a simulcast, in its order; empty when there is one nameless stream.
    pub rids: Vec<String>,
    /// Identifier of the header extension that names a packet's layer.
    pub rid_extension: Option<u8>,
    /// The same for retransmissions.
    pub repaired_rid_extension: Option<u8>,
}

/// An offer that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhipOffer {
    /// The publisher's ICE user fragment.
    pub ice_ufrag: String,
    /// SHA-256 of the publisher's certificate.
    pub fingerprint: [u8; 32],
    /// Our side of DTLS: the server, unless the publisher insists on being it.
    pub role: DtlsRole,
    /// Video, if it sends any.
    pub video: Option<Reception>,
    /// Sound, if it sends any.
    pub audio: Option<Reception>,
    /// In the order of the offer; all are answered.
    sections: Vec<Taken>,
    allows_mixed_extensions: bool,
    is_bundled: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Taken {
    section: Section,
    payload: Payload,
    rids: Vec<String>,
    has_reduced_size: bool,
}

impl WhipOffer {
    /// Reads an offer and decides on codecs and layers.
    ///
    /// # Errors
    /// See [`WhipOfferError`].
    pub fn parse(body: &[u8]) -> Result<Self, WhipOfferError> {
        let session =
            Session::parse(body).map_err(|error| OfferError::Malformed(error.to_string()))?;
        let first = session.medias.first().ok_or(WhipOfferError::NoMedia)?;
        check_counts(&session)?;
        let sections: Vec<Taken> =
            session.medias.iter().map(Taken::read).collect::<Result<_, _>>()?;
        let is_bundled = is_bundled(&session, sections.iter().map(|taken| &taken.section));
        if sections.len() > 1 && !is_bundled {
            return Err(WhipOfferError::NotBundled);
        }
        check_payload_types(&sections)?;

        // With BUNDLE the transport is that of the first section.
        let value = |name: &'static str| -> Option<&str> {
            let of_session = || session.get_first_attribute_value(name).flatten();
            first.get_first_attribute_value(name).flatten().or_else(of_session)
        };
        let missing = OfferError::Missing;
        let ice_ufrag =
            value("ice-ufrag").filter(|text| is_ufrag(text)).ok_or(missing("ice-ufrag"))?;
        value("ice-pwd").filter(|pwd| pwd.len() >= 22).ok_or(missing("ice-pwd"))?;
        // There may be others beside it, by other hashes.
        let fingerprint = first
            .get_attribute_values("fingerprint")
            .chain(session.get_attribute_values("fingerprint"))
            .flatten()
            .find_map(parse_fingerprint)
            .ok_or(missing("fingerprint (sha-256)"))?;
        let role = dtls_role(value("setup"))?;
        let reception = |kind: &str| {
            sections.iter().find(|taken| taken.section.media == kind).map(Taken::reception)
        };
        let mixed = "extmap-allow-mixed";
        Ok(Self {
            ice_ufrag: ice_ufrag.to_owned(),
            fingerprint,
            role,
            video: reception("video"),
            audio: reception("audio"),
            allows_mixed_extensions: session.has_attribute(mixed)
                || session.medias.iter().all(|media| media.has_attribute(mixed)),
            is_bundled,
            sections,
        })
    }

    /// The section whose transport is that of all.
    pub fn tagged(&self) -> Tagged {
        let first = self.sections.first().map(|taken| &taken.section);
        first.map(Tagged::of).unwrap_or_default()
    }

    /// Takes only the first layer of a simulcast.
    pub fn take_one_layer(&mut self) {
        let receptions = self.video.iter_mut().map(|video| &mut video.rids);
        for rids in receptions.chain(self.sections.iter_mut().map(|taken| &mut taken.rids)) {
            rids.truncate(1);
        }
    }

    /// Our answer: `recvonly` on every section.
    pub fn answer(&self, local: &Local<'_>) -> String {
        let mut sdp = String::with_capacity(2048);
        put!(
            sdp,
            "v=0\r\no=- {} 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-lite\r\n",
            local.ssrcs.video
        );
        if self.is_bundled {
            sdp.push_str("a=group:BUNDLE");
            for taken in &self.sections {
                put!(sdp, " {}", taken.section.mid);
            }
            sdp.push_str("\r\n");
        }
        if self.allows_mixed_extensions {
            sdp.push_str("a=extmap-allow-mixed\r\n");
        }
        let setup = setup_of(self.role);
        for (index, taken) in self.sections.iter().enumerate() {
            taken.write(&mut sdp, local, setup);
            if index == 0 {
                sdp.push_str(&candidate_lines(local));
            }
        }
        sdp
    }
}

fn check_counts(session: &Session) -> Result<(), WhipOfferError> {
    let count = |kind: &str| session.medias.iter().filter(|media| media.media == kind).count();
    let (videos, sounds) = (count("video"), count("audio"));
    if videos + sounds != session.medias.len() {
        return Err(WhipOfferError::UnknownMedia);
    }
    if videos > 1 {
        return Err(WhipOfferError::TooMany("video"));
    }
    if sounds > 1 {
        return Err(WhipOfferError::TooMany("audio"));
    }
    let streams = session.medias.iter().flat_map(|media| media.get_attribute_values("msid"));
    let mut streams = streams.flatten().filter_map(|msid| msid.split(' ').next());
    // `-` is a track without a stream.
    let mut of_streams = streams.by_ref().filter(|stream| *stream != "-");
    let first = of_streams.next();
    if of_streams.any(|stream| Some(stream) != first) {
        return Err(WhipOfferError::TooMany("media stream"));
    }
    Ok(())
}

/// Packets of a bundle are told apart by payload type (RFC 9143 §9.2).
fn check_payload_types(sections: &[Taken]) -> Result<(), WhipOfferError> {
    let of = |taken: &Taken| [Some(taken.payload.payload_type), taken.payload.rtx];
    let mut used: Vec<u8> = sections.iter().flat_map(of).flatten().collect();
    used.sort_unstable();
    if used.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(OfferError::Malformed("a payload type is used twice".to_owned()).into());
    }
    Ok(())
}

impl Taken {
    fn read(media: &Media) -> Result<Self, WhipOfferError> {
        let is_disabled = media.port == 0 && !media.has_attribute("bundle-only");
        if is_disabled || media.has_attribute("recvonly") || media.has_attribute("inactive") {
            return Err(WhipOfferError::NotSending);
        }
        let section = Section::read(media);
        check_section(media, &section)?;
        let choose =
            |codecs: &[Codec]| codecs.iter().find_map(|codec| section.sendable(*codec).next());
        let payload = match media.media.as_str() {
            "video" => choose(&VIDEO).cloned().ok_or(WhipOfferError::NoCodec(
                "video",
                "H264 with packetization-mode=1, VP8, VP9, AV1, H265",
            ))?,
            _ => {
                let none = WhipOfferError::NoCodec("audio", "opus, PCMU, PCMA");
                // A decoder conceals lost sound before it could come again.
                Payload { rtx: None, feedback: Vec::new(), ..choose(&AUDIO).cloned().ok_or(none)? }
            }
        };
        let rids = match section.extension(uri::RTP_STREAM_ID) {
            Some(_) => simulcast(media, payload.payload_type),
            None => Vec::new(),
        };
        let has_reduced_size = media.has_attribute("rtcp-rsize");
        Ok(Self { payload, rids, has_reduced_size, section })
    }

    fn reception(&self) -> Reception {
        let Payload { payload_type, codec, rtx, ref feedback, .. } = self.payload;
        let has = |name: &str| feedback.iter().any(|feedback| feedback == name);
        let has_layers = !self.rids.is_empty();
        let extension = |uri| self.section.extension(uri).filter(|_| has_layers);
        Reception {
            codec,
            payload_type,
            rtx,
            has_nack: has("nack"),
            has_pli: has("nack pli"),
            has_remb: has("goog-remb"),
            rids: self.rids.clone(),
            rid_extension: extension(uri::RTP_STREAM_ID),
            repaired_rid_extension: extension(uri::REPAIRED_RTP_STREAM_ID),
        }
    }

    fn write(&self, sdp: &mut String, local: &Local<'_>, setup: &str) {
        let payloads = std::slice::from_ref(&self.payload);
        open_section(sdp, &self.section, payloads, local, setup);
        sdp.push_str("a=recvonly\r\na=rtcp-mux\r\n");
        if self.has_reduced_size {
            sdp.push_str("a=rtcp-rsize\r\n");
        }
        write_codec(sdp, &self.section, payloads, &EXTENSIONS);
        for rid in &self.rids {
            put!(sdp, "a=rid:{rid} recv\r\n");
        }
        if !self.rids.is_empty() {
            put!(sdp, "a=simulcast:recv {}\r\n", self.rids.join(";"));
        }
    }
}

/// The layers to take of those offered: of alternatives the first, paused ones too, as many as there is
/// room for.
fn simulcast(media: &Media, payload_type: u8) -> Vec<String> {
    let can_carry = |rid: &str| {
        let lines = media.get_attribute_values("rid").flatten();
        let mut restrictions = lines.filter_map(|line| {
            let (id, rest) = line.split_once(' ')?;
            let rest = rest.strip_prefix("send")?;
            (id == rid).then_some(rest.trim())
        });
        restrictions.next().is_some_and(|restrictions| {
            let formats = restrictions.split(';').find_map(|pair| pair.trim().strip_prefix("pt="));
            formats
                .is_none_or(|formats| formats.split(',').any(|pt| pt.parse() == Ok(payload_type)))
        })
    };
    let is_rid = |rid: &&str| {
        // The one-byte form of the header extension carries no more than 16 bytes.
        (1..=16).contains(&rid.len())
            && rid.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let Some(value) = media.get_first_attribute_value("simulcast").flatten() else {
        return Vec::new();
    };
    let mut words = value.split(' ').skip_while(|word| *word != "send");
    let mut rids: Vec<String> = Vec::with_capacity(MAX_LAYERS);
    for alternatives in words.nth(1).unwrap_or_default().split(';') {
        let mut usable = alternatives
            .split(',')
            .map(|rid| rid.trim_start_matches('~'))
            .filter(is_rid)
            .filter(|rid| can_carry(rid) && !rids.iter().any(|taken| taken == rid));
        if let Some(rid) = usable.next().filter(|_| rids.len() < MAX_LAYERS) {
            rids.push(rid.to_owned());
        }
    }
    rids
}

#[cfg(test)]
mod tests;
