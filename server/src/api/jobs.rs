//! `/api/jobs…`: what is being derived, what failed and why, and trying again.

use std::{convert::Infallible, time::Duration};

use app::ssr::Operator;
use axum::{
    Json,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use catalog::{Catalog, JobFilter};
use domain::{AssetId, JobKind, JobListing, JobState, JobStatus, PageLimit};
use futures::stream;
use serde::{Deserialize, Serialize};
use tokio::{sync::broadcast::error::RecvError, time::timeout};
use utoipa::{IntoParams, ToSchema};

use super::{input::Path, openapi::schema};
use crate::{error::Problem, events::EventStreams};

/// A line that says nothing, so that proxies keep the connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Query of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// `pending`, `running`, `done` or `failed`.
    #[param(value_type = Option<String>)]
    state: Option<JobState>,
    /// Only jobs of this asset.
    #[param(value_type = Option<String>)]
    asset: Option<AssetId>,
    /// 1 to 500; 60 unless given.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: PageLimit,
    /// `next_cursor` of the page before.
    after: Option<String>,
}

/// One page of jobs.
#[derive(Serialize, ToSchema)]
pub(crate) struct Jobs {
    #[schema(value_type = Vec<schema::JobListing>)]
    items: Vec<JobListing>,
    /// Where the next page begins; absent on the last one.
    next_cursor: Option<String>,
}

/// Jobs
#[utoipa::path(get, path = "/api/jobs", tag = "renditions", params(ListQuery),
    responses((status = 200, body = Jobs)))]
pub(crate) async fn list(
    _operator: Operator,
    State(catalog): State<Catalog>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Jobs>, Problem> {
    let Query(query) = query?;
    let after = query.after.as_deref().map(cursor).transpose()?;
    let filter = JobFilter { state: query.state, asset: query.asset };
    // One more than asked for tells whether there is a next page.
    let limit = query.limit.get();
    let mut items = catalog.jobs(&filter, limit + 1, after.as_ref()).await?;
    let has_more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let last = items.last().filter(|_| has_more);
    let next_cursor = last.map(|last| format!("{}/{}", last.job.asset, last.job.kind));
    Ok(Json(Jobs { items, next_cursor }))
}

/// `<asset>/<kind>` of the last job of a page.
fn cursor(text: &str) -> Result<(AssetId, JobKind), Problem> {
    let parsed = text
        .split_once('/')
        .and_then(|(asset, kind)| Some((asset.parse().ok()?, kind.parse().ok()?)));
    parsed.ok_or_else(|| Problem::bad_request("`after` is not the cursor of a page"))
}

/// Try a job again
///
/// Answers with the job as it is now; one that is running goes on.
#[utoipa::path(post, path = "/api/jobs/{asset}/{kind}/retry", tag = "renditions",
    params(("asset" = String, Path, description = "`sha256:` and 64 hex digits."),
        ("kind" = String, Path, description = "Such as `proxy_720p`.")),
    responses((status = 200, body = schema::JobStatus)))]
pub(crate) async fn retry(
    _operator: Operator,
    State(catalog): State<Catalog>,
    Path((asset, kind)): Path<(String, String)>,
) -> Result<Json<JobStatus>, Problem> {
    let no_job = || Problem::not_found("there is no such job");
    let asset: AssetId = asset.parse().map_err(|_| no_job())?;
    let kind: JobKind = kind.parse().map_err(|_| no_job())?;
    catalog.retry_job(&asset, kind).await?.map(Json).ok_or_else(no_job)
}

/// Answer of [`retry_failed`].
#[derive(Serialize, ToSchema)]
pub(crate) struct Retried {
    /// Jobs that are queued again.
    jobs: u64,
}

/// Try every job again that was given up
#[utoipa::path(post, path = "/api/jobs/retry", tag = "renditions",
    responses((status = 200, body = Retried)))]
pub(crate) async fn retry_failed(
    _operator: Operator,
    State(catalog): State<Catalog>,
) -> Result<Json<Retried>, Problem> {
    Ok(Json(Retried { jobs: catalog.retry_failed_jobs().await? }))
}

/// Progress of jobs
///
/// A stream of server-sent events: `event: job` with a `JobStatus` each. After `event: missed` the list is
/// to be read again.
#[utoipa::path(get, path = "/api/jobs/events", tag = "renditions",
    responses((status = 200, description = "Events", content_type = "text/event-stream")))]
pub(crate) async fn events(
    _operator: Operator,
    State(catalog): State<Catalog>,
    State(streams): State<EventStreams>,
) -> Response {
    let reading = (catalog.job_events(), streams.stopping(), true);
    let events = stream::unfold(reading, |(mut jobs, stopping, is_first)| async move {
        // Something at once: a reader then knows that it misses nothing from here on.
        let text = if is_first {
            ":\n\n".to_owned()
        } else {
            let event = tokio::select! {
                biased;
                () = stopping.cancelled() => return None,
                event = timeout(KEEP_ALIVE, jobs.recv()) => event,
            };
            match event {
                Ok(Ok(job)) => {
                    format!("event: job\ndata: {}\n\n", serde_json::to_string(&job).ok()?)
                }
                Ok(Err(RecvError::Lagged(_))) => "event: missed\ndata: {}\n\n".to_owned(),
                Ok(Err(RecvError::Closed)) => return None,
                Err(_) => ":\n\n".to_owned(),
            }
        };
        Some((Ok::<_, Infallible>(Bytes::from(text)), (jobs, stopping, false)))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // nginx would keep events back otherwise.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(events)).into_response()
}
