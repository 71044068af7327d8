//! What a receiver report says of one stream. Must not: read a clock or send.
//!
//! Source: RFC 3550 §6.4.1, §A.3 (loss), §A.8 (jitter).

use std::time::{Duration, Instant};

use crate::sansio::{
    rtcp::{ReportBlock, in_65536ths},
    rtp::Ntp,
};

/// Counts of one SSRC.
#[derive(Debug)]
pub(super) struct Statistics {
    clock_rate_hz: u32,
    began_at: Instant,
    /// The first sequence number, and the highest with its roll-overs in the high half.
    first: u32,
    highest: u32,
    received: u32,
    /// `expected` and `received` at the last report.
    reported: (u32, u32),
    /// Sixteen times the jitter, in RTP ticks.
    jitter_16: u32,
    last_transit: Option<u32>,
    last_sr: Option<(u32, Instant)>,
}

/// Packets since the last report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) expected: u32,
    pub(super) lost: u32,
}

impl Statistics {
    /// Counts of a stream that begins with this sequence number.
    pub(super) fn new(clock_rate_hz: u32, sequence_number: u16, now: Instant) -> Self {
        Self {
            clock_rate_hz,
            began_at: now,
            first: sequence_number.into(),
            highest: sequence_number.into(),
            received: 0,
            reported: (0, 0),
            jitter_16: 0,
            last_transit: None,
            last_sr: None,
        }
    }

    /// Counts a packet that came on the stream itself, not as a retransmission.
    pub(super) fn received(&mut self, now: Instant, sequence_number: u16, timestamp: u32) {
        let step = sequence_number.wrapping_sub(self.highest as u16) as i16;
        if step > 0 {
            self.highest = self.highest.wrapping_add(step as u32);
        }
        self.received = self.received.wrapping_add(1);
        let elapsed = now.saturating_duration_since(self.began_at);
        let ticks = elapsed.as_micros() * u128::from(self.clock_rate_hz) / 1_000_000;
        let transit = (ticks as u32).wrapping_sub(timestamp);
        if let Some(last) = self.last_transit.replace(transit) {
            // Packets of one picture share a timestamp; that is the RFC's measure all the same.
            let deviation = (transit.wrapping_sub(last) as i32).unsigned_abs();
            let decay = self.jitter_16.saturating_add(8) >> 4;
            self.jitter_16 = (self.jitter_16 - decay).saturating_add(deviation);
        }
    }

    /// A sender report of the stream came.
    pub(super) fn sender_report(&mut self, now: Instant, ntp: Ntp) {
        self.last_sr = Some((ntp.mid32(), now));
    }

    /// The report for now, and the interval that it closes.
    pub(super) fn report(&mut self, ssrc: u32, now: Instant) -> (ReportBlock, Interval) {
        let expected = self.highest.wrapping_sub(self.first).wrapping_add(1);
        let (reported_expected, reported_received) = self.reported;
        self.reported = (expected, self.received);
        let expected_since = expected.wrapping_sub(reported_expected);
        let received_since = self.received.wrapping_sub(reported_received);
        let interval = Interval {
            expected: expected_since,
            lost: expected_since.saturating_sub(received_since),
        };
        let fraction_lost = match u64::from(interval.lost) * 256 / u64::from(expected_since.max(1))
        {
            fraction @ 0..=255 => fraction as u8,
            _ => 255,
        };
        let (last_sr, since_sr) = self
            .last_sr
            .map_or((0, Duration::ZERO), |(mid32, at)| (mid32, now.saturating_duration_since(at)));
        let block = ReportBlock {
            ssrc,
            fraction_lost,
            cumulative_lost: expected.wrapping_sub(self.received) as i32,
            highest_sequence_number: self.highest,
            jitter: self.jitter_16 >> 4,
            last_sr,
            delay_since_last_sr: in_65536ths(since_sr),
        };
        (block, interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_roll_overs_and_jitter_are_reported() {
        let start = Instant::now();
        let mut statistics = Statistics::new(90_000, 65_530, start);
        // Every fourth of 40 packets is missing, the first and the last are not; one comes 10 ms late.
        for n in (0..=40u16).filter(|n| n % 4 != 1) {
            let late = if n == 20 { 10 } else { 0 };
            let now = start + Duration::from_millis(u64::from(n) * 20 + late);
            statistics.received(now, 65_530u16.wrapping_add(n), u32::from(n) * 1_800);
        }
        statistics.sender_report(start, Ntp(0x1234_5678_9abc_def0));
        let (block, interval) = statistics.report(7, start + Duration::from_millis(500));
        assert_eq!(interval, Interval { expected: 41, lost: 10 });
        assert_eq!((block.ssrc, block.fraction_lost, block.cumulative_lost), (7, 62, 10));
        assert_eq!(block.highest_sequence_number, 65_530 + 40);
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0x5678_9abc, 0x8000));
        // Twice 900 ticks, decayed by a sixteenth per packet.
        assert!((20..110).contains(&block.jitter), "{}", block.jitter);

        let (block, interval) = statistics.report(7, start + Duration::from_millis(600));
        assert_eq!(interval, Interval::default());
        assert_eq!((block.fraction_lost, block.cumulative_lost), (0, 10));
    }

    #[test]
    fn a_stream_of_which_all_is_lost_but_one_does_not_overflow() {
        let now = Instant::now();
        let mut statistics = Statistics::new(8_000, 0, now);
        statistics.received(now, 30_000, 0);
        let (block, _) = statistics.report(1, now);
        assert_eq!((block.fraction_lost, block.cumulative_lost), (255, 30_000));
        for n in 0..100 {
            statistics.received(now, 30_000, (n % 2) << 30);
        }
        assert!(statistics.report(1, now).0.jitter <= u32::MAX >> 4);
    }
}
