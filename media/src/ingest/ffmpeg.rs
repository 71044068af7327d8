//! Anything that ffmpeg reads, as a camera: devices, files in a loop, HTTP, SRT. Must not: parse media.
//!
//! What browsers can play is copied; the rest is encoded here, for as long as the source runs.

use std::{
    convert::Infallible,
    process::Stdio,
    time::{Duration, Instant},
};

use domain::MediaSettings;
use tokio::{
    io::AsyncReadExt as _,
    time::{timeout, timeout_at},
};
use tracing::warn;

use super::{
    Publishers, SourceError,
    child::{Ffmpeg, guarded},
    loopback::{Loopback, Recording},
    publisher::TrackPublisher,
    watchdog::{Watchdog, no_picture},
};
use crate::{
    camera::FfmpegInput,
    sansio::{
        assemble::{Assembler, RtpPacket},
        ffprobe::{self, Found},
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
    let mut arguments = input_arguments(input, &found);
    arguments.extend(words("-map 0:v:0"));
    arguments.extend(match found.is_video_for_browsers {
        true => words("-c:v copy").collect(),
        false => encode_video(&publishers.video.camera().config.media),
    });
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
    let mut watchdog = Watchdog::new(Instant::now(), START_TIMEOUT);
    let recording = timeout_at(watchdog.deadline().into(), loopback.record()).await;
    let mut recording = recording.map_err(|_| SourceError::Timeout)??;
    let Announced::Video(parameter_sets) = recording.announced.clone() else {
        return Err(SourceError::Protocol);
    };
    let mut assembler = Assembler::new(parameter_sets);
    loop {
        let packet = timeout_at(watchdog.deadline().into(), recording.next_packet()).await;
        let now = Instant::now();
        if let Ok(packet) = packet {
            let packet = packet?;
            watchdog.on_packet(now);
            let packet = RtpPacket {
                timestamp_90k: packet.timestamp,
                marker: packet.marker,
                payload: packet.payload,
                lost_before: 0,
            };
            for unit in assembler.push(packet).into_iter().flatten() {
                publisher.publish_picture(unit, assembler.parameter_sets(), now)?;
                watchdog.on_picture(now);
            }
        }
        watchdog.check(now, || no_picture(assembler.parameter_sets()))?;
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
        publisher.publish_sound(packet.timestamp, packet.payload, Instant::now());
    }
}

/// H.264 for every browser, as the camera's settings say.
pub(super) fn encode_video(media: &MediaSettings) -> Vec<String> {
    let MediaSettings { target_kbps, max_kbps, key_frame_interval_ms, .. } = media;
    let text = format!(
        "-c:v libx264 -preset veryfast -tune zerolatency -profile:v baseline -pix_fmt yuv420p \
         -b:v {target_kbps}k -maxrate {max_kbps}k -bufsize {}k -g 9999 -sc_threshold 0 \
         -force_key_frames expr:gte(t,n_forced*{})",
        max_kbps / 2,
        f64::from(*key_frame_interval_ms) / 1000.0,
    );
    words(&text).collect()
}
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

fn input_arguments(input: &FfmpegInput, found: &Found) -> Vec<String> {
    let (options, name) = match input {
        FfmpegInput::Lavfi(graph) => ("-re -f lavfi", graph),
        FfmpegInput::Device(path) => ("-f v4l2", path),
        // What has an end would be read at once, wherever it is.
        FfmpegInput::Other(name) if found.is_finite || is_file(name) => {
            ("-re -stream_loop -1", name)
        }
        FfmpegInput::Other(name) => ("-fflags nobuffer", name),
    };
    words(options).chain(["-i".to_owned(), name.clone()]).collect()
}

fn is_file(name: &str) -> bool {
    std::fs::metadata(name.strip_prefix("file:").unwrap_or(name)).is_ok_and(|found| found.is_file())
}

async fn probe(input: &FfmpegInput) -> Result<Found, SourceError> {
    let mut command = guarded("ffprobe");
    command.args(words(ffprobe::SHOW)).args(["-i", input.expose()]).kill_on_drop(true);
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
    Ok(Found::of_lines(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_input_is_read_in_its_own_way() {
        let file = std::env::current_exe().unwrap();
        let file = file.to_str().unwrap();
        let input = |source: &str| match format!("ffmpeg:{source}").parse() {
            Ok(crate::camera::SourceUrl::Ffmpeg(input)) => input,
            other => panic!("{other:?}"),
        };
        let read = |source: &str, found: &Found| input_arguments(&input(source), found).join(" ");
        let check = |source: &str, expected: &str| {
            assert_eq!(read(source, &Found::default()), expected);
        };
        check("/dev/video0", "-f v4l2 -i /dev/video0");
        check("lavfi:testsrc2=s=320x180", "-re -f lavfi -i testsrc2=s=320x180");
        check("srt://10.0.0.8:9000", "-fflags nobuffer -i srt://10.0.0.8:9000");
        check(file, &format!("-re -stream_loop -1 -i {file}"));
        check(&format!("file:{file}"), &format!("-re -stream_loop -1 -i file:{file}"));
        let clip = read("http://nas/clip.mp4", &Found { is_finite: true, ..Found::default() });
        assert_eq!(clip, "-re -stream_loop -1 -i http://nas/clip.mp4");
        let is_known = |source: &str| input(source).is_known();
        assert!(
            is_known("/dev/video0") && !is_known("srt://10.0.0.8:9000"),
            "a device is not probed"
        );
    }

    #[test]
    fn what_is_encoded_keeps_to_the_cameras_settings() {
        let text = encode_video(&MediaSettings::default()).join(" ");
        let expected = "-b:v 3000k -maxrate 5000k -bufsize 2500k";
        assert!(text.contains(expected) && text.ends_with("n_forced*1.5)"), "{text}");
        let media = MediaSettings { target_kbps: 800, max_kbps: 1000, ..MediaSettings::default() };
        let text = encode_video(&media).join(" ");
        assert!(text.contains("-b:v 800k -maxrate 1000k -bufsize 500k"), "{text}");
    }
}
