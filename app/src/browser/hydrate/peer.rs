//! A peer connection, and what WHEP and WHIP have in common. Must not: know cameras.

use std::rc::Rc;

use js_sys::{JSON, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Response, RtcBundlePolicy, RtcConfiguration, RtcOfferOptions, RtcPeerConnection,
    RtcPeerConnectionState, RtcSdpType, RtcSessionDescriptionInit, Url,
};

use super::dom::{self, Listener};
use crate::api::IceServer;

/// What became of the peer connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    Lost,
}

/// A peer connection; closed when its last owner is gone.
#[derive(Debug)]
pub(super) struct Peer {
    rtc: RtcPeerConnection,
    _on_state: Listener,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.rtc.close();
    }
}

/// STUN and TURN servers of the page's connections; cheap to clone.
///
/// They are known before the first offer: the browser gathers its relayed addresses while the server
/// answers, and nothing waits for them.
#[derive(Clone, Debug)]
pub(super) struct IceServers(JsValue);

impl IceServers {
    pub(super) fn new(servers: &[IceServer]) -> Self {
        // Plain data, which is always JSON; without it a connection is tried directly.
        let json = serde_json::to_string(servers).unwrap_or_default();
        Self(JSON::parse(&json).unwrap_or_else(|_| js_sys::Array::new().into()))
    }
}

impl Peer {
    /// # Errors
    /// The browser has no WebRTC.
    pub(super) fn new(
        servers: &IceServers,
        on_link: Rc<dyn Fn(Link)>,
    ) -> Result<Rc<Self>, JsValue> {
        let config = RtcConfiguration::new();
        Reflect::set(&config, &"iceServers".into(), &servers.0)?;
        config.set_bundle_policy(RtcBundlePolicy::MaxBundle);
        let rtc = RtcPeerConnection::new_with_configuration(&config)?;
        let watched = rtc.clone();
        let on_state = Listener::new(&rtc, "connectionstatechange", move |_| {
            match watched.connection_state() {
                RtcPeerConnectionState::Connected => on_link(Link::Up),
                RtcPeerConnectionState::Failed | RtcPeerConnectionState::Closed => {
                    on_link(Link::Lost);
                }
                _ => {}
            }
        });
        Ok(Rc::new(Self { rtc, _on_state: on_state }))
    }

    pub(super) fn rtc(&self) -> &RtcPeerConnection {
        &self.rtc
    }

    /// An offer, set as the local description. It holds no candidates: the server names all of its own
    /// in the answer, and learns ours from the checks that come to them.
    ///
    /// # Errors
    /// The browser refuses.
    pub(super) async fn offer(&self) -> Result<String, JsValue> {
        self.set_local(JsFuture::from(self.rtc.create_offer()).await?).await
    }

    /// An offer with new ICE credentials, as [`Peer::offer`].
    ///
    /// # Errors
    /// The browser refuses.
    pub(super) async fn restart_offer(&self) -> Result<String, JsValue> {
        let options = RtcOfferOptions::new();
        options.set_ice_restart(true);
        let offer = self.rtc.create_offer_with_rtc_offer_options(&options);
        self.set_local(JsFuture::from(offer).await?).await
    }

    /// Takes an offer, and makes the answer to it.
    ///
    /// # Errors
    /// The browser does not take the offer.
    pub(super) async fn answer_to(&self, offer: &str) -> Result<String, JsValue> {
        self.set_remote(RtcSdpType::Offer, offer).await?;
        self.set_local(JsFuture::from(self.rtc.create_answer()).await?).await
    }

    async fn set_local(&self, description: JsValue) -> Result<String, JsValue> {
        let description: RtcSessionDescriptionInit = description.unchecked_into();
        JsFuture::from(self.rtc.set_local_description(&description)).await?;
        Reflect::get(&description, &"sdp".into())?
            .as_string()
            .ok_or_else(|| JsValue::from_str("no local description"))
    }

    /// # Errors
    /// The browser does not take it.
    pub(super) async fn set_remote(&self, kind: RtcSdpType, sdp: &str) -> Result<(), JsValue> {
        let description = RtcSessionDescriptionInit::new(kind);
        description.set_sdp(sdp);
        JsFuture::from(self.rtc.set_remote_description(&description)).await?;
        Ok(())
    }
}

/// The session's URL; `Location` may be relative to the endpoint.
pub(super) fn resource(response: &Response) -> Option<String> {
    let location = response.headers().get("Location").ok().flatten()?;
    Url::new_with_base(&location, &response.url()).ok().map(|url| url.href())
}

/// Ends a session; goes out even when the page is being left.
///
/// The connection is closed only after: closing it says goodbye to the server by itself, which
/// would forget the session before the request comes, and answer 404.
pub(super) fn delete(resource: &str, peer: Rc<Peer>) {
    let init = dom::request("DELETE");
    // web-sys has no setter for `keepalive`.
    let _ = Reflect::set(&init, &"keepalive".into(), &JsValue::TRUE);
    let sent = dom::window().fetch_with_str_and_init(resource, &init);
    leptos::task::spawn_local(async move {
        // A session that is not deleted ends by itself when its other side falls silent.
        let _ = JsFuture::from(sent).await;
        drop(peer);
    });
}

/// Reads one object of a statistics report by field.
pub(super) type Field<'a> = &'a dyn Fn(&str) -> Option<JsValue>;

/// Calls back for every object of one type that `getStats` reports; `None` when there is no report.
pub(super) async fn each_stats(
    peer: &RtcPeerConnection,
    kind: &str,
    mut each: impl FnMut(Field<'_>),
) -> Option<()> {
    let report = JsFuture::from(peer.get_stats()).await.ok()?;
    // A report is maplike.
    let report: js_sys::Map = report.unchecked_into();
    report.for_each(&mut |stats, _id| {
        let field = |name: &str| Reflect::get(&stats, &name.into()).ok();
        if field("type").is_some_and(|value| value == kind) {
            each(&field);
        }
    });
    Some(())
}
