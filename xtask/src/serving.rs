//! A server of our own, started for pictures and measurements, that ends with us.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::run::terminate;

/// A running `damwall serve`; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    url: String,
}

impl Server {
    /// Runs the command and waits until it listens.
    ///
    /// # Errors
    /// When it ends before that.
    pub fn start(command: &mut Command) -> Result<Self> {
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
        // Whatever it prints from now on is read, so that its pipe never fills up.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(server)
    }

    /// `http://127.0.0.1:PORT`
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends its cameras in good order.
        terminate(&mut self.child);
    }
}
