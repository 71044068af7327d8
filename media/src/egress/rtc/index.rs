//! What sessions are found by: ICE user fragments, addresses, resource URLs.
//!
//! Must not: know what a session does.

use std::collections::HashMap;

use super::super::{
    handle::{IceSession, Resource, SessionSecret},
    places::Place,
};
use crate::sansio::{
    stun::BindingRequest, transport::Transport, transport_address::TransportAddress,
};

/// Number of a session, in the log too.
pub(super) type Key = u64;

/// What one session is found by.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) resource: Resource,
    pub(super) ice: IceSession,
    /// Held for as long as the session is there.
    _place: Place,
    ufrags: Vec<String>,
    address: Option<TransportAddress>,
    /// It was connected when it came to `address`.
    has_moved: bool,
}

impl Names {
    pub(super) fn new(resource: Resource, place: Place, ice: IceSession) -> Self {
        let (ufrags, address, has_moved) = (Vec::new(), None, false);
        Self { resource, ice, _place: place, ufrags, address, has_moved }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Index {
    next_key: Key,
    by_ufrag: HashMap<String, Key>,
    by_address: HashMap<TransportAddress, Occupant>,
    by_resource: HashMap<SessionSecret, (Resource, Key)>,
}

/// Who is at an address.
#[derive(Debug, Clone, Copy)]
struct Occupant {
    key: Key,
    /// The handshake was made from there. A check alone proves little: whoever has a session can send one
    /// with another's address as its source.
    is_proven: bool,
}

impl Index {
    /// Names a new session.
    pub(super) fn add(&mut self, names: &mut Names, transport: &Transport) -> Key {
        self.next_key += 1;
        let key = self.next_key;
        let resource = names.resource.clone();
        self.by_resource.insert(resource.secret.clone(), (resource, key));
        self.follow_ice(key, names, transport);
        key
    }

    /// The ICE session of a session is another one now.
    pub(super) fn follow_ice(&mut self, key: Key, names: &mut Names, transport: &Transport) {
        for old in &names.ufrags {
            self.by_ufrag.remove(old);
        }
        names.ufrags = transport.local_ufrags().map(str::to_owned).collect();
        for ufrag in &names.ufrags {
            self.by_ufrag.insert(ufrag.clone(), key);
        }
    }

    /// The peer of a session may have moved.
    pub(super) fn follow_peer(&mut self, key: Key, names: &mut Names, transport: &Transport) {
        let peer = transport.peer();
        if peer != names.address {
            self.forget_address(key, names);
            names.address = peer;
            names.has_moved = transport.is_connected();
        }
        let Some(address) = peer else { return };
        let occupant = Occupant { key, is_proven: transport.is_connected() && !names.has_moved };
        let known = self.by_address.entry(address).or_insert(occupant);
        if known.key == key || !known.is_proven {
            *known = occupant;
        }
    }

    fn forget_address(&mut self, key: Key, names: &Names) {
        if let Some(old) = names.address
            && self.at(&old) == Some(key)
        {
            self.by_address.remove(&old);
        }
    }

    /// The session is gone.
    pub(super) fn remove(&mut self, key: Key, names: &Names) {
        for ufrag in &names.ufrags {
            self.by_ufrag.remove(ufrag);
        }
        self.by_resource.remove(&names.resource.secret);
        self.forget_address(key, names);
    }

    /// The session of a URL.
    pub(super) fn find(&self, resource: &Resource) -> Option<Key> {
        let (found, key) = self.by_resource.get(&resource.secret)?;
        (found == resource).then_some(*key)
    }

    /// The session that a datagram is for: by its ICE user fragment, else by where it came from.
    pub(super) fn route(&self, from: &TransportAddress, datagram: &[u8]) -> Option<Key> {
        let by_ufrag = BindingRequest::parse(datagram)
            .ok()
            .and_then(|request| self.by_ufrag.get(request.local_ufrag()));
        by_ufrag.copied().or_else(|| self.at(from))
    }

    /// The session whose peer is at an address.
    pub(super) fn at(&self, address: &TransportAddress) -> Option<Key> {
        self.by_address.get(address).map(|occupant| occupant.key)
    }

    /// Whether datagrams from an address are a session's.
    pub(super) fn knows(&self, address: &TransportAddress) -> bool {
        self.by_address.contains_key(address)
    }
}
