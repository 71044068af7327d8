//! What sessions are found by: ICE user fragments, addresses, resource URLs. And how many there are.
//!
//! Must not: know what a session does.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, SocketAddr},
};

use domain::CameraId;

use super::super::handle::{Limit, Limits, Resource, SessionSecret};
use crate::sansio::{stun::BindingRequest, transport::Transport};

/// Number of a session, in the log too.
pub(super) type Key = u64;

/// What one session is found by.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) camera: CameraId,
    pub(super) secret: SessionSecret,
    pub(super) remote: IpAddr,
    pub(super) etag: String,
    pub(super) remote_ufrag: String,
    ufrags: Vec<String>,
    address: Option<SocketAddr>,
}

impl Names {
    pub(super) fn new(
        (camera, secret, remote): (CameraId, SessionSecret, IpAddr),
        (etag, remote_ufrag): (String, String),
    ) -> Self {
        Self { camera, secret, remote, etag, remote_ufrag, ufrags: Vec::new(), address: None }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Index {
    next_key: Key,
    by_ufrag: HashMap<String, Key>,
    by_address: HashMap<SocketAddr, Key>,
    by_resource: HashMap<SessionSecret, (CameraId, Key)>,
    total: usize,
    by_remote: HashMap<IpAddr, usize>,
    by_camera: HashMap<CameraId, usize>,
}

impl Index {
    /// Whether one more session may be made.
    pub(super) fn admit(
        &self,
        limits: &Limits,
        camera: &CameraId,
        remote: &IpAddr,
    ) -> Result<(), Limit> {
        let of = |count: Option<&usize>| count.copied().unwrap_or(0);
        if self.total >= limits.server {
            Err(Limit::Server)
        } else if of(self.by_camera.get(camera)) >= limits.camera {
            Err(Limit::Camera)
        } else if of(self.by_remote.get(remote)) >= limits.address {
            Err(Limit::Address)
        } else {
            Ok(())
        }
    }

    /// Names a new session.
    pub(super) fn add(&mut self, names: &mut Names, transport: &Transport) -> Key {
        self.next_key += 1;
        let key = self.next_key;
        self.by_resource.insert(names.secret.clone(), (names.camera.clone(), key));
        self.count(&names.camera, &names.remote);
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
        if peer == names.address {
            return;
        }
        self.forget_address(key, names);
        names.address = peer;
        if let Some(new) = peer {
            self.by_address.insert(new, key);
        }
    }

    fn forget_address(&mut self, key: Key, names: &Names) {
        if let Some(old) = names.address
            && self.by_address.get(&old) == Some(&key)
        {
            self.by_address.remove(&old);
        }
    }

    /// The session is gone.
    pub(super) fn remove(&mut self, key: Key, names: &Names) {
        for ufrag in &names.ufrags {
            self.by_ufrag.remove(ufrag);
        }
        self.by_resource.remove(&names.secret);
        self.forget_address(key, names);
        self.uncount(&names.camera, &names.remote);
    }

    /// One more session, or an offer of ours that may become one.
    pub(super) fn count(&mut self, camera: &CameraId, remote: &IpAddr) {
        self.total += 1;
        *self.by_remote.entry(*remote).or_default() += 1;
        *self.by_camera.entry(camera.clone()).or_default() += 1;
    }

    /// One less.
    pub(super) fn uncount(&mut self, camera: &CameraId, remote: &IpAddr) {
        self.total -= 1;
        count_down(&mut self.by_remote, remote);
        count_down(&mut self.by_camera, camera);
    }

    /// The session of a URL.
    pub(super) fn find(&self, resource: &Resource) -> Option<Key> {
        let (camera, key) = self.by_resource.get(&resource.secret)?;
        (*camera == resource.camera).then_some(*key)
    }

    /// The session that a datagram is for: by its ICE user fragment, else by where it came from.
    pub(super) fn route(&self, from: &SocketAddr, datagram: &[u8]) -> Option<Key> {
        let by_ufrag = BindingRequest::parse(datagram)
            .ok()
            .and_then(|request| self.by_ufrag.get(request.local_ufrag()));
        by_ufrag.or_else(|| self.by_address.get(from)).copied()
    }

    /// Whether datagrams from an address are a session's.
    pub(super) fn knows(&self, address: &SocketAddr) -> bool {
        self.by_address.contains_key(address)
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
