//! What the kernel tells about a process: processor time and memory.

use std::fs;

use anyhow::{Context, Result};

/// Milliseconds of processor time so far, user and system, all threads. Steps of 10 ms.
///
/// # Errors
/// When there is no such process.
pub fn cpu_ms(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    stat_cpu_ms(&stat).with_context(|| format!("{path} is not as expected"))
}

/// Resident memory in bytes.
///
/// # Errors
/// When there is no such process.
pub fn rss_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    status_rss_bytes(&status).with_context(|| format!("{path} is not as expected"))
}

/// `utime + stime`, in ticks of 10 ms (`USER_HZ` is 100 on Linux).
fn stat_cpu_ms(stat: &str) -> Option<u64> {
    // The second field is the program's name in parentheses and may hold spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
    Some((user + system) * 10)
}

fn status_rss_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_proc() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 7 5 0 0 20 0 9 0 100 1 2";
        assert_eq!(stat_cpu_ms(stat), Some(120));
        assert_eq!(stat_cpu_ms("nonsense"), None);
        assert_eq!(status_rss_bytes("Name:\tx\nVmRSS:\t  2 kB\n"), Some(2048));
        assert!(rss_bytes(std::process::id()).unwrap() > 1 << 20);
    }
}
