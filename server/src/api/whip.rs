//! `/whip/{camera}`: a publisher's SDP offer in, an answer and a session out. Source: RFC 9725.

use std::sync::Arc;

use app::ssr::Operator;
use axum::{
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::HeaderMap,
    response::Response,
};
use media::egress::handle::{RtcHandle, SessionKind};

use super::{
    input::Path,
    session::{self, Caller},
};
use crate::{HttpSettings, error::Problem};

/// `POST /whip/{camera}` → 201, `Location` of the session.
pub(crate) async fn create(
    _operator: Operator,
    State(rtc): State<RtcHandle>,
    State(settings): State<Arc<HttpSettings>>,
    caller: Caller,
    Path(camera): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let offer = session::read_offer(&headers, body)?;
    let camera = session::parse_camera(&camera)?;
    let created =
        rtc.publish(&camera, &offer, caller.remote).await.map_err(session::create_problem)?;
    let path = session::path(&session::of(SessionKind::Publisher, camera, &created));
    let query = caller.query(&path);
    session::created(created, &path, &query, settings.ice_servers.iter().cloned())
}
