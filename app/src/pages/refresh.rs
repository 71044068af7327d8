//! Pages that are not finished look again by themselves. Without JavaScript they stay as they came.

use std::time::Duration;

use domain::JobStatus;
use leptos::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

use crate::{api::Outcome, browser::JobEvents};

const PERIOD: Duration = Duration::from_secs(3);
/// From word of a change to the look at it; others that come meanwhile are seen with it.
const SOON: Duration = Duration::from_millis(500);

/// Reads `outcome` again every few seconds, as long as it is `unfinished` or an error that may pass.
pub(super) fn refresh_while<T>(outcome: Outcome<T>, unfinished: impl Fn(&T) -> bool + 'static)
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    refresh_unless_held(outcome, unfinished, || false);
}

/// The same; waits while the page `is_held`, as what somebody has begun on it would be lost.
pub(super) fn refresh_unless_held<T>(
    outcome: Outcome<T>,
    unfinished: impl Fn(&T) -> bool + 'static,
    is_held: impl Fn() -> bool + Copy + 'static,
) where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    refresh(outcome, unfinished, is_held, Due::new());
}

/// What becomes of a page's content by word of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing.
    OfNoConcern,
    /// It shows how far the job is.
    Shown,
    /// It has to be read again.
    ReadAgain,
}

/// Content that changes as jobs go on.
pub(super) trait FollowsJobs {
    /// Whether it waits for some.
    fn is_waiting(&self) -> bool;

    /// Takes in how far one is.
    fn take(&mut self, job: &JobStatus) -> News;
}

/// Shows how far jobs are while `outcome` waits for some, and reads it again when they end: by what the
/// server tells those who `may_listen`, and every few seconds where it tells nothing. Waits while the
/// page `is_held`.
pub(super) fn follow_jobs<T>(
    outcome: Outcome<T>,
    may_listen: impl Fn() -> bool + 'static,
    is_held: impl Fn() -> bool + Copy + 'static,
) where
    T: FollowsJobs + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let due = Due::new();
    let events = JobEvents::new(move |job| {
        // Without a job some were missed.
        let take = |job: &JobStatus| {
            outcome.try_maybe_update(|outcome| match outcome {
                Some(Ok(content)) if !is_held() => {
                    let news = content.take(job);
                    (news == News::Shown, news)
                }
                _ => (false, News::OfNoConcern),
            })
        };
        let news = match job {
            Some(job) => take(&job).unwrap_or(News::OfNoConcern),
            None => News::ReadAgain,
        };
        if news == News::ReadAgain {
            due.soon();
        }
        news != News::OfNoConcern
    });
    Effect::new(move |_| {
        let is_waiting =
            outcome.with(|outcome| matches!(outcome, Some(Ok(content)) if content.is_waiting()));
        if is_waiting && may_listen() { events.listen() } else { events.close() }
    });
    on_cleanup(move || events.close());
    let is_held = move || is_held() || (!due.is_soon() && events.is_speaking());
    refresh(outcome, T::is_waiting, is_held, due);
}

/// Asks for a look before its time.
#[derive(Clone, Copy, Debug)]
struct Due {
    is_soon: StoredValue<bool>,
    asked: Trigger,
}

impl Due {
    fn new() -> Self {
        Self { is_soon: StoredValue::new(false), asked: Trigger::new() }
    }

    fn is_soon(self) -> bool {
        self.is_soon.try_get_value().unwrap_or(false)
    }

    fn soon(self) {
        if !self.is_soon() {
            self.is_soon.try_set_value(true);
            self.asked.notify();
        }
    }
}

fn refresh<T>(
    outcome: Outcome<T>,
    unfinished: impl Fn(&T) -> bool + 'static,
    is_held: impl Fn() -> bool + Copy + 'static,
    due: Due,
) where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let timer = StoredValue::new(None::<TimeoutHandle>);
    let stop = move || {
        if let Some(Some(timer)) = timer.try_update_value(Option::take) {
            timer.clear();
        }
    };
    Effect::new(move |_| {
        stop();
        due.asked.track();
        let again = outcome.with(|outcome| match outcome {
            Some(Ok(value)) => due.is_soon() || unfinished(value),
            Some(Err(error)) => error.is_passing(),
            None => false,
        });
        let look = move || {
            if is_held() {
                due.asked.notify();
            } else {
                due.is_soon.try_set_value(false);
                outcome.refetch();
            }
        };
        if again {
            let delay = if due.is_soon() { SOON } else { PERIOD };
            timer.set_value(set_timeout_with_handle(look, delay).ok());
        }
    });
    on_cleanup(stop);
}
