//! `/whep/{camera}/{session}/sse`: server-sent events of a session. Source: draft WHEP core extensions;
//! HTML standard, "Server-sent events".

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use app::ssr::{Backend, Viewer};
use axum::{
    body::{Body, Bytes},
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use domain::CameraStatus;
use futures::stream;
use media::egress::handle::{Resource, RtcHandle};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::{
    input::{self, Path},
    session::{self, Caller},
};
use crate::{
    error::Problem,
    events::{EventStreams, Kind, Reader, StreamError},
};

/// A line that says nothing, so that proxies keep the connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How often a stream looks whether its session is still there, and whether bit rates are due.
const TICK: Duration = Duration::from_secs(1);

/// `POST …/sse` with a JSON array of kinds → 201, `Location` of the stream; without a body all kinds.
pub(crate) async fn open(
    _viewer: Viewer,
    State(rtc): State<RtcHandle>,
    State(streams): State<EventStreams>,
    Path((camera, session)): Path<(String, String)>,
    caller: Caller,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = session::read(body)?;
    let wanted = if body.is_empty() {
        Kind::ALL.to_vec()
    } else {
        let names: Vec<String> = input::read_json(&headers, &body)?;
        let kind = |name: &String| {
            Kind::of_name(name).ok_or_else(|| {
                let all = Kind::ALL.map(Kind::name).join(", ");
                Problem::bad_request(format!("there is no such event; there are {all}"))
            })
        };
        names.iter().map(kind).collect::<Result<_, _>>()?
    };
    let resource = session::viewer(&camera, session)?;
    rtc.stats(&resource).await.ok_or_else(session::no_session)?;
    let path = session::path(&resource);
    let name = streams.open(resource, wanted, Instant::now()).map_err(|error| {
        let status = match error {
            StreamError::SessionFull => StatusCode::CONFLICT,
            StreamError::Full => StatusCode::SERVICE_UNAVAILABLE,
        };
        Problem::new(status, error.to_string()).retry_after_secs(5)
    })?;
    let query = caller.query(&path);
    let location = session::header(format!("{path}/sse/{name}{query}"))?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)]).into_response())
}

/// `DELETE …/sse/{stream}` → 200; afterwards 404.
pub(crate) async fn close(
    _viewer: Viewer,
    State(streams): State<EventStreams>,
    Path((camera, session, name)): Path<(String, String, String)>,
) -> Result<StatusCode, Problem> {
    let resource = session::viewer(&camera, session)?;
    if streams.close(&resource, &name) { Ok(StatusCode::OK) } else { Err(no_stream()) }
}

/// `GET …/sse/{stream}` → `text/event-stream`, until the stream, its session or the server ends.
pub(crate) async fn read(
    _viewer: Viewer,
    State(rtc): State<RtcHandle>,
    State(streams): State<EventStreams>,
    State(backend): State<Backend>,
    Path((camera, session, name)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let resource = session::viewer(&camera, session)?;
    let Some(stats) = rtc.stats(&resource).await else {
        streams.close_session(&resource);
        return Err(no_stream());
    };
    let reader = streams.read(&resource, &name).ok_or_else(no_stream)?;
    reader.told.lock().unwrap_or_else(PoisonError::into_inner).begin_again();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reading = Reading {
        rtc,
        streams,
        cameras: backend.cameras,
        resource,
        media_id: stats.media_id,
        name,
        reader,
        ticks,
        last_sent: Instant::now(),
        is_over: false,
    };
    let events = stream::unfold(reading, |mut reading| async move {
        let text = reading.next().await?;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), reading))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // nginx would keep events back otherwise.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::from_stream(events)).into_response())
}

fn no_stream() -> Problem {
    Problem::not_found("there is no such event stream")
}

struct Reading {
    rtc: RtcHandle,
    streams: EventStreams,
    cameras: watch::Receiver<Arc<[CameraStatus]>>,
    resource: Resource,
    media_id: String,
    name: String,
    reader: Reader,
    ticks: tokio::time::Interval,
    last_sent: Instant,
    is_over: bool,
}

impl Reading {
    /// The next piece of the stream; `None` at its end.
    async fn next(&mut self) -> Option<String> {
        if self.is_over {
            return None;
        }
        loop {
            let text = self.due();
            if !text.is_empty() {
                return Some(text);
            }
            tokio::select! {
                biased;
                () = self.reader.stopping.cancelled() => {
                    self.is_over = true;
                    if !self.reader.wanted.contains(&Kind::Reconnect) {
                        return None;
                    }
                    let url = format!("/whep/{}", self.resource.camera);
                    return Some(Kind::Reconnect.message(&json!({ "url": url })));
                }
                () = self.reader.token.cancelled() => return None,
                changed = self.cameras.changed() => {
                    // The live plane is gone, and with it every session.
                    changed.ok()?;
                }
                _ = self.ticks.tick() => {
                    if self.rtc.stats(&self.resource).await.is_none() {
                        self.streams.close_session(&self.resource);
                        return None;
                    }
                }
            }
        }
    }

    fn due(&mut self) -> String {
        let now = Instant::now();
        let cameras = self.cameras.borrow_and_update().clone();
        let camera = cameras.iter().find(|camera| camera.id == self.resource.camera);
        let mut told = self.reader.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = told.due(camera, &self.media_id, &self.reader.wanted, now);
        if text.is_empty() && now >= self.last_sent + KEEP_ALIVE {
            text.push_str(":\n\n");
        }
        if !text.is_empty() {
            self.last_sent = now;
        }
        text
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.streams.left(&self.name, &self.reader, Instant::now());
    }
}
