//! What was found in an asset and is derived from it: what there is, what is being made, and what failed
//! and why.

use domain::{JobState, JobStatus, Metadata, RenditionKind, Role};
use leptos::{prelude::*, server_fn::ServerFn as _};

use crate::{
    api::{Derived, RetryJobs},
    components::{DetailList, JobRow, is_over},
    format,
    refresh::{FollowsJobs, News},
};

/// What the original says of itself.
#[component]
pub(super) fn MetadataView(metadata: Metadata) -> impl IntoView {
    let rows = metadata_rows(&metadata);
    (!rows.is_empty()).then(|| {
        view! {
            <section class="asset-section" data-testid="metadata">
                <h2>"From the file"</h2>
                <DetailList rows />
            </section>
        }
    })
}

/// Renditions with their sizes, and jobs that are not done.
#[component]
pub(super) fn DerivedView(derived: Derived, role: Role) -> impl IntoView {
    if derived.renditions.is_empty() && derived.jobs.is_empty() {
        return ().into_any();
    }
    let renditions: Vec<_> = derived
        .renditions
        .iter()
        .map(|rendition| {
            let size = rendition
                .width_px
                .zip(rendition.height_px)
                .map(|(width, height)| format!("{}, ", format::dimensions(width, height)));
            let size =
                format!("{}{}", size.unwrap_or_default(), format::bytes(rendition.size_bytes));
            view! {
                <li>
                    <a
                        class="side-row"
                        href=rendition.url.clone()
                        rel="external"
                        target="_blank"
                        data-testid="rendition"
                    >
                        <span class="side-name">{rendition_name(rendition.kind)}</span>
                        <span class="side-count">{size}</span>
                    </a>
                </li>
            }
        })
        .collect();
    let jobs: Vec<_> = derived
        .jobs
        .into_iter()
        .filter(|job| job.state != JobState::Done)
        .map(|job| view! { <OwnJob job role /> })
        .collect();
    view! {
        <section class="asset-section" data-testid="derived">
            <h2>"Made from it"</h2>
            <ul class="side-list">{jobs}</ul>
            <ul class="side-list">{renditions}</ul>
        </section>
    }
    .into_any()
}

/// A job of this asset, and the way to try it again.
#[component]
fn OwnJob(job: JobStatus, role: Role) -> impl IntoView {
    let may_retry = job.state == JobState::Failed && role.includes(Role::Operator);
    let (asset, kind) = (job.asset.to_string(), job.kind.as_str());
    let retry = may_retry.then(|| {
        view! {
            <form method="post" action=RetryJobs::PATH>
                <input type="hidden" name="back" value=format!("/assets/{asset}") />
                <input type="hidden" name="asset" value=asset />
                <input type="hidden" name="kind" value=kind />
                <button class="button" type="submit" data-testid="retry-job">
                    "Try again"
                </button>
            </form>
        }
    });
    view! { <JobRow job>{retry}</JobRow> }
}

impl FollowsJobs for Derived {
    fn is_waiting(&self) -> bool {
        !self.jobs.iter().all(is_over)
    }

    fn take(&mut self, job: &JobStatus) -> News {
        let is_ours = self.jobs.iter().any(|own| own.asset == job.asset);
        match self.jobs.iter_mut().find(|own| own.asset == job.asset && own.kind == job.kind) {
            Some(_) if is_over(job) => News::ReadAgain,
            Some(own) => {
                own.clone_from(job);
                News::Shown
            }
            None if is_ours => News::ReadAgain,
            None => News::OfNoConcern,
        }
    }
}

/// What an original says of itself, as it is shown.
fn metadata_rows(metadata: &Metadata) -> Vec<(&'static str, String)> {
    let make = metadata.camera_make.as_deref().unwrap_or_default();
    let camera = match metadata.camera_model.as_deref() {
        // Many models begin with the name of their maker.
        Some(model) if model.starts_with(make) => model.to_owned(),
        Some(model) => format!("{make} {model}"),
        None => make.to_owned(),
    };
    let exposure: Vec<String> = [
        metadata.exposure_secs.map(format::exposure),
        metadata.f_number.map(|number| format!("f/{}", format::decimal(number))),
        metadata.iso.map(|iso| format!("ISO {iso}")),
        metadata.focal_length_mm.map(|mm| format!("{} mm", format::decimal(mm))),
    ]
    .into_iter()
    .flatten()
    .collect();
    let per_sec = |fps| format!("{} a second", format::decimal(fps));
    let khz = |hz| format!("{} kHz", format::decimal(f64::from(hz) / 1000.0));
    [
        ("Taken", metadata.taken_at.map(format::date)),
        ("Taken with", Some(camera)),
        ("Lens", metadata.lens.clone()),
        ("Exposure", Some(exposure.join(", "))),
        ("Frame rate", metadata.fps.map(per_sec)),
        ("Sample rate", metadata.sample_rate_hz.map(khz)),
        ("Place", metadata.location.map(|at| format::place(at.latitude, at.longitude))),
    ]
    .into_iter()
    .filter_map(|(term, value)| Some((term, value.filter(|value| !value.is_empty())?)))
    .collect()
}

fn rendition_name(kind: RenditionKind) -> &'static str {
    match kind {
        RenditionKind::Thumb320 => "Thumbnail, 320 px",
        RenditionKind::Thumb640 => "Thumbnail, 640 px",
        RenditionKind::Poster => "Poster",
        RenditionKind::Storyboard => "Storyboard",
        RenditionKind::StoryboardVtt => "Storyboard, times",
        RenditionKind::Waveform => "Waveform",
        RenditionKind::Proxy720p => "Film, 720 lines",
        RenditionKind::Proxy1080p => "Film, 1080 lines",
    }
}
