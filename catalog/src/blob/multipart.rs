//! Words of writes and of uploads in parts, which both stores share. Must not: know a store.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::disposition::header_mime;

/// Smallest part but the last, as in S3.
pub const PART_MIN_BYTES: u64 = 5 * 1024 * 1024;
/// Most parts of an object, as in S3.
pub const PARTS_MAX: u16 = 10_000;
/// Longest name a store may give an upload.
const MAX_ID_BYTES: usize = 1024;

/// Name that a store gave an upload in parts: visible ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultipartId(String);

/// The text is no [`MultipartId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an upload's name is 1 to 1024 visible ASCII characters")]
pub struct ParseMultipartIdError;

impl MultipartId {
    /// As the store spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MultipartId {
    type Err = ParseMultipartIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        let is_id = is_visible && (1..=MAX_ID_BYTES).contains(&text.len());
        if is_id { Ok(Self(text.to_owned())) } else { Err(ParseMultipartIdError) }
    }
}

/// Place of a part in its object: 1 to [`PARTS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartNumber(u16);

impl PartNumber {
    /// `None` when it is out of bounds.
    pub fn new(number: u16) -> Option<Self> {
        (1..=PARTS_MAX).contains(&number).then_some(Self(number))
    }

    /// From 1.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for PartNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A part that the store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPart {
    /// Its place.
    pub number: PartNumber,
    /// The store's name for these bytes, with its quotes if it has any.
    pub etag: String,
    /// Its length in bytes.
    pub len_bytes: u64,
}

/// What an object is stored with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectInfo {
    /// MIME type.
    pub mime: String,
    /// Names of lower-case ASCII and values of visible ASCII; 2 KiB at most, as in S3.
    pub metadata: BTreeMap<String, String>,
}

impl ObjectInfo {
    /// An object of that type, as far as it can stand in a header, and no metadata.
    pub(super) fn of_mime(mime: &str) -> Self {
        Self { mime: header_mime(mime).to_owned(), metadata: BTreeMap::new() }
    }
}

/// What became of asking for an object to be put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completed {
    /// It is there, whole; or was, if it had been asked for before.
    Stored,
    /// The store knows no such upload: it was completed or aborted before.
    Gone,
    /// The parts are not what the store has; a sentence's end.
    Refused(String),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn part_numbers_are_those_of_s3() {
        assert_eq!(PartNumber::new(0), None);
        assert_eq!(PartNumber::new(PARTS_MAX).map(PartNumber::get), Some(10_000));
        assert_eq!(PartNumber::new(PARTS_MAX + 1), None);
    }

    proptest! {
        #[test]
        fn an_uploads_name_is_visible(text in "\\PC{0,40}") {
            if let Ok(id) = text.parse::<MultipartId>() {
                prop_assert!(id.as_str().bytes().all(|b| matches!(b, b'!'..=b'~')));
            }
        }
    }
}
