//! WHIP sessions, and what they hand to their cameras. Must not: own a socket or read a clock.

use std::{collections::HashMap, sync::Arc, time::Instant};

use tokio::sync::mpsc::{self, error::TrySendError};
use tracing::{info, warn};

use super::index::{Index, Key, Names};
use crate::{
    hub::{Feed, Ingress, TrackIndex},
    sansio::{
        outbox::Outbox,
        transport::{CloseReason, IceCredentials},
        transport_address::TransportAddress,
        whip_session::{WhipEvent, WhipSession, WhipTrack},
    },
};

/// Every publisher's session.
#[derive(Debug, Default)]
pub(super) struct Publishers {
    table: HashMap<Key, Publisher>,
}

#[derive(Debug)]
struct Publisher {
    names: Names,
    whip: WhipSession,
    feed: Arc<Feed>,
    ingress: mpsc::Sender<Ingress>,
    began: Instant,
}

impl Publishers {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether somebody publishes to a camera.
    pub(super) fn has(&self, feed: &Arc<Feed>) -> bool {
        self.table.values().any(|publisher| Arc::ptr_eq(&publisher.feed, feed))
    }

    pub(super) fn insert(
        &mut self,
        now: Instant,
        mut names: Names,
        whip: WhipSession,
        (feed, ingress): (Arc<Feed>, mpsc::Sender<Ingress>),
        index: &mut Index,
    ) {
        let key = index.add(&mut names, whip.transport());
        self.table.insert(key, Publisher { names, whip, feed, ingress, began: now });
    }

    pub(super) fn names(&self, key: Key) -> Option<&Names> {
        self.table.get(&key).map(|publisher| &publisher.names)
    }

    /// `false` when there is no such session.
    pub(super) fn restart_ice(
        &mut self,
        key: Key,
        credentials: IceCredentials,
        etag: String,
        index: &mut Index,
    ) -> bool {
        let Some(publisher) = self.table.get_mut(&key) else { return false };
        publisher.names.ice.etag = etag;
        publisher.names.ice.remote_ufrag = Some(credentials.remote_ufrag.clone());
        publisher.whip.restart_ice(credentials);
        index.follow_ice(key, &mut publisher.names, publisher.whip.transport());
        true
    }

    /// `false` when there is no such session.
    pub(super) fn on_datagram(
        &mut self,
        now: Instant,
        key: Key,
        (from, datagram): (TransportAddress, &mut [u8]),
        index: &mut Index,
        out: &mut Outbox,
    ) -> bool {
        let Some(publisher) = self.table.get_mut(&key) else { return false };
        publisher.whip.on_datagram(now, from, datagram, out);
        index.follow_peer(key, &mut publisher.names, publisher.whip.transport());
        self.drain(now, key, index, out);
        true
    }

    /// Hands on what a session brought about.
    fn drain(&mut self, now: Instant, key: Key, index: &mut Index, out: &mut Outbox) {
        let Some(publisher) = self.table.get_mut(&key) else { return };
        let camera = &publisher.names.resource.camera;
        let mut closed = None;
        while let Some(event) = publisher.whip.poll() {
            let ingress = match event {
                WhipEvent::Connected => {
                    let connect_ms = (now - publisher.began).as_millis() as u64;
                    info!(
                        camera.id = %camera, session.id = key, connect_ms,
                        "publisher {key} of camera {camera} connected in {connect_ms} ms"
                    );
                    continue;
                }
                WhipEvent::Format(track, format) => Ingress::Format(track_index(track), format),
                WhipEvent::Unit(track, unit) => Ingress::Unit(track_index(track), unit),
                WhipEvent::Closed(reason) => {
                    closed = Some(reason);
                    break;
                }
            };
            match publisher.ingress.try_send(ingress) {
                Ok(()) => {}
                // The camera's task did not run for seconds: formats and pictures were missed.
                Err(TrySendError::Full(_)) => publisher.whip.start_over(),
                Err(TrySendError::Closed(_)) => {
                    closed = Some(CloseReason::ServerClosed);
                    break;
                }
            }
        }
        if let Some(reason) = closed {
            self.close(key, reason, index, out);
        }
    }

    /// Passes on what viewers ask for.
    pub(super) fn request_key_frames(&mut self) {
        for publisher in self.table.values_mut() {
            for (layer, track) in publisher.feed.layers().iter().enumerate() {
                if track.take_key_request() {
                    publisher.whip.request_key_frame(WhipTrack::Layer(layer));
                }
            }
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.table.values().map(|publisher| publisher.whip.next_timeout()).min()
    }

    pub(super) fn on_timers(&mut self, now: Instant, index: &mut Index, out: &mut Outbox) {
        let is_due = |publisher: &Publisher| publisher.whip.next_timeout() <= now;
        let due: Vec<Key> =
            self.table.iter().filter(|(_, p)| is_due(p)).map(|(key, _)| *key).collect();
        for key in due {
            let Some(publisher) = self.table.get_mut(&key) else { continue };
            publisher.whip.on_timer(now, out);
            if publisher.feed.is_removed() {
                self.close(key, CloseReason::ServerClosed, index, out);
            } else {
                self.drain(now, key, index, out);
            }
        }
    }

    pub(super) fn close_all(&mut self, index: &mut Index, out: &mut Outbox) {
        let open: Vec<_> = self.table.keys().copied().collect();
        for key in open {
            self.close(key, CloseReason::ServerClosed, index, out);
        }
    }

    /// `false` when there is no such session.
    pub(super) fn close(
        &mut self,
        key: Key,
        reason: CloseReason,
        index: &mut Index,
        out: &mut Outbox,
    ) -> bool {
        let Some(mut publisher) = self.table.remove(&key) else { return false };
        publisher.whip.close(out);
        index.remove(key, &publisher.names);
        let camera = &publisher.names.resource.camera;
        info!(
            camera.id = %camera, session.id = key, reason = %reason,
            "publisher {key} of camera {camera} left: {reason}"
        );
        let ended = Ingress::Ended(format!("the publisher left: {reason}"));
        if publisher.ingress.try_send(ended).is_err() {
            // A camera that is being stopped needs no word; a full queue empties into silence.
            warn!(camera.id = %camera, "camera {camera} was not told that its publisher left");
        }
        true
    }
}

fn track_index(track: WhipTrack) -> TrackIndex {
    match track {
        WhipTrack::Layer(layer) => TrackIndex::Layer(layer),
        WhipTrack::Audio => TrackIndex::Audio,
    }
}
