//! A job: of what, how far it is, and why it failed.

use domain::{JobState, JobStatus};
use leptos::prelude::*;

use crate::format;

/// Whether nothing more becomes of a job by itself.
pub fn is_over(job: &JobStatus) -> bool {
    matches!(job.state, JobState::Done | JobState::Failed)
}

/// One job in a list.
#[component]
pub fn JobRow(
    /// The job.
    job: JobStatus,
    /// What it works on, where that is not plain.
    #[prop(optional)]
    asset_name: Option<String>,
    /// What can be done about it.
    #[prop(optional)]
    children: Option<Children>,
) -> impl IntoView {
    let state = match (job.state, job.progress_percent) {
        (JobState::Running, Some(percent)) => format!("{percent} %"),
        (JobState::Running, None) => "being made".to_owned(),
        (JobState::Failed, _) => "failed".to_owned(),
        _ => "waits".to_owned(),
    };
    let asset = asset_name.map(|name| {
        view! {
            <a class="job-asset" href=format!("/assets/{}", job.asset)>
                {name}
            </a>
        }
    });
    let class = if job.state == JobState::Failed { "job-reason failed" } else { "job-reason" };
    let reason = job.reason.map(|reason| {
        view! {
            <p class=class data-testid="job-reason">
                {reason}
            </p>
        }
    });
    view! {
        <li class="job" data-testid="job" data-state=job.state.as_str()>
            {asset}
            <span class="side-name">{format::job(job.kind)}</span>
            <span class="side-count">{state}</span>
            {reason}
            {children.map(|children| children())}
        </li>
    }
}
