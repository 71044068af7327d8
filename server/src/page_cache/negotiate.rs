//! Which encoding an answer is sent in, and whether the asker has it already. Pure.
//!
//! Source: RFC 9110 §12.5.3 (Accept-Encoding), §13.1.2 (If-None-Match), §8.8.3 (entity tags).

use axum::http::{HeaderMap, header};

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Encoding {
    /// As it is.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
}

/// The encodings an asker takes, each with its weight in thousandths; 0 is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    identity: u16,
    gzip: u16,
    brotli: u16,
}

impl Accepted {
    /// Reads every `Accept-Encoding` line. Without one the body goes out as it is: whoever can
    /// decompress says so.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let mut weights = Weights::default();
        for line in headers.get_all(header::ACCEPT_ENCODING) {
            line.as_bytes().split(|b| *b == b',').for_each(|item| weights.add(item));
        }
        weights.settle()
    }

    /// The encoding preferred among those there are: by weight, then the smaller body. What accepts
    /// nothing at all gets the body as it is, which the RFC allows and a browser prefers to an error.
    pub(crate) fn choose(self, has_gzip: bool, has_brotli: bool) -> Encoding {
        let mut best = (self.identity, Encoding::Identity);
        if has_gzip && self.gzip > 0 && self.gzip >= best.0 {
            best = (self.gzip, Encoding::Gzip);
        }
        if has_brotli && self.brotli > 0 && self.brotli >= best.0 {
            best = (self.brotli, Encoding::Brotli);
        }
        best.1
    }

    /// Whether brotli would be chosen if there were one.
    pub(crate) fn wants_brotli(self) -> bool {
        self.choose(true, true) == Encoding::Brotli
    }
}

#[derive(Default)]
struct Weights {
    identity: Option<u16>,
    gzip: Option<u16>,
    brotli: Option<u16>,
    any: Option<u16>,
}

impl Weights {
    /// One item: `gzip;q=0.8`. One that is not understood counts as not there.
    fn add(&mut self, item: &[u8]) {
        let mut parts = item.split(|b| *b == b';').map(<[u8]>::trim_ascii);
        let Some(name) = parts.next() else { return };
        let weight = match parts.next() {
            None => Some(1000),
            Some(parameter) => parse_weight(parameter),
        };
        let Some(weight) = weight else { return };
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let slot = match () {
            () if is("gzip") || is("x-gzip") => &mut self.gzip,
            () if is("br") => &mut self.brotli,
            () if is("identity") => &mut self.identity,
            () if name == b"*" => &mut self.any,
            () => return,
        };
        *slot = Some(weight);
    }

    fn settle(self) -> Accepted {
        // `*` speaks for what is not named, but does not ask for compression by itself: with
        // `*` alone the body as it is comes first.
        let any = self.any.unwrap_or(0);
        let identity = match (self.identity, self.any) {
            (Some(weight), _) => weight,
            (None, Some(0)) => 0,
            // Acceptable without being named, yet after everything that is.
            (None, _) if self.gzip.or(self.brotli).is_some_and(|weight| weight > 0) => 1,
            (None, _) => 1000,
        };
        let named_only = |weight: Option<u16>| weight.unwrap_or(if identity > 1 { 0 } else { any });
        Accepted { identity, gzip: named_only(self.gzip), brotli: named_only(self.brotli) }
    }
}

/// `q=0.8` in thousandths. Source: RFC 9110 §12.4.2.
fn parse_weight(parameter: &[u8]) -> Option<u16> {
    let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
    let (whole, fraction) = match value {
        [whole] => (*whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (*whole, fraction),
        _ => return None,
    };
    let mut thousandths = match whole {
        b'0' => 0_u16,
        b'1' => 1000,
        _ => return None,
    };
    for (digit, unit) in fraction.iter().zip([100_u16, 10, 1]) {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        thousandths += u16::from(digit) * unit;
    }
    (thousandths <= 1000).then_some(thousandths)
}

/// Whether `If-None-Match` names one of `etags` (each with its quotes) or is `*`. Compared weakly, as
/// the RFC wants for this header.
pub(crate) fn is_known<'a>(headers: &HeaderMap, etags: &[&'a [u8]]) -> Option<&'a [u8]> {
    for line in headers.get_all(header::IF_NONE_MATCH) {
        let line = line.as_bytes().trim_ascii();
        if line == b"*" {
            return etags.first().copied();
        }
        for tag in EntityTags(line) {
            if let Some(known) = etags.iter().find(|etag| **etag == tag) {
                return Some(known);
            }
        }
    }
    None
}

/// The tags of a list with their quotes and without `W/`; ends at the first thing that is none.
struct EntityTags<'a>(&'a [u8]);

impl<'a> Iterator for EntityTags<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let is_between = |b: &u8| matches!(b, b',' | b' ' | b'\t');
        let begin = self.0.iter().position(|b| !is_between(b))?;
        let rest = &self.0[begin..];
        let rest = rest.strip_prefix(b"W/").unwrap_or(rest);
        let inside = rest.strip_prefix(b"\"")?;
        let len = inside.iter().position(|b| *b == b'"')?;
        let (tag, after) = rest.split_at(len + 2);
        self.0 = after;
        Some(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&name, line.parse().unwrap());
        }
        headers
    }

    fn check(lines: &[&str], expected: Encoding) {
        let accepted = Accepted::from_headers(&headers(header::ACCEPT_ENCODING, lines));
        assert_eq!(accepted.choose(true, true), expected, "{lines:?}");
    }

    #[test]
    fn the_best_encoding_the_asker_takes_is_chosen() {
        use Encoding::{Brotli, Gzip, Identity};
        for (line, expected) in [
            ("gzip", Gzip),
            ("gzip, deflate", Gzip),
            ("gzip, deflate, br, zstd", Brotli),
            ("br;q=0.5, gzip;q=0.8", Gzip),
            ("gzip;q=0", Identity),
            ("gzip;q=0.001", Gzip),
            ("GZIP ; Q=1", Gzip),
            ("x-gzip", Gzip),
            ("br", Brotli),
            ("identity", Identity),
            ("identity;q=0.5, gzip;q=0.4", Identity),
            ("identity;q=0.5, gzip;q=0.5", Gzip),
            ("*", Identity),
            ("*;q=0", Identity),
            ("gzip;q=0, *", Identity),
            ("identity;q=0, *", Brotli),
            ("identity;q=0", Identity),
            ("", Identity),
            ("zstd, deflate", Identity),
            ("gzip;q=2", Identity),
            ("gzip;q=0.12345", Identity),
            ("gzip;q=nonsense, br;q=0.1", Brotli),
            (",,;;,gzip;;", Identity),
        ] {
            check(&[line], expected);
        }
        check(&[], Identity);
        check(&["gzip;q=0.5", "br"], Brotli);
    }

    #[test]
    fn an_encoding_that_is_not_there_yet_is_not_chosen() {
        let accepted = Accepted::from_headers(&headers(header::ACCEPT_ENCODING, &["gzip, br"]));
        assert_eq!(accepted.choose(true, false), Encoding::Gzip);
        assert_eq!(accepted.choose(false, false), Encoding::Identity);
        assert!(accepted.wants_brotli());
    }

    #[test]
    fn if_none_match_is_a_list_a_star_or_nothing() {
        let etags: [&[u8]; 2] = [b"\"abc\"", b"\"abc-gz\""];
        for (lines, expected) in [
            (&["\"abc\""][..], Some(&b"\"abc\""[..])),
            (&["W/\"abc-gz\""], Some(b"\"abc-gz\"")),
            (&["\"x\", \"y,z\" , W/\"abc\""], Some(b"\"abc\"")),
            (&["\"x\"", "\"abc-gz\""], Some(b"\"abc-gz\"")),
            (&["*"], Some(b"\"abc\"")),
            (&[" * "], Some(b"\"abc\"")),
            (&["abc"], None),
            (&["\"abc"], None),
            (&["\"ABC\""], None),
            (&["w/\"abc\""], None),
            (&["\"\""], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(
                is_known(&headers(header::IF_NONE_MATCH, lines), &etags),
                expected,
                "{lines:?}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_accept_encoding_leads_to_an_encoding(line in "[ -~]{0,80}") {
            let accepted = Accepted::from_headers(&headers(header::ACCEPT_ENCODING, &[&line]));
            let gzip = accepted.choose(true, false);
            proptest::prop_assert!(gzip != Encoding::Brotli);
            proptest::prop_assert_eq!(accepted.choose(false, false), Encoding::Identity);
        }

        #[test]
        fn weights_are_read_back(thousandths in 0_u16..=1000) {
            let text = format!("q={}.{:03}", thousandths / 1000, thousandths % 1000);
            proptest::prop_assert_eq!(parse_weight(text.as_bytes()), Some(thousandths));
        }

        #[test]
        fn any_if_none_match_is_read_to_its_end(line in "[ -~\t]{0,80}", tag in "[!#-~]{1,20}") {
            let etag = format!("\"{tag}\"");
            let etags: [&[u8]; 1] = [etag.as_bytes()];
            is_known(&headers(header::IF_NONE_MATCH, &[&line]), &etags);
            let list = format!("\"other\", W/{etag}, \"more\"");
            proptest::prop_assert!(is_known(&headers(header::IF_NONE_MATCH, &[&list]), &etags).is_some());
        }
    }
}
