//! Many viewers of one camera: Damwall, then go2rtc, with the same camera and the same client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::camera::Camera;
use super::go2rtc::{self, Go2rtc};
use super::{browser, table};
use crate::args::Args;
use crate::build::{self, Mode, cargo};
use crate::paths;
use crate::run::{capture, run, say, step};
use crate::serving::Server;
use crate::setup::{self, Purpose};
use crate::versions::GO2RTC;

/// Memory is read at these numbers of viewers, one after another.
const LADDER: &str = "1,200,1";

/// What to measure.
#[derive(Debug)]
pub struct Options {
    mode: Mode,
    viewers: String,
    secs: u64,
    cycles: u64,
    is_quick: bool,
    only: Option<Which>,
    browser_runs: Option<u32>,
    /// Measured instead of one that is built now.
    program: Option<PathBuf>,
    write: bool,
    /// As it was typed, for the caption.
    command: String,
}

/// One of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Damwall,
    Go2rtc,
}

impl Options {
    /// Takes what `cargo xtask --help` lists.
    ///
    /// # Errors
    /// When a value is not understood.
    pub fn from_args(args: &mut Args) -> Result<Self> {
        let command = format!("bench live {args}");
        let is_quick = args.flag("--quick");
        let only = match args.value("--only")?.as_deref() {
            None => None,
            Some("damwall") => Some(Which::Damwall),
            Some("go2rtc") => Some(Which::Go2rtc),
            Some(other) => bail!("--only {other}: choose damwall or go2rtc"),
        };
        let (viewers, secs) = if is_quick { ("1,25", 5) } else { ("1,25,100,200,400", 20) };
        let viewers = args.value("--viewers")?.unwrap_or_else(|| viewers.to_owned());
        if !viewers.split(',').all(|count| count.parse::<u32>().is_ok_and(|count| count > 0)) {
            bail!("--viewers {viewers}: write numbers with commas between them, as 1,25,100");
        }
        let runs = args.number("--runs")?.unwrap_or(20);
        // The release build is what counts; `--release` is the default here.
        let dev = args.flag("--dev");
        args.flag("--release");
        Ok(Self {
            mode: if dev { Mode::Dev } else { Mode::Release },
            viewers,
            secs: args.number("--secs")?.unwrap_or(secs),
            cycles: args.number("--cycles")?.unwrap_or(0),
            is_quick,
            only,
            browser_runs: args.flag("--browser").then_some(runs),
            program: args.value("--program")?.map(PathBuf::from),
            write: args.flag("--write"),
            command: command.replace(" --write", "").trim_end().to_owned(),
        })
    }

    fn wants(&self, which: Which) -> bool {
        self.only.is_none_or(|only| only == which)
    }
}

/// Measures, prints and writes the table.
///
/// # Errors
/// When something cannot be built or started. Viewers that fail are in the table instead.
pub fn live(options: &Options) -> Result<()> {
    setup::setup(Purpose::Test)?;
    let build = || match &options.program {
        Some(program) => Ok(program.clone()),
        None => build::build_any_pages(options.mode),
    };
    let damwall = options.wants(Which::Damwall).then(build).transpose()?;
    let build = match &damwall {
        Some(program) => table::says(program)?,
        None => table::built_as(options.mode).to_owned(),
    };
    let peer = if options.wants(Which::Go2rtc) { go2rtc::build()? } else { None };
    let folder = paths::target()?.join("bench-live");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (name, table) = match options.browser_runs {
        None => ("bench live", load(options, damwall, peer, &folder)?),
        Some(runs) => ("bench live --browser", browser::measure(runs, damwall, peer, &folder)?),
    };
    let caption = table::caption(&build, &options.command)?;
    let text = format!("{caption} go2rtc {GO2RTC}.\n\n{table}");
    println!("{text}");
    let file = folder.join(format!("{}.md", name.replace(" --", "-").replace(' ', "-")));
    fs::write(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
    say(&format!("table and JSON are in {}", folder.display()));
    if options.write { table::write_into_docs(name, &text) } else { Ok(()) }
}

fn load(
    options: &Options,
    damwall: Option<PathBuf>,
    peer: Option<PathBuf>,
    folder: &Path,
) -> Result<String> {
    let client = build_client(options.mode)?;
    let camera = Camera::clip(folder)?;
    let mut found = Vec::new();
    for part in Part::of(options) {
        if let Some(damwall) = &damwall {
            let server = start_damwall(damwall, folder, camera.url())?;
            let target = ("Damwall", whep(&server), server.pid());
            found.push(part.measure(&client, &target, camera.url(), folder)?);
        }
        if let Some(peer) = &peer {
            let server = Go2rtc::start(peer, folder, camera.url())?;
            let target = ("go2rtc", server.whep(), server.pid());
            found.push(part.measure(&client, &target, camera.url(), folder)?);
        }
    }
    let json = folder.join("bench-live.json");
    capture(Command::new(&client).arg("table").args(found).arg("--json").arg(json))
}

/// What is measured of one process of a server.
struct Part {
    name: &'static str,
    args: Vec<String>,
}

impl Part {
    /// Memory gets a fresh process: what hundreds of viewers leave behind would hide a leak.
    fn of(options: &Options) -> Vec<Self> {
        let args = |args: &[&str]| args.iter().map(|&arg| arg.to_owned()).collect();
        let secs = options.secs.to_string();
        let load = ["--viewers", &options.viewers, "--secs", &secs];
        let mut parts = vec![Self { name: "load", args: args(&load) }];
        if !options.is_quick || options.cycles > 0 {
            let cycles = options.cycles.to_string();
            let memory = ["--ladder", LADDER, "--cycles", &cycles, "--secs", &secs];
            parts.push(Self { name: "memory", args: args(&memory) });
        }
        parts
    }

    /// Runs the client; gives the file it wrote.
    fn measure(
        &self,
        client: &Path,
        (server, whep, pid): &(&str, String, u32),
        camera_url: &str,
        folder: &Path,
    ) -> Result<PathBuf> {
        let out = folder.join(format!("{server}-{}.json", self.name));
        step(&format!("measuring {server}: {}", self.name), || {
            run(
                Command::new(client)
                    .args(["run", "--name", server, "--whep", whep, "--camera", camera_url])
                    .args(["--pid", &pid.to_string()])
                    .args(&self.args)
                    .arg("--out")
                    .arg(&out),
                "see its message above",
            )
        })?;
        Ok(out)
    }
}

/// The load client.
///
/// # Errors
/// When it cannot be built.
pub fn build_client(mode: Mode) -> Result<PathBuf> {
    step("building the load client", || {
        let mut cargo = cargo();
        cargo.args(["build", "--package", "bench"]);
        if mode == Mode::Release {
            cargo.arg("--release");
        }
        run(&mut cargo, "see the compiler's message above")
    })?;
    let profile = if mode == Mode::Release { "release" } else { "debug" };
    Ok(paths::target()?.join(profile).join("whep-load"))
}

/// Serves one camera, with an empty library and any free ports.
///
/// # Errors
/// When it does not start.
pub fn start_damwall(damwall: &Path, folder: &Path, camera_url: &str) -> Result<Server> {
    let config = folder.join("damwall.toml");
    let text = format!(
        "[live]\nudp_addr = \"127.0.0.1:0\"\n\n\
         [[cameras]]\nid = \"camera\"\nname = \"Camera\"\nurl = \"{camera_url}\"\n"
    );
    fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
    let mut serve = Command::new(damwall);
    serve.args(["serve", "--addr", "127.0.0.1:0"]).arg("--config").arg(&config);
    serve.arg("--data-dir").arg(folder.join("data"));
    // A line for each viewer that comes and goes would be part of what is measured in neither.
    serve.env("DAMWALL_SERVER_LOG", "warn");
    Server::start(&mut serve)
}

/// Damwall's WHEP endpoint of the camera.
#[must_use]
pub fn whep(server: &Server) -> String {
    format!("{}/whep/camera", server.url())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options> {
        let mut args = Args::new(line.split_whitespace().map(str::to_owned));
        let options = Options::from_args(&mut args)?;
        args.finish()?;
        Ok(options)
    }

    #[test]
    fn the_release_build_is_measured_unless_told_otherwise() {
        assert_eq!(options("").unwrap().mode, Mode::Release);
        assert_eq!(options("--dev").unwrap().mode, Mode::Dev);
    }

    #[test]
    fn options_have_their_say_over_quick() {
        let quick = options("--quick --viewers 3 --write").unwrap();
        assert_eq!((quick.viewers.as_str(), quick.secs), ("3", 5));
        assert_eq!(quick.command, "bench live --quick --viewers 3");
        assert!(quick.wants(Which::Go2rtc) && quick.browser_runs.is_none());
        let browser = options("--browser --runs 3 --only damwall").unwrap();
        assert_eq!(browser.browser_runs, Some(3));
        assert!(!browser.wants(Which::Go2rtc));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(options("--viewers 1,many").is_err());
        assert!(options("--only mediamtx").is_err());
        assert!(options("--secs soon").is_err());
        assert!(options("--vievers 3").is_err());
    }
}
