//! RTSP cameras by `retina`, as raw RTP. Must not: depacketize into frames (the hub wants packets).
//!
//! Source: RFC 2326; retina handles sessions, digest authentication and keep-alive.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use domain::RtspTransport;
use futures::StreamExt as _;
use retina::{
    client::{
        Credentials, Described, InitialSequenceNumberPolicy, InitialTimestampPolicy, PacketItem,
        PlayOptions, Playing, Session, SessionGroup, SessionOptions, SetupOptions, Stream,
        TcpTransportOptions, Transport, UdpTransportOptions,
    },
    codec::ParametersRef,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{timeout, timeout_at},
};

use super::{
    Publishers, SILENCE_TIMEOUT, SourceError,
    publisher::TrackPublisher,
    tls_relay,
    transcode::{self, AudioPacket},
    watchdog::{Watchdog, no_picture},
};
use crate::{
    camera::RtspUrl,
    sansio::{
        assemble::{Assembler, ParameterSets, RtpPacket},
        format::Codec,
        h264, h265,
        track_sdp::TrackSdp,
    },
};

/// For connecting, and again for each request.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);
/// For the end of the last session, before a new one is asked for.
const RETRY_TEARDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Packets of sound on their way to the transcoder.
const MAX_QUEUED_SOUND: usize = 64;

/// A connected camera whose tracks have begun to play.
pub(crate) struct Playback {
    session: Session<Playing>,
    pub(crate) assembler: Assembler,
    video_index: usize,
}

/// What a camera sent.
pub(crate) enum Packet {
    /// Of its picture.
    Video(RtpPacket),
    /// Of its sound.
    Audio(AudioPacket),
}

/// The RTSP sessions of one camera, until the camera knows that they are over.
#[derive(Default)]
pub(crate) struct RtspSessions {
    group: Arc<SessionGroup>,
    /// What carries those over TLS.
    relays: Mutex<JoinSet<()>>,
}

impl RtspSessions {
    /// Waits until the sessions that were dropped are torn down, within bounds.
    pub(crate) async fn wait_for_teardown(&self, patience: Duration) {
        // A camera that does not answer its TEARDOWN times the session out by itself.
        let _ = timeout(patience, self.group.await_teardown()).await;
    }
}

/// Runs one connection; gives why it ended.
pub(super) async fn run(
    url: &RtspUrl,
    publishers: &mut Publishers<'_>,
    sessions: &RtspSessions,
) -> Result<Infallible, SourceError> {
    // Cameras with few session slots refuse a new one while they keep the old.
    sessions.wait_for_teardown(RETRY_TEARDOWN_TIMEOUT).await;
    let described = describe(url, sessions).await?;
    let audio = publishers.audio.as_ref().and_then(|_| audio_stream(&described));
    let transport = publishers.video.camera().config.rtsp_transport;
    let audio_index = audio.as_ref().map(|(index, _)| *index);
    let mut playback = play(described, transport, audio_index).await?;
    let video = &mut publishers.video;
    match (&mut publishers.audio, audio) {
        (Some(publisher), Some((_, Audio::AsItIs(codec)))) => {
            publisher.set_audio(codec);
            let sound = |(timestamp, _, payload): AudioPacket| {
                publisher.publish_sound(timestamp, payload, Instant::now());
            };
            forward(&mut playback, video, sound).await
        }
        (Some(publisher), Some((_, Audio::ToOpus(track)))) => {
            // The first viewers come with the first picture, which is before the first sound.
            publisher.set_audio(Codec::Opus);
            let (sender, mut receiver) = mpsc::channel(MAX_QUEUED_SOUND);
            // A transcoder that is not there, or too slow, must not hold up the picture.
            let sound = |packet| drop(sender.try_send(packet));
            tokio::select! {
                ended = forward(&mut playback, video, sound) => ended,
                never = transcode::to_opus(&track, &mut receiver, publisher) => match never {},
            }
        }
        _ => forward(&mut playback, video, |_| {}).await,
    }
}

/// Publishes pictures, and gives packets of sound away, until the camera is lost.
async fn forward(
    playback: &mut Playback,
    video: &mut TrackPublisher<'_>,
    mut on_sound: impl FnMut(AudioPacket),
) -> Result<Infallible, SourceError> {
    // Sound alone does not keep a camera alive: people look at it.
    let mut watchdog = Watchdog::new(Instant::now(), SILENCE_TIMEOUT);
    loop {
        let packet = timeout_at(watchdog.deadline().into(), playback.next_packet()).await;
        let now = Instant::now();
        match packet.ok().transpose()? {
            Some(Packet::Video(packet)) => {
                watchdog.on_packet(now);
                for unit in playback.assembler.push(packet).into_iter().flatten() {
                    video.publish_picture(unit, playback.assembler.parameter_sets(), now)?;
                    watchdog.on_picture(now);
                }
            }
            Some(Packet::Audio(packet)) => {
                on_sound(packet);
                // It may be this task that was late, and pictures wait behind it.
                continue;
            }
            None => {}
        }
        watchdog.check(now, || no_picture(playback.assembler.parameter_sets()))?;
    }
}

/// Asks a camera what it offers.
pub(crate) async fn describe(
    url: &RtspUrl,
    sessions: &RtspSessions,
) -> Result<Session<Described>, SourceError> {
    let credentials =
        url.credentials.clone().map(|(username, password)| Credentials { username, password });
    let options = SessionOptions::default()
        .creds(credentials)
        .user_agent(concat!("Damwall/", env!("CARGO_PKG_VERSION")).to_owned())
        .session_group(sessions.group.clone());
    let plain = match url.tls {
        None => url.url.clone(),
        Some(trust) => {
            let (plain, relay) = tls_relay::open(&url.url, trust).await?;
            let mut relays = sessions.relays.lock().unwrap_or_else(PoisonError::into_inner);
            while relays.try_join_next().is_some() {}
            relays.spawn(relay);
            plain
        }
    };
    request(Session::describe(plain, options)).await
}

/// Index of the first track that is video of a codec we pass on.
fn video_stream(streams: &[Stream]) -> Result<usize, SourceError> {
    let is_usable = |stream: &Stream| {
        let codec = Codec::of_encoding_name(stream.encoding_name());
        stream.media() == "video" && matches!(codec, Some(Codec::H264 | Codec::H265))
    };
    streams.iter().position(is_usable).ok_or_else(|| {
        let name = |stream: &Stream| format!("{} {}", stream.media(), stream.encoding_name());
        let offered: Vec<_> = streams.iter().map(name).collect();
        SourceError::NoVideo(if offered.is_empty() {
            "nothing".to_owned()
        } else {
            offered.join(", ")
        })
    })
}

/// What becomes of a camera's sound.
enum Audio {
    /// Browsers play it.
    AsItIs(Codec),
    /// They do not.
    ToOpus(TrackSdp),
}

/// The first track of sound that browsers can play, else the first that ffmpeg may know.
fn audio_stream(session: &Session<Described>) -> Option<(usize, Audio)> {
    let streams =
        || session.streams().iter().enumerate().filter(|(_, stream)| stream.media() == "audio");
    let as_it_is = streams().find_map(|(index, stream)| {
        let codec = Codec::of_encoding_name(stream.encoding_name())?;
        // 16 kHz G.711 exists, but a browser knows it at 8 kHz only.
        let is_usable = codec.is_audio() && stream.clock_rate_hz() == codec.clock_rate_hz();
        is_usable.then_some((index, Audio::AsItIs(codec)))
    });
    as_it_is.or_else(|| {
        streams().find_map(|(index, stream)| {
            let track = TrackSdp::of_sound(session.sdp(), stream.rtp_payload_type())?;
            Some((index, Audio::ToOpus(track)))
        })
    })
}

/// Parameter sets of a track's SDP, as far as there are any.
fn parameter_sets(stream: &Stream) -> ParameterSets {
    let record = match stream.parameters() {
        Some(ParametersRef::Video(video)) => video.extra_data(),
        _ => &[],
    };
    match Codec::of_encoding_name(stream.encoding_name()) {
        Some(Codec::H265) => h265::ParameterSets::of_hvcc(record).into(),
        _ => h264::ParameterSets::of_avcc(record).into(),
    }
}

/// Starts the video of a described camera, and one track of sound.
pub(crate) async fn play(
    mut session: Session<Described>,
    transport: RtspTransport,
    audio_index: Option<usize>,
) -> Result<Playback, SourceError> {
    let video_index = video_stream(session.streams())?;
    let parameter_sets = parameter_sets(&session.streams()[video_index]);
    let transport = match transport {
        RtspTransport::Tcp => Transport::Tcp(TcpTransportOptions::default()),
        RtspTransport::Udp => Transport::Udp(UdpTransportOptions::default()),
    };
    for index in [Some(video_index), audio_index].into_iter().flatten() {
        let setup = SetupOptions::default().transport(transport.clone());
        request(session.setup(index, setup)).await?;
    }
    // Every track is placed in time by its arrival, so a camera that tells no start times is as good.
    // GStreamer's server announces a sequence number that another client's packet has overtaken by then.
    let options = PlayOptions::default()
        .initial_timestamp(InitialTimestampPolicy::Permissive)
        .initial_seq(InitialSequenceNumberPolicy::Ignore);
    let session = request(session.play(options)).await?;
    Ok(Playback { session, assembler: Assembler::new(parameter_sets), video_index })
}

impl Playback {
    /// The next packet.
    ///
    /// # Errors
    /// When the stream ended or failed.
    pub(crate) async fn next_packet(&mut self) -> Result<Packet, SourceError> {
        loop {
            let packet = match self.session.next().await {
                Some(Ok(PacketItem::Rtp(packet))) => packet,
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Err(classify(&error)),
                None => return Err(SourceError::Ended),
            };
            let timestamp = packet.timestamp().timestamp();
            if packet.stream_id() == self.video_index {
                return Ok(Packet::Video(RtpPacket {
                    timestamp_90k: timestamp,
                    marker: packet.mark(),
                    lost_before: packet.loss(),
                    payload: packet.into_payload_bytes(),
                }));
            }
            let marker = packet.mark();
            return Ok(Packet::Audio((timestamp, marker, packet.into_payload_bytes())));
        }
    }
}

async fn request<T>(
    request: impl Future<Output = Result<T, retina::Error>>,
) -> Result<T, SourceError> {
    match timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|error| classify(&error)),
        Err(_) => Err(SourceError::Timeout),
    }
}

/// A sentence for people. retina's own text names addresses and dumps messages; it goes no further than
/// the debug log.
fn classify(error: &retina::Error) -> SourceError {
    tracing::debug!(error = %error, "RTSP conversation failed");
    match error.status_code() {
        Some(401 | 403) => SourceError::Unauthorized,
        Some(404) => SourceError::NoSuchStream,
        Some(status) if status != 200 => SourceError::Status(status),
        _ => classify_text(&error.to_string()),
    }
}

/// retina keeps the causing `io::Error` to itself, so its words have to do.
fn classify_text(text: &str) -> SourceError {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["Connection refused"]) {
        SourceError::Refused
    } else if says(&[
        "failed to lookup",
        "Name or service not known",
        "unreachable",
        "No route to host",
    ]) {
        SourceError::Unreachable
    } else if says(&["timed out", "Timeout", "Unable to write keepalive", "respond to keepalive"]) {
        SourceError::Timeout
    } else if says(&["EOF", "end of file", "Connection reset", "Broken pipe", "closed"]) {
        SourceError::Ended
    } else {
        SourceError::Protocol
    }
}
