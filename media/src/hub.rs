//! Fan-out of access units: one ring per camera, any number of cursors.
//!
//! Must not: await a reader, decode, touch the network. Publishing takes a short lock and returns.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
};

use domain::CameraId;
use tokio::sync::Notify;

use crate::sansio::access_unit::AccessUnit;

/// Units kept before the newest key frame, for cursors that are just behind it.
const GRACE_UNITS: usize = 16;
/// Most payload bytes kept per camera; a longer GOP loses its beginning.
const MAX_RING_BYTES: usize = 16 << 20;

/// Every camera's ring by id.
#[derive(Debug, Default)]
pub struct Hub {
    feeds: RwLock<HashMap<CameraId, Arc<Feed>>>,
}

impl Hub {
    /// Adds a camera, or finds it if it is there.
    pub fn add(&self, id: &CameraId) -> Arc<Feed> {
        let mut feeds = self.feeds.write().unwrap_or_else(PoisonError::into_inner);
        feeds.entry(id.clone()).or_default().clone()
    }

    /// The ring of a camera.
    pub fn feed(&self, id: &CameraId) -> Option<Arc<Feed>> {
        self.feeds.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}

/// The ring of one camera.
#[derive(Debug, Default)]
pub struct Feed {
    ring: Mutex<Ring>,
    viewers: AtomicU32,
}

#[derive(Debug, Default)]
struct Ring {
    units: VecDeque<Arc<AccessUnit>>,
    len_bytes: usize,
    /// Number of the first unit in `units`; counts every unit ever published.
    first_index: u64,
    /// Number of the newest key frame, while it is still in the ring.
    key_index: Option<u64>,
    /// Bytes 1 and 2 of the newest SPS: `profile_idc` and `constraint_flags`.
    profile: Option<[u8; 2]>,
    readers: Vec<Arc<Notify>>,
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
}

impl Feed {
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
        while ring.len_bytes > MAX_RING_BYTES {
            ring.drop_first();
        }
        for reader in &ring.readers {
            reader.notify_one();
        }
    }

    /// The camera's H.264 profile changed or became known.
    pub fn set_profile(&self, profile: [u8; 2]) {
        self.ring().profile = Some(profile);
    }

    /// `profile_idc` and `constraint_flags` of the newest SPS; `None` while the camera is not live.
    pub fn profile(&self) -> Option<[u8; 2]> {
        self.ring().profile
    }

    /// The camera was lost: what is in the ring is the past and is not shown to new viewers.
    pub fn clear(&self) {
        let mut ring = self.ring();
        ring.profile = None;
        while !ring.units.is_empty() {
            ring.drop_first();
        }
    }

    /// A cursor at the live edge; `wake` is notified of every new unit.
    pub fn subscribe(self: &Arc<Self>, wake: Arc<Notify>) -> Cursor {
        let mut ring = self.ring();
        ring.readers.push(wake.clone());
        let next = ring.next_index();
        drop(ring);
        Cursor { feed: self.clone(), wake, next }
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
}

/// One connected viewer.
#[derive(Debug)]
pub struct ViewerCount(Arc<Feed>);

impl Drop for ViewerCount {
    fn drop(&mut self) {
        self.0.viewers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A reader's place in one camera's ring.
#[derive(Debug)]
pub struct Cursor {
    feed: Arc<Feed>,
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
    /// The next unit, if there is one; never waits.
    pub fn try_next(&mut self) -> Read {
        let ring = self.feed.ring();
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
        let ring = self.feed.ring();
        let Some(key) = ring.key_index.filter(|key| *key < self.next) else { return Vec::new() };
        let from = (key - ring.first_index) as usize;
        let to = (self.next - ring.first_index) as usize;
        ring.units.range(from..to.min(ring.units.len())).cloned().collect()
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        let mut ring = self.feed.ring();
        if let Some(at) = ring.readers.iter().position(|reader| Arc::ptr_eq(reader, &self.wake)) {
            ring.readers.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(time_90k: u64, is_key: bool, len: usize) -> AccessUnit {
        AccessUnit { time_90k, is_key, payloads: vec![vec![0; len].into()] }
    }

    fn feed() -> (Arc<Feed>, Cursor) {
        let feed = Hub::default().add(&"door".parse().unwrap());
        let cursor = feed.subscribe(Arc::new(Notify::new()));
        (feed, cursor)
    }

    fn times(units: &[Arc<AccessUnit>]) -> Vec<u64> {
        units.iter().map(|unit| unit.time_90k).collect()
    }

    fn drain(cursor: &mut Cursor) -> Vec<Read> {
        std::iter::from_fn(|| Some(cursor.try_next()).filter(|read| *read != Read::Empty)).collect()
    }

    #[test]
    fn every_viewer_reads_every_unit() {
        let (feed, mut one) = feed();
        let mut two = feed.subscribe(Arc::new(Notify::new()));
        for n in 0..50 {
            feed.publish(unit(n, n % 10 == 0, 100));
        }
        assert_eq!(drain(&mut one).len(), drain(&mut two).len());
    }

    #[test]
    fn viewer_that_lags_restarts_on_key_frame() {
        let (feed, mut cursor) = feed();
        for n in 0..100 {
            feed.publish(unit(n, n % 50 == 0, 100));
        }
        assert_eq!(cursor.try_next(), Read::Lagged);
        let Read::Unit(first) = cursor.try_next() else { panic!("a unit follows") };
        assert!(first.is_key);
        assert_eq!(first.time_90k, 50);
        assert_eq!(drain(&mut cursor).len(), 49);
    }

    #[test]
    fn viewer_that_begins_gets_the_gop_before_its_cursor_and_no_unit_twice() {
        let (feed, mut cursor) = feed();
        for n in 0..25 {
            feed.publish(unit(n, n % 10 == 0, 100));
        }
        while cursor.next < 23 {
            cursor.try_next();
        }
        assert_eq!(times(&cursor.gop_so_far()), [20, 21, 22]);
        let Read::Unit(next) = cursor.try_next() else { panic!("a unit follows") };
        assert_eq!(next.time_90k, 23);
    }

    #[test]
    fn memory_is_bounded_even_when_no_key_frame_comes() {
        let (feed, cursor) = feed();
        feed.publish(unit(0, true, 1000));
        for n in 1..300 {
            feed.publish(unit(n, false, 100_000));
        }
        let ring = feed.ring();
        assert!(ring.len_bytes <= MAX_RING_BYTES);
        assert_eq!(ring.key_index, None);
        drop(ring);
        assert!(cursor.gop_so_far().is_empty());
    }

    #[test]
    fn a_lost_cameras_past_is_not_shown() {
        let (feed, mut cursor) = feed();
        feed.publish(unit(0, true, 10));
        feed.publish(unit(1, false, 10));
        feed.set_profile([0x42, 0]);
        feed.clear();
        assert_eq!(feed.profile(), None, "a new viewer is told to come later");
        assert_eq!(cursor.try_next(), Read::Empty);
        assert!(feed.subscribe(Arc::new(Notify::new())).gop_so_far().is_empty());
        feed.publish(unit(2, true, 10));
        assert!(matches!(cursor.try_next(), Read::Unit(u) if u.is_key));
    }

    #[tokio::test]
    async fn publishing_wakes_the_reader() {
        let feed = Hub::default().add(&"door".parse().unwrap());
        let wake = Arc::new(Notify::new());
        let _cursor = feed.subscribe(wake.clone());
        feed.publish(unit(0, true, 10));
        wake.notified().await;
    }
}
