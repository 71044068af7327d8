//! Why a page has nothing to show, in words for the person who looks at it.

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
    /// More was sent than is taken.
    #[error("That is more than can be sent at once.")]
    TooLarge,
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
        let error = match error {
            // Only the text tells it from a body that broke off. Source: http-body-util's `Limited`.
            ServerFnErrorErr::Deserialization(text)
                if cfg!(feature = "ssr") && text.contains("length limit exceeded") =>
            {
                Self::TooLarge
            }
            // On the server of a request's body; in the browser of an answer's.
            ServerFnErrorErr::Deserialization(_) if cfg!(feature = "ssr") => {
                Self::BadRequest("The request's body is not valid.".to_owned())
            }
            ServerFnErrorErr::Args(_) | ServerFnErrorErr::MissingArg(_) => {
                Self::BadRequest("The request's arguments are not valid.".to_owned())
            }
            ServerFnErrorErr::ServerError(_) | ServerFnErrorErr::MiddlewareError(_) => {
                Self::Unavailable
            }
            _ => Self::Unreachable,
        };
        // Otherwise it would be 500, whatever it is.
        super::response::set_status_of_refusal(&error);
        error
    }
}
