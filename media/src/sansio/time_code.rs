//! The time in a picture, for programs: what a page reads from a frame to know how old it is. Must not:
//! draw, or read a clock.
//!
//! 64 blocks of equal width lie side by side over the whole width of the top sixteenth of the picture. A
//! block is 1 when its luma is 128 or more. From the left:
//!
//! ```text
//! 8 blocks    1 0 1 0 1 0 1 0, by which the code is known
//! 48 blocks   milliseconds since 1970 in UTC, most significant bit first
//! 8 blocks    the sum of the six bytes before, modulo 256
//! ```
//!
//! A browser draws the top sixteenth of its `<video>` on a canvas of 64 by 1 pixels and has one block in
//! each pixel; its middle alone is surer: `drawImage(video, 0, height / 32, width, 1, 0, 0, 64, 1)`.

/// Blocks side by side.
pub const BLOCKS: usize = 64;
/// The height of the code is this part of the picture's.
pub const HEIGHT_PART: usize = 16;

const START: u8 = 0b1010_1010;

/// Blocks from the left; `true` is white. Bits of `unix_ms` above the 48th are left out.
pub fn encode(unix_ms: u64) -> [bool; BLOCKS] {
    let [_, _, time @ ..] = unix_ms.to_be_bytes();
    let checksum = time.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    let code = u64::from(START) << 56 | (unix_ms & 0xffff_ffff_ffff) << 8 | u64::from(checksum);
    std::array::from_fn(|block| code >> (BLOCKS - 1 - block) & 1 == 1)
}

/// Milliseconds since 1970; `None` when the blocks are no time code.
pub fn decode(blocks: &[bool; BLOCKS]) -> Option<u64> {
    let code = blocks.iter().fold(0, |code, block| code << 1 | u64::from(*block));
    let unix_ms = code >> 8 & 0xffff_ffff_ffff;
    (encode(unix_ms) == *blocks).then_some(unix_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_layout_is_as_described() {
        let text = |unix_ms| encode(unix_ms).map(|block| if block { '1' } else { '0' });
        let expected = "1010101000000001100011001111110000000101001100110100111000001111";
        assert_eq!(String::from_iter(text(0x018c_fc05_334e)), expected);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(unix_ms in 0u64..1 << 48) {
            prop_assert_eq!(decode(&encode(unix_ms)), Some(unix_ms));
        }

        #[test]
        fn a_block_that_is_misread_is_noticed(unix_ms in 0u64..1 << 48, block in 0usize..BLOCKS) {
            let mut blocks = encode(unix_ms);
            blocks[block] = !blocks[block];
            prop_assert_eq!(decode(&blocks), None);
        }

        #[test]
        fn any_blocks_are_a_time_or_none(blocks in prop::collection::vec(any::<bool>(), BLOCKS)) {
            let _ = decode(&blocks.try_into().unwrap());
        }
    }
}
