//! One suite for both stores: what the rest of Damwall relies on.

use std::{collections::BTreeSet, os::unix::fs::symlink, time::Duration};

use bytes::Bytes;
use catalog::{
    BlobError, BlobKey, BlobStore, Disposition, PresignGet,
    blob::{FolderStore, LinkSecret, S3Store, VerifyError},
    scan_store,
};
use domain::Thumb;
use jiff::{SignedDuration, Timestamp};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{fixture::Fixture, media, weed::Weed};

const HOUR: Duration = Duration::from_secs(3600);

fn key(text: &str) -> BlobKey {
    text.parse().unwrap()
}

fn attachment(filename: &str) -> PresignGet {
    PresignGet {
        content_type: "image/x-test".into(),
        disposition: Disposition::Attachment { filename: filename.into() },
    }
}

/// What a browser gets on a signed link.
struct Answer {
    status: u16,
    content_type: String,
    content_disposition: String,
    body: Vec<u8>,
}

/// Follows a signed link as a browser would; `range` such as `bytes=0-3`.
async fn follow(store: &BlobStore, url: &str, range: Option<&str>) -> Answer {
    match store {
        // The server's route does no more than this and `tower_http`'s ranges.
        BlobStore::Folder(store) => {
            let (path, query) = url.split_once('?').unwrap();
            match store.verify(path, query, Timestamp::now()).await {
                Ok(file) => Answer {
                    status: 200,
                    content_type: file.content_type,
                    content_disposition: file.content_disposition,
                    body: std::fs::read(file.path).unwrap(),
                },
                Err(error) => Answer {
                    status: if error == VerifyError::NotFound { 404 } else { 403 },
                    content_type: String::new(),
                    content_disposition: String::new(),
                    body: Vec::new(),
                },
            }
        }
        BlobStore::S3(_) => http_get(url, range).await,
    }
}

async fn http_get(url: &str, range: Option<&str>) -> Answer {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    let mut stream = TcpStream::connect(host).await.unwrap();
    let range = range.map_or(String::new(), |range| format!("Range: {range}\r\n"));
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{range}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(n, _)| n.eq_ignore_ascii_case(name));
        values.next().map_or(String::new(), |(_, value)| value.to_owned())
    };
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        content_type: header("content-type"),
        content_disposition: header("content-disposition"),
        body: answer[end + 4..].to_vec(),
    }
}

async fn objects_are_put_read_replaced_and_deleted(store: &BlobStore) {
    let k = key("suite/a b+ü%?#.bin");
    assert!(store.head(&k).await.unwrap().is_none());
    assert!(matches!(store.read(&k, 9).await, Err(BlobError::NotFound { .. })));
    assert!(matches!(store.open(&k).await, Err(BlobError::NotFound { .. })));

    store.put_bytes(&k, Bytes::from_static(b"12345"), "image/x-test").await.unwrap();
    let meta = store.head(&k).await.unwrap().unwrap();
    assert_eq!(meta.len_bytes, 5);
    assert!(meta.modified.is_some());
    assert_eq!(store.read(&k, 5).await.unwrap(), "12345");
    let too_large = store.read(&k, 4).await;
    assert!(matches!(too_large, Err(BlobError::TooLarge { len_bytes: 5, max_bytes: 4, .. })));

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("large");
    let large: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&file, &large).unwrap();
    store.put_file(&k, &file, "image/x-test").await.unwrap();
    let replaced = store.head(&k).await.unwrap().unwrap();
    assert_eq!(replaced.len_bytes, large.len() as u64);
    assert_ne!(replaced.stamp, meta.stamp);
    let copy = store.local_file(&k, &dir.path().join("copy")).await.unwrap();
    assert_eq!(std::fs::read(copy).unwrap(), large);

    store.delete(&k).await.unwrap();
    assert!(store.head(&k).await.unwrap().is_none());
    store.delete(&k).await.unwrap();
}

async fn listing_pages_meet_and_keep_to_the_prefix(store: &BlobStore) {
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

async fn signed_links_answer_as_signed_until_they_expire(store: &BlobStore) {
    let k = key("links/a b ü%&+.jpg");
    store.put_bytes(&k, Bytes::from_static(b"0123456789"), "image/jpeg").await.unwrap();
    let get = attachment("Übung \"1\".jpg");
    let url = store.presign_get(&k, HOUR, &get).await.unwrap();
    let answer = follow(store, &url, None).await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"0123456789".as_slice()));
    assert_eq!(answer.content_type, "image/x-test");
    assert_eq!(answer.content_disposition, get.disposition.header_value());

    let two_hours_ago = Timestamp::now() - SignedDuration::from_hours(2);
    let expired = store.presign_get_at(&k, HOUR, &get, two_hours_ago).await.unwrap();
    assert_eq!(follow(store, &expired, None).await.status, 403);

    let changed = url.replace("image%2Fx-test", "text%2Fhtml");
    assert_ne!(changed, url);
    assert_eq!(follow(store, &changed, None).await.status, 403);

    let gone = store.presign_get(&key("links/gone"), HOUR, &get).await.unwrap();
    assert_eq!(follow(store, &gone, None).await.status, 404);
}

/// Everything that both stores have in common.
async fn suite(store: &BlobStore) {
    store.ping().await.unwrap();
    objects_are_put_read_replaced_and_deleted(store).await;
    listing_pages_meet_and_keep_to_the_prefix(store).await;
    signed_links_answer_as_signed_until_they_expire(store).await;
}

#[tokio::test]
async fn folder_store_passes_the_suite() {
    let dir = tempfile::tempdir().unwrap();
    let store = FolderStore::open(dir.path(), LinkSecret::new([3; 32])).unwrap();
    suite(&BlobStore::Folder(store)).await;
}

#[tokio::test]
async fn s3_store_passes_the_suite_and_serves_the_catalog() {
    let weed = Weed::start().await;
    let store = BlobStore::S3(S3Store::new(&weed.config()));
    suite(&store).await;

    let k = key("range.bin");
    store.put_bytes(&k, Bytes::from_static(b"0123456789"), "image/x-test").await.unwrap();
    let url = store.presign_get(&k, HOUR, &attachment("range.bin")).await.unwrap();
    assert!(url.starts_with("http://localhost:"), "signed for the public endpoint");
    let part = follow(&store, &url, Some("bytes=2-4")).await;
    assert_eq!((part.status, part.body.as_slice()), (206, b"234".as_slice()));

    let wrong = catalog::blob::S3Config { secret_key: "wrong".into(), ..weed.config() };
    let error = BlobStore::S3(S3Store::new(&wrong)).ping().await.unwrap_err();
    assert!(error.to_string().contains("403"), "{error}");

    let f = Fixture::with_store(tempfile::tempdir().unwrap(), store).await;
    f.write("imported.jpg", &media::jpeg(800, 600));
    assert_eq!(f.import().await.imported, 1);
    assert_eq!(f.import().await.already_there, 1);
    let found = Bytes::from(media::jpeg(400, 600));
    f.store.put_bytes(&key("trip/found.jpg"), found, "image/jpeg").await.unwrap();
    let scanned = scan_store(&f.catalog, &f.store).await.unwrap();
    assert_eq!((scanned.registered, scanned.failed), (1, Vec::new()));
    assert_eq!(scan_store(&f.catalog, &f.store).await.unwrap().registered, 0);
    assert_eq!(f.do_jobs().await, 2);
    for asset in f.assets().await {
        assert!(matches!(asset.thumb, Thumb::Ready { .. }), "{asset:?}");
    }
}

#[tokio::test]
async fn s3_store_out_of_reach_says_so_without_its_credentials() {
    let config = catalog::blob::S3Config {
        endpoint: "http://127.0.0.1:1".into(),
        public_endpoint: None,
        region: "us-east-1".into(),
        bucket: "media".into(),
        access_key: "the-access-key".into(),
        secret_key: "the-secret-key".into(),
    };
    let error = BlobStore::S3(S3Store::new(&config)).ping().await.unwrap_err().to_string();
    assert!(error.contains("bucket media"), "{error}");
    assert!(!error.contains("the-"), "{error}");
}

#[tokio::test]
async fn link_in_a_folder_store_does_not_lead_out_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    let folder = FolderStore::open(&dir.path().join("store"), LinkSecret::new([3; 32])).unwrap();
    symlink(&outside, folder.root().join("door")).unwrap();
    symlink(outside.join("secret"), folder.root().join("window")).unwrap();
    let store = BlobStore::Folder(folder.clone());

    for k in ["door/secret", "window", "door"].map(key) {
        assert!(store.head(&k).await.unwrap().is_none(), "{k}");
        assert!(matches!(store.open(&k).await, Err(BlobError::NotFound { .. })), "{k}");
        let url = store.presign_get(&k, HOUR, &attachment("x")).await.unwrap();
        let (path, query) = url.split_once('?').unwrap();
        let refused = folder.verify(path, query, Timestamp::now()).await;
        assert_eq!(refused, Err(VerifyError::NotFound), "{k}");
    }
    assert!(store.list("", None, 100).await.unwrap().objects.is_empty());
    let put = store.put_bytes(&key("door/new"), Bytes::from_static(b"x"), "image/jpeg").await;
    assert!(put.is_err());
    assert!(!outside.join("new").exists());
    store.delete(&key("door/secret")).await.unwrap();
    assert!(outside.join("secret").exists());
}

#[tokio::test]
async fn folder_store_shows_no_half_written_object() {
    let dir = tempfile::tempdir().unwrap();
    let store = FolderStore::open(dir.path(), LinkSecret::new([3; 32])).unwrap();
    let store = BlobStore::Folder(store);
    std::fs::write(dir.path().join(".damwall-tmp/half"), "half").unwrap();
    let half = key(".damwall-tmp/half");
    assert!(store.list("", None, 100).await.unwrap().objects.is_empty());
    assert!(store.head(&half).await.unwrap().is_none());
    assert!(store.put_bytes(&half, Bytes::new(), "image/jpeg").await.is_err());
    // A failed write leaves nothing behind.
    let missing = dir.path().join("missing");
    assert!(store.put_file(&key("a"), &missing, "image/jpeg").await.is_err());
    assert!(store.head(&key("a")).await.unwrap().is_none());
    assert_eq!(std::fs::read_dir(dir.path().join(".damwall-tmp")).unwrap().count(), 1);
}
