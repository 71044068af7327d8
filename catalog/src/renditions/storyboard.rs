//! The storyboard: where its small pictures lie in the sprite, and the WebVTT that says so.
//!
//! Must not: decode anything.

use std::{ffi::OsString, fmt::Write as _, path::Path};

use crate::probe::INPUT_GUARD_ARGS;

/// Longest side of a small picture, in pixels.
const TILE_PX: u32 = 240;
/// Small pictures at most.
const MAX_TILES: u64 = 100;
/// Small pictures in a row.
const COLUMNS: u32 = 10;
/// They are not closer than this.
const MIN_INTERVAL_MS: u64 = 500;
/// Shorter videos have no storyboard.
const MIN_DURATION_MS: u64 = 2000;
/// From this interval on only key frames are decoded: the picture is then at most one group of
/// pictures off, and an hour of video takes seconds instead of minutes.
const KEY_FRAMES_FROM_MS: u64 = 4000;

/// Geometry of a storyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storyboard {
    /// Width of a small picture.
    pub tile_width_px: u32,
    /// Height of a small picture.
    pub tile_height_px: u32,
    /// How many there are.
    pub tiles: u32,
    /// Time from one to the next.
    pub interval_ms: u64,
    /// Playing time of the video.
    pub duration_ms: u64,
}

impl Storyboard {
    /// The storyboard of a video of that size (as displayed) and playing time; `None` for one that is
    /// too short to need one.
    pub fn plan((width_px, height_px): (u32, u32), duration_ms: u64) -> Option<Self> {
        if duration_ms < MIN_DURATION_MS {
            return None;
        }
        let interval_ms = duration_ms.div_ceil(MAX_TILES).max(MIN_INTERVAL_MS);
        // The last one stands for the rest: a sliver of time has no picture of its own.
        let tiles = u32::try_from((duration_ms + interval_ms / 2) / interval_ms).ok()?;
        let longer = u64::from(width_px.max(height_px).max(1));
        let side = |px: u32| {
            let scaled = u64::from(px) * u64::from(TILE_PX) / longer;
            // Even, as the JPEG's chroma wants it.
            u32::try_from(scaled).map_or(TILE_PX, |px| (px & !1).clamp(2, TILE_PX))
        };
        Some(Self {
            tile_width_px: side(width_px),
            tile_height_px: side(height_px),
            tiles,
            interval_ms,
            duration_ms,
        })
    }

    /// Small pictures in a row.
    pub fn columns(&self) -> u32 {
        self.tiles.min(COLUMNS)
    }

    /// Rows of small pictures.
    pub fn rows(&self) -> u32 {
        self.tiles.div_ceil(self.columns().max(1))
    }

    /// Width and height of the whole sprite.
    pub fn sprite_px(&self) -> (u32, u32) {
        (self.columns() * self.tile_width_px, self.rows() * self.tile_height_px)
    }

    /// Left and top of a small picture in the sprite.
    pub fn tile_at_px(&self, tile: u32) -> (u32, u32) {
        let columns = self.columns().max(1);
        ((tile % columns) * self.tile_width_px, (tile / columns) * self.tile_height_px)
    }

    /// WebVTT with a cue for each small picture, as players take it for previews.
    pub fn vtt(&self, sprite_url: &str) -> String {
        let mut text = String::from("WEBVTT\n");
        for tile in 0..self.tiles {
            let from = u64::from(tile) * self.interval_ms;
            let is_last = tile + 1 == self.tiles;
            let to = if is_last { self.duration_ms } else { from + self.interval_ms };
            let (x, y) = self.tile_at_px(tile);
            let (w, h) = (self.tile_width_px, self.tile_height_px);
            write!(
                text,
                "\n{} --> {}\n{sprite_url}#xywh={x},{y},{w},{h}\n",
                vtt_time(from),
                vtt_time(to)
            )
            .expect("writing to a String does not fail");
        }
        text
    }

    /// Arguments of the ffmpeg that makes the sprite, a JPEG.
    pub fn ffmpeg_args(&self, input: &Path, output: &Path) -> Vec<OsString> {
        let mut args: Vec<OsString> = ["-nostdin", "-v", "error"].map(OsString::from).into();
        args.extend(INPUT_GUARD_ARGS.iter().map(OsString::from));
        if self.interval_ms >= KEY_FRAMES_FROM_MS {
            args.extend(["-skip_frame", "nokey"].map(OsString::from));
        }
        args.extend(["-threads", "2", "-i"].map(OsString::from));
        args.push(input.into());
        let (w, h) = (self.tile_width_px, self.tile_height_px);
        let filter = format!(
            "fps=fps=1000/{}:start_time=0:round=near,scale={w}:{h}:flags=area,setsar=1,\
             format=yuvj420p,tile={}x{}",
            self.interval_ms,
            self.columns(),
            self.rows(),
        );
        args.extend(
            ["-map", "0:v:0", "-an", "-sn", "-dn", "-frames:v", "1", "-vf"].map(OsString::from),
        );
        args.push(filter.into());
        args.extend(
            ["-c:v", "mjpeg", "-q:v", "4", "-f", "image2", "-update", "1", "-y"]
                .map(OsString::from),
        );
        args.push(output.into());
        args
    }
}

/// `hh:mm:ss.ttt`. Source: W3C WebVTT §4.1.
fn vtt_time(ms: u64) -> String {
    let (secs, ms) = (ms / 1000, ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", secs / 3600, secs / 60 % 60, secs % 60)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn storyboard_of_a_minute_has_its_cues_in_order() {
        let board = Storyboard::plan((1920, 1080), 60_000).unwrap();
        assert_eq!((board.tiles, board.interval_ms), (100, 600));
        assert_eq!(board.sprite_px(), (2400, 1340));
        let vtt = board.vtt("a.jpg");
        assert!(
            vtt.starts_with("WEBVTT\n\n00:00:00.000 --> 00:00:00.600\na.jpg#xywh=0,0,240,134\n")
        );
        assert!(vtt.ends_with("00:00:59.400 --> 00:01:00.000\na.jpg#xywh=2160,1206,240,134\n"));
        assert_eq!(vtt.matches("-->").count(), 100);
    }

    #[test]
    fn storyboard_of_a_short_clip_has_one_short_row() {
        let board = Storyboard::plan((320, 180), 2200).unwrap();
        assert_eq!((board.tiles, board.columns(), board.rows()), (4, 4, 1));
        assert!(board.vtt("a").contains("00:00:01.500 --> 00:00:02.200"));
        assert_eq!(Storyboard::plan((320, 180), 1999), None);
    }

    #[test]
    fn long_video_is_read_by_its_key_frames() {
        let has_skip = |duration_ms| {
            let board = Storyboard::plan((640, 480), duration_ms).unwrap();
            board.ffmpeg_args("in".as_ref(), "out".as_ref()).contains(&"-skip_frame".into())
        };
        assert!(!has_skip(60_000));
        assert!(has_skip(3_600_000));
    }

    #[test]
    fn times_are_those_of_webvtt() {
        assert_eq!(vtt_time(0), "00:00:00.000");
        assert_eq!(vtt_time(3_723_004), "01:02:03.004");
        assert_eq!(vtt_time(360_000_000), "100:00:00.000");
    }

    proptest! {
        #[test]
        fn storyboard_stays_a_picture_of_bounded_size(
            width in 1u32..=65_536, height in 1u32..=65_536, duration_ms in 0u64..400_000_000_000,
        ) {
            if let Some(board) = Storyboard::plan((width, height), duration_ms) {
                let (w, h) = board.sprite_px();
                prop_assert!(w <= 2400 && h <= 2400 && w >= 2 && h >= 2);
                prop_assert!((1..=100).contains(&board.tiles));
                let (x, y) = board.tile_at_px(board.tiles - 1);
                prop_assert!(x + board.tile_width_px <= w && y + board.tile_height_px <= h);
                prop_assert!(u64::from(board.tiles - 1) * board.interval_ms < duration_ms);
            }
        }
    }
}
