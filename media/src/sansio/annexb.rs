//! An H.264 byte stream cut into access units. Must not: read the stream itself.
//!
//! Source: ITU-T H.264 Annex B; the encoder is asked for access unit delimiters, which begin each unit.

use bytes::{Bytes, BytesMut};

use super::h264::{NAL_AUD, nal_type};

/// The byte stream holds an access unit larger than this; it is not H.264, or not delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no access unit delimiter within 8 MiB of H.264 byte stream")]
pub struct NoDelimiter;

const MAX_UNIT_BYTES: usize = 8 << 20;

/// Collects bytes and gives whole access units as NAL units without start codes.
#[derive(Debug, Default)]
pub struct AnnexB {
    buffer: BytesMut,
    /// Bytes of `buffer` already searched for the next delimiter.
    searched: usize,
}

impl AnnexB {
    /// Adds bytes of the stream.
    ///
    /// # Errors
    /// When far too much came without a delimiter.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), NoDelimiter> {
        if self.buffer.len() + bytes.len() > MAX_UNIT_BYTES {
            return Err(NoDelimiter);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The next access unit that is complete: the delimiter after it has come.
    pub fn next_unit(&mut self) -> Option<Vec<Bytes>> {
        loop {
            let from = self.searched;
            let Some(at) = find_start_code(&self.buffer, from) else {
                // A start code may be split over two pushes.
                self.searched = self.buffer.len().saturating_sub(3).max(from);
                return None;
            };
            let Some(&header) = self.buffer.get(at + 3) else {
                self.searched = at;
                return None;
            };
            self.searched = at + 3;
            if at > 0 && header & 0x1f == NAL_AUD {
                let unit = self.buffer.split_to(at).freeze();
                self.searched = 3;
                let nals = split_nals(&unit);
                if !nals.is_empty() {
                    return Some(nals);
                }
            }
        }
    }
}

/// Position of the next `00 00 01` at or after `from`.
fn find_start_code(bytes: &[u8], from: usize) -> Option<usize> {
    bytes.get(from..)?.windows(3).position(|w| w == [0, 0, 1]).map(|at| at + from)
}

/// NAL units of a byte stream that begins with a start code; delimiters left out.
fn split_nals(unit: &Bytes) -> Vec<Bytes> {
    let mut nals = Vec::new();
    let mut start = find_start_code(unit, 0).map(|at| at + 3);
    while let Some(begin) = start {
        let next = find_start_code(unit, begin);
        let mut end = next.unwrap_or(unit.len());
        // `trailing_zero_8bits` and the first zero of a four-byte start code.
        while end > begin && unit[end - 1] == 0 {
            end -= 1;
        }
        let nal = unit.slice(begin..end);
        if !nal.is_empty() && nal_type(&nal) != NAL_AUD {
            nals.push(nal);
        }
        start = next.map(|at| at + 3);
    }
    nals
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &[u8] = &[
        0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 2, 0, 0, 1, 0x65, 3, 3, //
        0, 0, 0, 1, 9, 0xf0, 0, 0, 1, 0x41, 4, //
        0, 0, 0, 1, 9, 0xf0,
    ];

    proptest! {
        #[test]
        fn units_are_the_same_however_the_stream_is_cut(chunk in 1usize..40) {
            let mut annexb = AnnexB::default();
            let mut units = Vec::new();
            for bytes in STREAM.chunks(chunk) {
                annexb.push(bytes).unwrap();
                while let Some(unit) = annexb.next_unit() {
                    units.push(unit);
                }
            }
            prop_assert_eq!(units.len(), 2);
            prop_assert_eq!(&units[0], &[&[0x67, 1][..], &[0x68, 2], &[0x65, 3, 3]]);
            prop_assert_eq!(&units[1], &[&[0x41, 4][..]]);
        }

        #[test]
        fn hostile_bytes_never_panic(chunks in prop::collection::vec(prop::collection::vec(0u8..3, 0..50), 0..10)) {
            let mut annexb = AnnexB::default();
            for chunk in chunks {
                annexb.push(&chunk).unwrap();
                while annexb.next_unit().is_some() {}
            }
        }
    }
}
