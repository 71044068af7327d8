//! What can be counted of SRTP without its keys: the RTP header is sent in the clear.
//!
//! Must not: decrypt or decode.
//!
//! Source: RFC 3550 §5.1; RFC 5761 §4 (telling RTP from RTCP).

/// Header and tag of an SRTP packet with AES-GCM, in bytes; taken off to compare sizes with the camera's.
const OVERHEAD: usize = 12 + 16;

/// The fields that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    payload_type: u8,
    marker: bool,
    sequence_number: u16,
    timestamp: u32,
}

impl Header {
    /// `None` of what is no RTP.
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let &[first, second, s0, s1, t0, t1, t2, t3, ..] = datagram.get(..12)? else { return None };
        // 192–223 in the second byte is RTCP.
        (first >> 6 == 2 && !(192..224).contains(&second)).then_some(Self {
            payload_type: second & 0x7f,
            marker: second & 0x80 != 0,
            sequence_number: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
        })
    }
}

/// A frame that has arrived whole, or as a reference reader saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// RTP timestamp, 90 kHz.
    pub timestamp: u32,
    /// When its last packet arrived, in nanoseconds since 1970.
    pub arrived_ns: u64,
    /// About how many bytes of payload.
    pub len_bytes: u32,
}

/// Counts the video of one viewer.
#[derive(Debug, Default)]
pub struct Counter {
    payload_types: Vec<u8>,
    last_index: Option<i64>,
    pending: Option<Frame>,
    after_boundary: bool,
    is_recording: bool,
    first_index: i64,
    end_index: i64,
    received: u64,
    received_bytes: u64,
    frames: Vec<Frame>,
    has_media: bool,
}

impl Counter {
    /// Counts packets with one of these payload types.
    pub fn new(payload_types: Vec<u8>) -> Self {
        Self { payload_types, ..Self::default() }
    }

    /// Whether any media has come.
    pub fn has_media(&self) -> bool {
        self.has_media
    }

    /// Takes a packet. Packets, bytes and frames are kept while `recording`.
    pub fn on_packet(&mut self, datagram: &[u8], arrived_ns: u64, recording: bool) {
        let Some(header) = Header::parse(datagram) else { return };
        if !self.payload_types.contains(&header.payload_type) {
            return;
        }
        self.has_media = true;
        let index = match self.last_index {
            None => i64::from(header.sequence_number),
            Some(last) => last + i64::from(header.sequence_number.wrapping_sub(last as u16) as i16),
        };
        let follows = self.last_index.is_none_or(|last| index == last + 1);
        self.last_index = Some(self.last_index.map_or(index, |last| last.max(index)));
        if recording {
            if !self.is_recording {
                (self.first_index, self.end_index) = (index, index);
            }
            self.received += 1;
            self.received_bytes += datagram.len() as u64;
            self.end_index = self.end_index.max(index + 1);
        }
        self.is_recording = recording;
        self.on_frame_part(header, follows, datagram.len(), arrived_ns, recording);
    }

    fn on_frame_part(&mut self, header: Header, follows: bool, len: usize, at: u64, keep: bool) {
        if !follows {
            // Something is missing: neither this frame nor the one before is whole.
            (self.pending, self.after_boundary) = (None, false);
        }
        if self.after_boundary {
            self.pending =
                Some(Frame { timestamp: header.timestamp, arrived_ns: at, len_bytes: 0 });
            self.after_boundary = false;
        }
        if let Some(frame) = &mut self.pending {
            frame.len_bytes += len.saturating_sub(OVERHEAD) as u32;
            frame.arrived_ns = at;
        }
        if header.marker {
            self.after_boundary = true;
            self.frames.extend(self.pending.take().filter(|_| keep));
        }
    }

    /// Packets that came while recording.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Bytes of those packets, without UDP's and IP's.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Packets missing between the first and the last that were recorded.
    pub fn lost(&self) -> u64 {
        ((self.end_index - self.first_index) as u64).saturating_sub(self.received)
    }

    /// Frames that came whole while recording.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence_number: u16, timestamp: u32, marker: bool) -> Vec<u8> {
        let mut packet = vec![0x80, 102 | u8::from(marker) << 7];
        packet.extend_from_slice(&sequence_number.to_be_bytes());
        packet.extend_from_slice(&timestamp.to_be_bytes());
        packet.resize(OVERHEAD + 100, 0);
        packet
    }

    #[test]
    fn missing_packets_are_counted_over_the_wrap_of_the_sequence_number() {
        let mut counter = Counter::new(vec![102]);
        for (n, sequence_number) in [65_533, 65_534, 0, 1, 4].into_iter().enumerate() {
            counter.on_packet(&packet(sequence_number, 0, false), n as u64, true);
        }
        assert_eq!((counter.received(), counter.lost()), (5, 3));
    }

    #[test]
    fn only_whole_frames_of_the_window_are_kept() {
        let mut counter = Counter::new(vec![102]);
        counter.on_packet(&packet(1, 1000, true), 1, false);
        counter.on_packet(&packet(2, 4000, false), 2, true);
        counter.on_packet(&packet(3, 4000, true), 3, true);
        // Packet 4, of the next frame, is lost.
        counter.on_packet(&packet(5, 7000, true), 4, true);
        counter.on_packet(&packet(6, 10_000, true), 5, true);
        counter.on_packet(&packet(7, 13_000, true), 6, false);
        let frames = [(4000, 3, 200), (10_000, 5, 100)]
            .map(|(timestamp, arrived_ns, len_bytes)| Frame { timestamp, arrived_ns, len_bytes });
        assert_eq!(counter.frames(), frames);
        assert_eq!(counter.lost(), 1);
    }

    #[test]
    fn rtcp_and_other_payload_types_are_not_counted() {
        let mut counter = Counter::new(vec![102]);
        let mut other = packet(1, 0, true);
        other[1] = 103;
        let mut rtcp = packet(1, 0, true);
        rtcp[1] = 200;
        for datagram in [&other[..], &rtcp, b"", &[0x80; 5]] {
            counter.on_packet(datagram, 0, true);
        }
        assert!(!counter.has_media());
        assert_eq!((counter.received(), counter.lost()), (0, 0));
    }
}
