//! Payload descriptors and frame headers of VP8, VP9 and AV1.
#![no_main]

use damwall_fuzz::sansio::{descriptor::inspect, format::Codec};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [choice, payload @ ..] = data else { return };
    let codec = [Codec::Vp8, Codec::Vp9, Codec::Av1][usize::from(choice % 3)];
    let found = inspect(codec, payload);
    if let Some(video) = found.video {
        assert!(found.is_key, "a size is in key frames");
        assert!(video.width_px > 0 && video.height_px > 0);
        assert!(video.width_px <= 1 << 16 && video.height_px <= 1 << 16);
        assert!(video.codec.is_ascii());
    }
    for sound in [Codec::Opus, Codec::Pcmu, Codec::Pcma] {
        assert!(!inspect(sound, payload).is_key);
    }
});
