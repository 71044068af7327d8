//! One server's figures over another's, and beside what was hoped for. Must not: measure.

use std::fmt;

use serde::Serialize;

use crate::report::{PEER, Row, Server};

/// Processor time of a viewer, of the peer's.
const MAX_CPU_RATIO: f64 = 0.12;
const CPU_VIEWERS: [u32; 2] = [100, 200];
const MAX_RSS_MB: f64 = 60.0;
const RSS_VIEWERS: u32 = 200;
const LOSSLESS_VIEWERS: u32 = 400;
const MAX_ADDED_P99_MS: f64 = 5.0;
const ADDED_VIEWERS: u32 = 100;
/// Memory after a crowd, of that before it.
const MAX_RETURN: f64 = 1.1;
/// What a connection that is over leaves behind: nothing, as far as the steps that memory comes in let one see.
/// Anything of a session that stayed would be kilobytes.
const MAX_SLOPE_BYTES: f64 = 32.0;

/// Figures of a server over those of the peer, with the same number of viewers.
#[derive(Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// Whose.
    pub server: String,
    /// How many watched.
    pub viewers: u32,
    /// Processor time for a viewer and second.
    pub cpu: f64,
    /// Resident memory.
    pub rss: f64,
    /// Whether both servers sent every frame: who leaves some out has less to do.
    pub is_of_whole_streams: bool,
}

/// A figure and the most that it should be.
#[derive(Debug, PartialEq, Serialize)]
pub struct Bar {
    /// Whose figure.
    pub server: String,
    /// What it is of.
    pub what: What,
    /// How many watched.
    pub viewers: u32,
    /// The figure.
    pub found: f64,
    /// The bar.
    pub at_most: f64,
    /// Whether it holds, for all viewers that were asked for.
    pub is_met: bool,
}

/// What a bar is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// [`Ratio::cpu`].
    CpuRatio,
    /// Resident memory in MB.
    RssMb,
    /// Packets lost.
    LostPackets,
    /// Added latency in ms, 99th percentile.
    AddedLatencyP99Ms,
    /// Resident memory after a crowd, of that before.
    RssAfterCrowdRatio,
    /// Resident memory that each connection leaves behind, in bytes.
    RssSlopeBytes,
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = match self.what {
            What::CpuRatio => ("CPU", " ×"),
            What::RssMb => ("RSS", " MB"),
            What::LostPackets => ("lost", ""),
            What::AddedLatencyP99Ms => ("p99", " ms"),
            What::RssAfterCrowdRatio => ("RSS", " ×"),
            What::RssSlopeBytes => ("slope", " bytes"),
        };
        let verdict = if self.is_met { "met" } else { "**missed**" };
        write!(f, "{name} ≤ {}{unit}, {verdict}", self.at_most)
    }
}

/// What there is to say of several servers together.
#[derive(Debug)]
pub struct Compared {
    /// Of every server but the peer.
    pub ratios: Vec<Ratio>,
    /// Of every server but the peer, as far as it was measured.
    pub bars: Vec<Bar>,
}

impl Compared {
    /// Compares.
    pub fn new(servers: &[Server]) -> Self {
        let peer = servers.iter().find(|server| server.name == PEER);
        let mut compared = Self { ratios: Vec::new(), bars: Vec::new() };
        for server in servers.iter().filter(|server| server.name != PEER) {
            for row in &server.rows {
                let ratio = peer.and_then(|peer| ratio(server, row, peer));
                compared.bars.extend(bars(server, row, ratio.as_ref()));
                compared.ratios.extend(ratio);
            }
            compared.bars.extend(return_bar(server));
            compared.bars.extend(slope_bar(server));
        }
        compared
    }

    /// Of a row of a server.
    pub fn ratio(&self, server: &str, viewers: u32) -> Option<&Ratio> {
        self.ratios.iter().find(|of| (of.server.as_str(), of.viewers) == (server, viewers))
    }

    /// In words, those of a row of a server.
    pub fn bars_of_row(&self, server: &str, viewers: u32) -> String {
        self.told(server, |bar| {
            let is_of_memory = matches!(bar.what, What::RssAfterCrowdRatio | What::RssSlopeBytes);
            bar.viewers == viewers && !is_of_memory
        })
    }

    /// In words, that of a server's memory after a crowd, or after many connections.
    pub fn bar_of_memory(&self, server: &str, what: What) -> String {
        self.told(server, |bar| bar.what == what)
    }

    fn told(&self, server: &str, is_it: impl Fn(&Bar) -> bool) -> String {
        let of_server = self.bars.iter().filter(|bar| bar.server == server);
        let told: Vec<String> = of_server.filter(|bar| is_it(bar)).map(Bar::to_string).collect();
        told.join("; ")
    }
}

fn ratio(server: &Server, row: &Row, peer: &Server) -> Option<Ratio> {
    let theirs = peer.rows.iter().find(|theirs| theirs.viewers == row.viewers)?;
    Some(Ratio {
        server: server.name.clone(),
        viewers: row.viewers,
        cpu: row.cpu_ms_per_viewer_s / theirs.cpu_ms_per_viewer_s,
        rss: row.rss_mb / theirs.rss_mb,
        is_of_whole_streams: server.is_whole(row) && peer.is_whole(theirs),
    })
}

fn bars(server: &Server, row: &Row, ratio: Option<&Ratio>) -> Vec<Bar> {
    let is_at = |viewers: u32| row.viewers == viewers;
    let cpu = ratio.filter(|_| CPU_VIEWERS.contains(&row.viewers)).map(|ratio| ratio.cpu);
    let added = row.added_latency_ms[1].filter(|_| is_at(ADDED_VIEWERS));
    [
        (What::CpuRatio, cpu, MAX_CPU_RATIO),
        (What::AddedLatencyP99Ms, added, MAX_ADDED_P99_MS),
        (What::RssMb, Some(row.rss_mb).filter(|_| is_at(RSS_VIEWERS)), MAX_RSS_MB),
        (What::LostPackets, Some(row.lost as f64).filter(|_| is_at(LOSSLESS_VIEWERS)), 0.0),
    ]
    .into_iter()
    .filter_map(|(what, found, at_most)| {
        let found = found?;
        // Viewers that failed cost nothing and lose nothing, as do frames that were not sent.
        let is_met = found <= at_most && row.failed == 0 && server.is_whole(row);
        let (server, viewers) = (server.name.clone(), row.viewers);
        Some(Bar { server, what, viewers, found, at_most, is_met })
    })
    .collect()
}

fn return_bar(server: &Server) -> Option<Bar> {
    let (first, last) = (server.ladder.first()?, server.ladder.last()?);
    let crowd = server.ladder.iter().map(|step| step.viewers).max()?;
    if server.ladder.len() < 3 || first.viewers != last.viewers || crowd == first.viewers {
        return None;
    }
    let found = last.rss_mb / first.rss_mb;
    Some(Bar {
        server: server.name.clone(),
        what: What::RssAfterCrowdRatio,
        viewers: crowd,
        found,
        at_most: MAX_RETURN,
        is_met: found <= MAX_RETURN && server.ladder.iter().all(|step| step.failed == 0),
    })
}

fn slope_bar(server: &Server) -> Option<Bar> {
    let cycles = server.cycles.as_ref()?;
    let found = cycles.slope_bytes_per_cycle?;
    Some(Bar {
        server: server.name.clone(),
        what: What::RssSlopeBytes,
        viewers: 1,
        found,
        at_most: MAX_SLOPE_BYTES,
        is_met: found <= MAX_SLOPE_BYTES && cycles.failed == 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Cycles, Step, testing::server};

    #[test]
    fn bars_hold_for_every_viewer_and_every_frame() {
        let check = |change: fn(&mut Row), what: What, expected: bool| {
            let mut ours = server("Damwall", 0.5);
            ours.rows[0].failed = 0;
            change(&mut ours.rows[0]);
            let compared = Compared::new(&[ours, server(PEER, 5.0)]);
            let bar = compared.bars.iter().find(|bar| bar.what == what).unwrap();
            assert_eq!(bar.is_met, expected, "{bar}");
        };
        check(|_| (), What::CpuRatio, true);
        check(|row| row.cpu_ms_per_viewer_s = 0.7, What::CpuRatio, false);
        check(|row| row.failed = 1, What::CpuRatio, false);
        check(|row| row.frames_per_s = 20.0, What::CpuRatio, false);
        check(|row| row.added_latency_ms[1] = Some(4.9), What::AddedLatencyP99Ms, true);
        check(|row| row.added_latency_ms[1] = Some(5.1), What::AddedLatencyP99Ms, false);
        check(|row| row.viewers = 200, What::RssMb, true);
        check(|row| (row.viewers, row.rss_mb) = (200, 61.0), What::RssMb, false);
        check(|row| row.viewers = 400, What::LostPackets, true);
        check(|row| (row.viewers, row.lost) = (400, 1), What::LostPackets, false);
    }

    #[test]
    fn memory_is_to_come_back_after_a_crowd() {
        let mut ours = server("Damwall", 0.5);
        let step = |viewers, rss_mb| Step { viewers, failed: 0, rss_mb };
        ours.ladder = vec![step(1, 10.0), step(200, 40.0), step(1, 10.9)];
        let told = |server: &Server| {
            let servers = std::slice::from_ref(server);
            Compared::new(servers).bar_of_memory("Damwall", What::RssAfterCrowdRatio)
        };
        assert_eq!(told(&ours), "RSS ≤ 1.1 ×, met");
        ours.ladder[2].rss_mb = 11.1;
        assert_eq!(told(&ours), "RSS ≤ 1.1 ×, **missed**");
        ours.ladder.truncate(1);
        assert_eq!(told(&ours), "");
    }

    #[test]
    fn connections_leave_no_memory_behind() {
        let told = |failed, slope| {
            let mut ours = server("Damwall", 0.5);
            let rss_mb = vec![(0, 40.0)];
            let slope_bytes_per_cycle = Some(slope);
            ours.cycles =
                Some(Cycles { count: 1000, failed, secs: 1.0, rss_mb, slope_bytes_per_cycle });
            Compared::new(&[ours]).bar_of_memory("Damwall", What::RssSlopeBytes)
        };
        assert_eq!(told(0, -3.0), "slope ≤ 32 bytes, met");
        assert_eq!(told(0, 33.0), "slope ≤ 32 bytes, **missed**");
        assert_eq!(told(1, 0.0), "slope ≤ 32 bytes, **missed**");
    }

    #[test]
    fn the_peer_has_ratios_and_bars_of_nobody() {
        let compared = Compared::new(&[server(PEER, 5.0)]);
        assert!(compared.ratios.is_empty() && compared.bars.is_empty());
    }
}
