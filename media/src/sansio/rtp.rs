//! RTP packets on the wire: header, header extensions, padding, and NTP time.
//!
//! Must not: encrypt, count sequence numbers, or know codecs.
//!
//! Source: RFC 3550 §5.1 (header), RFC 8285 (extensions).

use std::time::Duration;

/// Length of a header without CSRCs and extensions, in bytes.
pub const MIN_HEADER_LEN: usize = 12;

/// Profile of one-byte extensions (RFC 8285 §4.2).
const ONE_BYTE_PROFILE: u16 = 0xbede;
/// Profile of two-byte extensions, its low four bits being for the application (RFC 8285 §4.3).
const TWO_BYTE_PROFILE: u16 = 0x1000;
/// Identifier that ends one-byte extensions.
const ONE_BYTE_STOP: u8 = 15;

/// URIs of header extensions, as `a=extmap` names them.
pub mod uri {
    /// The m-section a packet belongs to (RFC 8843 §15).
    pub const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
    /// The simulcast layer a packet belongs to (RFC 8852 §3.1).
    pub const RTP_STREAM_ID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
    /// The simulcast layer a retransmission belongs to (RFC 8852 §3.2).
    pub const REPAIRED_RTP_STREAM_ID: &str =
        "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
    /// [`abs_send_time`](super::abs_send_time).
    pub const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
    /// [`playout_delay`](super::playout_delay).
    pub const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
    /// [`abs_capture_time`](super::abs_capture_time).
    pub const ABS_CAPTURE_TIME: &str =
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";
    /// A sequence number across all streams of a transport.
    pub const TRANSPORT_WIDE_CC: &str =
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
}

/// Why bytes are not an RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// It ends inside its header, extensions or padding.
    #[error("RTP packet is cut short")]
    Truncated,
    /// Not version 2.
    #[error("RTP packet of an unknown version")]
    Version,
}

/// What every packet says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// 7 bits.
    pub payload_type: u8,
    /// For video: last packet of an access unit.
    pub marker: bool,
    /// Grows by one per packet, with wrap-around.
    pub sequence_number: u16,
    /// In ticks of the payload type's clock.
    pub timestamp: u32,
    /// The stream.
    pub ssrc: u32,
}

/// One packet; borrows the datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The fixed header.
    pub header: Header,
    /// The header extensions.
    pub extensions: Extensions<'a>,
    /// What is carried, without padding.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads an RTP packet that is not (or no longer) encrypted. CSRCs are skipped.
    ///
    /// # Errors
    /// [`RtpError`] when the bytes are no RTP packet.
    pub fn parse(packet: &'a [u8]) -> Result<Self, RtpError> {
        let header = Header::parse(packet)?;
        let payload_at = payload_offset(packet)?;
        let extensions = Extensions::of(&packet[..payload_at]);
        let mut payload = &packet[payload_at..];
        let has_padding = packet[0] & 0x20 != 0;
        if has_padding {
            let padding_len = usize::from(*payload.last().ok_or(RtpError::Truncated)?);
            let len = payload.len().checked_sub(padding_len).ok_or(RtpError::Truncated)?;
            payload = &payload[..len];
        }
        Ok(Self { header, extensions, payload })
    }
}

impl Header {
    /// Reads the fixed header, which is never encrypted.
    ///
    /// # Errors
    /// [`RtpError`] when the bytes are no RTP packet.
    pub fn parse(packet: &[u8]) -> Result<Self, RtpError> {
        let fixed: &[u8; MIN_HEADER_LEN] = packet.first_chunk().ok_or(RtpError::Truncated)?;
        let [first, second, seq_hi, seq_lo, t0, t1, t2, t3, s0, s1, s2, s3] = *fixed;
        if first >> 6 != 2 {
            return Err(RtpError::Version);
        }
        Ok(Self {
            payload_type: second & 0x7f,
            marker: second & 0x80 != 0,
            sequence_number: u16::from_be_bytes([seq_hi, seq_lo]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([s0, s1, s2, s3]),
        })
    }
}

/// Where the payload starts: the length of header, CSRCs and extensions, none of which is encrypted.
///
/// # Errors
/// [`RtpError`] when the bytes are no RTP packet.
pub fn payload_offset(packet: &[u8]) -> Result<usize, RtpError> {
    let first = *packet.first().ok_or(RtpError::Truncated)?;
    if first >> 6 != 2 {
        return Err(RtpError::Version);
    }
    let csrcs_end = extensions_offset(first);
    let has_extensions = first & 0x10 != 0;
    let end = if has_extensions {
        let words = packet.get(csrcs_end + 2..csrcs_end + 4).ok_or(RtpError::Truncated)?;
        csrcs_end + 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]))
    } else {
        csrcs_end
    };
    if end > packet.len() { Err(RtpError::Truncated) } else { Ok(end) }
}

fn extensions_offset(first: u8) -> usize {
    MIN_HEADER_LEN + 4 * usize::from(first & 0x0f)
}

/// The header extensions of one packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extensions<'a> {
    profile: u16,
    elements: &'a [u8],
}

impl<'a> Extensions<'a> {
    /// Those of a header whose length [`payload_offset`] has found.
    fn of(header: &'a [u8]) -> Self {
        let at = extensions_offset(header[0]);
        match header.get(at..) {
            Some([profile_hi, profile_lo, _, _, elements @ ..]) => {
                Self { profile: u16::from_be_bytes([*profile_hi, *profile_lo]), elements }
            }
            _ => Self::default(),
        }
    }

    /// The value under `id`, the number that `a=extmap` gave to a URI.
    pub fn get(&self, id: u8) -> Option<&'a [u8]> {
        self.iter().find_map(|(found, value)| (found == id).then_some(value))
    }

    /// Identifiers and values in the order of the packet; ends at the first malformed one.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let is_one_byte = self.profile == ONE_BYTE_PROFILE;
        let is_two_byte = self.profile & 0xfff0 == TWO_BYTE_PROFILE;
        let mut rest = if is_one_byte || is_two_byte { self.elements } else { &[] };
        std::iter::from_fn(move || {
            // A zero byte where an identifier is due is padding.
            let at = rest.iter().position(|&byte| byte != 0)?;
            let (id, len, body) = match &rest[at..] {
                [first, body @ ..] if is_one_byte => {
                    (first >> 4, usize::from(first & 0x0f) + 1, body)
                }
                [id, len, body @ ..] => (*id, usize::from(*len), body),
                _ => return None,
            };
            if is_one_byte && id == ONE_BYTE_STOP {
                return None;
            }
            let (value, after) = body.split_at_checked(len)?;
            rest = after;
            Some((id, value))
        })
    }
}

/// Appends a header with its `extensions` in one-byte form, padded to 32 bits.
///
/// What that form cannot carry is left out: values that are empty or longer than 16 bytes, identifiers
/// outside 1–14.
pub fn write_header(header: &Header, extensions: &[(u8, &[u8])], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0x80, u8::from(header.marker) << 7 | header.payload_type & 0x7f]);
    out.extend_from_slice(&header.sequence_number.to_be_bytes());
    out.extend_from_slice(&header.timestamp.to_be_bytes());
    out.extend_from_slice(&header.ssrc.to_be_bytes());
    if extensions.is_empty() {
        return;
    }
    out.extend_from_slice(&ONE_BYTE_PROFILE.to_be_bytes());
    out.extend_from_slice(&[0; 2]);
    let elements_at = out.len();
    for &(id, value) in extensions {
        if matches!(id, 1..ONE_BYTE_STOP) && matches!(value.len(), 1..=16) {
            out.push(id << 4 | (value.len() - 1) as u8);
            out.extend_from_slice(value);
        }
    }
    let elements_len = out.len() - elements_at;
    if elements_len == 0 {
        out.truncate(start + MIN_HEADER_LEN);
        return;
    }
    let words = elements_len.div_ceil(4);
    out.resize(elements_at + 4 * words, 0);
    // Fourteen identifiers of 17 bytes each are 60 words; repeated ones are the caller's doing.
    out[elements_at - 2..elements_at].copy_from_slice(&(words as u16).to_be_bytes());
    out[start] |= 0x10;
}

/// When a packet left, in seconds of 6.18 bits; wraps every 64 seconds. `ntp` as in [`Ntp`].
pub fn abs_send_time(ntp: u64) -> [u8; 3] {
    let [_, _, _, hi, mid, lo, ..] = (ntp << 2).to_be_bytes();
    [hi, mid, lo]
}

/// Bounds of a receiver's playout delay, in milliseconds; kept in steps of 10, at most 40 950.
pub fn playout_delay(min_ms: u16, max_ms: u16) -> [u8; 3] {
    let [min, max] = [min_ms, max_ms].map(|ms| u32::from(ms / 10).min(0xfff));
    let [_, hi, mid, lo] = (min << 12 | max).to_be_bytes();
    [hi, mid, lo]
}

/// When the frame was captured, by the sender's clock. `ntp` as in [`Ntp`].
pub fn abs_capture_time(ntp: u64) -> [u8; 8] {
    ntp.to_be_bytes()
}

/// NTP time: seconds since 1900 in 32.32 bits, wrapping in 2036.
///
/// Source: RFC 3550 §4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ntp(pub u64);

impl Ntp {
    /// Seconds from 1900 to 1970.
    const UNIX_EPOCH_SECS: u64 = 2_208_988_800;

    /// The moment this long after 1970.
    pub fn from_unix(since_epoch: Duration) -> Self {
        Self(Self::UNIX_EPOCH_SECS << 32).plus(since_epoch)
    }

    /// The moment this much later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let fraction = (u64::from(duration.subsec_nanos()) << 32) / 1_000_000_000;
        Self(self.0.wrapping_add(duration.as_secs() << 32).wrapping_add(fraction))
    }

    /// The middle 32 bits, as reports have them: 16.16 seconds.
    pub fn mid32(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: Header = Header {
        payload_type: 96,
        marker: true,
        sequence_number: 0x1234,
        timestamp: 0x5678_9abc,
        ssrc: 0xfeed_f00d,
    };

    #[test]
    fn a_header_without_extensions_is_twelve_bytes() {
        let mut out = Vec::new();
        write_header(&HEADER, &[], &mut out);
        assert_eq!(hex::encode(out), "80e0123456789abcfeedf00d");
    }

    #[test]
    fn extensions_are_padded_to_words() {
        let mut out = vec![0xff];
        write_header(&HEADER, &[(1, b"0"), (3, &[1, 2, 3])], &mut out);
        assert_eq!(hex::encode(&out[1..]), "90e0123456789abcfeedf00dbede00021030320102030000");
        assert_eq!(payload_offset(&out[1..]), Ok(out.len() - 1));
    }

    #[test]
    fn what_one_byte_extensions_cannot_carry_is_left_out() {
        let long_mid = [b'm'; 17];
        let mut out = Vec::new();
        write_header(&HEADER, &[(1, &long_mid), (0, b"x"), (15, b"x"), (2, b"")], &mut out);
        assert_eq!(hex::encode(out), "80e0123456789abcfeedf00d");
    }

    #[test]
    fn csrcs_and_padding_are_skipped() {
        let mut bytes = Vec::new();
        write_header(&HEADER, &[], &mut bytes);
        bytes[0] |= 0x20 | 2;
        bytes.extend([0; 8]);
        bytes.extend(b"payload\0\0\x03");
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.header, HEADER);
        assert_eq!(packet.payload, b"payload");
        assert_eq!(packet.extensions.iter().count(), 0);
        *bytes.last_mut().unwrap() = 11;
        assert_eq!(Packet::parse(&bytes), Err(RtpError::Truncated));
    }

    #[test]
    fn both_forms_of_extensions_are_read() {
        let check = |extension: &str, expected: &[(u8, &[u8])]| {
            let mut bytes = Vec::new();
            write_header(&HEADER, &[], &mut bytes);
            bytes[0] |= 0x10;
            bytes.extend(hex::decode(extension).unwrap());
            bytes.extend(b"payload");
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!(packet.extensions.iter().collect::<Vec<_>>(), expected);
            assert_eq!(packet.payload, b"payload");
            for &(id, value) in expected {
                assert_eq!(packet.extensions.get(id), Some(value));
            }
            assert_eq!(packet.extensions.get(14), None);
        };
        check("bede000210aa000021bbcc00", &[(1, &[0xaa]), (2, &[0xbb, 0xcc])]);
        check("bede000110aaf010", &[(1, &[0xaa])]);
        check("bede000110aa2fbb", &[(1, &[0xaa])]);
        check("100000020100000202bbcc00", &[(1, &[]), (2, &[0xbb, 0xcc])]);
        check("10050001ff02bbcc", &[(255, &[0xbb, 0xcc])]);
        check("1234000110aa0000", &[]);
        check("bede0000", &[]);
    }

    #[test]
    fn extension_values_have_their_fixed_point_forms() {
        let ntp = Ntp(5 << 32 | 1 << 31);
        assert_eq!(abs_send_time(ntp.0), [0x16, 0, 0]);
        assert_eq!(abs_send_time(Ntp(69 << 32 | 1 << 31).0), [0x16, 0, 0]);
        assert_eq!(playout_delay(0, 400), [0, 0, 40]);
        assert_eq!(playout_delay(100, u16::MAX), [0x00, 0xaf, 0xff]);
        assert_eq!(abs_capture_time(ntp.0), [0, 0, 0, 5, 0x80, 0, 0, 0]);
    }

    #[test]
    fn ntp_counts_from_1900() {
        let time = Ntp::from_unix(Duration::from_millis(1_500));
        assert_eq!(time, Ntp(2_208_988_801 << 32 | 1 << 31));
        assert_eq!(time.mid32(), 0x7e81_8000);
        assert_eq!(Ntp(u64::MAX).plus(Duration::from_secs(1)), Ntp(u32::MAX.into()));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(first) = bytes.first_mut() {
                *first = *first & 0x3f | 0x80;
            }
            if let Ok(packet) = Packet::parse(&bytes) {
                let _ = packet.extensions.iter().count();
                prop_assert!(payload_offset(&bytes).unwrap() + packet.payload.len() <= bytes.len());
            }
        }

        #[test]
        fn what_is_written_is_read_back(
            ids in proptest::sample::subsequence((1..15).collect::<Vec<u8>>(), 0..14),
            values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..17), 14),
            payload_type in 0u8..128,
            marker: bool,
            payload in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let extensions: Vec<_> = ids.into_iter().zip(values.iter().map(Vec::as_slice)).collect();
            let header = Header { payload_type, marker, ..HEADER };
            let mut bytes = Vec::new();
            write_header(&header, &extensions, &mut bytes);
            bytes.extend(&payload);
            let packet = Packet::parse(&bytes).unwrap();
            prop_assert_eq!(packet.header, header);
            prop_assert_eq!(packet.extensions.iter().collect::<Vec<_>>(), extensions);
            prop_assert_eq!(packet.payload, payload);
        }
    }
}
