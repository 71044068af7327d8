//! What a camera is configured to be. Must not: connect to it.

use std::fmt;

use domain::CameraId;
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
        }
    }
}

/// How RTP comes from an RTSP camera.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RtspTransport {
    /// Interleaved in the RTSP connection: nothing is lost on the way.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

/// Where a camera's pictures come from. Its `Debug` and `Display` never show credentials.
#[derive(Clone, PartialEq, Eq)]
pub enum SourceUrl {
    /// `rtsp://[user:password@]host[:port]/path`, interleaved over TCP.
    Rtsp(RtspUrl),
    /// `test:` or `test:<width>x<height>`: a pattern with clock and frame number.
    Test {
        /// Even, 64–3840.
        width_px: u32,
        /// Even, 64–2160.
        height_px: u32,
    },
}

/// An `rtsp://` URL with its credentials set apart.
#[derive(Clone, PartialEq, Eq)]
pub struct RtspUrl {
    pub(crate) url: Url,
    pub(crate) credentials: Option<(String, String)>,
}

/// Why a source URL is not one. Its text never repeats the URL, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SourceUrlError {
    /// Not a URL at all.
    #[error("is not a URL; expected rtsp://[user:password@]host[:port]/path, or test:")]
    NotAUrl,
    /// A scheme that is not supported.
    #[error("has an unsupported scheme; supported are rtsp:// and test:")]
    UnsupportedScheme,
    /// No host.
    #[error("has no host")]
    NoHost,
    /// Percent-encoding of the credentials is not UTF-8.
    #[error("has credentials that are not UTF-8")]
    BadCredentials,
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
        let mut url = Url::parse(text).map_err(|_| SourceUrlError::NotAUrl)?;
        if url.scheme() != "rtsp" {
            return Err(SourceUrlError::UnsupportedScheme);
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(SourceUrlError::NoHost);
        }
        let decode = |text: &str| {
            percent_encoding::percent_decode_str(text)
                .decode_utf8()
                .map(|text| text.into_owned())
                .map_err(|_| SourceUrlError::BadCredentials)
        };
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => Some((decode(user)?, decode(password.unwrap_or_default())?)),
        };
        url.set_username("").map_err(|()| SourceUrlError::NoHost)?;
        url.set_password(None).map_err(|()| SourceUrlError::NoHost)?;
        Ok(Self::Rtsp(RtspUrl { url, credentials }))
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
            Self::Rtsp(RtspUrl { url, .. }) => {
                // Path and query may hold a password too: `/user=admin_password=…` and
                // `?user=…&password=…` are common with recorders.
                let host = url.host_str().unwrap_or_default();
                let has_more = url.path().len() > 1 || url.query().is_some();
                write!(f, "rtsp://{host}")?;
                url.port().map_or(Ok(()), |port| write!(f, ":{port}"))?;
                f.write_str(if has_more { "/…" } else { "" })
            }
            Self::Test { width_px, height_px } => write!(f, "test:{width_px}x{height_px}"),
        }
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
    fn bad_urls_are_refused_without_repeating_them() {
        for (text, error) in [
            ("", SourceUrlError::NotAUrl),
            ("camera", SourceUrlError::NotAUrl),
            ("http://host/", SourceUrlError::UnsupportedScheme),
            ("rtsp:///path", SourceUrlError::NoHost),
            ("test:1281x720", SourceUrlError::BadTestSize),
            ("test:big", SourceUrlError::BadTestSize),
        ] {
            assert_eq!(text.parse::<SourceUrl>(), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_source_or_an_error(text in "(rtsp://|test:)?\\PC{0,60}") {
            let _ = text.parse::<SourceUrl>();
        }
    }
}
