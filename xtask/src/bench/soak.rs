//! Viewers that come and go for a long time: does memory grow, does the picture fall behind?

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::camera::Camera;
use super::{live, table};
use crate::args::Args;
use crate::build::{self, Mode};
use crate::paths;
use crate::run::{capture, say};
use crate::setup::{self, Purpose};

/// How long.
#[derive(Debug)]
pub struct Options {
    mode: Mode,
    mins: u64,
    /// This one instead of one built from here.
    program: Option<PathBuf>,
    write: bool,
    /// As it was typed, for the caption.
    command: String,
}

impl Options {
    /// Takes `--dev`, `--mins`, `--program` and `--write`.
    ///
    /// # Errors
    /// When a number is none.
    pub fn from_args(args: &mut Args) -> Result<Self> {
        let command = format!("bench soak {args}");
        let dev = args.flag("--dev");
        Ok(Self {
            mode: if dev { Mode::Dev } else { Mode::Release },
            mins: args.number("--mins")?.unwrap_or(60),
            program: args.value("--program")?.map(PathBuf::from),
            write: args.flag("--write"),
            command: command.replace(" --write", "").trim_end().to_owned(),
        })
    }
}

/// Soaks, prints and writes the table.
///
/// # Errors
/// When something cannot be built or started.
pub fn soak(options: &Options) -> Result<()> {
    setup::setup(Purpose::Test)?;
    let damwall = match &options.program {
        Some(program) => program.clone(),
        None => build::build_any_pages(options.mode)?,
    };
    let client = live::build_client(options.mode)?;
    let folder = paths::target()?.join("bench-soak");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let camera = Camera::clip(&folder)?;
    let server = live::start_damwall(&damwall, &folder, camera.url())?;
    let found = capture(
        Command::new(&client)
            .args(["soak", "--whep", &live::whep(&server), "--camera", camera.url()])
            .args(["--pid", &server.pid().to_string(), "--mins", &options.mins.to_string()])
            // Its progress, for whoever waits an hour.
            .stderr(Stdio::inherit()),
    )?;
    let build = table::says(&damwall)?;
    let text = format!("{}\n\n{found}", table::caption(&build, &options.command)?);
    println!("{text}");
    let file = folder.join("bench-soak.md");
    fs::write(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
    say(&format!("the table is in {}", file.display()));
    if options.write { table::write_into_docs("bench soak", &text) } else { Ok(()) }
}
