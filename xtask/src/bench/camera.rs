//! The camera of the live measurements: `end2end/rtsp_server.py`, ending with us.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::paths;
use crate::run::{run, step};
use crate::setup::PYTHON;

/// A running RTSP camera; ends when dropped.
#[derive(Debug)]
pub struct Camera {
    child: Child,
    url: String,
}

impl Camera {
    /// An encoded clip in a loop: no encoder takes processor time from the servers.
    ///
    /// # Errors
    /// When it cannot be made or does not start.
    pub fn clip(folder: &Path) -> Result<Self> {
        let clip = make_clip(folder)?;
        Self::start(Command::new(PYTHON).arg(script()).arg("--clip").arg(clip))
    }

    /// A picture encoded live, with the time in it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn timecode() -> Result<Self> {
        let options = ["--timecode", "--width", "1280", "--height", "720", "--fps", "30"];
        let stream = ["--gop", "150", "--kbps", "2000"];
        Self::start(Command::new(PYTHON).arg(script()).args(options).args(stream))
    }

    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the camera")?;
        let stdout = child.stdout.take().context("the camera's output is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).context("cannot read what the camera says")?;
        let camera = Self { child, url: line.trim().to_owned() };
        if !camera.url.starts_with("rtsp://") {
            bail!("the camera did not start; its message is above");
        }
        Ok(camera)
    }

    /// `rtsp://127.0.0.1:PORT/cam`
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        // It ends with its standard input.
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

fn script() -> PathBuf {
    paths::root().join("end2end/rtsp_server.py")
}

/// 720p30, 2 Mbit/s, a key frame every 5 s. Made once.
fn make_clip(folder: &Path) -> Result<PathBuf> {
    let clip = folder.join("clip-720p30-2M-gop150.mp4");
    if clip.is_file() {
        return Ok(clip);
    }
    step("encoding the camera's clip", || {
        let unfinished = folder.join("clip.part.mp4");
        // Noise fills the bitrate and makes the frames differ in size.
        let graph = "testsrc2=s=1280x720:r=30,noise=alls=12:allf=t";
        run(
            Command::new("ffmpeg")
                .args(["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", graph, "-t", "20"])
                .args(["-c:v", "libx264", "-preset", "veryfast", "-profile:v", "main"])
                .args(["-pix_fmt", "yuv420p", "-bf", "0", "-g", "150", "-keyint_min", "150"])
                .args(["-sc_threshold", "0", "-b:v", "2M", "-maxrate", "2M", "-bufsize", "1M"])
                .arg(&unfinished),
            "is this ffmpeg 5 or newer, with libx264?",
        )?;
        fs::rename(&unfinished, &clip).context("cannot put the clip in its place")
    })?;
    Ok(clip)
}
