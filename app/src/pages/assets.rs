//! `/assets`, `/assets/trash` and `/assets/collections/{id}`: lists of assets, a page at a time.
//!
//! Whatever is changed here is changed by plain forms, so that it works without JavaScript, too.

mod bulk;
mod finder;
mod sidebar;

use domain::{AssetQuery, JobListing, JobStatus, Role, Thumb};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_location;

use self::{bulk::Bulk, finder::Finder, sidebar::Sidebar};
use crate::{
    address::{self, ListAddress},
    api::{self, Card, Library, Listing, PageError},
    browser::Selection,
    components::{AssetCard, ErrorNotice, JobRow, NoticeBar, Ticking, is_over},
    format,
    refresh::{FollowsJobs, News, follow_jobs},
};

/// Any list of assets.
#[component]
pub fn AssetsPage() -> impl IntoView {
    let location = use_location();
    let (path, search) = (location.pathname, location.search);
    let at = Memo::new(move |_| {
        path.with(|path| search.with(|search| ListAddress::parse(path, search)))
    });
    let text = Memo::new(move |_| at.with(|at| at.text.clone()));
    // The same on every page of a list.
    let library_text = Memo::new(move |_| {
        at.with(|at| match &at.query {
            Ok(query) => AssetQuery { after: None, ..query.clone() }.to_query(),
            Err(_) => String::new(),
        })
    });
    let listing = api::read(move || text.get(), api::list_assets);
    let library = api::read(move || library_text.get(), api::read_library);
    let selection = Selection::new();
    let may_listen = move || {
        library.with(
            |library| matches!(library, Some(Ok(library)) if library.role.includes(Role::Operator)),
        )
    };
    follow_jobs(listing, may_listen, move || selection.is_begun());
    let notice = move || {
        at.with(|at| {
            let back = address::list_href(&at.query());
            view! { <NoticeBar notice=at.notice back /> }
        })
    };
    view! {
        {notice}
        <Transition fallback=|| {
            view! { <p class="loading">"Loading…"</p> }
        }>
            {move || {
                let library = library.get()?.unwrap_or_default();
                let query = at.with_untracked(ListAddress::query);
                Some(view! { <Head query=query.clone() library=library.clone() /> })
            }}
            <div class="library">
                {move || {
                    let library = library.get()?.unwrap_or_default();
                    let query = at.with_untracked(ListAddress::query);
                    Some(view! { <Sidebar query library /> })
                }}
                <div class="library-list">
                    {move || {
                        let (listing, library) = (listing.get()?, library.get()?);
                        let library = library.unwrap_or_default();
                        let query = at.with_untracked(ListAddress::query);
                        Some(view! { <Outcome listing library query selection /> })
                    }}
                </div>
            </div>
        </Transition>
    }
}

/// Title, the other lists, and what to search for.
#[component]
fn Head(query: AssetQuery, library: Library) -> impl IntoView {
    let title = address::list_title(&query.filter, &library.collections);
    view! {
        <Title text=title.clone() />
        <header class="page-head">
            <h1 data-testid="list-title">{title}</h1>
            <Tabs query=query.clone() />
        </header>
        <Finder query library />
    }
}

#[component]
fn Tabs(query: AssetQuery) -> impl IntoView {
    let filter = &query.filter;
    let here = match filter.collection {
        _ if filter.trashed => "/assets/trash",
        Some(_) => "/assets/collections",
        None if filter.failed => "/assets?failed=1",
        None => "/assets",
    };
    let tabs = [
        ("/assets", "All"),
        ("/assets/collections", "Collections"),
        ("/assets/trash", "Trash"),
        ("/assets?failed=1", "Failed"),
    ];
    let tabs: Vec<_> = tabs
        .into_iter()
        .map(|(href, text)| {
            let current = (href == here).then_some("true");
            view! {
                <a class="tab" href=href aria-current=current>
                    {text}
                </a>
            }
        })
        .collect();
    view! {
        <nav class="tabs" aria-label="Lists">
            {tabs}
        </nav>
    }
}

#[component]
fn Outcome(
    listing: Result<Listing, PageError>,
    library: Library,
    query: AssetQuery,
    selection: Selection,
) -> impl IntoView {
    match listing {
        Err(error) => view! { <ErrorNotice error /> }.into_any(),
        Ok(mut listing) => {
            let jobs = std::mem::take(&mut listing.jobs);
            let list = match listing.total {
                0 => view! { <Nothing query role=library.role /> }.into_any(),
                _ => view! { <Page listing library query selection /> }.into_any(),
            };
            view! {
                <UnderWay jobs />
                {list}
            }
            .into_any()
        }
    }
}

/// Jobs that wait or run: what they become, this list will show.
#[component]
fn UnderWay(jobs: Vec<JobListing>) -> impl IntoView {
    let rows: Vec<_> = jobs
        .into_iter()
        .map(|JobListing { job, asset_name }| view! { <JobRow job asset_name /> })
        .collect();
    (!rows.is_empty()).then(|| {
        view! {
            <section class="under-way" data-testid="under-way">
                <h2>"Under way"</h2>
                <ul class="side-list">{rows}</ul>
            </section>
        }
    })
}

impl FollowsJobs for Listing {
    fn is_waiting(&self) -> bool {
        !self.jobs.is_empty() || self.items.iter().any(|card| card.thumb == Thumb::Pending)
    }

    fn take(&mut self, job: &JobStatus) -> News {
        let mut shown = self.jobs.iter_mut().map(|listing| &mut listing.job);
        if let Some(shown) = shown.find(|one| one.asset == job.asset && one.kind == job.kind)
            && !is_over(job)
        {
            shown.clone_from(job);
            return News::Shown;
        }
        let waits = |card: &Card| card.thumb == Thumb::Pending && card.id == job.asset;
        match is_over(job) && (!self.jobs.is_empty() || self.items.iter().any(waits)) {
            true => News::ReadAgain,
            false => News::OfNoConcern,
        }
    }
}

/// Why a list is empty, and a way out.
#[component]
fn Nothing(query: AssetQuery, role: Role) -> impl IntoView {
    let filter = &query.filter;
    if filter.is_empty() {
        let upload = role.includes(Role::Operator).then(|| {
            view! {
                <p>
                    <a class="button primary" href="/assets/upload">
                        "Upload"
                    </a>
                </p>
            }
        });
        return view! {
            <section class="notice" data-testid="empty-state">
                <h2>"No assets yet"</h2>
                <p>"Bring in a folder of pictures, videos or sounds:"</p>
                <p>
                    <code>"damwall import <folder>"</code>
                </p>
                <p>"They show up here, newest first, as soon as they are in."</p>
                {upload}
            </section>
        }
        .into_any();
    }
    let has_chips = !address::chips(&query).is_empty();
    let (head, text) = match filter.collection {
        _ if has_chips && filter.failed => {
            ("Nothing failed", "No job of these assets was given up.")
        }
        _ if has_chips => ("Nothing matches", "No asset passes all of these filters."),
        _ if filter.trashed => ("The trash is empty", "What is removed waits here for a while."),
        Some(_) => {
            ("Nothing in here yet", "Tick assets in a list and add them to this collection.")
        }
        None => ("Nothing matches", "No asset passes all of these filters."),
    };
    let all = if has_chips {
        let clear = address::filtered(&query, |filter| {
            let (collection, trashed) = (filter.collection, filter.trashed);
            *filter = domain::AssetFilter { collection, trashed, ..Default::default() };
        });
        (clear, "Clear the filters")
    } else {
        ("/assets".to_owned(), "All assets")
    };
    view! {
        <section class="notice" data-testid="no-match">
            <h2>{head}</h2>
            <p>{text}</p>
            <p>
                <a class="button" href=all.0 data-testid="way-out">
                    {all.1}
                </a>
            </p>
        </section>
    }
    .into_any()
}

#[component]
fn Page(
    listing: Listing,
    library: Library,
    query: AssetQuery,
    selection: Selection,
) -> impl IntoView {
    let next = listing.next.map(|cursor| address::list_href(&query.after(cursor)));
    let is_first = query.after.is_none();
    let first =
        (!is_first).then(|| address::list_href(&AssetQuery { after: None, ..query.clone() }));
    let nothing = listing.items.is_empty().then(|| {
        view! { <p class="notice">"There are no more assets."</p> }
    });
    let total = format::counted(listing.total, "asset", "assets");
    let ticking = match library.role.includes(Role::Operator) && !listing.items.is_empty() {
        true => Ticking::Offered,
        false => Ticking::None,
    };
    let cards: Vec<_> =
        listing.items.into_iter().map(|card| view! { <AssetCard card ticking /> }).collect();
    let grid = view! {
        <ul
            class="asset-grid"
            data-testid="asset-grid"
            on:click=move |event| selection.extend(&event)
        >
            {cards}
        </ul>
    };
    let pager = view! {
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
    };
    let list = match ticking {
        Ticking::Offered => view! {
            <Bulk query library selection>
                {grid}
            </Bulk>
        }
        .into_any(),
        Ticking::None => grid.into_any(),
    };
    view! {
        {nothing}
        <p class="result-count" role="status" data-testid="result-count">
            {total}
        </p>
        {list}
        {pager}
    }
}

#[cfg(test)]
mod tests;
