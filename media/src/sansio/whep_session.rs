//! One viewer: a connection, its video and its sound, and what its reports say.
//!
//! Must not: own a socket, look up cameras, or read a clock. Datagrams, access units and the time go in;
//! datagrams and events come out.
//!
//! Source: RFC 3550 §6 (reports), RFC 4585 (feedback), RFC 3611 §4.4 (round trip of receivers).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

pub use super::transport::CloseReason;
use super::{
    access_unit::AccessUnit,
    audio_sender::AudioSender,
    dtls::Identity,
    format::Codec,
    layer_choice::{self, LayerChoice, LayerInfo, Path},
    outbox::Outbox,
    rtcp::{self, Packet},
    sdp::write::{Agreed, Ssrcs},
    srtp::{DtlsRole, Endpoint, RtcpReceiver, RtcpSender, SrtpError},
    transport::{IceCredentials, Transport, TransportEvent, TransportInput, TransportParameters},
    transport_address::TransportAddress,
    video_sender::{Counters, VideoSender},
    wall_clock::WallClock,
};

/// Key frames that a viewer asks for more often are one.
const KEY_INTERVAL: Duration = Duration::from_millis(500);
/// Our name in source descriptions, as in the SDP.
const CNAME: &str = "damwall";

/// What signalling settled for a session.
#[derive(Debug, Clone)]
pub struct SessionParameters {
    /// Of the connection.
    pub transport: TransportParameters,
    /// Our side of DTLS.
    pub role: DtlsRole,
    /// The video.
    pub video: Agreed,
    /// The sound, if there is any.
    pub audio: Option<Agreed>,
    /// SSRCs to send with.
    pub ssrcs: Ssrcs,
    /// The time of day.
    pub clock: WallClock,
    /// Random bits for the beginnings of sequence numbers and timestamps (RFC 3550 §5.1).
    pub seed: [u32; 4],
}

/// What a call brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Media may flow: call [`WhepSession::begin`].
    Connected,
    /// The viewer cannot go on without a key frame.
    KeyWanted,
    /// The session is over; drop it.
    Closed(CloseReason),
}

/// See the module.
#[derive(Debug)]
pub struct WhepSession {
    transport: Transport,
    settled: Option<Box<Settled>>,
    video_agreed: Agreed,
    media: Option<Box<Media>>,
    clock: WallClock,
    wish: LayerChoice,
    is_paused: bool,
    path: Path,
    round_trip: Option<Duration>,
    key_asked_at: Option<Instant>,
    /// A receiver's clock, and when it came, until it is answered.
    reference: Option<(u32, u32, Instant)>,
}

/// What is needed once connected.
#[derive(Debug)]
struct Settled {
    audio: Option<Agreed>,
    ssrcs: Ssrcs,
    seed: [u32; 4],
}

#[derive(Debug)]
struct Media {
    video: VideoSender,
    audio: Option<AudioSender>,
    rtcp_sender: RtcpSender,
    rtcp_receiver: RtcpReceiver,
}

impl WhepSession {
    /// A session that waits for its peer.
    pub fn new(parameters: SessionParameters, identity: &Identity, now: Instant) -> Self {
        let SessionParameters { transport, role, video, audio, ssrcs, clock, seed } = parameters;
        Self {
            transport: Transport::with_role(transport, role, identity, now),
            settled: Some(Box::new(Settled { audio, ssrcs, seed })),
            video_agreed: video,
            media: None,
            clock,
            wish: LayerChoice::default(),
            is_paused: false,
            path: Path::default(),
            round_trip: None,
            key_asked_at: None,
            reference: None,
        }
    }

    /// Where the peer is, once known.
    pub fn peer(&self) -> Option<TransportAddress> {
        self.transport.peer()
    }

    /// The connection, for what signalling changes of it.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// See [`Transport::restart_ice`].
    pub fn restart_ice(&mut self, credentials: IceCredentials) {
        self.transport.restart_ice(credentials);
    }

    /// The clock of its reports.
    pub fn clock(&self) -> &WallClock {
        &self.clock
    }

    /// What was agreed on for the video.
    pub fn video_agreed(&self) -> &Agreed {
        &self.video_agreed
    }

    /// Whether there is sound in this session.
    pub fn has_audio(&self) -> bool {
        self.media.as_ref().is_some_and(|media| media.audio.is_some())
    }

    /// Codec of the sound, once connected.
    pub fn audio_codec(&self) -> Option<Codec> {
        Some(self.media.as_ref()?.audio.as_ref()?.codec())
    }

    /// Takes a datagram that was found to be for this session.
    pub fn on_datagram(
        &mut self,
        now: Instant,
        from: TransportAddress,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) -> Option<Event> {
        match self.transport.on_datagram(now, from, datagram, out) {
            TransportInput::Consumed => None,
            TransportInput::Event(event) => self.on_transport(now, event),
            TransportInput::Media if rtcp::is_rtcp(datagram) => {
                self.on_rtcp(now, from, datagram, out)
            }
            // Viewers send no media.
            TransportInput::Media => None,
        }
    }

    fn on_transport(&mut self, now: Instant, event: TransportEvent) -> Option<Event> {
        match event {
            TransportEvent::Closed(reason) => Some(Event::Closed(reason)),
            TransportEvent::Connected(endpoint) => match self.set_up_media(now, *endpoint) {
                Ok(()) => Some(Event::Connected),
                Err(_) => Some(Event::Closed(CloseReason::SrtpFailed)),
            },
        }
    }

    fn set_up_media(&mut self, now: Instant, endpoint: Endpoint) -> Result<(), SrtpError> {
        let Some(settled) = self.settled.take() else { return Ok(()) };
        let Settled { audio, ssrcs, seed } = *settled;
        let clock = self.clock;
        let Endpoint { mut rtp_senders, rtcp_sender, rtcp_receiver, .. } = endpoint;
        let rtp = rtp_senders.sender(ssrcs.video, seed[0] as u16)?;
        let rtx = match self.video_agreed.rtx {
            Some(_) => Some(rtp_senders.sender(ssrcs.rtx, (seed[0] >> 16) as u16)?),
            None => None,
        };
        let video = VideoSender::new(self.video_agreed.clone(), clock, rtp, rtx, seed[1], now);
        let audio = match audio {
            Some(agreed) => {
                let rtp = rtp_senders.sender(ssrcs.audio, seed[2] as u16)?;
                Some(AudioSender::new(agreed, clock, rtp, seed[3]))
            }
            None => None,
        };
        self.media = Some(Box::new(Media { video, audio, rtcp_sender, rtcp_receiver }));
        Ok(())
    }

    fn on_rtcp(
        &mut self,
        now: Instant,
        from: TransportAddress,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) -> Option<Event> {
        let Self { media, path, round_trip, reference, clock, .. } = self;
        let media = media.as_mut()?;
        let compound = media.rtcp_receiver.open(datagram).ok()?;
        let ssrc = media.video.ssrc();
        let mut wants_key = false;
        for packet in rtcp::parse(compound) {
            // What cannot be read says nothing; the rest of the compound may.
            let Ok(packet) = packet else { continue };
            match packet {
                Packet::ReceiverReport { reports, .. } | Packet::SenderReport { reports, .. } => {
                    for block in reports.iter().filter(|block| block.ssrc == ssrc) {
                        path.on_loss(f32::from(block.fraction_lost) / 256.0);
                        *round_trip = block.round_trip(clock.ntp(now)).or(*round_trip);
                    }
                }
                Packet::Nack { media_ssrc, lost, .. } if media_ssrc == ssrc => {
                    // Who asks although nothing can be sent again cannot go on either.
                    wants_key |= !media.video.can_retransmit();
                    let sent = media.video.on_nack(now, lost.iter(), from, out);
                    if let Some(closed) = closed_by(sent) {
                        return Some(closed);
                    }
                }
                Packet::PictureLossIndication { media_ssrc, .. } => wants_key |= media_ssrc == ssrc,
                Packet::FullIntraRequest { requests, .. } => {
                    wants_key |= requests.iter().any(|(wanted, _)| wanted == ssrc);
                }
                Packet::ReceiverEstimate { bitrate_bps, .. } => {
                    path.on_estimate(bitrate_bps.try_into().unwrap_or(u32::MAX));
                }
                Packet::ReceiverReferenceTime { ssrc: receiver, ntp } => {
                    *reference = Some((receiver, ntp.mid32(), now));
                }
                _ => {}
            }
        }
        let is_new = self.key_asked_at.is_none_or(|asked| now >= asked + KEY_INTERVAL);
        (wants_key && is_new).then(|| {
            self.key_asked_at = Some(now);
            Event::KeyWanted
        })
    }

    /// Begins to send a layer, or to send it anew; see [`VideoSender::begin`].
    pub fn begin(
        &mut self,
        now: Instant,
        layer: usize,
        gop: &[Arc<AccessUnit>],
        out: &mut Outbox,
    ) -> Option<Event> {
        let peer = self.transport.peer()?;
        let video = &mut self.media.as_mut()?.video;
        video.begin(now, layer, gop);
        closed_by(video.send_burst(now, peer, out))
    }

    /// See [`VideoSender::is_awaited`].
    pub fn is_awaited(&self, layer: usize) -> bool {
        self.media.as_ref().is_some_and(|media| media.video.is_awaited(layer))
    }

    /// Layer that is sent and layer that is wanted, while connected.
    pub fn layers(&self) -> Option<(usize, Option<usize>)> {
        let video = &self.media.as_ref()?.video;
        Some((video.layer(), video.pending_layer()))
    }

    /// Units were skipped: what follows cannot be decoded before the next key frame.
    pub fn restart_at_key(&mut self) {
        if let Some(media) = &mut self.media {
            media.video.restart_at_key();
        }
    }

    /// Takes the next live unit of a layer.
    pub fn on_unit(
        &mut self,
        now: Instant,
        layer: usize,
        unit: &Arc<AccessUnit>,
        out: &mut Outbox,
    ) -> Option<Event> {
        let peer = self.transport.peer()?;
        closed_by(self.media.as_mut()?.video.on_unit(now, layer, unit, peer, out))
    }

    /// Takes the next live unit of sound.
    pub fn on_audio(&mut self, unit: &AccessUnit, out: &mut Outbox) -> Option<Event> {
        if self.is_paused {
            return None;
        }
        let peer = self.transport.peer()?;
        let audio = self.media.as_mut()?.audio.as_mut()?;
        closed_by(audio.on_unit(unit, peer, out))
    }

    /// What the viewer wants to see from now on.
    pub fn set_wish(&mut self, wish: LayerChoice) {
        if self.wish != wish {
            self.wish = wish;
            self.path.try_anew();
        }
    }

    /// Stops or goes on; going on needs [`Self::begin`].
    pub fn set_paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
        if is_paused && let Some(media) = &mut self.media {
            media.video.pause();
        }
    }

    /// Whether the viewer asked for a pause.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// The layer to send, of those there are now, best first; the video goes over to it by itself, with
    /// its next unit. `None` when there is none.
    pub fn choose_layer(&mut self, now: Instant, layers: &[LayerInfo]) -> Option<usize> {
        let sent = self.layers().map(|(layer, _)| layer);
        let sent_bps = layers.iter().find(|layer| Some(layer.index) == sent);
        let sent_bps = if self.is_paused { 0 } else { sent_bps.map_or(0, |l| l.bitrate_bps) };
        let ceiling_bps = self.path.ceiling_bps(now, sent_bps);
        let chosen = layer_choice::choose(layers, &self.wish, ceiling_bps)?;
        if let Some(media) = &mut self.media {
            media.video.switch_to(chosen);
        }
        Some(chosen)
    }

    /// Lets time pass: handshake retransmissions, the pace of a burst, time-outs.
    pub fn on_timer(&mut self, now: Instant, out: &mut Outbox) -> Option<Event> {
        if let Some(event) = self.transport.on_timer(now, out) {
            return self.on_transport(now, event);
        }
        let peer = self.transport.peer()?;
        closed_by(self.media.as_mut()?.video.send_burst(now, peer, out))
    }

    /// When [`Self::on_timer`] is wanted next, at the latest.
    pub fn next_timeout(&self) -> Instant {
        let burst = self.media.as_ref().and_then(|media| media.video.next_timeout());
        burst.into_iter().fold(self.transport.next_timeout(), Instant::min)
    }

    /// Whether [`Self::next_timeout`] may be less than a second away.
    pub fn is_restless(&self) -> bool {
        match &self.media {
            Some(media) => media.video.next_timeout().is_some(),
            None => true,
        }
    }

    /// Sends the reports of a second, and lets go of what has become too old to be sent again.
    pub fn send_reports(&mut self, now: Instant, out: &mut Outbox) -> Option<Event> {
        let peer = self.transport.peer()?;
        let media = self.media.as_mut()?;
        media.video.forget_old(now);
        let mut compound = Vec::with_capacity(128);
        let audio = media.audio.as_ref().and_then(|audio| audio.report(now));
        for info in [media.video.report(now), audio].into_iter().flatten() {
            rtcp::write_sender_report(&info, &[], &mut compound);
            rtcp::write_cname(info.ssrc, CNAME, &mut compound);
        }
        if compound.is_empty() {
            return None;
        }
        if let Some((receiver, last_reference, at)) = self.reference.take() {
            let ssrc = media.video.ssrc();
            let delay = now.saturating_duration_since(at);
            rtcp::write_delay_since_reference(ssrc, receiver, last_reference, delay, &mut compound);
        }
        closed_by(out.push(peer, |buffer| media.rtcp_sender.seal(&compound, buffer)))
    }

    /// What the video's sender has done.
    pub fn counters(&self) -> Counters {
        self.media.as_ref().map(|media| media.video.counters()).unwrap_or_default()
    }

    /// What the viewer's reports say of its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From the last report that could tell.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Says goodbye to the peer (DTLS close_notify).
    pub fn close(&mut self, out: &mut Outbox) {
        self.transport.close(out);
    }
}

fn closed_by(sent: Result<(), SrtpError>) -> Option<Event> {
    sent.err().map(|_| Event::Closed(CloseReason::SrtpFailed))
}

#[cfg(test)]
mod tests;
