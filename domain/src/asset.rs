//! An asset: one immutable original in the blob store, named by the hash of its bytes.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{CameraId, Rendition};

/// Name of an asset: `sha256:` and 64 lower-case hex digits of the original's SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AssetId(String);

/// The text is not `sha256:` and 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an asset id is `sha256:` and 64 lower-case hex digits")]
pub struct ParseAssetIdError;

impl AssetId {
    const PREFIX: &'static str = "sha256:";

    /// The id of an original with this SHA-256 digest.
    pub fn from_digest(digest: [u8; 32]) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity(Self::PREFIX.len() + 64);
        text.push_str(Self::PREFIX);
        for byte in digest {
            write!(text, "{byte:02x}").expect("writing to a String does not fail");
        }
        Self(text)
    }

    /// The whole id, `sha256:<hex>`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 hex digits alone.
    pub fn hex(&self) -> &str {
        &self.0[Self::PREFIX.len()..]
    }
}

impl FromStr for AssetId {
    type Err = ParseAssetIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = text.strip_prefix(Self::PREFIX).ok_or(ParseAssetIdError)?;
        let is_lower_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if hex.len() == 64 && hex.bytes().all(is_lower_hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseAssetIdError)
        }
    }
}

impl TryFrom<String> for AssetId {
    type Error = ParseAssetIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AssetId> for String {
    fn from(id: AssetId) -> Self {
        id.0
    }
}

impl fmt::Display for AssetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an asset is to a person looking for it; derived from its MIME type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AssetKind {
    /// `image/*`
    Image,
    /// `video/*`
    Video,
    /// `audio/*`
    Audio,
    /// Anything else.
    Other,
}

impl AssetKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Image, Self::Video, Self::Audio, Self::Other];

    /// The kind of a MIME type such as `image/jpeg`.
    pub fn of_mime(mime: &str) -> Self {
        match mime.split('/').next() {
            Some("image") => Self::Image,
            Some("video") => Self::Video,
            Some("audio") => Self::Audio,
            _ => Self::Other,
        }
    }

    /// Lower-case word, as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Other => "other",
        }
    }
}

/// The text names no kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected image, video, audio or other")]
pub struct ParseAssetKindError;

impl FromStr for AssetKind {
    type Err = ParseAssetKindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(ParseAssetKindError)
    }
}

/// Where an asset's thumbnails stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Thumb {
    /// The background job has not made them yet.
    Pending,
    /// Paths on this server; their bytes never change.
    Ready {
        /// At most 320 px on the longer side, WebP.
        url_320: String,
        /// At most 640 px on the longer side, WebP.
        url_640: String,
        /// Size of the 320 one, so that a page can lay it out before it loads.
        width_px: u32,
        /// See `width_px`.
        height_px: u32,
    },
    /// They could not be made.
    Failed {
        /// A sentence for the asset's page.
        reason: String,
    },
    /// This kind of asset has none.
    None,
}

/// One original in the blob store and what the catalog knows about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asset {
    /// Name by content.
    pub id: AssetId,
    /// Object key in the blob store.
    pub key: String,
    /// File name to show and to download under.
    pub name: String,
    /// Length of the original in bytes.
    #[serde(rename = "size")]
    pub size_bytes: u64,
    /// SHA-256 of the original, 64 hex digits.
    pub hash: String,
    /// MIME type, decided from the bytes where possible.
    pub mime: String,
    /// Derived from `mime`.
    pub kind: AssetKind,
    /// Slash-separated folder without a slash at either end; empty at the top.
    pub folder: String,
    /// Free labels.
    pub labels: Vec<String>,
    /// When the original came into being as far as known (file time); catalog time otherwise.
    pub created_at: Timestamp,
    /// Host the original came from.
    pub source_node: Option<String>,
    /// Path it had there.
    pub origin_path: Option<String>,
    /// Name in another system.
    pub external_ref: Option<String>,
    /// Width as displayed, in pixels.
    pub width_px: Option<u32>,
    /// Height as displayed, in pixels.
    pub height_px: Option<u32>,
    /// Playing time in milliseconds.
    pub duration_ms: Option<u64>,
    /// Codec of the picture, or of the sound where there is none, as ffprobe names it: `h264`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// Camera that recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<CameraId>,
    /// Whether that camera still writes it: `id` is provisional then, and `size` grows.
    #[serde(default)]
    pub recording: bool,
    /// When it was put into the trash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trashed_at: Option<Timestamp>,
    /// ThumbHash in base64: a blur to show until the thumbnail is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbhash: Option<String>,
    /// Thumbnails.
    pub thumb: Thumb,
    /// What was derived from it so far.
    #[serde(default)]
    pub renditions: Vec<Rendition>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn asset_id_of_a_digest_parses_back() {
        let id = AssetId::from_digest([0xab; 32]);
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert_eq!(id.hex(), "ab".repeat(32));
    }

    proptest! {
        #[test]
        fn asset_id_accepts_only_its_own_spelling(text in "\\PC{0,80}") {
            if let Ok(id) = text.parse::<AssetId>() {
                prop_assert_eq!(id.as_str(), text);
            }
        }
    }
}
