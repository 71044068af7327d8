//! Addresses of lists of assets: where a list is, and what filters it has.
//!
//! Must not: ask the server, or know how a list looks.

use domain::{AssetFilter, AssetQuery, Bounds, Collection, CollectionId, QueryError};
use leptos_router::location::Url;

use crate::{
    api::{Notice, take_notice},
    format,
};

/// What the address of a list says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListAddress {
    /// What is asked for; why that is not clear otherwise.
    pub query: Result<AssetQuery, String>,
    /// As it is sent to the server: one spelling for each list.
    pub text: String,
    /// What a form did that led here.
    pub notice: Option<Notice>,
}

impl ListAddress {
    /// Reads a path and what stands after its `?`.
    pub fn parse(path: &str, search: &str) -> Self {
        let (search, notice) = take_notice(search);
        let place = match path.strip_prefix("/assets/") {
            Some("trash") => "trashed=1&".to_owned(),
            Some(rest) => match rest.strip_prefix("collections/") {
                Some(id) => format!("collection={id}&"),
                None => String::new(),
            },
            None => String::new(),
        };
        let text = format!("{place}{search}");
        match AssetQuery::parse(&text) {
            Ok(query) => Self { text: query.to_query(), query: Ok(query), notice },
            Err(error) => Self { text, query: Err(sentence(&error)), notice },
        }
    }

    /// What is asked for; everything when that is not clear.
    pub fn query(&self) -> AssetQuery {
        self.query.clone().unwrap_or_default()
    }
}

/// A query's fault for the person who typed it.
pub fn sentence(error: &QueryError) -> String {
    format!("The address is not understood: {error}.")
}

/// Path of a list, without its query.
pub fn list_path(filter: &AssetFilter) -> String {
    match filter.collection {
        _ if filter.trashed => "/assets/trash".to_owned(),
        Some(id) => format!("/assets/collections/{id}"),
        None => "/assets".to_owned(),
    }
}

/// Path and query of a list.
pub fn list_href(query: &AssetQuery) -> String {
    let path = list_path(&query.filter);
    let mut rest = query.clone();
    // The path says it.
    if rest.filter.trashed {
        rest.filter.trashed = false;
    } else {
        rest.filter.collection = None;
    }
    match rest.to_query() {
        empty if empty.is_empty() => path,
        rest => format!("{path}?{rest}"),
    }
}

/// The list with another filter, from its first page on.
pub fn filtered(query: &AssetQuery, change: impl FnOnce(&mut AssetFilter)) -> String {
    let mut query = AssetQuery { after: None, ..query.clone() };
    change(&mut query.filter);
    list_href(&query)
}

/// One filter of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chip {
    /// What it lets through.
    pub text: String,
    /// The list without it.
    pub href: String,
}

/// Every filter of a list but those that its path says.
pub fn chips(query: &AssetQuery) -> Vec<Chip> {
    let mut chips = Vec::new();
    let filter = &query.filter;
    let mut add = |text: String, drop: &dyn Fn(&mut AssetFilter)| {
        chips.push(Chip { text, href: filtered(query, drop) });
    };
    if let Some(text) = &filter.text {
        add(format!("“{text}”"), &|filter| filter.text = None);
    }
    for kind in &filter.kinds {
        add(kind.as_str().to_owned(), &|filter| filter.kinds.retain(|one| one != kind));
    }
    for tag in &filter.tags {
        add(format!("label {tag}"), &|filter| filter.tags.retain(|one| one != tag));
    }
    for folder in &filter.folders {
        add(format!("in {folder}"), &|filter| filter.folders.retain(|one| one != folder));
    }
    for camera in &filter.cameras {
        add(format!("camera {camera}"), &|filter| filter.cameras.retain(|one| one != camera));
    }
    for codec in &filter.codecs {
        add(codec.clone(), &|filter| filter.codecs.retain(|one| one != codec));
    }
    match (filter.from, filter.to) {
        (Some(from), Some(to)) if from == to => add(from.to_string(), &without_dates),
        (Some(from), Some(to)) => add(format!("{from} to {to}"), &without_dates),
        (Some(from), None) => add(format!("since {from}"), &without_dates),
        (None, Some(to)) => add(format!("until {to}"), &without_dates),
        (None, None) => {}
    }
    let px = |px: u64| format!("{px} px");
    if let Some(text) = bounds(filter.size_bytes, format::bytes) {
        add(text, &|filter| filter.size_bytes = Bounds::default());
    }
    if let Some(text) = bounds(filter.duration_ms, format::duration) {
        add(text, &|filter| filter.duration_ms = Bounds::default());
    }
    if let Some(text) = bounds(filter.width_px, px) {
        add(format!("{text} wide"), &|filter| filter.width_px = Bounds::default());
    }
    if let Some(text) = bounds(filter.height_px, px) {
        add(format!("{text} high"), &|filter| filter.height_px = Bounds::default());
    }
    if filter.failed {
        add("failed jobs".to_owned(), &|filter| filter.failed = false);
    }
    if filter.trashed && filter.collection.is_some() {
        add("of one collection".to_owned(), &|filter| filter.collection = None);
    }
    chips
}

/// The login, which leads back to this page. `search` is what stands after the `?` of its address.
pub fn login_href(path: &str, search: &str) -> String {
    let page = match search.trim_start_matches('?') {
        "" => path.to_owned(),
        search => format!("{path}?{search}"),
    };
    format!("/login?next={}", Url::escape(&page))
}

/// Drops the days.
pub fn without_dates(filter: &mut AssetFilter) {
    (filter.from, filter.to) = (None, None);
}

fn bounds(bounds: Bounds, write: impl Fn(u64) -> String) -> Option<String> {
    match (bounds.min, bounds.max) {
        (Some(min), Some(max)) => Some(format!("{} to {}", write(min), write(max))),
        (Some(min), None) => Some(format!("at least {}", write(min))),
        (None, Some(max)) => Some(format!("at most {}", write(max))),
        (None, None) => None,
    }
}

/// What a list is called.
pub fn list_title(filter: &AssetFilter, collections: &[Collection]) -> String {
    let of = |id: CollectionId| collections.iter().find(|one| one.id == id);
    match filter.collection {
        _ if filter.trashed => "Trash".to_owned(),
        Some(id) => of(id).map_or_else(|| format!("Collection {id}"), |one| one.title.clone()),
        None if filter.failed => "Failed jobs".to_owned(),
        None => "Assets".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(path: &str, search: &str) -> AssetQuery {
        ListAddress::parse(path, search).query.unwrap()
    }

    #[test]
    fn a_list_has_one_address_and_says_where_it_is() {
        for (path, search, href) in [
            ("/assets", "", "/assets"),
            ("/assets", "kind=video&kind=image&q=", "/assets?kind=image&kind=video"),
            ("/assets", "trashed=1&q=a", "/assets/trash?q=a"),
            ("/assets/trash", "q=a", "/assets/trash?q=a"),
            ("/assets", "collection=7", "/assets/collections/7"),
            ("/assets/collections/7", "tag=x", "/assets/collections/7?tag=x"),
            ("/assets/trash", "collection=7", "/assets/trash?collection=7"),
        ] {
            assert_eq!(list_href(&query(path, search)), href);
        }
        assert!(ListAddress::parse("/assets/collections/none", "").query.is_err());
        let odd = ListAddress::parse("/assets", "limit=0");
        assert!(odd.query.unwrap_err().contains("limit"));
    }

    #[test]
    fn every_chip_leads_to_the_list_without_it() {
        let all = "q=tour&kind=image&kind=video&tag=a&folder=x%2Fy&camera=door&codec=h264&from=2026-01-01&to=2026-01-31&min_size=1000000&max_duration=60000&min_height=720&failed=1&sort=name&limit=20&after=a.61.7";
        let query = query("/assets", all);
        let chips = chips(&query);
        let texts: Vec<&str> = chips.iter().map(|chip| chip.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "“tour”",
                "image",
                "video",
                "label a",
                "in x/y",
                "camera door",
                "h264",
                "2026-01-01 to 2026-01-31",
                "at least 1.0 MB",
                "at most 1:00",
                "at least 720 px high",
                "failed jobs",
            ]
        );
        assert!(chips.iter().all(|chip| !chip.href.contains("after=")));
        assert!(chips[1].href.contains("kind=video") && !chips[1].href.contains("kind=image"));
        assert!(chips[0].href.contains("sort=name&limit=20"), "{}", chips[0].href);
    }

    // Without the server's features the browser is asked to encode it.
    #[cfg(feature = "ssr")]
    #[test]
    fn login_leads_back_to_the_page_and_its_query() {
        assert_eq!(login_href("/live", ""), "/login?next=%2Flive");
        let next = "/login?next=%2Fassets%3Fq%3Da%2520b%26kind%3Dimage";
        for search in ["q=a%20b&kind=image", "?q=a%20b&kind=image"] {
            assert_eq!(login_href("/assets", search), next);
        }
    }

    proptest! {
        #[test]
        fn any_address_is_read(path in "/assets(/trash|/collections/\\PC{0,8})?", search in "\\PC{0,120}") {
            let address = ListAddress::parse(&path, &search);
            if let Ok(query) = address.query {
                let href = list_href(&query);
                let (path, search) = href.split_once('?').unwrap_or((&href, ""));
                prop_assert_eq!(ListAddress::parse(path, search).query, Ok(query));
            }
        }
    }
}
