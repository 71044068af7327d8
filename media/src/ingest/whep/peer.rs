//! A receive-only peer connection of the `webrtc` crate. Must not: speak HTTP, or know access units.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::stream::{BoxStream, StreamExt as _, unfold};
use rtc::{
    interceptor::{NackGeneratorBuilder, ReceiverReportBuilder, Slot},
    rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication,
    rtp_transceiver::rtp_sender::{RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind},
};
use tokio::{net::UdpSocket, sync::mpsc, time::timeout};
use url::Url;
use webrtc::{
    media_stream::track_remote::{TrackRemote, TrackRemoteEvent},
    peer_connection::{
        MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler,
        RTCIceGatheringState, RTCPeerConnectionState, RTCSessionDescription, Registry,
        SettingEngineBuilder, SrtpProtectionProfile,
    },
    rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit},
};

use super::intake::Received;
use crate::sansio::format::Codec;

/// Host candidates need no network, so this is only a guard.
const GATHER_TIMEOUT: Duration = Duration::from_secs(2);
/// Events of a connection waiting to be read: some states, two tracks.
const MAX_EVENTS: usize = 32;
/// Lost packets are asked for this often while they are missing.
const NACK_INTERVAL: Duration = Duration::from_millis(20);
/// Most requests for one packet.
const MAX_NACKS: u16 = 5;

/// Video offered: payload type, that of its retransmissions, codec, and `fmtp` beyond what all H.264 has.
/// The H.264 profiles come first: origins that compare profiles find theirs, the others take the first.
const VIDEO: [(u8, u8, Codec, &str); 9] = [
    (96, 97, Codec::H264, "profile-level-id=42e01f"),
    (98, 99, Codec::H264, "profile-level-id=42001f"),
    (100, 101, Codec::H264, "profile-level-id=4d001f"),
    (102, 103, Codec::H264, "profile-level-id=640c1f"),
    (104, 105, Codec::H264, "profile-level-id=64001f"),
    (106, 107, Codec::H265, ""),
    (108, 109, Codec::Vp8, ""),
    (112, 113, Codec::Vp9, "profile-id=0"),
    (114, 115, Codec::Av1, ""),
];
const OPUS: u8 = 111;
const PCMU: u8 = 0;
const PCMA: u8 = 8;

/// What a payload type of our offer carries.
fn codec(payload_type: u8) -> Option<Codec> {
    match payload_type {
        OPUS => Some(Codec::Opus),
        PCMU => Some(Codec::Pcmu),
        PCMA => Some(Codec::Pcma),
        other => VIDEO.iter().find(|video| video.0 == other).map(|video| video.2),
    }
}

/// What a connection has to tell.
pub(super) enum PeerEvent {
    /// A track began.
    Track(Arc<dyn TrackRemote>),
    /// Our candidates are all known.
    Gathered,
    /// The connection failed, or the origin closed it.
    Closed,
}

/// A connection that has to be [closed](Peer::close); clones are the same one.
#[derive(Clone)]
pub(super) struct Peer {
    connection: Arc<dyn PeerConnection>,
}

struct Events(mpsc::Sender<PeerEvent>);

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Events {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.tell(PeerEvent::Gathered);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        if matches!(state, RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed) {
            self.tell(PeerEvent::Closed);
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        self.tell(PeerEvent::Track(track));
    }
}

impl Events {
    fn tell(&self, event: PeerEvent) {
        // The reader is gone, or far behind: silence ends the session then.
        let _ = self.0.try_send(event);
    }
}

impl Peer {
    /// A connection on sockets of its own, on the address that faces `endpoint`.
    ///
    /// # Errors
    /// When no socket can be had.
    pub(super) async fn new(
        endpoint: &Url,
    ) -> Result<(Self, mpsc::Receiver<PeerEvent>), webrtc::error::Error> {
        let (sender, events) = mpsc::channel(MAX_EVENTS);
        let settings = SettingEngineBuilder::new()
            .with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled)
            .with_include_loopback_candidate(true)
            .with_srtp_protection_profiles(vec![
                SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
                SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
            ])
            .build();
        let registry = Registry::new()
            .with(
                Slot::NackGenerator,
                NackGeneratorBuilder::new()
                    .with_interval(NACK_INTERVAL)
                    .with_max_nacks_per_packet(MAX_NACKS)
                    .build(),
            )
            .with(Slot::ReceiverReport, ReceiverReportBuilder::new().build());
        let connection = PeerConnectionBuilder::new()
            .with_media_engine(media_engine()?)
            .with_setting_engine(settings)
            .with_interceptor_registry(registry)
            .with_handler(Arc::new(Events(sender)))
            .with_udp_addrs(local_addresses(endpoint).await)
            .build()
            .await?;
        Ok((Self { connection: Arc::new(connection) }, events))
    }

    /// Our offer, with all candidates: a section of each kind, to receive.
    ///
    /// # Errors
    /// When the connection has ended meanwhile.
    pub(super) async fn offer(
        &self,
        kinds: &[RtpCodecKind],
        events: &mut mpsc::Receiver<PeerEvent>,
    ) -> Result<String, webrtc::error::Error> {
        for kind in kinds {
            let init = RTCRtpTransceiverInit {
                direction: RTCRtpTransceiverDirection::Recvonly,
                streams: Vec::new(),
                send_encodings: Vec::new(),
            };
            self.connection.add_transceiver_from_kind(*kind, Some(init)).await?;
        }
        let offer = self.connection.create_offer(None).await?;
        self.connection.set_local_description(offer).await?;
        let gathered = async {
            while let Some(event) = events.recv().await {
                if matches!(event, PeerEvent::Gathered) {
                    return;
                }
            }
        };
        // With fewer candidates, or none, an origin still learns our address from our checks.
        let _ = timeout(GATHER_TIMEOUT, gathered).await;
        let description = self.connection.local_description().await;
        Ok(description.ok_or(webrtc::error::Error::ErrConnectionClosed)?.sdp)
    }

    /// Takes the origin's answer and connects.
    ///
    /// # Errors
    /// When it is no answer to our offer.
    pub(super) async fn accept(&self, answer: &str) -> Result<(), webrtc::error::Error> {
        let answer = RTCSessionDescription::answer(without_refused_formats(answer))?;
        self.connection.set_remote_description(answer).await
    }

    /// Ends it: the origin is told, sockets and tasks are gone afterwards.
    pub(super) async fn close(&self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "peer connection not closed cleanly");
        }
    }
}

/// Refused sections keep the offer's formats and lose their `rtpmap` lines (RFC 8829 §5.3.1), which the
/// crate takes for an error; it reads over a lone format 0.
fn without_refused_formats(answer: &str) -> String {
    let line = |line: &str| {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some(media), Some("0"), Some(proto)) if media.starts_with("m=") => {
                format!("{media} 0 {proto} 0\r\n")
            }
            _ => format!("{line}\r\n"),
        }
    };
    answer.lines().map(line).collect()
}

/// The packets of a track with their SSRC, until it ends.
pub(super) fn packets(track: Arc<dyn TrackRemote>) -> BoxStream<'static, (u32, Received)> {
    unfold(track, |track| async {
        loop {
            if let TrackRemoteEvent::OnRtpPacket(packet) = track.poll().await?
                && let Some(codec) = codec(packet.header.payload_type)
            {
                let received = Received {
                    codec,
                    marker: packet.header.marker,
                    sequence_number: packet.header.sequence_number,
                    timestamp: packet.header.timestamp,
                    payload: packet.payload,
                };
                return Some(((packet.header.ssrc, received), track));
            }
        }
    })
    .boxed()
}

/// Asks for a key frame.
pub(super) async fn request_key_frame(track: &dyn TrackRemote, ssrc: u32) {
    let request = PictureLossIndication { sender_ssrc: 0, media_ssrc: ssrc };
    // The connection has ended; its events say so.
    let _ = track.write_rtcp(vec![Box::new(request)]).await;
}

/// Where to receive: the address that the route to the origin begins at. An origin on this machine may
/// be a proxy to one elsewhere, so the machine's other addresses are added then.
async fn local_addresses(endpoint: &Url) -> Vec<SocketAddr> {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    match route_to(endpoint).await {
        Some(local) if local.is_loopback() => vec![SocketAddr::new(local, 0), any],
        Some(local) => vec![SocketAddr::new(local, 0)],
        None => vec![any],
    }
}

async fn route_to(endpoint: &Url) -> Option<IpAddr> {
    let host = endpoint.host_str()?.trim_matches(['[', ']']);
    let port = endpoint.port_or_known_default()?;
    for remote in tokio::net::lookup_host((host, port)).await.ok()? {
        let any: IpAddr = if remote.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        };
        // Connecting a datagram socket sends nothing; it only chooses the route.
        let socket = UdpSocket::bind((any, 0)).await.ok()?;
        if socket.connect(remote).await.is_ok() {
            return socket.local_addr().ok().map(|local| local.ip());
        }
    }
    None
}

fn media_engine() -> Result<MediaEngine, webrtc::error::Error> {
    let feedback = |typ: &str, parameter: &str| RTCPFeedback {
        typ: typ.to_owned(),
        parameter: parameter.to_owned(),
    };
    let codec =
        |payload_type, mime_type: &str, clock_rate, channels, fmtp: String, rtcp_feedback| {
            RTCRtpCodecParameters {
                rtp_codec: RTCRtpCodec {
                    mime_type: mime_type.to_owned(),
                    clock_rate,
                    channels,
                    sdp_fmtp_line: fmtp,
                    rtcp_feedback,
                },
                payload_type,
            }
        };
    let mut engine = MediaEngine::default();
    for (payload_type, rtx, kind, fmtp) in VIDEO {
        let fmtp = match kind {
            Codec::H264 => format!("level-asymmetry-allowed=1;packetization-mode=1;{fmtp}"),
            _ => fmtp.to_owned(),
        };
        let mime_type = format!("video/{}", kind.encoding_name());
        let loss = vec![feedback("nack", ""), feedback("nack", "pli"), feedback("ccm", "fir")];
        let video = codec(payload_type, &mime_type, 90_000, 0, fmtp, loss);
        engine.register_codec(video, RtpCodecKind::Video)?;
        let fmtp = format!("apt={payload_type}");
        let rtx = codec(rtx, "video/rtx", 90_000, 0, fmtp, Vec::new());
        engine.register_codec(rtx, RtpCodecKind::Video)?;
    }
    for (payload_type, mime_type, clock_rate, channels, fmtp) in [
        (OPUS, "audio/opus", 48_000, 2, "minptime=10;useinbandfec=1"),
        (PCMU, "audio/PCMU", 8_000, 0, ""),
        (PCMA, "audio/PCMA", 8_000, 0, ""),
    ] {
        let audio = codec(payload_type, mime_type, clock_rate, channels, fmtp.into(), Vec::new());
        engine.register_codec(audio, RtpCodecKind::Audio)?;
    }
    Ok(engine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_formats_of_refused_sections_are_left_out() {
        let answer =
            "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\nm=audio 0 RTP/SAVPF 111 0 8\r\n";
        let kept = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\nm=audio 0 RTP/SAVPF 0\r\n";
        assert_eq!(without_refused_formats(answer), kept);
    }

    #[test]
    fn every_payload_type_of_the_offer_has_its_codec() {
        assert_eq!(codec(96), Some(Codec::H264));
        assert_eq!(codec(106), Some(Codec::H265));
        assert_eq!(codec(108), Some(Codec::Vp8));
        assert_eq!(codec(97), None, "retransmissions come unpacked");
        assert_eq!(codec(111), Some(Codec::Opus));
        assert_eq!(codec(0), Some(Codec::Pcmu));
        assert_eq!(codec(8), Some(Codec::Pcma));
    }
}
