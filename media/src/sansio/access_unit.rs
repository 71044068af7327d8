//! One frame on its way from a camera to viewers. Must not: know how it is stored or sent.

use bytes::Bytes;

/// The RTP payloads of one coded picture (H.264 access unit), shared by every viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessUnit {
    /// Presentation time on the camera's unwrapped 90 kHz timeline, continuous over reconnects.
    pub time_90k: u64,
    /// Whether a decoder can start here; SPS and PPS are among the payloads then.
    pub is_key: bool,
    /// RTP payloads in order (RFC 6184); the last one carries the marker bit.
    pub payloads: Vec<Bytes>,
}

impl AccessUnit {
    /// Sum of the payloads' lengths in bytes.
    pub fn len_bytes(&self) -> usize {
        self.payloads.iter().map(Bytes::len).sum()
    }
}
