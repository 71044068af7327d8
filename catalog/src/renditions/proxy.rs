//! Proxies: which video needs one, how ffmpeg makes it, and how far it has come.
//!
//! The rule. An original is *playable* when every current browser plays it: H.264 of 8 bits, 4:2:0,
//! in MP4 with AAC, MP3 or no sound; or VP8, VP9 or AV1 in WebM with Opus, Vorbis or no sound. A
//! proxy of N (720 or 1080) is made when the original's shorter side is longer than N, or when it is
//! not playable or takes more bits than is good for that size and there is no smaller proxy that
//! already has all its pixels. So a playable 720p clip has none, an H.265 one has `proxy_720p`, and a
//! 4K film has both. Nothing is blown up.
//!
//! Must not: start a process.

use std::{ffi::OsString, path::Path};

use crate::probe::{INPUT_GUARD_ARGS, MediaInfo};

/// Longer videos get no proxy: it would take hours of this server.
const MAX_DURATION_MS: u64 = 6 * 3600 * 1000;
/// Key frames this far apart at most, so that a player seeks quickly.
const GOP_SECS: u32 = 1;
/// ffmpeg stops there: later than that, an original has not said how long it is.
const STOP_AT_SECS: u64 = MAX_DURATION_MS / 1000 + 60;
/// Bits a second of the proxy's sound.
const AUDIO_KBITS_PER_S: u32 = 128;
/// No proxy is longer: the most bits a second for the longest time, and a tenth for what is not pictures or
/// sound. ffmpeg would die of writing more, not cut the proxy off.
pub(crate) const MAX_BYTES: u64 = {
    let kbits_per_s = ProxySize::P1080.max_kbits_per_s() + AUDIO_KBITS_PER_S;
    kbits_per_s as u64 * 1000 / 8 * STOP_AT_SECS / 10 * 11
};

/// Size of a proxy: its shorter side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxySize {
    /// 720 px.
    P720,
    /// 1080 px.
    P1080,
}

impl ProxySize {
    fn side_px(self) -> u32 {
        match self {
            Self::P720 => 720,
            Self::P1080 => 1080,
        }
    }

    /// A playable original of this size with more bits a second gets a proxy as well.
    fn heavy_bits_per_s(self) -> u64 {
        match self {
            Self::P720 => 8_000_000,
            Self::P1080 => 16_000_000,
        }
    }

    /// Bits a second of the proxy's video at most.
    const fn max_kbits_per_s(self) -> u32 {
        match self {
            Self::P720 => 3000,
            Self::P1080 => 6000,
        }
    }
}

/// Whether every current browser plays the original as it is.
pub fn is_playable(info: &MediaInfo) -> bool {
    let sound_is = |codecs: &[&str]| match info.audio_codec.as_deref() {
        Some(codec) => codecs.contains(&codec),
        None => true,
    };
    let container_is = |name: &str| info.container.split(',').any(|one| one == name);
    match info.video_codec.as_deref() {
        Some("h264") => {
            let is_common = matches!(info.pixel_format.as_deref(), Some("yuv420p" | "yuvj420p"));
            is_common && container_is("mp4") && sound_is(&["aac", "mp3"])
        }
        Some("vp8" | "vp9" | "av1") => container_is("webm") && sound_is(&["opus", "vorbis"]),
        _ => false,
    }
}

/// Whether a video gets a proxy of that size.
pub fn is_wanted(size: ProxySize, info: &MediaInfo) -> bool {
    let (Some((width_px, height_px)), Some(_)) = (info.size_px, &info.video_codec) else {
        return false;
    };
    if info.duration_ms.is_some_and(|ms| ms > MAX_DURATION_MS) {
        return false;
    }
    let shorter_px = width_px.min(height_px);
    if shorter_px > size.side_px() {
        return true;
    }
    let is_heavy = info.bits_per_s.is_some_and(|bits| bits > size.heavy_bits_per_s());
    let smaller_would_do = match size {
        ProxySize::P720 => false,
        ProxySize::P1080 => shorter_px <= ProxySize::P720.side_px(),
    };
    (is_heavy || !is_playable(info)) && !smaller_would_do
}

/// Arguments of the ffmpeg that makes the proxy and writes its progress to its standard output.
pub fn ffmpeg_args(size: ProxySize, input: &Path, output: &Path) -> Vec<OsString> {
    let words = |args: &[&str]| args.iter().map(OsString::from).collect::<Vec<_>>();
    let mut args = words(&["-nostdin", "-v", "error", "-nostats", "-progress", "pipe:1"]);
    args.extend(words(INPUT_GUARD_ARGS));
    args.extend(words(&["-threads", "2", "-i"]));
    args.push(input.into());
    args.extend(words(&["-map", "0:v:0", "-map", "0:a:0?", "-sn", "-dn"]));
    args.extend(words(&["-map_metadata", "-1", "-map_chapters", "-1"]));
    let side = size.side_px();
    let filter = format!(
        "scale=iw*sar:ih,\
         scale=w='if(gt(iw,ih),-2,trunc(min({side},iw)/2)*2)':\
         h='if(gt(iw,ih),trunc(min({side},ih)/2)*2,-2)',setsar=1,format=yuv420p"
    );
    args.extend(words(&["-vf", &filter]));
    args.extend(words(&["-fpsmax", "60", "-c:v", "libx264", "-preset", "veryfast", "-crf", "23"]));
    let max = size.max_kbits_per_s();
    args.extend(words(&["-maxrate", &format!("{max}k"), "-bufsize", &format!("{}k", max * 2)]));
    args.extend(words(&["-force_key_frames", &format!("expr:gte(t,n_forced*{GOP_SECS})")]));
    args.extend(words(&["-g", "60", "-bf", "2", "-threads", "2"]));
    args.extend(words(&["-c:a", "aac", "-b:a", &format!("{AUDIO_KBITS_PER_S}k")]));
    args.extend(words(&["-ac", "2", "-ar", "48000", "-t", &STOP_AT_SECS.to_string()]));
    args.extend(words(&["-movflags", "+faststart", "-f", "mp4", "-y"]));
    args.push(output.into());
    args
}

/// Why a proxy of that playing time is not all of its original: a sentence. ffmpeg ends well where it can
/// read no further.
pub fn what_it_lacks(proxy_ms: Option<u64>, original_ms: Option<u64>) -> Option<String> {
    let (proxy_ms, original_ms) = (proxy_ms.unwrap_or(0), original_ms.unwrap_or(0));
    let (proxy_secs, original_secs) = (proxy_ms / 1000, original_ms / 1000);
    if proxy_secs + 1 >= STOP_AT_SECS {
        let max_hours = MAX_DURATION_MS / 3_600_000;
        return Some(format!("The video is longer than {max_hours} hours."));
    }
    // Tracks end at different times, and some containers only estimate.
    let is_short = proxy_ms + original_ms / 50 + 1000 < original_ms;
    is_short.then(|| {
        format!("Only {proxy_secs} s of the video could be read; it says it has {original_secs} s.")
    })
}

/// Reads what ffmpeg writes with `-progress`: lines of `key=value`, cut anywhere.
#[derive(Debug, Default)]
pub struct Progress {
    line: Vec<u8>,
    done_ms: u64,
}

impl Progress {
    /// Longer lines are not ffmpeg's.
    const MAX_LINE_BYTES: usize = 256;

    /// Takes what ffmpeg wrote.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte != b'\n' {
                if self.line.len() < Self::MAX_LINE_BYTES {
                    self.line.push(byte);
                }
                continue;
            }
            // Microseconds, whatever the key's name says; `N/A` before the first frame.
            if let Some(value) = self.line.strip_prefix(b"out_time_us=")
                && let Some(us) =
                    std::str::from_utf8(value).ok().and_then(|us| us.parse::<u64>().ok())
            {
                self.done_ms = self.done_ms.max(us / 1000);
            }
            self.line.clear();
        }
    }

    /// Playing time that is done.
    pub fn done_ms(&self) -> u64 {
        self.done_ms
    }
}

/// How much of a playing time is done, in percent; 100 is kept for what has ended.
pub fn percent(done_ms: u64, duration_ms: Option<u64>) -> Option<u8> {
    let duration_ms = duration_ms.filter(|&ms| ms > 0)?;
    u8::try_from((done_ms.saturating_mul(100) / duration_ms).min(99)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn info(width_px: u32, height_px: u32, codec: &str, bits_per_s: u64) -> MediaInfo {
        MediaInfo {
            size_px: Some((width_px, height_px)),
            duration_ms: Some(60_000),
            container: "mov,mp4,m4a,3gp,3g2,mj2".into(),
            video_codec: Some(codec.into()),
            pixel_format: Some("yuv420p".into()),
            audio_codec: Some("aac".into()),
            bits_per_s: Some(bits_per_s),
        }
    }

    #[track_caller]
    fn check(info: &MediaInfo, wants_720: bool, wants_1080: bool) {
        let wanted = [ProxySize::P720, ProxySize::P1080].map(|size| is_wanted(size, info));
        assert_eq!(wanted, [wants_720, wants_1080], "{info:?}");
    }

    #[test]
    fn proxies_are_made_only_where_they_help() {
        check(&info(1280, 720, "h264", 4_000_000), false, false);
        check(&info(1280, 720, "hevc", 4_000_000), true, false);
        check(&info(640, 360, "mpeg4", 1_000_000), true, false);
        check(&info(1280, 720, "h264", 40_000_000), true, false);
        check(&info(1920, 1080, "h264", 6_000_000), true, false);
        check(&info(1920, 1080, "hevc", 6_000_000), true, true);
        check(&info(1920, 1080, "h264", 50_000_000), true, true);
        check(&info(1080, 1920, "h264", 6_000_000), true, false);
        check(&info(3840, 2160, "h264", 20_000_000), true, true);
        check(
            &MediaInfo { duration_ms: Some(u64::MAX), ..info(3840, 2160, "hevc", 1) },
            false,
            false,
        );
        check(&MediaInfo { size_px: None, ..info(1, 1, "hevc", 1) }, false, false);
    }

    #[test]
    fn ten_bits_and_other_containers_are_not_played_everywhere() {
        let plain = info(1280, 720, "h264", 1);
        assert!(is_playable(&plain));
        assert!(!is_playable(&MediaInfo {
            pixel_format: Some("yuv420p10le".into()),
            ..plain.clone()
        }));
        assert!(!is_playable(&MediaInfo { audio_codec: Some("ac3".into()), ..plain.clone() }));
        assert!(!is_playable(&MediaInfo { container: "matroska,webm".into(), ..plain.clone() }));
        let webm = MediaInfo {
            container: "matroska,webm".into(),
            audio_codec: Some("opus".into()),
            ..plain
        };
        assert!(is_playable(&MediaInfo { video_codec: Some("vp9".into()), ..webm.clone() }));
        assert!(!is_playable(&MediaInfo { video_codec: Some("theora".into()), ..webm }));
    }

    #[test]
    fn proxy_of_a_part_is_told_from_one_of_the_whole() {
        let hours = |hours: u64| hours * 3_600_000;
        for (proxy_ms, original_ms) in [
            (2000, Some(2000)),
            (1300, Some(2000)),
            (2000, None),
            (hours(3), Some(hours(3) + 60_000)),
            (hours(6), Some(hours(6))),
            (hours(6) + 40, Some(hours(6))),
        ] {
            let lack = what_it_lacks(Some(proxy_ms), original_ms);
            assert_eq!(lack, None, "{proxy_ms} of {original_ms:?}");
        }
        let lack = |proxy_ms, original_ms| what_it_lacks(Some(proxy_ms), original_ms).unwrap();
        assert_eq!(
            lack(hours(2), Some(hours(3))),
            "Only 7200 s of the video could be read; it says it has 10800 s."
        );
        assert!(lack(0, Some(2000)).starts_with("Only 0 s"));
        // ffmpeg stopped, whatever the original says.
        let stopped_ms = STOP_AT_SECS * 1000 - 40;
        for original_ms in [None, Some(hours(1))] {
            assert_eq!(lack(stopped_ms, original_ms), "The video is longer than 6 hours.");
        }
    }

    #[test]
    fn longest_proxy_of_the_most_bits_is_not_cut_off() {
        let bits_per_s = u64::from(ProxySize::P1080.max_kbits_per_s() + AUDIO_KBITS_PER_S) * 1000;
        assert!(bits_per_s / 8 * MAX_DURATION_MS / 1000 < MAX_BYTES);
        let args = ffmpeg_args(ProxySize::P1080, "in".as_ref(), "out".as_ref());
        assert!(!args.contains(&"-fs".into()), "ffmpeg would end well");
    }

    #[test]
    fn progress_is_read_from_lines_cut_anywhere() {
        let text =
            b"frame=5\nout_time_us=N/A\nout_time_us=1500000\nprogress=continue\nout_time_us=15";
        for cut in 0..text.len() {
            let mut progress = Progress::default();
            progress.push_bytes(&text[..cut]);
            progress.push_bytes(&text[cut..]);
            assert_eq!(progress.done_ms(), 1500);
        }
        assert_eq!(percent(1500, Some(3000)), Some(50));
        assert_eq!(percent(u64::MAX, Some(3000)), Some(99));
        assert_eq!(percent(5, Some(0)), None);
        assert_eq!(percent(5, None), None);
    }

    proptest! {
        #[test]
        fn progress_takes_any_bytes(bytes: Vec<u8>) {
            let mut progress = Progress::default();
            progress.push_bytes(&bytes);
            prop_assert!(progress.line.len() <= Progress::MAX_LINE_BYTES);
        }
    }
}
