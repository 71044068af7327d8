use proptest::prelude::*;
use sdp_types::Session;

use super::*;

const FINGERPRINT: &str = "00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:\
    10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F";

fn description(video_lines: &str) -> String {
    format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=recvonly\r\n\
         a=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=extmap:9 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 96 102 104 105 106\r\nc=IN IP4 0.0.0.0\r\n\
         a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
         a=fingerprint:sha-256 {FINGERPRINT}\r\na=setup:actpass\r\na=mid:1\r\na=rtcp-mux\r\n\
         a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n\
         a=extmap:3 urn:3gpp:video-orientation\r\n\
         a=rtpmap:96 VP8/90000\r\n{video_lines}"
    )
}

const H264_LINES: &str = "a=recvonly\r\n\
    a=rtpmap:102 H264/90000\r\n\
    a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f\r\n\
    a=rtpmap:104 H264/90000\r\n\
    a=rtcp-fb:104 goog-remb\r\na=rtcp-fb:104 transport-cc\r\na=rtcp-fb:104 nack pli\r\n\
    a=fmtp:104 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
    a=rtpmap:105 rtx/90000\r\na=fmtp:105 apt=104\r\n\
    a=rtpmap:106 H264/90000\r\n\
    a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f\r\n";

fn local(candidates: &[SocketAddr]) -> Local<'_> {
    Local {
        ice_ufrag: "us",
        ice_pwd: "password",
        fingerprint: FINGERPRINT,
        ssrcs: Ssrcs { video: 7, rtx: 8, audio: 9 },
        candidates,
    }
}

fn h264(profile: [u8; 2]) -> Format {
    Format { codec: Codec::H264, rid: "main".into(), video: None, h264_profile: Some(profile) }
}

fn format(codec: Codec) -> Format {
    Format { codec, rid: "main".into(), video: None, h264_profile: None }
}

fn answer(text: &str, video: &[&Format], audio: Option<&Format>) -> Result<Settled, OfferError> {
    Description::parse(text.as_bytes())?.answer(&local(&[]), Offered { video, audio })
}

#[test]
fn payload_type_fits_the_cameras_profile() {
    for (profile, payload_type) in
        [([0x42, 0xe0], 104), ([0x42, 0xc0], 104), ([0x4d, 0x00], 106), ([0x64, 0x00], 104)]
    {
        let settled = answer(&description(H264_LINES), &[&h264(profile)], None).unwrap();
        assert_eq!(settled.video.payload_type, payload_type);
    }
}

#[test]
fn retransmission_feedback_and_extensions_are_agreed_on_where_both_have_them() {
    let settled = answer(&description(H264_LINES), &[&h264([0x42, 0xe0])], None).unwrap();
    assert_eq!((settled.video.rtx, settled.video.has_remb), (Some(105), true));
    let ids = ExtensionIds { abs_send_time: Some(2), ..ExtensionIds::default() };
    assert_eq!(settled.video.extensions, ids);
    let sdp = settled.sdp;
    for line in
        ["m=video 9 UDP/TLS/RTP/SAVPF 104 105", "a=fmtp:105 apt=104", "a=ssrc-group:FID 7 8"]
    {
        assert!(sdp.contains(&format!("{line}\r\n")), "{line}");
    }
    assert!(!sdp.contains("transport-cc") && !sdp.contains("video-orientation"));
    let media_at = sdp.find("a=ssrc:7 ").unwrap();
    assert!(media_at < sdp.find("a=ssrc:8 ").unwrap(), "the media's SSRC goes first");
}

#[test]
fn sound_is_answered_where_the_camera_has_it_and_refused_where_not() {
    let video = h264([0x42, 0xe0]);
    for (codec, payload_type) in [(Codec::Opus, 111), (Codec::Pcmu, 0)] {
        let settled = answer(&description(H264_LINES), &[&video], Some(&format(codec))).unwrap();
        let audio = settled.audio.unwrap();
        assert_eq!((audio.payload_type, audio.mid.as_str()), (payload_type, "0"));
        let parsed = Session::parse(settled.sdp.as_bytes()).unwrap();
        assert_eq!(parsed.get_first_attribute_value("group").flatten(), Some("BUNDLE 0 1"));
        assert!(parsed.medias[0].has_attribute("sendonly"));
    }
    for audio in [None, Some(format(Codec::Pcma))] {
        let settled = answer(&description(H264_LINES), &[&video], audio.as_ref()).unwrap();
        let parsed = Session::parse(settled.sdp.as_bytes()).unwrap();
        assert_eq!((parsed.medias[0].port, settled.audio), (0, None));
        assert_eq!(parsed.get_first_attribute_value("group").flatten(), Some("BUNDLE 1"));
    }
}

#[test]
fn answer_carries_every_candidate() {
    let candidates = ["192.0.2.1:8189".parse().unwrap(), "[2001:db8::1]:8189".parse().unwrap()];
    let offer = Description::parse(description(H264_LINES).as_bytes()).unwrap();
    let offered = Offered { video: &[&h264([0x42, 0xe0])], audio: None };
    let sdp = offer.answer(&local(&candidates), offered).unwrap().sdp;
    let parsed = Session::parse(sdp.as_bytes()).unwrap();
    let video = &parsed.medias[1];
    assert_eq!(video.get_attribute_values("candidate").count(), 2);
    assert_eq!(video.get_first_attribute_value("setup").flatten(), Some("passive"));
    assert!(video.has_attribute("sendonly") && video.has_attribute("end-of-candidates"));
}

#[test]
fn the_best_layer_that_the_player_decodes_is_chosen() {
    let layers = [format(Codec::H265), h264([0x42, 0xe0])];
    let settled = answer(&description(H264_LINES), &[&layers[0], &layers[1]], None).unwrap();
    assert_eq!(settled.video.codec, Codec::H264);
    let settled = answer(&description(H264_LINES), &[&format(Codec::Vp8)], None).unwrap();
    assert_eq!(settled.video.payload_type, 96);
}

#[test]
fn offers_that_cannot_be_answered_say_why() {
    let check = |offer: &str, expected: OfferError| {
        let outcome = answer(offer, &[&h264([0x42, 0xe0])], None);
        assert_eq!(outcome.map(|settled| settled.sdp), Err(expected));
    };
    let good = description(H264_LINES);
    check(
        &good.replace("a=recvonly\r\na=rtpmap:102", "a=sendonly\r\na=rtpmap:102"),
        OfferError::NoReceivingVideo,
    );
    check(&description("a=recvonly\r\n"), OfferError::NoCodec("H264".into()));
    check(&good.replace("sha-256", "sha-1"), OfferError::Missing("fingerprint (sha-256)"));
    check(&good.replace("a=ice-ufrag:abcd\r\n", ""), OfferError::Missing("ice-ufrag"));
    assert!(matches!(Description::parse(b"hello"), Err(OfferError::Malformed(_))));
    assert!(matches!(Description::parse(b""), Err(OfferError::Malformed(_))));
}

#[test]
fn an_offer_of_ours_is_narrowed_to_what_the_player_answers() {
    let (video, audio) = (h264([0x42, 0xe0]), format(Codec::Opus));
    let ours = offer(&local(&[]), Offered { video: &[&video], audio: Some(&audio) });
    Session::parse(ours.sdp.as_bytes()).unwrap();
    assert!(ours.sdp.contains("a=setup:actpass") && ours.audio.is_some());
    let lines = "a=recvonly\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;profile-level-id=42e01f\r\n";
    let theirs = description("").replace("a=rtpmap:96 VP8/90000\r\n", lines);
    let theirs = theirs.replace("m=audio 9", "m=audio 0");
    let settled = ours.answered(&Description::parse(theirs.as_bytes()).unwrap()).unwrap();
    assert_eq!((settled.video.payload_type, settled.video.rtx), (96, None));
    assert_eq!(settled.audio, None);
}

proptest! {
    #[test]
    fn hostile_offers_never_panic_and_never_add_lines(
        at in 0usize..1600, cut in 0usize..40, insert in "[\\x00-\\x7f]{0,20}"
    ) {
        let mut text = description(H264_LINES);
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        text.replace_range(at..end, &insert);
        let (video, audio) = (h264([0x42, 0]), format(Codec::Opus));
        if let Ok(settled) = answer(&text, &[&video], Some(&audio)) {
            for line in settled.sdp.split("\r\n") {
                prop_assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
            }
            prop_assert!(Session::parse(settled.sdp.as_bytes()).is_ok());
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_offer(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Description::parse(&bytes).is_err());
    }
}
