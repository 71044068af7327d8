//! Search, filters and order of a list: one form that asks by its address, and a chip for each filter.

use domain::{AssetKind, AssetQuery, FolderInfo, Role, Sort};
use leptos::{prelude::*, server_fn::ServerFn as _};

use crate::{
    address,
    api::{Library, SaveFilter},
    format,
};

const SIZES: [u64; 6] =
    [100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000];
const DURATIONS_MS: [u64; 5] = [10_000, 60_000, 600_000, 3_600_000, 4 * 3_600_000];
const WIDTHS_PX: [u64; 5] = [640, 1280, 1920, 2560, 3840];
const HEIGHTS_PX: [u64; 5] = [480, 720, 1080, 1440, 2160];

/// The form and the chips.
#[component]
pub(super) fn Finder(query: AssetQuery, library: Library) -> impl IntoView {
    let filter = &query.filter;
    let sorts: Vec<_> = Sort::ALL
        .into_iter()
        .map(|sort| {
            let text = match sort {
                Sort::Newest => "Newest first",
                Sort::Oldest => "Oldest first",
                Sort::Name => "By name",
                Sort::Largest => "Largest first",
                Sort::Longest => "Longest first",
            };
            view! {
                <option value=sort.as_str() selected=sort == query.sort>
                    {text}
                </option>
            }
        })
        .collect();
    view! {
        <form
            class="finder"
            method="get"
            action=address::list_path(filter)
            role="search"
            data-testid="finder"
        >
            <input
                class="finder-text"
                type="search"
                name="q"
                value=filter.text.clone()
                maxlength="200"
                placeholder="Search names, folders, labels"
                aria-label="Search"
                autocomplete="off"
                data-testid="search"
            />
            <button class="button primary" type="submit" data-testid="search-submit">
                "Search"
            </button>
            <select name="sort" aria-label="Order" data-testid="sort">
                {sorts}
            </select>
            {kept(&query)}
            <details class="filters" data-testid="filters">
                <summary class="button">"Filters"</summary>
                <div class="filter-fields">
                    {filter_fields(&query, &library)}
                    <p class="form-actions">
                        <button class="button primary" type="submit" data-testid="apply-filters">
                            "Show"
                        </button>
                    </p>
                </div>
            </details>
        </form>
        <Chips query library />
    }
}

/// What the form has no field for, and must not forget.
fn kept(query: &AssetQuery) -> AnyView {
    let filter = &query.filter;
    let mut kept: Vec<(&str, String)> = Vec::new();
    if filter.trashed {
        kept.extend(filter.collection.iter().map(|id| ("collection", id.to_string())));
    }
    if query.limit != domain::PageLimit::default() {
        kept.push(("limit", query.limit.get().to_string()));
    }
    kept.into_iter()
        .map(|(name, value)| view! { <input type="hidden" name=name value=value /> })
        .collect::<Vec<_>>()
        .into_any()
}

fn filter_fields(query: &AssetQuery, library: &Library) -> AnyView {
    let Library { tags, facets, beside, .. } = library;
    let filter = &query.filter;
    let kinds = AssetKind::ALL
        .map(|kind| (kind.as_str().to_owned(), None, filter.kinds.contains(&kind)))
        .to_vec();
    // Chosen ones stay on offer when nothing bears them any more.
    let chosen_tags: Vec<String> = filter.tags.iter().map(ToString::to_string).collect();
    let tags = tags.iter().map(|tag| (tag.tag.clone(), Some(tag.assets))).collect();
    let chosen_folders: Vec<String> = filter.folders.iter().map(ToString::to_string).collect();
    let folder = |folder: &FolderInfo| (folder.path.clone(), Some(folder.assets + folder.below));
    let folders = beside.iter().map(folder).collect();
    let chosen_cameras: Vec<String> = filter.cameras.iter().map(ToString::to_string).collect();
    let cameras = facets.cameras.iter().map(|camera| (camera.clone(), None)).collect();
    let codecs = facets.codecs.iter().map(|codec| (codec.clone(), None)).collect();
    let day = |name: &'static str, label: &'static str, day: Option<String>| {
        view! {
            <label class="field-line">
                {label} <input type="date" name=name value=day data-testid=format!("filter-{name}") />
            </label>
        }
        .into_any()
    };
    let bound = |name, label, options: &[u64], current, write: fn(u64) -> String| {
        let mut options = options.to_vec();
        // An address may say any number.
        if let Some(current) = current
            && !options.contains(&current)
        {
            options.push(current);
        }
        choice(name, label, &options, current, write)
    };
    let px = |px: u64| format!("{px} px");
    view! {
        {ticks("kind", "Kind", kinds)}
        {ticks("tag", "Labels", offered(tags, &chosen_tags))}
        {folder_fields(offered(folders, &chosen_folders))}
        {ticks("camera", "Cameras", offered(cameras, &chosen_cameras))}
        {ticks("codec", "Codecs", offered(codecs, &filter.codecs))}
        <fieldset class="filter-group">
            <legend>"Date"</legend>
            {day("from", "From", filter.from.map(|day| day.to_string()))}
            {day("to", "To", filter.to.map(|day| day.to_string()))}
        </fieldset>
        <fieldset class="filter-group">
            <legend>"Measures"</legend>
            {bound("min_size", "Size at least", &SIZES, filter.size_bytes.min, format::bytes)}
            {bound("max_size", "Size at most", &SIZES, filter.size_bytes.max, format::bytes)}
            {bound("min_duration", "Duration at least", &DURATIONS_MS, filter.duration_ms.min, format::duration)}
            {bound("max_duration", "Duration at most", &DURATIONS_MS, filter.duration_ms.max, format::duration)}
        </fieldset>
        <fieldset class="filter-group">
            <legend>"Picture"</legend>
            {bound("min_width", "Width at least", &WIDTHS_PX, filter.width_px.min, px)}
            {bound("max_width", "Width at most", &WIDTHS_PX, filter.width_px.max, px)}
            {bound("min_height", "Height at least", &HEIGHTS_PX, filter.height_px.min, px)}
            {bound("max_height", "Height at most", &HEIGHTS_PX, filter.height_px.max, px)}
        </fieldset>
        <fieldset class="filter-group">
            <legend>"Jobs"</legend>
            <label class="check">
                <input type="checkbox" name="failed" value="1" checked=filter.failed autocomplete="off" />
                "Only with failed jobs"
            </label>
        </fieldset>
    }
    .into_any()
}

/// A value, how many assets have it, and whether it is chosen.
type Tick = (String, Option<u64>, bool);

fn offered(mut values: Vec<(String, Option<u64>)>, chosen: &[String]) -> Vec<Tick> {
    for one in chosen {
        if !values.iter().any(|(value, _)| value == one) {
            values.push((one.clone(), None));
        }
    }
    let is_chosen = |value: &String| chosen.contains(value);
    values
        .into_iter()
        .map(|(value, count)| {
            let chosen = is_chosen(&value);
            (value, count, chosen)
        })
        .collect()
}

fn ticks(name: &'static str, legend: &'static str, values: Vec<Tick>) -> AnyView {
    if values.is_empty() {
        return ().into_any();
    }
    view! {
        <fieldset class="filter-group" data-testid=format!("filter-{name}")>
            <legend>{legend}</legend>
            {boxes(name, values)}
        </fieldset>
    }
    .into_any()
}

/// Those at hand to tick, and a field for any other.
fn folder_fields(values: Vec<Tick>) -> AnyView {
    if values.is_empty() {
        return ().into_any();
    }
    view! {
        <fieldset class="filter-group" data-testid="filter-folder">
            <legend>"Folders"</legend>
            {boxes("folder", values)}
            <label class="field-line">
                "Another folder"
                <input
                    name="folder"
                    maxlength="1024"
                    placeholder="2026/may"
                    autocomplete="off"
                    data-testid="filter-folder-path"
                />
            </label>
        </fieldset>
    }
    .into_any()
}

fn boxes(name: &'static str, values: Vec<Tick>) -> AnyView {
    let boxes: Vec<_> = values
        .into_iter()
        .map(|(value, count, chosen)| {
            let count =
                count.map(|count| view! { <span class="hint">{format::count(count)}</span> });
            view! {
                <label class="check">
                    <input
                        type="checkbox"
                        name=name
                        value=value.clone()
                        checked=chosen
                        autocomplete="off"
                    />
                    <span class="check-text">{value}</span>
                    {count}
                </label>
            }
        })
        .collect();
    view! { <div class="ticks">{boxes}</div> }.into_any()
}

fn choice(
    name: &'static str,
    label: &'static str,
    options: &[u64],
    current: Option<u64>,
    write: fn(u64) -> String,
) -> AnyView {
    let options: Vec<_> = options
        .iter()
        .map(|value| {
            view! {
                <option value=value.to_string() selected=current == Some(*value)>
                    {write(*value)}
                </option>
            }
        })
        .collect();
    view! {
        <label class="field-line">
            {label}
            <select name=name autocomplete="off" data-testid=format!("filter-{name}")>
                <option value="">"any"</option>
                {options}
            </select>
        </label>
    }
    .into_any()
}

/// Every filter, each with the list without it, and a form to keep them all.
#[component]
fn Chips(query: AssetQuery, library: Library) -> impl IntoView {
    let chips = address::chips(&query);
    if chips.is_empty() {
        return ().into_any();
    }
    let clear = address::filtered(&query, |filter| {
        let (collection, trashed) = (filter.collection, filter.trashed);
        *filter = domain::AssetFilter { collection, trashed, ..Default::default() };
    });
    let chips: Vec<_> = chips
        .into_iter()
        .map(|chip| {
            let label = format!("Remove filter {}", chip.text);
            view! {
                <li>
                    <a class="filter-chip" href=chip.href aria-label=label data-testid="chip">
                        <span class="filter-chip-text">{chip.text}</span>
                        <span aria-hidden="true">"×"</span>
                    </a>
                </li>
            }
        })
        .collect();
    let save = library.role.includes(Role::Operator).then(|| {
        view! {
            <form class="save-filter" method="post" action=SaveFilter::PATH>
                <input type="hidden" name="query" value=query.filter.to_query() />
                <input type="hidden" name="back" value=address::list_href(&query) />
                <input
                    name="title"
                    required
                    maxlength="100"
                    placeholder="Keep this filter as"
                    aria-label="Title of the filter to keep"
                    autocomplete="off"
                    data-testid="filter-title"
                />
                <button class="button" type="submit" data-testid="save-filter">
                    "Keep"
                </button>
            </form>
        }
    });
    view! {
        <div class="chips">
            <ul class="chip-list" aria-label="Filters" data-testid="chips">
                {chips}
                <li>
                    <a class="filter-chip clear" href=clear data-testid="clear-filters">
                        "Clear all"
                    </a>
                </li>
            </ul>
            {save}
        </div>
    }
    .into_any()
}
