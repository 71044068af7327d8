//! Measurements that the documentation quotes.
//!
//! Must not: pass or fail; a measurement is a number with its command, and the machine is noisy.

mod browser;
mod camera;
mod go2rtc;
mod idle;
mod live;
mod table;

use anyhow::{Result, bail};

use crate::args::Args;

/// A benchmark and what it is to measure.
#[derive(Debug)]
pub enum Benchmark {
    /// A server with nothing to do.
    Idle(idle::Options),
    /// Many viewers of one camera, beside go2rtc.
    Live(live::Options),
}

impl Benchmark {
    /// Takes the name of the benchmark and its options.
    ///
    /// # Errors
    /// When there is no such benchmark, or an option is not understood.
    pub fn from_args(args: &mut Args) -> Result<Self> {
        match args.positional().as_deref() {
            Some("idle") => idle::Options::from_args(args).map(Self::Idle),
            Some("live") => live::Options::from_args(args).map(Self::Live),
            _ => bail!("name a benchmark: idle or live"),
        }
    }

    /// Measures.
    ///
    /// # Errors
    /// When something cannot be built or started.
    pub fn run(&self) -> Result<()> {
        match self {
            Self::Idle(options) => idle::idle(options),
            Self::Live(options) => live::live(options),
        }
    }
}
