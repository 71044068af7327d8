//! Why a page has nothing to show, in words for the person who looks at it.

#[cfg(feature = "ssr")]
use domain::{Cursor, PAGE_LIMIT_MAX, PageLimit};
use leptos::server_fn::{
    codec::JsonEncoding,
    error::{FromServerFnError, ServerFnErrorErr},
};
use serde::{Deserialize, Serialize};

/// Why there is nothing to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", content = "message", rename_all = "snake_case")]
pub enum PageError {
    /// The address of the page says something impossible.
    #[error("{0}")]
    BadRequest(String),
    /// There is no such thing.
    #[error("There is nothing at this address.")]
    NotFound,
    /// No valid token came with the request.
    #[error("You are not logged in.")]
    LoggedOut,
    /// The caller's role is not enough.
    #[error("Your role does not allow this.")]
    Forbidden,
    /// The catalog could not answer; the log says why.
    #[error("The catalog cannot answer at the moment. The server's log says why.")]
    Unavailable,
    /// The browser got no answer, or none that it understands.
    #[error("The server does not answer.")]
    Unreachable,
}

impl PageError {
    /// Whether asking again later may help.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable | Self::Unreachable)
    }
}

impl FromServerFnError for PageError {
    type Encoder = JsonEncoding;

    fn from_server_fn_error(error: ServerFnErrorErr) -> Self {
        match error {
            ServerFnErrorErr::Args(_) | ServerFnErrorErr::MissingArg(_) => {
                Self::BadRequest("The request's arguments are not valid.".to_owned())
            }
            ServerFnErrorErr::ServerError(_) | ServerFnErrorErr::MiddlewareError(_) => {
                Self::Unavailable
            }
            _ => Self::Unreachable,
        }
    }
}

/// Which page is asked for.
#[cfg(feature = "ssr")]
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PageRequest {
    pub(super) limit: PageLimit,
    pub(super) after: Option<Cursor>,
}

/// Reads `limit` and `after` as they stand in an address; an empty one counts as absent.
///
/// # Errors
/// [`PageError::BadRequest`] with a sentence to show.
#[cfg(feature = "ssr")]
pub(super) fn parse_page_request(
    limit: Option<String>,
    after: Option<String>,
) -> Result<PageRequest, PageError> {
    let bad_limit = || PageError::BadRequest(format!("limit must be 1 to {PAGE_LIMIT_MAX}."));
    let limit = match limit.as_deref() {
        None | Some("") => PageLimit::default(),
        Some(text) => {
            let limit: u32 = text.parse().map_err(|_| bad_limit())?;
            PageLimit::try_from(limit).map_err(|_| bad_limit())?
        }
    };
    let after = match after.as_deref() {
        None | Some("") => None,
        Some(text) => Some(text.parse().map_err(|_| {
            PageError::BadRequest(
                "after is not a page cursor of this server; start again from the first page."
                    .to_owned(),
            )
        })?),
    };
    Ok(PageRequest { limit, after })
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;

    fn parse(limit: &str, after: &str) -> Result<PageRequest, PageError> {
        parse_page_request(Some(limit.to_owned()), Some(after.to_owned()))
    }

    #[test]
    fn page_request_is_validated() {
        let first = PageRequest { limit: PageLimit::default(), after: None };
        assert_eq!(parse_page_request(None, None), Ok(first));
        assert_eq!(parse("100", "").map(|request| request.limit.get()), Ok(100));
        let cursor = format!("1000.{}", "ab".repeat(32));
        assert_eq!(parse("", &cursor).map(|r| r.after.map(|c| c.created_ms)), Ok(Some(1_000)));
        for (limit, after) in [("0", ""), ("501", ""), ("many", ""), ("-1", ""), ("", "yesterday")]
        {
            assert!(
                matches!(parse(limit, after), Err(PageError::BadRequest(_))),
                "{limit:?} {after:?}"
            );
        }
    }
}
