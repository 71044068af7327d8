//! The blocks of a picture as a time code.
#![no_main]

use damwall_fuzz::sansio::time_code::{BLOCKS, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: [u8; 8]| {
    let code = u64::from_be_bytes(data);
    let blocks: [bool; BLOCKS] = std::array::from_fn(|block| code >> (63 - block) & 1 == 1);
    if let Some(unix_ms) = decode(&blocks) {
        assert_eq!(encode(unix_ms), blocks);
    }
    assert_eq!(decode(&encode(code)), Some(code & 0xffff_ffff_ffff));
});
