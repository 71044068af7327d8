//! Every session by its names, and what happens to it. Must not: own a socket or read a clock.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::CameraId;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::{
    super::handle::{
        Admission, Awaiting, COUNTER_OFFER_VALID, Command, CreateError, IceSession, LayerError,
        Limit, Limits, Resource, SessionSecret, SessionStats,
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
        whep_session::{CloseReason, Event, WhepSession},
        whip_session::WhipSession,
    },
};

/// Reports, layer choice and time-outs happen this often.
const SECOND: Duration = Duration::from_secs(1);
/// A viewer that asks for a key frame is shown the newest GOP again, if it is no longer than this.
const MAX_REPLAY_ON_REQUEST_BYTES: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Sessions {
    limits: Limits,
    wake: Arc<Notify>,
    index: Index,
    viewers: HashMap<Key, Viewer>,
    publishers: Publishers,
    awaiting: HashMap<SessionSecret, Pending>,
    cameras: HashMap<CameraId, Watched>,
    /// Viewers whose next time-out may be less than a second away.
    restless: HashSet<Key>,
    next_second: Instant,
}

/// An offer of ours that waits for its answer.
struct Pending {
    admission: Admission,
    awaiting: Box<Awaiting>,
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
}

impl Reader {
    fn new(track: &Arc<Track>, wake: &Arc<Notify>) -> Self {
        Self { cursor: track.subscribe(wake.clone()), viewers: Vec::new() }
    }

    fn join(reader: &mut Option<Self>, track: &Arc<Track>, wake: &Arc<Notify>, key: Key) {
        let viewers = &mut reader.get_or_insert_with(|| Self::new(track, wake)).viewers;
        if !viewers.contains(&key) {
            viewers.push(key);
        }
    }

    fn leave(reader: &mut Option<Self>, key: Key) {
        if let Some(found) = reader {
            found.viewers.retain(|viewer| *viewer != key);
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

    fn has_key_frame(&self, layer: usize) -> bool {
        self.layers[layer].as_ref().is_some_and(|reader| !reader.cursor.gop_so_far().is_empty())
    }

    fn is_unwatched(&self) -> bool {
        self.audio.is_none() && self.layers.iter().all(Option::is_none)
    }
}

impl Sessions {
    pub(super) fn new(limits: Limits, wake: Arc<Notify>, now: Instant) -> Self {
        Self {
            limits,
            wake,
            index: Index::default(),
            viewers: HashMap::new(),
            publishers: Publishers::default(),
            awaiting: HashMap::new(),
            cameras: HashMap::new(),
            restless: HashSet::new(),
            next_second: now + SECOND,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.viewers.len() + self.publishers.len()
    }

    /// Whether datagrams to this address are a session's.
    pub(super) fn knows(&self, address: &SocketAddr) -> bool {
        self.index.knows(address)
    }

    pub(super) fn on_command(&mut self, now: Instant, command: Command, out: &mut Outbox) {
        // A caller that has hung up wants no answer.
        match command {
            Command::Create { admission, session, etag, remote_ufrag, done } => {
                let admitted = self.admit(&admission);
                if admitted.is_ok() {
                    self.insert(now, admission, *session, (etag, remote_ufrag));
                }
                let _ = done.send(admitted);
            }
            Command::Publish { admission, session, etag, remote_ufrag, done } => {
                let _ = done.send(self.publish(now, admission, *session, (etag, remote_ufrag)));
            }
            Command::Await { admission, awaiting, done } => {
                let admitted = self.admit(&admission);
                if admitted.is_ok() {
                    let secret = admission.secret.clone();
                    let until = now + COUNTER_OFFER_VALID;
                    self.index.count(&admission.camera, &admission.remote);
                    self.awaiting.insert(secret, Pending { admission, awaiting, until });
                }
                let _ = done.send(admitted);
            }
            Command::Offered { resource, done } => {
                let _ = done.send(self.pending(&resource).map(|p| p.awaiting.settled.clone()));
            }
            Command::TakeAwaiting { resource, done } => {
                let taken = self.take_pending(&resource);
                let _ = done.send(taken.map(|pending| (pending.admission, pending.awaiting)));
            }
            Command::Ice { resource, done } => {
                let key = self.index.find(&resource);
                let viewer = key.and_then(|key| self.viewers.get(&key));
                let mid = viewer.map(|viewer| viewer.whep.video_agreed().mid.clone());
                let names = viewer.map(|viewer| &viewer.names);
                let names = names.or_else(|| self.publishers.names(key?));
                let current = names.map(|names| IceSession {
                    etag: names.etag.clone(),
                    remote_ufrag: Some(names.remote_ufrag.clone()),
                    mid: mid.unwrap_or_else(|| "0".to_owned()),
                });
                let pending = || {
                    let etag = self.pending(&resource)?.awaiting.etag.clone();
                    Some(IceSession { etag, remote_ufrag: None, mid: String::new() })
                };
                let _ = done.send(current.or_else(pending));
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
        (pending.admission.camera == resource.camera).then_some(pending)
    }

    fn take_pending(&mut self, resource: &Resource) -> Option<Pending> {
        self.pending(resource)?;
        let pending = self.awaiting.remove(&resource.secret)?;
        self.index.uncount(&pending.admission.camera, &pending.admission.remote);
        Some(pending)
    }

    fn admit(&self, admission: &Admission) -> Result<(), Limit> {
        self.index.admit(&self.limits, &admission.camera, &admission.remote)
    }

    fn insert(
        &mut self,
        now: Instant,
        admission: Admission,
        whep: WhepSession,
        ice: (String, String),
    ) {
        let Admission { camera, feed, demand, secret, remote } = admission;
        let mut names = Names::new((camera, secret, remote), ice);
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
        ice: (String, String),
    ) -> Result<(), CreateError> {
        self.admit(&admission).map_err(CreateError::Full)?;
        let Admission { camera, feed, secret, remote, .. } = admission;
        if self.publishers.has(&feed) {
            return Err(CreateError::AlreadyPublished);
        }
        let ingress = feed.ingress().ok_or(CreateError::NotPublishable)?;
        let names = Names::new((camera, secret, remote), ice);
        self.publishers.insert(now, names, whip, (feed, ingress), &mut self.index);
        Ok(())
    }

    fn restart_ice(&mut self, key: Key, credentials: IceCredentials, etag: String) -> bool {
        let Some(viewer) = self.viewers.get_mut(&key) else {
            return self.publishers.restart_ice(key, credentials, etag, &mut self.index);
        };
        viewer.names.etag = etag;
        viewer.names.remote_ufrag.clone_from(&credentials.remote_ufrag);
        viewer.whep.restart_ice(credentials);
        self.index.follow_ice(key, &mut viewer.names, viewer.whep.transport());
        true
    }

    pub(super) fn on_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
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
        let camera = &session.names.camera;
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
        let watched = watch(&mut self.cameras, &session.names.camera, &session.feed);
        watched.keep_layers(key, &[layer]);
        Reader::join(&mut watched.layers[layer], &track, &self.wake, key);
        let gop = watched.layers[layer].as_ref().map(|r| r.cursor.gop_so_far()).unwrap_or_default();
        if gop.is_empty() {
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
            if let Some(watched) = self.cameras.get_mut(&session.names.camera) {
                watched.keep_layers(key, &[]);
                if watched.is_unwatched() {
                    self.cameras.remove(&session.names.camera);
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
        let watched = watch(&mut self.cameras, &session.names.camera, &session.feed);
        watched.keep_layers(key, &[chosen, sent]);
        let was_reading =
            watched.layers[chosen].as_ref().is_some_and(|reader| reader.viewers.contains(&key));
        Reader::join(&mut watched.layers[chosen], &track, &self.wake, key);
        if !was_reading && !watched.has_key_frame(chosen) {
            track.request_key_frame();
        }
    }

    fn on_key_wanted(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        let Some(session) = self.viewers.get_mut(&key) else { return };
        let Some((layer, _)) = session.whep.layers() else { return };
        let reader = self.cameras.get(&session.names.camera).and_then(|w| w.layers[layer].as_ref());
        let Some(reader) = reader.filter(|reader| reader.viewers.contains(&key)) else { return };
        reader.cursor.track().request_key_frame();
        let gop = reader.cursor.gop_so_far();
        let len_bytes: usize = gop.iter().map(|unit| unit.len_bytes()).sum();
        if !gop.is_empty() && len_bytes <= MAX_REPLAY_ON_REQUEST_BYTES {
            let event = session.whep.begin(now, layer, &gop, out);
            self.restless.insert(key);
            self.on_event(now, key, event, out);
        }
    }

    /// Sends what the cameras have published.
    pub(super) fn on_units(&mut self, now: Instant, out: &mut Outbox) {
        self.publishers.request_key_frames();
        let mut events = Vec::new();
        for (camera, watched) in &mut self.cameras {
            if let Some(reader) = &mut watched.audio {
                while let Some(unit) = next(&mut reader.cursor, || {}) {
                    let codec = reader.cursor.track().format().map(|format| format.codec);
                    for &key in &reader.viewers {
                        let Some(session) = self.viewers.get_mut(&key) else { continue };
                        if session.whep.audio_codec() != codec {
                            continue;
                        }
                        events.extend(session.whep.on_audio(&unit, out).map(|event| (key, event)));
                    }
                }
            }
            let mut switched = Vec::new();
            for (layer, reader) in watched.layers.iter_mut().enumerate() {
                let Some(reader) = reader else { continue };
                let Reader { cursor, viewers } = reader;
                let on_lag = |sessions: &mut HashMap<Key, Viewer>| {
                    for key in viewers.iter() {
                        if let Some(session) = sessions.get_mut(key) {
                            session.whep.restart_at_key();
                        }
                    }
                    warn!(camera.id = %camera, "sender fell behind camera {camera}; going on at its newest key frame");
                };
                while let Some(unit) = next(cursor, || on_lag(&mut self.viewers)) {
                    let codec = cursor.track().format().map(|format| format.codec);
                    for &key in viewers.iter() {
                        let Some(session) = self.viewers.get_mut(&key) else { continue };
                        if Some(session.whep.video_agreed().codec) != codec {
                            continue;
                        }
                        let event = if session.whep.is_awaited(layer) {
                            let gop = cursor.gop_so_far();
                            if gop.is_empty() {
                                continue;
                            }
                            self.restless.insert(key);
                            switched.push((key, layer));
                            session.whep.begin(now, layer, &gop, out)
                        } else {
                            session.whep.on_unit(now, layer, &unit, out)
                        };
                        events.extend(event.map(|event| (key, event)));
                    }
                }
            }
            for (key, layer) in switched {
                watched.keep_layers(key, &[layer]);
            }
        }
        for (key, event) in events {
            self.on_event(now, key, Some(event), out);
        }
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
            let index = &mut self.index;
            self.awaiting.retain(|_, pending| {
                let stands = now < pending.until;
                if !stands {
                    index.uncount(&pending.admission.camera, &pending.admission.remote);
                }
                stands
            });
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
        let camera = &viewer.names.camera;
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

/// The next unit of a cursor, telling of a lag on the way.
fn next(cursor: &mut Cursor, mut on_lag: impl FnMut()) -> Option<Arc<AccessUnit>> {
    loop {
        match cursor.try_next() {
            Read::Unit(unit) => return Some(unit),
            Read::Empty => return None,
            Read::Lagged => on_lag(),
        }
    }
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
