//! `Link` headers of a session: ICE servers and extensions. Source: RFC 8288, RFC 9725 §4.6.
//!
//! Must not: know a request or a session's state.

use axum::http::HeaderValue;

use crate::config::IceServer;

/// Of the extensions' drafts.
const EVENTS: &str = "urn:ietf:params:whep:ext:core:server-sent-events";
const LAYER: &str = "urn:ietf:params:whep:ext:core:layer";
/// Of our own.
const PAUSE: &str = "urn:damwall:whep:ext:pause";
const STATS: &str = "urn:damwall:whep:ext:stats";

/// `Link` of an ICE server, or what is wrong with the setting.
///
/// # Errors
/// A sentence's end, about the setting.
pub(crate) fn ice_server(server: &IceServer) -> Result<HeaderValue, &'static str> {
    let (scheme, host) = server.url.split_once(':').unwrap_or_default();
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let is_url = !host.is_empty() && is_plain(host) && !host.contains(['<', '>', '"', '@', '/']);
    let text = match (scheme, &server.username, &server.credential) {
        _ if !is_url => return Err("url is to be stun:host[:port] or turn:host[:port]"),
        ("stun" | "stuns", None, None) => format!("<{}>; rel=\"ice-server\"", server.url),
        ("stun" | "stuns", ..) => return Err("a stun: server takes no username or credential"),
        ("turn" | "turns", Some(username), Some(credential)) => {
            let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let credential = credential.expose();
            if !is_plain(username) || !is_plain(credential) {
                return Err("username and credential are to be ASCII without spaces");
            }
            format!(
                "<{}>; rel=\"ice-server\"; username=\"{}\"; credential=\"{}\"; \
                 credential-type=\"password\"",
                server.url,
                quoted(username),
                quoted(credential)
            )
        }
        ("turn" | "turns", ..) => return Err("a turn: server needs username and credential"),
        _ => return Err("url is to be stun:, stuns:, turn: or turns:"),
    };
    let mut link = HeaderValue::from_str(&text).map_err(|_| "has characters no header can hold")?;
    link.set_sensitive(server.credential.is_some());
    Ok(link)
}

/// `Link`s of a WHEP session's extensions; `query` goes behind each URL.
pub(crate) fn extensions(session_path: &str, query: &str) -> [String; 4] {
    let link = |name: &str, rel: &str| format!("<{session_path}/{name}{query}>; rel=\"{rel}\"");
    let events = crate::events::Kind::ALL.map(crate::events::Kind::name).join(",");
    [
        format!("{}; events=\"{events}\"", link("sse", EVENTS)),
        link("layer", LAYER),
        link("pause", PAUSE),
        link("stats", STATS),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, credentials: Option<(&str, &str)>, expected: Result<&str, ()>) {
        let toml = match credentials {
            None => format!("url = '{url}'"),
            Some((username, credential)) => {
                format!("url = '{url}'\nusername = '{username}'\ncredential = '{credential}'")
            }
        };
        let link = ice_server(&toml::from_str(&toml).unwrap());
        assert_eq!(link.as_ref().map(|link| link.to_str().unwrap()).map_err(|_| ()), expected);
    }

    #[test]
    fn an_ice_server_is_written_as_rfc_9725_shows_it() {
        check("stun:stun.example", None, Ok("<stun:stun.example>; rel=\"ice-server\""));
        check(
            "turn:turn.example:3478?transport=udp",
            Some(("user", "pa\"ss")),
            Ok("<turn:turn.example:3478?transport=udp>; rel=\"ice-server\"; username=\"user\"; \
                credential=\"pa\\\"ss\"; credential-type=\"password\""),
        );
        for (url, credentials) in [
            ("turn:turn.example", None),
            ("stun:stun.example", Some(("u", "p"))),
            ("stun:", None),
            ("https://stun.example", None),
            ("stun:a>; rel=x", None),
            ("turn:a", Some(("u r", "p"))),
        ] {
            check(url, credentials, Err(()));
        }
    }
}
