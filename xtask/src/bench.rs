//! Measurements that the documentation quotes.
//!
//! Must not: pass or fail; a measurement is a number with its command, and the machine is noisy.

mod browser;
mod camera;
mod catalog;
mod explorer;
mod go2rtc;
mod idle;
mod live;
mod processor;
mod soak;
mod table;
mod thumbs;

use anyhow::{Result, bail};

use crate::args::Args;

/// A benchmark and what it is to measure.
#[derive(Debug)]
pub enum Benchmark {
    /// Pages of a large library.
    Catalog(catalog::Options),
    /// A server with nothing to do.
    Idle(idle::Options),
    /// Kept pages and thumbnails, beside nginx and Next.js.
    Explorer(explorer::Options),
    /// Many viewers of one camera, beside go2rtc.
    Live(live::Options),
    /// Viewers that come and go for an hour.
    Soak(soak::Options),
    /// Thumbnails of a photograph, beside libvips.
    Thumbs(thumbs::Options),
}

impl Benchmark {
    /// Takes the name of the benchmark and its options.
    ///
    /// # Errors
    /// When there is no such benchmark, or an option is not understood.
    pub fn from_args(args: &mut Args) -> Result<Self> {
        match args.positional().as_deref() {
            Some("catalog") => catalog::Options::from_args(args).map(Self::Catalog),
            Some("explorer") => explorer::Options::from_args(args).map(Self::Explorer),
            Some("idle") => idle::Options::from_args(args).map(Self::Idle),
            Some("live") => live::Options::from_args(args).map(Self::Live),
            Some("soak") => soak::Options::from_args(args).map(Self::Soak),
            Some("thumbs") => thumbs::Options::from_args(args).map(Self::Thumbs),
            _ => bail!("name a benchmark: catalog, explorer, idle, live, soak or thumbs"),
        }
    }

    /// Measures.
    ///
    /// # Errors
    /// When something cannot be built or started.
    pub fn run(&self) -> Result<()> {
        match self {
            Self::Catalog(options) => catalog::catalog(options),
            Self::Explorer(options) => explorer::explorer(options),
            Self::Idle(options) => idle::idle(options),
            Self::Live(options) => live::live(options),
            Self::Soak(options) => soak::soak(options),
            Self::Thumbs(options) => thumbs::thumbs(options),
        }
    }
}
