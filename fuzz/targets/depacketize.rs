//! Packets of a publisher into units, for every codec, out of order and with holes.
#![no_main]

use std::time::{Duration, Instant};

use damwall_fuzz::sansio::{
    assemble::RtpPacket, depacketize::Depacketizer, format::Codec, reorder::Reorder,
};
use damwall_fuzz::{Input, assert_fit, payload};
use libfuzzer_sys::fuzz_target;

const CODECS: [Codec; 8] = [
    Codec::Vp8,
    Codec::Vp9,
    Codec::Av1,
    Codec::H264,
    Codec::H265,
    Codec::Opus,
    Codec::Pcmu,
    Codec::Pcma,
];

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let codec = CODECS[usize::from(input.byte() % 8)];
    let mut depacketizer = Depacketizer::new(codec);
    let mut reorder = Reorder::new(Duration::from_millis(60));
    let mut now = Instant::now();
    let (mut sequence_number, mut timestamp_90k) = (0u16, 0);
    while !input.is_empty() {
        let flags = input.byte();
        sequence_number = match flags >> 5 {
            0 => sequence_number.wrapping_add(input.byte().into()),
            1 => sequence_number.wrapping_sub(3),
            _ => sequence_number.wrapping_add(1),
        };
        timestamp_90k += i64::from(flags & 1) * 3000;
        now += Duration::from_millis(u64::from(flags >> 2 & 7) * 10);
        let packet = (timestamp_90k, flags & 2 != 0, payload(&mut input));
        reorder.insert(now, sequence_number, packet);
        while let Some((lost_before, (timestamp_90k, marker, payload))) = reorder.pop(now) {
            let withheld = depacketizer.needs_key();
            let packet = RtpPacket { timestamp_90k, marker, payload, lost_before };
            let units: Vec<_> = depacketizer.push(packet).into_iter().flatten().collect();
            if let (true, Some(first)) = (withheld, units.first()) {
                assert!(first.is_key, "no decoder can start with this");
            }
            for unit in units {
                assert!(!unit.payloads.is_empty());
                if matches!(codec, Codec::H264 | Codec::H265) {
                    assert_fit(&unit.payloads);
                }
                let format = depacketizer.format("main");
                assert_eq!(format.codec, codec);
            }
        }
    }
});
