//! What others ask of WebRTC sessions: make, change, look at, end. Must not: own a session or a socket,
//! or speak HTTP.
//!
//! Signalling is read here, in the caller's own time; the loop of [`super::rtc`] only keeps what came of it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use domain::CameraId;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    hub::{Feed, Hub},
    sansio::{
        dtls::Identity,
        sdp::{Local, Offer, OfferError},
        whep_session::{SessionParameters, WhepSession},
    },
};

/// A camera that is on demand gets this long to send its first picture before the viewer is told to
/// come later.
const DEMAND_TIMEOUT: Duration = Duration::from_secs(8);

/// Name of a session in its resource URL. Whoever knows it may change and end the session: it never goes
/// to a log or a listing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionSecret(String);

impl SessionSecret {
    fn random() -> Self {
        Self(random_text(32))
    }

    /// The text for the URL: 32 letters and digits, 190 bits.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for SessionSecret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret(…)")
    }
}

/// A session as its URL names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The camera in the URL.
    pub camera: CameraId,
    /// The rest of it.
    pub secret: SessionSecret,
}

/// Why no session was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is no such camera.
    #[error("no such camera")]
    UnknownCamera,
    /// The camera is known but sends no pictures now.
    #[error("the camera is not live now")]
    NotLive,
    /// WHIP: the camera gets its pictures from elsewhere.
    #[error("this camera is not one to publish to; give it the source `whip:`")]
    NotPublishable,
    /// WHIP: somebody else publishes to it.
    #[error("somebody publishes to this camera already")]
    AlreadyPublished,
    /// The offer cannot be answered.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// As many sessions as are allowed.
    #[error("too many viewers {0}")]
    Full(Limit),
    /// The live plane is stopping.
    #[error("the live plane is stopping")]
    Stopping,
}

/// Which limit a session would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Of this server.
    Server,
    /// Of one camera.
    Camera,
    /// From one address.
    Address,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "on this server",
            Self::Camera => "of this camera",
            Self::Address => "from this address",
        })
    }
}

/// Most sessions at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of this server.
    pub server: usize,
    /// Of one camera.
    pub camera: usize,
    /// From one address.
    pub address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { server: 2000, camera: 1000, address: 1000 }
    }
}

/// A new session.
#[derive(Debug)]
pub struct Created {
    /// SDP answer; or an offer of ours, to be answered by a PATCH.
    pub sdp: String,
    /// Whether `sdp` is an offer of ours, and how long it stands.
    pub counter_offer: Option<Duration>,
    /// For the resource URL.
    pub secret: SessionSecret,
    /// Names the current ICE session; without quotes.
    pub etag: String,
}

/// A change to a session (RFC 9725 §4.3).
#[derive(Debug, Clone, Copy)]
pub enum Patch<'a> {
    /// `application/trickle-ice-sdpfrag`: more candidates, or an ICE restart.
    SdpFragment {
        /// The body.
        body: &'a [u8],
        /// The ETag of `If-Match` without quotes, `*` for any; `None` when there is no such header.
        if_match: Option<&'a str>,
    },
    /// `application/sdp`: the answer to our counter-offer.
    Answer(&'a [u8]),
}

/// What a change brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Patched {
    /// Taken in.
    Done,
    /// ICE was restarted.
    Restarted {
        /// `application/trickle-ice-sdpfrag`: our new credentials and candidates.
        fragment: String,
        /// Names the new ICE session; without quotes.
        etag: String,
    },
}

/// Why a change was not taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// No such session.
    #[error("there is no such session")]
    NoSession,
    /// No `If-Match`.
    #[error("say which ICE session is meant, by If-Match")]
    PreconditionRequired,
    /// `If-Match` names an ICE session that is over.
    #[error("this ICE session is over; If-Match does not name the current one")]
    PreconditionFailed,
    /// The body is not what its type says.
    #[error("the body cannot be read: {0}")]
    Malformed(String),
    /// An SDP answer to a session that waits for none.
    #[error("this session waits for no answer")]
    NoAnswerExpected,
}

/// Which layer a viewer wants; nothing set is automatic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerChoice {
    /// This one.
    pub rid: Option<String>,
    /// The best one not wider.
    pub max_width_px: Option<u32>,
    /// The best one not higher.
    pub max_height_px: Option<u32>,
    /// The best one that needs no more, in kbit/s.
    pub max_bitrate_kbps: Option<u32>,
}

/// Why a layer was not chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayerError {
    /// No such session.
    #[error("there is no such session")]
    NoSession,
    /// The camera has no layer of that name now.
    #[error("the camera has no such layer")]
    NoSuchLayer,
}

/// How a session is doing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SessionStats {
    /// Number of the session in the log.
    pub id: u64,
    /// `mid` of the video section, `mediaId` of the layer extension.
    pub media_id: String,
    /// Layer that is sent.
    pub layer: Option<String>,
    /// Layer that is wanted, where it is another one.
    pub target_layer: Option<String>,
    /// Whether the viewer asked for a pause.
    pub is_paused: bool,
    /// Server's clock at the time of this answer, in ms since 1970.
    pub server_unix_ms: f64,
    /// RTP timestamp of the newest frame sent, and when that frame had come in from the camera (ms since
    /// 1970): with it a player knows how old a picture is on its screen.
    pub newest_frame: Option<(u32, f64)>,
    /// Of the last receiver report, 0.0–1.0.
    pub fraction_lost: f32,
    /// From the last receiver report, in ms.
    pub round_trip_ms: Option<f32>,
    /// What the viewer says it can receive (REMB), in kbit/s.
    pub estimate_kbps: Option<u32>,
    /// Packets sent, retransmissions left out.
    pub packets_sent: u64,
    /// Packets sent again on request.
    pub packets_retransmitted: u64,
}

pub(super) enum Command {
    Create {
        feed: Arc<Feed>,
        camera: CameraId,
        secret: SessionSecret,
        session: Box<WhepSession>,
        remote: IpAddr,
        done: oneshot::Sender<Result<(), Limit>>,
    },
    Delete {
        resource: Resource,
        done: oneshot::Sender<bool>,
    },
}

/// Makes, changes and ends sessions; cheap to clone.
#[derive(Clone, Debug)]
pub struct RtcHandle {
    hub: Arc<Hub>,
    identity: Identity,
    candidates: Arc<[SocketAddr]>,
    commands: mpsc::Sender<Command>,
}

impl RtcHandle {
    pub(super) fn new(
        hub: Arc<Hub>,
        identity: Identity,
        candidates: Arc<[SocketAddr]>,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        Self { hub, identity, candidates, commands }
    }

    /// Answers a WHEP offer for a camera with a new session. `remote` is where the request came from.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub async fn create(
        &self,
        camera: &CameraId,
        offer: &[u8],
        remote: IpAddr,
    ) -> Result<Created, CreateError> {
        let feed = self.hub.feed(camera).ok_or(CreateError::UnknownCamera)?;
        let offer = Offer::parse(offer)?;
        let profile = feed.layers()[0]
            .format()
            .and_then(|format| format.h264_profile)
            .ok_or(CreateError::NotLive)?;
        let (local_ufrag, local_pwd) = (random_text(8), random_text(24));
        let ssrc = rand::random::<u32>().max(1);
        let answer = offer.answer(&Local {
            ice_ufrag: &local_ufrag,
            ice_pwd: &local_pwd,
            fingerprint: self.identity.fingerprint(),
            ssrc,
            candidates: &self.candidates,
            profile,
        })?;
        let parameters = SessionParameters {
            local_ufrag,
            local_pwd,
            remote_ufrag: offer.ice_ufrag,
            remote_fingerprint: offer.fingerprint,
            payload_type: answer.payload_type,
            ssrc,
            timestamp_offset: rand::random(),
        };
        let session = Box::new(WhepSession::new(parameters, &self.identity, Instant::now()));
        let secret = SessionSecret::random();
        let (done, created) = oneshot::channel();
        let command = Command::Create {
            feed,
            camera: camera.clone(),
            secret: secret.clone(),
            session,
            remote,
            done,
        };
        self.commands.send(command).await.map_err(|_| CreateError::Stopping)?;
        match created.await {
            Ok(Ok(())) => {
                Ok(Created { sdp: answer.sdp, counter_offer: None, secret, etag: random_text(8) })
            }
            Ok(Err(limit)) => Err(CreateError::Full(limit)),
            Err(_) => Err(CreateError::Stopping),
        }
    }

    /// Takes a publisher's WHIP offer for a camera whose source is `whip:`.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub async fn publish(
        &self,
        camera: &CameraId,
        _offer: &[u8],
        _remote: IpAddr,
    ) -> Result<Created, CreateError> {
        self.hub.feed(camera).ok_or(CreateError::UnknownCamera)?;
        Err(CreateError::NotPublishable)
    }

    /// Changes a session, a viewer's or a publisher's.
    ///
    /// # Errors
    /// See [`PatchError`].
    pub async fn patch(
        &self,
        _resource: &Resource,
        _patch: Patch<'_>,
    ) -> Result<Patched, PatchError> {
        Err(PatchError::NoSession)
    }

    /// Ends a session, a viewer's or a publisher's; `false` when there is none of that name for that camera.
    pub async fn delete(&self, resource: &Resource) -> bool {
        let (done, deleted) = oneshot::channel();
        let command = Command::Delete { resource: resource.clone(), done };
        self.commands.send(command).await.is_ok() && deleted.await.unwrap_or(false)
    }

    /// Chooses the layer a viewer gets, without renegotiation.
    ///
    /// # Errors
    /// See [`LayerError`].
    pub async fn select_layer(
        &self,
        _resource: &Resource,
        _choice: LayerChoice,
    ) -> Result<(), LayerError> {
        Err(LayerError::NoSession)
    }

    /// Stops or goes on sending to a viewer, without renegotiation; `false` when there is no such session.
    pub async fn set_paused(&self, _resource: &Resource, _is_paused: bool) -> bool {
        false
    }

    /// How a session is doing; `None` when there is none.
    pub async fn stats(&self, _resource: &Resource) -> Option<SessionStats> {
        None
    }
}

pub(super) fn random_text(len: usize) -> String {
    use rand::{Rng as _, distr::Alphanumeric};
    rand::rng().sample_iter(Alphanumeric).take(len).map(char::from).collect()
}

/// Waits for a camera to be live, asking for it meanwhile.
#[expect(dead_code, reason = "used by create")]
async fn wait_live(feed: &Feed) -> bool {
    let mut news = feed.watch_news();
    timeout(DEMAND_TIMEOUT, news.wait_for(|_| feed.is_live())).await.is_ok()
}
