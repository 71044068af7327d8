//! Every session by its names, and what happens to it. Must not: own a socket or read a clock.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use domain::CameraId;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::{
    super::handle::{
        Admission, Awaiting, COUNTER_OFFER_VALID, Command, CreateError, IceSession, LayerError,
        Resource, SessionSecret, SessionStats,
    },
    index::{Index, Key, Names},
    publishers::Publishers,
};
use crate::{
    hub::{Cursor, Demand, Feed, MAX_LAYERS, Read, Track, ViewerCount},
    sansio::{
        access_unit::AccessUnit,
        format::Codec,
        layer_choice::LayerInfo,
        outbox::Outbox,
        transport::IceCredentials,
        transport_address::TransportAddress,
        video_sender::MAX_REPLAY_BYTES,
        whep_session::{CloseReason, Event, WhepSession},
        whip_session::WhipSession,
    },
};

/// Reports, layer choice and time-outs happen this often.
const SECOND: Duration = Duration::from_secs(1);
/// Sealed datagrams are sent once there are this many bytes of them: while they are in the processor's
/// cache, and before memory has to be found for those of all viewers.
const SEND_BYTES: usize = 64 << 10;
/// A viewer that asks for a key frame is shown the newest GOP again, if it is no longer than this.
const MAX_REPLAY_ON_REQUEST_BYTES: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Sessions {
    wake: Arc<Notify>,
    index: Index,
    viewers: HashMap<Key, Viewer>,
    publishers: Publishers,
    awaiting: HashMap<SessionSecret, Pending>,
    cameras: HashMap<CameraId, Watched>,
    /// Viewers whose next time-out may be less than a second away.
    restless: HashSet<Key>,
    next_second: Instant,
    /// Units wait until the network takes more; the next turn begins with the camera of this number, so
    /// that each gets its share.
    held: Option<usize>,
}

/// An offer of ours that waits for its answer.
struct Pending {
    admission: Admission,
    awaiting: Arc<Awaiting>,
    until: Instant,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("until", &self.until).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Viewer {
    names: Names,
    connect_began: Instant,
    whep: WhepSession,
    feed: Arc<Feed>,
    _demand: Demand,
    /// Set while media flows.
    viewing: Option<ViewerCount>,
}

/// A camera with viewers, by what is read of it.
#[derive(Debug)]
struct Watched {
    feed: Arc<Feed>,
    layers: [Option<Reader>; MAX_LAYERS],
    audio: Option<Reader>,
}

#[derive(Debug)]
struct Reader {
    cursor: Cursor,
    viewers: Vec<Key>,
    /// The newest unit of the cursor, while the network does not take it, and the first of `viewers` that
    /// has not got it.
    in_hand: Option<(Arc<AccessUnit>, usize)>,
}

impl Reader {
    fn new(track: &Arc<Track>, wake: &Arc<Notify>) -> Self {
        Self { cursor: track.subscribe(wake.clone()), viewers: Vec::new(), in_hand: None }
    }

    fn join(reader: &mut Option<Self>, track: &Arc<Track>, wake: &Arc<Notify>, key: Key) {
        let reader = reader.get_or_insert_with(|| Self::new(track, wake));
        if !reader.viewers.contains(&key) {
            reader.add(key);
        }
    }

    /// What comes after the unit in hand is for this viewer, too.
    fn add(&mut self, key: Key) {
        match &mut self.in_hand {
            None => self.viewers.push(key),
            Some((_, next)) => {
                self.viewers.insert(*next, key);
                *next += 1;
            }
        }
    }

    fn remove(&mut self, key: Key) {
        let Some(at) = self.viewers.iter().position(|viewer| *viewer == key) else { return };
        self.viewers.remove(at);
        if let Some((_, next)) = self.in_hand.as_mut().filter(|(_, next)| at < *next) {
            *next -= 1;
        }
    }

    /// A viewer gets the GOP so far, and the unit in hand is in it.
    fn catch_up(&mut self, key: Key) {
        self.remove(key);
        self.add(key);
    }

    fn leave(reader: &mut Option<Self>, key: Key) {
        if let Some(found) = reader {
            found.remove(key);
            if found.viewers.is_empty() {
                *reader = None;
            }
        }
    }
}

impl Watched {
    fn readers(&mut self) -> impl Iterator<Item = &mut Option<Reader>> {
        self.layers.iter_mut().chain([&mut self.audio])
    }

    /// Reads for a viewer no other layers than these.
    fn keep_layers(&mut self, key: Key, kept: &[usize]) {
        for (index, reader) in self.layers.iter_mut().enumerate() {
            if !kept.contains(&index) {
                Reader::leave(reader, key);
            }
        }
    }

    fn has_picture(&self, layer: usize) -> bool {
        self.layers[layer].as_ref().is_some_and(|r| is_replayable(&r.cursor.gop_so_far()))
    }

    fn is_unwatched(&self) -> bool {
        self.audio.is_none() && self.layers.iter().all(Option::is_none)
    }
}

impl Sessions {
    pub(super) fn new(wake: Arc<Notify>, now: Instant) -> Self {
        Self {
            wake,
            index: Index::default(),
            viewers: HashMap::new(),
            publishers: Publishers::default(),
            awaiting: HashMap::new(),
            cameras: HashMap::new(),
            restless: HashSet::new(),
            next_second: now + SECOND,
            held: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.viewers.len() + self.publishers.len()
    }

    /// Whether datagrams to this address are a session's.
    pub(super) fn knows(&self, address: &TransportAddress) -> bool {
        self.index.knows(address)
    }

    pub(super) fn on_command(&mut self, now: Instant, command: Command, out: &mut Outbox) {
        // A caller that has hung up wants no answer.
        match command {
            Command::Create { admission, session, ice, done } => {
                self.insert(now, admission, *session, ice);
                let _ = done.send(());
            }
            Command::Publish { admission, session, ice, done } => {
                let _ = done.send(self.publish(now, admission, *session, ice));
            }
            Command::Await { admission, awaiting, done } => {
                let secret = admission.resource.secret.clone();
                let until = now + COUNTER_OFFER_VALID;
                self.awaiting.insert(secret, Pending { admission, awaiting, until });
                let _ = done.send(());
            }
            Command::Offered { resource, done } => {
                let _ = done.send(self.pending(&resource).map(|p| p.awaiting.clone()));
            }
            Command::Answered { resource, session, ice, done } => {
                let pending = self.take_pending(&resource);
                let was_there = pending.is_some();
                if let Some(Pending { admission, .. }) = pending {
                    self.insert(now, admission, *session, ice);
                }
                let _ = done.send(was_there);
            }
            Command::Ice { resource, done } => {
                let key = self.index.find(&resource);
                let viewer = key.and_then(|key| self.viewers.get(&key));
                let names = viewer.map(|viewer| &viewer.names);
                let names = names.or_else(|| self.publishers.names(key?));
                let pending = || {
                    let etag = self.pending(&resource)?.awaiting.etag.clone();
                    Some(IceSession { etag, ..IceSession::default() })
                };
                let _ = done.send(names.map(|names| names.ice.clone()).or_else(pending));
            }
            Command::RestartIce { resource, credentials, etag, done } => {
                let key = self.index.find(&resource);
                let restarted = key.is_some_and(|key| self.restart_ice(key, credentials, etag));
                let _ = done.send(restarted);
            }
            Command::SelectLayer { resource, choice, done } => {
                let _ = done.send(match self.viewer(&resource) {
                    None => Err(LayerError::NoSession),
                    Some(key) => {
                        let session = self.viewers.get_mut(&key);
                        let layers = session.as_ref().map(|s| layer_infos(s)).unwrap_or_default();
                        let is_there = |rid: &String| layers.iter().any(|layer| layer.rid == *rid);
                        match session {
                            Some(session) if choice.rid.as_ref().is_none_or(is_there) => {
                                session.whep.set_wish(choice);
                                self.choose_layer(now, key);
                                Ok(())
                            }
                            _ => Err(LayerError::NoSuchLayer),
                        }
                    }
                });
            }
            Command::SetPaused { resource, is_paused, done } => {
                let key = self.viewer(&resource);
                if let Some(key) = key {
                    self.set_paused(now, key, is_paused, out);
                }
                let _ = done.send(key.is_some());
            }
            Command::Stats { resource, done } => {
                let found = self.viewer(&resource);
                let _ = done.send(found.map(|key| stats(now, key, &self.viewers[&key])));
            }
            Command::Delete { resource, done } => {
                let key = self.index.find(&resource);
                if let Some(key) = key {
                    self.close(key, CloseReason::Deleted, out);
                }
                let was_pending = self.take_pending(&resource).is_some();
                let _ = done.send(key.is_some() || was_pending);
            }
        }
    }

    /// The viewer of a URL, if its camera is still there.
    fn viewer(&self, resource: &Resource) -> Option<Key> {
        let key = self.index.find(resource)?;
        self.viewers.get(&key).is_some_and(|viewer| !viewer.feed.is_removed()).then_some(key)
    }

    fn pending(&self, resource: &Resource) -> Option<&Pending> {
        let pending = self.awaiting.get(&resource.secret)?;
        (pending.admission.resource == *resource).then_some(pending)
    }

    fn take_pending(&mut self, resource: &Resource) -> Option<Pending> {
        self.pending(resource)?;
        self.awaiting.remove(&resource.secret)
    }

    fn insert(&mut self, now: Instant, admission: Admission, whep: WhepSession, ice: IceSession) {
        let Admission { resource, feed, demand, place } = admission;
        let mut names = Names::new(resource, place, ice);
        let key = self.index.add(&mut names, whep.transport());
        self.restless.insert(key);
        let viewer =
            Viewer { names, connect_began: now, whep, feed, _demand: demand, viewing: None };
        self.viewers.insert(key, viewer);
    }

    fn publish(
        &mut self,
        now: Instant,
        admission: Admission,
        whip: WhipSession,
        ice: IceSession,
    ) -> Result<(), CreateError> {
        let Admission { resource, feed, place, .. } = admission;
        if self.publishers.has(&feed) {
            return Err(CreateError::AlreadyPublished);
        }
        let ingress = feed.ingress().ok_or(CreateError::NotPublishable)?;
        let names = Names::new(resource, place, ice);
        self.publishers.insert(now, names, whip, (feed, ingress), &mut self.index);
        Ok(())
    }

    fn restart_ice(&mut self, key: Key, credentials: IceCredentials, etag: String) -> bool {
        let Some(viewer) = self.viewers.get_mut(&key) else {
            return self.publishers.restart_ice(key, credentials, etag, &mut self.index);
        };
        viewer.names.ice.etag = etag;
        viewer.names.ice.remote_ufrag = Some(credentials.remote_ufrag.clone());
        viewer.whep.restart_ice(credentials);
        self.index.follow_ice(key, &mut viewer.names, viewer.whep.transport());
        true
    }

    pub(super) fn on_datagram(
        &mut self,
        now: Instant,
        from: TransportAddress,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) {
        let Some(key) = self.index.route(&from, datagram) else { return };
        let Some(viewer) = self.viewers.get_mut(&key) else {
            self.publishers.on_datagram(now, key, (from, datagram), &mut self.index, out);
            return;
        };
        let event = viewer.whep.on_datagram(now, from, datagram, out);
        self.index.follow_peer(key, &mut viewer.names, viewer.whep.transport());
        self.on_event(now, key, event, out);
    }

    fn on_event(&mut self, now: Instant, key: Key, event: Option<Event>, out: &mut Outbox) {
        match event {
            None => {}
            Some(Event::Connected) => self.on_connected(now, key, out),
            Some(Event::KeyWanted) => self.on_key_wanted(now, key, out),
            Some(Event::Closed(reason)) => self.close(key, reason, out),
        }
    }

    fn on_connected(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        let Some(session) = self.viewers.get_mut(&key) else { return };
        if session.feed.is_removed() {
            self.close(key, CloseReason::ServerClosed, out);
            return;
        }
        session.viewing = Some(session.feed.count_viewer());
        let connect_ms = (now - session.connect_began).as_millis() as u64;
        let camera = &session.names.resource.camera;
        info!(
            camera.id = %camera, session.id = key, connect_ms,
            "viewer {key} of camera {camera} connected in {connect_ms} ms"
        );
        if session.whep.has_audio() {
            let track = session.feed.audio().clone();
            let watched = watch(&mut self.cameras, camera, &session.feed);
            Reader::join(&mut watched.audio, &track, &self.wake, key);
        }
        if !session.whep.is_paused() {
            self.begin(now, key, out);
        }
    }

    /// Sends the layer that a viewer is to get, from its newest key frame on.
    fn begin(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        let Some(session) = self.viewers.get_mut(&key) else { return };
        let layers = layer_infos(session);
        let layer = session.whep.choose_layer(now, &layers).unwrap_or(0);
        let track = session.feed.layers()[layer].clone();
        let watched = watch(&mut self.cameras, &session.names.resource.camera, &session.feed);
        watched.keep_layers(key, &[layer]);
        Reader::join(&mut watched.layers[layer], &track, &self.wake, key);
        let gop = watched.layers[layer].as_ref().map(|r| r.cursor.gop_so_far()).unwrap_or_default();
        if !is_replayable(&gop) {
            track.request_key_frame();
        }
        let event = session.whep.begin(now, layer, &gop, out);
        self.restless.insert(key);
        self.on_event(now, key, event, out);
    }

    fn set_paused(&mut self, now: Instant, key: Key, is_paused: bool, out: &mut Outbox) {
        let Some(session) = self.viewers.get_mut(&key) else { return };
        if session.whep.is_paused() == is_paused {
            return;
        }
        session.whep.set_paused(is_paused);
        if session.whep.layers().is_none() {
            return;
        }
        if is_paused {
            if let Some(watched) = self.cameras.get_mut(&session.names.resource.camera) {
                watched.keep_layers(key, &[]);
                if watched.is_unwatched() {
                    self.cameras.remove(&session.names.resource.camera);
                }
            }
        } else {
            self.begin(now, key, out);
        }
    }

    /// Goes over to the layer that a viewer is to get now, if it is another.
    fn choose_layer(&mut self, now: Instant, key: Key) {
        let Some(session) = self.viewers.get_mut(&key) else { return };
        if session.feed.is_removed() {
            return;
        }
        let layers = layer_infos(session);
        let chosen = session.whep.choose_layer(now, &layers);
        let Some((sent, _)) = session.whep.layers() else { return };
        let Some(chosen) = chosen.filter(|_| !session.whep.is_paused()) else { return };
        let track = session.feed.layers()[chosen].clone();
        let watched = watch(&mut self.cameras, &session.names.resource.camera, &session.feed);
        watched.keep_layers(key, &[chosen, sent]);
        let was_reading =
            watched.layers[chosen].as_ref().is_some_and(|reader| reader.viewers.contains(&key));
        Reader::join(&mut watched.layers[chosen], &track, &self.wake, key);
        if !was_reading && !watched.has_picture(chosen) {
            track.request_key_frame();
        }
    }

    fn on_key_wanted(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        let Some(session) = self.viewers.get_mut(&key) else { return };
        let Some((layer, _)) = session.whep.layers() else { return };
        let watched = self.cameras.get_mut(&session.names.resource.camera);
        let reader = watched.and_then(|watched| watched.layers[layer].as_mut());
        let Some(reader) = reader.filter(|reader| reader.viewers.contains(&key)) else { return };
        reader.cursor.track().request_key_frame();
        let gop = reader.cursor.gop_so_far();
        let len_bytes: usize = gop.iter().map(|unit| unit.len_bytes()).sum();
        if !gop.is_empty() && len_bytes <= MAX_REPLAY_ON_REQUEST_BYTES {
            reader.catch_up(key);
            let event = session.whep.begin(now, layer, &gop, out);
            self.restless.insert(key);
            self.on_event(now, key, event, out);
        }
    }

    /// Takes what the cameras have published, as far as the network takes it. `send` is called with a part
    /// of it at a time, the last one left out.
    pub(super) fn on_units(
        &mut self,
        now: Instant,
        out: &mut Outbox,
        mut send: impl FnMut(&mut Outbox),
    ) {
        self.publishers.request_key_frames();
        if !out.is_empty() {
            send(out);
        }
        if out.is_full() {
            self.held.get_or_insert(0);
            return;
        }
        let first = self.held.take().unwrap_or(0);
        let mut events = Vec::new();
        let (viewers, restless) = (&mut self.viewers, &mut self.restless);
        let mut passing = Passing { now, viewers, restless, out, send, events: &mut events };
        'cameras: for is_before in [false, true] {
            for (at, (camera, watched)) in self.cameras.iter_mut().enumerate() {
                if (at < first) == is_before && !passing.pass_on(camera, watched) {
                    self.held = Some(at + 1);
                    break 'cameras;
                }
            }
        }
        for (key, event) in events {
            self.on_event(now, key, Some(event), out);
        }
    }

    /// Whether units wait until the network takes more.
    pub(super) fn holds_units(&self) -> bool {
        self.held.is_some()
    }

    /// When [`Self::on_timers`] is wanted for all.
    pub(super) fn next_second(&self) -> Instant {
        self.next_second
    }

    /// When [`Self::on_timers`] is wanted next, at the latest.
    pub(super) fn next_timeout(&self) -> Instant {
        let of = |key: &Key| self.viewers.get(key).map(|session| session.whep.next_timeout());
        let restless = self.restless.iter().filter_map(of);
        restless.chain(self.publishers.next_timeout()).fold(self.next_second, Instant::min)
    }

    pub(super) fn on_timers(&mut self, now: Instant, out: &mut Outbox) {
        self.publishers.on_timers(now, &mut self.index, out);
        let is_second = now >= self.next_second;
        let due: Vec<Key> = if is_second {
            self.next_second = now + SECOND;
            self.awaiting.retain(|_, pending| now < pending.until);
            self.viewers.keys().copied().collect()
        } else {
            let is_due = |key: &Key| {
                self.viewers.get(key).is_none_or(|session| session.whep.next_timeout() <= now)
            };
            self.restless.iter().copied().filter(is_due).collect()
        };
        for key in due {
            let Some(session) = self.viewers.get_mut(&key) else {
                self.restless.remove(&key);
                continue;
            };
            let event = if session.feed.is_removed() {
                Some(Event::Closed(CloseReason::ServerClosed))
            } else if is_second && has_another_codec(session) {
                Some(Event::Closed(CloseReason::CodecChanged))
            } else {
                session.whep.on_timer(now, out)
            };
            if !session.whep.is_restless() {
                self.restless.remove(&key);
            }
            self.on_event(now, key, event, out);
            if is_second && let Some(session) = self.viewers.get_mut(&key) {
                let event = session.whep.send_reports(now, out);
                self.on_event(now, key, event, out);
                self.choose_layer(now, key);
            }
        }
    }

    /// Whatever waited to be sent was dropped: everyone goes on at a key frame.
    pub(super) fn restart_all_at_key(&mut self) {
        for viewer in self.viewers.values_mut() {
            viewer.whep.restart_at_key();
        }
        for reader in self.cameras.values().flat_map(|watched| watched.layers.iter().flatten()) {
            reader.cursor.track().request_key_frame();
        }
    }

    /// What was meant for a peer was dropped: it goes on at a key frame.
    pub(super) fn restart_at_key(&mut self, peer: &TransportAddress) {
        if let Some(viewer) = self.index.at(peer).and_then(|key| self.viewers.get_mut(&key)) {
            viewer.whep.restart_at_key();
            if let Some((layer, _)) = viewer.whep.layers() {
                viewer.feed.layers()[layer].request_key_frame();
            }
        }
    }

    pub(super) fn close_all(&mut self, out: &mut Outbox) {
        let open: Vec<_> = self.viewers.keys().copied().collect();
        for key in open {
            self.close(key, CloseReason::ServerClosed, out);
        }
        self.publishers.close_all(&mut self.index, out);
    }

    fn close(&mut self, key: Key, reason: CloseReason, out: &mut Outbox) {
        let Some(mut viewer) = self.viewers.remove(&key) else {
            self.publishers.close(key, reason, &mut self.index, out);
            return;
        };
        viewer.whep.close(out);
        self.restless.remove(&key);
        self.index.remove(key, &viewer.names);
        let camera = &viewer.names.resource.camera;
        if let Some(watched) = self.cameras.get_mut(camera) {
            watched.readers().for_each(|reader| Reader::leave(reader, key));
            if watched.is_unwatched() {
                self.cameras.remove(camera);
            }
        }
        info!(
            camera.id = %camera, session.id = key, reason = %reason,
            "viewer {key} of camera {camera} left: {reason}"
        );
    }
}

fn watch<'a>(
    cameras: &'a mut HashMap<CameraId, Watched>,
    camera: &CameraId,
    feed: &Arc<Feed>,
) -> &'a mut Watched {
    let new = || Watched { feed: feed.clone(), layers: Default::default(), audio: None };
    let watched = cameras.entry(camera.clone()).or_insert_with(new);
    if !Arc::ptr_eq(&watched.feed, feed) && !feed.is_removed() {
        // The camera was removed and one of its name came; viewers of the old one are being closed.
        *watched = new();
    }
    watched
}

/// One turn in which units go from the cameras to their viewers.
struct Passing<'a, S> {
    now: Instant,
    viewers: &'a mut HashMap<Key, Viewer>,
    restless: &'a mut HashSet<Key>,
    out: &'a mut Outbox,
    send: S,
    events: &'a mut Vec<(Key, Event)>,
}

impl<S: FnMut(&mut Outbox)> Passing<'_, S> {
    /// `false` when the network takes no more for now.
    fn pass_on(&mut self, camera: &CameraId, watched: &mut Watched) -> bool {
        if let Some(reader) = &mut watched.audio
            && !self.pass_on_sound(reader)
        {
            return false;
        }
        let mut switched = Vec::new();
        // The least layer first: where not all can go out, small pictures do.
        let layers = watched.layers.iter_mut().enumerate().rev();
        let mut layers = layers.filter_map(|(layer, reader)| Some((layer, reader.as_mut()?)));
        let went =
            layers.all(|(layer, reader)| self.pass_on_layer(camera, layer, reader, &mut switched));
        for (key, layer) in switched {
            watched.keep_layers(key, &[layer]);
        }
        went
    }

    fn pass_on_sound(&mut self, reader: &mut Reader) -> bool {
        loop {
            if self.out.is_full() {
                return false;
            }
            let Some(unit) = next(&mut reader.cursor, || {}) else { return true };
            let codec = reader.cursor.track().format().map(|format| format.codec);
            for &key in &reader.viewers {
                let Some(session) = self.viewers.get_mut(&key) else { continue };
                if session.whep.audio_codec() != codec {
                    continue;
                }
                let event = session.whep.on_audio(&unit, self.out);
                self.events.extend(event.map(|event| (key, event)));
            }
        }
    }

    fn pass_on_layer(
        &mut self,
        camera: &CameraId,
        layer: usize,
        reader: &mut Reader,
        switched: &mut Vec<(Key, usize)>,
    ) -> bool {
        if self.out.is_full() {
            return false;
        }
        let Reader { cursor, viewers, in_hand } = reader;
        let on_lag = |sessions: &mut HashMap<Key, Viewer>| {
            for key in viewers.iter() {
                if let Some(session) = sessions.get_mut(key) {
                    session.whep.restart_at_key();
                }
            }
            warn!(camera.id = %camera, "sender fell behind camera {camera}; going on at its newest key frame");
        };
        loop {
            let held = in_hand.take();
            let read = || Some((next(cursor, || on_lag(self.viewers))?, 0));
            let Some((unit, first)) = held.or_else(read) else { return true };
            let codec = cursor.track().format().map(|format| format.codec);
            let mut gop = None;
            for (at, &key) in viewers.iter().enumerate().skip(first) {
                let Some(session) = self.viewers.get_mut(&key) else { continue };
                if Some(session.whep.video_agreed().codec) != codec {
                    continue;
                }
                let event = if session.whep.is_awaited(layer) {
                    let gop = gop.get_or_insert_with(|| cursor.gop_so_far());
                    // Until there is one that can be shown at once, the other layer goes on.
                    if !is_replayable(gop) {
                        continue;
                    }
                    self.restless.insert(key);
                    switched.push((key, layer));
                    session.whep.begin(self.now, layer, gop, self.out)
                } else {
                    session.whep.on_unit(self.now, layer, &unit, self.out)
                };
                self.events.extend(event.map(|event| (key, event)));
                if self.out.unsent_bytes() >= SEND_BYTES {
                    (self.send)(self.out);
                    if self.out.is_full() {
                        *in_hand = Some((unit, at + 1));
                        return false;
                    }
                }
            }
        }
    }
}

/// The next unit of a cursor, telling of a lag on the way.
fn next(cursor: &mut Cursor, mut on_lag: impl FnMut()) -> Option<Arc<AccessUnit>> {
    let mut has_lagged = false;
    let unit = loop {
        match cursor.try_next() {
            Read::Unit(unit) => break Some(unit),
            Read::Empty => break None,
            Read::Lagged => {
                has_lagged = true;
                on_lag();
            }
        }
    };
    if has_lagged && !unit.as_ref().is_some_and(|unit| unit.is_key) {
        cursor.track().request_key_frame();
    }
    unit
}

/// Whether a viewer that begins with these units sees a picture at once.
fn is_replayable(gop: &[Arc<AccessUnit>]) -> bool {
    let len_bytes: usize = gop.iter().map(|unit| unit.len_bytes()).sum();
    !gop.is_empty() && len_bytes <= MAX_REPLAY_BYTES
}

/// Layers that a session can get: those of the codec that was agreed on.
fn layer_infos(session: &Viewer) -> Vec<LayerInfo> {
    let codec: Codec = session.whep.video_agreed().codec;
    let info = |(index, track): (usize, &Arc<Track>)| {
        let format = track.format().filter(|format| format.codec == codec)?;
        Some(LayerInfo {
            index,
            rid: format.rid.clone(),
            size_px: format.video.as_ref().map(|video| (video.width_px, video.height_px)),
            bitrate_bps: track.bitrate_bps(),
        })
    };
    session.feed.layers().iter().enumerate().filter_map(info).collect()
}

/// Whether the camera is live in what was not agreed on with this viewer, who has to come anew.
fn has_another_codec(session: &Viewer) -> bool {
    let is_video_other = session.feed.is_live() && layer_infos(session).is_empty();
    let audio = session.feed.audio().format().map(|format| format.codec);
    let is_audio_other =
        session.whep.has_audio() && audio.is_some() && audio != session.whep.audio_codec();
    is_video_other || is_audio_other
}

fn stats(now: Instant, key: Key, session: &Viewer) -> SessionStats {
    let whep = &session.whep;
    let rid = |layer: usize| session.feed.layers()[layer].format().map(|f| f.rid.clone());
    let (layer, target) = whep.layers().map_or((None, None), |(l, target)| (Some(l), target));
    let counters = whep.counters();
    let unix_ms = |instant| whep.clock().since_1970(instant).as_secs_f64() * 1e3;
    SessionStats {
        id: key,
        media_id: whep.video_agreed().mid.clone(),
        layer: layer.and_then(rid),
        target_layer: target.and_then(rid),
        is_paused: whep.is_paused(),
        server_unix_ms: unix_ms(now),
        newest_frame: counters.newest_frame.map(|(timestamp, at)| (timestamp, unix_ms(at))),
        fraction_lost: whep.path().fraction_lost(),
        round_trip_ms: whep.round_trip().map(|round_trip| round_trip.as_secs_f32() * 1e3),
        estimate_kbps: whep.path().estimate_bps().map(|bps| bps / 1000),
        packets_sent: counters.packets,
        packets_retransmitted: counters.retransmitted,
    }
}

#[cfg(test)]
mod tests;
