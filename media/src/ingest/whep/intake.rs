//! From packets of a peer connection to pictures: order, time, and when to ask for a key frame.
//!
//! Must not: send anything, or read a clock.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use webrtc::media_stream::track_remote::TrackRemote;

use super::{
    peer::{Received, codec},
    reorder::Reorder,
};
use crate::sansio::{
    assemble::{Assembled, Assembler, RtpPacket},
    format::Codec,
    h264::ParameterSets,
};

/// Requests for key frames are at least this far apart; also how long the first one is waited for, which
/// most origins send unasked.
const KEY_REQUEST_INTERVAL: Duration = Duration::from_millis(500);

/// Takes packets in the order of arrival; gives pictures.
pub(super) struct Intake {
    video: Ordered,
    assembler: Assembler,
    pictures: VecDeque<Assembled>,
    source: Option<Source>,
}

/// Where the video comes from.
struct Source {
    track: Arc<dyn TrackRemote>,
    ssrc: u32,
    key_asked_at: Instant,
    is_key_wanted: bool,
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            video: Ordered::default(),
            assembler: Assembler::new(ParameterSets::default()),
            pictures: VecDeque::new(),
            source: None,
        }
    }
}

impl Intake {
    /// Takes a packet; whether it was one of video.
    pub(super) fn push(&mut self, packet: Received, now: Instant) -> bool {
        if codec(packet.payload_type) != Some(Codec::H264) {
            return false;
        }
        match &mut self.source {
            Some(source) => source.ssrc = packet.ssrc,
            None => {
                self.source = Some(Source {
                    track: packet.track.clone(),
                    ssrc: packet.ssrc,
                    key_asked_at: now,
                    is_key_wanted: false,
                });
            }
        }
        self.video.reorder.push(packet.sequence_number, packet, now);
        true
    }

    /// Whether video has come.
    pub(super) fn has_begun(&self) -> bool {
        self.source.is_some()
    }

    /// The next picture that is complete.
    pub(super) fn next_picture(&mut self, now: Instant) -> Option<Assembled> {
        while self.pictures.is_empty() {
            let packet = self.video.pop(now)?;
            self.pictures.extend(self.assembler.push(packet).into_iter().flatten());
        }
        self.pictures.pop_front()
    }

    /// Those in force for the last picture.
    pub(super) fn parameter_sets(&self) -> &ParameterSets {
        self.assembler.parameter_sets()
    }

    /// Where to ask for a key frame, if that is due: after a loss, or when a viewer needs one.
    pub(super) fn key_frame_request(
        &mut self,
        is_asked_for: bool,
        now: Instant,
    ) -> Option<(Arc<dyn TrackRemote>, u32)> {
        let source = self.source.as_mut()?;
        source.is_key_wanted |= is_asked_for;
        let is_wanted = source.is_key_wanted || self.assembler.needs_key();
        if !is_wanted || now < source.key_asked_at + KEY_REQUEST_INTERVAL {
            return None;
        }
        source.is_key_wanted = false;
        source.key_asked_at = now;
        Some((source.track.clone(), source.ssrc))
    }

    /// When to look again though nothing has come.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let key_request = self
            .source
            .as_ref()
            .filter(|source| source.is_key_wanted || self.assembler.needs_key())
            .map(|source| source.key_asked_at + KEY_REQUEST_INTERVAL);
        [self.video.reorder.next_timeout(), key_request].into_iter().flatten().min()
    }
}

/// One stream of packets, put in order and on an unwrapped clock.
#[derive(Default)]
struct Ordered {
    reorder: Reorder<Received>,
    last_timestamp: Option<i64>,
}

impl Ordered {
    fn pop(&mut self, now: Instant) -> Option<RtpPacket> {
        let (lost_before, packet) = self.reorder.pop(now)?;
        let last = self.last_timestamp.unwrap_or(i64::from(packet.timestamp));
        let step = packet.timestamp.wrapping_sub(last as u32).cast_signed();
        let timestamp = last + i64::from(step);
        self.last_timestamp = Some(timestamp);
        Some(RtpPacket {
            timestamp_90k: timestamp,
            marker: packet.marker,
            payload: packet.payload,
            lost_before,
        })
    }
}
