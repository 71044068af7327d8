//! Datagrams waiting to be sent, back to back in one buffer. Must not: send them.

use std::ops::Range;

use super::transport_address::TransportAddress;

/// Most datagrams in one segmented write (Linux: `UDP_MAX_SEGMENTS`).
const MAX_SEGMENTS: usize = 64;
/// Most bytes in one segmented write; an IP datagram's limit with headers to spare.
const MAX_BATCH_BYTES: usize = 60_000;

/// With more unsent, nobody adds media until some of it has gone out. Several times what the kernel holds
/// for a socket by itself (212 kB), so that it never waits for us; at a gigabit it is gone in 8 ms.
const FULL_BYTES: usize = 1 << 20;
/// The memory of less than this is not worth being given back before everything is sent.
const COMPACT_BYTES: usize = 256 << 10;

/// Datagrams in order, kept in one allocation that is used again; those not sent yet wait at its end.
#[derive(Debug, Default)]
pub struct Outbox {
    arena: Vec<u8>,
    datagrams: Vec<(TransportAddress, usize)>,
    /// Datagrams at the front that have gone out.
    sent: usize,
    /// Their bytes.
    sent_bytes: usize,
}

/// Datagrams to one address that one segmented write (`UDP_SEGMENT`) can carry.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    /// Where to.
    pub to: TransportAddress,
    /// The datagrams back to back.
    pub contents: &'a [u8],
    /// Length of each but the last, which may be shorter.
    pub segment_len: usize,
    /// How many datagrams.
    pub count: usize,
}

impl Outbox {
    /// Adds the datagram that `write` appends; none if it fails.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn push<E>(
        &mut self,
        to: TransportAddress,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.arena.len();
        if let Err(error) = write(&mut self.arena) {
            self.arena.truncate(start);
            return Err(error);
        }
        self.datagrams.push((to, self.arena.len()));
        Ok(())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.sent == self.datagrams.len()
    }

    /// Bytes kept, those that have gone out included.
    pub fn len_bytes(&self) -> usize {
        self.arena.len()
    }

    /// Bytes that wait.
    pub fn unsent_bytes(&self) -> usize {
        self.arena.len() - self.sent_bytes
    }

    /// Whether so much waits that media had better stay where it is.
    pub fn is_full(&self) -> bool {
        self.unsent_bytes() > FULL_BYTES
    }

    /// The next `count` datagrams have gone out.
    pub fn mark_sent(&mut self, count: usize) {
        self.sent = (self.sent + count).min(self.datagrams.len());
        self.sent_bytes = self.sent.checked_sub(1).map_or(0, |last| self.datagrams[last].1);
        if self.is_empty() {
            self.clear();
        } else if self.sent_bytes >= COMPACT_BYTES.max(self.unsent_bytes()) {
            // No more is moved than was sent.
            self.arena.drain(..self.sent_bytes);
            self.datagrams.drain(..self.sent);
            self.datagrams.iter_mut().for_each(|(_, end)| *end -= self.sent_bytes);
            (self.sent, self.sent_bytes) = (0, 0);
        }
    }

    /// Every datagram by itself.
    pub fn datagrams(&self) -> impl Iterator<Item = (TransportAddress, &[u8])> {
        let starts = std::iter::once(0).chain(self.datagrams.iter().map(|&(_, end)| end));
        starts.zip(&self.datagrams).map(|(start, &(to, end))| (to, &self.arena[start..end]))
    }

    /// The waiting datagrams grouped for segmented writes of at most `max_segments`, order kept.
    pub fn batches(&self, max_segments: usize) -> impl Iterator<Item = Batch<'_>> {
        let max_segments = max_segments.clamp(1, MAX_SEGMENTS);
        let mut at = self.sent;
        std::iter::from_fn(move || {
            let (to, first) = self.range(at)?;
            let segment_len = first.len();
            let mut end = first.end;
            let mut count = 1;
            at += 1;
            while let Some((next_to, next)) = self.range(at) {
                let fits = next_to == to
                    && next.len() <= segment_len
                    && count < max_segments
                    && next.end - first.start <= MAX_BATCH_BYTES;
                if !fits {
                    break;
                }
                end = next.end;
                count += 1;
                at += 1;
                if next.len() < segment_len {
                    break;
                }
            }
            Some(Batch { to, contents: &self.arena[first.start..end], segment_len, count })
        })
    }

    fn range(&self, at: usize) -> Option<(TransportAddress, Range<usize>)> {
        let &(to, end) = self.datagrams.get(at)?;
        let start = at.checked_sub(1).map_or(0, |before| self.datagrams[before].1);
        Some((to, start..end))
    }

    /// Forgets everything; keeps the memory for the next time, within bounds.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.arena.shrink_to(1 << 20);
        self.datagrams.clear();
        (self.sent, self.sent_bytes) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn push(outbox: &mut Outbox, port: u16, len: usize) {
        let to = TransportAddress::Udp(([127, 0, 0, 1], port).into());
        outbox
            .push(to, |out| {
                out.resize(out.len() + len, len as u8);
                Ok::<_, Infallible>(())
            })
            .unwrap();
    }

    #[test]
    fn equal_datagrams_and_a_shorter_last_one_share_a_batch() {
        let mut outbox = Outbox::default();
        for len in [10, 10, 4, 10, 12] {
            push(&mut outbox, 1, len);
        }
        push(&mut outbox, 2, 12);
        let shapes: Vec<_> = outbox
            .batches(64)
            .map(|b| (b.to.socket().port(), b.contents.len(), b.segment_len))
            .collect();
        assert_eq!(shapes, [(1, 24, 10), (1, 10, 10), (1, 12, 12), (2, 12, 12)]);
    }

    #[test]
    fn memory_of_what_was_sent_is_used_again_although_something_always_waits() {
        let mut outbox = Outbox::default();
        push(&mut outbox, 1, 1_000);
        for n in 0..10_000 {
            push(&mut outbox, 2, 1_000 + n % 200);
            outbox.mark_sent(1);
            assert_eq!(outbox.unsent_bytes(), 1_000 + n % 200);
            let waiting: Vec<_> = outbox.batches(64).map(|batch| batch.contents.len()).collect();
            assert_eq!(waiting, [1_000 + n % 200]);
            assert!(outbox.len_bytes() <= COMPACT_BYTES + 4_000);
        }
    }

    proptest! {
        #[test]
        fn batches_carry_exactly_the_datagrams_that_wait(
            datagrams in prop::collection::vec((1u16..3, 1usize..1300), 0..300),
            sent in 0usize..300,
            max_segments in 0usize..100,
        ) {
            let mut outbox = Outbox::default();
            for &(port, len) in &datagrams {
                push(&mut outbox, port, len);
            }
            outbox.mark_sent(sent);
            let datagrams = datagrams.get(sent..).unwrap_or_default();
            let mut unbatched = Vec::new();
            for batch in outbox.batches(max_segments) {
                prop_assert!(batch.contents.len() <= MAX_BATCH_BYTES);
                let chunks = batch.contents.chunks(batch.segment_len);
                prop_assert!(chunks.len() <= max_segments.clamp(1, MAX_SEGMENTS));
                prop_assert_eq!(chunks.len(), batch.count);
                unbatched.extend(chunks.map(|c| (batch.to.socket().port(), c.len())));
            }
            prop_assert_eq!(unbatched, datagrams);
        }
    }
}
