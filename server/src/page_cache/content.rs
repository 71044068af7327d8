//! A body in every encoding, with the headers that go out with it. Made once, sent many times: an answer
//! is clones of what is here.
//!
//! Must not: know how old it is, or who asks.

use std::{
    io::{self, Write as _},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

use super::negotiate::{Accepted, Encoding, is_known};
use crate::zero_copy::Prepared;

/// Shorter bodies gain nothing from compression.
const COMPRESS_MIN_BYTES: usize = 512;
/// zlib's default: a page of 90 kB takes about 2 ms, once.
const GZIP_LEVEL: u32 = 6;
/// A page of 90 kB takes about 20 ms, once, behind; 11 takes ten times that for 5 % less.
const BROTLI_QUALITY: u32 = 9;
const BROTLI_WINDOW_LOG2: u32 = 22;

/// One encoding of a body.
#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) body: Bytes,
    pub(crate) headers: HeaderMap,
    etag: HeaderValue,
    pub(crate) prepared: Prepared,
}

/// An answer's body and headers.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) status: StatusCode,
    /// Of the body as it is and the headers that matter: begins every entity tag.
    pub(crate) digest: [u8; 16],
    /// As they go out, but for those of an encoding.
    pub(crate) headers: HeaderMap,
    pub(crate) identity: Variant,
    gzip: Option<Variant>,
    brotli: OnceLock<Option<Variant>>,
    brotli_begun: AtomicBool,
}

/// What is to be sent: borrowed from a [`Content`].
pub(crate) enum Chosen<'a> {
    /// The body.
    Whole(&'a Variant),
    /// 304.
    NotModified(&'a Variant),
}

impl Content {
    /// Takes the headers as they are to go out, but for those of an encoding. Compresses with gzip, so
    /// it is for a thread that may be busy, unless `previous` says the same, which is then kept.
    pub(crate) fn new(
        status: StatusCode,
        mut headers: HeaderMap,
        body: Bytes,
        previous: Option<Arc<Self>>,
    ) -> Arc<Self> {
        for name in [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::ETAG] {
            headers.remove(name);
        }
        let digest = digest_of(&headers, &body);
        let is_same = |previous: &Arc<Self>| {
            (previous.status, &previous.digest, &previous.headers) == (status, &digest, &headers)
        };
        if let Some(previous) = previous.filter(is_same) {
            return previous;
        }
        let gzip = compressed(&body, gzip);
        Arc::new(Self::of_bodies(status, headers, digest, body, gzip, None))
    }

    /// Of a body that was compressed beforehand.
    pub(crate) fn precompressed(
        headers: HeaderMap,
        body: Bytes,
        gzip: Option<Bytes>,
        brotli: Option<Bytes>,
    ) -> Self {
        let digest = digest_of(&headers, &body);
        let content = Self::of_bodies(StatusCode::OK, headers, digest, body, gzip, brotli);
        content.brotli_begun.store(true, Ordering::Relaxed);
        content
    }

    /// As it was before a restart.
    pub(crate) fn restored(headers: HeaderMap, body: Bytes, gzip: Option<Bytes>) -> Self {
        let digest = digest_of(&headers, &body);
        Self::of_bodies(StatusCode::OK, headers, digest, body, gzip, None)
    }

    /// The body in gzip.
    pub(crate) fn gzip_body(&self) -> Option<Bytes> {
        self.gzip.as_ref().map(|gzip| gzip.body.clone())
    }

    fn of_bodies(
        status: StatusCode,
        headers: HeaderMap,
        digest: [u8; 16],
        body: Bytes,
        gzip: Option<Bytes>,
        brotli: Option<Bytes>,
    ) -> Self {
        let variant = |body, encoding| Variant::new(&headers, body, &digest, encoding);
        let brotli = brotli.map(|body| variant(body, Encoding::Brotli));
        Self {
            status,
            digest,
            identity: variant(body, Encoding::Identity),
            gzip: gzip.map(|body| variant(body, Encoding::Gzip)),
            brotli: brotli.map_or_else(OnceLock::new, |brotli| OnceLock::from(Some(brotli))),
            brotli_begun: AtomicBool::new(false),
            headers,
        }
    }

    /// Bytes that this takes in memory, about, once brotli is made too.
    pub(crate) fn weight_bytes(&self) -> usize {
        const HEADERS_BYTES: usize = 4096;
        let gzip_len = self.gzip.as_ref().map_or(0, |gzip| gzip.body.len());
        self.identity.body.len() + 2 * gzip_len + HEADERS_BYTES
    }

    /// What to send to who sent these headers.
    pub(crate) fn choose(&self, request: &HeaderMap) -> Chosen<'_> {
        let brotli = self.brotli();
        let accepted = Accepted::from_headers(request);
        let variant = match accepted.choose(self.gzip.is_some(), brotli.is_some()) {
            Encoding::Brotli => brotli,
            Encoding::Gzip => self.gzip.as_ref(),
            Encoding::Identity => None,
        };
        let chosen = variant.unwrap_or(&self.identity);
        if !self.status.is_success() || !request.contains_key(header::IF_NONE_MATCH) {
            return Chosen::Whole(chosen);
        }
        // Any encoding that the asker kept is as good as the one chosen now: a page that was gzip when it
        // was asked for first is still the same page when brotli is ready.
        let all = [Some(chosen), Some(&self.identity), self.gzip.as_ref(), brotli];
        let etags: [&[u8]; 4] =
            all.map(|variant| variant.map_or(&b""[..], |variant| variant.etag.as_bytes()));
        match is_known(request, &etags) {
            None => Chosen::Whole(chosen),
            Some(known) => {
                let same =
                    all.into_iter().flatten().find(|variant| variant.etag.as_bytes() == known);
                Chosen::NotModified(same.unwrap_or(chosen))
            }
        }
    }

    /// Whether the asker would rather have brotli, and nobody makes it yet. `true` once.
    pub(crate) fn begin_brotli(&self, request: &HeaderMap) -> bool {
        self.identity.body.len() >= COMPRESS_MIN_BYTES
            && !self.brotli_begun.load(Ordering::Relaxed)
            && Accepted::from_headers(request).wants_brotli()
            && !self.brotli_begun.swap(true, Ordering::Relaxed)
    }

    /// Makes the brotli body: for a thread that may be busy for a while.
    pub(crate) fn make_brotli(&self) {
        self.brotli.get_or_init(|| {
            let body = compressed(&self.identity.body, brotli)?;
            Some(Variant::new(&self.headers, body, &self.digest, Encoding::Brotli))
        });
    }

    fn brotli(&self) -> Option<&Variant> {
        self.brotli.get().and_then(Option::as_ref)
    }
}

impl Variant {
    fn new(headers: &HeaderMap, body: Bytes, digest: &[u8; 16], encoding: Encoding) -> Self {
        let (suffix, name) = match encoding {
            Encoding::Identity => ("", None),
            Encoding::Gzip => ("-gz", Some("gzip")),
            Encoding::Brotli => ("-br", Some("br")),
        };
        let mut headers = headers.clone();
        if let Some(name) = name {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        let etag = format!("\"{}{suffix}\"", hex::encode(digest));
        let etag = HeaderValue::from_str(&etag).expect("hex digits in quotes are a header value");
        headers.insert(header::ETAG, etag.clone());
        headers.insert(header::CONTENT_LENGTH, body.len().into());
        Self { body, headers, etag, prepared: Prepared::default() }
    }

    /// The headers of a 304: what a cache needs to go on with what it has. Source: RFC 9110 §15.4.5.
    pub(crate) fn not_modified_headers(&self) -> HeaderMap {
        let kept = [header::ETAG, header::CACHE_CONTROL, header::VARY];
        kept.into_iter()
            .filter_map(|name| Some((name.clone(), self.headers.get(name)?.clone())))
            .collect()
    }
}

/// Of all that an asker would notice: the body, and the headers that say how to read it.
fn digest_of(headers: &HeaderMap, body: &Bytes) -> [u8; 16] {
    let mut text = Vec::from(digest(&SHA256, body).as_ref());
    let meant: [HeaderName; 2] = [header::CONTENT_TYPE, header::CONTENT_SECURITY_POLICY];
    for value in meant.iter().filter_map(|name| headers.get(name)) {
        text.push(0);
        text.extend_from_slice(value.as_bytes());
    }
    let mut short = [0; 16];
    short.copy_from_slice(&digest(&SHA256, &text).as_ref()[..16]);
    short
}

/// The body compressed, where that makes it shorter.
fn compressed(body: &Bytes, encode: fn(&[u8]) -> io::Result<Vec<u8>>) -> Option<Bytes> {
    if body.len() < COMPRESS_MIN_BYTES {
        return None;
    }
    // Writing to memory does not fail.
    let encoded = encode(body).ok()?;
    (encoded.len() < body.len()).then(|| encoded.into())
}

fn gzip(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL));
    encoder.write_all(body)?;
    encoder.finish()
}

fn brotli(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoded = Vec::new();
    let buffer_bytes = 16 << 10;
    let mut encoder = brotli::CompressorWriter::new(
        &mut encoded,
        buffer_bytes,
        BROTLI_QUALITY,
        BROTLI_WINDOW_LOG2,
    );
    encoder.write_all(body)?;
    encoder.flush()?;
    drop(encoder);
    Ok(encoded)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn content(text: &str) -> Arc<Content> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        Content::new(StatusCode::OK, headers, Bytes::copy_from_slice(text.as_bytes()), None)
    }

    fn asked(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    fn whole<'a>(content: &'a Content, accept: &str) -> &'a Variant {
        match content.choose(&asked(&[(header::ACCEPT_ENCODING, accept)])) {
            Chosen::Whole(variant) => variant,
            Chosen::NotModified(_) => panic!("nothing was known"),
        }
    }

    #[test]
    fn every_encoding_is_the_same_body_with_a_tag_of_its_own() {
        let text = "a page of many words ".repeat(200);
        let content = content(&text);
        let browser = asked(&[(header::ACCEPT_ENCODING, "gzip, br")]);
        assert!(content.begin_brotli(&browser) && !content.begin_brotli(&browser), "made once");
        assert_eq!(
            whole(&content, "gzip, br").headers["content-encoding"],
            "gzip",
            "not ready yet"
        );
        content.make_brotli();

        let (plain, gzip, br) =
            (whole(&content, ""), whole(&content, "gzip"), whole(&content, "gzip, br"));
        assert_eq!(plain.body, text.as_bytes());
        let mut unpacked = String::new();
        flate2::read::GzDecoder::new(&gzip.body[..]).read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, text);
        let mut unpacked = Vec::new();
        brotli::BrotliDecompress(&mut &br.body[..], &mut unpacked).unwrap();
        assert_eq!(unpacked, text.as_bytes());
        assert_eq!(br.headers["content-encoding"], "br");
        let tags: std::collections::HashSet<_> = [plain, gzip, br].map(|v| v.etag.clone()).into();
        assert_eq!(tags.len(), 3);
        for variant in [plain, gzip, br] {
            assert_eq!(variant.headers["content-length"], variant.body.len().to_string().as_str());
        }
    }

    #[test]
    fn who_has_any_encoding_of_it_is_told_so() {
        let content = content(&"words ".repeat(200));
        content.make_brotli();
        for accept in ["", "gzip", "gzip, br"] {
            let known = whole(&content, "gzip").etag.to_str().unwrap();
            let request =
                asked(&[(header::ACCEPT_ENCODING, accept), (header::IF_NONE_MATCH, known)]);
            let Chosen::NotModified(variant) = content.choose(&request) else {
                panic!("{accept}: it is known")
            };
            let headers = variant.not_modified_headers();
            assert_eq!(headers["etag"], known, "{accept}");
            assert!(
                headers.contains_key("cache-control") && !headers.contains_key("content-length")
            );
        }
        let empty = asked(&[(header::IF_NONE_MATCH, "\"\"")]);
        assert!(matches!(content.choose(&empty), Chosen::Whole(_)));
    }

    #[test]
    fn the_tag_is_of_what_is_said_and_of_how_it_is_to_be_read() {
        let (one, same, other) = (content("one"), content("one"), content("other"));
        assert_eq!(one.digest, same.digest);
        assert_ne!(one.digest, other.digest);
        let mut headers = one.headers.clone();
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'"),
        );
        let new = |headers, previous: &Arc<Content>| {
            Content::new(
                StatusCode::OK,
                headers,
                Bytes::from_static(b"one"),
                Some(previous.clone()),
            )
        };
        assert!(Arc::ptr_eq(&new(one.headers.clone(), &one), &one), "kept with all it has");
        let with_policy = new(headers, &one);
        assert_ne!(one.digest, with_policy.digest);
    }

    #[test]
    fn a_short_body_is_not_compressed() {
        assert_eq!(whole(&content("short"), "gzip").headers.get("content-encoding"), None);
    }
}
