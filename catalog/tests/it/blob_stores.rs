//! The suite of both stores, and what is one store's own.

use std::{os::unix::fs::symlink, time::Duration};

use bytes::Bytes;
use catalog::{
    BlobError, BlobStore, ReconcileOptions,
    blob::{
        Completed, FolderStore, LinkSecret, ObjectInfo, PART_MIN_BYTES, S3Config, S3Store,
        VerifyError,
    },
    reconcile,
};
use domain::Thumb;
use jiff::Timestamp;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    fixture::Fixture,
    links::{Linked, http, key, send},
    media,
    store_suite::{HOUR, attachment, begin, number, sign_part, suite},
    weed::Weed,
};

/// `DAMWALL_TEST_S3_ENDPOINT`, `_BUCKET`, `_ACCESS_KEY`, `_SECRET_KEY` and `_REGION` name any other
/// store, reached by plain HTTP. Its bucket is written to: give it one of its own.
#[tokio::test]
async fn the_s3_store_that_the_environment_names_passes_the_suite() {
    let var = |name: &str| std::env::var(format!("DAMWALL_TEST_S3_{name}")).ok();
    let Some(endpoint) = var("ENDPOINT") else { return };
    let needed = |name| var(name).unwrap_or_else(|| panic!("DAMWALL_TEST_S3_{name} is not set"));
    let store = S3Store::new(&S3Config {
        endpoint,
        public_endpoint: None,
        region: var("REGION").unwrap_or_else(|| "us-east-1".into()),
        bucket: needed("BUCKET"),
        access_key: needed("ACCESS_KEY"),
        secret_key: needed("SECRET_KEY"),
    });
    store.ensure_bucket().await.unwrap();
    suite(&Linked { store: BlobStore::S3(store), origin: None }).await;
}

#[tokio::test]
async fn s3_store_lets_pages_of_named_origins_write_and_read_the_etag() {
    let weed = Weed::start().await;
    let s3 = S3Store::new(&weed.config());
    let origin = "https://media.example";
    for _ in 0..2 {
        s3.allow_origins(&[origin.to_owned()]).await.unwrap();
    }
    let store = BlobStore::S3(s3);
    let id = begin(&store, &key("cors")).await;
    let url = sign_part(&store, &key("cors"), &id, 1, 4).await;
    let asked = [
        ("Origin", origin),
        ("Access-Control-Request-Method", "PUT"),
        ("Access-Control-Request-Headers", "content-type"),
    ];
    let preflight = http("OPTIONS", &url, &asked, b"").await;
    assert_eq!(preflight.status, 200);
    assert_eq!(preflight.header("access-control-allow-origin"), origin);
    let headers = [("Origin", origin), ("Content-Type", "image/x-test")];
    let sent = http("PUT", &url, &headers, b"1234").await;
    assert_eq!(sent.status, 200);
    assert_eq!(sent.header("access-control-allow-origin"), origin);
    assert!(sent.header("access-control-expose-headers").to_lowercase().contains("etag"));
    let foreign = [("Origin", "https://evil.example"), asked[1]];
    let preflight = http("OPTIONS", &url, &foreign, b"").await;
    assert_eq!(preflight.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn s3_store_moves_long_objects_in_parts() {
    let weed = Weed::start().await;
    let s3 = S3Store::new(&weed.config()).copying_in_parts_of(PART_MIN_BYTES);
    let store = BlobStore::S3(s3);
    let (from, to) = (key("long/ü from"), key("long/to"));
    let body: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    store.put_bytes(&from, Bytes::from(body.clone()), "video/x-test").await.unwrap();
    store.move_object(&from, &to).await.unwrap();
    assert_eq!(store.read(&to, body.len() as u64).await.unwrap(), body);
    let meta = store.head(&to).await.unwrap().unwrap();
    assert_eq!(meta.mime.as_deref(), Some("video/x-test"));
    assert!(store.head(&from).await.unwrap().is_none());

    // The store takes no parts as short as these: what was begun is ended, what was there stays.
    let s3 = S3Store::new(&weed.config()).copying_in_parts_of(PART_MIN_BYTES - 1);
    let refusing = BlobStore::S3(s3);
    let refused = refusing.move_object(&to, &from).await;
    assert!(matches!(refused, Err(BlobError::S3 { .. })), "{refused:?}");
    assert_eq!(left(&store, "long/").await, 0);
    assert_eq!(store.head(&to).await.unwrap().unwrap().len_bytes, body.len() as u64);
}

/// Uploads in parts that nobody ended, below a key.
async fn left(store: &BlobStore, key: &str) -> u64 {
    let later = Timestamp::now() + Duration::from_secs(24 * 3600);
    store.abort_multiparts(key, later, &[].into()).await.unwrap()
}

#[tokio::test]
async fn s3_store_sends_long_files_in_parts() {
    let weed = Weed::start().await;
    let s3 = S3Store::new(&weed.config());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("long");
    // Four whole parts and a little.
    let body: Vec<u8> = (0..PART_MIN_BYTES as u32 + 1).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&file, &body).unwrap();
    let k = key("sent/ü long");

    let store = BlobStore::S3(s3.clone().sending_in_parts_of(PART_MIN_BYTES));
    store.put_file(&k, &file, "video/x-test").await.unwrap();
    let meta = store.head(&k).await.unwrap().unwrap();
    assert!(meta.stamp.ends_with("-5\""), "{} is of five parts", meta.stamp);
    assert_eq!(meta.mime.as_deref(), Some("video/x-test"));
    assert!(store.read(&k, body.len() as u64).await.unwrap() == body);
    assert_eq!(left(&store, "sent/").await, 0);

    // The store takes no parts as short as these: what was begun is ended, what was there stays.
    let store = BlobStore::S3(s3.sending_in_parts_of(PART_MIN_BYTES - 1));
    let refused = store.put_file(&k, &file, "video/x-test").await;
    assert!(matches!(refused, Err(BlobError::S3 { .. })), "{refused:?}");
    assert_eq!(left(&store, "sent/").await, 0);
    assert_eq!(store.head(&k).await.unwrap().unwrap().stamp, meta.stamp);
    let missing = store.put_file(&k, &dir.path().join("missing"), "video/x-test").await;
    assert!(matches!(missing, Err(BlobError::File { .. })), "{missing:?}");
}

/// Whatever stands before a store and answers each request with this.
async fn answering(answer: &'static str) -> BlobStore {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let s3 = S3Store::new(&S3Config {
        endpoint: format!("http://{}", listener.local_addr().unwrap()),
        public_endpoint: None,
        region: "us-east-1".into(),
        bucket: "media".into(),
        access_key: "a".into(),
        secret_key: "s".into(),
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    BlobStore::S3(s3)
}

#[tokio::test]
async fn what_something_before_an_s3_store_does_not_find_is_not_taken_for_gone() {
    const HEAD: &str = "HTTP/1.1 404 Not Found\r\nConnection: close\r\n";
    let (k, id) = (key("a"), "id".parse().unwrap());
    for (rest, body) in [
        ("Content-Type: text/html\r\n", "<html><head><title>404</title></head></html>"),
        ("Content-Type: text/html\r\n", ""),
        ("", ""),
        (
            "Content-Type: application/xml\r\n",
            "<Error><Code>NoSuchBucket</Code><Message>No such bucket</Message></Error>",
        ),
    ] {
        let answer = format!("{HEAD}{rest}Content-Length: {}\r\n\r\n{body}", body.len());
        let store = answering(answer.leak()).await;
        let asked = [
            store.open(&k).await.map(drop),
            store.delete(&k).await,
            store.list_parts(&k, &id).await.map(drop),
            store.complete_multipart(&k, &id, &[(number(1), "e".into())]).await.map(drop),
            store.abort_multipart(&k, &id).await,
        ];
        for (index, asked) in asked.into_iter().enumerate() {
            assert!(matches!(asked, Err(BlobError::S3 { .. })), "{index} {body}: {asked:?}");
        }
        // Its answers have no body, and what names itself a store's is believed.
        let is_believed = rest.contains("xml");
        assert_eq!(store.head(&k).await.is_ok(), is_believed, "{rest}");
    }
    let answer = format!("{HEAD}x-amz-request-id: 1\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(answering(answer.leak()).await.head(&k).await.unwrap(), None);
}

#[tokio::test]
async fn neither_a_link_to_an_s3_store_nor_what_is_sent_to_it_has_a_checksum() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let store = BlobStore::S3(S3Store::new(&Weed::config_at(&endpoint)));
    let (k, id) = (key("a"), "id".parse().unwrap());
    let sent = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.windows(4).any(|window| window == b"\r\n\r\n") {
            assert!(stream.read_buf(&mut head).await.unwrap() > 0, "it ends");
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        String::from_utf8_lossy(&head).into_owned()
    };
    let put = store.put_bytes(&k, Bytes::from_static(b"12345"), "text/plain");
    let (put, sent) = tokio::join!(put, sent);
    put.unwrap();
    let get = store.presign_get(&k, HOUR, &attachment("a")).await.unwrap();
    for text in [sent, get, sign_part(&store, &k, &id, 1, 10).await] {
        assert!(!text.to_lowercase().contains("checksum"), "{text}");
    }
}

/// A store that takes connections, says `head` and then `letters` letters, one every 100 ms, on each, and
/// nothing more.
async fn taciturn(head: &'static str, letters: u32) -> S3Store {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                if !head.is_empty() {
                    let _ = stream.read(&mut [0; 4096]).await;
                    let _ = stream.write_all(head.as_bytes()).await;
                }
                for _ in 0..letters {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    let _ = stream.write_all(b"x").await;
                }
                std::future::pending::<()>().await;
                drop(stream);
            });
        }
    });
    S3Store::new(&S3Config {
        endpoint,
        public_endpoint: None,
        region: "us-east-1".into(),
        bucket: "media".into(),
        access_key: "a".into(),
        secret_key: "s".into(),
    })
}

#[tokio::test]
async fn s3_store_that_says_nothing_is_given_up() {
    let s3 = taciturn("", 0).await.answered_within(Duration::from_millis(100));
    let store = BlobStore::S3(s3.clone());
    let in_parts = BlobStore::S3(s3.sending_in_parts_of(PART_MIN_BYTES));
    let (k, id) = (key("a"), "id".parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("long");
    // More than sockets take by themselves.
    std::fs::File::create(&file).unwrap().set_len(32 << 20).unwrap();
    let parts = [(number(1), "\"etag\"".to_owned())];
    let asked = async {
        let (ping, head, open, delete, list) = tokio::join!(
            store.ping(),
            store.head(&k),
            store.open(&k),
            store.delete(&k),
            store.list("", None, 9),
        );
        let (short, long, parts, complete, moved) = tokio::join!(
            store.put_bytes(&k, Bytes::from_static(b"short"), "text/plain"),
            store.put_file(&k, &file, "text/plain"),
            in_parts.put_file(&k, &file, "text/plain"),
            store.complete_multipart(&k, &id, &parts),
            store.move_object(&k, &k),
        );
        let (open, list) = (open.map(drop), list.map(drop));
        let head = head.map(drop);
        [ping, head, open, delete, list, short, long, parts, complete.map(drop), moved]
    };
    let answers = tokio::time::timeout(Duration::from_secs(60), asked).await.expect("an end");
    for (index, answer) in answers.into_iter().enumerate() {
        let error = answer.unwrap_err().to_string();
        assert!(error.contains("timeout") || error.contains("throughput"), "{index}: {error}");
    }
}

#[tokio::test]
async fn s3_store_that_is_slow_is_read_to_the_end_and_one_that_stops_is_given_up() {
    const SLOW: &str = "HTTP/1.1 200 OK\r\nContent-Length: 30\r\nETag: \"a\"\r\n\r\n";
    let within = Duration::from_secs(1);
    let slow = BlobStore::S3(taciturn(SLOW, 30).await.answered_within(within));
    let stopped = BlobStore::S3(taciturn(SLOW, 29).await.answered_within(within));
    let (slow_key, stopped_key) = (key("slow"), key("stopped"));
    let read = async { tokio::join!(slow.read(&slow_key, 99), stopped.read(&stopped_key, 99)) };
    let (slow, stopped) =
        tokio::time::timeout(Duration::from_secs(60), read).await.expect("an end");
    assert_eq!(slow.unwrap(), "x".repeat(30), "longer than any answer may be waited for");
    assert!(stopped.is_err(), "{stopped:?}");
}

#[tokio::test]
async fn folder_store_passes_the_suite() {
    let dir = tempfile::tempdir().unwrap();
    let store = FolderStore::open(dir.path(), LinkSecret::new([3; 32])).unwrap();
    suite(&Linked { store: BlobStore::Folder(store), origin: None }).await;
}

#[tokio::test]
async fn what_an_object_of_a_folder_was_stored_with_goes_with_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let folder = FolderStore::open(dir.path(), LinkSecret::new([3; 32])).unwrap();
    let store = BlobStore::Folder(folder);
    let metadata = [("sha256".to_owned(), "ab".repeat(32))].into();
    let info = ObjectInfo { mime: "video/x-test\r\nx: y".into(), metadata };
    let k = key("kept/a.bin");
    let id = store.create_multipart(&k, &info).await.unwrap();
    let url = sign_part(&store, &k, &id, 1, 10).await;
    let etag = send(&store, &url, None, b"0123456789").await.header("etag").to_owned();
    store.complete_multipart(&k, &id, &[(number(1), etag)]).await.unwrap();
    // Another process on the folder, and the file elsewhere, by hand.
    let folder = FolderStore::open(dir.path(), LinkSecret::new([4; 32])).unwrap();
    let store = BlobStore::Folder(folder);
    std::fs::rename(dir.path().join("kept/a.bin"), dir.path().join("by hand.bin")).unwrap();
    let meta = store.head(&key("by hand.bin")).await.unwrap().unwrap();
    assert_eq!(
        meta.mime.as_deref(),
        Some("application/octet-stream"),
        "no header can be made of it"
    );
    assert_eq!(meta.metadata, info.metadata);

    // A file that somebody put there has none, and there is nothing else in the folder.
    std::fs::write(dir.path().join("kept/a.bin"), "by hand").unwrap();
    let meta = store.head(&k).await.unwrap().unwrap();
    assert_eq!((meta.mime, meta.metadata.len()), (None, 0));
    let listed = store.list("", None, 9).await.unwrap();
    let keys: Vec<_> = listed.objects.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(keys, ["by hand.bin", "kept/a.bin"]);
    assert_eq!(std::fs::read_dir(dir.path().join("kept")).unwrap().count(), 1);
    // What replaces it is what is known of.
    store.put_bytes(&key("by hand.bin"), Bytes::from_static(b"new"), "image/x-test").await.unwrap();
    let meta = store.head(&key("by hand.bin")).await.unwrap().unwrap();
    assert_eq!((meta.mime.as_deref(), meta.metadata.len()), (Some("image/x-test"), 0));
}

#[tokio::test]
async fn folder_store_puts_parts_together_for_several_who_ask_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let folder = FolderStore::open(dir.path(), LinkSecret::new([3; 32])).unwrap();
    let store = BlobStore::Folder(folder);
    for round in 0..20 {
        let k = key(&format!("at-once/{round}.bin"));
        let id = begin(&store, &k).await;
        let mut parts = Vec::new();
        for n in 1..=9 {
            let url = sign_part(&store, &k, &id, n, 10).await;
            let sent = send(&store, &url, None, b"0123456789").await;
            parts.push((number(n), sent.header("etag").to_owned()));
        }
        let complete = || store.complete_multipart(&k, &id, &parts);
        let (a, b, c, d) = tokio::join!(complete(), complete(), complete(), complete());
        let outcomes = [a, b, c, d].map(Result::unwrap);
        assert!(outcomes.contains(&Completed::Stored), "{outcomes:?}");
        let is_refused = |outcome: &Completed| matches!(outcome, Completed::Refused(_));
        assert!(!outcomes.iter().any(is_refused), "{outcomes:?}");
        assert_eq!(store.read(&k, 90).await.unwrap(), b"0123456789".repeat(9));
    }
}

#[tokio::test]
async fn s3_store_passes_the_suite_and_serves_the_catalog() {
    let weed = Weed::start().await;
    let store = BlobStore::S3(S3Store::new(&weed.config()));
    suite(&Linked { store: store.clone(), origin: None }).await;

    let url = store.presign_get(&key("any"), HOUR, &attachment("any")).await.unwrap();
    assert!(url.starts_with("http://localhost:"), "signed for the public endpoint");

    let wrong = catalog::blob::S3Config { secret_key: "wrong".into(), ..weed.config() };
    let error = BlobStore::S3(S3Store::new(&wrong)).ping().await.unwrap_err();
    assert!(error.to_string().contains("403"), "{error}");

    let f = Fixture::with_store(tempfile::tempdir().unwrap(), store).await;
    f.write("imported.jpg", &media::jpeg(800, 600));
    assert_eq!(f.import().await.imported, 1);
    assert_eq!(f.import().await.already_there, 1);
    let found = Bytes::from(media::jpeg(400, 600));
    f.store.put_bytes(&key("trip/found.jpg"), found, "image/jpeg").await.unwrap();
    let options = ReconcileOptions::default();
    let scanned = reconcile(&f.catalog, &f.store, &options, |_| {}).await.unwrap();
    assert_eq!((scanned.registered, scanned.failed), (1, 0));
    let again = reconcile(&f.catalog, &f.store, &options, |_| {}).await.unwrap();
    assert!(!again.is_change(), "{again:?}");
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
    let mut left: Vec<_> = std::fs::read_dir(dir.path().join(".damwall-tmp")).unwrap().collect();
    left.retain(|entry| entry.as_ref().unwrap().file_name() != "store-id");
    assert_eq!(left.len(), 1);
}
