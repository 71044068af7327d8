//! A real S3 server that is asked as little as possible, and that is killed and comes back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use catalog::{
    BlobStore,
    blob::{S3Config, S3Store},
};
use futures::future::join_all;
use serde_json::json;
use server::auth::Auth;
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{fixture::Application, thumbs::thumb, weed::Weed};

/// What a read of a rendition begins with.
const GET: &[u8] = b"GET /media/derived/";

/// Passes on what is sent to the store, and counts the reads of renditions in it.
struct Counter {
    gets: Arc<AtomicUsize>,
    config: S3Config,
    _task: AbortOnDropHandle<()>,
}

impl Counter {
    async fn before(weed: &Weed) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap();
        let config = S3Config { endpoint: format!("http://{own}"), ..weed.config() };
        let store = weed.config().endpoint.trim_start_matches("http://").to_owned();
        let gets = Arc::new(AtomicUsize::new(0));
        let count = gets.clone();
        let task = tokio::spawn(async move {
            while let Ok((asker, _)) = listener.accept().await {
                tokio::spawn(pass_on(asker, store.clone(), count.clone()));
            }
        });
        Self { gets, config, _task: AbortOnDropHandle::new(task) }
    }

    fn gets(&self) -> usize {
        self.gets.load(Relaxed)
    }
}

async fn pass_on(asker: TcpStream, store: String, gets: Arc<AtomicUsize>) {
    // The store may be away: then the connection ends.
    let Ok(store) = TcpStream::connect(store).await else { return };
    let (mut from_asker, mut to_asker) = asker.into_split();
    let (mut from_store, mut to_store) = store.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_store, &mut to_asker).await });
    let mut buffer = vec![0; 64 << 10];
    // The head of a request is small and comes whole.
    while let Ok(len @ 1..) = from_asker.read(&mut buffer).await {
        let sent = &buffer[..len];
        gets.fetch_add(sent.windows(GET.len()).filter(|bytes| *bytes == GET).count(), Relaxed);
        if to_store.write_all(sent).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thumbnail_is_read_from_the_store_once_and_then_from_disk_even_without_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let mut weed = Weed::start().await;
    let counter = Counter::before(&weed).await;
    let store = BlobStore::S3(S3Store::new(&counter.config));
    let app = Application::start_on(folder.path(), Auth::open(vec![]), "", store.clone()).await;
    let path = thumb(&app, folder.path()).await;
    let file = path.rsplit('/').next().unwrap();
    let key = catalog::rendition_file_key(&app.catalog, file).await.unwrap().unwrap();

    // The store has lost it: asked once a minute, however many ask.
    let bytes = store.read(&key, 1 << 20).await.unwrap();
    store.delete(&key).await.unwrap();
    let begun = counter.gets();
    let ask = || async { app.send("GET", &path, &[], "").await.status };
    let statuses = join_all((0..50).map(|_| ask())).await;
    assert!(statuses.iter().all(|status| *status == 404), "{statuses:?}");
    store.put_bytes(&key, bytes.clone(), "image/webp").await.unwrap();
    assert_eq!(ask().await, 404, "kept for a minute");
    assert_eq!(counter.gets() - begun, 1);
    app.clock.advance(Duration::from_secs(61));

    let answers = join_all((0..100).map(|_| app.send("GET", &path, &[], ""))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(counter.gets() - begun, 2, "one read for a hundred askers");
    app.stop().await;

    // Another process on the same disk, and the store is away.
    weed.kill();
    let app = Application::start_on(folder.path(), Auth::open(vec![]), "", store).await;
    let from_disk = app.send("GET", &path, &[], "").await;
    assert_eq!((from_disk.status, from_disk.header("x-cache")), (200, "MISS"));
    assert_eq!(from_disk.bytes().await, bytes);
    let hit = app.send("GET", &path, &[], "").await;
    assert_eq!((hit.status, hit.header("x-cache")), (200, "HIT"));
    assert_eq!(counter.gets() - begun, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_thumbnails_of_a_purged_asset_are_gone_from_memory_and_disk() {
    let folder = tempfile::tempdir().unwrap();
    let weed = Weed::start().await;
    let store = BlobStore::S3(S3Store::new(&weed.config()));
    let app = Application::start_on(folder.path(), Auth::open(vec![]), "", store.clone()).await;
    let path = thumb(&app, folder.path()).await;
    let file = path.rsplit('/').next().unwrap();
    let on_disk = folder.path().join("cache/thumbs").join(&file[..2]).join(file);
    assert_eq!(app.send("GET", &path, &[], "").await.status, 200);
    assert_eq!(app.send("GET", &path, &[], "").await.header("x-cache"), "HIT");
    assert!(on_disk.exists());

    let listed = app.send("GET", "/api/assets", &[], "").await.json().await;
    let ids = json!({"ids": [listed["items"][0]["id"]]});
    assert_eq!(app.send_json("POST", "/api/assets/trash", ids).await.status, 200);
    assert_eq!(app.send("GET", &path, &[], "").await.status, 200, "the trash shows it");
    let everything = json!({"older_than_days": 0});
    assert_eq!(app.send_json("POST", "/api/trash/purge", everything).await.status, 200);
    let gone = async {
        while on_disk.exists() || app.send("GET", &path, &[], "").await.status != 404 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("it is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_refused_at_once_while_the_store_is_away_and_goes_on_when_it_is_back() {
    const PICTURE: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0 and whatever else";
    let folder = tempfile::tempdir().unwrap();
    let mut weed = Weed::start().await;
    let store = BlobStore::S3(S3Store::new(&weed.config()));
    let app = Application::start_on(folder.path(), Auth::open(vec![]), "", store).await;
    let token = CancellationToken::new();
    let (uploads, stop) = (app.uploads.clone(), token.clone());
    let verifier = tokio::spawn(async move { uploads.run(stop).await });
    let announced = |name: &str| {
        let digest = hex::encode(Sha256::digest(PICTURE));
        json!({"name": name, "size": PICTURE.len(), "sha256": digest})
    };
    let begun = app.send_json("POST", "/api/uploads", announced("a.jpg")).await;
    assert_eq!(begun.status, 201);
    let upload = begun.header("location").to_owned();
    let parts = format!("{upload}/parts");

    weed.kill();
    // What the store last answered counts for 2 s.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let one = json!({"numbers": [1]});
    for (path, body) in [("/api/uploads", announced("b.jpg")), (&parts, one.clone())] {
        let asked = Instant::now();
        let answer = app.send_json("POST", path, body).await;
        let took = asked.elapsed();
        println!("{path} is refused after {took:?}");
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert_eq!(answer.header("retry-after"), "5", "{path}");
        let sentence = answer.problem(503).await;
        assert!(sentence.contains("blob store is not available"), "{sentence}");
    }

    weed.start_again().await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let links = app.send_json("POST", &parts, one).await;
    assert_eq!(links.status, 200);
    let url = links.json().await["items"][0]["url"].as_str().unwrap().to_owned();
    put(&url, PICTURE).await;
    let complete = app.send_json("POST", &format!("{upload}/complete"), json!({"parts": []})).await;
    assert!([200, 202].contains(&complete.status), "{}", complete.status);
    let done = async {
        while app.send("GET", &upload, &[], "").await.json().await["state"] != "done" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), done).await.expect("it is an asset");
    token.cancel();
    verifier.await.unwrap();
}

/// Sends bytes to a signed link.
async fn put(url: &str, bytes: &'static [u8]) {
    let url = url::Url::parse(url).unwrap();
    let addr = (url.host_str().unwrap().to_owned(), url.port().unwrap());
    let stream = TcpStream::connect(addr.clone()).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::put(&url[url::Position::BeforePath..])
        .header("host", format!("{}:{}", addr.0, addr.1))
        .body(axum::body::Body::from(bytes));
    let answer = sender.send_request(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
}
