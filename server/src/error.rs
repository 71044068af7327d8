//! What an API caller is told when something is wrong. Source: RFC 9457 (problem details).

use axum::{
    Json,
    body::to_bytes,
    extract::{Request, rejection::QueryRejection},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

/// Longest text of another's error that is passed on, in bytes.
const MAX_TEXT_BYTES: usize = 2048;

/// An error answer: `application/problem+json`. Its text is public.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    field: Option<String>,
    retry_after_secs: Option<u32>,
    is_bearer_asked: bool,
}

/// Body of an error answer. Source: RFC 9457 §3.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Body<'a> {
    /// `about:blank`: the status says what kind of problem it is.
    r#type: &'static str,
    /// The status in words.
    title: &'a str,
    /// HTTP status.
    status: u16,
    /// A sentence about this case.
    detail: &'a str,
    /// What of the request is wrong, if it is one thing: a query key, a part of the path or of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

impl Problem {
    /// A problem with a sentence for the caller.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            field: None,
            retry_after_secs: None,
            is_bearer_asked: false,
        }
    }

    /// Something the caller sent is wrong.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// There is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// Something behind this server failed: logged here, once, and told without its details.
    pub fn unavailable(what: &str, error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "{what} failed: {error}");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{what} is not available now; try again"),
        )
        .retry_after_secs(5)
    }

    /// Names what of the request is wrong.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>) -> Self {
        self.field = Some(name.into());
        self
    }

    /// Asks for a bearer token.
    #[must_use]
    pub fn bearer(mut self) -> Self {
        self.is_bearer_asked = true;
        self
    }

    /// Adds `Retry-After`.
    #[must_use]
    pub fn retry_after_secs(mut self, secs: u32) -> Self {
        self.retry_after_secs = Some(secs);
        self
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl From<catalog::CatalogError> for Problem {
    fn from(error: catalog::CatalogError) -> Self {
        Self::unavailable("the catalog", &error)
    }
}

impl From<catalog::PurgeError> for Problem {
    fn from(error: catalog::PurgeError) -> Self {
        match error {
            catalog::PurgeError::Catalog(error) => error.into(),
            catalog::PurgeError::Store(error) => error.into(),
        }
    }
}

impl From<catalog::BlobError> for Problem {
    fn from(error: catalog::BlobError) -> Self {
        if error.is_full() {
            tracing::error!(%error, "{error}");
            return Self::new(StatusCode::INSUFFICIENT_STORAGE, "the blob store is full");
        }
        Self::unavailable("the blob store", &error)
    }
}

/// Makes a problem of every error that is none yet: those of extractors, of limits, and of methods that
/// a route does not have.
pub(crate) async fn as_problems(request: Request, next: Next) -> Response {
    let is_page = !crate::api::is_machines(request.uri().path());
    let response = next.run(request).await;
    let status = response.status();
    let content_type = response.headers().get(header::CONTENT_TYPE);
    // Not one that is compressed: its bytes are no sentence any more.
    let is_text = !response.headers().contains_key(header::CONTENT_ENCODING)
        && content_type.is_none_or(|value| value.as_bytes().starts_with(b"text/plain"));
    if is_page || !is_text || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = to_bytes(body, MAX_TEXT_BYTES).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let detail = match (status, text.trim()) {
        (StatusCode::METHOD_NOT_ALLOWED, _) => "this address does not take that method; see Allow",
        // What went wrong in here is nobody's business out there.
        (status, _) if status.is_server_error() => "the server could not answer; try again",
        (_, "") => "the request cannot be answered as it is",
        (_, text) => text,
    };
    let problem = Problem::new(status, detail).into_response();
    // `Allow` and the like stay.
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::CONTENT_TYPE);
    let (problem, body) = problem.into_parts();
    parts.headers.extend(problem.headers);
    Response::from_parts(parts, body)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            field: self.field.as_deref(),
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.is_bearer_asked {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(secs) = self.retry_after_secs {
            headers.insert(header::RETRY_AFTER, secs.into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, http::Request, middleware::from_fn, routing::get};
    use flate2::read::GzDecoder;
    use tower::ServiceExt as _;
    use tower_http::compression::CompressionLayer;

    use super::*;

    #[tokio::test]
    async fn an_error_that_is_compressed_already_can_still_be_read() {
        const TEXT: &str = "a sentence of an extractor, long enough to be compressed";
        let router = Router::new()
            .route("/api/x", get(|| async { (StatusCode::BAD_REQUEST, TEXT) }))
            .layer(CompressionLayer::new())
            .layer(from_fn(as_problems));
        for accepted in ["gzip", "identity"] {
            let request = Request::get("/api/x").header(header::ACCEPT_ENCODING, accepted);
            let answer =
                router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            let (parts, body) = answer.into_parts();
            let body = to_bytes(body, MAX_TEXT_BYTES).await.unwrap();
            let text = match parts.headers.get(header::CONTENT_ENCODING) {
                Some(_) => std::io::read_to_string(GzDecoder::new(&*body)).unwrap(),
                None => String::from_utf8(body.to_vec()).unwrap(),
            };
            assert!(text.contains(TEXT), "{accepted}: {text}");
        }
    }
}
