//! A server with nothing to do.

use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::processor;
use crate::args::Args;
use crate::build::{self, Mode};
use crate::paths;
use crate::run::say;
use crate::serving::Server;

/// How long to measure what.
#[derive(Debug)]
pub struct Options {
    mode: Mode,
    secs: u64,
}

impl Options {
    /// Takes `--release` and `--secs`.
    ///
    /// # Errors
    /// When a number is none.
    pub fn from_args(args: &mut Args) -> Result<Self> {
        Ok(Self { secs: args.number("--secs")?.unwrap_or(30), mode: Mode::from_args(args) })
    }
}

/// Memory, processor time and start of a server with nothing to do: no camera, an empty library.
///
/// # Errors
/// When it cannot be built or started.
pub fn idle(options: &Options) -> Result<()> {
    let damwall = build::build(options.mode)?;
    let folder = paths::target()?.join("bench-idle");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut serve = Command::new(&damwall);
    serve.args(["serve", "--addr", "127.0.0.1:0"]).current_dir(&folder);
    let began = Instant::now();
    let server = Server::start(&mut serve)?;
    let started = began.elapsed();
    let addr = server.url().trim_start_matches("http://");
    TcpStream::connect(addr).with_context(|| format!("{addr} does not answer"))?;

    let before = processor::used_by(server.pid())?;
    sleep(Duration::from_secs(options.secs));
    let used = processor::used_by(server.pid())?.saturating_sub(before);
    let status = format!("/proc/{}/status", server.pid());
    let status = fs::read_to_string(&status).with_context(|| format!("cannot read {status}"))?;
    let kib = status_kib(&status, "VmRSS:").context("the kernel tells no VmRSS")?;
    let build = if options.mode == Mode::Release { "release" } else { "dev" };
    say(&format!("idle for {} s, {build} build", options.secs));
    println!("| build | start to listening | RSS | CPU |\n|---|---|---|---|");
    println!(
        "| {build} | {} ms | {:.1} MB | {:.2} % of a core |",
        started.as_millis(),
        kib as f64 * 1024.0 / 1e6,
        used.as_secs_f64() / options.secs as f64 * 100.0
    );
    Ok(())
}

fn status_kib(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_proc() {
        assert_eq!(status_kib("Name:\tx\nVmRSS:\t  2048 kB\n", "VmRSS:"), Some(2048));
    }
}
