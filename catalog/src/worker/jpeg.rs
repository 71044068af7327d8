//! Whether a JPEG is all there. Must not: decode it.
//!
//! The decoder fills up what a cut-off file lacks with grey and reports nothing.

const START: u8 = 0xd8;
const END: u8 = 0xd9;

/// Whether the markers of a JPEG lead to its end-of-image marker. What follows that is not read.
///
/// Source: ITU-T T.81 Annex B.
pub(super) fn reaches_its_end(jpeg: &[u8]) -> bool {
    let mut rest = jpeg;
    // Between segments lie fill bytes and coded data; both are passed over to the next marker.
    while let Some(marker_at) = rest.iter().position(|&byte| byte == 0xff) {
        rest = &rest[marker_at + 1..];
        match rest.first().copied() {
            Some(END) => return true,
            // A stuffed byte, the marker's own fill, or a marker without a segment.
            Some(0x00 | 0x01 | 0xff | 0xd0..=0xd7 | START) => {}
            Some(_) => {
                let len =
                    rest.get(1..3).map(|len| usize::from(u16::from_be_bytes([len[0], len[1]])));
                match len.and_then(|len| rest.get(1 + len..)) {
                    Some(after) => rest = after,
                    None => return false,
                }
            }
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{ImageFormat, RgbImage};
    use proptest::prelude::*;

    use super::*;

    fn jpeg() -> Vec<u8> {
        let picture = RgbImage::from_fn(64, 64, |x, y| image::Rgb([(x * y) as u8, x as u8, 255]));
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn jpeg_is_whole_only_up_to_its_last_byte() {
        let whole = jpeg();
        assert!(reaches_its_end(&whole));
        assert!(reaches_its_end(&[whole.as_slice(), b"an appended video"].concat()));
        for len in 0..whole.len() {
            assert!(!reaches_its_end(&whole[..len]), "{len} of {}", whole.len());
        }
    }

    proptest! {
        #[test]
        fn jpeg_walk_takes_any_bytes(bytes in proptest::collection::vec(
            prop_oneof![Just(0xffu8), Just(0xd9), any::<u8>()], 0..200,
        )) {
            if reaches_its_end(&bytes) {
                prop_assert!(bytes.windows(2).any(|pair| pair == [0xff, END]));
            }
        }
    }
}
