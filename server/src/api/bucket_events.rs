//! `POST /events`: the store says that objects have changed, as MinIO's webhook does.
//!
//! Must not: believe more than a key's name. The store's own token is the permission; what is said too
//! fast or not at all is found by the look through the store.

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
};
use catalog::bucket_event;
use serde::Serialize;
use utoipa::ToSchema;

use super::session;
use crate::{auth::is_equal, error::Problem, ingest::BucketEvents};

/// What became of the records.
#[derive(Serialize, ToSchema)]
pub(crate) struct Taken {
    /// Objects that are going to be looked at.
    accepted: u64,
    /// Records of other buckets, other things, or beyond what waits already.
    ignored: u64,
}

/// Tell of changed objects
///
/// The record JSON of S3 events, as MinIO posts it to a webhook. `Authorization` is `Bearer` and
/// `store.events_token`, not the server's access token.
#[utoipa::path(post, path = "/events", tag = "events", request_body = Object,
    responses((status = 202, body = Taken)))]
pub(crate) async fn receive(
    State(events): State<BucketEvents>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Taken>), Problem> {
    let Some(token) = events.token() else {
        return Err(Problem::not_found("this server takes no events; set store.events_token"));
    };
    // MinIO sends its `auth_token` as a bearer, or as it is if there is a space in it.
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = sent
        .and_then(|sent| sent.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let is_right = sent.is_some_and(|sent| is_equal(sent, token))
        || bearer.is_some_and(|(_, sent)| is_equal(sent.trim(), token));
    if !is_right {
        let text = "Authorization is to be `Bearer` and store.events_token";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, text).bearer());
    }
    let body = session::read(body)?;
    let found =
        bucket_event::parse(&body).map_err(|error| Problem::bad_request(error.to_string()))?;
    let mut taken = Taken { accepted: 0, ignored: found.ignored };
    for event in found.events {
        match events.push(&event.bucket, event.key) {
            true => taken.accepted += 1,
            false => taken.ignored += 1,
        }
    }
    Ok((StatusCode::ACCEPTED, Json(taken)))
}
