//! Which answers may be kept, by whom, and the headers every answer carries.
//!
//! Must not: decide access. Every route names its policy in `router.rs`; an answer that set its own
//! `Cache-Control` keeps it.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::Response,
};

/// How long an answer may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePolicy {
    /// Named by its content: kept for a year.
    Immutable,
    /// Thumbnails of an open library: named by their content; kept for 30 days by anyone.
    Thumbnail,
    /// Thumbnails behind a login: only by the browser of who may see them.
    PrivateThumbnail,
    /// Site files with plain names.
    Static,
    /// A page of an open library: a proxy may keep it for a minute, a browser asks each time.
    OpenPage,
    /// What the API reads of an open library.
    OpenApi,
    /// Behind a login: a browser may keep it, and asks each time.
    Revalidate,
    /// Depends on who asks, or on this moment.
    NoStore,
}

impl CachePolicy {
    /// Value of `Cache-Control`.
    pub fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Immutable => "public, max-age=31536000, immutable",
            Self::Thumbnail => "public, max-age=2592000, immutable",
            Self::PrivateThumbnail => "private, max-age=2592000, immutable",
            Self::Static => "public, max-age=3600",
            Self::OpenPage => "public, max-age=0, s-maxage=60, stale-while-revalidate=120",
            Self::OpenApi => "public, max-age=5, s-maxage=60, stale-while-revalidate=120",
            Self::Revalidate => "private, no-cache",
            Self::NoStore => "private, no-store",
        })
    }
}

/// Adds the policy to good answers that have none; errors are never kept.
pub(crate) async fn apply(policy: CachePolicy, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let is_good = response.status().is_success() || response.status().is_redirection();
    let policy = if is_good { policy } else { CachePolicy::NoStore };
    if !is_good || !response.headers().contains_key(header::CACHE_CONTROL) {
        response.headers_mut().insert(header::CACHE_CONTROL, policy.header());
    }
    response
}

/// For answers that are no page of ours (pages set their own, with a nonce).
const STRICT_CSP: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Headers of every answer.
pub(crate) async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    put_security_headers(response.headers_mut());
    response
}

/// Adds those that are not there.
pub(crate) fn put_security_headers(headers: &mut HeaderMap) {
    let mut put_default = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    put_default(header::CONTENT_SECURITY_POLICY, STRICT_CSP);
    put_default(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    // Not `no-referrer`: browsers would send our own forms with `Origin: null`, which is refused.
    put_default(header::REFERRER_POLICY, "same-origin");
    put_default(header::X_FRAME_OPTIONS, "DENY");
    put_default(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    put_default(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    put_default(
        HeaderName::from_static("permissions-policy"),
        "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    );
}
