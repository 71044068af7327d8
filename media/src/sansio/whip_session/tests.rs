//! A publisher in memory behind a link that loses, delays, doubles and reorders.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::sansio::{
    format::Codec,
    rtp::Ntp,
    srtp::{RtpFields, RtpSender},
    transport::testing::Client,
};

/// SPS of 1280x720 by x264.
const SPS: &[u8] = &[
    0x67, 0x42, 0xc0, 0x1f, 0xd9, 0x00, 0x50, 0x05, 0xba, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00,
    0x00, 0x03, 0x03, 0xc0, 0xf1, 0x83, 0x24, 0x80,
];
const PPS: &[u8] = &[0x68, 0xcb, 0x83, 0xcb, 0x20];
const VIDEO: u8 = 102;
const RTX: u8 = 103;
const AUDIO: u8 = 111;
const RID_EXTENSION: u8 = 10;
const REPAIRED_RID_EXTENSION: u8 = 11;
const RTX_SSRC_OFFSET: u32 = 1000;

fn reception(codec: Codec, rids: &[&str]) -> Reception {
    let is_video = !codec.is_audio();
    Reception {
        codec,
        payload_type: if is_video { VIDEO } else { AUDIO },
        rtx: is_video.then_some(RTX),
        has_nack: is_video,
        has_pli: is_video,
        has_remb: is_video,
        rids: rids.iter().map(|&rid| rid.to_owned()).collect(),
        rid_extension: (!rids.is_empty()).then_some(RID_EXTENSION),
        repaired_rid_extension: (!rids.is_empty()).then_some(REPAIRED_RID_EXTENSION),
    }
}

/// What was asked of the publisher.
#[derive(Debug, Clone, Default)]
struct Asked {
    nacks: usize,
    plis: Vec<(Instant, u32)>,
    reports: Vec<rtcp::ReportBlock>,
    estimates_bps: Vec<u64>,
}

struct Publisher {
    client: Client,
    senders: HashMap<u32, RtpSender>,
    history: BTreeMap<(u32, u16), (RtpFields, Vec<u8>)>,
    packets_of: HashMap<u32, usize>,
    rids: HashMap<u32, &'static str>,
    sends_rtx: bool,
    /// SSRCs whose next picture is to be a key frame.
    wants_key: Vec<u32>,
    asked: Asked,
}

struct Link {
    session: WhipSession,
    publisher: Publisher,
    now: Instant,
    outbox: Outbox,
    events: Vec<WhipEvent>,
    /// Due time, order of sending, to the session or from it.
    under_way: BTreeMap<(Instant, u64), (bool, Vec<u8>)>,
    carried: u64,
    random: u64,
    loss_percent: u64,
    double_percent: u64,
    jitter_ms: u64,
    delay: Duration,
}

impl Link {
    fn new(video: Option<Reception>, audio: Option<Reception>) -> Self {
        let now = Instant::now();
        let (client, transport) = Client::new(now);
        // Key frames are for a test of its own.
        let limits = ReceiveLimits {
            key_frame_interval: Duration::from_secs(3600),
            ..ReceiveLimits::default()
        };
        let role = DtlsRole::Server;
        let parameters = WhipParameters { transport, role, ssrc: 1, video, audio, limits };
        let publisher = Publisher {
            client,
            senders: HashMap::new(),
            history: BTreeMap::new(),
            packets_of: HashMap::new(),
            rids: HashMap::new(),
            sends_rtx: true,
            wants_key: vec![],
            asked: Asked::default(),
        };
        let mut link = Self {
            session: WhipSession::new(parameters, &Identity::generate().unwrap(), now),
            publisher,
            now,
            outbox: Outbox::default(),
            events: vec![],
            under_way: BTreeMap::new(),
            carried: 0,
            random: 0x2545_f491_4f6c_dd1d,
            loss_percent: 0,
            double_percent: 0,
            jitter_ms: 0,
            delay: Duration::from_millis(5),
        };
        link.carry(true, link.publisher.client.check());
        link.run(300);
        assert_eq!(link.events, [WhipEvent::Connected]);
        link.events.clear();
        link
    }

    fn h264() -> Self {
        Self::new(Some(reception(Codec::H264, &[])), None)
    }

    fn percent(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 20) % 100
    }

    fn carry(&mut self, to_session: bool, datagram: Vec<u8>) {
        if self.percent() < self.loss_percent {
            return;
        }
        let copies = if self.percent() < self.double_percent { 2 } else { 1 };
        for _ in 0..copies {
            let jitter = Duration::from_millis(self.percent() * self.jitter_ms / 100);
            self.carried += 1;
            let due = (self.now + self.delay + jitter, self.carried);
            self.under_way.insert(due, (to_session, datagram.clone()));
        }
    }

    fn flush(&mut self) {
        while let Some(event) = self.session.poll() {
            self.events.push(event);
        }
        let sent: Vec<_> = self.outbox.datagrams().map(|(_, datagram)| datagram.to_vec()).collect();
        self.outbox.clear();
        for datagram in sent {
            self.carry(false, datagram);
        }
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now += Duration::from_millis(1);
            while let Some(entry) = self.under_way.first_entry() {
                if entry.key().0 > self.now {
                    break;
                }
                let (to_session, mut datagram) = entry.remove();
                if to_session {
                    let from = self.publisher.client.address;
                    self.session.on_datagram(self.now, from, &mut datagram, &mut self.outbox);
                } else if !self.publisher.client.take(self.now, &datagram) {
                    for datagram in self.publisher.on_rtcp(self.now, datagram) {
                        self.carry(true, datagram);
                    }
                }
                self.flush();
            }
            if self.session.next_timeout() <= self.now {
                self.session.on_timer(self.now, &mut self.outbox);
                self.flush();
            }
            for datagram in self.publisher.client.poll(self.now) {
                self.carry(true, datagram);
            }
        }
    }

    /// Sends a picture as `payloads` and lets 33 ms pass.
    fn send(&mut self, ssrc: u32, timestamp: u32, payloads: &[Vec<u8>]) {
        for datagram in self.publisher.picture(ssrc, VIDEO, timestamp, payloads) {
            self.carry(true, datagram);
        }
    }

    /// Sends `count` pictures of H.264 at 30 a second, the first one and those asked for being key frames.
    fn send_h264(&mut self, pictures: std::ops::Range<u32>) {
        for n in pictures {
            let wanted = std::mem::take(&mut self.publisher.wants_key);
            let is_key = n == 0 || !wanted.is_empty();
            self.send(7, n.wrapping_mul(3_000), &h264(is_key));
            self.run(33);
        }
    }

    fn units(&self, of: WhipTrack) -> Vec<&Assembled> {
        let unit = |event: &'_ _| matches!(event, WhipEvent::Unit(track, _) if *track == of);
        self.events
            .iter()
            .filter(|event| unit(event))
            .filter_map(|event| match event {
                WhipEvent::Unit(_, unit) => Some(unit),
                _ => None,
            })
            .collect()
    }

    fn formats(&self) -> Vec<(WhipTrack, &Format)> {
        self.events
            .iter()
            .filter_map(|event| match event {
                WhipEvent::Format(track, format) => Some((*track, format)),
                _ => None,
            })
            .collect()
    }

    fn assert_in_order(&self, track: WhipTrack) {
        let units = self.units(track);
        assert!(units.windows(2).all(|pair| pair[0].timestamp_90k < pair[1].timestamp_90k));
    }
}

impl Publisher {
    fn seal(&mut self, ssrc: u32, fields: RtpFields, payload: &[u8]) -> (u16, Vec<u8>) {
        let senders = &mut self.client.srtp.as_mut().expect("connected").rtp_senders;
        let sender =
            self.senders.entry(ssrc).or_insert_with(|| senders.sender(ssrc, 0x7ff0).unwrap());
        let count = self.packets_of.entry(ssrc).or_default();
        *count += 1;
        // Browsers name the layer in the first packets only.
        let rid = self.rids.get(&ssrc).filter(|_| *count <= 5);
        let id = if fields.payload_type == RTX { REPAIRED_RID_EXTENSION } else { RID_EXTENSION };
        let extension = rid.map(|rid| (id, rid.as_bytes()));
        let mut datagram = Vec::new();
        let sealed = sender.seal(fields, extension.as_slice(), &[payload], &mut datagram);
        (sealed.unwrap(), datagram)
    }

    fn picture(&mut self, ssrc: u32, pt: u8, timestamp: u32, payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let last = payloads.len() - 1;
        let seal = |(index, payload): (usize, &Vec<u8>)| {
            let fields = RtpFields { payload_type: pt, marker: index == last, timestamp };
            let (sequence_number, datagram) = self.seal(ssrc, fields, payload);
            self.history.insert((ssrc, sequence_number), (fields, payload.clone()));
            datagram
        };
        payloads.iter().enumerate().map(seal).collect()
    }

    fn seal_rtcp(&mut self, compound: &[u8]) -> Vec<u8> {
        let mut datagram = Vec::new();
        let srtp = self.client.srtp.as_mut().unwrap();
        srtp.rtcp_sender.seal(compound, &mut datagram).unwrap();
        datagram
    }

    /// Gives what is sent in answer.
    fn on_rtcp(&mut self, now: Instant, mut datagram: Vec<u8>) -> Vec<Vec<u8>> {
        let srtp = self.client.srtp.as_mut().unwrap();
        // A doubled datagram is a replay.
        let Ok(compound) = srtp.rtcp_receiver.open(&mut datagram) else { return vec![] };
        let mut lost_packets = Vec::new();
        for packet in rtcp::parse(compound) {
            match packet.unwrap() {
                rtcp::Packet::Nack { media_ssrc, lost, .. } => {
                    self.asked.nacks += 1;
                    lost_packets.extend(lost.iter().map(|number| (media_ssrc, number)));
                }
                rtcp::Packet::PictureLossIndication { media_ssrc, .. } => {
                    self.asked.plis.push((now, media_ssrc));
                    self.wants_key.push(media_ssrc);
                }
                rtcp::Packet::ReceiverReport { reports, .. } => {
                    self.asked.reports.extend(reports.iter());
                }
                rtcp::Packet::ReceiverEstimate { bitrate_bps, .. } => {
                    self.asked.estimates_bps.push(bitrate_bps);
                }
                _ => {}
            }
        }
        if !self.sends_rtx {
            return vec![];
        }
        let mut answers = Vec::new();
        for (ssrc, number) in lost_packets {
            let (fields, payload) = self.history[&(ssrc, number)].clone();
            let payload = [&number.to_be_bytes()[..], &payload].concat();
            let fields = RtpFields { payload_type: RTX, ..fields };
            let rtx_ssrc = ssrc + RTX_SSRC_OFFSET;
            if let Some(rid) = self.rids.get(&ssrc).copied() {
                self.rids.insert(rtx_ssrc, rid);
            }
            answers.push(self.seal(rtx_ssrc, fields, &payload).1);
        }
        answers
    }
}

fn h264(is_key: bool) -> Vec<Vec<u8>> {
    if !is_key {
        let fragment = |header: u8| vec![0x7c, header, 1, 2, 3];
        return vec![fragment(0x81), fragment(0x01), fragment(0x41)];
    }
    vec![SPS.to_vec(), PPS.to_vec(), vec![0x7c, 0x85, 9], vec![0x7c, 0x45, 9]]
}

fn vp8(is_key: bool, width_px: u16, height_px: u16) -> Vec<Vec<u8>> {
    if !is_key {
        return vec![vec![0x10, 0x31, 1, 0], vec![0x00, 7, 7]];
    }
    let mut first = vec![0x10, 0x70, 0xa9, 0x00, 0x9d, 0x01, 0x2a];
    first.extend(width_px.to_le_bytes());
    first.extend(height_px.to_le_bytes());
    vec![first, vec![0x00, 7, 7]]
}

#[test]
fn a_publisher_connects_and_every_picture_comes_out_with_its_format() {
    let mut link = Link::h264();
    let sr = rtcp::SenderInfo {
        ssrc: 7,
        ntp: Ntp(0x1122_3344_5566_7788),
        rtp_timestamp: 0,
        packets: 0,
        octets: 0,
    };
    link.send_h264(0..1);
    let mut report = Vec::new();
    rtcp::write_sender_report(&sr, &[], &mut report);
    let report = link.publisher.seal_rtcp(&report);
    link.carry(true, report);
    link.send_h264(1..90);

    let [(WhipTrack::Layer(0), format)] = link.formats()[..] else { panic!("one format") };
    let video = format.video.clone().unwrap();
    assert_eq!((video.width_px, video.height_px, &video.codec[..]), (1280, 720, "avc1.42c01f"));
    assert_eq!((format.h264_profile, &format.rid[..]), (Some([0x42, 0xc0]), "main"));
    let units = link.units(WhipTrack::Layer(0));
    assert_eq!(units.len(), 90);
    assert!(units[0].is_key && !units[1].is_key);
    assert_eq!(units[0].payloads[0], SPS);
    assert_eq!(units[89].timestamp_90k - units[0].timestamp_90k, 89 * 3_000);

    let asked = &link.publisher.asked;
    assert_eq!((asked.nacks, asked.plis.len()), (0, 0));
    // From the target on, a twelfth more each second, as REMB can say it.
    assert_eq!(asked.estimates_bps, [3_250_000, 3_520_832, 3_814_224]);
    let last = asked.reports.last().unwrap();
    assert_eq!((last.ssrc, last.fraction_lost, last.cumulative_lost), (7, 0, 0));
    assert_eq!(last.last_sr, 0x3344_5566);
    assert!((0x1_f000..0x2_1000).contains(&last.delay_since_last_sr), "two seconds");
}

#[test]
fn with_retransmission_a_link_that_loses_five_percent_costs_hardly_a_picture() {
    let mut link = Link::h264();
    (link.loss_percent, link.delay) = (5, Duration::from_millis(8));
    link.send_h264(0..3_000);
    link.run(200);
    let units = link.units(WhipTrack::Layer(0)).len();
    assert!(units >= 2_970, "{units} of 3000");
    link.assert_in_order(WhipTrack::Layer(0));
    let asked = &link.publisher.asked;
    assert!((300..900).contains(&asked.nacks), "{} NACKs", asked.nacks);
    let lost: u32 = asked.reports.iter().map(|block| u32::from(block.fraction_lost)).sum();
    let mean_percent = lost * 100 / 256 / asked.reports.len() as u32;
    assert!((3..8).contains(&mean_percent), "{mean_percent} %");
    assert!(asked.estimates_bps.iter().all(|estimate| *estimate > 2_500_000));
}

#[test]
fn without_retransmission_a_hole_becomes_one_pli_and_a_key_frame_goes_on() {
    let mut link = Link::h264();
    link.publisher.sends_rtx = false;
    link.send_h264(0..10);
    link.publisher.asked = Asked::default();
    let lost = link.publisher.picture(7, VIDEO, 30_000, &h264(false));
    link.carry(true, lost[0].clone());
    link.carry(true, lost[2].clone());
    let lost_at = link.now;
    link.run(33);
    link.send_h264(11..40);
    let asked = &link.publisher.asked;
    let [(asked_at, 7)] = asked.plis[..] else { panic!("one PLI: {:?}", asked.plis) };
    let after = asked_at - lost_at;
    assert!((70..=75).contains(&after.as_millis()), "the buffer's 60 ms and both ways: {after:?}");
    // At once, and again until it was given up.
    assert_eq!(asked.nacks, 2);
    let units = link.units(WhipTrack::Layer(0));
    // Those that came while the key frame was on its way are of no use.
    assert!((36..=38).contains(&units.len()), "{}", units.len());
    assert_eq!(units.iter().filter(|unit| unit.is_key).count(), 2);
    link.assert_in_order(WhipTrack::Layer(0));
}

#[test]
fn doubled_and_reordered_packets_come_out_once_and_in_order() {
    let mut link = Link::h264();
    // What overtakes the very first packet is the stream's beginning.
    link.send_h264(0..1);
    (link.double_percent, link.jitter_ms) = (20, 40);
    link.send_h264(1..600);
    link.run(200);
    assert_eq!(link.units(WhipTrack::Layer(0)).len(), 600);
    link.assert_in_order(WhipTrack::Layer(0));
    assert!(link.publisher.asked.plis.is_empty());
}

#[test]
fn a_publisher_that_sends_no_key_frame_by_itself_is_asked_for_one_every_interval() {
    let mut link = Link::h264();
    let key_frame_interval = Duration::from_millis(1_500);
    let pace = Pace { hold: Duration::from_millis(60), key_frame_interval };
    link.session.tracks = vec![Track::new(Codec::H264, "main".to_owned(), pace)];
    // Ten seconds.
    link.send_h264(0..300);
    let keys = link.units(WhipTrack::Layer(0)).iter().filter(|unit| unit.is_key).count();
    assert!((6..=7).contains(&keys), "{keys} key frames, the first included");
    assert_eq!(link.publisher.asked.plis.len(), keys - 1);

    // One that has its own mind is asked no more often.
    link.publisher.asked.plis.clear();
    for n in 300..600 {
        link.publisher.wants_key.clear();
        link.send(7, n * 3_000, &h264(false));
        link.run(33);
    }
    assert!((6..=7).contains(&link.publisher.asked.plis.len()), "{:?}", link.publisher.asked.plis);
}

#[test]
fn key_frames_are_asked_for_until_one_comes_but_not_more_than_twice_a_second() {
    let mut link = Link::h264();
    for n in 1..=60 {
        link.send(7, n * 3_000, &h264(false));
        link.session.request_key_frame(WhipTrack::Layer(0));
        link.run(33);
    }
    assert_eq!(link.publisher.asked.plis.len(), 4);
    assert!(link.units(WhipTrack::Layer(0)).is_empty());
    link.publisher.wants_key.clear();
    link.send(7, 61 * 3_000, &h264(true));
    link.run(1_000);
    assert_eq!(link.publisher.asked.plis.len(), 4);
    assert_eq!(link.units(WhipTrack::Layer(0)).len(), 1);
    link.session.request_key_frame(WhipTrack::Layer(0));
    link.run(10);
    assert_eq!(link.publisher.asked.plis.len(), 5);
}

/// Sends pictures of the layers `l`, `m` and `h` (SSRC 7, 8, 9).
fn send_simulcast(link: &mut Link, pictures: std::ops::Range<u32>) {
    for n in pictures {
        for (ssrc, width_px, height_px) in [(7, 320, 180), (8, 640, 360), (9, 1280, 720)] {
            let is_key = n == 0 || link.publisher.wants_key.contains(&ssrc);
            link.publisher.wants_key.retain(|wanted| *wanted != ssrc);
            link.send(ssrc, n * 3_000 + ssrc, &vp8(is_key, width_px, height_px));
        }
        link.run(33);
    }
}

fn simulcast() -> Link {
    let mut link = Link::new(Some(reception(Codec::Vp8, &["l", "m", "h"])), None);
    link.publisher.rids = HashMap::from([(7, "l"), (8, "m"), (9, "h")]);
    link
}

#[test]
fn a_simulcast_becomes_layers_with_the_largest_first() {
    let mut link = simulcast();
    send_simulcast(&mut link, 0..60);
    let mut last = HashMap::new();
    for (track, format) in link.formats() {
        let video = format.video.as_ref().unwrap();
        last.insert(track, (format.rid.as_str(), video.width_px, video.codec.as_str()));
    }
    assert_eq!(last[&WhipTrack::Layer(0)], ("h", 1280, "vp8"));
    assert_eq!(last[&WhipTrack::Layer(1)], ("m", 640, "vp8"));
    assert_eq!(last[&WhipTrack::Layer(2)], ("l", 320, "vp8"));
    // Whatever place a layer had, what follows its format are its own pictures, from a key frame on.
    let mut rid_of = HashMap::new();
    let mut is_fresh = HashMap::new();
    for event in &link.events {
        match event {
            WhipEvent::Format(track, format) => {
                rid_of.insert(*track, format.rid.clone());
                is_fresh.insert(*track, true);
            }
            WhipEvent::Unit(track, unit) => {
                assert!(!is_fresh.insert(*track, false).unwrap() || unit.is_key);
                let rid = ["l", "m", "h"][(unit.timestamp_90k % 3_000 - 7) as usize];
                assert_eq!(rid_of[track], rid);
            }
            _ => {}
        }
    }
    for layer in 0..3 {
        assert!(link.units(WhipTrack::Layer(layer)).len() > 40);
    }
}

#[test]
fn a_key_frame_is_asked_for_of_the_layer_that_needs_it() {
    let mut link = simulcast();
    send_simulcast(&mut link, 0..60);
    link.publisher.asked.plis.clear();
    link.session.request_key_frame(WhipTrack::Layer(0));
    link.session.request_key_frame(WhipTrack::Layer(2));
    link.session.request_key_frame(WhipTrack::Layer(9));
    link.session.request_key_frame(WhipTrack::Audio);
    send_simulcast(&mut link, 60..70);
    let mut asked: Vec<_> = link.publisher.asked.plis.iter().map(|(_, ssrc)| *ssrc).collect();
    asked.sort_unstable();
    assert_eq!(asked, [7, 9]);
}

#[test]
fn retransmissions_of_a_simulcast_find_their_layer() {
    let mut link = simulcast();
    send_simulcast(&mut link, 0..60);
    link.events.clear();
    link.loss_percent = 5;
    send_simulcast(&mut link, 60..660);
    link.loss_percent = 0;
    link.run(200);
    for layer in 0..3 {
        let units = link.units(WhipTrack::Layer(layer)).len();
        assert!(units >= 585, "layer {layer}: {units} of 600");
        link.assert_in_order(WhipTrack::Layer(layer));
    }
}

#[test]
fn sound_comes_out_packet_by_packet_across_a_wrap_of_its_timestamps() {
    let mut link = Link::new(None, Some(reception(Codec::Opus, &[])));
    let first = 0u32.wrapping_sub(50 * 960);
    for n in 0..100 {
        let timestamp = first.wrapping_add(n * 960);
        for datagram in link.publisher.picture(5, AUDIO, timestamp, &[vec![n as u8; 80]]) {
            // One is lost; sound is not asked for again.
            if n != 70 {
                link.carry(true, datagram);
            }
        }
        link.run(20);
    }
    link.run(100);
    let [(WhipTrack::Audio, format)] = link.formats()[..] else { panic!("one format") };
    assert_eq!((format.codec, &format.rid[..], &format.video), (Codec::Opus, "audio", &None));
    let units = link.units(WhipTrack::Audio);
    assert_eq!(units.len(), 99);
    assert!(units.iter().all(|unit| unit.is_key && unit.payloads.len() == 1));
    assert_eq!(units[98].timestamp_90k - units[0].timestamp_90k, 99 * 960);
    let asked = &link.publisher.asked;
    assert_eq!((asked.nacks, asked.plis.len(), asked.estimates_bps.len()), (0, 0, 0));
    assert_eq!(asked.reports.last().unwrap().cumulative_lost, 1);
}

#[test]
fn heavy_loss_makes_the_publisher_send_less_and_then_more_again() {
    let mut link = Link::h264();
    link.loss_percent = 30;
    link.send_h264(0..600);
    link.loss_percent = 0;
    let low = *link.publisher.asked.estimates_bps.last().unwrap();
    assert!((600_000..1_500_000).contains(&low), "{low}");
    link.send_h264(600..1_800);
    let high = *link.publisher.asked.estimates_bps.last().unwrap();
    assert_eq!(high, 5_000_000);
}

#[test]
fn a_publisher_that_begins_anew_with_another_ssrc_is_followed() {
    let mut link = Link::h264();
    link.send_h264(0..10);
    link.run(1_500);
    link.publisher.asked.plis.clear();
    for n in 0..10 {
        link.send(8, 77_000 + n * 3_000, &h264(n == 3));
        link.run(33);
    }
    assert_eq!(link.units(WhipTrack::Layer(0)).len(), 10 + 7);
    assert_eq!(link.publisher.asked.plis.len(), 1);
    assert_eq!(link.publisher.asked.plis[0].1, 8);
}

#[test]
fn after_lost_events_formats_and_key_frames_come_anew() {
    let audio = reception(Codec::Opus, &[]);
    let mut link = Link::new(Some(reception(Codec::H264, &[])), Some(audio));
    let send_sound = |link: &mut Link, n: u32| {
        for datagram in link.publisher.picture(5, AUDIO, n * 960, &[vec![1; 80]]) {
            link.carry(true, datagram);
        }
    };
    link.send_h264(0..3);
    send_sound(&mut link, 0);
    link.run(20);
    link.events.clear();
    link.session.start_over();
    send_sound(&mut link, 1);
    link.send_h264(3..7);
    assert_eq!(link.formats().len(), 2);
    let units = link.units(WhipTrack::Layer(0));
    assert!(units[0].is_key && !units[1].is_key);
    assert_eq!(link.units(WhipTrack::Audio).len(), 1);
}

#[test]
fn a_layer_that_was_silent_comes_back_with_its_format_and_a_key_frame() {
    let mut link = simulcast();
    send_simulcast(&mut link, 0..30);
    let send_lower = |link: &mut Link, pictures: std::ops::Range<u32>| {
        for n in pictures {
            for (ssrc, width_px, height_px) in [(7, 320, 180), (8, 640, 360)] {
                let is_key = link.publisher.wants_key.contains(&ssrc);
                link.publisher.wants_key.retain(|wanted| *wanted != ssrc);
                link.send(ssrc, n * 3_000 + ssrc, &vp8(is_key, width_px, height_px));
            }
            link.run(33);
        }
    };
    send_lower(&mut link, 30..130);
    link.events.clear();
    link.publisher.asked.plis.clear();
    send_simulcast(&mut link, 130..150);
    let formats = link.formats();
    assert_eq!(formats.len(), 1, "the other layers went on: {formats:?}");
    assert_eq!((formats[0].0, formats[0].1.rid.as_str()), (WhipTrack::Layer(0), "h"));
    assert!(link.units(WhipTrack::Layer(0))[0].is_key);
    assert!(link.publisher.asked.plis.iter().all(|(_, ssrc)| *ssrc == 9));
    assert_eq!(link.publisher.asked.plis.len(), 1);
}

#[test]
fn after_a_goodbye_the_next_stream_of_a_layer_tells_its_format() {
    let mut link = simulcast();
    send_simulcast(&mut link, 0..30);
    let mut goodbye = Vec::new();
    rtcp::write_goodbye(&[9], &mut goodbye);
    let goodbye = link.publisher.seal_rtcp(&goodbye);
    link.carry(true, goodbye);
    link.run(20);
    link.events.clear();
    link.publisher.rids.insert(19, "h");
    for n in 0..10 {
        link.send(19, n * 3_000, &vp8(n == 3, 1280, 720));
        link.run(33);
    }
    assert_eq!(link.formats().len(), 1);
    assert_eq!(link.units(WhipTrack::Layer(0)).len(), 7);
}

#[test]
fn goodbye_silence_and_close_end_the_session() {
    let closed = |link: &Link| match link.events.last() {
        Some(WhipEvent::Closed(reason)) => Some(*reason),
        _ => None,
    };
    let audio = reception(Codec::Opus, &[]);
    let mut link = Link::new(Some(reception(Codec::H264, &[])), Some(audio));
    link.send_h264(0..3);
    for datagram in link.publisher.picture(5, AUDIO, 0, &[vec![1; 80]]) {
        link.carry(true, datagram);
    }
    for ssrc in [5, 7] {
        link.run(20);
        assert_eq!(closed(&link), None);
        let mut goodbye = Vec::new();
        rtcp::write_goodbye(&[ssrc], &mut goodbye);
        let goodbye = link.publisher.seal_rtcp(&goodbye);
        link.carry(true, goodbye);
    }
    link.run(20);
    assert_eq!(closed(&link), Some(CloseReason::PeerClosed));

    let mut link = Link::h264();
    link.send_h264(0..3);
    link.run(9_900);
    assert_eq!(closed(&link), None);
    link.run(200);
    assert_eq!(closed(&link), Some(CloseReason::NoMedia));

    let mut link = Link::h264();
    link.session.close(&mut link.outbox);
    link.flush();
    link.run(20);
    assert!(link.publisher.client.is_closed);
}

#[test]
fn what_was_settled_by_an_offer_makes_a_session() {
    let offer = include_bytes!("../fixtures/whip-chromium-simulcast.sdp");
    let offer = WhipOffer::parse(offer).unwrap();
    let limits = ReceiveLimits::default();
    let parameters = WhipParameters::new(&offer, ("ours", "password"), 1, limits);
    let now = Instant::now();
    let session = WhipSession::new(parameters, &Identity::generate().unwrap(), now);
    assert_eq!(session.transport().local_ufrag(), "ours");
    assert_eq!((session.tracks.len(), session.order.len()), (4, 3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn hostile_but_authentic_packets_never_panic(
        packets in prop::collection::vec(
            (0u32..6, 100u8..104, any::<u32>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..30), 0u64..40),
            1..80),
        control in prop::collection::vec(prop::collection::vec(any::<u8>(), 8..40), 0..4),
        codec in prop::sample::select(vec![Codec::H264, Codec::H265, Codec::Vp8, Codec::Vp9, Codec::Av1]),
    ) {
        let mut link = Link::new(Some(reception(codec, &["l", "m", "h"])), None);
        link.publisher.rids = HashMap::from([(0, "l"), (1, "m"), (2, "h"), (3, "l"), (4, "nobody")]);
        for (ssrc, payload_type, timestamp, marker, payload, ms) in packets {
            let fields = RtpFields { payload_type, marker, timestamp };
            let datagram = link.publisher.seal(ssrc, fields, &payload).1;
            link.carry(true, datagram);
            link.publisher.sends_rtx = false;
            link.run(ms);
        }
        for mut compound in control {
            compound[0] = compound[0] & 0x3f | 0x80;
            compound[1] = 200 + compound[1] % 8;
            let datagram = link.publisher.seal_rtcp(&compound);
            link.carry(true, datagram);
        }
        link.run(100);
    }
}
