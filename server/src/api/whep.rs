//! `/whep/{camera}`: an SDP offer in, an answer and a session out; and the session's extensions.
//! Source: draft-ietf-wish-whep, draft WHEP core extensions.

use std::sync::Arc;

use app::ssr::Viewer;
use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use media::egress::handle::{LayerChoice, LayerError, RtcHandle, SessionKind, SessionStats};
use serde::{Deserialize, Serialize};

use super::{
    input::{self, Path},
    links,
    session::{self, Caller},
};
use crate::{HttpSettings, error::Problem};

/// `POST /whep/{camera}` → 201, `Location` of the session; 406 with a counter-offer.
pub(crate) async fn create(
    _viewer: Viewer,
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
        rtc.create(&camera, &offer, caller.remote).await.map_err(session::create_problem)?;
    let path = session::path(&session::of(SessionKind::Viewer, camera, &created));
    let query = caller.query(&path);
    let mut links = settings.ice_servers.clone();
    for link in links::extensions(&path, &query) {
        links.push(session::header(link)?);
    }
    session::created(created, &path, &query, links)
}

/// Body of a layer request. What H.264 has no layers of (`spatialLayerId` and its like) is left alone.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct LayerRequest {
    media_id: Option<MediaId>,
    rid: Option<String>,
    /// As live777 and Broadcast Box name the rid.
    encoding_id: Option<String>,
    max_width: Option<u32>,
    max_height: Option<u32>,
    /// In bit/s, as in the `layers` event.
    max_bitrate: Option<u64>,
}

/// Text in the draft, a number with some players.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum MediaId {
    Text(String),
    Index(u16),
}

impl LayerRequest {
    fn choice(self) -> LayerChoice {
        let kbps = |bps: u64| u32::try_from(bps / 1000).unwrap_or(u32::MAX);
        LayerChoice {
            rid: self.rid.or(self.encoding_id),
            max_width_px: self.max_width,
            max_height_px: self.max_height,
            max_bitrate_kbps: self.max_bitrate.map(kbps),
        }
    }
}

/// `POST /whep/{camera}/{session}/layer` → 200; `{mediaId}` alone is automatic.
pub(crate) async fn select_layer(
    _viewer: Viewer,
    State(rtc): State<RtcHandle>,
    Path((camera, session)): Path<(String, String)>,
    input::Json(mut request): input::Json<LayerRequest>,
) -> Result<StatusCode, Problem> {
    let resource = session::viewer(&camera, session)?;
    let stats = rtc.stats(&resource).await.ok_or_else(session::no_session)?;
    let media_id = request.media_id.take().map(|id| match id {
        MediaId::Text(text) => text,
        MediaId::Index(index) => index.to_string(),
    });
    if media_id.is_some_and(|id| id != stats.media_id) {
        return Err(Problem::bad_request("mediaId names no video section of this session"));
    }
    rtc.select_layer(&resource, request.choice()).await.map_err(|error| match error {
        LayerError::NoSession => session::no_session(),
        LayerError::NoSuchLayer => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
        }
    })?;
    Ok(StatusCode::OK)
}

#[derive(Deserialize)]
pub(crate) struct PauseRequest {
    paused: bool,
}

/// `POST /whep/{camera}/{session}/pause` with `{"paused": true | false}` → 200.
pub(crate) async fn pause(
    _viewer: Viewer,
    State(rtc): State<RtcHandle>,
    Path((camera, session)): Path<(String, String)>,
    input::Json(request): input::Json<PauseRequest>,
) -> Result<StatusCode, Problem> {
    let resource = session::viewer(&camera, session)?;
    if rtc.set_paused(&resource, request.paused).await {
        Ok(StatusCode::OK)
    } else {
        Err(session::no_session())
    }
}

/// [`SessionStats`] on the wire, field by field.
#[derive(Serialize)]
pub(crate) struct Stats {
    id: u64,
    media_id: String,
    layer: Option<String>,
    target_layer: Option<String>,
    is_paused: bool,
    server_unix_ms: f64,
    newest_frame: Option<(u32, f64)>,
    fraction_lost: f32,
    round_trip_ms: Option<f32>,
    estimate_kbps: Option<u32>,
    packets_sent: u64,
    packets_retransmitted: u64,
}

impl From<SessionStats> for Stats {
    fn from(stats: SessionStats) -> Self {
        Self {
            id: stats.id,
            media_id: stats.media_id,
            layer: stats.layer,
            target_layer: stats.target_layer,
            is_paused: stats.is_paused,
            server_unix_ms: stats.server_unix_ms,
            newest_frame: stats.newest_frame,
            fraction_lost: stats.fraction_lost,
            round_trip_ms: stats.round_trip_ms,
            estimate_kbps: stats.estimate_kbps,
            packets_sent: stats.packets_sent,
            packets_retransmitted: stats.packets_retransmitted,
        }
    }
}

/// `GET /whep/{camera}/{session}/stats`
pub(crate) async fn stats(
    _viewer: Viewer,
    State(rtc): State<RtcHandle>,
    Path((camera, session)): Path<(String, String)>,
) -> Result<Json<Stats>, Problem> {
    let stats = rtc.stats(&session::viewer(&camera, session)?).await;
    stats.map(|stats| Json(stats.into())).ok_or_else(session::no_session)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_chosen_by_its_name_or_by_what_it_must_not_exceed() {
        let choice = |json: &str| serde_json::from_str::<LayerRequest>(json).unwrap().choice();
        assert_eq!(choice(r#"{"mediaId":"0"}"#), LayerChoice::default());
        let sub = LayerChoice { rid: Some("sub".into()), ..LayerChoice::default() };
        assert_eq!(choice(r#"{"mediaId":0,"rid":"sub","spatialLayerId":1}"#), sub);
        assert_eq!(choice(r#"{"encodingId":"sub"}"#), sub);
        let small = LayerChoice {
            max_width_px: Some(640),
            max_height_px: Some(360),
            max_bitrate_kbps: Some(800),
            ..LayerChoice::default()
        };
        assert_eq!(choice(r#"{"maxWidth":640,"maxHeight":360,"maxBitrate":800999}"#), small);
        for bad in [r#"{"maxWidth":-1}"#, r#"{"rid":1}"#, r#"{"mediaId":{}}"#] {
            assert!(serde_json::from_str::<LayerRequest>(bad).is_err(), "{bad}");
        }
    }
}
