//! `cargo xtask`: builds, demonstrates, tests and checks Damwall.
//!
//! Must not: know anything about the program that its command line and its web pages do not show.

mod args;
mod bench;
mod build;
mod check;
mod demo;
mod fuzz;
mod loader;
mod paths;
mod run;
mod serving;
mod setup;
mod shots;
mod tally;
mod test;
mod versions;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::args::Args;

const HELP: &str = "\
cargo xtask <command>

  setup [--for demo|release|test|check|fuzz]
                      installs what is missing, and nothing else (default: demo)
  build [--release]   the program and its web pages, into <target>/debug or <target>/release
  demo [--release] [--addr 127.0.0.1:3000] [--no-serve]
                      builds, makes a sample library and a test camera, and serves them
  test [--only rust|browser] [filter]
                      unit and integration tests, then the browser tests; with a filter, those
                      whose names contain it
  check [fmt] [clippy] [wasm] [doc] [deny]
                      format, lints, documentation, dependencies; all of them when none is named
  fuzz [--secs 20] [target…]
                      hostile inputs to every parser of outside bytes, so long to each
  bench catalog [--release] [--assets 1000000] [--sqlite URL] [--postgres URL] [--write]
                      pages of a large library, on SQLite and on PostgreSQL; a catalog that is
                      named is filled if it is empty, and stays for the next time
  bench explorer [--dev] [--program FILE] [--secs 60] [--no-hey] [--no-next] [--write]
                      kept pages and thumbnails, beside nginx and Next.js with the same bytes
  bench idle [--release] [--secs 30] [--cameras 10] [--program FILE]
                      memory, processor time and start of a server with nothing to do, and with
                      cameras that nobody watches
  bench live [--dev] [--viewers 1,25,100,200,400] [--secs 20] [--only damwall|go2rtc]
             [--cycles 10000] [--quick] [--browser [--runs 20]] [--program FILE] [--write]
                      many viewers of one camera, beside go2rtc: processor time, memory, loss,
                      latency; with --browser one Chromium instead: first frame, glass to glass.
                      --write puts the tables into docs/benchmarks.md
  bench soak [--dev] [--mins 60] [--program FILE] [--write]
                      viewers that come and go, some that stay: memory, loss, latency, drift
  bench thumbs [--dev] [--rounds 10] [--write]
                      thumbnails of a photograph, beside libvips: processor time, bytes, likeness
  shots [--url http://…]
                      pictures of every page at three widths, light and dark, into <target>/shots

Tools are kept in $XDG_CACHE_HOME/damwall or ~/.cache/damwall; delete it to start afresh.
CARGO_TARGET_DIR is respected.
";

fn main() -> ExitCode {
    match dispatch(Args::new(std::env::args().skip(1))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(mut args: Args) -> Result<()> {
    let command = args.positional();
    if args.flag("--help") || args.flag("-h") || command.is_none() {
        print!("{HELP}");
        return Ok(());
    }
    match command.as_deref().unwrap_or_default() {
        "setup" => {
            let purpose = match args.value("--for")?.as_deref() {
                None | Some("demo") => setup::Purpose::Demo,
                Some("release") => setup::Purpose::Release,
                Some("test") => setup::Purpose::Test,
                Some("check") => setup::Purpose::Check,
                Some("fuzz") => setup::Purpose::Fuzz,
                Some(other) => bail!("--for {other}: choose demo, release, test, check or fuzz"),
            };
            args.finish()?;
            setup::setup(purpose)?;
            run::say("everything is there");
            Ok(())
        }
        "build" => {
            let mode = build::Mode::from_args(&mut args);
            args.finish()?;
            build::build(mode).map(drop)
        }
        "demo" => {
            let options = demo::Options::from_args(&mut args)?;
            args.finish()?;
            demo::demo(&options)
        }
        "test" => {
            let options = test::Options::from_args(&mut args)?;
            args.finish()?;
            test::test(&options)
        }
        "check" => {
            let checks = check::Check::from_args(&mut args)?;
            args.finish()?;
            check::check(&checks)
        }
        "fuzz" => {
            let options = fuzz::Options::from_args(&mut args)?;
            args.finish()?;
            fuzz::fuzz(&options)
        }
        "bench" => {
            let benchmark = bench::Benchmark::from_args(&mut args)?;
            args.finish()?;
            benchmark.run()
        }
        "shots" => {
            let url = args.value("--url")?;
            args.finish()?;
            shots::shots(url)
        }
        other => bail!("there is no command `{other}`; `cargo xtask --help` lists them"),
    }
}
