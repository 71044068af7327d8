//! One peer's connection: ICE-lite, DTLS, SRTP keys and consent, for senders and receivers alike.
//!
//! Must not: know what the media is. Media of the connected peer is left to the session that owns this.
//!
//! Source: RFC 8445 §6.1.1 (lite), RFC 8842 §5 (DTLS), RFC 7675 (consent).

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use super::{
    dtls::{DtlsEvent, DtlsServer, Identity},
    outbox::Outbox,
    srtp::{DtlsRole, Endpoint, MasterKeys},
    stun::{self, BindingRequest, IntegrityKey},
    transport_address::TransportAddress,
};

/// A peer that has not connected by then is given up.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Without an authenticated check for this long the peer's consent is gone (RFC 7675 §5.1).
pub const CONSENT_TIMEOUT: Duration = Duration::from_secs(30);

/// What signalling settled for a connection.
#[derive(Debug, Clone)]
pub struct TransportParameters {
    /// Of the first ICE session.
    pub ice: IceCredentials,
    /// SHA-256 of the peer's certificate, from its SDP. An ICE restart does not change it.
    pub remote_fingerprint: [u8; 32],
}

/// User fragments and password of one ICE session.
#[derive(Debug, Clone)]
pub struct IceCredentials {
    /// Our user fragment.
    pub local_ufrag: String,
    /// Our password.
    pub local_pwd: String,
    /// The peer's user fragment.
    pub remote_ufrag: String,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The peer deleted its session.
    #[error("deleted by the peer")]
    Deleted,
    /// DTLS close_notify, or RTCP BYE for all that a publisher sends.
    #[error("closed by the peer")]
    PeerClosed,
    /// No connection in time.
    #[error("the peer did not connect")]
    NeverConnected,
    /// No more ICE checks.
    #[error("the peer is gone (no consent)")]
    ConsentLost,
    /// A publisher is connected but sends nothing.
    #[error("the publisher sends no media")]
    NoMedia,
    /// The certificate is not the one of the SDP.
    #[error("the peer's certificate does not match its offer")]
    FingerprintMismatch,
    /// The handshake failed.
    #[error("the DTLS handshake failed")]
    DtlsFailed,
    /// No SRTP profile in common.
    #[error("the peer offers no SRTP profile that is known")]
    NoSrtpProfile,
    /// SRTP cannot go on.
    #[error("SRTP cannot go on")]
    SrtpFailed,
    /// What was agreed on with the viewer is not what the camera sends any more.
    #[error("the camera has another codec now")]
    CodecChanged,
    /// The server is stopping or the camera was removed.
    #[error("the server ended the session")]
    ServerClosed,
}

/// What has become of the connection.
#[derive(Debug)]
pub enum TransportEvent {
    /// Media may flow, sealed and opened with this. Comes once, so that no key is set up twice.
    Connected(Box<Endpoint>),
    /// It is over; nothing else comes.
    Closed(CloseReason),
}

/// What a datagram was.
#[derive(Debug)]
pub enum TransportInput {
    /// Taken, or not worth anything.
    Consumed,
    /// Taken, and it brought something about.
    Event(TransportEvent),
    /// SRTP or SRTCP from the peer's address, not opened yet: for the session. May come before
    /// [`TransportEvent::Connected`].
    Media,
}

/// See the module.
#[derive(Debug)]
pub struct Transport {
    ice: IceAgent,
    /// What an ICE restart agreed on, until the peer uses it.
    restarted: Option<IceAgent>,
    remote_fingerprint: [u8; 32],
    role: DtlsRole,
    dtls: DtlsServer,
    peer: Option<TransportAddress>,
    created_at: Instant,
    last_consent: Instant,
    is_verified: bool,
    is_handshake_done: bool,
    endpoint: Option<Box<Endpoint>>,
    has_keys: bool,
    is_connected: bool,
}

#[derive(Debug)]
struct IceAgent {
    credentials: IceCredentials,
    integrity: IntegrityKey,
}

impl IceAgent {
    fn new(credentials: IceCredentials) -> Self {
        Self { integrity: IntegrityKey::new(&credentials.local_pwd), credentials }
    }

    fn accepts(&self, request: &BindingRequest<'_>) -> bool {
        request.local_ufrag() == self.credentials.local_ufrag
            && request.remote_ufrag() == self.credentials.remote_ufrag
            && request.authenticate(&self.integrity).is_ok()
    }
}

impl Transport {
    /// A connection that waits for its peer. As the DTLS client we begin the handshake once the peer's
    /// address is known.
    pub fn with_role(
        parameters: TransportParameters,
        role: DtlsRole,
        identity: &Identity,
        now: Instant,
    ) -> Self {
        let dtls = match role {
            DtlsRole::Server => DtlsServer::new(identity, now),
            DtlsRole::Client => DtlsServer::client(identity, now),
        };
        Self {
            ice: IceAgent::new(parameters.ice),
            restarted: None,
            remote_fingerprint: parameters.remote_fingerprint,
            role,
            dtls,
            peer: None,
            created_at: now,
            last_consent: now,
            is_verified: false,
            is_handshake_done: false,
            endpoint: None,
            has_keys: false,
            is_connected: false,
        }
    }

    /// Where the peer is, once known; changes when it nominates another pair.
    pub fn peer(&self) -> Option<TransportAddress> {
        self.peer
    }

    /// Whether [`TransportEvent::Connected`] has come.
    pub fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Our ICE user fragments by which checks may come: that in use, and that of a restart under way.
    pub fn local_ufrags(&self) -> impl Iterator<Item = &str> {
        let agents = [Some(&self.ice), self.restarted.as_ref()];
        agents.into_iter().flatten().map(|agent| agent.credentials.local_ufrag.as_str())
    }

    /// Our ICE user fragment of the newest ICE session.
    pub fn local_ufrag(&self) -> &str {
        &self.restarted.as_ref().unwrap_or(&self.ice).credentials.local_ufrag
    }

    /// Accepts checks with new credentials from now on. The old ones stay good until the peer has used
    /// the new, so that a restart that fails ends nothing; DTLS and SRTP go on as they are.
    ///
    /// Source: RFC 8445 §9, RFC 9725 §4.3.3.
    pub fn restart_ice(&mut self, credentials: IceCredentials) {
        self.restarted = Some(IceAgent::new(credentials));
    }

    /// Media of the peer was found authentic: it is there, although it may send no checks.
    ///
    /// For sessions that receive: what they send back is little, and some publishers check only once.
    pub fn heard_from_peer(&mut self, now: Instant) {
        self.last_consent = now;
    }

    /// Takes a datagram that was found to be for this connection.
    pub fn on_datagram(
        &mut self,
        now: Instant,
        from: TransportAddress,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) -> TransportInput {
        if stun::is_stun(datagram) {
            self.on_stun(now, from, datagram, out);
            return TransportInput::Consumed;
        }
        // Only addresses that passed an authenticated check get further.
        if self.peer != Some(from) {
            return TransportInput::Consumed;
        }
        // RFC 7983 §7.
        match datagram.first() {
            Some(20..=63) => {
                if self.dtls.on_datagram(now, datagram).is_err() {
                    return TransportInput::Event(TransportEvent::Closed(CloseReason::DtlsFailed));
                }
                self.poll_dtls(out).map_or(TransportInput::Consumed, TransportInput::Event)
            }
            Some(128..=191) => TransportInput::Media,
            _ => TransportInput::Consumed,
        }
    }

    fn on_stun(&mut self, now: Instant, from: TransportAddress, datagram: &[u8], out: &mut Outbox) {
        let Ok(request) = BindingRequest::parse(datagram) else { return };
        if let Some(agent) = self.restarted.take_if(|agent| agent.accepts(&request)) {
            self.ice = agent;
        } else if !self.ice.accepts(&request) {
            return;
        }
        self.last_consent = now;
        let is_first = self.peer.is_none();
        if request.use_candidate || is_first {
            self.peer = Some(from);
        }
        push(out, from, |buffer| request.write_success(from.socket(), &self.ice.integrity, buffer));
        if is_first && self.role == DtlsRole::Client {
            // A failure comes again with the first timer; before an answer there are no events.
            let _ = self.dtls.on_timer(now);
            let _ = self.poll_dtls(out);
        }
    }

    fn poll_dtls(&mut self, out: &mut Outbox) -> Option<TransportEvent> {
        let peer = self.peer?;
        let events =
            self.dtls.poll(|datagram| push(out, peer, |buffer| buffer.extend_from_slice(datagram)));
        for event in events {
            let closed = match event {
                DtlsEvent::PeerFingerprint(digest) => {
                    self.is_verified = digest == self.remote_fingerprint;
                    (!self.is_verified).then_some(CloseReason::FingerprintMismatch)
                }
                // Keys are set once; a second export must not rewind the packet index.
                DtlsEvent::Keys(..) if self.has_keys => None,
                DtlsEvent::Keys(profile, exported) => {
                    let keys = MasterKeys::split(profile, &exported, self.role);
                    match keys.and_then(MasterKeys::into_endpoint) {
                        Ok(endpoint) => {
                            self.endpoint = Some(Box::new(endpoint));
                            self.has_keys = true;
                            None
                        }
                        Err(_) => Some(CloseReason::SrtpFailed),
                    }
                }
                DtlsEvent::UnsupportedProfile => Some(CloseReason::NoSrtpProfile),
                DtlsEvent::Connected => {
                    self.is_handshake_done = true;
                    None
                }
                DtlsEvent::Closed => Some(CloseReason::PeerClosed),
            };
            if let Some(reason) = closed {
                return Some(TransportEvent::Closed(reason));
            }
        }
        if !self.is_handshake_done || !self.is_verified {
            return None;
        }
        let endpoint = self.endpoint.take()?;
        self.is_connected = true;
        Some(TransportEvent::Connected(endpoint))
    }

    /// Lets time pass: handshake retransmissions and time-outs.
    pub fn on_timer(&mut self, now: Instant, out: &mut Outbox) -> Option<TransportEvent> {
        if !self.is_connected && now >= self.created_at + CONNECT_TIMEOUT {
            return Some(TransportEvent::Closed(CloseReason::NeverConnected));
        }
        if now >= self.last_consent + CONSENT_TIMEOUT {
            return Some(TransportEvent::Closed(CloseReason::ConsentLost));
        }
        if self.dtls.next_timeout().is_none_or(|at| at > now) {
            return None;
        }
        if self.dtls.on_timer(now).is_err() {
            return Some(TransportEvent::Closed(CloseReason::DtlsFailed));
        }
        self.poll_dtls(out)
    }

    /// When [`Self::on_timer`] is wanted next, at the latest.
    pub fn next_timeout(&self) -> Instant {
        let consent = self.last_consent + CONSENT_TIMEOUT;
        let connect = (!self.is_connected).then_some(self.created_at + CONNECT_TIMEOUT);
        [connect, self.dtls.next_timeout()].into_iter().flatten().fold(consent, Instant::min)
    }

    /// Says goodbye to the peer (DTLS close_notify).
    pub fn close(&mut self, out: &mut Outbox) {
        self.dtls.close();
        // Events no longer matter: the connection is being dropped.
        let _ = self.poll_dtls(out);
    }
}

fn push(out: &mut Outbox, to: TransportAddress, write: impl FnOnce(&mut Vec<u8>)) {
    let written = out.push(to, |buffer| {
        write(buffer);
        Ok::<_, Infallible>(())
    });
    match written {
        Ok(()) => {}
        Err(never) => match never {},
    }
}

/// The other end, in memory.
#[cfg(test)]
pub(crate) mod testing {
    use std::sync::Arc;

    use dimpl::{Dtls, DtlsCertificate, Output, SrtpProfile};

    use super::*;
    use crate::sansio::srtp::Profile;

    pub(crate) fn credentials() -> IceCredentials {
        IceCredentials {
            local_ufrag: "serverfr".into(),
            local_pwd: "server-password-24-chars".into(),
            remote_ufrag: "peer".into(),
        }
    }

    /// A browser's transport: ICE checks and DTLS client.
    pub(crate) struct Client {
        pub(crate) address: TransportAddress,
        pub(crate) credentials: IceCredentials,
        pub(crate) dtls: Dtls,
        pub(crate) srtp: Option<Endpoint>,
        pub(crate) checks_answered: u32,
        pub(crate) is_closed: bool,
        role: DtlsRole,
    }

    impl Client {
        /// A client, and what its offer and our answer settled.
        pub(crate) fn new(now: Instant) -> (Self, TransportParameters) {
            Self::with_role(now, DtlsRole::Client)
        }

        /// The same, with its own role in DTLS.
        pub(crate) fn with_role(now: Instant, role: DtlsRole) -> (Self, TransportParameters) {
            let certificate = dimpl::certificate::generate_self_signed_certificate().unwrap();
            let parameters = TransportParameters {
                ice: credentials(),
                remote_fingerprint: certificate.fingerprint().try_into().unwrap(),
            };
            (Self::with_certificate(certificate, role, now), parameters)
        }

        fn with_certificate(certificate: DtlsCertificate, role: DtlsRole, now: Instant) -> Self {
            let mut dtls = Dtls::new_12(Arc::new(dimpl::Config::default()), certificate, now);
            dtls.set_active(role == DtlsRole::Client);
            Self {
                address: TransportAddress::Udp("127.0.0.1:4000".parse().unwrap()),
                credentials: credentials(),
                dtls,
                srtp: None,
                checks_answered: 0,
                is_closed: false,
                role,
            }
        }

        /// A binding request that nominates its pair.
        pub(crate) fn check(&self) -> Vec<u8> {
            let mut datagram = Vec::new();
            let key = IntegrityKey::new(&self.credentials.local_pwd);
            let IceCredentials { local_ufrag, remote_ufrag, .. } = &self.credentials;
            let username = format!("{local_ufrag}:{remote_ufrag}");
            stun::write_binding_request(&username, [9; 12], &key, &mut datagram);
            datagram
        }

        /// Takes STUN and DTLS; `false` for media.
        pub(crate) fn take(&mut self, now: Instant, datagram: &[u8]) -> bool {
            match datagram[0] {
                0..=3 => self.checks_answered += 1,
                20..=63 => {
                    self.dtls.handle_timeout(now).unwrap();
                    self.dtls.handle_packet(datagram).unwrap();
                }
                _ => return false,
            }
            true
        }

        /// Lets time pass; gives what is to be sent.
        pub(crate) fn poll(&mut self, now: Instant) -> Vec<Vec<u8>> {
            self.dtls.handle_timeout(now).unwrap();
            let mut buffer = vec![0; 4096];
            let mut datagrams = Vec::new();
            loop {
                match self.dtls.poll_output(&mut buffer) {
                    Output::Packet(datagram) => datagrams.push(datagram.to_vec()),
                    Output::Timeout(_) => return datagrams,
                    Output::KeyingMaterial(material, SrtpProfile::AEAD_AES_256_GCM) => {
                        let profile = Profile::Aes256Gcm;
                        let keys = MasterKeys::split(profile, &material, self.role).unwrap();
                        self.srtp = Some(keys.into_endpoint().unwrap());
                    }
                    Output::CloseNotify => self.is_closed = true,
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::Client, *};

    fn udp(port: u16) -> TransportAddress {
        TransportAddress::Udp(([127, 0, 0, 1], port).into())
    }

    struct Link {
        transport: Transport,
        client: Client,
        now: Instant,
        outbox: Outbox,
        endpoint: Option<Box<Endpoint>>,
        closed: Option<CloseReason>,
        media: u32,
        /// Every how many datagrams one is lost; 0 is never.
        lose_every: usize,
        carried: usize,
    }

    impl Link {
        fn new(lose_every: usize, adjust: impl FnOnce(&mut TransportParameters)) -> Self {
            let now = Instant::now();
            let (client, mut parameters) = Client::new(now);
            adjust(&mut parameters);
            Self {
                transport: Transport::with_role(
                    parameters,
                    DtlsRole::Server,
                    &Identity::generate().unwrap(),
                    now,
                ),
                client,
                now,
                outbox: Outbox::default(),
                endpoint: None,
                closed: None,
                media: 0,
                lose_every,
                carried: 0,
            }
        }

        fn connected() -> Self {
            let mut link = Self::new(0, |_| {});
            link.connect();
            assert!(link.endpoint.is_some());
            link
        }

        fn is_lost(&mut self) -> bool {
            self.carried += 1;
            self.lose_every != 0 && self.carried.is_multiple_of(self.lose_every)
        }

        fn note(&mut self, event: TransportEvent) {
            match event {
                TransportEvent::Connected(endpoint) => {
                    assert!(self.endpoint.is_none(), "keys are given once");
                    self.endpoint = Some(endpoint);
                }
                TransportEvent::Closed(reason) => self.closed = Some(reason),
            }
        }

        fn send_from(&mut self, from: TransportAddress, mut datagram: Vec<u8>) {
            if !self.is_lost() {
                let input =
                    self.transport.on_datagram(self.now, from, &mut datagram, &mut self.outbox);
                match input {
                    TransportInput::Consumed => {}
                    TransportInput::Event(event) => self.note(event),
                    TransportInput::Media => self.media += 1,
                }
            }
        }

        fn send(&mut self, datagram: Vec<u8>) {
            self.send_from(self.client.address, datagram);
        }

        fn deliver(&mut self) {
            let datagrams: Vec<_> = self.outbox.datagrams().map(|(_, d)| d.to_vec()).collect();
            self.outbox.clear();
            for datagram in datagrams {
                if !self.is_lost() {
                    self.client.take(self.now, &datagram);
                }
            }
        }

        /// Lets 50 ms pass on both sides.
        fn step(&mut self) {
            self.now += Duration::from_millis(50);
            if let Some(event) = self.transport.on_timer(self.now, &mut self.outbox) {
                self.note(event);
            }
            self.deliver();
            for datagram in self.client.poll(self.now) {
                self.send(datagram);
                self.deliver();
            }
        }

        fn connect(&mut self) {
            for _ in 0..300 {
                if self.client.checks_answered == 0 {
                    self.send(self.client.check());
                }
                self.deliver();
                self.step();
                if self.closed.is_some() || self.endpoint.is_some() && self.client.srtp.is_some() {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_peer_connects_and_both_ends_have_keys() {
        let link = Link::connected();
        assert!(link.client.srtp.is_some() && link.transport.is_connected());
    }

    #[test]
    fn a_peer_connects_over_a_link_that_loses_every_fourth_datagram() {
        let mut link = Link::new(4, |_| {});
        link.connect();
        assert!(link.endpoint.is_some() && link.client.srtp.is_some());
    }

    #[test]
    fn a_peer_that_is_the_dtls_server_gets_a_client_hello_once_it_is_known() {
        for lose_every in [0, 4] {
            let mut link = Link::new(lose_every, |_| {});
            let (client, parameters) = Client::with_role(link.now, DtlsRole::Server);
            let identity = Identity::generate().unwrap();
            link.client = client;
            link.transport =
                Transport::with_role(parameters, DtlsRole::Client, &identity, link.now);
            link.step();
            assert!(link.outbox.is_empty());
            link.connect();
            assert!(link.endpoint.is_some() && link.client.srtp.is_some(), "{:?}", link.closed);
        }
    }

    #[test]
    fn media_that_is_heard_keeps_a_connection_without_checks() {
        let mut link = Link::connected();
        for _ in 0..4 {
            link.now += CONSENT_TIMEOUT / 2;
            link.transport.heard_from_peer(link.now);
            link.step();
        }
        assert_eq!(link.closed, None);
    }

    #[test]
    fn a_check_with_wrong_credentials_is_not_answered() {
        let wrong = [
            |c: &mut IceCredentials| c.local_pwd = "a wrong password, 24 long".into(),
            |c: &mut IceCredentials| c.local_ufrag = "another".into(),
            |c: &mut IceCredentials| c.remote_ufrag = "another".into(),
        ];
        for change in wrong {
            let mut link = Link::new(0, |_| {});
            change(&mut link.client.credentials);
            link.send(link.client.check());
            assert!(link.outbox.is_empty());
            assert_eq!(link.transport.peer(), None);
        }
    }

    #[test]
    fn a_certificate_that_is_not_the_offers_ends_the_connection() {
        let mut link = Link::new(0, |parameters| parameters.remote_fingerprint = [0; 32]);
        link.connect();
        assert_eq!(link.closed, Some(CloseReason::FingerprintMismatch));
        assert!(link.endpoint.is_none());
    }

    #[test]
    fn a_peer_that_never_comes_and_one_that_goes_silent_are_closed() {
        let mut link = Link::new(0, |_| {});
        assert!(link.transport.next_timeout() <= link.now + CONNECT_TIMEOUT);
        link.now += CONNECT_TIMEOUT;
        link.step();
        assert_eq!(link.closed, Some(CloseReason::NeverConnected));

        let mut link = Link::connected();
        assert!(link.transport.next_timeout() <= link.now + CONSENT_TIMEOUT);
        link.now += CONSENT_TIMEOUT;
        link.step();
        assert_eq!(link.closed, Some(CloseReason::ConsentLost));
    }

    #[test]
    fn datagrams_from_an_unchecked_address_are_ignored() {
        let mut link = Link::connected();
        link.deliver();
        for first in [22, 128] {
            link.send_from(udp(9), vec![first; 60]);
        }
        assert!(link.outbox.is_empty() && link.media == 0);
        link.send(vec![128; 60]);
        assert_eq!(link.media, 1);
    }

    #[test]
    fn a_peer_that_moves_is_followed_once_its_new_address_is_checked() {
        let mut link = Link::connected();
        let moved = udp(5000);
        link.send_from(moved, link.client.check());
        assert_eq!(link.transport.peer(), Some(moved));
        link.send(vec![128; 60]);
        assert_eq!(link.media, 0, "the old address is no longer the peer's");
    }

    #[test]
    fn an_ice_restart_keeps_the_old_credentials_until_the_new_are_used() {
        let mut link = Link::connected();
        let old = link.client.check();
        let new = IceCredentials {
            local_ufrag: "newserver".into(),
            local_pwd: "a-new-password-of-length-26".into(),
            remote_ufrag: "newpeer".into(),
        };
        link.transport.restart_ice(new.clone());
        assert_eq!(link.transport.local_ufrags().collect::<Vec<_>>(), ["serverfr", "newserver"]);
        let answered = |link: &mut Link, check: Vec<u8>| {
            let before = link.client.checks_answered;
            link.send(check);
            link.deliver();
            link.client.checks_answered - before
        };
        assert_eq!(answered(&mut link, old.clone()), 1);
        link.client.credentials = new;
        let check = link.client.check();
        assert_eq!(answered(&mut link, check), 1);
        assert_eq!(answered(&mut link, old), 0);
        assert_eq!(link.transport.local_ufrags().collect::<Vec<_>>(), ["newserver"]);
        assert_eq!((link.closed, link.transport.is_connected()), (None, true));
    }

    #[test]
    fn closing_tells_the_peer() {
        let mut link = Link::connected();
        link.transport.close(&mut link.outbox);
        link.deliver();
        link.client.poll(link.now);
        assert!(link.client.is_closed);
    }
}
