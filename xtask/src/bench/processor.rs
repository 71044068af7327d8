//! Processor time of processes, as the kernel counts it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// User and system time of a process and its living children so far: nginx works in those.
///
/// # Errors
/// When the process is gone.
pub fn used_by(pid: u32) -> Result<Duration> {
    let own = Stat::read(&pid.to_string())?.own_ticks;
    let children = fs::read_dir("/proc").context("cannot list /proc")?.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        let stat = Stat::read(name.to_str().filter(|name| name.parse::<u32>().is_ok())?).ok()?;
        (stat.parent == pid).then_some(stat.own_ticks)
    });
    Ok(duration(own + children.sum::<u64>()))
}

/// User and system time of every process we have waited for.
///
/// # Errors
/// When the kernel does not tell.
pub fn used_by_ended_children() -> Result<Duration> {
    Ok(duration(Stat::read("self")?.ended_ticks))
}

/// `USER_HZ` is 100 on Linux.
fn duration(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 10)
}

/// Of `/proc/<pid>/stat`, see proc_pid_stat(5).
#[derive(Debug, PartialEq)]
struct Stat {
    parent: u32,
    /// `utime + stime`.
    own_ticks: u64,
    /// `cutime + cstime`.
    ended_ticks: u64,
}

impl Stat {
    fn read(pid: &str) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Self::parse(&stat).with_context(|| format!("{path} is not as expected"))
    }

    fn parse(stat: &str) -> Option<Self> {
        // The second field is the program's name in parentheses and may hold spaces.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own_ticks: ticks(11)? + ticks(12)?,
            ended_ticks: ticks(13)? + ticks(14)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_proc() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 7 5 2 1 20 0 9 0 100 1 2";
        let expected = Stat { parent: 1, own_ticks: 12, ended_ticks: 3 };
        assert_eq!(Stat::parse(stat), Some(expected));
        assert_eq!(Stat::parse("nonsense"), None);
    }
}
