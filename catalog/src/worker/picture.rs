//! Pictures of a picture: decoded once, shrunk step by step, written as WebP.
//!
//! Must not: decode before the size is known, or grow a picture.

use std::{fs, io, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use domain::RenditionKind;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer, images::Image};
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage, RgbaImage,
    metadata::Orientation,
};

use super::{SizePx, ThumbReport, jpeg};
use crate::renditions::fit_px;

/// Largest picture that is decoded.
const MAX_PIXELS: u64 = 250_000_000;
/// What a decoder may allocate at once, well within the worker's memory.
const DECODER_BYTES: u64 = 1_200_000_000;
/// WebP quality, of 100. With [`METHOD`] it looks at least as much like the original (SSIM) as what
/// `vipsthumbnail` makes by itself, for an eighth to a fifth more bytes and a quarter of the processor
/// time (docs/benchmarks.md).
const QUALITY: f32 = 78.0;
/// WebP effort, of 6; from 2 on it takes twice the time for a tenth fewer bytes.
const METHOD: i32 = 1;
/// ThumbHash takes no larger picture.
const THUMBHASH_PX: u32 = 100;
/// Longest reason in a report, in characters.
const REASON_CHARS: usize = 200;

pub(super) enum ThumbError {
    /// The picture's own fault.
    Refused(String),
    /// Not the picture's fault.
    Io(io::Error),
}

/// A decoded picture, not turned yet.
struct Decoded {
    /// May be smaller than the original, but not smaller than was asked for.
    pixels: Image<'static>,
    orientation: Orientation,
    /// The whole picture, not turned either.
    width_px: u32,
    height_px: u32,
}

/// Writes the pictures that are asked for, each from the next larger one; `outputs` in growing order.
pub(super) fn make_thumbs(
    input: &Path,
    outputs: &[(RenditionKind, &Path)],
) -> Result<ThumbReport, ThumbError> {
    let fit = |kind| fit_px(kind).ok_or_else(|| broken("a rendition that is no picture"));
    let largest_px = outputs.last().map_or(Ok(0), |(kind, _)| fit(*kind))?;
    let Decoded { mut pixels, orientation, width_px, height_px } = decode(input, largest_px)?;
    let mut sizes = Vec::with_capacity(outputs.len());
    for (kind, path) in outputs.iter().rev() {
        pixels = shrunk(pixels, fit(*kind)?)?;
        sizes.push(write_webp(&pixels, orientation, path)?);
    }
    sizes.reverse();
    let thumbhash = thumbhash(shrunk(pixels, THUMBHASH_PX)?, orientation)?;
    Ok(ThumbReport::Made { original: turned(width_px, height_px, orientation), sizes, thumbhash })
}

/// Decodes a picture after a look at its size, into RGB or RGBA of 8 bits.
fn decode(input: &Path, at_least_px: u32) -> Result<Decoded, ThumbError> {
    let mut reader = ImageReader::open(input)
        .and_then(ImageReader::with_guessed_format)
        .map_err(ThumbError::Io)?;
    let mut jpeg_bytes = None;
    if reader.format() == Some(ImageFormat::Jpeg) {
        let bytes = fs::read(input).map_err(ThumbError::Io)?;
        if !jpeg::reaches_its_end(&bytes) {
            return Err(ThumbError::Refused("The picture is damaged: its end is missing.".into()));
        }
        jpeg_bytes = Some(bytes);
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODER_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(refused)?;
    let (width_px, height_px) = decoder.dimensions();
    if u64::from(width_px) * u64::from(height_px) > MAX_PIXELS {
        let limit = MAX_PIXELS / 1_000_000;
        let reason = format!(
            "The picture is too large to decode: {width_px} × {height_px} pixels, over {limit} megapixels."
        );
        return Err(ThumbError::Refused(reason));
    }
    // A picture whose metadata is damaged is shown as it lies.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let scaled = jpeg_bytes.and_then(|bytes| jpeg::decode_scaled(&bytes, at_least_px));
    let pixels = match scaled {
        Some(pixels) => pixels,
        None => {
            let decoded = DynamicImage::from_decoder(decoder).map_err(refused)?;
            let (bytes, pixel_type) = if decoded.color().has_alpha() {
                (decoded.into_rgba8().into_raw(), PixelType::U8x4)
            } else {
                (decoded.into_rgb8().into_raw(), PixelType::U8x3)
            };
            Image::from_vec_u8(width_px, height_px, bytes, pixel_type).map_err(broken)?
        }
    };
    Ok(Decoded { pixels, orientation, width_px, height_px })
}

/// A picture that fits a square of `fit_px`; one that fits already is left as it is.
fn shrunk(pixels: Image<'static>, fit_px: u32) -> Result<Image<'static>, ThumbError> {
    let (width, height) = fit(pixels.width(), pixels.height(), fit_px);
    if (width, height) == (pixels.width(), pixels.height()) {
        return Ok(pixels);
    }
    let mut smaller = Image::new(width, height, pixels.pixel_type());
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
    Resizer::new().resize(&pixels, &mut smaller, &options).map_err(broken)?;
    Ok(smaller)
}

fn upright(pixels: &Image<'static>, orientation: Orientation) -> Result<DynamicImage, ThumbError> {
    let (width, height, bytes) = (pixels.width(), pixels.height(), pixels.buffer().to_vec());
    let picture = if pixels.pixel_type() == PixelType::U8x4 {
        RgbaImage::from_raw(width, height, bytes).map(DynamicImage::ImageRgba8)
    } else {
        RgbImage::from_raw(width, height, bytes).map(DynamicImage::ImageRgb8)
    };
    let mut picture = picture.ok_or_else(|| broken("a buffer of the wrong length"))?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

fn write_webp(
    pixels: &Image<'static>,
    orientation: Orientation,
    path: &Path,
) -> Result<SizePx, ThumbError> {
    let picture = upright(pixels, orientation)?;
    let (width_px, height_px) = (picture.width(), picture.height());
    let encoder = match &picture {
        DynamicImage::ImageRgba8(image) => webp::Encoder::from_rgba(image, width_px, height_px),
        other => webp::Encoder::from_rgb(other.as_bytes(), width_px, height_px),
    };
    let mut config = webp::WebPConfig::new().map_err(|()| broken("libwebp of another version"))?;
    config.quality = QUALITY;
    config.method = METHOD;
    let encoded = encoder
        .encode_advanced(&config)
        .map_err(|error| broken(format!("WebP error {error:?}")))?;
    fs::write(path, &*encoded).map_err(ThumbError::Io)?;
    Ok(SizePx { width_px, height_px })
}

fn thumbhash(pixels: Image<'static>, orientation: Orientation) -> Result<String, ThumbError> {
    let rgba = upright(&pixels, orientation)?.into_rgba8();
    let (width, height) = (rgba.width() as usize, rgba.height() as usize);
    Ok(BASE64_STANDARD.encode(thumbhash::rgba_to_thumb_hash(width, height, &rgba)))
}

/// The largest size of the same shape within a square of `fit_px`, but not larger than it is.
fn fit(width: u32, height: u32, fit_px: u32) -> (u32, u32) {
    let longer = width.max(height);
    if longer <= fit_px {
        return (width, height);
    }
    let scaled = |side: u32| {
        let rounded =
            (u64::from(side) * u64::from(fit_px) + u64::from(longer) / 2) / u64::from(longer);
        u32::try_from(rounded).unwrap_or(fit_px).max(1)
    };
    (scaled(width), scaled(height))
}

/// The size of a picture once it is upright.
fn turned(width_px: u32, height_px: u32, orientation: Orientation) -> SizePx {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    match orientation {
        Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH => {
            SizePx { width_px: height_px, height_px: width_px }
        }
        _ => SizePx { width_px, height_px },
    }
}

fn refused(error: ImageError) -> ThumbError {
    let reason = match error {
        ImageError::Unsupported(_) => "This kind of picture cannot be decoded here.".to_owned(),
        ImageError::Limits(_) => "The picture needs too much memory to decode.".to_owned(),
        // The file itself was opened before.
        other => format!("The picture is damaged: {other}."),
    };
    // The text may quote the file.
    let visible = reason.chars().filter(|c| !c.is_control());
    ThumbError::Refused(visible.take(REASON_CHARS).collect())
}

fn broken(error: impl ToString) -> ThumbError {
    ThumbError::Io(io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn thumb_keeps_the_shape_and_never_grows() {
        assert_eq!(fit(4000, 3000, 320), (320, 240));
        assert_eq!(fit(3000, 4000, 640), (480, 640));
        assert_eq!(fit(100, 50, 320), (100, 50));
        assert_eq!(fit(10_000, 1, 320), (320, 1));
    }

    proptest! {
        #[test]
        fn fit_stays_within_its_square(width in 1u32..70_000, height in 1u32..70_000) {
            let (w, h) = fit(width, height, 320);
            prop_assert!((1..=320).contains(&w) && (1..=320).contains(&h));
        }
    }
}
