//! `/assets`: the newest assets, a page at a time.

use std::time::Duration;

use domain::{Asset, Page, Thumb};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;

use crate::{
    api::{self, PageError},
    components::{AssetCard, ErrorNotice},
};

/// A page with something unfinished is looked at again after this long.
const REFRESH: Duration = Duration::from_secs(3);

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
    refresh_while_unfinished(outcome);
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

/// Asks again after a while, as long as thumbnails are being made or the server is away.
fn refresh_while_unfinished(outcome: Resource<Outcome>) {
    let timer = StoredValue::new(None::<TimeoutHandle>);
    let stop = move || {
        if let Some(Some(timer)) = timer.try_update_value(Option::take) {
            timer.clear();
        }
    };
    Effect::new(move |_| {
        stop();
        let unfinished = outcome.with(|outcome| match outcome {
            Some(Ok(page)) => page.items.iter().any(|asset| asset.thumb == Thumb::Pending),
            Some(Err(error)) => error.is_passing(),
            None => false,
        });
        if unfinished {
            timer.set_value(set_timeout_with_handle(move || outcome.refetch(), REFRESH).ok());
        }
    });
    on_cleanup(stop);
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
    use super::*;

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
