//! What a camera is configured to be. Must not: connect to it.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use domain::{CameraId, MediaSettings, RtspTransport};
use url::Url;

/// One camera of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraConfig {
    /// Name in URLs.
    pub id: CameraId,
    /// Name to show.
    pub name: String,
    /// Where its pictures come from.
    pub source: SourceUrl,
    /// A smaller stream of the same picture, the layer `sub`.
    pub sub: Option<SourceUrl>,
    /// Connect when somebody watches, and close 10 s after the last viewer left.
    pub on_demand: bool,
    /// Give its sound to viewers too.
    pub audio: bool,
    /// How `rtsp://` cameras send.
    pub rtsp_transport: RtspTransport,
    /// What its media is to be like.
    pub media: MediaSettings,
}

impl CameraConfig {
    /// A camera that is always connected, with sound and no second stream.
    pub fn new(id: CameraId, name: String, source: SourceUrl) -> Self {
        Self {
            id,
            name,
            source,
            sub: None,
            on_demand: false,
            audio: true,
            rtsp_transport: RtspTransport::default(),
            media: MediaSettings::default(),
        }
    }
}

/// Where a camera's pictures come from. Its `Debug` and `Display` never show credentials.
#[derive(Clone, PartialEq, Eq)]
pub enum SourceUrl {
    /// `rtsp://[user:password@]host[:port]/path`, or `rtsps://…` over TLS. A camera's certificate has to be
    /// one that this machine trusts, unless the URL ends in `#insecure`.
    Rtsp(RtspUrl),
    /// `whep+http[s]://[user:password@|token@]host[:port]/path`: a camera of another server.
    Whep(WhepUrl),
    /// `ffmpeg:` and what ffmpeg reads: `/dev/video0`, a file (played in a loop), `https://…`, `srt://…`,
    /// or `lavfi:` and a graph of filters.
    Ffmpeg(FfmpegInput),
    /// `whip:`: somebody publishes to it.
    Whip,
    /// `test:` or `test:<width>x<height>`: a pattern with clock and frame number.
    Test {
        /// Even, 64–3840.
        width_px: u32,
        /// Even, 64–2160.
        height_px: u32,
    },
}

impl SourceUrl {
    /// What kind it is, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Rtsp(_) => "rtsp",
            Self::Whep(_) => "whep",
            Self::Ffmpeg(_) => "ffmpeg",
            Self::Whip => "whip",
            Self::Test { .. } => "test",
        }
    }
}

/// An `rtsp://` or `rtsps://` URL with its credentials set apart.
#[derive(Clone, PartialEq, Eq)]
pub struct RtspUrl {
    pub(crate) url: Url,
    pub(crate) credentials: Option<(String, String)>,
    /// `rtsps`: which certificates are good.
    pub(crate) tls: Option<Trust>,
}

/// Which certificates a camera may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Those that this machine trusts.
    SystemRoots,
    /// `#insecure`: any, for cameras that made their own. Whoever is on the way can read along.
    AnyCertificate,
}

/// What ffmpeg reads.
#[derive(Clone, PartialEq, Eq)]
pub enum FfmpegInput {
    /// A graph of filters that makes a picture.
    Lavfi(String),
    /// A camera at this machine, `/dev/video0`.
    Device(String),
    /// A file, or a URL.
    Other(String),
}

impl FfmpegInput {
    fn parse(text: &str) -> Result<Self, SourceUrlError> {
        // It becomes an argument of ffmpeg, and must not be taken for an option.
        if text.is_empty() || text.starts_with('-') || text.chars().any(char::is_control) {
            return Err(SourceUrlError::BadFfmpegInput);
        }
        Ok(match text.strip_prefix("lavfi:") {
            Some(graph) => Self::Lavfi(graph.to_owned()),
            None if text.starts_with("/dev/video") => Self::Device(text.to_owned()),
            None => Self::Other(text.to_owned()),
        })
    }

    /// The text for ffmpeg's command line, credentials included.
    pub(crate) fn expose(&self) -> &str {
        let (Self::Lavfi(text) | Self::Device(text) | Self::Other(text)) = self;
        text
    }

    /// Whether it has a picture that is to be encoded, and no sound, without a look at it.
    pub(crate) fn is_known(&self) -> bool {
        matches!(self, Self::Lavfi(_) | Self::Device(_))
    }
}

/// A `whep+http://` or `whep+https://` URL: the WHEP endpoint, with its credentials set apart.
#[derive(Clone, PartialEq, Eq)]
pub struct WhepUrl {
    /// `http` or `https`.
    pub(crate) url: Url,
    /// Value of the `Authorization` header.
    pub(crate) authorization: Option<String>,
}

/// Why a source URL is not one. Its text never repeats the URL, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SourceUrlError {
    /// Not a URL at all.
    #[error(
        "is not a URL; expected rtsp://[user:password@]host[:port]/path, whep+https://…, ffmpeg:input, whip: or test:"
    )]
    NotAUrl,
    /// A scheme that is not supported.
    #[error(
        "has an unsupported scheme; supported are rtsp://, rtsps://, whep+http://, whep+https://, ffmpeg:, whip: and test:"
    )]
    UnsupportedScheme,
    /// No host.
    #[error("has no host")]
    NoHost,
    /// Percent-encoding of the credentials is not UTF-8.
    #[error("has credentials that are not UTF-8")]
    BadCredentials,
    /// A token that no HTTP header can carry.
    #[error("has a token with other characters than visible ASCII")]
    BadToken,
    /// `ffmpeg:` with nothing behind it, or with an option.
    #[error("expected ffmpeg: and a device, file or URL, not an option")]
    BadFfmpegInput,
    /// `whip:` with something behind it.
    #[error("expected whip: with nothing behind it")]
    BadWhip,
    /// `rtsps://` with another fragment than `#insecure`.
    #[error("has a fragment; only rtsps:// may have one, #insecure")]
    BadFragment,
    /// `test:` with something else than a size behind it.
    #[error("expected test: or test:<width>x<height> with even numbers from 64x64 to 3840x2160")]
    BadTestSize,
}

impl std::str::FromStr for SourceUrl {
    type Err = SourceUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(size) = text.strip_prefix("test:") {
            return parse_test(size);
        }
        if let Some(endpoint) = text.strip_prefix("whep+") {
            return WhepUrl::parse(endpoint).map(Self::Whep);
        }
        if let Some(input) = text.strip_prefix("ffmpeg:") {
            return FfmpegInput::parse(input).map(Self::Ffmpeg);
        }
        if let Some(rest) = text.strip_prefix("whip:") {
            return if rest.is_empty() { Ok(Self::Whip) } else { Err(SourceUrlError::BadWhip) };
        }
        let (mut url, credentials) = split_credentials(text)?;
        let tls = match (url.scheme(), url.fragment()) {
            ("rtsp", None) => None,
            ("rtsps", None) => Some(Trust::SystemRoots),
            ("rtsps", Some("insecure")) => Some(Trust::AnyCertificate),
            ("rtsp" | "rtsps", Some(_)) => return Err(SourceUrlError::BadFragment),
            _ => return Err(SourceUrlError::UnsupportedScheme),
        };
        url.set_fragment(None);
        let credentials = credentials.map(|(user, password)| (user, password.unwrap_or_default()));
        Ok(Self::Rtsp(RtspUrl { url, credentials, tls }))
    }
}

/// User, and password if there is one.
type Credentials = (String, Option<String>);

/// A URL without its credentials, and these, decoded.
fn split_credentials(text: &str) -> Result<(Url, Option<Credentials>), SourceUrlError> {
    let mut url = Url::parse(text).map_err(|_| SourceUrlError::NotAUrl)?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(match url.scheme() {
            "rtsp" | "rtsps" => SourceUrlError::NoHost,
            _ => SourceUrlError::UnsupportedScheme,
        });
    }
    let decode = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8()
            .map(|text| text.into_owned())
            .map_err(|_| SourceUrlError::BadCredentials)
    };
    let credentials = match (url.username(), url.password()) {
        ("", None) => None,
        (user, password) => Some((decode(user)?, password.map(decode).transpose()?)),
    };
    url.set_username("").map_err(|()| SourceUrlError::NoHost)?;
    url.set_password(None).map_err(|()| SourceUrlError::NoHost)?;
    Ok((url, credentials))
}

impl WhepUrl {
    /// Reads what follows `whep+`. User and password are for HTTP's Basic authentication; a user alone is
    /// a Bearer token.
    fn parse(endpoint: &str) -> Result<Self, SourceUrlError> {
        let (mut url, credentials) = split_credentials(endpoint)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(SourceUrlError::UnsupportedScheme);
        }
        url.set_fragment(None);
        let authorization = match credentials {
            None => None,
            Some((user, Some(password))) => {
                Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))
            }
            Some((token, None)) if token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Some(format!("Bearer {token}"))
            }
            Some(_) => return Err(SourceUrlError::BadToken),
        };
        Ok(Self { url, authorization })
    }
}

fn parse_test(size: &str) -> Result<SourceUrl, SourceUrlError> {
    if size.is_empty() {
        return Ok(SourceUrl::Test { width_px: 1280, height_px: 720 });
    }
    let (width, height) = size.split_once('x').ok_or(SourceUrlError::BadTestSize)?;
    let side = |text: &str, max: u32| {
        let side = text.parse::<u32>().ok()?;
        (side.is_multiple_of(2) && (64..=max).contains(&side)).then_some(side)
    };
    match (side(width, 3840), side(height, 2160)) {
        (Some(width_px), Some(height_px)) => Ok(SourceUrl::Test { width_px, height_px }),
        _ => Err(SourceUrlError::BadTestSize),
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rtsp(RtspUrl { url, tls, .. }) => {
                write_host(url, f)?;
                let is_insecure = *tls == Some(Trust::AnyCertificate);
                f.write_str(if is_insecure { "#insecure" } else { "" })
            }
            Self::Whep(WhepUrl { url, .. }) => {
                f.write_str("whep+")?;
                write_host(url, f)
            }
            Self::Ffmpeg(input) => write!(f, "ffmpeg:{input}"),
            Self::Whip => f.write_str("whip:"),
            Self::Test { width_px, height_px } => write!(f, "test:{width_px}x{height_px}"),
        }
    }
}

/// Scheme, host and port. Path and query may hold a password too: `/user=admin_password=…` and
/// `?user=…&password=…` are common with recorders.
fn write_host(url: &Url, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let has_more = url.path().len() > 1 || url.query().is_some();
    write!(f, "{}://{}", url.scheme(), url.host_str().unwrap_or_default())?;
    url.port().map_or(Ok(()), |port| write!(f, ":{port}"))?;
    f.write_str(if has_more { "/…" } else { "" })
}

impl fmt::Display for FfmpegInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lavfi(_) => f.write_str("lavfi:…"),
            Self::Device(path) => f.write_str(path),
            // `subfile,,…` and its like hold other URLs.
            Self::Other(name) => match name.split_once(':') {
                Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphanumeric()) => {
                    write!(f, "{scheme}:…")
                }
                Some(_) => f.write_str("…"),
                None => f.write_str(name),
            },
        }
    }
}

impl fmt::Debug for FfmpegInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FfmpegInput({self})")
    }
}

impl fmt::Debug for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceUrl({self})")
    }
}

impl fmt::Debug for RtspUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RtspUrl(…)")
    }
}

impl fmt::Debug for WhepUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WhepUrl(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn credentials_never_show() {
        let source: SourceUrl =
            "rtsp://adm%40in:s3cret@10.0.0.8:8554/pw=s3cret?user=a&password=s3cret"
                .parse()
                .unwrap();
        assert!(!format!("{source} {source:?}").contains("s3cret"));
        assert_eq!(source.to_string(), "rtsp://10.0.0.8:8554/…");
        let SourceUrl::Rtsp(rtsp) = source else { panic!("rtsp") };
        assert_eq!(rtsp.credentials, Some(("adm@in".into(), "s3cret".into())));
        assert!(rtsp.url.as_str().contains("password=s3cret"), "the camera still gets its query");
    }

    #[test]
    fn a_whep_url_carries_a_password_or_a_token_and_shows_neither() {
        for (text, shown, authorization) in [
            ("whep+http://nvr:8889/door/whep", "whep+http://nvr:8889/…", None),
            ("whep+https://a%40b:s3cret@nvr/", "whep+https://nvr", Some("Basic YUBiOnMzY3JldA==")),
            ("whep+https://s3cret@[::1]/?t=s3cret", "whep+https://[::1]/…", Some("Bearer s3cret")),
        ] {
            let source: SourceUrl = text.parse().unwrap();
            assert_eq!(source.to_string(), shown);
            assert!(!format!("{source:?}").contains("s3cret"));
            let SourceUrl::Whep(whep) = source else { panic!("whep") };
            assert!(!format!("{whep:?}").contains("s3cret"));
            assert_eq!(whep.authorization.as_deref(), authorization);
            assert!(!whep.url.authority().contains('@'));
        }
    }

    #[test]
    fn bad_urls_are_refused_without_repeating_them() {
        for (text, error) in [
            ("", SourceUrlError::NotAUrl),
            ("camera", SourceUrlError::NotAUrl),
            ("http://host/", SourceUrlError::UnsupportedScheme),
            ("rtsp://host/#insecure", SourceUrlError::BadFragment),
            ("rtsps://host/#secure", SourceUrlError::BadFragment),
            ("ffmpeg:", SourceUrlError::BadFfmpegInput),
            ("ffmpeg:-f", SourceUrlError::BadFfmpegInput),
            ("whip:door", SourceUrlError::BadWhip),
            ("rtsp:///path", SourceUrlError::NoHost),
            ("whep+rtsp://host/", SourceUrlError::UnsupportedScheme),
            ("whep+https://", SourceUrlError::NotAUrl),
            ("whep+https://to%20ken@host/", SourceUrlError::BadToken),
            ("test:1281x720", SourceUrlError::BadTestSize),
            ("test:big", SourceUrlError::BadTestSize),
        ] {
            assert_eq!(text.parse::<SourceUrl>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn every_kind_of_source_is_known_by_its_text() {
        let check = |text: &str, shown: &str| {
            let source: SourceUrl = text.parse().unwrap();
            assert_eq!(source.to_string(), shown);
        };
        check("rtsps://a:b@cam/x", "rtsps://cam/…");
        check("rtsps://a:b@cam:7441/x#insecure", "rtsps://cam:7441/…#insecure");
        check("ffmpeg:/dev/video0", "ffmpeg:/dev/video0");
        check("ffmpeg:clip.mp4", "ffmpeg:clip.mp4");
        check("ffmpeg:https://a:b@host/live.m3u8?token=c", "ffmpeg:https:…");
        check("ffmpeg:lavfi:testsrc2=s=320x180", "ffmpeg:lavfi:…");
        check("whip:", "whip:");
        check("test:", "test:1280x720");
    }

    proptest! {
        #[test]
        fn no_kind_of_source_shows_credentials(
            scheme in "(rtsp|rtsps|whep\\+https|ffmpeg:https|ffmpeg:srt|ffmpeg:subfile,,start,0,:http)",
            secret in "[A-Z]{8,16}",
        ) {
            let text = format!("{scheme}://user:{secret}@host/{secret}?key={secret}");
            let source: SourceUrl = text.parse().unwrap();
            let shown = format!("{source} {source:?}");
            prop_assert!(!shown.contains(&secret));
        }

        #[test]
        fn any_text_is_a_source_or_an_error(
            text in "(rtsp://|rtsps://|whep\\+https?://|ffmpeg:|whip:|test:)?\\PC{0,60}",
        ) {
            if let Ok(source) = text.parse::<SourceUrl>() {
                let _ = source.to_string();
            }
        }
    }
}
