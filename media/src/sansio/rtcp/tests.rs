//! Reading: each kind of packet, and hostile bytes. What is written is read back in `write`.

use proptest::prelude::*;

use super::*;

fn check(compound: &str, expected: &[Result<Packet<'_>, RtcpError>]) {
    let compound = hex::decode(compound).unwrap();
    assert_eq!(parse(&compound).collect::<Vec<_>>(), expected);
}

#[test]
fn a_negative_loss_keeps_its_sign() {
    let compound =
        hex::decode("81c90007000000010000feed40fffffe00011234000000051234567800010000").unwrap();
    let Some(Ok(Packet::ReceiverReport { ssrc: 1, reports })) = parse(&compound).next() else {
        panic!("a receiver report");
    };
    let expected = ReportBlock {
        ssrc: 0xfeed,
        fraction_lost: 0x40,
        cumulative_lost: -2,
        highest_sequence_number: 0x1_1234,
        jitter: 5,
        last_sr: 0x1234_5678,
        delay_since_last_sr: 0x1_0000,
    };
    assert_eq!(reports.iter().collect::<Vec<_>>(), [expected]);
    let mid32 = |mid: u32| Ntp(u64::from(mid) << 16);
    assert_eq!(expected.round_trip(mid32(0x1235_d678)), Some(Duration::from_millis(500)));
    assert_eq!(expected.round_trip(mid32(0x1235_5677)), Some(Duration::ZERO));
    assert_eq!(ReportBlock { last_sr: 0, ..expected }.round_trip(mid32(5)), None);
    assert_eq!(in_65536ths(Duration::from_millis(1500)), 0x1_8000);
}

#[test]
fn feedback_is_read_without_a_report_before_it() {
    let pli = Packet::PictureLossIndication { sender_ssrc: 1, media_ssrc: 2 };
    check("81ce00020000000100000002", &[Ok(pli)]);
    let fir = Packet::FullIntraRequest {
        sender_ssrc: 1,
        requests: IntraRequests(&[[0, 0, 0, 2, 7, 0, 0, 0]]),
    };
    check("84ce000400000001000000000000000207000000", &[Ok(fir)]);
    assert_eq!(IntraRequests(&[[0, 0, 0, 2, 7, 0, 0, 0]]).iter().collect::<Vec<_>>(), [(2, 7)]);
}

#[test]
fn a_receiver_estimate_saturates() {
    let check_rate = |rate: &str, bitrate_bps| {
        let ssrcs = Ssrcs(&[[0, 0, 0, 2]]);
        let remb = Packet::ReceiverEstimate { bitrate_bps, ssrcs };
        check(&format!("8fce0005000000010000000052454d4201{rate}00000002"), &[Ok(remb)]);
    };
    check_rate("000000", 0);
    check_rate("03ffff", 0x3_ffff);
    check_rate("080003", 12);
    check_rate("ffffff", u64::MAX);
    let other = Packet::Other { packet_type: 206, format: 15 };
    check("8fce0003000000010000000058585858", &[Ok(other)]);
}

#[test]
fn a_reference_time_is_found_behind_other_blocks() {
    let expected = Packet::ReceiverReferenceTime { ssrc: 1, ntp: Ntp(0x0102_0304_0506_0708) };
    check("80cf000600000001ff000001aaaaaaaa040000020102030405060708", &[Ok(expected)]);
}

#[test]
fn what_is_not_known_is_passed_over() {
    let sdes = Packet::Other { packet_type: 202, format: 1 };
    let feedback = Packet::Other { packet_type: 205, format: 15 };
    let goodbye = Packet::Goodbye { ssrcs: Ssrcs(&[[0, 0, 0, 3]]) };
    check(
        "81ca000200000001010000008fcd000081cb000100000003",
        &[Ok(sdes), Ok(feedback), Ok(goodbye)],
    );
}

#[test]
fn a_malformed_packet_does_not_hide_the_next_one() {
    let pli = Packet::PictureLossIndication { sender_ssrc: 1, media_ssrc: 2 };
    let malformed = RtcpError::Malformed { packet_type: 201 };
    check("81c900010000000181ce00020000000100000002", &[Err(malformed), Ok(pli)]);
    check("81ce0002000000010000000281ce00", &[Ok(pli), Err(RtcpError::Truncated)]);
    check("01ce00020000000100000002", &[Err(RtcpError::Version)]);
}

#[test]
fn padding_is_removed() {
    let goodbye = Packet::Goodbye { ssrcs: Ssrcs(&[[0, 0, 0, 3]]) };
    check("a1cb00020000000300000004", &[Ok(goodbye)]);
    let malformed = RtcpError::Malformed { packet_type: 203 };
    check("a1cb00020000000300000008", &[Err(malformed)]);
    check("a1cb00020000000300000009", &[Err(RtcpError::Truncated)]);
}

#[test]
fn rtcp_is_told_from_rtp() {
    assert!(is_rtcp(&[0x80, 200]));
    assert!(is_rtcp(&[0x81, 207]));
    // Payload type 96 with and without the marker bit.
    assert!(!is_rtcp(&[0x80, 96]));
    assert!(!is_rtcp(&[0x80, 224]));
    assert!(!is_rtcp(&[0x16, 200]));
    assert!(!is_rtcp(&[0x80]));
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(
        packets in proptest::collection::vec(
            (any::<u8>(), 198u8..210, 0u8..12, proptest::collection::vec(any::<u8>(), 0..48)),
            0..6,
        ),
    ) {
        let mut compound = Vec::new();
        for (first, packet_type, words, body) in packets {
            compound.extend([first & 0x3f | 0x80, packet_type, 0, words]);
            compound.extend(body);
        }
        // Each step takes at least a header.
        let mut steps = 0;
        for packet in parse(&compound) {
            steps += 1;
            match packet {
                Ok(Packet::SenderReport { reports, .. } | Packet::ReceiverReport { reports, .. }) => {
                    let _ = reports.iter().filter_map(|block| block.round_trip(Ntp(0))).count();
                }
                Ok(Packet::Goodbye { ssrcs } | Packet::ReceiverEstimate { ssrcs, .. }) => {
                    let _ = ssrcs.iter().count();
                }
                Ok(Packet::Nack { lost, .. }) => {
                    let _ = lost.iter().count();
                }
                Ok(Packet::FullIntraRequest { requests, .. }) => {
                    let _ = requests.iter().count();
                }
                _ => {}
            }
        }
        prop_assert!(steps <= compound.len().div_ceil(4));
    }

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(parse(&bytes).count() <= bytes.len().div_ceil(4));
    }
}
