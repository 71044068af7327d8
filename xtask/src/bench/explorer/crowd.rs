//! Many who ask for one page at the same moment.

use std::fmt;
use std::net::TcpStream;

use anyhow::{Context, Result};

use super::http;

/// A page that nobody but the crowd asks for.
pub const PAGE: &str = "/assets?limit=99";
const ASKERS: usize = 1000;

/// What the crowd was told.
#[derive(Debug, Default)]
pub struct Told {
    answers: usize,
    hits: usize,
    waited: usize,
    made: usize,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} answers, {} of them renders of their own, {} waited for one of those, {} kept",
            self.answers, self.made, self.waited, self.hits
        )
    }
}

/// Connects everyone, then all ask before the first is read.
///
/// # Errors
/// When not everyone is answered.
pub fn ask(addr: &str, path: &str) -> Result<Told> {
    // One thread: a thousand would be what is measured.
    let connect = |_| TcpStream::connect(addr).context("cannot connect");
    let mut askers = (0..ASKERS).map(connect).collect::<Result<Vec<_>>>()?;
    for asker in &mut askers {
        http::send(asker, path, &["Accept-Encoding: gzip"])?;
    }
    let mut told = Told::default();
    for asker in &mut askers {
        let answer = http::receive(asker)?;
        let status = answer.header("cache-status").unwrap_or_default();
        told.answers += 1;
        match () {
            () if status.contains("; hit") => told.hits += 1,
            () if status.contains("collapsed") => told.waited += 1,
            () => told.made += 1,
        }
    }
    Ok(told)
}
