//! The program's start, its stop, and what each of them does not wait for.

use std::time::{Duration, Instant};

use catalog::{
    BlobStore,
    blob::{S3Config, S3Store},
};
use serde_json::json;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::spawn_blocking,
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    fixture::{OFFER, SDP, TEST_CAMERA},
    program::{Installation, Server, terminate},
    weed::Weed,
};

/// Far less than what a silent store is waited for, far more than what a start or a stop takes.
const SOON: Duration = Duration::from_secs(30);

fn bucket(endpoint: &str, bucket: &str) -> String {
    format!(
        "[store]\nendpoint = \"{endpoint}\"\nbucket = \"{bucket}\"\n\
         access_key = \"test-access\"\nsecret_key = \"test-secret\"\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_silent_holds_up_neither_the_start_nor_the_stop() {
    let installation = Installation::new();
    // The system takes connections to it, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    installation.configure("data", &bucket(&endpoint, "media"));
    let began = Instant::now();
    let server = installation.serve("data");
    assert!(began.elapsed() < SOON, "listening after {:?}", began.elapsed());
    assert_eq!(server.send("GET", "/healthz", "").await.status, 200);
    let ready = timeout(SOON, server.send("GET", "/readyz", "")).await;
    let sentence = ready.expect("an answer in time").problem(503).await;
    assert!(sentence.contains("blob store"), "{sentence}");
    server.stop();
    let log = installation.log("data");
    assert!(log.contains("goodbye") && !log.contains("jobs did not stop"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bucket_is_made_when_the_store_comes() {
    let (installation, weed) = (Installation::new(), Weed::start().await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let store = weed.config().endpoint.trim_start_matches("http://").to_owned();
    let (comes, is_there) = watch::channel(false);
    let _proxy = AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok((mut asker, _)) = listener.accept().await {
            let store = store.clone();
            // Until the store is there, whoever comes is cut off.
            if *is_there.borrow() {
                tokio::spawn(async move {
                    let mut store = TcpStream::connect(store).await?;
                    copy_bidirectional(&mut asker, &mut store).await
                });
            }
        }
    }));
    installation.configure("data", &bucket(&endpoint, "later"));
    let server = installation.serve("data");
    let is_told =
        async |_: &Server| installation.log("data").contains("the blob store is not ready");
    server.wait_for("told that the store is away", is_told).await;
    comes.send_replace(true);
    let store = S3Store::new(&S3Config { bucket: "later".into(), ..weed.config() });
    let store = BlobStore::S3(store);
    server.wait_for("made", async |_: &Server| store.ping().await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_a_database_that_is_silent() {
    let installation = Installation::new();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = silent.local_addr().unwrap();
    let url = format!("[catalog]\nurl = \"postgres://damwall:secret@{addr}/media\"\n");
    installation.configure("data", &url);
    let mut child = installation.spawn("data");
    let _connection = timeout(SOON, silent.accept()).await.expect("it connects").unwrap();
    terminate(&child);
    let status = spawn_blocking(move || child.wait()).await.unwrap().unwrap();
    let log = installation.log("data");
    assert!(status.success() && log.contains("stopped before it had started"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_is_told_to_connect_again_before_a_stopped_server_lets_it_go() {
    let installation = Installation::new();
    installation.configure("data", TEST_CAMERA);
    let server = installation.serve("data");
    server.wait_live("door").await;
    let created = server.send_with("POST", "/whep/door", SDP, OFFER).await;
    let sse = format!("{}/sse", created.header("location"));
    let opened = server.send("POST", &sse, r#"["active", "reconnect"]"#).await;
    assert_eq!(opened.status, 201);
    let mut events = server.send("GET", opened.header("location"), "").await.events();
    assert_eq!(events.next("active").await, Some(json!({})));
    server.terminate();
    assert_eq!(events.next("reconnect").await, Some(json!({ "url": "/whep/door" })));
    assert_eq!(events.next("nothing").await, None, "then it is let go");
    server.wait_end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_work_is_done_by_threads_of_its_own() {
    let installation = Installation::new();
    installation.configure("data", TEST_CAMERA);
    let server = installation.serve("data");
    server.wait_live("door").await;
    let switches = |name: &str| -> Vec<u64> {
        let threads = server.threads();
        threads.iter().filter(|thread| thread.0 == name).map(|thread| thread.1).collect()
    };
    assert!(switches("live").len() >= 2 && !switches("web").is_empty(), "{:?}", server.threads());
    // A second of pictures, which wake them one by one.
    let before: u64 = switches("live").iter().sum();
    let has_worked = async |_: &Server| switches("live").iter().sum::<u64>() > before + 25;
    server.wait_for("at work", has_worked).await;
}
