//! WHEP: an SDP offer in, an answer and a session out. Source: draft-ietf-wish-whep.

use app::ssr::Viewer;
use axum::{
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::CameraId;
use media::{
    egress::handle::{CreateError, Resource, RtcHandle, SessionSecret},
    sansio::sdp::OfferError,
};

use crate::error::Problem;

const SDP: &str = "application/sdp";

/// `POST /whep/{camera}` → 201, `Location` of the session.
pub(crate) async fn create(
    _viewer: Viewer,
    State(rtc): State<RtcHandle>,
    Path(camera): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mime = content_type.and_then(|value| value.split(';').next()).map(str::trim);
    if !mime.is_some_and(|mime| mime.eq_ignore_ascii_case(SDP)) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send the offer as application/sdp",
        ));
    }
    let body =
        body.map_err(|refused| Problem::new(refused.status(), "the offer cannot be read"))?;
    let camera = parse_camera(&camera)?;
    let created =
        rtc.create(&camera, &body, std::net::Ipv4Addr::LOCALHOST.into()).await.map_err(problem)?;
    let location = format!("/whep/{camera}/{}", created.secret.expose());
    let location = HeaderValue::from_str(&location)
        .map_err(|error| Problem::unavailable("the session", &error))?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(SDP)),
        (header::LOCATION, location),
        // The session's ICE credentials never change yet.
        (header::ETAG, HeaderValue::from_static("\"1\"")),
    ];
    Ok((StatusCode::CREATED, headers, created.sdp).into_response())
}

/// `DELETE /whep/{camera}/{session}` → 200; afterwards 404.
pub(crate) async fn delete(
    _viewer: Viewer,
    State(rtc): State<RtcHandle>,
    Path((camera, session)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let camera = parse_camera(&camera)?;
    if rtc.delete(&Resource { camera, secret: SessionSecret::from(session) }).await {
        Ok(StatusCode::OK)
    } else {
        Err(Problem::not_found("there is no such session"))
    }
}

/// `OPTIONS /whep/{camera}`: what may be posted here.
pub(crate) async fn options(_viewer: Viewer) -> Response {
    (
        [(header::HeaderName::from_static("accept-post"), HeaderValue::from_static(SDP))],
        StatusCode::OK,
    )
        .into_response()
}

/// `GET` and `HEAD`: there is nothing to read, and that is no error.
pub(crate) async fn describe(_viewer: Viewer) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(SDP))], StatusCode::OK).into_response()
}

fn parse_camera(text: &str) -> Result<CameraId, Problem> {
    text.parse().map_err(|_| Problem::not_found("no such camera"))
}

fn problem(error: CreateError) -> Problem {
    let text = error.to_string();
    match error {
        CreateError::UnknownCamera => Problem::not_found(text),
        CreateError::NotLive => Problem::new(StatusCode::CONFLICT, text).retry_after_secs(2),
        CreateError::Offer(OfferError::NoH264 | OfferError::NoReceivingVideo) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text)
        }
        CreateError::Offer(_) => Problem::bad_request(text),
        CreateError::NotPublishable | CreateError::AlreadyPublished => {
            Problem::new(StatusCode::CONFLICT, text)
        }
        CreateError::Full(_) | CreateError::Stopping => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, text).retry_after_secs(5)
        }
    }
}
