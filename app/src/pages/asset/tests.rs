use domain::{
    AssetId, AssetKind, Collection, JobKind, JobState, JobStatus, Location, Metadata, Rendition,
    RenditionKind,
};

use super::*;
use crate::{
    api::Derived,
    refresh::{FollowsJobs as _, News},
};

fn film() -> Asset {
    Asset {
        id: AssetId::from_digest([7; 32]),
        key: "a/key".into(),
        name: "a <b> & c.mp4".into(),
        size_bytes: 1_000,
        hash: "07".repeat(32),
        mime: "video/mp4".into(),
        kind: AssetKind::Video,
        folder: "takes".into(),
        labels: vec!["red & blue".into()],
        created_at: jiff::Timestamp::UNIX_EPOCH,
        source_node: None,
        origin_path: None,
        external_ref: None,
        width_px: Some(1920),
        height_px: Some(1080),
        duration_ms: Some(83_000),
        thumb: Thumb::Pending,
        codec: Some("h264".into()),
        camera: None,
        recording: false,
        trashed_at: None,
        thumbhash: None,
        renditions: Vec::new(),
    }
}

fn proxy() -> Rendition {
    Rendition {
        kind: RenditionKind::Proxy720p,
        url: "/api/proxy".into(),
        mime: "video/mp4".into(),
        size_bytes: 5_000,
        width_px: Some(1280),
        height_px: Some(720),
    }
}

fn html(asset: Asset, role: Role) -> String {
    let best = Collection { id: 7.try_into().unwrap(), title: "Best".into(), assets: 1 };
    let other = Collection { id: 8.try_into().unwrap(), title: "Other".into(), assets: 0 };
    let member_of = vec![best.id];
    let detail = AssetDetail { asset, tint: None, role, collections: vec![best, other], member_of };
    Owner::new().with(|| {
        leptos_meta::provide_meta_context();
        let editing = RwSignal::new(false);
        view! {
            <AssetView detail editing found=().into_any()>
                ""
            </AssetView>
        }
        .to_html()
    })
}

#[test]
fn film_that_browsers_play_is_played_itself() {
    let html = html(Asset { renditions: vec![proxy()], ..film() }, Role::Viewer);
    assert!(html.contains(r#"/original" "#), "{html}");
    assert!(!html.contains("/api/proxy"), "{html}");
    assert!(html.contains("a &lt;b&gt; &amp; c.mp4"), "{html}");
    assert!(html.contains("/assets?tag=red+%26+blue"), "{html}");
    assert!(html.contains("h264"), "{html}");
    // A viewer changes nothing.
    assert!(!html.contains("<form"), "{html}");
    assert!(!html.contains(" style="), "{html}");
}

#[test]
fn film_that_browsers_do_not_play_is_played_by_its_proxy() {
    let hevc = Asset { codec: Some("hevc".into()), renditions: vec![proxy()], ..film() };
    assert!(html(hevc.clone(), Role::Viewer).contains(r#"src="/api/proxy""#));
    // Until there is one, the browser may try.
    let without = html(Asset { renditions: Vec::new(), ..hevc }, Role::Viewer);
    assert!(without.contains("/original"), "{without}");
}

#[test]
fn operator_changes_an_asset_by_plain_forms() {
    let html = html(film(), Role::Operator);
    for action in ["/fn/asset-save", "/fn/assets-change"] {
        assert!(html.contains(&format!(r#"action="{action}""#)), "{html}");
    }
    assert!(html.contains(r#"value="trash""#), "{html}");
    assert!(html.contains("Take out of Best"), "{html}");
    assert!(html.contains(r#"<option value="8">Other"#), "{html}");
}

#[test]
fn asset_in_the_trash_says_so_and_comes_back() {
    let trashed = Asset { trashed_at: Some(jiff::Timestamp::UNIX_EPOCH), ..film() };
    let html = html(trashed, Role::Operator);
    assert!(html.contains("In the trash since 1970-01-01"), "{html}");
    assert!(html.contains(r#"value="restore""#), "{html}");
}

#[test]
fn failed_job_tells_its_reason_and_is_tried_again() {
    let job = |kind, state, reason: Option<&str>| JobStatus {
        asset: film().id,
        kind,
        state,
        progress_percent: Some(41),
        reason: reason.map(str::to_owned),
        attempts: 1,
    };
    let derived = Derived {
        metadata: Metadata::default(),
        renditions: vec![proxy()],
        jobs: vec![
            job(JobKind::Derive, JobState::Done, None),
            job(JobKind::Storyboard, JobState::Failed, Some("cut <short>")),
            job(JobKind::Proxy1080p, JobState::Running, None),
        ],
    };
    let html = |role| {
        let derived = derived.clone();
        Owner::new().with(|| view! { <DerivedView derived role /> }.to_html())
    };
    let operator = html(Role::Operator);
    assert!(operator.contains("cut &lt;short&gt;"), "{operator}");
    assert!(operator.contains("41 %"), "{operator}");
    assert!(operator.contains("1280 × 720, 5.0 kB"), "{operator}");
    assert_eq!(operator.matches(r#"action="/fn/jobs-retry""#).count(), 1, "{operator}");
    assert_eq!(operator.matches(r#"data-testid="job""#).count(), 2, "{operator}");
    assert!(!html(Role::Viewer).contains("<form"));
}

#[test]
fn page_follows_the_jobs_of_its_asset_and_no_others() {
    let job = |asset: u8, kind, state| JobStatus {
        asset: AssetId::from_digest([asset; 32]),
        kind,
        state,
        progress_percent: None,
        reason: None,
        attempts: 1,
    };
    let jobs = vec![job(7, JobKind::Derive, JobState::Pending)];
    let mut derived = Derived { metadata: Metadata::default(), renditions: Vec::new(), jobs };
    assert!(derived.is_waiting());
    for (job, news) in [
        (job(8, JobKind::Derive, JobState::Running), News::OfNoConcern),
        (job(7, JobKind::Derive, JobState::Running), News::Shown),
        (job(7, JobKind::Storyboard, JobState::Running), News::ReadAgain),
        (job(7, JobKind::Derive, JobState::Done), News::ReadAgain),
    ] {
        assert_eq!(derived.take(&job), news, "{job:?}");
    }
    assert_eq!(derived.jobs[0].state, JobState::Running);
    derived.jobs[0].state = JobState::Done;
    assert!(!derived.is_waiting());
}

#[test]
fn what_a_file_says_of_itself_is_shown_as_far_as_it_says_something() {
    let html = |metadata| Owner::new().with(|| view! { <MetadataView metadata /> }.to_html());
    let picture = html(Metadata {
        camera_make: Some("RICOH".into()),
        camera_model: Some("RICOH GR <III>".into()),
        exposure_secs: Some(0.004),
        f_number: Some(2.8),
        iso: Some(400),
        focal_length_mm: Some(18.3),
        location: Some(Location { latitude: 52.5, longitude: -13.25 }),
        ..Metadata::default()
    });
    for text in
        [">RICOH GR &lt;III&gt;<", "1/250 s, f/2.8, ISO 400, 18.3 mm", "52.50000° N, 13.25000° W"]
    {
        assert!(picture.contains(text), "{text}: {picture}");
    }
    assert!(!picture.contains("Lens") && !picture.contains("rate"), "{picture}");
    let sound = html(Metadata { sample_rate_hz: Some(44_100), ..Metadata::default() });
    assert!(sound.contains("44.1 kHz") && !sound.contains("Exposure"), "{sound}");
    assert!(!html(Metadata::default()).contains("metadata"));
}

#[test]
fn picture_that_cannot_be_decoded_shows_the_reason_in_its_place() {
    let thumb = Thumb::Failed { reason: "its end is missing".into() };
    let mime = "image/jpeg".to_owned();
    let html = html(Asset { kind: AssetKind::Image, mime, thumb, ..film() }, Role::Viewer);
    assert!(html.contains("No preview: its end is missing"), "{html}");
    assert!(!html.contains("<img"), "{html}");
}
