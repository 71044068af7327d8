//! Counts the frames a `<video>` shows. Must not: read a clock or touch the browser.

use std::collections::VecDeque;

/// Frame rates are over this long.
const WINDOW_MS: f64 = 1_000.0;
/// A new stream begins with the frames since its key frame, all at once; the browser shows few of them,
/// and means to.
const CATCH_UP_MS: f64 = 500.0;

/// Frames shown by one tile, over all its connections.
#[derive(Clone, Debug, Default)]
pub struct FrameMeter {
    presented: u64,
    missed: u64,
    /// The browser's own count at the last callback; it begins anew with every stream.
    last_count: Option<u64>,
    /// When the first frame of this stream was shown.
    stream_began_ms: f64,
    gap_is_known: bool,
    /// (time, `presented` then), oldest first, about one window long.
    recent: VecDeque<(f64, u64)>,
}

impl FrameMeter {
    /// Takes in one callback: the browser has presented `count` frames of this stream so far.
    pub fn on_frame(&mut self, now_ms: f64, count: u64) {
        let step = match self.last_count {
            Some(last) if count > last => count - last,
            Some(last) if count == last => 0,
            // The first frame seen of a stream, or the count began anew.
            _ => {
                self.stream_began_ms = now_ms;
                1
            }
        };
        if self.gap_is_known {
            // What was not sent while nobody looked begins with a burst, as a new stream does.
            self.stream_began_ms = now_ms;
        }
        let is_catching_up = now_ms - self.stream_began_ms < CATCH_UP_MS;
        if step > 1 && !self.gap_is_known && !is_catching_up {
            self.missed += step - 1;
        }
        self.gap_is_known = false;
        self.presented += step;
        self.last_count = Some(count);
        self.recent.push_back((now_ms, self.presented));
        self.forget(now_ms);
    }

    /// Browsers make no callbacks while a page is hidden, and nothing is sent to a hidden tile: the next
    /// gap says nothing.
    pub fn excuse_next_gap(&mut self) {
        self.gap_is_known = true;
    }

    /// Frames presented.
    pub fn presented(&self) -> u64 {
        self.presented
    }

    /// Frames that were presented without a callback for each: the page was too busy to see them.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Frames per second over the last second.
    pub fn fps(&mut self, now_ms: f64) -> f64 {
        self.forget(now_ms);
        match (self.recent.front(), self.recent.back()) {
            (Some((first_ms, first)), Some((last_ms, last))) if last_ms > first_ms => {
                (last - first) as f64 * 1_000.0 / (last_ms - first_ms)
            }
            _ => 0.0,
        }
    }

    fn forget(&mut self, now_ms: f64) {
        while self.recent.front().is_some_and(|(at_ms, _)| now_ms - at_ms > WINDOW_MS) {
            self.recent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_frames_count_one_by_one() {
        let mut meter = FrameMeter::default();
        for n in 0..60_u64 {
            meter.on_frame(n as f64 * 40.0, n + 1);
        }
        assert_eq!((meter.presented(), meter.missed()), (60, 0));
        assert!((meter.fps(2_400.0) - 25.0).abs() < 0.01);
    }

    #[test]
    fn gap_in_the_browsers_count_is_missed_frames() {
        let mut meter = FrameMeter::default();
        for (n, count) in [1, 2, 5, 6].into_iter().enumerate() {
            meter.on_frame(n as f64 * 1_000.0, count);
        }
        assert_eq!((meter.presented(), meter.missed()), (6, 2));
    }

    #[test]
    fn frames_skipped_while_a_stream_catches_up_are_not_missed() {
        let mut meter = FrameMeter::default();
        meter.on_frame(0.0, 1);
        meter.on_frame(40.0, 30);
        meter.on_frame(600.0, 33);
        assert_eq!((meter.presented(), meter.missed()), (33, 2));
    }

    #[test]
    fn gap_of_a_hidden_page_is_not_missed() {
        let mut meter = FrameMeter::default();
        meter.on_frame(0.0, 1);
        meter.excuse_next_gap();
        meter.on_frame(60_000.0, 1_501);
        meter.on_frame(60_040.0, 1_531);
        meter.on_frame(60_600.0, 1_533);
        assert_eq!((meter.presented(), meter.missed()), (1_533, 1));
    }

    #[test]
    fn total_goes_on_when_a_new_stream_counts_from_one() {
        let mut meter = FrameMeter::default();
        meter.on_frame(0.0, 100);
        meter.on_frame(40.0, 101);
        meter.on_frame(5_000.0, 1);
        meter.on_frame(5_040.0, 2);
        assert_eq!((meter.presented(), meter.missed()), (4, 0));
    }

    #[test]
    fn rate_falls_to_zero_when_frames_stop() {
        let mut meter = FrameMeter::default();
        meter.on_frame(0.0, 1);
        meter.on_frame(40.0, 2);
        assert!(meter.fps(100.0) > 0.0);
        assert_eq!(meter.fps(2_000.0), 0.0);
    }
}
