//! What ffprobe says of an input, read. Must not: run it, or say how the input is taken in.

/// What ffprobe is to say, and in what form.
pub const SHOW: &str = "-v error -of compact=p=0 -show_entries \
    stream=codec_type,codec_name,has_b_frames,pix_fmt,sample_rate,channels:format=duration";

/// What an input holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// H.264 or H.265 without reordered pictures.
    pub is_video_for_browsers: bool,
    /// Whether there is sound, and whether a browser can play it as it is.
    pub audio: Option<bool>,
    /// It has an end, as a file has: also one of a web server.
    pub is_finite: bool,
}

impl Found {
    /// Reads lines such as `codec_name=h264|codec_type=video|has_b_frames=0`, and `duration=2.0` or `=N/A`.
    /// What is not understood is nothing found.
    pub fn of_lines(text: &str) -> Self {
        let value = |line: &str, name: &str| {
            let pairs = line.split('|').filter_map(|pair| pair.split_once('='));
            pairs.into_iter().find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
        };
        let first = |kind: &str| {
            text.lines()
                .find(|line| value(line, "codec_type").as_deref() == Some(kind))
                .map(|line| move |name: &str| value(line, name).unwrap_or_default())
        };
        let is_video_for_browsers = first("video").is_some_and(|value| {
            matches!(value("codec_name").as_str(), "h264" | "hevc")
                && value("has_b_frames") == "0"
                && matches!(value("pix_fmt").as_str(), "yuv420p" | "yuvj420p")
        });
        let audio = first("audio").map(|value| match value("codec_name").as_str() {
            "opus" => true,
            "pcm_mulaw" | "pcm_alaw" => value("sample_rate") == "8000" && value("channels") == "1",
            _ => false,
        });
        let durations = text.lines().filter_map(|line| line.trim().strip_prefix("duration="));
        let is_finite = durations.flat_map(str::parse::<f64>).any(|secs| secs > 0.0);
        Self { is_video_for_browsers, audio, is_finite }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_browsers_play_is_told_from_the_rest() {
        let check = |text: &str, is_video_for_browsers, audio| {
            let expected = Found { is_video_for_browsers, audio, is_finite: false };
            assert_eq!(Found::of_lines(text), expected, "{text}");
        };
        check("codec_name=h264|codec_type=video|pix_fmt=yuv420p|has_b_frames=0\n", true, None);
        check("codec_name=h264|codec_type=video|pix_fmt=yuv420p|has_b_frames=2\n", false, None);
        check(
            "codec_name=aac|codec_type=audio|sample_rate=48000|channels=2\n\
             codec_name=hevc|codec_type=video|pix_fmt=yuv420p|has_b_frames=0\n",
            true,
            Some(false),
        );
        check(
            "codec_name=mjpeg|codec_type=video|pix_fmt=yuvj422p|has_b_frames=0\n\
             codec_name=pcm_alaw|codec_type=audio|sample_rate=8000|channels=1\n",
            false,
            Some(true),
        );
        check("", false, None);
    }

    #[test]
    fn what_has_a_duration_has_an_end() {
        for (text, is_finite) in [
            ("codec_name=h264|codec_type=video\nduration=2.000000\n", true),
            ("codec_name=h264|codec_type=video\nduration=N/A\n", false),
            ("codec_name=h264|codec_type=video\n", false),
            ("duration=0.000000\n", false),
        ] {
            assert_eq!(Found::of_lines(text).is_finite, is_finite, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(codec_type=video\\|)?\\PC{0,60}") {
            let _ = Found::of_lines(&text);
            let _ = Found::of_lines(&format!("duration={text}"));
        }
    }
}
