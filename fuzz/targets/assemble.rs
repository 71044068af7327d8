//! Packets of a camera into access units, from parameter sets that its SDP may have had.
#![no_main]

use damwall_fuzz::sansio::{
    assemble::{Assembler, ParameterSets, RtpPacket},
    h264, h265,
};
use damwall_fuzz::{Input, assert_fit, payload};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let choice = input.byte();
    let mut set = || Some(input.chunk().to_vec().into()).filter(|_| choice & 2 != 0);
    let sets: ParameterSets = if choice & 1 == 0 {
        h264::ParameterSets { sps: set(), pps: set() }.into()
    } else {
        h265::ParameterSets { vps: set(), sps: set(), pps: set() }.into()
    };
    let codec = sets.codec();
    let mut assembler = Assembler::new(sets);
    let (mut timestamp_90k, mut has_begun, mut pushed, mut given) = (0, false, 0, 0);
    while !input.is_empty() {
        let flags = input.byte();
        timestamp_90k += i64::from(flags & 1) * 3000;
        let packet = RtpPacket {
            timestamp_90k,
            marker: flags & 2 != 0,
            payload: payload(&mut input),
            lost_before: u16::from(flags & 0x1c == 0x1c),
        };
        let is_loss = packet.lost_before > 0;
        pushed += 1;
        let units = assembler.push(packet);
        for unit in units.into_iter().flatten() {
            assert!(unit.is_key || has_begun, "no decoder can start with this");
            has_begun = true;
            given += 1;
            assert!(!unit.payloads.is_empty());
            assert_fit(&unit.payloads);
            assert!(unit.timestamp_90k <= timestamp_90k);
        }
        // What follows a loss is withheld until the next key frame, which may end with this packet.
        has_begun &= !assembler.needs_key() && !is_loss;
        assert!(given + assembler.dropped_units() <= pushed);
        assert_eq!(assembler.parameter_sets().codec(), codec);
    }
    let _ = assembler.parameter_sets().format("main");
});
