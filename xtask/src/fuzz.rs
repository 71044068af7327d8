//! Fuzzing: every parser of outside bytes, each for some seconds, from the inputs in `fuzz/seeds`.
//!
//! Must not: know what a target checks.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::args::Args;
use crate::build::cargo;
use crate::paths;
use crate::run::{run, say, step};
use crate::setup::{self, Purpose};

/// What to fuzz, and for how long.
#[derive(Debug)]
pub struct Options {
    /// For each target.
    secs: u64,
    targets: Vec<String>,
}

impl Options {
    /// Takes `--secs` and the names of targets; none means all.
    ///
    /// # Errors
    /// On a name that is no target.
    pub fn from_args(args: &mut Args) -> Result<Self> {
        let secs = args.number("--secs")?.unwrap_or(20);
        let all = all_targets()?;
        let mut targets = Vec::new();
        while let Some(name) = args.positional() {
            if !all.contains(&name) {
                bail!("there is no fuzz target `{name}`; choose from {}", all.join(", "));
            }
            targets.push(name);
        }
        Ok(Self { secs, targets: if targets.is_empty() { all } else { targets } })
    }
}

fn all_targets() -> Result<Vec<String>> {
    let dir = paths::root().join("fuzz/targets");
    let entries = fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut targets = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        targets.extend(name.to_string_lossy().strip_suffix(".rs").map(str::to_owned));
    }
    targets.sort();
    Ok(targets)
}

/// Builds the targets, runs each, and prints what they came to.
///
/// # Errors
/// When a tool cannot be installed, something does not build, or a target found an input that breaks
/// what it asserts.
pub fn fuzz(options: &Options) -> Result<()> {
    setup::setup(Purpose::Fuzz)?;
    take_locked_versions()?;
    step("building the fuzz targets", || {
        run(&mut cargo_fuzz("build")?, "see the compiler's message above")
    })?;
    let mut runs = Vec::new();
    for target in &options.targets {
        say(&format!("fuzzing {target} for {} s", options.secs));
        runs.push((target, fuzz_one(target, options.secs)?));
    }
    println!("  {:<13} {:>12} {:>9} {:>6}  outcome", "target", "inputs", "inputs/s", "edges");
    for (target, Run { inputs, inputs_per_sec, edges, failure }) in &runs {
        let outcome = if failure.is_some() { "FAILED" } else { "ok" };
        println!("  {target:<13} {inputs:>12} {inputs_per_sec:>9} {edges:>6}  {outcome}");
    }
    let failures = runs.iter().filter_map(|(target, run)| Some((*target, run.failure.as_ref()?)));
    let mut failed = Vec::new();
    for (target, failure) in failures {
        eprintln!("\n{target}:\n{failure}");
        failed.push(target.as_str());
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!(
        "failed: {}; what breaks them is in fuzz/artifacts, and belongs into a test and into fuzz/seeds",
        failed.join(", ")
    );
}

/// The parsers are to be fuzzed with the dependencies that are shipped.
fn take_locked_versions() -> Result<()> {
    let (root, fuzz) = (paths::root(), paths::root().join("fuzz"));
    let locked = fs::read(root.join("Cargo.lock")).context("cannot read Cargo.lock")?;
    // Cargo completes the copy; it is taken anew when what it was taken from has changed.
    let taken = fuzz.join(".locked-from");
    if fs::read(&taken).is_ok_and(|from| from == locked) && fuzz.join("Cargo.lock").exists() {
        return Ok(());
    }
    for copy in [fuzz.join("Cargo.lock"), taken] {
        fs::write(&copy, &locked).with_context(|| format!("cannot write {}", copy.display()))?;
    }
    Ok(())
}

/// Without a sanitizer: none of our code is unsafe, and so the pinned compiler will do.
fn cargo_fuzz(subcommand: &str) -> Result<Command> {
    let mut command = cargo();
    command
        .env("PATH", paths::path_with_tools()?)
        .args(["fuzz", subcommand, "--fuzz-dir", "fuzz", "--sanitizer", "none", "--target-dir"])
        .arg(paths::target()?.join("fuzz"));
    Ok(command)
}

/// What a target came to.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    inputs: u64,
    inputs_per_sec: u64,
    edges: u64,
    /// What it said of it: from the panic on, or of a time-out the end.
    failure: Option<String>,
}

fn fuzz_one(target: &str, secs: u64) -> Result<Run> {
    // New inputs go to the first folder; the seeds stay as few as they are.
    let [corpus, seeds] = ["corpus", "seeds"].map(|kind| format!("fuzz/{kind}/{target}"));
    for dir in [&corpus, &seeds] {
        let dir = paths::root().join(dir);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let output = cargo_fuzz("run")?
        .args([target, &corpus, &seeds, "--", "-print_final_stats=1", "-timeout=10"])
        .arg(format!("-max_total_time={secs}"))
        .stdin(Stdio::null())
        .output()
        .context("cannot start `cargo fuzz`")?;
    Ok(Run::of(output.status.success(), &String::from_utf8_lossy(&output.stderr)))
}

impl Run {
    /// Reads what libFuzzer says.
    fn of(succeeded: bool, text: &str) -> Self {
        let last = |name: &str| {
            let (_, value) = text.rsplit_once(name)?;
            value.split_whitespace().next()?.parse().ok()
        };
        let lines: Vec<&str> = text.lines().collect();
        let panic = lines.iter().position(|line| line.contains("panicked at"));
        let from = panic.unwrap_or(lines.len().saturating_sub(40));
        Self {
            inputs: last("stat::number_of_executed_units:").unwrap_or(0),
            inputs_per_sec: last("stat::average_exec_per_sec:").unwrap_or(0),
            edges: last(" cov: ").unwrap_or(0),
            failure: (!succeeded).then(|| lines[from..].join("\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options> {
        Options::from_args(&mut Args::new(line.split_whitespace().map(str::to_owned)))
    }

    #[test]
    fn targets_are_chosen_by_name() {
        let some = options("sdp --secs 5 stun").unwrap();
        assert_eq!((some.secs, some.targets), (5, vec!["sdp".to_owned(), "stun".to_owned()]));
        let all = options("").unwrap();
        assert_eq!(all.secs, 20);
        assert!(all.targets.contains(&"whip_sdp".to_owned()));
        let error = options("std").unwrap_err().to_string();
        assert!(error.contains("`std`") && error.contains("rtcp, rtp"), "{error}");
    }

    #[test]
    fn every_target_is_known_to_cargo() {
        let manifest = include_str!("../../fuzz/Cargo.toml");
        for target in all_targets().unwrap() {
            assert!(manifest.contains(&format!("path = \"targets/{target}.rs\"")), "{target}");
        }
    }

    #[test]
    fn what_libfuzzer_says_is_read() {
        let text = "#2\tINITED cov: 34 ft: 35 corp: 1/1b\n#524288\tpulse  cov: 101 ft: 300 corp: 9/44b\n\
                    stat::number_of_executed_units: 524300\nstat::average_exec_per_sec:     26215\n";
        let run = Run { inputs: 524_300, inputs_per_sec: 26_215, edges: 101, failure: None };
        assert_eq!(Run::of(true, text), run);
        let failed = Run::of(false, "#9 REDUCE cov: 3\npanicked at 'no'");
        assert_eq!((failed.inputs, failed.failure.as_deref()), (0, Some("panicked at 'no'")));
    }
}
