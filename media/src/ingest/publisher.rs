//! Where sources put what they receive: one track of a camera's feed each. Must not: connect to anything.

use std::{sync::atomic::Ordering, time::Instant};

use bytes::Bytes;
use tracing::{info, warn};

use super::{Camera, SourceError, transcode::low_beside};
use crate::{
    camera::SourceUrl,
    hub::TrackIndex,
    sansio::{
        access_unit::AccessUnit,
        assemble::{Assembled, ParameterSets},
        format::{Codec, Format},
        packetize::MAX_PAYLOAD_BYTES,
        timeline::{CLOCK_90K, Timeline},
    },
};

/// 100 ms of G.711.
const MAX_G711_BYTES: usize = 800;

/// Puts the units of one track on the camera's time, counts them, and keeps its format up to date.
#[derive(Debug)]
pub struct TrackPublisher<'a> {
    camera: &'a Camera,
    index: TrackIndex,
    rid: &'static str,
    clock_rate_hz: u32,
    timeline: Timeline,
    format: Option<Format>,
    window: Window,
    has_published: bool,
    /// Time of the last key frame.
    last_key: Option<u64>,
    /// Its bitrate was complained of.
    is_warned: bool,
}

/// Counts of the current second.
#[derive(Debug)]
struct Window {
    since: Instant,
    units: u32,
    len_bytes: usize,
}

impl Window {
    fn begin(since: Instant) -> Self {
        Self { since, units: 0, len_bytes: 0 }
    }
}

impl<'a> TrackPublisher<'a> {
    /// For one track of `camera`; `rid` names it where the source has no name of its own.
    pub fn new(camera: &'a Camera, index: TrackIndex, rid: &'static str) -> Self {
        Self {
            camera,
            index,
            rid,
            clock_rate_hz: CLOCK_90K,
            timeline: Timeline::new(camera.feed.epoch(), CLOCK_90K),
            format: None,
            window: Window::begin(Instant::now()),
            has_published: false,
            last_key: None,
            is_warned: false,
        }
    }

    /// Name of the track.
    pub fn rid(&self) -> &'static str {
        self.rid
    }

    /// The camera it publishes for.
    pub fn camera(&self) -> &'a Camera {
        self.camera
    }

    /// Whether a unit came since the last [`Self::clear`].
    pub fn has_published(&self) -> bool {
        self.has_published
    }

    /// Waits until a reader asks for a key frame; for sources that can ask on.
    pub async fn key_frame_requested(&self) {
        self.camera.feed.track(self.index).key_frame_requested().await;
    }

    /// What the track carries; to be told before the first unit, and again when it changes.
    pub fn set_format(&mut self, format: Format) {
        if self.format.as_ref() == Some(&format) {
            return;
        }
        if self.clock_rate_hz != format.codec.clock_rate_hz() {
            self.clock_rate_hz = format.codec.clock_rate_hz();
            self.timeline = Timeline::new(self.camera.feed.epoch(), self.clock_rate_hz);
        }
        let id = &self.camera.config.id;
        match &format.video {
            Some(video) => info!(
                camera.id = %id, layer = %format.rid, codec = %video.codec,
                width_px = video.width_px, height_px = video.height_px,
                "camera {id}, layer {}: {} {}x{}",
                format.rid, video.codec, video.width_px, video.height_px
            ),
            None => info!(
                camera.id = %id, layer = %format.rid, codec = format.codec.encoding_name(),
                "camera {id}, {}: {}", format.rid, format.codec.encoding_name()
            ),
        }
        let low = match self.index {
            TrackIndex::Layer(0) => low_beside(&self.camera.config.source, &format),
            _ => None,
        };
        self.camera.feed.set_formats(low.into_iter().chain([(self.index, format.clone())]));
        self.format = Some(format);
    }

    /// Sound of this codec comes.
    pub fn set_audio(&mut self, codec: Codec) {
        let rid = self.rid.to_owned();
        self.set_format(Format { codec, rid, video: None, h264_profile: None });
    }

    /// Publishes one coded picture; `parameter_sets` are those in force for it.
    ///
    /// # Errors
    /// [`SourceError::BadParameterSets`]: no decoder could show this camera.
    pub fn publish_picture(
        &mut self,
        unit: Assembled,
        parameter_sets: &ParameterSets,
        now: Instant,
    ) -> Result<(), SourceError> {
        if unit.is_key {
            let format = parameter_sets.format(self.rid);
            self.set_format(format.map_err(|_| SourceError::BadParameterSets)?);
        }
        self.publish(unit, now);
        Ok(())
    }

    /// Publishes one unit of the format that was set.
    pub fn publish(&mut self, unit: Assembled, now: Instant) {
        let time = self.timeline.place(unit.timestamp_90k, now);
        let unit =
            AccessUnit { time, is_key: unit.is_key, payloads: unit.payloads, arrived_at: now };
        if !self.has_published {
            self.window = Window::begin(now);
            self.has_published = true;
        }
        if unit.is_key {
            self.measure_key_interval(unit.time);
        }
        self.window.units += 1;
        self.window.len_bytes += unit.len_bytes();
        self.camera.feed.track(self.index).publish(unit);

        let window_secs = now.saturating_duration_since(self.window.since).as_secs_f32();
        if window_secs >= 1.0 {
            let fps = self.window.units as f32 / window_secs;
            let bitrate_bps = (self.window.len_bytes as f32 * 8.0 / window_secs) as u32;
            self.tell_rates(fps, bitrate_bps);
            self.warn_of_bitrate(bitrate_bps);
            self.window = Window::begin(now);
        }
    }

    /// Publishes one RTP payload of sound; `timestamp` is unwrapped, on the codec's clock.
    pub fn publish_sound(&mut self, timestamp: i64, payload: Bytes, now: Instant) {
        let codec = self.format.as_ref().map(|format| format.codec);
        let mut rest = payload;
        let mut timestamp_90k = timestamp;
        // G.711 has a sample in each byte, and may be cut anywhere; some cameras send 200 ms at once.
        while matches!(codec, Some(Codec::Pcmu | Codec::Pcma)) && rest.len() > MAX_PAYLOAD_BYTES {
            let payloads = vec![rest.split_to(MAX_G711_BYTES)];
            self.publish(Assembled { timestamp_90k, is_key: true, payloads }, now);
            timestamp_90k = timestamp_90k.wrapping_add(MAX_G711_BYTES as i64);
        }
        self.publish(Assembled { timestamp_90k, is_key: true, payloads: vec![rest] }, now);
    }

    fn measure_key_interval(&mut self, time: u64) {
        let last = self.last_key.replace(time);
        if let TrackIndex::Layer(layer) = self.index
            && let Some(measured) = self.camera.layer_key_interval_ms.get(layer)
        {
            let ticks = last.map_or(0, |last| time.saturating_sub(last));
            // Who watches the state of cameras need not hear of each millisecond.
            let clock_rate_hz = u64::from(self.clock_rate_hz);
            let tenths = (ticks.saturating_mul(10) + clock_rate_hz / 2) / clock_rate_hz;
            let ms = tenths.saturating_mul(100);
            measured.store(ms.try_into().unwrap_or(u32::MAX), Ordering::Relaxed);
        }
    }

    /// A camera that is passed through does as it likes; the log says so, once.
    fn warn_of_bitrate(&mut self, bitrate_bps: u32) {
        let Camera { config, .. } = self.camera;
        let is_passed_through = matches!(config.source, SourceUrl::Rtsp(_) | SourceUrl::Whep(_));
        let (kbps, max_kbps) = (bitrate_bps / 1000, config.media.max_kbps);
        let is_video = matches!(self.index, TrackIndex::Layer(_));
        if is_passed_through && is_video && kbps > max_kbps && !self.is_warned {
            self.is_warned = true;
            warn!(
                camera.id = %config.id, layer = self.rid, bitrate_kbps = kbps, max_kbps,
                "camera {}, layer {}: {kbps} kbit/s, of {max_kbps} at most; its own settings can lower it",
                config.id, self.rid
            );
        }
    }

    fn tell_rates(&self, fps: f32, bitrate_bps: u32) {
        self.camera.feed.track(self.index).set_bitrate_bps(bitrate_bps);
        if let TrackIndex::Layer(layer) = self.index
            && let Some(rate) = self.camera.layer_fps.get(layer)
        {
            rate.store(fps.to_bits(), Ordering::Relaxed);
        }
    }

    /// Nothing comes now, but the track is still on offer: it is made on demand.
    pub fn pause(&mut self) {
        self.timeline.reconnected();
        self.has_published = false;
        self.last_key = None;
        self.tell_rates(0.0, 0);
        self.camera.feed.track(self.index).forget_units();
    }

    /// Nothing comes any more: the track is gone until it is published to again.
    pub fn clear(&mut self) {
        self.pause();
        self.format = None;
        self.camera.feed.track(self.index).clear();
    }
}
