//! What is derived from an original, and the jobs that derive it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::AssetId;

/// Everything that can be derived from an original. A closed list: nobody can ask for another size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenditionKind {
    /// At most 320 px on the longer side, WebP.
    #[serde(rename = "thumb_320")]
    Thumb320,
    /// At most 640 px on the longer side, WebP.
    #[serde(rename = "thumb_640")]
    Thumb640,
    /// One picture of a video, at most 1280 px on the longer side, WebP.
    Poster,
    /// Small pictures of a video in a grid, JPEG; [`RenditionKind::StoryboardVtt`] says where each is.
    Storyboard,
    /// WebVTT whose cues name parts of the storyboard by `#xywh=`.
    StoryboardVtt,
    /// Lowest and highest sample of each slice of a sound, JSON.
    Waveform,
    /// At most 720 px on the shorter side, H.264 and AAC in MP4.
    #[serde(rename = "proxy_720p")]
    Proxy720p,
    /// At most 1080 px on the shorter side, H.264 and AAC in MP4.
    #[serde(rename = "proxy_1080p")]
    Proxy1080p,
}

impl RenditionKind {
    /// Every kind there is.
    pub const ALL: [Self; 8] = [
        Self::Thumb320,
        Self::Thumb640,
        Self::Poster,
        Self::Storyboard,
        Self::StoryboardVtt,
        Self::Waveform,
        Self::Proxy720p,
        Self::Proxy1080p,
    ];

    /// Name in keys, in the catalog and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Thumb320 => "thumb_320",
            Self::Thumb640 => "thumb_640",
            Self::Poster => "poster",
            Self::Storyboard => "storyboard",
            Self::StoryboardVtt => "storyboard_vtt",
            Self::Waveform => "waveform",
            Self::Proxy720p => "proxy_720p",
            Self::Proxy1080p => "proxy_1080p",
        }
    }

    /// MIME type of its bytes.
    pub fn mime(self) -> &'static str {
        match self {
            Self::Thumb320 | Self::Thumb640 | Self::Poster => "image/webp",
            Self::Storyboard => "image/jpeg",
            Self::StoryboardVtt => "text/vtt",
            Self::Waveform => "application/json",
            Self::Proxy720p | Self::Proxy1080p => "video/mp4",
        }
    }

    /// File extension in URLs, without a dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Thumb320 | Self::Thumb640 | Self::Poster => "webp",
            Self::Storyboard => "jpg",
            Self::StoryboardVtt => "vtt",
            Self::Waveform => "json",
            Self::Proxy720p | Self::Proxy1080p => "mp4",
        }
    }

    /// Whether players load it from the blob store by a signed URL; all others this server sends.
    pub fn is_proxy(self) -> bool {
        matches!(self, Self::Proxy720p | Self::Proxy1080p)
    }
}

/// A rendition that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendition {
    /// Which.
    pub kind: RenditionKind,
    /// Path on this server; of a proxy, one that leads to a signed URL.
    pub url: String,
    /// MIME type.
    pub mime: String,
    /// Length in bytes.
    #[serde(rename = "size")]
    pub size_bytes: u64,
    /// Width in pixels of a picture or video.
    pub width_px: Option<u32>,
    /// Height in pixels of a picture or video.
    pub height_px: Option<u32>,
}

/// What a background job derives. A job may make several renditions at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Looks into the original: measures, thumbnails, poster; then it is known what else to derive.
    Derive,
    /// The storyboard and its WebVTT.
    Storyboard,
    /// The waveform.
    Waveform,
    /// The smaller proxy.
    #[serde(rename = "proxy_720p")]
    Proxy720p,
    /// The larger proxy.
    #[serde(rename = "proxy_1080p")]
    Proxy1080p,
}

impl JobKind {
    /// Every kind there is; of those that wait, earlier ones go first.
    pub const ALL: [Self; 5] =
        [Self::Derive, Self::Storyboard, Self::Waveform, Self::Proxy720p, Self::Proxy1080p];

    /// Name in the catalog and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Derive => "derive",
            Self::Storyboard => "storyboard",
            Self::Waveform => "waveform",
            Self::Proxy720p => "proxy_720p",
            Self::Proxy1080p => "proxy_1080p",
        }
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It waits for its turn, or for its next attempt.
    Pending,
    /// A process is doing it.
    Running,
    /// It ended well.
    Done,
    /// It was given up; see its reason.
    Failed,
}

impl JobState {
    /// Every state there is.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Running, Self::Done, Self::Failed];

    /// Name in the catalog and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// A job as pages show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Of which asset.
    pub asset: AssetId,
    /// What it derives.
    pub kind: JobKind,
    /// Where it stands.
    pub state: JobState,
    /// How much of it is done, in percent, where that is known.
    pub progress_percent: Option<u8>,
    /// A sentence: why it failed, or why it is tried again.
    pub reason: Option<String>,
    /// Attempts begun.
    pub attempts: u32,
}

/// A job in a list of many assets' jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobListing {
    /// The job.
    #[serde(flatten)]
    pub job: JobStatus,
    /// File name of the asset.
    pub asset_name: String,
}

/// The word is not in the closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such {0}")]
pub struct ParseWordError(&'static str);

macro_rules! words {
    ($name:ident, $what:literal) => {
        impl FromStr for $name {
            type Err = ParseWordError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.into_iter().find(|one| one.as_str() == text).ok_or(ParseWordError($what))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words!(RenditionKind, "kind of rendition");
words!(JobKind, "kind of job");
words!(JobState, "state of a job");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_same_in_the_catalog_and_on_the_wire() {
        fn check<T: Serialize + Copy + FromStr + PartialEq + fmt::Debug>(
            all: &[T],
            as_str: impl Fn(T) -> &'static str,
        ) {
            for &one in all {
                assert_eq!(serde_json::to_value(one).unwrap(), as_str(one));
                assert!(as_str(one).parse::<T>().is_ok_and(|parsed| parsed == one));
            }
        }
        check(&RenditionKind::ALL, RenditionKind::as_str);
        check(&JobKind::ALL, JobKind::as_str);
        check(&JobState::ALL, JobState::as_str);
        assert!("thumb_9999".parse::<RenditionKind>().is_err());
    }
}
