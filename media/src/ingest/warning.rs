//! What an operator should change at a camera that is passed through. Must not: measure.
//!
//! Key frames a few seconds apart are no harm: who comes, switches or loses too much is shown the newest one at
//! once, with what followed it. Only when that has become too much is it worth a word.

use domain::{LayerStatus, MediaSettings};

use crate::sansio::video_sender::MAX_REPLAY_BYTES;

/// Longer than this, and a viewer's decoder has hundreds of pictures to run through before it shows one.
const MAX_KEY_FRAME_INTERVAL_MS: u32 = 10_000;

/// A sentence, when there is something.
pub(super) fn of(layer: &LayerStatus, media: &MediaSettings) -> Option<String> {
    let LayerStatus { rid, bitrate_kbps, .. } = layer;
    if *bitrate_kbps > media.max_kbps {
        let max_kbps = media.max_kbps;
        return Some(format!("its layer {rid} takes {bitrate_kbps} kbit/s, of {max_kbps} at most"));
    }
    let interval_ms = layer.key_frame_interval_ms?;
    let secs = f64::from(interval_ms) / 1000.0;
    // kbit/s × ms / 8 is bytes.
    if u64::from(*bitrate_kbps) * u64::from(interval_ms) / 8 > MAX_REPLAY_BYTES as u64 {
        return Some(format!(
            "too much lies between the key frames of its layer {rid}, which are {secs:.1} s apart: \
             who comes has to wait for the next"
        ));
    }
    (interval_ms > MAX_KEY_FRAME_INTERVAL_MS).then(|| {
        let max_secs = MAX_KEY_FRAME_INTERVAL_MS / 1000;
        format!("the key frames of its layer {rid} are {secs:.1} s apart, of {max_secs} s at most")
    })
}

#[cfg(test)]
mod tests {
    use domain::VideoParameters;

    use super::*;

    fn check(bitrate_kbps: u32, key_frame_interval_ms: Option<u32>, expected: Option<&str>) {
        let video = VideoParameters { codec: "avc1".into(), width_px: 1, height_px: 1 };
        let layer = LayerStatus {
            rid: "main".into(),
            video,
            fps: 25.0,
            bitrate_kbps,
            key_frame_interval_ms,
        };
        let found = of(&layer, &MediaSettings::default());
        assert_eq!(found.as_deref(), expected, "{layer:?}");
    }

    #[test]
    fn key_frames_some_seconds_apart_are_no_cause_for_a_warning() {
        for interval in [None, Some(1_000), Some(4_000), Some(10_000)] {
            check(4_000, interval, None);
        }
    }

    #[test]
    fn what_is_too_much_is_said() {
        check(6_000, None, Some("its layer main takes 6000 kbit/s, of 5000 at most"));
        let far = "the key frames of its layer main are 12.5 s apart, of 10 s at most";
        check(500, Some(12_500), Some(far));
        let large = "too much lies between the key frames of its layer main, which are 20.0 s apart: \
                     who comes has to wait for the next";
        check(4_000, Some(20_000), Some(large));
    }
}
