//! The ports themselves: datagrams in, datagrams out. Must not: know a session.

use std::{
    collections::HashMap,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
};

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::{io::Interest, net::UdpSocket};
use tracing::{debug, warn};

use super::tcp::TcpPeers;
use crate::sansio::{outbox::Outbox, transport_address::TransportAddress};

/// Peers whose way in is remembered before those without a session are forgotten.
const MAX_LOCAL_IPS: usize = 4096;

/// See the module.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) socket: UdpSocket,
    socket_state: UdpSocketState,
    pub(super) tcp: Option<TcpPeers>,
    /// Which of our addresses a peer sent to, where the socket has several: answers come from there.
    local_ips: HashMap<SocketAddr, IpAddr>,
    failed_sends: u64,
    /// Peers on TCP for whom something was dropped, until the loop has told their sessions.
    pub(super) behind: Vec<TransportAddress>,
}

impl Wire {
    pub(super) fn new(
        socket: UdpSocket,
        socket_state: UdpSocketState,
        tcp: Option<TcpPeers>,
    ) -> Self {
        let (local_ips, behind) = (HashMap::new(), Vec::new());
        Self { socket, socket_state, tcp, local_ips, failed_sends: 0, behind }
    }

    /// Reads what there is; gives how many buffers were filled.
    pub(super) fn receive(&self, slices: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
        let received = self.socket.try_io(Interest::READABLE, || {
            self.socket_state.recv(UdpSockRef::from(&self.socket), slices, metas)
        });
        match received {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => {
                debug!(error = %error, "UDP receive failed");
                0
            }
        }
    }

    /// Notes which of our addresses a peer talks to.
    pub(super) fn remember(
        &mut self,
        peer: SocketAddr,
        ip: IpAddr,
        knows: impl Fn(&SocketAddr) -> bool,
    ) {
        if self.local_ips.insert(peer, ip).is_none() && self.local_ips.len() > MAX_LOCAL_IPS {
            self.local_ips.retain(|peer, _| knows(peer));
        }
    }

    /// Sends what waits, as far as the kernel takes it now.
    pub(super) fn send(&mut self, outbox: &mut Outbox) {
        let mut sent = 0;
        for batch in outbox.batches(self.socket_state.max_gso_segments()) {
            let to = match batch.to {
                TransportAddress::Udp(to) => to,
                TransportAddress::Tcp(to) => {
                    // What follows a hole is of no use either.
                    let is_behind = self.behind.contains(&batch.to);
                    if let Some(tcp) = self.tcp.as_ref().filter(|_| !is_behind)
                        && !tcp.send(to, batch.contents, batch.segment_len)
                    {
                        self.behind.push(batch.to);
                    }
                    sent += batch.count;
                    continue;
                }
            };
            let transmit = Transmit {
                destination: to,
                ecn: None,
                contents: batch.contents,
                segment_size: (batch.count > 1).then_some(batch.segment_len),
                src_ip: self.local_ips.get(&to).copied(),
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
        outbox.mark_sent(sent);
    }
}
