//! Building the program and its web pages.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::args::Args;
use crate::paths;
use crate::run::{run, say, step};
use crate::setup::{self, Purpose};

/// What browsers may have to fetch before a page reacts: the compressed wasm, in bytes.
const WASM_BUDGET_BYTES: u64 = 350 * 1024;

/// How the program is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Quick to build, good to debug.
    Dev,
    /// What is shipped.
    Release,
}

impl Mode {
    /// Takes `--release`.
    pub fn from_args(args: &mut Args) -> Self {
        if args.flag("--release") { Self::Release } else { Self::Dev }
    }
}

/// Installs what is missing, builds everything, and returns the program's path.
///
/// # Errors
/// When a tool is missing, the build fails, or the wasm is over its budget.
pub fn build(mode: Mode) -> Result<PathBuf> {
    setup::setup(match mode {
        Mode::Dev => Purpose::Demo,
        Mode::Release => Purpose::Release,
    })?;
    build_pages(mode)?;
    build_program(mode)
}

/// The web pages' files, and their hashes in `hash.txt` beside the program.
///
/// # Errors
/// When the build fails, or the wasm is over its budget.
pub fn build_pages(mode: Mode) -> Result<()> {
    let target = paths::target()?;
    // A release's files lie beside its program and not in `<target>/site`, where the next
    // development build would replace them: `damwall`, `hash.txt` and `site/` belong together.
    let site = match mode {
        Mode::Dev => target.join("site"),
        Mode::Release => target.join("release/site"),
    };
    step("building the web pages", || {
        let mut leptos = cargo();
        leptos
            .args(["leptos", "build", "--frontend-only"])
            .env("PATH", paths::path_with_tools()?)
            .env("LEPTOS_SITE_ROOT", &site);
        if mode == Mode::Release {
            leptos.args(["--release", "--precompress"]);
        }
        run(&mut leptos, "see the compiler's message above")
    })?;
    match mode {
        Mode::Dev => Ok(()),
        Mode::Release => check_wasm_budget(&site.join("pkg")),
    }
}

/// The program.
///
/// Built by plain cargo: that is the build which `cargo test` shares.
///
/// # Errors
/// When the build fails.
pub fn build_program(mode: Mode) -> Result<PathBuf> {
    step("building the program", || {
        let mut cargo = cargo();
        cargo.args(["build", "--package", "server"]);
        if mode == Mode::Release {
            cargo.arg("--release");
        }
        run(&mut cargo, "see the compiler's message above")
    })?;
    let out = paths::target()?.join(match mode {
        Mode::Dev => "debug",
        Mode::Release => "release",
    });
    if mode == Mode::Release {
        say(&format!(
            "{}: damwall, hash.txt and site/ run wherever they are copied to",
            out.display()
        ));
    }
    found(out.join("damwall"))
}

fn found(program: PathBuf) -> Result<PathBuf> {
    if program.is_file() {
        return Ok(program);
    }
    bail!("the build made no {}; check `bin-target` in Cargo.toml", program.display())
}

fn check_wasm_budget(pkg: &Path) -> Result<()> {
    let entries =
        fs::read_dir(pkg).with_context(|| format!("the build made no {}", pkg.display()))?;
    let mut brotli_bytes = 0;
    for entry in entries {
        let entry = entry.context("cannot list the built files")?;
        if entry.file_name().to_string_lossy().ends_with(".wasm.br") {
            brotli_bytes += entry.metadata().context("cannot read the size of a built file")?.len();
        }
    }
    let (kib, budget_kib) = (brotli_bytes.div_ceil(1024), WASM_BUDGET_BYTES / 1024);
    if brotli_bytes == 0 {
        bail!(
            "no compressed wasm in {}; is cargo-leptos called with --precompress?",
            pkg.display()
        );
    }
    if brotli_bytes > WASM_BUDGET_BYTES {
        bail!(
            "the wasm takes {kib} KiB with brotli, more than its budget of {budget_kib} KiB; find what grew with `twiggy top`, or argue for a new budget in xtask/src/build.rs"
        );
    }
    say(&format!("the wasm takes {kib} KiB with brotli, of {budget_kib} KiB allowed"));
    Ok(())
}

/// `cargo` at the root of the checkout, with our tools on its `PATH`.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(paths::root());
    // What `cargo run` tells the xtask about itself is not for the builds it starts.
    for (name, _) in env::vars_os() {
        let told = name.to_string_lossy();
        if told.starts_with("CARGO_PKG_")
            || told == "CARGO_MANIFEST_DIR"
            || told == "CARGO_MANIFEST_PATH"
        {
            command.env_remove(&name);
        }
    }
    command
}
