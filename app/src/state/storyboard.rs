//! Which part of a storyboard is which time, and the outline of a waveform. Pure.

/// A small picture of a storyboard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cue {
    /// From when on it stands for the film, in seconds.
    pub from_secs: f64,
    /// Its place in the sprite, in pixels.
    pub x: u32,
    /// See `x`.
    pub y: u32,
    /// Its size in pixels.
    pub width_px: u32,
    /// See `width_px`.
    pub height_px: u32,
}

/// Reads the WebVTT of a storyboard: cues whose text ends in `#xywh=x,y,w,h`. Others are left out.
pub fn parse_storyboard(vtt: &str) -> Vec<Cue> {
    let mut cues = Vec::new();
    let mut from_secs = None;
    for line in vtt.lines() {
        if let Some((from, _)) = line.split_once("-->") {
            from_secs = seconds(from.trim());
        } else if let Some(from_secs) = from_secs
            && let Some((_, place)) = line.rsplit_once("#xywh=")
            && let Some([x, y, width_px, height_px]) = four(place)
            && width_px > 0
            && height_px > 0
        {
            cues.push(Cue { from_secs, x, y, width_px, height_px });
        }
    }
    cues
}

/// The picture of a time.
pub fn cue_at(cues: &[Cue], at_secs: f64) -> Option<Cue> {
    let after = cues.partition_point(|cue| cue.from_secs <= at_secs);
    cues.get(after.saturating_sub(1)).copied()
}

fn four(text: &str) -> Option<[u32; 4]> {
    let numbers: Vec<u32> =
        text.trim().split(',').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    numbers.try_into().ok()
}

/// `00:01:02.500` or `01:02.500`.
fn seconds(text: &str) -> Option<f64> {
    let mut total = 0.0;
    for part in text.split(':') {
        let part: f64 = part.parse().ok()?;
        total = total * 60.0 + part;
    }
    Some(total).filter(|total: &f64| total.is_finite() && *total >= 0.0)
}

/// The outline of a waveform for an SVG `path`: one unit wide for each slice, 256 high. `samples` are
/// pairs of the lowest and the highest sample, 8 bits.
pub fn waveform_path(samples: &[i8]) -> String {
    use std::fmt::Write as _;
    let mut path = String::with_capacity(samples.len() * 6);
    for (slice, pair) in samples.chunks_exact(2).enumerate() {
        let (low, high) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
        let top = 127 - i32::from(high);
        // Silence is a line, not nothing.
        let height = (i32::from(high) - i32::from(low)).max(1);
        let _ = write!(path, "M{slice} {top}h1v{height}h-1z");
    }
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn storyboard_tells_the_picture_of_a_time() {
        let vtt = "WEBVTT\n\n00:00:00.000 --> 00:00:05.000\nab.jpg#xywh=0,0,240,135\n\n\
                   00:00:05.000 --> 00:00:10.000\nab.jpg#xywh=240,0,240,135\n\nbad\n";
        let cues = parse_storyboard(vtt);
        assert_eq!(cues.len(), 2);
        assert_eq!(cue_at(&cues, 4.9).map(|cue| cue.x), Some(0));
        assert_eq!(cue_at(&cues, 5.0).map(|cue| cue.x), Some(240));
        assert_eq!(cue_at(&cues, 99.0).map(|cue| cue.x), Some(240));
        assert_eq!(cue_at(&[], 1.0), None);
    }

    #[test]
    fn waveform_is_one_bar_for_each_slice() {
        assert_eq!(waveform_path(&[-128, 127, 0, 0, 5]), "M0 0h1v255h-1zM1 127h1v1h-1z");
    }

    proptest! {
        #[test]
        fn any_text_is_a_storyboard(text in "(\\PC{0,20}|[0-9:.]{0,8} --> x|a#xywh=[0-9,]{0,12}|\n){0,12}") {
            for cue in parse_storyboard(&text) {
                prop_assert!(cue.from_secs >= 0.0 && cue.width_px > 0);
            }
        }
    }
}
