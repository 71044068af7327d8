//! Every object key of the blob store and every public name derived from one.
//!
//! Must not: touch a store. Nothing else in the workspace puts a key together.

use domain::AssetId;
use sha2::{Digest, Sha256};

use crate::blob::BlobKey;

/// Below this, keys are originals that an import put there.
const ORIGINALS: &str = "blobs/";
/// Below this, keys are renditions.
const DERIVED: &str = "derived/";

/// A rendition that every picture and video has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThumbKind {
    /// At most 320 px on the longer side.
    Thumb320,
    /// At most 640 px on the longer side.
    Thumb640,
}

impl ThumbKind {
    /// Name in keys and in the catalog.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Thumb320 => "thumb_320",
            Self::Thumb640 => "thumb_640",
        }
    }

    /// Longest side in pixels.
    pub fn fit_px(self) -> u32 {
        match self {
            Self::Thumb320 => 320,
            Self::Thumb640 => 640,
        }
    }

    /// What the bytes depend on besides the original. A change makes new names.
    fn params(self) -> &'static str {
        match self {
            Self::Thumb320 => "webp;q=80;fit=320;v1",
            Self::Thumb640 => "webp;q=80;fit=640;v1",
        }
    }
}

/// Key of an imported original: `blobs/sha256/aa/bb/<hex>`.
pub fn original(id: &AssetId) -> BlobKey {
    let hex = id.hex();
    built(format!("{ORIGINALS}sha256/{}/{}/{hex}", &hex[..2], &hex[2..4]))
}

/// Whether a key is one that Damwall itself puts in a store; all others are found by a scan.
pub fn is_own(key: &str) -> bool {
    key.starts_with(ORIGINALS) || key.starts_with(DERIVED)
}

/// Immutable name of a thumbnail: `sha256(src|kind|params)` as 64 hex digits.
pub fn thumb_name(src: &AssetId, kind: ThumbKind) -> String {
    let text = format!("{src}|{}|{}", kind.as_str(), kind.params());
    hex::encode(Sha256::digest(text))
}

/// Key of a thumbnail: `derived/<kind>/aa/bb/<name>`.
pub fn thumb(src: &AssetId, kind: ThumbKind) -> BlobKey {
    let name = thumb_name(src, kind);
    built(format!("{DERIVED}{}/{}/{}/{name}", kind.as_str(), &name[..2], &name[2..4]))
}

/// Path on this server of the thumbnail of that name.
pub fn thumb_url(name: &str) -> String {
    format!("/assets/thumbs/{name}.webp")
}

/// The 64 hex digits of `<64 hex>.webp`, or `None` when the text is anything else.
pub fn parse_thumb_file(file: &str) -> Option<&str> {
    let name = file.strip_suffix(".webp")?;
    let is_lower_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    (name.len() == 64 && name.bytes().all(is_lower_hex)).then_some(name)
}

/// A key built here from hex digits and constants.
fn built(key: String) -> BlobKey {
    key.parse().expect("hex digits and constant segments make a key")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> AssetId {
        AssetId::from_digest([0xab; 32])
    }

    #[test]
    fn original_key_spreads_over_two_levels() {
        let hex = "ab".repeat(32);
        assert_eq!(original(&id()).as_str(), format!("blobs/sha256/ab/ab/{hex}"));
    }

    #[test]
    fn thumb_names_differ_by_kind_and_parse_back_from_their_url() {
        let [small, large] =
            [ThumbKind::Thumb320, ThumbKind::Thumb640].map(|kind| thumb_name(&id(), kind));
        assert_ne!(small, large);
        let url = thumb_url(&small);
        let file = url.rsplit('/').next().unwrap();
        assert_eq!(parse_thumb_file(file), Some(small.as_str()));
        assert!(is_own(thumb(&id(), ThumbKind::Thumb320).as_str()));
    }

    proptest! {
        #[test]
        fn thumb_file_accepts_only_hex_and_webp(file in "\\PC{0,80}") {
            if let Some(name) = parse_thumb_file(&file) {
                prop_assert_eq!(format!("{name}.webp"), file);
            }
        }

        #[test]
        fn thumb_file_accepts_every_digest(digest: [u8; 32]) {
            let name = hex::encode(digest);
            let file = format!("{name}.webp");
            prop_assert_eq!(parse_thumb_file(&file), Some(name.as_str()));
        }
    }
}
