//! What cameras there are to be: those of the configuration file, and those added by the API, kept in the
//! catalog. Must not: look at a request, or know what a camera is doing (the live plane does).
//!
//! The file wins where both define the same id. Several servers may share a catalog: before one changes
//! something it reads what the others did, and when another did, it reads that.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use app::ssr::{Answer, CameraAdmin, CameraAdminError};
use catalog::{Catalog, CatalogError, Tag};
use domain::{
    CameraDefinition, CameraDetails, CameraId, CameraProbe, ManagedBy, MediaSettings, ProbedTrack,
    RtspTransport,
};
use futures::future::join_all;
use media::{
    camera::{CameraConfig, SourceUrl, SourceUrlError},
    live,
};
use serde::{Deserialize, Deserializer, de::Error as _};
use tokio::{
    sync::{
        Semaphore,
        broadcast::{self, error::RecvError},
    },
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Longest name of a camera, in characters.
const MAX_NAME_LEN: usize = 200;
/// Ids that lead elsewhere: to the page that adds a camera, and to the API's own probe.
const RESERVED_IDS: [&str; 2] = ["new", "probe"];
/// Most cameras of the API.
const MAX_CAMERAS: usize = 1000;
/// Time for a camera that is probed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);
/// Cameras probed at once.
const MAX_PROBES: usize = 4;

/// A camera's URL as it was written, credentials and all, and what it comes to. `Debug` and `Display` show
/// neither credentials nor path.
#[derive(Clone, PartialEq, Eq)]
pub struct CameraSource {
    text: String,
    url: SourceUrl,
}

impl CameraSource {
    /// Whether the URL carries a user name or password.
    pub fn has_credentials(&self) -> bool {
        url::Url::parse(&self.text)
            .is_ok_and(|url| !url.username().is_empty() || url.password().is_some())
    }
}

impl std::str::FromStr for CameraSource {
    type Err = SourceUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self { text: text.to_owned(), url: text.parse()? })
    }
}

impl<'de> Deserialize<'de> for CameraSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl fmt::Display for CameraSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

impl fmt::Debug for CameraSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CameraSource({self})")
    }
}

/// A camera whose definition is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraSpec {
    /// Name in URLs.
    pub id: CameraId,
    /// Name to show.
    pub name: String,
    /// Where its pictures come from.
    pub source: CameraSource,
    /// A smaller stream of the same picture.
    pub sub: Option<CameraSource>,
    /// Connect only while somebody watches.
    pub on_demand: bool,
    /// Give its sound to viewers too.
    pub audio: bool,
    /// How an `rtsp://` camera sends.
    pub rtsp_transport: RtspTransport,
    /// What its media is to be like.
    pub media: MediaSettings,
}

impl CameraSpec {
    /// A definition that was sent; URLs left out are those of `old`.
    fn new(definition: CameraDefinition, old: Option<&Self>) -> Result<Self, CameraAdminError> {
        let invalid = |text: &str| CameraAdminError::Invalid(text.to_owned());
        let parse = |field: &str, text: &str| {
            let source = text.trim().parse::<CameraSource>();
            source.map_err(|error| CameraAdminError::Invalid(format!("{field} {error}")))
        };
        let source = match (&definition.url, old) {
            (Some(text), _) => parse("url", text)?,
            (None, Some(old)) => old.source.clone(),
            (None, None) => return Err(invalid("url is needed")),
        };
        let sub = match definition.sub_url.as_deref().map(str::trim) {
            Some("") => None,
            Some(text) => Some(parse("sub_url", text)?),
            None => old.and_then(|old| old.sub.clone()),
        };
        definition.media.check().map_err(|(field, expected)| {
            CameraAdminError::Invalid(format!("media.{field}: {expected}"))
        })?;
        let name = match definition.name.trim() {
            "" => definition.id.to_string(),
            name if name.chars().count() > MAX_NAME_LEN => return Err(invalid("name is too long")),
            name if name.chars().any(char::is_control) => {
                return Err(invalid("name has control characters"));
            }
            name => name.to_owned(),
        };
        Ok(Self {
            id: definition.id,
            name,
            source,
            sub,
            on_demand: definition.on_demand,
            audio: definition.audio,
            rtsp_transport: definition.rtsp_transport,
            media: definition.media,
        })
    }

    /// What is kept: all of it, credentials too.
    fn definition(&self) -> CameraDefinition {
        CameraDefinition {
            id: self.id.clone(),
            name: self.name.clone(),
            url: Some(self.source.text.clone()),
            sub_url: self.sub.as_ref().map(|sub| sub.text.clone()),
            on_demand: self.on_demand,
            audio: self.audio,
            rtsp_transport: self.rtsp_transport,
            media: self.media,
        }
    }

    fn to_json(&self) -> Result<String, CameraAdminError> {
        serde_json::to_string(&self.definition()).map_err(unavailable)
    }

    /// What is shown.
    fn details(&self, managed: ManagedBy) -> CameraDetails {
        CameraDetails {
            id: self.id.clone(),
            name: self.name.clone(),
            url: self.source.to_string(),
            url_has_credentials: self.source.has_credentials(),
            sub_url: self.sub.as_ref().map(ToString::to_string),
            sub_url_has_credentials: self.sub.as_ref().is_some_and(CameraSource::has_credentials),
            on_demand: self.on_demand,
            audio: self.audio,
            rtsp_transport: self.rtsp_transport,
            media: self.media,
            managed,
        }
    }

    fn config(&self) -> CameraConfig {
        let (id, name) = (self.id.clone(), self.name.clone());
        CameraConfig {
            sub: self.sub.as_ref().map(|sub| sub.url.clone()),
            on_demand: self.on_demand,
            audio: self.audio,
            rtsp_transport: self.rtsp_transport,
            media: self.media,
            ..CameraConfig::new(id, name, self.source.url.clone())
        }
    }
}

/// Every camera that is to run; cheap to clone.
#[derive(Clone, Debug)]
pub struct CameraRegistry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    live: live::Cameras,
    catalog: Catalog,
    /// Held by whoever changes a camera, until it runs as defined.
    one_change_at_a_time: tokio::sync::Mutex<()>,
    defined: Mutex<Defined>,
    probes: Semaphore,
}

#[derive(Debug, Default)]
struct Defined {
    config: BTreeMap<CameraId, CameraSpec>,
    api: BTreeMap<CameraId, CameraSpec>,
    /// Of the catalog, and not understood here.
    left_out: BTreeSet<String>,
}

impl Defined {
    fn find(&self, id: &CameraId) -> Option<(&CameraSpec, ManagedBy)> {
        let of_api = || self.api.get(id).map(|spec| (spec, ManagedBy::Api));
        self.config.get(id).map(|spec| (spec, ManagedBy::Config)).or_else(of_api)
    }

    /// Every camera that is to run.
    fn all(&self) -> impl Iterator<Item = (&CameraSpec, ManagedBy)> {
        let is_hidden = |spec: &CameraSpec| self.config.contains_key(&spec.id);
        let config = self.config.values().map(|spec| (spec, ManagedBy::Config));
        let api = self.api.values().filter(move |spec| !is_hidden(spec));
        config.chain(api.map(|spec| (spec, ManagedBy::Api)))
    }

    /// Takes over the catalog's cameras.
    fn set_api(&mut self, definitions: Vec<(String, String)>) {
        let left_out = std::mem::take(&mut self.left_out);
        self.api.clear();
        for (id, json) in definitions {
            // Only another version of this program can have kept what this one refuses.
            let spec = serde_json::from_str::<CameraDefinition>(&json)
                .map_err(|_| CameraAdminError::Invalid("the definition is not understood".into()))
                .and_then(|definition| CameraSpec::new(definition, None));
            match spec {
                Ok(spec) => drop(self.api.insert(spec.id.clone(), spec)),
                Err(cause) => {
                    if !left_out.contains(&id) {
                        error!(camera.id = id, "camera {id} is left out: {cause}");
                    }
                    self.left_out.insert(id);
                }
            }
        }
    }

    fn set_config(&mut self, config: Vec<CameraSpec>) {
        self.config = config.into_iter().map(|spec| (spec.id.clone(), spec)).collect();
    }
}

impl CameraRegistry {
    /// Starts the cameras of the configuration and of the catalog.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn start(
        catalog: Catalog,
        live: live::Cameras,
        config: Vec<CameraSpec>,
    ) -> Result<Self, CatalogError> {
        let definitions = catalog.camera_definitions().await?;
        let registry = Self(Arc::new(Inner {
            live,
            catalog,
            one_change_at_a_time: tokio::sync::Mutex::default(),
            defined: Mutex::default(),
            probes: Semaphore::new(MAX_PROBES),
        }));
        let define = |defined: &mut Defined| {
            defined.set_config(config);
            defined.set_api(definitions);
            for id in defined.api.keys().filter(|id| defined.config.contains_key(*id)) {
                warn!(camera.id = %id, "camera {id} is in the configuration file, which wins");
            }
        };
        registry.define(define).await;
        Ok(registry)
    }

    /// Follows what other servers of the catalog do, until `token` is cancelled. `changes` must be older than
    /// the registry.
    pub async fn run(
        &self,
        mut changes: broadcast::Receiver<Arc<[Tag]>>,
        token: CancellationToken,
    ) {
        let is_ours = |tag: &Tag| matches!(tag, Tag::Cameras | Tag::Everything);
        let follow = async {
            loop {
                match changes.recv().await {
                    Ok(tags) if !tags.iter().any(is_ours) => continue,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    // The catalog is gone: the program ends.
                    Err(RecvError::Closed) => return,
                }
                let _turn = self.0.one_change_at_a_time.lock().await;
                if let Err(cause) = self.read_catalog().await {
                    // The next change, here or elsewhere, has it read again.
                    error!(error = %cause, "cameras were changed elsewhere and are not read: {cause}");
                }
            }
        };
        token.run_until_cancelled(follow).await;
    }

    /// Takes other cameras from the configuration; only what differs is started or ended.
    pub async fn set_config(&self, config: Vec<CameraSpec>) {
        let _turn = self.0.one_change_at_a_time.lock().await;
        self.define(|defined| defined.set_config(config)).await;
    }

    /// Takes the cameras of the API as they are in the catalog now. The turn is the caller's.
    async fn read_catalog(&self) -> Result<(), CatalogError> {
        let definitions = self.0.catalog.camera_definitions().await?;
        self.define(|defined| defined.set_api(definitions)).await;
        Ok(())
    }

    /// Changes what is defined, and starts and ends what differs by it.
    async fn define(&self, change: impl FnOnce(&mut Defined)) {
        let (gone, put) = {
            let mut defined = self.defined();
            let before: Vec<_> = defined.all().map(|(spec, _)| spec.id.clone()).collect();
            change(&mut defined);
            let gone: Vec<_> = before.into_iter().filter(|id| defined.find(id).is_none()).collect();
            let put: Vec<_> = defined.all().map(|(spec, _)| spec.config()).collect();
            (gone, put)
        };
        // All at once: each may take seconds to say goodbye to its camera.
        join_all(gone.iter().map(|id| self.0.live.remove(id))).await;
        for config in put {
            self.0.live.put(config);
        }
    }

    /// Where a camera is defined.
    pub fn managed(&self, id: &CameraId) -> Option<ManagedBy> {
        self.defined().find(id).map(|(_, managed)| managed)
    }

    fn defined(&self) -> MutexGuard<'_, Defined> {
        self.0.defined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The definition of a camera that may be changed here.
    fn changeable(&self, id: &CameraId) -> Result<CameraSpec, CameraAdminError> {
        match self.defined().find(id) {
            None => Err(CameraAdminError::NotFound),
            Some((_, ManagedBy::Config)) => Err(of_config(id)),
            Some((spec, ManagedBy::Api)) => Ok(spec.clone()),
        }
    }

    async fn create_now(
        &self,
        definition: CameraDefinition,
    ) -> Result<CameraDetails, CameraAdminError> {
        let _turn = self.0.one_change_at_a_time.lock().await;
        let id = definition.id.clone();
        if RESERVED_IDS.contains(&id.as_str()) {
            let text = format!("`{id}` is a name of the program's own; choose another");
            return Err(CameraAdminError::Conflict(text));
        }
        let taken =
            || CameraAdminError::Conflict(format!("there is a camera of the id `{id}` already"));
        self.read_catalog().await.map_err(unavailable)?;
        match self.managed(&id) {
            Some(ManagedBy::Config) => return Err(of_config(&id)),
            Some(ManagedBy::Api) => return Err(taken()),
            None if self.defined().api.len() >= MAX_CAMERAS => {
                return Err(CameraAdminError::Conflict(format!(
                    "{MAX_CAMERAS} cameras are the most"
                )));
            }
            None => {}
        }
        let spec = CameraSpec::new(definition, None)?;
        let json = spec.to_json()?;
        let is_added = self.0.catalog.add_camera_definition(id.as_str(), &json).await;
        if !is_added.map_err(unavailable)? {
            // Another server was faster.
            return Err(taken());
        }
        info!(camera.id = %id, "camera {id} added");
        Ok(self.put(spec))
    }

    async fn update_now(
        &self,
        definition: CameraDefinition,
    ) -> Result<CameraDetails, CameraAdminError> {
        let _turn = self.0.one_change_at_a_time.lock().await;
        self.read_catalog().await.map_err(unavailable)?;
        let old = self.changeable(&definition.id)?;
        let spec = CameraSpec::new(definition, Some(&old))?;
        let json = spec.to_json()?;
        let is_there = self.0.catalog.change_camera_definition(spec.id.as_str(), &json).await;
        if !is_there.map_err(unavailable)? {
            // Another server has removed it; word of that comes.
            return Err(CameraAdminError::NotFound);
        }
        info!(camera.id = %spec.id, "camera {} changed", spec.id);
        Ok(self.put(spec))
    }

    /// Runs a camera as the catalog has it by now.
    fn put(&self, spec: CameraSpec) -> CameraDetails {
        let (config, details) = (spec.config(), spec.details(ManagedBy::Api));
        self.defined().api.insert(spec.id.clone(), spec);
        self.0.live.put(config);
        details
    }

    async fn remove_now(&self, id: CameraId) -> Result<(), CameraAdminError> {
        let _turn = self.0.one_change_at_a_time.lock().await;
        self.read_catalog().await.map_err(unavailable)?;
        self.changeable(&id)?;
        let removed = self.0.catalog.remove_camera_definition(id.as_str()).await;
        removed.map_err(unavailable)?;
        self.defined().api.remove(&id);
        self.0.live.remove(&id).await;
        Ok(())
    }

    async fn probe_now(&self, url: &str) -> Result<CameraProbe, CameraAdminError> {
        let source: SourceUrl = url
            .trim()
            .parse()
            .map_err(|error: SourceUrlError| CameraAdminError::Invalid(format!("url {error}")))?;
        let SourceUrl::Rtsp(rtsp) = &source else {
            return Err(CameraAdminError::Invalid("only rtsp:// cameras can be probed".into()));
        };
        let probe = async {
            // The semaphore is never closed; were it, the probe would go on without a permit.
            let _permit = self.0.probes.acquire().await;
            media::probe::probe(rtsp).await
        };
        match timeout(PROBE_TIMEOUT, probe).await {
            Ok(Ok(report)) => Ok(shown(report)),
            Ok(Err(error)) => Err(CameraAdminError::Unreachable(format!("{source}: {error}"))),
            Err(_) => {
                let secs = PROBE_TIMEOUT.as_secs();
                let text = format!("{source}: no answer in {secs} s");
                Err(CameraAdminError::Unreachable(text))
            }
        }
    }

    /// Goes on to its end when the caller leaves, so that catalog and live plane agree.
    async fn to_the_end<T: Send + 'static>(
        change: impl Future<Output = Result<T, CameraAdminError>> + Send + 'static,
    ) -> Result<T, CameraAdminError> {
        tokio::spawn(change).await.map_err(unavailable)?
    }
}

impl CameraAdmin for CameraRegistry {
    fn list(&self) -> Answer<'_, Vec<CameraDetails>> {
        Box::pin(async {
            let defined = self.defined();
            let mut all: Vec<_> =
                defined.all().map(|(spec, managed)| spec.details(managed)).collect();
            all.sort_by(|a, b| a.id.cmp(&b.id));
            Ok(all)
        })
    }

    fn details(&self, id: CameraId) -> Answer<'_, CameraDetails> {
        Box::pin(async move {
            let defined = self.defined();
            let found = defined.find(&id).map(|(spec, managed)| spec.details(managed));
            found.ok_or(CameraAdminError::NotFound)
        })
    }

    fn create(&self, definition: CameraDefinition) -> Answer<'_, CameraDetails> {
        let registry = self.clone();
        Box::pin(Self::to_the_end(async move { registry.create_now(definition).await }))
    }

    fn update(&self, definition: CameraDefinition) -> Answer<'_, CameraDetails> {
        let registry = self.clone();
        Box::pin(Self::to_the_end(async move { registry.update_now(definition).await }))
    }

    fn remove(&self, id: CameraId) -> Answer<'_, ()> {
        let registry = self.clone();
        Box::pin(Self::to_the_end(async move { registry.remove_now(id).await }))
    }

    fn probe(&self, url: String) -> Answer<'_, CameraProbe> {
        Box::pin(async move { self.probe_now(&url).await })
    }
}

fn of_config(id: &CameraId) -> CameraAdminError {
    CameraAdminError::Conflict(format!(
        "camera `{id}` is defined in the configuration file or by CAM_RTSP_{}; change it there and send \
         SIGHUP, or start again",
        id.as_str().to_ascii_uppercase()
    ))
}

fn unavailable(cause: impl fmt::Display) -> CameraAdminError {
    error!(error = %cause, "a camera could not be changed: {cause}");
    CameraAdminError::Unavailable
}

fn shown(report: media::probe::Report) -> CameraProbe {
    let millis = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    CameraProbe {
        first_picture_ms: millis(report.first_picture),
        tracks: report
            .tracks
            .into_iter()
            .map(|track| ProbedTrack {
                media: track.media,
                codec: track.codec,
                clock_rate_hz: track.clock_rate_hz,
                channels: track.channels,
            })
            .collect(),
        video: report.video,
        fps: report.fps as f32,
        bitrate_kbps: report.bitrate_kbps as u32,
        key_frame_interval_ms: report.key_frame_interval.map(millis),
        lost_packets: u32::try_from(report.lost_packets).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(json: serde_json::Value) -> CameraDefinition {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_change_keeps_the_urls_that_are_left_out() {
        let first = definition(serde_json::json!({
            "id": "door", "url": "rtsp://u:s3cret@10.0.0.2/main", "sub_url": "rtsp://10.0.0.2/sub",
        }));
        let old = CameraSpec::new(first, None).unwrap();
        assert_eq!(old.name, "door");
        let shown = format!("{:?} {:?}", old.details(ManagedBy::Api), old.definition());
        assert!(!shown.contains("s3cret") && shown.contains("rtsp://10.0.0.2/…"), "{shown}");

        let renamed = definition(serde_json::json!({"id": "door", "name": "Front door"}));
        let renamed = CameraSpec::new(renamed, Some(&old)).unwrap();
        assert_eq!(renamed, CameraSpec { name: "Front door".into(), ..old.clone() });

        let without = definition(serde_json::json!({"id": "door", "sub_url": ""}));
        assert_eq!(CameraSpec::new(without, Some(&old)).unwrap().sub, None);
    }

    #[test]
    fn a_definition_that_is_not_valid_is_refused_with_its_field_and_without_its_value() {
        for (json, field) in [
            (serde_json::json!({"id": "a"}), "url"),
            (serde_json::json!({"id": "a", "url": "http://u:s3cret@h/"}), "url"),
            (serde_json::json!({"id": "a", "url": "test:", "sub_url": "s3cret"}), "sub_url"),
            (
                serde_json::json!({"id": "a", "url": "test:", "media": {"max_kbps": 1}}),
                "media.max_kbps",
            ),
            (serde_json::json!({"id": "a", "url": "test:", "name": "x".repeat(201)}), "name"),
            (serde_json::json!({"id": "a", "url": "test:", "name": "a\nb"}), "name"),
        ] {
            let error = CameraSpec::new(definition(json), None).unwrap_err().to_string();
            assert!(error.starts_with(field) && !error.contains("s3cret"), "{error}");
        }
    }
}
