//! `damwall import` and `damwall reindex`: what they do and how they tell of it.

use std::{
    collections::VecDeque,
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use app::format;
use catalog::{
    ImportOptions, ReconcileOptions,
    import::{ImportEvent, ImportOutcome, Progress, parse_folder},
    reconcile::{From, ReconcileError, ReconcileSummary},
};
use clap::Args;
use serde_json::json;

use super::{ConfigArgs, block_on};
use crate::{config::Config, serve};

/// Between lines of progress where they are read by a program or go to a log.
const PLAIN_PERIOD: Duration = Duration::from_secs(10);
/// Between changes of the line on a terminal.
const TERMINAL_PERIOD: Duration = Duration::from_millis(200);
/// What the rate is the average of.
const RATE_WINDOW: Duration = Duration::from_secs(15);

#[derive(Args)]
pub(super) struct ImportArgs {
    /// The folder; it is read, never changed.
    folder: PathBuf,
    /// Folder of the library that it becomes, such as Studio/2026; / is the top. Its name unless given.
    #[arg(long = "folder", value_name = "FOLDER")]
    library_folder: Option<String>,
    /// Files read at a time.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Name every file, not only those that could not be imported.
    #[arg(long, short)]
    verbose: bool,
    /// Write one JSON object a line: every file, the progress, and the summary at the end.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct ReindexArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Go on where the last look was cut off, instead of beginning anew.
    #[arg(long)]
    resume: bool,
    /// Write the summary as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Copies a folder's media into the library.
pub(super) fn import(config: &Config, args: &ImportArgs) -> anyhow::Result<()> {
    let folder = match &args.library_folder {
        Some(text) => {
            Some(parse_folder(text).map_err(|reason| anyhow::anyhow!("--folder: {reason}"))?)
        }
        None => None,
    };
    block_on(async {
        let library = serve::open_library_and_bucket(config).await?;
        let options = ImportOptions {
            parallel: args.parallel.into(),
            source_node: crate::ingest::hostname(),
            exclude: vec![config.server.data_dir.clone(), config.store_root()],
            folder,
            progress: Arc::default(),
        };
        let mut report = Report::new(args);
        let work = catalog::import_folder(
            &library.catalog,
            &library.store,
            &args.folder,
            &options,
            |event| report.file(event),
        );
        let summary = with_ticks(work, &report_ticker(args, &options.progress)).await?;
        report.clear();
        if args.json {
            let failed: Vec<_> =
                summary.failed.iter().map(|f| f.path.display().to_string()).collect();
            println!(
                "{}",
                json!({"event": "summary", "imported": summary.imported,
                    "already_there": summary.already_there, "skipped": summary.skipped,
                    "failed": failed})
            );
        } else {
            println!(
                "{} imported, {} already there, {} skipped (no picture, video or sound), {} failed",
                summary.imported,
                summary.already_there,
                summary.skipped,
                summary.failed.len()
            );
            if summary.imported > 0 {
                println!("thumbnails are made while `damwall serve` runs");
            }
        }
        library.catalog.close().await;
        let failed = summary.failed.len();
        anyhow::ensure!(failed == 0, "{failed} files could not be imported");
        Ok(())
    })
}

/// Looks through the whole store and brings the catalog in line with it.
pub(super) fn reindex(config: &Config, args: &ReindexArgs) -> anyhow::Result<()> {
    block_on(async {
        let library = serve::open_library_and_bucket(config).await?;
        let from = if args.resume { From::Checkpoint } else { From::Beginning };
        let options = ReconcileOptions { from, ..ReconcileOptions::default() };
        let is_terminal = std::io::stderr().is_terminal() && !args.json;
        let show = |summary: &ReconcileSummary| match is_terminal {
            true => eprint!("\r{} objects", summary.listed),
            false => eprintln!("{} objects", summary.listed),
        };
        let summary = loop {
            match catalog::reconcile(&library.catalog, &library.store, &options, show).await {
                // A server that is at it ends within its period; one that was killed within its lease.
                Err(ReconcileError::Busy) => {
                    eprintln!("another process is looking through the store; waiting for it …");
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
                other => break other?,
            }
        };
        if is_terminal {
            eprintln!();
        }
        for failed in &summary.failures {
            eprintln!("failed   {}: {}", failed.key, failed.reason);
        }
        if args.json {
            println!(
                "{}",
                json!({"listed": summary.listed, "registered": summary.registered,
                    "already_there": summary.already_there, "skipped": summary.skipped,
                    "moved": summary.moved, "missing": summary.missing,
                    "found_again": summary.found_again, "failed": summary.failed})
            );
        } else {
            println!(
                "{} found, {} already there, {} skipped, {} moved, {} missing, {} found again, {} failed",
                summary.registered,
                summary.already_there,
                summary.skipped,
                summary.moved,
                summary.missing,
                summary.found_again,
                summary.failed
            );
        }
        library.catalog.close().await;
        anyhow::ensure!(summary.failed == 0, "{} objects could not be read", summary.failed);
        Ok(())
    })
}

/// Drives the work, and the ticker beside it.
async fn with_ticks<T>(work: impl Future<Output = T>, ticker: &Ticker) -> T {
    let mut work = std::pin::pin!(work);
    let mut ticks = tokio::time::interval(ticker.period);
    let mut rate = Rate::default();
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = ticks.tick() => ticker.tick(&mut rate),
        }
    }
}

/// Shows progress now and then.
struct Ticker {
    progress: Arc<Progress>,
    how: How,
    period: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Terminal,
    Plain,
    Json,
}

fn report_ticker(args: &ImportArgs, progress: &Arc<Progress>) -> Ticker {
    let how = how(args);
    let period = if how == How::Terminal { TERMINAL_PERIOD } else { PLAIN_PERIOD };
    Ticker { progress: progress.clone(), how, period }
}

fn how(args: &ImportArgs) -> How {
    match (args.json, std::io::stderr().is_terminal()) {
        (true, _) => How::Json,
        (false, true) => How::Terminal,
        (false, false) => How::Plain,
    }
}

impl Ticker {
    fn tick(&self, rate: &mut Rate) {
        let now = Now::read(&self.progress);
        rate.add(Instant::now(), now.bytes_done);
        let per_sec = rate.bytes_per_sec();
        let mut err = std::io::stderr();
        // Progress is a courtesy: a closed terminal must not end the import.
        drop(match self.how {
            How::Terminal => {
                write!(err, "\r\x1b[K{}", now.line(per_sec)).and_then(|()| err.flush())
            }
            How::Plain if now.files_done > 0 => writeln!(err, "{}", now.line(per_sec)),
            How::Json if now.files_done > 0 => writeln!(std::io::stdout(), "{}", now.json(per_sec)),
            How::Plain | How::Json => Ok(()),
        });
    }
}

/// How far it has come at a moment.
#[derive(Debug, Clone, Copy, Default)]
struct Now {
    files_done: u64,
    files_found: u64,
    bytes_done: u64,
    bytes_found: u64,
    is_all_found: bool,
}

impl Now {
    fn read(progress: &Progress) -> Self {
        Self {
            files_done: progress.files_done.load(Ordering::Relaxed),
            files_found: progress.files_found.load(Ordering::Relaxed),
            bytes_done: progress.bytes_done.load(Ordering::Relaxed),
            bytes_found: progress.bytes_found.load(Ordering::Relaxed),
            is_all_found: progress.is_all_found.load(Ordering::Relaxed),
        }
    }

    /// Seconds to go; `None` until all files are found and a rate is known.
    fn eta_secs(&self, bytes_per_sec: f64) -> Option<u64> {
        let left = self.bytes_found.saturating_sub(self.bytes_done);
        (self.is_all_found && bytes_per_sec >= 1.0)
            .then(|| (left as f64 / bytes_per_sec).ceil() as u64)
    }

    fn line(&self, bytes_per_sec: f64) -> String {
        let at_least = if self.is_all_found { "" } else { "at least " };
        let mut line = format!(
            "{} of {at_least}{} files, {} of {at_least}{}, {}/s",
            self.files_done,
            self.files_found.max(self.files_done),
            format::bytes(self.bytes_done),
            format::bytes(self.bytes_found.max(self.bytes_done)),
            format::bytes(bytes_per_sec as u64),
        );
        if let Some(secs) = self.eta_secs(bytes_per_sec) {
            line.push_str(&format!(", {}:{:02} left", secs / 60, secs % 60));
        }
        line
    }

    fn json(&self, bytes_per_sec: f64) -> serde_json::Value {
        json!({"event": "progress", "files_done": self.files_done, "files_found": self.files_found,
            "bytes_done": self.bytes_done, "bytes_found": self.bytes_found,
            "is_all_found": self.is_all_found, "bytes_per_sec": bytes_per_sec as u64,
            "eta_secs": self.eta_secs(bytes_per_sec)})
    }
}

/// Bytes a second over the last while, so that files known from an earlier run do not count for long.
#[derive(Debug, Default)]
struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    fn add(&mut self, at: Instant, bytes: u64) {
        self.0.push_back((at, bytes));
        while self.0.len() > 2 && self.0.front().is_some_and(|(old, _)| at - *old > RATE_WINDOW) {
            self.0.pop_front();
        }
    }

    fn bytes_per_sec(&self) -> f64 {
        let (Some((from, first)), Some((to, last))) = (self.0.front(), self.0.back()) else {
            return 0.0;
        };
        let secs = (*to - *from).as_secs_f64();
        if secs > 0.0 { last.saturating_sub(*first) as f64 / secs } else { 0.0 }
    }
}

/// Tells of files.
struct Report {
    how: How,
    verbose: bool,
}

impl Report {
    fn new(args: &ImportArgs) -> Self {
        Self { how: how(args), verbose: args.verbose }
    }

    fn file(&mut self, event: &ImportEvent) {
        let (word, id, reason) = match &event.outcome {
            ImportOutcome::Imported(id) => ("imported", Some(id), None),
            ImportOutcome::AlreadyThere(id) => ("known", Some(id), None),
            ImportOutcome::Skipped => ("skipped", None, None),
            ImportOutcome::Failed(reason) => ("failed", None, Some(reason)),
        };
        let path = event.path.display();
        if self.how == How::Json {
            let line = json!({"event": "file", "path": path.to_string(), "outcome": word, "id": id,
                "reason": reason});
            println!("{line}");
            return;
        }
        if reason.is_none() && !self.verbose {
            return;
        }
        self.clear();
        match reason {
            Some(reason) => eprintln!("{word:8} {path}: {reason}"),
            None => println!("{word:8} {path}"),
        }
    }

    /// Takes the line of progress away.
    fn clear(&self) {
        if self.how == How::Terminal {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_rate_and_time_left_once_all_files_are_found() {
        let mut now = Now {
            files_done: 12,
            files_found: 40,
            bytes_done: 1_500_000_000,
            bytes_found: 4_500_000_000,
            is_all_found: false,
        };
        assert_eq!(now.line(50e6), "12 of at least 40 files, 1.5 GB of at least 4.5 GB, 50.0 MB/s");
        now.is_all_found = true;
        assert_eq!(now.line(50e6), "12 of 40 files, 1.5 GB of 4.5 GB, 50.0 MB/s, 1:00 left");
        assert_eq!(now.eta_secs(0.0), None);
    }

    #[test]
    fn the_rate_forgets_what_was_long_ago() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        assert_eq!(rate.bytes_per_sec(), 0.0);
        rate.add(start, 0);
        rate.add(start + Duration::from_secs(1), 1_000_000);
        rate.add(start + Duration::from_secs(20), 1_000_000);
        rate.add(start + Duration::from_secs(30), 1_000_000);
        assert_eq!(rate.bytes_per_sec(), 0.0, "nothing came in the last 15 s");
    }
}
