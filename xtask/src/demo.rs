//! A running Damwall with something to look at: a sample library and a test camera.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::args::Args;
use crate::build::{self, Mode};
use crate::paths;
use crate::run::{run, say, step};

/// How to show it.
#[derive(Debug)]
pub struct Options {
    mode: Mode,
    addr: SocketAddr,
    serve: bool,
}

impl Options {
    /// Takes `--release`, `--addr` and `--no-serve`.
    ///
    /// # Errors
    /// When the address is none.
    pub fn from_args(args: &mut Args) -> Result<Self> {
        let addr = args.value("--addr")?.unwrap_or_else(|| "127.0.0.1:3000".to_owned());
        let addr =
            addr.parse().with_context(|| format!("--addr {addr}: write it as 127.0.0.1:3000"))?;
        Ok(Self { mode: Mode::from_args(args), addr, serve: !args.flag("--no-serve") })
    }
}

/// Builds, makes the sample library, imports it, and becomes the server.
///
/// # Errors
/// When any of these fails. When serving starts, this does not return.
pub fn demo(options: &Options) -> Result<()> {
    if options.serve {
        check_free(options.addr)?;
    }
    let damwall = build::build(options.mode)?;
    let demo = paths::cache()?.join("demo");
    let library = sample_library()?;
    let (config, data) = (demo.join("damwall.toml"), demo.join("data"));
    if !config.exists() {
        fs::write(&config, CONFIG).with_context(|| format!("cannot write {}", config.display()))?;
    }
    import(&damwall, &library, &data)?;
    let mut serve = Command::new(&damwall);
    serve.arg("serve").arg("--config").arg(&config).arg("--data-dir").arg(&data);
    serve.arg("--addr").arg(options.addr.to_string());
    if options.addr != SocketAddr::from(([127, 0, 0, 1], 3000)) {
        // Beside a Damwall at the usual place; its UDP port is taken too.
        serve.env("DAMWALL_LIVE_UDP_ADDR", SocketAddr::new(options.addr.ip(), 0).to_string());
    }
    if !options.serve {
        say("ready; without --no-serve it would be served now");
        return Ok(());
    }
    say(&format!("configuration, library and data are in {}", demo.display()));
    say(&format!("serving at http://{} (stop with Ctrl+C)", options.addr));
    // The server takes this process over: signals reach it, and nothing is left behind.
    Err(serve.exec()).with_context(|| format!("cannot start {}", damwall.display()))
}

const CONFIG: &str = "\
# Made by `cargo xtask demo`, which keeps your changes.

[[cameras]]
id = \"test\"
name = \"Test pattern\"
url = \"test:\"
";

fn check_free(addr: SocketAddr) -> Result<()> {
    match TcpListener::bind(addr) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let other = SocketAddr::new(addr.ip(), addr.port().checked_add(1).unwrap_or(3000));
            bail!("{addr} is in use; choose another: cargo xtask demo --addr {other}")
        }
        Err(error) => bail!("cannot listen on {addr}: {error}; choose another with --addr"),
    }
}

/// Imports a folder; what is already there is recognised by its bytes.
///
/// # Errors
/// When the program says so.
pub fn import(damwall: &Path, library: &Path, data: &Path) -> Result<()> {
    step("importing the sample library", || {
        run(
            Command::new(damwall).arg("import").arg(library).arg("--data-dir").arg(data),
            "see its message above",
        )
    })
}

/// Changed with the list below: an older library is then made anew.
const LIBRARY_VERSION: &str = "1";

/// What ffmpeg draws: a file name, the `lavfi` graph, and the output's options.
const LIBRARY: &[(&str, &str, &[&str])] = &[
    (
        "Seahorse valley.jpg",
        "mandelbrot=s=1920x1280:start_x=-0.7436439:start_y=0.1318259:start_scale=0.0035:inner=mincol,format=gray,format=gbrp,pseudocolor=preset=inferno",
        STILL,
    ),
    (
        "Seahorse tail, portrait.jpg",
        "mandelbrot=s=960x1440:start_x=-0.7436439:start_y=0.1318259:start_scale=0.0006:inner=mincol,format=gray,format=gbrp,pseudocolor=preset=magma",
        STILL,
    ),
    (
        "Mandelbrot.png",
        "mandelbrot=s=1280x960:start_x=-0.55:start_y=0:start_scale=2.6:inner=convergence,eq=saturation=0.55,hue=h=120",
        STILL,
    ),
    (
        "Dusk.jpg",
        "gradients=s=1920x1080:c0=0x0b1a3b:c1=0xf2784b:c2=0x5b2a86:c3=0xffd27f:n=4:x0=0:y0=0:x1=1700:y1=1080:seed=7",
        STILL,
    ),
    (
        "Lagoon, portrait.jpg",
        "gradients=s=1080x1620:c0=0x04364a:c1=0x64ccc5:c2=0xdafffb:c3=0x176b87:n=4:x0=0:y0=1600:x1=1080:y1=100:seed=3",
        STILL,
    ),
    (
        "Ripples.jpg",
        "color=s=1600x1067:c=black,format=gray,geq=lum='128+55*sin(hypot(X-500,Y-400)/32)+45*sin(hypot(X-1150,Y-700)/41)+20*sin((X+Y)/140)',format=gbrp,pseudocolor=preset=viridis",
        STILL,
    ),
    (
        "Weave, portrait.jpg",
        "color=s=1067x1600:c=black,format=gray,geq=lum='120+60*sin(X/58)*cos(Y/81)+50*sin((X-Y)/190)',format=gbrp,pseudocolor=preset=plasma",
        STILL,
    ),
    (
        "Moonrise.jpg",
        "color=s=1600x1000:c=black,format=gbrp,geq=r='clip(30+Y/9+if(lt(hypot(X-1150,Y-330),150),190,60*exp(-(hypot(X-1150,Y-330)-150)/180)),0,255)':g='clip(26+Y/14+if(lt(hypot(X-1150,Y-330),150),185,50*exp(-(hypot(X-1150,Y-330)-150)/180)),0,255)':b='clip(60+Y/22+if(lt(hypot(X-1150,Y-330),150),160,40*exp(-(hypot(X-1150,Y-330)-150)/180)),0,255)'",
        STILL,
    ),
    (
        "Life.png",
        "life=s=320x200:mold=12:r=60:ratio=0.14:death_color=#2d6a4f:life_color=#d8f3dc:mold_color=#081c15:seed=4,scale=1280:800:flags=neighbor,trim=start_frame=150",
        STILL,
    ),
    (
        "Sierpinski carpet.png",
        "sierpinski=s=729x729:type=carpet:seed=11,format=gray,negate,scale=1458:1458:flags=neighbor",
        STILL,
    ),
    (
        "Rule 30.png",
        "cellauto=s=400x300:rule=30:pattern=@:scroll=0:full=0,trim=start_frame=299,format=rgb24,lutrgb=r='if(val,236,26)':g='if(val,228,28)':b='if(val,208,44)',scale=1200:900:flags=neighbor",
        STILL,
    ),
    ("Test card.png", "smptehdbars=s=1920x1080", STILL),
    (
        "Into the valley.mp4",
        "mandelbrot=s=1280x720:r=25:start_x=-0.7436439:start_y=0.1318259:start_scale=3:end_scale=0.0002:end_pts=500:inner=mincol,format=gray,format=gbrp,pseudocolor=preset=inferno",
        &["-t", "16"],
    ),
    (
        "Slow light, portrait.mp4",
        "gradients=s=720x1280:r=25:c0=0x3a0ca3:c1=0xf72585:c2=0x4cc9f0:c3=0x7209b7:n=4:speed=0.02:seed=9",
        &["-t", "8"],
    ),
    ("Timer, 75 seconds.mp4", "testsrc2=s=1280x720:r=25", &["-t", "75"]),
];
const STILL: &[&str] = &["-frames:v", "1"];

/// Makes the sample library once and returns its folder.
///
/// # Errors
/// When ffmpeg fails.
pub fn sample_library() -> Result<PathBuf> {
    let demo = paths::cache()?.join("demo");
    let (library, stamp) = (demo.join("sample-library"), demo.join("sample-library.version"));
    if library.is_dir()
        && fs::read_to_string(&stamp).is_ok_and(|version| version == LIBRARY_VERSION)
    {
        return Ok(library);
    }
    step("making the sample library", || {
        let unfinished = demo.join("sample-library.part");
        remove_dir(&unfinished)?;
        fs::create_dir_all(&unfinished)
            .with_context(|| format!("cannot make {}", unfinished.display()))?;
        for (name, graph, options) in LIBRARY {
            draw(&unfinished.join(name), graph, options)?;
        }
        remove_dir(&library)?;
        fs::rename(&unfinished, &library).context("cannot put the sample library in its place")?;
        fs::write(&stamp, LIBRARY_VERSION).context("cannot note the sample library's version")
    })?;
    Ok(library)
}

fn draw(file: &Path, graph: &str, options: &[&str]) -> Result<()> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", graph]);
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("mp4") => {
            // A key frame a second and the index in front: seeking is quick over HTTP.
            if graph.starts_with("testsrc2") {
                ffmpeg.args(["-f", "lavfi", "-i", "sine=f=440:beep_factor=2:r=48000,volume=0.2"]);
                ffmpeg.args(["-c:a", "aac", "-b:a", "96k"]);
            }
            ffmpeg.args(["-c:v", "libx264", "-preset", "veryfast", "-crf", "24", "-g", "25"]);
            ffmpeg.args(["-pix_fmt", "yuv420p", "-movflags", "+faststart"]);
        }
        Some("jpg") => {
            ffmpeg.args(["-q:v", "3", "-pix_fmt", "yuvj420p"]);
        }
        _ => {
            ffmpeg.args(["-pix_fmt", "rgb24"]);
        }
    }
    run(ffmpeg.args(options).arg(file), "is this ffmpeg 5 or newer, with libx264?")
}

fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_told_with_another_to_take() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let error = check_free(addr).unwrap_err().to_string();
        assert!(error.contains(&format!("{addr} is in use")), "{error}");
        assert!(error.contains("--addr 127.0.0.1:"), "{error}");
        drop(listener);
        check_free(addr).unwrap();
    }

    #[test]
    fn the_sample_library_has_what_the_pages_can_show() {
        let count = |extension| LIBRARY.iter().filter(|entry| entry.0.ends_with(extension)).count();
        assert_eq!((count(".jpg"), count(".png"), count(".mp4")), (7, 5, 3));
    }
}
