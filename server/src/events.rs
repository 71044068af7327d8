//! Event streams of WHEP sessions: which there are, what is due on each, and how they end.
//!
//! Must not: speak HTTP (`api/events.rs` does). Source: draft WHEP core extensions, "Server Sent Events".

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use domain::{CameraStatus, LayerStatus};
use media::egress::handle::Resource;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::http::MAX_CONNECTIONS;

/// Streams of one session at once.
const MAX_PER_SESSION: usize = 4;
/// Streams of this server at once. Each holds a connection while it is read; the other half is for requests.
const MAX_STREAMS: usize = MAX_CONNECTIONS / 2;
/// A stream that nobody reads for longer is forgotten.
const UNREAD_TTL: Duration = Duration::from_secs(60);
/// Bit rates change all the time and are told no more often.
const RATES_INTERVAL: Duration = Duration::from_secs(2);

/// Kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The camera is live.
    Active,
    /// The camera is live no more.
    Inactive,
    /// Layers that can be chosen.
    Layers,
    /// This server is going away.
    Reconnect,
    /// How many watch the camera.
    ViewerCount,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Active, Self::Inactive, Self::Layers, Self::Reconnect, Self::ViewerCount];

    /// Its name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Layers => "layers",
            Self::Reconnect => "reconnect",
            Self::ViewerCount => "viewercount",
        }
    }

    /// The kind of that name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The event as it goes to the player: one `data:` line.
    pub(crate) fn message(self, data: &Value) -> String {
        // JSON text has no line breaks outside its strings, where they are escaped.
        format!("event: {}\ndata: {data}\n\n", self.name())
    }
}

/// Event streams of all sessions; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct EventStreams(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    streams: Mutex<HashMap<String, Stream>>,
    stopping: CancellationToken,
}

#[derive(Debug)]
struct Stream {
    resource: Resource,
    wanted: Vec<Kind>,
    /// Ends whoever reads it.
    token: CancellationToken,
    /// What its readers were told so far.
    told: Arc<Mutex<Told>>,
    /// Ends the reader before, when a player connects again.
    reader: CancellationToken,
    read_until: Option<Instant>,
}

/// What a reader of a stream needs.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) wanted: Vec<Kind>,
    pub(crate) told: Arc<Mutex<Told>>,
    /// Cancelled when the stream ends, or another reader takes its place.
    pub(crate) token: CancellationToken,
    /// Cancelled when the server stops.
    pub(crate) stopping: CancellationToken,
}

/// Why there is no new stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("a session has at most {MAX_PER_SESSION} event streams; end one of them first")]
    SessionFull,
    #[error("too many event streams")]
    Full,
}

impl EventStreams {
    fn streams(&self) -> MutexGuard<'_, HashMap<String, Stream>> {
        self.0.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a stream; its name is for the URL.
    pub(crate) fn open(
        &self,
        resource: Resource,
        wanted: Vec<Kind>,
        now: Instant,
    ) -> Result<String, StreamError> {
        let mut streams = self.streams();
        // Players that vanished: their sessions end by themselves, and so does what hangs on them.
        streams.retain(|_, stream| stream.read_until.is_none_or(|until| now < until + UNREAD_TTL));
        if streams.len() >= MAX_STREAMS {
            return Err(StreamError::Full);
        }
        let of_session = streams.values().filter(|stream| stream.resource == resource).count();
        if of_session >= MAX_PER_SESSION {
            return Err(StreamError::SessionFull);
        }
        let name = hex::encode(rand::random::<[u8; 16]>());
        let stream = Stream {
            resource,
            wanted,
            token: CancellationToken::new(),
            told: Arc::default(),
            reader: CancellationToken::new(),
            read_until: Some(now),
        };
        streams.insert(name.clone(), stream);
        Ok(name)
    }

    /// Begins to read a stream of that session.
    pub(crate) fn read(&self, resource: &Resource, name: &str) -> Option<Reader> {
        let mut streams = self.streams();
        let stream = streams.get_mut(name).filter(|stream| stream.resource == *resource)?;
        stream.reader.cancel();
        stream.reader = stream.token.child_token();
        stream.read_until = None;
        Some(Reader {
            wanted: stream.wanted.clone(),
            told: stream.told.clone(),
            token: stream.reader.clone(),
            stopping: self.0.stopping.clone(),
        })
    }

    /// A reader has left; the player may come back for a while.
    pub(crate) fn left(&self, name: &str, reader: &Reader, now: Instant) {
        // Another reader has taken its place when its token is cancelled.
        if !reader.token.is_cancelled()
            && let Some(stream) = self.streams().get_mut(name)
        {
            stream.read_until = Some(now);
        }
    }

    /// Ends a stream of that session; `false` when there is none.
    pub(crate) fn close(&self, resource: &Resource, name: &str) -> bool {
        let mut streams = self.streams();
        let is_of_session = streams.get(name).is_some_and(|stream| stream.resource == *resource);
        if is_of_session && let Some(stream) = streams.remove(name) {
            stream.token.cancel();
        }
        is_of_session
    }

    /// Ends every stream of a session that is over.
    pub(crate) fn close_session(&self, resource: &Resource) {
        self.streams().retain(|_, stream| {
            let stays = stream.resource != *resource;
            if !stays {
                stream.token.cancel();
            }
            stays
        });
    }

    /// Cancelled when every stream is to end: this server is stopping.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.0.stopping.clone()
    }

    /// Tells every player to connect again, and ends the streams.
    pub fn stop(&self) {
        self.0.stopping.cancel();
    }
}

/// What a stream's readers were told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    is_live: bool,
    viewers: Option<u32>,
    layers: Option<(Value, Instant)>,
}

impl Told {
    /// What is due now. `media_id` names the video section in the SDP.
    pub(crate) fn due(
        &mut self,
        camera: Option<&CameraStatus>,
        media_id: &str,
        wanted: &[Kind],
        now: Instant,
    ) -> String {
        let mut text = String::new();
        let mut tell = |kind: Kind, data: &Value| {
            if wanted.contains(&kind) {
                text.push_str(&kind.message(data));
            }
        };
        let is_live = camera.is_some_and(|camera| camera.state.is_live());
        if is_live != self.is_live {
            self.is_live = is_live;
            tell(if is_live { Kind::Active } else { Kind::Inactive }, &json!({}));
        }
        let viewers = camera.map_or(0, |camera| camera.viewers);
        if self.viewers != Some(viewers) {
            self.viewers = Some(viewers);
            tell(Kind::ViewerCount, &json!({ "viewercount": viewers }));
        }
        let layers = camera.map_or(&[][..], |camera| &camera.layers);
        let layers = json!({ media_id: layers.iter().map(layer).collect::<Vec<_>>() });
        let is_due = match &self.layers {
            None => true,
            Some((told, at)) => {
                let rates_only = without_rates(told) == without_rates(&layers);
                *told != layers && (!rates_only || now >= *at + RATES_INTERVAL)
            }
        };
        if is_due {
            tell(Kind::Layers, &layers);
            self.layers = Some((layers, now));
        }
        text
    }

    /// A player that comes back knows no more what it was told, but for whether the camera was live.
    pub(crate) fn begin_again(&mut self) {
        (self.viewers, self.layers) = (None, None);
    }
}

/// One element of the `layers` event. The draft's text writes `heigth` where its examples write `height`;
/// live777 and Broadcast Box name the rid `encodingId`.
fn layer(layer: &LayerStatus) -> Value {
    let bitrate_bps = u64::from(layer.bitrate_kbps) * 1000;
    json!({
        "rid": layer.rid,
        "encodingId": layer.rid,
        "bitrate": bitrate_bps,
        // What a camera's own encoder aims at is not known: what it sends is.
        "targetBitrate": bitrate_bps,
        "width": layer.video.width_px,
        "height": layer.video.height_px,
        "heigth": layer.video.height_px,
    })
}

fn without_rates(layers: &Value) -> Vec<(&Value, &Value, &Value)> {
    let sections = layers.as_object().into_iter().flat_map(|sections| sections.values());
    let layers = sections.filter_map(Value::as_array).flatten();
    layers.map(|layer| (&layer["rid"], &layer["width"], &layer["height"])).collect()
}

#[cfg(test)]
mod tests {
    use domain::{CameraState, VideoParameters};
    use media::egress::handle::{SessionKind, SessionSecret};

    use super::*;

    fn camera(bitrate_kbps: u32, viewers: u32) -> CameraStatus {
        let video = VideoParameters { codec: "avc1.42c01f".into(), width_px: 640, height_px: 360 };
        CameraStatus {
            id: "door".parse().unwrap(),
            name: "Door".into(),
            state: CameraState::Live { video: video.clone(), fps: 25.0, bitrate_kbps },
            viewers,
            source: "test".into(),
            warning: None,
            layers: vec![LayerStatus {
                rid: "main".into(),
                video,
                fps: 25.0,
                bitrate_kbps,
                key_frame_interval_ms: None,
            }],
            audio: None,
        }
    }

    fn resource(secret: &str) -> Resource {
        let secret = SessionSecret::from(secret.to_owned());
        Resource { kind: SessionKind::Viewer, camera: "door".parse().unwrap(), secret }
    }

    #[test]
    fn a_stream_begins_with_how_things_are_and_goes_on_with_what_changes() {
        let (mut told, t0) = (Told::default(), Instant::now());
        let mut due = |camera: Option<&CameraStatus>, at_ms| {
            told.due(camera, "0", &Kind::ALL, t0 + Duration::from_millis(at_ms))
        };
        let expected = "event: active\ndata: {}\n\n\
            event: viewercount\ndata: {\"viewercount\":1}\n\n\
            event: layers\ndata: {\"0\":[{\"bitrate\":500000,\"encodingId\":\"main\",\"height\":360,\
            \"heigth\":360,\"rid\":\"main\",\"targetBitrate\":500000,\"width\":640}]}\n\n";
        assert_eq!(due(Some(&camera(500, 1)), 0), expected);
        assert_eq!(due(Some(&camera(500, 1)), 100), "");
        assert_eq!(due(Some(&camera(510, 1)), 200), "", "bit rates alone are not news yet");
        assert!(due(Some(&camera(510, 2)), 300).starts_with("event: viewercount"));
        assert!(due(Some(&camera(520, 2)), 2500).starts_with("event: layers"));
        let gone = due(None, 2600);
        assert!(gone.contains("event: inactive\ndata: {}\n\n"), "{gone}");
        assert!(gone.contains("data: {\"0\":[]}"), "{gone}");
    }

    #[test]
    fn a_camera_that_was_never_live_is_not_told_of_as_inactive() {
        let wanted = [Kind::Active, Kind::Inactive];
        assert_eq!(Told::default().due(None, "0", &wanted, Instant::now()), "");
    }

    #[test]
    fn streams_are_few_per_session_and_end_with_it() {
        let (streams, now) = (EventStreams::default(), Instant::now());
        let open = |secret: &str| streams.open(resource(secret), vec![Kind::Active], now);
        let names: Vec<String> = (0..MAX_PER_SESSION).map(|_| open("a").unwrap()).collect();
        assert_eq!(open("a"), Err(StreamError::SessionFull));
        let other = open("b").unwrap();
        assert!(streams.read(&resource("b"), &names[0]).is_none(), "not a stream of that session");
        assert!(!streams.close(&resource("b"), &names[0]));
        let first = streams.read(&resource("a"), &names[0]).unwrap();
        let second = streams.read(&resource("a"), &names[0]).unwrap();
        assert!(
            first.token.is_cancelled() && !second.token.is_cancelled(),
            "the newer one reads on"
        );
        assert!(streams.close(&resource("a"), &names[1]));
        assert!(streams.read(&resource("a"), &names[1]).is_none());
        streams.close_session(&resource("a"));
        assert!(second.token.is_cancelled());
        assert!(streams.read(&resource("a"), &names[0]).is_none());
        assert!(streams.read(&resource("b"), &other).is_some());
    }

    #[test]
    fn a_stream_that_nobody_reads_is_forgotten() {
        let (streams, now) = (EventStreams::default(), Instant::now());
        let unread = streams.open(resource("a"), vec![], now).unwrap();
        let read = streams.open(resource("a"), vec![], now).unwrap();
        let reader = streams.read(&resource("a"), &read).unwrap();
        let later = now + UNREAD_TTL + Duration::from_secs(1);
        streams.open(resource("b"), vec![], later).unwrap();
        assert!(streams.read(&resource("a"), &unread).is_none());
        streams.left(&read, &reader, later);
        streams.open(resource("b"), vec![], later + UNREAD_TTL * 2).unwrap();
        assert!(streams.read(&resource("a"), &read).is_none());
    }
}
