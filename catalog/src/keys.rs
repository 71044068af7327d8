//! Every object key of the blob store and every public name derived from one.
//!
//! Must not: touch a store. Nothing else in the workspace puts a key together.

use domain::{AssetId, RenditionKind, UploadId};
use sha2::{Digest, Sha256};

use crate::{blob::BlobKey, renditions};

/// Below this, keys are originals that Damwall put there.
pub(crate) const ORIGINALS: &str = "blobs/";
/// Below this, keys are uploads and copies of files that nobody has verified yet.
pub(crate) const UPLOADS: &str = "blobs/uploads/";
/// Below this, keys are renditions.
pub(crate) const DERIVED: &str = "derived/";

/// Key of an imported original: `blobs/sha256/aa/bb/<hex>`.
pub fn original(id: &AssetId) -> BlobKey {
    let hex = id.hex();
    built(format!("{ORIGINALS}sha256/{}/{}/{hex}", &hex[..2], &hex[2..4]))
}

/// Key of an upload until it is verified: `blobs/uploads/<id>`.
pub(crate) fn upload(id: &UploadId) -> BlobKey {
    built(format!("{UPLOADS}{id}"))
}

/// A key of its own for a copy of a file until it is verified: `blobs/uploads/copy-<random>`.
pub(crate) fn staged_copy() -> BlobKey {
    built(format!("{UPLOADS}copy-{}", hex::encode(rand::random::<[u8; 16]>())))
}

/// Whether a key is one that Damwall itself puts in a store; all others are found by a scan.
pub fn is_own(key: &str) -> bool {
    key.starts_with(ORIGINALS) || key.starts_with(DERIVED)
}

/// Immutable name of a rendition: `sha256(src|kind|params)` as 64 hex digits.
pub fn rendition_name(src: &AssetId, kind: RenditionKind) -> String {
    let text = format!("{src}|{}|{}", kind.as_str(), renditions::params(kind));
    hex::encode(Sha256::digest(text))
}

/// Key of a rendition: `derived/<kind>/aa/bb/<name>`.
pub fn rendition(src: &AssetId, kind: RenditionKind) -> BlobKey {
    let name = rendition_name(src, kind);
    built(format!("{DERIVED}{}/{}/{}/{name}", kind.as_str(), &name[..2], &name[2..4]))
}

/// Path on this server of the rendition of that name.
pub fn rendition_url(src: &AssetId, kind: RenditionKind, name: &str) -> String {
    if kind.is_proxy() {
        // Leads to a signed URL of the store; large bytes do not pass through this server.
        format!("/api/assets/{src}/renditions/{kind}")
    } else {
        format!("/assets/thumbs/{name}.{}", kind.extension())
    }
}

/// Path on this server of the thumbnail of that name.
pub fn thumb_url(name: &str) -> String {
    format!("/assets/thumbs/{name}.webp")
}

/// The 64 hex digits and the extension of `<64 hex>.webp`, or `None` when the text is anything else.
pub fn parse_rendition_file(file: &str) -> Option<(&str, &str)> {
    let (name, extension) = file.split_once('.')?;
    let is_lower_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let is_kind = RenditionKind::ALL.into_iter().any(|kind| kind.extension() == extension);
    (is_kind && name.len() == 64 && name.bytes().all(is_lower_hex)).then_some((name, extension))
}

/// MIME type of a rendition's file by its extension.
pub fn rendition_file_mime(file: &str) -> &'static str {
    let extension = file.rsplit_once('.').map_or("", |(_, extension)| extension);
    let kind = RenditionKind::ALL.into_iter().find(|kind| kind.extension() == extension);
    kind.map_or("application/octet-stream", RenditionKind::mime)
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
    fn rendition_names_differ_by_kind_and_parse_back_from_their_url() {
        let mut names: Vec<_> =
            RenditionKind::ALL.into_iter().map(|kind| rendition_name(&id(), kind)).collect();
        for (kind, name) in RenditionKind::ALL.into_iter().zip(&names) {
            assert!(is_own(rendition(&id(), kind).as_str()));
            let url = rendition_url(&id(), kind, name);
            match url.strip_prefix("/assets/thumbs/") {
                Some(file) => {
                    let parsed = parse_rendition_file(file);
                    assert_eq!(parsed, Some((name.as_str(), kind.extension())));
                }
                None => assert!(kind.is_proxy(), "{url}"),
            }
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RenditionKind::ALL.len());
    }

    proptest! {
        #[test]
        fn rendition_file_accepts_only_hex_and_known_extensions(file in "\\PC{0,80}") {
            if let Some((name, extension)) = parse_rendition_file(&file) {
                prop_assert_eq!(format!("{name}.{extension}"), file);
            }
        }

        #[test]
        fn rendition_file_accepts_every_digest(digest: [u8; 32]) {
            let name = hex::encode(digest);
            let file = format!("{name}.vtt");
            prop_assert_eq!(parse_rendition_file(&file), Some((name.as_str(), "vtt")));
        }
    }
}
