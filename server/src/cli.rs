//! The command line. Must not: do the work; each command is a function elsewhere or a few lines here.

mod library;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use media::camera::SourceUrl;

use crate::{
    config::{Config, ConfigError, Overrides, env_text},
    cors::AllowedOrigin,
    serve,
};

/// Exit code of a command line or configuration that cannot be used.
const EXIT_USAGE: u8 = 2;
/// With how it was compiled: figures measured of a program have to say that, and it knows best.
const VERSION: &str = if cfg!(debug_assertions) {
    concat!(env!("CARGO_PKG_VERSION"), " (debug)")
} else {
    concat!(env!("CARGO_PKG_VERSION"), " (release)")
};

#[derive(Parser)]
#[command(
    name = "damwall",
    version = VERSION,
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
    ///
    /// Files that an earlier run has read and that look the same are not read again, so an import that was
    /// cut off goes on where it was. The same bytes twice are one asset. Dates, cameras and places are read
    /// from EXIF.
    Import(library::ImportArgs),
    /// Look through the blob store for what was put, moved or removed there by hand.
    ///
    /// The catalog follows the store: new originals become assets, moved ones keep theirs, and assets whose
    /// original is nowhere are marked missing. Nothing is deleted. `damwall serve` does the same every
    /// `store.scan_interval_secs`.
    #[command(alias = "scan")]
    Reindex(library::ReindexArgs),
    /// Work with the blob store.
    Store {
        #[command(subcommand)]
        command: StoreCommand,
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
enum StoreCommand {
    /// Let pages send to the S3 bucket and read the ETag of what they sent (CORS).
    Cors {
        /// Origins such as https://media.example; without any, store.cors_origins or this server's own.
        origins: Vec<AllowedOrigin>,
        #[command(flatten)]
        config: ConfigArgs,
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
        Command::Import(args) => args
            .config
            .load(None)
            .map_err(anyhow::Error::from)
            .and_then(|c| library::import(&c, &args)),
        Command::Reindex(args) => args
            .config
            .load(None)
            .map_err(anyhow::Error::from)
            .and_then(|c| library::reindex(&c, &args)),
        Command::Store { command: StoreCommand::Cors { origins, config } } => {
            config.load(None).map_err(anyhow::Error::from).and_then(|c| store_cors(&c, &origins))
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

fn store_cors(config: &Config, origins: &[AllowedOrigin]) -> anyhow::Result<()> {
    block_on(async {
        let Some(store) = serve::open_s3(config) else {
            println!("a folder store needs no CORS: its links are on this server");
            return Ok(());
        };
        let origins = match origins {
            [] => config.store_origins(config.server.addr.port()),
            named => named.iter().map(|origin| origin.as_str().to_owned()).collect(),
        };
        anyhow::ensure!(!origins.is_empty(), "name an origin, or set store.cors_origins");
        store.allow_origins(&origins).await?;
        println!("pages of {} may send to bucket {}", origins.join(", "), config.store.bucket);
        Ok(())
    })
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
