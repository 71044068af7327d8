//! Uploads from a browser or a script: what is announced, and how far it has come.
//!
//! Must not: know a store, or where the parts are sent.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::AssetId;

/// Smallest part that is chosen.
const PART_BYTES: u64 = 8 * 1024 * 1024;
/// Part sizes are multiples of this.
const PART_STEP_BYTES: u64 = 1024 * 1024;
/// Most parts of an upload, as in S3.
const PARTS_MAX: u64 = 10_000;
/// Longest file: what S3 keeps as one object, 5 TiB.
pub const UPLOAD_MAX_BYTES: u64 = 5 * 1024 * 1024 * 1024 * 1024;
/// Longest file name, in bytes.
const NAME_MAX_BYTES: usize = 255;
/// Longest folder, in bytes.
const FOLDER_MAX_BYTES: usize = 1024;

/// Name of an upload: 32 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UploadId(String);

/// The text is not 32 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an upload's id is 32 lower-case hex digits")]
pub struct ParseUploadIdError;

impl UploadId {
    /// As it stands in addresses.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UploadId {
    type Err = ParseUploadIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_lower_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        let is_id = text.len() == 32 && text.bytes().all(is_lower_hex);
        if is_id { Ok(Self(text.to_owned())) } else { Err(ParseUploadIdError) }
    }
}

impl TryFrom<String> for UploadId {
    type Error = ParseUploadIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<UploadId> for String {
    fn from(id: UploadId) -> Self {
        id.0
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What somebody wants to upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewUpload {
    /// File name.
    pub name: String,
    /// Length in bytes.
    #[serde(rename = "size")]
    pub size_bytes: u64,
    /// SHA-256 of the bytes, 64 lower-case hex digits.
    pub sha256: String,
    /// MIME type as far as the sender knows; what counts are the bytes.
    #[serde(default)]
    pub mime: String,
    /// Slash-separated folder; empty for the top.
    #[serde(default)]
    pub folder: String,
    /// When the file was last changed, Unix milliseconds.
    #[serde(default)]
    pub modified_ms: Option<i64>,
}

/// A field of a [`NewUpload`] is not valid; the text names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NewUploadError {
    /// See [`NewUpload::name`].
    #[error("name must be 1 to 255 bytes without slashes and control characters")]
    Name,
    /// See [`NewUpload::size_bytes`].
    #[error("size must be 1 byte to 5 TiB: an empty file is no picture, video or sound")]
    Size,
    /// See [`NewUpload::sha256`].
    #[error("sha256 must be 64 lower-case hex digits")]
    Sha256,
    /// See [`NewUpload::mime`].
    #[error("mime must be a media type such as image/jpeg, or left out")]
    Mime,
    /// See [`NewUpload::folder`].
    #[error("folder must be at most 1024 bytes, without `.`, `..` and control characters in it")]
    Folder,
    /// See [`NewUpload::modified_ms`].
    #[error("modified_ms must be a time in Unix milliseconds")]
    Modified,
}

impl NewUpload {
    /// Checks every field; the folder loses slashes it does not need.
    ///
    /// # Errors
    /// Which field is not valid.
    pub fn checked(mut self) -> Result<Self, NewUploadError> {
        let is_text = |text: &str| !text.chars().any(|c| c.is_control() || c == '\\');
        let name = &self.name;
        let has_name = !name.trim().is_empty() && name != "." && name != "..";
        if !has_name || name.len() > NAME_MAX_BYTES || name.contains('/') || !is_text(name) {
            return Err(NewUploadError::Name);
        }
        if !(1..=UPLOAD_MAX_BYTES).contains(&self.size_bytes) {
            return Err(NewUploadError::Size);
        }
        self.asset_id()?;
        let is_visible = |b: u8| b.is_ascii_graphic() || b == b' ';
        let is_type = self.mime.len() <= NAME_MAX_BYTES
            && self.mime.contains('/')
            && self.mime.bytes().all(is_visible);
        if !self.mime.is_empty() && !is_type {
            return Err(NewUploadError::Mime);
        }
        self.folder = parse_folder(&self.folder).ok_or(NewUploadError::Folder)?;
        if self.modified_ms.is_some_and(|ms| Timestamp::from_millisecond(ms).is_err()) {
            return Err(NewUploadError::Modified);
        }
        Ok(self)
    }

    /// The asset that the bytes will be, if they are what was announced.
    ///
    /// # Errors
    /// [`NewUploadError::Sha256`].
    pub fn asset_id(&self) -> Result<AssetId, NewUploadError> {
        format!("sha256:{}", self.sha256).parse().map_err(|_| NewUploadError::Sha256)
    }
}

/// A folder without needless slashes; `None` when it cannot be one.
pub fn parse_folder(text: &str) -> Option<String> {
    let is_segment = |segment: &&str| {
        !matches!(*segment, "." | "..") && !segment.chars().any(|c| c.is_control() || c == '\\')
    };
    let segments: Vec<&str> =
        text.split('/').map(str::trim).filter(|segment| !segment.is_empty()).collect();
    let folder = segments.join("/");
    (folder.len() <= FOLDER_MAX_BYTES && segments.iter().all(is_segment)).then_some(folder)
}

/// How long the parts of a file are: at least 8 MiB, and no more than 10 000 of them.
pub fn part_bytes(size_bytes: u64) -> u64 {
    let fewest = size_bytes.div_ceil(PARTS_MAX).next_multiple_of(PART_STEP_BYTES);
    fewest.max(PART_BYTES)
}

/// How far an upload has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UploadState {
    /// Parts are awaited.
    Open,
    /// All parts are there; the bytes are being compared with what was announced.
    Verifying,
    /// It is an asset.
    Done,
    /// It is none, and will not be.
    Failed,
}

impl UploadState {
    /// Lower-case word, as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Verifying => "verifying",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// A part that has arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadPart {
    /// From 1.
    pub number: u16,
    /// As the store answered its `PUT`.
    pub etag: String,
    /// Length in bytes.
    #[serde(rename = "size", default)]
    pub size_bytes: u64,
}

/// An upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Its name.
    pub id: UploadId,
    /// File name.
    pub name: String,
    /// Folder; empty at the top.
    pub folder: String,
    /// Length in bytes.
    #[serde(rename = "size")]
    pub size_bytes: u64,
    /// The asset it will be, or is.
    pub asset_id: AssetId,
    /// Length of every part but the last, which has the rest.
    #[serde(rename = "part_size")]
    pub part_bytes: u64,
    /// Parts that have arrived, in order; left out of lists.
    #[serde(default)]
    pub parts_done: Vec<UploadPart>,
    /// How far it has come.
    pub state: UploadState,
    /// A sentence, when it failed, or is to be tried again.
    pub reason: Option<String>,
    /// When it was begun.
    pub created_at: Timestamp,
}

impl Upload {
    /// How many parts there are.
    pub fn part_count(&self) -> u16 {
        part_count(self.size_bytes, self.part_bytes)
    }

    /// Length of a part; `None` when there is no such part.
    pub fn part_len(&self, number: u16) -> Option<u64> {
        let (start, end) = part_range(self.size_bytes, self.part_bytes, number)?;
        Some(end - start)
    }
}

/// How many parts a file has.
pub fn part_count(size_bytes: u64, part_bytes: u64) -> u16 {
    u16::try_from(size_bytes.div_ceil(part_bytes.max(1))).unwrap_or(u16::MAX)
}

/// First byte of a part and the byte behind it; `None` when there is no such part.
pub fn part_range(size_bytes: u64, part_bytes: u64, number: u16) -> Option<(u64, u64)> {
    let start = part_bytes.checked_mul(u64::from(number.checked_sub(1)?))?;
    let end = start.checked_add(part_bytes)?.min(size_bytes);
    (start < end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn upload(name: &str, folder: &str) -> NewUpload {
        NewUpload {
            name: name.into(),
            size_bytes: 5,
            sha256: "ab".repeat(32),
            mime: String::new(),
            folder: folder.into(),
            modified_ms: None,
        }
    }

    #[test]
    fn what_is_announced_is_checked_field_by_field() {
        let good = upload("a b.mp4", "/takes//day 1/").checked().unwrap();
        assert_eq!(good.folder, "takes/day 1");
        for name in ["", " ", ".", "..", "a/b", "a\\b", "a\0", &"x".repeat(256)] {
            assert_eq!(upload(name, "").checked(), Err(NewUploadError::Name), "{name:?}");
        }
        for folder in ["..", "a/../b", "a/./b", "a\nb", "a\\b", &"x/".repeat(1024)] {
            assert_eq!(upload("a", folder).checked(), Err(NewUploadError::Folder), "{folder:?}");
        }
        for size_bytes in [0, UPLOAD_MAX_BYTES + 1] {
            let bad = NewUpload { size_bytes, ..upload("a", "") };
            assert_eq!(bad.checked(), Err(NewUploadError::Size));
        }
        for sha256 in ["", "AB", &"AB".repeat(32), &"ab".repeat(33)] {
            let bad = NewUpload { sha256: sha256.into(), ..upload("a", "") };
            assert_eq!(bad.checked(), Err(NewUploadError::Sha256));
        }
        for mime in ["jpeg", "image/jp\0eg", "image/\u{e9}", &format!("image/{}", "x".repeat(300))]
        {
            let bad = NewUpload { mime: mime.into(), ..upload("a", "") };
            assert_eq!(bad.checked(), Err(NewUploadError::Mime), "{mime:?}");
        }
        let mime = "video/mp4; codecs=\"avc1\"".to_owned();
        assert!(NewUpload { mime, ..upload("a", "") }.checked().is_ok());
        let bad = NewUpload { modified_ms: Some(i64::MAX), ..upload("a", "") };
        assert_eq!(bad.checked(), Err(NewUploadError::Modified));
    }

    #[test]
    fn parts_are_eight_mebibytes_until_there_are_too_many() {
        assert_eq!(part_bytes(1), PART_BYTES);
        assert_eq!(part_count(200_000_000, part_bytes(200_000_000)), 24);
        let longest = part_bytes(UPLOAD_MAX_BYTES);
        assert!(
            longest.is_multiple_of(PART_STEP_BYTES)
                && part_count(UPLOAD_MAX_BYTES, longest) <= 10_000
        );
    }

    proptest! {
        #[test]
        fn parts_cover_the_file_once(size_bytes in 1..=UPLOAD_MAX_BYTES) {
            let part_bytes = part_bytes(size_bytes);
            let count = part_count(size_bytes, part_bytes);
            prop_assert!(u64::from(count) <= PARTS_MAX);
            prop_assert_eq!(part_range(size_bytes, part_bytes, 0), None);
            prop_assert_eq!(part_range(size_bytes, part_bytes, count + 1), None);
            let mut next = 0;
            for number in 1..=count {
                let (start, end) = part_range(size_bytes, part_bytes, number).unwrap();
                prop_assert_eq!(start, next);
                next = end;
            }
            prop_assert_eq!(next, size_bytes);
        }

        #[test]
        fn a_folder_is_clean_or_refused(text in "\\PC{0,40}") {
            if let Some(folder) = parse_folder(&text) {
                prop_assert_eq!(parse_folder(&folder), Some(folder.clone()));
                prop_assert!(!folder.starts_with('/') && !folder.ends_with('/'));
            }
        }

        #[test]
        fn an_uploads_id_is_its_only_spelling(text in "\\PC{0,40}") {
            if let Ok(id) = text.parse::<UploadId>() {
                prop_assert_eq!(id.as_str(), text);
            }
        }
    }
}
