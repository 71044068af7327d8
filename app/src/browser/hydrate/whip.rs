//! One WHIP session: what is captured goes out until it is dropped. Must not: decide to try again.
//!
//! Source: RFC 9725

use std::rc::Rc;

use domain::CameraId;
use js_sys::{JSON, Reflect};
use serde::Deserialize;
use wasm_bindgen::JsValue;
use web_sys::{
    MediaStream, MediaStreamTrack, Response, RtcPeerConnection, RtcRtpSender, RtcRtpTransceiver,
    RtcRtpTransceiverDirection, RtcRtpTransceiverInit, RtcSdpType,
};

use super::{
    dom,
    peer::{self, IceServers, Link, Peer},
};
use crate::state::publish::PublishError;

/// A session; ends it when dropped.
#[derive(Debug)]
pub(super) struct Publication {
    peer: Rc<Peer>,
    resource: Option<String>,
}

impl Drop for Publication {
    fn drop(&mut self) {
        if let Some(resource) = self.resource.take() {
            peer::delete(&resource, Rc::clone(&self.peer));
        }
    }
}

/// Why there is no session.
#[derive(Debug)]
pub(super) enum OpenError {
    /// Trying again later may help.
    Away,
    /// Somebody has to do something.
    Refused(PublishError),
}

impl From<JsValue> for OpenError {
    fn from(_: JsValue) -> Self {
        Self::Refused(PublishError::Refused)
    }
}

/// What was sent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sent {
    pub(super) bytes: f64,
    /// Of the largest picture that is sent now.
    pub(super) size_px: (f64, f64),
    pub(super) fps: f64,
    pub(super) layers: u32,
}

impl Publication {
    /// Offers what `stream` brings, encoded as `encodings` (JSON) says.
    ///
    /// # Errors
    /// Why there is no session.
    pub(super) async fn open(
        camera: &CameraId,
        stream: &MediaStream,
        encodings: &str,
        servers: &IceServers,
        on_link: Rc<dyn Fn(Link)>,
    ) -> Result<Self, OpenError> {
        let peer = Peer::new(servers, on_link)
            .map_err(|_| OpenError::Refused(PublishError::Unsupported))?;
        for track in stream.get_tracks() {
            let track: MediaStreamTrack = track.into();
            send_track(peer.rtc(), &track, stream, encodings)?;
        }
        let offer = peer.offer().await?;
        let init = dom::request_with("POST", "application/sdp", &offer)?;
        let response =
            dom::fetch(&format!("/whip/{camera}"), &init).await.map_err(|_| OpenError::Away)?;
        if response.status() != 201 {
            let detail = problem(&response).await;
            return Err(match PublishError::from_status(response.status(), detail) {
                Some(error) => OpenError::Refused(error),
                None => OpenError::Away,
            });
        }
        // From here on there is something to delete.
        let publication = Self { peer, resource: peer::resource(&response) };
        let answer = dom::text(&response).await.map_err(|_| OpenError::Away)?;
        publication.peer.set_remote(RtcSdpType::Answer, &answer).await?;
        Ok(publication)
    }

    /// The peer connection whose counters [`read_sent`] reads.
    pub(super) fn rtc(&self) -> RtcPeerConnection {
        self.peer.rtc().clone()
    }
}

fn send_track(
    rtc: &RtcPeerConnection,
    track: &MediaStreamTrack,
    stream: &MediaStream,
    encodings: &str,
) -> Result<(), JsValue> {
    let init = RtcRtpTransceiverInit::new();
    init.set_direction(RtcRtpTransceiverDirection::Sendonly);
    init.set_streams(&js_sys::Array::of1(stream));
    if track.kind() == "video" {
        init.set_send_encodings(&JSON::parse(encodings)?);
    }
    let transceiver = rtc.add_transceiver_with_media_stream_track_and_init(track, &init);
    if track.kind() == "video" {
        prefer_h264(&transceiver);
    }
    Ok(())
}

/// Puts H.264 first: it goes to viewers as it is. A browser that cannot choose keeps its order.
fn prefer_h264(transceiver: &RtcRtpTransceiver) {
    let Some(capabilities) = RtcRtpSender::get_capabilities("video") else { return };
    let Ok(codecs) = Reflect::get(&capabilities, &"codecs".into()) else { return };
    let is_h264 = |codec: &JsValue| {
        let mime = Reflect::get(codec, &"mimeType".into()).ok().and_then(|mime| mime.as_string());
        mime.is_some_and(|mime| mime.eq_ignore_ascii_case("video/h264"))
    };
    let (mut first, rest): (Vec<JsValue>, Vec<JsValue>) =
        js_sys::Array::from(&codecs).into_iter().partition(is_h264);
    first.extend(rest);
    let order: js_sys::Array = first.into_iter().collect();
    let set: Result<js_sys::Function, _> =
        Reflect::get(transceiver, &"setCodecPreferences".into()).map(Into::into);
    if let Ok(set) = set {
        let _ = set.call1(transceiver, &order);
    }
}

/// The sentence of a problem report.
async fn problem(response: &Response) -> Option<String> {
    #[derive(Deserialize)]
    struct Problem {
        detail: Option<String>,
    }
    let text = dom::text(response).await.ok()?;
    serde_json::from_slice::<Problem>(text.as_bytes()).ok()?.detail
}

/// Sums the counters of everything that is sent.
pub(super) async fn read_sent(rtc: &RtcPeerConnection) -> Option<Sent> {
    let mut sent = Sent::default();
    peer::each_stats(rtc, "outbound-rtp", |field| {
        let number = |name: &str| field(name).and_then(|v| v.as_f64()).unwrap_or_default();
        sent.bytes += number("bytesSent");
        let size_px = (number("frameWidth"), number("frameHeight"));
        if number("framesPerSecond") > 0.0 {
            sent.layers += 1;
            if size_px.0 > sent.size_px.0 {
                sent.size_px = size_px;
                sent.fps = number("framesPerSecond");
            }
        }
    })
    .await?;
    Some(sent)
}
