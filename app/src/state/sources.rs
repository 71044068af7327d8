//! What a player does when its source fails: signed links expire, some codecs do not play, and a store may be
//! away for a while.
//!
//! Pure; the browser's part is in `crate::browser`.

/// Progress after which a failure is a new one, in seconds.
const PROGRESS_SECS: f64 = 1.0;
const BACKOFF_FIRST_MS: u32 = 1_000;
const BACKOFF_MAX_MS: u32 = 30_000;

/// Why a source does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Its bytes do not come: there is no answer, or one that will be another later.
    Unreachable,
    /// They come, or never will; this browser does not play them.
    Unplayable,
    /// Browsers do not tell these two apart when nothing of a source was read yet.
    Unclear,
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Load this source (again), and go on at the same time.
    Load(usize),
    /// The same after so many milliseconds.
    LoadLater(usize, u32),
    /// Ask for this source apart from the player, and tell which of the other two failures it is.
    Ask(usize),
    /// No source plays.
    GiveUp,
}

/// What is told of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It may pass.
    Unreachable,
    /// It will not.
    Unplayable,
}

impl Trouble {
    /// For the person who wants to play it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Unreachable => "The store does not answer. It is tried again by itself.",
            Self::Unplayable => {
                "This browser cannot play it. Download it, or look again when its proxy has been made."
            }
        }
    }
}

/// Sources of a player, the best first; every address leads to a freshly signed link when it is loaded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sources {
    count: usize,
    current: usize,
    /// Where the current one was when it was loaded again.
    reloaded_at_secs: Option<f64>,
    /// Failures to reach one since anything got on.
    losses: u32,
}

impl Sources {
    /// That many, the first of which is playing.
    pub fn new(count: usize) -> Self {
        Self { count, current: 0, reloaded_at_secs: None, losses: 0 }
    }

    /// The current source failed at this time. Its link may have expired: it is loaded again at once. If it
    /// fails without having got on, one that cannot be reached is tried later and later, and one that
    /// cannot be played gives way to the next.
    pub fn failed(&mut self, at_secs: f64, failure: Failure) -> Remedy {
        let got_on = |from: f64| (at_secs - from).abs() >= PROGRESS_SECS;
        if self.reloaded_at_secs.is_none_or(got_on) {
            self.reloaded_at_secs = Some(at_secs);
            self.losses = 0;
            return Remedy::Load(self.current);
        }
        match failure {
            Failure::Unclear => Remedy::Ask(self.current),
            Failure::Unreachable => {
                let backoff_ms = BACKOFF_FIRST_MS.saturating_mul(1 << self.losses.min(10));
                self.losses = self.losses.saturating_add(1);
                Remedy::LoadLater(self.current, backoff_ms.min(BACKOFF_MAX_MS))
            }
            Failure::Unplayable if self.current + 1 < self.count => {
                self.current += 1;
                Remedy::Load(self.current)
            }
            Failure::Unplayable => Remedy::GiveUp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Failure::{Unclear, Unplayable, Unreachable},
        *,
    };

    #[test]
    fn expired_link_is_signed_again_once_and_again_after_it_has_played() {
        let mut sources = Sources::new(1);
        assert_eq!(sources.failed(3600.0, Unreachable), Remedy::Load(0));
        assert_eq!(sources.failed(7200.0, Unclear), Remedy::Load(0));
        assert_eq!(sources.failed(7200.2, Unplayable), Remedy::GiveUp);
    }

    #[test]
    fn source_that_does_not_play_gives_way_to_the_next() {
        let mut sources = Sources::new(3);
        let remedies: Vec<Remedy> = (0..5).map(|_| sources.failed(0.0, Unplayable)).collect();
        assert_eq!(
            remedies,
            [Remedy::Load(0), Remedy::Load(1), Remedy::Load(2), Remedy::GiveUp, Remedy::GiveUp]
        );
    }

    #[test]
    fn store_that_is_away_is_tried_again_later_and_later_and_never_given_up() {
        let mut sources = Sources::new(2);
        assert_eq!(sources.failed(10.0, Unreachable), Remedy::Load(0));
        let mut waits = Vec::new();
        for _ in 0..7 {
            let Remedy::LoadLater(0, after_ms) = sources.failed(10.0, Unreachable) else {
                panic!()
            };
            waits.push(after_ms / 1_000);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        // It came back, and went away once more.
        assert_eq!(sources.failed(20.0, Unreachable), Remedy::Load(0));
        assert_eq!(sources.failed(20.0, Unreachable), Remedy::LoadLater(0, 1_000));
    }

    #[test]
    fn failure_that_may_be_either_is_asked_about_before_the_browser_is_blamed() {
        let mut sources = Sources::new(1);
        assert_eq!(sources.failed(0.0, Unclear), Remedy::Load(0));
        assert_eq!(sources.failed(0.0, Unclear), Remedy::Ask(0));
        assert_eq!(sources.failed(0.0, Unreachable), Remedy::LoadLater(0, 1_000));
        assert_eq!(sources.failed(0.0, Unclear), Remedy::Ask(0));
        assert_eq!(sources.failed(0.0, Unplayable), Remedy::GiveUp);
    }
}
