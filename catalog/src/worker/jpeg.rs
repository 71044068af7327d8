//! JPEGs: whether one is all there, and decoding it to no more pixels than are needed.
//!
//! The decoder fills up what a cut-off file lacks with grey; the walk over its markers tells.
//! libjpeg-turbo takes fewer coefficients of each block where a smaller picture is wanted, which saves
//! half of the time of a thumbnail. It is C, and runs in the worker process alone.

use fast_image_resize::{PixelType, images::Image};
use turbojpeg::{Colorspace, Decompressor, PixelFormat, ScalingFactor};

/// Scans of a progressive JPEG; a bomb has thousands, each of which costs as much as the picture.
const MAX_SCANS: u32 = 200;

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

/// The picture at half, a quarter or an eighth of its size where that leaves a quarter more than
/// `at_least_px` on the longer side; RGB of 8 bits, not turned. `None` where another decoder should try.
pub(super) fn decode_scaled(jpeg: &[u8], at_least_px: u32) -> Option<Image<'static>> {
    let mut decompressor = Decompressor::new().ok()?;
    decompressor.set_scan_limit(MAX_SCANS).ok()?;
    let header = decompressor.read_header(jpeg).ok()?;
    // Four inks: libjpeg-turbo leaves the conversion to others.
    if matches!(header.colorspace, Colorspace::CMYK | Colorspace::YCCK) {
        return None;
    }
    let longer = header.width.max(header.height);
    let wanted = at_least_px as usize + at_least_px as usize / 4;
    let factor = [8, 4, 2, 1]
        .map(|denominator| ScalingFactor::new(1, denominator))
        .into_iter()
        .find(|factor| factor.scale(longer) >= wanted)
        .unwrap_or(ScalingFactor::ONE);
    decompressor.set_scaling_factor(factor).ok()?;
    let (width, height) = (factor.scale(header.width), factor.scale(header.height));
    let pitch = width.checked_mul(PixelFormat::RGB.size())?;
    let mut pixels = vec![0; pitch.checked_mul(height)?];
    let image = turbojpeg::Image {
        pixels: pixels.as_mut_slice(),
        width,
        pitch,
        height,
        format: PixelFormat::RGB,
    };
    decompressor.decompress(jpeg, image).ok()?;
    let (width, height) = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    Image::from_vec_u8(width, height, pixels, PixelType::U8x3).ok()
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

    #[test]
    fn jpeg_is_decoded_to_no_more_than_is_needed() {
        let picture = RgbImage::from_fn(1600, 1200, |x, y| image::Rgb([x as u8, y as u8, 9]));
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
        let size = |at_least_px| {
            let pixels = decode_scaled(bytes.get_ref(), at_least_px).unwrap();
            (pixels.width(), pixels.height())
        };
        assert_eq!(size(100), (200, 150));
        assert_eq!(size(320), (400, 300));
        assert_eq!(size(640), (800, 600));
        assert_eq!(size(1280), (1600, 1200));
        assert_eq!(size(5000), (1600, 1200));
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
