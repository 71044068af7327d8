//! Every test there is: Rust's, then the browser's against the real program.

use std::process::Command;

use anyhow::{Result, bail};

use crate::args::Args;
use crate::build::{self, Mode, cargo};
use crate::paths;
use crate::run::{Stages, run, run_tests};
use crate::setup::{self, Purpose};
use crate::tally::Tally;

/// Which tests to run.
#[derive(Debug)]
pub struct Options {
    rust: bool,
    browser: bool,
    filter: Option<String>,
}

impl Options {
    /// Takes `--only rust|browser` and a filter.
    ///
    /// # Errors
    /// On any other `--only`.
    pub fn from_args(args: &mut Args) -> Result<Self> {
        let only = args.value("--only")?;
        let (rust, browser) = match only.as_deref() {
            None => (true, true),
            Some("rust") => (true, false),
            Some("browser") => (false, true),
            Some(other) => bail!("--only {other}: choose rust or browser"),
        };
        Ok(Self { rust, browser, filter: args.positional() })
    }
}

/// The server's side of the workspace. Always the same packages, so that cargo unifies the same
/// features and compiles everything once.
const SERVER_SIDE: [&str; 3] = ["--workspace", "--exclude", "frontend"];

/// Runs the tests and prints how many passed.
///
/// # Errors
/// When a tool cannot be installed, something does not build, or a test fails.
pub fn test(options: &Options) -> Result<()> {
    setup::setup(Purpose::Test)?;
    let mut stages = Stages::default();
    let mut tally = Tally::default();
    if options.rust {
        let built = stages.run("building the Rust tests", || {
            run(
                with_test_servers(&mut cargo())?.arg("test").args(SERVER_SIDE).arg("--no-run"),
                "see the compiler's message above",
            )
        });
        if built {
            stages.run("Rust tests", || tally_of(&mut rust_tests(options)?, &mut tally));
            stages.run("Rust tests on PostgreSQL", || {
                tally_of(&mut postgres_tests(options)?, &mut tally)
            });
        }
    }
    if options.browser {
        let built = stages.run("building for the browser tests", || {
            build::build_pages(Mode::Dev)?;
            // With `--tests` the features are those of the test build above: nothing compiles twice.
            run(
                cargo().arg("build").args(SERVER_SIDE).args(["--bins", "--tests"]),
                "see the compiler's message above",
            )
        });
        if built {
            stages.run("browser tests", || tally_of(&mut browser_tests(options)?, &mut tally));
        }
    }
    let outcome = stages.finish();
    println!("{tally}");
    outcome
}

fn tally_of(runner: &mut Command, tally: &mut Tally) -> Result<()> {
    let outcome = run_tests(runner)?;
    *tally += outcome.tally;
    if outcome.succeeded {
        return Ok(());
    }
    bail!("{}; see the runner's output above", outcome.tally)
}

fn rust_tests(options: &Options) -> Result<Command> {
    let mut command = cargo();
    with_test_servers(&mut command)?.arg("test").args(SERVER_SIDE).arg("--no-fail-fast");
    if let Some(filter) = &options.filter {
        command.args(["--", filter]);
    }
    Ok(command)
}

/// Tests that take whichever database they are given: once more, on the other one.
const ON_EITHER_DATABASE: [&str; 6] =
    ["imports::", "reconciles::", "renditions::", "thumbs::", "uploads::", "watches::"];

fn postgres_tests(options: &Options) -> Result<Command> {
    let mut command = cargo();
    with_test_servers(&mut command)?
        .env("DAMWALL_TEST_DATABASE", "postgres")
        .arg("test")
        .args(SERVER_SIDE)
        .args(["--no-fail-fast", "--test", "it", "--"]);
    match &options.filter {
        Some(filter) => command.arg(filter),
        None => command.args(ON_EITHER_DATABASE),
    };
    Ok(command)
}

fn browser_tests(options: &Options) -> Result<Command> {
    let end2end = paths::root().join("end2end");
    let mut command = Command::new(end2end.join("node_modules/.bin/playwright"));
    with_test_servers(&mut command)?
        .arg("test")
        .env("DAMWALL_TEST_PYTHON", setup::peers_python()?)
        .env("DAMWALL_TEST_BIN", paths::target()?.join("debug/damwall"))
        .env("DAMWALL_TEST_CHROMIUM", setup::chromium())
        .current_dir(end2end);
    if let Some(filter) = &options.filter {
        command.args(["--pass-with-no-tests", "--grep", filter]);
    }
    Ok(command)
}

/// Tells a test where the servers it tests against are.
fn with_test_servers(command: &mut Command) -> Result<&mut Command> {
    if let Some(postgres) = setup::postgres() {
        command.env("DAMWALL_TEST_POSTGRES", postgres);
    }
    Ok(command
        .env("DAMWALL_TEST_WEED", setup::weed()?)
        .env("DAMWALL_TEST_RTSP_SERVER", paths::root().join("end2end/rtsp_server.py")))
}
