//! Running programs: every step is announced, timed, and says what to do when it fails.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::tally::Tally;

/// One line to whoever waits.
pub fn say(text: &str) {
    eprintln!("\x1b[1m==>\x1b[0m {text}");
}

/// A duration as people say it.
#[must_use]
pub fn human(duration: Duration) -> String {
    let secs = duration.as_secs();
    if secs < 100 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {:02} s", secs / 60, secs % 60)
    }
}

/// Does one thing: says what it is, and afterwards how long it took.
///
/// # Errors
/// What `work` returns.
pub fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(what);
    let started = Instant::now();
    let outcome = work();
    let verdict = if outcome.is_ok() { "done" } else { "failed" };
    eprintln!("    {verdict} after {}: {what}", human(started.elapsed()));
    outcome
}

/// Runs to the end with our own standard streams.
///
/// # Errors
/// When it cannot be started or fails; `advice` says what to do then.
pub fn run(command: &mut Command, advice: &str) -> Result<()> {
    let shown = shown(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{shown}`; {advice}"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status}); {advice}");
    }
    Ok(())
}

/// Asks a program to end (SIGTERM; std alone could only kill it) and waits until it has.
pub fn terminate(child: &mut Child) {
    if !succeeds(Command::new("kill").arg(child.id().to_string())) {
        child.kill().ok();
    }
    child.wait().ok();
}

/// Whether it runs and succeeds, in silence.
#[must_use]
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs in silence and returns what it prints.
///
/// # Errors
/// When it cannot be started or fails; with what it wrote to its error stream.
pub fn capture(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` printed no text"))
}

/// Runs a test runner: shows its output and counts the tests in it.
///
/// # Errors
/// When it cannot be started. Failing tests are no error here; see [`Outcome::succeeded`].
pub fn run_tests(command: &mut Command) -> Result<Outcome> {
    let shown = shown(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    let stdout = child.stdout.take().context("the runner's output is piped")?;
    let mut tally = Tally::default();
    let mut ours = std::io::stdout().lock();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.with_context(|| format!("cannot read what `{shown}` prints"))?;
        tally.add_line(&String::from_utf8_lossy(&line));
        ours.write_all(&line).and_then(|()| ours.write_all(b"\n")).context("cannot print")?;
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{shown}`"))?;
    Ok(Outcome { succeeded: status.success(), tally })
}

/// What a test runner came to.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Its exit status was zero.
    pub succeeded: bool,
    /// The tests it reported.
    pub tally: Tally,
}

/// Stages of a long command, for the summary at its end.
#[derive(Debug, Default)]
pub struct Stages(Vec<(String, Duration, bool)>);

impl Stages {
    /// Runs a stage and keeps its verdict; a failure does not stop the stages after it.
    /// Returns whether it went well.
    pub fn run(&mut self, name: &str, work: impl FnOnce() -> Result<()>) -> bool {
        let started = Instant::now();
        let outcome = step(name, work);
        if let Err(error) = &outcome {
            eprintln!("    {error:#}");
        }
        self.0.push((name.to_owned(), started.elapsed(), outcome.is_ok()));
        outcome.is_ok()
    }

    /// Prints every stage with its time and verdict.
    ///
    /// # Errors
    /// When one of them failed; names them.
    pub fn finish(&self) -> Result<()> {
        eprintln!();
        for (name, duration, passed) in &self.0 {
            let verdict = if *passed { "ok    " } else { "FAILED" };
            eprintln!("  {verdict} {:>12}  {name}", human(*duration));
        }
        let failed: Vec<_> = self.0.iter().filter(|s| !s.2).map(|s| s.0.as_str()).collect();
        if !failed.is_empty() {
            bail!("failed: {}; what went wrong is printed above", failed.join(", "));
        }
        Ok(())
    }
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    let line = words.join(" ");
    if line.chars().count() > 160 {
        let start: String = line.chars().take(160).collect();
        return format!("{start}…");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_readable() {
        assert_eq!(human(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(human(Duration::from_secs(125)), "2 min 05 s");
    }

    #[test]
    fn a_failure_says_what_to_do() {
        let error = run(&mut Command::new("/nonexistent/tool"), "install it").unwrap_err();
        assert!(error.to_string().contains("install it"));
    }

    #[test]
    fn a_failed_stage_is_named_and_the_next_still_runs() {
        let mut stages = Stages::default();
        assert!(!stages.run("one", || bail!("no")));
        assert!(stages.run("two", || Ok(())));
        assert!(stages.finish().unwrap_err().to_string().starts_with("failed: one;"));
    }
}
