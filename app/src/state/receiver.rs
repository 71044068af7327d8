//! Rates from the receiver's counters, and the text of the HUD. Must not: touch the browser.

use serde::Deserialize;

use super::latency::Latency;

/// Counters of one WebRTC video receiver (`inbound-rtp` of `getStats`); absent where the browser
/// has none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReceiverCounters {
    /// When they were read.
    pub at_ms: f64,
    /// Payload bytes.
    pub bytes_received: Option<f64>,
    /// Packets that never came; may be negative by RFC 3550.
    pub packets_lost: Option<f64>,
    /// Frames decoded.
    pub frames_decoded: Option<f64>,
    /// Sum over frames of the time spent in the jitter buffer.
    pub jitter_buffer_delay_secs: Option<f64>,
    /// Frames that sum is over.
    pub jitter_buffer_emitted: Option<f64>,
}

/// What the counters say about the time between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReceiverRates {
    /// Received, in kbit/s.
    pub bitrate_kbps: Option<f64>,
    /// Since the session began.
    pub packets_lost: Option<f64>,
    /// Mean over the frames in between.
    pub jitter_buffer_ms: Option<f64>,
}

impl ReceiverRates {
    /// Rates between an earlier reading of the same session and a later one.
    pub fn between(earlier: &ReceiverCounters, later: &ReceiverCounters) -> Self {
        let delta = |a: Option<f64>, b: Option<f64>| Some(b? - a?).filter(|d| *d >= 0.0);
        let elapsed_ms = later.at_ms - earlier.at_ms;
        let bytes = delta(earlier.bytes_received, later.bytes_received);
        let delay_secs = delta(earlier.jitter_buffer_delay_secs, later.jitter_buffer_delay_secs);
        let emitted = delta(earlier.jitter_buffer_emitted, later.jitter_buffer_emitted);
        Self {
            // Bits in a millisecond are kilobits in a second.
            bitrate_kbps: bytes.filter(|_| elapsed_ms > 0.0).map(|b| b * 8.0 / elapsed_ms),
            packets_lost: later.packets_lost,
            jitter_buffer_ms: match (delay_secs, emitted) {
                (Some(delay_secs), Some(n)) if n > 0.0 => Some(delay_secs * 1_000.0 / n),
                _ => None,
            },
        }
    }
}

/// What the server says of one session, `GET` of its `stats`; absent where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SessionStats {
    /// Layer that is sent.
    pub layer: Option<String>,
    /// Layer that will be, from its next key frame on.
    pub target_layer: Option<String>,
    /// The server's clock.
    pub server_unix_ms: Option<f64>,
    /// RTP timestamp of the newest frame, and when the server had it, in milliseconds of Unix time.
    pub newest_frame: Option<(u32, f64)>,
    /// Packets sent a second time.
    pub packets_retransmitted: Option<u64>,
}

/// Latency as the HUD shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum HudLatency {
    /// Nothing to reckon with yet.
    #[default]
    Unknown,
    /// The browser does not tell which frame it shows.
    Unsupported,
    /// Reckoned from the frame's RTP timestamp.
    RtpTime(Latency),
}

/// What the HUD shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hud {
    /// Frames presented.
    pub presented: u64,
    /// Frames the page did not see.
    pub missed: u64,
    /// Over the last second.
    pub fps: f64,
    /// Of the decoded picture; zero before the first.
    pub size_px: (u32, u32),
    /// From `getStats`.
    pub rates: ReceiverRates,
    /// From the server.
    pub stats: SessionStats,
    /// From both.
    pub latency: HudLatency,
}

impl Hud {
    /// Five lines for a monospace font.
    pub fn text(&self) -> String {
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
        let size = match self.size_px {
            (0, _) | (_, 0) => "–".to_owned(),
            (width, height) => format!("{width}×{height}"),
        };
        let layer = match (&self.stats.layer, &self.stats.target_layer) {
            (Some(now), Some(target)) if now != target => format!("{now} → {target}"),
            (None, Some(target)) => format!("→ {target}"),
            (layer, _) => or_dash(layer.clone()),
        };
        let latency = match self.latency {
            HudLatency::Unknown => "latency –".to_owned(),
            HudLatency::Unsupported => "latency – (browser has no rtpTimestamp)".to_owned(),
            HudLatency::RtpTime(Latency { ms, error_ms }) => {
                format!("server→screen {ms:.0} ms ±{:.0} (RTP time)", error_ms.ceil())
            }
        };
        format!(
            "{size}  {:.1} fps\nlayer {layer}  {}\nframes {}  missed {}\nlost {}  resent {}  buffer {}\n{latency}",
            self.fps,
            or_dash(self.rates.bitrate_kbps.map(|kbps| format!("{kbps:.0} kbit/s"))),
            self.presented,
            self.missed,
            or_dash(self.rates.packets_lost.map(|n| format!("{n:.0}"))),
            or_dash(self.stats.packets_retransmitted.map(|n| n.to_string())),
            or_dash(self.rates.jitter_buffer_ms.map(|ms| format!("{ms:.0} ms"))),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_of_counters() {
        let earlier = ReceiverCounters {
            at_ms: 1_000.0,
            bytes_received: Some(1_000.0),
            packets_lost: Some(0.0),
            frames_decoded: Some(10.0),
            jitter_buffer_delay_secs: Some(0.1),
            jitter_buffer_emitted: Some(10.0),
        };
        let later = ReceiverCounters {
            at_ms: 2_000.0,
            bytes_received: Some(251_000.0),
            packets_lost: Some(3.0),
            frames_decoded: Some(40.0),
            jitter_buffer_delay_secs: Some(0.7),
            jitter_buffer_emitted: Some(40.0),
        };
        let rates = ReceiverRates::between(&earlier, &later);
        assert_eq!(rates.bitrate_kbps, Some(2_000.0));
        assert_eq!(rates.packets_lost, Some(3.0));
        assert!((rates.jitter_buffer_ms.unwrap() - 20.0).abs() < 1e-9);
    }

    #[test]
    fn missing_or_backward_counters_are_no_rates() {
        let some = ReceiverCounters { bytes_received: Some(9.0), ..Default::default() };
        let none = ReceiverCounters { at_ms: 1_000.0, ..Default::default() };
        assert_eq!(ReceiverRates::between(&some, &none), ReceiverRates::default());
        let fresh = ReceiverCounters { at_ms: 1_000.0, bytes_received: Some(1.0), ..none };
        assert_eq!(ReceiverRates::between(&some, &fresh).bitrate_kbps, None);
    }

    #[test]
    fn hud_dashes_what_it_does_not_know() {
        assert_eq!(
            Hud::default().text(),
            "–  0.0 fps\nlayer –  –\nframes 0  missed 0\nlost –  resent –  buffer –\nlatency –"
        );
        let unsupported = Hud { latency: HudLatency::Unsupported, ..Default::default() };
        assert!(unsupported.text().ends_with("latency – (browser has no rtpTimestamp)"));
    }

    #[test]
    fn hud_names_the_layer_and_how_the_latency_was_found() {
        let hud = Hud {
            presented: 1_234,
            missed: 2,
            fps: 29.97,
            size_px: (1280, 720),
            rates: ReceiverRates {
                bitrate_kbps: Some(1_999.6),
                packets_lost: Some(3.0),
                jitter_buffer_ms: Some(41.8),
            },
            stats: SessionStats {
                layer: Some("sub".into()),
                target_layer: Some("main".into()),
                packets_retransmitted: Some(12),
                ..Default::default()
            },
            latency: HudLatency::RtpTime(Latency { ms: 84.2, error_ms: 1.4 }),
        };
        assert_eq!(
            hud.text(),
            "1280×720  30.0 fps\nlayer sub → main  2000 kbit/s\nframes 1234  missed 2\n\
             lost 3  resent 12  buffer 42 ms\nserver→screen 84 ms ±2 (RTP time)"
        );
    }

    #[test]
    fn stats_of_the_server_are_read_whatever_else_they_hold() {
        let json = r#"{"id":"x","media_id":"0","layer":"main","target_layer":"main",
            "is_paused":false,"server_unix_ms":1700000000123,"newest_frame":[4294967295,1700000000100],
            "fraction_lost":0.0,"round_trip_ms":null,"packets_retransmitted":7}"#;
        let stats: SessionStats = serde_json::from_str(json).unwrap();
        assert_eq!(stats.newest_frame, Some((u32::MAX, 1_700_000_000_100.0)));
        assert_eq!(stats.packets_retransmitted, Some(7));
        let stats: SessionStats = serde_json::from_str(r#"{"newest_frame":null}"#).unwrap();
        assert_eq!(stats, SessionStats::default());
    }
}
