//! What a list of assets is asked for, and its one spelling in an address.
//!
//! Pages, the API and the page cache read and write the same text, so that one list has one key.
//! Must not: know how a list is found.

use std::fmt;

use form_urlencoded::Serializer;
use jiff::civil::Date;

use crate::{
    AssetKind, CameraId, CollectionId, Cursor, FolderPath, Label, PAGE_LIMIT_MAX, PageLimit, Sort,
};

/// Longest query that is read, in bytes.
pub const QUERY_MAX_BYTES: usize = 8192;
/// Most values of one key.
pub const VALUES_MAX: usize = 50;
/// Longest text to search for, in characters.
pub const TEXT_MAX_CHARS: usize = 200;

/// Which assets, in which order, and which page of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AssetQuery {
    /// Which assets.
    pub filter: AssetFilter,
    /// Their order.
    pub sort: Sort,
    /// How many on a page.
    pub limit: PageLimit,
    /// The item that the page follows; the first page without.
    pub after: Option<Cursor>,
}

/// Which assets: those for which every field holds. Of several values of a field any one will do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AssetFilter {
    /// Words of name, folder and labels; each may be the beginning of one.
    pub text: Option<String>,
    /// Kinds.
    pub kinds: Vec<AssetKind>,
    /// Labels.
    pub tags: Vec<Label>,
    /// Folders with all below them.
    pub folders: Vec<FolderPath>,
    /// Cameras that recorded it.
    pub cameras: Vec<CameraId>,
    /// Codecs, as ffprobe names them: `h264`.
    pub codecs: Vec<String>,
    /// First day of `created_at`, in UTC.
    pub from: Option<Date>,
    /// Last day of `created_at`, in UTC.
    pub to: Option<Date>,
    /// Length of the original in bytes.
    pub size_bytes: Bounds,
    /// Playing time in milliseconds.
    pub duration_ms: Bounds,
    /// Width in pixels.
    pub width_px: Bounds,
    /// Height in pixels.
    pub height_px: Bounds,
    /// Only members of this collection.
    pub collection: Option<CollectionId>,
    /// What is in the trash, instead of what is not.
    pub trashed: bool,
    /// Only assets one of whose jobs was given up.
    pub failed: bool,
}

/// From `min` to `max`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// No less.
    pub min: Option<u64>,
    /// No more.
    pub max: Option<u64>,
}

/// A query that is not understood: one sentence that names the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct QueryError {
    /// The key, shortened if it is long; `query` when it is all of it.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

impl QueryError {
    fn new(key: &str, reason: impl fmt::Display) -> Self {
        Self { key: key.chars().take(40).collect(), reason: reason.to_string() }
    }
}

impl AssetQuery {
    /// Reads the part of an address after `?`. Keys without a value count for nothing, as a form
    /// sends those of its empty fields.
    ///
    /// # Errors
    /// An unknown key, a value that cannot be, too many values, or a query that is too long.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        if query.len() > QUERY_MAX_BYTES {
            return Err(QueryError::new("query", format!("is over {QUERY_MAX_BYTES} bytes")));
        }
        let mut parsed = Self::default();
        let mut given: Vec<String> = Vec::new();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.trim();
            // Several values of a key that takes one would be two readings of one address.
            let is_list = matches!(&*key, "kind" | "tag" | "folder" | "camera" | "codec");
            if !value.is_empty() && !is_list && given.iter().any(|earlier| *earlier == key) {
                return Err(QueryError::new(&key, "is given more than once"));
            }
            parsed.take(&key, value)?;
            if !value.is_empty() {
                given.push(key.into_owned());
            }
        }
        parsed.filter.settle()?;
        if parsed.after.as_ref().is_some_and(|after| after.sort != parsed.sort) {
            let reason = "is of another order; start again from the first page";
            return Err(QueryError::new("after", reason));
        }
        Ok(parsed)
    }

    /// The one spelling of this query: keys in a fixed order, without those at their default.
    pub fn to_query(&self) -> String {
        let mut out = Serializer::new(String::new());
        self.filter.write(&mut out);
        if self.sort != Sort::default() {
            out.append_pair("sort", self.sort.as_str());
        }
        if self.limit != PageLimit::default() {
            out.append_pair("limit", &self.limit.get().to_string());
        }
        if let Some(after) = &self.after {
            out.append_pair("after", &after.to_string());
        }
        out.finish()
    }

    /// The page after `cursor` of the same list.
    #[must_use]
    pub fn after(&self, cursor: Cursor) -> Self {
        Self { after: Some(cursor), ..self.clone() }
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), QueryError> {
        let error = |reason: &dyn fmt::Display| QueryError::new(key, reason);
        match key {
            "sort" | "limit" | "after" if value.is_empty() => {}
            "sort" => self.sort = value.parse().map_err(|reason| error(&reason))?,
            "limit" => {
                let limit: Option<u32> = number(value).and_then(|limit| limit.try_into().ok());
                let limit = limit.and_then(|limit| PageLimit::try_from(limit).ok());
                let reason = format!("expected a number from 1 to {PAGE_LIMIT_MAX}");
                self.limit = limit.ok_or_else(|| error(&reason))?;
            }
            "after" => self.after = Some(value.parse().map_err(|reason| error(&reason))?),
            _ => self.filter.take(key, value)?,
        }
        Ok(())
    }
}

impl AssetFilter {
    /// Reads a filter alone, as it is saved.
    ///
    /// # Errors
    /// As [`AssetQuery::parse`]; `sort`, `limit` and `after` are unknown keys.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        for key in ["sort", "limit", "after"] {
            if form_urlencoded::parse(query.as_bytes()).any(|(given, _)| given == key) {
                return Err(QueryError::new(key, "does not belong to a filter"));
            }
        }
        AssetQuery::parse(query).map(|query| query.filter)
    }

    /// The one spelling of this filter.
    pub fn to_query(&self) -> String {
        let mut out = Serializer::new(String::new());
        self.write(&mut out);
        out.finish()
    }

    /// Whether it lets everything through that is not in the trash.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), QueryError> {
        let error = |reason: &dyn fmt::Display| QueryError::new(key, reason);
        let bound = || match number(value) {
            _ if value.is_empty() => Ok(None),
            Some(number) => Ok(Some(number)),
            None => Err(error(&"expected a whole number")),
        };
        let day = || match value.parse::<Date>() {
            _ if value.is_empty() => Ok(None),
            Ok(day) if value.len() == 10 && day.year() >= 1 => Ok(Some(day)),
            _ => Err(error(&"expected a day such as 2026-01-31")),
        };
        let flag = || match value {
            "" | "0" => Ok(false),
            "1" => Ok(true),
            _ => Err(error(&"expected 0 or 1")),
        };
        match key {
            "from" => self.from = day()?.or(self.from),
            "to" => self.to = day()?.or(self.to),
            "min_size" => self.size_bytes.min = bound()?.or(self.size_bytes.min),
            "max_size" => self.size_bytes.max = bound()?.or(self.size_bytes.max),
            "min_duration" => self.duration_ms.min = bound()?.or(self.duration_ms.min),
            "max_duration" => self.duration_ms.max = bound()?.or(self.duration_ms.max),
            "min_width" => self.width_px.min = bound()?.or(self.width_px.min),
            "max_width" => self.width_px.max = bound()?.or(self.width_px.max),
            "min_height" => self.height_px.min = bound()?.or(self.height_px.min),
            "max_height" => self.height_px.max = bound()?.or(self.height_px.max),
            "trashed" => self.trashed |= flag()?,
            "failed" => self.failed |= flag()?,
            "q" | "kind" | "tag" | "folder" | "camera" | "codec" | "collection"
                if value.is_empty() => {}
            "q" => {
                if value.chars().count() > TEXT_MAX_CHARS {
                    return Err(error(&format!("is over {TEXT_MAX_CHARS} characters")));
                }
                self.text = Some(value.split_whitespace().collect::<Vec<_>>().join(" "));
            }
            "kind" => self.kinds.push(value.parse().map_err(|reason| error(&reason))?),
            "tag" => self.tags.push(value.parse().map_err(|reason| error(&reason))?),
            "folder" => {
                let folder: FolderPath = value.parse().map_err(|reason| error(&reason))?;
                // Below the top is everything.
                if !folder.is_top() {
                    self.folders.push(folder);
                }
            }
            "camera" => self.cameras.push(value.parse().map_err(|reason| error(&reason))?),
            "codec" => {
                let is_codec = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
                if value.len() > 32 || !value.bytes().all(is_codec) {
                    return Err(error(&"expected a codec such as h264"));
                }
                self.codecs.push(value.to_owned());
            }
            "collection" => {
                self.collection = Some(value.parse().map_err(|reason| error(&reason))?);
            }
            _ => return Err(error(&"there is no such key")),
        }
        Ok(())
    }

    /// Brings what has several spellings to one.
    fn settle(&mut self) -> Result<(), QueryError> {
        settle("kind", &mut self.kinds)?;
        settle("tag", &mut self.tags)?;
        settle("folder", &mut self.folders)?;
        settle("camera", &mut self.cameras)?;
        settle("codec", &mut self.codecs)
    }

    fn write(&self, out: &mut Serializer<'_, String>) {
        let mut pair = |key: &str, value: &str| {
            out.append_pair(key, value);
        };
        self.text.iter().for_each(|text| pair("q", text));
        self.kinds.iter().for_each(|kind| pair("kind", kind.as_str()));
        self.tags.iter().for_each(|tag| pair("tag", tag.as_str()));
        self.folders.iter().for_each(|folder| pair("folder", folder.as_str()));
        self.cameras.iter().for_each(|camera| pair("camera", camera.as_str()));
        self.codecs.iter().for_each(|codec| pair("codec", codec));
        self.from.iter().for_each(|day| pair("from", &day.to_string()));
        self.to.iter().for_each(|day| pair("to", &day.to_string()));
        let bounds = [
            ("min_size", self.size_bytes.min),
            ("max_size", self.size_bytes.max),
            ("min_duration", self.duration_ms.min),
            ("max_duration", self.duration_ms.max),
            ("min_width", self.width_px.min),
            ("max_width", self.width_px.max),
            ("min_height", self.height_px.min),
            ("max_height", self.height_px.max),
        ];
        for (key, bound) in bounds {
            bound.iter().for_each(|bound| pair(key, &bound.to_string()));
        }
        self.collection.iter().for_each(|id| pair("collection", &id.to_string()));
        for (key, flag) in [("trashed", self.trashed), ("failed", self.failed)] {
            if flag {
                pair(key, "1");
            }
        }
    }
}

fn settle<T: Ord>(key: &str, values: &mut Vec<T>) -> Result<(), QueryError> {
    values.sort();
    values.dedup();
    if values.len() > VALUES_MAX {
        return Err(QueryError::new(key, format!("has over {VALUES_MAX} values")));
    }
    Ok(())
}

/// Digits alone, up to what a database's integer holds.
fn number(text: &str) -> Option<u64> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_digits && *number <= i64::MAX as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(query: &str, canonical: &str) {
        let parsed = AssetQuery::parse(query).unwrap();
        assert_eq!(parsed.to_query(), canonical);
        assert_eq!(AssetQuery::parse(canonical), Ok(parsed));
    }

    #[test]
    fn one_list_has_one_spelling() {
        check("", "");
        check("q=&kind=&sort=newest&limit=60&after=&trashed=0&min_size=", "");
        check(
            "kind=video&q=++harbour++tour+&kind=image&kind=video",
            "q=harbour+tour&kind=image&kind=video",
        );
        check("folder=/2026/may/&tag=B&tag=a", "tag=B&tag=a&folder=2026%2Fmay");
        check("sort=name&after=a.61.7", "sort=name&after=a.61.7");
        check(
            "to=2026-01-31&from=2026-01-01&min_height=0720",
            "from=2026-01-01&to=2026-01-31&min_height=720",
        );
        check(
            "camera=door&codec=h264&failed=1&collection=7",
            "camera=door&codec=h264&collection=7&failed=1",
        );
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_key() {
        for (query, key) in [
            ("x=1", "x"),
            ("limit=0", "limit"),
            ("limit=-5", "limit"),
            ("limit=%2B5", "limit"),
            ("sort=random", "sort"),
            ("after=zzz", "after"),
            ("after=n.5.7&sort=name", "after"),
            ("kind=document", "kind"),
            ("folder=a/../b", "folder"),
            ("from=yesterday", "from"),
            ("to=20260131", "to"),
            ("min_size=99999999999999999999", "min_size"),
            ("min_size=1&min_size=2", "min_size"),
            ("collection=0", "collection"),
            ("trashed=yes", "trashed"),
            ("codec=%27%3B--", "codec"),
        ] {
            assert_eq!(
                AssetQuery::parse(query).map_err(|error| error.key),
                Err(key.into()),
                "{query}"
            );
        }
        let long = "q=".to_owned() + &"x".repeat(QUERY_MAX_BYTES);
        assert_eq!(AssetQuery::parse(&long).unwrap_err().key, "query");
        let many: String = (0..=VALUES_MAX).map(|n| format!("tag={n}&")).collect();
        assert_eq!(AssetQuery::parse(&many).unwrap_err().key, "tag");
        assert_eq!(AssetFilter::parse("q=a&sort=name").unwrap_err().key, "sort");
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer(query in "\\PC{0,200}") {
            let _ = AssetQuery::parse(&query);
        }

        #[test]
        fn what_was_understood_is_a_fixed_point(
            query in "((q|kind|tag|folder|camera|codec|from|to|min_size|max_duration|limit|sort|after|trashed)=(image|video|a|b%20c|2026-02-03|17|1|name|longest|n\\.1\\.2|a\\.61\\.2)&){0,8}"
        ) {
            if let Ok(parsed) = AssetQuery::parse(&query) {
                let canonical = parsed.to_query();
                let again = AssetQuery::parse(&canonical);
                prop_assert_eq!(again.as_ref().map(AssetQuery::to_query), Ok(canonical));
                prop_assert_eq!(again, Ok(parsed));
            }
        }
    }
}
