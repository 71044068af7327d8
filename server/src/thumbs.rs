//! `GET /assets/thumbs/{name}`: bytes that never change under their name.

use app::ssr::Viewer;
use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use catalog::{BlobStore, Catalog, thumbs::ThumbBytesError};

use crate::error::Problem;

pub(crate) async fn show(
    _viewer: Viewer,
    State(catalog): State<Catalog>,
    State(store): State<BlobStore>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let bytes =
        catalog::thumb_bytes(&catalog, &store, &name).await.map_err(|error| match error {
            ThumbBytesError::Catalog(error) => Problem::from(error),
            ThumbBytesError::Store(error) => Problem::from(error),
        })?;
    let Some(bytes) = bytes else { return Err(Problem::not_found("no such thumbnail")) };
    let etag = format!("\"{}\"", name.trim_end_matches(".webp"));
    let is_known =
        headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes());
    let etag = HeaderValue::from_str(&etag).map_err(|_| Problem::not_found("no such thumbnail"))?;
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let headers =
        [(header::CONTENT_TYPE, HeaderValue::from_static("image/webp")), (header::ETAG, etag)];
    Ok((headers, bytes).into_response())
}
