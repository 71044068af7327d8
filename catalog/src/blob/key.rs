//! The name of an object in a blob store. Must not: know what is stored under which key.

use std::{fmt, str::FromStr};

/// Longest key, as in S3.
const MAX_KEY_BYTES: usize = 1024;
/// Longest segment, as in the file systems a folder store stands on.
const MAX_SEGMENT_BYTES: usize = 255;

/// Key of an object: slash-separated segments that are safe as a path below a folder.
///
/// Invariant: 1 to 1024 bytes; no segment is empty, `.`, `..` or over 255 bytes; no backslash and
/// no control character.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobKey(String);

/// The text is not an object key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an object key is 1 to 1024 bytes of segments between slashes, \
     none of them empty, `.` or `..`, without backslashes or control characters"
)]
pub struct ParseBlobKeyError;

impl BlobKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Segments from the top; at least one.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The last segment.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.as_str(), |(_, name)| name)
    }

    /// Everything before the last segment, without a slash at the end; empty at the top.
    pub fn folder(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

impl FromStr for BlobKey {
    type Err = ParseBlobKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_segment =
            |s: &str| !s.is_empty() && s != "." && s != ".." && s.len() <= MAX_SEGMENT_BYTES;
        let is_allowed = |c: char| !c.is_control() && c != '\\';
        if text.len() <= MAX_KEY_BYTES
            && text.split('/').all(is_segment)
            && text.chars().all(is_allowed)
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseBlobKeyError)
        }
    }
}

impl fmt::Display for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blob_key_refuses_path_tricks() {
        let long_segment = "x".repeat(256);
        let long_key = "abcdefg/".repeat(128) + "x";
        for bad in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "../a",
            "a/../b",
            "a/./b",
            "a\\b",
            "a\0b",
            "a\nb",
            "\u{85}",
            &long_segment,
            &long_key,
        ] {
            assert_eq!(bad.parse::<BlobKey>(), Err(ParseBlobKeyError), "{bad:?}");
        }
        for good in ["a", "a/b.jpg", "...", "a..b/ ü%2e%2e", "~", "C:/x"] {
            assert_eq!(good.parse::<BlobKey>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn blob_key_splits_into_folder_and_name() {
        let key: BlobKey = "2024/trip/a.jpg".parse().unwrap();
        assert_eq!((key.folder(), key.name()), ("2024/trip", "a.jpg"));
        let top: BlobKey = "a.jpg".parse().unwrap();
        assert_eq!((top.folder(), top.name()), ("", "a.jpg"));
    }

    proptest! {
        #[test]
        fn blob_key_never_leaves_its_root(text in "[./\\\\a-c\\x00-\\x1f ü]{0,40}") {
            if let Ok(key) = text.parse::<BlobKey>() {
                prop_assert_eq!(key.as_str(), &text);
                for component in Path::new(key.as_str()).components() {
                    prop_assert!(matches!(component, Component::Normal(_)));
                }
                let joined: Vec<&str> = key.segments().collect();
                prop_assert_eq!(joined.join("/"), text);
            }
        }
    }
}
