//! Our side of a WHEP session, written: the answer to an offer, or an offer of ours.
//!
//! Must not: read descriptions or keep state.

use std::fmt::Write as _;

use super::{Description, OfferError, Payload, Section, setup_of};
use crate::sansio::{
    format::{Codec, Format},
    rtp::uri,
    transport_address::TransportAddress,
};

/// Appends formatted text; that does not fail for a `String`.
macro_rules! put {
    ($sdp:expr, $($format:tt)*) => {
        write!($sdp, $($format)*).expect("writing to a String does not fail")
    };
}
pub(crate) use put;

/// What our side of a session is.
#[derive(Debug, Clone)]
pub struct Local<'a> {
    /// ICE user fragment, also the key by which datagrams find the session.
    pub ice_ufrag: &'a str,
    /// ICE password.
    pub ice_pwd: &'a str,
    /// SHA-256 of our certificate, `AB:CD:…`.
    pub fingerprint: &'a str,
    /// SSRCs to send with.
    pub ssrcs: Ssrcs,
    /// Addresses of the one UDP port and of the one TCP port, best first.
    pub candidates: &'a [TransportAddress],
}

/// SSRCs of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ssrcs {
    /// Video.
    pub video: u32,
    /// Retransmitted video.
    pub rtx: u32,
    /// Sound.
    pub audio: u32,
}

/// What was settled for one track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// Tag of the section.
    pub mid: String,
    /// The codec.
    pub codec: Codec,
    /// RTP payload type.
    pub payload_type: u8,
    /// Payload type of retransmissions.
    pub rtx: Option<u8>,
    /// Whether the player reports what it can receive (REMB).
    pub has_remb: bool,
    /// Identifiers of header extensions.
    pub extensions: ExtensionIds,
}

/// Identifiers of header extensions that were agreed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    /// RFC 8843 §15.
    pub mid: Option<u8>,
    /// abs-send-time.
    pub abs_send_time: Option<u8>,
    /// playout-delay.
    pub playout_delay: Option<u8>,
    /// abs-capture-time.
    pub abs_capture_time: Option<u8>,
}

/// The description we send, and what it settles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// SDP, CRLF lines.
    pub sdp: String,
    /// Video.
    pub video: Agreed,
    /// Sound, if both sides have it.
    pub audio: Option<Agreed>,
    /// The section whose transport is that of all.
    pub tagged: Tagged,
}

/// The first section of a BUNDLE group, or the only one there is: ICE is told of there.
///
/// Source: RFC 9143 §7.1 ("tagged" section), RFC 8840 §9.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tagged {
    /// `video` or `audio`.
    pub media: String,
    /// Tag of the section.
    pub mid: String,
}

impl Tagged {
    pub(crate) fn of(section: &Section) -> Self {
        Self { media: section.media.clone(), mid: section.mid.clone() }
    }
}

/// An offer of ours, and what the player may choose from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterOffer {
    /// SDP, CRLF lines.
    pub sdp: String,
    video: Vec<Codec>,
    audio: Option<Codec>,
}

/// The camera's tracks as a session may send them.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// Formats of the layers, best first.
    pub video: &'a [&'a Format],
    /// Format of the sound.
    pub audio: Option<&'a Format>,
}

impl Description {
    /// Answers this offer: `sendonly` on what both sides have; every other section is refused.
    ///
    /// # Errors
    /// [`OfferError::NoCodec`].
    pub fn answer(&self, local: &Local<'_>, offered: Offered<'_>) -> Result<Settled, OfferError> {
        let (video_section, audio_section) =
            (&self.sections[self.video], self.audio.map(|audio| &self.sections[audio]));
        let video = choose_video(video_section, offered.video).ok_or_else(|| no_codec(offered))?;
        let mut video = video.clone();
        // What is lost is sent again on an SSRC of its own, or not at all; who is not told so would wait.
        if video.rtx.is_none() {
            video.feedback.retain(|feedback| feedback != "nack");
        }
        let audio = offered
            .audio
            .zip(audio_section)
            .and_then(|(format, section)| Some((section, section.sendable(format.codec).next()?)));
        // Of sound nothing is sent again, whatever the player offers.
        let audio = audio.map(|(section, payload)| {
            (section, Payload { rtx: None, feedback: Vec::new(), ..payload.clone() })
        });

        let mut sdp = String::with_capacity(3072);
        // BUNDLE keeps the order of the offer.
        let mut bundled = vec![video_section];
        if let Some((section, _)) = &audio {
            bundled.insert(usize::from(self.audio > Some(self.video)), section);
        }
        let tagged = Tagged::of(bundled[0]);
        // A section that was offered alone and in no group stays out of one.
        let bundled = if self.is_bundled { bundled } else { Vec::new() };
        write_session(&mut sdp, local, bundled.into_iter());
        let mut is_first = true;
        for (index, section) in self.sections.iter().enumerate() {
            let (payload, ssrc, kind) = match &audio {
                _ if index == self.video => (&video, local.ssrcs.video, "video"),
                Some((_, payload)) if Some(index) == self.audio => {
                    (payload, local.ssrcs.audio, "audio")
                }
                _ => {
                    write_refused(&mut sdp, section);
                    continue;
                }
            };
            let payloads = std::slice::from_ref(payload);
            let setup = setup_of(self.role);
            write_section(&mut sdp, section, payloads, local, (kind, ssrc), setup);
            if std::mem::take(&mut is_first) {
                sdp.push_str(&candidate_lines(local));
            }
        }
        Ok(Settled {
            sdp,
            video: agreed(video_section, &video),
            audio: audio.map(|(section, payload)| agreed(section, &payload)),
            tagged,
        })
    }
}

fn no_codec(offered: Offered<'_>) -> OfferError {
    let mut codecs: Vec<_> = offered.video.iter().map(|format| format.codec).collect();
    codecs.dedup();
    no_codec_of(&codecs)
}

fn no_codec_of(codecs: &[Codec]) -> OfferError {
    let names: Vec<_> = codecs.iter().map(|codec| codec.encoding_name()).collect();
    OfferError::NoCodec(names.join(" or "))
}

/// Of the first codec in an offer of ours.
const FIRST_PAYLOAD_TYPE: u8 = 96;

/// An offer of ours for a player whose own could not be answered: every codec of the camera, and what
/// players are known to have besides. Which of them is sent the answer says.
pub fn offer(local: &Local<'_>, offered: Offered<'_>) -> CounterOffer {
    let payload = |payload_type: u8, format: &Format| {
        let is_video = !format.codec.is_audio();
        let fmtp = match (format.codec, format.h264_profile) {
            (Codec::H264, profile) => {
                let [idc, constraints] = profile.unwrap_or([0x42, 0xe0]);
                format!(
                    "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={idc:02x}{constraints:02x}1f"
                )
            }
            _ => String::new(),
        };
        let feedback = match is_video {
            true => ["goog-remb", "ccm fir", "nack", "nack pli"].map(str::to_owned).to_vec(),
            false => Vec::new(),
        };
        let rtx = is_video.then_some(payload_type + 1);
        Payload { payload_type, codec: format.codec, fmtp, rtx, feedback }
    };
    let section = |media: &str, mid: &str, payloads: Vec<Payload>| {
        let mut extensions = vec![(1, uri::MID.to_owned()), (2, uri::ABS_SEND_TIME.to_owned())];
        if media == "video" {
            extensions.push((3, uri::PLAYOUT_DELAY.to_owned()));
            extensions.push((4, uri::ABS_CAPTURE_TIME.to_owned()));
        }
        Section {
            media: media.to_owned(),
            proto: "UDP/TLS/RTP/SAVPF".to_owned(),
            formats: String::new(),
            mid: mid.to_owned(),
            payloads,
            extensions,
            measures_round_trip: true,
        }
    };
    let mut distinct: Vec<&Format> = Vec::with_capacity(offered.video.len());
    for &format in offered.video {
        // The best layer of a codec stands for the others.
        if !distinct.iter().any(|known| known.codec == format.codec) {
            distinct.push(format);
        }
    }
    // With their retransmissions they take two each; no camera has many.
    let payload_types = (FIRST_PAYLOAD_TYPE..126).step_by(2);
    let payloads: Vec<Payload> =
        payload_types.clone().zip(distinct).map(|(pt, format)| payload(pt, format)).collect();
    let audio = payload_types.clone().nth(payloads.len()).zip(offered.audio);
    let video = section("video", "0", payloads);
    let audio = audio.map(|(pt, format)| section("audio", "1", vec![payload(pt, format)]));

    let mut sdp = String::with_capacity(2048);
    write_session(&mut sdp, local, [&video].into_iter().chain(&audio));
    let kind = ("video", local.ssrcs.video);
    write_section(&mut sdp, &video, &video.payloads, local, kind, "actpass");
    sdp.push_str(&candidate_lines(local));
    if let Some(audio) = &audio {
        let kind = ("audio", local.ssrcs.audio);
        write_section(&mut sdp, audio, &audio.payloads, local, kind, "actpass");
    }
    CounterOffer {
        sdp,
        video: video.payloads.iter().map(|payload| payload.codec).collect(),
        audio: offered.audio.map(|format| format.codec),
    }
}

impl CounterOffer {
    /// What is left of our offer after the player's answer to it: of several codecs the one that the
    /// player names first.
    ///
    /// # Errors
    /// [`OfferError::NoCodec`] when it does not take the video.
    pub fn answered(&self, answer: &Description) -> Result<Settled, OfferError> {
        let narrow = |offered: &[Codec], section: &Section| -> Option<Agreed> {
            let payload = section.payloads.iter().find(|p| offered.contains(&p.codec))?;
            Some(agreed(section, payload))
        };
        let section = &answer.sections[answer.video];
        let video = narrow(&self.video, section).ok_or_else(|| no_codec_of(&self.video))?;
        let audio = self.audio.as_ref().zip(answer.audio);
        let audio = audio.and_then(|(offered, index)| {
            narrow(std::slice::from_ref(offered), &answer.sections[index])
        });
        Ok(Settled { sdp: String::new(), video, audio, tagged: Tagged::of(section) })
    }
}

fn choose_video<'a>(section: &'a Section, layers: &[&Format]) -> Option<&'a Payload> {
    layers.iter().find_map(|format| match format.h264_profile {
        // Browsers decode more profiles than they list, so a profile that is not listed still goes out
        // under the best listed one.
        Some(profile) if format.codec == Codec::H264 => {
            let listed = |is_it: &dyn Fn([u8; 2]) -> bool| {
                section.sendable(Codec::H264).find(|p| p.h264_profile().is_some_and(is_it))
            };
            listed(&|found| found == profile)
                .or_else(|| listed(&|found| found[0] == profile[0]))
                .or_else(|| section.sendable(Codec::H264).next())
        }
        _ => section.sendable(format.codec).next(),
    })
}

fn agreed(section: &Section, payload: &Payload) -> Agreed {
    Agreed {
        mid: section.mid.clone(),
        codec: payload.codec,
        payload_type: payload.payload_type,
        rtx: payload.rtx,
        has_remb: payload.feedback.iter().any(|feedback| feedback == "goog-remb"),
        extensions: ExtensionIds {
            mid: section.extension(uri::MID),
            abs_send_time: section.extension(uri::ABS_SEND_TIME),
            playout_delay: section.extension(uri::PLAYOUT_DELAY),
            abs_capture_time: section.extension(uri::ABS_CAPTURE_TIME),
        },
    }
}

fn write_session<'a>(
    sdp: &mut String,
    local: &Local<'_>,
    bundled: impl Iterator<Item = &'a Section>,
) {
    put!(
        sdp,
        "v=0\r\no=- {} 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-lite\r\n",
        local.ssrcs.video
    );
    let mut bundled = bundled.peekable();
    if bundled.peek().is_some() {
        sdp.push_str("a=group:BUNDLE");
        bundled.for_each(|section| put!(sdp, " {}", section.mid));
        sdp.push_str("\r\n");
    }
    sdp.push_str("a=extmap-allow-mixed\r\na=msid-semantic: WMS *\r\n");
}

/// Feedback that is agreed on, as sender and as receiver.
const FEEDBACK: [&str; 4] = ["goog-remb", "ccm fir", "nack", "nack pli"];
/// Extensions we send.
const EXTENSIONS: [&str; 4] =
    [uri::MID, uri::ABS_SEND_TIME, uri::PLAYOUT_DELAY, uri::ABS_CAPTURE_TIME];

fn write_section(
    sdp: &mut String,
    section: &Section,
    payloads: &[Payload],
    local: &Local<'_>,
    (kind, ssrc): (&str, u32),
    setup: &str,
) {
    open_section(sdp, section, payloads, local, setup);
    put!(sdp, "a=sendonly\r\na=msid:damwall {kind}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n");
    if section.measures_round_trip {
        sdp.push_str("a=rtcp-xr:rcvr-rtt=all\r\n");
    }
    write_codec(sdp, section, payloads, &EXTENSIONS);
    let has_rtx = payloads.iter().any(|payload| payload.rtx.is_some());
    let rtx_ssrc = has_rtx.then_some(local.ssrcs.rtx);
    if let Some(rtx_ssrc) = rtx_ssrc {
        put!(sdp, "a=ssrc-group:FID {ssrc} {rtx_ssrc}\r\n");
    }
    // The media's SSRC goes first: Chromium takes the first one for the media.
    for ssrc in [Some(ssrc), rtx_ssrc].into_iter().flatten() {
        put!(sdp, "a=ssrc:{ssrc} cname:damwall\r\na=ssrc:{ssrc} msid:damwall {kind}\r\n");
    }
}

/// The `m=` line of a section that is taken, and the transport's lines.
pub(crate) fn open_section(
    sdp: &mut String,
    section: &Section,
    payloads: &[Payload],
    local: &Local<'_>,
    setup: &str,
) {
    let Section { media, proto, mid, .. } = section;
    let Local { ice_ufrag, ice_pwd, fingerprint, .. } = local;
    put!(sdp, "m={media} 9 {proto}");
    for Payload { payload_type, rtx, .. } in payloads {
        put!(sdp, " {payload_type}");
        if let Some(rtx) = rtx {
            put!(sdp, " {rtx}");
        }
    }
    put!(
        sdp,
        "\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
         a=ice-ufrag:{ice_ufrag}\r\na=ice-pwd:{ice_pwd}\r\n\
         a=fingerprint:sha-256 {fingerprint}\r\na=setup:{setup}\r\na=mid:{mid}\r\n"
    );
}

/// The lines of the codecs that are meant, and of those of the section's `extensions` that are taken.
pub(crate) fn write_codec(
    sdp: &mut String,
    section: &Section,
    payloads: &[Payload],
    extensions: &[&str],
) {
    let taken = section.extensions.iter().filter(|(_, uri)| extensions.contains(&uri.as_str()));
    for (id, uri) in taken {
        put!(sdp, "a=extmap:{id} {uri}\r\n");
    }
    for Payload { payload_type, codec, fmtp, rtx, feedback } in payloads {
        let channels = if *codec == Codec::Opus { "/2" } else { "" };
        let (name, clock_rate_hz) = (codec.encoding_name(), codec.clock_rate_hz());
        put!(sdp, "a=rtpmap:{payload_type} {name}/{clock_rate_hz}{channels}\r\n");
        if !fmtp.is_empty() {
            put!(sdp, "a=fmtp:{payload_type} {fmtp}\r\n");
        }
        for feedback in feedback.iter().filter(|feedback| FEEDBACK.contains(&feedback.as_str())) {
            put!(sdp, "a=rtcp-fb:{payload_type} {feedback}\r\n");
        }
        if let Some(rtx) = rtx {
            put!(sdp, "a=rtpmap:{rtx} rtx/{clock_rate_hz}\r\na=fmtp:{rtx} apt={payload_type}\r\n");
        }
    }
}

/// `a=candidate` lines of every address, and the end of candidates.
pub fn candidate_lines(local: &Local<'_>) -> String {
    let mut sdp = String::with_capacity(256);
    for (index, address) in local.candidates.iter().enumerate() {
        let place = index as u32;
        // Host candidates (RFC 8445 §5.1.2.1): type preference 126, falling local preference. Those of TCP
        // come behind all of UDP, with the direction in the upper bits of theirs (RFC 6544 §4.2).
        let (name, type_preference, local_preference, kind) = match address {
            TransportAddress::Udp(_) => ("udp", 126u32, 65_535 - place, ""),
            TransportAddress::Tcp(_) => ("tcp", 90, (4 << 13) | (8191 - place), " tcptype passive"),
        };
        let priority = (type_preference << 24) | (local_preference << 8) | 255;
        let (foundation, ip, port) = (index + 1, address.socket().ip(), address.socket().port());
        put!(sdp, "a=candidate:{foundation} 1 {name} {priority} {ip} {port} typ host{kind}\r\n");
    }
    sdp.push_str("a=end-of-candidates\r\n");
    sdp
}

fn write_refused(sdp: &mut String, section: &Section) {
    let Section { media, proto, formats, mid, .. } = section;
    put!(sdp, "m={media} 0 {proto} {formats}\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\n");
    if !mid.is_empty() {
        put!(sdp, "a=mid:{mid}\r\n");
    }
}

#[cfg(test)]
mod tests;
