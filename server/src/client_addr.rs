//! Where a request comes from, seen through the proxies that are trusted. Must not: decide access.

use std::net::{IpAddr, Ipv4Addr};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, request::Parts},
    middleware::Next,
    response::Response,
};
use serde::{Deserialize, Deserializer, de::Error as _};

/// The other end of the TCP connection; put into every request where it is accepted.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// An address, or a network such as `172.16.0.0/12`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_len: u8,
}

impl Network {
    /// Whether the address is of this network; IPv4 in IPv6 counts as IPv4.
    pub fn contains(self, other: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
            IpAddr::V6(v6) => (v6.to_bits(), 128),
        };
        let ((own, own_len), (other, other_len)) = (bits(self.address), bits(other.to_canonical()));
        let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix_len)).unwrap_or(0);
        own_len == other_len && own & mask == other & mask
    }
}

/// The text is neither an address nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an IP address or a network such as 172.16.0.0/12")]
pub struct ParseNetworkError;

impl std::str::FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix_len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len.parse().map_err(|_| ParseNetworkError)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| ParseNetworkError)?;
        let max_len = if address.is_ipv4() { 32 } else { 128 };
        let prefix_len = prefix_len.unwrap_or(max_len);
        if prefix_len > max_len {
            return Err(ParseNetworkError);
        }
        Ok(Self { address, prefix_len })
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientAddr(pub(crate) IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for ClientAddr {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let unknown = Self(Ipv4Addr::UNSPECIFIED.into());
        Ok(parts.extensions.get::<Self>().copied().unwrap_or(unknown))
    }
}

/// Puts the [`ClientAddr`] into the request.
pub(crate) async fn resolve(
    State(trusted): State<std::sync::Arc<[Network]>>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(Peer(peer)) = request.extensions().get::<Peer>().copied() {
        let client = client(peer, request.headers(), &trusted);
        request.extensions_mut().insert(ClientAddr(client));
    }
    next.run(request).await
}

/// Each proxy writes whom it heard behind what it was told: from the right, the first address that is no
/// trusted proxy is the client; what stands left of it may be invented.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    let lines: Vec<&str> =
        headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).collect();
    for told in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        if !is_trusted(client) {
            break;
        }
        let Ok(address) = told.trim().parse::<IpAddr>() else { break };
        client = address.to_canonical();
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(peer: &str, forwarded: &[&str], trusted: &[&str], expected: &str) {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let trusted: Vec<Network> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let client = client(peer.parse().unwrap(), &headers, &trusted);
        assert_eq!(client, expected.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_about_whom_it_forwards() {
        check("192.0.2.1", &["198.51.100.7"], &[], "192.0.2.1");
        check("192.0.2.1", &["198.51.100.7"], &["192.0.2.0/24"], "198.51.100.7");
        check("::ffff:192.0.2.1", &["198.51.100.7"], &["192.0.2.1"], "198.51.100.7");
        check("192.0.2.1", &["203.0.113.9, 198.51.100.7"], &["192.0.2.1"], "198.51.100.7");
        check("192.0.2.1", &["203.0.113.9", "192.0.2.2"], &["192.0.2.0/28"], "203.0.113.9");
        check("192.0.2.1", &["203.0.113.9, nonsense"], &["192.0.2.1"], "192.0.2.1");
        check("2001:db8::1", &["2001:db8:1::5"], &["2001:db8::/48"], "2001:db8:1::5");
        check("192.0.2.1", &["198.51.100.7"], &["0.0.0.0/0"], "198.51.100.7");
    }

    #[test]
    fn a_network_is_an_address_with_a_length_that_fits_it() {
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "host", "10.0.0.0/", "10.0.0.0/-1"] {
            assert_eq!(bad.parse::<Network>(), Err(ParseNetworkError), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_header_leads_to_an_address(text in "[0-9a-f:., ]{0,60}") {
            let mut headers = HeaderMap::new();
            headers.append("x-forwarded-for", text.parse().unwrap());
            let any = ["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
            client(Ipv4Addr::LOCALHOST.into(), &headers, &any);
        }
    }
}
