//! A server with nothing to do, and what each camera adds to it that nobody watches.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::camera::Camera;
use super::{processor, table};
use crate::args::Args;
use crate::build::{self, Mode};
use crate::paths;
use crate::run::say;
use crate::serving::Server;
use crate::setup::{self, Purpose};

/// How long to measure what.
#[derive(Debug)]
pub struct Options {
    mode: Mode,
    secs: u64,
    /// Measured beside no camera.
    cameras: Option<u32>,
    /// Measured instead of one that is built now.
    program: Option<PathBuf>,
}

impl Options {
    /// Takes `--release`, `--secs`, `--cameras` and `--program`.
    ///
    /// # Errors
    /// When a number is none.
    pub fn from_args(args: &mut Args) -> Result<Self> {
        Ok(Self {
            secs: args.number("--secs")?.unwrap_or(30),
            cameras: args.number("--cameras")?,
            program: args.value("--program")?.map(PathBuf::from),
            mode: Mode::from_args(args),
        })
    }
}

/// Memory, processor time and start of a server with nothing to do: no camera, an empty library. Then with
/// cameras: each pulls one 720p clip of 2 Mbit/s by RTSP.
///
/// # Errors
/// When it cannot be built or started.
pub fn idle(options: &Options) -> Result<()> {
    let damwall = match &options.program {
        Some(program) => program.clone(),
        None => build::build(options.mode)?,
    };
    let folder = paths::target()?.join("bench-idle");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let build = table::says(&damwall)?;
    say(&format!("idle for {} s", options.secs));
    let alone = Measured::of(&damwall, &folder, options.secs, "")?;
    let mut table =
        "| build | cameras | start to listening | RSS | CPU |\n|---|---|---|---|---|".to_owned();
    write!(table, "\n| {build} | 0 | {} |", alone.cells())?;
    if let Some(cameras) = options.cameras {
        setup::setup(Purpose::Test)?;
        let camera = Camera::clip(&folder)?;
        let with = Measured::of(&damwall, &folder, options.secs, &config(cameras, camera.url()))?;
        let each = (with.rss_mb - alone.rss_mb) / f64::from(cameras);
        write!(table, "\n| {build} | {cameras} | {} |\n\n{each:.1} MB a camera.", with.cells())?;
    }
    println!("{table}");
    Ok(())
}

fn config(cameras: u32, url: &str) -> String {
    let mut config = "[live]\nudp_addr = \"127.0.0.1:0\"\n".to_owned();
    for n in 1..=cameras {
        config += &format!("[[cameras]]\nid = \"camera{n}\"\nurl = \"{url}\"\n");
    }
    config
}

struct Measured {
    started: Duration,
    rss_mb: f64,
    /// Of a core.
    cpu_percent: f64,
}

impl Measured {
    /// Of a fresh process in a fresh folder.
    fn of(damwall: &Path, folder: &Path, secs: u64, config: &str) -> Result<Self> {
        let data = folder.join("data");
        if data.exists() {
            fs::remove_dir_all(&data)
                .with_context(|| format!("cannot remove {}", data.display()))?;
        }
        fs::create_dir(&data).with_context(|| format!("cannot make {}", data.display()))?;
        let file = data.join("damwall.toml");
        fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
        let mut serve = Command::new(damwall);
        serve.args(["serve", "--addr", "127.0.0.1:0", "--config"]).arg(&file).current_dir(&data);
        let began = Instant::now();
        let server = Server::start(&mut serve)?;
        let started = began.elapsed();
        let addr = server.url().trim_start_matches("http://");
        TcpStream::connect(addr).with_context(|| format!("{addr} does not answer"))?;

        let before = processor::used_by(server.pid())?;
        sleep(Duration::from_secs(secs));
        let used = processor::used_by(server.pid())?.saturating_sub(before);
        let status = format!("/proc/{}/status", server.pid());
        let status =
            fs::read_to_string(&status).with_context(|| format!("cannot read {status}"))?;
        let kib = status_kib(&status, "VmRSS:").context("the kernel tells no VmRSS")?;
        Ok(Self {
            started,
            rss_mb: kib as f64 * 1024.0 / 1e6,
            cpu_percent: used.as_secs_f64() / secs as f64 * 100.0,
        })
    }

    fn cells(&self) -> String {
        let Self { started, rss_mb, cpu_percent } = self;
        format!("{} ms | {rss_mb:.1} MB | {cpu_percent:.2} % of a core", started.as_millis())
    }
}

fn status_kib(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cameras_are_told_apart() {
        let config = config(2, "rtsp://127.0.0.1:8554/cam");
        assert!(config.contains("\"camera1\"") && config.contains("\"camera2\""), "{config}");
    }

    #[test]
    fn memory_is_read_from_proc() {
        assert_eq!(status_kib("Name:\tx\nVmRSS:\t  2048 kB\n", "VmRSS:"), Some(2048));
    }
}
