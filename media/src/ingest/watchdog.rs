//! When a source that is connected counts as lost. Must not: wait, or read a clock.

use std::time::{Duration, Instant};

use super::{SILENCE_TIMEOUT, SourceError};
use crate::sansio::assemble::ParameterSets;

/// Packets that make no picture for this long are worth nothing. Longer than the GOPs that cameras are set
/// to, for some give no key frame to who comes in the middle of one, and all of them none to who lost one.
pub(super) const PICTURE_TIMEOUT: Duration = Duration::from_secs(20);

/// See the module.
#[derive(Debug)]
pub(super) struct Watchdog {
    packet_until: Instant,
    /// `None` before the first packet.
    picture_until: Option<Instant>,
}

impl Watchdog {
    /// Of a source that has just begun; `start` is what it gets for its first packet.
    pub(super) fn new(now: Instant, start: Duration) -> Self {
        Self { packet_until: now + start, picture_until: None }
    }

    /// A packet of its picture came.
    pub(super) fn on_packet(&mut self, now: Instant) {
        self.packet_until = now + SILENCE_TIMEOUT;
        self.picture_until.get_or_insert(now + PICTURE_TIMEOUT);
    }

    /// A picture came of the packets.
    pub(super) fn on_picture(&mut self, now: Instant) {
        self.picture_until = Some(now + PICTURE_TIMEOUT);
    }

    /// When it is lost, if nothing comes.
    pub(super) fn deadline(&self) -> Instant {
        self.picture_until.into_iter().fold(self.packet_until, Instant::min)
    }

    /// Whether it is lost, and why; `no_picture` knows what its packets lack.
    pub(super) fn check(
        &self,
        now: Instant,
        no_picture: impl FnOnce() -> SourceError,
    ) -> Result<(), SourceError> {
        if now >= self.packet_until {
            Err(SourceError::Silent)
        } else if self.picture_until.is_some_and(|until| now >= until) {
            Err(no_picture())
        } else {
            Ok(())
        }
    }
}

/// Why packets of these parameter sets made no picture.
pub(super) fn no_picture(parameter_sets: &ParameterSets) -> SourceError {
    match parameter_sets.video_parameters() {
        Ok(_) => SourceError::NoKeyFrame,
        Err(_) => SourceError::NoParameterSets,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::sansio::h264;

    const START: Duration = Duration::from_secs(3);
    const STEP: Duration = Duration::from_millis(40);
    /// SPS of 1280x720 by x264.
    const SPS: &[u8] = &[
        0x67, 0x42, 0xc0, 0x1f, 0xd9, 0x00, 0x50, 0x05, 0xba, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10,
        0x00, 0x00, 0x03, 0x03, 0xc0, 0xf1, 0x83, 0x24, 0x80,
    ];

    fn sets(sps: Option<&'static [u8]>) -> ParameterSets {
        h264::ParameterSets { sps: sps.map(Bytes::from_static), pps: None }.into()
    }

    /// Packets every 40 ms, pictures of them for as long; why and when the source is lost.
    fn run(packets_for: Duration, pictures_for: Duration, sets: &ParameterSets) -> (String, u64) {
        let began = Instant::now();
        let mut watchdog = Watchdog::new(began, START);
        let mut now = began;
        loop {
            if let Err(error) = watchdog.check(now, || no_picture(sets)) {
                return (error.to_string(), (now - began).as_secs());
            }
            assert!(watchdog.deadline() > now);
            if now - began < packets_for {
                watchdog.on_packet(now);
            }
            if now - began < pictures_for {
                watchdog.on_picture(now);
            }
            now += STEP;
        }
    }

    #[test]
    fn packets_without_pictures_do_not_keep_a_source_alive_and_it_says_what_is_missing() {
        let secs = Duration::from_secs;
        let check = |packets, pictures, sps, reason: &str, after_secs| {
            let lost = run(secs(packets), secs(pictures), &sets(sps));
            assert_eq!(lost, (reason.to_owned(), after_secs));
        };
        check(0, 0, Some(SPS), "no picture for 3 seconds", 3);
        check(60, 60, Some(SPS), "no picture for 3 seconds", 62);
        check(60, 0, Some(SPS), "packets come, but no key frame for 20 seconds", 20);
        check(60, 10, Some(SPS), "packets come, but no key frame for 20 seconds", 29);
        check(60, 0, None, "packets come, but no parameter sets (SPS and PPS) for 20 seconds", 20);
        check(
            60,
            0,
            Some(&[0x67]),
            "packets come, but no parameter sets (SPS and PPS) for 20 seconds",
            20,
        );
    }
}
