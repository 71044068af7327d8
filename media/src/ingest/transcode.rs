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
    Camera, SourceError,
    child::Ffmpeg,
    ffmpeg::{ENCODE_AUDIO, ENCODE_VIDEO, output_arguments, receive_audio, receive_video, words},
    loopback::{Loopback, PAYLOAD_TYPE},
    publisher::TrackPublisher,
};
use crate::{
    hub::{Read, Track, TrackIndex},
    sansio::format::{Codec, Format},
};

/// Where the transcoded layer is.
const LOW: (usize, &str) = (2, "low");
/// Widest picture it has.
const MAX_WIDTH_PX: u32 = 1280;
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
    loop {
        news.mark_unchanged();
        // A publisher's simulcast may have taken the place.
        let is_free = camera.feed.layers()[layer].format().is_none();
        let wanted = main.format().as_deref().and_then(low_format).filter(|_| is_free);
        let Some(format) = wanted else {
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                _ = news.changed() => continue,
            }
        };
        publisher.set_format(format.clone());
        let gone = async {
            loop {
                // The sender lives as long as the feed.
                let _ = news.changed().await;
                if main.format().as_deref().and_then(low_format).as_ref() != Some(&format) {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = token.cancelled() => {}
            () = gone => {}
            never = make_low_on_demand(main, &format, &mut publisher) => match never {},
        }
        publisher.clear();
        if token.is_cancelled() {
            return;
        }
    }
}

/// What the layer will carry; `None` when there is no need for one.
fn low_format(main: &Format) -> Option<Format> {
    let video = main.video.as_ref().filter(|_| main.codec == Codec::H265)?;
    let width_px = video.width_px.min(MAX_WIDTH_PX) / 2 * 2;
    let height_px =
        u64::from(video.height_px) * u64::from(width_px) / u64::from(video.width_px.max(1)) / 2 * 2;
    let codec = "avc1.42c01f".to_owned();
    let height_px = u32::try_from(height_px).ok()?;
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
    arguments.extend(words(ENCODE_VIDEO));
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
    let sdp = sdp("video", &[format!("rtpmap:{PAYLOAD_TYPE} H265/90000")]);
    // ffmpeg asks for nothing before it has begun, and needs a key frame first.
    let playing = timeout(START_TIMEOUT, input.play(&sdp)).await;
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

/// An RTP track of a camera's sound, as its SDP has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AudioSdp {
    attributes: Vec<String>,
}

impl AudioSdp {
    /// The attributes that describe the payload type of the `index`th track.
    pub(super) fn of_sdp(sdp: &[u8], payload_type: u8) -> Option<Self> {
        let session = sdp_types::Session::parse(sdp).ok()?;
        let payload_type = payload_type.to_string();
        let media = session.medias.iter().find(|media| {
            media.media == "audio" && media.fmt.split(' ').any(|fmt| fmt == payload_type)
        })?;
        let attributes = media.attributes.iter().filter_map(|attribute| {
            let is_of_format = matches!(attribute.attribute.as_str(), "rtpmap" | "fmtp");
            let (of, value) = attribute.value.as_ref()?.split_once(' ')?;
            (is_of_format && of == payload_type)
                .then(|| format!("{}:{PAYLOAD_TYPE} {value}", attribute.attribute))
        });
        let attributes: Vec<_> = attributes.collect();
        // G.722 and its like have no `rtpmap`, and a number that says it all.
        (!attributes.is_empty()).then_some(Self { attributes })
    }
}

/// A packet of sound: RTP time, marker, payload.
pub(super) type AudioPacket = (i64, bool, Bytes);

/// Makes Opus of a camera's sound for as long as it runs; failures are tried again.
pub(super) async fn to_opus(
    sdp: &AudioSdp,
    packets: &mut mpsc::Receiver<AudioPacket>,
    publisher: &mut TrackPublisher<'_>,
) -> Infallible {
    let id = &publisher.camera().config.id;
    loop {
        let Err(error) = to_opus_once(sdp, packets, publisher).await;
        publisher.clear();
        warn!(camera.id = %id, error = %error, "camera {id}, sound: {error}; trying again");
        sleep(RETRY).await;
        while packets.try_recv().is_ok() {}
    }
}

async fn to_opus_once(
    audio: &AudioSdp,
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
        let sdp = sdp("audio", &audio.attributes);
        let playing = timeout(START_TIMEOUT, input.play(&sdp)).await;
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

fn sdp(media: &str, attributes: &[String]) -> String {
    let mut sdp = format!(
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m={media} 0 RTP/AVP {PAYLOAD_TYPE}\r\n"
    );
    for attribute in attributes {
        sdp.push_str(&format!("a={attribute}\r\n"));
    }
    sdp.push_str("a=control:track\r\n");
    sdp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_low_layer_is_h264_and_not_wider_than_720p() {
        let check = |width_px, height_px, expected: (u32, u32)| {
            let codec = "hvc1.1.6.L93.90".to_owned();
            let video = Some(VideoParameters { codec, width_px, height_px });
            let rid = "main".to_owned();
            let main = Format { codec: Codec::H265, rid, video, h264_profile: None };
            let low = low_format(&main).unwrap().video.unwrap();
            assert_eq!((low.width_px, low.height_px), expected);
            assert_eq!(low_format(&Format { codec: Codec::H264, ..main }), None);
        };
        check(3840, 2160, (1280, 720));
        check(2592, 1944, (1280, 960));
        check(641, 361, (640, 360));
    }

    #[test]
    fn the_description_of_sound_is_taken_over_from_the_camera() {
        let camera = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n\
            a=rtpmap:96 H264/90000\r\nm=audio 0 RTP/AVP 97\r\n\
            a=rtpmap:97 mpeg4-generic/44100/1\r\na=control:x\r\n\
            a=fmtp:97 mode=AAC-hbr;config=1208\r\n";
        let audio = AudioSdp::of_sdp(camera.as_bytes(), 97).unwrap();
        let attributes = ["rtpmap:96 mpeg4-generic/44100/1", "fmtp:96 mode=AAC-hbr;config=1208"];
        assert_eq!(audio.attributes, attributes);
        assert_eq!(AudioSdp::of_sdp(camera.as_bytes(), 98), None);
    }
}
