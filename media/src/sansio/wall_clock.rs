//! The time of day of an instant. Must not: read a clock; one reading of both is given to it.

use std::time::{Duration, Instant};

use super::rtp::Ntp;

/// One moment by both clocks; the others follow from it without jumping when the day's clock is set.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    at: Instant,
    since_1970: Duration,
}

impl WallClock {
    /// `at` was this long after 1970.
    pub fn new(at: Instant, since_1970: Duration) -> Self {
        Self { at, since_1970 }
    }

    /// How long after 1970 an instant is.
    pub fn since_1970(&self, instant: Instant) -> Duration {
        match instant.checked_duration_since(self.at) {
            Some(later) => self.since_1970 + later,
            None => self.since_1970.saturating_sub(self.at - instant),
        }
    }

    /// The NTP time of an instant.
    pub fn ntp(&self, instant: Instant) -> Ntp {
        Ntp::from_unix(self.since_1970(instant))
    }
}
