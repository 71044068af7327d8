//! The sound of a camera's SDP, given on to ffmpeg.
#![no_main]

use damwall_fuzz::sansio::track_sdp::{PAYLOAD_TYPE, TrackSdp};
use libfuzzer_sys::fuzz_target;
use sdp_types::Session;

fuzz_target!(|data: &[u8]| {
    let Some((payload_type, sdp)) = data.split_first() else { return };
    let Some(track) = TrackSdp::of_sound(sdp, *payload_type) else { return };
    let ours = track.to_string();
    for line in ours.strip_suffix("\r\n").expect("whole lines").split("\r\n") {
        assert_eq!(line.as_bytes().get(1), Some(&b'='), "not a line: {line:?}");
        assert!(!line.contains(['\r', '\n', '\0']), "a line within a line: {line:?}");
    }
    let session = Session::parse(ours.as_bytes()).expect("we write SDP");
    let [media] = &session.medias[..] else { panic!("one track: {ours}") };
    assert_eq!((media.media.as_str(), media.fmt.as_str()), ("audio", "96"));
    assert!(media.attributes.iter().all(|attribute| {
        matches!(attribute.attribute.as_str(), "rtpmap" | "fmtp" | "control")
    }));
    assert_eq!(TrackSdp::of_sound(ours.as_bytes(), PAYLOAD_TYPE), Some(track), "read again");
});
