//! Publishing a camera or a screen of this computer: what to capture, how to encode it, and when to try
//! again. Must not: touch the browser or read a clock.
//!
//! What the browser is to be told is written as JSON here, which it parses: constraints and encodings
//! are dictionaries without a type worth having.

use serde_json::{Value, json};

const BACKOFF_FIRST_MS: u64 = 1_000;
const BACKOFF_MAX_MS: u64 = 10_000;
/// Below this a picture of any size is mush.
const MIN_KBPS: u32 = 150;

/// What is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A camera, and a microphone.
    Camera,
    /// A screen or a window, and its sound where the browser offers it.
    Screen,
}

/// How large the picture is at most, which decides the bitrate too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resolution {
    /// 1920 × 1080, at most 5000 kbit/s.
    P1080,
    /// 1280 × 720, at most 3000 kbit/s.
    #[default]
    P720,
    /// 854 × 480, at most 1200 kbit/s.
    P480,
}

impl Resolution {
    /// Every one, largest first.
    pub const ALL: [Self; 3] = [Self::P1080, Self::P720, Self::P480];

    /// As it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::P1080 => "1080p",
            Self::P720 => "720p",
            Self::P480 => "480p",
        }
    }

    /// From its name; any other one is the default.
    pub fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|one| one.name() == name).unwrap_or_default()
    }

    fn size_px(self) -> (u32, u32) {
        match self {
            Self::P1080 => (1920, 1080),
            Self::P720 => (1280, 720),
            Self::P480 => (854, 480),
        }
    }

    fn max_kbps(self) -> u32 {
        match self {
            Self::P1080 => 5_000,
            Self::P720 => 3_000,
            Self::P480 => 1_200,
        }
    }
}

/// How many sizes of the picture are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layers {
    /// Full, half and quarter size: small tiles get small pictures.
    #[default]
    Simulcast,
    /// Full size.
    One,
}

/// What was chosen on the page. A device is named by the browser's id; empty for its first choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What is captured.
    pub source: Source,
    /// How large.
    pub resolution: Resolution,
    /// Which camera.
    pub camera_id: String,
    /// Which microphone.
    pub microphone_id: String,
    /// Whether sound is captured.
    pub sound: Sound,
}

/// Whether sound is captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sound {
    /// Yes.
    #[default]
    On,
    /// No.
    Off,
}

impl Choice {
    /// Constraints for `getUserMedia` or `getDisplayMedia`, JSON.
    pub fn constraints(&self) -> String {
        let (width, height) = self.resolution.size_px();
        let mut video = json!({
            "width": { "ideal": width },
            "height": { "ideal": height },
            "frameRate": { "ideal": 30, "max": 30 },
        });
        let exactly = |id: &str| match id {
            "" => json!(true),
            id => json!({ "deviceId": { "exact": id } }),
        };
        if self.source == Source::Camera && !self.camera_id.is_empty() {
            video["deviceId"] = json!({ "exact": self.camera_id });
        }
        let audio = match (self.sound, self.source) {
            (Sound::Off, _) => json!(false),
            (Sound::On, Source::Camera) => exactly(&self.microphone_id),
            (Sound::On, Source::Screen) => json!(true),
        };
        json!({ "video": video, "audio": audio }).to_string()
    }
}

/// `sendEncodings` of the video, JSON; the smallest first, as browsers want them.
pub fn encodings(resolution: Resolution, layers: Layers) -> String {
    let one = |rid: Option<&str>, scale: u32| {
        // A quarter of the pixels needs somewhat more than a quarter of the bits.
        let max_kbps = (resolution.max_kbps() / (scale * scale) * 5 / 4)
            .min(resolution.max_kbps())
            .max(MIN_KBPS);
        let mut encoding = json!({
            "active": true,
            "scaleResolutionDownBy": scale,
            "maxBitrate": max_kbps * 1_000,
        });
        if let Some(rid) = rid {
            encoding["rid"] = json!(rid);
        }
        encoding
    };
    let encodings = match layers {
        Layers::Simulcast => vec![one(Some("l"), 4), one(Some("m"), 2), one(Some("h"), 1)],
        Layers::One => vec![one(None, 1)],
    };
    Value::Array(encodings).to_string()
}

/// Why there is nothing to publish, or nowhere to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The browser has no way to capture here.
    #[error(
        "This browser does not let a page use the camera here. It has to come over https, or from this computer itself (localhost)."
    )]
    Unsupported,
    /// Somebody said no.
    #[error(
        "The browser was not allowed to. Permit camera and microphone for this page, then try again."
    )]
    PermissionDenied,
    /// There is none.
    #[error("No camera or microphone was found. Plug one in, or take another source.")]
    NoDevice,
    /// Another program has it.
    #[error("The camera or microphone is in use by another program.")]
    DeviceBusy,
    /// The device went away, or the sharing was ended in the browser.
    #[error("The source ended. Choose it again.")]
    SourceEnded,
    /// 401.
    #[error("You are not logged in any more.")]
    LoggedOut,
    /// 403.
    #[error("Your role does not allow publishing.")]
    Forbidden,
    /// 404.
    #[error("There is no such camera.")]
    NoSuchCamera,
    /// 409: somebody publishes already, or the camera has another source. The server's sentence.
    #[error("{0}")]
    Conflict(String),
    /// The server has no use for the offer.
    #[error("The server refused what this browser can send; it takes H.264, VP8, VP9 and AV1.")]
    Refused,
    /// The browser said something else.
    #[error("The browser says: {0}")]
    Other(String),
}

impl PublishError {
    /// From the name of the error that the browser throws on capture.
    pub fn from_capture(name: &str, message: &str) -> Self {
        match name {
            "NotAllowedError" | "SecurityError" => Self::PermissionDenied,
            "NotFoundError" | "OverconstrainedError" | "DevicesNotFoundError" => Self::NoDevice,
            "NotReadableError" | "AbortError" => Self::DeviceBusy,
            "NotSupportedError" => Self::Unsupported,
            _ => Self::Other(format!("{name} {message}").trim().to_owned()),
        }
    }

    /// Whether there is something to publish all the same.
    pub fn keeps_source(&self) -> bool {
        matches!(
            self,
            Self::LoggedOut
                | Self::Forbidden
                | Self::NoSuchCamera
                | Self::Conflict(_)
                | Self::Refused
        )
    }

    /// From the status of the server's answer; `None` when trying again may help.
    pub fn from_status(status: u16, detail: Option<String>) -> Option<Self> {
        let detail = || {
            let text = detail.filter(|text| !text.is_empty());
            text.unwrap_or_else(|| "Somebody else publishes to this camera.".to_owned())
        };
        match status {
            401 => Some(Self::LoggedOut),
            403 => Some(Self::Forbidden),
            404 => Some(Self::NoSuchCamera),
            409 => Some(Self::Conflict(detail())),
            502..=504 => None,
            _ => Some(Self::Refused),
        }
    }
}

/// What the page shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PublishStatus {
    /// Nothing is captured.
    #[default]
    Idle,
    /// The browser asks for permission.
    Opening,
    /// There is a preview, which nobody else sees.
    Preview,
    /// Offered to the server.
    Connecting,
    /// Sent.
    Live,
    /// The connection broke or the server is away; tried again by itself.
    Retrying,
    /// Something has to be done about it.
    Failed(PublishError),
}

impl PublishStatus {
    /// `data-state` of the page.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Opening => "opening",
            Self::Preview => "preview",
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::Retrying => "retrying",
            Self::Failed(_) => "failed",
        }
    }

    /// A sentence.
    pub fn text(&self) -> String {
        match self {
            Self::Idle => "Nothing is captured yet.".to_owned(),
            Self::Opening => "The browser asks whether it may.".to_owned(),
            Self::Preview => "Only you see this. Start when you are ready.".to_owned(),
            Self::Connecting => "Connecting…".to_owned(),
            Self::Live => "You are live.".to_owned(),
            Self::Retrying => "The connection broke; trying again.".to_owned(),
            Self::Failed(error) => error.to_string(),
        }
    }

    /// Whether there is something to publish, and it is not being published.
    pub fn can_start(&self) -> bool {
        match self {
            Self::Preview => true,
            Self::Failed(error) => error.keeps_source(),
            _ => false,
        }
    }

    /// Whether the page sends, or tries to.
    pub fn is_publishing(&self) -> bool {
        matches!(self, Self::Connecting | Self::Live | Self::Retrying)
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A source was asked for.
    Open,
    /// It is captured.
    Opened,
    /// It is not.
    NotOpened(PublishError),
    /// The source stopped by itself.
    SourceEnded,
    /// Publish what is captured.
    Start,
    /// Publish no more.
    Stop,
    /// Capture no more.
    Close,
    /// The peer connection is up.
    LinkUp,
    /// The peer connection failed, or the server is away.
    LinkLost,
    /// The server will not have it.
    Refused(PublishError),
    /// Time passed.
    Tick,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// Offer a new session.
    Connect,
    /// End the session, keep the source.
    Disconnect,
    /// End the session, and let go of the source.
    Release,
}

/// One page that publishes.
#[derive(Clone, Debug, Default)]
pub struct Publisher {
    status: PublishStatus,
    has_source: bool,
    retry_ms: u64,
    failures: u32,
}

impl Publisher {
    /// What to show.
    pub fn status(&self) -> &PublishStatus {
        &self.status
    }

    /// Takes in what happened at `now_ms`, a clock that never goes back.
    pub fn on_event(&mut self, now_ms: u64, event: Event) -> Action {
        use PublishStatus as Is;
        match event {
            Event::Open => {
                self.status = Is::Opening;
                Action::Disconnect
            }
            Event::Opened => {
                self.has_source = true;
                self.status = Is::Preview;
                Action::None
            }
            Event::NotOpened(error) => {
                self.has_source = false;
                self.status = Is::Failed(error);
                Action::Release
            }
            Event::SourceEnded => {
                self.has_source = false;
                self.status = Is::Failed(PublishError::SourceEnded);
                Action::Release
            }
            Event::Start if self.has_source && !self.status.is_publishing() => {
                self.failures = 0;
                self.status = Is::Connecting;
                Action::Connect
            }
            Event::Start => Action::None,
            Event::Stop => {
                self.status = if self.has_source { Is::Preview } else { Is::Idle };
                Action::Disconnect
            }
            Event::Close => {
                *self = Self::default();
                Action::Release
            }
            Event::LinkUp if self.status.is_publishing() => {
                self.failures = 0;
                self.status = Is::Live;
                Action::None
            }
            Event::LinkLost if self.status.is_publishing() => {
                let wait_ms =
                    BACKOFF_FIRST_MS.saturating_mul(1 << self.failures.min(8)).min(BACKOFF_MAX_MS);
                self.failures = self.failures.saturating_add(1);
                self.retry_ms = now_ms.saturating_add(wait_ms);
                self.status = Is::Retrying;
                Action::Disconnect
            }
            Event::Refused(error) if self.status.is_publishing() => {
                self.status = Is::Failed(error);
                Action::Disconnect
            }
            Event::Tick if self.status == Is::Retrying && now_ms >= self.retry_ms => {
                // Not again before this attempt has come to something.
                self.retry_ms = u64::MAX;
                Action::Connect
            }
            Event::LinkUp | Event::LinkLost | Event::Refused(_) | Event::Tick => Action::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live() -> Publisher {
        let mut publisher = Publisher::default();
        assert_eq!(publisher.on_event(0, Event::Open), Action::Disconnect);
        assert_eq!(publisher.on_event(0, Event::Opened), Action::None);
        assert_eq!(publisher.status(), &PublishStatus::Preview);
        assert_eq!(publisher.on_event(0, Event::Start), Action::Connect);
        assert_eq!(publisher.on_event(0, Event::LinkUp), Action::None);
        assert_eq!(publisher.status(), &PublishStatus::Live);
        publisher
    }

    #[test]
    fn source_is_previewed_published_and_let_go() {
        let mut publisher = live();
        assert_eq!(publisher.on_event(0, Event::Stop), Action::Disconnect);
        assert_eq!(publisher.status(), &PublishStatus::Preview);
        assert_eq!(publisher.on_event(0, Event::Close), Action::Release);
        assert_eq!(publisher.status(), &PublishStatus::Idle);
        assert_eq!(publisher.on_event(0, Event::Start), Action::None);
    }

    #[test]
    fn broken_connection_is_made_again_with_the_same_source() {
        let mut publisher = live();
        assert_eq!(publisher.on_event(0, Event::LinkLost), Action::Disconnect);
        assert_eq!(publisher.status(), &PublishStatus::Retrying);
        assert_eq!(publisher.on_event(999, Event::Tick), Action::None);
        assert_eq!(publisher.on_event(1_000, Event::Tick), Action::Connect);
        assert_eq!(publisher.on_event(1_500, Event::Tick), Action::None);
        assert_eq!(publisher.on_event(2_000, Event::LinkLost), Action::Disconnect);
        assert_eq!(publisher.on_event(3_999, Event::Tick), Action::None);
        assert_eq!(publisher.on_event(4_000, Event::Tick), Action::Connect);
        assert_eq!(publisher.on_event(4_100, Event::LinkUp), Action::None);
        assert_eq!(publisher.status(), &PublishStatus::Live);
    }

    #[test]
    fn refusal_waits_for_somebody_to_do_something() {
        let mut publisher = live();
        let taken = PublishError::from_status(409, Some("somebody publishes".into())).unwrap();
        assert_eq!(publisher.on_event(0, Event::Refused(taken)), Action::Disconnect);
        assert_eq!(publisher.status().text(), "somebody publishes");
        assert_eq!(publisher.on_event(60_000, Event::Tick), Action::None);
        assert!(publisher.status().can_start());
        assert_eq!(publisher.on_event(60_000, Event::Start), Action::Connect, "try again");
    }

    #[test]
    fn source_that_ends_ends_the_session() {
        let mut publisher = live();
        assert_eq!(publisher.on_event(0, Event::SourceEnded), Action::Release);
        assert_eq!(publisher.on_event(0, Event::LinkLost), Action::None);
        assert_eq!(publisher.on_event(0, Event::Start), Action::None);
        assert!(!publisher.status().can_start());
        assert_eq!(publisher.status().name(), "failed");
    }

    #[test]
    fn errors_of_the_browser_are_told_in_words() {
        let told = |name| PublishError::from_capture(name, "");
        assert_eq!(told("NotAllowedError"), PublishError::PermissionDenied);
        assert_eq!(told("NotFoundError"), PublishError::NoDevice);
        assert_eq!(told("NotReadableError"), PublishError::DeviceBusy);
        assert_eq!(told("Strange"), PublishError::Other("Strange".into()));
    }

    #[test]
    fn server_that_is_away_is_tried_again() {
        assert_eq!(PublishError::from_status(503, None), None);
        assert_eq!(PublishError::from_status(404, None), Some(PublishError::NoSuchCamera));
        assert!(matches!(PublishError::from_status(409, None), Some(PublishError::Conflict(_))));
        assert_eq!(PublishError::from_status(422, None), Some(PublishError::Refused));
    }

    #[test]
    fn three_sizes_are_sent_with_caps_that_fit_them() {
        let encodings: Value =
            serde_json::from_str(&encodings(Resolution::P720, Layers::Simulcast)).unwrap();
        let row = |n: usize| {
            let encoding = &encodings[n];
            (
                encoding["rid"].as_str().unwrap().to_owned(),
                encoding["scaleResolutionDownBy"].as_u64().unwrap(),
                encoding["maxBitrate"].as_u64().unwrap(),
            )
        };
        assert_eq!(row(0), ("l".into(), 4, 233_000));
        assert_eq!(row(1), ("m".into(), 2, 937_000));
        assert_eq!(row(2), ("h".into(), 1, 3_000_000));
    }

    #[test]
    fn one_size_has_no_name() {
        let encodings: Value =
            serde_json::from_str(&encodings(Resolution::P1080, Layers::One)).unwrap();
        assert_eq!(encodings.as_array().unwrap().len(), 1);
        assert_eq!(encodings[0].get("rid"), None);
        assert_eq!(encodings[0]["maxBitrate"], 5_000_000);
    }

    #[test]
    fn constraints_name_the_devices_that_were_chosen() {
        let mut choice = Choice {
            source: Source::Camera,
            resolution: Resolution::P720,
            camera_id: "cam".into(),
            microphone_id: String::new(),
            sound: Sound::On,
        };
        let constraints: Value = serde_json::from_str(&choice.constraints()).unwrap();
        assert_eq!(constraints["video"]["deviceId"]["exact"], "cam");
        assert_eq!(constraints["video"]["height"]["ideal"], 720);
        assert_eq!(constraints["audio"], true);
        choice.source = Source::Screen;
        choice.sound = Sound::Off;
        let constraints: Value = serde_json::from_str(&choice.constraints()).unwrap();
        assert_eq!(constraints["video"].get("deviceId"), None);
        assert_eq!(constraints["audio"], false);
    }
}
