//! `POST /api/offer/{camera}`: the older JSON form of WHEP, a thin adapter.

use app::ssr::Viewer;
use axum::{Json, extract::State, http::StatusCode};
use media::egress::handle::{RtcHandle, SessionKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    input::{self, Path},
    session::{self, Caller},
};
use crate::error::Problem;

/// What a player offers.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Offer {
    sdp: String,
}

/// Answer to an offer.
#[derive(Serialize, ToSchema)]
pub(crate) struct Answer {
    /// So that it can be given to `setRemoteDescription` as it is.
    r#type: &'static str,
    sdp: String,
    /// The WHEP session, to be deleted in the end.
    location: String,
}

/// Watch a camera, older form of WHEP
#[utoipa::path(post, path = "/api/offer/{camera}", tag = "cameras",
    params(("camera" = String, Path, description = "Id of the camera.")), request_body = Offer,
    responses((status = 200, body = Answer)))]
pub(crate) async fn create(
    _viewer: Viewer,
    State(rtc): State<RtcHandle>,
    caller: Caller,
    Path(camera): Path<String>,
    input::Json(offer): input::Json<Offer>,
) -> Result<Json<Answer>, Problem> {
    let camera = session::parse_camera(&camera)?;
    let created = rtc.create(&camera, offer.sdp.as_bytes(), caller.remote).await;
    let created = created.map_err(session::create_problem)?;
    let resource = session::of(SessionKind::Viewer, camera, &created);
    if created.counter_offer.is_some() {
        // This form has no way to answer it.
        rtc.delete(&resource).await;
        let text = "the offer cannot be answered as it is; WHEP could answer with a counter-offer";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text));
    }
    Ok(Json(Answer { r#type: "answer", location: session::path(&resource), sdp: created.sdp }))
}
