//! Trickled candidates and ICE restarts.
#![no_main]

use damwall_fuzz::sansio::sdp::{
    fragment::{Fragment, restart_answer},
    is_ufrag,
    write::Tagged,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    match Fragment::parse(data) {
        Ok(Fragment { ice_ufrag: Some(ufrag) }) => {
            assert!(is_ufrag(&ufrag));
            let tagged = Tagged { media: "video".into(), mid: "0".into() };
            let answer = restart_answer(&ufrag, "our-password-of-24-chars", &tagged, "");
            let read = Fragment::parse(answer.as_bytes()).expect("what we write is read");
            assert_eq!(read.ice_ufrag, Some(ufrag));
        }
        Ok(Fragment { ice_ufrag: None }) => {}
        Err(why) => assert!(!why.contains(['\r', '\n'])),
    }
});
