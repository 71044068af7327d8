//! Pictures of every page, to look at before a change goes in.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::build::{self, Mode};
use crate::run::{run, say, step};
use crate::setup::{self, Purpose};
use crate::{demo, paths};

/// Takes the pictures: of the server at `url`, or of one of its own with the sample library.
///
/// # Errors
/// When a tool cannot be installed, the server does not start, or a page does not load.
pub fn shots(url: Option<String>) -> Result<()> {
    setup::setup(Purpose::Test)?;
    let target = paths::target()?;
    let out = target.join("shots");
    let own = match url {
        Some(_) => None,
        None => {
            let damwall = build::build(Mode::Dev)?;
            // Not the demo's data: that may be served at this moment.
            let data = target.join("shots-data");
            demo::import(&damwall, &demo::sample_library()?, &data)?;
            let config = target.join("shots.toml");
            fs::write(&config, CONFIG)
                .with_context(|| format!("cannot write {}", config.display()))?;
            let mut serve = Command::new(&damwall);
            serve.args(["serve", "--addr", "127.0.0.1:0"]);
            serve.arg("--config").arg(&config).arg("--data-dir").arg(&data);
            Some(Server::start(&mut serve)?)
        }
    };
    let url = own.as_ref().map_or_else(|| url.unwrap_or_default(), |server| server.url.clone());
    step(&format!("taking pictures of {url}"), || {
        let end2end = paths::root().join("end2end");
        run(
            Command::new("node")
                .args(["shots.mjs", &url])
                .arg(&out)
                .env("DAMWALL_TEST_CHROMIUM", setup::chromium())
                .current_dir(end2end),
            "see its message above",
        )
    })?;
    say(&format!("the pictures are in {}", out.display()));
    Ok(())
}

/// Any free UDP port, and two cameras: one that plays, one that nobody answers for.
const CONFIG: &str = "\
[live]
udp_addr = \"127.0.0.1:0\"

[[cameras]]
id = \"test\"
name = \"Test pattern\"
url = \"test:\"

[[cameras]]
id = \"gone\"
name = \"Switched off\"
url = \"rtsp://127.0.0.1:9/stream\"
";

/// A server that ends with us.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the server; build it first")?;
        let stdout = child.stdout.take().context("the server's output is piped")?;
        let mut server = Self { child, url: String::new() };
        let mut lines = BufReader::new(stdout).lines();
        for line in lines.by_ref() {
            let line = line.context("cannot read what the server prints")?;
            if let Some((_, url)) = line.split_once("damwall listening on ") {
                server.url = url.trim().to_owned();
                break;
            }
        }
        if server.url.is_empty() {
            bail!("the server ended before it listened; its message is above");
        }
        // Keep reading, or its next line would block it.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM lets it end cameras in good order; std alone could only kill it.
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            self.child.kill().ok();
        }
        self.child.wait().ok();
    }
}
