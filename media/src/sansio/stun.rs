//! The STUN an ICE-lite agent needs: authenticated binding requests in, binding responses out.
//!
//! Must not: gather candidates or send checks of its own.
//!
//! Source: RFC 8489 §5 (message), §14 (attributes); RFC 8445 §7.3 (server side of checks).

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::{constant_time, hmac};

const MAGIC_COOKIE: u32 = 0x2112_a442;
const HEADER_LEN: usize = 20;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;

const ATTR_USERNAME: u16 = 0x0006;
const ATTR_MESSAGE_INTEGRITY: u16 = 0x0008;
const ATTR_XOR_MAPPED_ADDRESS: u16 = 0x0020;
const ATTR_USE_CANDIDATE: u16 = 0x0025;
const ATTR_FINGERPRINT: u16 = 0x8028;
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// Whether a datagram is STUN (RFC 7983: first byte 0–3, then the cookie).
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER_LEN && datagram[0] < 4 && datagram[4..8] == MAGIC_COOKIE.to_be_bytes()
}

/// A binding request as it came, not yet authenticated.
#[derive(Debug, Clone, Copy)]
pub struct BindingRequest<'a> {
    datagram: &'a [u8],
    username: &'a str,
    integrity_at: usize,
    /// The peer nominates the pair it was sent on.
    pub use_candidate: bool,
}

/// Why a datagram is no binding request for us. Such datagrams are dropped without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StunError {
    /// Not a STUN message, or its lengths do not add up.
    #[error("malformed STUN message")]
    Malformed,
    /// STUN, but not a binding request.
    #[error("not a STUN binding request")]
    NotBindingRequest,
    /// No USERNAME or no MESSAGE-INTEGRITY.
    #[error("STUN binding request without credentials")]
    NoCredentials,
    /// No FINGERPRINT, or one that does not fit the message.
    #[error("STUN fingerprint mismatch")]
    BadFingerprint,
    /// The MESSAGE-INTEGRITY was not made with our password.
    #[error("STUN message integrity mismatch")]
    BadIntegrity,
}

impl<'a> BindingRequest<'a> {
    /// Reads a binding request and checks its FINGERPRINT.
    ///
    /// # Errors
    /// See [`StunError`].
    pub fn parse(datagram: &'a [u8]) -> Result<Self, StunError> {
        if !is_stun(datagram) {
            return Err(StunError::Malformed);
        }
        let read_u16 = |at: usize| u16::from_be_bytes([datagram[at], datagram[at + 1]]);
        if usize::from(read_u16(2)) + HEADER_LEN != datagram.len()
            || !datagram.len().is_multiple_of(4)
        {
            return Err(StunError::Malformed);
        }
        if read_u16(0) != BINDING_REQUEST {
            return Err(StunError::NotBindingRequest);
        }
        let (mut username, mut integrity_at, mut use_candidate) = (None, None, false);
        let mut has_fingerprint = false;
        let mut at = HEADER_LEN;
        while at < datagram.len() {
            if at + 4 > datagram.len() {
                return Err(StunError::Malformed);
            }
            let (attribute, len) = (read_u16(at), usize::from(read_u16(at + 2)));
            let value = datagram.get(at + 4..at + 4 + len).ok_or(StunError::Malformed)?;
            match attribute {
                ATTR_FINGERPRINT => {
                    let sent = <[u8; 4]>::try_from(value).map_err(|_| StunError::Malformed)?;
                    let is_last = at + 8 == datagram.len();
                    if !is_last || fingerprint(&datagram[..at]) != sent {
                        return Err(StunError::BadFingerprint);
                    }
                    has_fingerprint = true;
                }
                // Attributes after MESSAGE-INTEGRITY are not authenticated: ignored.
                _ if integrity_at.is_some() => {}
                ATTR_USERNAME => {
                    username = Some(std::str::from_utf8(value).map_err(|_| StunError::Malformed)?);
                }
                ATTR_USE_CANDIDATE => use_candidate = true,
                ATTR_MESSAGE_INTEGRITY if len == 20 => integrity_at = Some(at),
                _ => {}
            }
            at += 4 + len.next_multiple_of(4);
        }
        // ICE requires it on every check (RFC 8445 §7.1.2).
        if !has_fingerprint {
            return Err(StunError::BadFingerprint);
        }
        match (username, integrity_at) {
            (Some(username), Some(integrity_at)) => {
                Ok(Self { datagram, username, integrity_at, use_candidate })
            }
            _ => Err(StunError::NoCredentials),
        }
    }

    /// Our ICE user fragment: the part of USERNAME before the colon.
    pub fn local_ufrag(&self) -> &'a str {
        self.username.split(':').next().unwrap_or_default()
    }

    /// The peer's ICE user fragment: the part after the colon.
    pub fn remote_ufrag(&self) -> &'a str {
        self.username.split_once(':').map_or("", |(_, remote)| remote)
    }

    /// Checks MESSAGE-INTEGRITY against our password.
    ///
    /// # Errors
    /// [`StunError::BadIntegrity`].
    pub fn authenticate(&self, key: &IntegrityKey) -> Result<(), StunError> {
        let expected = key.over(&self.datagram[..self.integrity_at]);
        let sent = &self.datagram[self.integrity_at + 4..self.integrity_at + 24];
        constant_time::verify_slices_are_equal(&expected, sent).map_err(|_| StunError::BadIntegrity)
    }

    /// Appends the success response to `out`, with the address the request came from.
    pub fn write_success(&self, from: SocketAddr, key: &IntegrityKey, out: &mut Vec<u8>) {
        let transaction_id: [u8; 12] =
            self.datagram[8..20].try_into().expect("parse checked the header's length");
        let start = out.len();
        write_header(BINDING_SUCCESS, transaction_id, out);
        write_attribute(ATTR_XOR_MAPPED_ADDRESS, &xor_address(from, &transaction_id), start, out);
        finish(key, start, out);
    }
}

/// The password of an ICE agent, ready to sign with.
#[derive(Debug)]
pub struct IntegrityKey(hmac::Key);

impl IntegrityKey {
    /// Key of this ICE password (short-term credential, RFC 8489 §9.1.1).
    pub fn new(password: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes()))
    }

    /// MESSAGE-INTEGRITY over a message up to the attribute, as if it were the message's end.
    fn over(&self, before: &[u8]) -> [u8; 20] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&before[..2]);
        context.update(&((before.len() - HEADER_LEN + 24) as u16).to_be_bytes());
        context.update(&before[4..]);
        context.sign().as_ref().try_into().expect("HMAC-SHA1 is 20 bytes")
    }
}

/// A binding request as a full ICE agent sends it; used by tests and load clients.
pub fn write_binding_request(
    username: &str,
    transaction_id: [u8; 12],
    key: &IntegrityKey,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    write_header(BINDING_REQUEST, transaction_id, out);
    write_attribute(ATTR_USERNAME, username.as_bytes(), start, out);
    write_attribute(ATTR_USE_CANDIDATE, &[], start, out);
    finish(key, start, out);
}

fn write_header(message_type: u16, transaction_id: [u8; 12], out: &mut Vec<u8>) {
    out.extend_from_slice(&message_type.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
    out.extend_from_slice(&transaction_id);
}

fn write_attribute(attribute: u16, value: &[u8], start: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&attribute.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
    out.resize(start + (out.len() - start).next_multiple_of(4), 0);
    let len = (out.len() - start - HEADER_LEN) as u16;
    out[start + 2..start + 4].copy_from_slice(&len.to_be_bytes());
}

fn finish(key: &IntegrityKey, start: usize, out: &mut Vec<u8>) {
    let integrity = key.over(&out[start..]);
    write_attribute(ATTR_MESSAGE_INTEGRITY, &integrity, start, out);
    let fingerprint = fingerprint(&out[start..]);
    write_attribute(ATTR_FINGERPRINT, &fingerprint, start, out);
}

/// FINGERPRINT over a message up to the attribute, as if it were the message's end.
fn fingerprint(before: &[u8]) -> [u8; 4] {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&before[..2]);
    crc.update(&((before.len() - HEADER_LEN + 8) as u16).to_be_bytes());
    crc.update(&before[4..]);
    (crc.finalize() ^ FINGERPRINT_XOR).to_be_bytes()
}

fn xor_address(address: SocketAddr, transaction_id: &[u8; 12]) -> Vec<u8> {
    let mut mask = MAGIC_COOKIE.to_be_bytes().to_vec();
    mask.extend_from_slice(transaction_id);
    let port = address.port() ^ (MAGIC_COOKIE >> 16) as u16;
    let (family, octets) = match address.ip().to_canonical() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let mut value = vec![0, family];
    value.extend_from_slice(&port.to_be_bytes());
    value.extend(octets.iter().zip(mask).map(|(octet, mask)| octet ^ mask));
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 5769 §2.1: sample request with short-term authentication.
    const RFC5769_REQUEST: &[u8] =
        b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\
\xfa\x87\xdf\xae\x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\x80\x29\x00\x08\
\x93\x2f\xf9\xb1\x51\x26\x3b\x36\x00\x06\x00\x09\x65\x76\x74\x6a\x3a\x68\x36\x76\x59\x20\x20\x20\
\x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\
\x80\x28\x00\x04\xe5\x7a\x3b\xcf";
    const RFC5769_PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

    #[test]
    fn the_sample_request_of_rfc_5769_is_authenticated() {
        let request = BindingRequest::parse(RFC5769_REQUEST).unwrap();
        assert_eq!((request.local_ufrag(), request.remote_ufrag()), ("evtj", "h6vY"));
        assert_eq!(request.authenticate(&IntegrityKey::new(RFC5769_PASSWORD)), Ok(()));
        assert_eq!(
            request.authenticate(&IntegrityKey::new("another")),
            Err(StunError::BadIntegrity)
        );
    }

    #[test]
    fn any_changed_byte_of_a_request_is_noticed() {
        let key = IntegrityKey::new("password");
        let mut request = Vec::new();
        write_binding_request("us:them", [7; 12], &key, &mut request);
        for at in 0..request.len() {
            let mut changed = request.clone();
            changed[at] ^= 1;
            let accepted =
                BindingRequest::parse(&changed).is_ok_and(|r| r.authenticate(&key).is_ok());
            assert!(!accepted, "byte {at} changed unnoticed");
        }
    }

    #[test]
    fn the_response_tells_the_peer_its_address() {
        let key = IntegrityKey::new("password");
        let mut request = Vec::new();
        write_binding_request("us:them", [7; 12], &key, &mut request);
        let mut response = Vec::new();
        let from = "192.0.2.1:32853".parse().unwrap();
        BindingRequest::parse(&request).unwrap().write_success(from, &key, &mut response);
        assert_eq!(response[..2], BINDING_SUCCESS.to_be_bytes());
        assert_eq!(response[8..20], [7; 12]);
        // XOR-MAPPED-ADDRESS as in RFC 5769 §2.2.
        assert_eq!(response[20..32], *b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43");
    }

    proptest! {
        #[test]
        fn hostile_datagrams_never_panic(mut datagram in prop::collection::vec(any::<u8>(), 0..200), valid_header: bool) {
            if valid_header && datagram.len() >= HEADER_LEN {
                datagram.truncate(datagram.len() / 4 * 4);
                let len = (datagram.len() - HEADER_LEN) as u16;
                datagram[..2].copy_from_slice(&BINDING_REQUEST.to_be_bytes());
                datagram[2..4].copy_from_slice(&len.to_be_bytes());
                datagram[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
            }
            if let Ok(request) = BindingRequest::parse(&datagram) {
                let _ = request.authenticate(&IntegrityKey::new("password"));
            }
        }
    }
}
