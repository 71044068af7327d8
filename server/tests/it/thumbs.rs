//! Thumbnails through the cache, made by the real worker.

use std::{path::Path, time::Duration};

use catalog::{ImportOptions, JobWorker, JobWorkerOptions, import_folder};
use domain::{AssetQuery, Thumb};
use futures::future::join_all;
use server::auth::Auth;
use tokio_util::sync::CancellationToken;

use crate::fixture::Application;

/// Draws a picture, imports it and makes its thumbnails; the path of the small one.
pub(crate) async fn thumb(application: &Application, folder: &Path) -> String {
    let pictures = folder.join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    let drawn = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=800x600", "-frames:v", "1"])
        .arg(pictures.join("a.png"))
        .status()
        .unwrap();
    assert!(drawn.success());
    let (catalog, store) = (&application.catalog, &application.store);
    import_folder(catalog, store, &pictures, &ImportOptions::default(), |_| ()).await.unwrap();
    let options = JobWorkerOptions {
        temp_dir: folder.into(),
        ..JobWorkerOptions::new(env!("CARGO_BIN_EXE_damwall").into())
    };
    let worker = JobWorker::new(catalog.clone(), store.clone(), options);
    worker.drain(&CancellationToken::new()).await.unwrap();
    let page = catalog.list_assets(&AssetQuery::default()).await.unwrap();
    match &page.items[0].thumb {
        Thumb::Ready { url_320, .. } => url_320.clone(),
        other => panic!("no thumbnail: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thumbnail_is_fetched_once_and_that_there_is_none_is_kept_for_a_minute() {
    let folder = tempfile::tempdir().unwrap();
    let application = Application::start(folder.path(), Auth::open(vec![]), "").await;
    let path = thumb(&application, folder.path()).await;
    let derived = folder.path().join("blobs/derived");
    let away = folder.path().join("away");

    // The store has lost it.
    std::fs::rename(&derived, &away).unwrap();
    let missing = application.send("GET", &path, &[], "").await;
    assert_eq!((missing.status, missing.header("cache-control")), (404, "private, no-store"));
    std::fs::rename(&away, &derived).unwrap();
    assert_eq!(application.send("GET", &path, &[], "").await.status, 404, "kept");
    application.clock.advance(Duration::from_secs(61));

    let answers = join_all((0..100).map(|_| application.send("GET", &path, &[], ""))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    let first = answers.into_iter().next().unwrap();
    assert_eq!(first.header("content-type"), "image/webp");
    assert_eq!(first.header("cache-control"), "public, max-age=2592000, immutable");
    assert_eq!(first.header("x-content-type-options"), "nosniff");
    let etag = first.header("etag").to_owned();
    let bytes = first.bytes().await;
    assert!(bytes.starts_with(b"RIFF"));

    // From now on the store is not asked.
    std::fs::rename(&derived, &away).unwrap();
    let hit = application.send("GET", &path, &[], "").await;
    assert_eq!((hit.status, hit.header("x-cache")), (200, "HIT"));
    assert_eq!(hit.bytes().await, bytes);
    let known = application.send("GET", &path, &[("if-none-match", &etag)], "").await;
    assert_eq!(known.status, 304);
    let head = application.send("HEAD", &path, &[], "").await;
    assert_eq!(head.header("content-length"), bytes.len().to_string());
    assert!(head.bytes().await.is_empty());
    for name in ["nonsense.webp", "..%2f..%2ftoken", "AB.webp"] {
        let path = format!("/assets/thumbs/{name}");
        assert_eq!(application.send("GET", &path, &[], "").await.status, 404, "{name}");
    }
}
