use std::{collections::BTreeMap, path::Path, process::Command};

use catalog::{JobFilter, keys, purge_asset};
use domain::{AssetId, JobKind, JobState, RenditionKind};
use tokio::sync::broadcast::error::TryRecvError;

use crate::{
    fixture::Fixture,
    media,
    verifiers::{Gate, store},
    weed::Weed,
};

/// Every job of the only asset, with its state.
pub async fn jobs(f: &Fixture) -> BTreeMap<JobKind, JobState> {
    let jobs = f.catalog.jobs(&JobFilter::default(), 100, None).await.unwrap();
    jobs.into_iter().map(|listing| (listing.job.kind, listing.job.state)).collect()
}

/// What ffprobe says of an entry, one value a line.
fn ffprobe(file: &Path, args: &[&str]) -> Vec<String> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-of", "csv=p=0"])
        .args(args)
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let values = text.lines().map(|line| line.trim_end_matches(',').to_owned());
    values.filter(|value| !value.is_empty()).collect()
}

/// What ffprobe says of a proxy, which has a key frame every second and can play before it is all there.
async fn check_proxy(f: &Fixture, id: &AssetId, kind: RenditionKind, args: &[&str]) -> Vec<String> {
    let key = f.catalog.rendition_key(id, kind).await.unwrap().unwrap();
    let file = f.store_root().join(key.as_str());
    let secs: f64 = ffprobe(&file, &["-show_entries", "format=duration"])[0].parse().unwrap();
    let key_frames = ["-select_streams", "v", "-skip_frame", "nokey"];
    let key_frames = [key_frames.as_slice(), &["-show_entries", "frame=pts_time"]].concat();
    let mut ends: Vec<f64> =
        ffprobe(&file, &key_frames).iter().map(|secs| secs.parse().unwrap()).collect();
    ends.push(secs);
    assert!(ends.windows(2).all(|pair| pair[1] - pair[0] <= 1.2), "{ends:?}");
    let bytes = std::fs::read(&file).unwrap();
    let at = |name: &[u8]| bytes.windows(4).position(|four| four == name).unwrap();
    assert!(at(b"moov") < at(b"mdat"));
    ffprobe(&file, args)
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
    let streams = ["-show_entries", "stream=codec_name"];
    assert_eq!(
        check_proxy(&f, &asset.id, RenditionKind::Proxy720p, &streams).await,
        ["h264", "aac"]
    );

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
async fn large_video_gets_a_proxy_of_each_size() {
    let f = Fixture::new().await;
    let source = "testsrc2=size=2560x1440:rate=25:duration=2";
    let codec = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"];
    let clip = f.photos().join("clip.mp4");
    media::ffmpeg(&[["-f", "lavfi", "-i", source].as_slice(), &codec].concat(), &clip);
    f.import().await;
    f.do_jobs().await;
    use JobKind::{Derive, Proxy720p, Proxy1080p, Storyboard};
    let done = [Derive, Storyboard, Proxy720p, Proxy1080p].map(|kind| (kind, JobState::Done));
    assert_eq!(jobs(&f).await, BTreeMap::from(done));
    let asset = f.asset().await;
    for (kind, size_px) in
        [(RenditionKind::Proxy720p, (1280, 720)), (RenditionKind::Proxy1080p, (1920, 1080))]
    {
        let (width_px, height_px) = size_px;
        let told = asset.renditions.iter().find(|one| one.kind == kind).unwrap();
        assert_eq!(told.width_px.zip(told.height_px), Some(size_px));
        let entries = ["-show_entries", "stream=codec_name,width,height,pix_fmt,nb_frames"];
        let made = check_proxy(&f, &asset.id, kind, &entries).await;
        assert_eq!(made, [format!("h264,{width_px},{height_px},yuv420p,50")]);
    }
}

#[tokio::test]
async fn proxy_of_a_part_of_a_video_is_none_and_says_how_much_there_is() {
    let f = Fixture::new().await;
    let whole = f.dir.path().join("whole.mkv");
    media::old_video(&whole, 6);
    let whole = std::fs::read(whole).unwrap();
    // ffmpeg ends well at the end of a file that was not copied to its end.
    f.write("cut.mkv", &whole[..whole.len() / 2]);
    f.import().await;
    f.do_jobs().await;
    let id = f.asset().await.id;
    let job = f.catalog.job(&id, JobKind::Proxy720p).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Failed);
    let reason = job.reason.unwrap();
    assert!(reason.starts_with("Only ") && reason.ends_with(" it says it has 6 s."), "{reason}");
    assert_eq!(f.catalog.rendition_key(&id, RenditionKind::Proxy720p).await.unwrap(), None);
}

#[tokio::test]
async fn renditions_of_an_asset_that_is_purged_while_they_are_made_go_with_it() {
    let weed = Weed::start().await;
    let gate = Gate::before(&weed, "PUT /media/derived/thumb_640/").await;
    let f = Fixture::with_store(tempfile::tempdir().unwrap(), store(&gate.endpoint)).await;
    f.write("a.jpg", &media::jpeg(40, 30));
    f.import().await;
    let id = f.asset().await.id;
    let derived = async || f.store.list("derived/", None, 10).await.unwrap().objects;
    let purged = async {
        gate.held(1).await;
        assert_eq!(derived().await.len(), 1, "the smaller one is there");
        f.catalog.trash(std::slice::from_ref(&id)).await.unwrap();
        assert!(purge_asset(&f.catalog, &f.store, &id).await.unwrap());
        gate.open();
    };
    tokio::join!(f.do_jobs(), purged);
    assert_eq!(derived().await, []);
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
