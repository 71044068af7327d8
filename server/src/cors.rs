//! Players on other sites: which may call, and what their browsers are told. Source: Fetch standard §3.2.
//!
//! Must not: decide who a request is from. Only origins on the list are told anything, never `*`, and
//! never with credentials: a cookie of ours is no permission for another site's page ([`crate::auth`]
//! hears of it by `CrossOrigin`).

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Deserializer, de::Error as _};

const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
const REQUEST_HEADERS: &str = "Authorization, Content-Type, If-Match";
const EXPOSED: &str = "Location, ETag, Link, Accept-Post, Retry-After, Content-Range";
/// Marks answers that a page of another site may use.
const CORP: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// Browsers ask again after this long.
const MAX_AGE: &str = "7200";

/// An origin as browsers send it: `https://player.example`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedOrigin(HeaderValue);

impl AllowedOrigin {
    /// As browsers send it.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl std::str::FromStr for AllowedOrigin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected an origin such as https://player.example, without a path";
        let origin = url::Url::parse(text).map_err(|_| EXPECTED)?.origin();
        if !origin.is_tuple() || origin.ascii_serialization() != text {
            return Err(EXPECTED);
        }
        HeaderValue::from_str(text).map(Self).map_err(|_| EXPECTED)
    }
}

impl<'de> Deserialize<'de> for AllowedOrigin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Marks a request that came from a page of an allowed other origin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CrossOrigin;

/// Answers `OPTIONS` of the signalling and preflights of allowed origins, without asking who it is; tells
/// the browser of an allowed origin's page that the page may read the answer. Of signed links, too: what the
/// API lets such a page begin, it is to send and to show.
pub(crate) async fn apply(
    State(allowed): State<Arc<[AllowedOrigin]>>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let (is_signalling, is_api) = (is_signalling(path), path.starts_with("/api/"));
    let is_blob = path.starts_with("/blob/");
    if !is_signalling && !is_api && !is_blob {
        return next.run(request).await;
    }
    // What an element loads says no origin; whoever holds a signed link may have what it leads to.
    let is_for_elements =
        is_blob && !allowed.is_empty() && !request.headers().contains_key(header::ORIGIN);
    let origin = allowed_origin(&allowed, request.headers());
    let mut response = if request.method() == Method::OPTIONS && (is_signalling || origin.is_some())
    {
        let mut response = ().into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        headers.insert(header::ALLOW, HeaderValue::from_static(METHODS));
        if !is_blob {
            tell_types(path, headers);
        }
        if origin.is_some() {
            let mut tell = |name, value| headers.insert(name, HeaderValue::from_static(value));
            tell(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            tell(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
            tell(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
        response
    } else {
        if origin.is_some() {
            request.extensions_mut().insert(CrossOrigin);
        }
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if is_for_elements || (is_blob && origin.is_some()) {
        headers.insert(CORP, HeaderValue::from_static("cross-origin"));
    }
    if let Some(origin) = origin {
        tell_origin(headers, origin);
    }
    response
}

/// The origin that asks, if it is one of those that may.
pub(crate) fn allowed_origin(
    allowed: &[AllowedOrigin],
    headers: &HeaderMap,
) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    allowed.iter().find(|allowed| allowed.0 == origin).map(|allowed| allowed.0.clone())
}

/// Tells the browser of an allowed origin's page that the page may read the answer.
pub(crate) fn tell_origin(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let exposed = HeaderValue::from_static(EXPOSED);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
}

/// Whether this is WHIP's or WHEP's.
pub(crate) fn is_signalling(path: &str) -> bool {
    path.starts_with("/whep/") || path.starts_with("/whip/")
}

/// What may be sent to a camera's endpoint, a session, or an extension of it. Source: RFC 9725 §4.2.
fn tell_types(path: &str, headers: &mut HeaderMap) {
    let segments = path.trim_matches('/').split('/').count();
    let (name, types) = match (is_signalling(path), segments) {
        (true, 2) => (ACCEPT_POST, "application/sdp"),
        (true, 3) => (ACCEPT_PATCH, "application/trickle-ice-sdpfrag, application/sdp"),
        _ => (ACCEPT_POST, "application/json"),
    };
    headers.insert(name, HeaderValue::from_static(types));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowed_origin_is_written_as_browsers_send_it() {
        for good in ["https://player.example", "http://10.0.0.2:8080", "http://[2001:db8::1]:81"] {
            assert!(good.parse::<AllowedOrigin>().is_ok(), "{good}");
        }
        for bad in
            ["*", "null", "", "https://player.example/", "https://a:443", "HTTPS://a", "file:///x"]
        {
            assert!(bad.parse::<AllowedOrigin>().is_err(), "{bad}");
        }
    }
}
