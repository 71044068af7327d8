//! ICE over TCP, for peers that UDP does not reach: connections accepted on one port, and a task for each
//! that reads and writes its frames.
//!
//! Must not: know sessions, or wait for a peer. A connection that does not take what is sent to it loses
//! it, as a network does.
//!
//! Source: RFC 6544 (passive candidates), RFC 4571 (frames).

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use super::super::{handle::Limits, places::network};
use crate::sansio::framing::{MAX_FRAME_BYTES, take_frame, write_frame};

/// A new connection has this long for a check that is answered.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that was checked lives on for this long without a session and without another check.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections that nothing was heard of yet; one more ends the oldest of them.
const MAX_UNCHECKED: usize = 256;
/// Those of one address. A wall of cameras behind one router connects all of its players at once.
const MAX_UNCHECKED_OF_ADDRESS: usize = 64;
/// Most that waits for a peer to take it; beyond it frames are dropped and it goes on at a key frame.
const MAX_WAITING_BYTES: usize = 1 << 20;
/// Most pieces of it.
const MAX_WAITING_PIECES: usize = 1024;
/// The kernel holds no more than this besides: what waits there is late.
const SEND_BUFFER_BYTES: usize = 256 << 10;
/// A peer that takes nothing for this long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Datagrams on their way to the loop; connections wait when it is full.
const EVENT_QUEUE: usize = 256;
/// Time for what waits to go out when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_millis(500);

/// Number of a connection.
type Id = u64;

/// What has happened on the TCP port.
#[derive(Debug)]
pub(super) enum TcpEvent {
    Accepted(TcpStream, SocketAddr),
    Datagram(SocketAddr, BytesMut),
    Closed(SocketAddr, Id),
}

/// Every connection.
#[derive(Debug)]
pub(super) struct TcpPeers {
    limits: Limits,
    connections: HashMap<SocketAddr, Connection>,
    next_id: Id,
    events: mpsc::Receiver<TcpEvent>,
    /// For new connections.
    events_sender: mpsc::Sender<TcpEvent>,
    /// The accepting one, too.
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Connection {
    id: Id,
    queue: mpsc::Sender<Vec<u8>>,
    waiting_bytes: Arc<AtomicUsize>,
    is_checked: bool,
    lives_until: Instant,
}

impl TcpPeers {
    /// Accepts connections from now on; to be called on the live runtime.
    pub(super) fn new(listener: TcpListener, limits: Limits) -> Self {
        let (events_sender, events) = mpsc::channel(EVENT_QUEUE);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, events_sender.clone()));
        Self { limits, connections: HashMap::new(), next_id: 0, events, events_sender, tasks }
    }

    /// The next event. Safe to be dropped while it waits.
    pub(super) async fn next(&mut self) -> Option<TcpEvent> {
        self.events.recv().await
    }

    /// An event that is there already.
    pub(super) fn try_next(&mut self) -> Option<TcpEvent> {
        self.events.try_recv().ok()
    }

    /// Takes a new connection, if there may be one more.
    pub(super) fn on_accepted(&mut self, now: Instant, stream: TcpStream, from: SocketAddr) {
        let open = self.connections.iter();
        let of_address =
            open.clone().filter(|(other, _)| network(other.ip()) == network(from.ip()));
        let unchecked = open.clone().filter(|(_, connection)| !connection.is_checked);
        let unchecked_of_address = of_address.clone().filter(|(_, c)| !c.is_checked).count();
        if self.connections.len() >= self.limits.server
            || of_address.count() >= self.limits.address
            || unchecked_of_address >= MAX_UNCHECKED_OF_ADDRESS
        {
            debug!(tcp.peer = %from, "one TCP connection too many");
            return;
        }
        if unchecked.clone().count() >= MAX_UNCHECKED {
            let oldest = unchecked.min_by_key(|(_, connection)| connection.id);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                self.connections.remove(&oldest);
            }
        }
        let socket = socket2::SockRef::from(&stream);
        // Without these it is later, not wrong.
        let _ = stream.set_nodelay(true);
        let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);

        self.next_id += 1;
        let id = self.next_id;
        let (queue, waiting) = mpsc::channel(MAX_WAITING_PIECES);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let (reader, writer) = stream.into_split();
        let (events, counted) = (self.events_sender.clone(), waiting_bytes.clone());
        self.tasks.spawn(async move {
            let outcome = tokio::select! {
                outcome = read_frames(reader, from, &events) => outcome,
                outcome = write_pieces(writer, waiting, &counted) => outcome,
            };
            if let Err(error) = outcome {
                debug!(tcp.peer = %from, error = %error, "TCP connection lost");
            }
            // The loop is gone when it cannot be told.
            let _ = events.send(TcpEvent::Closed(from, id)).await;
        });
        let lives_until = now + CHECK_TIMEOUT;
        let connection = Connection { id, queue, waiting_bytes, is_checked: false, lives_until };
        self.connections.insert(from, connection);
    }

    pub(super) fn on_closed(&mut self, from: SocketAddr, id: Id) {
        if self.connections.get(&from).is_some_and(|connection| connection.id == id) {
            self.connections.remove(&from);
        }
        // Tasks that have ended are forgotten.
        while self.tasks.try_join_next().is_some() {}
    }

    /// A datagram of this peer was worth something, or not. The first has to be: nothing but an
    /// authentic check opens a connection.
    pub(super) fn on_judged(&mut self, now: Instant, from: SocketAddr, was_taken: bool) {
        let Some(connection) = self.connections.get_mut(&from) else { return };
        if was_taken {
            connection.is_checked = true;
            connection.lives_until = now + IDLE_TIMEOUT;
        } else if !connection.is_checked {
            self.connections.remove(&from);
        }
    }

    /// Ends connections that have outlived their use.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.connections.retain(|_, connection| now < connection.lives_until);
    }

    /// Hands datagrams to a connection, back to back and each but the last of `segment_len` bytes; `false`
    /// when it is too far behind to take them.
    pub(super) fn send(&self, to: SocketAddr, contents: &[u8], segment_len: usize) -> bool {
        let Some(connection) = self.connections.get(&to) else { return true };
        let mut piece = Vec::with_capacity(contents.len() + contents.len() / 8);
        for datagram in contents.chunks(segment_len.max(1)) {
            write_frame(datagram, &mut piece);
        }
        let len = piece.len();
        if connection.waiting_bytes.load(Ordering::Relaxed) + len > MAX_WAITING_BYTES {
            return false;
        }
        connection.waiting_bytes.fetch_add(len, Ordering::Relaxed);
        match connection.queue.try_send(piece) {
            Ok(()) => true,
            Err(error) => {
                connection.waiting_bytes.fetch_sub(len, Ordering::Relaxed);
                // One that has ended is told of by its event.
                matches!(error, mpsc::error::TrySendError::Closed(_))
            }
        }
    }

    /// Accepts nothing more, and lets what waits go out, within bounds.
    pub(super) async fn stop(mut self) {
        // Each task ends when its queue is empty and nobody can add to it; the accepting one at the end of
        // the set.
        self.connections.clear();
        let all_but_accepting =
            async { while self.tasks.len() > 1 && self.tasks.join_next().await.is_some() {} };
        let _ = timeout(STOP_TIMEOUT, all_but_accepting).await;
    }
}

async fn accept(listener: TcpListener, events: mpsc::Sender<TcpEvent>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                if events.send(TcpEvent::Accepted(stream, from)).await.is_err() {
                    return;
                }
            }
            // Out of file descriptors: they come back when connections end.
            Err(error) => {
                warn!(error = %error, "cannot accept a TCP connection of WebRTC");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Until the peer ends it, or says what is no frame.
async fn read_frames(
    mut reader: OwnedReadHalf,
    from: SocketAddr,
    events: &mpsc::Sender<TcpEvent>,
) -> io::Result<()> {
    let mut received = BytesMut::new();
    loop {
        received.reserve(2 * MAX_FRAME_BYTES);
        if reader.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
        while let Some(datagram) = take_frame(&mut received).map_err(io::Error::other)? {
            if events.send(TcpEvent::Datagram(from, datagram)).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Until nobody can send anything more.
async fn write_pieces(
    mut writer: OwnedWriteHalf,
    mut waiting: mpsc::Receiver<Vec<u8>>,
    waiting_bytes: &AtomicUsize,
) -> io::Result<()> {
    while let Some(piece) = waiting.recv().await {
        timeout(WRITE_TIMEOUT, writer.write_all(&piece)).await??;
        waiting_bytes.fetch_sub(piece.len(), Ordering::Relaxed);
    }
    writer.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silent_connections_keep_nobody_out() {
        let bind = || TcpListener::bind("127.0.0.1:0");
        let mut peers = TcpPeers::new(bind().await.unwrap(), Limits::default());
        let (listener, now) = (bind().await.unwrap(), Instant::now());
        let address = listener.local_addr().unwrap();
        let from = |host: u8, port: u16| SocketAddr::from(([10, 0, 0, host], port));
        let mut open = async |from| {
            let _client = TcpStream::connect(address).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            peers.on_accepted(now, stream, from);
            peers.connections.len()
        };
        for port in 0..100 {
            let opened = open(from(1, port)).await;
            assert_eq!(opened, MAX_UNCHECKED_OF_ADDRESS.min(usize::from(port) + 1));
        }
        for host in 2..=4 {
            for port in 0..MAX_UNCHECKED_OF_ADDRESS {
                open(from(host, port as u16)).await;
            }
        }
        assert_eq!(open(from(5, 0)).await, MAX_UNCHECKED);
        assert!(!peers.connections.contains_key(&from(1, 0)), "the oldest made room");
        assert!(peers.connections.contains_key(&from(5, 0)));
        peers.on_judged(now, from(1, 1), true);
        peers.on_judged(now, from(5, 0), false);
        assert_eq!(peers.connections.len(), MAX_UNCHECKED - 1);
    }
}
