//! Pictures of every page, to look at before a change goes in.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::build::{self, Mode};
use crate::run::{run, say, step};
use crate::serving::Server;
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
    let url =
        own.as_ref().map_or_else(|| url.unwrap_or_default(), |server| server.url().to_owned());
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
