//! The command line. Must not: do the work; each command is a function elsewhere or a few lines here.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use catalog::{ImportOptions, import::ImportOutcome};
use clap::{Args, Parser, Subcommand};
use media::camera::SourceUrl;

use crate::{
    config::{Config, ConfigError, Overrides, env_text},
    serve,
};

/// Exit code of a command line or configuration that cannot be used.
const EXIT_USAGE: u8 = 2;

#[derive(Parser)]
#[command(
    name = "damwall",
    version,
    about = "A studio's media in one program: an asset explorer and a live camera wall.",
    after_help = "Every setting is described in docs/config.md and damwall.example.toml."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the server.
    Serve {
        #[command(flatten)]
        config: ConfigArgs,
        /// Address to listen on; other than loopback it needs an access token.
        #[arg(long, value_name = "IP:PORT")]
        addr: Option<String>,
    },
    /// Copy a folder's pictures, videos and sounds into the library.
    Import {
        /// The folder; it is read, never changed.
        folder: PathBuf,
        #[command(flatten)]
        config: ConfigArgs,
        /// Name every file, not only those that could not be imported.
        #[arg(long, short)]
        verbose: bool,
    },
    /// Find originals that were put into the blob store by hand.
    Scan {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Work with cameras.
    Camera {
        #[command(subcommand)]
        command: CameraCommand,
    },
    /// Work with the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Subcommand)]
enum CameraCommand {
    /// Connect to a camera and tell what it offers, or why it fails.
    Probe {
        /// rtsp://[user:password@]host[:port]/path
        url: String,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Read the configuration and tell what is wrong with it.
    Check {
        #[command(flatten)]
        config: ConfigArgs,
    },
}

#[derive(Args)]
struct ConfigArgs {
    /// Configuration file; without it ./damwall.toml is read if it is there.
    #[arg(long, value_name = "FILE", env = "DAMWALL_CONFIG")]
    config: Option<PathBuf>,
    /// Folder for the catalog, the blob store and secrets.
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

impl ConfigArgs {
    fn load(&self, addr: Option<&str>) -> Result<Config, ConfigError> {
        let overrides =
            Overrides { addr: addr.map(str::to_owned), data_dir: self.data_dir.clone() };
        let env = env_text(std::env::vars_os())?;
        Config::load(self.config.as_deref(), &overrides, env.into_iter())
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve { config, addr } => {
            let load = || config.load(addr.as_deref());
            load().map_err(anyhow::Error::from).and_then(|first| serve::run(first, &load))
        }
        Command::Import { folder, config, verbose } => config
            .load(None)
            .map_err(anyhow::Error::from)
            .and_then(|c| import(&c, &folder, verbose)),
        Command::Scan { config } => {
            config.load(None).map_err(anyhow::Error::from).and_then(|c| scan(&c))
        }
        Command::Camera { command: CameraCommand::Probe { url } } => probe(&url),
        Command::Config { command: ConfigCommand::Check { config } } => config
            .load(None)
            .map_err(anyhow::Error::from)
            .map(|config| println!("{}", config.summary())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("damwall: {error:#}");
            let is_usage = error.is::<ConfigError>() || error.is::<media::camera::SourceUrlError>();
            ExitCode::from(if is_usage { EXIT_USAGE } else { 1 })
        }
    }
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

fn import(config: &Config, folder: &Path, verbose: bool) -> anyhow::Result<()> {
    block_on(async {
        let library = serve::open_library(config).await?;
        let options = ImportOptions {
            source_node: hostname(),
            exclude: vec![config.server.data_dir.clone()],
            ..ImportOptions::default()
        };
        let mut done = 0u64;
        let mut err = std::io::stderr();
        let is_terminal = std::io::IsTerminal::is_terminal(&err);
        let summary =
            catalog::import_folder(&library.catalog, &library.store, folder, &options, |event| {
                done += 1;
                let path = event.path.display();
                match &event.outcome {
                    ImportOutcome::Failed(reason) => eprintln!("failed   {path}: {reason}"),
                    ImportOutcome::Imported(_) if verbose => println!("imported {path}"),
                    ImportOutcome::AlreadyThere(_) if verbose => println!("known    {path}"),
                    ImportOutcome::Skipped if verbose => println!("skipped  {path}"),
                    // Progress is a courtesy: a closed terminal must not end the import.
                    _ if is_terminal => {
                        drop(write!(err, "\r{done} files").and_then(|()| err.flush()))
                    }
                    _ => {}
                }
            })
            .await?;
        if is_terminal {
            eprintln!();
        }
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
        library.catalog.close().await;
        anyhow::ensure!(
            summary.failed.is_empty(),
            "{} files could not be imported",
            summary.failed.len()
        );
        Ok(())
    })
}

fn scan(config: &Config) -> anyhow::Result<()> {
    block_on(async {
        let library = serve::open_library(config).await?;
        let summary = catalog::scan_store(&library.catalog, &library.store).await?;
        for failed in &summary.failed {
            eprintln!("failed   {}: {}", failed.key, failed.reason);
        }
        println!(
            "{} found, {} already there, {} skipped, {} failed",
            summary.registered,
            summary.already_there,
            summary.skipped,
            summary.failed.len()
        );
        library.catalog.close().await;
        anyhow::ensure!(
            summary.failed.is_empty(),
            "{} objects could not be read",
            summary.failed.len()
        );
        Ok(())
    })
}

fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

fn probe(url: &str) -> anyhow::Result<()> {
    let source: SourceUrl = url.parse()?;
    let SourceUrl::Rtsp(rtsp) = &source else {
        println!("test: is built in and needs no probe");
        return Ok(());
    };
    eprintln!("connecting to {source} …");
    let report = block_on(async {
        media::probe::probe(rtsp).await.map_err(|error| anyhow::anyhow!("{source}: {error}"))
    })?;
    println!("first picture   {} ms", report.first_picture.as_millis());
    for track in &report.tracks {
        let channels = track.channels.map(|n| format!(", {n} channels")).unwrap_or_default();
        println!(
            "track           {} {} ({} Hz{channels})",
            track.media, track.codec, track.clock_rate_hz
        );
    }
    if let Some(video) = &report.video {
        println!("video           {} {}x{}", video.codec, video.width_px, video.height_px);
    }
    println!("frame rate      {:.2} fps", report.fps);
    println!("bit rate        {:.0} kbit/s", report.bitrate_kbps);
    match report.key_frame_interval {
        Some(interval) => println!("key frames      every {:.2} s", interval.as_secs_f64()),
        None => println!("key frames      fewer than two in the time watched"),
    }
    if report.lost_packets > 0 {
        println!("lost packets    {}", report.lost_packets);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
