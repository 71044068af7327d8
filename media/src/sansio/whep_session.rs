//! One viewer: ICE-lite, DTLS server and RTP sender in one pure state machine.
//!
//! Must not: own a socket, look up cameras, or read a clock. Datagrams, access units and the time go in;
//! datagrams and events come out.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

pub use super::transport::CloseReason;
use super::{
    access_unit::AccessUnit,
    dtls::{DtlsEvent, DtlsServer, Identity},
    outbox::Outbox,
    srtp::{DtlsRole, MasterKeys, RtcpReceiver, RtpFields, RtpSender, SrtpError},
    stun::{self, BindingRequest, IntegrityKey},
};

/// A session whose peer has not connected by then is closed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Without an authenticated check for this long the peer's consent is gone (RFC 7675 §5.1).
const CONSENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Pace of the first burst, in bytes per second: fast enough to show a picture at once, slow enough
/// for a browser's receive buffer.
const BURST_BYTES_PER_SEC: u64 = 25_000_000;
const BURST_TICK: Duration = Duration::from_millis(2);
/// Live frames that came while the first burst went out; more mean that it never catches up.
const MAX_WAITING_UNITS: usize = 1024;
/// Spacing of replayed frames: 1 ms, so that the decoder runs through them without waiting.
const REPLAY_STEP_90K: u32 = 90;

/// What signalling settled for a session.
#[derive(Debug, Clone)]
pub struct SessionParameters {
    /// Our ICE user fragment.
    pub local_ufrag: String,
    /// Our ICE password.
    pub local_pwd: String,
    /// The peer's ICE user fragment.
    pub remote_ufrag: String,
    /// SHA-256 of the peer's certificate, from its SDP.
    pub remote_fingerprint: [u8; 32],
    /// RTP payload type.
    pub payload_type: u8,
    /// SSRC of the video.
    pub ssrc: u32,
    /// Random offset of RTP timestamps (RFC 3550 §5.1).
    pub timestamp_offset: u32,
}

/// What a call brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Media may flow: call [`WhepSession::start`].
    Connected,
    /// The session is over; drop it.
    Closed(CloseReason),
}

/// See the module.
#[derive(Debug)]
pub struct WhepSession {
    parameters: SessionParameters,
    integrity: IntegrityKey,
    dtls: DtlsServer,
    peer: Option<SocketAddr>,
    created_at: Instant,
    last_consent: Instant,
    verified_fingerprint: bool,
    srtp: Option<Srtp>,
    is_connected: bool,
    sender: Sender,
}

#[derive(Debug)]
struct Srtp {
    rtp: RtpSender,
    rtcp: RtcpReceiver,
}

/// What is sent next.
#[derive(Debug)]
enum Sender {
    /// Not started.
    Idle,
    /// Started without a key frame at hand.
    AwaitingKey,
    /// Catching up from the newest key frame, paced.
    Burst { queue: VecDeque<(Arc<AccessUnit>, u32)>, max_units: usize, sent_until: Instant },
    /// Each unit goes out as it comes.
    Live,
}

impl WhepSession {
    /// A session that waits for its peer.
    pub fn new(parameters: SessionParameters, identity: &Identity, now: Instant) -> Self {
        Self {
            integrity: IntegrityKey::new(&parameters.local_pwd),
            parameters,
            dtls: DtlsServer::new(identity, now),
            peer: None,
            created_at: now,
            last_consent: now,
            verified_fingerprint: false,
            srtp: None,
            is_connected: false,
            sender: Sender::Idle,
        }
    }

    /// Where the peer is, once known.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Our ICE user fragment.
    pub fn local_ufrag(&self) -> &str {
        &self.parameters.local_ufrag
    }

    /// Takes a datagram that was found to be for this session.
    pub fn on_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) -> Option<Event> {
        if stun::is_stun(datagram) {
            self.on_stun(now, from, datagram, out);
            return None;
        }
        // Only addresses that passed an authenticated check get further.
        if self.peer != Some(from) {
            return None;
        }
        match datagram.first() {
            Some(20..=63) => {
                if self.dtls.on_datagram(now, datagram).is_err() {
                    return Some(Event::Closed(CloseReason::DtlsFailed));
                }
                self.poll_dtls(out)
            }
            Some(128..=191) => {
                if let Some(srtp) = &mut self.srtp {
                    // Receiver reports are read (and authenticated) but not acted upon yet.
                    let _ = srtp.rtcp.open(datagram);
                }
                None
            }
            _ => None,
        }
    }

    fn on_stun(&mut self, now: Instant, from: SocketAddr, datagram: &[u8], out: &mut Outbox) {
        let Ok(request) = BindingRequest::parse(datagram) else { return };
        let is_ours = request.local_ufrag() == self.parameters.local_ufrag
            && request.remote_ufrag() == self.parameters.remote_ufrag
            && request.authenticate(&self.integrity).is_ok();
        if !is_ours {
            return;
        }
        self.last_consent = now;
        if request.use_candidate || self.peer.is_none() {
            self.peer = Some(from);
        }
        let written = out.push(from, |buffer| {
            request.write_success(from, &self.integrity, buffer);
            Ok::<_, std::convert::Infallible>(())
        });
        match written {
            Ok(()) => {}
            Err(never) => match never {},
        }
    }

    fn poll_dtls(&mut self, out: &mut Outbox) -> Option<Event> {
        let peer = self.peer?;
        let events = self.dtls.poll(|datagram| {
            let written = out.push(peer, |buffer| {
                buffer.extend_from_slice(datagram);
                Ok::<_, std::convert::Infallible>(())
            });
            match written {
                Ok(()) => {}
                Err(never) => match never {},
            }
        });
        for event in events {
            let closed = match event {
                DtlsEvent::PeerFingerprint(digest) => {
                    self.verified_fingerprint = digest == self.parameters.remote_fingerprint;
                    (!self.verified_fingerprint).then_some(CloseReason::FingerprintMismatch)
                }
                DtlsEvent::Keys(profile, exported) => {
                    let keys = MasterKeys::split(profile, &exported, DtlsRole::Server);
                    let srtp = keys.and_then(|keys| {
                        let mut endpoint = keys.into_endpoint()?;
                        Ok(Srtp {
                            rtp: endpoint.rtp_senders.sender(self.parameters.ssrc, 0)?,
                            rtcp: endpoint.rtcp_receiver,
                        })
                    });
                    match srtp {
                        Ok(srtp) => {
                            // Keys are set once; a second export must not rewind the packet index.
                            self.srtp.get_or_insert(srtp);
                            None
                        }
                        Err(_) => Some(CloseReason::SrtpFailed),
                    }
                }
                DtlsEvent::UnsupportedProfile => Some(CloseReason::NoAeadProfile),
                DtlsEvent::Connected => {
                    self.is_connected = true;
                    None
                }
                DtlsEvent::Closed => Some(CloseReason::PeerClosed),
            };
            if let Some(reason) = closed {
                return Some(Event::Closed(reason));
            }
        }
        let is_ready = self.is_connected && self.verified_fingerprint && self.srtp.is_some();
        (is_ready && matches!(self.sender, Sender::Idle)).then(|| {
            self.sender = Sender::AwaitingKey;
            Event::Connected
        })
    }

    /// Begins to send: `gop` holds the units from the newest key frame to just before the next live
    /// one, or nothing when there is no key frame yet.
    ///
    /// The last replayed unit keeps its time; those before it are 1 ms apart, so that a decoder runs
    /// through them at once instead of playing the past in slow motion.
    pub fn start(&mut self, now: Instant, gop: &[Arc<AccessUnit>]) {
        let Some(last) = gop.last() else {
            self.sender = Sender::AwaitingKey;
            return;
        };
        let last_timestamp = self.timestamp(last);
        let queue = gop
            .iter()
            .enumerate()
            .map(|(index, unit)| {
                let remaining = (gop.len() - 1 - index) as u32;
                (unit.clone(), last_timestamp.wrapping_sub(remaining.wrapping_mul(REPLAY_STEP_90K)))
            })
            .collect();
        let max_units = gop.len() + MAX_WAITING_UNITS;
        self.sender = Sender::Burst { queue, max_units, sent_until: now };
    }

    /// Units were skipped: what follows cannot be decoded before the next key frame.
    pub fn restart_at_key(&mut self) {
        if !matches!(self.sender, Sender::Idle) {
            self.sender = Sender::AwaitingKey;
        }
    }

    fn timestamp(&self, unit: &AccessUnit) -> u32 {
        (unit.time as u32).wrapping_add(self.parameters.timestamp_offset)
    }

    /// Takes the next live unit of the camera.
    pub fn on_unit(
        &mut self,
        now: Instant,
        unit: &Arc<AccessUnit>,
        out: &mut Outbox,
    ) -> Option<Event> {
        let timestamp = self.timestamp(unit);
        match &mut self.sender {
            Sender::Idle => None,
            Sender::AwaitingKey if !unit.is_key => None,
            Sender::AwaitingKey => {
                self.sender = Sender::Live;
                self.send_unit(unit, timestamp, out)
            }
            Sender::Burst { queue, max_units, .. } => {
                if queue.len() >= *max_units {
                    self.sender = Sender::AwaitingKey;
                    return None;
                }
                queue.push_back((unit.clone(), timestamp));
                self.send_burst(now, out)
            }
            Sender::Live => self.send_unit(unit, timestamp, out),
        }
    }

    fn send_burst(&mut self, now: Instant, out: &mut Outbox) -> Option<Event> {
        loop {
            let Sender::Burst { queue, sent_until, .. } = &mut self.sender else { return None };
            // Time that passed unused is not made up for by a larger burst.
            *sent_until = (*sent_until).max(now.checked_sub(BURST_TICK).unwrap_or(now));
            if *sent_until > now {
                return None;
            }
            let Some((unit, timestamp)) = queue.pop_front() else {
                self.sender = Sender::Live;
                return None;
            };
            let nanos = unit.len_bytes() as u64 * 1_000_000_000 / BURST_BYTES_PER_SEC;
            *sent_until += Duration::from_nanos(nanos);
            if let Some(event) = self.send_unit(&unit, timestamp, out) {
                return Some(event);
            }
        }
    }

    fn send_unit(&mut self, unit: &AccessUnit, timestamp: u32, out: &mut Outbox) -> Option<Event> {
        let (peer, srtp) = (self.peer?, self.srtp.as_mut()?);
        let last = unit.payloads.len().saturating_sub(1);
        for (index, payload) in unit.payloads.iter().enumerate() {
            let sealed = out.push(peer, |buffer| {
                let payload_type = self.parameters.payload_type;
                let fields = RtpFields { payload_type, marker: index == last, timestamp };
                srtp.rtp.seal(fields, &[], &[payload], buffer).map(|_| ())
            });
            match sealed {
                Ok(()) => {}
                Err(SrtpError::KeyExhausted | SrtpError::Cipher) | Err(_) => {
                    return Some(Event::Closed(CloseReason::SrtpFailed));
                }
            }
        }
        None
    }

    /// Lets time pass: handshake retransmissions, the first burst's pace, time-outs.
    pub fn on_timer(&mut self, now: Instant, out: &mut Outbox) -> Option<Event> {
        if !self.is_connected && now >= self.created_at + CONNECT_TIMEOUT {
            return Some(Event::Closed(CloseReason::NeverConnected));
        }
        if now >= self.last_consent + CONSENT_TIMEOUT {
            return Some(Event::Closed(CloseReason::ConsentLost));
        }
        if self.dtls.next_timeout().is_some_and(|at| at <= now) {
            if self.dtls.on_timer(now).is_err() {
                return Some(Event::Closed(CloseReason::DtlsFailed));
            }
            if let Some(event) = self.poll_dtls(out) {
                return Some(event);
            }
        }
        self.send_burst(now, out)
    }

    /// When [`Self::on_timer`] is wanted next, at the latest.
    pub fn next_timeout(&self) -> Instant {
        let liveness = if self.is_connected {
            self.last_consent + CONSENT_TIMEOUT
        } else {
            (self.created_at + CONNECT_TIMEOUT).min(self.last_consent + CONSENT_TIMEOUT)
        };
        let burst = match &self.sender {
            Sender::Burst { sent_until, .. } => Some(*sent_until),
            _ => None,
        };
        [burst, self.dtls.next_timeout()].into_iter().flatten().fold(liveness, Instant::min)
    }

    /// Says goodbye to the peer (DTLS close_notify).
    pub fn close(&mut self, out: &mut Outbox) {
        self.dtls.close();
        // Events no longer matter: the session is being dropped.
        let _ = self.poll_dtls(out);
    }
}

#[cfg(test)]
mod tests {
    use dimpl::{Dtls, DtlsCertificate, Output, SrtpProfile};

    use super::*;
    use crate::sansio::{
        rtp,
        srtp::{Endpoint, Profile},
    };

    const SERVER_UFRAG: &str = "serverfr";
    const SERVER_PWD: &str = "server-password-24-chars";

    /// A browser in memory: ICE checks, DTLS client, SRTP receiver.
    struct Player {
        address: SocketAddr,
        dtls: Dtls,
        srtp: Option<Endpoint>,
        received: Vec<(rtp::Header, Vec<u8>)>,
        checks_answered: u32,
        closed: bool,
    }

    impl Player {
        fn new(certificate: DtlsCertificate, now: Instant) -> Self {
            let mut dtls = Dtls::new_12(Arc::new(dimpl::Config::default()), certificate, now);
            dtls.set_active(true);
            Self {
                address: "127.0.0.1:4000".parse().unwrap(),
                dtls,
                srtp: None,
                received: Vec::new(),
                checks_answered: 0,
                closed: false,
            }
        }

        fn check(&self, password: &str) -> Vec<u8> {
            let mut datagram = Vec::new();
            let key = IntegrityKey::new(password);
            let username = format!("{SERVER_UFRAG}:peer");
            stun::write_binding_request(&username, [9; 12], &key, &mut datagram);
            datagram
        }

        fn take(&mut self, now: Instant, datagram: &[u8]) {
            match datagram[0] {
                0..=3 => self.checks_answered += 1,
                20..=63 => {
                    self.dtls.handle_timeout(now).unwrap();
                    self.dtls.handle_packet(datagram).unwrap();
                }
                _ => {
                    let srtp = self.srtp.as_mut().expect("media after keys");
                    let mut datagram = datagram.to_vec();
                    let opened = srtp.rtp_receiver.open(&mut datagram).expect("authentic SRTP");
                    let packet = rtp::Packet::parse(opened).expect("RTP");
                    self.received.push((packet.header, packet.payload.to_vec()));
                }
            }
        }

        fn poll(&mut self) -> Vec<Vec<u8>> {
            let mut buffer = vec![0; 4096];
            let mut datagrams = Vec::new();
            loop {
                match self.dtls.poll_output(&mut buffer) {
                    Output::Packet(datagram) => datagrams.push(datagram.to_vec()),
                    Output::Timeout(_) => return datagrams,
                    Output::KeyingMaterial(material, SrtpProfile::AEAD_AES_256_GCM) => {
                        let profile = Profile::Aes256Gcm;
                        let keys = MasterKeys::split(profile, &material, DtlsRole::Client).unwrap();
                        self.srtp = Some(keys.into_endpoint().unwrap());
                    }
                    Output::CloseNotify => self.closed = true,
                    _ => {}
                }
            }
        }
    }

    struct Link {
        session: WhepSession,
        player: Player,
        now: Instant,
        outbox: Outbox,
        events: Vec<Event>,
        /// Every how many datagrams one is lost; 0 is never.
        lose_every: usize,
        carried: usize,
    }

    impl Link {
        fn new(lose_every: usize) -> Self {
            Self::with_fingerprint(lose_every, None)
        }

        fn with_fingerprint(lose_every: usize, fingerprint: Option<[u8; 32]>) -> Self {
            let now = Instant::now();
            let certificate = dimpl::certificate::generate_self_signed_certificate().unwrap();
            let parameters = SessionParameters {
                local_ufrag: SERVER_UFRAG.into(),
                local_pwd: SERVER_PWD.into(),
                remote_ufrag: "peer".into(),
                remote_fingerprint: fingerprint
                    .unwrap_or_else(|| certificate.fingerprint().try_into().unwrap()),
                payload_type: 102,
                ssrc: 0xfeed,
                timestamp_offset: u32::MAX - 1000,
            };
            let session = WhepSession::new(parameters, &Identity::generate().unwrap(), now);
            let player = Player::new(certificate, now);
            Self {
                session,
                player,
                now,
                outbox: Outbox::default(),
                events: vec![],
                lose_every,
                carried: 0,
            }
        }

        fn is_lost(&mut self) -> bool {
            self.carried += 1;
            self.lose_every != 0 && self.carried.is_multiple_of(self.lose_every)
        }

        fn deliver(&mut self) {
            let datagrams: Vec<_> = self.outbox.datagrams().map(|(_, d)| d.to_vec()).collect();
            self.outbox.clear();
            for datagram in datagrams {
                if !self.is_lost() {
                    self.player.take(self.now, &datagram);
                }
            }
        }

        fn send(&mut self, mut datagram: Vec<u8>) {
            if !self.is_lost() {
                let from = self.player.address;
                let event =
                    self.session.on_datagram(self.now, from, &mut datagram, &mut self.outbox);
                self.events.extend(event);
            }
        }

        /// Lets 50 ms pass on both sides.
        fn step(&mut self) {
            self.now += Duration::from_millis(50);
            let event = self.session.on_timer(self.now, &mut self.outbox);
            self.events.extend(event);
            self.deliver();
            self.player.dtls.handle_timeout(self.now).unwrap();
            for datagram in self.player.poll() {
                self.send(datagram);
                self.deliver();
            }
        }

        fn connect(&mut self) {
            for _ in 0..300 {
                if self.player.checks_answered == 0 {
                    let check = self.player.check(SERVER_PWD);
                    self.send(check);
                }
                self.deliver();
                self.step();
                if !self.events.is_empty() {
                    break;
                }
            }
            // The server's last flight may still be on its way to the player.
            for _ in 0..100 {
                if self.player.srtp.is_none() {
                    self.step();
                }
            }
        }

        fn publish(&mut self, unit: &Arc<AccessUnit>) {
            let event = self.session.on_unit(self.now, unit, &mut self.outbox);
            self.events.extend(event);
            self.deliver();
        }
    }

    fn unit(time_90k: u64, is_key: bool) -> Arc<AccessUnit> {
        let payloads = vec![vec![0x67, 1].into(), vec![0x65; 40].into()];
        Arc::new(AccessUnit { time: time_90k, is_key, payloads, arrived_at: Instant::now() })
    }

    #[test]
    fn a_player_connects_and_the_gop_comes_first_with_squeezed_timestamps() {
        let mut link = Link::new(0);
        link.connect();
        assert_eq!(link.events, [Event::Connected]);
        let gop: Vec<_> = (0..4).map(|n| unit(90_000 + n * 3_000, n == 0)).collect();
        link.session.start(link.now, &gop);
        link.publish(&unit(102_000, false));
        for _ in 0..5 {
            link.step();
        }
        link.publish(&unit(105_000, false));

        let received = &link.player.received;
        assert_eq!(received.len(), 6 * 2);
        let timestamps: Vec<u32> = received
            .iter()
            .step_by(2)
            .map(|(header, _)| header.timestamp.wrapping_sub(u32::MAX - 1000))
            .collect();
        assert_eq!(timestamps, [99_000 - 270, 99_000 - 180, 99_000 - 90, 99_000, 102_000, 105_000]);
        for (n, (packet, _)) in received.iter().enumerate() {
            assert_eq!((packet.payload_type, packet.ssrc), (102, 0xfeed));
            assert_eq!(packet.marker, n % 2 == 1, "the marker bit ends each access unit");
            assert_eq!(packet.sequence_number, n as u16, "sequence numbers have no gap");
        }
        assert_eq!(received[1].1, vec![0x65; 40]);
    }

    #[test]
    fn a_player_connects_over_a_link_that_loses_every_fourth_datagram() {
        let mut link = Link::new(4);
        link.connect();
        assert_eq!(link.events, [Event::Connected]);
        assert!(link.player.srtp.is_some());
    }

    #[test]
    fn nothing_is_sent_before_a_key_frame() {
        let mut link = Link::new(0);
        link.connect();
        link.session.start(link.now, &[]);
        link.publish(&unit(0, false));
        assert!(link.player.received.is_empty());
        link.publish(&unit(3_000, true));
        assert_eq!(link.player.received.len(), 2);
    }

    #[test]
    fn after_skipped_units_a_viewer_goes_on_at_the_next_key_frame() {
        let mut link = Link::new(0);
        link.connect();
        link.session.start(link.now, &[unit(0, true)]);
        for _ in 0..3 {
            link.step();
        }
        assert_eq!(link.player.received.len(), 2);
        link.session.restart_at_key();
        link.publish(&unit(3_000, false));
        assert_eq!(link.player.received.len(), 2);
        link.publish(&unit(6_000, true));
        assert_eq!(link.player.received.len(), 4);
    }

    #[test]
    fn a_long_gop_is_replayed_whole() {
        let mut link = Link::new(0);
        link.connect();
        let gop: Vec<_> = (0..2_000).map(|n| unit(n * 3_000, n == 0)).collect();
        link.session.start(link.now, &gop);
        link.publish(&unit(2_000 * 3_000, false));
        for _ in 0..40 {
            link.step();
        }
        assert_eq!(link.player.received.len(), 2_001 * 2);
    }

    #[test]
    fn a_check_with_a_wrong_password_is_not_answered() {
        let mut link = Link::new(0);
        let check = link.player.check("a wrong password, 24 long");
        link.send(check);
        assert!(link.outbox.is_empty());
        assert_eq!(link.session.peer(), None);
    }

    #[test]
    fn a_certificate_that_is_not_the_offers_ends_the_session() {
        let mut link = Link::with_fingerprint(0, Some([0; 32]));
        link.connect();
        assert_eq!(link.events, [Event::Closed(CloseReason::FingerprintMismatch)]);
    }

    #[test]
    fn a_peer_that_never_comes_and_one_that_goes_silent_are_closed() {
        let mut link = Link::new(0);
        link.now += CONNECT_TIMEOUT;
        link.step();
        assert_eq!(link.events, [Event::Closed(CloseReason::NeverConnected)]);

        let mut link = Link::new(0);
        link.connect();
        link.now += CONSENT_TIMEOUT;
        link.step();
        assert_eq!(link.events.last(), Some(&Event::Closed(CloseReason::ConsentLost)));
    }

    #[test]
    fn datagrams_from_an_unchecked_address_are_ignored() {
        let mut link = Link::new(0);
        link.connect();
        let stranger = "127.0.0.1:9".parse().unwrap();
        for first in [22, 128] {
            let mut datagram = vec![first; 60];
            let event =
                link.session.on_datagram(link.now, stranger, &mut datagram, &mut link.outbox);
            assert_eq!(event, None);
        }
        assert!(link.outbox.is_empty());
    }

    #[test]
    fn closing_tells_the_player() {
        let mut link = Link::new(0);
        link.connect();
        link.session.close(&mut link.outbox);
        link.deliver();
        link.player.poll();
        assert!(link.player.closed);
    }
}
