use std::{os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use catalog::{BlobKey, BlobStore, JobFilter, blob::S3Store};
use domain::{Asset, AssetKind, JobState, Thumb};
use image::ImageFormat;
use tokio_util::sync::CancellationToken;

use crate::{fixture::Fixture, media, weed::Weed};

/// The 320 and the 640 one as served, with the size the catalog tells of the former.
async fn thumbs(f: &Fixture, asset: &Asset) -> [(u32, u32); 2] {
    let Thumb::Ready { url_320, url_640, width_px, height_px } = &asset.thumb else {
        panic!("no thumbnails: {:?}", asset.thumb);
    };
    let mut sizes = Vec::new();
    for url in [url_320, url_640] {
        let file = url.strip_prefix("/assets/thumbs/").unwrap();
        let bytes = f.rendition(file).await.unwrap();
        let picture = image::load_from_memory_with_format(&bytes, ImageFormat::WebP).unwrap();
        sizes.push((picture.width(), picture.height()));
    }
    assert_eq!(sizes[0], (*width_px, *height_px));
    [sizes[0], sizes[1]]
}

fn failed_reason(asset: &Asset) -> &str {
    match &asset.thumb {
        Thumb::Failed { reason } => reason,
        other => panic!("not failed: {other:?}"),
    }
}

/// A program that runs this in a shell.
fn script(f: &Fixture, name: &str, text: &str) -> PathBuf {
    let path = f.dir.path().join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn px(asset: &Asset) -> Option<(u32, u32)> {
    asset.width_px.zip(asset.height_px)
}

#[tokio::test]
async fn picture_gets_two_thumbnails() {
    let f = Fixture::new().await;
    f.write("a.jpg", &media::jpeg(1600, 1200));
    f.import().await;
    assert_eq!(f.asset().await.thumb, Thumb::Pending);
    assert_eq!(f.do_jobs().await, 1);

    let asset = f.asset().await;
    assert_eq!(px(&asset), Some((1600, 1200)));
    assert_eq!(thumbs(&f, &asset).await, [(320, 240), (640, 480)]);
    assert_eq!(f.do_jobs().await, 0);
}

#[tokio::test]
async fn small_picture_is_not_blown_up() {
    let f = Fixture::new().await;
    f.write("a.png", &media::png_with_alpha(100, 400));
    f.import().await;
    f.do_jobs().await;
    assert_eq!(thumbs(&f, &f.asset().await).await, [(80, 320), (100, 400)]);
}

#[tokio::test]
async fn picture_taken_sideways_is_shown_upright() {
    let f = Fixture::new().await;
    let upright = media::jpeg(800, 400);
    f.write("a.jpg", &media::with_orientation(&upright, 6));
    f.import().await;
    f.do_jobs().await;
    let asset = f.asset().await;
    assert_eq!(px(&asset), Some((400, 800)));
    assert_eq!(thumbs(&f, &asset).await, [(160, 320), (320, 640)]);
}

#[tokio::test]
async fn damaged_and_hostile_pictures_fail_at_once_with_a_reason() {
    let f = Fixture::new().await;
    let whole = media::jpeg(1600, 1200);
    f.write("truncated.jpg", &whole[..whole.len() / 2]);
    f.write("garbage.jpg", &[b"\xff\xd8\xff\xe0".as_slice(), &[0, 7, 1, 255].repeat(500)].concat());
    f.write("bomb.bmp", &media::bitmap_bomb());
    assert_eq!(f.import().await.imported, 3);
    assert_eq!(f.do_jobs().await, 3);
    for asset in f.assets().await {
        let reason = failed_reason(&asset);
        assert!(reason.starts_with("The picture is "), "{}: {reason}", asset.name);
        assert_eq!(px(&asset), None);
        if asset.name == "bomb.bmp" {
            assert!(reason.contains("30000 × 30000"), "{reason}");
        }
    }
    assert_eq!(f.do_jobs().await, 0, "they are not tried again by themselves");
    assert_eq!(f.catalog.counts().await.unwrap().jobs_failed, 3);
    assert_eq!(f.catalog.retry_failed_jobs().await.unwrap(), 3);
    assert_eq!(f.do_jobs().await, 3);
}

#[tokio::test]
async fn svg_is_not_decoded() {
    let f = Fixture::new().await;
    f.write("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>");
    f.import().await;
    f.do_jobs().await;
    let asset = f.asset().await;
    assert_eq!((asset.mime.as_str(), asset.thumb), ("image/svg+xml", Thumb::None));
}

#[tokio::test]
async fn video_gets_its_measures_and_a_frame() {
    let f = Fixture::new().await;
    media::video(&f.photos().join("clip.mp4"));
    f.import().await;
    f.do_jobs().await;
    let asset = f.asset().await;
    assert_eq!(asset.kind, AssetKind::Video);
    assert_eq!(px(&asset), Some((320, 180)));
    assert_eq!(asset.duration_ms, Some(2000));
    assert_eq!(thumbs(&f, &asset).await, [(320, 180), (320, 180)]);
}

#[tokio::test]
async fn video_taken_sideways_is_shown_upright() {
    let f = Fixture::new().await;
    let flat = f.dir.path().join("flat.mp4");
    media::video(&flat);
    let flat = flat.to_str().unwrap();
    let turn = ["-i", flat, "-c", "copy", "-metadata:s:v:0", "rotate=90"];
    media::ffmpeg(&turn, &f.photos().join("clip.mp4"));
    f.import().await;
    f.do_jobs().await;
    let asset = f.asset().await;
    assert_eq!(px(&asset), Some((180, 320)));
    assert_eq!(thumbs(&f, &asset).await, [(180, 320), (180, 320)]);
}

#[tokio::test]
async fn sound_gets_its_duration_and_no_thumbnail() {
    let f = Fixture::new().await;
    media::tone(&f.photos().join("tone.mp3"));
    f.import().await;
    assert_eq!(f.asset().await.thumb, Thumb::None, "none is to be expected");
    f.do_jobs().await;
    let asset = f.asset().await;
    assert_eq!((asset.kind, asset.thumb), (AssetKind::Audio, Thumb::None));
    assert!((900..1200).contains(&asset.duration_ms.unwrap()), "{:?}", asset.duration_ms);
}

#[tokio::test]
async fn video_that_is_not_one_fails_with_a_reason() {
    let f = Fixture::new().await;
    let whole = f.dir.path().join("whole.mp4");
    media::video(&whole);
    let whole = std::fs::read(whole).unwrap();
    // Its index stands at the end.
    f.write("truncated.mp4", &whole[..whole.len() / 2]);
    f.import().await;
    f.do_jobs().await;
    assert_eq!(failed_reason(&f.asset().await), "The file cannot be read as video or sound.");
}

#[tokio::test]
async fn recording_that_begins_amid_a_group_of_pictures_is_shown() {
    let f = Fixture::new().await;
    let whole = f.dir.path().join("whole.ts");
    let source = "testsrc2=size=320x180:rate=25:duration=4";
    let codec = ["-c:v", "libx264", "-g", "50", "-pix_fmt", "yuv420p"];
    media::ffmpeg(&[["-f", "lavfi", "-i", source].as_slice(), &codec].concat(), &whole);
    let whole = std::fs::read(whole).unwrap();
    // Without the key frame at its head: what follows refers to it, and ffprobe says so at length.
    const PACKET_BYTES: usize = 188;
    let after_head = whole.len() / 8 / PACKET_BYTES * PACKET_BYTES;
    f.write("cut.ts", &whole[after_head..]);
    f.import().await;
    f.do_jobs().await;
    let asset = f.asset().await;
    assert_eq!(thumbs(&f, &asset).await, [(320, 180), (320, 180)]);
}

#[tokio::test]
async fn playlist_cannot_make_ffmpeg_open_other_files() {
    let f = Fixture::new().await;
    let secret = f.dir.path().join("secret.ts");
    media::video(&secret);
    let playlist = format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{}\n#EXT-X-ENDLIST\n#\0\n",
        secret.display()
    );
    f.write("clip.mpg", playlist.as_bytes());
    assert_eq!(f.import().await.imported, 1, "it looks like an unknown kind of video");
    f.do_jobs().await;
    let asset = f.asset().await;
    assert_eq!(failed_reason(&asset), "The file cannot be read as video or sound.");
    assert_eq!(px(&asset), None);
}

#[tokio::test]
async fn missing_ffprobe_is_a_reason_on_the_asset() {
    let f = Fixture::new().await;
    media::tone(&f.photos().join("tone.mp3"));
    f.import().await;
    let mut options = Fixture::options();
    options.ffprobe = "/nonexistent/ffprobe".into();
    f.worker(options).drain(&CancellationToken::new()).await.unwrap();
    let asset = f.asset().await;
    assert!(failed_reason(&asset).contains("ffprobe is not installed"), "{:?}", asset.thumb);
}

#[tokio::test]
async fn store_error_is_tried_again_later() {
    let f = Fixture::new().await;
    f.write("a.jpg", &media::jpeg(40, 30));
    f.import().await;
    // A file where the store wants a folder.
    let in_the_way = f.store_root().join("derived");
    std::fs::write(&in_the_way, "in the way").unwrap();
    assert_eq!(f.do_jobs().await, 1);
    assert_eq!(f.asset().await.thumb, Thumb::Pending);
    std::fs::remove_file(&in_the_way).unwrap();
    assert_eq!(f.do_jobs().await, 0, "not before its time");
    f.time_passes().await;
    assert_eq!(f.do_jobs().await, 1);
    thumbs(&f, &f.asset().await).await;
}

#[tokio::test]
async fn store_that_was_killed_and_is_back_gets_what_it_missed() {
    let mut weed = Weed::start().await;
    let store = BlobStore::S3(S3Store::new(&weed.config()));
    let f = Fixture::with_store(tempfile::tempdir().unwrap(), store).await;
    f.write("a.jpg", &media::jpeg(40, 30));
    f.import().await;
    weed.kill();
    assert_eq!(f.do_jobs().await, 1);
    assert_eq!(f.asset().await.thumb, Thumb::Pending);
    weed.start_again().await;
    f.time_passes().await;
    assert_eq!(f.do_jobs().await, 1);
    thumbs(&f, &f.asset().await).await;
}

#[tokio::test]
async fn full_disk_for_temporary_files_is_no_fault_of_the_original() {
    let f = Fixture::new().await;
    f.write("a.jpg", &media::jpeg(400, 300));
    media::video(&f.photos().join("clip.mp4"));
    f.import().await;
    // What they make goes to a device that is always full.
    let mut options = Fixture::options();
    let real = options.worker_exe.display();
    let thumb = "[ $2 != thumb ] || set -- worker thumb \"$3\" /dev/full /dev/full";
    options.worker_exe = script(&f, "worker", &format!("{thumb}\nexec '{real}' \"$@\""));
    let drop_the_last =
        "n=$#; while [ $n -gt 1 ]; do set -- \"$@\" \"$1\"; shift; n=$((n-1)); done; shift";
    options.ffmpeg =
        script(&f, "ffmpeg", &format!("{drop_the_last}\nexec ffmpeg \"$@\" /dev/full"));
    let full = f.worker(options);
    assert_eq!(full.drain(&CancellationToken::new()).await.unwrap(), 2);
    for listing in f.catalog.jobs(&JobFilter::default(), 9, None).await.unwrap() {
        assert_eq!(listing.job.state, JobState::Pending, "{listing:?}");
        let reason = listing.job.reason.unwrap();
        assert!(reason.ends_with("cannot be decoded: this server could not do it."), "{reason}");
    }
    f.time_passes().await;
    f.do_jobs().await;
    for asset in f.assets().await {
        thumbs(&f, &asset).await;
    }
}

#[tokio::test]
async fn lost_original_is_a_reason_on_the_asset() {
    let f = Fixture::new().await;
    f.write("a.jpg", &media::jpeg(40, 30));
    f.import().await;
    let key: BlobKey = f.asset().await.key.parse().unwrap();
    f.store.delete(&key).await.unwrap();
    f.do_jobs().await;
    assert_eq!(failed_reason(&f.asset().await), "Its original is no longer in the blob store.");
}

#[tokio::test]
async fn thumbnail_names_other_than_real_ones_are_none() {
    let f = Fixture::new().await;
    let unknown = format!("{}.webp", "0".repeat(64));
    for file in [unknown.as_str(), "..", "../../catalog.sqlite", "", "x.webp"] {
        assert_eq!(f.rendition(file).await, None, "{file:?}");
    }
}

/// Waits until `is_so`, which nothing announces.
async fn until(f: &Fixture, is_so: impl Fn(&Thumb) -> bool) {
    let wait = async {
        while !is_so(&f.asset().await.thumb) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it should be so by now");
}

#[tokio::test]
async fn running_worker_wakes_for_an_import_and_stops_when_told() {
    let f = Fixture::new().await;
    let mut options = Fixture::options();
    options.poll = Duration::from_secs(3600);
    let worker = f.worker(options);
    let token = CancellationToken::new();
    let running = tokio::spawn({
        let token = token.clone();
        async move { worker.run(token).await }
    });
    // It has found nothing to do and waits.
    tokio::task::yield_now().await;
    f.write("a.jpg", &media::jpeg(40, 30));
    f.import().await;
    until(&f, |thumb| matches!(thumb, Thumb::Ready { .. })).await;
    token.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn stopped_worker_releases_its_job_and_leaves_no_process() {
    let f = Fixture::new().await;
    f.write("a.jpg", &media::jpeg(40, 30));
    f.import().await;
    // A worker that never ends, and tells which process it is.
    let pid_file = f.dir.path().join("pid");
    let tell_and_sleep = format!("echo $$ > '{}'\nexec sleep 600", pid_file.display());
    let mut options = Fixture::options();
    options.worker_exe = script(&f, "slow", &tell_and_sleep);

    let token = CancellationToken::new();
    let worker = f.worker(options);
    let running = tokio::spawn({
        let token = token.clone();
        async move { worker.run(token).await }
    });
    let wait_for_pid = async {
        loop {
            match std::fs::read_to_string(&pid_file) {
                Ok(pid) if pid.ends_with('\n') => return pid.trim().to_owned(),
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let pid = tokio::time::timeout(Duration::from_secs(30), wait_for_pid).await.unwrap();
    token.cancel();
    running.await.unwrap();

    // It was killed; the kernel takes a moment to end it.
    let ended = async {
        let stat = PathBuf::from(format!("/proc/{pid}/stat"));
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
    assert!(ended.is_ok(), "process {pid} lives on");
    assert_eq!(f.do_jobs().await, 1, "another worker can do it");
    assert!(matches!(f.asset().await.thumb, Thumb::Ready { .. }));
}
