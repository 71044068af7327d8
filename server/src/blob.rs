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

/// Takes a part of an upload; nothing is left of one that is cut off.
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
    let signed = folder.verify_part(path, query, Timestamp::now());
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

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use proptest::prelude::*;

    use super::*;

    const ETAG: &str = "\"1-2\"";

    /// Status, `Content-Range` and body of the answer about a file of these bytes.
    fn asked(
        bytes: &[u8],
        fields: &[(header::HeaderName, &HeaderValue)],
    ) -> (StatusCode, String, Vec<u8>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let fields = fields.iter().map(|(name, value)| (name.clone(), (*value).clone()));
        let headers: HeaderMap = fields.collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let response = answer(file.path(), ETAG, &Method::GET, &headers).await;
            let range = response.headers().get(header::CONTENT_RANGE);
            let range = range.map_or("", |range| range.to_str().unwrap()).to_owned();
            let status = response.status();
            (status, range, to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec())
        })
    }

    fn any_range() -> impl Strategy<Value = HeaderValue> {
        let text = prop_oneof![
            "bytes=[0-9]{0,2}-[0-9]{0,2}",
            "bytes=[0-9]{15,25}-[0-9]{0,25}",
            "bytes=[0-9 ,+-]{0,12}",
            "[ -~]{0,20}",
        ];
        let text = text.prop_map(String::into_bytes);
        let value = prop_oneof![text, prop::collection::vec(any::<u8>(), 0..12)];
        value.prop_filter_map("no header", |value| HeaderValue::from_bytes(&value).ok())
    }

    fn any_if_range() -> impl Strategy<Value = Option<HeaderValue>> {
        let junk = "[ -~]{0,12}";
        let date = Just("Fri, 01 Jan 2100 00:00:00 GMT".to_owned());
        let text = prop_oneof![Just(ETAG.to_owned()), Just(format!("W/{ETAG}")), date, junk];
        prop::option::of(text.prop_map(|text| HeaderValue::from_str(&text).unwrap()))
    }

    proptest! {
        #[test]
        fn whatever_range_is_asked_for_the_bytes_are_those_that_the_answer_names(
            bytes in prop::collection::vec(any::<u8>(), 0..40), range in any_range(),
            if_range in any_if_range(),
        ) {
            let mut fields = vec![(header::RANGE, &range)];
            fields.extend(if_range.iter().map(|seen| (header::IF_RANGE, seen)));
            let (status, content_range, body) = asked(&bytes, &fields);
            let is_of_another = if_range.is_some_and(|seen| seen != ETAG);
            match status {
                StatusCode::OK => prop_assert_eq!(body, bytes),
                StatusCode::PARTIAL_CONTENT => {
                    prop_assert!(!is_of_another);
                    let named = content_range.strip_prefix("bytes ").and_then(|range| {
                        let (range, len) = range.split_once('/')?;
                        let (first, last) = range.split_once('-')?;
                        Some((first.parse().ok()?, last.parse().ok()?, len.parse().ok()?))
                    });
                    let (first, last, len): (usize, usize, usize) = named.unwrap();
                    prop_assert_eq!(len, bytes.len());
                    prop_assert_eq!(Some(&body[..]), bytes.get(first..=last));
                }
                _ => {
                    prop_assert_eq!(status, StatusCode::RANGE_NOT_SATISFIABLE);
                    prop_assert_eq!(content_range, format!("bytes */{}", bytes.len()));
                }
            }
        }

        #[test]
        fn a_range_of_what_there_is_is_sent(
            bytes in prop::collection::vec(any::<u8>(), 1..40), first: prop::sample::Index,
            len in 1..50_usize,
        ) {
            let first = first.index(bytes.len());
            let range = HeaderValue::from_str(&format!("bytes={first}-{}", first + len - 1)).unwrap();
            let same = HeaderValue::from_static(ETAG);
            let fields = [(header::RANGE, &range), (header::IF_RANGE, &same)];
            let (status, _, body) = asked(&bytes, &fields);
            prop_assert_eq!(status, StatusCode::PARTIAL_CONTENT);
            prop_assert_eq!(body, &bytes[first..bytes.len().min(first + len)]);
        }
    }
}
