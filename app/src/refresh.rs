//! Pages that are not finished look again by themselves. Without JavaScript they stay as they came.

use std::{rc::Rc, time::Duration};

use domain::JobStatus;
use leptos::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

use crate::{api::Outcome, browser::JobEvents};

const PERIOD: Duration = Duration::from_secs(3);
/// From word of a change to the look at it; others that come meanwhile are seen with it.
const SOON: Duration = Duration::from_millis(500);

/// Reads `outcome` again every few seconds, as long as it is `unfinished` or an error that may pass.
pub(crate) fn refresh_while<T>(outcome: Outcome<T>, unfinished: impl Fn(&T) -> bool + 'static)
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let is_due = move || {
        outcome.with(|outcome| match outcome {
            Some(Ok(value)) => unfinished(value),
            Some(Err(error)) => error.is_passing(),
            None => false,
        })
    };
    refresh(outcome, is_due, || false, Due::new());
}

/// The same for what [`Loaded`](crate::components::Loaded) shows, which sees to errors; waits while the page
/// `is_held`, as what somebody has begun on it would be lost.
pub(crate) fn refresh_unless_held<T>(
    outcome: Outcome<T>,
    unfinished: impl Fn(&T) -> bool + 'static,
    is_held: impl Fn() -> bool + 'static,
) where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let is_due =
        move || outcome.with(|outcome| matches!(outcome, Some(Ok(value)) if unfinished(value)));
    refresh(outcome, is_due, is_held, Due::new());
}

/// What becomes of a page's content by word of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing.
    OfNoConcern,
    /// It shows how far the job is.
    Shown,
    /// It has to be read again.
    ReadAgain,
}

/// Content that changes as jobs go on.
pub(crate) trait FollowsJobs {
    /// Whether it waits for some.
    fn is_waiting(&self) -> bool;

    /// Takes in how far one is.
    fn take(&mut self, job: &JobStatus) -> News;
}

/// Shows how far jobs are while `outcome` waits for some, and reads it again when they end: by what the
/// server tells those who `may_listen`, and every few seconds where it tells nothing. Waits while the
/// page `is_held`.
pub(crate) fn follow_jobs<T>(
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
    let is_due = move || {
        outcome.with(|outcome| match outcome {
            Some(Ok(content)) => due.is_soon() || content.is_waiting(),
            Some(Err(error)) => error.is_passing(),
            None => false,
        })
    };
    refresh(outcome, is_due, is_held, due);
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
    is_due: impl Fn() -> bool + 'static,
    is_held: impl Fn() -> bool + 'static,
    due: Due,
) where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    look_again(Box::new(is_due), Rc::new(is_held), Rc::new(move || outcome.refetch()), due);
}

/// Boxed, so that it is compiled once, and not for all that pages read.
fn look_again(
    is_due: Box<dyn Fn() -> bool>,
    is_held: Rc<dyn Fn() -> bool>,
    look: Rc<dyn Fn()>,
    due: Due,
) {
    let timer = StoredValue::new(None::<TimeoutHandle>);
    let stop = move || {
        if let Some(Some(timer)) = timer.try_update_value(Option::take) {
            timer.clear();
        }
    };
    Effect::new(move |_| {
        stop();
        due.asked.track();
        if !is_due() {
            return;
        }
        let (is_held, look) = (Rc::clone(&is_held), Rc::clone(&look));
        let wake = move || {
            if is_held() {
                due.asked.notify();
            } else {
                due.is_soon.try_set_value(false);
                look();
            }
        };
        let delay = if due.is_soon() { SOON } else { PERIOD };
        timer.set_value(set_timeout_with_handle(wake, delay).ok());
    });
    on_cleanup(stop);
}
