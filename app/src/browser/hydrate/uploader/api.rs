//! The questions of an upload, and what their answers mean. Must not: ask twice.

use domain::{Asset, NewUpload, Upload, UploadId, UploadPart, UploadState};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use wasm_bindgen::JsValue;
use web_sys::{RequestInit, Response};

use super::super::dom;
use crate::state::upload::Event;

/// What a question led to.
#[derive(Debug)]
pub(super) enum Answer {
    Event(Event),
    LoggedOut,
}

/// `POST /api/uploads`
pub(super) async fn announce(new: &NewUpload) -> Answer {
    let Ok(body) = serde_json::to_string(new) else { return Answer::Event(Event::Lost) };
    let answer = send("/api/uploads", &body).await;
    understood(answer, |status, text| match status {
        200 => asset(text, true),
        201 => told(text),
        // It was ended just now.
        404 | 409 => Some(Event::Lost),
        _ => None,
    })
    .await
}

/// `POST /api/uploads/{id}/parts`
pub(super) async fn sign(id: &UploadId, numbers: &[u16]) -> Answer {
    #[derive(Deserialize)]
    struct Links {
        items: Vec<Link>,
    }
    #[derive(Deserialize)]
    struct Link {
        number: u16,
        url: String,
    }
    let body = json!({ "numbers": numbers }).to_string();
    let answer = send(&format!("/api/uploads/{id}/parts"), &body).await;
    understood(answer, |status, text| match status {
        200 => {
            let links: Links = parse(text)?;
            let links = links.items.into_iter().map(|link| (link.number, link.url));
            Some(Event::Signed(links.collect()))
        }
        404 | 409 => Some(Event::Gone),
        _ => None,
    })
    .await
}

/// `POST /api/uploads/{id}/complete`
pub(super) async fn complete(id: &UploadId, parts: &[UploadPart]) -> Answer {
    let body = json!({ "parts": parts }).to_string();
    let answer = send(&format!("/api/uploads/{id}/complete"), &body).await;
    understood(answer, |status, text| match status {
        200 => asset(text, false),
        202 => told(text),
        404 | 409 => Some(Event::Gone),
        _ => None,
    })
    .await
}

/// `GET /api/uploads/{id}`
pub(super) async fn look(id: &UploadId) -> Answer {
    let answer = dom::fetch(&format!("/api/uploads/{id}"), &dom::request("GET")).await;
    understood(answer, |status, text| match status {
        200 => told(text),
        404 => Some(Event::Gone),
        _ => None,
    })
    .await
}

/// `DELETE /api/uploads/{id}`
pub(super) async fn end(id: &UploadId) -> Answer {
    let answer = dom::fetch(&format!("/api/uploads/{id}"), &dom::request("DELETE")).await;
    match answer.map(|answer| answer.status()) {
        Ok(204 | 404) => Answer::Event(Event::Ended),
        Ok(409) => Answer::Event(Event::NotEnded),
        Ok(401) => Answer::LoggedOut,
        Ok(_) | Err(_) => Answer::Event(Event::EndLost),
    }
}

/// The same for an upload of which nothing was heard for a while: what is an asset by now has no end.
pub(super) async fn end_unfinished(id: &UploadId) -> Answer {
    match look(id).await {
        Answer::Event(Event::Told(upload)) if upload.state == UploadState::Done => {
            Answer::Event(Event::IsAsset { asset: upload.asset_id, was_known: false })
        }
        Answer::Event(Event::Gone) => Answer::Event(Event::Ended),
        Answer::Event(Event::Told(_)) => end(id).await,
        other => other,
    }
}

/// `GET /api/uploads`; `None` when there is no answer.
pub(super) async fn unfinished() -> Option<Vec<Upload>> {
    #[derive(Deserialize)]
    struct Unfinished {
        items: Vec<Upload>,
    }
    let answer = dom::fetch("/api/uploads", &dom::request("GET")).await.ok()?;
    let text = dom::text(&answer).await.ok()?;
    if !answer.ok() {
        return None;
    }
    parse::<Unfinished>(&text).map(|unfinished| unfinished.items)
}

async fn send(url: &str, body: &str) -> Result<Response, JsValue> {
    let init: RequestInit = dom::request_with("POST", "application/json", body)?;
    dom::fetch(url, &init).await
}

/// Reads an answer; `read` knows those of this question.
async fn understood(
    answer: Result<Response, JsValue>,
    read: impl FnOnce(u16, &str) -> Option<Event>,
) -> Answer {
    let Ok(answer) = answer else { return Answer::Event(Event::Lost) };
    let status = answer.status();
    let Ok(text) = dom::text(&answer).await else { return Answer::Event(Event::Lost) };
    Answer::Event(match (read(status, &text), status) {
        (Some(event), _) => event,
        (None, 401) => return Answer::LoggedOut,
        (None, 400..=499 | 507) if status != 429 => Event::Refused(problem(&text)),
        // Busy, down, or not understood: later it may be.
        (None, _) => Event::Lost,
    })
}

fn asset(text: &str, was_known: bool) -> Option<Event> {
    let asset = parse::<Asset>(text)?.id;
    Some(Event::IsAsset { asset, was_known })
}

fn told(text: &str) -> Option<Event> {
    Some(Event::Told(Box::new(parse(text)?)))
}

fn parse<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(text.as_bytes()).ok()
}

/// The sentence of a problem report.
fn problem(text: &str) -> String {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    let detail = parse::<Problem>(text).map(|problem| problem.detail);
    detail.unwrap_or_else(|| "The server refuses the file.".to_owned())
}
