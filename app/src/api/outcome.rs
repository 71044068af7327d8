//! What a page reads from the server: in the page already when the server renders it, asked for later on.

use std::pin::Pin;

use leptos::{
    prelude::Resource,
    server::codee::{Decoder, Encoder},
};
use serde::{Serialize, de::DeserializeOwned};

use super::PageError;

/// What came of reading something.
pub type Outcome<T> = Resource<Result<T, PageError>, PageJson>;

/// Reads something, and again whenever what `asked` says changes.
pub fn read<T, F>(
    asked: impl Fn() -> String + Send + Sync + 'static,
    fetch: impl Fn(String) -> F + Send + Sync + 'static,
) -> Outcome<T>
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
    F: Future<Output = Result<T, PageError>> + Send + 'static,
{
    // Boxed, so that the machinery is compiled once for each `T`, and not for each page.
    let asked: Box<dyn Fn() -> String + Send + Sync> = Box::new(asked);
    let fetch: Box<dyn Fn(String) -> Fetched<T> + Send + Sync> =
        Box::new(move |asked| Box::pin(fetch(asked)));
    Outcome::new_with_options(asked, fetch, false)
}

type Fetched<T> = Pin<Box<dyn Future<Output = Result<T, PageError>> + Send>>;

/// JSON within a page. Read from bytes, as server functions read their answers: `serde_json` has a parser of
/// its own for each type and kind of input, and a second kind took 4 % of all code for browsers.
#[derive(Debug)]
pub struct PageJson;

impl<T: Serialize> Encoder<T> for PageJson {
    type Error = serde_json::Error;
    type Encoded = String;

    fn encode(value: &T) -> Result<String, Self::Error> {
        serde_json::to_string(value)
    }
}

impl<T: DeserializeOwned> Decoder<T> for PageJson {
    type Error = serde_json::Error;
    type Encoded = str;

    fn decode(json: &str) -> Result<T, Self::Error> {
        serde_json::from_slice(json.as_bytes())
    }
}
