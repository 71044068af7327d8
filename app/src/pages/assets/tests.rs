use domain::{
    AssetId, AssetKind, Collection, Cursor, CursorKey, DateBucket, FolderInfo, JobKind, JobState,
    SavedFilter, Sort, TagInfo,
};

use super::*;
use crate::api::{Card, Notice, NoticeKind};

fn query(path: &str, search: &str) -> AssetQuery {
    ListAddress::parse(path, search).query.unwrap()
}

fn html(listing: Result<Listing, PageError>, library: Library, query: AssetQuery) -> String {
    Owner::new().with(|| {
        let selection = Selection::new();
        view! { <Outcome listing library query selection /> }.to_html()
    })
}

fn library(role: Role) -> Library {
    Library { role, ..Library::default() }
}

fn empty() -> Listing {
    Listing { items: Vec::new(), next: None, total: 0, jobs: Vec::new() }
}

fn card(name: &str, thumb: Thumb) -> Card {
    Card {
        id: AssetId::from_digest([7; 32]),
        name: name.into(),
        folder: "takes".into(),
        kind: AssetKind::Video,
        duration_ms: Some(83_000),
        width_px: Some(1920),
        thumb,
        tint: Some("#a1b2c3".into()),
        recording: false,
        failures: Vec::new(),
    }
}

fn two_cards() -> Listing {
    let thumb = Thumb::Ready {
        url_320: "/assets/thumbs/s".into(),
        url_640: "/assets/thumbs/l".into(),
        width_px: 320,
        height_px: 180,
    };
    let failed = Card {
        failures: vec!["proxy_720p: cut <short>".into()],
        ..card("bad.mp4", Thumb::Failed { reason: "cut short".into() })
    };
    let cursor = Cursor { sort: Sort::Newest, key: CursorKey::Number(5), seq: 7 };
    let items = vec![card("a <b> & c.mp4", thumb), failed];
    Listing { items, next: Some(cursor), total: 12_345, jobs: Vec::new() }
}

#[test]
fn newcomer_is_told_how_to_import() {
    let html = html(Ok(empty()), library(Role::Viewer), query("/assets", ""));
    assert!(html.contains(r#"data-testid="empty-state""#), "{html}");
    assert!(html.contains("damwall import"), "{html}");
    assert!(!html.contains("/assets/upload"), "{html}");
}

#[test]
fn list_that_nothing_passes_has_a_way_out() {
    let shown = |path, search| html(Ok(empty()), library(Role::Admin), query(path, search));
    let none = shown("/assets", "tag=x&sort=name");
    assert!(!none.contains("empty-state"), "{none}");
    assert!(none.contains(r#"href="/assets?sort=name""#), "{none}");
    let in_trash = shown("/assets/trash", "q=x");
    assert!(in_trash.contains(r#"href="/assets/trash""#), "{in_trash}");
    let trash = shown("/assets/trash", "");
    assert!(trash.contains("The trash is empty"), "{trash}");
    assert!(shown("/assets", "failed=1").contains("Nothing failed"));
    assert!(shown("/assets/collections/3", "").contains("Nothing in here yet"));
}

#[test]
fn grid_links_every_asset_and_the_next_page() {
    let query = query("/assets", "limit=2&kind=video");
    let html = html(Ok(two_cards()), library(Role::Viewer), query);
    assert_eq!(html.matches(r#"data-testid="asset-card""#).count(), 2, "{html}");
    assert!(html.contains("/assets/thumbs/s 320w, /assets/thumbs/l 640w"), "{html}");
    assert!(html.contains("a &lt;b&gt; &amp; c.mp4"), "{html}");
    assert!(html.contains(r##"viewBox="0 0 320 180" fill="#a1b2c3""##), "{html}");
    assert!(html.contains("video 1:23"), "{html}");
    assert!(html.contains(r#"title="cut short""#), "{html}");
    assert!(html.contains("cut &lt;short&gt;"), "{html}");
    assert!(html.contains("/assets?kind=video&amp;limit=2&amp;after=n.5.7"), "{html}");
    assert!(html.contains("12,345 assets"), "{html}");
    // A viewer changes nothing.
    assert!(!html.contains("<form") && !html.contains("checkbox"), "{html}");
    // The policy of every page forbids it.
    assert!(!html.contains(" style="), "{html}");
}

#[test]
fn operator_ticks_assets_and_says_what_to_do() {
    let html = html(Ok(two_cards()), library(Role::Operator), query("/assets", "q=b"));
    assert_eq!(html.matches(r#"name="ids[]""#).count(), 2, "{html}");
    assert!(html.contains(r#"action="/fn/assets-change""#), "{html}");
    assert!(html.contains(r#"name="back" value="/assets?q=b""#), "{html}");
    assert!(html.contains(r#"value="trash""#), "{html}");
    assert!(!html.contains("take_out"), "{html}");
}

#[test]
fn trash_is_emptied_by_administrators_only() {
    let shown = |role| html(Ok(two_cards()), library(role), query("/assets/trash", ""));
    assert!(shown(Role::Admin).contains("/fn/trash-empty"));
    let operator = shown(Role::Operator);
    assert!(!operator.contains("/fn/trash-empty"), "{operator}");
    assert!(operator.contains(r#"value="restore""#), "{operator}");
    assert!(!operator.contains(r#"value="trash""#), "{operator}");
}

#[test]
fn members_are_taken_out_where_they_are_listed() {
    let html = html(Ok(two_cards()), library(Role::Admin), query("/assets/collections/7", ""));
    assert!(html.contains(r#"value="take_out.7""#), "{html}");
}

#[test]
fn page_past_the_end_is_not_an_empty_library() {
    let past = Listing { total: 5, ..empty() };
    let html = html(Ok(past), library(Role::Admin), query("/assets", "after=n.5.7"));
    assert!(!html.contains("empty-state"), "{html}");
    assert!(html.contains(r#"href="/assets""#), "{html}");
}

#[test]
fn error_is_a_sentence() {
    let error = PageError::BadRequest("limit must be 1 to 500.".into());
    let html = html(Err(error), Library::default(), AssetQuery::default());
    assert!(html.contains("limit must be 1 to 500."), "{html}");
    assert!(!html.contains("by itself"), "{html}");
}

#[test]
fn what_is_chosen_stays_in_the_form_and_can_be_dropped() {
    let query = query("/assets", "q=a%22b&kind=image&tag=gone&folder=x&min_size=123&sort=name");
    let library = Library {
        role: Role::Operator,
        tags: vec![TagInfo { tag: "<b>".into(), assets: 3 }],
        ..Library::default()
    };
    let html = Owner::new().with(|| view! { <Finder query library /> }.to_html());
    assert!(html.contains(r#"value="a&quot;b""#), "{html}");
    assert!(html.contains(r#"value="gone" checked"#), "{html}");
    assert!(html.contains("&lt;b&gt;"), "{html}");
    assert!(html.contains(r#"name="folder" value="x" checked"#), "{html}");
    assert!(html.contains(r#"<option value="123" selected"#), "{html}");
    assert!(html.contains(r#"<option value="name" selected"#), "{html}");
    assert!(html.contains("Remove filter in x"), "{html}");
    assert!(html.contains(r#"data-testid="clear-filters""#), "{html}");
}

#[test]
fn every_filter_of_the_address_has_a_field() {
    let address = "kind=image&tag=a&folder=x%2Fy&folder=z&camera=door&codec=h264&from=2026-01-01\
        &to=2026-01-31&min_size=101&max_size=102&min_duration=103&max_duration=104\
        &min_width=105&max_width=106&min_height=107&max_height=108&failed=1";
    let query = query("/assets", address);
    let fields = Owner::new().with(|| {
        let library = Library {
            beside: vec![
                FolderInfo { path: "z".into(), assets: 1, below: 0 },
                FolderInfo { path: "z & a".into(), assets: 0, below: 2 },
            ],
            ..library(Role::Viewer)
        };
        view! { <Finder query library /> }.to_html()
    });
    assert!(!fields.contains(r#"type="hidden""#), "{fields}");
    for pair in address.split('&') {
        let (key, value) = pair.split_once('=').unwrap();
        let value = value.replace("%2F", "/");
        assert!(fields.contains(&format!(r#" name="{key}""#)), "{key}: {fields}");
        let is_chosen = ["checked", "selected"].map(|how| format!(r#"value="{value}" {how}"#));
        let is_day = fields.contains(&format!(r#"name="{key}" value="{value}""#));
        assert!(is_day || is_chosen.iter().any(|one| fields.contains(one)), "{pair}: {fields}");
    }
    assert!(fields.contains(r#"value="z &amp; a" autocomplete"#), "{fields}");
    assert!(fields.contains(r#"data-testid="filter-folder-path""#), "{fields}");
}

#[test]
fn folders_days_and_kept_filters_lead_to_lists() {
    let day = |from: &str, to: &str, count| DateBucket {
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        count,
    };
    let library = Library {
        role: Role::Viewer,
        folders: vec![FolderInfo { path: "2026/may".into(), assets: 2, below: 3 }],
        days: vec![day("2026-05-03", "2026-05-03", 5), day("2025-01-01", "2025-01-31", 1000)],
        filters: vec![SavedFilter {
            id: 4.try_into().unwrap(),
            title: "Red & blue".into(),
            query: "tag=red&trashed=1".into(),
        }],
        ..Library::default()
    };
    let query = query("/assets", "kind=image&folder=2026&after=n.5.7");
    let html = Owner::new().with(|| view! { <Sidebar query library /> }.to_html());
    assert!(html.contains("/assets?kind=image&amp;folder=2026%2Fmay\""), "{html}");
    assert!(html.contains("/assets?kind=image\""), "{html}");
    assert!(html.contains("from=2025-01-01&amp;to=2025-01-31"), "{html}");
    assert!(html.contains(">2025-01<"), "{html}");
    assert!(html.contains("/assets/trash?tag=red"), "{html}");
    assert!(html.contains("Red &amp; blue"), "{html}");
    assert!(!html.contains("<form"), "{html}");
}

#[test]
fn a_collection_is_called_by_its_title() {
    let filter = query("/assets/collections/7", "").filter;
    let title = "Best of 2026".to_owned();
    let collection = Collection { id: 7.try_into().unwrap(), title: title.clone(), assets: 0 };
    assert_eq!(address::list_title(&filter, &[collection]), title);
}

#[test]
fn notice_offers_to_take_it_back() {
    let undo = 17.try_into().unwrap();
    let notice = Notice { undo: Some(undo), ..Notice::of(NoticeKind::Trashed, 2) };
    let html = Owner::new()
        .with(|| view! { <NoticeBar notice=Some(notice) back="/assets?q=a" /> }.to_html());
    assert!(html.contains("Moved 2 assets to the trash."), "{html}");
    assert!(html.contains(r#"action="/fn/assets-undo""#), "{html}");
    assert!(html.contains(r#"name="undo" value="17""#), "{html}");
}

#[test]
fn list_of_failures_shows_the_jobs_that_are_under_way_and_follows_them() {
    let job = |state, progress_percent| JobStatus {
        asset: AssetId::from_digest([7; 32]),
        kind: JobKind::Proxy720p,
        state,
        progress_percent,
        reason: None,
        attempts: 1,
    };
    let listed =
        JobListing { job: job(JobState::Pending, None), asset_name: "a <b>.mp4".to_owned() };
    let mut listing = Listing { jobs: vec![listed], ..empty() };
    assert!(listing.is_waiting());
    assert_eq!(listing.take(&job(JobState::Running, Some(41))), News::Shown);
    let html = html(Ok(listing.clone()), library(Role::Admin), query("/assets", "failed=1"));
    assert!(html.contains("a &lt;b&gt;.mp4") && html.contains("41 %"), "{html}");
    assert_eq!(listing.take(&job(JobState::Failed, None)), News::ReadAgain);

    let mut finished = empty();
    assert!(!finished.is_waiting());
    assert_eq!(finished.take(&job(JobState::Done, None)), News::OfNoConcern);
    let card = card("new.jpg", Thumb::Pending);
    let mut waiting = Listing { items: vec![card], total: 1, ..empty() };
    assert!(waiting.is_waiting());
    assert_eq!(waiting.take(&job(JobState::Running, Some(5))), News::OfNoConcern);
    assert_eq!(waiting.take(&job(JobState::Done, None)), News::ReadAgain);
}
