//! From packets of a peer connection to pictures and sound: order, time, and when to ask for a key frame.
//!
//! Must not: send anything, or read a clock.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::sansio::{
    assemble::{Assembled, RtpPacket},
    depacketize::Depacketizer,
    format::Codec,
    reorder::Reorder,
};

/// A missing packet is waited for this long: enough for one request and its answer.
const HOLD: Duration = Duration::from_millis(100);
/// The first key frame is waited for this long; most origins send it unasked. A burst that comes together
/// with the end of the DTLS handshake is lost in the `webrtc` crate (0.21.1), so often it has to be asked for.
const FIRST_KEY_WAIT: Duration = Duration::from_millis(100);
/// Requests for key frames are at least this far apart.
const KEY_REQUEST_INTERVAL: Duration = Duration::from_millis(500);

/// A packet of a track, in the order of arrival.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) codec: Codec,
    pub(super) marker: bool,
    pub(super) sequence_number: u16,
    pub(super) timestamp: u32,
    pub(super) payload: Bytes,
}

/// Takes packets in the order of arrival; gives pictures and sound.
#[derive(Default)]
pub(super) struct Intake {
    video: Ordered,
    pictures: VecDeque<Assembled>,
    /// Of the codec that comes.
    depacketizer: Option<Depacketizer>,
    /// When a key frame may be asked for.
    key_request_at: Option<Instant>,
    is_key_wanted: bool,
    audio: Ordered,
}

impl Intake {
    /// Takes a packet; gives whether it was one of video.
    pub(super) fn push(&mut self, packet: Received, now: Instant) -> bool {
        let ordered = if packet.codec.is_audio() { &mut self.audio } else { &mut self.video };
        let is_video = !packet.codec.is_audio();
        if is_video {
            self.key_request_at.get_or_insert(now + FIRST_KEY_WAIT);
        }
        ordered.reorder.insert(now, packet.sequence_number, packet);
        is_video
    }

    /// Whether video has come.
    pub(super) fn has_begun(&self) -> bool {
        self.key_request_at.is_some()
    }

    /// The next picture that is complete, and what knows its format.
    pub(super) fn next_picture(&mut self, now: Instant) -> Option<(Assembled, &Depacketizer)> {
        while self.pictures.is_empty() {
            let (lost_before, timestamp, packet) = self.video.pop(now)?;
            let depacketizer = self
                .depacketizer
                .take_if(|depacketizer| depacketizer.codec() == packet.codec)
                .unwrap_or_else(|| Depacketizer::new(packet.codec));
            let packet = RtpPacket {
                timestamp_90k: timestamp,
                marker: packet.marker,
                payload: packet.payload,
                lost_before,
            };
            let units = self.depacketizer.insert(depacketizer).push(packet);
            self.pictures.extend(units.into_iter().flatten());
        }
        Some((self.pictures.pop_front()?, self.depacketizer.as_ref()?))
    }

    /// The next packet of sound and its time, in the codec's clock.
    pub(super) fn next_sound(&mut self, now: Instant) -> Option<(Codec, i64, Bytes)> {
        let (_, timestamp, packet) = self.audio.pop(now)?;
        Some((packet.codec, timestamp, packet.payload))
    }

    /// A viewer cannot go on without a key frame.
    pub(super) fn want_key(&mut self) {
        self.is_key_wanted = true;
    }

    fn needs_key(&self) -> bool {
        self.is_key_wanted || self.depacketizer.as_ref().is_none_or(Depacketizer::needs_key)
    }

    /// Whether to ask for a key frame now: at the beginning, after a loss, or when a viewer needs one.
    pub(super) fn take_key_request(&mut self, now: Instant) -> bool {
        let is_due = self.needs_key() && self.key_request_at.is_some_and(|at| at <= now);
        if is_due {
            self.is_key_wanted = false;
            self.key_request_at = Some(now + KEY_REQUEST_INTERVAL);
        }
        is_due
    }

    /// When to look again though nothing has come.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let key_request = self.key_request_at.filter(|_| self.needs_key());
        let held_back = [&self.video, &self.audio].map(|stream| stream.reorder.next_give_up());
        held_back.into_iter().chain([key_request]).flatten().min()
    }
}

/// One stream of packets, put in order and on an unwrapped clock.
struct Ordered {
    reorder: Reorder<Received>,
    last_timestamp: Option<i64>,
}

impl Default for Ordered {
    fn default() -> Self {
        Self { reorder: Reorder::new(HOLD), last_timestamp: None }
    }
}

impl Ordered {
    /// The next packet, how many are lost before it, and its time.
    fn pop(&mut self, now: Instant) -> Option<(u16, i64, Received)> {
        let (lost_before, packet) = self.reorder.pop(now)?;
        let last = self.last_timestamp.unwrap_or(i64::from(packet.timestamp));
        let step = packet.timestamp.wrapping_sub(last as u32).cast_signed();
        let timestamp = last + i64::from(step);
        self.last_timestamp = Some(timestamp);
        Some((lost_before, timestamp, packet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sansio::descriptor::tests::{VP8_DELTA, VP8_KEY};

    const SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x0d];
    const PPS: &[u8] = &[0x68, 3];
    const IDR: &[u8] = &[0x65, 4];
    const SLICE: &[u8] = &[0x41, 5];

    struct Origin {
        intake: Intake,
        now: Instant,
        next: u16,
    }

    impl Origin {
        fn new() -> Self {
            Self { intake: Intake::default(), now: Instant::now(), next: 65_534 }
        }

        /// Sends one picture, or loses its packets; gives the timestamps of the pictures that come out.
        fn send(&mut self, timestamp: u32, payloads: &[&'static [u8]], is_lost: bool) -> Vec<i64> {
            for (index, payload) in payloads.iter().enumerate() {
                let packet = Received {
                    codec: Codec::H264,
                    marker: index + 1 == payloads.len(),
                    sequence_number: self.next,
                    timestamp,
                    payload: Bytes::from_static(payload),
                };
                self.next = self.next.wrapping_add(1);
                if !is_lost {
                    assert!(self.intake.push(packet, self.now));
                }
            }
            self.drain()
        }

        fn drain(&mut self) -> Vec<i64> {
            let next = || self.intake.next_picture(self.now).map(|(unit, _)| unit.timestamp_90k);
            std::iter::from_fn(next).collect()
        }

        fn wait(&mut self, ms: u64) -> bool {
            self.now += Duration::from_millis(ms);
            self.intake.take_key_request(self.now)
        }
    }

    #[test]
    fn pictures_go_on_across_the_wrap_of_numbers_and_timestamps() {
        let mut origin = Origin::new();
        let first = u32::MAX - 2999;
        assert_eq!(origin.send(first, &[SPS, PPS, IDR], false), [i64::from(first)]);
        assert_eq!(origin.send(0, &[SLICE], false), [i64::from(first) + 3000]);
        assert!(!origin.wait(1000), "no key frame is needed");
        assert_eq!(origin.intake.next_timeout(), None);
    }

    #[test]
    fn an_origin_that_begins_without_a_key_frame_is_asked_for_one_until_it_comes() {
        let mut origin = Origin::new();
        assert!(!origin.wait(1000), "nothing has come, there is nobody to ask");
        assert!(origin.send(0, &[SLICE], false).is_empty());
        assert!(!origin.wait(99));
        assert!(origin.wait(1) && !origin.wait(499) && origin.wait(1));
        assert_eq!(origin.send(3000, &[SPS, PPS, IDR], false), [3000]);
        assert!(!origin.wait(1000));
    }

    #[test]
    fn a_loss_withholds_pictures_and_asks_for_a_key_frame_once_in_half_a_second() {
        let mut origin = Origin::new();
        origin.send(0, &[SPS, PPS, IDR], false);
        origin.send(3000, &[SLICE], true);
        assert!(origin.send(6000, &[SLICE], false).is_empty(), "the lost one may still come");
        assert!(!origin.wait(99));
        origin.wait(1);
        assert!(origin.drain().is_empty());
        assert!(origin.wait(0), "given up: it is lost");
        origin.intake.want_key();
        assert!(!origin.wait(499) && origin.wait(1), "two reasons are one request");
        assert_eq!(origin.send(9000, &[SPS, PPS, IDR], false), [9000]);
        assert!(!origin.wait(1000));
    }

    #[test]
    fn an_origin_that_changes_its_codec_is_followed_from_the_next_key_frame() {
        let mut origin = Origin::new();
        origin.send(0, &[SPS, PPS, IDR], false);
        for (timestamp, payload) in [(3000, VP8_DELTA), (6000, VP8_KEY), (9000, VP8_DELTA)] {
            let packet = Received {
                codec: Codec::Vp8,
                marker: true,
                sequence_number: origin.next,
                timestamp,
                payload: payload.to_vec().into(),
            };
            origin.next = origin.next.wrapping_add(1);
            origin.intake.push(packet, origin.now);
        }
        let (unit, depacketizer) = origin.intake.next_picture(origin.now).unwrap();
        assert!(unit.is_key && unit.timestamp_90k == 6000);
        assert_eq!(depacketizer.format("main").codec, Codec::Vp8);
        assert_eq!(origin.drain(), [9000]);
    }

    #[test]
    fn sound_comes_in_order_and_does_not_count_as_a_picture() {
        let (mut intake, now) = (Intake::default(), Instant::now());
        for number in [1u16, 3, 2] {
            let packet = Received {
                codec: Codec::Opus,
                marker: false,
                sequence_number: number,
                timestamp: 960 * u32::from(number),
                payload: Bytes::from_static(b"o"),
            };
            assert!(!intake.push(packet, now));
        }
        let times = std::iter::from_fn(|| intake.next_sound(now)).map(|(_, time, _)| time);
        assert_eq!(times.collect::<Vec<_>>(), [960, 1920, 2880]);
        assert!(!intake.has_begun());
    }
}
