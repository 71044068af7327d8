//! How long a kept answer serves, and when it is made anew. Pure: the time is an argument, in
//! milliseconds of the cache's own clock.
//!
//! ```text
//!           0 ────── 60 s ────────── 180 s ───────────►   age
//! good      │ fresh   │ stale: served, │ old: asked-for again; this one only
//!           │         │ made behind    │ if that fails
//! changed   │ old, whatever its age: who asks next waits for the new one
//! failed    │ served until the next try, 3 to 30 s; 3 s once something has changed
//! ```
//!
//! That stale answers have an end is for writers this process does not hear of, such as somebody at the
//! database itself: nobody sees a page older than that.

/// An answer is fresh for so long.
pub(crate) const FRESH_MS: i64 = 60_000;
/// After that, it is served for so long while a new one is made.
pub(crate) const STALE_MS: i64 = 120_000;
/// Back-off after a failed render: the first, and the longest.
const BACKOFF_MIN_MS: i64 = 3_000;
const BACKOFF_MAX_MS: i64 = 30_000;
/// Renders of one page that keeps changing begin at least so far apart.
const RENDER_SPACING_MS: i64 = 100;

/// What is known of a kept answer's age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Age {
    /// When its making began.
    pub(crate) made_ms: i64,
    /// Something that it was made from has changed since.
    pub(crate) is_changed: bool,
    /// It is a failure itself: there never was a good one.
    pub(crate) is_failure: bool,
    /// Renders that failed since the last good one.
    pub(crate) failures: u32,
    /// When the last of them did.
    pub(crate) failed_ms: i64,
}

/// What to do with a kept answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Serve it.
    Fresh {
        /// For so many more seconds.
        ttl_secs: i64,
    },
    /// Serve it, and make a new one behind.
    Stale {
        /// Seconds since it was fresh, negative.
        ttl_secs: i64,
    },
    /// Serve it, for the last render failed and it is too early for another.
    BackOff {
        /// Seconds left of its freshness; negative when it is over.
        ttl_secs: i64,
    },
    /// Make a new one first; this one only if that fails.
    Old,
}

impl Age {
    /// An answer whose making began at `made_ms`.
    pub(crate) fn new(made_ms: i64) -> Self {
        Self { made_ms, is_changed: false, is_failure: false, failures: 0, failed_ms: 0 }
    }

    /// What to do with it at `now_ms`.
    pub(crate) fn verdict(&self, now_ms: i64) -> Verdict {
        let age_ms = now_ms.saturating_sub(self.made_ms).max(0);
        let ttl_secs = FRESH_MS.saturating_sub(age_ms).div_euclid(1000);
        let is_fresh = age_ms < FRESH_MS && !self.is_changed && !self.is_failure;
        match () {
            () if is_fresh => Verdict::Fresh { ttl_secs },
            () if self.failures > 0 && now_ms < self.retry_ms() => Verdict::BackOff { ttl_secs },
            () if self.is_changed || self.is_failure => Verdict::Old,
            () if age_ms < FRESH_MS + STALE_MS => Verdict::Stale { ttl_secs },
            () => Verdict::Old,
        }
    }

    /// The same answer after another render failed at `now_ms`.
    pub(crate) fn failed(self, now_ms: i64) -> Self {
        Self { failures: self.failures.saturating_add(1), failed_ms: now_ms, ..self }
    }

    /// The same answer after something it was made from has changed: a good reason to try again, but no
    /// sooner than after one failure, however much is written.
    pub(crate) fn changed(self) -> Self {
        Self { is_changed: true, failures: self.failures.min(1), ..self }
    }

    /// After failures, the next render is not tried before this.
    fn retry_ms(&self) -> i64 {
        self.failed_ms.saturating_add(backoff_ms(self.failures))
    }
}

/// Time to the next try after so many failures in a row: 3, 6, 12, 24, 30, 30 … s.
fn backoff_ms(failures: u32) -> i64 {
    let doublings = failures.saturating_sub(1).min(8);
    (BACKOFF_MIN_MS << doublings).min(BACKOFF_MAX_MS)
}

/// How long a render waits that follows one begun at `last_ms`: what is written to all the time must not
/// keep the processor busy with pages that are old when they are ready.
pub(crate) fn spacing_ms(last_ms: Option<i64>, now_ms: i64) -> u64 {
    let next = last_ms.map_or(now_ms, |last| last.saturating_add(RENDER_SPACING_MS));
    next.saturating_sub(now_ms).clamp(0, RENDER_SPACING_MS).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_fresh_then_stale_then_old() {
        let age = Age::new(1_000);
        assert_eq!(age.verdict(1_000), Verdict::Fresh { ttl_secs: 60 });
        assert_eq!(age.verdict(60_999), Verdict::Fresh { ttl_secs: 0 });
        assert_eq!(age.verdict(61_000), Verdict::Stale { ttl_secs: 0 });
        assert_eq!(age.verdict(180_999), Verdict::Stale { ttl_secs: -120 });
        assert_eq!(age.verdict(181_000), Verdict::Old);
        assert_eq!(age.verdict(0), Verdict::Fresh { ttl_secs: 60 }, "a clock that went back");
    }

    #[test]
    fn a_change_makes_it_old_at_once() {
        assert_eq!(Age::new(0).changed().verdict(1), Verdict::Old);
    }

    #[test]
    fn failures_back_off_from_3_to_30_seconds_and_keep_the_last_good_answer() {
        let mut age = Age::new(0).changed();
        let mut now = 1_000;
        for secs in [3, 6, 12, 24, 30, 30, 30] {
            age = age.failed(now);
            assert_eq!(age.retry_ms() - now, secs * 1000);
            assert!(matches!(age.verdict(age.retry_ms() - 1), Verdict::BackOff { .. }));
            assert_eq!(age.verdict(age.retry_ms()), Verdict::Old);
            now = age.retry_ms();
        }
        let age = age.failed(now).changed();
        assert!(matches!(age.verdict(now + 2_999), Verdict::BackOff { .. }), "however often");
        assert_eq!(age.verdict(now + 3_000), Verdict::Old, "a change is a reason to try again");
        let fresh = Age::new(0).failed(100);
        assert!(matches!(fresh.verdict(101), Verdict::Fresh { .. }), "it is still good");
    }

    #[test]
    fn a_failure_is_served_only_until_the_next_try() {
        let age = Age { is_failure: true, ..Age::new(0) }.failed(0);
        assert!(matches!(age.verdict(2_999), Verdict::BackOff { .. }));
        assert_eq!(age.verdict(3_000), Verdict::Old);
    }

    #[test]
    fn renders_of_a_page_that_keeps_changing_keep_apart() {
        assert_eq!(spacing_ms(None, 5), 0);
        assert_eq!(spacing_ms(Some(1_000), 1_030), 70);
        assert_eq!(spacing_ms(Some(1_000), 2_000), 0);
        assert_eq!(spacing_ms(Some(9_000), 1_000), 100, "a clock that went back");
    }

    proptest::proptest! {
        #[test]
        fn no_time_is_too_odd(made_ms: i64, now_ms: i64, failed_ms: i64, failures: u32) {
            let age = Age { failed_ms, failures, ..Age::new(made_ms) };
            age.verdict(now_ms);
            age.failed(now_ms).verdict(now_ms);
            proptest::prop_assert!(spacing_ms(Some(made_ms), now_ms) <= 100);
        }
    }
}
