//! Anything that ffmpeg reads, as a camera: devices, files in a loop, HTTP, SRT. Must not: parse media.
//!
//! What browsers can play is copied; the rest is encoded here, for as long as the source runs.

use std::{convert::Infallible, process::Stdio, time::Duration};

use tokio::{
    io::AsyncReadExt as _,
    time::{Instant, timeout, timeout_at},
};
use tracing::warn;

use super::{
    Publishers, SILENCE_TIMEOUT, SourceError,
    child::{Ffmpeg, guarded},
    loopback::{Loopback, Recording},
    publisher::TrackPublisher,
};
use crate::{
    camera::FfmpegInput,
    sansio::{
        assemble::{Assembler, RtpPacket},
        format::Codec,
        packetize::MAX_PAYLOAD_BYTES,
        rtp::MIN_HEADER_LEN,
        rtsp::Announced,
    },
};

/// For ffprobe to look at the input.
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);
/// For ffmpeg to start and give its first picture.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// For its last words, once its connection is closed.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs one ffmpeg; gives why it ended.
pub(super) async fn run(
    input: &FfmpegInput,
    publishers: &mut Publishers<'_>,
) -> Result<Infallible, SourceError> {
    let found = if input.is_known() { Found::default() } else { probe(input).await? };
    let video = Loopback::bind().await?;
    let mut arguments = input_arguments(input);
    arguments.extend(words("-map 0:v:0"));
    arguments.extend(words(if found.is_video_for_browsers { "-c:v copy" } else { ENCODE_VIDEO }));
    arguments.extend(output_arguments(&video.url()?));
    let audio = match (&publishers.audio, found.audio) {
        (Some(_), Some(is_for_browsers)) => {
            let audio = Loopback::bind().await?;
            arguments.extend(words("-map 0:a:0"));
            arguments.extend(words(if is_for_browsers { "-c:a copy" } else { ENCODE_AUDIO }));
            arguments.extend(output_arguments(&audio.url()?));
            Some(audio)
        }
        _ => None,
    };
    let camera = publishers.video.camera();
    let mut ffmpeg = Ffmpeg::spawn(&camera.config.id, &arguments, input.expose())?;
    let sound = async {
        if let (Some(audio), Some(publisher)) = (audio, &mut publishers.audio) {
            if found.audio == Some(false) {
                // As with the sound of RTSP cameras: the first viewers come before it.
                publisher.set_audio(Codec::Opus);
            }
            let Err(error) = receive_audio(audio, publisher).await;
            publisher.clear();
            warn!(camera.id = %camera.config.id, error = %error, "camera {} has no sound: {error}", camera.config.id);
        }
        std::future::pending::<Infallible>().await
    };
    let error = tokio::select! {
        error = ffmpeg.ended() => error,
        Err(error) = receive_video(video, &mut publishers.video) => error,
        never = sound => match never {},
    };
    match error {
        // The process knows better why its connection closed.
        SourceError::Ended => Err(timeout(END_TIMEOUT, ffmpeg.ended()).await.unwrap_or(error)),
        error => Err(error),
    }
}

/// Publishes the pictures that an ffmpeg sends.
pub(super) async fn receive_video(
    loopback: Loopback,
    publisher: &mut TrackPublisher<'_>,
) -> Result<Infallible, SourceError> {
    let mut deadline = Instant::now() + START_TIMEOUT;
    let recording = timeout_at(deadline, loopback.record()).await;
    let mut recording = recording.map_err(|_| SourceError::Timeout)??;
    let Announced::Video(parameter_sets) = recording.announced.clone() else {
        return Err(SourceError::Protocol);
    };
    let mut assembler = Assembler::new(parameter_sets);
    loop {
        let packet = timeout_at(deadline, recording.next_packet()).await;
        let packet = packet.map_err(|_| SourceError::Silent)??;
        let now = Instant::now();
        deadline = now + SILENCE_TIMEOUT;
        let packet = RtpPacket {
            timestamp_90k: packet.timestamp,
            marker: packet.marker,
            payload: packet.payload,
            lost_before: 0,
        };
        for unit in assembler.push(packet).into_iter().flatten() {
            publisher.publish_picture(unit, assembler.parameter_sets(), now.into())?;
        }
    }
}

/// Publishes the sound that an ffmpeg sends.
pub(super) async fn receive_audio(
    loopback: Loopback,
    publisher: &mut TrackPublisher<'_>,
) -> Result<Infallible, SourceError> {
    let recording = timeout(START_TIMEOUT, loopback.record()).await;
    let mut recording: Recording = recording.map_err(|_| SourceError::Timeout)??;
    let Announced::Audio(codec) = recording.announced else { return Err(SourceError::Protocol) };
    publisher.set_audio(codec);
    loop {
        let packet = recording.next_packet().await?;
        publisher.publish_sound(packet.timestamp, packet.payload, Instant::now().into());
    }
}

/// H.264 for every browser: 3000 kbit/s, at most 5000, a key frame every 1.5 s.
pub(super) const ENCODE_VIDEO: &str = "-c:v libx264 -preset veryfast -tune zerolatency \
    -profile:v baseline -pix_fmt yuv420p -b:v 3000k -maxrate 5000k -bufsize 2500k -g 600 \
    -sc_threshold 0 -force_key_frames expr:gte(t,n_forced*1.5)";
/// Opus in packets of 20 ms.
pub(super) const ENCODE_AUDIO: &str =
    "-c:a libopus -ar 48000 -ac 2 -b:a 64k -application lowdelay -frame_duration 20";

pub(super) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split_ascii_whitespace().map(str::to_owned)
}

/// How ffmpeg sends to a [`Loopback`], in packets that need not be cut again.
pub(super) fn output_arguments(url: &str) -> Vec<String> {
    let packet_size = MIN_HEADER_LEN + MAX_PAYLOAD_BYTES;
    let mut arguments: Vec<_> = words("-f rtsp -rtsp_transport tcp -pkt_size").collect();
    arguments.extend([packet_size.to_string(), url.to_owned()]);
    arguments
}

fn input_arguments(input: &FfmpegInput) -> Vec<String> {
    let (options, name) = match input {
        FfmpegInput::Lavfi(graph) => ("-re -f lavfi", graph),
        FfmpegInput::Device(path) => ("-f v4l2", path),
        // A file would be read at once.
        FfmpegInput::Other(name) if is_file(name) => ("-re -stream_loop -1", name),
        FfmpegInput::Other(name) => ("-fflags nobuffer", name),
    };
    words(options).chain(["-i".to_owned(), name.clone()]).collect()
}

fn is_file(name: &str) -> bool {
    std::fs::metadata(name.strip_prefix("file:").unwrap_or(name)).is_ok_and(|found| found.is_file())
}

/// What an input holds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// H.264 or H.265 without reordered pictures.
    is_video_for_browsers: bool,
    /// Whether there is sound, and whether a browser can play it as it is.
    audio: Option<bool>,
}

async fn probe(input: &FfmpegInput) -> Result<Found, SourceError> {
    const SHOW: &str = "-v error -of compact=p=0 -show_entries \
        stream=codec_type,codec_name,has_b_frames,pix_fmt,sample_rate,channels";
    let mut command = guarded("ffprobe");
    command.args(words(SHOW)).args(["-i", input.expose()]).kill_on_drop(true);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| SourceError::Io(error.kind()))?;
    // Kept open: the program is killed with it.
    let _lifeline = child.stdin.take();
    let Some(mut stdout) = child.stdout.take() else { return Err(SourceError::Ended) };
    let mut text = String::new();
    let read = async {
        let read = stdout.read_to_string(&mut text).await;
        read.map_err(|error| SourceError::Io(error.kind()))
    };
    timeout(PROBE_TIMEOUT, read).await.map_err(|_| SourceError::Timeout)??;
    // What ffprobe cannot read ffmpeg cannot either, and says why.
    Ok(read_probe(&text))
}

/// Reads lines such as `codec_name=h264|codec_type=video|has_b_frames=0`.
fn read_probe(text: &str) -> Found {
    let value = |line: &str, name: &str| {
        let pairs = line.split('|').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
    };
    let first = |kind: &str| {
        text.lines()
            .find(|line| value(line, "codec_type").as_deref() == Some(kind))
            .map(|line| move |name: &str| value(line, name).unwrap_or_default())
    };
    let is_video_for_browsers = first("video").is_some_and(|value| {
        matches!(value("codec_name").as_str(), "h264" | "hevc")
            && value("has_b_frames") == "0"
            && matches!(value("pix_fmt").as_str(), "yuv420p" | "yuvj420p")
    });
    let audio = first("audio").map(|value| match value("codec_name").as_str() {
        "opus" => true,
        "pcm_mulaw" | "pcm_alaw" => value("sample_rate") == "8000" && value("channels") == "1",
        _ => false,
    });
    Found { is_video_for_browsers, audio }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_browsers_play_is_copied_and_the_rest_encoded() {
        let check = |text: &str, is_video_for_browsers, audio| {
            assert_eq!(read_probe(text), Found { is_video_for_browsers, audio }, "{text}");
        };
        check("codec_name=h264|codec_type=video|pix_fmt=yuv420p|has_b_frames=0\n", true, None);
        check("codec_name=h264|codec_type=video|pix_fmt=yuv420p|has_b_frames=2\n", false, None);
        check(
            "codec_name=aac|codec_type=audio|sample_rate=48000|channels=2\n\
             codec_name=hevc|codec_type=video|pix_fmt=yuv420p|has_b_frames=0\n",
            true,
            Some(false),
        );
        check(
            "codec_name=mjpeg|codec_type=video|pix_fmt=yuvj422p|has_b_frames=0\n\
             codec_name=pcm_alaw|codec_type=audio|sample_rate=8000|channels=1\n",
            false,
            Some(true),
        );
        check("", false, None);
    }

    proptest! {
        #[test]
        fn any_text_of_ffprobe_is_read(text in "(codec_type=video\\|)?\\PC{0,60}") {
            let _ = read_probe(&text);
        }
    }
}
