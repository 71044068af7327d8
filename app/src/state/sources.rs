//! What a player does when its source fails: signed links expire, and some codecs do not play.
//!
//! Pure; the browser's part is in `crate::browser`.

/// Progress after which a failure is a new one, in seconds.
const PROGRESS_SECS: f64 = 1.0;

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Load this source (again), and go on at the same time.
    Load(usize),
    /// No source plays.
    GiveUp,
}

/// Sources of a player, the best first; every address leads to a freshly signed link when it is loaded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sources {
    count: usize,
    current: usize,
    /// Where the current one was when it was loaded again.
    reloaded_at_secs: Option<f64>,
}

impl Sources {
    /// That many, the first of which is playing.
    pub fn new(count: usize) -> Self {
        Self { count, current: 0, reloaded_at_secs: None }
    }

    /// The current source failed at this time. Its link may have expired: it is loaded again, once. If it
    /// fails without having got on, the next source is tried.
    pub fn failed(&mut self, at_secs: f64) -> Remedy {
        let got_on = |from: f64| (at_secs - from).abs() >= PROGRESS_SECS;
        if self.reloaded_at_secs.is_none_or(got_on) {
            self.reloaded_at_secs = Some(at_secs);
            return Remedy::Load(self.current);
        }
        if self.current + 1 >= self.count {
            return Remedy::GiveUp;
        }
        self.current += 1;
        Remedy::Load(self.current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expired_link_is_signed_again_once_and_again_after_it_has_played() {
        let mut sources = Sources::new(1);
        assert_eq!(sources.failed(3600.0), Remedy::Load(0));
        assert_eq!(sources.failed(7200.0), Remedy::Load(0));
        assert_eq!(sources.failed(7200.2), Remedy::GiveUp);
    }

    #[test]
    fn source_that_does_not_play_gives_way_to_the_next() {
        let mut sources = Sources::new(3);
        let remedies: Vec<Remedy> = (0..5).map(|_| sources.failed(0.0)).collect();
        assert_eq!(
            remedies,
            [Remedy::Load(0), Remedy::Load(1), Remedy::Load(2), Remedy::GiveUp, Remedy::GiveUp]
        );
    }
}
