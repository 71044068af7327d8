//! The checks of a full ICE agent, as browsers and pion's peers send them.
//!
//! Must not: answer checks; `media::sansio::stun` does that.
//!
//! Source: RFC 8489 §5, §14; RFC 8445 §7.1 (PRIORITY, USE-CANDIDATE, ICE-CONTROLLING).

use aws_lc_rs::hmac;

const MAGIC_COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();
const HEADER_LEN: usize = 20;
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];

/// Type preference of a host candidate, the only kind there is on loopback.
const HOST_PRIORITY: u32 = 126 << 24 | 65_535 << 8 | 255;

/// One side's check of the other, with the peer's password.
pub struct Checker {
    username: String,
    key: hmac::Key,
    tie_breaker: u64,
}

impl Checker {
    /// `remote` and `local` are user fragments, `remote_pwd` the peer's password.
    pub fn new(remote: &str, remote_pwd: &str, local: &str) -> Self {
        Self {
            username: format!("{remote}:{local}"),
            key: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, remote_pwd.as_bytes()),
            tie_breaker: rand::random(),
        }
    }

    /// A binding request that nominates the pair it is sent on.
    pub fn request(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.extend_from_slice(&[0, 1, 0, 0]);
        out.extend_from_slice(&MAGIC_COOKIE);
        out.extend_from_slice(&rand::random::<[u8; 12]>());
        push(&mut out, 0x0006, self.username.as_bytes());
        push(&mut out, 0x0024, &HOST_PRIORITY.to_be_bytes());
        push(&mut out, 0x0025, &[]);
        push(&mut out, 0x802a, &self.tie_breaker.to_be_bytes());
        set_len(&mut out, 24);
        let integrity = hmac::sign(&self.key, &out);
        push(&mut out, 0x0008, integrity.as_ref());
        set_len(&mut out, 8);
        let fingerprint = crc32fast::hash(&out) ^ 0x5354_554e;
        push(&mut out, 0x8028, &fingerprint.to_be_bytes());
        set_len(&mut out, 0);
        out
    }
}

/// Whether a datagram says that a check of ours succeeded. On loopback its integrity is not looked at.
pub fn is_success(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER_LEN
        && datagram[..2] == BINDING_SUCCESS
        && datagram[4..8] == MAGIC_COOKIE
}

fn push(out: &mut Vec<u8>, attribute: u16, value: &[u8]) {
    out.extend_from_slice(&attribute.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// The header's length, as if `more` bytes of attributes followed.
fn set_len(out: &mut [u8], more: usize) {
    let len = (out.len() - HEADER_LEN + more) as u16;
    out[2..4].copy_from_slice(&len.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use media::sansio::stun::{BindingRequest, IntegrityKey};

    use super::*;

    #[test]
    fn a_check_is_accepted_by_our_own_server() {
        let request = Checker::new("server", "password-of-the-server", "us").request();
        let parsed = BindingRequest::parse(&request).unwrap();
        assert_eq!((parsed.local_ufrag(), parsed.remote_ufrag()), ("server", "us"));
        assert!(parsed.use_candidate);
        assert_eq!(parsed.authenticate(&IntegrityKey::new("password-of-the-server")), Ok(()));
    }

    #[test]
    fn an_answer_is_told_from_a_check() {
        let checker = Checker::new("server", "password-of-the-server", "us");
        let key = IntegrityKey::new("password-of-the-server");
        let request = checker.request();
        let mut response = Vec::new();
        let from = "127.0.0.1:4000".parse().unwrap();
        BindingRequest::parse(&request).unwrap().write_success(from, &key, &mut response);
        assert!(is_success(&response));
        assert!(!is_success(&request));
        assert!(!is_success(b""));
    }
}
