//! Every WHEP session behind one UDP port, in one task on the live runtime.
//!
//! Must not: wait for a viewer, parse SDP (callers do, on their own time), or speak HTTP.

use std::{
    collections::HashMap,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use domain::CameraId;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::{
    io::Interest,
    net::UdpSocket,
    sync::{Notify, mpsc},
    time::sleep_until,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::handle::{Command, Limit, Limits, RtcHandle, SessionSecret};
use crate::{
    hub::{Cursor, Feed, Hub, Read, ViewerCount},
    sansio::{
        dtls::{DtlsError, Identity},
        outbox::Outbox,
        stun::BindingRequest,
        whep_session::{CloseReason, Event, WhepSession},
    },
};

const COMMAND_QUEUE: usize = 64;
/// Buffers read with one call; each may hold many datagrams, which the kernel has put together (GRO).
const RECV_BATCH: usize = 8;
const RECV_BUFFER_LEN: usize = 64 << 10;
/// Most that waits for the kernel to take it. Beyond it the network cannot carry the viewers: all of it
/// is dropped and everyone goes on at a key frame.
const MAX_UNSENT_BYTES: usize = 8 << 20;
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// Why the live plane could not start.
#[derive(Debug, thiserror::Error)]
pub enum RtcStartError {
    /// The UDP port cannot be had.
    #[error("cannot use UDP {address} for WebRTC: {error}; choose another with live.udp_addr")]
    Bind {
        /// The address tried.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
    /// No certificate.
    #[error(transparent)]
    Identity(#[from] DtlsError),
}

/// The loop that owns the socket; to be spawned once.
#[derive(Debug)]
pub struct RtcLoop {
    socket: UdpSocket,
    socket_state: UdpSocketState,
    commands: mpsc::Receiver<Command>,
    wake: Arc<Notify>,
    sessions: HashMap<SessionKey, Session>,
    next_key: SessionKey,
    by_ufrag: HashMap<String, SessionKey>,
    by_address: HashMap<SocketAddr, SessionKey>,
    by_secret: HashMap<SessionSecret, SessionKey>,
    cameras: HashMap<CameraId, CameraViewers>,
    outbox: Outbox,
    failed_sends: u64,
}

type SessionKey = u64;

#[derive(Debug)]
struct Session {
    camera: CameraId,
    feed: Arc<Feed>,
    secret: SessionSecret,
    whep: WhepSession,
    indexed_address: Option<SocketAddr>,
    /// Set while media flows.
    viewing: Option<ViewerCount>,
    connect_began: Instant,
}

#[derive(Debug)]
struct CameraViewers {
    feed: Arc<Feed>,
    cursor: Cursor,
    viewers: Vec<SessionKey>,
}

/// Binds the UDP port. Spawn the loop's [`RtcLoop::run`] on the live runtime.
///
/// `announced` are addresses to tell players instead of this machine's own (NAT 1:1); empty otherwise.
///
/// # Errors
/// When the port is taken or no certificate can be made.
pub async fn bind(
    hub: Arc<Hub>,
    address: SocketAddr,
    announced: &[IpAddr],
) -> Result<(RtcHandle, RtcLoop), RtcStartError> {
    let bind_error = |error| RtcStartError::Bind { address, error };
    let socket = UdpSocket::bind(address).await.map_err(bind_error)?;
    let socket_state = UdpSocketState::new(UdpSockRef::from(&socket)).map_err(bind_error)?;
    // Smaller buffers work too; the kernel caps these without telling.
    let _ = socket_state.set_send_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER_BYTES);
    let _ = socket_state.set_recv_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER_BYTES);
    let local = socket.local_addr().map_err(bind_error)?;
    let candidates = candidates(local, announced);
    info!(udp.address = %local, candidates = ?candidates, "WebRTC on UDP {local}");

    let (sender, commands) = mpsc::channel(COMMAND_QUEUE);
    let identity = Identity::generate()?;
    let handle = RtcHandle::new(hub, identity, candidates.into(), sender);
    let rtc_loop = RtcLoop {
        socket,
        socket_state,
        commands,
        wake: Arc::new(Notify::new()),
        sessions: HashMap::new(),
        next_key: 0,
        by_ufrag: HashMap::new(),
        by_address: HashMap::new(),
        by_secret: HashMap::new(),
        cameras: HashMap::new(),
        outbox: Outbox::default(),
        failed_sends: 0,
    };
    Ok((handle, rtc_loop))
}

/// Where players can reach the socket, best first.
fn candidates(local: SocketAddr, announced: &[IpAddr]) -> Vec<SocketAddr> {
    let with_port = |ip| SocketAddr::new(ip, local.port());
    if !announced.is_empty() {
        return announced.iter().copied().map(with_port).collect();
    }
    if !local.ip().is_unspecified() {
        return vec![local];
    }
    let is_usable = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_link_local(),
        // The socket speaks IPv6 only when it was bound to it.
        IpAddr::V6(ip) => local.is_ipv6() && !ip.is_unicast_link_local(),
    };
    let mut found: Vec<IpAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .map(|interface| interface.ip())
        .filter(is_usable)
        .collect();
    found.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
    found.into_iter().map(with_port).collect()
}

impl RtcLoop {
    /// Serves sessions until `token` is cancelled, then says goodbye to each.
    pub async fn run(mut self, token: CancellationToken) {
        let mut buffers = vec![0; RECV_BATCH * RECV_BUFFER_LEN];
        loop {
            let deadline = self.next_timeout();
            let command = tokio::select! {
                biased;
                () = token.cancelled() => break,
                () = self.wake.notified() => None,
                Some(command) = self.commands.recv() => Some(command),
                _ = self.socket.readable() => None,
                _ = self.socket.writable(), if !self.outbox.is_empty() => None,
                () = sleep_until(deadline.into()) => None,
            };
            // Whatever woke it, each turn looks at everything: no kind of work can starve another.
            let now = Instant::now();
            if let Some(command) = command {
                self.on_command(now, command);
            }
            for _ in 0..COMMAND_QUEUE {
                let Ok(command) = self.commands.try_recv() else { break };
                self.on_command(now, command);
            }
            self.on_readable(now, &mut buffers);
            self.on_units(now);
            self.on_timers(now);
            self.flush();
        }
        let open: Vec<_> = self.sessions.keys().copied().collect();
        info!(sessions = open.len(), "closing {} WHEP sessions", open.len());
        for key in open {
            self.close(key, CloseReason::ServerClosed);
        }
        self.flush();
    }

    fn next_timeout(&self) -> Instant {
        let idle = Instant::now() + Duration::from_secs(1);
        self.sessions.values().map(|session| session.whep.next_timeout()).fold(idle, Instant::min)
    }

    fn on_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Create { feed, camera, secret, session, remote: _, done } => {
                let has_room = self.sessions.len() < Limits::default().server;
                if has_room {
                    let key = self.next_key;
                    self.next_key += 1;
                    self.by_ufrag.insert(session.local_ufrag().to_owned(), key);
                    self.by_secret.insert(secret.clone(), key);
                    let session = Session {
                        camera,
                        feed,
                        secret,
                        whep: *session,
                        indexed_address: None,
                        viewing: None,
                        connect_began: now,
                    };
                    self.sessions.insert(key, session);
                }
                // The caller may have hung up; the session then times out.
                let _ = done.send(if has_room { Ok(()) } else { Err(Limit::Server) });
            }
            Command::Delete { resource, done } => {
                let key = self.by_secret.get(&resource.secret).copied();
                let key = key.filter(|key| self.sessions[key].camera == resource.camera);
                if let Some(key) = key {
                    self.close(key, CloseReason::Deleted);
                }
                let _ = done.send(key.is_some());
            }
        }
    }

    fn on_readable(&mut self, now: Instant, buffers: &mut [u8]) {
        let mut metas = [RecvMeta::default(); RECV_BATCH];
        let mut slices: Vec<_> = buffers.chunks_mut(RECV_BUFFER_LEN).map(IoSliceMut::new).collect();
        let received = self.socket.try_io(Interest::READABLE, || {
            self.socket_state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut metas)
        });
        let count = match received {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => {
                debug!(error = %error, "UDP receive failed");
                return;
            }
        };
        for (meta, slice) in metas[..count].iter().zip(slices) {
            let mut slice = slice;
            // With GRO one buffer may hold several datagrams of `stride` bytes.
            let stride = meta.stride.max(1);
            for datagram in slice[..meta.len].chunks_mut(stride) {
                self.on_datagram(now, meta.addr, datagram);
            }
        }
    }

    fn on_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8]) {
        let by_ufrag = BindingRequest::parse(datagram)
            .ok()
            .and_then(|request| self.by_ufrag.get(request.local_ufrag()).copied());
        let Some(key) = by_ufrag.or_else(|| self.by_address.get(&from).copied()) else { return };
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let event = session.whep.on_datagram(now, from, datagram, &mut self.outbox);
        let peer = session.whep.peer();
        if peer != session.indexed_address {
            if let Some(old) = std::mem::replace(&mut session.indexed_address, peer)
                && self.by_address.get(&old) == Some(&key)
            {
                self.by_address.remove(&old);
            }
            if let Some(new) = peer {
                self.by_address.insert(new, key);
            }
        }
        self.on_event(now, key, event);
    }

    fn on_event(&mut self, now: Instant, key: SessionKey, event: Option<Event>) {
        match event {
            None => {}
            Some(Event::Connected) => self.start(now, key),
            Some(Event::Closed(reason)) => self.close(key, reason),
        }
    }

    fn start(&mut self, now: Instant, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let camera = session.camera.clone();
        let feed = session.feed.clone();
        let viewers = self.cameras.entry(camera.clone()).or_insert_with(|| CameraViewers {
            cursor: feed.layers()[0].subscribe(self.wake.clone()),
            feed,
            viewers: Vec::new(),
        });
        let gop = viewers.cursor.gop_so_far();
        viewers.viewers.push(key);
        session.viewing = Some(viewers.feed.count_viewer());
        let connect_ms = (now - session.connect_began).as_millis() as u64;
        info!(
            camera.id = %camera, session.id = key, connect_ms, gop_frames = gop.len(),
            "viewer {key} of camera {camera} connected in {connect_ms} ms"
        );
        session.whep.start(now, &gop);
    }

    fn on_units(&mut self, now: Instant) {
        let mut closed = Vec::new();
        for (camera, viewers) in &mut self.cameras {
            loop {
                let unit = match viewers.cursor.try_next() {
                    Read::Unit(unit) => unit,
                    Read::Empty => break,
                    Read::Lagged => {
                        for key in &viewers.viewers {
                            if let Some(session) = self.sessions.get_mut(key) {
                                session.whep.restart_at_key();
                            }
                        }
                        warn!(camera.id = %camera, "sender fell behind camera {camera}; going on at its newest key frame");
                        continue;
                    }
                };
                for &key in &viewers.viewers {
                    let Some(session) = self.sessions.get_mut(&key) else { continue };
                    let event = session.whep.on_unit(now, &unit, &mut self.outbox);
                    if let Some(Event::Closed(reason)) = event {
                        closed.push((key, reason));
                    }
                }
            }
        }
        for (key, reason) in closed {
            self.close(key, reason);
        }
    }

    fn on_timers(&mut self, now: Instant) {
        let is_due = |session: &Session| session.whep.next_timeout() <= now;
        let due: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| is_due(session))
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            let Some(session) = self.sessions.get_mut(&key) else { continue };
            let event = session.whep.on_timer(now, &mut self.outbox);
            self.on_event(now, key, event);
        }
    }

    fn close(&mut self, key: SessionKey, reason: CloseReason) {
        let Some(mut session) = self.sessions.remove(&key) else { return };
        session.whep.close(&mut self.outbox);
        self.by_ufrag.remove(session.whep.local_ufrag());
        self.by_secret.remove(&session.secret);
        if let Some(address) = session.indexed_address
            && self.by_address.get(&address) == Some(&key)
        {
            self.by_address.remove(&address);
        }
        let camera = &session.camera;
        if let Some(viewers) = self.cameras.get_mut(camera) {
            viewers.viewers.retain(|viewer| *viewer != key);
            if viewers.viewers.is_empty() {
                self.cameras.remove(camera);
            }
        }
        info!(
            camera.id = %camera, session.id = key, reason = %reason,
            "viewer {key} of camera {camera} left: {reason}"
        );
    }

    /// Sends what waits, as far as the kernel takes it now; the rest waits for the socket.
    fn flush(&mut self) {
        let mut sent = 0;
        for batch in self.outbox.batches(self.socket_state.max_gso_segments()) {
            let transmit = Transmit {
                destination: batch.to,
                ecn: None,
                contents: batch.contents,
                segment_size: (batch.count > 1).then_some(batch.segment_len),
                src_ip: None,
            };
            let outcome = self.socket.try_io(Interest::WRITABLE, || {
                self.socket_state.try_send(UdpSockRef::from(&self.socket), &transmit)
            });
            match outcome {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An address that cannot be reached: its viewer will be missed by its checks.
                Err(error) => {
                    self.failed_sends += 1;
                    // One line at 1, 2, 4, 8 …: an unreachable network must not fill the disk.
                    if self.failed_sends.is_power_of_two() {
                        warn!(error = %error, failed_sends = self.failed_sends, "UDP send failed");
                    }
                }
            }
            sent += batch.count;
        }
        self.outbox.mark_sent(sent);
        if self.outbox.len_bytes() > MAX_UNSENT_BYTES {
            warn!(
                sessions = self.sessions.len(),
                "the network does not take what viewers need; going on at the next key frames"
            );
            self.outbox.clear();
            for session in self.sessions.values_mut() {
                session.whep.restart_at_key();
            }
        }
    }
}
