//! Answers being made: one render for all who ask, in a task that outlives them.

use std::{
    collections::HashMap, panic::AssertUnwindSafe, sync::Arc, sync::atomic::Ordering::Relaxed,
};

use app::ssr::MadeFrom;
use axum::{
    body::{Body, Bytes, to_bytes},
    http::{HeaderMap, HeaderValue, Request, StatusCode, header, response::Parts},
    response::{IntoResponse as _, Response},
};
use futures::FutureExt as _;
use tokio::{
    sync::watch,
    time::{Duration, sleep, timeout},
};
use tower::ServiceExt as _;
use tracing::{error, warn};

use super::{
    BODY_MAX_BYTES, Content, FLIGHTS_MAX, Key, Kind, Page, PageCache, Served, csp,
    freshness::{Verdict, spacing_ms},
    tags::TagSet,
};
use crate::{cache_policy::CachePolicy, error::Problem};

/// Changes that a flight can hear of before they are compared with its tags; more make it outdated.
const UNCLEAR_MAX: usize = 256;

/// What a render came to.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// To keep.
    Good(Arc<Page>),
    /// A 5xx.
    Failed(Arc<Page>),
    /// For who waits, and not to keep.
    Other(Arc<Page>),
    /// For one asker alone.
    ForOne,
}

/// The end of a flight.
#[derive(Debug, Clone)]
pub(super) struct Landed {
    pub(super) outcome: Outcome,
    /// The change, by number, that made it old while it was made.
    pub(super) outdated_at: Option<u64>,
}

/// What an asker finds that would wait.
pub(super) enum Joined {
    /// An answer that came meanwhile.
    There(Arc<Page>, Served),
    /// A flight to wait for.
    Flight(Ticket),
    /// Too much to do.
    Full,
}

/// A place among those who wait for a flight.
pub(super) struct Ticket {
    pub(super) landed: watch::Receiver<Option<Landed>>,
    /// Changes there had been when the place was taken.
    pub(super) changes_before: u64,
    /// Whether the flight was under way.
    pub(super) collapsed: bool,
}

/// Flights by key, and how many changes there were.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    changes: u64,
    flights_begun: u64,
    by_key: HashMap<Key, Vec<Flight>>,
}

/// One render. Of several of one key, all but the last are outdated.
#[derive(Debug)]
struct Flight {
    number: u64,
    begun_ms: i64,
    made_from: MadeFrom,
    outdated_at: Option<u64>,
    /// Changes that met none of the tags noted so far.
    unclear: Vec<(u64, TagSet)>,
    landed: watch::Receiver<Option<Landed>>,
}

impl Lanes {
    /// Tells every flight of a change; `None` is of everything.
    pub(super) fn note_change(&mut self, change: Option<&TagSet>) {
        self.changes += 1;
        for flight in self.by_key.values_mut().flatten() {
            if flight.outdated_at.is_some() {
                continue;
            }
            match change {
                Some(change)
                    if flight.unclear.len() < UNCLEAR_MAX
                        && !change.meets(&TagSet::from_tags(&flight.made_from.tags())) =>
                {
                    flight.unclear.push((self.changes, change.clone()));
                }
                _ => flight.outdated_at = Some(self.changes),
            }
        }
    }

    /// Takes a flight out; returns the change that made it old, if one did.
    fn land(&mut self, key: &Key, number: u64, tags: &TagSet) -> Option<u64> {
        let flights = self.by_key.get_mut(key)?;
        let at = flights.iter().position(|flight| flight.number == number)?;
        let flight = flights.remove(at);
        if flights.is_empty() {
            self.by_key.remove(key);
        }
        let met = flight.unclear.iter().find(|(_, change)| change.meets(tags)).map(|seen| seen.0);
        // One that met a tag noted late may be the earlier.
        flight.outdated_at.into_iter().chain(met).min()
    }
}

impl PageCache {
    /// A place among those who wait for a flight that no change has outdated, which begins now if there
    /// is none.
    pub(super) fn join(&self, key: &Key) -> Joined {
        let mut lanes = self.lanes();
        let now_ms = self.0.settings.clock.now_ms();
        let kept = self.0.pages.get(key);
        // Flights land under this lock: one may have landed since the asker looked.
        if let Some(page) = &kept {
            match page.age().verdict(now_ms) {
                Verdict::Fresh { ttl_secs } => {
                    return Joined::There(page.clone(), Served::Hit { ttl_secs });
                }
                Verdict::BackOff { ttl_secs } => {
                    return Joined::There(page.clone(), Served::AfterFailure { ttl_secs });
                }
                Verdict::Stale { .. } | Verdict::Old => {}
            }
        }
        let changes_before = lanes.changes;
        let under_way = lanes.by_key.get(key).and_then(|flights| flights.last());
        if let Some(flight) = under_way.filter(|flight| flight.outdated_at.is_none()) {
            let landed = flight.landed.clone();
            return Joined::Flight(Ticket { landed, changes_before, collapsed: true });
        }
        let last_ms = match under_way {
            Some(flight) => Some(flight.begun_ms),
            None => kept.map(|page| page.age().made_ms),
        };
        if lanes.by_key.len() >= FLIGHTS_MAX {
            return Joined::Full;
        }
        let delay_ms = spacing_ms(last_ms, now_ms);
        let (sender, landed) = watch::channel(None);
        lanes.flights_begun += 1;
        let (number, made_from) = (lanes.flights_begun, MadeFrom::default());
        lanes.by_key.entry(key.clone()).or_default().push(Flight {
            number,
            begun_ms: now_ms.saturating_add_unsigned(delay_ms),
            made_from: made_from.clone(),
            outdated_at: None,
            unclear: Vec::new(),
            landed: landed.clone(),
        });
        drop(lanes);
        let (cache, key) = (self.clone(), key.clone());
        self.0.tasks.spawn(async move {
            if delay_ms > 0 {
                sleep(Duration::from_millis(delay_ms)).await;
            }
            let landed = cache.fly(&key, number, &made_from).await;
            sender.send_replace(Some(landed));
        });
        Joined::Flight(Ticket { landed, changes_before, collapsed: false })
    }

    async fn fly(&self, key: &Key, number: u64, made_from: &MadeFrom) -> Landed {
        let _turn = self.0.renders.acquire().await;
        self.0.rendered.fetch_add(1, Relaxed);
        let begun_ms = self.0.settings.clock.now_ms();
        let flown = AssertUnwindSafe(self.render(key, made_from)).catch_unwind();
        let rendered = match timeout(self.0.render_timeout, flown).await {
            Ok(Ok(rendered)) => rendered,
            Ok(Err(_panic)) => {
                error!(key = %key.target(), "a render panicked: {}", key.target());
                failure("This page could not be made.")
            }
            Err(_elapsed) => {
                warn!(key = %key.target(), "a render took too long: {}", key.target());
                failure("This page took too long to make.")
            }
        };
        let previous = self.0.pages.get(key);
        let content = self.content(key, rendered, previous.as_ref()).await;
        let tags = TagSet::from_tags(&made_from.tags());

        let mut lanes = self.lanes();
        let outdated_at = lanes.land(key, number, &tags);
        let outcome = match content {
            None => {
                self.0.pages.invalidate(key);
                Outcome::ForOne
            }
            Some(content) if content.status == StatusCode::OK && !tags.is_empty() => {
                let page = Arc::new(Page::new(content, tags, begun_ms));
                if outdated_at.is_some() {
                    page.note_change();
                }
                let newer = self.0.pages.get(key).filter(|kept| kept.age().made_ms > begun_ms);
                if newer.is_none_or(|kept| !kept.is_good()) {
                    self.0.pages.insert(key.clone(), page.clone());
                }
                Outcome::Good(page)
            }
            Some(content) if content.status.is_server_error() => {
                let now_ms = self.0.settings.clock.now_ms();
                let kept = self.0.pages.get(key);
                let failures = match &kept {
                    Some(kept) if kept.is_good() => {
                        kept.note_failure(now_ms);
                        0
                    }
                    Some(failure) => failure.age().failures,
                    None => 0,
                };
                let page = Arc::new(Page::failure(content, failures, now_ms));
                if kept.is_none_or(|kept| !kept.is_good()) {
                    self.0.pages.insert(key.clone(), page.clone());
                }
                Outcome::Failed(page)
            }
            Some(content) => {
                self.0.pages.invalidate(key);
                Outcome::Other(Arc::new(Page::new(content, tags, begun_ms)))
            }
        };
        drop(lanes);
        Landed { outcome, outdated_at }
    }

    /// The answer to a request that says what the key says and nothing else.
    async fn render(&self, key: &Key, made_from: &MadeFrom) -> (Parts, Bytes) {
        let Some(access) = key.access() else { return failure("This page has no name.") };
        let accept = match key.kind() {
            Kind::Page => "text/html",
            Kind::Api => "application/json",
        };
        let request = Request::get(key.target())
            .header(header::ACCEPT, accept)
            .extension(access)
            .extension(made_from.clone())
            .body(Body::empty());
        let Ok(request) = request else { return failure("This page has no name.") };
        let response = match self.0.render.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (parts, body) = response.into_parts();
        match to_bytes(body, BODY_MAX_BYTES).await {
            Ok(body) => (parts, body),
            Err(cause) => {
                warn!(error = %cause, "a render ended early: {}", key.target());
                failure("This page ended early.")
            }
        }
    }

    /// What is to be sent to everyone who asks for the key; `None` when it is for one asker alone.
    async fn content(
        &self,
        key: &Key,
        (mut parts, mut body): (Parts, Bytes),
        previous: Option<&Arc<Page>>,
    ) -> Option<Arc<Content>> {
        let is_kept_from_others = parts
            .headers
            .get_all(header::CACHE_CONTROL)
            .iter()
            .any(|value| value.as_bytes().windows(8).any(|word| word == b"no-store"));
        if parts.headers.contains_key(header::SET_COOKIE) || is_kept_from_others {
            return None;
        }
        let policy = match (parts.status, key.kind(), self.0.settings.is_open) {
            (StatusCode::OK, Kind::Page, true) => CachePolicy::OpenPage,
            (StatusCode::OK, Kind::Api, true) => CachePolicy::OpenApi,
            (StatusCode::OK, _, false) => CachePolicy::Revalidate,
            _ => CachePolicy::NoStore,
        };
        set_policy(&mut parts.headers, key.kind(), policy);
        if parts.status.is_server_error() {
            parts.headers.entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static("3"));
        }
        if let Some((text, policy)) = by_hash(&parts.headers, &body) {
            parts.headers.insert(header::CONTENT_SECURITY_POLICY, policy);
            body = text.into();
        }
        let previous = previous.map(|page| page.content.clone());
        let (status, headers) = (parts.status, parts.headers);
        // Compression takes milliseconds.
        let made =
            tokio::task::spawn_blocking(move || Content::new(status, headers, body, previous));
        made.await.ok()
    }
}

/// Puts what may be kept by others, and what it depends on, into an answer's headers.
pub(super) fn set_policy(headers: &mut HeaderMap, kind: Kind, policy: CachePolicy) {
    // The API is told of `Origin` by `cors`.
    let vary = match kind {
        Kind::Page => "Accept-Encoding",
        Kind::Api => "Accept-Encoding, Origin",
    };
    headers.insert(header::VARY, HeaderValue::from_static(vary));
    headers.insert(header::CACHE_CONTROL, policy.header());
}

fn by_hash(headers: &HeaderMap, body: &Bytes) -> Option<(String, HeaderValue)> {
    let policy = headers.get(header::CONTENT_SECURITY_POLICY)?.to_str().ok()?;
    let (text, policy) = csp::by_hash(std::str::from_utf8(body).ok()?, policy)?;
    Some((text, HeaderValue::try_from(policy).ok()?))
}

/// An answer in place of one that could not be made.
fn failure(sentence: &str) -> (Parts, Bytes) {
    let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, sentence);
    let response: Response = problem.into_response();
    let (parts, _) = response.into_parts();
    let body = format!(
        r#"{{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"{sentence}"}}"#
    );
    (parts, body.into())
}
