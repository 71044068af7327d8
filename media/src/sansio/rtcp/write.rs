//! Writers of RTCP packets; each appends one packet, several in a row make a compound.

use std::time::Duration;

use super::{
    BLOCK_DELAY_SINCE_REFERENCE, EXTENDED_REPORT, FORMAT_APPLICATION, FORMAT_NACK,
    FORMAT_PICTURE_LOSS, GOODBYE, PAYLOAD_FEEDBACK, RECEIVER_REPORT, REMB, ReportBlock,
    SENDER_REPORT, SOURCE_DESCRIPTION, SenderInfo, TRANSPORT_FEEDBACK, in_65536ths,
};

/// The five bits of a count hold no more.
const MAX_COUNT: usize = 31;
const ITEM_CNAME: u8 = 1;
const MAX_CNAME_LEN: usize = 255;

/// Appends a packet whose body is what `write` appends, a multiple of 4 bytes.
fn write_packet(packet_type: u8, format: u8, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[0x80 | format, packet_type, 0, 0]);
    let body_at = out.len();
    write(out);
    let words = (out.len() - body_at) / 4;
    out[body_at - 2..body_at].copy_from_slice(&(words as u16).to_be_bytes());
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_report(out: &mut Vec<u8>, block: &ReportBlock) {
    put_u32(out, block.ssrc);
    let lost = block.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
    put_u32(out, u32::from(block.fraction_lost) << 24 | lost);
    put_u32(out, block.highest_sequence_number);
    put_u32(out, block.jitter);
    put_u32(out, block.last_sr);
    put_u32(out, block.delay_since_last_sr);
}

/// Appends a sender report, with at most 31 of the report blocks.
pub fn write_sender_report(info: &SenderInfo, reports: &[ReportBlock], out: &mut Vec<u8>) {
    let reports = &reports[..reports.len().min(MAX_COUNT)];
    write_packet(SENDER_REPORT, reports.len() as u8, out, |out| {
        put_u32(out, info.ssrc);
        out.extend_from_slice(&info.ntp.0.to_be_bytes());
        put_u32(out, info.rtp_timestamp);
        put_u32(out, info.packets);
        put_u32(out, info.octets);
        reports.iter().for_each(|block| put_report(out, block));
    });
}

/// Appends a receiver report, with at most 31 of the report blocks.
pub fn write_receiver_report(ssrc: u32, reports: &[ReportBlock], out: &mut Vec<u8>) {
    let reports = &reports[..reports.len().min(MAX_COUNT)];
    write_packet(RECEIVER_REPORT, reports.len() as u8, out, |out| {
        put_u32(out, ssrc);
        reports.iter().for_each(|block| put_report(out, block));
    });
}

/// Appends a source description with the canonical name, of which at most 255 bytes are used.
pub fn write_cname(ssrc: u32, cname: &str, out: &mut Vec<u8>) {
    let cname = &cname.as_bytes()[..cname.len().min(MAX_CNAME_LEN)];
    write_packet(SOURCE_DESCRIPTION, 1, out, |out| {
        put_u32(out, ssrc);
        out.extend_from_slice(&[ITEM_CNAME, cname.len() as u8]);
        out.extend_from_slice(cname);
        // At least one zero byte ends the items.
        let padding_len = 4 - (2 + cname.len()) % 4;
        out.extend_from_slice(&[0; 4][..padding_len]);
    });
}

/// Appends a goodbye for at most 31 of the streams.
pub fn write_goodbye(ssrcs: &[u32], out: &mut Vec<u8>) {
    let ssrcs = &ssrcs[..ssrcs.len().min(MAX_COUNT)];
    write_packet(GOODBYE, ssrcs.len() as u8, out, |out| {
        ssrcs.iter().for_each(|&ssrc| put_u32(out, ssrc));
    });
}

/// Appends a NACK of the sequence numbers `lost`, in the order they were sent (so that 65535 stands
/// before 0); nothing when there are none. Any other order is correct but longer.
///
/// The caller sees to it that the packet fits a datagram: 4 bytes per number at worst.
pub fn write_nack(sender_ssrc: u32, media_ssrc: u32, lost: &[u16], out: &mut Vec<u8>) {
    let Some((&first, rest)) = lost.split_first() else { return };
    write_packet(TRANSPORT_FEEDBACK, FORMAT_NACK, out, |out| {
        put_u32(out, sender_ssrc);
        put_u32(out, media_ssrc);
        let mut put =
            |first: u16, mask: u16| put_u32(out, u32::from(first) << 16 | u32::from(mask));
        let (mut first, mut mask) = (first, 0);
        for &number in rest {
            match number.wrapping_sub(first) {
                0 => {}
                step @ 1..=16 => mask |= 1 << (step - 1),
                _ => {
                    put(first, mask);
                    (first, mask) = (number, 0);
                }
            }
        }
        put(first, mask);
    });
}

/// Appends a picture loss indication.
pub fn write_picture_loss(sender_ssrc: u32, media_ssrc: u32, out: &mut Vec<u8>) {
    write_packet(PAYLOAD_FEEDBACK, FORMAT_PICTURE_LOSS, out, |out| {
        put_u32(out, sender_ssrc);
        put_u32(out, media_ssrc);
    });
}

/// Appends a receiver's estimate (REMB) for the streams together, of which at most 255 are named. The
/// bit rate is rounded down to 18 significant bits.
pub fn write_receiver_estimate(
    sender_ssrc: u32,
    bitrate_bps: u64,
    ssrcs: &[u32],
    out: &mut Vec<u8>,
) {
    let ssrcs = &ssrcs[..ssrcs.len().min(255)];
    write_packet(PAYLOAD_FEEDBACK, FORMAT_APPLICATION, out, |out| {
        put_u32(out, sender_ssrc);
        put_u32(out, 0);
        out.extend_from_slice(&REMB);
        let exponent = (u64::BITS - bitrate_bps.leading_zeros()).saturating_sub(18);
        let mantissa = (bitrate_bps >> exponent) as u32;
        put_u32(out, (ssrcs.len() as u32) << 24 | exponent << 18 | mantissa);
        ssrcs.iter().for_each(|&ssrc| put_u32(out, ssrc));
    });
}

/// Appends the answer (DLRR) to a receiver's reference time: its [`mid32`](crate::sansio::rtp::Ntp::mid32)
/// and how long ago it came.
///
/// Source: RFC 3611 §4.5.
pub fn write_delay_since_reference(
    sender_ssrc: u32,
    receiver_ssrc: u32,
    last_reference: u32,
    delay: Duration,
    out: &mut Vec<u8>,
) {
    write_packet(EXTENDED_REPORT, 0, out, |out| {
        put_u32(out, sender_ssrc);
        out.extend_from_slice(&[BLOCK_DELAY_SINCE_REFERENCE, 0, 0, 3]);
        put_u32(out, receiver_ssrc);
        put_u32(out, last_reference);
        put_u32(out, in_65536ths(delay));
    });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::sansio::{
        rtcp::{Packet, parse},
        rtp::Ntp,
    };

    fn write(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        hex::encode(out)
    }

    #[test]
    fn a_cname_ends_with_a_zero_byte_at_least() {
        let check = |cname, expected: &str| {
            assert_eq!(write(|out| write_cname(1, cname, out)), expected);
        };
        check("a", "81ca00020000000101016100");
        check("ab", "81ca0003000000010102616200000000");
        check("abcde", "81ca0003000000010105616263646500");
    }

    #[test]
    fn a_reference_time_is_answered() {
        let delay = Duration::from_millis(250);
        let written = write(|out| write_delay_since_reference(1, 2, 0x1234_5678, delay, out));
        assert_eq!(written, "80cf00050000000105000003000000021234567800004000");
    }

    #[test]
    fn a_nack_packs_sixteen_followers_into_a_mask() {
        let written = write(|out| write_nack(1, 2, &[0xfffe, 0xffff, 14, 15, 0x100], out));
        assert_eq!(written, "81cd00050000000100000002fffe8001000f000001000000");
        assert_eq!(write(|out| write_nack(1, 2, &[], out)), "");
    }

    fn report_block() -> impl Strategy<Value = ReportBlock> {
        (any::<[u32; 5]>(), any::<u8>(), -0x80_0000..0x80_0000).prop_map(
            |([ssrc, highest_sequence_number, jitter, last_sr, delay], fraction, lost)| {
                ReportBlock {
                    ssrc,
                    fraction_lost: fraction,
                    cumulative_lost: lost,
                    highest_sequence_number,
                    jitter,
                    last_sr,
                    delay_since_last_sr: delay,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn reports_are_read_back(
            [ssrc, rtp_timestamp, packets, octets]: [u32; 4],
            ntp: u64,
            blocks in vec(report_block(), 0..40),
        ) {
            let info = SenderInfo { ssrc, ntp: Ntp(ntp), rtp_timestamp, packets, octets };
            let mut out = Vec::new();
            write_sender_report(&info, &blocks, &mut out);
            write_receiver_report(ssrc, &blocks, &mut out);
            write_cname(ssrc, "camera", &mut out);
            let kept = &blocks[..blocks.len().min(31)];
            let read: Vec<_> = parse(&out).map(Result::unwrap).collect();
            let [
                Packet::SenderReport { info: read_info, reports },
                Packet::ReceiverReport { ssrc: read_ssrc, reports: read_reports },
                Packet::Other { packet_type: 202, format: 1 },
            ] = read[..] else {
                return Err(TestCaseError::fail(format!("{read:?}")));
            };
            prop_assert_eq!(read_info, info);
            prop_assert_eq!(read_ssrc, ssrc);
            prop_assert_eq!(reports.iter().collect::<Vec<_>>(), kept);
            prop_assert_eq!(read_reports.iter().collect::<Vec<_>>(), kept);
        }

        #[test]
        fn feedback_is_read_back(
            [sender, media]: [u32; 2],
            bitrate: u64,
            named in vec(any::<u32>(), 0..20),
        ) {
            let mut out = Vec::new();
            write_picture_loss(sender, media, &mut out);
            write_receiver_estimate(sender, bitrate, &named, &mut out);
            write_delay_since_reference(sender, media, 5, Duration::from_secs(1), &mut out);
            write_goodbye(&named, &mut out);
            let read: Vec<_> = parse(&out).map(Result::unwrap).collect();
            let [
                Packet::PictureLossIndication { sender_ssrc, media_ssrc },
                Packet::ReceiverEstimate { bitrate_bps, ssrcs },
                Packet::Other { packet_type: 207, .. },
                Packet::Goodbye { ssrcs: gone },
            ] = read[..] else {
                return Err(TestCaseError::fail(format!("{read:?}")));
            };
            prop_assert_eq!((sender_ssrc, media_ssrc), (sender, media));
            prop_assert!(bitrate_bps <= bitrate && bitrate - bitrate_bps <= bitrate >> 17);
            prop_assert_eq!(ssrcs.iter().collect::<Vec<_>>(), &named[..]);
            prop_assert_eq!(gone.iter().collect::<Vec<_>>(), &named[..]);
        }

        #[test]
        fn a_nack_names_exactly_what_is_lost(
            start: u16,
            steps in vec(prop_oneof![1u16..4, 14u16..20, 1u16..300], 1..60),
        ) {
            let lost: Vec<u16> = steps
                .into_iter()
                .scan(start, |at, step| {
                    *at = at.wrapping_add(step);
                    Some(*at)
                })
                .collect();
            let mut out = Vec::new();
            write_nack(1, 2, &lost, &mut out);
            prop_assert!(out.len() <= 12 + 4 * lost.len());
            let read: Vec<_> = parse(&out).map(Result::unwrap).collect();
            let [Packet::Nack { sender_ssrc: 1, media_ssrc: 2, lost: named }] = read[..] else {
                return Err(TestCaseError::fail(format!("{read:?}")));
            };
            prop_assert_eq!(named.iter().collect::<Vec<_>>(), lost);
        }

        #[test]
        fn a_nack_out_of_order_names_the_same_set(lost in vec(any::<u16>(), 1..60)) {
            let mut out = Vec::new();
            write_nack(1, 2, &lost, &mut out);
            let read: Vec<_> = parse(&out).map(Result::unwrap).collect();
            let [Packet::Nack { lost: named, .. }] = read[..] else {
                return Err(TestCaseError::fail(format!("{read:?}")));
            };
            let named: BTreeSet<_> = named.iter().collect();
            prop_assert_eq!(named, lost.into_iter().collect::<BTreeSet<_>>());
        }
    }
}
