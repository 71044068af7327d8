//! Opening: roll-over counters and replay windows of the peer's streams.
//!
//! Must not: change its state before a packet is found authentic.

use super::{SrtpError, keys::SessionKeys};
use crate::sansio::rtp;

/// Most streams of a peer that are told apart; simulcast with retransmission and audio needs 7.
pub const MAX_SSRCS: usize = 16;

/// Opens the RTP packets of a peer, whatever their SSRC.
#[derive(Debug)]
pub struct RtpReceiver {
    keys: SessionKeys,
    streams: Streams,
}

impl RtpReceiver {
    pub(super) fn new(keys: SessionKeys) -> Self {
        Self { keys, streams: Streams::default() }
    }

    /// Opens one SRTP packet in place; gives header and payload, the tag cut off.
    ///
    /// # Errors
    /// [`SrtpError::NotAuthentic`], [`SrtpError::Replayed`], [`SrtpError::TooManySsrcs`]. The packet's
    /// bytes may then be garbled.
    pub fn open<'a>(&mut self, packet: &'a mut [u8]) -> Result<&'a [u8], SrtpError> {
        let not_rtp = |_| SrtpError::NotAuthentic;
        let header = rtp::Header::parse(packet).map_err(not_rtp)?;
        let payload_at = rtp::payload_offset(packet).map_err(not_rtp)?;
        let index = match self.streams.window(header.ssrc) {
            Some(window) => window.estimate(header.sequence_number),
            None => header.sequence_number.into(),
        };
        self.streams.check(header.ssrc, index)?;
        let len = self.keys.open_rtp(header.ssrc, index, payload_at, packet)?;
        self.streams.accept(header.ssrc, index);
        Ok(&packet[..len])
    }
}

/// Opens the RTCP packets of a peer.
#[derive(Debug)]
pub struct RtcpReceiver {
    keys: SessionKeys,
    streams: Streams,
}

impl RtcpReceiver {
    pub(super) fn new(keys: SessionKeys) -> Self {
        Self { keys, streams: Streams::default() }
    }

    /// Opens one SRTCP packet in place; gives the compound RTCP packet. What is not encrypted is refused
    /// (RFC 8827 §6.5).
    ///
    /// # Errors
    /// [`SrtpError::NotAuthentic`], [`SrtpError::Replayed`], [`SrtpError::TooManySsrcs`]. The packet's
    /// bytes may then be garbled.
    pub fn open<'a>(&mut self, packet: &'a mut [u8]) -> Result<&'a [u8], SrtpError> {
        let (ssrc, index) = self.keys.peek_rtcp(packet)?;
        self.streams.check(ssrc, index.into())?;
        let len = self.keys.open_rtcp((ssrc, index), packet)?;
        self.streams.accept(ssrc, index.into());
        Ok(&packet[..len])
    }
}

/// The windows of the SSRCs seen, each authenticated.
#[derive(Debug, Default)]
struct Streams(Vec<(u32, Window)>);

impl Streams {
    fn window(&self, ssrc: u32) -> Option<&Window> {
        self.0.iter().find_map(|(known, window)| (*known == ssrc).then_some(window))
    }

    fn check(&self, ssrc: u32, index: u64) -> Result<(), SrtpError> {
        match self.window(ssrc) {
            Some(window) if window.is_new(index) => Ok(()),
            Some(_) => Err(SrtpError::Replayed),
            None if self.0.len() < MAX_SSRCS => Ok(()),
            None => Err(SrtpError::TooManySsrcs),
        }
    }

    /// Remembers what [`Self::check`] let pass.
    fn accept(&mut self, ssrc: u32, index: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == ssrc) {
            Some((_, window)) => window.accept(index),
            None => self.0.push((ssrc, Window { highest: index, seen: 1 })),
        }
    }
}

/// The last 128 indices of a stream (RFC 3711 §3.3.2).
#[derive(Debug)]
struct Window {
    highest: u64,
    /// Bit n: whether `highest - n` came.
    seen: u128,
}

impl Window {
    /// The index nearest to the highest one that has this sequence number (RFC 3711 §3.3.1).
    fn estimate(&self, sequence_number: u16) -> u64 {
        let distance = sequence_number.wrapping_sub(self.highest as u16) as i16;
        // There is nothing before the first round: it must be a large step forwards.
        self.highest.checked_add_signed(distance.into()).unwrap_or(sequence_number.into())
    }

    fn is_new(&self, index: u64) -> bool {
        match self.highest.checked_sub(index) {
            None => true,
            Some(age @ 0..128) => self.seen >> age & 1 == 0,
            Some(_) => false,
        }
    }

    fn accept(&mut self, index: u64) {
        if let Some(age) = self.highest.checked_sub(index) {
            self.seen |= 1 << age;
        } else {
            let step = u32::try_from(index - self.highest).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(step).unwrap_or(0) | 1;
            self.highest = index;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_the_nearest_with_its_sequence_number() {
        let check = |highest, sequence_number, expected| {
            let window = Window { highest, seen: 1 };
            assert_eq!(window.estimate(sequence_number), expected);
        };
        check(5, 6, 6);
        check(0xffff, 0, 0x1_0000);
        check(0x1_0001, 0xfffe, 0xfffe);
        check(0x1_8000, 0x0001, 0x1_0001);
        check(0x1_8000, 0xffff, 0x1_ffff);
        check(5, 0x9000, 0x9000);
        check(0x2_0005, 0x9000, 0x1_9000);
    }

    proptest::proptest! {
        #[test]
        fn a_window_takes_each_recent_index_once(
            indices in proptest::collection::vec(0u64..400, 1..200),
        ) {
            let mut streams = Streams::default();
            let mut seen = std::collections::BTreeSet::new();
            for index in indices {
                let is_recent = seen.last().is_none_or(|&last| index + 128 > last);
                let is_fresh = is_recent && !seen.contains(&index);
                proptest::prop_assert_eq!(streams.check(1, index).is_ok(), is_fresh);
                if is_fresh {
                    streams.accept(1, index);
                    seen.insert(index);
                }
            }
        }
    }
}
