//! The clients: wrk, and hey as the owner runs it.

use std::process::Command;

use anyhow::{Context, Result};

use crate::bench::processor;
use crate::run::capture;

const CONNECTIONS: &str = "100";

/// A load client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Takes the body as it is.
    Wrk,
    /// Takes gzip.
    WrkGzip,
    /// Takes gzip, as it always does.
    Hey,
}

/// What a client saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Answers a second.
    pub per_sec: f64,
    /// Median time to an answer.
    pub p50_ms: f64,
    /// The slowest of a hundred.
    pub p99_ms: f64,
    /// The server's processor time for an answer.
    pub cpu_us: f64,
}

impl Client {
    /// As it stands in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wrk | Self::WrkGzip => "wrk",
            Self::Hey => "hey",
        }
    }

    /// Asks the server of process `pid` for `secs`, after a second that does not count.
    ///
    /// # Errors
    /// When it cannot be run, or got errors for answers.
    pub fn run(self, url: &str, secs: u64, pid: u32) -> Result<Figures> {
        self.run_once(url, 1)?;
        let before = processor::used_by(pid)?;
        let figures = self.run_once(url, secs)?;
        let used = processor::used_by(pid)?.saturating_sub(before);
        let answers = figures.per_sec * secs as f64;
        Ok(Figures { cpu_us: used.as_secs_f64() * 1e6 / answers.max(1.0), ..figures })
    }

    fn run_once(self, url: &str, secs: u64) -> Result<Figures> {
        let time = format!("{secs}s");
        let mut command = Command::new(self.name());
        match self {
            Self::Wrk | Self::WrkGzip => {
                command.args([
                    "-t2",
                    "-c",
                    CONNECTIONS,
                    "-d",
                    &time,
                    "--latency",
                    "--timeout",
                    "30s",
                ]);
                if self == Self::WrkGzip {
                    command.args(["-H", "Accept-Encoding: gzip"]);
                }
            }
            Self::Hey => {
                command.args(["-z", &time, "-c", CONNECTIONS]);
            }
        }
        let text = capture(command.arg(url))?;
        let figures = match self {
            Self::Wrk | Self::WrkGzip => parse_wrk(&text),
            Self::Hey => parse_hey(&text),
        };
        figures.with_context(|| format!("{} said:\n{text}", self.name()))
    }
}

fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim)
}

/// `None` too when answers were errors.
fn parse_wrk(text: &str) -> Option<Figures> {
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        return None;
    }
    let ms = |name| {
        let text = value(text, name)?;
        let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
        let number: f64 = text[..unit].parse().ok()?;
        Some(
            number
                * match &text[unit..] {
                    "us" => 0.001,
                    "ms" => 1.0,
                    "s" => 1000.0,
                    _ => return None,
                },
        )
    };
    let per_sec = value(text, "Requests/sec:")?.parse().ok()?;
    Some(Figures { per_sec, p50_ms: ms("50%")?, p99_ms: ms("99%")?, cpu_us: 0.0 })
}

/// `None` too when answers were errors.
fn parse_hey(text: &str) -> Option<Figures> {
    let codes = text.split_once("Status code distribution:")?.1;
    let is_good = codes
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with('['))
        .all(|line| line.starts_with("[200]"));
    if !is_good || text.contains("Error distribution:") {
        return None;
    }
    // Either `99% in` or, in older ones, `99%% in`.
    let ms = |name: &str| -> Option<f64> {
        let text = value(text, name)?.trim_start_matches('%').trim().strip_prefix("in ")?;
        Some(text.split_whitespace().next()?.parse::<f64>().ok()? * 1000.0)
    };
    let per_sec = value(text, "Requests/sec:")?.parse().ok()?;
    Some(Figures { per_sec, p50_ms: ms("50%")?, p99_ms: ms("99%")?, cpu_us: 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_understood() {
        let wrk = "  Latency Distribution\n     50%  850.00us\n     75%    1.30ms\n     99%    2.05s \n  5 requests in 1s\nRequests/sec:   2084.55\nTransfer/sec: 1MB\n";
        let figures = Figures { per_sec: 2084.55, p50_ms: 0.85, p99_ms: 2050.0, cpu_us: 0.0 };
        assert_eq!(parse_wrk(wrk), Some(figures));
        assert_eq!(parse_wrk(&format!("{wrk}  Non-2xx or 3xx responses: 5\n")), None);
        let hey = "Summary:\n  Requests/sec:\t1500.5\n\nLatency distribution:\n  50%% in 0.0100 secs\n  99%% in 0.2000 secs\n\nStatus code distribution:\n  [200]\t3000 responses\n";
        let figures = Figures { per_sec: 1500.5, p50_ms: 10.0, p99_ms: 200.0, cpu_us: 0.0 };
        assert_eq!(parse_hey(hey), Some(figures));
        assert_eq!(parse_hey(&hey.replace("%%", "%")), Some(figures));
        assert_eq!(parse_hey(&hey.replace("[200]", "[503]")), None);
        assert_eq!(parse_hey(""), None);
    }
}
