//! What ffprobe says about a video or sound: size as displayed and playing time.
//!
//! Must not: start a process, or trust a number that the file made up.

use serde::Deserialize;

/// No picture is wider or higher.
const MAX_SIDE_PX: f64 = 65_536.0;
/// No recording is longer: ten years.
const MAX_DURATION_SECS: f64 = 10.0 * 366.0 * 86_400.0;

/// Arguments that make ffprobe write what [`parse_ffprobe`] reads; the file's path follows.
pub const FFPROBE_ARGS: &[&str] =
    &["-v", "error", "-print_format", "json", "-show_format", "-show_streams"];

/// Arguments for ffmpeg and ffprobe that keep a file from making them open another one: local
/// files only, and no playlist formats. Nor are pictures decoded that are too large.
pub const INPUT_GUARD_ARGS: &[&str] = &[
    "-protocol_whitelist",
    "file,pipe",
    "-max_pixels",
    "250000000",
    "-format_whitelist",
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dv,eac3,flac,flv,gif,h264,hevc,ivf,m4v,matroska,mov,mp3,\
     mpeg,mpegts,mpegvideo,mpjpeg,mxf,nut,ogg,rm,tta,voc,w64,wav,wv",
];

/// What a video or sound file holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MediaInfo {
    /// Width and height as displayed: rotated, with square pixels. `None` without moving pictures.
    pub size_px: Option<(u32, u32)>,
    /// Playing time in milliseconds.
    pub duration_ms: Option<u64>,
    /// What the file is, as ffmpeg names it: `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: String,
    /// Of the moving pictures, as ffmpeg names it: `h264`.
    pub video_codec: Option<String>,
    /// Of the moving pictures, as ffmpeg names it: `yuv420p`.
    pub pixel_format: Option<String>,
    /// Of the sound, as ffmpeg names it: `aac`.
    pub audio_codec: Option<String>,
    /// Of the whole file.
    pub bits_per_s: Option<u64>,
}

/// The text is not what ffprobe writes about a file it understood.
#[derive(Debug, thiserror::Error)]
#[error("ffprobe wrote something else than its JSON: {0}")]
pub struct ParseFfprobeError(#[from] serde_json::Error);

/// Its JSON, as far as it is read.
#[derive(Deserialize)]
pub(crate) struct Report {
    #[serde(default)]
    pub(crate) streams: Vec<Stream>,
    #[serde(default)]
    pub(crate) format: Format,
}

pub(crate) type Tags = serde_json::Map<String, serde_json::Value>;

#[derive(Deserialize, Default)]
pub(crate) struct Format {
    duration: Option<String>,
    #[serde(default)]
    format_name: String,
    bit_rate: Option<String>,
    #[serde(default)]
    pub(crate) tags: Tags,
}

#[derive(Deserialize)]
pub(crate) struct Stream {
    #[serde(default)]
    pub(crate) codec_type: String,
    codec_name: Option<String>,
    pix_fmt: Option<String>,
    width: Option<f64>,
    height: Option<f64>,
    sample_aspect_ratio: Option<String>,
    duration: Option<String>,
    pub(crate) avg_frame_rate: Option<String>,
    pub(crate) r_frame_rate: Option<String>,
    pub(crate) sample_rate: Option<String>,
    #[serde(default)]
    disposition: Disposition,
    #[serde(default)]
    side_data_list: Vec<SideData>,
    #[serde(default)]
    pub(crate) tags: Tags,
}

#[derive(Deserialize, Default)]
struct Disposition {
    #[serde(default)]
    attached_pic: i64,
}

#[derive(Deserialize)]
struct SideData {
    rotation: Option<f64>,
}

/// Reads the output of ffprobe with [`FFPROBE_ARGS`].
///
/// # Errors
/// When the text is not such output. Numbers that cannot be are left out instead.
pub fn parse_ffprobe(json: &[u8]) -> Result<MediaInfo, ParseFfprobeError> {
    let report: Report = serde_json::from_slice(json)?;
    // A cover picture is a video stream to ffprobe.
    let video = report
        .streams
        .iter()
        .find(|stream| stream.codec_type == "video" && stream.disposition.attached_pic == 0);
    let durations = report.streams.iter().map(|stream| &stream.duration);
    let duration_ms = std::iter::once(&report.format.duration)
        .chain(durations)
        .find_map(|text| duration_ms(text.as_deref()?));
    let audio = report.streams.iter().find(|stream| stream.codec_type == "audio");
    Ok(MediaInfo {
        size_px: video.and_then(displayed_px),
        duration_ms,
        container: word(&report.format.format_name).unwrap_or_default(),
        video_codec: video.and_then(|stream| word(stream.codec_name.as_deref()?)),
        pixel_format: video.and_then(|stream| word(stream.pix_fmt.as_deref()?)),
        audio_codec: audio.and_then(|stream| word(stream.codec_name.as_deref()?)),
        bits_per_s: report.format.bit_rate.and_then(|text| text.parse().ok()),
    })
}

/// A name as ffmpeg has them; the text of anything else stays out of the catalog.
fn word(text: &str) -> Option<String> {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b',' | b'-' | b'.');
    let is_one = (1..=64).contains(&text.len()) && text.bytes().all(is_word);
    is_one.then(|| text.to_owned())
}

fn duration_ms(text: &str) -> Option<u64> {
    let secs: f64 = text.parse().ok()?;
    // Within bounds that make the cast exact enough.
    (0.0..=MAX_DURATION_SECS).contains(&secs).then(|| (secs * 1000.0).round() as u64)
}

fn displayed_px(stream: &Stream) -> Option<(u32, u32)> {
    let aspect = stream.sample_aspect_ratio.as_deref().and_then(ratio).unwrap_or(1.0);
    let width = side_px(stream.width? * aspect)?;
    let height = side_px(stream.height?)?;
    let by_matrix = stream.side_data_list.iter().find_map(|data| data.rotation);
    let by_tag = || stream.tags.get("rotate")?.as_str()?.parse::<f64>().ok();
    let quarter_turns = by_matrix.or_else(by_tag).map_or(0.0, |degrees| (degrees / 90.0).round());
    let is_on_its_side = quarter_turns.rem_euclid(2.0) == 1.0;
    Some(if is_on_its_side { (height, width) } else { (width, height) })
}

/// `"4:3"` as a number; `"0:1"` is ffprobe's "not known".
fn ratio(text: &str) -> Option<f64> {
    let (num, den) = text.split_once(':')?;
    let ratio = num.parse::<f64>().ok()? / den.parse::<f64>().ok()?;
    (0.01..=100.0).contains(&ratio).then_some(ratio)
}

fn side_px(side: f64) -> Option<u32> {
    (1.0..=MAX_SIDE_PX).contains(&side).then(|| side.round() as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(json: &str, size_px: Option<(u32, u32)>, duration_ms: Option<u64>) {
        let info = parse_ffprobe(json.as_bytes()).unwrap();
        assert_eq!((info.size_px, info.duration_ms), (size_px, duration_ms), "{json}");
    }

    #[test]
    fn probe_reads_size_and_duration() {
        check(
            r#"{"streams":[{"codec_type":"audio","duration":"9.0"},
                {"codec_type":"video","width":1920,"height":1080,"sample_aspect_ratio":"1:1"}],
                "format":{"duration":"12.3456"}}"#,
            Some((1920, 1080)),
            Some(12_346),
        );
    }

    #[test]
    fn probe_tells_what_the_file_is_made_of() {
        let info = parse_ffprobe(
            br#"{"streams":[{"codec_type":"video","codec_name":"h264","pix_fmt":"yuv420p"},
                {"codec_type":"audio","codec_name":"a b<script>"},{"codec_type":"audio","codec_name":"x"}],
                "format":{"format_name":"mov,mp4","bit_rate":"1000"}}"#,
        )
        .unwrap();
        assert_eq!(info.container, "mov,mp4");
        assert_eq!(info.video_codec.as_deref(), Some("h264"));
        assert_eq!(info.pixel_format.as_deref(), Some("yuv420p"));
        assert_eq!((info.audio_codec, info.bits_per_s), (None, Some(1000)));
    }

    #[test]
    fn probe_turns_a_phone_video_upright() {
        check(
            r#"{"streams":[{"codec_type":"video","width":1920,"height":1080,
                "side_data_list":[{"side_data_type":"x"},{"rotation":-90}]}]}"#,
            Some((1080, 1920)),
            None,
        );
        check(
            r#"{"streams":[{"codec_type":"video","width":16,"height":9,"tags":{"rotate":"270"}}]}"#,
            Some((9, 16)),
            None,
        );
        check(
            r#"{"streams":[{"codec_type":"video","width":16,"height":9,
                "side_data_list":[{"rotation":180}]}]}"#,
            Some((16, 9)),
            None,
        );
    }

    #[test]
    fn probe_squares_the_pixels() {
        check(
            r#"{"streams":[{"codec_type":"video","width":720,"height":576,
                "sample_aspect_ratio":"16:11"}]}"#,
            Some((1047, 576)),
            None,
        );
        check(
            r#"{"streams":[{"codec_type":"video","width":72,"height":57,
                "sample_aspect_ratio":"0:1"}]}"#,
            Some((72, 57)),
            None,
        );
    }

    #[test]
    fn probe_takes_a_cover_picture_for_what_it_is() {
        check(
            r#"{"streams":[{"codec_type":"audio"},{"codec_type":"video","width":500,"height":500,
                "disposition":{"attached_pic":1}}],"format":{"duration":"180"}}"#,
            None,
            Some(180_000),
        );
    }

    #[test]
    fn probe_leaves_out_numbers_that_cannot_be() {
        check(
            r#"{"streams":[{"codec_type":"video","width":-1,"height":1e300,"duration":"nan"}],
                "format":{"duration":"-5"}}"#,
            None,
            None,
        );
        assert!(parse_ffprobe(b"").is_err());
    }

    proptest! {
        #[test]
        fn probe_takes_any_numbers(
            width: f64, height: f64, rotation: f64,
            sar in "[0-9:.e-]{0,9}", duration in "[0-9.eninf-]{0,12}",
        ) {
            let json = serde_json::json!({
                "streams": [{
                    "codec_type": "video", "width": width, "height": height,
                    "sample_aspect_ratio": sar, "side_data_list": [{ "rotation": rotation }],
                }],
                "format": { "duration": duration },
            });
            let info = parse_ffprobe(json.to_string().as_bytes()).unwrap();
            if let Some((width, height)) = info.size_px {
                prop_assert!((1..=65_536).contains(&width) && (1..=65_536).contains(&height));
            }
        }

        #[test]
        fn probe_takes_any_bytes(bytes: Vec<u8>) {
            let _ = parse_ffprobe(&bytes);
        }
    }
}
