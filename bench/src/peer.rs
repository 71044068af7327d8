//! One viewer's end of a connection: a full ICE agent, DTLS client, counter of media.
//!
//! Must not: own a socket or read a clock. Datagrams and the time go in, datagrams come out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dimpl::{Config, Dtls, DtlsCertificate, Output};
use media::sansio::stun::{self, BindingRequest, IntegrityKey};

use crate::answer::Answer;
use crate::rtp::Counter;
use crate::stun::{Checker, is_success};

/// Until the first check succeeds (RFC 8445 §14: Ta).
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// After that (RFC 7675 §5.1).
const CONSENT_INTERVAL: Duration = Duration::from_secs(4);

/// The certificate of all viewers: making one for each would only cost this side's time.
#[derive(Clone)]
pub struct Identity {
    certificate: DtlsCertificate,
    config: Arc<Config>,
}

impl Identity {
    /// Makes a new certificate.
    ///
    /// # Errors
    /// When the cryptographic library cannot.
    pub fn generate() -> Result<Self> {
        let certificate = dimpl::certificate::generate_self_signed_certificate()
            .map_err(|error| anyhow::anyhow!("cannot make a certificate: {error}"))?;
        let config = Config::builder()
            .flight_start_rto(Duration::from_millis(300))
            .build()
            .map_err(|error| anyhow::anyhow!("cannot configure DTLS: {error}"))?;
        Ok(Self { certificate, config: Arc::new(config) })
    }

    /// SHA-256 of the certificate, `AB:CD:…`.
    pub fn fingerprint(&self) -> String {
        self.certificate.fingerprint_str()
    }
}

/// See the module.
pub struct Peer {
    server: SocketAddr,
    local_ufrag: String,
    local_key: IntegrityKey,
    checker: Checker,
    is_checked: bool,
    next_check: Instant,
    dtls: Dtls,
    dtls_timeout: Option<Instant>,
    buffer: Vec<u8>,
    cipher: Option<String>,
    is_connected: bool,
    is_closed: bool,
    /// The media that came.
    pub counter: Counter,
}

impl Peer {
    /// A peer of the server that gave this answer to our ICE credentials.
    pub fn new(identity: &Identity, ufrag: &str, pwd: &str, answer: Answer, now: Instant) -> Self {
        let mut dtls = Dtls::new_12(identity.config.clone(), identity.certificate.clone(), now);
        dtls.set_active(true);
        Self {
            server: answer.addr,
            local_ufrag: ufrag.to_owned(),
            local_key: IntegrityKey::new(pwd),
            checker: Checker::new(&answer.ufrag, &answer.pwd, ufrag),
            is_checked: false,
            next_check: now,
            dtls,
            dtls_timeout: None,
            buffer: vec![0; 2048],
            cipher: None,
            is_connected: false,
            is_closed: false,
            counter: Counter::new(answer.payload_types),
        }
    }

    /// Where to send.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// ICE and DTLS are through.
    pub fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// The SRTP profile that was agreed on.
    pub fn cipher(&self) -> Option<&str> {
        self.cipher.as_deref()
    }

    /// Takes a datagram that arrived at `arrived_ns` (since 1970) and is looked at now.
    ///
    /// # Errors
    /// When the handshake fails or the server has closed the connection.
    pub fn on_datagram(
        &mut self,
        now: Instant,
        arrived_ns: u64,
        datagram: &[u8],
        recording: bool,
        out: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        match datagram.first() {
            Some(128..=191) => self.counter.on_packet(datagram, arrived_ns, recording),
            Some(20..=63) => {
                self.dtls.handle_timeout(now).context("DTLS")?;
                self.dtls.handle_packet(datagram).context("DTLS")?;
                self.poll_dtls(out)?;
            }
            _ if !self.is_checked && is_success(datagram) => {
                self.is_checked = true;
                self.next_check = now + CONSENT_INTERVAL;
                self.dtls.handle_timeout(now).context("DTLS")?;
                self.poll_dtls(out)?;
            }
            _ if stun::is_stun(datagram) => self.answer_check(datagram, out),
            _ => {}
        }
        Ok(())
    }

    fn answer_check(&self, datagram: &[u8], out: &mut Vec<Vec<u8>>) {
        let Ok(request) = BindingRequest::parse(datagram) else { return };
        let is_ours = request.local_ufrag() == self.local_ufrag
            && request.authenticate(&self.local_key).is_ok();
        if is_ours {
            let mut response = Vec::with_capacity(80);
            request.write_success(self.server, &self.local_key, &mut response);
            out.push(response);
        }
    }

    fn poll_dtls(&mut self, out: &mut Vec<Vec<u8>>) -> Result<()> {
        loop {
            match self.dtls.poll_output(&mut self.buffer) {
                Output::Packet(datagram) => out.push(datagram.to_vec()),
                Output::BufferTooSmall { needed } => self.buffer.resize(needed, 0),
                Output::Timeout(at) => {
                    self.dtls_timeout = Some(at);
                    break;
                }
                Output::Connected => self.is_connected = true,
                Output::KeyingMaterial(_, profile) => self.cipher = Some(profile.to_string()),
                Output::CloseNotify => self.is_closed = true,
                _ => {}
            }
        }
        if self.is_closed {
            bail!("the server closed the connection");
        }
        Ok(())
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// When the handshake has timed out.
    pub fn on_timer(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) -> Result<()> {
        if now >= self.next_check {
            let interval = if self.is_checked { CONSENT_INTERVAL } else { CHECK_INTERVAL };
            self.next_check = now + interval;
            out.push(self.checker.request());
        }
        if self.dtls_timeout.is_some_and(|at| at <= now) {
            self.dtls.handle_timeout(now).context("DTLS")?;
            self.poll_dtls(out)?;
        }
        Ok(())
    }

    /// When [`Self::on_timer`] is wanted next.
    pub fn next_timeout(&self) -> Instant {
        self.dtls_timeout.map_or(self.next_check, |at| at.min(self.next_check))
    }

    /// Says goodbye (DTLS close_notify).
    pub fn close(&mut self, out: &mut Vec<Vec<u8>>) {
        // An error means that there is nobody to say goodbye to.
        let _ = self.dtls.close();
        let _ = self.poll_dtls(out);
    }
}
