//! `ICE_SERVERS` of the environment: what browsers take as `iceServers`, or plain URLs. Pure.
//!
//! Source: W3C WebRTC §4.2.4 (RTCIceServer).

use serde::Deserialize;
use toml::{Table, Value};

/// What else is in an entry (`credentialType` of older browsers) does not matter here.
#[derive(Deserialize)]
struct RtcIceServer {
    urls: Urls,
    username: Option<String>,
    credential: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Urls {
    One(String),
    Many(Vec<String>),
}

/// The entries of `live.ice_servers` that a text stands for: a JSON array of `RTCIceServer`, or URLs with
/// commas or spaces between them.
///
/// # Errors
/// What is expected instead; never the text, which may hold a password.
pub(super) fn parse(text: &str) -> Result<Value, &'static str> {
    let entry = |url: &str, username: Option<&str>, credential: Option<&str>| {
        let fields = [("url", Some(url)), ("username", username), ("credential", credential)];
        let fields = fields
            .into_iter()
            .filter_map(|(name, text)| Some((name.to_owned(), Value::String(text?.to_owned()))));
        Value::Table(fields.collect::<Table>())
    };
    if !text.trim_start().starts_with('[') {
        let urls = text.split([',', ' ', '\n']).map(str::trim).filter(|url| !url.is_empty());
        return Ok(Value::Array(urls.map(|url| entry(url, None, None)).collect()));
    }
    let servers: Vec<RtcIceServer> = serde_json::from_str(text)
        .map_err(|_| "expected a JSON array of {\"urls\": …}, or URLs with commas between them")?;
    let mut entries = Vec::new();
    for server in &servers {
        let urls = match &server.urls {
            Urls::One(url) => std::slice::from_ref(url),
            Urls::Many(urls) => urls,
        };
        let (username, credential) = (server.username.as_deref(), server.credential.as_deref());
        entries.extend(urls.iter().map(|url| entry(url, username, credential)));
    }
    Ok(Value::Array(entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(text: &str) -> Vec<String> {
        let Ok(Value::Array(entries)) = parse(text) else { panic!("{text}") };
        entries.iter().map(|entry| entry["url"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn it_is_what_browsers_take_or_plain_urls() {
        assert_eq!(urls("stun:a.example"), ["stun:a.example"]);
        assert_eq!(
            urls("stun:a.example, stun:b.example:3478"),
            ["stun:a.example", "stun:b.example:3478"]
        );
        let json = r#"[{"urls": "stun:a.example"},
            {"urls": ["turn:b.example", "turns:b.example"], "username": "u", "credential": "c"}]"#;
        assert_eq!(urls(json), ["stun:a.example", "turn:b.example", "turns:b.example"]);
        let Ok(Value::Array(entries)) = parse(json) else { panic!() };
        assert_eq!(entries[2]["credential"].as_str(), Some("c"));
        assert_eq!(entries[0].get("username"), None);
        assert!(urls("[]").is_empty());
    }

    #[test]
    fn what_it_is_not_is_said_without_its_text() {
        for text in ["[", "[1]", r#"[{"url": "turn:s3cret"}]"#, r#"[{"urls": 1}]"#] {
            let reason = parse(text).unwrap_err();
            assert!(reason.contains("JSON array") && !reason.contains("s3cret"), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s:.{0,80})", json in "\\[?\\{?\"?urls\"?:?\\[?.{0,20}") {
            let _ = (parse(&text), parse(&json));
        }
    }
}
