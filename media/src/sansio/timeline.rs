//! A track's RTP timestamps on one timeline that survives reconnects. Must not: read a clock.

use std::time::Instant;

/// RTP video clock, ticks per second.
pub const CLOCK_90K: u32 = 90_000;

/// A jump beyond this within one connection is a camera's clock being set, not time passing.
const MAX_STEP_SECS: u64 = 10;

/// Maps a track's timestamps to unwrapped ticks since the camera's epoch.
///
/// Within a connection the camera's own spacing is kept exactly; at its beginning, and after a jump, time
/// is where the clock on the wall is. Tracks of one camera share the epoch, so their times compare.
#[derive(Debug)]
pub struct Timeline {
    epoch: Instant,
    clock_rate_hz: u32,
    last: Option<u64>,
    /// Camera time and our time of the same instant, once known for this connection.
    anchor: Option<(i64, u64)>,
}

impl Timeline {
    /// A timeline of `clock_rate_hz` ticks a second that begins at `epoch`.
    pub fn new(epoch: Instant, clock_rate_hz: u32) -> Self {
        Self { epoch, clock_rate_hz, last: None, anchor: None }
    }

    /// The camera was connected anew; its next timestamp begins where time has come to.
    pub fn reconnected(&mut self) {
        self.anchor = None;
    }

    /// Our time of a unit with this camera time (unwrapped, same clock rate) that arrived at `now`.
    pub fn place(&mut self, camera: i64, now: Instant) -> u64 {
        let placed = self.anchor.and_then(|(camera_anchor, our_anchor)| {
            our_anchor.checked_add_signed(camera.wrapping_sub(camera_anchor))
        });
        let max_step = MAX_STEP_SECS * u64::from(self.clock_rate_hz);
        let is_step = |placed: &u64| self.last.is_none_or(|last| placed.abs_diff(last) <= max_step);
        let time = placed.filter(is_step).unwrap_or_else(|| {
            let since_epoch = now.saturating_duration_since(self.epoch);
            let on_the_wall = since_epoch.as_micros() * u128::from(self.clock_rate_hz) / 1_000_000;
            let time = (on_the_wall as u64).max(self.last.map_or(0, |last| last + 1));
            self.anchor = Some((camera, time));
            time
        });
        self.last = Some(time);
        time
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn timeline() -> (Timeline, Instant) {
        let epoch = Instant::now();
        (Timeline::new(epoch, CLOCK_90K), epoch + Duration::from_secs(1))
    }

    #[test]
    fn camera_spacing_is_kept_exactly() {
        let (mut timeline, now) = timeline();
        let first = timeline.place(5_000, now);
        assert_eq!(first, 90_000);
        // Arrival jitter does not matter.
        assert_eq!(timeline.place(8_000, now + Duration::from_millis(90)), first + 3_000);
        assert_eq!(timeline.place(11_000, now + Duration::from_millis(91)), first + 6_000);
    }

    #[test]
    fn a_reconnect_goes_on_where_time_has_come_to() {
        let (mut timeline, now) = timeline();
        let first = timeline.place(1_000_000, now);
        timeline.reconnected();
        let second = timeline.place(77, now + Duration::from_secs(4));
        assert_eq!(second, first + 4 * 90_000);
        assert_eq!(timeline.place(3_077, now + Duration::from_secs(5)), second + 3_000);
    }

    #[test]
    fn a_camera_that_sets_its_clock_does_not_jump() {
        let (mut timeline, now) = timeline();
        let first = timeline.place(0, now);
        let after = timeline.place(i64::MAX, now + Duration::from_millis(40));
        assert_eq!(after, first + 3_600);
    }

    #[test]
    fn a_fast_camera_that_reconnects_does_not_go_back() {
        let (mut timeline, now) = timeline();
        timeline.place(0, now);
        let ahead = timeline.place(9 * 90_000, now + Duration::from_secs(8));
        timeline.reconnected();
        assert_eq!(timeline.place(0, now + Duration::from_secs(8)), ahead + 1);
    }

    #[test]
    fn layers_of_a_camera_share_the_wall_clock() {
        let epoch = Instant::now();
        let now = epoch + Duration::from_secs(7);
        let mut main = Timeline::new(epoch, CLOCK_90K);
        let mut sub = Timeline::new(epoch, CLOCK_90K);
        assert_eq!(main.place(12, now), sub.place(-99, now));
    }
}
