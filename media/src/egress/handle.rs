//! What others ask of WebRTC sessions: make, change, look at, end. Must not: own a session or a socket,
//! or speak HTTP.
//!
//! Signalling is read here, in the caller's own time; the loop of [`super::rtc`] only keeps what came of it.

use std::{
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use domain::CameraId;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::places::{Place, Places};
pub use crate::sansio::layer_choice::LayerChoice;
use crate::{
    hub::{Demand, Feed, Hub},
    sansio::{
        dtls::Identity,
        format::Format,
        sdp::{
            Description, OfferError,
            fragment::{self, Fragment},
            write::{self, CounterOffer, Local, Offered, Settled, Ssrcs, Tagged},
        },
        transport::{IceCredentials, TransportParameters},
        transport_address::TransportAddress,
        wall_clock::WallClock,
        whep_session::{SessionParameters, WhepSession},
        whip_sdp::{WhipOffer, WhipOfferError},
        whip_session::{ReceiveLimits, WhipParameters, WhipSession},
    },
};

/// A camera that is on demand gets this long to send its first picture before the viewer is told to
/// come later.
const DEMAND_TIMEOUT: Duration = Duration::from_secs(8);
/// How long an offer of ours stands (draft-ietf-wish-whep).
pub(super) const COUNTER_OFFER_VALID: Duration = Duration::from_secs(30);

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

/// What a session does at its camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionKind {
    /// WHEP: it watches.
    Viewer,
    /// WHIP: it publishes.
    Publisher,
}

/// A session as its URL names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The URL is one of WHEP or of WHIP: who may change a viewer's session may not change a publisher's.
    pub kind: SessionKind,
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
    /// The publisher's offer cannot be answered.
    #[error(transparent)]
    Publish(#[from] WhipOfferError),
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

/// What the loop is asked.
pub(super) enum Command {
    Create {
        admission: Admission,
        session: Box<WhepSession>,
        ice: IceSession,
        done: oneshot::Sender<()>,
    },
    Publish {
        admission: Admission,
        session: Box<WhipSession>,
        ice: IceSession,
        done: oneshot::Sender<Result<(), CreateError>>,
    },
    /// Keeps an offer of ours until it is answered.
    Await {
        admission: Admission,
        awaiting: Arc<Awaiting>,
        done: oneshot::Sender<()>,
    },
    /// What we offered and is not answered yet.
    Offered {
        resource: Resource,
        done: oneshot::Sender<Option<Arc<Awaiting>>>,
    },
    /// The session in the place of the offer that it comes of; `false` when that is gone.
    Answered {
        resource: Resource,
        session: Box<WhepSession>,
        ice: IceSession,
        done: oneshot::Sender<bool>,
    },
    /// The ICE session of a session, or of one that waits for its answer.
    Ice {
        resource: Resource,
        done: oneshot::Sender<Option<IceSession>>,
    },
    RestartIce {
        resource: Resource,
        credentials: IceCredentials,
        etag: String,
        done: oneshot::Sender<bool>,
    },
    SelectLayer {
        resource: Resource,
        choice: LayerChoice,
        done: oneshot::Sender<Result<(), LayerError>>,
    },
    SetPaused {
        resource: Resource,
        is_paused: bool,
        done: oneshot::Sender<bool>,
    },
    Stats {
        resource: Resource,
        done: oneshot::Sender<Option<SessionStats>>,
    },
    Delete {
        resource: Resource,
        done: oneshot::Sender<bool>,
    },
}

/// Who a session is for, and what counts it.
pub(super) struct Admission {
    pub(super) resource: Resource,
    pub(super) feed: Arc<Feed>,
    pub(super) demand: Demand,
    pub(super) place: Place,
}

/// An offer of ours that waits for its answer.
pub(super) struct Awaiting {
    offer: CounterOffer,
    local: LocalIce,
    ssrcs: Ssrcs,
    pub(super) etag: String,
}

#[cfg(test)]
impl Awaiting {
    pub(super) fn of(offer: CounterOffer) -> Self {
        let ssrcs = Ssrcs { video: 7, rtx: 8, audio: 9 };
        Self { offer, local: LocalIce::random(), ssrcs, etag: random_text(8) }
    }
}

#[derive(Clone)]
struct LocalIce {
    ufrag: String,
    pwd: String,
}

impl LocalIce {
    fn random() -> Self {
        Self { ufrag: random_text(8), pwd: random_text(24) }
    }
}

/// The current ICE session of a session.
#[derive(Debug, Clone, Default)]
pub(super) struct IceSession {
    pub(super) etag: String,
    /// Of the peer; `None` while it has not answered.
    pub(super) remote_ufrag: Option<String>,
    /// Section of the answer that it is told in.
    pub(super) tagged: Tagged,
}

/// Makes, changes and ends sessions; cheap to clone.
#[derive(Clone, Debug)]
pub struct RtcHandle {
    hub: Arc<Hub>,
    identity: Identity,
    candidates: Arc<[TransportAddress]>,
    places: Places,
    commands: mpsc::Sender<Command>,
}

impl RtcHandle {
    pub(super) fn new(
        hub: Arc<Hub>,
        identity: Identity,
        candidates: Arc<[TransportAddress]>,
        limits: Limits,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        Self { hub, identity, candidates, places: Places::new(limits), commands }
    }

    /// Asks the loop; `None` when it is gone.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (done, answer) = oneshot::channel();
        self.commands.send(command(done)).await.ok()?;
        answer.await.ok()
    }

    fn local<'a>(&'a self, ice: &'a LocalIce, ssrcs: Ssrcs) -> Local<'a> {
        Local {
            ice_ufrag: &ice.ufrag,
            ice_pwd: &ice.pwd,
            fingerprint: self.identity.fingerprint(),
            ssrcs,
            candidates: &self.candidates,
        }
    }

    /// Answers a WHEP offer for a camera with a new session, or with an offer of ours when the player's
    /// has no codec of the camera. A camera that is on demand is connected first. `remote` is where the
    /// request came from.
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
        let offer = Description::parse(offer)?;
        // Before anything is waited for or built, and before the camera is asked for.
        let place = self.places.take(camera, remote).map_err(CreateError::Full)?;
        let demand = feed.demand();
        if feed.is_on_demand() {
            wait_live(&feed).await;
        }
        let formats: Vec<_> = feed.layers().iter().filter_map(|layer| layer.format()).collect();
        let formats: Vec<&Format> = formats.iter().map(|format| &**format).collect();
        if formats.is_empty() {
            return Err(CreateError::NotLive);
        }
        let audio = feed.audio().format();
        let offered = Offered { video: &formats, audio: audio.as_deref() };

        let (ice, ssrcs) = (LocalIce::random(), random_ssrcs());
        let secret = SessionSecret::random();
        let resource =
            Resource { kind: SessionKind::Viewer, camera: camera.clone(), secret: secret.clone() };
        let admission = Admission { resource, feed: feed.clone(), demand, place };
        let etag = random_text(8);
        match offer.answer(&self.local(&ice, ssrcs), offered) {
            Ok(mut settled) => {
                let sdp = std::mem::take(&mut settled.sdp);
                let (session, ice) = self.session(&offer, settled, &ice, ssrcs, etag.clone());
                let asked =
                    self.ask(|done| Command::Create { admission, session, ice, done }).await;
                asked.ok_or(CreateError::Stopping)?;
                Ok(Created { sdp, counter_offer: None, secret, etag })
            }
            Err(OfferError::NoCodec(_)) => {
                let offer = write::offer(&self.local(&ice, ssrcs), offered);
                let sdp = offer.sdp.clone();
                let awaiting = Awaiting { offer, local: ice, ssrcs, etag: etag.clone() };
                let awaiting = Arc::new(awaiting);
                let asked = self.ask(|done| Command::Await { admission, awaiting, done }).await;
                asked.ok_or(CreateError::Stopping)?;
                Ok(Created { sdp, counter_offer: Some(COUNTER_OFFER_VALID), secret, etag })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A viewer's session that waits for its peer, and its first ICE session.
    fn session(
        &self,
        remote: &Description,
        settled: Settled,
        local: &LocalIce,
        ssrcs: Ssrcs,
        etag: String,
    ) -> (Box<WhepSession>, IceSession) {
        let now = Instant::now();
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let parameters = SessionParameters {
            transport: TransportParameters {
                ice: IceCredentials {
                    local_ufrag: local.ufrag.clone(),
                    local_pwd: local.pwd.clone(),
                    remote_ufrag: remote.ice_ufrag.clone(),
                },
                remote_fingerprint: remote.fingerprint,
            },
            role: remote.role,
            video: settled.video,
            audio: settled.audio,
            ssrcs,
            clock: WallClock::new(now, since_1970),
            seed: rand::random(),
        };
        let remote_ufrag = Some(remote.ice_ufrag.clone());
        let ice = IceSession { etag, remote_ufrag, tagged: settled.tagged };
        (Box::new(WhepSession::new(parameters, &self.identity, now)), ice)
    }

    /// Takes a publisher's WHIP offer for a camera whose source is `whip:`.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub async fn publish(
        &self,
        camera: &CameraId,
        offer: &[u8],
        remote: IpAddr,
    ) -> Result<Created, CreateError> {
        let feed = self.hub.feed(camera).ok_or(CreateError::UnknownCamera)?;
        let mut offer = WhipOffer::parse(offer)?;
        let media = feed.media();
        if !media.simulcast {
            offer.take_one_layer();
        }
        if feed.ingress().is_none() {
            return Err(CreateError::NotPublishable);
        }
        let place = self.places.take(camera, remote).map_err(CreateError::Full)?;
        let (ice, ssrcs) = (LocalIce::random(), random_ssrcs());
        let sdp = offer.answer(&self.local(&ice, ssrcs));
        let credentials = (ice.ufrag.as_str(), ice.pwd.as_str());
        let limits = ReceiveLimits::from(media);
        let parameters = WhipParameters::new(&offer, credentials, ssrcs.video, limits);
        let session = Box::new(WhipSession::new(parameters, &self.identity, Instant::now()));
        let secret = SessionSecret::random();
        let (demand, camera) = (feed.demand(), camera.clone());
        let resource = Resource { kind: SessionKind::Publisher, camera, secret: secret.clone() };
        let admission = Admission { resource, feed, demand, place };
        let etag = random_text(8);
        let ice = IceSession {
            etag: etag.clone(),
            tagged: offer.tagged(),
            remote_ufrag: Some(offer.ice_ufrag),
        };
        let asked = self.ask(|done| Command::Publish { admission, session, ice, done }).await;
        asked.ok_or(CreateError::Stopping)??;
        Ok(Created { sdp, counter_offer: None, secret, etag })
    }

    /// Changes a session, a viewer's or a publisher's.
    ///
    /// # Errors
    /// See [`PatchError`].
    pub async fn patch(
        &self,
        resource: &Resource,
        patch: Patch<'_>,
    ) -> Result<Patched, PatchError> {
        match patch {
            Patch::Answer(body) => self.take_answer(resource, body).await,
            Patch::SdpFragment { body, if_match } => {
                self.take_fragment(resource, body, if_match).await
            }
        }
    }

    async fn take_answer(&self, resource: &Resource, body: &[u8]) -> Result<Patched, PatchError> {
        self.ice(resource).await?;
        let malformed = |error: OfferError| PatchError::Malformed(error.to_string());
        let answer = Description::parse(body).map_err(malformed)?;
        let asked = self.ask(|done| Command::Offered { resource: resource.clone(), done }).await;
        let awaiting = asked.flatten().ok_or(PatchError::NoAnswerExpected)?;
        // An answer that cannot be used leaves the offer standing for a better one.
        let settled = awaiting.offer.answered(&answer).map_err(malformed)?;
        let Awaiting { local, ssrcs, etag, .. } = &*awaiting;
        let (session, ice) = self.session(&answer, settled, local, *ssrcs, etag.clone());
        let resource = resource.clone();
        let asked = self.ask(|done| Command::Answered { resource, session, ice, done }).await;
        match asked {
            Some(true) => Ok(Patched::Done),
            // Another answer was quicker.
            Some(false) => Err(PatchError::NoAnswerExpected),
            None => Err(PatchError::NoSession),
        }
    }

    async fn take_fragment(
        &self,
        resource: &Resource,
        body: &[u8],
        if_match: Option<&str>,
    ) -> Result<Patched, PatchError> {
        let current = self.ice(resource).await?;
        let if_match = if_match.ok_or(PatchError::PreconditionRequired)?;
        if if_match != "*" && if_match != current.etag {
            return Err(PatchError::PreconditionFailed);
        }
        let fragment = Fragment::parse(body).map_err(PatchError::Malformed)?;
        // Some players send `*` with candidates too: what tells a restart is another user fragment.
        // Before the answer to our offer there is nothing to restart.
        let remote_ufrag =
            fragment.ice_ufrag.filter(|new| Some(new) != current.remote_ufrag.as_ref());
        let Some(remote_ufrag) = remote_ufrag.filter(|_| current.remote_ufrag.is_some()) else {
            return Ok(Patched::Done);
        };
        let (ice, etag) = (LocalIce::random(), random_text(8));
        let credentials = IceCredentials {
            local_ufrag: ice.ufrag.clone(),
            local_pwd: ice.pwd.clone(),
            remote_ufrag,
        };
        let new_etag = etag.clone();
        let resource = resource.clone();
        let restarted = self
            .ask(|done| Command::RestartIce { resource, credentials, etag: new_etag, done })
            .await;
        if restarted != Some(true) {
            return Err(PatchError::NoSession);
        }
        let local = self.local(&ice, Ssrcs { video: 0, rtx: 0, audio: 0 });
        let candidates = write::candidate_lines(&local);
        let fragment = fragment::restart_answer(&ice.ufrag, &ice.pwd, &current.tagged, &candidates);
        Ok(Patched::Restarted { fragment, etag })
    }

    async fn ice(&self, resource: &Resource) -> Result<IceSession, PatchError> {
        let asked = self.ask(|done| Command::Ice { resource: resource.clone(), done }).await;
        asked.flatten().ok_or(PatchError::NoSession)
    }

    /// Ends a session, a viewer's or a publisher's; `false` when there is none of that name for that camera.
    pub async fn delete(&self, resource: &Resource) -> bool {
        let asked = self.ask(|done| Command::Delete { resource: resource.clone(), done }).await;
        asked.unwrap_or(false)
    }

    /// Chooses the layer a viewer gets, without renegotiation.
    ///
    /// # Errors
    /// See [`LayerError`].
    pub async fn select_layer(
        &self,
        resource: &Resource,
        choice: LayerChoice,
    ) -> Result<(), LayerError> {
        let resource = resource.clone();
        let asked = self.ask(|done| Command::SelectLayer { resource, choice, done }).await;
        asked.unwrap_or(Err(LayerError::NoSession))
    }

    /// Stops or goes on sending to a viewer, without renegotiation; `false` when there is no such session.
    pub async fn set_paused(&self, resource: &Resource, is_paused: bool) -> bool {
        let resource = resource.clone();
        let asked = self.ask(|done| Command::SetPaused { resource, is_paused, done }).await;
        asked.unwrap_or(false)
    }

    /// How a session is doing; `None` when there is none.
    pub async fn stats(&self, resource: &Resource) -> Option<SessionStats> {
        self.ask(|done| Command::Stats { resource: resource.clone(), done }).await.flatten()
    }
}

fn random_text(len: usize) -> String {
    use rand::{Rng as _, distr::Alphanumeric};
    rand::rng().sample_iter(Alphanumeric).take(len).map(char::from).collect()
}

/// Three different ones, none of them 0.
fn random_ssrcs() -> Ssrcs {
    let video = rand::random::<u32>() & !3;
    Ssrcs { video: video | 1, rtx: video | 2, audio: video | 3 }
}

/// Waits for a camera that was asked for to be live, within bounds.
async fn wait_live(feed: &Feed) {
    let mut news = feed.watch_news();
    // Whether it came to life is looked at after.
    let _ = timeout(DEMAND_TIMEOUT, news.wait_for(|_| feed.is_live())).await;
}
