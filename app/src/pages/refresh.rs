//! Pages that are not finished look again by themselves. Without JavaScript they stay as they came.

use std::time::Duration;

use leptos::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

use crate::api::PageError;

const PERIOD: Duration = Duration::from_secs(3);

/// Reads `outcome` again every few seconds, as long as it is `unfinished` or an error that may pass.
pub(super) fn refresh_while<T>(
    outcome: Resource<Result<T, PageError>>,
    unfinished: impl Fn(&T) -> bool + 'static,
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
        let again = outcome.with(|outcome| match outcome {
            Some(Ok(value)) => unfinished(value),
            Some(Err(error)) => error.is_passing(),
            None => false,
        });
        if again {
            timer.set_value(set_timeout_with_handle(move || outcome.refetch(), PERIOD).ok());
        }
    });
    on_cleanup(stop);
}
