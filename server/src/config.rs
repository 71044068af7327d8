//! The configuration: one typed value, loaded once. Must not: open, bind or create anything.
//!
//! Later ones win: defaults, the TOML file, environment variables, the command line. Every error names
//! the field and where its value came from, and never repeats a value, which may be a secret.

mod ice_servers;

use std::{
    ffi::OsString,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use catalog::{CatalogUrl, import::parse_folder};
use domain::{CameraId, MediaSettings, RtspTransport};
use media::egress::handle::Limits;
use serde::Deserialize;
use toml::{Table, Value};

use crate::{
    api::links,
    cameras::{CameraSource, CameraSpec},
    client_addr::Network,
    cors::AllowedOrigin,
};

/// Read from the working folder when no file is named.
const DEFAULT_FILE: &str = "damwall.toml";
/// The one UDP port of WebRTC.
const DEFAULT_UDP_PORT: u16 = 8189;

/// Settings that an environment variable `DAMWALL_<SECTION>_<FIELD>` can give.
pub const ENV_FIELDS: [(&str, &str); 29] = [
    ("server", "addr"),
    ("server", "data_dir"),
    ("server", "require_token"),
    ("server", "allowed_hosts"),
    ("server", "allowed_origins"),
    ("server", "trusted_proxies"),
    ("server", "log"),
    ("server", "log_format"),
    ("live", "udp_addr"),
    ("live", "tcp_addr"),
    ("live", "announced_ips"),
    ("live", "max_sessions"),
    ("live", "max_sessions_per_camera"),
    ("live", "max_sessions_per_address"),
    ("catalog", "url"),
    ("store", "kind"),
    ("store", "root"),
    ("store", "scan_interval_secs"),
    ("store", "endpoint"),
    ("store", "public_endpoint"),
    ("store", "cors_origins"),
    ("store", "region"),
    ("store", "bucket"),
    ("store", "access_key"),
    ("store", "secret_key"),
    ("store", "events_token"),
    ("library", "show_location"),
    ("jobs", "parallel"),
    ("jobs", "proxies"),
];

/// Names of the system this one replaces, still understood.
const ENV_ALIASES: [(&str, &str, &str); 6] = [
    ("MINIO_ENDPOINT", "store", "endpoint"),
    ("MINIO_BUCKET_MEDIA", "store", "bucket"),
    ("MINIO_SVC_ACCESS_KEY", "store", "access_key"),
    ("MINIO_SVC_SECRET_KEY", "store", "secret_key"),
    ("BLOB_STORE_ROOT", "store", "root"),
    ("ALLOWED_ORIGINS", "server", "allowed_origins"),
];

/// Every setting.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[live]`
    pub live: LiveSection,
    /// `[catalog]`
    pub catalog: CatalogConfig,
    /// `[store]`
    pub store: StoreConfig,
    /// `[library]`
    pub library: LibraryConfig,
    /// `[[watch]]`
    pub watch: Vec<WatchSection>,
    /// `[jobs]`
    pub jobs: JobsConfig,
    /// `[[cameras]]`
    pub cameras: Vec<CameraSection>,
}

/// `[server]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// TCP address of pages and API.
    pub addr: SocketAddr,
    /// Folder of catalog, blob store and secrets.
    pub data_dir: PathBuf,
    /// Ask for the access token on loopback too.
    pub require_token: bool,
    /// `Host` names answered without a token, besides loopback's own.
    pub allowed_hosts: Vec<String>,
    /// Origins of other sites whose pages may use the API and the signalling, with a token.
    pub allowed_origins: Vec<AllowedOrigin>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// What is logged, as a `tracing` filter.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 3000)),
            data_dir: "data".into(),
            require_token: false,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            log: "info".into(),
            log_format: LogFormat::Text,
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[live]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LiveSection {
    /// UDP address of all WebRTC sessions; the server's address and port 8189 unless given.
    pub udp_addr: Option<SocketAddr>,
    /// TCP address of WebRTC sessions that UDP does not reach; none unless given.
    pub tcp_addr: Option<SocketAddr>,
    /// Addresses told to players instead of this machine's own.
    pub announced_ips: Vec<IpAddr>,
    /// STUN and TURN servers told to players.
    pub ice_servers: Vec<IceServer>,
    /// Most WebRTC sessions at once.
    pub max_sessions: usize,
    /// Most of them of one camera.
    pub max_sessions_per_camera: usize,
    /// Most of them from one address.
    pub max_sessions_per_address: usize,
}

impl Default for LiveSection {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            udp_addr: None,
            tcp_addr: None,
            announced_ips: Vec::new(),
            ice_servers: Vec::new(),
            max_sessions: limits.server,
            max_sessions_per_camera: limits.camera,
            max_sessions_per_address: limits.address,
        }
    }
}

/// One of `live.ice_servers`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IceServer {
    /// `stun:host[:port]`, or `turn:` or `turns:` with credentials. Source: RFC 7064, RFC 7065.
    pub url: String,
    /// TURN: user name.
    pub username: Option<String>,
    /// TURN: password.
    pub credential: Option<Secret>,
}

/// `[catalog]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CatalogConfig {
    /// The database; `catalog.sqlite` in the data folder unless given. Shown without its password.
    pub url: Option<CatalogUrl>,
}

/// `[store]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Where originals are kept; `s3` if an endpoint is given, else `folder`.
    pub kind: Option<StoreKind>,
    /// Folder store: its folder; `<data_dir>/blobs` unless given.
    pub root: Option<PathBuf>,
    /// Seconds between looks for originals that somebody put into the store; 0 is never.
    pub scan_interval_secs: u64,
    /// S3: URL of the store as this server reaches it.
    pub endpoint: Option<String>,
    /// S3: URL of the store as browsers reach it, if another.
    pub public_endpoint: Option<String>,
    /// S3: origins of pages that may send to the bucket; those of this server if it is known.
    pub cors_origins: Vec<AllowedOrigin>,
    /// S3: region.
    pub region: String,
    /// S3: bucket.
    pub bucket: String,
    /// S3: access key id.
    pub access_key: Option<Secret>,
    /// S3: secret access key.
    pub secret_key: Option<Secret>,
    /// What a store has to bring to `POST /events`; without it no events are taken.
    pub events_token: Option<Secret>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            kind: None,
            root: None,
            scan_interval_secs: 60,
            endpoint: None,
            public_endpoint: None,
            cors_origins: Vec::new(),
            region: "us-east-1".into(),
            bucket: "media".into(),
            access_key: None,
            secret_key: None,
            events_token: None,
        }
    }
}

/// `[library]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LibraryConfig {
    /// Tell viewers where pictures were taken, as far as their EXIF says.
    pub show_location: bool,
}

/// One of `[[watch]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchSection {
    /// Folder on this machine that is watched.
    pub path: PathBuf,
    /// Folder of the library that it becomes, `/` is the top; its name unless given.
    pub folder: Option<String>,
    /// Seconds that a file has to stay the same before it is taken.
    #[serde(default = "five")]
    pub settle_secs: u64,
}

impl WatchSection {
    /// Folder of the library.
    pub fn library_folder(&self) -> String {
        let name = || self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A configuration that was read has only folders that can be.
        self.folder.as_deref().map_or_else(name, |text| parse_folder(text).unwrap_or_default())
    }
}

fn five() -> u64 {
    5
}

/// `[jobs]`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobsConfig {
    /// Originals looked into at a time; 0 leaves that to other servers of the catalog.
    pub parallel: u16,
    /// Videos encoded at a time; 0 leaves that to other servers of the catalog.
    pub proxies: u16,
}

impl Default for JobsConfig {
    fn default() -> Self {
        Self { parallel: 2, proxies: 1 }
    }
}

/// Kinds of blob store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// A local folder.
    Folder,
    /// A bucket.
    S3,
}

/// Text that is never shown.
#[derive(Clone, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// One of `[[cameras]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraSection {
    /// Name in URLs.
    pub id: CameraId,
    /// Name to show; the id unless given.
    pub name: Option<String>,
    /// Where its pictures come from.
    pub url: CameraSource,
    /// A smaller stream of the same picture.
    pub sub_url: Option<CameraSource>,
    /// Connect only while somebody watches.
    #[serde(default)]
    pub on_demand: bool,
    /// Give its sound to viewers too.
    #[serde(default = "yes")]
    pub audio: bool,
    /// How an `rtsp://` camera sends.
    #[serde(default)]
    pub rtsp_transport: RtspTransport,
    /// `[cameras.media]`: what its media is to be like.
    #[serde(default)]
    pub media: MediaSettings,
}

fn yes() -> bool {
    true
}

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--addr`
    pub addr: Option<String>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
}

/// Why the configuration cannot be used: one line that names the field and its origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The named file is not there or not readable.
    #[error("configuration file {}: {reason}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The file is not TOML.
    #[error("{}, line {line}: {reason}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The parser's reason.
        reason: String,
    },
    /// A field is unknown or has a bad value.
    #[error("{field} ({origin}): {reason}")]
    Field {
        /// Path of the field, `server.addr`.
        field: String,
        /// File or variable it came from.
        origin: String,
        /// What is wrong.
        reason: String,
    },
}

/// Variables as text. Those that are none of ours may hold anything.
///
/// # Errors
/// When one of ours is not UTF-8.
pub fn env_text(
    env: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let is_ours = |name: &str| {
        name == "PORT"
            || name.starts_with("DAMWALL_")
            || name == "ICE_SERVERS"
            || name.starts_with("CAM_RTSP_")
            || ENV_ALIASES.iter().any(|(alias, ..)| *alias == name)
    };
    env.filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| is_ours(name))
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(ConfigError::Field {
                field: name,
                origin: "environment".into(),
                reason: "the value is not UTF-8".into(),
            }),
        })
        .collect()
}

impl Config {
    /// Puts the configuration together.
    ///
    /// `file` is the one named on the command line; `env` are the process's variables.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(
        file: Option<&Path>,
        overrides: &Overrides,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers::read(file)?;
        layers.add_env(env)?;
        if let Some(addr) = &overrides.addr {
            layers.set("server", "addr", Value::String(addr.clone()), "--addr");
        }
        if let Some(data_dir) = &overrides.data_dir {
            let text = data_dir.to_string_lossy().into_owned();
            layers.set("server", "data_dir", Value::String(text), "--data-dir");
        }
        layers.finish()
    }

    /// Cameras of the file and the environment.
    pub fn cameras(&self) -> Vec<CameraSpec> {
        let camera = |section: &CameraSection| CameraSpec {
            id: section.id.clone(),
            name: section.name.clone().unwrap_or_else(|| section.id.to_string()),
            source: section.url.clone(),
            sub: section.sub_url.clone(),
            on_demand: section.on_demand,
            audio: section.audio,
            rtsp_transport: section.rtsp_transport,
            media: section.media,
        };
        self.cameras.iter().map(camera).collect()
    }

    /// Most WebRTC sessions.
    pub fn limits(&self) -> Limits {
        Limits {
            server: self.live.max_sessions,
            camera: self.live.max_sessions_per_camera,
            address: self.live.max_sessions_per_address,
        }
    }

    /// UDP address of WebRTC.
    pub fn udp_addr(&self) -> SocketAddr {
        self.live.udp_addr.unwrap_or_else(|| {
            // A server on any free port does not want a fixed one beside it.
            let port = if self.server.addr.port() == 0 { 0 } else { DEFAULT_UDP_PORT };
            SocketAddr::new(self.server.addr.ip(), port)
        })
    }

    /// Where the catalog is.
    pub fn catalog_url(&self) -> CatalogUrl {
        let in_data_dir = || CatalogUrl::Sqlite(self.server.data_dir.join("catalog.sqlite"));
        self.catalog.url.clone().unwrap_or_else(in_data_dir)
    }

    /// Folder of the folder store.
    pub fn store_root(&self) -> PathBuf {
        self.store.root.clone().unwrap_or_else(|| self.server.data_dir.join("blobs"))
    }

    /// Names the catalog and the store, without passwords: what is kept of one library's is no other's.
    pub fn library_name(&self) -> String {
        format!("{}, {}", self.catalog_url(), self.store_name())
    }

    fn store_name(&self) -> String {
        if self.is_s3() {
            let endpoint = self.store.endpoint.as_deref().unwrap_or_default();
            format!("S3 bucket {} at {endpoint}", self.store.bucket)
        } else {
            format!("folder {}", self.store_root().display())
        }
    }

    /// Origins of pages that send to the bucket; `port` is the one listened on. Empty when nothing tells.
    pub fn store_origins(&self, port: u16) -> Vec<String> {
        let mut origins = self.own_origins(port);
        // A bucket that knew only others' would take nothing from this server's own pages any more.
        if !origins.is_empty() {
            for allowed in &self.server.allowed_origins {
                let allowed = allowed.as_str().to_owned();
                if !origins.contains(&allowed) {
                    origins.push(allowed);
                }
            }
        }
        origins
    }

    fn own_origins(&self, port: u16) -> Vec<String> {
        let named = &self.store.cors_origins;
        if !named.is_empty() {
            return named.iter().map(|origin| origin.as_str().to_owned()).collect();
        }
        let own = |host: &str| format!("http://{host}:{port}");
        let mut origins = Vec::new();
        if self.server.addr.ip().is_loopback() {
            origins.extend(["localhost", "127.0.0.1"].map(own));
        } else if !self.server.addr.ip().is_unspecified() {
            origins.push(format!("http://{}", SocketAddr::new(self.server.addr.ip(), port)));
        }
        origins.extend(self.server.allowed_hosts.iter().map(|host| format!("https://{host}")));
        origins
    }

    /// Whether originals are in a bucket.
    pub fn is_s3(&self) -> bool {
        match self.store.kind {
            Some(kind) => kind == StoreKind::S3,
            None => self.store.endpoint.is_some(),
        }
    }

    /// Whether requests need the access token.
    pub fn needs_token(&self) -> bool {
        self.server.require_token || !self.server.addr.ip().is_loopback()
    }

    /// A few lines for people, without secrets.
    pub fn summary(&self) -> String {
        let mut text = format!(
            "the configuration is fine\n  pages    http://{}{}\n  WebRTC   UDP {}\n  data     {}\n  catalog  {}\n  store    {}\n",
            self.server.addr,
            if self.needs_token() { " (access token needed)" } else { "" },
            self.udp_addr(),
            self.server.data_dir.display(),
            self.catalog_url(),
            self.store_name(),
        );
        for watch in &self.watch {
            let (path, folder) = (watch.path.display(), watch.library_folder());
            text.push_str(&format!("  watch    {path} → /{folder}\n"));
        }
        for camera in self.cameras() {
            text.push_str(&format!("  camera   {} — {}\n", camera.id, camera.source));
        }
        if self.cameras.is_empty() {
            text.push_str("  camera   none\n");
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// The settings so far, with the origin of each that did not come from the file.
struct Layers {
    table: Table,
    file: Option<PathBuf>,
    origins: Vec<(String, String)>,
}

impl Layers {
    fn read(file: Option<&Path>) -> Result<Self, ConfigError> {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { table: Table::new(), file: None, origins: Vec::new() });
            }
            Err(error) => {
                return Err(ConfigError::File { file: path.to_owned(), reason: error.to_string() });
            }
        };
        let mut table: Table = text.parse().map_err(|error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            ConfigError::Syntax {
                file: path.to_owned(),
                line: text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1,
                reason: error.message().to_owned(),
            }
        })?;
        // Paths in a file are meant from where the file is, not from where the program was started.
        let folder = path.parent().unwrap_or(Path::new(""));
        for (section, field) in [("server", "data_dir"), ("store", "root")] {
            if let Some(Value::String(path)) = table.get_mut(section).and_then(|s| s.get_mut(field))
            {
                *path = folder.join(&*path).to_string_lossy().into_owned();
            }
        }
        if let Some(Value::Array(watched)) = table.get_mut("watch") {
            for watch in watched {
                if let Some(Value::String(path)) = watch.get_mut("path") {
                    *path = folder.join(&*path).to_string_lossy().into_owned();
                }
            }
        }
        Ok(Self { table, file: Some(path.to_owned()), origins: Vec::new() })
    }

    fn set(&mut self, section: &str, field: &str, value: Value, origin: &str) {
        let entry = self.table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        // A section that is no table is an error of the file, told of when all is read.
        if let Value::Table(table) = entry {
            table.insert(field.to_owned(), value);
            self.origins.push((format!("{section}.{field}"), origin.to_owned()));
        }
    }

    fn add_env(&mut self, env: impl Iterator<Item = (String, String)>) -> Result<(), ConfigError> {
        let mut env: Vec<(String, String)> = env.filter(|(_, value)| !value.is_empty()).collect();
        env.sort();
        for (name, _) in &env {
            let Some(rest) = name.strip_prefix("DAMWALL_") else { continue };
            if env_field(name).is_none() && rest != "CONFIG" && !rest.starts_with("TEST_") {
                return Err(ConfigError::Field {
                    field: name.clone(),
                    origin: "environment".into(),
                    reason: "there is no such setting; see docs/config.md".into(),
                });
            }
        }
        // Aliases first, so that the name of ours wins.
        for (name, value) in &env {
            if let Some((_, section, field)) = ENV_ALIASES.iter().find(|(alias, ..)| alias == name)
            {
                self.set(section, field, env_value(section, field, value), name);
            }
        }
        for (name, value) in &env {
            if let Some((section, field)) = env_field(name) {
                self.set(section, field, env_value(section, field, value), name);
            }
        }
        for (name, value) in &env {
            if name == "PORT" {
                self.set_port(value)?;
            } else if name == "ICE_SERVERS" {
                let servers = ice_servers::parse(value).map_err(|reason| ConfigError::Field {
                    field: "live.ice_servers".into(),
                    origin: "ICE_SERVERS".into(),
                    reason: reason.into(),
                })?;
                self.set("live", "ice_servers", servers, name);
            } else if let Some(id) = name.strip_prefix("CAM_RTSP_") {
                self.add_camera(&id.to_ascii_lowercase(), value, name);
            }
        }
        Ok(())
    }

    fn set_port(&mut self, port: &str) -> Result<(), ConfigError> {
        let port: u16 = port.parse().map_err(|_| ConfigError::Field {
            field: "server.addr".into(),
            origin: "PORT".into(),
            reason: "expected a port from 0 to 65535".into(),
        })?;
        let addr = self.table.get("server").and_then(|server| server.get("addr")?.as_str());
        let addr = match addr {
            None => ServerConfig::default().addr,
            // A bad address is told of when all is read.
            Some(addr) => match addr.parse::<SocketAddr>() {
                Ok(addr) => addr,
                Err(_) => return Ok(()),
            },
        };
        let addr = SocketAddr::new(addr.ip(), port);
        self.set("server", "addr", Value::String(addr.to_string()), "PORT");
        Ok(())
    }

    /// A camera of the environment takes the place of the file's of the same id.
    fn add_camera(&mut self, id: &str, url: &str, origin: &str) {
        let entry = self.table.entry("cameras").or_insert_with(|| Value::Array(Vec::new()));
        let Value::Array(cameras) = entry else { return };
        let same_id = |camera: &Value| camera.get("id").and_then(Value::as_str) == Some(id);
        let index = match cameras.iter().position(same_id) {
            Some(index) => {
                if let Value::Table(camera) = &mut cameras[index] {
                    camera.insert("url".into(), Value::String(url.to_owned()));
                }
                index
            }
            None => {
                let camera = [("id", id), ("url", url)]
                    .map(|(field, value)| (field.to_owned(), Value::String(value.to_owned())));
                cameras.push(Value::Table(camera.into_iter().collect()));
                cameras.len() - 1
            }
        };
        self.origins.push((format!("cameras[{index}]"), origin.to_owned()));
    }

    fn finish(self) -> Result<Config, ConfigError> {
        let file_origin =
            self.file.as_ref().map_or("default".to_owned(), |file| file.display().to_string());
        let origins = self.origins;
        let origin_of = |field: &str| {
            let found = origins.iter().rev().find(|(prefix, _)| field.starts_with(prefix.as_str()));
            found.map_or_else(|| file_origin.clone(), |(_, origin)| origin.clone())
        };
        let config: Config =
            serde_path_to_error::deserialize(Value::Table(self.table)).map_err(|error| {
                let field = error.path().to_string();
                let reason = without_value(error.into_inner().message().trim()).replace('\n', "; ");
                let field = if field == "." { "configuration".to_owned() } else { field };
                ConfigError::Field { origin: origin_of(&field), field, reason }
            })?;
        config.validate(&origin_of)?;
        Ok(config)
    }
}

/// Section and field that a variable `DAMWALL_<SECTION>_<FIELD>` gives.
fn env_field(name: &str) -> Option<(&'static str, &'static str)> {
    let rest = name.strip_prefix("DAMWALL_")?;
    ENV_FIELDS
        .into_iter()
        .find(|(section, field)| rest.eq_ignore_ascii_case(&format!("{section}_{field}")))
}

/// serde's words without the value it quotes, which may be a secret: `invalid type: string "…",
/// expected u64` becomes `expected u64`.
pub(crate) fn without_value(message: &str) -> &str {
    let quotes_value = ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant "]
        .iter()
        .any(|start| message.starts_with(start));
    match message.rfind(", expected ") {
        Some(at) if quotes_value => &message[at + 2..],
        _ if quotes_value => "the value is not valid here",
        _ => message,
    }
}

/// Lists are comma-separated and booleans and numbers are bare in the environment.
fn env_value(section: &str, field: &str, value: &str) -> Value {
    match (section, field) {
        (_, "allowed_hosts" | "allowed_origins" | "trusted_proxies" | "announced_ips") => {
            Value::Array(
                value.split(',').map(|item| Value::String(item.trim().to_owned())).collect(),
            )
        }
        (_, "require_token" | "show_location") => match value.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Value::Boolean(true),
            "0" | "false" | "no" | "off" => Value::Boolean(false),
            _ => Value::String(value.to_owned()),
        },
        (
            _,
            "scan_interval_secs"
            | "parallel"
            | "proxies"
            | "max_sessions"
            | "max_sessions_per_camera"
            | "max_sessions_per_address",
        ) => value.parse().map_or_else(|_| Value::String(value.to_owned()), Value::Integer),
        _ => Value::String(value.to_owned()),
    }
}

impl Config {
    fn validate(&self, origin_of: &dyn Fn(&str) -> String) -> Result<(), ConfigError> {
        let error = |field: &str, reason: &str| ConfigError::Field {
            field: field.to_owned(),
            origin: origin_of(field),
            reason: reason.to_owned(),
        };
        for (index, camera) in self.cameras.iter().enumerate() {
            if self.cameras[..index].iter().any(|other| other.id == camera.id) {
                let reason = format!("there are two cameras of the id `{}`", camera.id);
                return Err(error(&format!("cameras[{index}].id"), &reason));
            }
            if let Err((field, expected)) = camera.media.check() {
                return Err(error(&format!("cameras[{index}].media.{field}"), expected));
            }
        }
        for (index, server) in self.live.ice_servers.iter().enumerate() {
            if let Err(reason) = links::ice_server(server) {
                return Err(error(&format!("live.ice_servers[{index}]"), reason));
            }
        }
        for (index, watch) in self.watch.iter().enumerate() {
            let folder = watch.folder.as_deref().unwrap_or_default();
            if let Err(reason) = parse_folder(folder) {
                return Err(error(&format!("watch[{index}].folder"), reason));
            }
        }
        if tracing_subscriber::EnvFilter::try_new(&self.server.log).is_err() {
            return Err(error(
                "server.log",
                "expected a filter such as `info` or `info,media=debug`",
            ));
        }
        if self.is_s3() {
            for (field, value) in [
                ("store.endpoint", self.store.endpoint.as_deref()),
                ("store.access_key", self.store.access_key.as_ref().map(Secret::expose)),
                ("store.secret_key", self.store.secret_key.as_ref().map(Secret::expose)),
            ] {
                if value.is_none_or(str::is_empty) {
                    return Err(error(field, "is needed for an S3 store"));
                }
            }
        }
        let endpoints = [
            ("store.endpoint", &self.store.endpoint),
            ("store.public_endpoint", &self.store.public_endpoint),
        ];
        for (field, endpoint) in endpoints {
            let is_good = |text: &String| {
                url::Url::parse(text).is_ok_and(|url| {
                    let has_credentials = !url.username().is_empty() || url.password().is_some();
                    matches!(url.scheme(), "http" | "https") && url.has_host() && !has_credentials
                })
            };
            if endpoint.as_ref().is_some_and(|text| !is_good(text)) {
                let reason = "expected http://host[:port] or https://host[:port]; the keys go into \
                              store.access_key and store.secret_key";
                return Err(error(field, reason));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("damwall.toml");
        std::fs::write(&file, toml).unwrap();
        let env = env.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Config::load(Some(&file), &Overrides::default(), env)
    }

    fn message(toml: &str, env: &[(&str, &str)]) -> String {
        let text = load(toml, env).unwrap_err().to_string();
        assert!(!text.contains('\n'), "one line: {text}");
        text
    }

    #[test]
    fn nothing_configured_is_a_loopback_server_without_cameras() {
        let config = load("", &[]).unwrap();
        assert_eq!(config.server.addr.to_string(), "127.0.0.1:3000");
        assert_eq!(config.udp_addr().to_string(), "127.0.0.1:8189");
        assert!(!config.needs_token() && !config.is_s3() && config.cameras.is_empty());
    }

    #[test]
    fn errors_name_the_field_and_its_origin() {
        let text = message("[server]\nadress = 1\n", &[]);
        assert!(text.starts_with("server.adress (") && text.contains("damwall.toml"), "{text}");
        assert!(text.contains("unknown field"), "{text}");
        let text = message("[server]\naddr = \"nowhere\"\n", &[]);
        assert!(text.starts_with("server.addr ("), "{text}");
        let text = message("", &[("DAMWALL_SERVER_ADDR", "nowhere")]);
        assert!(text.starts_with("server.addr (DAMWALL_SERVER_ADDR)"), "{text}");
        let text = message("", &[("PORT", "http")]);
        assert!(text.starts_with("server.addr (PORT)"), "{text}");
        let text = message("[[cameras]]\nid = \"Front Door\"\nurl = \"test:\"\n", &[]);
        assert!(text.starts_with("cameras[0].id ("), "{text}");
        let text = message("[server]\nx =\n", &[]);
        assert!(text.contains("line 2"), "{text}");
        let text = message("[store]\nkind = \"s3\"\nendpoint = \"http://s3:9000\"\n", &[]);
        assert!(text.starts_with("store.access_key"), "{text}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Config::load(
            Some(Path::new("/nowhere/x.toml")),
            &Overrides::default(),
            std::iter::empty(),
        );
        assert!(matches!(error, Err(ConfigError::File { .. })));
    }

    #[test]
    fn a_bad_value_is_never_repeated() {
        for toml in [
            "[store]\nsecret_key = 987654321\n",
            "[store]\nkind = \"987654321\"\n",
            "store = \"secret://key:987654321@h\"\n",
            "cameras = \"rtsp://u:987654321@h/x, expected y\"\n",
            "[store]\nendpoint = \"http://user:987654321@h:9000\"\n",
            "[catalog]\nurl = \"mysql://user:987654321@h/x\"\n",
        ] {
            let text = message(toml, &[]);
            assert!(!text.contains("987654321"), "{text}");
        }
    }

    #[test]
    fn a_mistyped_variable_is_an_error_and_foreign_ones_may_hold_anything() {
        let text = message("", &[("DAMWALL_SERVER_ADR", "x")]);
        assert!(text.starts_with("DAMWALL_SERVER_ADR"), "{text}");
        use std::os::unix::ffi::OsStringExt as _;
        let odd = || OsString::from_vec(vec![0xff]);
        assert_eq!(env_text([("FOO".into(), odd())].into_iter()), Ok(vec![]));
        assert!(env_text([("CAM_RTSP_A".into(), odd())].into_iter()).is_err());
    }

    #[test]
    fn a_bad_camera_url_is_not_repeated() {
        let text = message("", &[("CAM_RTSP_DOOR", "http://admin:s3cret@host/")]);
        assert!(text.contains("CAM_RTSP_DOOR") && !text.contains("s3cret"), "{text}");
        let text = message("[[cameras]]\nid=\"a\"\nurl=\"http://admin:s3cret@host/\"\n", &[]);
        assert!(text.starts_with("cameras[0].url") && !text.contains("s3cret"), "{text}");
    }

    #[test]
    fn environment_adds_cameras_and_overrides_the_file() {
        let config = load(
            "[server]\naddr = \"0.0.0.0:80\"\n[[cameras]]\nid = \"door\"\nname = \"Door\"\nurl = \"test:\"\n",
            &[
                ("PORT", "8080"),
                ("CAM_RTSP_DOOR", "rtsp://u:p@10.0.0.2/a"),
                ("CAM_RTSP_Yard_2", "rtsp://10.0.0.3/b"),
                ("DAMWALL_LIVE_ANNOUNCED_IPS", "192.0.2.7, 2001:db8::1"),
                ("MINIO_ENDPOINT", "http://minio:9000"),
                ("MINIO_SVC_ACCESS_KEY", "key"),
                ("MINIO_SVC_SECRET_KEY", "secret"),
                ("ALLOWED_ORIGINS", "https://a.example, http://10.0.0.2:8080"),
                ("DAMWALL_STORE_EVENTS_TOKEN", "hush"),
                ("DAMWALL_LIBRARY_SHOW_LOCATION", "yes"),
            ],
        )
        .unwrap();
        assert_eq!(config.server.addr.to_string(), "0.0.0.0:8080");
        assert!(config.needs_token() && config.is_s3());
        assert_eq!(config.live.announced_ips.len(), 2);
        assert_eq!(config.server.allowed_origins.len(), 2);
        assert_eq!(config.store.events_token.as_ref().map(Secret::expose), Some("hush"));
        assert!(config.library.show_location);
        let cameras: Vec<_> =
            config.cameras().iter().map(|c| format!("{} {} {}", c.id, c.name, c.source)).collect();
        assert_eq!(cameras, ["door Door rtsp://10.0.0.2/…", "yard_2 yard_2 rtsp://10.0.0.3/…"]);
        assert!(!format!("{config:?} {}", config.summary()).contains("secret\""));
    }

    #[test]
    fn a_camera_says_how_it_is_connected_and_what_of_it_is_shown() {
        let config = load(
            "[[cameras]]\nid = \"door\"\nurl = \"rtsp://u:p@10.0.0.2/a\"\nsub_url = \"rtsp://10.0.0.2/b\"\n\
             on_demand = true\naudio = false\nrtsp_transport = \"udp\"\n\
             [cameras.media]\nmax_kbps = 8000\n",
            &[],
        )
        .unwrap();
        let camera = config.cameras().remove(0);
        assert!(camera.source.has_credentials() && !camera.sub.unwrap().has_credentials());
        assert!(camera.on_demand && !camera.audio);
        assert_eq!(camera.rtsp_transport, RtspTransport::Udp);
        assert_eq!(camera.media, MediaSettings { max_kbps: 8000, ..MediaSettings::default() });
        let text = message(
            "[[cameras]]\nid=\"a\"\nurl=\"test:\"\n[cameras.media]\nmin_kbps = 9000\n",
            &[],
        );
        assert!(text.starts_with("cameras[0].media.max_kbps"), "{text}");
        let text = message("[[cameras]]\nid=\"a\"\nurl=\"test:\"\nrtsp_transport=\"quic\"\n", &[]);
        assert!(text.starts_with("cameras[0].rtsp_transport"), "{text}");
    }

    #[test]
    fn origins_proxies_and_ice_servers_are_checked_when_read() {
        let config = load(
            "[server]\nallowed_origins = [\"https://player.example\"]\n\
             trusted_proxies = [\"172.16.0.0/12\"]\n\
             [[live.ice_servers]]\nurl = \"turn:turn.example:3478\"\nusername = \"u\"\ncredential = \"s3cret\"\n",
            &[("DAMWALL_LIVE_MAX_SESSIONS_PER_ADDRESS", "7")],
        )
        .unwrap();
        assert_eq!(config.limits(), Limits { address: 7, ..Limits::default() });
        assert!(!format!("{config:?}").contains("s3cret"));
        for (toml, field) in [
            ("[server]\nallowed_origins = [\"*\"]\n", "server.allowed_origins[0]"),
            ("[server]\ntrusted_proxies = [\"proxy\"]\n", "server.trusted_proxies[0]"),
            ("[[live.ice_servers]]\nurl = \"http://x\"\n", "live.ice_servers[0]"),
            ("[[live.ice_servers]]\nurl = \"turn:x\"\n", "live.ice_servers[0]"),
        ] {
            assert!(message(toml, &[]).starts_with(field), "{toml}");
        }
    }

    #[test]
    fn names_of_the_system_before_are_understood() {
        let ice = r#"[{"urls":["turn:t.example"],"username":"u","credential":"s3cret"}]"#;
        let env = [
            ("MINIO_ENDPOINT", "http://minio:9000"),
            ("MINIO_BUCKET_MEDIA", "clips"),
            ("MINIO_SVC_ACCESS_KEY", "key"),
            ("MINIO_SVC_SECRET_KEY", "s3cret"),
            ("BLOB_STORE_ROOT", "/srv/blobs"),
            ("ALLOWED_ORIGINS", "https://a.example"),
            ("ICE_SERVERS", ice),
        ];
        let config = load("[[live.ice_servers]]\nurl = \"stun:of.the.file\"\n", &env).unwrap();
        assert_eq!((config.store.bucket.as_str(), config.is_s3()), ("clips", true));
        assert_eq!(config.store_root(), PathBuf::from("/srv/blobs"));
        let servers: Vec<_> = config.live.ice_servers.iter().map(|s| s.url.as_str()).collect();
        assert_eq!(servers, ["turn:t.example"]);
        let text = message("", &[("ICE_SERVERS", "turn:s3cret@x")]);
        assert!(text.contains("ICE_SERVERS") && !text.contains("s3cret"), "{text}");
        let text = message("", &[("ICE_SERVERS", "[{\"url\":\"turn:s3cret\"}]")]);
        assert!(text.contains("JSON array") && !text.contains("s3cret"), "{text}");
    }

    #[test]
    fn a_bucket_takes_uploads_from_pages_of_this_server_unless_others_are_named() {
        let check = |toml: &str, expected: &[&str]| {
            assert_eq!(load(toml, &[]).unwrap().store_origins(3000), expected, "{toml}");
        };
        check("", &["http://localhost:3000", "http://127.0.0.1:3000"]);
        check("[server]\naddr = \"10.0.0.2:3000\"\n", &["http://10.0.0.2:3000"]);
        check("[server]\naddr = \"0.0.0.0:3000\"\n", &[]);
        check(
            "[server]\naddr = \"0.0.0.0:3000\"\nallowed_hosts = [\"media.example\"]\n",
            &["https://media.example"],
        );
        check("[store]\ncors_origins = [\"https://a.example\"]\n", &["https://a.example"]);
        // Pages of other sites that may begin uploads may send them, too.
        let allowed = "allowed_origins = [\"https://a.example\", \"https://b.example\"]\n";
        let both: &[&str] = &["https://a.example", "https://b.example"];
        let named = "[store]\ncors_origins = [\"https://a.example\"]\n";
        check(&format!("[server]\n{allowed}{named}"), both);
        check(
            &format!("[server]\naddr = \"10.0.0.2:3000\"\n{allowed}"),
            &["http://10.0.0.2:3000", both[0], both[1]],
        );
        check(&format!("[server]\naddr = \"0.0.0.0:3000\"\n{allowed}"), &[]);
        let text = message("[store]\ncors_origins = [\"*\"]\n", &[]);
        assert!(text.starts_with("store.cors_origins[0]"), "{text}");
    }

    #[test]
    fn a_library_is_named_by_its_catalog_and_store_and_by_no_secret() {
        let name = |toml: &str| load(toml, &[]).unwrap().library_name();
        let catalog = |url: &str| format!("[catalog]\nurl = \"{url}\"\n");
        let bucket = "[store]\nendpoint = \"http://s3:8333\"\n\
                      access_key = \"k\"\nsecret_key = \"s3cret\"\n";
        let names = [
            String::new(),
            "[server]\ndata_dir = \"other\"\n".into(),
            catalog("sqlite:other.sqlite"),
            catalog("postgres://u:s3cret@db/media"),
            catalog("postgres://u:s3cret@db/other"),
            "[store]\nroot = \"other\"\n".into(),
            bucket.into(),
            format!("{bucket}bucket = \"other\"\n"),
            bucket.replace("8333", "9000"),
        ]
        .map(|toml| name(&toml));
        for (at, name) in names.iter().enumerate() {
            assert!(!name.contains("s3cret"), "{name}");
            assert!(!names[..at].contains(name), "{name}");
        }
    }

    #[test]
    fn two_cameras_of_one_id_are_refused() {
        let camera = "[[cameras]]\nid = \"a\"\nurl = \"test:\"\n";
        assert!(message(&camera.repeat(2), &[]).starts_with("cameras[1].id"));
    }

    #[test]
    fn a_watched_folder_becomes_one_of_the_library() {
        let toml = "[[watch]]\npath = \"/srv/incoming\"\n\
                    [[watch]]\npath = \"scans\"\nfolder = \"/Studio/Scans/\"\nsettle_secs = 30\n\
                    [[watch]]\npath = \"/x\"\nfolder = \"/\"\n";
        let watch = load(toml, &[]).unwrap().watch;
        let folders: Vec<_> = watch.iter().map(WatchSection::library_folder).collect();
        assert_eq!(folders, ["incoming", "Studio/Scans", ""]);
        assert_eq!((watch[0].settle_secs, watch[1].settle_secs), (5, 30));
        assert!(watch[1].path.is_absolute(), "meant from the file: {:?}", watch[1].path);
        for (toml, field) in [
            ("[[watch]]\npath = \"/x\"\nfolder = \"a/../b\"\n", "watch[0].folder"),
            ("[[watch]]\nfolder = \"a\"\n", "watch[0]"),
            ("[[watch]]\npath = \"/x\"\nsettle = 1\n", "watch[0].settle"),
        ] {
            assert!(message(toml, &[]).starts_with(field), "{toml}: {}", message(toml, &[]));
        }
    }

    #[test]
    fn paths_in_a_file_are_meant_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("damwall.toml");
        std::fs::write(&file, "[server]\ndata_dir = \"media\"\n").unwrap();
        let config = Config::load(Some(&file), &Overrides::default(), std::iter::empty()).unwrap();
        assert_eq!(config.server.data_dir, folder.path().join("media"));
    }

    #[test]
    fn the_example_shows_every_field_with_its_default() {
        let example = include_str!("../../damwall.example.toml");
        let uncommented: String = example
            .lines()
            .map(|line| line.strip_prefix("#= ").unwrap_or(line))
            .map(|line| format!("{line}\n"))
            .collect();
        let config = load(&uncommented, &[]).unwrap();
        let documentation = include_str!("../../docs/config.md");
        for (section, field) in ENV_FIELDS {
            assert!(
                uncommented
                    .lines()
                    .any(|line| line.trim_start_matches("# ").starts_with(&format!("{field} ="))),
                "damwall.example.toml lacks {section}.{field}"
            );
            assert!(
                documentation.contains(&format!("`{section}.{field}`")),
                "docs/config.md lacks {section}.{field}"
            );
        }
        let default = Config::default();
        assert_eq!(config.server.addr, default.server.addr);
        assert_eq!(config.server.log, default.server.log);
        assert_eq!(config.store.scan_interval_secs, default.store.scan_interval_secs);
        assert_eq!(config.jobs.parallel, default.jobs.parallel);
        assert_eq!(config.jobs.proxies, default.jobs.proxies);
        assert_eq!(config.store.region, default.store.region);
        assert_eq!(config.store.bucket, default.store.bucket);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_configuration_or_one_line(text in "\\PC{0,80}", value in "\\PC{1,30}") {
            if let Err(error) = load(&text, &[("PORT", &value), ("CAM_RTSP_X", &value)]) {
                proptest::prop_assert!(!error.to_string().contains('\n'));
            }
        }
    }
}
