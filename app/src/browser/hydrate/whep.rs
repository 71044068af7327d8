//! One WHEP session: offer, answer, counters, and DELETE at the end. Must not: decide to try again.
//!
//! Source: draft-ietf-wish-whep §4

use std::rc::Rc;

use domain::CameraId;
use js_sys::Reflect;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    MediaStream, Response, RtcBundlePolicy, RtcConfiguration, RtcIceGatheringState,
    RtcPeerConnection, RtcPeerConnectionState, RtcRtpTransceiver, RtcRtpTransceiverDirection,
    RtcRtpTransceiverInit, RtcSdpType, RtcSessionDescriptionInit, Url,
};

use super::dom::{self, Listener};
use crate::state::{player::Refusal, receiver::ReceiverCounters};

/// An offer goes out with the candidates found by then; the server finds the others by itself.
const GATHERING_MS: i32 = 300;

/// What became of the peer connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    Lost,
}

/// A session; ends it when dropped.
#[derive(Debug)]
pub(super) struct Session {
    connection: Connection,
    /// Secret: who knows it can end the session.
    resource: Option<String>,
}

/// A peer connection whose end is listened for.
#[derive(Debug)]
struct Connection {
    peer: Rc<Peer>,
    video: RtcRtpTransceiver,
    _on_state: Listener,
}

/// Closed when its last owner is gone.
#[derive(Debug)]
struct Peer(RtcPeerConnection);

impl Drop for Peer {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(resource) = self.resource.take() {
            delete(&resource, Rc::clone(&self.connection.peer));
        }
    }
}

impl Session {
    /// Offers to receive `camera`, and takes the answer.
    ///
    /// # Errors
    /// Why there is no session.
    pub(super) async fn open(
        camera: &CameraId,
        on_link: impl FnMut(Link) + 'static,
    ) -> Result<Self, Refusal> {
        let connection = Connection::new(on_link).map_err(|_| Refusal::Unsupported)?;
        let offer = connection.offer().await.map_err(|_| Refusal::Failed)?;
        let response = post(camera, &offer).await.map_err(|_| Refusal::Unreachable)?;
        if response.status() != 201 {
            return Err(refusal(&response));
        }
        // From here on there is something to delete.
        let session = Self { connection, resource: resource(&response) };
        let answer = dom::text(&response).await.map_err(|_| Refusal::Unreachable)?;
        let description = RtcSessionDescriptionInit::new(RtcSdpType::Answer);
        description.set_sdp(&answer);
        JsFuture::from(session.connection.peer.0.set_remote_description(&description))
            .await
            .map_err(|_| Refusal::Failed)?;
        Ok(session)
    }

    /// What it receives.
    pub(super) fn stream(&self) -> Option<MediaStream> {
        let stream = MediaStream::new().ok()?;
        stream.add_track(&self.connection.video.receiver().track());
        Some(stream)
    }

    /// The peer connection whose counters [`read_counters`] reads.
    pub(super) fn peer(&self) -> RtcPeerConnection {
        self.connection.peer.0.clone()
    }
}

impl Connection {
    fn new(mut on_link: impl FnMut(Link) + 'static) -> Result<Self, JsValue> {
        let config = RtcConfiguration::new();
        config.set_bundle_policy(RtcBundlePolicy::MaxBundle);
        let peer = RtcPeerConnection::new_with_configuration(&config)?;
        let receive_only = RtcRtpTransceiverInit::new();
        receive_only.set_direction(RtcRtpTransceiverDirection::Recvonly);
        let video = peer.add_transceiver_with_str_and_init("video", &receive_only);
        let watched = peer.clone();
        let on_state = Listener::new(&peer, "connectionstatechange", move |_| {
            match watched.connection_state() {
                RtcPeerConnectionState::Connected => on_link(Link::Up),
                RtcPeerConnectionState::Failed | RtcPeerConnectionState::Closed => {
                    on_link(Link::Lost);
                }
                _ => {}
            }
        });
        Ok(Self { peer: Rc::new(Peer(peer)), video, _on_state: on_state })
    }

    async fn offer(&self) -> Result<String, JsValue> {
        let offer = JsFuture::from(self.peer.0.create_offer()).await?;
        let offer: RtcSessionDescriptionInit = offer.unchecked_into();
        JsFuture::from(self.peer.0.set_local_description(&offer)).await?;
        self.gathered().await?;
        let local = Reflect::get(&self.peer.0, &"localDescription".into())?;
        Reflect::get(&local, &"sdp".into())?
            .as_string()
            .ok_or_else(|| JsValue::from_str("no local description"))
    }

    /// Waits until every candidate is found, or [`GATHERING_MS`].
    async fn gathered(&self) -> Result<(), JsValue> {
        let mut on_change = None;
        let done = js_sys::Promise::new(&mut |resolve, _reject| {
            let peer = self.peer.0.clone();
            let gathered = resolve.clone();
            on_change = Some(Listener::new(&self.peer.0, "icegatheringstatechange", move |_| {
                if peer.ice_gathering_state() == RtcIceGatheringState::Complete {
                    let _ = gathered.call0(&JsValue::NULL);
                }
            }));
            let timer = dom::window()
                .set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, GATHERING_MS);
            let complete = self.peer.0.ice_gathering_state() == RtcIceGatheringState::Complete;
            if complete || timer.is_err() {
                let _ = resolve.call0(&JsValue::NULL);
            }
        });
        JsFuture::from(done).await?;
        drop(on_change);
        Ok(())
    }
}

async fn post(camera: &CameraId, offer: &str) -> Result<Response, JsValue> {
    let init = dom::request("POST");
    let headers = web_sys::Headers::new()?;
    headers.set("Content-Type", "application/sdp")?;
    init.set_headers(&headers);
    init.set_body(&JsValue::from_str(offer));
    dom::fetch(&format!("/whep/{camera}"), &init).await
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

/// The session's URL; `Location` may be relative to the endpoint.
fn resource(response: &Response) -> Option<String> {
    let location = response.headers().get("Location").ok().flatten()?;
    Url::new_with_base(&location, &response.url()).ok().map(|url| url.href())
}

/// Ends a session; goes out even when the page is being left.
///
/// The connection is closed only after: closing it says goodbye to the server by itself, which
/// would forget the session before the request comes, and answer 404.
fn delete(resource: &str, peer: Rc<Peer>) {
    let init = dom::request("DELETE");
    // web-sys has no setter for `keepalive`.
    let _ = Reflect::set(&init, &"keepalive".into(), &JsValue::TRUE);
    let sent = dom::window().fetch_with_str_and_init(resource, &init);
    leptos::task::spawn_local(async move {
        // A session that is not deleted ends by itself when its viewer falls silent.
        let _ = JsFuture::from(sent).await;
        drop(peer);
    });
}

/// Counters of the video that `peer` receives, at `at_ms`.
pub(super) async fn read_counters(
    peer: &RtcPeerConnection,
    at_ms: f64,
) -> Option<ReceiverCounters> {
    let report = JsFuture::from(peer.get_stats()).await.ok()?;
    // A report is maplike.
    let report: js_sys::Map = report.unchecked_into();
    let mut counters = None;
    report.for_each(&mut |stats, _id| {
        let field = |name: &str| Reflect::get(&stats, &name.into()).ok();
        let is = |name: &str, value: &str| field(name).is_some_and(|v| v == value);
        if is("type", "inbound-rtp") && is("kind", "video") {
            let number = |name: &str| field(name).and_then(|v| v.as_f64());
            counters = Some(ReceiverCounters {
                at_ms,
                bytes_received: number("bytesReceived"),
                packets_lost: number("packetsLost"),
                frames_decoded: number("framesDecoded"),
                jitter_buffer_delay_secs: number("jitterBufferDelay"),
                jitter_buffer_emitted: number("jitterBufferEmittedCount"),
            });
        }
    });
    counters
}
