//! `/assets`: the newest assets, a page at a time.

use domain::{Asset, Page, Thumb};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;

use super::refresh::refresh_while;
use crate::{
    api::{self, PageError},
    components::{AssetCard, ErrorNotice},
};

type Outcome = Result<Page<Asset>, PageError>;

/// `/assets?limit=&after=`
#[component]
pub fn AssetsPage() -> impl IntoView {
    let query = use_query_map();
    let address = Memo::new(move |_| {
        query.with(|query| PageAddress { limit: query.get("limit"), after: query.get("after") })
    });
    let outcome = Resource::new(
        move || address.get(),
        |address| api::list_assets(address.limit, address.after),
    );
    refresh_while(outcome, |page| page.items.iter().any(|asset| asset.thumb == Thumb::Pending));
    view! {
        <Title text="Assets" />
        <header class="page-head">
            <h1>"Assets"</h1>
        </header>
        <Transition fallback=|| {
            view! { <p class="loading">"Loading…"</p> }
        }>
            {move || {
                outcome
                    .get()
                    .map(|outcome| view! { <Outcome outcome address=address.get_untracked() /> })
            }}
        </Transition>
    }
}

/// What the address of a page of assets says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct PageAddress {
    limit: Option<String>,
    after: Option<String>,
}

impl PageAddress {
    fn of(limit: Option<u32>, after: Option<&str>) -> String {
        match (limit, after) {
            (None, None) => "/assets".to_owned(),
            (Some(limit), None) => format!("/assets?limit={limit}"),
            (None, Some(after)) => format!("/assets?after={after}"),
            (Some(limit), Some(after)) => format!("/assets?limit={limit}&after={after}"),
        }
    }

    fn limit(&self) -> Option<u32> {
        self.limit.as_deref()?.parse().ok()
    }

    /// The first page of the same length.
    fn first(&self) -> String {
        Self::of(self.limit(), None)
    }

    /// The page after `cursor`, of the same length. Cursors need no escaping.
    fn next(&self, cursor: &str) -> String {
        Self::of(self.limit(), Some(cursor))
    }

    fn is_first(&self) -> bool {
        self.after.as_deref().is_none_or(str::is_empty)
    }
}

#[component]
fn Outcome(outcome: Outcome, address: PageAddress) -> impl IntoView {
    match outcome {
        Err(error) => view! { <ErrorNotice error /> }.into_any(),
        Ok(page) if page.items.is_empty() && address.is_first() => {
            view! { <NoAssets /> }.into_any()
        }
        Ok(page) => view! { <Grid page address /> }.into_any(),
    }
}

#[component]
fn NoAssets() -> impl IntoView {
    view! {
        <section class="notice" data-testid="empty-state">
            <h2>"No assets yet"</h2>
            <p>"Bring in a folder of pictures, videos or sounds:"</p>
            <p>
                <code>"damwall import <folder>"</code>
            </p>
            <p>"They show up here, newest first, as soon as they are in."</p>
        </section>
    }
}

#[component]
fn Grid(page: Page<Asset>, address: PageAddress) -> impl IntoView {
    let next = page.next_cursor.map(|cursor| address.next(&cursor.to_string()));
    let first = (!address.is_first()).then(|| address.first());
    let nothing = page.items.is_empty().then(|| {
        view! { <p class="notice">"There are no older assets."</p> }
    });
    let cards =
        page.items.into_iter().map(|asset| view! { <AssetCard asset /> }).collect::<Vec<_>>();
    view! {
        {nothing}
        <ul class="asset-grid" data-testid="asset-grid">
            {cards}
        </ul>
        <nav class="pager" aria-label="Pages">
            {first
                .map(|href| {
                    view! {
                        <a class="button" href=href data-testid="first-page">
                            "First page"
                        </a>
                    }
                })}
            {next
                .map(|href| {
                    view! {
                        <a class="button" href=href rel="next" data-testid="next-page">
                            "Next page"
                        </a>
                    }
                })}
        </nav>
    }
}

#[cfg(test)]
mod tests {
    use domain::{AssetId, AssetKind, Cursor};

    use super::*;

    fn html(outcome: Outcome, address: PageAddress) -> String {
        Owner::new().with(|| view! { <Outcome outcome address /> }.to_html())
    }

    fn asset(name: &str, thumb: Thumb) -> Asset {
        Asset {
            id: AssetId::from_digest([7; 32]),
            key: "a/key".into(),
            name: name.into(),
            size_bytes: 1_000,
            hash: "07".repeat(32),
            mime: "video/mp4".into(),
            kind: AssetKind::Video,
            folder: "takes".into(),
            labels: Vec::new(),
            created_at: jiff::Timestamp::UNIX_EPOCH,
            source_node: None,
            origin_path: None,
            external_ref: None,
            width_px: Some(1920),
            height_px: Some(1080),
            duration_ms: Some(83_000),
            thumb,
        }
    }

    #[test]
    fn newcomer_is_told_how_to_import() {
        let empty = Page { items: Vec::new(), next_cursor: None };
        let html = html(Ok(empty), PageAddress::default());
        assert!(html.contains(r#"data-testid="empty-state""#), "{html}");
        assert!(html.contains("damwall import"), "{html}");
    }

    #[test]
    fn page_past_the_end_is_not_an_empty_library() {
        let empty = Page { items: Vec::new(), next_cursor: None };
        let address = PageAddress { limit: None, after: Some("1.ab".into()) };
        let html = html(Ok(empty), address);
        assert!(!html.contains("empty-state"), "{html}");
        assert!(html.contains(r#"href="/assets""#), "{html}");
    }

    #[test]
    fn grid_links_every_asset_and_the_next_page() {
        let thumb = Thumb::Ready {
            url_320: "/assets/thumbs/s".into(),
            url_640: "/assets/thumbs/l".into(),
            width_px: 320,
            height_px: 180,
        };
        let items = vec![
            asset("a <b> & c.mp4", thumb),
            asset("bad.mp4", Thumb::Failed { reason: "cut short".into() }),
        ];
        let cursor = Cursor { created_ms: 5, id: AssetId::from_digest([7; 32]) };
        let page = Page { items, next_cursor: Some(cursor.clone()) };
        let html = html(Ok(page), PageAddress { limit: Some("2".into()), after: None });
        assert_eq!(html.matches(r#"data-testid="asset-card""#).count(), 2, "{html}");
        assert!(html.contains("/assets/thumbs/s 320w, /assets/thumbs/l 640w"), "{html}");
        assert!(html.contains("a &lt;b&gt; &amp; c.mp4"), "{html}");
        assert!(html.contains("video 1:23"), "{html}");
        assert!(html.contains(r#"title="cut short""#), "{html}");
        assert!(html.contains(&format!("limit=2&amp;after={cursor}")), "{html}");
        // The policy of every page forbids it.
        assert!(!html.contains(" style="), "{html}");
    }

    #[test]
    fn error_is_a_sentence() {
        let html = html(
            Err(PageError::BadRequest("limit must be 1 to 500.".into())),
            PageAddress::default(),
        );
        assert!(html.contains("limit must be 1 to 500."), "{html}");
        assert!(!html.contains("by itself"), "{html}");
    }

    #[test]
    fn pager_keeps_the_length_and_nothing_else_of_the_address() {
        let address = PageAddress { limit: Some("24".into()), after: Some("x".into()) };
        assert_eq!(address.first(), "/assets?limit=24");
        assert_eq!(address.next("1.ab"), "/assets?limit=24&after=1.ab");
        let odd = PageAddress { limit: Some("<script>".into()), after: None };
        assert_eq!(odd.first(), "/assets");
        assert!(odd.is_first());
    }
}
