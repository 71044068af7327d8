//! One layer of video, or the sound, of a publisher: from packets to units, and what is to be asked for.
//!
//! Must not: know the other tracks, encrypt, or send.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::statistics::Statistics;
use crate::sansio::{
    assemble::{Assembled, RtpPacket},
    depacketize::Depacketizer,
    format::{Codec, Format},
    reorder::{Inserted, Reorder},
    rtp,
};

/// Key frames are asked for no more often than this.
const PLI_INTERVAL: Duration = Duration::from_millis(500);
/// A stream may be replaced by another SSRC after this much silence.
const REPLACE_AFTER: Duration = Duration::from_secs(1);
/// A track that gave nothing out for this long begins anew: less than the camera waits before it takes
/// the track off, so that a format is never missing there.
const START_OVER_AFTER: Duration = Duration::from_secs(2);

/// How a track is received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How long packets wait for one that is missing before them.
    pub(super) hold: Duration,
    /// Most time between key frames, as far as the publisher does as it is asked.
    pub(super) key_frame_interval: Duration,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Track {
    codec: Codec,
    rid: String,
    pace: Pace,
    stream: Option<Stream>,
    /// SSRC of its retransmissions, once known; other streams' are not looked at.
    pub(super) rtx_ssrc: Option<u32>,
    depacketizer: Depacketizer,
    dropped_units: u64,
    told_format: Option<Format>,
    /// Nothing is given out before the next key frame.
    needs_key: bool,
    wants_key: bool,
    last_pli: Option<Instant>,
    last_key_at: Option<Instant>,
    last_given_at: Option<Instant>,
    /// Of the largest picture so far, in pixels.
    pub(super) largest_area_px: u64,
}

/// One SSRC.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) ssrc: u32,
    pub(super) statistics: Statistics,
    pub(super) reorder: Reorder<Received>,
    last_packet_at: Instant,
    last_timestamp: Option<(u32, i64)>,
    /// Lost before packets that carried nothing.
    lost: u16,
}

/// What is kept of a packet.
#[derive(Debug)]
pub(super) struct Received {
    timestamp: u32,
    marker: bool,
    payload: Bytes,
}

/// What a track gives out.
#[derive(Debug)]
pub(super) enum Output {
    Format(Format),
    Unit(Assembled),
}

impl Stream {
    fn new(ssrc: u32, clock_rate_hz: u32, hold: Duration, first: u16, now: Instant) -> Self {
        Self {
            ssrc,
            statistics: Statistics::new(clock_rate_hz, first, now),
            reorder: Reorder::new(hold),
            last_packet_at: now,
            last_timestamp: None,
            lost: 0,
        }
    }

    fn unwrap(&mut self, timestamp: u32) -> i64 {
        let unwrapped = match self.last_timestamp {
            Some((last, unwrapped)) => {
                unwrapped.wrapping_add((timestamp.wrapping_sub(last) as i32).into())
            }
            None => timestamp.into(),
        };
        self.last_timestamp = Some((timestamp, unwrapped));
        unwrapped
    }
}

impl Track {
    pub(super) fn new(codec: Codec, rid: String, pace: Pace) -> Self {
        Self {
            codec,
            rid,
            pace,
            stream: None,
            rtx_ssrc: None,
            depacketizer: Depacketizer::new(codec),
            dropped_units: 0,
            told_format: None,
            needs_key: true,
            wants_key: false,
            last_pli: None,
            last_key_at: None,
            last_given_at: None,
            largest_area_px: 0,
        }
    }

    /// The stream it receives now.
    pub(super) fn stream(&self) -> Option<&Stream> {
        self.stream.as_ref()
    }

    pub(super) fn stream_mut(&mut self) -> Option<&mut Stream> {
        self.stream.as_mut()
    }

    pub(super) fn ssrc(&self) -> Option<u32> {
        self.stream.as_ref().map(|stream| stream.ssrc)
    }

    /// The publisher said goodbye for the stream.
    pub(super) fn end_stream(&mut self) {
        self.stream = None;
        self.rtx_ssrc = None;
        self.start_over();
    }

    /// Takes a packet of the stream itself.
    pub(super) fn on_packet(&mut self, now: Instant, header: &rtp::Header, payload: &[u8]) {
        let rtp::Header { ssrc, sequence_number, .. } = *header;
        let is_other = self.ssrc() != Some(ssrc);
        if let Some(stream) = self.stream.as_ref().filter(|_| is_other)
            && now < stream.last_packet_at + REPLACE_AFTER
        {
            return;
        }
        if is_other {
            let rate = self.codec.clock_rate_hz();
            let mut stream = Stream::new(ssrc, rate, self.pace.hold, sequence_number, now);
            // What the former stream left unfinished stays so.
            stream.lost = self.stream.is_some().into();
            self.stream = Some(stream);
        }
        let Some(stream) = &mut self.stream else { return };
        stream.last_packet_at = now;
        stream.statistics.received(now, sequence_number, header.timestamp);
        let inserted = stream.reorder.insert(now, sequence_number, Received::of(header, payload));
        if inserted == Inserted::Restart {
            let rate = self.codec.clock_rate_hz();
            stream.statistics = Statistics::new(rate, sequence_number, now);
            stream.statistics.received(now, sequence_number, header.timestamp);
        }
    }

    /// Takes a retransmission, whose payload begins with the sequence number it had (RFC 4588 §4).
    pub(super) fn on_retransmission(&mut self, now: Instant, header: &rtp::Header, payload: &[u8]) {
        let Some(stream) = &mut self.stream else { return };
        // Without a payload it is padding, by which a publisher probes for bandwidth.
        let Some((original, payload)) = payload.split_first_chunk().filter(|(_, p)| !p.is_empty())
        else {
            return;
        };
        let sequence_number = u16::from_be_bytes(*original);
        if stream.reorder.is_wanted(sequence_number) {
            stream.reorder.insert(now, sequence_number, Received::of(header, payload));
        }
    }

    /// What can be given out now.
    pub(super) fn drain(&mut self, now: Instant, mut give: impl FnMut(Output)) {
        while let Some(stream) = &mut self.stream {
            let Some((lost, received)) = stream.reorder.pop(now) else { return };
            stream.lost = stream.lost.saturating_add(lost);
            // Some publishers pad with empty packets.
            if received.payload.is_empty() {
                continue;
            }
            let lost_before = std::mem::take(&mut stream.lost);
            let packet = RtpPacket {
                timestamp_90k: stream.unwrap(received.timestamp),
                marker: received.marker,
                payload: received.payload,
                lost_before,
            };
            let is_video = !self.codec.is_audio();
            let [before, current] = self.depacketizer.push(packet);
            if let Some(unit) = before {
                self.give(now, unit, &mut give);
            }
            let dropped = self.depacketizer.dropped_units();
            let has_dropped = std::mem::replace(&mut self.dropped_units, dropped) != dropped;
            self.wants_key |= is_video && (lost_before > 0 || has_dropped);
            if let Some(unit) = current {
                self.give(now, unit, &mut give);
            }
        }
    }

    fn give(&mut self, now: Instant, unit: Assembled, give: &mut impl FnMut(Output)) {
        if self.last_given_at.is_some_and(|last| now >= last + START_OVER_AFTER) {
            self.last_given_at = None;
            self.start_over();
        }
        if unit.is_key {
            self.needs_key = false;
            self.wants_key = false;
            self.last_key_at = Some(now);
            let format = self.depacketizer.format(&self.rid);
            if let Some(video) = &format.video {
                let area_px = u64::from(video.width_px) * u64::from(video.height_px);
                self.largest_area_px = self.largest_area_px.max(area_px);
            }
            if self.told_format.as_ref() != Some(&format) {
                self.told_format = Some(format.clone());
                give(Output::Format(format));
            }
        }
        if self.needs_key {
            self.wants_key = true;
        } else {
            self.last_given_at = Some(now);
            give(Output::Unit(unit));
        }
    }

    /// Outside nothing is known of it any more: its format is told anew, at a key frame.
    pub(super) fn start_over(&mut self) {
        self.told_format = None;
        self.needs_key = true;
        self.wants_key = !self.codec.is_audio();
    }

    pub(super) fn request_key_frame(&mut self) {
        self.wants_key = true;
    }

    /// When to ask for a key frame.
    pub(super) fn next_pli(&self) -> Option<Instant> {
        let stream = self.stream.as_ref()?;
        if self.wants_key {
            return Some(self.last_pli.map_or(stream.last_packet_at, |last| last + PLI_INTERVAL));
        }
        // One that has its own mind about key frames is asked no more often than one that has not.
        let last = self.last_key_at.max(self.last_pli)?;
        (!self.codec.is_audio()).then(|| last + self.pace.key_frame_interval)
    }

    /// The SSRC to ask for a key frame of, if it is time to.
    pub(super) fn take_pli(&mut self, now: Instant) -> Option<u32> {
        self.next_pli().filter(|at| *at <= now)?;
        self.last_pli = Some(now);
        self.ssrc()
    }
}

impl Received {
    fn of(header: &rtp::Header, payload: &[u8]) -> Self {
        let rtp::Header { timestamp, marker, .. } = *header;
        Self { timestamp, marker, payload: Bytes::copy_from_slice(payload) }
    }
}
