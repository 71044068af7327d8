//! What ffprobe says of an input.
#![no_main]

use damwall_fuzz::sansio::ffprobe::Found;
use libfuzzer_sys::fuzz_target;

const AUDIO: &str = "codec_name=opus|codec_type=audio";
const VIDEO: &str = "codec_name=h264|codec_type=video|pix_fmt=yuv420p|has_b_frames=0";

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let text = format!("{text}\n");
    let found = Found::of_lines(&text);
    // A line more tells of what had not been told, and takes nothing back.
    let more = |line: &str| Found::of_lines(&format!("{text}{line}"));
    assert!(more("duration=2.0").is_finite);
    assert_eq!(more("duration=N/A"), found);
    assert_eq!(more(AUDIO).audio, found.audio.or(Some(true)));
    assert_eq!(more(VIDEO).audio, found.audio);
    // The first stream of a kind is the one that counts.
    let first = Found::of_lines(&format!("{VIDEO}\n{text}"));
    assert!(first.is_video_for_browsers);
    assert_eq!((first.audio, first.is_finite), (found.audio, found.is_finite));
});
