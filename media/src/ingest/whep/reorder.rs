//! Packets as they came into packets in order. Must not: read a clock.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// A missing packet is waited for this long: enough for one request and its answer.
const WINDOW: Duration = Duration::from_millis(100);
/// Most packets held back; a key frame of 4K is about 800.
const MAX_WAITING: usize = 1024;
/// A sequence number further off than this is a sender that began anew.
const MAX_STEP: u64 = 3000;

/// Holds packets back while one before them is missing.
#[derive(Debug)]
pub(super) struct Reorder<T> {
    /// Unwrapped number of the packet to be given next.
    next: Option<i64>,
    waiting: BTreeMap<i64, (Instant, T)>,
    began_anew: bool,
}

impl<T> Default for Reorder<T> {
    fn default() -> Self {
        Self { next: None, waiting: BTreeMap::new(), began_anew: false }
    }
}

impl<T> Reorder<T> {
    /// Takes a packet; one that comes twice, or too late, is dropped.
    pub(super) fn push(&mut self, sequence_number: u16, packet: T, now: Instant) {
        let next = *self.next.get_or_insert(i64::from(sequence_number));
        let step = i64::from(sequence_number.wrapping_sub(next as u16).cast_signed());
        if step.unsigned_abs() > MAX_STEP {
            self.waiting.clear();
            self.next = Some(next + step);
            self.began_anew = true;
        } else if step < 0 {
            return;
        }
        self.waiting.entry(next + step).or_insert((now, packet));
    }

    /// The next packet, and how many before it are lost.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(u16, T)> {
        let next = self.next?;
        let entry = self.waiting.first_entry()?;
        let lost = entry.key() - next;
        if lost > 0 && now < entry.get().0 + WINDOW && self.waiting.len() <= MAX_WAITING {
            return None;
        }
        let (number, (_, packet)) = self.waiting.pop_first()?;
        self.next = Some(number + 1);
        // How many were lost when a sender began anew, nobody knows; at least one.
        let lost = lost.max(i64::from(std::mem::take(&mut self.began_anew)));
        Some((u16::try_from(lost).unwrap_or(u16::MAX), packet))
    }

    /// When [`Self::pop`] may give a packet that it holds back now.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(_, (arrived, _))| *arrived + WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(arrivals: &[u16], wait: Duration) -> Vec<(u16, u16)> {
        let (mut reorder, now) = (Reorder::default(), Instant::now());
        let mut given = Vec::new();
        for number in arrivals {
            reorder.push(*number, *number, now);
            given.extend(std::iter::from_fn(|| reorder.pop(now)));
        }
        given.extend(std::iter::from_fn(|| reorder.pop(now + wait)));
        given
    }

    #[test]
    fn packets_are_put_in_order_across_the_wrap_and_doubles_are_dropped() {
        let given = run(&[65534, 0, 65535, 65535, 1, 65534], Duration::ZERO);
        assert_eq!(given, [(0, 65534), (0, 65535), (0, 0), (0, 1)]);
    }

    #[test]
    fn a_missing_packet_is_waited_for_and_then_counted_as_lost() {
        assert_eq!(run(&[1, 4, 5], Duration::ZERO), [(0, 1)]);
        assert_eq!(run(&[1, 4, 5], WINDOW), [(0, 1), (2, 4), (0, 5)]);
    }

    #[test]
    fn a_sender_that_begins_anew_is_followed_at_once() {
        assert_eq!(run(&[1, 30000, 30001], Duration::ZERO), [(0, 1), (1, 30000), (0, 30001)]);
    }

    proptest! {
        #[test]
        fn any_numbers_come_out_once_each_and_nothing_is_kept_for_ever(
            arrivals in prop::collection::vec(any::<u16>(), 0..2000)
        ) {
            let given = run(&arrivals, WINDOW);
            prop_assert!(given.len() <= arrivals.len());
            let (mut reorder, now) = (Reorder::default(), Instant::now());
            for number in arrivals {
                reorder.push(number, (), now);
                while reorder.pop(now).is_some() {}
                prop_assert!(reorder.waiting.len() <= MAX_WAITING);
            }
            while reorder.pop(now + WINDOW).is_some() {}
            prop_assert_eq!(reorder.next_timeout(), None);
        }
    }
}
