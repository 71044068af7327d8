//! What both stores have in common and the rest of Damwall relies on: run by the catalog's tests, and by the
//! server's with a folder's links answered by the program itself.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use bytes::Bytes;
use catalog::{
    BlobError, BlobKey, BlobStore, Disposition, PresignGet,
    blob::{Completed, MultipartId, ObjectInfo, PART_MIN_BYTES, PartNumber},
};
use jiff::{SignedDuration, Timestamp};

use crate::links::{Answer, Linked, key};

pub const HOUR: Duration = Duration::from_secs(3600);

pub fn attachment(filename: &str) -> PresignGet {
    PresignGet {
        content_type: "image/x-test".into(),
        disposition: Disposition::Attachment { filename: filename.into() },
    }
}

async fn objects_are_put_read_replaced_and_deleted(linked: &Linked) {
    let store = &linked.store;
    let k = key("suite/a b+ü%?#.bin");
    assert!(store.head(&k).await.unwrap().is_none());
    assert!(matches!(store.read(&k, 9).await, Err(BlobError::NotFound { .. })));
    assert!(matches!(store.open(&k).await, Err(BlobError::NotFound { .. })));

    store.put_bytes(&k, Bytes::from_static(b"12345"), "image/x-test").await.unwrap();
    let meta = store.head(&k).await.unwrap().unwrap();
    assert_eq!(meta.len_bytes, 5);
    assert!(meta.modified.is_some());
    assert_eq!((meta.mime.as_deref(), meta.metadata.len()), (Some("image/x-test"), 0));
    assert_eq!(store.read(&k, 5).await.unwrap(), "12345");
    let too_large = store.read(&k, 4).await;
    assert!(matches!(too_large, Err(BlobError::TooLarge { len_bytes: 5, max_bytes: 4, .. })));

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("large");
    let large: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&file, &large).unwrap();
    store.put_file(&k, &file, "text/x-test").await.unwrap();
    let replaced = store.head(&k).await.unwrap().unwrap();
    assert_eq!(replaced.mime.as_deref(), Some("text/x-test"));
    assert_eq!(replaced.len_bytes, large.len() as u64);
    assert_ne!(replaced.stamp, meta.stamp);
    let copy = store.local_file(&k, &dir.path().join("copy")).await.unwrap();
    assert_eq!(std::fs::read(copy).unwrap(), large);

    store.delete(&k).await.unwrap();
    assert!(store.head(&k).await.unwrap().is_none());
    store.delete(&k).await.unwrap();
}

async fn listing_pages_meet_and_keep_to_the_prefix(linked: &Linked) {
    let store = &linked.store;
    let expected: BTreeSet<String> = ["a.jpg", "a/b", "a/c/d", "a0", "b/1", "b/2", "b/3", "ü"]
        .map(|k| format!("list/{k}"))
        .into();
    for k in &expected {
        store.put_bytes(&key(k), Bytes::from_static(b"x"), "image/x-test").await.unwrap();
    }
    for limit in [1, 3, 8, 1000] {
        let mut seen = Vec::new();
        let mut start_after = None;
        loop {
            let page = store.list("list/", start_after.as_deref(), limit).await.unwrap();
            assert!(page.objects.len() <= limit);
            seen.extend(page.objects.iter().map(|object| object.key.to_string()));
            start_after = page.next;
            if start_after.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), expected.len(), "limit {limit}: {seen:?}");
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected);
    }
    let page = store.list("list/b/", Some("list/b/1"), 1000).await.unwrap();
    let names: Vec<&str> = page.objects.iter().map(|object| object.key.name()).collect();
    assert_eq!(names, ["2", "3"]);
    let head = store.head(&key("list/b/2")).await.unwrap().unwrap();
    assert_eq!(page.objects[0].meta.len_bytes, head.len_bytes);
    assert_eq!(page.objects[0].meta.stamp, head.stamp);
}

async fn signed_links_answer_as_signed_until_they_expire(linked: &Linked) {
    let store = &linked.store;
    let k = key("links/a b ü%&+.jpg");
    store.put_bytes(&k, Bytes::from_static(b"0123456789"), "image/jpeg").await.unwrap();
    let get = attachment("Übung \"1\".jpg");
    let url = store.presign_get(&k, HOUR, &get).await.unwrap();
    let answer = linked.follow(&url, &[]).await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"0123456789".as_slice()));
    assert_eq!(answer.header("content-type"), "image/x-test");
    assert_eq!(answer.header("content-disposition"), get.disposition.header_value());

    let two_hours_ago = Timestamp::now() - SignedDuration::from_hours(2);
    let expired = store.presign_get_at(&k, HOUR, &get, two_hours_ago).await.unwrap();
    assert_eq!(linked.follow(&expired, &[]).await.status, 403);

    let changed = url.replace("image%2Fx-test", "text%2Fhtml");
    assert_ne!(changed, url);
    assert_eq!(linked.follow(&changed, &[]).await.status, 403);

    let gone = store.presign_get(&key("links/gone"), HOUR, &get).await.unwrap();
    assert_eq!(linked.follow(&gone, &[]).await.status, 404);
}

/// Of a folder these are the server's, so only where there is one.
async fn signed_links_answer_ranges_and_conditions(linked: &Linked) {
    let store = &linked.store;
    let k = key("ranges/a ü.bin");
    store.put_bytes(&k, Bytes::from_static(b"0123456789"), "image/jpeg").await.unwrap();
    let get = attachment("a ü.bin");
    let url = store.presign_get(&k, HOUR, &get).await.unwrap();
    let etag = linked.follow(&url, &[]).await.header("etag").to_owned();
    assert!(etag.starts_with('"'), "{etag} is a strong one");

    let is_part = |answer: &Answer, content_range: &str, body: &str| {
        assert_eq!((answer.status, answer.text()), (206, body), "{content_range}");
        assert_eq!(answer.header("content-range"), content_range);
        assert_eq!(answer.header("content-length"), body.len().to_string());
        assert_eq!(answer.header("etag"), etag);
        assert_eq!(answer.header("content-type"), "image/x-test");
        assert_eq!(answer.header("content-disposition"), get.disposition.header_value());
    };
    for (range, content_range, body) in [
        ("bytes=2-4", "bytes 2-4/10", "234"),
        ("bytes=0-0", "bytes 0-0/10", "0"),
        ("bytes=7-", "bytes 7-9/10", "789"),
        ("bytes=8-99", "bytes 8-9/10", "89"),
        ("bytes=-3", "bytes 7-9/10", "789"),
    ] {
        is_part(&linked.follow(&url, &[("Range", range)]).await, content_range, body);
    }
    let beyond = linked.follow(&url, &[("Range", "bytes=10-")]).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */10"));
    for several_or_none in ["bytes=0-1,4-5", "lines=1-2"] {
        let answer = linked.follow(&url, &[("Range", several_or_none)]).await;
        assert_eq!((answer.status, answer.text()), (200, "0123456789"), "{several_or_none}");
    }

    let range = ("Range", "bytes=2-4");
    let listed = format!("\"x\", {etag}");
    for seen in [&etag, &listed, "*"] {
        for headers in [&[("If-None-Match", seen)][..], &[range, ("If-None-Match", seen)]] {
            let answer = linked.follow(&url, headers).await;
            assert_eq!((answer.status, answer.text()), (304, ""), "{seen}");
            assert_eq!(answer.header("etag"), etag);
        }
    }
    // A tag says more than a date.
    let later = ("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT");
    let answer = linked.follow(&url, &[("If-None-Match", "\"x\""), later]).await;
    assert_eq!((answer.status, answer.text()), (200, "0123456789"));

    let same = linked.follow(&url, &[range, ("If-Range", &etag)]).await;
    is_part(&same, "bytes 2-4/10", "234");
    store.put_bytes(&k, Bytes::from_static(b"another object"), "image/jpeg").await.unwrap();
    let answer = linked.follow(&url, &[("If-None-Match", &etag)]).await;
    assert_eq!((answer.status, answer.text()), (200, "another object"));
    let now = answer.header("etag");
    assert_ne!(now, etag);
    // SeaweedFS 4.48 does not know `If-Range`, and compares `If-None-Match` strongly.
    if matches!(store, BlobStore::Folder(_)) {
        let (weak, modified) = (format!("W/{now}"), answer.header("last-modified"));
        for not_it in [&etag, "\"x\"", &weak, modified, "nonsense"] {
            let answer = linked.follow(&url, &[range, ("If-Range", not_it)]).await;
            assert_eq!((answer.status, answer.text()), (200, "another object"), "{not_it}");
        }
        assert_eq!(linked.follow(&url, &[("If-None-Match", &weak)]).await.status, 304);
    }

    // Who has no link learns nothing by asking in another way.
    let two_hours_ago = Timestamp::now() - SignedDuration::from_hours(2);
    let expired = store.presign_get_at(&k, HOUR, &get, two_hours_ago).await.unwrap();
    let last = url.chars().last().unwrap();
    let forged = format!("{}{}", &url[..url.len() - 1], if last == '0' { '1' } else { '0' });
    for link in [expired, forged] {
        for headers in [&[range][..], &[("If-None-Match", "*")], &[range, ("If-Range", now)]] {
            assert_eq!(linked.follow(&link, headers).await.status, 403, "{headers:?}");
        }
    }
}

fn metadata() -> BTreeMap<String, String> {
    let name = "%C3%BC%20".repeat(99);
    [("sha256", "ab".repeat(32)), ("name", name)].map(|(name, text)| (name.to_owned(), text)).into()
}

pub async fn begin(store: &BlobStore, k: &BlobKey) -> MultipartId {
    let info = ObjectInfo { mime: "video/x-test".into(), metadata: metadata() };
    store.create_multipart(k, &info).await.unwrap()
}

pub fn number(number: u16) -> PartNumber {
    PartNumber::new(number).unwrap()
}

pub async fn sign_part(
    store: &BlobStore,
    k: &BlobKey,
    id: &MultipartId,
    n: u16,
    len_bytes: usize,
) -> String {
    let now = Timestamp::now();
    store.presign_part(k, (id, number(n)), len_bytes as u64, HOUR, now).await.unwrap()
}

async fn an_upload_in_parts_becomes_one_object(linked: &Linked) {
    let store = &linked.store;
    let k = key("parts/clip ü.bin");
    store.delete(&k).await.unwrap();
    let id = begin(store, &k).await;
    assert_eq!(store.list_parts(&k, &id).await.unwrap(), Some(vec![]));
    let first = vec![1; PART_MIN_BYTES as usize];
    let last = vec![2; 100_000];

    // The last first, and one of them twice.
    let url = sign_part(store, &k, &id, 2, last.len()).await;
    for wrong in [&last[1..], &[&last[..], b"x"].concat()] {
        assert_eq!(linked.send(&url, None, wrong).await.status, 403, "{} bytes", wrong.len());
    }
    let elsewhere = url.replace("/parts/", "/partz/");
    assert_ne!(elsewhere, url);
    assert_eq!(linked.send(&elsewhere, None, &last).await.status, 403);
    assert_eq!(linked.send(&url, None, &last).await.status, 200);
    let url = sign_part(store, &k, &id, 1, first.len()).await;
    assert_eq!(linked.send(&url, None, &last).await.status, 403, "another length");
    assert_eq!(linked.send(&url, None, &vec![9; first.len()]).await.status, 200);
    let etag_1 = linked.send(&url, None, &first).await.header("etag").to_owned();
    let expired = {
        let hours_ago = Timestamp::now() - SignedDuration::from_hours(2);
        store.presign_part(&k, (&id, number(1)), first.len() as u64, HOUR, hours_ago).await.unwrap()
    };
    assert_eq!(linked.send(&expired, None, &first).await.status, 403);
    let other_part = url.replace("artNumber=1", "artNumber=3").replace("part=1", "part=3");
    assert_ne!(other_part, url);
    assert_eq!(linked.send(&other_part, None, &first).await.status, 403);

    let parts = store.list_parts(&k, &id).await.unwrap().unwrap();
    let facts: Vec<_> = parts.iter().map(|part| (part.number.get(), part.len_bytes)).collect();
    assert_eq!(facts, [(1, PART_MIN_BYTES), (2, 100_000)]);
    assert_eq!(parts[0].etag.trim_matches('"'), etag_1.trim_matches('"'));
    assert!(store.head(&k).await.unwrap().is_none(), "nothing is seen of it before it is whole");

    let parts: Vec<_> = parts.into_iter().map(|part| (part.number, part.etag)).collect();
    let wrong = [(number(1), parts[1].1.clone()), parts[1].clone()];
    let refused = store.complete_multipart(&k, &id, &wrong).await.unwrap();
    assert!(matches!(refused, Completed::Refused(_)), "{refused:?}");
    assert_eq!(store.complete_multipart(&k, &id, &parts).await.unwrap(), Completed::Stored);
    // S3 stores say for a while that it went well.
    let again = store.complete_multipart(&k, &id, &parts).await.unwrap();
    assert!(!matches!(again, Completed::Refused(_)), "{again:?}");
    assert_eq!(store.list_parts(&k, &id).await.unwrap(), None);
    assert_eq!(linked.send(&url, None, &first).await.status, 404, "nothing can be added any more");

    let whole = [first, last].concat();
    let meta = store.head(&k).await.unwrap().unwrap();
    assert_eq!(meta.len_bytes, whole.len() as u64);
    assert_eq!(store.read(&k, meta.len_bytes).await.unwrap(), whole);
    assert_eq!(meta.mime.as_deref(), Some("video/x-test"));
    assert_eq!(meta.metadata, metadata());

    let moved = key("parts/moved/here.bin");
    store.move_object(&k, &moved).await.unwrap();
    assert!(store.head(&k).await.unwrap().is_none());
    let found = store.head(&moved).await.unwrap().unwrap();
    assert_eq!((found.mime, found.metadata), (meta.mime, meta.metadata));
    assert_eq!(store.read(&moved, meta.len_bytes).await.unwrap(), whole);
    let again = store.move_object(&k, &moved).await;
    assert!(matches!(again, Err(BlobError::NotFound { .. })), "{again:?}");
}

async fn an_aborted_upload_leaves_nothing(linked: &Linked) {
    let store = &linked.store;
    let k = key("aborted/a.bin");
    let id = begin(store, &k).await;
    let url = sign_part(store, &k, &id, 1, 10).await;
    assert_eq!(linked.send(&url, None, b"0123456789").await.status, 200);
    let other_key = key("aborted/b.bin");
    assert_eq!(store.list_parts(&other_key, &id).await.unwrap(), None, "an upload is of one key");
    store.abort_multipart(&k, &id).await.unwrap();
    store.abort_multipart(&k, &id).await.unwrap();
    assert_eq!(store.list_parts(&k, &id).await.unwrap(), None);
    assert_eq!(linked.send(&url, None, b"0123456789").await.status, 404);
    assert_eq!(store.complete_multipart(&k, &id, &[]).await.ok(), Some(Completed::Gone));
    assert!(store.list("aborted/", None, 10).await.unwrap().objects.is_empty());

    // Whatever nobody came back to.
    let left = [begin(store, &k).await, begin(store, &k).await];
    let before_it = Timestamp::now() - SignedDuration::from_hours(1);
    let none = HashSet::new();
    assert_eq!(store.abort_multiparts("aborted/", before_it, &none).await.unwrap(), 0);
    let after_it = Timestamp::now() + SignedDuration::from_hours(1);
    let kept = [k.clone()].into();
    assert_eq!(store.abort_multiparts("aborted/", after_it, &kept).await.unwrap(), 0);
    assert_eq!(store.abort_multiparts("aborted/", after_it, &none).await.unwrap(), 2);
    for id in left {
        assert_eq!(store.list_parts(&k, &id).await.unwrap(), None);
    }
}

/// Everything that both stores have in common.
pub async fn suite(linked: &Linked) {
    let store = &linked.store;
    store.ping().await.unwrap();
    objects_are_put_read_replaced_and_deleted(linked).await;
    listing_pages_meet_and_keep_to_the_prefix(linked).await;
    signed_links_answer_as_signed_until_they_expire(linked).await;
    if linked.is_http() {
        signed_links_answer_ranges_and_conditions(linked).await;
    }
    an_upload_in_parts_becomes_one_object(linked).await;
    an_aborted_upload_leaves_nothing(linked).await;
}
