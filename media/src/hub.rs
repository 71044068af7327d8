//! Fan-out of access units: up to three layers of video and one of sound per camera, any number of
//! cursors each.
//!
//! Must not: await a reader, decode, touch the network. Publishing takes a short lock and returns.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Instant,
};

use domain::{CameraId, MediaSettings};
use tokio::sync::{Notify, mpsc, watch};

use crate::sansio::{access_unit::AccessUnit, assemble::Assembled, format::Format};

/// Most layers of one camera.
pub const MAX_LAYERS: usize = 3;

/// Units kept before the newest key frame, for cursors that are just behind it.
const GRACE_UNITS: usize = 16;
/// Most payload bytes kept per layer; a longer GOP loses its beginning.
const MAX_RING_BYTES: usize = 16 << 20;
/// Most units kept per layer: more than two minutes at 60 frames a second.
const MAX_RING_UNITS: usize = 8_192;

/// Every camera's feed by id.
#[derive(Debug, Default)]
pub struct Hub {
    feeds: RwLock<HashMap<CameraId, Arc<Feed>>>,
}

impl Hub {
    /// Adds a camera, or finds it if it is there.
    pub fn add(&self, id: &CameraId) -> Arc<Feed> {
        let mut feeds = self.feeds.write().unwrap_or_else(PoisonError::into_inner);
        feeds.entry(id.clone()).or_insert_with(|| Arc::new(Feed::new())).clone()
    }

    /// Takes a camera out. Its viewers are told by [`Feed::is_removed`].
    pub fn remove(&self, id: &CameraId) {
        let removed = self.feeds.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(feed) = removed {
            feed.news.send_modify(|news| news.is_removed = true);
        }
    }

    /// The feed of a camera.
    pub fn feed(&self, id: &CameraId) -> Option<Arc<Feed>> {
        self.feeds.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}

/// What there is to know of a feed without reading it; changes wake those who watch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct News {
    /// Grows whenever a track's format comes, changes, or goes.
    pub formats: u64,
    /// The camera was taken out.
    pub is_removed: bool,
}

/// The tracks of one camera.
#[derive(Debug)]
pub struct Feed {
    /// Video, best first; a layer that does not exist has no format.
    layers: [Arc<Track>; MAX_LAYERS],
    audio: Arc<Track>,
    epoch: Instant,
    viewers: AtomicU32,
    is_on_demand: AtomicBool,
    media: Mutex<MediaSettings>,
    demand: watch::Sender<u32>,
    news: Arc<watch::Sender<News>>,
    ingress: Mutex<Option<mpsc::Sender<Ingress>>>,
}

/// What a WHIP publisher's session hands to the task of its camera.
#[derive(Debug)]
pub enum Ingress {
    /// What a track carries.
    Format(TrackIndex, Format),
    /// The next picture, or packet of sound, on the publisher's clock.
    Unit(TrackIndex, Assembled),
    /// The publisher left; a sentence says why.
    Ended(String),
}

/// A track of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrackIndex {
    /// Of [`Feed::layers`].
    Layer(usize),
    /// [`Feed::audio`].
    Audio,
}

impl Feed {
    fn new() -> Self {
        let news = Arc::new(watch::Sender::new(News::default()));
        let track = || Arc::new(Track::new(news.clone()));
        Self {
            layers: std::array::from_fn(|_| track()),
            audio: track(),
            epoch: Instant::now(),
            viewers: AtomicU32::new(0),
            is_on_demand: AtomicBool::new(false),
            media: Mutex::default(),
            demand: watch::Sender::new(0),
            news,
            ingress: Mutex::default(),
        }
    }

    /// The track of an index; the last layer stands for those there are not.
    pub fn track(&self, index: TrackIndex) -> &Arc<Track> {
        match index {
            TrackIndex::Layer(layer) => &self.layers[layer.min(MAX_LAYERS - 1)],
            TrackIndex::Audio => &self.audio,
        }
    }

    /// The camera's task takes what a publisher sends, until the receiver is dropped.
    pub fn open_ingress(&self, capacity: usize) -> mpsc::Receiver<Ingress> {
        let (sender, receiver) = mpsc::channel(capacity);
        *self.ingress.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Where a publisher's session puts what it receives; `None` when the camera takes none now.
    pub fn ingress(&self) -> Option<mpsc::Sender<Ingress>> {
        let ingress = self.ingress.lock().unwrap_or_else(PoisonError::into_inner);
        ingress.clone().filter(|sender| !sender.is_closed())
    }

    /// Layers of video, best first.
    pub fn layers(&self) -> &[Arc<Track>; MAX_LAYERS] {
        &self.layers
    }

    /// Sound.
    pub fn audio(&self) -> &Arc<Track> {
        &self.audio
    }

    /// Where the times of all tracks begin.
    pub fn epoch(&self) -> Instant {
        self.epoch
    }

    /// Whether any layer can be watched.
    pub fn is_live(&self) -> bool {
        self.layers.iter().any(|layer| layer.format().is_some())
    }

    /// Whether the camera was taken out.
    pub fn is_removed(&self) -> bool {
        self.news.borrow().is_removed
    }

    /// [`Track::set_format`] of several tracks in one step: who is woken by one knows them all.
    pub fn set_formats(&self, formats: impl IntoIterator<Item = (TrackIndex, Format)>) {
        let replace = |(index, format)| self.track(index).replace_format(format);
        let changed = formats.into_iter().map(replace).filter(|has_changed| *has_changed).count();
        if changed > 0 {
            self.news.send_modify(|news| news.formats += 1);
        }
    }

    /// Wakes when a format changes or the camera is taken out.
    pub fn watch_news(&self) -> watch::Receiver<News> {
        self.news.subscribe()
    }

    /// The camera was lost: nothing of it is shown to new viewers.
    pub fn clear(&self) {
        self.layers.iter().chain([&self.audio]).for_each(|track| track.clear());
    }

    /// Viewers now connected.
    pub fn viewers(&self) -> u32 {
        self.viewers.load(Ordering::Relaxed)
    }

    /// Counts one viewer until the value is dropped.
    pub fn count_viewer(self: &Arc<Self>) -> ViewerCount {
        self.viewers.fetch_add(1, Ordering::Relaxed);
        ViewerCount(self.clone())
    }

    /// Asks for the camera until the value is dropped; one that is on demand is connected by this.
    pub fn demand(self: &Arc<Self>) -> Demand {
        self.demand.send_modify(|count| *count += 1);
        Demand(self.clone())
    }

    /// Whether asking for the camera may bring it to life; to be said when it is configured.
    pub fn set_on_demand(&self, is_on_demand: bool) {
        self.is_on_demand.store(is_on_demand, Ordering::Relaxed);
    }

    /// What the camera's media is to be like.
    pub fn set_media(&self, media: MediaSettings) {
        *self.media.lock().unwrap_or_else(PoisonError::into_inner) = media;
    }

    /// See [`Self::set_media`].
    pub fn media(&self) -> MediaSettings {
        *self.media.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether asking for the camera may bring it to life.
    pub fn is_on_demand(&self) -> bool {
        self.is_on_demand.load(Ordering::Relaxed)
    }

    /// How many ask for the camera.
    pub fn watch_demand(&self) -> watch::Receiver<u32> {
        self.demand.subscribe()
    }
}

/// One connected viewer.
#[derive(Debug)]
pub struct ViewerCount(Arc<Feed>);

impl Drop for ViewerCount {
    fn drop(&mut self) {
        self.0.viewers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Somebody who wants the camera.
#[derive(Debug)]
pub struct Demand(Arc<Feed>);

impl Drop for Demand {
    fn drop(&mut self) {
        self.0.demand.send_modify(|count| *count -= 1);
    }
}

/// One layer of video, or the sound, of a camera.
#[derive(Debug)]
pub struct Track {
    ring: Mutex<Ring>,
    bitrate_bps: AtomicU32,
    readers: watch::Sender<u32>,
    key_wanted: AtomicBool,
    wake_source: Notify,
    news: Arc<watch::Sender<News>>,
}

#[derive(Debug, Default)]
struct Ring {
    format: Option<Arc<Format>>,
    units: VecDeque<Arc<AccessUnit>>,
    len_bytes: usize,
    /// Number of the first unit in `units`; counts every unit ever published.
    first_index: u64,
    /// Number of the newest key frame, while it is still in the ring.
    key_index: Option<u64>,
    wakes: Vec<Arc<Notify>>,
}

impl Ring {
    fn next_index(&self) -> u64 {
        self.first_index + self.units.len() as u64
    }

    fn drop_first(&mut self) {
        if let Some(unit) = self.units.pop_front() {
            self.len_bytes -= unit.len_bytes();
            self.first_index += 1;
            self.key_index = self.key_index.filter(|key| *key >= self.first_index);
        }
    }

    fn forget_units(&mut self) {
        while !self.units.is_empty() {
            self.drop_first();
        }
    }
}

impl Track {
    fn new(news: Arc<watch::Sender<News>>) -> Self {
        Self {
            ring: Mutex::default(),
            bitrate_bps: AtomicU32::new(0),
            readers: watch::Sender::new(0),
            key_wanted: AtomicBool::new(false),
            wake_source: Notify::new(),
            news,
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the newest unit and wakes the readers. Never waits for one of them.
    pub fn publish(&self, unit: AccessUnit) {
        let mut ring = self.ring();
        if unit.is_key {
            ring.key_index = Some(ring.next_index());
            while ring.units.len() > GRACE_UNITS {
                ring.drop_first();
            }
        }
        ring.len_bytes += unit.len_bytes();
        ring.units.push_back(Arc::new(unit));
        while ring.len_bytes > MAX_RING_BYTES || ring.units.len() > MAX_RING_UNITS {
            ring.drop_first();
        }
        for wake in &ring.wakes {
            wake.notify_one();
        }
    }

    /// What the track carries became known or changed; to be told before the first unit of it.
    pub fn set_format(&self, format: Format) {
        if self.replace_format(format) {
            self.news.send_modify(|news| news.formats += 1);
        }
    }

    /// Whether it is another than before.
    fn replace_format(&self, format: Format) -> bool {
        let mut ring = self.ring();
        let has_changed = ring.format.as_deref() != Some(&format);
        if has_changed {
            ring.format = Some(Arc::new(format));
        }
        has_changed
    }

    /// What the track carries; `None` while there is nothing to watch.
    pub fn format(&self) -> Option<Arc<Format>> {
        self.ring().format.clone()
    }

    /// Nothing comes for now: what is in the ring is the past and is not shown to new viewers.
    pub fn forget_units(&self) {
        self.ring().forget_units();
    }

    /// Nothing comes any more: as [`Self::forget_units`], and the track is off offer.
    pub fn clear(&self) {
        let mut ring = self.ring();
        let had_format = ring.format.take().is_some();
        ring.forget_units();
        drop(ring);
        self.bitrate_bps.store(0, Ordering::Relaxed);
        if had_format {
            self.news.send_modify(|news| news.formats += 1);
        }
    }

    /// Payload bits in the last second, as the source measured them; 0 while unknown.
    pub fn bitrate_bps(&self) -> u32 {
        self.bitrate_bps.load(Ordering::Relaxed)
    }

    /// Told by the source, once a second.
    pub fn set_bitrate_bps(&self, bitrate_bps: u32) {
        self.bitrate_bps.store(bitrate_bps, Ordering::Relaxed);
    }

    /// How many cursors read the track: one that is made on demand runs while there are any.
    pub fn watch_readers(&self) -> watch::Receiver<u32> {
        self.readers.subscribe()
    }

    /// A reader cannot go on without a key frame. Requests until the source hears of it are one.
    pub fn request_key_frame(&self) {
        self.key_wanted.store(true, Ordering::Relaxed);
        self.wake_source.notify_one();
    }

    /// Whether a key frame was asked for since the last call; for sources that can make one.
    pub fn take_key_request(&self) -> bool {
        self.key_wanted.swap(false, Ordering::Relaxed)
    }

    /// Waits until a key frame is asked for.
    pub async fn key_frame_requested(&self) {
        while !self.take_key_request() {
            self.wake_source.notified().await;
        }
    }

    /// A cursor at the live edge; `wake` is notified of every new unit.
    pub fn subscribe(self: &Arc<Self>, wake: Arc<Notify>) -> Cursor {
        let mut ring = self.ring();
        ring.wakes.push(wake.clone());
        let next = ring.next_index();
        drop(ring);
        self.readers.send_modify(|count| *count += 1);
        Cursor { track: self.clone(), wake, next }
    }
}

/// A reader's place in one track's ring.
#[derive(Debug)]
pub struct Cursor {
    track: Arc<Track>,
    wake: Arc<Notify>,
    next: u64,
}

/// What a cursor found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The next unit.
    Unit(Arc<AccessUnit>),
    /// The reader was too slow; the next unit is the newest key frame, or the live edge if there is none.
    Lagged,
    /// Nothing new yet.
    Empty,
}

impl Cursor {
    /// The track it reads.
    pub fn track(&self) -> &Arc<Track> {
        &self.track
    }

    /// The next unit, if there is one; never waits.
    pub fn try_next(&mut self) -> Read {
        let ring = self.track.ring();
        if self.next < ring.first_index {
            self.next = ring.key_index.unwrap_or_else(|| ring.next_index());
            // After a camera was lost its ring is empty, and nothing was missed that could be shown.
            return if ring.units.is_empty() { Read::Empty } else { Read::Lagged };
        }
        let Some(unit) = ring.units.get((self.next - ring.first_index) as usize) else {
            return Read::Empty;
        };
        let unit = unit.clone();
        self.next += 1;
        Read::Unit(unit)
    }

    /// The units from the newest key frame to just before this cursor, for a viewer that begins here.
    ///
    /// Empty when there is no key frame before the cursor.
    pub fn gop_so_far(&self) -> Vec<Arc<AccessUnit>> {
        let ring = self.track.ring();
        let Some(key) = ring.key_index.filter(|key| *key < self.next) else { return Vec::new() };
        let from = (key - ring.first_index) as usize;
        let to = (self.next - ring.first_index) as usize;
        ring.units.range(from..to.min(ring.units.len())).cloned().collect()
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        let mut ring = self.track.ring();
        if let Some(at) = ring.wakes.iter().position(|wake| Arc::ptr_eq(wake, &self.wake)) {
            ring.wakes.swap_remove(at);
        }
        drop(ring);
        self.track.readers.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sansio::format::Codec;

    fn unit(time: u64, is_key: bool, len: usize) -> AccessUnit {
        let payloads = vec![vec![0; len].into()];
        AccessUnit { time, is_key, payloads, arrived_at: Instant::now() }
    }

    fn format() -> Format {
        Format { codec: Codec::H264, rid: "main".into(), video: None, h264_profile: None }
    }

    fn track() -> (Arc<Track>, Cursor) {
        let feed = Hub::default().add(&"door".parse().unwrap());
        let track = feed.layers()[0].clone();
        let cursor = track.subscribe(Arc::new(Notify::new()));
        (track, cursor)
    }

    fn times(units: &[Arc<AccessUnit>]) -> Vec<u64> {
        units.iter().map(|unit| unit.time).collect()
    }

    fn drain(cursor: &mut Cursor) -> Vec<Read> {
        std::iter::from_fn(|| Some(cursor.try_next()).filter(|read| *read != Read::Empty)).collect()
    }

    #[test]
    fn every_viewer_reads_every_unit() {
        let (track, mut one) = track();
        let mut two = track.subscribe(Arc::new(Notify::new()));
        for n in 0..50 {
            track.publish(unit(n, n % 10 == 0, 100));
        }
        assert_eq!(drain(&mut one).len(), drain(&mut two).len());
    }

    #[test]
    fn viewer_that_lags_restarts_on_key_frame() {
        let (track, mut cursor) = track();
        for n in 0..100 {
            track.publish(unit(n, n % 50 == 0, 100));
        }
        assert_eq!(cursor.try_next(), Read::Lagged);
        let Read::Unit(first) = cursor.try_next() else { panic!("a unit follows") };
        assert!(first.is_key);
        assert_eq!(first.time, 50);
        assert_eq!(drain(&mut cursor).len(), 49);
    }

    #[test]
    fn viewer_that_begins_gets_the_gop_before_its_cursor_and_no_unit_twice() {
        let (track, mut cursor) = track();
        for n in 0..25 {
            track.publish(unit(n, n % 10 == 0, 100));
        }
        while cursor.next < 23 {
            cursor.try_next();
        }
        assert_eq!(times(&cursor.gop_so_far()), [20, 21, 22]);
        let Read::Unit(next) = cursor.try_next() else { panic!("a unit follows") };
        assert_eq!(next.time, 23);
    }

    #[test]
    fn memory_is_bounded_even_when_no_key_frame_comes() {
        let (track, cursor) = track();
        track.publish(unit(0, true, 1000));
        for n in 1..300 {
            track.publish(unit(n, false, 100_000));
        }
        let ring = track.ring();
        assert!(ring.len_bytes <= MAX_RING_BYTES);
        assert_eq!(ring.key_index, None);
        drop(ring);
        assert!(cursor.gop_so_far().is_empty());
    }

    #[test]
    fn many_tiny_units_are_bounded_too() {
        let (track, _cursor) = track();
        for n in 0..20_000 {
            track.publish(unit(n, n == 0, 1));
        }
        assert_eq!(track.ring().units.len(), MAX_RING_UNITS);
    }

    #[test]
    fn a_lost_cameras_past_is_not_shown() {
        let feed = Hub::default().add(&"door".parse().unwrap());
        let track = &feed.layers()[0];
        let mut cursor = track.subscribe(Arc::new(Notify::new()));
        track.set_format(format());
        track.publish(unit(0, true, 10));
        track.publish(unit(1, false, 10));
        assert!(feed.is_live());
        feed.clear();
        assert!(!feed.is_live(), "a new viewer is told to come later");
        assert_eq!(cursor.try_next(), Read::Empty);
        assert!(track.subscribe(Arc::new(Notify::new())).gop_so_far().is_empty());
        track.publish(unit(2, true, 10));
        assert!(matches!(cursor.try_next(), Read::Unit(u) if u.is_key));
    }

    #[test]
    fn a_track_that_pauses_stays_on_offer_without_its_past() {
        let (track, mut cursor) = track();
        track.set_format(format());
        track.publish(unit(0, true, 10));
        track.forget_units();
        assert!(track.format().is_some());
        assert!(track.subscribe(Arc::new(Notify::new())).gop_so_far().is_empty());
        assert_eq!(cursor.try_next(), Read::Empty);
        track.publish(unit(1, true, 10));
        assert!(matches!(cursor.try_next(), Read::Unit(u) if u.time == 1));
    }

    #[tokio::test]
    async fn publishing_wakes_the_reader() {
        let (track, _) = track();
        let wake = Arc::new(Notify::new());
        let _cursor = track.subscribe(wake.clone());
        track.publish(unit(0, true, 10));
        wake.notified().await;
    }

    #[test]
    fn demand_readers_and_viewers_are_counted_until_they_go() {
        let feed = Hub::default().add(&"door".parse().unwrap());
        let (demand, readers) = (feed.watch_demand(), feed.audio().watch_readers());
        let held = (feed.demand(), feed.count_viewer(), feed.audio().subscribe(Arc::default()));
        assert_eq!((*demand.borrow(), feed.viewers(), *readers.borrow()), (1, 1, 1));
        drop(held);
        assert_eq!((*demand.borrow(), feed.viewers(), *readers.borrow()), (0, 0, 0));
    }

    #[test]
    fn changed_formats_and_removal_are_news() {
        let (hub, id) = (Hub::default(), "door".parse().unwrap());
        let feed = hub.add(&id);
        let mut news = feed.watch_news();
        feed.layers()[1].set_format(format());
        assert!(news.has_changed().unwrap());
        news.mark_unchanged();
        feed.layers()[1].set_format(format());
        assert!(!news.has_changed().unwrap(), "the same format is no news");
        hub.remove(&id);
        assert!(feed.is_removed() && hub.feed(&id).is_none());
    }
}
