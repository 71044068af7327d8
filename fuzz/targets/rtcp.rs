//! RTCP compounds: reading ends, and what is written is read again.
#![no_main]

use std::collections::BTreeSet;

use damwall_fuzz::Input;
use damwall_fuzz::sansio::{
    rtcp::{
        Packet, RtcpError, parse, write_goodbye, write_nack, write_receiver_estimate,
        write_receiver_report, write_sender_report,
    },
    rtp::Ntp,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut packets = 0;
    let mut has_ended = false;
    for packet in parse(data) {
        assert!(!has_ended, "nothing can be read after this error");
        packets += 1;
        match packet {
            Ok(packet) => walk(packet, data.len()),
            Err(error) => has_ended = matches!(error, RtcpError::Truncated | RtcpError::Version),
        }
    }
    // A packet has four bytes at least; the last may be cut short.
    assert!(packets <= data.len() / 4 + 1);
    round_trips(data);
});

fn walk(packet: Packet<'_>, len: usize) {
    match packet {
        Packet::SenderReport { reports, info } => {
            let mut again = Vec::new();
            let reports: Vec<_> = reports.iter().collect();
            write_sender_report(&info, &reports, &mut again);
            let Some(Ok(Packet::SenderReport { info: found, reports: blocks })) =
                parse(&again).next()
            else {
                panic!("what we write is read")
            };
            assert_eq!((found, blocks.iter().collect::<Vec<_>>()), (info, reports));
        }
        Packet::ReceiverReport { ssrc, reports } => {
            let mut again = Vec::new();
            let reports: Vec<_> = reports.iter().collect();
            write_receiver_report(ssrc, &reports, &mut again);
            let Some(Ok(Packet::ReceiverReport { ssrc: found, reports: blocks })) =
                parse(&again).next()
            else {
                panic!("what we write is read")
            };
            assert_eq!((found, blocks.iter().collect::<Vec<_>>()), (ssrc, reports.clone()));
            for report in &reports {
                let _ = report.round_trip(Ntp(u64::from(ssrc) << 20));
            }
        }
        Packet::Goodbye { ssrcs } => assert!(4 * ssrcs.iter().count() <= len),
        // Four bytes name 17 numbers at most.
        Packet::Nack { lost, .. } => assert!(lost.iter().count() <= 17 * len / 4),
        Packet::FullIntraRequest { requests, .. } => assert!(8 * requests.iter().count() <= len),
        Packet::ReceiverEstimate { ssrcs, .. } => assert!(4 * ssrcs.iter().count() <= len),
        Packet::ReceiverReferenceTime { ntp, .. } => {
            let _ = ntp.mid32();
        }
        Packet::PictureLossIndication { .. } | Packet::Other { .. } => {}
    }
}

fn round_trips(data: &[u8]) {
    let mut input = Input::new(data);
    let bitrate_bps = u64::from(input.word()) << (input.byte() % 48);
    let mut numbers = Vec::new();
    while !input.is_empty() {
        numbers.push(input.word());
    }
    let ssrcs: Vec<u32> = numbers.iter().take(31).map(|number| u32::from(*number)).collect();
    let mut written = Vec::new();
    write_nack(1, 2, &numbers, &mut written);
    write_goodbye(&ssrcs, &mut written);
    write_receiver_estimate(1, bitrate_bps, &ssrcs, &mut written);
    for packet in parse(&written) {
        match packet.expect("what we write is read") {
            Packet::Nack { lost, .. } => {
                let wanted: BTreeSet<_> = numbers.iter().copied().collect();
                assert_eq!(lost.iter().collect::<BTreeSet<_>>(), wanted);
            }
            Packet::Goodbye { ssrcs: found } => assert!(found.iter().eq(ssrcs.iter().copied())),
            Packet::ReceiverEstimate { bitrate_bps: found, ssrcs: named } => {
                assert!(found <= bitrate_bps && bitrate_bps - found <= bitrate_bps >> 17);
                assert!(named.iter().eq(ssrcs.iter().copied()));
            }
            other => panic!("not written: {other:?}"),
        }
    }
}
