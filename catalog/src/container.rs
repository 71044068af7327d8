//! What a video's or sound's container says of itself: when, with which camera and where it was taken.
//! Read from what ffprobe wrote in a child process.
//!
//! Must not: trust a number or text in it.

use domain::{Location, Metadata};
use jiff::Timestamp;

use crate::probe::Report;

/// Longest text that is kept, in characters.
const MAX_TEXT_CHARS: usize = 128;
/// No video has more pictures a second.
const MAX_FPS: f64 = 10_000.0;
/// No sound has more samples a second.
const MAX_SAMPLE_RATE_HZ: u32 = 10_000_000;

/// What ffprobe's JSON ([`crate::probe::FFPROBE_ARGS`]) says; empty when it says nothing.
pub fn metadata(ffprobe_json: &[u8]) -> Metadata {
    let Ok(report) = serde_json::from_slice::<Report>(ffprobe_json) else {
        return Metadata::default();
    };
    let tag = |names: &[&str]| {
        let all =
            std::iter::once(&report.format.tags).chain(report.streams.iter().map(|s| &s.tags));
        let mut found = all.flat_map(|tags| names.iter().filter_map(|name| tags.get(*name)));
        found.find_map(|value| text(value.as_str()?))
    };
    let video = report.streams.iter().find(|stream| stream.codec_type == "video");
    let fps = video.and_then(|stream| {
        let rates = [&stream.avg_frame_rate, &stream.r_frame_rate];
        rates.into_iter().find_map(|rate| frames_per_sec(rate.as_deref()?))
    });
    let taken_at = tag(&["com.apple.quicktime.creationdate", "creation_time", "date"]);
    Metadata {
        taken_at: taken_at.as_deref().and_then(time),
        camera_make: tag(&["com.apple.quicktime.make", "make"]),
        camera_model: tag(&["com.apple.quicktime.model", "model"]),
        location: tag(&["com.apple.quicktime.location.ISO6709", "location"])
            .as_deref()
            .and_then(iso_6709),
        fps,
        sample_rate_hz: report
            .streams
            .iter()
            .filter(|stream| stream.codec_type == "audio")
            .find_map(|stream| stream.sample_rate.as_deref()?.parse().ok())
            .filter(|rate| (1..=MAX_SAMPLE_RATE_HZ).contains(rate)),
        ..Metadata::default()
    }
}

fn text(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_TEXT_CHARS).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// `30000/1001` as a number; `0/0` is "not known".
fn frames_per_sec(text: &str) -> Option<f64> {
    let (num, den) = text.split_once('/')?;
    let rate = num.parse::<f64>().ok()? / den.parse::<f64>().ok()?;
    // Thousandths: nobody wants to see the rest.
    (rate > 0.0 && rate <= MAX_FPS).then(|| (rate * 1000.0).round() / 1000.0)
}

/// `2024-05-17T18:30:05.000000Z`, or `2024-05-17T18:30:05+0200` as Apple writes it.
fn time(text: &str) -> Option<Timestamp> {
    let with_colon = || {
        let at = text.len().checked_sub(5)?;
        let (time, offset) = (text.get(..at)?, text.get(at..)?);
        let (hours, minutes) = (offset.get(..3)?, offset.get(3..)?);
        format!("{time}{hours}:{minutes}").parse().ok()
    };
    let time: Timestamp = text.parse().ok().or_else(with_colon)?;
    // Cameras whose clock was never set write 1904 or 1970.
    (time.as_second() > 86_400).then_some(time)
}

/// `+52.5000-013.2500+034.000/`: degrees of latitude and longitude. Source: ISO 6709, annex H.
fn iso_6709(text: &str) -> Option<Location> {
    let signs: Vec<usize> =
        text.char_indices().filter(|(_, c)| matches!(c, '+' | '-')).map(|(at, _)| at).collect();
    let second = *signs.get(1).filter(|_| signs.first() == Some(&0))?;
    let end = signs.get(2).copied().or_else(|| text.find('/')).unwrap_or(text.len());
    let latitude: f64 = text.get(..second)?.parse().ok()?;
    let longitude: f64 = text.get(second..end)?.parse().ok()?;
    let is_place = latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
    (is_place && (latitude, longitude) != (0.0, 0.0)).then_some(Location { latitude, longitude })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_phones_video_says_when_where_and_with_what_it_was_taken() {
        let found = metadata(
            br#"{"streams":[{"codec_type":"video","avg_frame_rate":"30000/1001",
                    "tags":{"creation_time":"2024-05-17T16:30:05.000000Z"}},
                    {"codec_type":"audio","sample_rate":"48000"}],
                "format":{"tags":{"com.apple.quicktime.make":"Apple",
                    "com.apple.quicktime.model":"iPhone 15",
                    "com.apple.quicktime.creationdate":"2024-05-17T18:30:05+0200",
                    "com.apple.quicktime.location.ISO6709":"+52.5000-013.2500+034.000/"}}}"#,
        );
        assert_eq!(found.taken_at.unwrap().to_string(), "2024-05-17T16:30:05Z");
        assert_eq!(found.camera_model.as_deref(), Some("iPhone 15"));
        assert_eq!((found.fps, found.sample_rate_hz), (Some(29.97), Some(48_000)));
        assert_eq!(found.location, Some(Location { latitude: 52.5, longitude: -13.25 }));
    }

    #[test]
    fn what_cannot_be_is_left_out() {
        let found = metadata(
            br#"{"streams":[{"codec_type":"video","avg_frame_rate":"0/0","r_frame_rate":"1e9/1"},
                    {"codec_type":"audio","sample_rate":"0"}],
                "format":{"tags":{"creation_time":"1904-01-01T00:00:00Z","location":"+91+0/",
                    "make":"\u0007","model":7}}}"#,
        );
        assert!(found.is_empty(), "{found:?}");
        assert!(metadata(b"").is_empty());
    }

    proptest! {
        #[test]
        fn any_tags_are_metadata_or_none(
            rate in "[0-9./eE-]{0,12}", time in "[0-9T:+Z. -]{0,30}|\\PC{0,12}",
            place in "[-+0-9./]{0,24}|\\PC{0,12}", bytes: Vec<u8>,
        ) {
            let json = serde_json::json!({
                "streams": [{"codec_type": "video", "avg_frame_rate": rate}],
                "format": {"tags": {"creation_time": time, "location": place}},
            });
            let found = metadata(json.to_string().as_bytes());
            prop_assert!(found.fps.is_none_or(|fps| fps.is_finite()));
            let _ = metadata(&bytes);
        }
    }
}
