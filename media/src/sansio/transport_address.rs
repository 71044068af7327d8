//! An IP address and port together with the protocol they belong to. Must not: open sockets.
//!
//! Source: RFC 8445 §4 (transport address), RFC 6544 (TCP).

use std::net::SocketAddr;

/// Where a peer is, or where we are. UDP and TCP number their ports apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportAddress {
    /// A datagram each.
    Udp(SocketAddr),
    /// Frames of a connection (RFC 4571).
    Tcp(SocketAddr),
}

impl TransportAddress {
    /// Without the protocol.
    pub fn socket(self) -> SocketAddr {
        match self {
            Self::Udp(address) | Self::Tcp(address) => address,
        }
    }
}

/// UDP, which is what sessions use wherever they can.
impl From<SocketAddr> for TransportAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Udp(address)
    }
}
