//! Where the answer of another WHEP server leads, and what it takes.
#![no_main]

use damwall_fuzz::sansio::whep_answer::{location, refuses_video, session_url};
use libfuzzer_sys::fuzz_target;
use url::Url;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = refuses_video(text);
    for origin in ["https://origin.example:8443/cam/whep", "http://10.0.0.8/cam/whep"] {
        let url = Url::parse(origin).expect("one of ours");
        let Some(to) = location(&url, text) else {
            assert_eq!(session_url(&url, text), None);
            continue;
        };
        assert!(to.scheme() == "https" || to.scheme() == url.scheme(), "{to}");
        match session_url(&url, text) {
            Some(session) => {
                assert_eq!(session, to);
                assert_eq!(
                    (session.scheme(), session.host(), session.port_or_known_default()),
                    (url.scheme(), url.host(), url.port_or_known_default())
                );
            }
            None => assert_ne!(to.origin(), url.origin()),
        }
    }
});
