//! Keyset paging: a page of items and the cursor of the next one.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::AssetId;

/// Items on a page when the caller names no limit.
pub const PAGE_LIMIT_DEFAULT: u32 = 60;
/// Most items on a page.
pub const PAGE_LIMIT_MAX: u32 = 500;

/// How many items a page may hold: 1 to [`PAGE_LIMIT_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct PageLimit(u32);

impl PageLimit {
    /// The number of items.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Default for PageLimit {
    fn default() -> Self {
        Self(PAGE_LIMIT_DEFAULT)
    }
}

impl TryFrom<u32> for PageLimit {
    type Error = String;

    fn try_from(limit: u32) -> Result<Self, Self::Error> {
        if (1..=PAGE_LIMIT_MAX).contains(&limit) {
            Ok(Self(limit))
        } else {
            Err(format!("limit must be 1 to {PAGE_LIMIT_MAX}, not {limit}"))
        }
    }
}

impl From<PageLimit> for u32 {
    fn from(limit: PageLimit) -> Self {
        limit.0
    }
}

/// One page of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, in order.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last one.
    pub next_cursor: Option<Cursor>,
}

/// The last item of a page, which the next page follows: `<created_ms>.<64 hex>`.
///
/// Opaque to callers; its text is kept short and URL-safe.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor {
    /// `created_at` of that item, Unix milliseconds.
    pub created_ms: i64,
    /// Its id, which breaks ties.
    pub id: AssetId,
}

/// The text is not a cursor this server made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a page cursor; start again from the first page")]
pub struct ParseCursorError;

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (created_ms, hex) = text.split_once('.').ok_or(ParseCursorError)?;
        let cursor = Self {
            created_ms: created_ms.parse().map_err(|_| ParseCursorError)?,
            id: format!("sha256:{hex}").parse().map_err(|_| ParseCursorError)?,
        };
        // `+7` and `007` are numbers too; one spelling per cursor keeps cache keys unique.
        if cursor.to_string() == text { Ok(cursor) } else { Err(ParseCursorError) }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.created_ms, self.id.hex())
    }
}

impl TryFrom<String> for Cursor {
    type Error = ParseCursorError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cursor_survives_its_own_text(created_ms: i64, digest: [u8; 32]) {
            let cursor = Cursor { created_ms, id: AssetId::from_digest(digest) };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn cursor_refuses_any_other_text(text in "\\PC{0,100}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }

    #[test]
    fn page_limit_is_bounded() {
        assert!(PageLimit::try_from(0).is_err());
        assert!(PageLimit::try_from(PAGE_LIMIT_MAX + 1).is_err());
        assert_eq!(PageLimit::try_from(100).map(PageLimit::get), Ok(100));
    }
}
