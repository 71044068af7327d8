//! `whep-load`: many WHEP viewers in one process, and the figures they come to.
//!
//! Must not: judge. It measures one server after another with the same camera and writes numbers.
//!
//! `cargo xtask bench live` starts the servers and this program; see docs/benchmarks.md for the method.

mod answer;
mod http;
mod latency;
mod measure;
mod peer;
mod process;
mod reference;
mod report;
mod rtp;
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
    /// Puts what was found of several servers into one Markdown table.
    Table {
        /// Files that `run` wrote; several of one server are put together.
        #[arg(required = true)]
        files: Vec<PathBuf>,
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
            // One thread on purpose: the rest of the machine is the server's.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("cannot start the runtime")?;
            let found = tokio::task::LocalSet::new().block_on(&runtime, measure::measure(&plan))?;
            let json = serde_json::to_vec_pretty(&found).context("cannot write JSON")?;
            std::fs::write(&out, json).with_context(|| format!("cannot write {}", out.display()))
        }
        Command::Table { files } => {
            let mut servers = Vec::new();
            for file in &files {
                let text = std::fs::read(file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                servers.push(
                    serde_json::from_slice::<report::Server>(&text)
                        .with_context(|| format!("{} is none of ours", file.display()))?,
                );
            }
            print!("{}", report::markdown(&report::merged(servers)));
            Ok(())
        }
    }
}
