//! Jobs over HTTP: what failed and why, trying again, and events of that.

use catalog::{
    BlobStore, JobWorker, JobWorkerOptions, NewAsset,
    blob::{FolderStore, LinkSecret},
};
use domain::AssetId;
use server::auth::Auth;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Application, open_catalog};

/// Adds assets whose originals are not in the store, and has their jobs fail.
async fn fail_jobs(folder: &std::path::Path, assets: u8) {
    let catalog = open_catalog(folder).await;
    for n in 0..assets {
        let id = AssetId::from_digest([n; 32]);
        let new = NewAsset::new(id, &format!("{n}.jpg"), 1, "image/jpeg");
        catalog.add_asset(&new).await.unwrap();
    }
    let store = FolderStore::open(&folder.join("blobs"), LinkSecret::new([1; 32])).unwrap();
    let options = JobWorkerOptions::new(env!("CARGO_BIN_EXE_damwall").into());
    let worker = JobWorker::new(catalog, BlobStore::Folder(store), options);
    assert_eq!(worker.drain(&CancellationToken::new()).await.unwrap(), u64::from(assets));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_jobs_are_listed_with_their_reason_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let application = Application::start(folder.path(), Auth::open(vec![]), "").await;
    fail_jobs(folder.path(), 3).await;

    let list = async |query: &str| {
        let answer = application.send("GET", &format!("/api/jobs?{query}"), &[], "").await;
        assert_eq!(answer.status, 200, "{query}");
        answer.json().await
    };
    let failed = list("state=failed&limit=2").await;
    assert_eq!(failed["items"].as_array().unwrap().len(), 2);
    let first = &failed["items"][0];
    assert_eq!(
        (&first["kind"], &first["state"], &first["asset_name"], &first["attempts"]),
        (&"derive".into(), &"failed".into(), &"0.jpg".into(), &1.into())
    );
    assert_eq!(first["reason"], "Its original is no longer in the blob store.");
    let cursor = failed["next_cursor"].as_str().unwrap();
    let rest = list(&format!("state=failed&limit=2&after={cursor}")).await;
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    assert_eq!(rest["next_cursor"], serde_json::Value::Null);
    assert_eq!(list("state=done").await["items"].as_array().unwrap().len(), 0);

    let mut events = application.send("GET", "/api/jobs/events", &[], "").await.events();
    let asset = first["asset"].as_str().unwrap();
    let retry = format!("/api/jobs/{asset}/derive/retry");
    let retried = application.send("POST", &retry, &[], "").await;
    assert_eq!(retried.status, 200);
    assert_eq!(retried.json().await["state"], "pending");
    let event = events.next("job").await.unwrap();
    assert_eq!((&event["asset"], &event["state"]), (&asset.into(), &"pending".into()));
    assert_eq!(list("state=failed").await["items"].as_array().unwrap().len(), 2);

    for path in [
        "/api/jobs/nonsense/derive/retry",
        &format!("/api/jobs/{asset}/teapot/retry"),
        &format!("/api/jobs/{asset}/waveform/retry"),
    ] {
        application.send("POST", path, &[], "").await.problem(404).await;
    }
    for query in ["state=lost", "after=x", "limit=0", "asset=x", "colour=red"] {
        let path = format!("/api/jobs?{query}");
        application.send("GET", &path, &[], "").await.problem(400).await;
    }
    let all = application.send("POST", "/api/jobs/retry", &[], "").await;
    assert_eq!(all.json().await["jobs"], 2);

    application.events.stop();
    assert_eq!(events.next("job").await, None, "the server is stopping");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renditions_of_an_asset_are_listed_with_their_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let application = Application::start(folder.path(), Auth::open(vec![]), "").await;
    fail_jobs(folder.path(), 1).await;
    let path = format!("/api/assets/{}/renditions", AssetId::from_digest([0; 32]));
    let answer = application.send("GET", &path, &[], "").await.json().await;
    assert_eq!(answer["items"].as_array().unwrap().len(), 0);
    assert_eq!(answer["jobs"][0]["state"], "failed");
    for kind in ["proxy_720p", "teapot"] {
        application.send("GET", &format!("{path}/{kind}"), &[], "").await.problem(404).await;
    }
}
