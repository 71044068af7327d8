//! One publisher: its packets received, asked for again where they are lost, and given out as units.
//!
//! Must not: own a socket, know cameras, or read a clock. Datagrams and the time go in; datagrams and
//! events come out.
//!
//! Source: RFC 9725 (WHIP), RFC 3550 §6.4 (reports), RFC 4585 (NACK, PLI), RFC 4588 (retransmissions),
//! RFC 8852 (rid), draft-alvestrand-rmcat-remb-03.

mod statistics;
#[cfg(test)]
mod tests;
mod track;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use domain::MediaSettings;

use self::{
    statistics::Interval,
    track::{Output, Pace, Track},
};
use super::{
    assemble::Assembled,
    dtls::Identity,
    format::Format,
    outbox::Outbox,
    rtcp, rtp,
    srtp::{DtlsRole, Endpoint},
    transport::{
        CloseReason, IceCredentials, Transport, TransportEvent, TransportInput, TransportParameters,
    },
    transport_address::TransportAddress,
    whip_sdp::{Reception, WhipOffer},
};

/// A publisher that sends nothing for this long is gone.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(10);
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Most sequence numbers asked for in one packet: at worst 4 bytes each.
const MAX_NACKS: usize = 256;
/// Loss above this makes the publisher send less, in percent.
const HIGH_LOSS_PERCENT: u64 = 10;
/// Loss below this lets it send more again.
const LOW_LOSS_PERCENT: u64 = 2;

/// Bounds of what a publisher is to send, and how long its packets may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiveLimits {
    /// How long packets wait for one that is missing before them.
    pub jitter_buffer: Duration,
    /// Key frames are asked for this often, where the publisher sends none by itself.
    pub key_frame_interval: Duration,
    /// Video to begin with, in bits per second, all layers together.
    pub target_bitrate_bps: u64,
    /// Most video.
    pub max_bitrate_bps: u64,
    /// What is left to it on the worst of networks.
    pub min_bitrate_bps: u64,
}

impl From<MediaSettings> for ReceiveLimits {
    fn from(media: MediaSettings) -> Self {
        let bps = |kbps: u32| u64::from(kbps) * 1000;
        Self {
            jitter_buffer: Duration::from_millis(media.jitter_buffer_ms.into()),
            key_frame_interval: Duration::from_millis(media.key_frame_interval_ms.into()),
            target_bitrate_bps: bps(media.target_kbps),
            max_bitrate_bps: bps(media.max_kbps),
            min_bitrate_bps: bps(media.min_kbps),
        }
    }
}

impl Default for ReceiveLimits {
    fn default() -> Self {
        MediaSettings::default().into()
    }
}

/// What signalling settled for a session.
#[derive(Debug, Clone)]
pub struct WhipParameters {
    /// Credentials and fingerprint.
    pub transport: TransportParameters,
    /// Our side of DTLS.
    pub role: DtlsRole,
    /// SSRC of our reports.
    pub ssrc: u32,
    /// The video, if any.
    pub video: Option<Reception>,
    /// The sound, if any.
    pub audio: Option<Reception>,
    /// See there.
    pub limits: ReceiveLimits,
}

impl WhipParameters {
    /// What follows from an offer and our own credentials.
    pub fn new(
        offer: &WhipOffer,
        (local_ufrag, local_pwd): (&str, &str),
        ssrc: u32,
        limits: ReceiveLimits,
    ) -> Self {
        let ice = IceCredentials {
            local_ufrag: local_ufrag.to_owned(),
            local_pwd: local_pwd.to_owned(),
            remote_ufrag: offer.ice_ufrag.clone(),
        };
        Self {
            transport: TransportParameters { ice, remote_fingerprint: offer.fingerprint },
            role: offer.role,
            ssrc,
            video: offer.video.clone(),
            audio: offer.audio.clone(),
            limits,
        }
    }
}

/// A track of a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WhipTrack {
    /// Of the video's layers, the best being 0.
    Layer(usize),
    /// Sound.
    Audio,
}

/// What a session brings about.
#[derive(Debug, Clone, PartialEq)]
pub enum WhipEvent {
    /// The publisher is there.
    Connected,
    /// What a track carries; comes before its first unit, and whenever it changes, followed by a key frame.
    /// Layers can change places while their sizes become known.
    Format(WhipTrack, Format),
    /// The next unit, on the publisher's clock: its RTP timestamps, unwrapped, at the codec's clock rate.
    Unit(WhipTrack, Assembled),
    /// The session is over; drop it.
    Closed(CloseReason),
}

/// See the module.
#[derive(Debug)]
pub struct WhipSession {
    transport: Transport,
    srtp: Option<Box<Endpoint>>,
    ssrc: u32,
    limits: ReceiveLimits,
    video: Option<Reception>,
    audio: Option<Reception>,
    /// Layers in the offer's order, then the sound.
    tracks: Vec<Track>,
    /// The layers' indices, best first.
    order: Vec<usize>,
    events: VecDeque<WhipEvent>,
    last_media_at: Instant,
    next_report_at: Option<Instant>,
    estimate_bps: u64,
    is_closed: bool,
}

impl WhipSession {
    /// A session that waits for its publisher.
    pub fn new(parameters: WhipParameters, identity: &Identity, now: Instant) -> Self {
        let WhipParameters { transport, role, ssrc, video, audio, limits } = parameters;
        let pace =
            Pace { hold: limits.jitter_buffer, key_frame_interval: limits.key_frame_interval };
        let layers = video.as_ref().map_or(vec![], |video| match &video.rids[..] {
            [] => vec!["main".to_owned()],
            rids => rids.to_vec(),
        });
        let layer_tracks = video
            .iter()
            .flat_map(|video| layers.iter().map(|rid| Track::new(video.codec, rid.clone(), pace)));
        let audio_track =
            audio.iter().map(|audio| Track::new(audio.codec, "audio".to_owned(), pace));
        Self {
            transport: Transport::with_role(transport, role, identity, now),
            srtp: None,
            ssrc,
            limits,
            tracks: layer_tracks.chain(audio_track).collect(),
            order: (0..layers.len()).collect(),
            video,
            audio,
            events: VecDeque::new(),
            last_media_at: now,
            next_report_at: None,
            estimate_bps: limits.target_bitrate_bps,
            is_closed: false,
        }
    }

    /// The connection: where the peer is, its ICE credentials and restarts.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Accepts checks with new credentials; see [`Transport::restart_ice`].
    pub fn restart_ice(&mut self, credentials: IceCredentials) {
        self.transport.restart_ice(credentials);
    }

    /// The next event, if there is one. To be drained after each call that takes the time.
    pub fn poll(&mut self) -> Option<WhipEvent> {
        self.events.pop_front()
    }

    /// Takes a datagram that was found to be for this session.
    pub fn on_datagram(
        &mut self,
        now: Instant,
        from: TransportAddress,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) {
        if self.is_closed {
            return;
        }
        match self.transport.on_datagram(now, from, datagram, out) {
            TransportInput::Consumed => {}
            TransportInput::Event(event) => self.on_transport(now, event),
            TransportInput::Media if rtcp::is_rtcp(datagram) => self.on_rtcp(now, datagram),
            TransportInput::Media => self.on_rtp(now, datagram, out),
        }
    }

    fn on_transport(&mut self, now: Instant, event: TransportEvent) {
        match event {
            TransportEvent::Connected(endpoint) => {
                self.srtp = Some(endpoint);
                self.last_media_at = now;
                self.events.push_back(WhipEvent::Connected);
            }
            TransportEvent::Closed(reason) => self.end(reason),
        }
    }

    fn end(&mut self, reason: CloseReason) {
        if !std::mem::replace(&mut self.is_closed, true) {
            self.events.push_back(WhipEvent::Closed(reason));
        }
    }

    fn on_rtp(&mut self, now: Instant, datagram: &mut [u8], out: &mut Outbox) {
        let Some(srtp) = &mut self.srtp else { return };
        let Ok(opened) = srtp.rtp_receiver.open(datagram) else { return };
        self.transport.heard_from_peer(now);
        self.last_media_at = now;
        let Ok(packet) = rtp::Packet::parse(opened) else { return };
        let Some((index, is_retransmission)) = self.route(&packet) else { return };
        let track = &mut self.tracks[index];
        if is_retransmission {
            track.rtx_ssrc = Some(packet.header.ssrc);
            track.on_retransmission(now, &packet.header, packet.payload);
        } else {
            track.on_packet(now, &packet.header, packet.payload);
            // The publisher is told at once what it may send.
            self.next_report_at.get_or_insert(now);
        }
        self.drain(now, index);
        self.feed_back(now, out);
    }

    /// Which track a packet is for, and whether it is a retransmission.
    ///
    /// Payload types tell tracks apart, and header extensions the layers, until the SSRC is known.
    fn route(&self, packet: &rtp::Packet<'_>) -> Option<(usize, bool)> {
        let rtp::Header { payload_type, ssrc, .. } = packet.header;
        if self.audio.as_ref().is_some_and(|audio| audio.payload_type == payload_type) {
            return Some((self.tracks.len() - 1, false));
        }
        let video = self.video.as_ref()?;
        let is_retransmission = video.rtx == Some(payload_type);
        if !is_retransmission && video.payload_type != payload_type {
            return None;
        }
        if video.rids.is_empty() {
            return Some((0, is_retransmission));
        }
        let layers = &self.tracks[..self.order.len()];
        let known = match is_retransmission {
            true => layers.iter().position(|layer| layer.rtx_ssrc == Some(ssrc)),
            false => layers.iter().position(|layer| layer.ssrc() == Some(ssrc)),
        };
        let index = known.or_else(|| {
            let id = match is_retransmission {
                true => video.repaired_rid_extension?,
                false => video.rid_extension?,
            };
            let rid = packet.extensions.get(id)?;
            video.rids.iter().position(|known| known.as_bytes() == rid)
        })?;
        Some((index, is_retransmission))
    }

    fn drain(&mut self, now: Instant, index: usize) {
        let mut outputs = Vec::new();
        self.tracks[index].drain(now, |output| outputs.push(output));
        for output in outputs {
            if matches!(output, Output::Format(_)) {
                self.sort_layers(index);
            }
            let position = self.order.iter().position(|layer| *layer == index);
            let track = position.map_or(WhipTrack::Audio, WhipTrack::Layer);
            self.events.push_back(match output {
                Output::Format(format) => WhipEvent::Format(track, format),
                Output::Unit(unit) => WhipEvent::Unit(track, unit),
            });
        }
    }

    /// The largest layer first. Those of unknown size keep their places, which are the offer's.
    ///
    /// `told` is a layer whose format is just being told.
    fn sort_layers(&mut self, told: usize) {
        let area_px = |layer: &usize| self.tracks[*layer].largest_area_px;
        let places = (0..self.order.len()).filter(|place| area_px(&self.order[*place]) > 0);
        let places: Vec<usize> = places.collect();
        let mut known: Vec<usize> = places.iter().map(|place| self.order[*place]).collect();
        known.sort_by_key(|layer| std::cmp::Reverse(area_px(layer)));
        for (place, layer) in places.into_iter().zip(known) {
            let has_moved = std::mem::replace(&mut self.order[place], layer) != layer;
            if has_moved && layer != told {
                self.tracks[layer].start_over();
            }
        }
    }

    fn on_rtcp(&mut self, now: Instant, datagram: &mut [u8]) {
        let Some(srtp) = &mut self.srtp else { return };
        let Ok(compound) = srtp.rtcp_receiver.open(datagram) else { return };
        self.transport.heard_from_peer(now);
        let mut has_ended = false;
        for packet in rtcp::parse(compound).flatten() {
            match packet {
                rtcp::Packet::SenderReport { info, .. } => {
                    let mut streams = self.tracks.iter_mut().filter_map(Track::stream_mut);
                    if let Some(stream) = streams.find(|stream| stream.ssrc == info.ssrc) {
                        stream.statistics.sender_report(now, info.ntp);
                    }
                }
                rtcp::Packet::Goodbye { ssrcs } => {
                    for ssrc in ssrcs.iter() {
                        let mut tracks = self.tracks.iter_mut();
                        if let Some(track) = tracks.find(|track| track.ssrc() == Some(ssrc)) {
                            track.end_stream();
                            has_ended = true;
                        }
                    }
                }
                _ => {}
            }
        }
        if has_ended && self.tracks.iter().all(|track| track.ssrc().is_none()) {
            self.end(CloseReason::PeerClosed);
        }
    }

    /// Asks for a key frame of a layer, soon; requests in quick succession are one.
    pub fn request_key_frame(&mut self, track: WhipTrack) {
        let WhipTrack::Layer(position) = track else { return };
        if let Some(layer) = self.order.get(position) {
            self.tracks[*layer].request_key_frame();
        }
    }

    /// Events were lost on their way to the camera: every track begins anew, with its format and a key frame.
    pub fn start_over(&mut self) {
        self.tracks.iter_mut().for_each(Track::start_over);
    }

    /// Sends what is due: requests for packets and key frames, reports.
    fn feed_back(&mut self, now: Instant, out: &mut Outbox) {
        let mut requests = Vec::new();
        for index in 0..self.tracks.len() {
            let Some((has_nack, has_pli)) = self.feedback_of(index) else { continue };
            let track = &mut self.tracks[index];
            if has_nack && let Some(stream) = track.stream_mut() {
                let lost = stream.reorder.nacks(now);
                for lost in lost.chunks(MAX_NACKS) {
                    rtcp::write_nack(self.ssrc, stream.ssrc, lost, &mut requests);
                }
            }
            if has_pli && let Some(ssrc) = track.take_pli(now) {
                rtcp::write_picture_loss(self.ssrc, ssrc, &mut requests);
            }
            // A packet per track, so that none grows too long.
            self.send_rtcp(&mut requests, out);
        }
        if self.next_report_at.is_some_and(|at| at <= now) {
            self.next_report_at = Some(now + REPORT_INTERVAL);
            let mut report = self.report(now);
            self.send_rtcp(&mut report, out);
        }
    }

    /// Whether NACK and PLI were agreed on for a track.
    fn feedback_of(&self, index: usize) -> Option<(bool, bool)> {
        let is_layer = index < self.order.len();
        let reception = if is_layer { &self.video } else { &self.audio };
        reception.as_ref().map(|reception| (reception.has_nack, reception.has_pli && is_layer))
    }

    fn report(&mut self, now: Instant) -> Vec<u8> {
        let mut blocks = Vec::new();
        let mut video = Interval::default();
        let mut video_ssrcs = Vec::new();
        let layers = self.order.len();
        for (index, track) in self.tracks.iter_mut().enumerate() {
            let Some(stream) = track.stream_mut() else { continue };
            let (block, interval) = stream.statistics.report(stream.ssrc, now);
            blocks.push(block);
            if index < layers {
                video_ssrcs.push(stream.ssrc);
                video.expected += interval.expected;
                video.lost += interval.lost;
            }
        }
        self.estimate_bps = next_estimate(self.estimate_bps, video, &self.limits);
        let mut compound = Vec::with_capacity(256);
        rtcp::write_receiver_report(self.ssrc, &blocks, &mut compound);
        rtcp::write_cname(self.ssrc, "damwall", &mut compound);
        let has_remb = self.video.as_ref().is_some_and(|video| video.has_remb);
        if has_remb && !video_ssrcs.is_empty() {
            let estimate_bps = self.estimate_bps;
            rtcp::write_receiver_estimate(self.ssrc, estimate_bps, &video_ssrcs, &mut compound);
        }
        compound
    }

    /// Seals and sends packets, and clears them.
    fn send_rtcp(&mut self, packets: &mut Vec<u8>, out: &mut Outbox) {
        let (Some(peer), Some(srtp)) = (self.transport.peer(), &mut self.srtp) else { return };
        if packets.is_empty() {
            return;
        }
        if out.push(peer, |buffer| srtp.rtcp_sender.seal(packets, buffer)).is_err() {
            self.end(CloseReason::SrtpFailed);
        }
        packets.clear();
    }

    /// Lets time pass: handshake retransmissions, holes given up, requests, reports, time-outs.
    pub fn on_timer(&mut self, now: Instant, out: &mut Outbox) {
        if self.is_closed {
            return;
        }
        if let Some(event) = self.transport.on_timer(now, out) {
            self.on_transport(now, event);
        }
        if self.srtp.is_none() || self.is_closed {
            return;
        }
        if now >= self.last_media_at + SILENCE_TIMEOUT {
            self.end(CloseReason::NoMedia);
            return;
        }
        for index in 0..self.tracks.len() {
            self.drain(now, index);
        }
        self.feed_back(now, out);
    }

    /// When [`Self::on_timer`] is wanted next, at the latest.
    pub fn next_timeout(&self) -> Instant {
        let transport = self.transport.next_timeout();
        if self.srtp.is_none() {
            return transport;
        }
        let of_tracks = self.tracks.iter().enumerate().flat_map(|(index, track)| {
            let (has_nack, has_pli) = self.feedback_of(index).unwrap_or_default();
            let reorder = track.stream().map(|stream| &stream.reorder);
            [
                reorder.and_then(|reorder| reorder.next_give_up()),
                reorder.filter(|_| has_nack).and_then(|reorder| reorder.next_nack()),
                track.next_pli().filter(|_| has_pli),
            ]
        });
        let silence = self.last_media_at + SILENCE_TIMEOUT;
        of_tracks
            .chain([self.next_report_at, Some(silence)])
            .flatten()
            .fold(transport, Instant::min)
    }

    /// Says goodbye to the publisher (DTLS close_notify).
    pub fn close(&mut self, out: &mut Outbox) {
        self.transport.close(out);
        self.is_closed = true;
    }
}

/// What the publisher may send after an interval of so much loss.
fn next_estimate(estimate_bps: u64, interval: Interval, limits: &ReceiveLimits) -> u64 {
    let (expected, lost) = (u64::from(interval.expected), u64::from(interval.lost));
    let next = if lost * 100 > expected * HIGH_LOSS_PERCENT {
        estimate_bps - estimate_bps * lost / (2 * expected)
    } else if lost * 100 < expected * LOW_LOSS_PERCENT {
        estimate_bps + estimate_bps / 12
    } else {
        estimate_bps
    };
    next.min(limits.max_bitrate_bps).max(limits.min_bitrate_bps)
}
