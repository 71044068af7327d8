//! Links of the folder store: `/blob/<key>?exp=&ct=&cd=&sig=`, signed with HMAC-SHA256.
//!
//! Must not: read a clock, touch a file, or let a link say anything that was not signed.

use std::{fmt, time::Duration};

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::Sha256;
use url::form_urlencoded;

use super::{BlobKey, PresignGet, VerifyError, disposition::header_mime};

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

    fn mac(&self, key: &BlobKey, exp_secs: i64, ct: &str, cd: &str) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        // Lengths keep one field from being read as part of another.
        for field in ["GET", key.as_str(), &exp_secs.to_string(), ct, cd] {
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

/// A link that reads `key` until `now + ttl`.
pub(super) fn sign(
    secret: &LinkSecret,
    key: &BlobKey,
    ttl: Duration,
    get: &PresignGet,
    now: Timestamp,
) -> String {
    let ttl_secs = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
    let exp_secs = now.as_second().saturating_add(ttl_secs);
    let ct = header_mime(&get.content_type);
    let cd = get.disposition.header_value();
    let sig = hex::encode(secret.mac(key, exp_secs, ct, &cd).finalize().into_bytes());
    let path = utf8_percent_encode(key.as_str(), PATH);
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("exp", &exp_secs.to_string())
        .append_pair("ct", ct)
        .append_pair("cd", &cd)
        .append_pair("sig", &sig)
        .finish();
    format!("{BLOB_PATH}{path}?{query}")
}

/// Reads a link back.
///
/// `path` and `query` are as the browser sent them, still percent-encoded.
///
/// # Errors
/// [`VerifyError::BadSignature`] for anything this secret did not sign, then
/// [`VerifyError::Expired`].
pub(super) fn verify(
    secret: &LinkSecret,
    path: &str,
    query: &str,
    now: Timestamp,
) -> Result<SignedGet, VerifyError> {
    let bad = VerifyError::BadSignature;
    let encoded_key = path.strip_prefix(BLOB_PATH).ok_or(bad)?;
    let key = percent_decode_str(encoded_key).decode_utf8().map_err(|_| bad)?;
    let key: BlobKey = key.parse().map_err(|_| bad)?;

    let [mut exp, mut ct, mut cd, mut sig] = [None, None, None, None];
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let field = match &*name {
            "exp" => &mut exp,
            "ct" => &mut ct,
            "cd" => &mut cd,
            "sig" => &mut sig,
            _ => return Err(bad),
        };
        if field.replace(value).is_some() {
            return Err(bad);
        }
    }
    let (exp, ct, cd, sig) = (exp.ok_or(bad)?, ct.ok_or(bad)?, cd.ok_or(bad)?, sig.ok_or(bad)?);
    let exp_secs: i64 = exp.parse().map_err(|_| bad)?;
    let sig = hex::decode(sig.as_bytes()).map_err(|_| bad)?;
    // Compares in constant time.
    secret.mac(&key, exp_secs, &ct, &cd).verify_slice(&sig).map_err(|_| bad)?;
    if now.as_second() >= exp_secs {
        return Err(VerifyError::Expired);
    }
    Ok(SignedGet { key, content_type: ct.into_owned(), content_disposition: cd.into_owned() })
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
        verify(&secret(), path, query, at(now_secs))
    }

    #[test]
    fn link_works_until_it_expires() {
        let key: BlobKey = "a b/ü?#%.jpg".parse().unwrap();
        let url = sign(&secret(), &key, Duration::from_secs(60), &get("x"), at(1000));
        assert!(url.starts_with("/blob/a%20b/%C3%BC%3F%23%25.jpg?exp=1060&"), "{url}");
        assert_eq!(check(&url, 1059).unwrap().key, key);
        assert_eq!(check(&url, 1060), Err(VerifyError::Expired));
    }

    #[test]
    fn link_of_another_secret_is_refused() {
        let key: BlobKey = "a".parse().unwrap();
        let other = LinkSecret::new([8; 32]);
        let url = sign(&other, &key, Duration::from_secs(60), &get("x"), at(1000));
        assert_eq!(check(&url, 1000), Err(VerifyError::BadSignature));
    }

    #[test]
    fn link_cannot_be_changed_or_added_to() {
        let key: BlobKey = "a/b".parse().unwrap();
        let url = sign(&secret(), &key, Duration::from_secs(60), &get("x"), at(1000));
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
    fn secret_is_not_in_debug_output() {
        assert_eq!(format!("{:?}", LinkSecret::new([42; 32])), "LinkSecret(…)");
    }

    proptest! {
        #[test]
        fn link_of_any_key_and_name_verifies(key in "\\PC{1,60}", filename in "(?s).{0,30}") {
            if let Ok(key) = key.parse::<BlobKey>() {
                let url = sign(&secret(), &key, Duration::from_secs(9), &get(&filename), at(1));
                prop_assert!(url.bytes().all(|b| matches!(b, b'!'..=b'~')));
                prop_assert_eq!(check(&url, 2).map(|get| get.key), Ok(key));
            }
        }

        #[test]
        fn verify_takes_any_text(path in "(/blob/)?\\PC{0,40}", query in "\\PC{0,80}") {
            let refused = verify(&secret(), &path, &query, at(0));
            prop_assert_eq!(refused, Err(VerifyError::BadSignature));
        }
    }
}
