//! RTCP on the wire: reports, feedback and extended reports, read here and written in `write`.
//!
//! Must not: encrypt, keep statistics, or decide when to send. Transport-wide feedback is not read.
//!
//! Source: RFC 3550 §6, RFC 4585 §6, RFC 5104 §4.3, RFC 5506, RFC 3611 §4, draft-alvestrand-rmcat-remb-03.

#[cfg(test)]
mod tests;
mod write;

use std::time::Duration;

use super::rtp::Ntp;
pub use write::{
    write_cname, write_delay_since_reference, write_goodbye, write_nack, write_picture_loss,
    write_receiver_estimate, write_receiver_report, write_sender_report,
};

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
const EXTENDED_REPORT: u8 = 207;

const FORMAT_NACK: u8 = 1;
const FORMAT_PICTURE_LOSS: u8 = 1;
const FORMAT_FULL_INTRA: u8 = 4;
const FORMAT_APPLICATION: u8 = 15;

const BLOCK_REFERENCE_TIME: u8 = 4;
const BLOCK_DELAY_SINCE_REFERENCE: u8 = 5;

const REMB: [u8; 4] = *b"REMB";

/// Whether a datagram in the range of RTP (first byte 128–191) is RTCP (RFC 5761 §4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [128..=191, 192..=223, ..])
}

/// Why bytes are not RTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtcpError {
    /// It ends inside a packet; nothing after it can be read.
    #[error("RTCP packet is cut short")]
    Truncated,
    /// Not version 2; nothing after it can be read.
    #[error("RTCP packet of an unknown version")]
    Version,
    /// This packet is too short for what it says it is; the next one can be read.
    #[error("RTCP packet of type {packet_type} is malformed")]
    Malformed {
        /// RTCP packet type.
        packet_type: u8,
    },
}

/// One packet of a compound; borrows the datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// What a sender sent, and what it received.
    SenderReport {
        /// What it sent.
        info: SenderInfo,
        /// What it received.
        reports: Reports<'a>,
    },
    /// What a receiver received.
    ReceiverReport {
        /// The receiver.
        ssrc: u32,
        /// One for each stream.
        reports: Reports<'a>,
    },
    /// Streams have ended.
    Goodbye {
        /// Which.
        ssrcs: Ssrcs<'a>,
    },
    /// Packets are missing and wanted again.
    Nack {
        /// Who asks.
        sender_ssrc: u32,
        /// The stream.
        media_ssrc: u32,
        /// Sequence numbers.
        lost: Lost<'a>,
    },
    /// The decoder cannot go on and wants a key frame.
    PictureLossIndication {
        /// Who asks.
        sender_ssrc: u32,
        /// The stream.
        media_ssrc: u32,
    },
    /// A key frame is wanted.
    FullIntraRequest {
        /// Who asks.
        sender_ssrc: u32,
        /// One for each stream.
        requests: IntraRequests<'a>,
    },
    /// Bit rate that the receiver thinks the path can take (REMB).
    ReceiverEstimate {
        /// In bits per second; saturates.
        bitrate_bps: u64,
        /// The streams that it is for, together.
        ssrcs: Ssrcs<'a>,
    },
    /// A receiver's clock, to be answered by [`write_delay_since_reference`].
    ReceiverReferenceTime {
        /// The receiver.
        ssrc: u32,
        /// Its time.
        ntp: Ntp,
    },
    /// Anything else.
    Other {
        /// RTCP packet type.
        packet_type: u8,
        /// The five bits that hold a count or a feedback format.
        format: u8,
    },
}

/// What a sender says of one of its streams (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// The stream.
    pub ssrc: u32,
    /// When the report was sent.
    pub ntp: Ntp,
    /// The same moment on the stream's RTP clock.
    pub rtp_timestamp: u32,
    /// Packets sent, wrapping.
    pub packets: u32,
    /// Payload bytes sent, wrapping.
    pub octets: u32,
}

/// What a receiver says of one stream (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream.
    pub ssrc: u32,
    /// Lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Lost since the beginning, 24 bits; negative when there were duplicates.
    pub cumulative_lost: i32,
    /// Highest sequence number received, with the number of roll-overs in the high half.
    pub highest_sequence_number: u32,
    /// Mean deviation of packet spacing, in RTP ticks.
    pub jitter: u32,
    /// [`Ntp::mid32`] of the last sender report; 0 when there was none.
    pub last_sr: u32,
    /// Time since that report came, in 1/65536 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    const LEN: usize = 24;

    fn read(block: &[u8; Self::LEN]) -> Self {
        let word = |n: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| block[4 * n + byte]));
        let lost = word(1);
        Self {
            ssrc: word(0),
            fraction_lost: (lost >> 24) as u8,
            // The shifts extend the sign of 24 bits.
            cumulative_lost: (lost << 8) as i32 >> 8,
            highest_sequence_number: word(2),
            jitter: word(3),
            last_sr: word(4),
            delay_since_last_sr: word(5),
        }
    }

    /// Time to the receiver and back, for the sender of `last_sr` that got this block at `now`; none
    /// when the receiver has had no sender report yet.
    pub fn round_trip(&self, now: Ntp) -> Option<Duration> {
        let elapsed = now.mid32().wrapping_sub(self.last_sr).wrapping_sub(self.delay_since_last_sr);
        // Rounding at the receiver can make a very short way negative.
        let elapsed = u64::try_from(elapsed as i32).unwrap_or(0);
        (self.last_sr != 0).then(|| Duration::from_nanos((elapsed * 1_000_000_000) >> 16))
    }
}

/// A delay as reports have it, in 1/65536 s; saturates after 18 hours.
pub fn in_65536ths(delay: Duration) -> u32 {
    ((delay.as_nanos() << 16) / 1_000_000_000).try_into().unwrap_or(u32::MAX)
}

/// Report blocks of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reports<'a>(&'a [[u8; ReportBlock::LEN]]);

impl<'a> Reports<'a> {
    /// In the order of the packet.
    pub fn iter(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        self.0.iter().map(ReportBlock::read)
    }
}

/// Streams that one packet names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ssrcs<'a>(&'a [[u8; 4]]);

impl<'a> Ssrcs<'a> {
    /// In the order of the packet.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.0.iter().map(|ssrc| u32::from_be_bytes(*ssrc))
    }
}

/// Sequence numbers that one NACK names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost<'a>(&'a [[u8; 4]]);

impl<'a> Lost<'a> {
    /// In the order of the packet; a hostile one can name a number many times.
    pub fn iter(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.0.iter().flat_map(|&[pid_hi, pid_lo, mask_hi, mask_lo]| {
            let first = u16::from_be_bytes([pid_hi, pid_lo]);
            let mask = u16::from_be_bytes([mask_hi, mask_lo]);
            let following = (0..16).filter(move |bit| mask >> bit & 1 != 0).map(|bit| bit + 1);
            std::iter::once(0).chain(following).map(move |step| first.wrapping_add(step))
        })
    }
}

/// Full intra requests of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntraRequests<'a>(&'a [[u8; 8]]);

impl<'a> IntraRequests<'a> {
    /// Stream and command number; a repeated number is the same command again.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u8)> + use<'a> {
        self.0
            .iter()
            .map(|&[s0, s1, s2, s3, command, ..]| (u32::from_be_bytes([s0, s1, s2, s3]), command))
    }
}

/// Reads a compound packet, or single packets (reduced-size RTCP), that is not encrypted any more.
///
/// After [`RtcpError::Truncated`] or [`RtcpError::Version`] the iterator ends.
pub fn parse(compound: &[u8]) -> impl Iterator<Item = Result<Packet<'_>, RtcpError>> {
    let mut rest = compound;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (frame, after) = match Frame::split(rest) {
            Ok(split) => split,
            Err(error) => {
                rest = &[];
                return Some(Err(error));
            }
        };
        rest = after;
        let malformed = RtcpError::Malformed { packet_type: frame.packet_type };
        Some(frame.read().ok_or(malformed))
    })
}

/// One packet of a compound before its type is looked at.
struct Frame<'a> {
    format: u8,
    packet_type: u8,
    body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first packet, and what follows it.
    fn split(compound: &'a [u8]) -> Result<(Self, &'a [u8]), RtcpError> {
        let ([first, packet_type, words @ ..], rest) =
            compound.split_first_chunk::<4>().ok_or(RtcpError::Truncated)?;
        if first >> 6 != 2 {
            return Err(RtcpError::Version);
        }
        let len = 4 * usize::from(u16::from_be_bytes(*words));
        let (mut body, rest) = rest.split_at_checked(len).ok_or(RtcpError::Truncated)?;
        let has_padding = first & 0x20 != 0;
        if has_padding {
            let padding_len = usize::from(*body.last().ok_or(RtcpError::Truncated)?);
            let len = body.len().checked_sub(padding_len).ok_or(RtcpError::Truncated)?;
            body = &body[..len];
        }
        Ok((Self { format: first & 0x1f, packet_type: *packet_type, body }, rest))
    }

    /// Nothing if the body is too short.
    fn read(&self) -> Option<Packet<'a>> {
        let Self { format, packet_type, body } = *self;
        let count = usize::from(format);
        let packet = match (packet_type, format) {
            (SENDER_REPORT, _) => {
                let (ssrc, body) = split_u32(body)?;
                let (ntp, body) = split_ntp(body)?;
                let (rtp_timestamp, body) = split_u32(body)?;
                let (packets, body) = split_u32(body)?;
                let (octets, body) = split_u32(body)?;
                let info = SenderInfo { ssrc, ntp, rtp_timestamp, packets, octets };
                Packet::SenderReport { info, reports: Reports(items(body, count)?) }
            }
            (RECEIVER_REPORT, _) => {
                let (ssrc, body) = split_u32(body)?;
                Packet::ReceiverReport { ssrc, reports: Reports(items(body, count)?) }
            }
            (GOODBYE, _) => Packet::Goodbye { ssrcs: Ssrcs(items(body, count)?) },
            (TRANSPORT_FEEDBACK, FORMAT_NACK) => {
                let (sender_ssrc, body) = split_u32(body)?;
                let (media_ssrc, body) = split_u32(body)?;
                Packet::Nack { sender_ssrc, media_ssrc, lost: Lost(body.as_chunks().0) }
            }
            (PAYLOAD_FEEDBACK, FORMAT_PICTURE_LOSS) => {
                let (sender_ssrc, body) = split_u32(body)?;
                let (media_ssrc, _) = split_u32(body)?;
                Packet::PictureLossIndication { sender_ssrc, media_ssrc }
            }
            (PAYLOAD_FEEDBACK, FORMAT_FULL_INTRA) => {
                let (sender_ssrc, body) = split_u32(body)?;
                // The streams are named in the requests.
                let (_, body) = split_u32(body)?;
                let requests = IntraRequests(body.as_chunks().0);
                Packet::FullIntraRequest { sender_ssrc, requests }
            }
            (PAYLOAD_FEEDBACK, FORMAT_APPLICATION)
                if body.get(8..).is_some_and(|body| body.starts_with(&REMB)) =>
            {
                let ([count, rate @ ..], body) = body[12..].split_first_chunk::<4>()?;
                let rate = u32::from_be_bytes([0, rate[0], rate[1], rate[2]]);
                let bitrate_bps = u128::from(rate & 0x3_ffff) << (rate >> 18);
                Packet::ReceiverEstimate {
                    bitrate_bps: bitrate_bps.try_into().unwrap_or(u64::MAX),
                    ssrcs: Ssrcs(items(body, usize::from(*count))?),
                }
            }
            (EXTENDED_REPORT, _) => {
                let (ssrc, body) = split_u32(body)?;
                match reference_time(body)? {
                    Some(ntp) => Packet::ReceiverReferenceTime { ssrc, ntp },
                    None => Packet::Other { packet_type, format },
                }
            }
            _ => Packet::Other { packet_type, format },
        };
        Some(packet)
    }
}

/// The reference time among the blocks of an extended report, if any.
fn reference_time(mut blocks: &[u8]) -> Option<Option<Ntp>> {
    while !blocks.is_empty() {
        let ([block_type, _, words @ ..], rest) = blocks.split_first_chunk::<4>()?;
        let (block, rest) = rest.split_at_checked(4 * usize::from(u16::from_be_bytes(*words)))?;
        if *block_type == BLOCK_REFERENCE_TIME {
            return split_ntp(block).map(|(ntp, _)| Some(ntp));
        }
        blocks = rest;
    }
    Some(None)
}

fn split_u32(body: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = body.split_first_chunk()?;
    Some((u32::from_be_bytes(*word), rest))
}

fn split_ntp(body: &[u8]) -> Option<(Ntp, &[u8])> {
    let (ntp, rest) = body.split_first_chunk()?;
    Some((Ntp(u64::from_be_bytes(*ntp)), rest))
}

/// The first `count` items of `N` bytes.
fn items<const N: usize>(body: &[u8], count: usize) -> Option<&[[u8; N]]> {
    body.as_chunks().0.get(..count)
}
