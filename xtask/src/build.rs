//! Building the program and its web pages.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::args::Args;
use crate::loader;
use crate::paths;
use crate::run::{run, say, step};
use crate::setup::{self, Purpose};

/// The compressed wasm that every page needs may take so much; 152 KiB of it on 2026-11-23.
const SHARED_BUDGET_KIB: u64 = 156;

/// The compressed wasm that browsers fetch before a page reacts, which is what every page needs and the part
/// that the page is in, may take so much; the comment says how much it was on 2026-11-23.
const PAGE_BUDGETS_KIB: [(&str, u64); 4] = [
    ("library", 340), // 334
    ("asset", 341),   // 335
    ("live", 282),    // 276
    ("manage", 445),  // 439
];

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

    /// Where cargo puts what it builds, in the target folder.
    fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
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

/// Like [`build`], for measurements in which nobody looks at the pages: older ones are good enough.
///
/// # Errors
/// When a build fails.
pub fn build_any_pages(mode: Mode) -> Result<PathBuf> {
    let hashes = paths::target()?.join(mode.folder()).join("hash.txt");
    if hashes.is_file() { build_program(mode) } else { build(mode) }
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
            .args(["leptos", "build", "--frontend-only", "--split"])
            .env("PATH", paths::path_with_tools()?)
            .env("LEPTOS_SITE_ROOT", &site);
        if mode == Mode::Release {
            leptos.args(["--release", "--precompress"]);
        }
        run(&mut leptos, "see the compiler's message above")
    })?;
    let pkg = site.join("pkg");
    loader::name_main_script(&pkg, &target.join(mode.folder()).join("hash.txt"))?;
    match mode {
        Mode::Dev => Ok(()),
        Mode::Release => check_wasm_budgets(&pkg),
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
    let out = paths::target()?.join(mode.folder());
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

fn check_wasm_budgets(pkg: &Path) -> Result<()> {
    let files = file_names(pkg)?;
    let brotli_bytes = |name: &str| {
        let file = pkg.join(format!("{name}.br"));
        let metadata = fs::metadata(&file).with_context(|| {
            format!("no {}; is cargo-leptos called with --precompress?", file.display())
        })?;
        Ok::<_, anyhow::Error>(metadata.len())
    };
    let named = |start: &str, end: &str| {
        files
            .iter()
            .find(|name| name.starts_with(start) && name.ends_with(end))
            .with_context(|| format!("the build made no {start}…{end}"))
    };
    let shared = brotli_bytes(named("damwall.", ".wasm")?)?;
    within("the wasm of every page", shared, SHARED_BUDGET_KIB)?;
    let manifest = pkg.join(named("__wasm_split_manifest.", ".json")?);
    let manifest =
        fs::read(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    let parts: BTreeMap<String, Vec<String>> =
        serde_json::from_slice(&manifest).context("the manifest of the parts is not as it was")?;
    for (part, files) in parts {
        let mut bytes = shared;
        for file in files {
            bytes += brotli_bytes(&format!("{file}.wasm"))?;
        }
        let (_, budget_kib) = PAGE_BUDGETS_KIB
            .iter()
            .find(|(name, _)| *name == part)
            .with_context(|| format!("the part `{part}` has no budget in xtask/src/build.rs"))?;
        within(&format!("the wasm of a page in `{part}`"), bytes, *budget_kib)?;
    }
    Ok(())
}

fn within(what: &str, brotli_bytes: u64, budget_kib: u64) -> Result<()> {
    let kib = brotli_bytes.div_ceil(1024);
    if kib > budget_kib {
        bail!(
            "{what} takes {kib} KiB with brotli, more than its budget of {budget_kib} KiB; see \"What browsers load\" in CONTRIBUTING.md, or argue for a new budget in xtask/src/build.rs"
        );
    }
    say(&format!("{what} takes {kib} KiB with brotli, of {budget_kib} KiB allowed"));
    Ok(())
}

fn file_names(folder: &Path) -> Result<Vec<String>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("the build made no {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.context("cannot list the built files")?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn built(name: &str, sizes: &[(&str, u64)]) -> PathBuf {
        let pkg = env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&pkg);
        fs::create_dir_all(&pkg).unwrap();
        let manifest = r#"{"live": ["chunk_1.c", "split_live.b"], "asset": ["split_asset.d"]}"#;
        fs::write(pkg.join("__wasm_split_manifest.e.json"), manifest).unwrap();
        for (file, kib) in sizes {
            fs::write(pkg.join(file), "").unwrap();
            let compressed = fs::File::create(pkg.join(format!("{file}.br"))).unwrap();
            compressed.set_len(kib * 1024).unwrap();
        }
        pkg
    }

    #[test]
    fn a_page_counts_with_what_all_share_and_every_file_of_its_part() {
        let shared = SHARED_BUDGET_KIB;
        let (_, live) = *PAGE_BUDGETS_KIB.iter().find(|(part, _)| *part == "live").unwrap();
        let check = |main, chunk| {
            let files = [
                ("damwall.a.wasm", main),
                ("split_live.b.wasm", live - shared - 1),
                ("chunk_1.c.wasm", chunk),
                ("split_asset.d.wasm", 1),
            ];
            let pkg = built("budgets", &files);
            let outcome = check_wasm_budgets(&pkg).map_err(|error| error.to_string());
            fs::remove_dir_all(pkg).unwrap();
            outcome
        };
        check(shared, 1).unwrap();
        let error = check(shared, 2).unwrap_err();
        assert!(error.starts_with("the wasm of a page in `live` takes"), "{error}");
        let error = check(shared + 1, 0).unwrap_err();
        assert!(error.starts_with("the wasm of every page takes"), "{error}");
    }
}
