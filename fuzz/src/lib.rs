//! The parsers of `media`, and what their targets share: bytes of the fuzzer as input, and what must hold
//! of answers.
//!
//! Must not: know libFuzzer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;

pub use media::{camera, sansio};
use sansio::{
    packetize::MAX_PAYLOAD_BYTES,
    sdp::write::{Local, Ssrcs},
    transport_address::TransportAddress,
};

/// The pure part of the crate `media`, from its sources: the whole of it has two hundred crates more to
/// build, none of which is fuzzed.
#[path = "../../media/src"]
#[allow(dead_code, missing_docs)]
mod media {
    pub mod camera;
    pub mod sansio;
}

/// The fuzzer's bytes, taken from the front; all zeros when they have run out.
#[derive(Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of them.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether they have run out.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    /// Two bytes, big-endian.
    pub fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A length in one byte and as many bytes; fewer at the end.
    pub fn chunk(&mut self) -> &'a [u8] {
        let len = self.byte().into();
        self.take(len)
    }

    /// What is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(len.min(self.0.len()));
        self.0 = tail;
        head
    }
}

/// The fuzzer's bytes as RTP payloads: a length in one byte, its highest bit being worth 1300 bytes of
/// zeros behind them, so that payloads larger than a packet are cheap to make.
pub fn payloads(input: &mut Input<'_>) -> Vec<Bytes> {
    let mut payloads = Vec::new();
    while !input.is_empty() {
        payloads.push(payload(input));
    }
    payloads
}

/// One of [`payloads`].
pub fn payload(input: &mut Input<'_>) -> Bytes {
    let len = input.byte();
    let mut payload = input.take(usize::from(len & 0x7f)).to_vec();
    if len & 0x80 != 0 {
        payload.resize(payload.len() + 1300, 0);
    }
    payload.into()
}

/// Every payload can be sent as it is.
pub fn assert_fit(payloads: &[Bytes]) {
    for payload in payloads {
        assert!(payload.len() <= MAX_PAYLOAD_BYTES, "{} bytes do not fit", payload.len());
    }
}

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8189);

/// Our side of a session.
pub const LOCAL: Local<'static> = Local {
    ice_ufrag: "oursours",
    ice_pwd: "our-password-of-24-chars",
    fingerprint: "00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:\
        10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F",
    ssrcs: Ssrcs { video: 7, rtx: 8, audio: 9 },
    candidates: const { &[TransportAddress::Udp(SERVER), TransportAddress::Tcp(SERVER)] },
};

/// A description of ours is SDP of whole lines, and what it says of the transport is what [`LOCAL`] says:
/// no value of the peer's has become a line of its own.
pub fn assert_is_ours(sdp: &str, sections: usize, direction: &str) {
    assert!(sdp.ends_with("\r\n"), "{sdp:?}");
    for line in sdp.trim_end_matches("\r\n").split("\r\n") {
        assert!(line.as_bytes().get(1) == Some(&b'='), "not a line: {line:?}");
        let is_broken = |c: char| matches!(c, '\r' | '\n' | '\0');
        assert!(!line.contains(is_broken), "a line within a line: {line:?}");
        for (start, ours) in [
            ("a=ice-ufrag:", LOCAL.ice_ufrag),
            ("a=ice-pwd:", LOCAL.ice_pwd),
            ("a=fingerprint:sha-256 ", LOCAL.fingerprint),
        ] {
            assert!(line.strip_prefix(start).is_none_or(|found| found == ours), "{line:?}");
        }
    }
    let session = sdp_types::Session::parse(sdp.as_bytes()).expect("we write SDP");
    assert_eq!(session.medias.len(), sections, "a section for each of the offer's: {sdp}");
    let directions = ["sendrecv", "sendonly", "recvonly", "inactive"];
    for media in &session.medias {
        let found: Vec<_> = directions.iter().filter(|name| media.has_attribute(name)).collect();
        let is_refused = media.port == 0;
        let expected = if is_refused { "inactive" } else { direction };
        assert_eq!(found, [&expected], "{sdp}");
    }
    let candidates =
        session.medias.iter().flat_map(|media| media.get_attribute_values("candidate"));
    assert_eq!(candidates.count(), LOCAL.candidates.len(), "{sdp}");
}
