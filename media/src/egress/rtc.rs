//! Every WHEP session behind one UDP port, in one task on the live runtime.
//!
//! Must not: wait for a viewer, parse SDP (callers do, on their own time), or speak HTTP.

use std::{
    collections::HashMap,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::{
    io::Interest,
    net::UdpSocket,
    sync::{Notify, mpsc},
    time::sleep_until,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

mod index;
mod publishers;
mod sessions;

use self::sessions::Sessions;
use super::handle::{Command, Limits, RtcHandle};
use crate::{
    hub::Hub,
    sansio::{
        dtls::{DtlsError, Identity},
        outbox::Outbox,
    },
};

const COMMAND_QUEUE: usize = 64;
/// Buffers read with one call; each may hold many datagrams, which the kernel has put together (GRO).
const RECV_BATCH: usize = 8;
const RECV_BUFFER_LEN: usize = 64 << 10;
/// Most that waits for the kernel to take it. Beyond it the network cannot carry the viewers: all of it
/// is dropped and everyone goes on at a key frame.
const MAX_UNSENT_BYTES: usize = 8 << 20;
/// Peers whose way in is remembered before those without a session are forgotten.
const MAX_LOCAL_IPS: usize = 4096;
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
    sessions: Sessions,
    outbox: Outbox,
    /// Which of our addresses a peer sent to, where the socket has several: answers come from there.
    local_ips: HashMap<SocketAddr, IpAddr>,
    failed_sends: u64,
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
    limits: Limits,
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
    let wake = Arc::new(Notify::new());
    let rtc_loop = RtcLoop {
        socket,
        socket_state,
        commands,
        sessions: Sessions::new(limits, wake.clone(), Instant::now()),
        wake,
        outbox: Outbox::default(),
        local_ips: HashMap::new(),
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
            let deadline = self.sessions.next_timeout();
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
                self.sessions.on_command(now, command, &mut self.outbox);
            }
            for _ in 0..COMMAND_QUEUE {
                let Ok(command) = self.commands.try_recv() else { break };
                self.sessions.on_command(now, command, &mut self.outbox);
            }
            self.on_readable(now, &mut buffers);
            self.sessions.on_units(now, &mut self.outbox);
            if now >= self.sessions.next_timeout() {
                self.sessions.on_timers(now, &mut self.outbox);
            }
            self.flush();
        }
        info!(sessions = self.sessions.len(), "closing {} WebRTC sessions", self.sessions.len());
        self.sessions.close_all(&mut self.outbox);
        self.flush();
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
            let waiting = self.outbox.len_bytes();
            // With GRO one buffer may hold several datagrams of `stride` bytes.
            let stride = meta.stride.max(1);
            for datagram in slice[..meta.len].chunks_mut(stride) {
                self.sessions.on_datagram(now, meta.addr, datagram, &mut self.outbox);
            }
            if let Some(ip) = meta.dst_ip
                && self.outbox.len_bytes() > waiting
            {
                self.remember(meta.addr, ip);
            }
        }
    }

    /// Notes which of our addresses a peer talks to.
    fn remember(&mut self, peer: SocketAddr, ip: IpAddr) {
        if self.local_ips.insert(peer, ip).is_none() && self.local_ips.len() > MAX_LOCAL_IPS {
            self.local_ips.retain(|peer, _| self.sessions.knows(peer));
        }
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
                src_ip: self.local_ips.get(&batch.to).copied(),
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
            self.sessions.restart_all_at_key();
        }
    }
}
