//! The DTLS 1.2 end of one session, the server as a rule: handshake, peer certificate, SRTP keys.
//!
//! Must not: own a socket. The library behind it (dimpl) stays inside this module.

use std::{sync::Arc, time::Duration, time::Instant};

use dimpl::{Config, Dtls, DtlsCertificate, Output, SrtpProfile};

use super::srtp::Profile;

/// Largest DTLS datagram sent, in bytes.
const MTU: usize = 1150;

/// This process's DTLS identity: a fresh self-signed certificate, shared by all sessions.
#[derive(Clone, Debug)]
pub struct Identity {
    certificate: DtlsCertificate,
    config: Arc<Config>,
    fingerprint: String,
}

/// The DTLS library failed; its text is for the log.
#[derive(Debug, thiserror::Error)]
#[error("DTLS: {0}")]
pub struct DtlsError(String);

impl Identity {
    /// Makes a new certificate.
    ///
    /// # Errors
    /// When the cryptographic library cannot make one.
    pub fn generate() -> Result<Self, DtlsError> {
        let certificate = dimpl::certificate::generate_self_signed_certificate()
            .map_err(|error| DtlsError(error.to_string()))?;
        let config = Config::builder()
            .mtu(MTU)
            // Only addresses that passed an authenticated STUN check reach DTLS.
            .use_server_cookie(false)
            .flight_start_rto(Duration::from_millis(150))
            .flight_retries(8)
            .handshake_timeout(Duration::from_secs(20))
            .build()
            .map_err(|error| DtlsError(error.to_string()))?;
        let fingerprint = certificate.fingerprint_str();
        Ok(Self { certificate, config: Arc::new(config), fingerprint })
    }

    /// SHA-256 of the certificate as in SDP: `AB:CD:…`.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// What the handshake has come to.
#[derive(Debug)]
pub enum DtlsEvent {
    /// SHA-256 of the peer's certificate, to be compared with its SDP.
    PeerFingerprint([u8; 32]),
    /// Keys for SRTP.
    Keys(Profile, Vec<u8>),
    /// The library settled on an SRTP profile we do not have.
    UnsupportedProfile,
    /// The handshake is complete.
    Connected,
    /// The peer said goodbye.
    Closed,
}

/// One DTLS server.
pub struct DtlsServer {
    dtls: Dtls,
    buffer: Vec<u8>,
    next_timeout: Option<Instant>,
}

impl std::fmt::Debug for DtlsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DtlsServer").finish_non_exhaustive()
    }
}

impl DtlsServer {
    /// A server that waits for a ClientHello.
    pub fn new(identity: &Identity, now: Instant) -> Self {
        let mut dtls = Dtls::new_12(identity.config.clone(), identity.certificate.clone(), now);
        dtls.set_active(false);
        Self { dtls, buffer: vec![0; 2048], next_timeout: None }
    }

    /// The other role, for peers that insist on being the server: [`Self::on_timer`] begins the handshake.
    pub fn client(identity: &Identity, now: Instant) -> Self {
        let mut client = Self::new(identity, now);
        client.dtls.set_active(true);
        client
    }

    /// Feeds one datagram of the peer.
    ///
    /// # Errors
    /// The connection cannot go on.
    pub fn on_datagram(&mut self, now: Instant, datagram: &[u8]) -> Result<(), DtlsError> {
        self.on_timer(now)?;
        self.dtls.handle_packet(datagram).map_err(|error| DtlsError(error.to_string()))
    }

    /// Lets retransmission timers run.
    ///
    /// # Errors
    /// The handshake timed out.
    pub fn on_timer(&mut self, now: Instant) -> Result<(), DtlsError> {
        self.dtls.handle_timeout(now).map_err(|error| DtlsError(error.to_string()))
    }

    /// Begins a graceful close; the alert comes out of [`Self::poll`].
    pub fn close(&mut self) {
        // An error means there is nobody to say goodbye to.
        let _ = self.dtls.close();
    }

    /// When [`Self::on_timer`] is wanted next.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.next_timeout
    }

    /// Drains what there is to do: datagrams to `send`, events to the caller.
    pub fn poll(&mut self, mut send: impl FnMut(&[u8])) -> Vec<DtlsEvent> {
        let mut events = Vec::new();
        loop {
            match self.dtls.poll_output(&mut self.buffer) {
                Output::Packet(datagram) => send(datagram),
                Output::BufferTooSmall { needed } => self.buffer.resize(needed, 0),
                Output::Timeout(at) => {
                    self.next_timeout = Some(at);
                    return events;
                }
                Output::Connected => events.push(DtlsEvent::Connected),
                Output::PeerCert(der) => {
                    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
                    let digest = digest.as_ref().try_into().expect("SHA-256 is 32 bytes");
                    events.push(DtlsEvent::PeerFingerprint(digest));
                }
                Output::KeyingMaterial(material, profile) => events.push(match profile {
                    SrtpProfile::AEAD_AES_128_GCM => {
                        DtlsEvent::Keys(Profile::Aes128Gcm, material.to_vec())
                    }
                    SrtpProfile::AEAD_AES_256_GCM => {
                        DtlsEvent::Keys(Profile::Aes256Gcm, material.to_vec())
                    }
                    // The last of the library's preference: for peers that have nothing better.
                    SrtpProfile::AES128_CM_SHA1_80 => {
                        DtlsEvent::Keys(Profile::Aes128CmSha1_80, material.to_vec())
                    }
                    _ => DtlsEvent::UnsupportedProfile,
                }),
                Output::CloseNotify => events.push(DtlsEvent::Closed),
                _ => {}
            }
        }
    }
}
