//! One frame on its way from a camera to viewers. Must not: know how it is stored or sent.

use std::time::Instant;

use bytes::Bytes;

/// The RTP payloads of one coded picture (access unit), or of one packet of audio, shared by every viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessUnit {
    /// Presentation time in ticks of the track's clock (90 kHz for video) since the camera's epoch;
    /// continuous over reconnects and comparable between the layers of a camera.
    pub time: u64,
    /// Whether a decoder can start here; parameter sets are among the payloads then. Always so for audio.
    pub is_key: bool,
    /// RTP payloads in order; the last one of a picture carries the marker bit.
    pub payloads: Vec<Bytes>,
    /// When its last packet came in.
    pub arrived_at: Instant,
}

impl AccessUnit {
    /// Sum of the payloads' lengths in bytes.
    pub fn len_bytes(&self) -> usize {
        self.payloads.iter().map(Bytes::len).sum()
    }
}
