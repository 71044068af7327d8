//! Media files made on the spot.

use std::{io::Cursor, path::Path, process::Command};

use image::{DynamicImage, ImageFormat, Rgb, RgbImage, RgbaImage};

/// A picture in which every pixel differs from its neighbours a little.
pub fn picture(width: u32, height: u32) -> DynamicImage {
    let pixel = |x: u32, y: u32| Rgb([(x % 256) as u8, (y % 256) as u8, ((x ^ y) % 256) as u8]);
    DynamicImage::ImageRgb8(RgbImage::from_fn(width, height, pixel))
}

pub fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub fn jpeg(width: u32, height: u32) -> Vec<u8> {
    encoded(&picture(width, height), ImageFormat::Jpeg)
}

pub fn png_with_alpha(width: u32, height: u32) -> Vec<u8> {
    let transparent = RgbaImage::from_pixel(width, height, image::Rgba([255, 0, 0, 0]));
    encoded(&DynamicImage::ImageRgba8(transparent), ImageFormat::Png)
}

/// The JPEG with an Exif orientation put in after its first marker.
pub fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    let len = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    let (start, rest) = jpeg.split_at(2);
    [start, &[0xff, 0xe1], &len, &exif, rest].concat()
}

/// A bitmap that claims to be 30 000 pixels wide and high.
pub fn bitmap_bomb() -> Vec<u8> {
    let mut bytes = encoded(&picture(4, 4), ImageFormat::Bmp);
    bytes[18..22].copy_from_slice(&30_000u32.to_le_bytes());
    bytes[22..26].copy_from_slice(&30_000u32.to_le_bytes());
    bytes
}

/// Has ffmpeg make a file.
pub fn ffmpeg(args: &[&str], output: &Path) {
    let status = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y"])
        .args(args)
        .arg(output)
        .status()
        .expect("ffmpeg is installed");
    assert!(status.success());
}

/// Two seconds of a moving test picture of 320 × 180.
pub fn video(output: &Path) {
    let source = "testsrc2=size=320x180:rate=10:duration=2";
    ffmpeg(&["-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p"], output);
}

/// 640 × 360 of a moving test picture with a tone, in a codec of the last century.
pub fn old_video(output: &Path, secs: u32) {
    let picture = format!("testsrc2=size=640x360:rate=25:duration={secs}");
    let sound = format!("sine=frequency=440:duration={secs}");
    let inputs = ["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound];
    let codecs = ["-c:v", "mpeg4", "-q:v", "6", "-g", "50", "-c:a", "libmp3lame"];
    ffmpeg(&[inputs.as_slice(), &codecs].concat(), output);
}

/// One second of a tone.
pub fn tone(output: &Path) {
    ffmpeg(&["-f", "lavfi", "-i", "sine=duration=1"], output);
}

/// A picture of a camera that knows when and where it was.
pub fn jpeg_with_exif() -> Vec<u8> {
    use exif::{Field, In, Rational, Tag, Value, experimental::Writer};
    let ascii = |text: &str| Value::Ascii(vec![text.as_bytes().to_vec()]);
    let degrees = |whole: u32, minutes: u32| {
        Value::Rational([whole, minutes, 0].map(|num| Rational { num, denom: 1 }).to_vec())
    };
    let fields = [
        (Tag::Model, ascii("GR III")),
        (Tag::DateTimeOriginal, ascii("2024:05:17 18:30:05")),
        (Tag::OffsetTimeOriginal, ascii("+02:00")),
        (Tag::GPSLatitude, degrees(52, 30)),
        (Tag::GPSLatitudeRef, ascii("N")),
        (Tag::GPSLongitude, degrees(13, 15)),
        (Tag::GPSLongitudeRef, ascii("E")),
    ]
    .map(|(tag, value)| Field { tag, ifd_num: In::PRIMARY, value });
    let mut writer = Writer::new();
    for field in &fields {
        writer.push_field(field);
    }
    let mut tiff = Cursor::new(Vec::new());
    writer.write(&mut tiff, false).unwrap();
    let tiff = tiff.into_inner();
    let len = u16::try_from(tiff.len() + 8).unwrap().to_be_bytes();
    let jpeg = jpeg(40, 30);
    [&jpeg[..2], b"\xff\xe1", &len, b"Exif\0\0", &tiff, &jpeg[2..]].concat()
}
