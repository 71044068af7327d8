//! Keyset paging: the order of a list, a page of it, and the cursor of the next page.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

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

/// Order of a list of assets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// By `created_at`, the latest first.
    #[default]
    Newest,
    /// By `created_at`, the earliest first.
    Oldest,
    /// By name, without regard to case, A first.
    Name,
    /// By the original's length in bytes, the largest first.
    Largest,
    /// By playing time, the longest first; what has none comes last.
    Longest,
}

impl Sort {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Newest, Self::Oldest, Self::Name, Self::Largest, Self::Longest];

    /// Lower-case word, as in an address.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
            Self::Name => "name",
            Self::Largest => "largest",
            Self::Longest => "longest",
        }
    }

    fn letter(self) -> &'static str {
        match self {
            Self::Newest => "n",
            Self::Oldest => "o",
            Self::Name => "a",
            Self::Largest => "s",
            Self::Longest => "d",
        }
    }
}

impl FromStr for Sort {
    type Err = ParseSortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|sort| sort.as_str() == text).ok_or(ParseSortError)
    }
}

/// The text names no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected newest, oldest, name, largest or longest")]
pub struct ParseSortError;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, in order.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last one.
    pub next_cursor: Option<Cursor>,
}

/// The last item of a page, which the next page follows: `<sort>.<key>.<seq>`.
///
/// Opaque to callers; its text is URL-safe and there is one text per cursor.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor {
    /// The list's order; the cursor is good for no other.
    pub sort: Sort,
    /// What that item is sorted by.
    pub key: CursorKey,
    /// The item's number in the catalog, which breaks ties.
    pub seq: i64,
}

/// What an item is sorted by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CursorKey {
    /// Milliseconds or bytes.
    Number(i64),
    /// A name in lower case.
    Text(String),
}

/// The text is not a cursor this server made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a page cursor; start again from the first page")]
pub struct ParseCursorError;

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().ok_or(ParseCursorError);
        let (letter, key, seq) = (part()?, part()?, part()?);
        let sort = Sort::ALL.into_iter().find(|sort| sort.letter() == letter);
        let sort = sort.ok_or(ParseCursorError)?;
        let key = match sort {
            Sort::Name => CursorKey::Text(text_of_hex(key).ok_or(ParseCursorError)?),
            _ => CursorKey::Number(key.parse().map_err(|_| ParseCursorError)?),
        };
        let cursor = Self { sort, key, seq: seq.parse().map_err(|_| ParseCursorError)? };
        // `+7` and `007` are numbers too; one spelling per cursor keeps cache keys unique.
        if cursor.to_string() == text { Ok(cursor) } else { Err(ParseCursorError) }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.sort.letter())?;
        match &self.key {
            CursorKey::Number(number) => write!(f, "{number}")?,
            CursorKey::Text(text) => {
                text.bytes().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            }
        }
        write!(f, ".{}", self.seq)
    }
}

fn text_of_hex(hex: &str) -> Option<String> {
    let digits = hex.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()));
    let digits: Vec<u8> = digits.collect::<Option<_>>()?;
    let bytes = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(high << 4 | low),
        _ => None,
    });
    // A NUL is in no name, and PostgreSQL takes none.
    String::from_utf8(bytes.collect::<Option<_>>()?).ok().filter(|text| !text.contains('\0'))
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
        fn cursor_survives_its_own_text(sort in 0..5usize, key: i64, text in "\\PC{0,100}", seq: i64) {
            let sort = Sort::ALL[sort];
            let key = if sort == Sort::Name { CursorKey::Text(text) } else { CursorKey::Number(key) };
            let cursor = Cursor { sort, key, seq };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn cursor_refuses_any_other_text(text in "([noasd]\\.)?\\PC{0,100}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }

        #[test]
        fn cursor_has_one_spelling(text in "[noasd]\\.[-+0-9a-fA-F]{1,6}\\.[-+0-9]{1,4}") {
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
