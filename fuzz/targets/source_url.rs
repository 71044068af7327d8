//! URLs of cameras: whatever is shown of one holds no credentials.
#![no_main]

use damwall_fuzz::camera::SourceUrl;
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "s3cr3tW0rd";

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // The fuzzer finds the word by our comparing with it, and a host may be named so.
    if text.contains(SECRET) {
        return;
    }
    check(text);
    // A password at the places where one belongs, and where recorders want it.
    for (before, after) in [("rtsp://", ""), ("rtsps://", "#insecure"), ("whep+https://", "")] {
        check(&format!("{before}user:{SECRET}@host/{text}{after}"));
        check(&format!("{before}{SECRET}@{text}{after}"));
        check(&format!("{before}host/{text}?password={SECRET}{after}"));
    }
});

fn check(text: &str) {
    match text.parse::<SourceUrl>() {
        Ok(source) => {
            let shown = format!("{source} {source:?}");
            assert!(!shown.contains(SECRET), "{text:?} is shown as {shown:?}");
            assert!(!shown.contains(['\r', '\n', '\0']), "a line within a line: {shown:?}");
        }
        Err(error) => assert!(!error.to_string().contains(SECRET)),
    }
}
