//! A viewer: the offer by HTTP, then one UDP socket of its own until it is told to stop.
//!
//! Must not: show or keep media.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSliceMut};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::answer::{Answer, Local, offer};
use crate::http;
use crate::peer::{Identity, Peer};
use crate::rtp::Counter;

/// Datagrams (or GRO trains of them) taken by one system call.
const RECV_BATCH: usize = 8;
const RECV_BUFFER_LEN: usize = 64 << 10;
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// From the offer to the first packet.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// What all viewers of the one thread share.
pub struct Shared {
    /// Where to post offers.
    pub whep: Url,
    identity: Identity,
    buffers: RefCell<Vec<u8>>,
    /// Whether packets are recorded now.
    pub recording: Cell<bool>,
}

impl Shared {
    /// For viewers of this WHEP endpoint.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn new(whep: Url) -> Result<Rc<Self>> {
        Ok(Rc::new(Self {
            whep,
            identity: Identity::generate()?,
            buffers: RefCell::new(vec![0; RECV_BATCH * RECV_BUFFER_LEN]),
            recording: Cell::new(false),
        }))
    }
}

/// What became of a viewer.
#[derive(Debug)]
pub struct Viewed {
    /// From sending the offer to the end of the DTLS handshake, in milliseconds.
    pub connect_ms: f64,
    /// From sending the offer to the first packet of media, in milliseconds.
    pub first_packet_ms: f64,
    /// The SRTP profile.
    pub cipher: String,
    /// The media.
    pub counter: Counter,
}

/// Watches until `stop`; says through `watching` when the first packet of media has come.
///
/// # Errors
/// When the server refuses, the connection fails, or no media comes.
pub async fn watch(
    shared: Rc<Shared>,
    watching: UnboundedSender<()>,
    stop: CancellationToken,
) -> Result<Viewed> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.context("cannot open a UDP socket")?;
    let state = UdpSocketState::new(UdpSockRef::from(&socket)).context("cannot set socket up")?;
    // A burst must fit in while other viewers are served; a smaller buffer still works.
    let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER_BYTES);
    let addr = socket.local_addr().context("the socket has no address")?;
    let (ufrag, pwd) = (random_text(8), random_text(24));
    let fingerprint = shared.identity.fingerprint();
    let local = Local { ufrag: &ufrag, pwd: &pwd, fingerprint: &fingerprint, addr };

    let posted = Instant::now();
    let response = http::post_sdp(&shared.whep, &offer(&local)).await?;
    if response.status != 201 {
        bail!("the server answers {}: {}", response.status, response.body.trim());
    }
    let answer = Answer::parse(&response.body)?;
    let peer = Peer::new(&shared.identity, &ufrag, &pwd, answer, Instant::now());
    let mut viewer = Viewer { shared, socket, state, peer, out: Vec::new() };
    let outcome = viewer.run(posted, &watching, &stop).await;
    // go2rtc names no session: there the goodbye of DTLS ends it.
    match response.location {
        Some(location) => {
            let session = viewer.shared.whep.join(&location).context("Location is no URL")?;
            http::delete(&session).await?;
        }
        None => {
            viewer.peer.close(&mut viewer.out);
            viewer.send();
        }
    }
    let (connect_ms, first_packet_ms) = outcome?;
    Ok(Viewed {
        connect_ms,
        first_packet_ms,
        cipher: viewer.peer.cipher().unwrap_or("none").to_owned(),
        counter: viewer.peer.counter,
    })
}

struct Viewer {
    shared: Rc<Shared>,
    socket: UdpSocket,
    state: UdpSocketState,
    peer: Peer,
    out: Vec<Vec<u8>>,
}

impl Viewer {
    /// Gives the milliseconds from `posted` to connected and to the first packet.
    async fn run(
        &mut self,
        posted: Instant,
        watching: &UnboundedSender<()>,
        stop: &CancellationToken,
    ) -> Result<(f64, f64)> {
        let (mut connected, mut first_packet) = (None, None);
        let timer = tokio::time::sleep_until(self.peer.next_timeout().into());
        tokio::pin!(timer);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                readable = self.socket.readable() => readable.context("the socket failed")?,
                () = &mut timer => {}
            }
            self.receive()?;
            let now = Instant::now();
            self.peer.on_timer(now, &mut self.out)?;
            self.send();
            if connected.is_none() && self.peer.is_connected() {
                connected = Some(posted.elapsed());
            }
            if first_packet.is_none() {
                if self.peer.counter.has_media() {
                    first_packet = Some(posted.elapsed());
                    // The stage may have given up on us.
                    let _ = watching.send(());
                } else if posted.elapsed() > CONNECT_TIMEOUT {
                    bail!("no media after {} s", CONNECT_TIMEOUT.as_secs());
                }
            }
            let next = self.peer.next_timeout().into();
            if timer.deadline() != next {
                timer.as_mut().reset(next);
            }
        }
        let ms = |duration: Option<Duration>| duration.map(|d| d.as_secs_f64() * 1e3);
        ms(connected).zip(ms(first_packet)).context("stopped before any media came")
    }

    fn receive(&mut self) -> Result<()> {
        let mut buffers = self.shared.buffers.borrow_mut();
        let recording = self.shared.recording.get();
        loop {
            let mut metas = [RecvMeta::default(); RECV_BATCH];
            let mut slices = buffers.chunks_mut(RECV_BUFFER_LEN).map(IoSliceMut::new);
            let mut slices: [_; RECV_BATCH] =
                std::array::from_fn(|_| slices.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
            let received = self.socket.try_io(Interest::READABLE, || {
                self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut metas)
            });
            let count = match received {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("cannot receive"),
            };
            let now = Instant::now();
            for (meta, slice) in metas[..count].iter().zip(&slices) {
                // The kernel's time of arrival: how long we took to look does not count.
                let arrived_ns = meta.timestamp.map_or_else(now_ns, |at| at.as_nanos() as u64);
                for datagram in slice[..meta.len].chunks(meta.stride.max(1)) {
                    self.peer.on_datagram(now, arrived_ns, datagram, recording, &mut self.out)?;
                }
            }
        }
    }

    fn send(&mut self) {
        let server = self.peer.server();
        for datagram in self.out.drain(..) {
            // What is not taken now is as if lost: checks and handshakes are repeated.
            let _ = self.socket.try_send_to(&datagram, server);
        }
    }
}

/// Nanoseconds since 1970.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

fn random_text(len: usize) -> String {
    use rand::Rng as _;
    rand::rng().sample_iter(rand::distr::Alphanumeric).take(len).map(char::from).collect()
}
