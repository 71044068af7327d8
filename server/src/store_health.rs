//! Whether the blob store answers, so that a transfer is refused here with a sentence rather than by a
//! signed URL that leads nowhere. Must not: be asked by a page.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use catalog::BlobStore;
use tokio::{sync::Mutex, time::timeout};

use crate::error::Problem;

/// How long an answer of the store counts.
const ANSWER_TTL: Duration = Duration::from_secs(2);
/// A store that takes longer is away, as far as somebody who waits is concerned.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// What the store last answered; cheap to clone.
#[derive(Clone, Debug)]
pub struct StoreHealth {
    store: BlobStore,
    last: Arc<Mutex<Option<(Instant, bool)>>>,
}

impl StoreHealth {
    /// Of a store that was not asked yet.
    pub fn new(store: BlobStore) -> Self {
        Self { store, last: Arc::default() }
    }

    /// Asks the store, unless it was asked just now. Many callers wait for one question.
    ///
    /// # Errors
    /// 503 with `Retry-After` when it does not answer.
    pub(crate) async fn check(&self) -> Result<(), Problem> {
        let mut last = self.last.lock().await;
        if let Some((_, is_there)) = last.filter(|(at, _)| at.elapsed() < ANSWER_TTL) {
            return if is_there { Ok(()) } else { Err(away()) };
        }
        let answer = timeout(PING_TIMEOUT, self.store.ping()).await;
        let outcome = match answer {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer in {} s", PING_TIMEOUT.as_secs())),
        };
        if let Err(cause) = &outcome {
            tracing::error!(error = %cause, "the blob store does not answer: {cause}");
        }
        *last = Some((Instant::now(), outcome.is_ok()));
        outcome.map_err(|_| away())
    }
}

fn away() -> Problem {
    let text =
        "the blob store is not available now, so originals cannot be sent or taken; try again";
    Problem::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, text).retry_after_secs(5)
}
