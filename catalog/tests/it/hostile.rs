//! Files made to harm whoever decodes them. Each ends as one failed or safe asset, or as none.

use std::{net::TcpListener, path::Path, process::Command, time::Duration};

use domain::{Asset, Thumb};
use image::{Frame, ImageFormat, RgbaImage, codecs::gif::GifEncoder};

use crate::{fixture::Fixture, media};

/// How a file may end.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// An asset whose page says why there is no thumbnail; the reason holds this.
    Failed(&'static str),
    /// An asset with thumbnails.
    Ready,
    /// An asset without thumbnails, and nothing was decoded.
    Plain,
    /// No asset: it is no picture, video or sound.
    Refused,
}

/// A PNG of that size, of which only the header is there to begin with.
fn png_bomb(side: u32) -> Vec<u8> {
    let mut bytes = media::encoded(&media::picture(4, 4), ImageFormat::Png);
    bytes[16..20].copy_from_slice(&side.to_be_bytes());
    bytes[20..24].copy_from_slice(&side.to_be_bytes());
    let crc = crc32fast::hash(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn gif(frames: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut bytes, 30);
    for n in 0..frames {
        let colour = image::Rgba([(n % 256) as u8, 90, 0, 255]);
        encoder.encode_frame(Frame::new(RgbaImage::from_pixel(8, 8, colour))).unwrap();
    }
    drop(encoder);
    bytes
}

/// A GIF whose screen is as large as one can be.
fn gif_bomb() -> Vec<u8> {
    let mut bytes = gif(1);
    bytes[6..10].fill(0xff);
    bytes
}

/// Puts `new` where `old` stands `skip` bytes after the first `marker`.
fn patched(mut bytes: Vec<u8>, marker: &[u8], skip: usize, new: &[u8]) -> Vec<u8> {
    let at = bytes.windows(marker.len()).position(|window| window == marker).expect("is there");
    let at = at + marker.len() + skip;
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

fn video_bytes(dir: &Path, name: &str) -> Vec<u8> {
    let path = dir.join(name);
    if name.ends_with(".avi") {
        media::old_video(&path, 2)
    } else {
        media::video(&path)
    }
    std::fs::read(path).unwrap()
}

/// Text that ffmpeg would take for a playlist, with a byte that keeps it from being plain text.
fn playlist(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\n#\0\n"].concat()
}

fn end_of(asset: Option<&Asset>) -> (Option<End>, String) {
    match asset.map(|asset| &asset.thumb) {
        None => (Some(End::Refused), String::new()),
        Some(Thumb::Ready { .. }) => (Some(End::Ready), String::new()),
        Some(Thumb::None) => (Some(End::Plain), String::new()),
        Some(Thumb::Failed { reason }) => (None, reason.clone()),
        Some(Thumb::Pending) => panic!("it has not ended"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_files_end_as_one_failed_or_safe_asset_each() {
    use End::{Failed, Plain, Ready, Refused};
    let f = Fixture::new().await;
    // A file that nobody may read out, and a server that nobody may call.
    let secret = f.dir.path().join("secret.ts");
    media::video(&secret);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let url = format!("http://{}/x.ts", server.local_addr().unwrap());
    let file = format!("file://{}", secret.display());
    let hls = |uri: &str| {
        playlist(&format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{uri}\n#EXT-X-ENDLIST"))
    };
    let whole_mp4 = video_bytes(f.dir.path(), "whole.mp4");
    let whole_avi = video_bytes(f.dir.path(), "whole.avi");
    let jpeg = media::jpeg(800, 600);
    let unreadable = Failed("cannot be read as video or sound");

    let corpus: Vec<(&str, Vec<u8>, Vec<End>)> = vec![
        ("bomb.png", png_bomb(60_000), vec![Failed("60000 × 60000")]),
        // Small enough to begin with; the rest of it is not there.
        ("hollow.png", png_bomb(9_000), vec![Failed("damaged")]),
        ("bomb.bmp", media::bitmap_bomb(), vec![Failed("30000 × 30000")]),
        ("bomb.gif", gif_bomb(), vec![Failed("65535 × 65535")]),
        ("frames.gif", gif(10_000), vec![Ready]),
        ("cut.jpg", jpeg[..jpeg.len() / 2].to_vec(), vec![Failed("its end is missing")]),
        ("cut.mp4", whole_mp4[..whole_mp4.len() / 2].to_vec(), vec![unreadable]),
        ("script.svg", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><script>alert(1)</script><image href='file:///etc/passwd'/></svg>".to_vec(), vec![Plain]),
        ("empty.jpg", Vec::new(), vec![Refused]),
        ("empty.mp4", Vec::new(), vec![Refused]),
        ("page.png", b"<!doctype html><script>alert(1)</script>".to_vec(), vec![Refused]),
        ("program.jpg", [b"\x7fELF\x02\x01\x01".as_slice(), &[0; 200]].concat(), vec![Refused]),
        // The bytes say what it is, not the name.
        ("picture.mp4", jpeg.clone(), vec![Ready]),
        ("picture.mp3", media::encoded(&media::picture(40, 30), ImageFormat::Png), vec![Ready]),
        ("text.mp4", b"This is no video.".repeat(50), vec![Refused]),
        ("binary.mp4", [b"This is no video.\0\xff".repeat(50)].concat(), vec![unreadable]),
        ("noise.mp3", [b"\xff\xfb\x90\x44".as_slice(), &[7, 1, 0, 255].repeat(900)].concat(), vec![Plain, Failed("")]),
        // It says that it lasts for years.
        ("endless.mp4", patched(whole_mp4.clone(), b"mvhd", 16, &[0x7f; 4]), vec![Ready]),
        ("timeless.mp4", patched(whole_mp4.clone(), b"mvhd", 12, &[0; 8]), vec![Ready, unreadable]),
        // It says that its pictures are as large as a field.
        ("field.avi", patched(whole_avi, b"strf", 8, &[0x60, 0xea, 0, 0, 0x60, 0xea, 0, 0]), vec![Ready, Failed("")]),
        ("file.mpg", hls(&file), vec![unreadable]),
        ("passwd.mp4", hls("file:///etc/passwd"), vec![unreadable]),
        ("server.mpg", hls(&url), vec![unreadable]),
        ("nested.mpg", hls("passwd.mp4"), vec![unreadable]),
        ("concat.mpg", playlist(&format!("ffconcat version 1.0\nfile '{}'", secret.display())), vec![unreadable]),
        ("subfile.mpg", playlist(&format!("#EXTM3U\n#EXTINF:1,\nsubfile,,start,0,end,99,,:{}", secret.display())), vec![unreadable]),
        ("dash.mp4", playlist(&format!("<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><Period><AdaptationSet><Representation><BaseURL>{url}</BaseURL></Representation></AdaptationSet></Period></MPD>")), vec![unreadable, Refused]),
        ("session.mp4", playlist("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000"), vec![unreadable]),
    ];
    for (name, bytes, _) in &corpus {
        f.write(name, bytes);
    }
    f.import().await;
    tokio::time::timeout(Duration::from_secs(300), f.do_jobs()).await.expect("it ends");

    let assets = f.assets().await;
    let mut wrong = Vec::new();
    for (name, _, ends) in &corpus {
        let mut named = assets.iter().filter(|asset| asset.name == *name);
        let asset = named.next();
        assert!(named.next().is_none(), "{name} is there twice");
        let (end, reason) = end_of(asset);
        let is_expected = ends.iter().any(|expected| match expected {
            Failed(words) => end.is_none() && reason.contains(words),
            other => end == Some(*other),
        });
        if !is_expected {
            wrong.push(format!("{name}: {end:?} {reason:?}, not {ends:?}"));
        }
        assert!(!reason.contains(&*f.dir.path().to_string_lossy()), "{name} tells paths: {reason}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(server.accept().is_err(), "a file made ffmpeg call a server");
    // Nothing waits, nothing is tried again by itself, and the catalog answers.
    assert_eq!(f.catalog.counts().await.unwrap().jobs_open, 0);
    assert_eq!(f.do_jobs().await, 0);
}

fn limited(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_damwall-thumb-worker"));
    command.args(["worker", "limited", "quick", program]).args(args);
    command
}

#[test]
fn worker_cannot_open_a_socket_whatever_it_becomes() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let port = server.local_addr().unwrap().port();
    let connect = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
    let outside = Command::new("bash").args(["-c", &connect]).status().unwrap();
    assert!(outside.success(), "bash can, unless it is limited");
    assert!(server.accept().is_ok());

    let inside = limited("bash", &["-c", &connect]).output().unwrap();
    assert!(!inside.status.success());
    let url = format!("http://127.0.0.1:{port}/x.mp4");
    let inside =
        limited("ffmpeg", &["-v", "error", "-i", &url, "-f", "null", "-"]).output().unwrap();
    assert!(!inside.status.success());
    assert!(server.accept().is_err(), "nobody called");
}

#[test]
fn worker_is_stopped_at_its_limits() {
    // Memory, length of a file, and processor time, all without privilege.
    let limits =
        limited("bash", &["-c", "ulimit -v; ulimit -f; ulimit -t; ulimit -c"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&limits.stdout), "2097152\n65536\n30\n0\n");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("long");
    let write =
        limited("dd", &["if=/dev/zero", "bs=1M", "count=100", &format!("of={}", file.display())]);
    let mut write = write;
    assert!(!write.output().unwrap().status.success());
    assert_eq!(std::fs::metadata(file).unwrap().len(), 64 << 20);
}
