//! As much of HTTP/1.1 as one question needs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

const TIMEOUT: Duration = Duration::from_secs(60);

/// An answer of status 200.
#[derive(Debug)]
pub struct Answer {
    head: String,
    /// As it came.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (its, value) = line.split_once(':')?;
            its.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Asks once, on a connection of its own.
///
/// # Errors
/// When there is no answer, or one of another status.
pub fn get(addr: &str, path: &str, headers: &[&str]) -> Result<Answer> {
    let mut stream = TcpStream::connect(addr).with_context(|| format!("{addr} does not answer"))?;
    send(&mut stream, path, headers)
        .and_then(|()| receive(&mut stream))
        .with_context(|| format!("http://{addr}{path}"))
}

/// Asks on a connection, which the answer ends.
///
/// # Errors
/// When it is gone.
pub fn send(stream: &mut TcpStream, path: &str, headers: &[&str]) -> Result<()> {
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for header in headers {
        request += header;
        request += "\r\n";
    }
    stream.write_all((request + "\r\n").as_bytes())?;
    Ok(())
}

/// What was asked for by [`send`].
///
/// # Errors
/// As [`get`].
pub fn receive(stream: &mut TcpStream) -> Result<Answer> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").context("no head")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    if !head.starts_with("HTTP/1.1 200") {
        bail!("answered {}", head.lines().next().unwrap_or_default());
    }
    Ok(Answer { head, body: bytes.split_off(end + 4) })
}
