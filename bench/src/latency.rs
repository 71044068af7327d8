//! Added latency: how much later a frame is at a viewer than at a reader beside the server.
//!
//! Must not: trust payloads, which are encrypted. A server may shift all RTP timestamps by one random
//! number; that number is found by comparing frame sizes, and the frames then pair off by timestamp.

use std::collections::HashMap;

use crate::rtp::Frame;

/// The most that is recognised: an overloaded server can be seconds behind. Below the length of a camera's
/// clip in a loop, after which sizes repeat.
pub const MAX_DELAY_NS: u64 = 15_000_000_000;
/// A viewer may even be a little earlier than the reference reader.
const MAX_LEAD_NS: u64 = 500_000_000;
const SAMPLES: usize = 60;

/// Milliseconds by which each frame of a viewer came later than at the reference reader; negative when it
/// came earlier. `None` when the two streams do not fit together.
pub fn added_ms(viewer: &[Frame], reference: &[Frame]) -> Option<Vec<f64>> {
    let by_timestamp: HashMap<u32, &Frame> =
        reference.iter().map(|frame| (frame.timestamp, frame)).collect();
    let offset = offset(viewer, reference, &by_timestamp)?;
    let added = viewer.iter().filter_map(|frame| {
        let origin = by_timestamp.get(&frame.timestamp.wrapping_sub(offset))?;
        Some((i128::from(frame.arrived_ns) - i128::from(origin.arrived_ns)) as f64 / 1e6)
    });
    Some(added.collect())
}

/// The difference of timestamps under which sizes agree best.
fn offset(
    viewer: &[Frame],
    reference: &[Frame],
    by_timestamp: &HashMap<u32, &Frame>,
) -> Option<u32> {
    let anchor = viewer.get(viewer.len() / 2)?;
    let samples: Vec<_> = viewer.iter().step_by(viewer.len().div_ceil(SAMPLES)).collect();
    let earliest = anchor.arrived_ns.saturating_sub(MAX_DELAY_NS);
    let could_be = earliest..anchor.arrived_ns + MAX_LEAD_NS;
    let candidates = reference.iter().filter(|frame| could_be.contains(&frame.arrived_ns));
    let score = |offset: u32| {
        let differences = samples.iter().filter_map(|frame| {
            let origin = by_timestamp.get(&frame.timestamp.wrapping_sub(offset))?;
            let (a, b) = (f64::from(frame.len_bytes), f64::from(origin.len_bytes));
            Some((a - b).abs() / a.max(b).max(1.0))
        });
        let (count, sum) = differences.fold((0, 0.0), |(n, sum), d| (n + 1, sum + d));
        // Frames at the edges of the recording may have no partner.
        (count * 10 >= samples.len() * 8).then(|| sum / count as f64)
    };
    let scored = candidates.filter_map(|frame| {
        let offset = anchor.timestamp.wrapping_sub(frame.timestamp);
        Some((score(offset)?, offset))
    });
    // Fragmentation and parameter sets make sizes differ by a few percent, wrong pairings by far more.
    scored.min_by(|a, b| a.0.total_cmp(&b.0)).filter(|best| best.0 < 0.2).map(|best| best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME_NS: u64 = 33_333_333;

    fn camera(frames: u64) -> Vec<Frame> {
        let size = |n: u64| if n.is_multiple_of(150) { 60_000 } else { 4000 + n * 7919 % 6000 };
        let frame = |n: u64| Frame {
            timestamp: (4_294_900_000 + n * 3000) as u32,
            arrived_ns: 1_000_000_000_000 + n * FRAME_NS,
            len_bytes: size(n) as u32,
        };
        (0..frames).map(frame).collect()
    }

    fn seen(reference: &[Frame], offset: u32, delay_ns: u64) -> Vec<Frame> {
        let shift = |frame: &Frame| Frame {
            timestamp: frame.timestamp.wrapping_add(offset),
            arrived_ns: frame.arrived_ns + delay_ns,
            len_bytes: frame.len_bytes + 16,
        };
        reference.iter().map(shift).collect()
    }

    #[test]
    fn a_delay_is_found_whatever_the_timestamps_offset() {
        let reference = camera(600);
        for (offset, delay_ns) in [(0, 1_000_000), (3_000_000_000, 1_000_000), (77, 200_000_000)] {
            let viewer = seen(&reference[100..500], offset, delay_ns);
            let added = added_ms(&viewer, &reference).unwrap();
            assert_eq!(added.len(), 400);
            assert!(added.iter().all(|ms| (ms * 1e6 - delay_ns as f64).abs() < 1.0), "{offset}");
        }
    }

    #[test]
    fn missing_frames_do_not_shift_the_others() {
        let reference = camera(600);
        let mut viewer = seen(&reference[100..500], 5, 2_000_000);
        viewer.retain(|frame| frame.len_bytes % 7 != 0);
        let added = added_ms(&viewer, &reference).unwrap();
        assert!(added.iter().all(|ms| (ms - 2.0).abs() < 1e-6));
    }

    #[test]
    fn another_stream_is_not_compared() {
        let reference = camera(600);
        let mut viewer = seen(&reference[100..500], 5, 0);
        viewer.iter_mut().for_each(|frame| frame.len_bytes = 20_000 - frame.len_bytes.min(20_000));
        assert_eq!(added_ms(&viewer, &reference), None);
        assert_eq!(added_ms(&[], &reference), None);
        assert_eq!(added_ms(&viewer, &[]), None);
    }
}
