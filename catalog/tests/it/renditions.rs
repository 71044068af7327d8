use std::{collections::BTreeMap, process::Command};

use catalog::{JobFilter, keys};
use domain::{JobKind, JobState, RenditionKind};
use tokio::sync::broadcast::error::TryRecvError;

use crate::{fixture::Fixture, media};

/// Every job of the only asset, with its state.
pub async fn jobs(f: &Fixture) -> BTreeMap<JobKind, JobState> {
    let jobs = f.catalog.jobs(&JobFilter::default(), 100, None).await.unwrap();
    jobs.into_iter().map(|listing| (listing.job.kind, listing.job.state)).collect()
}

/// What ffprobe says of an entry, one value a line.
fn ffprobe(file: &std::path::Path, args: &[&str]) -> Vec<String> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-of", "csv=p=0"])
        .args(args)
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.trim_end_matches(',').to_owned()).collect()
}

#[tokio::test]
async fn video_that_browsers_cannot_play_gets_everything() {
    let f = Fixture::new().await;
    let mut events = f.catalog.job_events();
    media::old_video(&f.photos().join("clip.avi"), 6);
    f.import().await;
    f.do_jobs().await;

    use JobKind::{Derive, Proxy720p, Storyboard, Waveform};
    let done = [Derive, Storyboard, Waveform, Proxy720p].map(|kind| (kind, JobState::Done));
    assert_eq!(jobs(&f).await, BTreeMap::from(done));
    let asset = f.asset().await;
    let renditions = f.catalog.renditions(&asset.id).await.unwrap();
    let find = |kind| renditions.iter().find(|one| one.kind == kind).unwrap();
    let px = |kind| find(kind).width_px.zip(find(kind).height_px);
    assert_eq!(renditions.len(), 7, "{renditions:?}");
    assert_eq!(px(RenditionKind::Poster), Some((640, 360)));
    assert_eq!(px(RenditionKind::Thumb320), Some((320, 180)));

    // The storyboard is the picture its WebVTT tells of.
    let bytes = async |kind| {
        let file = find(kind).url.strip_prefix("/assets/thumbs/").unwrap();
        let bytes = f.rendition(file).await.unwrap();
        assert_eq!(keys::rendition_file_mime(file), find(kind).mime);
        assert_eq!(bytes.len() as u64, find(kind).size_bytes);
        bytes
    };
    let sprite = image::load_from_memory(&bytes(RenditionKind::Storyboard).await).unwrap();
    assert_eq!((sprite.width(), sprite.height()), (2400, 268));
    assert_eq!(px(RenditionKind::Storyboard), Some((2400, 268)));
    let vtt = String::from_utf8(bytes(RenditionKind::StoryboardVtt).await.to_vec()).unwrap();
    assert_eq!(vtt.matches("-->").count(), 12);
    let sprite_file = find(RenditionKind::Storyboard).url.rsplit('/').next().unwrap();
    assert!(vtt.contains(&format!("\n{sprite_file}#xywh=240,134,240,134\n")), "{vtt}");
    // Its last cell is of the end of the clip, not black.
    let last = sprite.to_rgb8().get_pixel(240 + 120, 134 + 67).0;
    assert!(last.iter().any(|&channel| channel > 32), "{last:?}");

    let peaks: serde_json::Value =
        serde_json::from_slice(&bytes(RenditionKind::Waveform).await).unwrap();
    let samples = peaks["length"].as_u64().unwrap() * peaks["samples_per_pixel"].as_u64().unwrap();
    assert!((47_000..50_000).contains(&samples), "six seconds: {samples}");
    assert!(peaks["data"].as_array().unwrap().iter().any(|peak| peak.as_i64().unwrap() > 5));

    // A proxy is not among what this server sends by itself.
    let proxy = find(RenditionKind::Proxy720p);
    assert_eq!(proxy.url, format!("/api/assets/{}/renditions/proxy_720p", asset.id));
    let key = f.catalog.rendition_key(&asset.id, RenditionKind::Proxy720p).await.unwrap().unwrap();
    let file = f.store_root().join(key.as_str());
    assert_eq!(ffprobe(&file, &["-show_entries", "stream=codec_name"]), ["h264", "aac"]);
    let keys = ffprobe(
        &file,
        &["-select_streams", "v", "-skip_frame", "nokey", "-show_entries", "frame=pts_time"],
    );
    assert!(keys.len() >= 6, "a key frame every second: {keys:?}");
    let head = std::fs::read(&file).unwrap();
    let at = |name: &[u8]| head.windows(4).position(|four| four == name).unwrap();
    assert!(at(b"moov") < at(b"mdat"), "it can play before it is all there");

    let mut states = Vec::new();
    loop {
        match events.try_recv() {
            Ok(event) if event.kind == Proxy720p => states.push(event.state),
            Ok(_) => {}
            Err(TryRecvError::Empty) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(states.first(), Some(&JobState::Running));
    assert_eq!(states.last(), Some(&JobState::Done));
    assert_eq!(f.do_jobs().await, 0);
}

#[tokio::test]
async fn small_clip_that_browsers_play_gets_no_proxy() {
    let f = Fixture::new().await;
    media::video(&f.photos().join("clip.mp4"));
    f.import().await;
    f.do_jobs().await;
    let done = [JobKind::Derive, JobKind::Storyboard].map(|kind| (kind, JobState::Done));
    assert_eq!(jobs(&f).await, BTreeMap::from(done));
}

#[tokio::test]
async fn picture_has_a_thumbhash_of_its_colours() {
    let f = Fixture::new().await;
    let red = image::RgbImage::from_pixel(400, 300, image::Rgb([250, 10, 10]));
    f.write("red.png", &media::encoded(&red.into(), image::ImageFormat::Png));
    f.import().await;
    f.do_jobs().await;
    let hash = f.asset().await.thumbhash.unwrap();
    let hash = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, hash).unwrap();
    let (r, g, b, _) = thumbhash::thumb_hash_to_average_rgba(&hash).unwrap();
    assert!(r > 0.8 && g < 0.2 && b < 0.2, "{r} {g} {b}");
}

#[tokio::test]
async fn job_that_is_done_can_be_done_again() {
    let f = Fixture::new().await;
    f.write("a.jpg", &media::jpeg(40, 30));
    f.import().await;
    f.do_jobs().await;
    let id = f.asset().await.id;
    let key = f.catalog.rendition_key(&id, RenditionKind::Thumb320).await.unwrap().unwrap();
    f.store.delete(&key).await.unwrap();
    let status = f.catalog.retry_job(&id, JobKind::Derive).await.unwrap().unwrap();
    assert_eq!(status.state, JobState::Pending);
    assert_eq!(f.do_jobs().await, 1);
    assert!(f.store.head(&key).await.unwrap().is_some());
}
