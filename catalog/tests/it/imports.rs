use std::{
    os::unix::fs::symlink,
    time::{Duration, SystemTime},
};

use catalog::{BlobKey, ImportOptions, import::ImportOutcome, import_folder};
use domain::AssetKind;

use crate::{fixture::Fixture, media};

#[tokio::test]
async fn import_twice_is_idempotent() {
    let f = Fixture::new().await;
    f.write("a.jpg", &media::jpeg(40, 30));
    f.write("2024/may/b.png", &media::png_with_alpha(8, 8));

    // On a task of its own, as a server does it.
    let f = std::sync::Arc::new(f);
    let first = tokio::spawn({
        let f = f.clone();
        async move { f.import().await }
    });
    let first = first.await.unwrap();
    assert_eq!((first.imported, first.already_there, first.skipped), (2, 0, 0));
    let assets = f.assets().await;
    let second = f.import().await;
    assert_eq!((second.imported, second.already_there, second.skipped), (0, 2, 0));
    assert_eq!(f.assets().await, assets);
}

#[tokio::test]
async fn imported_asset_knows_where_it_came_from() {
    let f = Fixture::new().await;
    let bytes = media::jpeg(40, 30);
    let path = f.write("2024/may/Übung 1.jpg", &bytes);
    let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(1_600_000_000_123);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    f.import().await;

    let asset = f.asset().await;
    assert_eq!(asset.name, "Übung 1.jpg");
    assert_eq!(asset.folder, "Photos/2024/may");
    assert_eq!(asset.created_at.as_millisecond(), 1_600_000_000_123);
    assert_eq!((asset.mime.as_str(), asset.kind), ("image/jpeg", AssetKind::Image));
    assert_eq!(asset.size_bytes, bytes.len() as u64);
    let key: BlobKey = asset.key.parse().unwrap();
    assert_eq!(f.store.read(&key, 1 << 20).await.unwrap(), bytes);
}

#[tokio::test]
async fn same_bytes_twice_are_one_asset() {
    let f = Fixture::new().await;
    let bytes = media::jpeg(40, 30);
    f.write("a.jpg", &bytes);
    f.write("copy/b.jpg", &bytes);
    let summary = f.import().await;
    assert_eq!((summary.imported, summary.already_there), (1, 1));
    f.asset().await;
}

#[tokio::test]
async fn what_is_no_media_is_skipped_and_what_is_hidden_is_not_seen() {
    let f = Fixture::new().await;
    f.write("note.txt", b"hello");
    f.write("note.jpg", b"I am text");
    f.write("empty.jpg", b"");
    f.write(".hidden.jpg", &media::jpeg(8, 8));
    f.write(".hidden/a.jpg", &media::jpeg(8, 8));
    let outside = f.dir.path().join("outside.jpg");
    std::fs::write(&outside, media::jpeg(9, 9)).unwrap();
    symlink(&outside, f.photos().join("link.jpg")).unwrap();
    let summary = f.import().await;
    assert_eq!((summary.imported, summary.skipped), (0, 3));
    assert!(summary.failed.is_empty());
}

#[tokio::test]
async fn file_that_cannot_be_stored_costs_one_line() {
    let f = Fixture::new().await;
    f.write("a.jpg", &media::jpeg(40, 30));
    f.write("b.jpg", &media::jpeg(41, 30));
    // A file where the store wants a folder.
    std::fs::write(f.store_root().join("blobs"), "in the way").unwrap();
    let mut events = Vec::new();
    let options = ImportOptions::default();
    let summary = import_folder(&f.catalog, &f.store, &f.photos(), &options, |event| {
        events.push(event.clone());
    })
    .await
    .unwrap();
    assert_eq!(summary.failed.len(), 2);
    assert_eq!(events.len(), 2);
    assert!(matches!(&events[0].outcome, ImportOutcome::Failed(reason) if reason.ends_with('.')));
    assert!(f.assets().await.is_empty());

    std::fs::remove_file(f.store_root().join("blobs")).unwrap();
    assert_eq!(f.import().await.imported, 2);
}

#[tokio::test]
async fn import_puts_back_an_original_that_was_lost() {
    let f = Fixture::new().await;
    f.write("a.jpg", &media::jpeg(40, 30));
    f.import().await;
    let key: BlobKey = f.asset().await.key.parse().unwrap();
    f.store.delete(&key).await.unwrap();
    assert_eq!(f.import().await.imported, 1);
    assert!(f.store.head(&key).await.unwrap().is_some());
    f.asset().await;
}

#[tokio::test]
async fn import_leaves_out_the_servers_own_folder() {
    let f = Fixture::new().await;
    f.write("a.jpg", &media::jpeg(40, 30));
    f.write("data/b.jpg", &media::jpeg(50, 30));
    let options =
        ImportOptions { exclude: vec![f.photos().join("data")], ..ImportOptions::default() };
    let summary = import_folder(&f.catalog, &f.store, &f.photos(), &options, |_| {}).await.unwrap();
    assert_eq!(summary.imported, 1);
}

#[tokio::test]
async fn import_of_a_folder_that_is_not_there_is_refused() {
    let f = Fixture::new().await;
    let folder = f.dir.path().join("nowhere");
    let options = ImportOptions::default();
    let error = import_folder(&f.catalog, &f.store, &folder, &options, |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[tokio::test]
async fn import_again_reads_nothing_that_looks_the_same() {
    let f = Fixture::new().await;
    let path = f.write("a.jpg", &media::jpeg(40, 30));
    f.write("note.txt", b"hello");
    f.import().await;
    // Other bytes behind the same length and time: nobody looks.
    let meta = std::fs::metadata(&path).unwrap();
    std::fs::write(&path, vec![0; meta.len() as usize]).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(meta.modified().unwrap()).unwrap();
    let again = f.import().await;
    assert_eq!((again.imported, again.already_there, again.skipped), (0, 1, 1));
    // A new time: it is looked at.
    file.set_modified(SystemTime::now() + Duration::from_secs(5)).unwrap();
    let again = f.import().await;
    let counts = (again.imported, again.already_there, again.skipped);
    assert_eq!(counts, (1, 0, 1), "other bytes");
}

#[tokio::test]
async fn import_puts_a_folder_where_it_is_told_and_counts_what_it_finds() {
    let f = Fixture::new().await;
    f.write("2024/a.jpg", &media::jpeg(40, 30));
    f.write("b.jpg", &media::jpeg(41, 30));
    let options = ImportOptions { folder: Some("Studio/Scans".into()), ..ImportOptions::default() };
    import_folder(&f.catalog, &f.store, &f.photos(), &options, |_| {}).await.unwrap();
    let mut folders: Vec<_> = f.assets().await.into_iter().map(|asset| asset.folder).collect();
    folders.sort();
    assert_eq!(folders, ["Studio/Scans", "Studio/Scans/2024"]);
    let progress = &options.progress;
    use std::sync::atomic::Ordering::Relaxed;
    assert!(progress.is_all_found.load(Relaxed));
    assert_eq!((progress.files_found.load(Relaxed), progress.files_done.load(Relaxed)), (2, 2));
    assert_eq!(progress.bytes_found.load(Relaxed), progress.bytes_done.load(Relaxed));
}

#[tokio::test]
async fn an_imported_picture_is_dated_by_its_camera() {
    let f = Fixture::new().await;
    f.write("a.jpg", &media::jpeg_with_exif());
    f.import().await;
    let asset = f.asset().await;
    assert_eq!(asset.created_at.to_string(), "2024-05-17T16:30:05Z");
    let metadata = f.catalog.metadata(&asset.id).await.unwrap();
    assert_eq!(metadata.camera_model.as_deref(), Some("GR III"));
    assert_eq!(metadata.taken_at, Some(asset.created_at));
    let place = metadata.location.unwrap();
    assert_eq!((place.latitude, place.longitude), (52.5, 13.25));
}

#[tokio::test]
async fn a_video_is_dated_by_its_container() {
    let f = Fixture::new().await;
    let path = f.photos().join("clip.mp4");
    let source = "testsrc2=size=320x180:rate=10:duration=1";
    let taken = ["-metadata", "creation_time=2024-05-17T16:30:05Z", "-pix_fmt", "yuv420p"];
    media::ffmpeg(&[["-f", "lavfi", "-i", source].as_slice(), &taken].concat(), &path);
    f.import().await;
    f.do_jobs().await;
    let asset = f.asset().await;
    assert_eq!(asset.created_at.to_string(), "2024-05-17T16:30:05Z");
    let metadata = f.catalog.metadata(&asset.id).await.unwrap();
    assert_eq!((metadata.fps, metadata.taken_at), (Some(10.0), Some(asset.created_at)));
}
