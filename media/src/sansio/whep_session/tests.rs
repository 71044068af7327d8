use super::*;
use crate::sansio::{
    format::Codec,
    rtp,
    sdp::write::ExtensionIds,
    transport::{CONNECT_TIMEOUT, CONSENT_TIMEOUT, testing::Client},
    video_sender::MAX_HISTORY_AGE,
};

const SSRCS: Ssrcs = Ssrcs { video: 7, rtx: 8, audio: 9 };

fn agreed(codec: Codec, payload_type: u8) -> Agreed {
    Agreed {
        mid: "0".into(),
        codec,
        payload_type,
        rtx: (codec == Codec::H264).then_some(payload_type + 1),
        has_remb: true,
        extensions: ExtensionIds::default(),
    }
}

/// A viewer in memory, on a link that loses and reorders.
struct Link {
    session: WhepSession,
    client: Client,
    now: Instant,
    outbox: Outbox,
    events: Vec<Event>,
    /// Pseudo-random numbers in place of the air.
    air: u32,
    lost_per_mille: u32,
    media_lost: u64,
    /// Sequence numbers and payloads of the video, retransmitted ones under their own number.
    video: std::collections::BTreeMap<u64, Vec<u8>>,
    newest: Option<u64>,
    nacked: std::collections::BTreeMap<u64, u32>,
    audio_packets: u32,
    reports: Vec<Vec<u8>>,
}

impl Link {
    fn new(lost_per_mille: u32) -> Self {
        Self::agreed_on(agreed(Codec::H264, 102), lost_per_mille)
    }

    fn agreed_on(video: Agreed, lost_per_mille: u32) -> Self {
        let now = Instant::now();
        let (client, transport) = Client::new(now);
        let parameters = SessionParameters {
            transport,
            role: DtlsRole::Server,
            video,
            audio: Some(agreed(Codec::Opus, 111)),
            ssrcs: SSRCS,
            clock: WallClock::new(now, Duration::from_secs(1_700_000_000)),
            seed: [0x7f00_7fff, 5, 6, 7],
        };
        Self {
            session: WhepSession::new(parameters, &Identity::generate().unwrap(), now),
            client,
            now,
            outbox: Outbox::default(),
            events: Vec::new(),
            air: 1,
            lost_per_mille,
            media_lost: 0,
            video: Default::default(),
            newest: None,
            nacked: Default::default(),
            audio_packets: 0,
            reports: Vec::new(),
        }
    }

    fn connected(lost_per_mille: u32) -> Self {
        Self::new(lost_per_mille).connect()
    }

    fn connect(mut self) -> Self {
        for _ in 0..300 {
            if self.client.checks_answered == 0 {
                let check = self.client.check();
                self.send(check);
            }
            self.step(50);
            if self.events == [Event::Connected] && self.client.srtp.is_some() {
                return self;
            }
        }
        panic!("connects: {:?}", self.events);
    }

    fn is_lost(&mut self) -> bool {
        self.air = self.air.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.air >> 16) % 1000 < self.lost_per_mille
    }

    fn send(&mut self, mut datagram: Vec<u8>) {
        if !self.is_lost() {
            let from = self.client.address;
            let event = self.session.on_datagram(self.now, from, &mut datagram, &mut self.outbox);
            self.events.extend(event);
        }
    }

    fn send_rtcp(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut compound = Vec::new();
        rtcp::write_receiver_report(1, &[], &mut compound);
        write(&mut compound);
        let mut sealed = Vec::new();
        let srtp = self.client.srtp.as_mut().unwrap();
        srtp.rtcp_sender.seal(&compound, &mut sealed).unwrap();
        self.send(sealed);
    }

    fn deliver(&mut self) {
        let mut datagrams: Vec<_> = self.outbox.datagrams().map(|(_, d)| d.to_vec()).collect();
        self.outbox.clear();
        if self.lost_per_mille > 0 && datagrams.len() > 3 {
            // Neighbours change places now and then, and some come twice.
            let at = datagrams.len() / 2;
            datagrams.swap(at, at - 1);
            datagrams.push(datagrams[at].clone());
        }
        for datagram in datagrams {
            if self.is_lost() {
                self.media_lost += u64::from(datagram[0] >= 128);
                continue;
            }
            if !self.client.take(self.now, &datagram) {
                self.take_media(datagram);
            }
        }
    }

    fn take_media(&mut self, mut datagram: Vec<u8>) {
        let Some(srtp) = &mut self.client.srtp else { return };
        if rtcp::is_rtcp(&datagram) {
            self.reports.push(srtp.rtcp_receiver.open(&mut datagram).unwrap().to_vec());
            return;
        }
        // A packet that came twice is refused by its receiver.
        let Ok(opened) = srtp.rtp_receiver.open(&mut datagram) else { return };
        let packet = rtp::Packet::parse(opened).unwrap();
        let (number, payload) = match packet.header.ssrc {
            7 => (packet.header.sequence_number, packet.payload),
            8 => (u16::from_be_bytes([packet.payload[0], packet.payload[1]]), &packet.payload[2..]),
            _ => {
                self.audio_packets += 1;
                return;
            }
        };
        let newest = *self.newest.get_or_insert(u64::from(number) + (1 << 32));
        let step = number.wrapping_sub(newest as u16) as i16;
        let index = newest.wrapping_add_signed(i64::from(step));
        for missing in newest + 1..index {
            self.nacked.insert(missing, 0);
        }
        self.newest = Some(newest.max(index));
        self.nacked.remove(&index);
        self.video.insert(index, payload.to_vec());
    }

    /// Lets some time pass on both sides.
    fn step(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        let event = self.session.on_timer(self.now, &mut self.outbox);
        self.events.extend(event);
        self.deliver();
        for datagram in self.client.poll(self.now) {
            self.send(datagram);
            self.deliver();
        }
        self.nacked.retain(|_, tries| *tries < 10);
        self.nacked.values_mut().for_each(|tries| *tries += 1);
        if !self.nacked.is_empty() {
            let lost: Vec<u16> = self.nacked.keys().map(|index| *index as u16).collect();
            self.send_rtcp(|out| rtcp::write_nack(1, SSRCS.video, &lost, out));
            self.deliver();
        }
    }

    fn publish(&mut self, unit: &Arc<AccessUnit>) {
        let event = self.session.on_unit(self.now, 0, unit, &mut self.outbox);
        self.events.extend(event);
        self.deliver();
    }

    fn begin(&mut self, gop: &[Arc<AccessUnit>]) {
        let event = self.session.begin(self.now, 0, gop, &mut self.outbox);
        self.events.extend(event);
        self.deliver();
    }
}

fn unit(n: u64, is_key: bool) -> Arc<AccessUnit> {
    let payloads = (0..6u8).map(|part| vec![part, n as u8, (n >> 8) as u8].into()).collect();
    Arc::new(AccessUnit { time: n * 3_000, is_key, payloads, arrived_at: Instant::now() })
}

#[test]
fn a_viewer_gets_video_sound_and_reports() {
    let mut link = Link::connected(0);
    link.begin(&[unit(30, true), unit(31, false)]);
    link.publish(&unit(32, false));
    link.step(5);
    assert_eq!(link.video.len(), 3 * 6);
    let sound = AccessUnit {
        time: 960,
        is_key: true,
        payloads: vec![vec![1, 2].into()],
        arrived_at: link.now,
    };
    link.session.on_audio(&sound, &mut link.outbox);
    link.deliver();
    assert_eq!(link.audio_packets, 1);

    // The viewer's clock is answered with the next report.
    link.send_rtcp(|out| {
        out.extend_from_slice(&[0x80, 207, 0, 4, 0, 0, 0, 1, 4, 0, 0, 2, 0, 1, 2, 3, 4, 5, 6, 7]);
    });
    link.session.send_reports(link.now, &mut link.outbox);
    link.deliver();
    let packets: Vec<_> = rtcp::parse(&link.reports[0]).map(Result::unwrap).collect();
    let about: Vec<_> = packets
        .iter()
        .filter_map(|packet| match packet {
            Packet::SenderReport { info, .. } => Some(info.ssrc),
            _ => None,
        })
        .collect();
    assert_eq!(about, [SSRCS.video, SSRCS.audio]);
    assert!(packets.contains(&Packet::Other { packet_type: 207, format: 0 }), "the clock's answer");
}

#[test]
fn five_percent_loss_with_retransmission_leaves_99_percent_of_frames_and_others_all() {
    let (mut link, mut other) = (Link::connected(50), Link::connected(0));
    const FRAMES: u64 = 3_000;
    for n in 1..=FRAMES {
        let unit = unit(n, n % 60 == 1);
        for link in [&mut link, &mut other] {
            match n {
                1 => link.begin(std::slice::from_ref(&unit)),
                _ => link.publish(&unit),
            }
            link.step(33);
        }
    }
    for _ in 0..10 {
        link.step(33);
        other.step(33);
    }
    assert_eq!(other.video.len() as u64, FRAMES * 6, "nothing is missing");
    assert_eq!((other.session.counters().retransmitted, other.media_lost), (0, 0));
    assert!(!other.events.contains(&Event::KeyWanted), "nor asked for");
    let mut parts = std::collections::HashMap::<u64, u32>::new();
    for payload in link.video.values() {
        let n = u64::from(payload[1]) + (u64::from(payload[2]) << 8);
        *parts.entry(n).or_default() += 1;
    }
    let whole = parts.values().filter(|parts| **parts == 6).count() as u64;
    assert!(link.media_lost > FRAMES * 6 * 40 / 1000, "{} packets were lost", link.media_lost);
    assert!(whole * 100 >= FRAMES * 99, "{whole} of {FRAMES} frames are whole");
    assert!(link.session.counters().retransmitted >= link.media_lost / 2);
}

#[test]
fn a_viewer_that_loses_its_picture_asks_once_in_half_a_second() {
    let mut link = Link::connected(0);
    link.begin(&[unit(1, true)]);
    link.events.clear();
    for _ in 0..20 {
        link.send_rtcp(|out| rtcp::write_picture_loss(1, SSRCS.video, out));
        link.now += Duration::from_millis(50);
    }
    assert_eq!(link.events, [Event::KeyWanted, Event::KeyWanted]);
    link.send_rtcp(|out| rtcp::write_picture_loss(1, 12345, out));
    assert_eq!(link.events.len(), 2, "another stream's loss is not ours");
}

#[test]
fn a_viewer_that_asks_again_although_nothing_can_be_sent_again_gets_a_key_frame() {
    let without_rtx = Agreed { rtx: None, ..agreed(Codec::H264, 102) };
    let mut link = Link::agreed_on(without_rtx, 0).connect();
    link.begin(&[unit(1, true)]);
    link.events.clear();
    let lost = link.newest.unwrap() as u16;
    for _ in 0..5 {
        link.send_rtcp(|out| rtcp::write_nack(1, SSRCS.video, &[lost], out));
        link.now += Duration::from_millis(50);
    }
    assert_eq!(link.events, [Event::KeyWanted], "and is not left frozen");
    assert_eq!(link.session.counters().retransmitted, 0);
}

#[test]
fn units_of_a_camera_that_went_away_are_let_go_within_seconds() {
    let mut link = Link::connected(0);
    let sent = unit(1, true);
    link.begin(std::slice::from_ref(&sent));
    link.step(5);
    assert_eq!(Arc::strong_count(&sent), 2);
    link.now += MAX_HISTORY_AGE + Duration::from_secs(1);
    link.session.send_reports(link.now, &mut link.outbox);
    assert_eq!(Arc::strong_count(&sent), 1);
}

#[test]
fn a_report_of_heavy_loss_steps_the_viewer_down_a_layer() {
    let mut link = Link::connected(0);
    link.begin(&[unit(1, true)]);
    let layers: Vec<_> = [(0, "main", 4_000_000), (1, "sub", 400_000)]
        .map(|(index, rid, bitrate_bps)| LayerInfo {
            index,
            rid: rid.into(),
            size_px: None,
            bitrate_bps,
        })
        .into();
    assert_eq!(link.session.choose_layer(link.now, &layers), Some(0));
    for _ in 0..2 {
        let report = rtcp::ReportBlock {
            ssrc: SSRCS.video,
            fraction_lost: 64,
            cumulative_lost: 9,
            highest_sequence_number: 0,
            jitter: 0,
            last_sr: 0,
            delay_since_last_sr: 0,
        };
        link.send_rtcp(|out| rtcp::write_receiver_report(1, &[report], out));
    }
    assert_eq!(link.session.choose_layer(link.now, &layers), Some(1));
    assert!(link.session.is_awaited(1));
    assert_eq!(link.session.path().fraction_lost(), 0.25);
}

#[test]
fn an_estimate_is_read() {
    let mut link = Link::connected(0);
    link.send_rtcp(|out| rtcp::write_receiver_estimate(1, 300_000, &[SSRCS.video], out));
    assert_eq!(link.session.path().estimate_bps(), Some(300_000));
}

#[test]
fn hostile_media_is_ignored() {
    let mut link = Link::connected(0);
    link.begin(&[unit(1, true)]);
    link.events.clear();
    for first in [0x80, 0x90, 0xbf] {
        for second in [72, 96, 200, 201, 205, 206, 255] {
            let mut datagram = vec![second; 60];
            datagram[0] = first;
            link.send(datagram);
        }
    }
    assert!(link.events.is_empty() && link.outbox.is_empty());
}

#[test]
fn a_peer_that_never_comes_and_one_that_goes_silent_are_closed() {
    let mut link = Link::new(0);
    link.step(CONNECT_TIMEOUT.as_millis() as u64);
    assert_eq!(link.events, [Event::Closed(CloseReason::NeverConnected)]);

    let mut link = Link::connected(0);
    link.step(CONSENT_TIMEOUT.as_millis() as u64);
    assert_eq!(link.events.last(), Some(&Event::Closed(CloseReason::ConsentLost)));
}

#[test]
fn closing_tells_the_player() {
    let mut link = Link::connected(0);
    link.session.close(&mut link.outbox);
    link.deliver();
    link.client.poll(link.now);
    assert!(link.client.is_closed);
}
