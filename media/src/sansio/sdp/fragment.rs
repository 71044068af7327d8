//! `application/trickle-ice-sdpfrag`: candidates after the offer, and ICE restarts. Must not: resolve names.
//!
//! An ICE-lite agent learns the peer's addresses from its checks, so candidates are read past; what matters
//! is whose they are.
//!
//! Source: RFC 8840 §9, RFC 9725 §4.3.

use std::fmt::Write as _;

use super::{is_ufrag, write::Tagged};

/// Most lines of a fragment.
const MAX_LINES: usize = 256;

/// What a fragment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// The peer's ICE user fragment: another one than before is a restart.
    pub ice_ufrag: Option<String>,
}

impl Fragment {
    /// Reads a fragment.
    ///
    /// # Errors
    /// A sentence about the first line that is none of a fragment.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(body).map_err(|_| "it is not UTF-8".to_owned())?;
        let mut fragment = Self { ice_ufrag: None };
        let mut has_password = false;
        let mut has_content = false;
        for (index, line) in text.lines().filter(|line| !line.is_empty()).enumerate() {
            if index >= MAX_LINES {
                return Err(format!("it has more than {MAX_LINES} lines"));
            }
            let attribute = match line.split_at_checked(2) {
                Some(("a=", attribute)) => attribute,
                // Session lines that some clients leave in, and the pseudo media section.
                Some(("m=" | "v=" | "o=" | "s=" | "t=" | "c=", _)) => continue,
                _ => return Err("a line is not of the form `a=…` or `m=…`".to_owned()),
            };
            has_content = true;
            match attribute.split_once(':').unwrap_or((attribute, "")) {
                ("ice-ufrag", ufrag) if is_ufrag(ufrag) => {
                    fragment.ice_ufrag = Some(ufrag.to_owned());
                }
                ("ice-ufrag", _) => return Err("its ice-ufrag is not usable".to_owned()),
                ("ice-pwd", password) => has_password = password.len() >= 22,
                // Candidates that cannot be resolved or used are dropped in silence.
                _ => {}
            }
        }
        if !has_content {
            return Err("it says nothing".to_owned());
        }
        if fragment.ice_ufrag.is_some() && !has_password {
            return Err("it has an ice-ufrag without a usable ice-pwd".to_owned());
        }
        Ok(fragment)
    }
}

/// The answer to a restart: our new credentials, and every candidate.
pub fn restart_answer(ice_ufrag: &str, ice_pwd: &str, tagged: &Tagged, candidates: &str) -> String {
    let Tagged { media, mid } = tagged;
    let mut text = String::with_capacity(512);
    write!(
        text,
        "a=ice-lite\r\na=ice-ufrag:{ice_ufrag}\r\na=ice-pwd:{ice_pwd}\r\n\
         m={media} 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:{mid}\r\n{candidates}"
    )
    .expect("writing to a String does not fail");
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn candidates_are_read_past_and_the_ufrag_is_found() {
        let body = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\n\
                    a=mid:0\r\na=candidate:1 1 UDP 1 d354d350.local 41401 typ host\r\na=end-of-candidates\r\n";
        assert_eq!(Fragment::parse(body.as_bytes()).unwrap().ice_ufrag.as_deref(), Some("EsAw"));
        let only = Fragment::parse(b"m=video 9 UDP/TLS/RTP/SAVPF 0\na=mid:0\na=candidate:x\n");
        assert_eq!(only, Ok(Fragment { ice_ufrag: None }));
    }

    #[test]
    fn nonsense_says_why() {
        for (body, why) in [
            (&b"\xff\xfe"[..], "UTF-8"),
            (b"", "nothing"),
            (b"{\"candidate\": 1}", "form"),
            (b"a=ice-ufrag:x\r\na=ice-pwd:0123456789012345678901", "ice-ufrag"),
            (b"a=ice-ufrag:abcd\r\na=ice-pwd:short", "ice-pwd"),
        ] {
            let error = Fragment::parse(body).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_restart_is_answered_in_the_section_that_carries_the_transport() {
        let tagged = Tagged { media: "audio".to_owned(), mid: "sound".to_owned() };
        let text = restart_answer("ours", "our-password-of-24-chars", &tagged, "a=x\r\n");
        assert!(
            text.ends_with("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:sound\r\na=x\r\n"),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn hostile_fragments_never_panic(text in "(a=|m=|ice-ufrag:|ice-pwd:|\r\n|[ -~]|\\PC){0,60}") {
            let _ = Fragment::parse(text.as_bytes());
        }
    }
}
