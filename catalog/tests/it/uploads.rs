//! Uploads on both stores: announced, sent in parts, verified; and what a crash at any step leaves.

use std::{future::Future, pin::pin, task::Poll, time::Duration};

use bytes::Bytes;
use catalog::{Begun, BlobStore, UploadError, UploadOptions, Uploads, blob::S3Store};
use domain::{Asset, AssetId, NewUpload, NewUploadError, Upload, UploadState};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::{
    fixture::Fixture,
    links::{key, send},
    media,
    weed::Weed,
};

pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Library {
    pub fixture: Fixture,
    pub uploads: Uploads,
}

/// The uploads of a process that has just begun and is the only one.
fn begun_alone(fixture: &Fixture) -> Uploads {
    retrying_after(fixture, UploadOptions::default().first_retry)
}

/// The same, which waits that long after a store that fails.
fn retrying_after(fixture: &Fixture, first_retry: Duration) -> Uploads {
    let options = UploadOptions { is_alone: true, first_retry, ..UploadOptions::default() };
    Uploads::with_options(fixture.catalog.clone(), fixture.store.clone(), options)
}

pub fn announced(name: &str, bytes: &[u8]) -> NewUpload {
    NewUpload {
        name: name.into(),
        size_bytes: bytes.len() as u64,
        sha256: hex::encode(Sha256::digest(bytes)),
        mime: "image/jpeg".into(),
        folder: "takes/day 1".into(),
        modified_ms: Some(1_700_000_000_000),
    }
}

/// A picture with a tail that makes it longer than one part, and unlike any other of another `seed`.
fn long_picture(seed: u8) -> Vec<u8> {
    let mut bytes = media::jpeg(64, 48);
    bytes.extend((0..9_000_000_u32).map(|at| (at % 251) as u8 ^ seed));
    bytes
}

impl Library {
    pub fn new(fixture: Fixture) -> Self {
        let uploads = begun_alone(&fixture);
        Self { fixture, uploads }
    }

    pub async fn begin(&self, new: NewUpload) -> Upload {
        match self.uploads.begin(new).await.unwrap() {
            Begun::Upload(upload) => *upload,
            Begun::Known(asset) => panic!("known: {asset:?}"),
        }
    }

    async fn send(&self, upload: &Upload, number: u16, bytes: &[u8]) {
        let (start, end) =
            domain::part_range(upload.size_bytes, upload.part_bytes, number).unwrap();
        let links = self.uploads.sign_parts(&upload.id, &[number]).await.unwrap();
        let body = &bytes[start as usize..end as usize];
        assert_eq!(links[0].len_bytes, body.len() as u64);
        assert_eq!(send(&self.fixture.store, &links[0].url, None, body).await.status, 200);
    }

    pub async fn send_all(&self, upload: &Upload, bytes: &[u8]) {
        for number in 1..=upload.part_count() {
            self.send(upload, number, bytes).await;
        }
    }

    /// As a request does, while the task that verifies runs.
    pub async fn complete(&self, upload: &Upload) -> Upload {
        let token = CancellationToken::new();
        let complete = async {
            let outcome = self.uploads.complete(&upload.id, &[], PATIENCE).await.unwrap();
            token.cancel();
            outcome
        };
        tokio::join!(self.uploads.run(token.clone()), complete).1
    }

    /// The only asset, whose original is exactly these bytes, and nothing else in the store.
    pub async fn assert_only(&self, bytes: &[u8]) -> Asset {
        let asset = self.fixture.asset().await;
        let original = key(&asset.key);
        let stored = self.fixture.store.read(&original, asset.size_bytes).await.unwrap();
        assert!(stored == bytes, "{} bytes", stored.len());
        let listed = self.fixture.store.list("blobs/", None, 10).await.unwrap().objects;
        let listed: Vec<&str> = listed.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(listed, [asset.key.as_str()]);
        assert_eq!(self.uploads.unfinished().await.unwrap(), []);
        self.assert_no_parts().await;
        asset
    }

    async fn assert_no_parts(&self) {
        let later = Timestamp::now() + SignedDuration::from_hours(1);
        let left = self.fixture.store.abort_multiparts("", later, &[].into()).await.unwrap();
        assert_eq!(left, 0, "no upload is left in the store");
    }
}

async fn a_file_in_parts_becomes_an_asset_once(fixture: Fixture) {
    let library = Library::new(fixture);
    let bytes = long_picture(1);
    let upload = library.begin(announced("long.jpg", &bytes)).await;
    assert_eq!((upload.part_count(), upload.state), (2, UploadState::Open));
    library.send(&upload, 2, &bytes).await;

    // The page was left and comes back.
    let again = library.begin(announced("long.jpg", &bytes)).await;
    assert_eq!(again.id, upload.id);
    assert_eq!(again.parts_done.iter().map(|part| part.number).collect::<Vec<_>>(), [2]);
    let early = library.uploads.complete(&upload.id, &[], PATIENCE).await;
    assert!(early.unwrap_err().to_string().contains("missing: 1"));
    let beyond = library.uploads.sign_parts(&upload.id, &[3]).await;
    assert!(matches!(beyond, Err(UploadError::Bad(_))));

    library.send(&upload, 1, &bytes).await;
    assert_eq!(library.complete(&upload).await.state, UploadState::Done);
    let asset = library.assert_only(&bytes).await;
    let hex = &asset.hash;
    assert_eq!(asset.key, format!("blobs/sha256/{}/{}/{hex}", &hex[..2], &hex[2..4]));
    assert_eq!((asset.name.as_str(), asset.folder.as_str()), ("long.jpg", "takes/day 1"));
    assert_eq!((asset.mime.as_str(), asset.size_bytes), ("image/jpeg", bytes.len() as u64));
    assert_eq!(asset.created_at.as_millisecond(), 1_700_000_000_000);
    assert_eq!(library.fixture.do_jobs().await, 1, "its thumbnails were queued");

    // Asking twice is fine, and the bytes are never sent twice.
    let twice = library.uploads.complete(&upload.id, &[], PATIENCE).await.unwrap();
    assert_eq!(twice.state, UploadState::Done);
    let known = library.uploads.begin(announced("other name.jpg", &bytes)).await.unwrap();
    assert!(matches!(known, Begun::Known(known) if known.id == asset.id));
}

async fn a_picture_says_when_and_where_it_was_taken_before_any_job_has_run(fixture: Fixture) {
    let library = Library::new(fixture);
    let bytes = media::jpeg_with_exif();
    let upload = library.begin(announced("a.jpg", &bytes)).await;
    library.send_all(&upload, &bytes).await;
    assert_eq!(library.complete(&upload).await.state, UploadState::Done);
    let catalog = &library.fixture.catalog;
    assert_eq!(catalog.counts().await.unwrap().jobs_open, 1);
    let asset = library.assert_only(&bytes).await;
    let metadata = catalog.metadata(&asset.id).await.unwrap();
    assert_eq!(asset.created_at.to_string(), "2024-05-17T16:30:05Z");
    assert_eq!(metadata.taken_at, Some(asset.created_at));
    let place = metadata.location.unwrap();
    assert_eq!((place.latitude, place.longitude), (52.5, 13.25));
    // Nor does a job know better.
    library.fixture.do_jobs().await;
    assert_eq!(catalog.metadata(&asset.id).await.unwrap(), metadata);
    assert_eq!(library.fixture.asset().await.created_at, asset.created_at);
}

async fn bytes_that_are_not_what_was_announced_become_nothing(fixture: Fixture) {
    let library = Library::new(fixture);
    let (honest, lie) = (media::jpeg(64, 48), media::jpeg(48, 64));
    let mut new = announced("lie.jpg", &honest);
    new.size_bytes = lie.len() as u64;
    let upload = library.begin(new).await;
    library.send_all(&upload, &lie).await;
    // Meanwhile the real ones come in another way.
    library.fixture.write("honest.jpg", &honest);
    assert_eq!(library.fixture.import().await.imported, 1);
    let outcome = library.complete(&upload).await;
    assert_eq!(outcome.state, UploadState::Failed);
    assert!(outcome.reason.unwrap().contains("SHA-256 differs"));
    library.uploads.abort(&upload.id).await.unwrap();
    library.assert_only(&honest).await;
}

async fn a_file_that_is_no_media_becomes_nothing(fixture: Fixture) {
    let library = Library::new(fixture);
    let upload = library.begin(announced("notes.jpg", b"just text")).await;
    library.send_all(&upload, b"just text").await;
    let outcome = library.complete(&upload).await;
    assert_eq!(outcome.state, UploadState::Failed);
    assert_eq!(outcome.reason.as_deref(), Some("It is no picture, video or sound."));
    assert!(library.fixture.store.list("", None, 9).await.unwrap().objects.is_empty());
    library.assert_no_parts().await;
}

async fn two_uploads_of_the_same_bytes_make_one_asset(fixture: Fixture) {
    let library = Library::new(fixture);
    let bytes = media::jpeg(64, 48);
    let first = library.begin(announced("first.jpg", &bytes)).await;
    let second = library.begin(announced("second.jpg", &bytes)).await;
    assert_ne!(first.id, second.id);
    for upload in [&first, &second] {
        library.send_all(upload, &bytes).await;
    }
    let token = CancellationToken::new();
    let complete = async {
        let (a, b) = tokio::join!(
            library.uploads.complete(&first.id, &[], PATIENCE),
            library.uploads.complete(&second.id, &[], PATIENCE),
        );
        token.cancel();
        [a.unwrap().state, b.unwrap().state]
    };
    let states = tokio::join!(library.uploads.run(token.clone()), complete).1;
    assert_eq!(states, [UploadState::Done; 2]);
    library.assert_only(&bytes).await;
}

async fn what_is_aborted_or_left_behind_is_cleaned_up(fixture: Fixture) {
    let library = Library::new(fixture);
    let bytes = media::jpeg(64, 48);
    let aborted = library.begin(announced("aborted.jpg", &bytes)).await;
    library.send_all(&aborted, &bytes).await;
    library.uploads.abort(&aborted.id).await.unwrap();
    assert_eq!(library.uploads.find(&aborted.id).await.unwrap(), None);
    assert!(matches!(library.uploads.abort(&aborted.id).await, Err(UploadError::NotFound)));
    library.assert_no_parts().await;

    let left = library.begin(announced("left.jpg", &bytes)).await;
    library.send_all(&left, &bytes).await;
    // Of a process that ended before it wrote a row, and of one that ended while it sent a long video.
    for orphan in ["blobs/uploads/orphan", "derived/mp4-1080p/orphan"].map(key) {
        library.fixture.store.create_multipart(&orphan, &Default::default()).await.unwrap();
    }
    // Of one that ended before it moved what it had put together.
    let staged = key("blobs/uploads/staged");
    library.fixture.store.put_bytes(&staged, "x".into(), "image/jpeg").await.unwrap();
    let in_days = |days: i64| Timestamp::now() + SignedDuration::from_hours(24 * days);
    assert_eq!(library.uploads.sweep(in_days(6)).await.unwrap(), 0);
    assert_eq!(library.uploads.sweep(in_days(8)).await.unwrap(), 4);
    assert_eq!(library.uploads.find(&left.id).await.unwrap(), None);
    library.assert_no_parts().await;
    assert!(library.fixture.store.list("", None, 9).await.unwrap().objects.is_empty());
}

/// Drops `work` after that many polls, as a process that ends does; whether it had ended by then.
pub async fn for_polls<T>(polls: usize, work: impl Future<Output = T>) -> bool {
    let mut work = pin!(work);
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if work.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        left = left.saturating_sub(1);
        if left == 0 { Poll::Ready(false) } else { Poll::Pending }
    })
    .await
}

/// The whole of an upload, begun again and again by processes that end at every step there is.
async fn an_upload_survives_the_end_of_the_process_at_any_step(fixture: Fixture) {
    let mut library = Library::new(fixture);
    let bytes = media::jpeg(64, 48);
    let mut is_finished = false;
    for polls in 1..500 {
        library.uploads = begun_alone(&library.fixture);
        let whole = async {
            let Begun::Upload(upload) =
                library.uploads.begin(announced("a.jpg", &bytes)).await.unwrap()
            else {
                return;
            };
            if upload.state == UploadState::Open && upload.parts_done.is_empty() {
                library.send_all(&upload, &bytes).await;
            }
            library.complete(&upload).await;
        };
        if for_polls(polls, whole).await {
            is_finished = true;
            break;
        }
    }
    assert!(is_finished);
    for upload in library.uploads.unfinished().await.unwrap() {
        if upload.state == UploadState::Open {
            // A row whose writer had gone before it knew of it, after the next one had looked for
            // it: empty, and swept in time.
            assert!(upload.parts_done.is_empty(), "{upload:?}");
            continue;
        }
        // One that has become an asset and was not written down as done: the next process does.
        assert_eq!(library.complete(&upload).await.state, UploadState::Done);
    }
    // Those begun in the store without a row.
    let in_8_days = Timestamp::now() + SignedDuration::from_hours(24 * 8);
    library.uploads.sweep(in_8_days).await.unwrap();
    library.assert_only(&bytes).await;
    assert_eq!(library.fixture.do_jobs().await, 1);
}

/// One upload for each step of its verification at which a process ends.
async fn verification_survives_the_end_of_the_process_at_any_step(fixture: Fixture) {
    let mut library = Library::new(fixture);
    let mut steps = 0;
    for polls in 1.. {
        let bytes = [media::jpeg(64, 48), Bytes::from(format!("{polls}")).to_vec()].concat();
        let upload = library.begin(announced(&format!("{polls}.jpg"), &bytes)).await;
        library.send_all(&upload, &bytes).await;
        let was_done = for_polls(polls, library.complete(&upload)).await;
        library.uploads = begun_alone(&library.fixture);
        let upload = library.uploads.find(&upload.id).await.unwrap().expect("it is known");
        assert_eq!(library.complete(&upload).await.state, UploadState::Done, "{polls}");
        steps = polls;
        if was_done {
            break;
        }
    }
    assert!(steps > 5, "only {steps} steps");
    assert_eq!(library.fixture.catalog.counts().await.unwrap().assets, steps as u64);
    let listed = library.fixture.store.list("blobs/", None, 1000).await.unwrap().objects;
    assert_eq!(listed.len(), steps, "one original each and nothing else");
    library.assert_no_parts().await;
}

macro_rules! on_both_stores {
    ($($name:ident)*) => {
        mod folder {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Fixture::new().await).await;
            })*
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn uploads_pass_every_test_on_s3() {
            let weed = Weed::start().await;
            $({
                // A bucket each.
                let bucket = stringify!($name).replace('_', "-");
                let config = catalog::blob::S3Config { bucket: bucket[..40.min(bucket.len())].trim_end_matches('-').into(), ..weed.config() };
                let store = S3Store::new(&config);
                store.ensure_bucket().await.unwrap();
                let dir = tempfile::tempdir().unwrap();
                $name(Fixture::with_store(dir, BlobStore::S3(store)).await).await;
            })*
        }
    };
}

on_both_stores! {
    a_file_in_parts_becomes_an_asset_once
    a_picture_says_when_and_where_it_was_taken_before_any_job_has_run
    bytes_that_are_not_what_was_announced_become_nothing
    a_file_that_is_no_media_becomes_nothing
    two_uploads_of_the_same_bytes_make_one_asset
    what_is_aborted_or_left_behind_is_cleaned_up
    an_upload_survives_the_end_of_the_process_at_any_step
    verification_survives_the_end_of_the_process_at_any_step
}

#[tokio::test]
async fn a_store_that_is_down_says_so_and_the_upload_is_verified_when_it_is_back() {
    let fixture = Fixture::new().await;
    let library = Library::new(fixture);
    let bytes = media::jpeg(64, 48);
    let upload = library.begin(announced("a.jpg", &bytes)).await;
    library.send_all(&upload, &bytes).await;
    let down = S3Store::new(&catalog::blob::S3Config {
        endpoint: "http://127.0.0.1:1".into(),
        public_endpoint: None,
        region: "us-east-1".into(),
        bucket: "media".into(),
        access_key: "a".into(),
        secret_key: "s".into(),
    });
    let away = Uploads::new(library.fixture.catalog.clone(), BlobStore::S3(down));
    let refused = away.complete(&upload.id, &[], PATIENCE).await;
    assert!(matches!(refused, Err(UploadError::Store(_))), "{refused:?}");
    assert_eq!(library.complete(&upload).await.state, UploadState::Done);
    library.assert_only(&bytes).await;
}

/// An upload whose parts are all there, in a store that cannot put them together.
async fn refused_by_its_store(first_retry: Duration) -> (Library, Upload) {
    let mut library = Library::new(Fixture::new().await);
    library.uploads = retrying_after(&library.fixture, first_retry);
    let bytes = media::jpeg(64, 48);
    let upload = library.begin(announced("a.jpg", &bytes)).await;
    library.send_all(&upload, &bytes).await;
    // A file where the store wants a folder.
    std::fs::write(library.fixture.store_root().join("blobs"), "in the way").unwrap();
    (library, upload)
}

#[tokio::test]
async fn an_upload_that_cannot_be_put_together_is_given_up_in_the_end_and_says_why() {
    let (library, upload) = refused_by_its_store(Duration::ZERO).await;
    let failed = library.complete(&upload).await;
    assert_eq!(failed.state, UploadState::Failed);
    assert_eq!(failed.reason.as_deref(), Some("The blob store could not take it."));
    library.assert_no_parts().await;
    library.uploads.abort(&upload.id).await.unwrap();
    assert_eq!(library.uploads.unfinished().await.unwrap(), []);
}

#[tokio::test]
async fn an_upload_that_waits_for_its_next_attempt_says_why_and_may_be_ended() {
    let (library, upload) = refused_by_its_store(Duration::from_secs(3600)).await;
    let token = CancellationToken::new();
    let failed_once = async {
        library.uploads.complete(&upload.id, &[], Duration::ZERO).await.unwrap();
        let reason = async {
            loop {
                if let Some(reason) =
                    library.uploads.find(&upload.id).await.unwrap().unwrap().reason
                {
                    return reason;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let reason = tokio::time::timeout(PATIENCE, reason).await.expect("it is tried");
        assert_eq!(reason, "The blob store could not take it.");
        let waiting = library.uploads.find(&upload.id).await.unwrap().unwrap();
        assert_eq!(waiting.state, UploadState::Verifying);
        library.uploads.abort(&upload.id).await.unwrap();
        token.cancel();
    };
    tokio::join!(library.uploads.run(token.clone()), failed_once);
    assert_eq!(library.uploads.find(&upload.id).await.unwrap(), None);
    library.assert_no_parts().await;
}

#[tokio::test]
async fn a_small_file_is_checked_by_its_name_and_length_then_by_its_bytes_and_is_dated_at_once() {
    let library = Library::new(Fixture::new().await);
    let add = async |bytes: &[u8], name: &str| {
        let path = library.fixture.write("sent", bytes);
        library.uploads.add_file(&path, name, "takes").await
    };
    let invalid = |outcome: Result<AssetId, UploadError>| match outcome {
        Err(UploadError::Invalid(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(invalid(add(b"just text", "a/b").await), NewUploadError::Name);
    assert_eq!(invalid(add(b"", "a.txt").await), NewUploadError::Size);
    assert!(matches!(add(b"just text", "a.jpg").await, Err(UploadError::NotMedia)));

    let bytes = media::jpeg_with_exif();
    let id = add(&bytes, "a.jpg").await.unwrap();
    let asset = library.assert_only(&bytes).await;
    assert_eq!((&asset.id, asset.folder.as_str()), (&id, "takes"));
    assert_eq!(asset.created_at.to_string(), "2024-05-17T16:30:05Z");
    assert!(library.fixture.catalog.metadata(&id).await.unwrap().location.is_some());
    assert_eq!(add(&bytes, "other.jpg").await.unwrap(), id);
}
