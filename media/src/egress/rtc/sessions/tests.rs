//! Sessions with players in memory, behind a network of a given size.

use bytes::Bytes;

use super::*;
use crate::{
    egress::{
        handle::{LayerChoice, Limit, Limits, SessionKind},
        places::Places,
    },
    hub::{Hub, TrackIndex},
    sansio::{
        dtls::Identity,
        format::Format,
        rtcp, rtp,
        sdp::write::{self, Agreed, ExtensionIds, Local, Offered, Ssrcs},
        srtp::DtlsRole,
        transport::testing::Client,
        wall_clock::WallClock,
        whep_session::SessionParameters,
    },
};

const PAYLOAD_LEN: usize = 1_000;
/// A network that takes everything.
const WIDE: usize = usize::MAX;

fn camera() -> CameraId {
    "door".parse().unwrap()
}

struct Player {
    client: Client,
    /// Sequence number, number of the unit, layer.
    video: Vec<(u16, u8, u8)>,
}

struct Bench {
    sessions: Sessions,
    places: Places,
    feed: Arc<Feed>,
    identity: Identity,
    players: Vec<Player>,
    out: Outbox,
    now: Instant,
    /// Most bytes that ever waited.
    peak_bytes: usize,
}

/// Sends as many datagrams as there is room for.
fn carry(out: &mut Outbox, room: &mut usize, sent: &mut Vec<(TransportAddress, Vec<u8>)>) {
    let mut count = 0;
    for batch in out.batches(16) {
        if *room == 0 {
            break;
        }
        let datagrams = batch.contents.chunks(batch.segment_len);
        sent.extend(datagrams.map(|datagram| (batch.to, datagram.to_vec())));
        *room = room.saturating_sub(batch.count);
        count += batch.count;
    }
    out.mark_sent(count);
}

impl Bench {
    fn new(players: usize) -> Self {
        let feed = Hub::default().add(&camera());
        let format = |(index, rid): (usize, &str)| {
            let profile = Some([0x42, 0xe0]);
            let rid = rid.to_owned();
            let format = Format { codec: Codec::H264, rid, video: None, h264_profile: profile };
            (TrackIndex::Layer(index), format)
        };
        feed.set_formats(["main", "sub"].into_iter().enumerate().map(format));
        let now = Instant::now();
        let mut bench = Self {
            sessions: Sessions::new(Arc::default(), now),
            places: Places::new(Limits::default()),
            feed,
            identity: Identity::generate().unwrap(),
            players: Vec::new(),
            out: Outbox::default(),
            now,
            peak_bytes: 0,
        };
        (0..players).for_each(|_| bench.add());
        bench.connect();
        bench
    }

    fn admission(&self, n: usize) -> Admission {
        let secret = format!("secret{n}").into();
        let resource = Resource { kind: SessionKind::Viewer, camera: camera(), secret };
        let place = self.places.take(&camera(), [127, 0, 0, 1].into()).unwrap();
        Admission { resource, feed: self.feed.clone(), demand: self.feed.demand(), place }
    }

    /// One more player, not connected yet.
    fn add(&mut self) {
        let n = self.players.len();
        let (mut client, mut transport) = Client::new(self.now);
        client.address = TransportAddress::Udp(([127, 0, 0, 1], 4_000 + n as u16).into());
        client.credentials.local_ufrag = format!("server{n}");
        transport.ice.local_ufrag = format!("server{n}");
        let parameters = SessionParameters {
            transport,
            role: DtlsRole::Server,
            video: Agreed {
                mid: "0".into(),
                codec: Codec::H264,
                payload_type: 102,
                rtx: None,
                has_remb: true,
                extensions: ExtensionIds::default(),
            },
            audio: None,
            ssrcs: Ssrcs { video: 7, rtx: 8, audio: 9 },
            clock: WallClock::new(self.now, Duration::from_secs(1_700_000_000)),
            seed: [0; 4],
        };
        let admission = self.admission(n);
        let whep = WhepSession::new(parameters, &self.identity, self.now);
        self.sessions.insert(self.now, admission, whep, IceSession::default());
        self.players.push(Player { client, video: Vec::new() });
    }

    /// A second in which a player says this of what it receives, at its end.
    fn second(&mut self, report: impl FnOnce(&mut Vec<u8>)) {
        let (mut compound, mut sealed) = (Vec::new(), Vec::new());
        rtcp::write_receiver_report(1, &[], &mut compound);
        report(&mut compound);
        let client = &mut self.players[0].client;
        client.srtp.as_mut().unwrap().rtcp_sender.seal(&compound, &mut sealed).unwrap();
        let (from, check) = (client.address, client.check());
        self.receive(from, sealed);
        // It still wants to watch.
        self.receive(from, check);
        self.now += SECOND;
        self.turn(WIDE);
    }

    /// Until every player is connected.
    fn connect(&mut self) {
        for _ in 0..100 {
            for at in 0..self.players.len() {
                let client = &mut self.players[at].client;
                let datagrams = match client.checks_answered {
                    0 => vec![client.check()],
                    _ => client.poll(self.now),
                };
                let from = client.address;
                for datagram in datagrams {
                    self.receive(from, datagram);
                }
            }
            self.turn(WIDE);
            let is_ready = |viewer: &Viewer| viewer.viewing.is_some();
            if self.sessions.viewers.values().all(is_ready)
                && self.players.iter().all(|player| player.client.srtp.is_some())
            {
                return;
            }
        }
        panic!("everyone connects");
    }

    fn receive(&mut self, from: TransportAddress, mut datagram: Vec<u8>) {
        self.sessions.on_datagram(self.now, from, &mut datagram, &mut self.out);
    }

    fn key(&self, player: usize) -> Key {
        self.sessions.index.at(&self.players[player].client.address).unwrap()
    }

    fn publish(&mut self, layer: usize, number: u8, is_key: bool, packets: usize) {
        let mut payload = vec![0; PAYLOAD_LEN];
        payload[..2].copy_from_slice(&[number, layer as u8]);
        let payloads = vec![Bytes::from(payload); packets];
        let time = 90_000 + u64::from(number) * 3_000;
        let unit = AccessUnit { time, is_key, payloads, arrived_at: self.now };
        self.feed.layers()[layer].publish(unit);
    }

    /// A turn of the loop in which the network takes about `room` datagrams.
    fn turn(&mut self, mut room: usize) {
        self.now += Duration::from_millis(1);
        let (mut sent, mut peak_bytes) = (Vec::new(), self.peak_bytes);
        self.sessions.on_units(self.now, &mut self.out, |out| {
            peak_bytes = peak_bytes.max(out.unsent_bytes());
            carry(out, &mut room, &mut sent);
        });
        if self.now >= self.sessions.next_timeout() {
            self.sessions.on_timers(self.now, &mut self.out);
        }
        self.peak_bytes = peak_bytes.max(self.out.unsent_bytes());
        carry(&mut self.out, &mut room, &mut sent);
        for (to, mut datagram) in sent {
            let is_it = |player: &&mut Player| player.client.address == to;
            let Some(player) = self.players.iter_mut().find(is_it) else { continue };
            if player.client.take(self.now, &datagram) || rtcp::is_rtcp(&datagram) {
                continue;
            }
            let srtp = player.client.srtp.as_mut().unwrap();
            let packet = srtp.rtp_receiver.open(&mut datagram).unwrap();
            let rtp::Packet { header, payload, .. } = rtp::Packet::parse(packet).unwrap();
            player.video.push((header.sequence_number, payload[0], payload[1]));
        }
    }

    /// How many packets of each unit a player got, the units in order and nothing missing between them.
    fn units(&self, player: usize) -> Vec<(u8, usize)> {
        let video = &self.players[player].video;
        for pair in video.windows(2) {
            assert_eq!(pair[1].0, pair[0].0.wrapping_add(1), "player {player}");
        }
        let chunks = video.chunk_by(|one, next| one.1 == next.1);
        chunks.map(|chunk| (chunk[0].1, chunk.len())).collect()
    }
}

#[test]
fn a_key_frame_that_the_network_takes_in_many_turns_reaches_every_viewer_whole() {
    const PLAYERS: usize = 24;
    let (leaves_early, asks, returns, leaves_late) = (0, 15, 18, 20);
    let mut bench = Bench::new(PLAYERS);
    bench.publish(0, 0, true, 1);
    bench.turn(WIDE);
    let (now, key) = (bench.now, bench.key(returns));
    bench.sessions.set_paused(now, key, true, &mut bench.out);

    // 7 MB for all of them, of which 0.1 MB go out in a turn.
    bench.publish(0, 1, true, 300);
    bench.peak_bytes = 0;
    let mut turns = 0;
    while turns < 70 || bench.sessions.holds_units() || !bench.out.is_empty() {
        turns += 1;
        assert!(turns < 1_000);
        bench.turn(100);
        let now = bench.now;
        match turns {
            3 => {
                assert!(bench.sessions.holds_units());
                for player in [leaves_early, leaves_late] {
                    let key = bench.key(player);
                    bench.sessions.close(key, CloseReason::Deleted, &mut bench.out);
                }
            }
            5 => {
                assert_eq!(bench.units(asks).len(), 1, "the key frame has not come to it");
                let key = bench.key(asks);
                bench.sessions.on_key_wanted(now, key, &mut bench.out);
            }
            7 => bench.sessions.set_paused(now, key, false, &mut bench.out),
            10 | 20 | 30 | 40 => bench.publish(0, turns as u8 / 10 + 1, false, 5),
            _ => {}
        }
    }
    assert!(turns > 60, "{turns}");
    // The limit, what is sealed between two writes, and a unit for one viewer.
    let peak_bytes = bench.peak_bytes;
    assert!(peak_bytes < (1 << 20) + SEND_BYTES + 330_000, "{peak_bytes} bytes waited");
    let expected = [(0, 1), (1, 300), (2, 5), (3, 5), (4, 5), (5, 5)];
    for player in (0..PLAYERS).filter(|player| ![leaves_early, leaves_late].contains(player)) {
        assert_eq!(bench.units(player), expected, "player {player}");
    }
}

#[test]
fn cameras_small_layers_go_on_while_a_large_one_waits() {
    let mut bench = Bench::new(2);
    for layer in [0, 1] {
        bench.publish(layer, 0, true, 1);
    }
    bench.turn(WIDE);
    let (now, small) = (bench.now, bench.key(1));
    let choice = LayerChoice { rid: Some("sub".into()), ..LayerChoice::default() };
    bench.sessions.viewers.get_mut(&small).unwrap().whep.set_wish(choice);
    bench.sessions.choose_layer(now, small);
    for number in 1..100 {
        bench.publish(0, number, false, 200);
        bench.publish(1, number, false, 1);
        bench.turn(20);
    }
    while bench.sessions.holds_units() || !bench.out.is_empty() {
        bench.turn(20);
        let now_at = |player: usize| bench.players[player].video.last().unwrap().1;
        assert!(now_at(1) == 99 || now_at(1) >= now_at(0));
    }
    for player in [0, 1] {
        assert_eq!(bench.units(player).last().unwrap().0, 99);
    }
}

#[test]
fn a_switch_to_a_layer_whose_gop_is_too_long_waits_for_its_key_frame_with_pictures() {
    let mut bench = Bench::new(1);
    bench.publish(0, 0, true, 1);
    bench.publish(1, 0, true, MAX_REPLAY_BYTES / PAYLOAD_LEN + 1);
    bench.turn(WIDE);
    let (now, key) = (bench.now, bench.key(0));
    let choice = LayerChoice { rid: Some("sub".into()), ..LayerChoice::default() };
    bench.sessions.viewers.get_mut(&key).unwrap().whep.set_wish(choice);
    bench.sessions.choose_layer(now, key);
    assert!(bench.feed.layers()[1].take_key_request(), "the source may make it shorter");
    for number in 1..=6 {
        bench.publish(0, number, false, 1);
        bench.publish(1, number, number == 4, 1);
        bench.turn(WIDE);
    }
    let video = bench.players[0].video.iter();
    let seen: Vec<_> = video.map(|(_, number, layer)| (*number, *layer)).collect();
    assert_eq!(seen, [(0, 0), (1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 1)]);
}

/// A player whose reports are `bad` gets the small layer; once they are `good`, the better one again.
fn step_down_and_up_again(bad: impl Fn(&mut Vec<u8>), good: impl Fn(&mut Vec<u8>)) {
    let mut bench = Bench::new(1);
    for (layer, bitrate_bps) in [(0, 4_000_000), (1, 400_000)] {
        bench.feed.layers()[layer].set_bitrate_bps(bitrate_bps);
    }
    let mut layers = Vec::new();
    for second in 0..20u8 {
        // A picture of each layer is enough, and each is a key frame.
        for layer in [0, 1] {
            bench.publish(layer, second, true, 1);
        }
        // From the third second on the path is bad, until that was heeded.
        let is_good = second < 3 || layers.last() == Some(&1);
        bench.second(|out| if is_good { good(out) } else { bad(out) });
        layers.push(bench.players[0].video.last().expect("pictures go on").2);
    }
    let down = layers.iter().position(|layer| *layer == 1).unwrap_or(99);
    assert!((4..=7).contains(&down), "{layers:?}");
    let up = layers[down..].iter().position(|layer| *layer == 0).unwrap_or(99);
    assert!((7..=10).contains(&up), "tried again after 8 s: {layers:?}");
    bench.units(0);
}

#[test]
fn a_viewer_that_loses_packets_is_stepped_down_by_the_second_and_up_again() {
    let lost = |fraction_lost: u8| {
        let block = rtcp::ReportBlock {
            ssrc: 7,
            fraction_lost,
            cumulative_lost: 0,
            highest_sequence_number: 0,
            jitter: 0,
            last_sr: 0,
            delay_since_last_sr: 0,
        };
        move |out: &mut Vec<u8>| rtcp::write_receiver_report(1, &[block], out)
    };
    step_down_and_up_again(lost(64), lost(0));
}

#[test]
fn a_viewer_whose_estimate_falls_is_stepped_down_by_the_second_and_up_again() {
    let estimate = |bps: u64| {
        let falling = std::cell::Cell::new(bps);
        move |out: &mut Vec<u8>| {
            falling.set(falling.get() - 10_000);
            rtcp::write_receiver_estimate(1, falling.get(), &[7], out);
        }
    };
    step_down_and_up_again(estimate(900_000), |out| {
        rtcp::write_receiver_estimate(1, 5_000_000, &[7], out);
    });
}

#[test]
fn an_offer_of_ours_that_nobody_answers_passes_away_and_gives_its_place_back() {
    let mut bench = Bench::new(0);
    bench.places = Places::new(Limits { server: 1, ..Limits::default() });
    let admission = bench.admission(0);
    let resource = admission.resource.clone();
    let local = Local {
        ice_ufrag: "ours",
        ice_pwd: "our-password-of-24-chars",
        fingerprint: "AB:CD",
        ssrcs: Ssrcs { video: 7, rtx: 8, audio: 9 },
        candidates: &[],
    };
    let offered = Offered { video: &[], audio: None };
    let awaiting = Arc::new(Awaiting::of(write::offer(&local, offered)));
    let (done, mut awaited) = tokio::sync::oneshot::channel();
    let now = bench.now;
    bench.sessions.on_command(now, Command::Await { admission, awaiting, done }, &mut bench.out);
    assert_eq!(awaited.try_recv(), Ok(()));
    let stands = |bench: &mut Bench| {
        let (done, mut offered) = tokio::sync::oneshot::channel();
        let command = Command::Offered { resource: resource.clone(), done };
        bench.sessions.on_command(bench.now, command, &mut bench.out);
        offered.try_recv().unwrap().is_some()
    };
    bench.now += COUNTER_OFFER_VALID - SECOND;
    bench.turn(WIDE);
    assert!(stands(&mut bench));
    let take = |bench: &Bench| bench.places.take(&camera(), [127, 0, 0, 1].into()).map(|_| ());
    assert_eq!(take(&bench), Err(Limit::Server));
    bench.now += SECOND;
    bench.turn(WIDE);
    assert!(!stands(&mut bench));
    assert_eq!(take(&bench), Ok(()));
}

#[test]
fn a_check_with_anothers_address_as_its_source_takes_nothing_from_it() {
    let (victim, thief) = (0, 1);
    let mut bench = Bench::new(2);
    let key = bench.key(victim);
    let forged = bench.players[thief].client.check();
    let address = bench.players[victim].client.address;
    bench.receive(address, forged.clone());
    assert_eq!(bench.sessions.index.at(&address), Some(key));
    bench.sessions.close(key, CloseReason::Deleted, &mut bench.out);

    // Nor does it keep somebody out who has yet to connect.
    let own = bench.players[thief].client.address;
    let check = bench.players[thief].client.check();
    bench.receive(own, check);
    bench.add();
    let address = bench.players[2].client.address;
    bench.receive(address, forged);
    bench.connect();
}
