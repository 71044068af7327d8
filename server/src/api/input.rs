//! What handlers take from a request, with a problem that names what is wrong with it.

use std::{fmt::Display, str::FromStr};

use axum::{
    body::Bytes,
    extract::{
        FromRequest, FromRequestParts, Request,
        path::ErrorKind,
        rejection::{BytesRejection, PathRejection},
    },
    http::{HeaderMap, StatusCode, request::Parts},
};
use domain::QueryError;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::session;
use crate::error::Problem;

/// The JSON object in the body; fields that are not expected are refused by the type.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let headers = request.headers().clone();
        let body: Result<Bytes, BytesRejection> = Bytes::from_request(request, state).await;
        // Serde would take a list for a structure, its items for the fields.
        let object: Map<String, Value> = read_json(&headers, &session::read(body)?)?;
        T::deserialize(Value::Object(object)).map(Self).map_err(not_expected)
    }
}

/// The JSON in a request's body, which may be a list.
pub(crate) fn read_json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: &[u8],
) -> Result<T, Problem> {
    if session::content_type(headers).as_deref() != Some("application/json") {
        return Err(session::unsupported("application/json"));
    }
    serde_json::from_slice(body).map_err(not_expected)
}

/// Says what is wrong without the value, which may be a camera's URL.
fn not_expected(error: serde_json::Error) -> Problem {
    let text = error.to_string();
    let reason = crate::config::without_value(&text);
    Problem::bad_request(format!("the body is not what is expected: {reason}"))
}

/// The parameters of the path as text; an address that is none leads nowhere.
pub(crate) struct Path<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(found)) => Ok(Self(found)),
            Err(PathRejection::FailedToDeserializePathParams(cause)) => Err(match cause.kind() {
                ErrorKind::InvalidUtf8InPathParam { key } => {
                    Problem::not_found(format!("the {key} is not UTF-8")).field(key)
                }
                _ => Problem::not_found("there is nothing at this address"),
            }),
            Err(_) => Err(Problem::not_found("there is nothing at this address")),
        }
    }
}

/// The one parameter of the path, parsed; anything else is something that is not there.
pub(crate) struct Id<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for Id<T>
where
    T: FromStr<Err: Display>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let Path(text) = Path::<String>::from_request_parts(parts, state).await?;
        let not_found = |error: T::Err| Problem::not_found(error.to_string()).field("id");
        text.parse().map(Self).map_err(not_found)
    }
}

/// The query as it stands in the address, to be parsed by what it asks for.
pub(crate) struct RawQuery(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for RawQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let query = parts.uri.query().unwrap_or_default();
        // The parser would put something else in their place, and look for that.
        let is_text = percent_encoding::percent_decode_str(query).decode_utf8();
        match is_text {
            Ok(text) if text.contains('\0') => {
                Err(Problem::bad_request("the query has a NUL in it").field("query"))
            }
            Ok(_) => Ok(Self(query.to_owned())),
            Err(_) => Err(Problem::bad_request("the query is not UTF-8").field("query")),
        }
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        Self::bad_request(error.to_string()).field(error.key)
    }
}

/// A problem with a field of the body.
pub(crate) fn bad_field(name: &'static str, reason: impl Display) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, format!("{name}: {reason}")).field(name)
}
