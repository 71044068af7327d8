//! `GET /blob/{key}?…`: the folder store's signed URLs, answered as an S3 server would: ranges, expiry.
//!
//! The signature is the permission. User bytes are answered so that they can never run as ours.

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use catalog::{BlobStore, blob::VerifyError};
use jiff::Timestamp;
use tower::ServiceExt as _;
use tower_http::services::ServeFile;

use crate::error::Problem;

/// Nothing in user bytes runs or loads anything; a browser's own viewer of pictures and videos works.
const POLICY: &str = "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; \
                      style-src 'unsafe-inline'; frame-ancestors 'none'";

pub(crate) async fn show(
    State(store): State<BlobStore>,
    request: Request,
) -> Result<Response, Problem> {
    let Some(folder) = store.as_folder() else { return Err(Problem::not_found("no such page")) };
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let signed =
        folder.verify(path, query, Timestamp::now()).await.map_err(|error| match error {
            VerifyError::NotFound => Problem::not_found("the original is gone from the blob store"),
            refused => Problem::new(StatusCode::FORBIDDEN, refused.to_string()),
        })?;
    let value = |text: &str| {
        HeaderValue::from_str(text).map_err(|_| Problem::bad_request("this link is not valid"))
    };
    let disposition = value(&signed.content_disposition)?;
    let content_type = value(&signed.content_type)?;
    let response = match ServeFile::new(&signed.path).oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let mut response = response.map(Body::new).into_response();
    let keep = if response.status().is_success() { "private, max-age=3600" } else { "no-store" };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CONTENT_DISPOSITION, disposition);
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("accept-ranges"), HeaderValue::from_static("bytes"));
    Ok(response)
}
