//! What WHEP and WHIP have in common: the answer to an offer, changes to a session, its end.
//! Source: RFC 9725; draft-ietf-wish-whep.

use std::{net::IpAddr, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequestParts, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use domain::CameraId;
use jiff::Timestamp;
use media::{
    egress::handle::{
        CreateError, Created, Patch, PatchError, Patched, Resource, RtcHandle, SessionKind,
        SessionSecret,
    },
    sansio::sdp::OfferError,
};

use super::input::Path;
use crate::{auth::SessionSigner, client_addr::ClientAddr, error::Problem, events::EventStreams};

const SDP: &str = "application/sdp";
const SDP_FRAGMENT: &str = "application/trickle-ice-sdpfrag";
/// Entity tags looked at in one `If-Match`.
const MAX_TAGS: usize = 8;

/// Who offers: where from, and how session URLs are to be made for it.
pub(crate) struct Caller {
    pub(crate) remote: IpAddr,
    signer: Option<SessionSigner>,
}

impl Caller {
    /// What to put behind the URL of a session, and of whatever is below it.
    pub(crate) fn query(&self, session_path: &str) -> String {
        self.signer.as_ref().map(|signer| signer.query(session_path)).unwrap_or_default()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let ClientAddr(remote) = ClientAddr::from_request_parts(parts, state).await?;
        Ok(Self { remote, signer: parts.extensions.get().cloned() })
    }
}

pub(crate) fn parse_camera(text: &str) -> Result<CameraId, Problem> {
    text.parse().map_err(|_| Problem::not_found("there is no such camera"))
}

/// The role that changes a session of a kind.
pub(crate) trait Role {
    const KIND: SessionKind;
}

impl Role for app::ssr::Viewer {
    const KIND: SessionKind = SessionKind::Viewer;
}

impl Role for app::ssr::Operator {
    const KIND: SessionKind = SessionKind::Publisher;
}

pub(crate) fn resource(
    kind: SessionKind,
    camera: &str,
    session: String,
) -> Result<Resource, Problem> {
    Ok(Resource { kind, camera: parse_camera(camera)?, secret: SessionSecret::from(session) })
}

/// A viewer's session.
pub(crate) fn viewer(camera: &str, session: String) -> Result<Resource, Problem> {
    resource(SessionKind::Viewer, camera, session)
}

/// A session that was made for that camera.
pub(crate) fn of(kind: SessionKind, camera: CameraId, created: &Created) -> Resource {
    Resource { kind, camera, secret: created.secret.clone() }
}

/// Path of a session.
pub(crate) fn path(resource: &Resource) -> String {
    let endpoint = match resource.kind {
        SessionKind::Viewer => "whep",
        SessionKind::Publisher => "whip",
    };
    format!("/{endpoint}/{}/{}", resource.camera, resource.secret.expose())
}

pub(crate) fn header(text: String) -> Result<HeaderValue, Problem> {
    HeaderValue::try_from(text).map_err(|error| Problem::unavailable("the session", &error))
}

pub(crate) fn no_session() -> Problem {
    Problem::not_found("there is no such session")
}

/// The body, or why there is none.
pub(crate) fn read(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Problem> {
    body.map_err(|refused| Problem::new(refused.status(), "the body is too large or was cut off"))
}

/// The offer in a request's body.
pub(crate) fn read_offer(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Bytes, Problem> {
    if content_type(headers).as_deref() != Some(SDP) {
        return Err(unsupported(SDP));
    }
    read(body)
}

/// Without its parameters, in small letters.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next()?.trim().to_ascii_lowercase())
}

pub(crate) fn unsupported(expected: &str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("send the body as {expected}"))
}

/// 201 with our answer, or 406 with our own offer, which the player answers by a PATCH.
pub(crate) fn created(
    created: Created,
    path: &str,
    query: &str,
    links: impl IntoIterator<Item = HeaderValue>,
) -> Result<Response, Problem> {
    let status = match created.counter_offer {
        None => StatusCode::CREATED,
        Some(_) => StatusCode::NOT_ACCEPTABLE,
    };
    let mut response = (status, created.sdp).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert(header::LOCATION, header(format!("{path}{query}"))?);
    headers.insert(header::ETAG, header(format!("\"{}\"", created.etag))?);
    for link in links {
        headers.append(header::LINK, link);
    }
    if let Some(stands) = created.counter_offer {
        headers.insert(HeaderName::from_static("valid-until"), header(http_date(stands))?);
    }
    Ok(response)
}

/// The date that long from now. Source: RFC 9110 §5.6.7.
fn http_date(from_now: Duration) -> String {
    let at = Timestamp::now().checked_add(from_now).unwrap_or(Timestamp::MAX);
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// `PATCH` on a session: more candidates (204), an ICE restart (200), or the answer to our offer (204).
/// `R` is the role that it needs.
pub(crate) async fn patch<R: Role>(
    _role: R,
    State(rtc): State<RtcHandle>,
    Path((camera, session)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let resource = &resource(R::KIND, &camera, session)?;
    let content_type = content_type(&headers);
    let is_fragment = match content_type.as_deref() {
        Some(SDP_FRAGMENT) => true,
        Some(SDP) => false,
        _ => return Err(unsupported(SDP_FRAGMENT)),
    };
    let body = read(body)?;
    if body.is_empty() {
        return Err(Problem::bad_request("the body is empty"));
    }
    if !is_fragment {
        rtc.patch(resource, Patch::Answer(&body)).await.map_err(patch_problem)?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let tags = if_match(&headers);
    let mut patched = Err(PatchError::PreconditionFailed);
    for if_match in tags.as_deref().map_or(vec![None], |tags| tags.iter().map(Some).collect()) {
        let if_match = if_match.map(String::as_str);
        patched = rtc.patch(resource, Patch::SdpFragment { body: &body, if_match }).await;
        // Nothing has changed yet: the next tag may be the one.
        if patched != Err(PatchError::PreconditionFailed) {
            break;
        }
    }
    match patched.map_err(patch_problem)? {
        Patched::Done => Ok(StatusCode::NO_CONTENT.into_response()),
        Patched::Restarted { fragment, etag } => {
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_static(SDP_FRAGMENT)),
                (header::ETAG, header(format!("\"{etag}\""))?),
            ];
            Ok((headers, fragment).into_response())
        }
    }
}

/// `DELETE` on a session → 200; afterwards 404. `R` is the role that it needs.
pub(crate) async fn delete<R: Role>(
    _role: R,
    State(rtc): State<RtcHandle>,
    State(streams): State<EventStreams>,
    Path((camera, session)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let resource = resource(R::KIND, &camera, session)?;
    streams.close_session(&resource);
    if rtc.delete(&resource).await { Ok(StatusCode::OK) } else { Err(no_session()) }
}

/// Entity tags of `If-Match`, unquoted; `None` without the header. A weak one is a tag that matches
/// nothing, for the comparison is a strong one. Source: RFC 9110 §13.1.1.
fn if_match(headers: &HeaderMap) -> Option<Vec<String>> {
    let mut lines = headers.get_all(header::IF_MATCH).iter().peekable();
    lines.peek()?;
    let tags = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|tag| !tag.starts_with("W/"))
        .map(|tag| {
            // Some players leave the quotes away, and some put them around the `*`.
            let unquoted = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            unquoted.unwrap_or(tag).to_owned()
        })
        .filter(|tag| !tag.is_empty())
        .take(MAX_TAGS);
    let mut tags: Vec<String> = tags.collect();
    if tags.is_empty() {
        // No tag of ours is empty: whether the session is there is still found out.
        tags.push(String::new());
    }
    Some(tags)
}

/// `GET` and `HEAD` on an endpoint or a session: there is nothing to read, and that is no error.
pub(crate) async fn describe(_viewer: app::ssr::Viewer, method: Method) -> Response {
    if method == Method::HEAD {
        return [(header::CONTENT_TYPE, HeaderValue::from_static(SDP))].into_response();
    }
    StatusCode::NO_CONTENT.into_response()
}

/// Any other method.
pub(crate) async fn method_not_allowed(_viewer: app::ssr::Viewer) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this method means nothing here")
}

pub(crate) fn create_problem(error: CreateError) -> Problem {
    let text = error.to_string();
    match error {
        CreateError::UnknownCamera => Problem::not_found(text),
        CreateError::NotLive => Problem::new(StatusCode::CONFLICT, text).retry_after_secs(2),
        CreateError::Offer(OfferError::Malformed(_) | OfferError::Missing(_)) => {
            Problem::bad_request(text)
        }
        // Understood, and of no use here.
        CreateError::Publish(error) if error.is_malformed() => Problem::bad_request(text),
        CreateError::Offer(_) | CreateError::Publish(_) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text)
        }
        CreateError::NotPublishable => Problem::new(StatusCode::CONFLICT, text),
        CreateError::AlreadyPublished => {
            Problem::new(StatusCode::CONFLICT, text).retry_after_secs(5)
        }
        CreateError::Full(_) | CreateError::Stopping => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, text).retry_after_secs(5)
        }
    }
}

fn patch_problem(error: PatchError) -> Problem {
    let status = match error {
        PatchError::NoSession => StatusCode::NOT_FOUND,
        PatchError::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
        PatchError::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        PatchError::Malformed(_) => StatusCode::BAD_REQUEST,
        PatchError::NoAnswerExpected => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Problem::new(status, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expected: Option<&[&str]>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::IF_MATCH, line.parse().unwrap());
        }
        let tags = if_match(&headers);
        let tags = tags.as_ref().map(|tags| tags.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(tags.as_deref(), expected, "{lines:?}");
    }

    #[test]
    fn if_match_is_read_strongly_and_forgivingly() {
        check(&[], None);
        check(&["*"], Some(&["*"]));
        check(&["\"*\""], Some(&["*"]));
        check(&["\"abc\""], Some(&["abc"]));
        check(&["abc"], Some(&["abc"]));
        check(&["W/\"abc\""], Some(&[""]));
        check(&["W/\"abc\", \"def\"", "\"ghi\""], Some(&["def", "ghi"]));
        check(&[""], Some(&[""]));
        check(&["\"\""], Some(&[""]));
    }

    #[test]
    fn line_3_a_counter_offer_is_406_with_a_location_and_says_how_long_it_stands() {
        let offer = Created {
            sdp: "v=0\r\n".into(),
            counter_offer: Some(Duration::from_secs(30)),
            secret: SessionSecret::from("abc".to_owned()),
            etag: "e".into(),
        };
        let response = created(offer, "/whep/door/abc", "", []).unwrap();
        assert_eq!(response.status(), 406);
        let text = |name| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(text("content-type"), "application/sdp");
        assert_eq!((text("location"), text("etag")), ("/whep/door/abc".into(), "\"e\"".into()));
        assert!(text("valid-until").ends_with(" GMT"));
    }

    #[test]
    fn dates_are_as_http_writes_them() {
        let date = http_date(Duration::from_secs(30));
        let parsed = jiff::fmt::strtime::parse("%a, %d %b %Y %H:%M:%S GMT", &date);
        assert!(parsed.is_ok() && date.len() == 29, "{date}");
    }

    proptest::proptest! {
        #[test]
        fn any_if_match_is_some_tags(text in "[\\x20-\\x7e]{0,80}") {
            let mut headers = HeaderMap::new();
            headers.append(header::IF_MATCH, text.parse().unwrap());
            let tags = if_match(&headers).unwrap();
            proptest::prop_assert!((1..=MAX_TAGS).contains(&tags.len()));
        }
    }
}
