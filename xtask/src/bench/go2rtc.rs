//! go2rtc, the server that ours is compared with: built from the Go module proxy, run beside it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::paths;
use crate::run::{run, say, step, succeeds};
use crate::versions::GO2RTC;

const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Builds go2rtc into our cache, once; `None` (and says so) where that is not possible.
///
/// # Errors
/// When the cache folder cannot be written.
pub fn build() -> Result<Option<PathBuf>> {
    let folder = paths::cache()?.join(format!("peers/go2rtc-{GO2RTC}"));
    let program = folder.join("go2rtc");
    if program.is_file() {
        return Ok(Some(program));
    }
    if !succeeds(Command::new("go").arg("version")) {
        say("WITHOUT go2rtc: there is no `go` to build it with");
        return Ok(None);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let go_mod =
        format!("module peers\n\ngo 1.24\n\nrequire github.com/AlexxIT/go2rtc v{GO2RTC}\n");
    fs::write(folder.join("go.mod"), go_mod).context("cannot write go.mod")?;
    let built = step(&format!("building go2rtc {GO2RTC}"), || {
        run(
            Command::new("go")
                .args(["build", "-trimpath", "-ldflags", "-s -w", "-o", "go2rtc"])
                .arg("github.com/AlexxIT/go2rtc")
                .env("CGO_ENABLED", "0")
                .env("GOFLAGS", "-mod=mod")
                .current_dir(&folder),
            "check the network and GOPROXY",
        )
    });
    if let Err(error) = built {
        say(&format!("WITHOUT go2rtc: {error:#}"));
        return Ok(None);
    }
    Ok(Some(program))
}

/// A running go2rtc; killed when dropped.
#[derive(Debug)]
pub struct Go2rtc {
    child: Child,
    api: SocketAddr,
}

impl Go2rtc {
    /// Runs it with one camera, on ports that are free now. It keeps the camera connected as ours does
    /// (`preload`); by itself it would connect with the first viewer.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub fn start(program: &Path, folder: &Path, camera_url: &str) -> Result<Self> {
        let api = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr());
        let api = api.context("no free TCP port")?;
        let media = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|s| s.local_addr());
        let media = media.context("no free UDP port")?;
        let config = folder.join("go2rtc.yaml");
        fs::write(&config, yaml(api, media, camera_url))
            .with_context(|| format!("cannot write {}", config.display()))?;
        let child = Command::new(program)
            .arg("-config")
            .arg(&config)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start go2rtc")?;
        let server = Self { child, api };
        let began = Instant::now();
        while TcpStream::connect(api).is_err() {
            if began.elapsed() > START_TIMEOUT {
                bail!("go2rtc does not listen on {api}; see {}", config.display());
            }
            sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// Its WHEP endpoint of the camera.
    #[must_use]
    pub fn whep(&self) -> String {
        format!("http://{}/api/webrtc?src=camera", self.api)
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Go2rtc {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Loopback only, as ours; no STUN server to wait for.
fn yaml(api: SocketAddr, media: SocketAddr, camera_url: &str) -> String {
    format!(
        "api:\n  listen: \"{api}\"\nrtsp:\n  listen: \"\"\nsrtp:\n  listen: \"\"\n\
         webrtc:\n  listen: \"{media}/udp\"\n  ice_servers: []\n  filters:\n    loopback: true\n    networks: [udp4]\n\
         log:\n  level: error\nstreams:\n  camera: {camera_url}\npreload:\n  camera: video\n"
    )
}
