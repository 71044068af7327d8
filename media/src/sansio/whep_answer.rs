//! What of another server's answer to a WHEP offer of ours is not left to the `webrtc` crate: where it sends
//! us, where its session is, and whether it refuses the video. Must not: know HTTP; the URLs come as text.
//!
//! Source: draft-ietf-wish-whep §4; RFC 9725 §4.5 (redirects).

use url::Url;

/// Where the `Location` of an answer from `url` leads. A way from HTTPS to HTTP is none.
pub fn location(url: &Url, header: &str) -> Option<Url> {
    let location = url.join(header).ok()?;
    (location.scheme() == url.scheme() || location.scheme() == "https").then_some(location)
}

/// The session that an answer from `url` made, when it is of the same server: who answers must not choose
/// another one, perhaps inside our network, for us to send a DELETE to.
pub fn session_url(url: &Url, header: &str) -> Option<Url> {
    location(url, header).filter(|session| session.origin() == url.origin())
}

/// Whether an answer takes our offer but for the video, the first section.
pub fn refuses_video(sdp: &str) -> bool {
    sdp.lines().any(|line| line.starts_with("m=video 0 "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url() -> Url {
        "https://origin.example/cam/whep".parse().unwrap()
    }

    #[test]
    fn a_session_is_deleted_only_at_the_server_that_made_it() {
        let session = |location: &str| session_url(&url(), location).map(String::from);
        let expected = Some("https://origin.example/sessions/1".to_owned());
        for own in [
            "/sessions/1",
            "../sessions/1",
            "https://origin.example:443/sessions/1",
            "//origin.example/sessions/1",
        ] {
            assert_eq!(session(own), expected, "{own}");
        }
        for other in [
            "https://127.0.0.1/admin",
            "https://origin.example:8443/sessions/1",
            "http://origin.example/sessions/1",
            "//internal/sessions/1",
            "https://origin.example@internal/sessions/1",
            "file:///sessions/1",
        ] {
            assert_eq!(session(other), None, "{other}");
        }
    }

    #[test]
    fn a_redirect_may_name_another_server_but_not_leave_tls() {
        assert!(location(&url(), "https://edge.example/cam/whep").is_some());
        assert!(location(&url(), "http://edge.example/cam/whep").is_none());
    }

    #[test]
    fn an_answer_without_the_video_is_told_from_one_with_it() {
        let answer = |port: u16| {
            format!(
                "v=0\r\nm=video {port} UDP/TLS/RTP/SAVPF 96\r\nm=audio 0 UDP/TLS/RTP/SAVPF 111\r\n"
            )
        };
        assert!(refuses_video(&answer(0)));
        assert!(!refuses_video(&answer(9)), "without the sound it is good enough");
    }
}
