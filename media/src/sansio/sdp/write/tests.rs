use proptest::prelude::*;
use sdp_types::Session;

use super::*;
use crate::sansio::srtp::DtlsRole;

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

fn local(candidates: &[TransportAddress]) -> Local<'_> {
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
fn a_player_without_retransmission_is_not_told_that_it_may_ask_again() {
    let feedback = |offer: &str| {
        let settled = answer(offer, &[&h264([0x42, 0xe0])], None).unwrap();
        let parsed = Session::parse(settled.sdp.as_bytes()).unwrap();
        let values = parsed.medias[1].get_attribute_values("rtcp-fb").flatten();
        (settled.video.rtx, values.map(str::to_owned).collect::<Vec<_>>())
    };
    let with_nack = description(H264_LINES)
        .replace("a=rtcp-fb:104 nack pli", "a=rtcp-fb:104 nack\r\na=rtcp-fb:104 nack pli");
    let all = ["104 goog-remb", "104 nack", "104 nack pli"].map(str::to_owned).to_vec();
    assert_eq!(feedback(&with_nack), (Some(105), all));
    let without_rtx = with_nack.replace("a=fmtp:105 apt=104\r\n", "");
    let but_nack = ["104 goog-remb", "104 nack pli"].map(str::to_owned).to_vec();
    assert_eq!(feedback(&without_rtx), (None, but_nack));
}

#[test]
fn sections_that_are_taken_share_one_transport_and_are_of_webrtc() {
    let video = h264([0x42, 0xe0]);
    let good = description(H264_LINES);
    let check = |offer: &str, expected: OfferError| {
        assert_eq!(Description::parse(offer.as_bytes()), Err(expected));
    };
    check(&good.replace("BUNDLE 0 1", "BUNDLE 1"), OfferError::NotBundled);
    check(&good.replace("a=group:BUNDLE 0 1\r\n", ""), OfferError::NotBundled);
    let proto = OfferError::Missing("UDP/TLS/RTP/SAVPF");
    check(&good.replace("m=video 9 UDP/TLS/RTP/SAVPF", "m=video 9 RTP/AVP"), proto.clone());
    check(&good.replace("m=audio 9 UDP/TLS/RTP/SAVPF", "m=audio 9 RTP/AVP"), proto);
    answer(&good.replace(" UDP/TLS", " TCP/TLS"), &[&video], None).unwrap();

    // What is refused anyway may be anything.
    let data = format!("{good}m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n");
    assert_eq!(
        answer(&data, &[&video], None).unwrap().sdp.matches("a=group:BUNDLE 1\r\n").count(),
        1
    );
    // One section needs no group, and then gets none.
    let (head, rest) = good.split_once("m=audio").unwrap();
    let alone = format!("{head}m=video{}", rest.split_once("m=video").unwrap().1);
    let bundled = answer(&alone, &[&video], None).unwrap();
    assert!(bundled.sdp.contains("a=group:BUNDLE 1\r\n"), "{}", bundled.sdp);
    let unbundled = alone.replace("a=group:BUNDLE 0 1\r\n", "");
    let unbundled = answer(&unbundled, &[&video], None).unwrap();
    assert!(!unbundled.sdp.contains("BUNDLE"), "{}", unbundled.sdp);
}

#[test]
fn ice_is_told_of_in_the_first_section_that_is_taken() {
    let (video, audio) = (h264([0x42, 0xe0]), format(Codec::Opus));
    let tagged = |audio: Option<&Format>| {
        let settled = answer(&description(H264_LINES), &[&video], audio).unwrap();
        (settled.tagged.media, settled.tagged.mid)
    };
    assert_eq!(tagged(Some(&audio)), ("audio".to_owned(), "0".to_owned()));
    assert_eq!(tagged(None), ("video".to_owned(), "1".to_owned()));
}

#[test]
fn a_player_that_insists_on_being_the_dtls_server_gets_a_client() {
    let setup = |offered: &str| {
        let offer = description(H264_LINES).replace("setup:actpass", offered);
        let parsed = Description::parse(offer.as_bytes()).map(|description| description.role)?;
        let sdp = answer(&offer, &[&h264([0x42, 0xe0])], None)?.sdp;
        let line = sdp.lines().find_map(|line| line.strip_prefix("a=setup:")).unwrap();
        Ok((parsed, line.to_owned()))
    };
    assert_eq!(setup("setup:passive"), Ok((DtlsRole::Client, "active".to_owned())));
    for offered in ["setup:actpass", "setup:active"] {
        assert_eq!(setup(offered), Ok((DtlsRole::Server, "passive".to_owned())));
    }
    let missing = OfferError::Missing("setup (actpass, active or passive)");
    assert_eq!(setup("setup:holdconn"), Err(missing));
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
fn line_13_of_two_videos_and_two_sounds_the_second_is_refused() {
    let good = description(H264_LINES).replace("BUNDLE 0 1", "BUNDLE 0 1 2 3");
    let sections = &good[good.find("m=audio").unwrap()..];
    let again = sections.replace("a=mid:0", "a=mid:2").replace("a=mid:1", "a=mid:3");
    let offer = format!("{good}{again}");
    let (video, audio) = (h264([0x42, 0xe0]), format(Codec::Opus));
    let settled = answer(&offer, &[&video], Some(&audio)).unwrap();
    assert_eq!((settled.video.mid.as_str(), settled.audio.unwrap().mid.as_str()), ("1", "0"));
    let parsed = Session::parse(settled.sdp.as_bytes()).unwrap();
    let answered: Vec<_> = parsed.medias.iter().map(|m| (m.media.as_str(), m.port)).collect();
    assert_eq!(answered, [("audio", 9), ("video", 9), ("audio", 0), ("video", 0)]);
    assert!(parsed.medias[2..].iter().all(|media| media.has_attribute("inactive")));
    assert_eq!(parsed.get_first_attribute_value("group").flatten(), Some("BUNDLE 0 1"));
}

#[test]
fn answer_carries_every_candidate() {
    let candidates = [
        TransportAddress::Udp("192.0.2.1:8189".parse().unwrap()),
        TransportAddress::Udp("[2001:db8::1]:8189".parse().unwrap()),
        TransportAddress::Tcp("192.0.2.1:8190".parse().unwrap()),
    ];
    let offer = Description::parse(description(H264_LINES).as_bytes()).unwrap();
    let offered = Offered { video: &[&h264([0x42, 0xe0])], audio: None };
    let sdp = offer.answer(&local(&candidates), offered).unwrap().sdp;
    let parsed = Session::parse(sdp.as_bytes()).unwrap();
    let video = &parsed.medias[1];
    // Priorities by RFC 8445 §5.1.2.1 and RFC 6544 §4.2: TCP behind every UDP one.
    let expected = [
        "1 1 udp 2130706431 192.0.2.1 8189 typ host",
        "2 1 udp 2130706175 2001:db8::1 8189 typ host",
        "3 1 tcp 1520434687 192.0.2.1 8190 typ host tcptype passive",
    ];
    let found: Vec<_> = video.get_attribute_values("candidate").flatten().collect();
    assert_eq!(found, expected);
    assert_eq!(video.get_first_attribute_value("setup").flatten(), Some("passive"));
    assert!(video.has_attribute("sendonly") && video.has_attribute("end-of-candidates"));
}

#[test]
fn sound_gets_no_ssrc_of_the_video_although_the_player_offers_retransmission_of_it() {
    let offer = description(H264_LINES).replace("SAVPF 111 0", "SAVPF 111 112 0").replace(
        "opus/48000/2\r\n",
        "opus/48000/2\r\na=rtpmap:112 rtx/48000\r\na=fmtp:112 apt=111\r\n",
    );
    let (video, audio) = (h264([0x42, 0xe0]), format(Codec::Opus));
    let settled = answer(&offer, &[&video], Some(&audio)).unwrap();
    assert_eq!((settled.audio.unwrap().rtx, settled.video.rtx), (None, Some(105)));
    let parsed = Session::parse(settled.sdp.as_bytes()).unwrap();
    let ssrcs = |section: usize| -> Vec<_> {
        let values = parsed.medias[section].get_attribute_values("ssrc").flatten();
        values.filter_map(|value| value.split(' ').next()).map(str::to_owned).collect()
    };
    assert_eq!(
        (ssrcs(0), ssrcs(1)),
        (vec!["9".to_owned(); 2], ["7", "7", "8", "8"].map(str::to_owned).to_vec())
    );
    assert!(!parsed.medias[0].has_attribute("ssrc-group"));
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
    assert!(ours.sdp.contains("a=setup:actpass") && ours.sdp.contains("m=audio 9 "));
    let lines = "a=recvonly\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;profile-level-id=42e01f\r\n";
    let theirs = description("").replace("a=rtpmap:96 VP8/90000\r\n", lines);
    let theirs = theirs.replace("m=audio 9", "m=audio 0");
    let settled = ours.answered(&Description::parse(theirs.as_bytes()).unwrap()).unwrap();
    assert_eq!((settled.video.payload_type, settled.video.rtx), (96, None));
    assert_eq!(settled.audio, None);
}

#[test]
fn an_offer_of_ours_has_every_codec_of_the_camera_and_the_answer_picks() {
    let (h265, low) = (format(Codec::H265), h264([0x42, 0xc0]));
    let (opus, again) = (format(Codec::Opus), h264([0x64, 0]));
    let layers = [&h265, &low, &again];
    let ours = offer(&local(&[]), Offered { video: &layers, audio: Some(&opus) });
    let parsed = Session::parse(ours.sdp.as_bytes()).unwrap();
    assert_eq!(parsed.medias[0].fmt, "96 97 98 99");
    assert_eq!(parsed.medias[1].fmt, "100");
    let maps: Vec<_> = parsed.medias[0].get_attribute_values("rtpmap").flatten().collect();
    assert_eq!(maps, ["96 H265/90000", "97 rtx/90000", "98 H264/90000", "99 rtx/90000"]);
    assert_eq!(ours.sdp.matches("a=ssrc-group:FID").count(), 1);

    let picked = |formats: &str| {
        let lines = "a=recvonly\r\na=rtpmap:96 H265/90000\r\na=rtpmap:97 rtx/90000\r\n\
            a=fmtp:97 apt=96\r\na=rtpmap:98 H264/90000\r\na=rtpmap:99 rtx/90000\r\n\
            a=fmtp:99 apt=98\r\na=fmtp:98 packetization-mode=1;profile-level-id=42c01f\r\n";
        let theirs = description("").replace("a=rtpmap:96 VP8/90000\r\n", lines);
        let theirs = theirs.replace("SAVPF 96 102 104 105 106", &format!("SAVPF {formats}"));
        let settled = ours.answered(&Description::parse(theirs.as_bytes()).unwrap());
        settled.map(|settled| (settled.video.codec, settled.video.payload_type, settled.video.rtx))
    };
    assert_eq!(picked("98 99"), Ok((Codec::H264, 98, Some(99))));
    assert_eq!(picked("96 97"), Ok((Codec::H265, 96, Some(97))));
    assert_eq!(picked("98 99 96 97"), Ok((Codec::H264, 98, Some(99))), "its first");
    assert_eq!(picked("120"), Err(OfferError::NoCodec("H265 or H264".into())));
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
