//! Packets of one RTP stream put back in order, and the holes among them: asked for again, then given up.
//!
//! Must not: read a clock, send, or know what a packet carries.
//!
//! Source: RFC 3550 §A.1 (sequence numbers), RFC 4585 §6.2.1 (what NACK is for).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// A step larger than this is a stream that began anew, not loss (RFC 3550 §A.1 has 3000).
const MAX_STEP: i16 = 1_000;
/// Most packets held behind a hole.
const MAX_WAITING: usize = 2_048;
/// Most holes; more is a stream that nobody could mend in time, or one that is made to cost us.
const MAX_HOLES: usize = 2_048;
/// Most sequence numbers asked for with one call, so that they fit a datagram.
pub const MAX_NACKS: usize = 256;
/// A hole is asked for again no sooner than this.
const MIN_NACK_INTERVAL: Duration = Duration::from_millis(20);
/// Round trip assumed before one was measured.
const FIRST_ROUND_TRIP: Duration = Duration::from_millis(50);

/// See the module; `T` is what is kept of a packet.
#[derive(Debug)]
pub struct Reorder<T> {
    hold: Duration,
    /// Index of the next packet to give out; sequence numbers without wrap-around.
    next: Option<i64>,
    highest: i64,
    waiting: BTreeMap<i64, T>,
    holes: BTreeMap<i64, Hole>,
    /// Holes given up since a packet was last given out.
    lost: u16,
    round_trip: Option<Duration>,
}

#[derive(Debug)]
struct Hole {
    give_up_at: Instant,
    nack_at: Instant,
    /// When it was asked for, if that was once.
    asked_at: Option<Instant>,
    asked: u32,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It is new, and comes out in its turn.
    New,
    /// It was here before.
    Duplicate,
    /// Its place was given up already.
    Late,
    /// The stream began anew with it: a jump of the sequence number.
    Restart,
}

impl<T> Reorder<T> {
    /// A buffer that holds packets back for at most `hold` when one before them is missing.
    pub fn new(hold: Duration) -> Self {
        Self {
            hold,
            next: None,
            highest: 0,
            waiting: BTreeMap::new(),
            holes: BTreeMap::new(),
            lost: 0,
            round_trip: None,
        }
    }

    /// Takes a packet as it comes; holes are noticed here.
    pub fn insert(&mut self, now: Instant, sequence_number: u16, packet: T) -> Inserted {
        let Some(next) = self.next else {
            self.start_at(sequence_number.into(), packet);
            return Inserted::New;
        };
        let step = sequence_number.wrapping_sub(self.highest as u16) as i16;
        if step.saturating_abs() > MAX_STEP {
            // What waits is from before; nothing of it can be completed any more.
            self.waiting.clear();
            self.holes.clear();
            self.start_at(sequence_number.into(), packet);
            self.lost = self.lost.saturating_add(1);
            return Inserted::Restart;
        }
        let index = self.highest + i64::from(step);
        if self.waiting.contains_key(&index) {
            return Inserted::Duplicate;
        }
        if index < next {
            return Inserted::Late;
        }
        if let Some(hole) = self.holes.remove(&index)
            && let Some(asked_at) = hole.asked_at
        {
            self.measured(now.saturating_duration_since(asked_at));
        }
        for missing in self.highest + 1..index {
            let hole = Hole { give_up_at: now + self.hold, nack_at: now, asked_at: None, asked: 0 };
            self.holes.insert(missing, hole);
        }
        self.highest = self.highest.max(index);
        self.waiting.insert(index, packet);
        Inserted::New
    }

    /// Whether the packet of this sequence number is missed now.
    pub fn is_wanted(&self, sequence_number: u16) -> bool {
        let step = sequence_number.wrapping_sub(self.highest as u16) as i16;
        self.holes.contains_key(&(self.highest + i64::from(step)))
    }

    fn start_at(&mut self, index: i64, packet: T) {
        self.next = Some(index);
        self.highest = index;
        self.waiting.insert(index, packet);
    }

    fn measured(&mut self, round_trip: Duration) {
        let smoothed = self.round_trip.map_or(round_trip, |known| (known * 7 + round_trip) / 8);
        self.round_trip = Some(smoothed);
    }

    /// Time from asking for a packet to getting it, smoothed; `None` before the first.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// The next packet in order and how many are lost just before it, if it need not wait any longer.
    pub fn pop(&mut self, now: Instant) -> Option<(u16, T)> {
        let mut next = self.next?;
        // Holes side by side are given up together: a packet follows them.
        let is_full = self.waiting.len() > MAX_WAITING || self.holes.len() > MAX_HOLES;
        while let Some(entry) = self.holes.first_entry() {
            if *entry.key() != next {
                break;
            }
            let is_due = entry.get().give_up_at <= now;
            if !is_due && !is_full {
                return None;
            }
            entry.remove();
            self.lost = self.lost.saturating_add(1);
            next += 1;
        }
        self.next = Some(next);
        let packet = self.waiting.remove(&next)?;
        self.next = Some(next + 1);
        Some((std::mem::take(&mut self.lost), packet))
    }

    /// The sequence numbers to ask for now, in order: each hole at once, and again after a round trip.
    pub fn nacks(&mut self, now: Instant) -> Vec<u16> {
        let interval = self.round_trip.unwrap_or(FIRST_ROUND_TRIP).max(MIN_NACK_INTERVAL);
        let due = self.holes.iter_mut().filter(|(_, hole)| hole.nack_at <= now);
        due.take(MAX_NACKS)
            .map(|(index, hole)| {
                hole.nack_at = now + interval;
                hole.asked += 1;
                // With two requests under way nobody can tell which one was answered.
                hole.asked_at = (hole.asked == 1).then_some(now);
                *index as u16
            })
            .collect()
    }

    /// When [`Self::pop`] will give up the next hole.
    pub fn next_give_up(&self) -> Option<Instant> {
        self.holes.first_key_value().map(|(_, hole)| hole.give_up_at)
    }

    /// When [`Self::nacks`] is wanted next, for those who ask.
    pub fn next_nack(&self) -> Option<Instant> {
        self.holes.values().map(|hole| hole.nack_at).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOLD: Duration = Duration::from_millis(60);

    struct Buffer {
        reorder: Reorder<u16>,
        now: Instant,
    }

    impl Buffer {
        fn new() -> Self {
            Self { reorder: Reorder::new(HOLD), now: Instant::now() }
        }

        fn insert(&mut self, numbers: &[u16]) -> Vec<Inserted> {
            numbers.iter().map(|n| self.reorder.insert(self.now, *n, *n)).collect()
        }

        fn drain(&mut self) -> Vec<(u16, u16)> {
            std::iter::from_fn(|| self.reorder.pop(self.now)).collect()
        }

        fn wait(&mut self, ms: u64) {
            self.now += Duration::from_millis(ms);
        }
    }

    #[test]
    fn packets_in_order_pass_at_once() {
        let mut buffer = Buffer::new();
        buffer.insert(&[65_534, 65_535, 0, 1]);
        assert_eq!(buffer.drain(), [(0, 65_534), (0, 65_535), (0, 0), (0, 1)]);
        assert_eq!(buffer.reorder.next_give_up(), None);
    }

    #[test]
    fn reordered_packets_come_out_in_order_and_duplicates_once() {
        let mut buffer = Buffer::new();
        let inserted = buffer.insert(&[7, 10, 9, 9, 7, 8]);
        use Inserted::{Duplicate, New};
        assert_eq!(inserted, [New, New, New, Duplicate, Duplicate, New]);
        assert_eq!(buffer.drain(), [(0, 7), (0, 8), (0, 9), (0, 10)]);
        assert_eq!(buffer.insert(&[8]), [Inserted::Late]);
    }

    #[test]
    fn a_hole_is_asked_for_at_once_and_again_until_it_is_lost() {
        let mut buffer = Buffer::new();
        buffer.insert(&[1, 4, 5]);
        assert_eq!(buffer.reorder.nacks(buffer.now), [2, 3]);
        assert_eq!(buffer.drain(), [(0, 1)]);
        buffer.wait(10);
        assert!(buffer.reorder.nacks(buffer.now).is_empty());
        buffer.wait(40);
        assert_eq!(buffer.reorder.nacks(buffer.now), [2, 3]);
        buffer.insert(&[2]);
        assert_eq!(buffer.drain(), [(0, 2)]);
        assert_eq!(
            buffer.reorder.next_give_up(),
            Some(buffer.now + HOLD - Duration::from_millis(50))
        );
        buffer.wait(10);
        assert_eq!(buffer.drain(), [(1, 4), (0, 5)]);
        assert_eq!(buffer.insert(&[3]), [Inserted::Late]);
        assert!(buffer.reorder.nacks(buffer.now).is_empty());
    }

    #[test]
    fn the_round_trip_is_learnt_from_answered_requests() {
        let mut buffer = Buffer::new();
        buffer.insert(&[1, 3]);
        buffer.reorder.nacks(buffer.now);
        buffer.wait(30);
        buffer.insert(&[2, 5]);
        assert_eq!(buffer.reorder.round_trip(), Some(Duration::from_millis(30)));
        buffer.reorder.nacks(buffer.now);
        assert_eq!(buffer.reorder.next_nack(), Some(buffer.now + Duration::from_millis(30)));
    }

    #[test]
    fn holes_are_no_more_than_can_be_afforded() {
        let mut buffer = Buffer::new();
        let mut given = 0;
        for number in (0..2_000u16).map(|packet| packet.wrapping_mul(1_000)) {
            buffer.insert(&[number]);
            given += buffer.drain().len();
            assert!(buffer.reorder.holes.len() <= MAX_HOLES);
            assert!(buffer.reorder.nacks(buffer.now).len() <= MAX_NACKS);
        }
        buffer.wait(60);
        given += buffer.drain().len();
        assert_eq!(given, 2_000);
    }

    #[test]
    fn a_jump_is_a_stream_that_began_anew() {
        let mut buffer = Buffer::new();
        buffer.insert(&[1, 3]);
        assert_eq!(buffer.insert(&[30_000]), [Inserted::Restart]);
        assert_eq!(buffer.drain(), [(1, 30_000)]);
    }

    proptest! {
        #[test]
        fn whatever_comes_goes_out_at_most_once_in_order_and_nothing_waits_for_ever(
            first: u16,
            steps in prop::collection::vec((-40i32..60, 0u64..30), 1..300),
        ) {
            let mut buffer = Buffer::new();
            let (mut at, mut out, mut inserted, mut lost) = (i32::from(first), Vec::new(), 0, 0);
            for (step, ms) in steps {
                buffer.wait(ms);
                at += step;
                inserted += usize::from(buffer.insert(&[at as u16]) == [Inserted::New]);
                for (lost_before, number) in buffer.drain() {
                    lost += usize::from(lost_before);
                    out.push(number);
                }
                buffer.reorder.nacks(buffer.now);
            }
            buffer.wait(60);
            out.extend(buffer.drain().into_iter().map(|(lost_before, number)| {
                lost += usize::from(lost_before);
                number
            }));
            prop_assert_eq!(out.len(), inserted);
            prop_assert_eq!(buffer.reorder.next_give_up(), None);
            let gaps: usize = out.windows(2).map(|pair| {
                let gap = pair[1].wrapping_sub(pair[0]);
                assert!((1..0x8000).contains(&gap), "in order");
                usize::from(gap) - 1
            }).sum();
            prop_assert_eq!(gaps, lost);
        }
    }
}
