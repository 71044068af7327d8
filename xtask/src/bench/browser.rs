//! One real browser: time to the first frame, and glass to glass.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use super::camera::Camera;
use super::go2rtc::Go2rtc;
use super::live::{start_damwall, whep};
use crate::paths;
use crate::run::{capture, step};
use crate::setup;

/// Both servers run at once and take turns, so that a change of the machine's mood meets both.
///
/// # Errors
/// When a server, a camera or the browser does not start.
pub fn measure(
    runs: u32,
    damwall: Option<PathBuf>,
    peer: Option<PathBuf>,
    folder: &Path,
) -> Result<String> {
    let first_frame = measure_with(
        "first-frame",
        &Camera::clip(folder)?,
        runs,
        damwall.as_deref(),
        peer.as_deref(),
        folder,
    )?;
    let glass = measure_with(
        "glass-to-glass",
        &Camera::timecode()?,
        runs.div_ceil(4),
        damwall.as_deref(),
        peer.as_deref(),
        folder,
    )?;
    Ok(format!("{first_frame}\n{glass}"))
}

fn measure_with(
    what: &str,
    camera: &Camera,
    runs: u32,
    damwall: Option<&Path>,
    peer: Option<&Path>,
    folder: &Path,
) -> Result<String> {
    let ours = damwall.map(|damwall| start_damwall(damwall, folder, camera.url())).transpose()?;
    let theirs = peer.map(|peer| Go2rtc::start(peer, folder, camera.url())).transpose()?;
    step(&format!("measuring {what} in Chromium, {runs} runs each"), || {
        let mut node = Command::new("node");
        node.arg(paths::root().join("bench/browser.mjs"))
            .args([what, &runs.to_string()])
            .arg(folder.join(format!("{what}.json")))
            .args(ours.as_ref().map(|server| format!("Damwall={}", whep(server))))
            .args(theirs.as_ref().map(|server| format!("go2rtc={}", server.whep())))
            .env("DAMWALL_TEST_CHROMIUM", setup::chromium())
            // Each run is told as it ends.
            .stderr(Stdio::inherit());
        capture(&mut node)
    })
}
