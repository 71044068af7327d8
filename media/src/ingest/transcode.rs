//! What a browser cannot play, made playable once for all viewers: the layer `low` in H.264 of a camera
//! with H.265, and Opus of sound that is not Opus or G.711. Must not: run while nobody reads it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use domain::VideoParameters;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Camera, MAIN, SourceError,
    child::Ffmpeg,
    ffmpeg::{ENCODE_AUDIO, encode_video, output_arguments, receive_audio, receive_video, words},
    loopback::Loopback,
    publisher::TrackPublisher,
};
use crate::{
    camera::SourceUrl,
    hub::{Read, Track, TrackIndex},
    sansio::{
        format::{Codec, Format},
        track_sdp::TrackSdp,
    },
};

/// Where the transcoded layer is.
const LOW: (usize, &str) = (2, "low");
/// Largest picture it has: that of level 3.1, which is announced before there is one.
const MAX_SIZE_PX: (f64, f64) = (1280.0, 720.0);
/// The encoder goes on for this long after the last reader.
const LINGER: Duration = Duration::from_secs(5);
/// Before an encoder that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// For ffmpeg to connect to us.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How ffmpeg takes RTP from us: without waiting to see more than the first packets.
const INPUT: &str = "-rtsp_transport tcp -fflags nobuffer -flags low_delay -analyzeduration 0 \
    -probesize 32 -thread_type slice";

/// Offers the layer `low` while the camera's own is one that some browsers cannot play, and makes it
/// while somebody reads it, until `token` is cancelled.
pub(super) async fn supervise_low(camera: &Camera, token: &CancellationToken) {
    let (layer, rid) = LOW;
    let mut news = camera.feed.watch_news();
    let mut publisher = TrackPublisher::new(camera, TrackIndex::Layer(layer), rid);
    let main = &camera.feed.layers()[0];
    let wanted = || low_format(&camera.config.source, main.format().as_deref()?);
    let is_ours = || camera.feed.layers()[layer].format().is_some_and(|format| format.rid == rid);
    let mut is_offered = false;
    loop {
        news.mark_unchanged();
        let Some(format) = wanted() else {
            // A publisher's simulcast may have taken the place.
            if std::mem::take(&mut is_offered) && is_ours() {
                publisher.clear();
            }
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                _ = news.changed() => continue,
            }
        };
        // Known since the format of the main layer is, which is told in one step with this.
        publisher.set_format(format.clone());
        is_offered = true;
        let gone = async {
            loop {
                // The sender lives as long as the feed.
                let _ = news.changed().await;
                if wanted().as_ref() != Some(&format) {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = token.cancelled() => {
                publisher.clear();
                return;
            }
            () = gone => publisher.pause(),
            never = make_low_on_demand(main, &format, &mut publisher) => match never {},
        }
    }
}

/// Where the layer is, and what it will carry beside `main`; `None` when there is no need for one.
pub(super) fn low_beside(source: &SourceUrl, main: &Format) -> Option<(TrackIndex, Format)> {
    low_format(source, main).map(|format| (TrackIndex::Layer(LOW.0), format))
}

fn low_format(source: &SourceUrl, main: &Format) -> Option<Format> {
    // A simulcast has small layers of its own; a publisher's only layer is the one without a name.
    if *source == SourceUrl::Whip && main.rid != MAIN.1 {
        return None;
    }
    let video = main.video.as_ref().filter(|_| main.codec == Codec::H265)?;
    let (width, height) = (f64::from(video.width_px), f64::from(video.height_px));
    let scale = (MAX_SIZE_PX.0 / width).min(MAX_SIZE_PX.1 / height).min(1.0);
    // 4:2:0 has even sides.
    let even = |side: f64| ((side * scale / 2.0) as u32).max(1) * 2;
    let (width_px, height_px) = (even(width), even(height));
    let codec = "avc1.42c01f".to_owned();
    Some(Format {
        codec: Codec::H264,
        rid: LOW.1.to_owned(),
        video: Some(VideoParameters { codec, width_px, height_px }),
        h264_profile: Some([0x42, 0xc0]),
    })
}

async fn make_low_on_demand(
    main: &Arc<Track>,
    format: &Format,
    publisher: &mut TrackPublisher<'_>,
) -> Infallible {
    let camera = publisher.camera();
    let id = &camera.config.id;
    let mut readers = camera.feed.layers()[LOW.0].watch_readers();
    loop {
        let _ = readers.wait_for(|count| *count > 0).await;
        info!(camera.id = %id, "camera {id}: its layer low is wanted; encoding");
        tokio::select! {
            Err(error) = make_low(main, format, publisher) => {
                let error = error.for_log();
                warn!(camera.id = %id, error = %error, "camera {id}, layer low: {error}; trying again");
                publisher.pause();
                sleep(RETRY).await;
            }
            () = unread(&mut readers) => {
                info!(camera.id = %id, "camera {id}: its layer low is not wanted any more");
                publisher.pause();
            }
        }
    }
}

async fn unread(readers: &mut watch::Receiver<u32>) {
    loop {
        let _ = readers.wait_for(|count| *count == 0).await;
        if timeout(LINGER, readers.wait_for(|count| *count > 0)).await.is_err() {
            return;
        }
    }
}

/// Encodes what comes on `main`; gives why that ended.
async fn make_low(
    main: &Arc<Track>,
    format: &Format,
    publisher: &mut TrackPublisher<'_>,
) -> Result<Infallible, SourceError> {
    let size = format.video.as_ref().map_or((0, 0), |video| (video.width_px, video.height_px));
    let (input, output) = (Loopback::bind().await?, Loopback::bind().await?);
    let mut arguments: Vec<_> = words(INPUT).collect();
    arguments.extend(["-i".to_owned(), input.url()?]);
    arguments.extend(encode_video(&publisher.camera().config.media));
    // The level that was announced, whatever x264 would choose.
    arguments.extend(words("-an -level:v 3.1 -fps_mode passthrough -vf"));
    arguments.push(format!("scale={}:{}", size.0, size.1));
    arguments.extend(output_arguments(&output.url()?));
    let mut ffmpeg = Ffmpeg::spawn(&publisher.camera().config.id, &arguments, "")?;
    tokio::select! {
        error = ffmpeg.ended() => Err(error),
        error = feed_pictures(main, input) => error,
        error = receive_video(output, publisher) => error,
    }
}

async fn feed_pictures(main: &Arc<Track>, input: Loopback) -> Result<Infallible, SourceError> {
    // ffmpeg asks for nothing before it has begun, and needs a key frame first.
    let playing = timeout(START_TIMEOUT, input.play(&TrackSdp::h265())).await;
    let mut playing = playing.map_err(|_| SourceError::Timeout)??;
    let wake = Arc::new(Notify::new());
    let mut cursor = main.subscribe(wake.clone());
    let mut begun = cursor.gop_so_far().into_iter();
    loop {
        let unit = match begun.next() {
            Some(unit) => unit,
            None => match cursor.try_next() {
                Read::Unit(unit) => unit,
                Read::Lagged => continue,
                Read::Empty => {
                    wake.notified().await;
                    continue;
                }
            },
        };
        let last = unit.payloads.len().saturating_sub(1);
        for (at, payload) in unit.payloads.iter().enumerate() {
            playing.send(unit.time as u32, at == last, payload).await?;
        }
    }
}

/// A packet of sound: RTP time, marker, payload.
pub(super) type AudioPacket = (i64, bool, Bytes);

/// Makes Opus of a camera's sound for as long as it runs; failures are tried again.
pub(super) async fn to_opus(
    track: &TrackSdp,
    packets: &mut mpsc::Receiver<AudioPacket>,
    publisher: &mut TrackPublisher<'_>,
) -> Infallible {
    let id = &publisher.camera().config.id;
    loop {
        let Err(error) = to_opus_once(track, packets, publisher).await;
        match error {
            // There will be none.
            SourceError::NoFfmpeg => publisher.clear(),
            _ => publisher.pause(),
        }
        let error = error.for_log();
        warn!(camera.id = %id, error = %error, "camera {id}, sound: {error}; trying again");
        sleep(RETRY).await;
        while packets.try_recv().is_ok() {}
    }
}

async fn to_opus_once(
    track: &TrackSdp,
    packets: &mut mpsc::Receiver<AudioPacket>,
    publisher: &mut TrackPublisher<'_>,
) -> Result<Infallible, SourceError> {
    let (input, output) = (Loopback::bind().await?, Loopback::bind().await?);
    let mut arguments: Vec<_> = words(INPUT).collect();
    arguments.extend(["-i".to_owned(), input.url()?]);
    arguments.extend(words("-vn"));
    arguments.extend(words(ENCODE_AUDIO));
    arguments.extend(output_arguments(&output.url()?));
    let mut ffmpeg = Ffmpeg::spawn(&publisher.camera().config.id, &arguments, "")?;
    let feed = async {
        let playing = timeout(START_TIMEOUT, input.play(track)).await;
        let mut playing = playing.map_err(|_| SourceError::Timeout)??;
        while let Some((timestamp, marker, payload)) = packets.recv().await {
            playing.send(timestamp as u32, marker, &payload).await?;
        }
        Err::<Infallible, _>(SourceError::Ended)
    };
    tokio::select! {
        error = ffmpeg.ended() => Err(error),
        error = feed => error,
        error = receive_audio(output, publisher) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_low_layer_is_h264_and_fits_into_720p() {
        let check = |width_px, height_px, expected: (u32, u32)| {
            let codec = "hvc1.1.6.L93.90".to_owned();
            let video = Some(VideoParameters { codec, width_px, height_px });
            let rid = "main".to_owned();
            let main = Format { codec: Codec::H265, rid, video, h264_profile: None };
            let rtsp = "rtsp://camera/".parse().unwrap();
            let low = low_format(&rtsp, &main).unwrap().video.unwrap();
            assert_eq!((low.width_px, low.height_px), expected);
            assert_eq!(low_format(&SourceUrl::Whip, &main), low_format(&rtsp, &main));
            let simulcast = Format { rid: "h".to_owned(), ..main.clone() };
            assert_eq!(low_format(&SourceUrl::Whip, &simulcast), None);
            assert_eq!(low_format(&rtsp, &Format { codec: Codec::H264, ..main }), None);
        };
        check(3840, 2160, (1280, 720));
        check(2592, 1944, (960, 720));
        check(1080, 1920, (404, 720));
        check(641, 361, (640, 360));
    }

    #[test]
    fn who_is_woken_by_an_h265_camera_finds_its_low_layer_too() {
        let id: domain::CameraId = "door".parse().unwrap();
        let feed = crate::hub::Hub::default().add(&id);
        let source = "rtsp://camera/".parse().unwrap();
        let config = crate::camera::CameraConfig::new(id, "Door".to_owned(), source);
        let camera = Camera::new(config, feed.clone());
        let codec = "hvc1.1.6.L93.90".to_owned();
        let video = Some(VideoParameters { codec, width_px: 1920, height_px: 1080 });
        let rid = "main".to_owned();
        let format = Format { codec: Codec::H265, rid, video, h264_profile: None };
        TrackPublisher::new(&camera, TrackIndex::Layer(0), "main").set_format(format);
        assert_eq!(feed.watch_news().borrow().formats, 1, "one step");
        assert_eq!(feed.layers()[LOW.0].format().unwrap().codec, Codec::H264);
    }
}
