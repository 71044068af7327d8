//! How old the frame on the screen is, from RTP timestamps and the server's clock. Must not: touch the
//! browser or read a clock.
//!
//! Latency here is from the arrival of a frame's last packet at the server to its display. The server
//! tells when the newest frame arrived, by its own clock, and that frame's RTP timestamp; the browser
//! tells the RTP timestamp of the frame it shows. What is left is the difference of the two clocks,
//! learnt from a request's round trip: it is wrong by half of that at most.

use std::collections::VecDeque;

/// The RTP clock of video.
const TICKS_PER_MS: f64 = 90.0;
/// Clock readings kept; the one with the shortest round trip counts.
const READINGS: usize = 8;

/// One reading of the server's clock.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reading {
    /// Server's time minus the page's.
    offset_ms: f64,
    round_trip_ms: f64,
}

/// A frame's RTP timestamp, and when the server had it by its own clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    /// As it stands in the packets this viewer gets.
    pub rtp_timestamp: u32,
    /// Milliseconds of Unix time.
    pub unix_ms: f64,
}

/// A frame on the screen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown {
    /// As the browser tells it.
    pub rtp_timestamp: u32,
    /// When, by the page's clock.
    pub at_ms: f64,
}

/// What became of the question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// From server to screen.
    pub ms: f64,
    /// How far off that may be.
    pub error_ms: f64,
}

/// What one session learnt about time.
#[derive(Clone, Debug, Default)]
pub struct LatencyMeter {
    readings: VecDeque<Reading>,
    arrival: Option<Arrival>,
}

impl LatencyMeter {
    /// Takes in the server's clock, as told in a request that the page made at `sent_ms` and had an
    /// answer to at `received_ms`.
    pub fn on_clock(&mut self, sent_ms: f64, received_ms: f64, server_unix_ms: f64) {
        let round_trip_ms = received_ms - sent_ms;
        if !(round_trip_ms >= 0.0 && server_unix_ms.is_finite()) {
            return;
        }
        if self.readings.len() == READINGS {
            self.readings.pop_front();
        }
        let offset_ms = server_unix_ms - (sent_ms + received_ms) / 2.0;
        self.readings.push_back(Reading { offset_ms, round_trip_ms });
    }

    /// Takes in the newest frame of the server.
    pub fn on_arrival(&mut self, arrival: Arrival) {
        self.arrival = Some(arrival);
    }

    /// How old `shown` was on the screen; `None` before the server has told enough.
    pub fn latency(&self, shown: Shown) -> Option<Latency> {
        let clock =
            self.readings.iter().min_by(|a, b| a.round_trip_ms.total_cmp(&b.round_trip_ms))?;
        let newest = self.arrival?;
        // Timestamps wrap after 13 hours; their difference as a signed number does not.
        let ticks = shown.rtp_timestamp.wrapping_sub(newest.rtp_timestamp).cast_signed();
        let arrived_unix_ms = newest.unix_ms + f64::from(ticks) / TICKS_PER_MS;
        Some(Latency {
            ms: shown.at_ms + clock.offset_ms - arrived_unix_ms,
            error_ms: clock.round_trip_ms / 2.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The server's clock is this far ahead of the page's.
    const AHEAD_MS: f64 = 1_700_000_000_000.0;

    fn meter(newest: Arrival) -> LatencyMeter {
        let mut meter = LatencyMeter::default();
        meter.on_clock(1_000.0, 1_004.0, AHEAD_MS + 1_002.0);
        meter.on_arrival(newest);
        meter
    }

    #[test]
    fn age_of_a_frame_is_display_minus_arrival() {
        // Arrived when the page's clock said 2000; shown 84 ms later.
        let meter = meter(Arrival { rtp_timestamp: 90_000, unix_ms: AHEAD_MS + 2_000.0 });
        let latency = meter.latency(Shown { rtp_timestamp: 90_000, at_ms: 2_084.0 }).unwrap();
        assert!((latency.ms - 84.0).abs() < 0.01, "{latency:?}");
        assert_eq!(latency.error_ms, 2.0);
    }

    #[test]
    fn frames_after_and_before_the_one_that_was_told_have_an_age_too() {
        let meter = meter(Arrival { rtp_timestamp: 90_000, unix_ms: AHEAD_MS + 2_000.0 });
        for (ticks, at_ms) in [(9_000, 2_150.0), (-9_000, 1_950.0)] {
            let rtp_timestamp = 90_000_u32.wrapping_add_signed(ticks);
            let latency = meter.latency(Shown { rtp_timestamp, at_ms }).unwrap();
            assert!((latency.ms - 50.0).abs() < 0.01, "{latency:?}");
        }
    }

    #[test]
    fn timestamps_may_wrap_between_the_two_frames() {
        let meter = meter(Arrival { rtp_timestamp: u32::MAX - 899, unix_ms: AHEAD_MS + 2_000.0 });
        // 1800 ticks, 20 ms, later.
        let latency = meter.latency(Shown { rtp_timestamp: 900, at_ms: 2_070.0 }).unwrap();
        assert!((latency.ms - 50.0).abs() < 0.01, "{latency:?}");
    }

    #[test]
    fn shortest_round_trip_tells_the_clock_best() {
        let mut meter = LatencyMeter::default();
        meter.on_clock(0.0, 200.0, AHEAD_MS + 180.0);
        meter.on_clock(1_000.0, 1_002.0, AHEAD_MS + 1_001.0);
        meter.on_clock(2_000.0, 2_100.0, AHEAD_MS + 2_003.0);
        meter.on_arrival(Arrival { rtp_timestamp: 0, unix_ms: AHEAD_MS });
        let latency = meter.latency(Shown { rtp_timestamp: 0, at_ms: 30.0 }).unwrap();
        assert!((latency.ms - 30.0).abs() < 0.01, "{latency:?}");
        assert_eq!(latency.error_ms, 1.0);
    }

    #[test]
    fn old_readings_are_forgotten_as_clocks_drift() {
        let mut meter = LatencyMeter::default();
        meter.on_clock(0.0, 1.0, AHEAD_MS);
        for n in 1..=READINGS {
            let sent_ms = n as f64 * 2_000.0;
            meter.on_clock(sent_ms, sent_ms + 10.0, AHEAD_MS + sent_ms + 55.0);
        }
        meter.on_arrival(Arrival { rtp_timestamp: 0, unix_ms: AHEAD_MS });
        let latency = meter.latency(Shown { rtp_timestamp: 0, at_ms: 0.0 }).unwrap();
        assert!((latency.ms - 50.0).abs() < 0.01, "{latency:?}");
    }

    #[test]
    fn nothing_is_said_before_the_server_told_its_clock_and_a_frame() {
        let shown = Shown { rtp_timestamp: 0, at_ms: 0.0 };
        assert_eq!(LatencyMeter::default().latency(shown), None);
        let mut meter = LatencyMeter::default();
        meter.on_clock(5.0, 4.0, AHEAD_MS);
        meter.on_clock(5.0, 6.0, f64::NAN);
        meter.on_arrival(Arrival { rtp_timestamp: 0, unix_ms: AHEAD_MS });
        assert_eq!(meter.latency(shown), None, "impossible readings are left out");
    }

    proptest! {
        #[test]
        fn any_pair_of_timestamps_has_an_age(newest: u32, shown: u32) {
            let meter = meter(Arrival { rtp_timestamp: newest, unix_ms: AHEAD_MS });
            let latency = meter.latency(Shown { rtp_timestamp: shown, at_ms: 0.0 }).unwrap();
            // Half the range of the timestamps.
            prop_assert!(latency.ms.abs() <= f64::from(1_u32 << 31) / TICKS_PER_MS + 1.0);
        }
    }
}
