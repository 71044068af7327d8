use bytes::Bytes;

use super::*;
use crate::sansio::{
    format::Codec,
    rtp::{Ntp, Packet},
    sdp::write::ExtensionIds,
    srtp::{DtlsRole, Endpoint, MasterKeys, Profile, RtpReceiver},
};

const PEER: TransportAddress = TransportAddress::Udp(std::net::SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    4000,
));
const MEDIA_SSRC: u32 = 7;
const RTX_SSRC: u32 = 8;

/// A received packet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Received {
    ssrc: u32,
    payload_type: u8,
    sequence_number: u16,
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
    extensions: Vec<u8>,
}

struct Bench {
    sender: VideoSender,
    receiver: RtpReceiver,
    now: Instant,
    outbox: Outbox,
}

impl Bench {
    fn new() -> Self {
        let endpoint = |role| {
            let keys = MasterKeys::split(Profile::Aes128Gcm, &[7; 56], role).unwrap();
            keys.into_endpoint().unwrap()
        };
        let Endpoint { mut rtp_senders, .. } = endpoint(DtlsRole::Server);
        let agreed = Agreed {
            mid: "0".into(),
            codec: Codec::H264,
            payload_type: 102,
            rtx: Some(103),
            has_remb: true,
            extensions: ExtensionIds {
                mid: Some(9),
                abs_send_time: Some(2),
                playout_delay: Some(5),
                abs_capture_time: Some(6),
            },
        };
        let now = Instant::now();
        let rtp = rtp_senders.sender(MEDIA_SSRC, 0x7ff0).unwrap();
        let rtx = rtp_senders.sender(RTX_SSRC, 0).unwrap();
        let clock = WallClock::new(now, Duration::from_secs(1_700_000_000));
        Self {
            sender: VideoSender::new(agreed, clock, rtp, Some(rtx), u32::MAX - 100_000, now),
            receiver: endpoint(DtlsRole::Client).rtp_receiver,
            now,
            outbox: Outbox::default(),
        }
    }

    /// A sender that sends layer 0 live, its first frame sent.
    fn live() -> Self {
        let mut bench = Self::new();
        bench.sender.begin(bench.now, 0, &[unit(90_000, true)]);
        assert_eq!(bench.settle().len(), 2);
        bench
    }

    fn publish(&mut self, layer: usize, unit: &Arc<AccessUnit>) -> Vec<Received> {
        self.sender.on_unit(self.now, layer, unit, PEER, &mut self.outbox).unwrap();
        self.receive()
    }

    fn nack(&mut self, lost: &[u16]) -> Vec<Received> {
        let lost = lost.iter().copied();
        self.sender.on_nack(self.now, lost, PEER, &mut self.outbox).unwrap();
        self.receive()
    }

    /// Lets a burst go out whole.
    fn settle(&mut self) -> Vec<Received> {
        let mut received = Vec::new();
        loop {
            self.sender.send_burst(self.now, PEER, &mut self.outbox).unwrap();
            received.extend(self.receive());
            if self.sender.next_timeout().is_none() {
                return received;
            }
            self.now += Duration::from_millis(2);
        }
    }

    fn receive(&mut self) -> Vec<Received> {
        let datagrams: Vec<_> = self.outbox.datagrams().map(|(_, d)| d.to_vec()).collect();
        self.outbox.clear();
        let open = |mut datagram: Vec<u8>| {
            let packet = Packet::parse(self.receiver.open(&mut datagram).unwrap()).unwrap();
            Received {
                ssrc: packet.header.ssrc,
                payload_type: packet.header.payload_type,
                sequence_number: packet.header.sequence_number,
                timestamp: packet.header.timestamp.wrapping_add(100_001),
                marker: packet.header.marker,
                payload: packet.payload.to_vec(),
                extensions: packet.extensions.iter().map(|(id, _)| id).collect(),
            }
        };
        datagrams.into_iter().map(open).collect()
    }
}

fn unit(time: u64, is_key: bool) -> Arc<AccessUnit> {
    sized(time, is_key, 40)
}

fn sized(time: u64, is_key: bool, len: usize) -> Arc<AccessUnit> {
    let payloads = vec![Bytes::from_static(&[0x67, 1]), vec![0x65; len].into()];
    Arc::new(AccessUnit { time, is_key, payloads, arrived_at: Instant::now() })
}

fn gop(from: u64, count: u64) -> Vec<Arc<AccessUnit>> {
    (0..count).map(|n| unit(from + n * 3_000, n == 0)).collect()
}

/// Timestamps, one per frame.
fn timestamps(received: &[Received]) -> Vec<u32> {
    received.iter().filter(|packet| packet.marker).map(|packet| packet.timestamp).collect()
}

#[test]
fn first_gop_comes_with_squeezed_timestamps_and_without_a_gap() {
    let mut bench = Bench::new();
    bench.sender.begin(bench.now, 0, &gop(90_000, 4));
    let mut received = bench.publish(0, &unit(102_000, false));
    received.extend(bench.settle());
    received.extend(bench.publish(0, &unit(105_000, false)));
    let expected = [99_000 - 270, 99_000 - 180, 99_000 - 90, 99_000, 102_000, 105_000];
    assert_eq!(timestamps(&received), expected);
    for (n, packet) in received.iter().enumerate() {
        assert_eq!((packet.payload_type, packet.ssrc), (102, MEDIA_SSRC));
        assert_eq!(packet.marker, n % 2 == 1, "the marker bit ends each access unit");
        assert_eq!(packet.sequence_number, 0x7ff0 + n as u16);
    }
    assert_eq!(received[1].payload, vec![0x65; 40]);
}

#[test]
fn extensions_go_on_key_frames_and_once_a_second_and_the_send_time_on_all() {
    let mut bench = Bench::live();
    let plain = bench.publish(0, &unit(93_000, false));
    assert!(plain.iter().all(|packet| packet.extensions == [2]));
    let key = bench.publish(0, &unit(96_000, true));
    assert_eq!(
        (key[0].extensions.as_slice(), key[1].extensions.as_slice()),
        (&[2, 9, 5, 6][..], &[2][..])
    );
    bench.now += EXTENSION_INTERVAL;
    assert_eq!(bench.publish(0, &unit(99_000, false))[0].extensions, [2, 9, 5, 6]);
}

#[test]
fn nothing_is_sent_before_a_key_frame() {
    let mut bench = Bench::new();
    bench.sender.begin(bench.now, 0, &[]);
    assert_eq!(bench.publish(0, &unit(0, false)), []);
    assert_eq!(bench.publish(0, &unit(3_000, true)).len(), 2);
    bench.sender.restart_at_key();
    assert_eq!(bench.publish(0, &unit(6_000, false)), []);
    assert_eq!(bench.publish(0, &unit(9_000, true)).len(), 2);
}

#[test]
fn layer_switch_keeps_sequence_numbers_and_time_going() {
    let mut bench = Bench::new();
    bench.sender.begin(bench.now, 0, &[unit(990_000, true)]);
    bench.settle();
    let before = bench.publish(0, &unit(993_000, false));
    bench.sender.switch_to(1);
    // The old layer goes on until the new one's next unit.
    assert_eq!(bench.publish(0, &unit(996_000, false)).len(), 2);
    assert!(bench.sender.is_awaited(1) && !bench.sender.is_awaited(0));
    // The new layer's GOP began long ago, and its time is a little behind.
    let now = bench.now;
    bench.sender.begin(now, 1, &gop(995_990 - 149 * 3_000, 150));
    let mut after = bench.settle();
    assert_eq!(bench.publish(0, &unit(999_000, false)), [], "the old layer is left");
    after.extend(bench.publish(1, &unit(998_990, false)));
    let numbers: Vec<_> = after.iter().map(|packet| packet.sequence_number).collect();
    let first = before[1].sequence_number.wrapping_add(3);
    assert!(numbers.iter().enumerate().all(|(n, number)| *number == first.wrapping_add(n as u16)));
    let times = timestamps(&after);
    assert!(times[0] > 996_000, "time does not go back: {}", times[0]);
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(times.len(), 151);
}

#[test]
fn pause_sends_nothing_and_going_on_begins_at_a_key_frame() {
    let mut bench = Bench::live();
    bench.sender.pause();
    assert_eq!(bench.publish(0, &unit(93_000, true)), []);
    let now = bench.now;
    bench.sender.begin(now, 0, &gop(900_000, 3));
    let received = bench.settle();
    assert_eq!(timestamps(&received), [906_000 - 180, 906_000 - 90, 906_000]);
    assert_eq!(received[0].sequence_number, 0x7ff2);
}

#[test]
fn lost_packets_are_sent_again_on_their_own_ssrc() {
    let mut bench = Bench::live();
    for n in 1..40 {
        bench.publish(0, &unit(90_000 + n * 3_000, false));
    }
    // 0x7ff0 + 2 × 20 is past 0x8000.
    let wanted = 0x7ff0u16 + 41;
    let again = bench.nack(&[wanted, 0x7ff0]);
    assert_eq!(again.len(), 2);
    assert_eq!((again[0].ssrc, again[0].payload_type), (RTX_SSRC, 103));
    assert_eq!(again[0].payload[..2], wanted.to_be_bytes());
    assert_eq!(again[0].payload[2..], [0x65; 40]);
    assert_eq!(again[0].timestamp, 90_000 + 20 * 3_000);
    assert_eq!(again[1].payload[2..], [0x67, 1]);
    // Never sent, or long ago.
    assert_eq!(bench.nack(&[0x7ff0 + 80, 0x7fef, 0]), []);
    assert_eq!(bench.sender.counters().retransmitted, 2);
}

#[test]
fn history_finds_every_packet_it_holds_over_the_wrap() {
    let mut history = History::default();
    let mut number = 65_000u16;
    let mut sent = Vec::new();
    for n in 0..2_000 {
        let (unit, timestamp) = (unit(n * 3_000, false), n as u32);
        history.push(SentFrame { first: number, timestamp, sent_at: Instant::now(), unit });
        sent.push((number, n as u32));
        number = number.wrapping_add(2);
    }
    let kept = MAX_HISTORY_PACKETS / 2;
    for (first, timestamp) in sent.split_off(2_000 - kept) {
        for index in 0..2 {
            let found = history.find(first.wrapping_add(index)).map(|(f, i)| (f.timestamp, i));
            assert_eq!(found, Some((timestamp, usize::from(index))));
        }
    }
    assert!(sent.iter().all(|(first, _)| history.find(*first).is_none()));
    assert!(history.find(number).is_none());
}

#[test]
fn a_paused_viewer_keeps_no_unit_and_one_whose_camera_is_away_none_for_long() {
    let mut bench = Bench::live();
    let units: Vec<_> = (1..=30).map(|n| unit(90_000 + n * 3_000, false)).collect();
    let kept = || units.iter().filter(|unit| Arc::strong_count(unit) > 1).count();
    units.iter().for_each(|unit| drop(bench.publish(0, unit)));
    assert_eq!(kept(), 30);
    bench.now += MAX_HISTORY_AGE;
    bench.sender.forget_old(bench.now);
    assert_eq!(kept(), 0);
    assert_eq!(bench.nack(&[0x7ff2]), []);

    // Of a burst that is under way, too.
    let now = bench.now;
    bench.sender.begin(now, 0, &units);
    assert_eq!(kept(), 30);
    bench.sender.pause();
    assert_eq!(kept(), 0);
    bench.sender.begin(now, 0, &units);
    bench.settle();
    assert_eq!(kept(), 30);
    bench.sender.pause();
    assert_eq!(kept(), 0);
}

#[test]
fn what_is_too_old_to_be_asked_for_goes_with_each_frame() {
    let mut bench = Bench::live();
    let units: Vec<_> = (1..=300).map(|n| unit(90_000 + n * 3_000, false)).collect();
    for unit in &units {
        bench.publish(0, unit);
        bench.now += Duration::from_millis(33);
    }
    let kept = units.iter().filter(|unit| Arc::strong_count(unit) > 1).count();
    assert!((88..=92).contains(&kept), "{kept} frames of 30 a second");
}

#[test]
fn asking_again_and_again_is_answered_within_bounds() {
    let mut bench = Bench::live();
    let big = sized(93_000, false, 1_100);
    let first = bench.publish(0, &big)[0].sequence_number;
    let asked: Vec<u16> = std::iter::repeat_n(first + 1, 10_000).collect();
    let answered = bench.nack(&asked).len() * 1_100;
    assert!(answered <= RETRANSMIT_BURST_BYTES, "{answered} bytes");
}

#[test]
fn a_gop_that_is_too_large_is_not_replayed() {
    let mut bench = Bench::new();
    let gop = vec![sized(0, true, MAX_REPLAY_BYTES)];
    bench.sender.begin(bench.now, 0, &gop);
    assert_eq!(bench.settle(), []);
    assert_eq!(bench.publish(0, &unit(3_000, true)).len(), 2);
}

#[test]
fn sender_report_maps_rtp_time_to_the_time_of_day() {
    let mut bench = Bench::new();
    assert_eq!(bench.sender.report(bench.now), None);
    let payloads = vec![Bytes::from_static(&[0x65])];
    let arrived_at = bench.now;
    let unit = Arc::new(AccessUnit { time: 90_000, is_key: true, payloads, arrived_at });
    bench.sender.begin(bench.now, 0, &[unit]);
    bench.sender.send_burst(bench.now, PEER, &mut bench.outbox).unwrap();
    assert_eq!(bench.sender.report(bench.now), None, "not of what is replayed");
    bench.settle();
    let later = arrived_at + Duration::from_millis(500);
    let report = bench.sender.report(later).unwrap();
    assert_eq!(report.rtp_timestamp.wrapping_add(100_001), 90_000 + 45_000);
    assert_eq!(report.ntp, Ntp::from_unix(Duration::from_millis(1_700_000_000_500)));
    assert_eq!((report.packets, report.octets), (1, 1));
}
