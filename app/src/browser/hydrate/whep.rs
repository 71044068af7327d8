//! One WHEP session: offer, answer, what is asked of it while it lives, and DELETE at the end.
//!
//! Must not: decide to try again, or what to ask for.
//!
//! The session's events (server-sent) are not used: a browser opens six connections to a server that
//! speaks HTTP/1.1, and a wall of tiles would take them all. One poll of the cameras serves every tile.
//!
//! Source: draft-ietf-wish-whep §4

use std::rc::Rc;

use domain::CameraId;
use js_sys::Reflect;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{
    MediaStream, Response, RtcPeerConnection, RtcRtpTransceiver, RtcRtpTransceiverDirection,
    RtcRtpTransceiverInit, RtcSdpType,
};

use super::{
    dom,
    peer::{self, IceServers, Link, Peer},
};
use crate::state::{
    asking::Ask,
    player::Refusal,
    receiver::{ReceiverCounters, SessionStats},
    sdp,
};

const SDP: &str = "application/sdp";

/// Whether a session is to bring sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sound {
    Wanted,
    No,
}

/// A session; ends it when dropped.
#[derive(Debug)]
pub(super) struct Session {
    peer: Rc<Peer>,
    /// Secret: who knows it can end the session.
    resource: Option<String>,
    /// As the server sent it; none after a counter-offer, whose connection cannot be restarted.
    answer: Option<String>,
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(resource) = self.resource.take() {
            peer::delete(&resource, Rc::clone(&self.peer));
        }
    }
}

/// What a session plays.
#[derive(Debug)]
pub(super) struct Playing {
    pub(super) stream: MediaStream,
    pub(super) has_sound: bool,
}

impl Session {
    /// Offers to receive `camera`, and takes the answer, or the server's counter-offer.
    ///
    /// # Errors
    /// Why there is no session.
    pub(super) async fn open(
        camera: &CameraId,
        sound: Sound,
        servers: &IceServers,
        on_link: Rc<dyn Fn(Link)>,
    ) -> Result<Self, Refusal> {
        let peer = Peer::new(servers, Rc::clone(&on_link)).map_err(|_| Refusal::Unsupported)?;
        let receive_only = RtcRtpTransceiverInit::new();
        receive_only.set_direction(RtcRtpTransceiverDirection::Recvonly);
        peer.rtc().add_transceiver_with_str_and_init("video", &receive_only);
        if sound == Sound::Wanted {
            peer.rtc().add_transceiver_with_str_and_init("audio", &receive_only);
        }
        let offer = peer.offer().await.map_err(|_| Refusal::Failed)?;
        let url = format!("/whep/{camera}");
        let response = send("POST", &url, SDP, &offer).await.map_err(|_| Refusal::Unreachable)?;
        match response.status() {
            201 => Self::answered(peer, &response).await,
            406 if is_sdp(&response) => {
                drop(peer);
                Self::counter_offered(&response, servers, on_link).await
            }
            _ => Err(refusal(&response)),
        }
    }

    async fn answered(peer: Rc<Peer>, response: &Response) -> Result<Self, Refusal> {
        // From here on there is something to delete.
        let mut session = Self { peer, resource: peer::resource(response), answer: None };
        let answer = dom::text(response).await.map_err(|_| Refusal::Unreachable)?;
        session.peer.set_remote(RtcSdpType::Answer, &answer).await.map_err(|_| Refusal::Failed)?;
        session.answer = Some(answer);
        Ok(session)
    }

    /// Takes what the server offers instead; our own offer is void.
    async fn counter_offered(
        response: &Response,
        servers: &IceServers,
        on_link: Rc<dyn Fn(Link)>,
    ) -> Result<Self, Refusal> {
        let resource = peer::resource(response).ok_or(Refusal::Failed)?;
        let peer = Peer::new(servers, on_link).map_err(|_| Refusal::Unsupported)?;
        let session = Self { peer, resource: Some(resource.clone()), answer: None };
        let offer = dom::text(response).await.map_err(|_| Refusal::Unreachable)?;
        let answer = session.peer.answer_to(&offer).await.map_err(|_| Refusal::NoCodec)?;
        let response =
            send("PATCH", &resource, SDP, &answer).await.map_err(|_| Refusal::Unreachable)?;
        match response.status() {
            200..=299 => Ok(session),
            // The answer refuses the video, which the server cannot do without.
            400 => Err(Refusal::NoCodec),
            _ => Err(refusal(&response)),
        }
    }

    /// What it receives.
    pub(super) fn playing(&self) -> Option<Playing> {
        let stream = MediaStream::new().ok()?;
        let mut has_sound = false;
        for transceiver in self.receiving() {
            let track = transceiver.receiver().track();
            has_sound |= track.kind() == "audio";
            stream.add_track(&track);
        }
        Some(Playing { stream, has_sound })
    }

    fn receiving(&self) -> impl Iterator<Item = RtcRtpTransceiver> {
        self.peer.rtc().get_transceivers().into_iter().map(JsCast::unchecked_into).filter(
            |transceiver: &RtcRtpTransceiver| {
                matches!(
                    transceiver.current_direction(),
                    Some(
                        RtcRtpTransceiverDirection::Recvonly | RtcRtpTransceiverDirection::Sendrecv
                    )
                )
            },
        )
    }

    /// The peer connection whose counters [`read_counters`] reads.
    pub(super) fn rtc(&self) -> RtcPeerConnection {
        self.peer.rtc().clone()
    }

    /// What else can be asked of the session; `None` when the server named no URL for it.
    pub(super) fn control(&self) -> Option<Control> {
        let is_video = |t: &RtcRtpTransceiver| t.receiver().track().kind() == "video";
        Some(Control {
            resource: self.resource.clone()?,
            media_id: self.receiving().find(is_video).and_then(|t| t.mid()).unwrap_or_default(),
        })
    }

    /// How to find another way to the server; `None` where that cannot be asked for.
    pub(super) fn restart(&self) -> Option<Restart> {
        Some(Restart {
            peer: Rc::clone(&self.peer),
            resource: self.resource.clone()?,
            answer: self.answer.clone()?,
        })
    }
}

/// Why a request to a session brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ControlError {
    /// The server does not know the session any more.
    Gone,
    /// Anything else; the same may work later.
    Failed,
}

/// A session's URL, and what can be asked there.
#[derive(Clone, Debug)]
pub(super) struct Control {
    resource: String,
    media_id: String,
}

/// What the server said, and when.
#[derive(Clone, Debug)]
pub(super) struct StatsAnswer {
    pub(super) stats: SessionStats,
    pub(super) sent_ms: f64,
    pub(super) received_ms: f64,
}

impl Control {
    /// Asks for a layer, a pause, or its end.
    ///
    /// # Errors
    /// The session stays as it was, or is gone.
    pub(super) async fn ask(&self, ask: Ask) -> Result<(), ControlError> {
        let url = format!("{}/{}", self.resource, ask.path());
        let body = ask.body(&self.media_id);
        let response = send("POST", &url, "application/json", &body).await;
        check(&response.map_err(|_| ControlError::Failed)?)
    }

    /// What the server counts of the session.
    ///
    /// # Errors
    /// Nothing was learnt.
    pub(super) async fn stats(&self) -> Result<StatsAnswer, ControlError> {
        let sent_ms = dom::now_ms();
        let response = dom::fetch(&format!("{}/stats", self.resource), &dom::request("GET"))
            .await
            .map_err(|_| ControlError::Failed)?;
        // Headers and body come together; reading the body is the page's own time.
        let received_ms = dom::now_ms();
        check(&response)?;
        let text = dom::text(&response).await.map_err(|_| ControlError::Failed)?;
        let stats = serde_json::from_slice(text.as_bytes()).map_err(|_| ControlError::Failed)?;
        Ok(StatsAnswer { stats, sent_ms, received_ms })
    }
}

/// An ICE restart to be made.
#[derive(Debug)]
pub(super) struct Restart {
    peer: Rc<Peer>,
    resource: String,
    answer: String,
}

impl Restart {
    /// Makes it.
    ///
    /// # Errors
    /// The server refused, or did not answer.
    pub(super) async fn run(self) -> Result<(), JsValue> {
        let nothing = || JsValue::from_str("no ICE credentials");
        let offer = self.peer.restart_offer().await?;
        let fragment = sdp::restart_fragment(&offer).ok_or_else(nothing)?;
        let init = dom::request_with("PATCH", "application/trickle-ice-sdpfrag", &fragment)?;
        let headers: web_sys::Headers = Reflect::get(&init, &"headers".into())?.unchecked_into();
        headers.set("If-Match", "*")?;
        let response = dom::fetch(&self.resource, &init).await?;
        if response.status() != 200 {
            return Err(JsValue::from_f64(response.status().into()));
        }
        let fragment = dom::text(&response).await?;
        let answer = sdp::restarted_answer(&self.answer, &fragment).ok_or_else(nothing)?;
        self.peer.set_remote(RtcSdpType::Answer, &answer).await
    }
}

async fn send(
    method: &str,
    url: &str,
    content_type: &str,
    body: &str,
) -> Result<Response, JsValue> {
    dom::fetch(url, &dom::request_with(method, content_type, body)?).await
}

fn check(response: &Response) -> Result<(), ControlError> {
    match response.status() {
        200..=299 => Ok(()),
        404 | 410 => Err(ControlError::Gone),
        _ => Err(ControlError::Failed),
    }
}

fn is_sdp(response: &Response) -> bool {
    let content_type = response.headers().get("Content-Type").ok().flatten();
    content_type.is_some_and(|mime| mime.trim_start().starts_with(SDP))
}

fn refusal(response: &Response) -> Refusal {
    let retry_after_ms = || {
        let text = response.headers().get("Retry-After").ok().flatten()?;
        Some(text.trim().parse::<u64>().ok()?.saturating_mul(1_000))
    };
    match response.status() {
        401 => Refusal::LoggedOut,
        404 => Refusal::NoSuchCamera,
        409 => Refusal::NotLive { retry_after_ms: retry_after_ms() },
        503 => Refusal::Busy { retry_after_ms: retry_after_ms() },
        // A proxy in front, while the server behind it starts.
        502 | 504 => Refusal::Unreachable,
        _ => Refusal::Failed,
    }
}

/// Counters of the video that `peer` receives, at `at_ms`.
pub(super) async fn read_counters(
    peer: &RtcPeerConnection,
    at_ms: f64,
) -> Option<ReceiverCounters> {
    let mut counters = None;
    peer::each_stats(peer, "inbound-rtp", |field| {
        if field("kind").is_none_or(|kind| kind != "video") {
            return;
        }
        let number = |name: &str| field(name).and_then(|v| v.as_f64());
        counters = Some(ReceiverCounters {
            at_ms,
            bytes_received: number("bytesReceived"),
            packets_lost: number("packetsLost"),
            frames_decoded: number("framesDecoded"),
            jitter_buffer_delay_secs: number("jitterBufferDelay"),
            jitter_buffer_emitted: number("jitterBufferEmittedCount"),
        });
    })
    .await?;
    counters
}
