//! The built-in test camera: frames drawn here, encoded by ffmpeg, with a clock, a frame
//! number and a [time code](time_code).
//!
//! Must not: need a font, a file, or a camera. ffmpeg ends with its standard input, so it cannot outlive
//! this process.

use std::{
    convert::Infallible,
    process::Stdio,
    time::{Duration, Instant},
};

use bytes::Bytes;
use font8x8::{BASIC_FONTS, UnicodeFonts as _};
use jiff::Timestamp;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdout, Command},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{SILENCE_TIMEOUT, SourceError, publisher::TrackPublisher};
use crate::sansio::{
    annexb::AnnexB,
    assemble::{Assembled, ParameterSets},
    h264::{self, NAL_IDR, NAL_PPS, NAL_SPS, nal_type},
    packetize::packetize,
    time_code,
};

/// Frames per second.
const FPS: u32 = 30;
const TICKS_PER_FRAME: i64 = 90_000 / FPS as i64;
/// Time for ffmpeg to start and give its first picture.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the pattern; gives why it ended.
pub(super) async fn run(
    width_px: u32,
    height_px: u32,
    publisher: &mut TrackPublisher<'_>,
) -> Result<Infallible, SourceError> {
    let mut ffmpeg = spawn_encoder(width_px, height_px)?;
    let mut stdin = ffmpeg.stdin.take().ok_or(SourceError::Ended)?;
    let stdout = ffmpeg.stdout.take().ok_or(SourceError::Ended)?;
    let name = publisher.camera().config.name.clone();
    let draw = async move {
        let mut canvas = Canvas::new(width_px, height_px, &name);
        let mut ticks = interval(Duration::from_secs(1) / FPS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut frame = 0u64;
        loop {
            ticks.tick().await;
            canvas.draw(frame, Timestamp::now());
            if stdin.write_all(&canvas.yuv).await.is_err() {
                return;
            }
            frame += 1;
        }
    };
    let ended = tokio::select! {
        () = draw => SourceError::Ended,
        Err(error) = publish(stdout, publisher) => error,
    };
    Err(match ended {
        SourceError::Ended => last_words(&mut ffmpeg).await,
        error => error,
    })
}

fn spawn_encoder(width_px: u32, height_px: u32) -> Result<Child, SourceError> {
    let kbps = (u64::from(width_px * height_px) * 2000 / (1280 * 720)).clamp(200, 6000);
    let size = format!("{width_px}x{height_px}");
    Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-loglevel", "error", "-probesize", "32"])
        .args(["-f", "rawvideo", "-pix_fmt", "yuv420p", "-video_size", &size])
        .args(["-framerate", &FPS.to_string(), "-i", "pipe:0"])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-threads", "1"])
        .args(["-profile:v", "baseline", "-g", &FPS.to_string(), "-sc_threshold", "0"])
        .args(["-x264-params", "aud=1:repeat-headers=1"])
        .args(["-b:v", &format!("{kbps}k"), "-maxrate", &format!("{kbps}k")])
        .args([
            "-bufsize",
            &format!("{}k", kbps / 2),
            "-f",
            "h264",
            "-flush_packets",
            "1",
            "pipe:1",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => SourceError::NoFfmpeg,
            kind => SourceError::Io(kind),
        })
}

async fn publish(
    mut stdout: ChildStdout,
    publisher: &mut TrackPublisher<'_>,
) -> Result<Infallible, SourceError> {
    let mut stream = AnnexB::default();
    let mut buffer = vec![0; 64 << 10];
    let mut parameter_sets = h264::ParameterSets::default();
    let mut frame = 0;
    let mut patience = START_TIMEOUT;
    loop {
        let read =
            timeout(patience, stdout.read(&mut buffer)).await.map_err(|_| SourceError::Silent)?;
        let len = read.map_err(|error| SourceError::Io(error.kind()))?;
        if len == 0 {
            return Err(SourceError::Ended);
        }
        stream.push(&buffer[..len]).map_err(|error| SourceError::Ffmpeg(error.to_string()))?;
        while let Some(nals) = stream.next_unit() {
            let unit = assemble(&nals, frame, &mut parameter_sets);
            let parameter_sets = ParameterSets::H264(parameter_sets.clone());
            publisher.publish_picture(unit, &parameter_sets, Instant::now())?;
            frame += 1;
            patience = SILENCE_TIMEOUT;
        }
    }
}

fn assemble(nals: &[Bytes], frame: i64, parameter_sets: &mut h264::ParameterSets) -> Assembled {
    let mut payloads = Vec::with_capacity(nals.len() + 8);
    for nal in nals {
        if matches!(nal_type(nal), NAL_SPS | NAL_PPS) {
            parameter_sets.update(nal.clone());
        }
        packetize(nal, &mut payloads);
    }
    let is_key = nals.iter().any(|nal| nal_type(nal) == NAL_IDR);
    Assembled { timestamp_90k: frame * TICKS_PER_FRAME, is_key, payloads }
}

async fn last_words(ffmpeg: &mut Child) -> SourceError {
    let Some(stderr) = ffmpeg.stderr.take() else { return SourceError::Ended };
    let mut lines = BufReader::new(stderr).lines();
    let mut last = None;
    while let Ok(Ok(Some(line))) = timeout(Duration::from_secs(1), lines.next_line()).await {
        last = Some(line.chars().take(200).collect());
    }
    last.map_or(SourceError::Ended, SourceError::Ffmpeg)
}

/// One frame in planar YUV 4:2:0, drawn over the last one.
struct Canvas {
    width: usize,
    height: usize,
    yuv: Vec<u8>,
    background: Vec<u8>,
    scale: usize,
}

/// BT.601 limited-range colours.
#[derive(Clone, Copy)]
struct Colour {
    y: u8,
    u: u8,
    v: u8,
}

const BARS: [Colour; 8] = [
    Colour { y: 180, u: 128, v: 128 },
    Colour { y: 162, u: 44, v: 142 },
    Colour { y: 131, u: 156, v: 44 },
    Colour { y: 112, u: 72, v: 58 },
    Colour { y: 84, u: 184, v: 198 },
    Colour { y: 65, u: 100, v: 212 },
    Colour { y: 35, u: 212, v: 114 },
    Colour { y: 40, u: 128, v: 128 },
];
const PANEL: Colour = Colour { y: 26, u: 130, v: 126 };
const MARKER: Colour = Colour { y: 210, u: 16, v: 146 };
const NO_COLOUR: Colour = Colour { y: 16, u: 128, v: 128 };
const WHITE: u8 = 235;

impl Canvas {
    fn new(width_px: u32, height_px: u32, name: &str) -> Self {
        let (width, height) = (width_px as usize, height_px as usize);
        let mut canvas = Self {
            width,
            height,
            yuv: vec![128; width * height * 3 / 2],
            background: Vec::new(),
            scale: (height / 180).min(width / 320).max(1),
        };
        canvas.yuv[..width * height].fill(PANEL.y);
        let bars_height = height * 4 / 10;
        for (index, bar) in BARS.into_iter().enumerate() {
            let (left, right) = (index * width / BARS.len(), (index + 1) * width / BARS.len());
            canvas.fill(left, 0, right - left, bars_height, bar);
        }
        canvas.fill(0, bars_height, width, height - bars_height, PANEL);
        // Colour would make the blocks of the time code darker or lighter.
        canvas.fill(0, 0, width, (canvas.code_height() + 1) & !1, NO_COLOUR);
        let y = bars_height + 10 * canvas.scale;
        canvas.text(8 * canvas.scale, y, 1, name);
        canvas.background = canvas.yuv.clone();
        canvas
    }

    /// Draws frame number `frame` as of `now`.
    fn draw(&mut self, frame: u64, now: Timestamp) {
        self.yuv.copy_from_slice(&self.background);
        self.time_code(now);
        let scale = self.scale;
        let y = self.height * 4 / 10 + 24 * scale;
        self.text(8 * scale, y, 2, &now.strftime("%H:%M:%S%.3f UTC").to_string());
        self.text(8 * scale, y + 22 * scale, 2, &format!("frame {frame}"));
        // A marker that crosses the picture in two seconds makes a stutter visible.
        let side = 12 * scale;
        let phase = frame as usize % (2 * FPS as usize);
        let x = (self.width - side) * phase / (2 * FPS as usize - 1);
        let bars_height = self.height * 4 / 10;
        self.fill(x & !1, (bars_height - side) & !1, side & !1, side & !1, MARKER);
    }

    fn code_height(&self) -> usize {
        self.height / time_code::HEIGHT_PART
    }

    fn time_code(&mut self, now: Timestamp) {
        let unix_ms = u64::try_from(now.as_millisecond()).unwrap_or_default();
        let blocks = time_code::encode(unix_ms);
        let edge = |block: usize| block * self.width / time_code::BLOCKS;
        for row in 0..self.code_height() {
            for (block, is_white) in blocks.into_iter().enumerate() {
                let (from, to) =
                    (row * self.width + edge(block), row * self.width + edge(block + 1));
                self.yuv[from..to].fill(if is_white { WHITE } else { NO_COLOUR.y });
            }
        }
    }

    /// Fills a rectangle; odd edges of the chroma planes are rounded down.
    fn fill(&mut self, left: usize, top: usize, width: usize, height: usize, colour: Colour) {
        let (right, bottom) = ((left + width).min(self.width), (top + height).min(self.height));
        for row in top..bottom {
            self.yuv[row * self.width + left..row * self.width + right].fill(colour.y);
        }
        let chroma_width = self.width / 2;
        let u_plane = self.width * self.height;
        let v_plane = u_plane + chroma_width * (self.height / 2);
        for row in top / 2..bottom / 2 {
            let (from, to) = (row * chroma_width + left / 2, row * chroma_width + right / 2);
            self.yuv[u_plane + from..u_plane + to].fill(colour.u);
            self.yuv[v_plane + from..v_plane + to].fill(colour.v);
        }
    }

    /// Writes text in luma; characters the font lacks are left blank, and what does not fit is cut.
    fn text(&mut self, left: usize, top: usize, size: usize, text: &str) {
        let dot = self.scale * size;
        for (index, character) in text.chars().enumerate() {
            let Some(glyph) = BASIC_FONTS.get(character) else { continue };
            for (row, bits) in glyph.into_iter().enumerate() {
                for column in (0..8).filter(|column| bits >> column & 1 == 1) {
                    let x = left + (index * 8 + column) * dot;
                    let y = top + row * dot;
                    if x + dot > self.width || y + dot > self.height {
                        continue;
                    }
                    for line in y..y + dot {
                        self.yuv[line * self.width + x..line * self.width + x + dot].fill(WHITE);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_can_be_read_from_the_middle_of_the_top_sixteenth() {
        for (width, height) in [(64, 64), (638, 360), (1280, 720), (3840, 2160)] {
            let mut canvas = Canvas::new(width, height, "Door");
            let now = Timestamp::from_millisecond(1_763_845_490_123).unwrap();
            canvas.draw(0, now);
            let (width, row) = (canvas.width, canvas.height / 32);
            let blocks = std::array::from_fn(|block| {
                let middle = (2 * block + 1) * width / (2 * time_code::BLOCKS);
                canvas.yuv[row * width + middle] >= 128
            });
            assert_eq!(time_code::decode(&blocks), Some(1_763_845_490_123), "{width}x{height}");
        }
    }

    #[test]
    fn every_frame_differs_and_keeps_its_size() {
        for (width, height) in [(64, 64), (640, 360), (1280, 720), (64, 2160)] {
            let mut canvas =
                Canvas::new(width, height, "A name that does not fit into the picture");
            let len = canvas.yuv.len();
            assert_eq!(len, (width * height * 3 / 2) as usize);
            canvas.draw(0, Timestamp::UNIX_EPOCH);
            let first = canvas.yuv.clone();
            canvas.draw(7, Timestamp::UNIX_EPOCH);
            assert_ne!(first, canvas.yuv);
            assert_eq!(canvas.yuv.len(), len);
        }
    }
}
