//! The loop on real sockets, with viewers in this process.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use domain::CameraId;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::*;
use crate::{
    egress::handle::{
        CreateError, Created, LayerChoice, Limit, Patch, PatchError, Patched, Resource, SessionKind,
    },
    hub::{Feed, Ingress, TrackIndex},
    sansio::{
        access_unit::AccessUnit,
        format::{Codec, Format},
        framing::{take_frame, write_frame},
        rtcp, rtp,
        srtp::DtlsRole,
        transport::testing::Client,
    },
};

const OFFER: &str = include_str!("../../../tests/it/chromium_offer.sdp");
const WHIP_OFFER: &str = include_str!("../../sansio/fixtures/whip-chromium.sdp");
const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(10);
const FRAME: Duration = Duration::from_millis(33);

fn camera() -> CameraId {
    "door".parse().unwrap()
}

fn format(rid: &str) -> Format {
    Format { codec: Codec::H264, rid: rid.into(), video: None, h264_profile: Some([0x42, 0xe0]) }
}

/// The loop and a camera of two layers.
struct Server {
    handle: RtcHandle,
    feed: Arc<Feed>,
    token: CancellationToken,
    task: JoinHandle<()>,
    began: Instant,
}

impl Server {
    async fn start(udp: &str, tcp: Option<&str>, announced: &[IpAddr]) -> Self {
        Self::limited(udp, tcp, announced, Limits::default()).await
    }

    async fn limited(udp: &str, tcp: Option<&str>, announced: &[IpAddr], limits: Limits) -> Self {
        let ports =
            Ports { udp: udp.parse().unwrap(), tcp: tcp.map(|address| address.parse().unwrap()) };
        let hub = Arc::new(Hub::default());
        let feed = hub.add(&camera());
        let layers = ["main", "sub"].map(format).into_iter().enumerate();
        feed.set_formats(layers.map(|(index, format)| (TrackIndex::Layer(index), format)));
        let (handle, rtc_loop) = bind(hub, ports, announced, limits).await.unwrap();
        let token = CancellationToken::new();
        let task = tokio::spawn(rtc_loop.run(token.clone()));
        Self { handle, feed, token, task, began: Instant::now() }
    }

    /// A picture of a layer: packets whose first byte is 0x65 for a key frame, 0x41 for another; the second
    /// one is the layer.
    fn publish(&self, layer: usize, is_key: bool, packets: usize) {
        let now = Instant::now();
        let mut payload = vec![0; 1000];
        payload[..2].copy_from_slice(&[if is_key { 0x65 } else { 0x41 }, layer as u8]);
        let time = (now - self.began).as_micros() as u64 * 9 / 100;
        let payloads = vec![Bytes::from(payload); packets];
        self.feed.layers()[layer].publish(AccessUnit { time, is_key, payloads, arrived_at: now });
    }

    async fn stop(self) {
        self.token.cancel();
        self.task.await.unwrap();
    }
}

enum Socket {
    Udp(UdpSocket, SocketAddr),
    Tcp(TcpStream, BytesMut),
}

impl Socket {
    async fn udp(to: SocketAddr) -> Self {
        let from = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        Self::Udp(UdpSocket::bind(from).await.unwrap(), to)
    }

    async fn tcp(to: SocketAddr) -> Self {
        Self::Tcp(TcpStream::connect(to).await.unwrap(), BytesMut::new())
    }

    async fn send(&mut self, datagram: &[u8]) {
        match self {
            Self::Udp(socket, to) => drop(socket.send_to(datagram, *to).await.unwrap()),
            Self::Tcp(stream, _) => {
                let mut frame = Vec::new();
                write_frame(datagram, &mut frame);
                stream.write_all(&frame).await.unwrap();
            }
        }
    }

    /// The next datagram and where it came from; `None` after a while without one, or at the end.
    async fn receive(&mut self, patience: Duration) -> Option<(Vec<u8>, SocketAddr)> {
        match self {
            Self::Udp(socket, _) => {
                let mut buffer = vec![0; 2048];
                let (len, from) =
                    timeout(patience, socket.recv_from(&mut buffer)).await.ok()?.unwrap();
                buffer.truncate(len);
                Some((buffer, from))
            }
            Self::Tcp(stream, received) => loop {
                if let Some(frame) = take_frame(received).unwrap() {
                    return Some((frame.to_vec(), stream.peer_addr().unwrap()));
                }
                let read = timeout(patience, stream.read_buf(received)).await.ok()?;
                if read.is_ok_and(|len| len == 0) {
                    return None;
                }
            },
        }
    }
}

/// What one packet of video showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    sequence_number: u16,
    is_key: bool,
    layer: u8,
}

struct Viewer {
    socket: Socket,
    client: Client,
    resource: Resource,
    video: Vec<Seen>,
    /// Where datagrams came from.
    from: Vec<SocketAddr>,
}

/// An offer, and the client that made it.
fn offer() -> (String, Client) {
    signed(OFFER, DtlsRole::Client)
}

/// A description with the user fragment and the certificate of a new client.
fn signed(sdp: &str, role: DtlsRole) -> (String, Client) {
    let (client, parameters) = Client::with_role(Instant::now(), role);
    let digits: Vec<_> =
        parameters.remote_fingerprint.iter().map(|byte| format!("{byte:02X}")).collect();
    let line = |line: &str| match line.split_once(':') {
        Some(("a=ice-ufrag", _)) => "a=ice-ufrag:peer\r\n".to_owned(),
        Some(("a=fingerprint", _)) => format!("a=fingerprint:sha-256 {}\r\n", digits.join(":")),
        _ => format!("{line}\r\n"),
    };
    (sdp.lines().map(line).collect(), client)
}

fn values<'a>(sdp: &'a str, name: &str) -> Vec<&'a str> {
    sdp.lines().filter_map(|line| line.strip_prefix("a=")?.strip_prefix(name)).collect()
}

/// Candidates of an answer: protocol and address.
fn candidates(sdp: &str) -> Vec<(String, SocketAddr)> {
    let read = |line: &&str| {
        let parts: Vec<_> = line.split(' ').collect();
        (parts[2].to_owned(), SocketAddr::new(parts[4].parse().unwrap(), parts[5].parse().unwrap()))
    };
    values(sdp, "candidate:").iter().map(read).collect()
}

/// The server's user fragment and password are these.
fn take_credentials(client: &mut Client, sdp: &str) {
    client.credentials.local_ufrag = values(sdp, "ice-ufrag:")[0].to_owned();
    client.credentials.local_pwd = values(sdp, "ice-pwd:")[0].to_owned();
}

fn resource(kind: SessionKind, created: &Created) -> Resource {
    Resource { kind, camera: camera(), secret: created.secret.clone() }
}

impl Viewer {
    /// Makes a session and connects to the first of its candidates that is `wanted`.
    async fn connect(server: &Server, wanted: impl Fn(&str, &SocketAddr) -> bool) -> Self {
        let (offer, client) = offer();
        let created = server.handle.create(&camera(), offer.as_bytes(), LOCAL).await.unwrap();
        let resource = resource(SessionKind::Viewer, &created);
        Self::join(client, resource, &created.sdp, wanted).await
    }

    /// Connects to a session that there is, as our description of it says.
    async fn join(
        mut client: Client,
        resource: Resource,
        sdp: &str,
        wanted: impl Fn(&str, &SocketAddr) -> bool,
    ) -> Self {
        take_credentials(&mut client, sdp);
        let found = candidates(sdp);
        let (protocol, address) = found
            .iter()
            .find(|(protocol, address)| wanted(protocol, address))
            .unwrap_or_else(|| panic!("the wanted candidate is among {found:?}"));
        let socket = match protocol.as_str() {
            "tcp" => Socket::tcp(*address).await,
            _ => Socket::udp(*address).await,
        };
        let mut viewer = Self { socket, client, resource, video: Vec::new(), from: Vec::new() };
        viewer.pump(|viewer| viewer.client.srtp.is_some()).await;
        viewer
    }

    /// Goes on until it is so.
    async fn pump(&mut self, is_it: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_it(self) {
            assert!(began.elapsed() < PATIENCE, "it does not get there; seen {:?}", self.video);
            self.turn().await;
        }
    }

    async fn turn(&mut self) {
        if self.client.checks_answered == 0 {
            let check = self.client.check();
            self.socket.send(&check).await;
        }
        if let Some((mut datagram, from)) = self.socket.receive(Duration::from_millis(20)).await {
            self.from.push(from);
            let now = Instant::now();
            if !self.client.take(now, &datagram) {
                self.take_media(&mut datagram);
            }
        }
        if self.client.checks_answered > 0 {
            for datagram in self.client.poll(Instant::now()) {
                self.socket.send(&datagram).await;
            }
        }
    }

    fn take_media(&mut self, datagram: &mut [u8]) {
        let Some(srtp) = &mut self.client.srtp else { return };
        if rtcp::is_rtcp(datagram) {
            return;
        }
        let opened = srtp.rtp_receiver.open(datagram).unwrap();
        let rtp::Packet { header, payload, .. } = rtp::Packet::parse(opened).unwrap();
        let (is_key, layer) = (payload[0] == 0x65, payload[1]);
        self.video.push(Seen { sequence_number: header.sequence_number, is_key, layer });
    }
}

fn is_tcp(protocol: &str, _: &SocketAddr) -> bool {
    protocol == "tcp"
}

fn is_udp(protocol: &str, _: &SocketAddr) -> bool {
    protocol == "udp"
}

#[tokio::test]
async fn a_session_goes_over_tcp_alone() {
    let server = Server::start("127.0.0.1:0", Some("127.0.0.1:0"), &[]).await;
    server.publish(0, true, 3);
    let mut viewer = Viewer::connect(&server, is_tcp).await;
    viewer.pump(|viewer| viewer.video.len() == 3).await;
    for _ in 0..5 {
        server.publish(0, false, 2);
        sleep(FRAME).await;
    }
    viewer.pump(|viewer| viewer.video.len() == 13).await;
    let stats = server.handle.stats(&viewer.resource).await.unwrap();
    assert_eq!((stats.packets_sent, viewer.video[0].is_key), (13, true));

    assert!(server.handle.delete(&viewer.resource).await);
    viewer.pump(|viewer| viewer.client.is_closed).await;
    server.stop().await;
}

#[tokio::test]
async fn of_many_datagrams_over_tcp_at_once_none_is_lost() {
    const CHECKS: u32 = 400;
    let server = Server::start("127.0.0.1:0", Some("127.0.0.1:0"), &[]).await;
    let mut viewer = Viewer::connect(&server, is_tcp).await;
    let before = viewer.client.checks_answered;
    let check = viewer.client.check();
    let mut frames = Vec::new();
    (0..CHECKS).for_each(|_| write_frame(&check, &mut frames));
    let Socket::Tcp(stream, _) = &mut viewer.socket else { unreachable!() };
    stream.write_all(&frames).await.unwrap();
    viewer.pump(|viewer| viewer.client.checks_answered == before + CHECKS).await;
    server.stop().await;
}

#[tokio::test]
async fn without_a_tcp_port_no_answer_speaks_of_tcp() {
    let server = Server::start("127.0.0.1:0", None, &[]).await;
    let created =
        server.handle.create(&camera(), offer().0.as_bytes(), [127, 0, 0, 1].into()).await;
    let found = candidates(&created.unwrap().sdp);
    assert!(found.len() == 1 && found[0].0 == "udp", "{found:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_tcp_connection_whose_first_frame_is_no_authentic_check_is_closed() {
    let server = Server::start("127.0.0.1:0", Some("127.0.0.1:0"), &[]).await;
    let (offer, mut client) = offer();
    let created = server.handle.create(&camera(), offer.as_bytes(), LOCAL).await.unwrap();
    let found = candidates(&created.sdp);
    let (_, address) = found.iter().find(|(protocol, _)| protocol == "tcp").unwrap();
    client.credentials.local_ufrag = values(&created.sdp, "ice-ufrag:")[0].to_owned();
    let wrong_password = client.check();
    let too_long = [0xff; 100];
    for (what, first) in [("not STUN", &b"GET / HTTP/1.1"[..]), ("wrong password", &wrong_password)]
    {
        let mut socket = Socket::tcp(*address).await;
        socket.send(first).await;
        assert!(socket.receive(PATIENCE).await.is_none(), "{what}: nothing comes back");
        let Socket::Tcp(mut stream, _) = socket else { unreachable!() };
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0, "{what}: closed");
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&too_long).await.unwrap();
    let read = timeout(PATIENCE, stream.read(&mut [0; 1])).await.expect("closed soon");
    assert_eq!(read.unwrap_or(0), 0);

    // One that says nothing at all is closed after 5 s.
    let mut silent = TcpStream::connect(address).await.unwrap();
    let began = Instant::now();
    let read = timeout(PATIENCE, silent.read(&mut [0; 1])).await.expect("closed in time");
    assert_eq!(read.unwrap_or(0), 0);
    assert!(began.elapsed() > Duration::from_secs(3), "{:?}", began.elapsed());
    server.stop().await;
}

#[tokio::test]
async fn a_viewer_over_tcp_that_does_not_read_loses_frames_and_goes_on_at_a_key_frame() {
    let server = Server::start("127.0.0.1:0", Some("127.0.0.1:0"), &[]).await;
    server.publish(0, true, 1);
    let mut slow = Viewer::connect(&server, is_tcp).await;
    let mut other = Viewer::connect(&server, is_udp).await;
    slow.pump(|viewer| viewer.video.len() == 1).await;
    other.pump(|viewer| viewer.video.len() == 1).await;

    // 6 MB, which neither the queue nor the kernel's buffers hold. Not more: who reads nothing for too long is
    // taken for gone.
    const FRAMES: usize = 60;
    for n in 1..=FRAMES {
        server.publish(0, false, 100);
        other.pump(|viewer| viewer.video.len() == 1 + n * 100).await;
    }
    server.publish(0, true, 7);
    other.pump(|viewer| viewer.video.len() == 1 + FRAMES * 100 + 7).await;

    // Now it reads: what was kept for it, and live pictures after that.
    let is_caught_up = |viewer: &Viewer| {
        let key = viewer.video.iter().rposition(|seen| seen.is_key).unwrap_or(0);
        key > 0 && viewer.video[key..].iter().any(|seen| !seen.is_key)
    };
    let began = Instant::now();
    while !is_caught_up(&slow) {
        assert!(began.elapsed() < 6 * PATIENCE);
        server.publish(0, true, 5);
        server.publish(0, false, 1);
        for _ in 0..500 {
            if is_caught_up(&slow) {
                break;
            }
            slow.turn().await;
        }
    }
    let got = slow.video.len();
    println!("of {} packets the slow viewer got {got}", FRAMES * 100);
    assert!(got > 100 && got < FRAMES * 100 / 2, "{got}");
    let gaps = slow
        .video
        .windows(2)
        .filter(|pair| pair[1].sequence_number != pair[0].sequence_number.wrapping_add(1));
    let after_gaps: Vec<_> = gaps.map(|pair| pair[1].is_key).collect();
    assert!(!after_gaps.is_empty() && after_gaps.iter().all(|is_key| *is_key), "{after_gaps:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_session_goes_over_ipv6() {
    let server = Server::start("[::1]:0", Some("[::1]:0"), &[]).await;
    server.publish(0, true, 3);
    for wanted in [is_udp, is_tcp] {
        let mut viewer = Viewer::connect(&server, wanted).await;
        viewer.pump(|viewer| viewer.video.len() == 3).await;
        assert!(viewer.from.iter().all(|from| from.is_ipv6()));
    }
    server.stop().await;
}

/// Every address of 127.0.0.0/8 is this machine.
#[tokio::test]
async fn of_several_addresses_answers_come_from_the_one_that_the_viewer_sent_to() {
    let announced = [[127, 0, 0, 1].into(), [127, 0, 0, 2].into()];
    let server = Server::start("0.0.0.0:0", Some("0.0.0.0:0"), &announced).await;
    server.publish(0, true, 3);
    let mut viewers = Vec::new();
    for ip in announced {
        for protocol in ["udp", "tcp"] {
            let wanted =
                move |found: &str, address: &SocketAddr| found == protocol && address.ip() == ip;
            let mut viewer = Viewer::connect(&server, wanted).await;
            viewer.pump(|viewer| viewer.video.len() == 3).await;
            viewers.push((ip, viewer));
        }
    }
    server.publish(0, false, 1);
    for (ip, viewer) in &mut viewers {
        viewer.pump(|viewer| viewer.video.len() == 4).await;
        assert!(viewer.from.iter().all(|from| from.ip() == *ip), "{:?}", viewer.from);
    }
    server.stop().await;
}

/// From the request to the first packet of the other layer, both layers at 30 pictures a second with a key
/// frame every 5 s.
#[tokio::test]
async fn a_layer_switch_takes_less_than_300_ms() {
    const KEY_EVERY: usize = 150;
    let server = Arc::new(Server::start("127.0.0.1:0", None, &[]).await);
    for layer in [0, 1] {
        server.publish(layer, true, 10);
    }
    let cameras = tokio::spawn({
        let server = server.clone();
        async move {
            for n in 1usize.. {
                sleep(FRAME).await;
                // The two layers' key frames are not at the same time.
                server.publish(0, n.is_multiple_of(KEY_EVERY), 5);
                server.publish(1, (n + KEY_EVERY / 2).is_multiple_of(KEY_EVERY), 1);
            }
        }
    });
    let mut viewer = Viewer::connect(&server, is_udp).await;
    viewer.pump(|viewer| viewer.video.len() > 20).await;
    let mut took = Vec::new();
    for n in 0..10 {
        let (rid, layer) = if n % 2 == 0 { ("sub", 1) } else { ("main", 0) };
        viewer.video.clear();
        let asked = Instant::now();
        let choice = LayerChoice { rid: Some(rid.to_owned()), ..LayerChoice::default() };
        server.handle.select_layer(&viewer.resource, choice).await.unwrap();
        viewer.pump(|viewer| viewer.video.iter().any(|seen| seen.layer == layer)).await;
        took.push(asked.elapsed());
        let first = viewer.video.iter().find(|seen| seen.layer == layer).unwrap();
        assert!(first.is_key, "a switch begins at a key frame");
        for _ in 0..7 {
            viewer.turn().await;
        }
    }
    took.sort();
    println!("layer switch: median {:?}, longest {:?} of {}", took[5], took[9], took.len());
    // One may be another program's turn on this machine. Waiting for key frames would be seconds each time.
    assert!(took[5] < Duration::from_millis(300), "{took:?}");
    assert!(took[9] < Duration::from_secs(2), "{took:?}");
    cameras.abort();
    let _ = cameras.await;
    Arc::into_inner(server).unwrap().stop().await;
}

#[tokio::test]
async fn a_publisher_restarts_ice_and_goes_on_from_another_address() {
    let server = Server::start("127.0.0.1:0", None, &[]).await;
    let mut ingress = server.feed.open_ingress(8);
    let (offer, client) = signed(WHIP_OFFER, DtlsRole::Client);
    let created = server.handle.publish(&camera(), offer.as_bytes(), LOCAL).await.unwrap();
    let resource = resource(SessionKind::Publisher, &created);
    let mut publisher = Viewer::join(client, resource.clone(), &created.sdp, is_udp).await;
    let restart = |etag: &'static str, ufrag: &str| {
        let body = format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:0123456789012345678901\r\n");
        let (handle, resource) = (server.handle.clone(), resource.clone());
        async move {
            let patch = Patch::SdpFragment { body: body.as_bytes(), if_match: Some(etag) };
            handle.patch(&resource, patch).await
        }
    };
    assert_eq!(restart("stale", "newpeer").await, Err(PatchError::PreconditionFailed));
    assert_eq!(restart("*", "peer").await, Ok(Patched::Done), "its own is no restart");
    let Ok(Patched::Restarted { fragment, etag }) = restart("*", "newpeer").await else {
        panic!("restarted");
    };
    assert_ne!(etag, created.etag);
    // Sound comes first in the offer, and carries the transport.
    assert!(fragment.contains("\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"), "{fragment}");

    // The old credentials are good until the new ones are used; DTLS goes on as it is.
    let answered = |publisher: &Viewer| publisher.client.checks_answered;
    for is_new in [false, true] {
        if is_new {
            take_credentials(&mut publisher.client, &fragment);
            publisher.client.credentials.remote_ufrag = "newpeer".to_owned();
            let Socket::Udp(_, to) = publisher.socket else { unreachable!() };
            publisher.socket = Socket::udp(to).await;
        }
        let (before, check) = (answered(&publisher), publisher.client.check());
        publisher.socket.send(&check).await;
        publisher.pump(|publisher| answered(publisher) > before).await;
    }
    assert!(server.handle.delete(&resource).await);
    publisher.pump(|publisher| publisher.client.is_closed).await;
    assert!(matches!(ingress.recv().await, Some(Ingress::Ended(_))));
    server.stop().await;
}

#[tokio::test]
async fn who_may_change_viewers_sessions_cannot_change_a_publishers() {
    let server = Server::start("127.0.0.1:0", None, &[]).await;
    let _ingress = server.feed.open_ingress(8);
    let (offer, _) = signed(WHIP_OFFER, DtlsRole::Client);
    let published = server.handle.publish(&camera(), offer.as_bytes(), LOCAL).await.unwrap();
    let watched = server.handle.create(&camera(), self::offer().0.as_bytes(), LOCAL).await.unwrap();
    for (created, kind, other) in [
        (&published, SessionKind::Publisher, SessionKind::Viewer),
        (&watched, SessionKind::Viewer, SessionKind::Publisher),
    ] {
        let wrong = resource(other, created);
        let fragment = Patch::SdpFragment { body: b"a=end-of-candidates", if_match: Some("*") };
        assert_eq!(server.handle.patch(&wrong, fragment).await, Err(PatchError::NoSession));
        assert_eq!(
            server.handle.patch(&wrong, Patch::Answer(b"x")).await,
            Err(PatchError::NoSession)
        );
        assert!(!server.handle.delete(&wrong).await);
        let right = resource(kind, created);
        assert_eq!(server.handle.patch(&right, fragment).await, Ok(Patched::Done));
        assert!(server.handle.delete(&right).await);
    }
    server.stop().await;
}

/// An answer to our offer by a player that wants to be the DTLS server.
const PASSIVE_ANSWER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
    a=group:BUNDLE 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:peer\r\n\
    a=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 00\r\na=setup:passive\r\na=mid:0\r\n\
    a=recvonly\r\na=rtcp-mux\r\na=rtpmap:96 H264/90000\r\n\
    a=fmtp:96 packetization-mode=1;profile-level-id=42e01f\r\n";

#[tokio::test]
async fn at_a_full_server_an_offer_of_ours_is_still_answered_by_a_player_that_is_the_dtls_server_too()
 {
    let limits = Limits { server: 1, camera: 1, address: 1 };
    let server = Server::limited("127.0.0.1:0", None, &[], limits).await;
    server.publish(0, true, 3);
    let without_h264 = OFFER.replace(" H264/90000", " H263/90000");
    let created = server.handle.create(&camera(), without_h264.as_bytes(), LOCAL).await.unwrap();
    assert!(created.counter_offer.is_some());
    let refused = server.handle.create(&camera(), OFFER.as_bytes(), LOCAL).await;
    assert!(matches!(refused, Err(CreateError::Full(Limit::Server))), "{refused:?}");

    let resource = resource(SessionKind::Viewer, &created);
    let (answer, client) = signed(PASSIVE_ANSWER, DtlsRole::Server);
    let answer = Patch::Answer(answer.as_bytes());
    assert_eq!(server.handle.patch(&resource, answer).await, Ok(Patched::Done));
    assert_eq!(server.handle.patch(&resource, answer).await, Err(PatchError::NoAnswerExpected));
    let mut viewer = Viewer::join(client, resource.clone(), &created.sdp, is_udp).await;
    viewer.pump(|viewer| viewer.video.len() == 3).await;

    assert!(server.handle.delete(&resource).await);
    server.handle.create(&camera(), OFFER.as_bytes(), LOCAL).await.expect("there is room again");
    server.stop().await;
}

#[tokio::test]
async fn a_camera_on_demand_is_not_asked_for_by_who_finds_no_place() {
    let limits = Limits { address: 0, ..Limits::default() };
    let server = Server::limited("127.0.0.1:0", None, &[], limits).await;
    server.feed.set_on_demand(true);
    server.feed.clear();
    let mut demand = server.feed.watch_demand();
    demand.mark_unchanged();
    let began = Instant::now();
    let refused = server.handle.create(&camera(), OFFER.as_bytes(), LOCAL).await;
    assert!(matches!(refused, Err(CreateError::Full(Limit::Address))), "{refused:?}");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(!demand.has_changed().unwrap());
    server.stop().await;
}
