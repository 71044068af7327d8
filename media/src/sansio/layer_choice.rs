//! Which layer a viewer gets: what it asked for, within what its path can take.
//!
//! Must not: send, or know how switching is done.

use std::time::{Duration, Instant};

/// A layer as the choice sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerInfo {
    /// Place among the camera's layers; smaller is better.
    pub index: usize,
    /// Its name.
    pub rid: String,
    /// Picture size, while known.
    pub size_px: Option<(u32, u32)>,
    /// What it needs, in bit/s; 0 while unknown.
    pub bitrate_bps: u32,
}

/// What a viewer wants; nothing set is automatic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerChoice {
    /// This layer, whatever the path takes.
    pub rid: Option<String>,
    /// None that is wider.
    pub max_width_px: Option<u32>,
    /// None that is higher.
    pub max_height_px: Option<u32>,
    /// None that needs more, in kbit/s.
    pub max_bitrate_kbps: Option<u32>,
}

/// The layer to send: the one wished for by name; else the best one that is not larger than needed, within
/// `ceiling_bps`. A camera without a layer that small gives its smallest. `layers` are best first.
pub fn choose(layers: &[LayerInfo], wish: &LayerChoice, ceiling_bps: Option<u32>) -> Option<usize> {
    if let Some(rid) = &wish.rid
        && let Some(layer) = layers.iter().find(|layer| layer.rid == *rid)
    {
        return Some(layer.index);
    }
    let wished_bps = wish.max_bitrate_kbps.map(|kbps| kbps.saturating_mul(1000));
    let max_bps = [wished_bps, ceiling_bps].into_iter().flatten().min();
    let fits_path = |layer: &LayerInfo| max_bps.is_none_or(|max| layer.bitrate_bps <= max);
    let fits_size = |layer: &LayerInfo| {
        layer.size_px.is_none_or(|(width, height)| {
            wish.max_width_px.is_none_or(|max| width <= max)
                && wish.max_height_px.is_none_or(|max| height <= max)
        })
    };
    let best = layers.iter().find(|layer| fits_size(layer) && fits_path(layer));
    best.or(layers.last()).map(|layer| layer.index)
}

/// More loss than this is the path's fault and not the air's.
const HEAVY_LOSS: f32 = 0.10;
/// Less loss than this does not explain an estimate that is short.
const SOME_LOSS: f32 = 0.02;
/// Reports in a row that say so before a viewer is stepped down.
const HEAVY_REPORTS: u32 = 2;
/// Before a better layer is tried again; doubled each time that fails.
const FIRST_HOLD: Duration = Duration::from_secs(8);
const MAX_HOLD: Duration = Duration::from_secs(120);
/// A step up that lasted this long has not failed.
const PROVEN: Duration = Duration::from_secs(15);

/// What a viewer's reports say of its path.
#[derive(Debug)]
pub struct Path {
    fraction_lost: f32,
    estimate_bps: Option<u32>,
    /// The last estimate was below the one before.
    is_falling: bool,
    heavy_reports: u32,
    short_estimates: u32,
    ceiling_bps: Option<u32>,
    hold: Duration,
    hold_until: Option<Instant>,
    stepped_up_at: Option<Instant>,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            fraction_lost: 0.0,
            estimate_bps: None,
            is_falling: false,
            heavy_reports: 0,
            short_estimates: 0,
            ceiling_bps: None,
            hold: FIRST_HOLD,
            hold_until: None,
            stepped_up_at: None,
        }
    }
}

impl Path {
    /// A receiver report: the part of packets lost since the last one, 0.0–1.0.
    pub fn on_loss(&mut self, fraction_lost: f32) {
        self.fraction_lost = fraction_lost;
        self.heavy_reports = if fraction_lost >= HEAVY_LOSS { self.heavy_reports + 1 } else { 0 };
    }

    /// A receiver's estimate (REMB) of what it can take.
    pub fn on_estimate(&mut self, bitrate_bps: u32) {
        if self.estimate_bps != Some(bitrate_bps) {
            self.is_falling = self.estimate_bps.is_some_and(|before| bitrate_bps < before);
        }
        self.estimate_bps = Some(bitrate_bps);
    }

    /// The viewer wants something else: what was learnt of other layers does not hold it back.
    pub fn try_anew(&mut self) {
        self.ceiling_bps = None;
        self.hold_until = None;
        self.short_estimates = 0;
        self.heavy_reports = 0;
    }

    /// Of the last report, 0.0–1.0.
    pub fn fraction_lost(&self) -> f32 {
        self.fraction_lost
    }

    /// The last estimate, in bit/s.
    pub fn estimate_bps(&self) -> Option<u32> {
        self.estimate_bps
    }

    /// The most a layer may need now, in bit/s; `None` is any. `sent_bps` is what the layer that is sent
    /// needs. To be asked about once a second.
    pub fn ceiling_bps(&mut self, now: Instant, sent_bps: u32) -> Option<u32> {
        // A receiver's estimate begins low and climbs after what is sent; it means a narrow path only where
        // it falls, or where packets are lost.
        let is_short =
            self.estimate_bps.is_some_and(|bps| u64::from(bps) * 10 < u64::from(sent_bps) * 9);
        let has_cause = self.is_falling || self.fraction_lost >= SOME_LOSS;
        self.short_estimates = if is_short && has_cause { self.short_estimates + 1 } else { 0 };
        let is_narrow = self.short_estimates.max(self.heavy_reports) >= HEAVY_REPORTS;
        if sent_bps > 0 && is_narrow {
            if self.stepped_up_at.take().is_some_and(|at| now < at + PROVEN) {
                self.hold = (self.hold * 2).min(MAX_HOLD);
            }
            self.ceiling_bps = Some(sent_bps - 1);
            self.hold_until = Some(now + self.hold);
            self.heavy_reports = 0;
            self.short_estimates = 0;
            self.estimate_bps = None;
        } else if self.stepped_up_at.is_some_and(|at| now >= at + PROVEN) {
            self.stepped_up_at = None;
            self.hold = FIRST_HOLD;
        }
        if self.hold_until.is_some_and(|until| now >= until) {
            self.hold_until = None;
            self.ceiling_bps = None;
            self.estimate_bps = None;
            self.stepped_up_at = Some(now);
        }
        self.ceiling_bps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers() -> Vec<LayerInfo> {
        let layer = |index, rid: &str, size_px, bitrate_bps| LayerInfo {
            index,
            rid: rid.into(),
            size_px: Some(size_px),
            bitrate_bps,
        };
        vec![layer(0, "main", (1920, 1080), 4_000_000), layer(1, "sub", (640, 360), 500_000)]
    }

    fn wish(width: Option<u32>, rid: Option<&str>) -> LayerChoice {
        LayerChoice { max_width_px: width, rid: rid.map(str::to_owned), ..LayerChoice::default() }
    }

    #[test]
    fn a_tile_gets_the_layer_of_its_size() {
        for (wish, expected) in [
            (wish(None, None), 0),
            (wish(Some(700), None), 1),
            (wish(Some(1920), None), 0),
            (wish(Some(100), None), 1),
            (wish(None, Some("sub")), 1),
            (wish(Some(100), Some("main")), 0),
            (wish(None, Some("gone")), 0),
        ] {
            assert_eq!(choose(&layers(), &wish, None), Some(expected), "{wish:?}");
        }
        assert_eq!(choose(&[], &LayerChoice::default(), None), None);
    }

    #[test]
    fn a_narrow_path_gets_the_small_layer_and_the_better_one_is_tried_later() {
        let mut now = Instant::now();
        let mut path = Path::default();
        let mut sent = 0;
        let mut tries = Vec::new();
        for second in 0..200u32 {
            now += Duration::from_secs(1);
            // It falls towards what the path takes while too much is sent.
            path.on_estimate(if sent == 0 { 900_000 - 1_000 * second } else { 600_000 });
            let ceiling = path.ceiling_bps(now, layers()[sent].bitrate_bps);
            let chosen = choose(&layers(), &LayerChoice::default(), ceiling).unwrap();
            if chosen == 0 && sent == 1 {
                tries.push(second);
            }
            sent = chosen;
        }
        assert!((2..=6).contains(&tries.len()), "{tries:?}");
        let gaps: Vec<_> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.windows(2).all(|pair| pair[0] < pair[1]), "each try waits longer: {gaps:?}");
    }

    #[test]
    fn an_estimate_that_still_climbs_holds_nobody_back() {
        let mut now = Instant::now();
        let mut path = Path::default();
        for estimate in [285_000, 320_000, 350_000, 395_000] {
            path.on_estimate(estimate);
            assert_eq!(path.ceiling_bps(now, 500_000), None);
            now += Duration::from_secs(1);
        }
    }

    #[test]
    fn a_new_wish_is_tried_at_once() {
        let now = Instant::now();
        let mut path = Path::default();
        path.on_loss(0.5);
        path.on_loss(0.5);
        assert!(path.ceiling_bps(now, 4_000_000).is_some());
        path.try_anew();
        assert_eq!(path.ceiling_bps(now, 400_000), None);
    }

    #[test]
    fn loss_of_one_report_is_the_air() {
        let now = Instant::now();
        let mut path = Path::default();
        path.on_loss(0.5);
        path.on_loss(0.0);
        path.on_loss(0.5);
        assert_eq!(path.ceiling_bps(now, 4_000_000), None);
        path.on_loss(0.5);
        assert_eq!(path.ceiling_bps(now, 4_000_000), Some(3_999_999));
    }
}
