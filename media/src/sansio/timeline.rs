//! A camera's RTP timestamps on one timeline that survives reconnects. Must not: read a clock.

use std::time::Instant;

/// RTP video clock, ticks per second.
pub const CLOCK_90K: u64 = 90_000;

/// A jump beyond this within one connection is a camera's clock being set, not time passing.
const MAX_STEP_90K: u64 = 10 * CLOCK_90K;

/// Maps a camera's timestamps to an unwrapped 90 kHz timeline.
///
/// Within a connection the camera's own spacing is kept exactly; over a reconnect or a jump the gap is
/// filled with the time that really passed.
#[derive(Debug, Default)]
pub struct Timeline {
    last: Option<Last>,
    /// Camera time and our time of the same instant, once known for this connection.
    anchor: Option<(i64, u64)>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    time_90k: u64,
    at: Instant,
}

impl Timeline {
    /// The camera was connected anew; its next timestamp begins where time has come to.
    pub fn reconnected(&mut self) {
        self.anchor = None;
    }

    /// Our time of a unit with this camera time (unwrapped 90 kHz) that arrived at `now`.
    pub fn place(&mut self, camera_90k: i64, now: Instant) -> u64 {
        let expected = match self.last {
            None => CLOCK_90K,
            Some(last) => {
                let elapsed = now.saturating_duration_since(last.at);
                last.time_90k + (elapsed.as_micros() as u64 * 9 / 100).max(1)
            }
        };
        let placed = self.anchor.and_then(|(camera_anchor, our_anchor)| {
            our_anchor.checked_add_signed(camera_90k.wrapping_sub(camera_anchor))
        });
        let is_step = |placed: &u64| {
            self.last.is_none_or(|last| placed.abs_diff(last.time_90k) <= MAX_STEP_90K)
        };
        let time_90k = placed.filter(is_step).unwrap_or_else(|| {
            self.anchor = Some((camera_90k, expected));
            expected
        });
        self.last = Some(Last { time_90k, at: now });
        time_90k
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn camera_spacing_is_kept_exactly() {
        let mut timeline = Timeline::default();
        let now = Instant::now();
        let first = timeline.place(5_000, now);
        // Arrival jitter does not matter.
        assert_eq!(timeline.place(8_000, now + Duration::from_millis(90)), first + 3_000);
        assert_eq!(timeline.place(11_000, now + Duration::from_millis(91)), first + 6_000);
    }

    #[test]
    fn a_reconnect_goes_on_where_time_has_come_to() {
        let mut timeline = Timeline::default();
        let now = Instant::now();
        let first = timeline.place(1_000_000, now);
        timeline.reconnected();
        let second = timeline.place(77, now + Duration::from_secs(4));
        assert_eq!(second, first + 4 * CLOCK_90K);
        assert_eq!(timeline.place(3_077, now + Duration::from_secs(5)), second + 3_000);
    }

    #[test]
    fn a_camera_that_sets_its_clock_does_not_jump() {
        let mut timeline = Timeline::default();
        let now = Instant::now();
        let first = timeline.place(0, now);
        let after = timeline.place(i64::MAX, now + Duration::from_millis(40));
        assert_eq!(after, first + 3_600);
    }
}
