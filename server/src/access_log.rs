//! One log line a request, without anything secret: no query, no session name, no signature.

use std::time::Instant;

use axum::{extract::Request, middleware::Next, response::Response};

/// Logs the answer: failures of ours as warnings, everything else for debugging.
pub(crate) async fn log(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let path = public_path(request.uri().path());
    let response = next.run(request).await;
    let (status, took_ms) = (response.status().as_u16(), began.elapsed().as_millis() as u64);
    if response.status().is_server_error() {
        tracing::warn!(%method, path, status, took_ms, "{method} {path} → {status}");
    } else {
        tracing::debug!(%method, path, status, took_ms, "{method} {path} → {status} in {took_ms} ms");
    }
    response
}

/// `/whep/door/<secret>` without the secret, and without what is below it.
fn public_path(path: &str) -> String {
    let mut segments: Vec<&str> = path.split('/').collect();
    if let ["", "whep" | "whip", _, session, below @ ..] = &mut segments[..] {
        *session = "…";
        // The name of an event stream, below the kind of the extension.
        below.iter_mut().skip(1).for_each(|segment| *segment = "…");
    }
    segments.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_session_is_not_logged() {
        assert_eq!(public_path("/whep/door/s3cret"), "/whep/door/…");
        assert_eq!(public_path("/whip/door/s3cret"), "/whip/door/…");
        assert_eq!(public_path("/whep/door/s3cret/sse/1"), "/whep/door/…/sse/…");
        assert_eq!(public_path("/assets/sha256:ab"), "/assets/sha256:ab");
    }
}
