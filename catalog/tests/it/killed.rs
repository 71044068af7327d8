//! A server that is killed in the middle of its jobs: a real process, a real SIGKILL.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use catalog::{Catalog, JobFilter, JobWorker, JobWorkerOptions};
use domain::{JobKind, JobState, RenditionKind};
use tokio_util::sync::CancellationToken;

use crate::{
    database::{Database, on_both},
    fixture::Fixture,
    media,
};

/// Where the process that is to be killed finds its library.
const LIBRARY: &str = "DAMWALL_TEST_LIBRARY";

fn options(dir: &Path) -> JobWorkerOptions {
    let mut options = Fixture::options();
    options.poll = Duration::from_millis(100);
    options.lease = Duration::from_secs(2);
    options.temp_dir = dir.join("tmp");
    options
}

/// Not a test by itself: the server that the test below starts and kills.
#[tokio::test]
async fn server_that_is_to_be_killed() {
    let Some(dir) = std::env::var_os(LIBRARY).map(PathBuf::from) else { return };
    let f = Fixture::reopened(&dir).await;
    f.worker(options(&dir)).run(CancellationToken::new()).await;
}

struct Server(Child);

impl Server {
    fn start(dir: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["killed::server_that_is_to_be_killed", "--exact", "--nocapture"])
            .env(LIBRARY, dir)
            .stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGKILL.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Command lines of processes that name this folder.
fn processes_at_work(dir: &Path) -> Vec<String> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        if entry.file_name().to_string_lossy() == own {
            continue;
        }
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&*dir.to_string_lossy()) {
            found.push(line);
        }
    }
    found
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(300), wait).await.expect(what);
}

async fn state_of(catalog: &Catalog, kind: JobKind) -> Option<JobState> {
    let jobs = catalog.jobs(&JobFilter::default(), 100, None).await.unwrap();
    jobs.into_iter().find(|listing| listing.job.kind == kind).map(|listing| listing.job.state)
}

#[tokio::test]
async fn killed_server_loses_no_job_and_does_none_twice() {
    let mut f = Fixture::new().await;
    let dir = f.dir.path().to_owned();
    // In a file that the other process can open.
    f.catalog = Fixture::reopened(&dir).await.catalog;
    std::fs::create_dir(dir.join("tmp")).unwrap();
    media::old_video(&f.photos().join("clip.avi"), 120);
    f.write("a.jpg", &media::jpeg(400, 300));
    f.import().await;

    let server = Server::start(&dir);
    let has_progress = async || {
        let jobs = f.catalog.jobs(&JobFilter::default(), 100, None).await.unwrap();
        jobs.iter().any(|listing| {
            listing.job.kind == JobKind::Proxy720p && listing.job.progress_percent > Some(0)
        })
    };
    until("the proxy is being encoded", has_progress).await;
    drop(server);
    until("ffmpeg dies with its server", async || processes_at_work(&dir).is_empty()).await;
    assert_eq!(state_of(&f.catalog, JobKind::Proxy720p).await, Some(JobState::Running));

    // Another server takes over what the first has left, once its lease is over.
    let second = Server::start(&dir);
    let is_all_done = async || {
        let jobs = f.catalog.jobs(&JobFilter::default(), 100, None).await.unwrap();
        let failed = jobs.iter().find(|listing| listing.job.state == JobState::Failed);
        assert!(failed.is_none(), "{failed:?}");
        jobs.iter().all(|listing| listing.job.state == JobState::Done)
    };
    until("everything is done", is_all_done).await;
    drop(second);
    let jobs = f.catalog.jobs(&JobFilter::default(), 100, None).await.unwrap();
    assert_eq!(jobs.len(), 5, "{jobs:?}");
    let assets = f.assets().await;
    assert_eq!(assets.len(), 2);
    let mut keys = Vec::new();
    for asset in &assets {
        for rendition in f.catalog.renditions(&asset.id).await.unwrap() {
            let key = f.catalog.rendition_key(&asset.id, rendition.kind).await.unwrap().unwrap();
            let meta = f.store.head(&key).await.unwrap().unwrap();
            assert_eq!(meta.len_bytes, rendition.size_bytes, "{rendition:?}");
            keys.push(key.as_str().to_owned());
        }
    }
    assert_eq!(keys.len(), 2 + 7);
    assert!(keys.iter().any(|key| key.contains(RenditionKind::Proxy720p.as_str())));
    // Nothing else lies in the store.
    let derived = f.store_root().join("derived");
    let files = walkdir::WalkDir::new(&derived).into_iter().flatten();
    assert_eq!(files.filter(|entry| entry.file_type().is_file()).count(), keys.len());
}

on_both! {
    async fn two_servers_share_the_jobs_of_one_library(db: Database) {
        let mut f = Fixture::new().await;
        f.catalog = db.open().await;
        let dir = f.dir.path().to_owned();
        std::fs::create_dir(dir.join("tmp")).unwrap();
        for n in 0..40 {
            f.write(&format!("{n}.jpg"), &media::jpeg(200 + n, 100));
        }
        f.import().await;
        let other = JobWorker::new(db.open().await, f.store.clone(), options(&dir));
        let (one, token) = (f.worker(options(&dir)), CancellationToken::new());
        let (ours, theirs) = tokio::join!(one.drain(&token), other.drain(&token));
        let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
        assert_eq!(ours + theirs, 40, "each is done once");
        assert!(ours > 0 && theirs > 0, "{ours} and {theirs}");
        assert_eq!(f.catalog.counts().await.unwrap().jobs_open, 0);
    }

    async fn jobs_are_listed_failed_and_retried(db: Database) {
        let mut f = Fixture::new().await;
        f.catalog = db.open().await;
        for n in 0..3 {
            f.write(&format!("{n}.bmp"), &[media::bitmap_bomb(), vec![n]].concat());
        }
        media::video(&f.photos().join("clip.mp4"));
        f.import().await;
        assert_eq!(f.do_jobs().await, 5);
        let failed = JobFilter { state: Some(JobState::Failed), asset: None };
        let page = f.catalog.jobs(&failed, 2, None).await.unwrap();
        let last = &page[1].job;
        assert!(last.reason.as_ref().unwrap().contains("too large"), "{last:?}");
        let after = (last.asset.clone(), last.kind);
        let rest = f.catalog.jobs(&failed, 2, Some(&after)).await.unwrap();
        assert_eq!((page.len(), rest.len()), (2, 1));
        let retried = f.catalog.retry_job(&last.asset, last.kind).await.unwrap().unwrap();
        assert_eq!((retried.state, retried.attempts), (JobState::Pending, 0));
        assert_eq!(f.catalog.retry_failed_jobs().await.unwrap(), 2);
        assert_eq!(f.do_jobs().await, 3);
        assert_eq!(f.catalog.jobs(&failed, 9, None).await.unwrap().len(), 3);
    }
}
