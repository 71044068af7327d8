//! An encoder's byte stream: the same units however it is cut.
#![no_main]

use bytes::Bytes;
use damwall_fuzz::Input;
use damwall_fuzz::sansio::{
    annexb::AnnexB,
    h264::{NAL_AUD, nal_type},
};
use libfuzzer_sys::fuzz_target;

fn units<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<Bytes>> {
    let mut annexb = AnnexB::default();
    let mut units = Vec::new();
    for chunk in chunks {
        annexb.push(chunk).expect("the fuzzer's inputs are small");
        while let Some(unit) = annexb.next_unit() {
            assert!(!unit.is_empty());
            for nal in &unit {
                assert!(!nal.is_empty() && nal_type(nal) != NAL_AUD);
                assert!(!nal.windows(3).any(|bytes| bytes == [0, 0, 1]));
            }
            units.push(unit);
        }
    }
    units
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let chunk_len = usize::from(input.byte()) + 1;
    let stream = input.rest();
    let whole = units([stream].into_iter());
    assert_eq!(units(stream.chunks(chunk_len)), whole);
    let given: usize = whole.iter().flatten().map(Bytes::len).sum();
    assert!(given <= stream.len());
});
