//! `/blob/{key}?…`: the folder store's signed URLs, answered as an S3 server would: `GET` with ranges and
//! entity tags, `PUT` of exactly what was signed for, expiry.
//!
//! The signature is the permission. User bytes are answered so that they can never run as ours.

use std::path::Path;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use catalog::{
    BlobStore,
    blob::{PutError, VerifyError},
};
use futures::StreamExt as _;
use jiff::Timestamp;
use tower::ServiceExt as _;
use tower_http::services::ServeFile;

use crate::{auth, cors::CrossOrigin, error::Problem, page_cache::negotiate};

/// Nothing in user bytes runs or loads anything; a browser's own viewer of pictures and videos works.
const POLICY: &str = "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; \
                      style-src 'unsafe-inline'; frame-ancestors 'none'";

pub(crate) async fn show(
    State(store): State<BlobStore>,
    request: Request,
) -> Result<Response, Problem> {
    let Some(folder) = store.as_folder() else { return Err(Problem::not_found("no such page")) };
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let find = || async {
        folder.verify(path, query, Timestamp::now()).await.map_err(|error| match error {
            VerifyError::NotFound => Problem::not_found("the original is gone from the blob store"),
            refused => Problem::new(StatusCode::FORBIDDEN, refused.to_string()),
        })
    };
    let (signed, etag, mut response) = loop {
        let signed = find().await?;
        let etag = format!("\"{}\"", signed.stamp);
        let response = answer(&signed.path, &etag, request.method(), request.headers()).await;
        // Where it was replaced before it was opened, the tag is not of the bytes that would follow.
        if find().await? == signed {
            break (signed, etag, response);
        }
    };
    let value = |text: &str| {
        HeaderValue::from_str(text).map_err(|_| Problem::bad_request("this link is not valid"))
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, value(&etag)?);
    headers.insert(header::CONTENT_TYPE, value(&signed.content_type)?);
    headers.insert(header::CONTENT_DISPOSITION, value(&signed.content_disposition)?);
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // As long as a link lives; the router sees to it that no error is kept.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    Ok(response)
}

/// The file, a range of it, or why neither is sent; without what is the link's to say.
async fn answer(path: &Path, etag: &str, method: &Method, headers: &HeaderMap) -> Response {
    if negotiate::is_known(headers, &[etag.as_bytes()]).is_some() {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    // `ServeFile` knows neither tags nor several ranges.
    let mut headers = headers.clone();
    if headers.contains_key(header::IF_NONE_MATCH) {
        headers.remove(header::IF_MODIFIED_SINCE);
    }
    if !is_range_due(&headers, etag) {
        headers.remove(header::RANGE);
    }
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method.clone();
    *request.headers_mut() = headers;
    match ServeFile::new(path).oneshot(request).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}

/// Whether a range is sent rather than everything, as S3 does: one range of bytes, and of the object that
/// the asker has the rest of. Source: RFC 9110 §13.1.5 (If-Range), §14.2.
fn is_range_due(headers: &HeaderMap, etag: &str) -> bool {
    let is_single = |range: &HeaderValue| {
        let range = range.as_bytes().strip_prefix(b"bytes=");
        range.is_some_and(|range| !range.contains(&b','))
    };
    // A date is too coarse to tell two objects from each other.
    let is_same = headers.get(header::IF_RANGE).is_none_or(|seen| seen == etag);
    is_same && headers.get(header::RANGE).is_some_and(is_single)
}

/// Takes an object, or a part of an upload; nothing is left of one that is cut off.
pub(crate) async fn receive(
    State(store): State<BlobStore>,
    request: Request,
) -> Result<Response, Problem> {
    let Some(folder) = store.as_folder() else { return Err(Problem::not_found("no such page")) };
    // The API has signed links for pages of allowed origins, too.
    let is_allowed = request.extensions().get::<CrossOrigin>().is_some();
    if !is_allowed && !auth::is_from_own_page(&request) {
        let text = "requests from other sites are not accepted";
        return Err(Problem::new(StatusCode::FORBIDDEN, text));
    }
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let signed = folder.verify_put(path, query, Timestamp::now());
    let signed =
        signed.map_err(|refused| Problem::new(StatusCode::FORBIDDEN, refused.to_string()))?;
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse().ok());
    if let Some(len_bytes) = announced.filter(|len_bytes| *len_bytes != signed.len_bytes) {
        // Before a byte of it is read.
        return Err(PutError::Length { expected_bytes: signed.len_bytes, len_bytes }.into());
    }
    let mut writer = folder.receive(&signed).await?;
    let mut body = request.into_body().into_data_stream();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|_| Problem::bad_request("the upload was cut off"))?;
        writer = writer.write(chunk).await?;
    }
    let etag = writer.finish().await?;
    let headers =
        [(header::ETAG, format!("\"{etag}\"")), (header::CACHE_CONTROL, "no-store".to_owned())];
    Ok((StatusCode::OK, headers).into_response())
}

impl From<PutError> for Problem {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Length { .. } => Self::new(StatusCode::FORBIDDEN, error.to_string()),
            PutError::Gone => Self::not_found(error.to_string()),
            PutError::Store(error) => error.into(),
        }
    }
}
