//! Cameras of other servers by WHEP, as raw RTP: another Damwall, MediaMTX, go2rtc.
//!
//! Must not: depacketize into frames (the hub wants packets), or hold a session without saying goodbye.
//!
//! Source: draft-ietf-wish-whep; the `webrtc` crate handles ICE, DTLS, SRTP, NACK and receiver reports.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use futures::stream::{SelectAll, StreamExt as _};
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use tokio::{
    runtime::Handle,
    time::{sleep_until, timeout},
};
use tokio_util::task::TaskTracker;
use url::Url;

use self::{
    intake::Intake,
    peer::{Peer, PeerEvent},
    signalling::Signalling,
};
use super::{Publishers, SourceError, watchdog::Watchdog};
use crate::{
    camera::WhepUrl,
    sansio::{format::Codec, whep_answer::refuses_video},
};

mod intake;
mod peer;
mod signalling;

/// From the answer to the first packet.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For ending a session at the origin.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(3);
/// For the end of the last session, before a new one is asked for.
const RETRY_GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// The WHEP sessions of one camera, until their origin knows that they are over.
#[derive(Default)]
pub(super) struct WhepSessions(TaskTracker);

impl WhepSessions {
    /// Waits until the sessions that were dropped are deleted, within bounds.
    pub(super) async fn wait_for_goodbyes(&self, patience: Duration) {
        self.0.close();
        // An origin that does not answer times the session out by itself.
        let _ = timeout(patience, self.0.wait()).await;
    }
}

/// One session; says goodbye when it is dropped, as it is when its camera's task is cancelled.
struct Session<'a> {
    peer: Peer,
    signalling: Signalling,
    resource: Option<Url>,
    goodbyes: &'a TaskTracker,
    runtime: Handle,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        let (peer, signalling) = (self.peer.clone(), self.signalling.clone());
        let resource = self.resource.take();
        let goodbye = async move {
            // First the session, then the connection: an origin that sees the connection end has no
            // session any more to be deleted.
            if let Some(resource) = resource {
                let _ = timeout(GOODBYE_TIMEOUT, signalling.delete(&resource)).await;
            }
            peer.close().await;
        };
        self.goodbyes.spawn_on(goodbye, &self.runtime);
    }
}

/// Runs one session; gives why it ended.
pub(super) async fn run(
    url: &WhepUrl,
    publishers: &mut Publishers<'_>,
    sessions: &WhepSessions,
) -> Result<Infallible, SourceError> {
    // Origins that count viewers may refuse a new session while they keep the old.
    sessions.wait_for_goodbyes(RETRY_GOODBYE_TIMEOUT).await;
    let signalling = Signalling::new(url).await?;
    let (peer, mut events) = Peer::new(&url.url).await.map_err(no_peer)?;
    let mut session = Session {
        peer,
        signalling,
        resource: None,
        goodbyes: &sessions.0,
        runtime: Handle::current(),
    };
    let kinds: &[_] = match publishers.audio {
        Some(_) => &[RtpCodecKind::Video, RtpCodecKind::Audio],
        None => &[RtpCodecKind::Video],
    };
    let offer = session.peer.offer(kinds, &mut events).await.map_err(no_peer)?;
    let answer = session.signalling.offer(offer).await?;
    session.resource = answer.resource;
    if refuses_video(&answer.sdp) {
        return Err(SourceError::OfferRefused);
    }
    session.peer.accept(&answer.sdp).await.map_err(no_peer)?;

    let mut tracks = SelectAll::new();
    let mut video = None;
    let mut intake = Intake::default();
    // Sound alone does not keep a camera alive: people look at it.
    let mut watchdog = Watchdog::new(Instant::now(), CONNECT_TIMEOUT);
    loop {
        let wake_at = intake.next_timeout().into_iter().fold(watchdog.deadline(), Instant::min);
        tokio::select! {
            event = events.recv() => match event {
                Some(PeerEvent::Track(track)) => {
                    tracks.push(peer::packets(track.clone()).map(move |packet| (track.clone(), packet)));
                }
                Some(PeerEvent::Gathered) => {}
                Some(PeerEvent::Closed) | None => return Err(ended(&intake, SourceError::Ended)),
            },
            Some((track, (ssrc, packet))) = tracks.next(), if !tracks.is_empty() => {
                let now = Instant::now();
                if intake.push(packet, now) {
                    video = Some((track, ssrc));
                    watchdog.on_packet(now);
                }
            }
            () = publishers.video.key_frame_requested() => intake.want_key(),
            () = sleep_until(wake_at.into()) => {}
        }
        let now = Instant::now();
        while let Some((unit, depacketizer)) = intake.next_picture(now) {
            if unit.is_key {
                let format = depacketizer.format(publishers.video.rid());
                // The others may show their size later, and play without.
                if format.video.is_none() && matches!(format.codec, Codec::H264 | Codec::H265) {
                    return Err(SourceError::BadParameterSets);
                }
                publishers.video.set_format(format);
            }
            publishers.video.publish(unit, now);
            watchdog.on_picture(now);
        }
        while let Some((codec, timestamp, payload)) = intake.next_sound(now) {
            if let Some(publisher) = &mut publishers.audio {
                publisher.set_audio(codec);
                publisher.publish_sound(timestamp, payload, now);
            }
        }
        if let Some((track, ssrc)) = &video
            && intake.take_key_request(now)
        {
            peer::request_key_frame(&**track, *ssrc).await;
        }
        let lost = watchdog.check(now, || SourceError::NoKeyFrame);
        lost.map_err(|reason| ended(&intake, reason))?;
    }
}

/// Why a session ended; before the first packet there is one reason only.
fn ended(intake: &Intake, reason: SourceError) -> SourceError {
    if intake.has_begun() { reason } else { SourceError::NoPackets }
}

/// The crate's own text may name addresses; it goes no further than the debug log.
fn no_peer(error: webrtc::error::Error) -> SourceError {
    tracing::debug!(%error, "WebRTC refused by the crate");
    SourceError::Origin
}
