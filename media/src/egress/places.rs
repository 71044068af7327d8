//! How many sessions there are, and how many there may be. Must not: know what a session does.
//!
//! A place is taken before anything is built or waited for, and given back by being dropped, so that no way
//! out of a session can forget it.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::CameraId;

use super::handle::{Limit, Limits};

/// See the module; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_camera: HashMap<CameraId, usize>,
    by_network: HashMap<IpAddr, usize>,
}

/// Room for one session, or for an offer of ours that may become one.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    camera: CameraId,
    network: IpAddr,
}

impl Places {
    pub(super) fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared { limits, taken: Mutex::default() }))
    }

    /// Takes a place, if there is one; `remote` is where the request came from.
    pub(super) fn take(&self, camera: &CameraId, remote: IpAddr) -> Result<Place, Limit> {
        let network = network(remote);
        let limits = &self.0.limits;
        let mut taken = self.0.taken();
        let of = |count: Option<&usize>| count.copied().unwrap_or(0);
        if taken.total >= limits.server {
            return Err(Limit::Server);
        }
        if of(taken.by_camera.get(camera)) >= limits.camera {
            return Err(Limit::Camera);
        }
        if of(taken.by_network.get(&network)) >= limits.address {
            return Err(Limit::Address);
        }
        taken.total += 1;
        *taken.by_camera.entry(camera.clone()).or_default() += 1;
        *taken.by_network.entry(network).or_default() += 1;
        Ok(Place { shared: self.0.clone(), camera: camera.clone(), network })
    }
}

impl Shared {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.shared.taken();
        taken.total -= 1;
        count_down(&mut taken.by_camera, &self.camera);
        count_down(&mut taken.by_network, &self.network);
    }
}

fn count_down<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// What counts as one address, wherever something is counted by it: of IPv6 the /64, of which any machine
/// may have every address.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(id: &str) -> CameraId {
        id.parse().unwrap()
    }

    #[test]
    fn a_place_is_one_of_the_server_of_the_camera_and_of_the_address_until_it_is_dropped() {
        let places = Places::new(Limits { server: 3, camera: 2, address: 2 });
        let (door, yard) = (camera("door"), camera("yard"));
        let of = |camera: &CameraId, host: u8| places.take(camera, [192, 0, 2, host].into());
        let first = of(&door, 1).unwrap();
        let _second = of(&door, 2).unwrap();
        assert_eq!(of(&door, 3).map(|_| ()), Err(Limit::Camera));
        let third = of(&yard, 1).unwrap();
        assert_eq!(of(&yard, 3).map(|_| ()), Err(Limit::Server));
        drop(third);
        drop(first);
        let again = of(&door, 1).unwrap();
        drop(again);
        let taken = places.0.taken();
        assert_eq!((taken.total, taken.by_camera.len(), taken.by_network.len()), (1, 1, 1));
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_share_their_places() {
        let places = Places::new(Limits { address: 2, ..Limits::default() });
        let mut kept = Vec::new();
        let mut take = |address: &str| {
            let taken = places.take(&camera("door"), address.parse().unwrap());
            taken.map(|place| kept.push(place))
        };
        assert_eq!(take("2001:db8:0:1::1"), Ok(()));
        assert_eq!(take("2001:db8:0:1:ffff:ffff:ffff:ffff"), Ok(()));
        assert_eq!(take("2001:db8:0:1:a:b:c:d"), Err(Limit::Address));
        assert_eq!(take("2001:db8:0:2::1"), Ok(()));
        // An address of IPv4 stays one, however it is written.
        assert_eq!(take("::ffff:192.0.2.1"), Ok(()));
        assert_eq!(take("192.0.2.1"), Ok(()));
        assert_eq!(take("::ffff:192.0.2.1"), Err(Limit::Address));
        assert_eq!(take("192.0.2.2"), Ok(()));
    }
}
