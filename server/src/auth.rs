//! Who a request is from. The only module that decides it; everything else names a role
//! ([`app::ssr::Viewer`] and its siblings) and is given or refused it.
//!
//! Without a token (loopback only) everyone is an administrator, so two things are checked that a token
//! would make needless: the `Host` must be this machine's (else a page elsewhere could reach in by DNS
//! rebinding), and a request that changes something must not come from another site.
//!
//! Pages of an allowed other origin ([`crate::cors`]) bring the token themselves; a cookie is no
//! permission for them. Players that cannot send headers put the token into the URL of a WHIP or WHEP
//! endpoint, and get session URLs that carry a permission for just that session.

use std::sync::Arc;

use app::ssr::Access;
use aws_lc_rs::{constant_time, hmac};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use domain::Role;

use crate::{
    cors::{CrossOrigin, is_signalling},
    error::Problem,
};

const COOKIE: &str = "damwall";
/// Browsers keep a cookie for at most 400 days.
const COOKIE_MAX_AGE_SECS: u32 = 400 * 24 * 3600;

/// The rules of this server; cheap to clone.
#[derive(Clone, Debug)]
pub struct Auth(Arc<Rules>);

enum Rules {
    Open { allowed_hosts: Vec<String> },
    Token(Box<TokenRules>),
}

struct TokenRules {
    token: String,
    /// What the cookie holds: derived, so that a cookie does not give the token away.
    cookie: String,
    /// Signs session URLs.
    session_key: hmac::Key,
}

/// Makes session URLs usable without a header; is in the requests of callers who sent none.
#[derive(Clone, Debug)]
pub(crate) struct SessionSigner(Auth);

impl SessionSigner {
    /// What to put behind the URL of a session, and of whatever is below it.
    pub(crate) fn query(&self, session_path: &str) -> String {
        match &*self.0.0 {
            Rules::Open { .. } => String::new(),
            Rules::Token(rules) => format!("?key={}", rules.sign_session(session_path)),
        }
    }
}

impl TokenRules {
    fn sign_session(&self, session_path: &str) -> String {
        hex::encode(hmac::sign(&self.session_key, session_path.as_bytes()))
    }

    /// The token, or the key of a session, in the URL of WHIP and WHEP requests.
    fn admit_by_url(&self, uri: &Uri) -> Option<Admitted> {
        if !is_signalling(uri.path()) {
            return None;
        }
        let access = |role| Access { role, token_login: false };
        let by = |name: &'static str| {
            let pairs = uri.query().unwrap_or_default().split('&');
            pairs.filter_map(|pair| pair.split_once('=')).find(move |pair| pair.0 == name)
        };
        if let Some((_, token)) = by("token") {
            let is_right = is_equal(token, &self.token);
            return is_right.then(|| Admitted { access: access(Role::Admin), is_by_url: true });
        }
        let (_, key) = by("key")?;
        // `/whep/{camera}/{session}`, of which anything below is a part.
        let mut slashes = uri.path().match_indices('/').skip(3);
        let session = slashes.next().map_or(uri.path(), |(end, _)| &uri.path()[..end]);
        let is_right = is_equal(key, &self.sign_session(session));
        is_right.then(|| Admitted { access: access(Role::Operator), is_by_url: true })
    }
}

struct Admitted {
    access: Access,
    is_by_url: bool,
}

impl From<Access> for Admitted {
    fn from(access: Access) -> Self {
        Self { access, is_by_url: false }
    }
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open { .. } => "Open",
            Self::Token(_) => "Token(…)",
        })
    }
}

impl Auth {
    /// Everyone on this machine may do everything; `allowed_hosts` are names besides loopback's.
    pub fn open(allowed_hosts: Vec<String>) -> Self {
        Self(Arc::new(Rules::Open { allowed_hosts }))
    }

    /// Whoever holds the token may do everything.
    pub fn token(secret: [u8; 32]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let cookie = hex::encode(hmac::sign(&key, b"damwall login cookie 1"));
        let session_key = hmac::sign(&key, b"damwall session key 1");
        let session_key = hmac::Key::new(hmac::HMAC_SHA256, session_key.as_ref());
        let rules = TokenRules { token: hex::encode(secret), cookie, session_key };
        Self(Arc::new(Rules::Token(Box::new(rules))))
    }

    /// Whether requests need no token.
    pub fn is_open(&self) -> bool {
        matches!(&*self.0, Rules::Open { .. })
    }

    /// The token, to be printed once.
    pub fn expose_token(&self) -> Option<&str> {
        match &*self.0 {
            Rules::Open { .. } => None,
            Rules::Token(rules) => Some(&rules.token),
        }
    }

    /// `Set-Cookie` for whoever brought this token; `None` when it is wrong or none is needed.
    pub(crate) fn login(&self, token: &str, headers: &HeaderMap) -> Option<HeaderValue> {
        match &*self.0 {
            Rules::Token(rules) if is_equal(token.trim(), &rules.token) => {
                Some(set_cookie(&rules.cookie, COOKIE_MAX_AGE_SECS, headers))
            }
            _ => None,
        }
    }

    /// `Set-Cookie` that logs out.
    pub(crate) fn logout(&self, headers: &HeaderMap) -> HeaderValue {
        set_cookie("", 0, headers)
    }

    /// Who a request is from that no layer has seen yet; `None` when it is not let in.
    pub(crate) fn access<B>(
        &self,
        request: &axum::http::Request<B>,
        cross_origin: Option<CrossOrigin>,
    ) -> Option<Access> {
        self.admit_from(request, cross_origin).ok().map(|admitted| admitted.access)
    }

    fn admit(&self, request: &Request) -> Result<Admitted, Refused> {
        self.admit_from(request, request.extensions().get::<CrossOrigin>().copied())
    }

    fn admit_from<B>(
        &self,
        request: &axum::http::Request<B>,
        cross_origin: Option<CrossOrigin>,
    ) -> Result<Admitted, Refused> {
        let headers = request.headers();
        let is_cross_origin = cross_origin.is_some();
        match &*self.0 {
            Rules::Open { allowed_hosts } => {
                if !is_own_host(request.uri(), headers, allowed_hosts) {
                    return Err(Refused::ForeignHost);
                }
                // There is no token that such a page could bring: it may look, as its origin is allowed.
                if is_cross_origin {
                    return Ok(Access { role: Role::Viewer, token_login: false }.into());
                }
                check_origin(request)?;
                Ok(Access { role: Role::Admin, token_login: false }.into())
            }
            Rules::Token(rules) => {
                let bearer = headers
                    .get(header::AUTHORIZATION)
                    .and_then(|value| value.to_str().ok())
                    .and_then(|value| value.split_once(' '))
                    .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
                if let Some((_, token)) = bearer {
                    // A browser does not add this header by itself: no other site can have sent it.
                    return if is_equal(token.trim(), &rules.token) {
                        Ok(Access { role: Role::Admin, token_login: false }.into())
                    } else {
                        Err(Refused::NoToken)
                    };
                }
                if let Some(admitted) = rules.admit_by_url(request.uri()) {
                    return Ok(admitted);
                }
                if is_cross_origin || !cookies(headers).any(|value| is_equal(value, &rules.cookie))
                {
                    return Err(Refused::NoToken);
                }
                check_origin(request)?;
                Ok(Access { role: Role::Admin, token_login: true }.into())
            }
        }
    }
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    NoToken,
    ForeignHost,
    ForeignOrigin,
}

/// Lets a request in with its [`Access`], or answers it.
pub(crate) async fn require_access(
    State(auth): State<Auth>,
    mut request: Request,
    next: Next,
) -> Response {
    match auth.admit(&request) {
        Ok(Admitted { access, is_by_url }) => {
            request.extensions_mut().insert(access);
            if is_by_url {
                request.extensions_mut().insert(SessionSigner(auth));
            }
            next.run(request).await
        }
        Err(refused) => refuse(refused, &request),
    }
}

fn refuse(refused: Refused, request: &Request) -> Response {
    match refused {
        Refused::NoToken => {
            // Signalling is never a page, and its URL may hold a token that must not go to the login page's.
            let wants_page = !is_signalling(request.uri().path())
                && crate::api::wants_page(request.headers());
            let back = match *request.method() {
                Method::GET => request.uri().path_and_query().map(|path| path.to_string()),
                // A form: what it asked for is lost, but not the page that it was on.
                Method::POST => Some(own_referer(request).unwrap_or_else(|| "/".to_owned())),
                _ => None,
            };
            if let Some(path) = back.filter(|_| wants_page) {
                let next = percent_encoding::utf8_percent_encode(&path, percent_encoding::NON_ALPHANUMERIC);
                return Redirect::to(&format!("/login?next={next}")).into_response();
            }
            let text = "an access token is needed";
            Problem::new(StatusCode::UNAUTHORIZED, text).bearer().into_response()
        }
        Refused::ForeignHost => Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this server answers only to this machine's own names; add the name to server.allowed_hosts",
        )
        .into_response(),
        Refused::ForeignOrigin => {
            Problem::new(StatusCode::FORBIDDEN, "requests from other sites are not accepted").into_response()
        }
    }
}

pub(crate) fn is_equal(sent: &str, expected: &str) -> bool {
    constant_time::verify_slices_are_equal(sent.as_bytes(), expected.as_bytes()).is_ok()
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value)
}

fn set_cookie(value: &str, max_age_secs: u32, headers: &HeaderMap) -> HeaderValue {
    let is_https = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let secure = if is_https { "; Secure" } else { "" };
    let text =
        format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age_secs}{secure}");
    HeaderValue::from_str(&text).expect("hex digits and fixed text are a header value")
}

/// Host without its port: from the request line (HTTP/2, absolute form) or the `Host` header.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    uri.authority()
        .cloned()
        .or_else(|| headers.get(header::HOST)?.to_str().ok()?.parse::<Authority>().ok())
}

/// Path and query of the page of ours that a request came from, if it says one.
fn own_referer(request: &Request) -> Option<String> {
    let referer: Uri = request.headers().get(header::REFERER)?.to_str().ok()?.parse().ok()?;
    let is_own = referer.authority() == host(request.uri(), request.headers()).as_ref();
    let path = referer.path_and_query()?;
    is_own.then(|| path.to_string())
}

fn is_own_host(uri: &Uri, headers: &HeaderMap, allowed_hosts: &[String]) -> bool {
    let Some(authority) = host(uri, headers) else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    is_loopback || allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
}

/// Whether a request that changes something came from our own pages, or from no page at all.
pub(crate) fn is_from_own_page(request: &Request) -> bool {
    check_origin(request).is_ok()
}

/// Requests that change something come from our own pages, or from no page at all.
fn check_origin<B>(request: &axum::http::Request<B>) -> Result<(), Refused> {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let Some(origin) = request.headers().get(header::ORIGIN) else { return Ok(()) };
    let origin =
        origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    let own = host(request.uri(), request.headers());
    match (origin, own) {
        (Some(origin), Some(own)) if origin.eq_ignore_ascii_case(own.as_str()) => Ok(()),
        _ => Err(Refused::ForeignOrigin),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::builder().method(method).uri("/api/assets");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn an_open_server_answers_only_to_its_own_names() {
        let auth = Auth::open(vec!["media.example".into()]);
        let check = |host: &str, expected: bool| {
            assert_eq!(auth.admit(&request("GET", &[("host", host)])).is_ok(), expected, "{host}");
        };
        for own in ["localhost:3000", "127.0.0.1:3000", "[::1]:3000", "MEDIA.example", "127.3.4.5"]
        {
            check(own, true);
        }
        for foreign in ["evil.example", "localhost.evil.example:3000", "192.168.0.7:3000", ""] {
            check(foreign, false);
        }
    }

    #[test]
    fn another_site_cannot_change_anything() {
        let auth = Auth::open(vec![]);
        let host = ("host", "localhost:3000");
        for (origin, expected) in [
            ("http://localhost:3000", Ok(())),
            ("http://evil.example", Err(Refused::ForeignOrigin)),
            ("http://localhost:4000", Err(Refused::ForeignOrigin)),
            ("null", Err(Refused::ForeignOrigin)),
        ] {
            let admitted = auth.admit(&request("POST", &[host, ("origin", origin)])).map(|_| ());
            assert_eq!(admitted, expected, "{origin}");
        }
        assert!(auth.admit(&request("DELETE", &[host])).is_ok(), "curl sends no Origin");
    }

    #[test]
    fn a_token_comes_as_bearer_or_as_the_cookie_of_a_login() {
        let auth = Auth::token([7; 32]);
        let token = auth.expose_token().unwrap().to_owned();
        let admit = |name: &str, value: &str| auth.admit(&request("GET", &[(name, value)]));
        assert!(admit("authorization", &format!("Bearer {token}")).is_ok());
        assert!(admit("authorization", &format!("bearer {token}")).is_ok());
        assert!(admit("authorization", "Bearer x").is_err());
        assert!(
            admit("cookie", &format!("damwall={token}")).is_err(),
            "the cookie is not the token"
        );

        assert_eq!(auth.login("wrong", &HeaderMap::new()), None);
        let cookie = auth.login(&token, &HeaderMap::new()).unwrap();
        let cookie = cookie.to_str().unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"));
        let pair = cookie.split(';').next().unwrap();
        let access = admit("cookie", &format!("other=1; {pair}")).unwrap().access;
        assert!(access.token_login);
        assert_eq!(access.role, Role::Admin);
    }

    fn at(uri: &str) -> Request {
        Request::get(uri).body(Body::empty()).unwrap()
    }

    #[test]
    fn a_token_in_the_url_opens_signalling_only_and_leads_to_urls_of_one_session() {
        let auth = Auth::token([7; 32]);
        let token = auth.expose_token().unwrap();
        assert!(auth.admit(&at(&format!("/whep/door?token={token}"))).is_ok_and(|a| a.is_by_url));
        assert!(auth.admit(&at(&format!("/whip/door?a=b&token={token}"))).is_ok());
        assert!(auth.admit(&at("/whep/door?token=wrong")).is_err());
        assert!(auth.admit(&at(&format!("/api/cameras?token={token}"))).is_err());

        let query = SessionSigner(auth.clone()).query("/whep/door/abc");
        assert!(!query.contains(token));
        for path in ["/whep/door/abc", "/whep/door/abc/sse/1"] {
            let admitted =
                auth.admit(&at(&format!("{path}{query}"))).unwrap_or_else(|_| panic!("{path}"));
            assert_eq!(admitted.access.role, Role::Operator);
        }
        for path in
            ["/whep/door/abd", "/whep/door", "/whip/door/abc", "/api/cameras", "/whep/yard/abc"]
        {
            assert!(auth.admit(&at(&format!("{path}{query}"))).is_err(), "{path}");
        }
    }

    #[test]
    fn a_page_of_an_allowed_origin_brings_a_token_and_no_cookie() {
        let auth = Auth::token([7; 32]);
        let cookie = auth.login(auth.expose_token().unwrap(), &HeaderMap::new()).unwrap();
        let cookie = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
        let bearer = format!("Bearer {}", auth.expose_token().unwrap());
        let origin = ("origin", "https://player.example");
        let mut with_cookie = request("POST", &[origin, ("cookie", &cookie)]);
        with_cookie.extensions_mut().insert(CrossOrigin);
        assert!(auth.admit(&with_cookie).is_err());
        let mut with_token = request("POST", &[origin, ("authorization", &bearer)]);
        with_token.extensions_mut().insert(CrossOrigin);
        assert!(auth.admit(&with_token).is_ok());

        let mut open = request("POST", &[origin, ("host", "localhost")]);
        open.extensions_mut().insert(CrossOrigin);
        let admitted = Auth::open(vec![]).admit(&open).unwrap_or_else(|_| panic!("let in"));
        assert_eq!(admitted.access.role, Role::Viewer, "without a token it may only look");
    }

    #[test]
    fn a_form_of_somebody_logged_out_leads_to_the_login_and_back_to_its_page() {
        let next = |headers: &[(&str, &str)]| {
            let headers = [&[("host", "media.example:3000")], headers].concat();
            let response = refuse(Refused::NoToken, &request("POST", &headers));
            let location = response.headers().get(header::LOCATION);
            (response.status().as_u16(), location.map(|to| to.to_str().unwrap().to_owned()))
        };
        let html = ("accept", "text/html,application/xhtml+xml");
        let page = "http://media.example:3000/assets?q=a%20b";
        let to = |path: &str| (303, Some(format!("/login?next={path}")));
        assert_eq!(next(&[html, ("referer", page)]), to("%2Fassets%3Fq%3Da%2520b"));
        for referer in ["http://evil.example/assets", "http://media.example/assets", "nonsense", ""]
        {
            assert_eq!(next(&[html, ("referer", referer)]), to("%2F"), "{referer:?}");
        }
        assert_eq!(next(&[html]), to("%2F"));
        assert_eq!(next(&[("referer", page)]), (401, None), "no form");
    }

    #[test]
    fn secrets_never_show() {
        assert!(!format!("{:?}", Auth::token([7; 32])).contains("0707"));
    }
}
