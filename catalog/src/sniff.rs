//! The MIME type of a file, from its first bytes where possible, from its name where not.
//!
//! Must not: believe a name against the bytes, or decode anything.

/// Bytes from the beginning of a file that [`media_mime`] wants to see.
pub const HEAD_BYTES: usize = 8 * 1024;

/// MIME type of a picture, video or sound; `None` for anything else.
///
/// `head` is the beginning of the file, [`HEAD_BYTES`] or all of it.
pub fn media_mime(head: &[u8], name: &str) -> Option<String> {
    if let Some(found) = infer::get(head).map(|found| found.mime_type()) {
        if is_media(found) {
            return Some(usual(found).to_owned());
        }
        // XML may be SVG; anything else that is known by its bytes is known not to be media.
        if !found.starts_with("text/") {
            return None;
        }
    }
    let by_name = mime_guess::from_path(name).first_raw().filter(|mime| is_media(mime))?;
    if looks_like_text(head) {
        // Text that calls itself a picture is not one, except SVG. Playlists are text as well.
        let is_svg = by_name == "image/svg+xml" && contains(head, b"<svg");
        return is_svg.then(|| by_name.to_owned());
    }
    Some(usual(by_name).to_owned())
}

fn is_media(mime: &str) -> bool {
    ["image/", "video/", "audio/"].iter().any(|kind| mime.starts_with(kind))
}

/// The registered name of a type that is better known by another.
fn usual(mime: &str) -> &str {
    match mime {
        "audio/m4a" | "audio/x-m4a" => "audio/mp4",
        "audio/x-flac" => "audio/flac",
        "audio/x-wav" => "audio/wav",
        "video/x-m4v" => "video/mp4",
        other => other,
    }
}

/// Whether there is nothing here but UTF-8 text; also of an empty file.
fn looks_like_text(head: &[u8]) -> bool {
    let is_utf8 = match std::str::from_utf8(head) {
        Ok(_) => true,
        // The head may end within a character.
        Err(error) => error.error_len().is_none(),
    };
    is_utf8 && !head.contains(&0)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(head: &[u8], name: &str, expected: Option<&str>) {
        assert_eq!(media_mime(head, name).as_deref(), expected, "{name}");
    }

    #[test]
    fn mime_comes_from_the_bytes_first() {
        check(b"\xff\xd8\xff\xe0\0\x10JFIF", "wrong.mp4", Some("image/jpeg"));
        check(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "no-extension", Some("image/png"));
        check(b"PK\x03\x04rest", "archive.jpg", None);
    }

    #[test]
    fn text_does_not_become_media_by_its_name() {
        check(b"hello", "note.jpg", None);
        check(b"#EXTM3U\nfile:///etc/passwd\n", "list.m3u8", None);
        check(b"#EXTM3U\nfile:///etc/passwd\n", "list.mp4", None);
        check(b"", "empty.jpg", None);
        check(b"<html><svg></svg></html>", "page.html", None);
    }

    #[test]
    fn svg_is_known_by_name_and_content() {
        check(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a.svg", Some("image/svg+xml"));
        check(b"<?xml version='1.0'?><svg/>", "a.svg", Some("image/svg+xml"));
        check(b"<?xml version='1.0'?><html/>", "a.svg", None);
    }

    #[test]
    fn unknown_bytes_are_known_by_name() {
        check(b"\0\x01\x02\x03 strange", "clip.mpg", Some("video/mpeg"));
        check(b"\0\x01\x02\x03 strange", "clip.exe", None);
    }

    proptest! {
        #[test]
        fn sniffing_takes_any_bytes(head: Vec<u8>, name in "\\PC{0,20}") {
            if let Some(mime) = media_mime(&head, &name) {
                prop_assert!(is_media(&mime));
            }
        }
    }
}
