//! Offers of real publishers, offers that are refused, and hostile ones.

use proptest::prelude::*;

use super::*;
use crate::sansio::{sdp::write::Ssrcs, transport_address::TransportAddress};

const CHROMIUM: &str = include_str!("../fixtures/whip-chromium.sdp");
const CHROMIUM_SIMULCAST: &str = include_str!("../fixtures/whip-chromium-simulcast.sdp");
const FFMPEG: &str = include_str!("../fixtures/whip-ffmpeg.sdp");
const OBS: &str = include_str!("../fixtures/whip-obs.sdp");

fn local() -> Local<'static> {
    Local {
        ice_ufrag: "ours",
        ice_pwd: "our-password-of-24-chars",
        fingerprint: "AB:CD",
        ssrcs: Ssrcs { video: 7, rtx: 8, audio: 9 },
        candidates: const {
            &[TransportAddress::Udp(std::net::SocketAddr::new(
                std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
                8189,
            ))]
        },
    }
}

fn answer(offer: &str) -> (WhipOffer, Session, String) {
    let offer = WhipOffer::parse(offer.as_bytes()).unwrap();
    let sdp = offer.answer(&local());
    let parsed = Session::parse(sdp.as_bytes()).unwrap();
    for media in &parsed.medias {
        assert!(media.has_attribute("recvonly") && media.has_attribute("rtcp-mux"));
        assert_ne!(media.port, 0, "no section is refused");
    }
    (offer, parsed, sdp)
}

fn values<'a>(media: &'a Media, name: &'static str) -> Vec<&'a str> {
    media.get_attribute_values(name).flatten().collect()
}

#[test]
fn chromiums_offer_is_answered_with_h264_opus_and_retransmission() {
    let (offer, sdp, text) = answer(CHROMIUM);
    let tagged = offer.tagged();
    let video = offer.video.unwrap();
    assert_eq!((video.codec, video.payload_type, video.rtx), (Codec::H264, 102, Some(103)));
    assert!(video.has_nack && video.has_pli && video.has_remb && video.rids.is_empty());
    let audio = offer.audio.unwrap();
    assert_eq!((audio.codec, audio.payload_type, audio.has_nack), (Codec::Opus, 111, false));
    assert_eq!(offer.role, DtlsRole::Server);
    assert_eq!((tagged.media.as_str(), tagged.mid.as_str()), ("audio", "0"));

    assert_eq!(sdp.get_first_attribute_value("group").flatten(), Some("BUNDLE 0 1"));
    let [audio, video] = &sdp.medias[..] else { panic!("two sections") };
    assert_eq!((audio.media.as_str(), audio.fmt.as_str()), ("audio", "111"));
    assert_eq!((video.media.as_str(), video.fmt.as_str()), ("video", "102 103"));
    assert_eq!(
        values(video, "rtcp-fb"),
        ["102 goog-remb", "102 ccm fir", "102 nack", "102 nack pli"]
    );
    assert_eq!(values(video, "rtpmap"), ["102 H264/90000", "103 rtx/90000"]);
    assert_eq!(values(audio, "rtpmap"), ["111 opus/48000/2"]);
    assert_eq!(values(video, "setup"), ["passive"]);
    assert_eq!((values(audio, "candidate").len(), values(video, "candidate").len()), (1, 0));
    assert!(!text.contains("transport-cc") && !text.contains("transport-wide-cc"));
    for uri in EXTENSIONS {
        assert!(values(video, "extmap").iter().any(|map| map.ends_with(uri)), "{uri}");
    }
}

#[test]
fn chromiums_simulcast_is_received_in_three_layers() {
    let (offer, sdp, _) = answer(CHROMIUM_SIMULCAST);
    let video = offer.video.unwrap();
    assert_eq!(video.rids, ["h", "m", "l"]);
    assert_eq!((video.rid_extension, video.repaired_rid_extension), (Some(10), Some(11)));
    assert_eq!(values(&sdp.medias[1], "rid"), ["h recv", "m recv", "l recv"]);
    assert_eq!(values(&sdp.medias[1], "simulcast"), ["recv h;m;l"]);
}

#[test]
fn without_simulcast_the_first_layer_is_taken() {
    let mut offer = WhipOffer::parse(CHROMIUM_SIMULCAST.as_bytes()).unwrap();
    offer.take_one_layer();
    assert_eq!(offer.video.as_ref().unwrap().rids, ["h"]);
    let sdp = offer.answer(&local());
    assert!(
        sdp.contains("a=rid:h recv\r\na=simulcast:recv h\r\n") && !sdp.contains("a=rid:m"),
        "{sdp}"
    );
}

#[test]
fn of_a_simulcast_only_what_can_be_taken_is_answered() {
    let check = |simulcast: &str, rids: &[&str]| {
        let offer = CHROMIUM_SIMULCAST
            .replace("a=simulcast:send h;m;l", &format!("a=simulcast:{simulcast}"))
            .replace("a=rid:l send", "a=rid:l send\r\na=rid:x send pt=96\r\na=rid:y send pt=96,102;max-width=9\r\na=rid:z recv");
        assert_eq!(answer(&offer).0.video.unwrap().rids, rids, "{simulcast}");
    };
    check("recv z send h;~m", &["h", "m"]);
    check("send h;m;l;y", &["h", "m", "l"]);
    check("send x,y;l;l", &["y", "l"]);
    check("send nobody;z", &[]);
    check("recv z", &[]);
    let without_extension = CHROMIUM_SIMULCAST
        .replace("a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n", "");
    assert!(answer(&without_extension).0.video.unwrap().rids.is_empty());
}

#[test]
fn ffmpeg_that_insists_on_being_the_dtls_server_gets_a_client() {
    let (offer, sdp, _) = answer(FFMPEG);
    assert_eq!(offer.role, DtlsRole::Client);
    assert_eq!(values(&sdp.medias[0], "setup"), ["active"]);
    let video = offer.video.unwrap();
    assert_eq!((video.payload_type, video.rtx), (106, Some(105)));
    assert!(video.has_nack && !video.has_pli && !video.has_remb);
    assert!(
        !sdp.medias[0].has_attribute("rtcp-rsize") && sdp.medias[1].has_attribute("rtcp-rsize")
    );
}

#[test]
fn obs_has_its_transport_at_the_session() {
    let (offer, _, text) = answer(OBS);
    assert_eq!((offer.ice_ufrag.as_str(), offer.role), ("riAt", DtlsRole::Server));
    assert_eq!(offer.video.unwrap().rtx, None);
    assert!(!text.contains("extmap"));
}

#[test]
fn sound_is_taken_without_retransmission() {
    let (offer, _, text) = answer(&OBS.replace(
        "SAVPF 111\r\n",
        "SAVPF 111 112\r\na=rtcp-fb:111 nack\r\na=rtpmap:112 rtx/48000\r\na=fmtp:112 apt=111\r\n",
    ));
    let audio = offer.audio.unwrap();
    assert_eq!((audio.payload_type, audio.rtx, audio.has_nack), (111, None, false));
    assert!(!text.contains("112") && !text.contains("rtcp-fb:111"));
}

#[test]
fn fingerprints_by_other_hashes_do_not_hide_the_one_we_check() {
    let (expected, ..) = answer(OBS);
    let (offer, ..) =
        answer(&OBS.replace("a=fingerprint", "a=fingerprint:sha-512 AB:CD\r\na=fingerprint"));
    assert_eq!(offer.fingerprint, expected.fingerprint);
    let in_session = CHROMIUM.replace("a=fingerprint:sha-256", "a=x:")
        .replace("t=0 0", "t=0 0\r\na=fingerprint:sha-1 AB:CD\r\na=fingerprint:SHA-256 A5:E0:AA:3F:13:7F:F5:D4:3F:CC:97:CF:FC:CD:8F:1E:85:8B:C4:63:B0:C3:7B:5E:1F:43:59:7B:06:CF:71:3E");
    answer(&in_session);
}

#[test]
fn the_best_codec_of_the_offer_is_taken() {
    let check = |removed: &[&str], codec| {
        let offer =
            removed.iter().fold(CHROMIUM.to_owned(), |offer, name| offer.replace(name, "XX"));
        let offer = WhipOffer::parse(offer.as_bytes());
        assert_eq!(offer.map(|offer| offer.video.unwrap().codec), codec);
    };
    check(&[], Ok(Codec::H264));
    check(&["packetization-mode=1"], Ok(Codec::Vp8));
    check(&["H264", "VP8"], Ok(Codec::Vp9));
    check(&["H264", "VP8", "VP9"], Ok(Codec::Av1));
    let names = "H264 with packetization-mode=1, VP8, VP9, AV1, H265";
    check(&["H264", "VP8", "VP9", "AV1"], Err(WhipOfferError::NoCodec("video", names)));
    let offer = CHROMIUM.replace("AV1", "H265").replace("H264", "XX").replace(" VP", " XX");
    assert_eq!(answer(&offer).0.video.unwrap().codec, Codec::H265);
    let offer = CHROMIUM.replace("opus", "XX").replace("PCMU", "XX");
    assert_eq!(answer(&offer).0.audio.unwrap().codec, Codec::Pcma);
}

#[test]
fn offers_that_are_not_supported_are_refused_whole() {
    let at = CHROMIUM.find("m=audio").unwrap();
    let video_at = CHROMIUM.find("m=video").unwrap();
    let (head, audio, video) = (&CHROMIUM[..at], &CHROMIUM[at..video_at], &CHROMIUM[video_at..]);
    let check = |offer: &str, expected: WhipOfferError| {
        assert!(!expected.is_malformed());
        assert_eq!(WhipOffer::parse(offer.as_bytes()).map(|_| ()), Err(expected));
    };
    check(&format!("{head}{video}{video}"), WhipOfferError::TooMany("video"));
    check(&format!("{head}{audio}{audio}{video}"), WhipOfferError::TooMany("audio"));
    check(head, WhipOfferError::NoMedia);
    let data =
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\na=sctp-port:5000\r\n";
    check(&format!("{CHROMIUM}{data}"), WhipOfferError::UnknownMedia);
    check(&CHROMIUM.replace("a=sendonly", "a=recvonly"), WhipOfferError::NotSending);
    check(&CHROMIUM.replace("m=video 9", "m=video 0"), WhipOfferError::NotSending);
    check(&CHROMIUM.replace("BUNDLE 0 1", "BUNDLE 0"), WhipOfferError::NotBundled);
    let other_stream = video.replace("a=msid:", "a=msid:x");
    check(&format!("{head}{audio}{other_stream}"), WhipOfferError::TooMany("media stream"));
    let no_audio = WhipOfferError::NoCodec("audio", "opus, PCMU, PCMA");
    let only_dtmf = audio.replace("opus", "XX").replace("PCM", "XX");
    check(&format!("{head}{only_dtmf}{video}"), no_audio);
    // One kind of media alone is fine, as is a section that lives off the bundle's transport.
    for alone in [audio, video] {
        answer(&format!("{head}{alone}"));
        let head = head.replace("a=group:BUNDLE 0 1\r\n", "");
        let (_, _, text) = answer(&format!("{head}{alone}"));
        assert!(!text.contains("BUNDLE"), "{text}");
    }
    answer(
        &CHROMIUM.replace("m=video 9", "m=video 0").replace("a=mid:1", "a=mid:1\r\na=bundle-only"),
    );
    answer(&CHROMIUM.replace("a=sendonly", "a=sendrecv"));
}

#[test]
fn malformed_offers_say_what_is_missing() {
    let check = |from: &str, to: &str, expected: &str| {
        let error = WhipOffer::parse(OBS.replace(from, to).as_bytes()).unwrap_err();
        assert!(error.is_malformed() && error.to_string().contains(expected), "{error}");
    };
    check("a=ice-ufrag:riAt\r\n", "", "ice-ufrag");
    check("a=ice-pwd:", "a=ice-pwd:\r\na=x:", "ice-pwd");
    check("sha-256", "sha-1", "fingerprint");
    check("actpass", "holdconn", "setup");
    check("a=rtcp-mux\r\n", "", "rtcp-mux");
    check("a=mid:1\r\n", "", "mid");
    check("UDP/TLS/RTP/SAVPF", "RTP/AVP", "SAVPF");
    check("SAVPF 96\r\n", "SAVPF 111\r\na=rtpmap:111 VP8/90000\r\n", "twice");
    assert!(WhipOffer::parse(b"hello").unwrap_err().is_malformed());
    assert!(WhipOffer::parse(b"").unwrap_err().is_malformed());
}

/// Lines of an answer that are made of our own words alone, up to the first value.
const KINDS: [&str; 29] = [
    "v=0",
    "o=- ",
    "s=-",
    "t=0 0",
    "a=ice-lite",
    "a=group:BUNDLE ",
    "a=extmap-allow-mixed",
    "m=audio 9 ",
    "m=video 9 ",
    "c=IN IP4 0.0.0.0",
    "a=rtcp:9 ",
    "a=ice-ufrag:ours",
    "a=ice-pwd:our-",
    "a=fingerprint:sha-256 AB:CD",
    "a=setup:passive",
    "a=setup:active",
    "a=mid:",
    "a=recvonly",
    "a=rtcp-mux",
    "a=rtcp-rsize",
    "a=extmap:",
    "a=rtpmap:",
    "a=fmtp:",
    "a=rtcp-fb:",
    "a=rid:",
    "a=simulcast:recv ",
    "a=candidate:1 1 udp ",
    "a=end-of-candidates",
    "",
];

proptest! {
    #[test]
    fn hostile_offers_never_panic_and_never_add_lines(
        which in 0usize..4, at in 0usize..6000, cut in 0usize..40, insert in "([ -~]|\r|\n|\0|\u{85}|\u{2028}|a=|;|:){0,20}"
    ) {
        let mut text = [CHROMIUM, CHROMIUM_SIMULCAST, FFMPEG, OBS][which].to_owned();
        let at = at % text.len();
        let end = (at + cut).min(text.len());
        text.replace_range(at..end, &insert);
        if let Ok(offer) = WhipOffer::parse(text.as_bytes()) {
            let sdp = offer.answer(&local());
            prop_assert!(Session::parse(sdp.as_bytes()).is_ok());
            for line in sdp.split("\r\n") {
                prop_assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
                prop_assert!(KINDS.iter().any(|kind| line.starts_with(kind)), "{line:?}");
            }
            let candidates = sdp.matches("\r\na=candidate:").count();
            prop_assert_eq!(candidates, 1);
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_offer(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(WhipOffer::parse(&bytes).is_err());
    }
}
