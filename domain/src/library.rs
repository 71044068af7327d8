//! What a library holds besides assets: folders, labels, days, collections, saved filters.

use std::{fmt, str::FromStr};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::{AssetFilter, AssetName, FolderPath, Label};

/// A folder that assets lie in, or below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderInfo {
    /// Where it is.
    pub path: String,
    /// Assets that lie in it.
    pub assets: u64,
    /// Assets that lie in folders below it.
    pub below: u64,
}

/// A label that assets bear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagInfo {
    /// The label.
    pub tag: String,
    /// Assets that bear it.
    pub assets: u64,
}

/// Values that there are to filter by, in alphabetical order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facets {
    /// Cameras that recorded something.
    pub cameras: Vec<String>,
    /// Codecs of pictures, videos and sounds.
    pub codecs: Vec<String>,
}

/// How many assets came into being on some days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DateBucket {
    /// First day, in UTC.
    pub from: Date,
    /// Last day: the first, or the last of its month.
    pub to: Date,
    /// Assets.
    pub count: u64,
}

/// A number that the catalog gives, 1 or more.
macro_rules! number_id {
    ($(#[$meta:meta])* $name:ident, $rule:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "i64", into = "i64")]
        pub struct $name(i64);

        impl $name {
            /// The number.
            pub fn get(self) -> i64 {
                self.0
            }
        }

        impl TryFrom<i64> for $name {
            type Error = ParseNumberIdError;

            fn try_from(id: i64) -> Result<Self, Self::Error> {
                if id > 0 { Ok(Self(id)) } else { Err(ParseNumberIdError($rule)) }
            }
        }

        impl From<$name> for i64 {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl FromStr for $name {
            type Err = ParseNumberIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let id = text.parse().ok().and_then(|id: i64| Self::try_from(id).ok());
                id.filter(|id| id.to_string() == text).ok_or(ParseNumberIdError($rule))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

/// The text is not such an id; says what one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseNumberIdError(&'static str);

number_id! {
    /// A collection.
    CollectionId,
    "the id of a collection is a number, 1 or more"
}

number_id! {
    /// A saved filter.
    SavedFilterId,
    "the id of a saved filter is a number, 1 or more"
}

number_id! {
    /// What was put into the trash together, and can be taken out together.
    TrashId,
    "the id of what was put into the trash is a number, 1 or more"
}

/// Assets that somebody put together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collection {
    /// Its id.
    pub id: CollectionId,
    /// What it is called.
    pub title: String,
    /// Assets in it, without those in the trash.
    pub assets: u64,
}

/// A filter that somebody keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFilter {
    /// Its id.
    pub id: SavedFilterId,
    /// What it is called.
    pub title: String,
    /// The filter as [`AssetFilter::to_query`] writes it.
    pub query: String,
}

impl SavedFilter {
    /// The filter; `None` if another version wrote it and this one does not understand it.
    pub fn filter(&self) -> Option<AssetFilter> {
        AssetFilter::parse(&self.query).ok()
    }
}

/// A change to an asset; what is `None` stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AssetPatch {
    /// File name.
    pub name: Option<AssetName>,
    /// Folder it lies in.
    pub folder: Option<FolderPath>,
    /// All of its labels.
    pub labels: Option<Vec<Label>>,
}
