//! How long to wait before a camera is tried again. Must not: sleep or read a clock.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const MAX: Duration = Duration::from_secs(10);

/// Doubling delays from 0.5 s to 10 s, each with up to 25 % taken off at random.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The delay before the next try; `random` is uniform in `0.0..1.0`.
    pub fn next_delay(&mut self, random: f64) -> Duration {
        let delay = self.next.mul_f64(1.0 - 0.25 * random);
        self.next = (self.next * 2).min(MAX);
        delay
    }

    /// Frames flowed: the next failure begins again at 0.5 s.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_ten_seconds_and_reset() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..7).map(|_| backoff.next_delay(0.0).as_secs_f64()).collect();
        assert_eq!(delays, [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]);
        backoff.reset();
        assert_eq!(backoff.next_delay(1.0), Duration::from_millis(375));
    }
}
