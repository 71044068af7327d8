//! `POST /api/offer/{camera}`: the older JSON form of WHEP, a thin adapter.

use app::ssr::Viewer;
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
};
use media::egress::handle::RtcHandle;
use serde::{Deserialize, Serialize};

use super::session::{self, Caller};
use crate::error::Problem;

#[derive(Deserialize)]
struct Offer {
    sdp: String,
}

/// Answer to an offer.
#[derive(Serialize)]
pub(crate) struct Answer {
    /// So that it can be given to `setRemoteDescription` as it is.
    r#type: &'static str,
    sdp: String,
    /// The WHEP session, to be deleted in the end.
    location: String,
}

/// `{sdp}` → `{type, sdp, location}`
pub(crate) async fn create(
    _viewer: Viewer,
    State(rtc): State<RtcHandle>,
    caller: Caller,
    Path(camera): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Answer>, Problem> {
    let offer: Offer = session::read_json(&headers, &session::read(body)?)?;
    let camera = session::parse_camera(&camera)?;
    let created = rtc.create(&camera, offer.sdp.as_bytes(), caller.remote).await;
    let created = created.map_err(session::create_problem)?;
    let resource = session::of(camera, &created);
    if created.counter_offer.is_some() {
        // This form has no way to answer it.
        rtc.delete(&resource).await;
        let text = "the offer cannot be answered as it is; WHEP could answer with a counter-offer";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text));
    }
    Ok(Json(Answer {
        r#type: "answer",
        location: session::path("whep", &resource),
        sdp: created.sdp,
    }))
}
