//! Links of the folder store, signed with HMAC-SHA256: `/blob/<key>?exp=&ct=&cd=&sig=` reads, and
//! `/blob/<key>?exp=&len=&up=&part=&sig=` writes a part of an upload. None writes an object.
//!
//! Must not: read a clock, touch a file, or let a link say anything that was not signed.

use std::{fmt, time::Duration};

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::Sha256;
use url::form_urlencoded;

use super::{BlobKey, MultipartId, PartNumber, PresignGet, VerifyError, disposition::header_mime};

/// Path under which the server answers signed links.
pub const BLOB_PATH: &str = "/blob/";

/// A key in a path keeps its slashes and the characters RFC 3986 leaves unreserved.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Secret that signs links; whoever knows it can read the whole store.
#[derive(Clone)]
pub struct LinkSecret([u8; 32]);

impl LinkSecret {
    /// Wraps 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Of a method, a key and the values of `fields`.
    fn mac(&self, method: &str, key: &BlobKey, fields: &[(&str, &str)]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        let values = fields.iter().map(|(_, value)| *value);
        // Lengths keep one field from being read as part of another.
        for field in [method, key.as_str()].into_iter().chain(values) {
            mac.update(&(field.len() as u64).to_be_bytes());
            mac.update(field.as_bytes());
        }
        mac
    }
}

impl fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecret(…)")
    }
}

/// What a good link asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SignedGet {
    pub(super) key: BlobKey,
    pub(super) content_type: String,
    pub(super) content_disposition: String,
}

/// What a good link may write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPart {
    /// The object that the upload makes.
    pub key: BlobKey,
    /// Exact length in bytes.
    pub len_bytes: u64,
    pub(super) id: MultipartId,
    pub(super) number: PartNumber,
}

/// A link that reads `key` until `now + ttl`.
pub(super) fn sign_get(
    secret: &LinkSecret,
    key: &BlobKey,
    ttl: Duration,
    get: &PresignGet,
    now: Timestamp,
) -> String {
    let cd = get.disposition.header_value();
    let fields =
        [("exp", &*expiry(now, ttl)), ("ct", header_mime(&get.content_type)), ("cd", &*cd)];
    sign(secret, "GET", key, &fields)
}

/// A link that writes exactly `len_bytes` to a part of an upload of `key` until `now + ttl`.
pub(super) fn sign_part(
    secret: &LinkSecret,
    key: &BlobKey,
    (id, number): (&MultipartId, PartNumber),
    len_bytes: u64,
    ttl: Duration,
    now: Timestamp,
) -> String {
    let fields = [
        ("exp", &*expiry(now, ttl)),
        ("len", &*len_bytes.to_string()),
        ("up", id.as_str()),
        ("part", &*number.to_string()),
    ];
    sign(secret, "PUT", key, &fields)
}

/// Reads a link that reads back.
///
/// `path` and `query` are as the browser sent them, still percent-encoded.
///
/// # Errors
/// [`VerifyError::BadSignature`] for anything this secret did not sign, then
/// [`VerifyError::Expired`].
pub(super) fn verify_get(
    secret: &LinkSecret,
    path: &str,
    query: &str,
    now: Timestamp,
) -> Result<SignedGet, VerifyError> {
    let (key, [_, ct, cd]) = verify(secret, "GET", path, query, ["exp", "ct", "cd"], now)?;
    Ok(SignedGet { key, content_type: ct, content_disposition: cd })
}

/// Reads a link that writes back; otherwise like [`verify_get`].
pub(super) fn verify_part(
    secret: &LinkSecret,
    path: &str,
    query: &str,
    now: Timestamp,
) -> Result<SignedPart, VerifyError> {
    let fields = ["exp", "len", "up", "part"];
    let (key, [_, len, up, part]) = verify(secret, "PUT", path, query, fields, now)?;
    let bad = VerifyError::BadSignature;
    let id = up.parse().map_err(|_| bad)?;
    let number = part.parse().ok().and_then(PartNumber::new).ok_or(bad)?;
    let len_bytes = len.parse().map_err(|_| bad)?;
    Ok(SignedPart { key, len_bytes, id, number })
}

fn expiry(now: Timestamp, ttl: Duration) -> String {
    let ttl_secs = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
    now.as_second().saturating_add(ttl_secs).to_string()
}

fn sign(secret: &LinkSecret, method: &str, key: &BlobKey, fields: &[(&str, &str)]) -> String {
    let sig = hex::encode(secret.mac(method, key, fields).finalize().into_bytes());
    let path = utf8_percent_encode(key.as_str(), PATH);
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .append_pair("sig", &sig)
        .finish();
    format!("{BLOB_PATH}{path}?{query}")
}

/// The key and the values of exactly these fields, the first of which is the expiry.
fn verify<const N: usize>(
    secret: &LinkSecret,
    method: &str,
    path: &str,
    query: &str,
    names: [&'static str; N],
    now: Timestamp,
) -> Result<(BlobKey, [String; N]), VerifyError> {
    let bad = VerifyError::BadSignature;
    let encoded_key = path.strip_prefix(BLOB_PATH).ok_or(bad)?;
    let key = percent_decode_str(encoded_key).decode_utf8().map_err(|_| bad)?;
    let key: BlobKey = key.parse().map_err(|_| bad)?;

    let mut sig = None;
    let mut values = [const { None }; N];
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let field = match names.iter().position(|known| *known == name) {
            Some(index) => &mut values[index],
            None if name == "sig" => &mut sig,
            None => return Err(bad),
        };
        if field.replace(value.into_owned()).is_some() {
            return Err(bad);
        }
    }
    if values.iter().any(Option::is_none) {
        return Err(bad);
    }
    let values = values.map(Option::unwrap_or_default);
    let sig = hex::decode(sig.ok_or(bad)?).map_err(|_| bad)?;
    let mut fields = [("", ""); N];
    for (field, (name, value)) in fields.iter_mut().zip(names.iter().zip(&values)) {
        *field = (name, value);
    }
    // Compares in constant time.
    secret.mac(method, &key, &fields).verify_slice(&sig).map_err(|_| bad)?;
    let exp_secs: i64 = values[0].parse().map_err(|_| bad)?;
    if now.as_second() >= exp_secs {
        return Err(VerifyError::Expired);
    }
    Ok((key, values))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::blob::Disposition;

    fn secret() -> LinkSecret {
        LinkSecret::new([7; 32])
    }

    fn get(filename: &str) -> PresignGet {
        PresignGet {
            content_type: "image/jpeg".into(),
            disposition: Disposition::Inline { filename: filename.into() },
        }
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(secs).unwrap()
    }

    fn check(url: &str, now_secs: i64) -> Result<SignedGet, VerifyError> {
        let (path, query) = url.split_once('?').unwrap();
        verify_get(&secret(), path, query, at(now_secs))
    }

    #[test]
    fn link_works_until_it_expires() {
        let key: BlobKey = "a b/ü?#%.jpg".parse().unwrap();
        let url = sign_get(&secret(), &key, Duration::from_secs(60), &get("x"), at(1000));
        assert!(url.starts_with("/blob/a%20b/%C3%BC%3F%23%25.jpg?exp=1060&"), "{url}");
        assert_eq!(check(&url, 1059).unwrap().key, key);
        assert_eq!(check(&url, 1060), Err(VerifyError::Expired));
    }

    #[test]
    fn link_of_another_secret_is_refused() {
        let key: BlobKey = "a".parse().unwrap();
        let other = LinkSecret::new([8; 32]);
        let url = sign_get(&other, &key, Duration::from_secs(60), &get("x"), at(1000));
        assert_eq!(check(&url, 1000), Err(VerifyError::BadSignature));
    }

    #[test]
    fn link_cannot_be_changed_or_added_to() {
        let key: BlobKey = "a/b".parse().unwrap();
        let url = sign_get(&secret(), &key, Duration::from_secs(60), &get("x"), at(1000));
        for changed in [
            url.replace("exp=1060", "exp=9060"),
            url.replace("/blob/a/b", "/blob/a/c"),
            url.replace("/blob/a/b", "/blob/a/../a/b"),
            url.replace("image%2Fjpeg", "text%2Fhtml"),
            url.replace("cd=inline", "cd=attachment"),
            url.replace("sig=", "sig=00"),
            format!("{url}&exp=9060"),
            format!("{url}&x=1"),
            url.split("&sig").next().unwrap().to_owned(),
        ] {
            assert_ne!(changed, url);
            assert_eq!(check(&changed, 1000), Err(VerifyError::BadSignature), "{changed}");
        }
    }

    #[test]
    fn link_that_writes_is_bound_to_part_length_and_time() {
        let key: BlobKey = "blobs/uploads/a".parse().unwrap();
        let (id, number) = ("ab12".parse().unwrap(), PartNumber::new(3).unwrap());
        let ttl = Duration::from_secs(60);
        let url = sign_part(&secret(), &key, (&id, number), 99, ttl, at(1000));
        let check = |url: &str, now_secs| {
            let (path, query) = url.split_once('?').unwrap();
            verify_part(&secret(), path, query, at(now_secs))
        };
        let link = check(&url, 1059).unwrap();
        assert_eq!((link.len_bytes, link.id, link.number), (99, id, number));
        assert_eq!(check(&url, 1060), Err(VerifyError::Expired));
        for (from, to) in [
            ("part=3", "part=4"),
            ("len=99", "len=100"),
            ("up=ab12", "up=ab13"),
            ("up=ab12", "up="),
            ("uploads/a", "uploads/b"),
        ] {
            let changed = url.replace(from, to);
            assert_ne!(changed, url);
            assert_eq!(check(&changed, 1000), Err(VerifyError::BadSignature), "{changed}");
        }
        let (path, query) = url.split_once('?').unwrap();
        let read = verify_get(&secret(), path, query, at(1000));
        assert_eq!(read, Err(VerifyError::BadSignature), "a link that writes does not read");
    }

    #[test]
    fn secret_is_not_in_debug_output() {
        assert_eq!(format!("{:?}", LinkSecret::new([42; 32])), "LinkSecret(…)");
    }

    proptest! {
        #[test]
        fn link_of_any_key_and_name_verifies(key in "\\PC{1,60}", filename in "(?s).{0,30}") {
            if let Ok(key) = key.parse::<BlobKey>() {
                let url = sign_get(&secret(), &key, Duration::from_secs(9), &get(&filename), at(1));
                prop_assert!(url.bytes().all(|b| matches!(b, b'!'..=b'~')));
                prop_assert_eq!(check(&url, 2).map(|get| get.key), Ok(key));
            }
        }

        #[test]
        fn verify_takes_any_text(path in "(/blob/)?\\PC{0,40}", query in "\\PC{0,80}") {
            let bad = VerifyError::BadSignature;
            prop_assert_eq!(verify_get(&secret(), &path, &query, at(0)), Err(bad));
            prop_assert_eq!(verify_part(&secret(), &path, &query, at(0)), Err(bad));
        }
    }
}
