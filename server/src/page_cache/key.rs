//! Which requests have a kept answer, and what it depends on. Pure.
//!
//! A [`Key`] is all that a render gets: who asks as far as pages differ by it, the path, and the query
//! keys that the route knows, in one order. Nothing else of the asker's request (`Host`, `X-Forwarded-*`,
//! `Accept-Language`, `Cookie`, other query keys) reaches the render, so nothing else can be stored in its
//! answer: there is no way to poison it.
//!
//! A page drops query keys that it does not know, for links come with all sorts of them appended. The API
//! refuses them, so such a request is passed on to its handler and not kept.

use std::{borrow::Cow, fmt, sync::Arc};

use app::ssr::Access;
use domain::{AssetId, CollectionId, Role};
use url::form_urlencoded;

/// Longer queries are passed on.
const QUERY_MAX_BYTES: usize = 2048;

/// Query key of what became of a form, as the page that it leads back to says it.
const NOTICE: &str = "notice";

/// What kind of answer a route gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTML.
    Page,
    /// JSON.
    Api,
}

struct Route {
    /// The whole path, or what stands before an id.
    path: &'static str,
    /// An id, and what stands behind it.
    id: Option<(Id, &'static str)>,
    kind: Kind,
    query: &'static [&'static str],
}

/// What a path ends in.
#[derive(Clone, Copy)]
enum Id {
    Asset,
    Collection,
}

impl Id {
    fn is(self, text: &str) -> bool {
        match self {
            Self::Asset => text.parse::<AssetId>().is_ok(),
            // Anything else that is read as its number would be a second page of the same.
            Self::Collection => text.parse::<CollectionId>().is_ok_and(|id| id.to_string() == text),
        }
    }
}

/// What an address of assets may say, in the order of a key; those ending in `*` may be repeated. What
/// filters comes first.
const ASSETS: &[&str] = &[
    "q",
    "kind*",
    "tag*",
    "folder*",
    "camera*",
    "codec*",
    "from",
    "to",
    "min_size",
    "max_size",
    "min_duration",
    "max_duration",
    "min_height",
    "max_height",
    "min_width",
    "max_width",
    "collection",
    "trashed",
    "failed",
    "sort",
    "limit",
    "after",
];

/// What an address of counts may say.
const FILTER: &[&str] = ASSETS.split_at(ASSETS.len() - 3).0;

/// Every route with kept answers. What it answers must be made from what it notes in `MadeFrom` alone.
const ROUTES: &[Route] = &[
    Route { path: "/assets", id: None, kind: Kind::Page, query: ASSETS },
    Route { path: "/assets/trash", id: None, kind: Kind::Page, query: ASSETS },
    Route { path: "/assets/collections", id: None, kind: Kind::Page, query: &[] },
    Route {
        path: "/assets/collections/",
        id: Some((Id::Collection, "")),
        kind: Kind::Page,
        query: ASSETS,
    },
    Route { path: "/assets/", id: Some((Id::Asset, "")), kind: Kind::Page, query: &[] },
    Route { path: "/api/assets", id: None, kind: Kind::Api, query: ASSETS },
    Route { path: "/api/assets/", id: Some((Id::Asset, "")), kind: Kind::Api, query: &[] },
    Route { path: "/api/assets/", id: Some((Id::Asset, "/metadata")), kind: Kind::Api, query: &[] },
    Route { path: "/api/buckets", id: None, kind: Kind::Api, query: FILTER },
    Route { path: "/api/folders", id: None, kind: Kind::Api, query: &["prefix"] },
    Route { path: "/api/labels", id: None, kind: Kind::Api, query: &[] },
    Route { path: "/api/facets", id: None, kind: Kind::Api, query: &[] },
    Route { path: "/api/collections", id: None, kind: Kind::Api, query: &[] },
    Route {
        path: "/api/collections/",
        id: Some((Id::Collection, "")),
        kind: Kind::Api,
        query: &[],
    },
    Route { path: "/api/filters", id: None, kind: Kind::Api, query: &[] },
    Route {
        path: "/v1/assets",
        id: None,
        kind: Kind::Api,
        query: &["folder", "page", "page_size"],
    },
    Route { path: "/v1/folders", id: None, kind: Kind::Api, query: &["prefix"] },
];

/// What is asked for: a path with its query, written in the one way that stands for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: Cow<'a, str>,
}

impl<'a> Target<'a> {
    /// `None` when the answer is not one to keep; the request is then passed on as it is.
    pub(crate) fn parse(path_and_query: &'a str) -> Option<Self> {
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, query),
            None => (path_and_query, ""),
        };
        let route = ROUTES.iter().find(|route| match route.id {
            None => path == route.path,
            Some((id, rest)) => path
                .strip_prefix(route.path)
                .and_then(|text| text.strip_suffix(rest))
                .is_some_and(|text| id.is(text)),
        })?;
        let kind = route.kind;
        if path_and_query.len() == path.len() || is_canonical(route.query, query) {
            return Some(Self { kind, text: Cow::Borrowed(path_and_query) });
        }
        let query = canonical_query(route, query)?;
        let text = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        Some(Self { kind, text: Cow::Owned(text) })
    }
}

/// The place of a key in the list, and whether it may be repeated.
fn place(known: &[&str], key: &str) -> Option<(usize, bool)> {
    known.iter().enumerate().find_map(|(place, known)| match known.strip_suffix('*') {
        Some(known) => (known == key).then_some((place, true)),
        None => (*known == key).then_some((place, false)),
    })
}

/// Whether a query is as [`canonical_query`] would write it, as most are: found without any copy.
fn is_canonical(known: &[&str], query: &str) -> bool {
    // What `form_urlencoded` writes as it is.
    let is_plain =
        |b: u8| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_');
    let mut last: Option<(usize, &str)> = None;
    !query.is_empty()
        && query.len() <= QUERY_MAX_BYTES
        && query.split('&').all(|pair| {
            let Some((key, value)) = pair.split_once('=') else { return false };
            let Some((place, is_list)) = place(known, key) else { return false };
            let follows = last.is_none_or(|(last_place, last_value)| {
                last_place < place || (last_place == place && is_list && last_value < value)
            });
            last = Some((place, value));
            follows && !value.is_empty() && value.bytes().all(is_plain)
        })
}

/// `None` for what two readers of a query could take for two things: a key twice that has one value.
fn canonical_query(route: &Route, query: &str) -> Option<String> {
    // What is no text is refused by the handler, in words.
    let is_text = percent_encoding::percent_decode_str(query).decode_utf8().is_ok();
    if query.len() > QUERY_MAX_BYTES || !is_text {
        return None;
    }
    let mut pairs: Vec<(usize, Cow<'_, str>)> = Vec::new();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match place(route.query, &key) {
            Some((place, false)) if pairs.iter().any(|pair| pair.0 == place) => return None,
            // For a page, an empty value is no value.
            Some(_) if value.is_empty() && route.kind == Kind::Page => {}
            Some((place, _)) => pairs.push((place, value)),
            // What became of a form is for one asker.
            None if key == NOTICE => return None,
            None if route.kind == Kind::Page => {}
            None => return None,
        }
    }
    pairs.sort();
    pairs.dedup();
    let mut text = form_urlencoded::Serializer::new(String::new());
    for (place, value) in &pairs {
        text.append_pair(route.query[*place].trim_end_matches('*'), value);
    }
    Some(text.finish())
}

/// Name of a kept answer: the shape of who asks, and a [`Target`]. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key(Arc<str>);

impl Key {
    /// The text of the key, without making one: for a look.
    pub(crate) fn text(access: Access, target: &Target<'_>) -> String {
        let role = match access.role {
            Role::Viewer => 'v',
            Role::Operator => 'o',
            Role::Admin => 'a',
        };
        let login = if access.token_login { 't' } else { '-' };
        let mut text = String::with_capacity(3 + target.text.len());
        text.extend([role, login, ' ']);
        text.push_str(&target.text);
        text
    }

    /// Reads a text back, as from a file; `None` when this version would not write it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let key = Self(text.into());
        let (access, target) = (key.access()?, Target::parse(key.target())?);
        (Self::text(access, &target) == text).then_some(key)
    }

    /// Of a text that [`Key::text`] wrote.
    pub(crate) fn from_text(text: String) -> Self {
        Self(text.into())
    }

    /// Who the answer is for.
    pub(crate) fn access(&self) -> Option<Access> {
        let (role, login) = match self.0.as_bytes() {
            [role, login, b' ', ..] => (role, login),
            _ => return None,
        };
        let role = match role {
            b'v' => Role::Viewer,
            b'o' => Role::Operator,
            b'a' => Role::Admin,
            _ => return None,
        };
        match login {
            b't' => Some(Access { role, token_login: true }),
            b'-' => Some(Access { role, token_login: false }),
            _ => None,
        }
    }

    /// What is asked for.
    pub(crate) fn target(&self) -> &str {
        self.0.get(3..).unwrap_or_default()
    }

    /// What kind of answer it is.
    pub(crate) fn kind(&self) -> Kind {
        if self.target().starts_with("/assets") { Kind::Page } else { Kind::Api }
    }
}

impl std::borrow::Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(asked: &str, expected: Option<&str>) {
        let target = Target::parse(asked);
        assert_eq!(target.as_ref().map(|target| &*target.text), expected, "{asked}");
    }

    #[test]
    fn one_address_stands_for_all_that_ask_for_the_same() {
        for (asked, expected) in [
            ("/assets", "/assets"),
            ("/assets?", "/assets"),
            ("/assets?limit=100", "/assets?limit=100"),
            ("/assets?after=5.ab&limit=100", "/assets?limit=100&after=5.ab"),
            ("/assets?limit=%31%300", "/assets?limit=100"),
            ("/assets?limit=", "/assets"),
            ("/assets?utm_source=x&limit=100&fbclid=1", "/assets?limit=100"),
            ("/assets?kind=video&kind=image&kind=video", "/assets?kind=image&kind=video"),
            ("/assets?q=a+b", "/assets?q=a+b"),
            ("/assets?q=a%20b", "/assets?q=a+b"),
            ("/assets?q=%3Cscript%3E", "/assets?q=%3Cscript%3E"),
            ("/assets/trash?utm=1&limit=5", "/assets/trash?limit=5"),
            ("/assets/collections?limit=5", "/assets/collections"),
            ("/assets/collections/7?sort=name&q=a", "/assets/collections/7?q=a&sort=name"),
            ("/api/assets?after=&limit=5", "/api/assets?limit=5&after="),
        ] {
            check(asked, Some(expected));
        }
    }

    #[test]
    fn what_is_not_listed_or_not_clear_is_passed_on() {
        let long = format!("/assets?q={}", "a".repeat(3000));
        for asked in [
            "/",
            "/live",
            "/assets/",
            "/assets/sha256:AB",
            "/assets/upload",
            "/assets/trash/",
            "/assets/trash?notice=5",
            "/assets/collections/",
            "/assets/collections/0",
            "/assets/collections/07",
            "/assets/collections/+7",
            "/assets/collections/x",
            "/assets%2F",
            "//assets",
            "/assets?limit=1&limit=2",
            "/api/assets?utm_source=x",
            "/api/cameras",
            "/fn/assets",
            long.as_str(),
        ] {
            check(asked, None);
        }
        let id = AssetId::from_digest([7; 32]);
        check(&format!("/assets/{}?utm=1", id.as_str()), Some(&format!("/assets/{}", id.as_str())));
        for (rest, is_kept) in [("/metadata", true), ("/download", false), ("/renditions", false)] {
            let path = format!("/api/assets/{}{rest}", id.as_str());
            check(&path, is_kept.then_some(&*path));
        }
        check("/v1/assets?page_size=5&page=2", Some("/v1/assets?page=2&page_size=5"));
        check("/api/collections/7/assets", None);
    }

    #[test]
    fn roles_and_logins_have_keys_of_their_own() {
        let target = Target::parse("/assets?limit=5").unwrap();
        let mut texts = Vec::new();
        for role in [Role::Viewer, Role::Operator, Role::Admin] {
            for token_login in [false, true] {
                let access = Access { role, token_login };
                let text = Key::text(access, &target);
                let key = Key::parse(&text).unwrap();
                assert_eq!((key.access(), key.target()), (Some(access), "/assets?limit=5"));
                texts.push(text);
            }
        }
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), 6);
    }

    #[test]
    fn a_text_that_is_no_key_is_not_read_as_one() {
        for text in
            ["", "a", "a- ", "x- /assets", "a? /assets", "a- /live", "a- /assets?b=1", "a-/assets"]
        {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_canonical_address_is_its_own(query in "[a-z_]{1,8}=[ -~]{0,12}(&[a-z_]{1,8}=[ -~]{0,12}){0,4}") {
            let asked = format!("/assets?{query}");
            if let Some(target) = Target::parse(&asked) {
                let again = Target::parse(&target.text).unwrap();
                prop_assert_eq!(&again.text, &target.text);
            }
        }

        #[test]
        fn the_short_way_agrees_with_the_long_one(
            query in "((kind|limit|after|tag|q|x)=[a-c1-3.+%]{0,3}&){0,4}(kind|limit|sort)=[a-c1-3.]{0,3}",
        ) {
            if is_canonical(ASSETS, &query) {
                for path in ["/assets", "/api/assets"] {
                    let route = ROUTES.iter().find(|route| route.path == path).unwrap();
                    prop_assert_eq!(canonical_query(route, &query), Some(query.clone()));
                }
            }
        }

        #[test]
        fn order_does_not_matter(limit in "[0-9]{1,4}", q in "[ -~]{1,10}", kind in "[a-z]{1,5}") {
            let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pairs = [format!("limit={limit}"), format!("q={}", encode(&q)), format!("kind={kind}")];
            let [a, b, c] = &pairs;
            let texts = [format!("{a}&{b}&{c}"), format!("{c}&{b}&{a}"), format!("{b}&x=1&{c}&{a}")]
                .map(|query| Target::parse(&format!("/assets?{query}")).unwrap().text.into_owned());
            prop_assert_eq!(&texts[0], &texts[1]);
            prop_assert_eq!(&texts[0], &texts[2]);
        }

        #[test]
        fn any_address_is_read(asked in "[ -~]{0,60}") {
            Target::parse(&asked);
            Key::parse(&asked);
        }
    }
}
