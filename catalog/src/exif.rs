//! What a picture's EXIF says of it: when, with which camera and where it was taken.
//!
//! Must not: decode the picture, read more than [`HEAD_BYTES`] of it, or trust a number or text in it.
//! The parser is safe Rust and works on those bytes alone, so it runs in this process.

use std::{io::Cursor, panic};

use domain::{Location, Metadata};
use exif::{Exif, Field, In, Reader, Tag, Value};
use jiff::{Timestamp, civil, tz::TimeZone};

/// Beginning of a file that is looked through; cameras write EXIF within the first 64 KiB.
pub const HEAD_BYTES: usize = 512 * 1024;
/// Longest text that is kept, in characters.
const MAX_TEXT_CHARS: usize = 128;

/// What the beginning of a picture says; empty when it says nothing that can be read.
///
/// Times without an offset are taken to be in `zone`.
pub fn metadata(head: &[u8], zone: &TimeZone) -> Metadata {
    let head = &head[..head.len().min(HEAD_BYTES)];
    // A fault in the parser costs what this picture says of itself, not the picture.
    let read = panic::catch_unwind(|| {
        let mut reader = Reader::new();
        reader.continue_on_error(true);
        let read = reader.read_from_container(&mut Cursor::new(head));
        read.or_else(|error| error.distill_partial_result(|_| {})).ok()
    });
    let Ok(Some(exif)) = read else { return Metadata::default() };
    let number = |tag, min: f64, max: f64| {
        number(field(&exif, tag)?).filter(|value| (min..=max).contains(value))
    };
    Metadata {
        taken_at: taken_at(&exif, zone),
        orientation: number(Tag::Orientation, 1.0, 8.0).map(|value| value as u8),
        camera_make: text(&exif, Tag::Make),
        camera_model: text(&exif, Tag::Model),
        lens: text(&exif, Tag::LensModel),
        exposure_secs: number(Tag::ExposureTime, 1e-6, 86_400.0),
        f_number: number(Tag::FNumber, 0.1, 1000.0),
        iso: number(Tag::PhotographicSensitivity, 1.0, 1e8).map(|value| value as u32),
        focal_length_mm: number(Tag::FocalLength, 0.1, 100_000.0),
        fps: None,
        sample_rate_hz: None,
        location: location(&exif),
    }
}

fn field(exif: &Exif, tag: Tag) -> Option<&Field> {
    exif.get_field(tag, In::PRIMARY)
}

fn ascii(exif: &Exif, tag: Tag) -> Option<&[u8]> {
    match &field(exif, tag)?.value {
        Value::Ascii(parts) => parts.first().map(Vec::as_slice),
        _ => None,
    }
}

/// Text fit to be shown: one line, not empty, bounded.
fn text(exif: &Exif, tag: Tag) -> Option<String> {
    let text = String::from_utf8_lossy(ascii(exif, tag)?);
    let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_TEXT_CHARS).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn number(field: &Field) -> Option<f64> {
    match &field.value {
        Value::Rational(values) => values.first().map(|value| value.to_f64()),
        _ => field.value.get_uint(0).map(f64::from),
    }
}

fn taken_at(exif: &Exif, zone: &TimeZone) -> Option<Timestamp> {
    let (time, subsec, offset) = [
        (Tag::DateTimeOriginal, Tag::SubSecTimeOriginal, Tag::OffsetTimeOriginal),
        (Tag::DateTimeDigitized, Tag::SubSecTimeDigitized, Tag::OffsetTimeDigitized),
    ]
    .into_iter()
    .find_map(|(time, subsec, offset)| Some((ascii(exif, time)?, subsec, offset)))?;
    let mut time = exif::DateTime::from_ascii(time).ok()?;
    // Both are extras: a bad one leaves the time as it is.
    if let Some(subsec) = ascii(exif, subsec) {
        drop(time.parse_subsec(subsec));
    }
    if let Some(offset) = ascii(exif, offset) {
        drop(time.parse_offset(offset));
    }
    let nanos = time.nanosecond.and_then(|nanos| i32::try_from(nanos).ok()).unwrap_or(0);
    let civil = civil::DateTime::new(
        i16::try_from(time.year).ok()?,
        i8::try_from(time.month).ok()?,
        i8::try_from(time.day).ok()?,
        i8::try_from(time.hour).ok()?,
        i8::try_from(time.minute).ok()?,
        i8::try_from(time.second).ok()?,
        nanos,
    )
    .ok()?;
    let zone = match time.offset {
        Some(minutes) => {
            jiff::tz::Offset::from_seconds(i32::from(minutes) * 60).ok()?.to_time_zone()
        }
        None => zone.clone(),
    };
    // 1970 and before is a camera whose clock was never set.
    civil.to_zoned(zone).ok().map(|zoned| zoned.timestamp()).filter(|at| at.as_second() > 0)
}

fn location(exif: &Exif) -> Option<Location> {
    let degrees = |tag, ref_tag, negative: u8, limit: f64| {
        let Value::Rational(parts) = &field(exif, tag)?.value else { return None };
        let part = |at: usize| {
            parts
                .get(at)
                .map_or(Some(0.0), |part| Some(part.to_f64()).filter(|value| value.is_finite()))
        };
        let degrees = part(0)? + part(1)? / 60.0 + part(2)? / 3600.0;
        let is_negative =
            ascii(exif, ref_tag)?.first().is_some_and(|c| c.eq_ignore_ascii_case(&negative));
        let degrees = if is_negative { -degrees } else { degrees };
        (-limit..=limit).contains(&degrees).then_some(degrees)
    };
    let latitude = degrees(Tag::GPSLatitude, Tag::GPSLatitudeRef, b'S', 90.0)?;
    let longitude = degrees(Tag::GPSLongitude, Tag::GPSLongitudeRef, b'W', 180.0)?;
    // What trackers without a fix write.
    ((latitude, longitude) != (0.0, 0.0)).then_some(Location { latitude, longitude })
}

#[cfg(test)]
mod tests {
    use exif::{Rational, experimental::Writer};
    use proptest::prelude::*;

    use super::*;

    /// A JPEG that holds EXIF and nothing else.
    fn jpeg(fields: &[(Tag, Value)]) -> Vec<u8> {
        let fields: Vec<Field> = fields
            .iter()
            .map(|(tag, value)| Field { tag: *tag, ifd_num: In::PRIMARY, value: value.clone() })
            .collect();
        let mut writer = Writer::new();
        for field in &fields {
            writer.push_field(field);
        }
        let mut tiff = Cursor::new(Vec::new());
        writer.write(&mut tiff, false).unwrap();
        let tiff = tiff.into_inner();
        let len = u16::try_from(tiff.len() + 8).unwrap().to_be_bytes();
        [&b"\xff\xd8\xff\xe1"[..], &len, b"Exif\0\0", &tiff, b"\xff\xd9"].concat()
    }

    fn ascii(text: &str) -> Value {
        Value::Ascii(vec![text.as_bytes().to_vec()])
    }

    fn rationals(parts: &[(u32, u32)]) -> Value {
        Value::Rational(
            parts.iter().map(|(num, denom)| Rational { num: *num, denom: *denom }).collect(),
        )
    }

    fn taken_at(fields: &[(Tag, Value)], zone: &TimeZone) -> Option<String> {
        metadata(&jpeg(fields), zone).taken_at.map(|at| at.to_string())
    }

    #[test]
    fn a_picture_says_when_and_with_which_camera_it_was_taken() {
        let picture = jpeg(&[
            (Tag::Make, ascii("Ricoh\0")),
            (Tag::Model, ascii("  GR III\n")),
            (Tag::Orientation, Value::Short(vec![6])),
            (Tag::DateTimeOriginal, ascii("2024:05:17 18:30:05")),
            (Tag::SubSecTimeOriginal, ascii("25")),
            (Tag::OffsetTimeOriginal, ascii("+02:00")),
            (Tag::ExposureTime, rationals(&[(1, 250)])),
            (Tag::FNumber, rationals(&[(28, 10)])),
            (Tag::PhotographicSensitivity, Value::Short(vec![400])),
            (Tag::GPSLatitude, rationals(&[(52, 1), (30, 1), (0, 1)])),
            (Tag::GPSLatitudeRef, ascii("N")),
            (Tag::GPSLongitude, rationals(&[(13, 1), (15, 1), (0, 1)])),
            (Tag::GPSLongitudeRef, ascii("W")),
        ]);
        let found = metadata(&picture, &TimeZone::UTC);
        assert_eq!(found.taken_at.unwrap().to_string(), "2024-05-17T16:30:05.25Z");
        assert_eq!(found.camera_make.as_deref(), Some("Ricoh"));
        assert_eq!(found.camera_model.as_deref(), Some("GR III"));
        assert_eq!((found.orientation, found.iso), (Some(6), Some(400)));
        assert_eq!((found.exposure_secs, found.f_number), (Some(0.004), Some(2.8)));
        assert_eq!(found.location, Some(Location { latitude: 52.5, longitude: -13.25 }));
    }

    #[test]
    fn a_time_without_an_offset_is_in_the_servers_zone() {
        let zone = jiff::tz::Offset::constant(-5).to_time_zone();
        let time = [(Tag::DateTimeOriginal, ascii("2024:05:17 18:30:05"))];
        assert_eq!(taken_at(&time, &zone).as_deref(), Some("2024-05-17T23:30:05Z"));
    }

    #[test]
    fn what_cannot_be_is_left_out() {
        for bad in ["0000:00:00 00:00:00", "2024:13:01 00:00:00", "    :  :     :  :  ", "x"] {
            assert_eq!(
                taken_at(&[(Tag::DateTimeOriginal, ascii(bad))], &TimeZone::UTC),
                None,
                "{bad}"
            );
        }
        let odd = jpeg(&[
            (Tag::Make, ascii("\x07")),
            (Tag::Orientation, Value::Short(vec![9])),
            (Tag::ExposureTime, rationals(&[(1, 0)])),
            (Tag::GPSLatitude, rationals(&[(91, 1), (0, 1), (0, 1)])),
            (Tag::GPSLatitudeRef, ascii("N")),
            (Tag::GPSLongitude, rationals(&[(0, 0)])),
            (Tag::GPSLongitudeRef, ascii("E")),
        ]);
        assert!(metadata(&odd, &TimeZone::UTC).is_empty());
        assert!(metadata(b"\x89PNG\r\n\x1a\n", &TimeZone::UTC).is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_metadata_or_none(
            bytes: Vec<u8>, at in 0usize..400, cut in 0usize..400,
        ) {
            let _ = metadata(&bytes, &TimeZone::UTC);
            // A real one with a part overwritten, cut off somewhere.
            let mut picture = jpeg(&[
                (Tag::DateTimeOriginal, ascii("2024:05:17 18:30:05")),
                (Tag::Model, ascii("GR III")),
                (Tag::GPSLatitude, rationals(&[(52, 1), (30, 1), (0, 1)])),
                (Tag::GPSLatitudeRef, ascii("N")),
                (Tag::GPSLongitude, rationals(&[(13, 1), (15, 1), (0, 1)])),
                (Tag::GPSLongitudeRef, ascii("W")),
            ]);
            for (place, byte) in picture.iter_mut().skip(at).zip(&bytes) {
                *place = *byte;
            }
            picture.truncate(picture.len().saturating_sub(cut));
            let found = metadata(&picture, &TimeZone::UTC);
            if let Some(place) = found.location {
                prop_assert!(place.latitude.abs() <= 90.0 && place.longitude.abs() <= 180.0);
            }
        }
    }
}
