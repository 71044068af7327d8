//! The worker process: where user bytes are decoded, under limits it sets itself.
//!
//! `<exe> worker thumb <input> <out_320.webp> <out_640.webp>` makes thumbnails of a picture and
//! writes a [`ThumbReport`] as one line of JSON. `<exe> worker limited <program> <args>…` becomes
//! another program under the same limits.
//!
//! Must not: start a thread or runtime, open anything but its arguments, or go on without limits.

mod jpeg;

use std::{
    ffi::OsString,
    fs, io,
    path::Path,
    process::{Command, ExitCode},
};

use fast_image_resize::{PixelType, Resizer, images::Image};
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage, RgbaImage,
    metadata::Orientation,
};
use rlimit::Resource;
use serde::{Deserialize, Serialize};

use crate::keys::ThumbKind;

/// Address space of a worker.
const MEMORY_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Processor time of a worker.
const CPU_SECS: u64 = 30;
/// Longest file a worker may write.
const FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Largest picture that is decoded.
const MAX_PIXELS: u64 = 250_000_000;
/// What a decoder may allocate at once, well within [`MEMORY_BYTES`].
const DECODER_BYTES: u64 = 1_200_000_000;
/// WebP quality, of 100.
const QUALITY: f32 = 80.0;
/// Longest reason in a report, in characters.
const REASON_CHARS: usize = 200;

/// Exit code of `limited` when the program is not there; the shell's own.
pub(crate) const EXIT_NOT_INSTALLED: u8 = 127;
const EXIT_USAGE: u8 = 2;
const EXIT_FAILED: u8 = 1;

/// Width and height.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizePx {
    /// Pixels.
    pub width_px: u32,
    /// Pixels.
    pub height_px: u32,
}

/// What `thumb` writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase", deny_unknown_fields)]
pub enum ThumbReport {
    /// Both thumbnails are written.
    Made {
        /// The picture as displayed.
        original: SizePx,
        /// The one of at most 320 px.
        small: SizePx,
        /// The one of at most 640 px.
        large: SizePx,
    },
    /// The picture cannot be decoded; trying again would not help.
    Refused {
        /// A sentence.
        reason: String,
    },
}

/// The whole worker process; `args` are those after the word `worker`.
///
/// Call it first thing in `main`, before any thread or runtime exists.
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    if let Err(error) = set_limits() {
        eprintln!("cannot limit the worker: {error}");
        return ExitCode::from(EXIT_FAILED);
    }
    let command = args.next();
    let args: Vec<OsString> = args.collect();
    match (command.as_deref().and_then(|word| word.to_str()), args.as_slice()) {
        (Some("thumb"), [input, small, large]) => thumb_main(
            Path::new(input),
            [(ThumbKind::Thumb320, Path::new(small)), (ThumbKind::Thumb640, Path::new(large))],
        ),
        (Some("limited"), [program, args @ ..]) => become_program(program, args),
        _ => {
            eprintln!("usage: worker thumb INPUT OUT_320 OUT_640 | worker limited PROGRAM ARGS…");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn set_limits() -> io::Result<()> {
    let limits = [
        (Resource::AS, MEMORY_BYTES),
        (Resource::CPU, CPU_SECS),
        (Resource::FSIZE, FILE_BYTES),
        (Resource::CORE, 0),
    ];
    for (resource, value) in limits {
        // A stricter limit that is already there stays.
        let value = value.min(resource.get_hard()?);
        resource.set(value, value)?;
    }
    Ok(())
}

fn become_program(program: &OsString, args: &[OsString]) -> ExitCode {
    use std::os::unix::process::CommandExt;
    // Returns only if it fails.
    let error = Command::new(program).args(args).exec();
    eprintln!("cannot run {}: {error}", program.display());
    match error.kind() {
        io::ErrorKind::NotFound => ExitCode::from(EXIT_NOT_INSTALLED),
        _ => ExitCode::from(EXIT_FAILED),
    }
}

fn thumb_main(input: &Path, outputs: [(ThumbKind, &Path); 2]) -> ExitCode {
    let report = match make_thumbs(input, outputs) {
        Ok(report) => report,
        Err(ThumbError::Refused(reason)) => ThumbReport::Refused { reason },
        Err(ThumbError::Io(error)) => {
            eprintln!("cannot read or write: {error}");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    match serde_json::to_string(&report) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cannot report: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

enum ThumbError {
    /// The picture's own fault.
    Refused(String),
    /// Not the picture's fault.
    Io(io::Error),
}

/// A decoded picture, not turned yet.
struct Decoded {
    pixels: Image<'static>,
    orientation: Orientation,
}

fn make_thumbs(
    input: &Path,
    [small, large]: [(ThumbKind, &Path); 2],
) -> Result<ThumbReport, ThumbError> {
    let Decoded { pixels, orientation } = decode(input)?;
    let original = turned(pixels.width(), pixels.height(), orientation);
    let large_pixels = shrunk(pixels, large.0.fit_px())?;
    let large_size = write_webp(&large_pixels, orientation, large.1)?;
    let small_pixels = shrunk(large_pixels, small.0.fit_px())?;
    let small_size = write_webp(&small_pixels, orientation, small.1)?;
    Ok(ThumbReport::Made { original, small: small_size, large: large_size })
}

/// Decodes a picture after a look at its size, into RGB or RGBA of 8 bits.
fn decode(input: &Path) -> Result<Decoded, ThumbError> {
    let mut reader = ImageReader::open(input)
        .and_then(ImageReader::with_guessed_format)
        .map_err(ThumbError::Io)?;
    if reader.format() == Some(ImageFormat::Jpeg) {
        let bytes = fs::read(input).map_err(ThumbError::Io)?;
        if !jpeg::reaches_its_end(&bytes) {
            return Err(ThumbError::Refused("The picture is damaged: its end is missing.".into()));
        }
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODER_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(refused)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        let limit = MAX_PIXELS / 1_000_000;
        let reason = format!(
            "The picture is too large to decode: {width} × {height} pixels, over {limit} megapixels."
        );
        return Err(ThumbError::Refused(reason));
    }
    // A picture whose metadata is damaged is shown as it lies.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let decoded = DynamicImage::from_decoder(decoder).map_err(refused)?;
    let (bytes, pixel_type) = if decoded.color().has_alpha() {
        (decoded.into_rgba8().into_raw(), PixelType::U8x4)
    } else {
        (decoded.into_rgb8().into_raw(), PixelType::U8x3)
    };
    let pixels = Image::from_vec_u8(width, height, bytes, pixel_type).map_err(broken)?;
    Ok(Decoded { pixels, orientation })
}

/// A picture that fits a square of `fit_px`; one that fits already is left as it is.
fn shrunk(pixels: Image<'static>, fit_px: u32) -> Result<Image<'static>, ThumbError> {
    let (width, height) = fit(pixels.width(), pixels.height(), fit_px);
    if (width, height) == (pixels.width(), pixels.height()) {
        return Ok(pixels);
    }
    let mut smaller = Image::new(width, height, pixels.pixel_type());
    Resizer::new().resize(&pixels, &mut smaller, None).map_err(broken)?;
    Ok(smaller)
}

fn write_webp(
    pixels: &Image<'static>,
    orientation: Orientation,
    path: &Path,
) -> Result<SizePx, ThumbError> {
    let (width, height, bytes) = (pixels.width(), pixels.height(), pixels.buffer().to_vec());
    let upright = if pixels.pixel_type() == PixelType::U8x4 {
        RgbaImage::from_raw(width, height, bytes).map(DynamicImage::ImageRgba8)
    } else {
        RgbImage::from_raw(width, height, bytes).map(DynamicImage::ImageRgb8)
    };
    let mut upright = upright.ok_or_else(|| broken("a buffer of the wrong length"))?;
    upright.apply_orientation(orientation);
    let (width_px, height_px) = (upright.width(), upright.height());
    let encoder = match &upright {
        DynamicImage::ImageRgba8(image) => webp::Encoder::from_rgba(image, width_px, height_px),
        other => webp::Encoder::from_rgb(other.as_bytes(), width_px, height_px),
    };
    let encoded = encoder
        .encode_simple(false, QUALITY)
        .map_err(|error| broken(format!("WebP error {error:?}")))?;
    fs::write(path, &*encoded).map_err(ThumbError::Io)?;
    Ok(SizePx { width_px, height_px })
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

    #[test]
    fn report_is_one_line_that_reads_back() {
        let size = SizePx { width_px: 3, height_px: 2 };
        for report in [
            ThumbReport::Made { original: size, small: size, large: size },
            ThumbReport::Refused { reason: "No.".into() },
        ] {
            let line = serde_json::to_string(&report).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<ThumbReport>(&line).unwrap(), report);
        }
    }

    proptest! {
        #[test]
        fn fit_stays_within_its_square(width in 1u32..70_000, height in 1u32..70_000) {
            let (w, h) = fit(width, height, 320);
            prop_assert!((1..=320).contains(&w) && (1..=320).contains(&h));
        }
    }
}
