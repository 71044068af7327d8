//! The one page that is not an application page: the token goes in, a cookie comes out.

use app::ssr::Viewer;
use axum::{
    Form,
    extract::{Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use serde::Deserialize;

use crate::auth::Auth;

const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// `GET /login?token=…&next=…`
#[derive(Deserialize)]
pub(crate) struct LoginQuery {
    token: Option<String>,
    next: Option<String>,
}

/// `POST /login`
#[derive(Deserialize)]
pub(crate) struct LoginForm {
    token: String,
    next: Option<String>,
}

pub(crate) async fn show(
    State(auth): State<Auth>,
    Query(query): Query<LoginQuery>,
    headers: HeaderMap,
) -> Response {
    match query.token {
        Some(token) => enter(&auth, &token, query.next.as_deref(), &headers),
        None if auth.is_open() => Redirect::to("/").into_response(),
        None => page(StatusCode::OK, query.next.as_deref(), None),
    }
}

pub(crate) async fn submit(
    State(auth): State<Auth>,
    headers: HeaderMap,
    Form(form): Form<LoginForm>,
) -> Response {
    enter(&auth, &form.token, form.next.as_deref(), &headers)
}

pub(crate) async fn logout(
    _viewer: Viewer,
    State(auth): State<Auth>,
    headers: HeaderMap,
) -> Response {
    ([(header::SET_COOKIE, auth.logout(&headers))], Redirect::to("/login")).into_response()
}

fn enter(auth: &Auth, token: &str, next: Option<&str>, headers: &HeaderMap) -> Response {
    match auth.login(token, headers) {
        Some(cookie) => {
            ([(header::SET_COOKIE, cookie)], Redirect::to(local_path(next))).into_response()
        }
        None => {
            page(StatusCode::FORBIDDEN, next, Some("This is not the access token of this server."))
        }
    }
}

/// Only a path on this server: `//elsewhere` and `https:` would lead away.
fn local_path(next: Option<&str>) -> &str {
    let is_local = |path: &&str| {
        let mut bytes = path.bytes();
        bytes.next() == Some(b'/')
            && !matches!(bytes.next(), Some(b'/' | b'\\'))
            && path.bytes().all(|b| b.is_ascii_graphic())
    };
    next.filter(is_local).unwrap_or("/")
}

fn page(status: StatusCode, next: Option<&str>, error: Option<&str>) -> Response {
    let error = error
        .map(|text| format!("<p class=\"error\" role=\"alert\">{text}</p>"))
        .unwrap_or_default();
    let next = escape(local_path(next));
    let html = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"dark light\">\
         <title>Log in · Damwall</title><link rel=\"icon\" type=\"image/svg+xml\" href=\"/favicon.svg\">\
         <link rel=\"stylesheet\" href=\"/login.css\"></head>\
         <body><main class=\"login\"><h1>Damwall</h1>\
         <p>Enter the access token. It was printed when the server was first started, and is in the \
         file <code>token</code> of its data folder.</p>{error}\
         <form method=\"post\" action=\"/login\"><label for=\"token\">Access token</label>\
         <input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"current-password\" \
         required autofocus><input type=\"hidden\" name=\"next\" value=\"{next}\">\
         <button type=\"submit\">Log in</button></form></main></body></html>"
    );
    let policy = (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    (status, [policy], Html(html)).into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_never_leads_to_another_site() {
        for bad in ["//evil.example", "/\\evil.example", "https://evil.example", "", "evil", "/a b"]
        {
            assert_eq!(local_path(Some(bad)), "/", "{bad:?}");
        }
        assert_eq!(local_path(Some("/assets?limit=5")), "/assets?limit=5");
    }
}
