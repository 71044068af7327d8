//! Every session behind one UDP port, and one TCP port where that is wanted, in one task on the live runtime.
//!
//! Must not: wait for a viewer, parse SDP (callers do, on their own time), or speak HTTP.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::{Notify, mpsc},
    time::sleep_until,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

mod index;
mod publishers;
mod sessions;
mod tcp;
mod wire;

use self::{
    sessions::Sessions,
    tcp::{TcpEvent, TcpPeers},
    wire::Wire,
};
use super::handle::{Command, Limits, RtcHandle};
use crate::{
    hub::Hub,
    sansio::{
        dtls::{DtlsError, Identity},
        outbox::Outbox,
        transport_address::TransportAddress,
    },
};

const COMMAND_QUEUE: usize = 64;
/// Buffers read with one call; each may hold many datagrams, which the kernel has put together (GRO).
const RECV_BATCH: usize = 8;
const RECV_BUFFER_LEN: usize = 64 << 10;
/// Most that waits for the kernel to take it. Units are held back long before ([`Outbox::is_full`]); beyond
/// this, by retransmissions and the like, all of it is dropped and everyone goes on at a key frame.
const MAX_UNSENT_BYTES: usize = 8 << 20;
const SOCKET_BUFFER_BYTES: usize = 8 << 20;
/// Taken from TCP in one turn; the rest waits for the next.
const MAX_TCP_EVENTS: usize = 64;
const TCP_SWEEP_INTERVAL: Duration = Duration::from_secs(1);

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
    /// The TCP port cannot be had.
    #[error("cannot use TCP {address} for WebRTC: {error}; choose another with live.tcp_addr")]
    BindTcp {
        /// The address tried.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
    /// No certificate.
    #[error(transparent)]
    Identity(#[from] DtlsError),
}

/// The loop that owns the ports; to be spawned once.
#[derive(Debug)]
pub struct RtcLoop {
    wire: Wire,
    commands: mpsc::Receiver<Command>,
    wake: Arc<Notify>,
    sessions: Sessions,
    outbox: Outbox,
    next_tcp_sweep: Instant,
}

/// The ports of WebRTC.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// Of all sessions.
    pub udp: SocketAddr,
    /// Of those that UDP does not reach.
    pub tcp: Option<SocketAddr>,
}

/// What has woken the loop, where it carries something.
enum Woken {
    Command(Command),
    Tcp(TcpEvent),
    Other,
}

/// Binds the ports; to be called on the live runtime, and the loop's [`RtcLoop::run`] to be spawned there.
///
/// `announced` are addresses to tell players instead of this machine's own (NAT 1:1); empty otherwise.
///
/// # Errors
/// When a port is taken or no certificate can be made.
pub async fn bind(
    hub: Arc<Hub>,
    ports: Ports,
    announced: &[IpAddr],
    limits: Limits,
) -> Result<(RtcHandle, RtcLoop), RtcStartError> {
    let bind_error = |error| RtcStartError::Bind { address: ports.udp, error };
    let socket = UdpSocket::bind(ports.udp).await.map_err(bind_error)?;
    let socket_state = UdpSocketState::new(UdpSockRef::from(&socket)).map_err(bind_error)?;
    // Smaller buffers work too; the kernel caps these without telling.
    let _ = socket_state.set_send_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER_BYTES);
    let _ = socket_state.set_recv_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER_BYTES);
    let local = socket.local_addr().map_err(bind_error)?;
    let mut candidates: Vec<_> =
        reachable(local, announced).into_iter().map(TransportAddress::Udp).collect();
    info!(udp.address = %local, candidates = ?candidates, "WebRTC on UDP {local}");
    let tcp = match ports.tcp {
        None => None,
        Some(address) => {
            let bind_error = |error| RtcStartError::BindTcp { address, error };
            let listener = TcpListener::bind(address).await.map_err(bind_error)?;
            let local = listener.local_addr().map_err(bind_error)?;
            candidates.extend(reachable(local, announced).into_iter().map(TransportAddress::Tcp));
            info!(tcp.address = %local, "WebRTC on TCP {local} for players that UDP does not reach");
            Some(TcpPeers::new(listener, limits))
        }
    };

    let (sender, commands) = mpsc::channel(COMMAND_QUEUE);
    let identity = Identity::generate()?;
    let handle = RtcHandle::new(hub, identity, candidates.into(), limits, sender);
    let (wake, now) = (Arc::new(Notify::new()), Instant::now());
    let rtc_loop = RtcLoop {
        wire: Wire::new(socket, socket_state, tcp),
        commands,
        sessions: Sessions::new(wake.clone(), now),
        next_tcp_sweep: now,
        wake,
        outbox: Outbox::default(),
    };
    Ok((handle, rtc_loop))
}

/// Where players can reach a socket, best first.
fn reachable(local: SocketAddr, announced: &[IpAddr]) -> Vec<SocketAddr> {
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

/// The next event of TCP; never, where there is none.
async fn next_of(tcp: &mut Option<TcpPeers>) -> Option<TcpEvent> {
    match tcp {
        Some(tcp) => tcp.next().await,
        None => std::future::pending().await,
    }
}

impl RtcLoop {
    /// Serves sessions until `token` is cancelled, then says goodbye to each.
    pub async fn run(mut self, token: CancellationToken) {
        let mut buffers = vec![0; RECV_BATCH * RECV_BUFFER_LEN];
        loop {
            // Bursts that the network does not take now are no reason to wake.
            let deadline = match self.outbox.is_full() {
                true => self.sessions.next_second(),
                false => self.sessions.next_timeout(),
            };
            let woken = tokio::select! {
                biased;
                () = token.cancelled() => break,
                () = self.wake.notified() => Woken::Other,
                Some(command) = self.commands.recv() => Woken::Command(command),
                _ = self.wire.socket.readable() => Woken::Other,
                Some(event) = next_of(&mut self.wire.tcp) => Woken::Tcp(event),
                _ = self.wire.socket.writable(), if self.is_sending() => Woken::Other,
                () = sleep_until(deadline.into()) => Woken::Other,
            };
            // Whatever woke it, each turn looks at everything: no kind of work can starve another.
            let now = Instant::now();
            let mut tcp_event = None;
            match woken {
                Woken::Command(command) => {
                    self.sessions.on_command(now, command, &mut self.outbox);
                }
                Woken::Tcp(event) => tcp_event = Some(event),
                Woken::Other => {}
            }
            for _ in 0..COMMAND_QUEUE {
                let Ok(command) = self.commands.try_recv() else { break };
                self.sessions.on_command(now, command, &mut self.outbox);
            }
            self.on_readable(now, &mut buffers);
            self.on_tcp(now, tcp_event);
            self.sessions.on_units(now, &mut self.outbox, |out| self.wire.send(out));
            if now >= deadline {
                self.sessions.on_timers(now, &mut self.outbox);
            }
            self.flush();
        }
        info!(sessions = self.sessions.len(), "closing {} WebRTC sessions", self.sessions.len());
        self.sessions.close_all(&mut self.outbox);
        self.flush();
        if let Some(tcp) = self.wire.tcp {
            tcp.stop().await;
        }
    }

    /// Whether something waits for the socket.
    fn is_sending(&self) -> bool {
        !self.outbox.is_empty() || self.sessions.holds_units()
    }

    /// Takes what has come over TCP, `first` before the others.
    fn on_tcp(&mut self, now: Instant, mut first: Option<TcpEvent>) {
        let Some(tcp) = &mut self.wire.tcp else { return };
        for _ in 0..MAX_TCP_EVENTS {
            let Some(event) = first.take().or_else(|| tcp.try_next()) else { break };
            match event {
                TcpEvent::Accepted(stream, from) => tcp.on_accepted(now, stream, from),
                TcpEvent::Closed(from, id) => tcp.on_closed(from, id),
                TcpEvent::Datagram(from, mut datagram) => {
                    let peer = TransportAddress::Tcp(from);
                    let waiting = self.outbox.len_bytes();
                    self.sessions.on_datagram(now, peer, &mut datagram, &mut self.outbox);
                    let was_taken = self.outbox.len_bytes() > waiting || self.sessions.knows(&peer);
                    tcp.on_judged(now, from, was_taken);
                }
            }
        }
        if now >= self.next_tcp_sweep {
            self.next_tcp_sweep = now + TCP_SWEEP_INTERVAL;
            tcp.sweep(now);
        }
    }

    fn on_readable(&mut self, now: Instant, buffers: &mut [u8]) {
        let mut metas = [RecvMeta::default(); RECV_BATCH];
        let mut slices: Vec<_> = buffers.chunks_mut(RECV_BUFFER_LEN).map(IoSliceMut::new).collect();
        let count = self.wire.receive(&mut slices, &mut metas);
        for (meta, mut slice) in metas[..count].iter().zip(slices) {
            let waiting = self.outbox.len_bytes();
            // With GRO one buffer may hold several datagrams of `stride` bytes.
            let stride = meta.stride.max(1);
            for datagram in slice[..meta.len].chunks_mut(stride) {
                let from = TransportAddress::Udp(meta.addr);
                self.sessions.on_datagram(now, from, datagram, &mut self.outbox);
            }
            if let Some(ip) = meta.dst_ip
                && self.outbox.len_bytes() > waiting
            {
                let knows = |peer: &SocketAddr| self.sessions.knows(&TransportAddress::Udp(*peer));
                self.wire.remember(meta.addr, ip, knows);
            }
        }
    }

    /// Sends what waits; what the network does not take now waits for the socket, within bounds.
    fn flush(&mut self) {
        self.wire.send(&mut self.outbox);
        for peer in self.wire.behind.drain(..) {
            self.sessions.restart_at_key(&peer);
        }
        if self.outbox.unsent_bytes() > MAX_UNSENT_BYTES {
            warn!(
                sessions = self.sessions.len(),
                "the network does not take what viewers need; going on at the next key frames"
            );
            self.outbox.clear();
            self.sessions.restart_all_at_key();
        }
    }
}

#[cfg(test)]
mod tests;
