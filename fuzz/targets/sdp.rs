//! A player's descriptions: the answer to its offer, and what is left of ours after its answer.
#![no_main]

use damwall_fuzz::sansio::{
    format::{Codec, Format},
    sdp::{
        Description,
        write::{Agreed, Offered, offer},
    },
};
use damwall_fuzz::{LOCAL, assert_is_ours};
use libfuzzer_sys::fuzz_target;

const VIDEO: [Codec; 5] = [Codec::H264, Codec::H265, Codec::Vp8, Codec::Vp9, Codec::Av1];
const AUDIO: [Codec; 3] = [Codec::Opus, Codec::Pcmu, Codec::Pcma];

fn format(codec: Codec) -> Format {
    let h264_profile = (codec == Codec::H264).then_some([0x42, 0xe0]);
    Format { codec, rid: "main".into(), video: None, h264_profile }
}

fn is_of(agreed: &Agreed, description: &Description, index: usize) -> bool {
    let section = &description.sections[index];
    section.mid == agreed.mid
        && section.payloads.iter().any(|payload| {
            (payload.payload_type, payload.codec, payload.rtx)
                == (agreed.payload_type, agreed.codec, agreed.rtx)
        })
}

fuzz_target!(|data: &[u8]| {
    let Ok(description) = Description::parse(data) else { return };
    let sections = description.sections.len();
    assert!(description.video < sections);
    assert!(description.audio.is_none_or(|audio| audio < sections && audio != description.video));
    for (index, codec) in VIDEO.into_iter().enumerate() {
        let (video, audio) = (format(codec), format(AUDIO[index % 3]));
        let offered = Offered { video: &[&video], audio: Some(&audio) };
        if let Ok(settled) = description.answer(&LOCAL, offered) {
            assert_is_ours(&settled.sdp, sections, "sendonly");
            assert_eq!(settled.video.codec, codec);
            assert!(is_of(&settled.video, &description, description.video));
            if let Some(agreed) = &settled.audio {
                assert_eq!(agreed.codec, audio.codec);
                assert!(is_of(
                    agreed,
                    &description,
                    description.audio.expect("audio was agreed on")
                ));
            }
        }
        let ours = offer(&LOCAL, offered);
        assert_is_ours(&ours.sdp, 2, "sendonly");
        if let Ok(left) = ours.answered(&description) {
            assert_eq!(left.video.codec, codec);
            assert!(is_of(&left.video, &description, description.video));
            assert!(left.audio.is_none_or(|agreed| agreed.codec == audio.codec));
        }
    }
});
