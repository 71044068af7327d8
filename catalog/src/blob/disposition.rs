//! `Content-Disposition` and `Content-Type` values for signed links.
//!
//! Must not: let a file name or MIME type add a header or break out of a quoted string.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What RFC 5987 calls `attr-char` goes unencoded.
const ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// What a browser does with the bytes of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// Show them in place.
    Inline {
        /// Name to save under if the viewer saves them after all.
        filename: String,
    },
    /// Save them.
    Attachment {
        /// Name to save under.
        filename: String,
    },
}

impl Disposition {
    /// The header value: ASCII only, with the exact name in `filename*` when it is not plain.
    ///
    /// Source: RFC 6266 §4, RFC 5987 §3.2.
    pub fn header_value(&self) -> String {
        let (word, filename) = match self {
            Self::Inline { filename } => ("inline", filename),
            Self::Attachment { filename } => ("attachment", filename),
        };
        let is_plain = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%' | '/');
        let fallback: String =
            filename.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        let mut value = format!("{word}; filename=\"{fallback}\"");
        if fallback != *filename {
            let exact = utf8_percent_encode(filename, ATTR_CHAR);
            write!(value, "; filename*=UTF-8''{exact}").expect("writing to a String does not fail");
        }
        value
    }
}

/// The MIME type if it can stand in a header, `application/octet-stream` otherwise.
pub(crate) fn header_mime(mime: &str) -> &str {
    let is_visible = |b: u8| matches!(b, b' '..=b'~');
    if mime.contains('/') && mime.bytes().all(is_visible) {
        mime
    } else {
        "application/octet-stream"
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(filename: &str, expected: &str) {
        let disposition = Disposition::Attachment { filename: filename.into() };
        assert_eq!(disposition.header_value(), expected);
    }

    #[test]
    fn disposition_keeps_the_exact_name() {
        check("clip 1.mp4", r#"attachment; filename="clip 1.mp4""#);
        check("Übung.jpg", r#"attachment; filename="_bung.jpg"; filename*=UTF-8''%C3%9Cbung.jpg"#);
        check(
            "a\"; x=\r\n.jpg",
            r#"attachment; filename="a_; x=__.jpg"; filename*=UTF-8''a%22%3B%20x%3D%0D%0A.jpg"#,
        );
    }

    proptest! {
        #[test]
        fn disposition_is_one_visible_header_value(filename in "(?s).{0,40}") {
            let value = Disposition::Inline { filename }.header_value();
            prop_assert!(value.bytes().all(|b| matches!(b, b' '..=b'~')));
            prop_assert_eq!(value.matches('"').count(), 2);
        }

        #[test]
        fn mime_is_one_visible_header_value(mime in "(?s).{0,40}") {
            prop_assert!(header_mime(&mime).bytes().all(|b| matches!(b, b' '..=b'~')));
        }
    }
}
