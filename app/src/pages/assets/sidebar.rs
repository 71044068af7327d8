//! Beside a list: folders, days, and the filters that were kept.

use domain::{AssetQuery, DateBucket, FolderInfo, FolderPath, Role, SavedFilter};
use leptos::{prelude::*, server_fn::ServerFn as _};

use crate::{
    address,
    api::{DeleteFilter, Library},
    format,
};

/// Folders, days, kept filters: beside the list, or one row each above it on a narrow screen.
#[component]
pub(super) fn Sidebar(query: AssetQuery, library: Library) -> impl IntoView {
    if library.folders.is_empty()
        && library.days.is_empty()
        && library.filters.is_empty()
        && query.filter.is_empty()
    {
        return ().into_any();
    }
    let folders = folders(&query, &library.folders);
    let days = days(&query, &library.days);
    let kept = kept_filters(&query, &library.filters, library.role);
    view! {
        <aside class="sidebar" aria-label="Browse">
            {folders}
            {days}
            {kept}
        </aside>
    }
    .into_any()
}

fn section(title: &'static str, testid: &'static str, body: AnyView) -> AnyView {
    view! {
        <section class="side-section" data-testid=testid>
            <h2 class="side-title">{title}</h2>
            {body}
        </section>
    }
    .into_any()
}

fn folders(query: &AssetQuery, below: &[FolderInfo]) -> AnyView {
    let path = match &query.filter.folders[..] {
        [folder] => folder.as_str(),
        _ => "",
    };
    if below.is_empty() && path.is_empty() {
        return ().into_any();
    }
    let to = |path: &str| {
        let folder: Option<FolderPath> = path.parse().ok();
        address::filtered(query, |filter| {
            filter.folders = folder.filter(|folder| !folder.is_top()).into_iter().collect();
        })
    };
    // At the top there is nowhere to go back to.
    let trail: Vec<_> = trail(path)
        .into_iter()
        .filter(|_| !path.is_empty())
        .map(|(path, name)| {
            view! {
                <li>
                    <a href=to(path)>{name.to_owned()}</a>
                </li>
            }
        })
        .collect();
    let below: Vec<_> = below
        .iter()
        .map(|folder| {
            let name = folder.path.rsplit('/').next().unwrap_or(&folder.path).to_owned();
            row(to(&folder.path), name, folder.assets + folder.below)
        })
        .collect();
    section(
        "Folders",
        "folders",
        view! {
            <nav aria-label="Folder">
                <ol class="trail" data-testid="breadcrumb">
                    {trail}
                </ol>
            </nav>
            <ul class="side-list">{below}</ul>
        }
        .into_any(),
    )
}

/// A folder and those around it, from the top, each with its path and its name.
fn trail(path: &str) -> Vec<(&str, &str)> {
    let mut trail = vec![("", "All folders")];
    if !path.is_empty() {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        trail.extend(ends.map(|end| {
            let path = &path[..end];
            (path, path.rsplit('/').next().unwrap_or(path))
        }));
    }
    trail
}

fn row(href: String, name: String, count: u64) -> AnyView {
    view! {
        <li>
            <a class="side-row" href=href>
                <span class="side-name">{name}</span>
                <span class="side-count">{format::count(count)}</span>
            </a>
        </li>
    }
    .into_any()
}

fn days(query: &AssetQuery, days: &[DateBucket]) -> AnyView {
    let has_dates = query.filter.from.is_some() || query.filter.to.is_some();
    if days.is_empty() && !has_dates {
        return ().into_any();
    }
    let most = days.iter().map(|day| day.count).max().unwrap_or(1).max(1);
    let all = has_dates.then(|| {
        let href = address::filtered(query, address::without_dates);
        view! {
            <li>
                <a class="side-row" href=href data-testid="all-days">
                    "All days"
                </a>
            </li>
        }
    });
    let rows: Vec<_> = days
        .iter()
        .map(|day| {
            let href = address::filtered(query, |filter| {
                (filter.from, filter.to) = (Some(day.from), Some(day.to));
            });
            let mut name = day.from.to_string();
            if day.from != day.to {
                // `2026-05`
                name.truncate(name.rfind('-').unwrap_or(name.len()));
            }
            // At least a sliver.
            let width = (day.count * 100).div_ceil(most).to_string();
            view! {
                <li>
                    <a class="side-row" href=href data-testid="day">
                        <span class="side-name">{name}</span>
                        <span class="side-count">{format::count(day.count)}</span>
                        <svg
                            class="side-bar"
                            viewBox="0 0 100 1"
                            preserveAspectRatio="none"
                            aria-hidden="true"
                        >
                            <rect width=width height="1" />
                        </svg>
                    </a>
                </li>
            }
        })
        .collect();
    section(
        "Days",
        "days",
        view! {
            <ul class="side-list">
                {all}
                {rows}
            </ul>
        }
        .into_any(),
    )
}

fn kept_filters(query: &AssetQuery, filters: &[SavedFilter], role: Role) -> AnyView {
    if filters.is_empty() {
        return ().into_any();
    }
    let back = address::list_href(query);
    let rows: Vec<_> = filters
        .iter()
        .map(|kept| {
            let href = match kept.filter() {
                Some(filter) => address::list_href(&AssetQuery { filter, ..Default::default() }),
                None => format!("/assets?{}", kept.query),
            };
            let forget = role.includes(Role::Operator).then(|| {
                view! {
                    <form method="post" action=DeleteFilter::PATH>
                        <input type="hidden" name="id" value=kept.id.to_string() />
                        <input type="hidden" name="back" value=back.clone() />
                        <button
                            class="icon-button"
                            type="submit"
                            aria-label=format!("Forget filter {}", kept.title)
                            data-testid="forget-filter"
                        >
                            "×"
                        </button>
                    </form>
                }
            });
            view! {
                <li class="side-kept">
                    <a class="side-row" href=href data-testid="kept-filter">
                        <span class="side-name">{kept.title.clone()}</span>
                    </a>
                    {forget}
                </li>
            }
        })
        .collect();
    section("Kept filters", "kept-filters", view! { <ul class="side-list">{rows}</ul> }.into_any())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trail_leads_from_the_top_to_the_folder() {
        assert_eq!(trail(""), [("", "All folders")]);
        assert_eq!(
            trail("2026/harbour/a"),
            [
                ("", "All folders"),
                ("2026", "2026"),
                ("2026/harbour", "harbour"),
                ("2026/harbour/a", "a")
            ]
        );
    }
}
