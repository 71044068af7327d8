//! `whep-load`: many WHEP viewers in one process, and the figures they come to.
//!
//! It measures one server after another with the same camera and writes numbers. Must not: pass or fail; what
//! was hoped for stands beside them, see [`bars`].
//!
//! `cargo xtask bench live` starts the servers and this program; see docs/benchmarks.md for the method.

mod answer;
mod bars;
mod http;
mod latency;
mod measure;
mod peer;
mod process;
mod reference;
mod report;
mod rtp;
mod soak;
mod stats;
mod stun;
mod viewer;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// Many WHEP viewers in one process.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures one running server and writes what was found as JSON.
    Run {
        #[command(flatten)]
        plan: Box<measure::Plan>,
        /// File to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Viewers come and go for a long time; prints Markdown.
    Soak {
        #[command(flatten)]
        plan: Box<soak::SoakPlan>,
    },
    /// Puts what was found of several servers into one Markdown table.
    Table {
        /// Files that `run` wrote; several of one server are put together.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// All of it as JSON too, with ratios and bars.
        #[arg(long)]
        json: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("whep-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Run { plan, out } => {
            let found = on_one_thread(measure::measure(&plan))?;
            let json = serde_json::to_vec_pretty(&found).context("cannot write JSON")?;
            std::fs::write(&out, json).with_context(|| format!("cannot write {}", out.display()))
        }
        Command::Soak { plan } => {
            print!("{}", on_one_thread(soak::soak(&plan))?);
            Ok(())
        }
        Command::Table { files, json } => {
            let mut servers = Vec::new();
            for file in &files {
                let text = std::fs::read(file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                servers.push(
                    serde_json::from_slice::<report::Server>(&text)
                        .with_context(|| format!("{} is none of ours", file.display()))?,
                );
            }
            let servers = report::merged(servers);
            let compared = bars::Compared::new(&servers);
            print!("{}", report::markdown(&servers, &compared));
            let Some(file) = json else { return Ok(()) };
            let whole = serde_json::json!({
                "servers": servers, "ratios": compared.ratios, "bars": compared.bars,
            });
            let text = serde_json::to_vec_pretty(&whole).context("cannot write JSON")?;
            std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
        }
    }
}

/// One thread on purpose: the rest of the machine is the server's.
fn on_one_thread<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    tokio::task::LocalSet::new().block_on(&runtime, work)
}
