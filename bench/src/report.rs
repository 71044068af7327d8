//! What was found, as JSON and as Markdown. Must not: measure.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::bars::{Compared, What};

/// The server that others are compared with.
pub const PEER: &str = "go2rtc";

/// A median and a high percentile.
pub type Pair = [Option<f64>; 2];

/// Everything about one server.
#[derive(Debug, Serialize, Deserialize)]
pub struct Server {
    /// Name in the table.
    pub name: String,
    /// Length of each window.
    pub secs: u64,
    /// The camera during all of it.
    pub camera: Camera,
    /// Camera live, no viewer.
    pub idle: Idle,
    /// One for each number of viewers.
    pub rows: Vec<Row>,
    /// Memory at numbers of viewers one after another.
    pub ladder: Vec<Step>,
    /// Viewers that came and went.
    pub cycles: Option<Cycles>,
}

impl Server {
    /// Whether viewers of a row got every frame. Who leaves frames out has less to do: such a row says little
    /// about its processor time.
    pub fn is_whole(&self, row: &Row) -> bool {
        row.frames_per_s > 0.98 * self.camera.frames_per_s
    }
}

/// The camera as the reference reader saw it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Camera {
    /// Frames a second.
    pub frames_per_s: f64,
    /// Payload.
    pub kbps: f64,
    /// Between two frames: p50, p99.
    pub frame_gap_ms: Pair,
    /// Frames whose RTP timestamp was not after the one before.
    pub timestamp_steps_back: u64,
}

/// A server with a live camera and no viewer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Idle {
    /// Of one core.
    pub cpu_percent: f64,
    /// Resident memory.
    pub rss_mb: f64,
}

/// A window with so many viewers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    /// How many were asked for.
    pub viewers: u32,
    /// How many of them got no media or lost the connection.
    pub failed: u32,
    /// Processor time of the server for each viewer that watched.
    pub cpu_ms_per_viewer_s: f64,
    /// Resident memory of the server at the end of the window.
    pub rss_mb: f64,
    /// Packets of all viewers.
    pub packets: u64,
    /// Sequence numbers that are missing.
    pub lost: u64,
    /// Whole frames.
    pub frames_per_s: f64,
    /// UDP payload.
    pub kbps_per_viewer: f64,
    /// Offer to end of DTLS: p50, p99.
    pub connect_ms: Pair,
    /// Offer to first packet of media: p50, p95.
    pub first_packet_ms: Pair,
    /// Last packet of a frame, viewer against reference reader, all viewers and frames: p50, p99.
    pub added_latency_ms: Pair,
    /// SRTP profile that was agreed on.
    pub cipher: String,
    /// Of one core, this client.
    pub client_cpu_percent: f64,
}

/// Memory with so many viewers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Step {
    /// How many were asked for.
    pub viewers: u32,
    /// How many of them failed.
    pub failed: u32,
    /// Resident memory of the server.
    pub rss_mb: f64,
}

/// Viewers that connected and left.
#[derive(Debug, Serialize, Deserialize)]
pub struct Cycles {
    /// How many.
    pub count: u64,
    /// How many got no media.
    pub failed: u64,
    /// How long it took.
    pub secs: f64,
    /// Connections so far, resident memory.
    pub rss_mb: Vec<(u64, f64)>,
    /// Of the line fitted to the last half.
    pub slope_bytes_per_cycle: Option<f64>,
}

/// Puts runs of the same server together: memory is measured of a fresh process.
pub fn merged(runs: Vec<Server>) -> Vec<Server> {
    let mut servers: Vec<Server> = Vec::new();
    for run in runs {
        match servers.iter_mut().find(|server| server.name == run.name) {
            None => servers.push(run),
            Some(server) => {
                server.rows.extend(run.rows);
                server.ladder.extend(run.ladder);
                server.cycles = server.cycles.take().or(run.cycles);
            }
        }
    }
    servers
}

/// All servers in one text.
pub fn markdown(servers: &[Server], compared: &Compared) -> String {
    let mut out = String::new();
    load_table(&mut out, servers, compared);
    idle_table(&mut out, servers, compared);
    cycles_text(&mut out, servers, compared);
    out
}

fn load_table(out: &mut String, servers: &[Server], compared: &Compared) {
    line(
        out,
        "| server | viewers | CPU ms / viewer-s | RSS MB | lost / packets | frames/s | connect ms p50 / p99 | first packet ms p50 / p95 | added latency ms p50 / p99 | SRTP | CPU, RSS of go2rtc's | bar |",
    );
    line(out, "|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut viewers: Vec<u32> =
        servers.iter().flat_map(|s| s.rows.iter().map(|row| row.viewers)).collect();
    viewers.sort_unstable();
    viewers.dedup();
    for viewers in viewers {
        for server in servers {
            let row = server.rows.iter().find(|row| row.viewers == viewers);
            let Some(row) = row else { continue };
            let ratio = compared.ratio(&server.name, viewers).map_or_else(String::new, |ratio| {
                format!("{:.2} ×, {:.2} ×", ratio.cpu, ratio.rss)
            });
            let bars = compared.bars_of_row(&server.name, viewers);
            let failed =
                if row.failed == 0 { String::new() } else { format!(" ({} failed)", row.failed) };
            let emphasis = if server.is_whole(row) { "" } else { "**" };
            let frames = format!("{emphasis}{:.1}{emphasis}", row.frames_per_s);
            line(
                out,
                &format!(
                    "| {} | {viewers}{failed} | {:.2} | {:.0} | {} / {} | {frames} | {} | {} | {} | {} | {ratio} | {bars} |",
                    server.name,
                    row.cpu_ms_per_viewer_s,
                    row.rss_mb,
                    row.lost,
                    row.packets,
                    pair(row.connect_ms, 0),
                    pair(row.first_packet_ms, 0),
                    pair(row.added_latency_ms, 2),
                    row.cipher.trim_start_matches("SRTP_"),
                ),
            );
        }
    }
}

fn idle_table(out: &mut String, servers: &[Server], compared: &Compared) {
    line(out, "");
    line(
        out,
        "| server | camera live, no viewer: CPU, RSS | RSS MB at viewers | camera: frames/s, kbit/s, frame gap ms p50 / p99 |",
    );
    line(out, "|---|---|---|---|");
    for Server { name, camera, idle, ladder, .. } in servers {
        let steps: Vec<_> =
            ladder.iter().map(|step| format!("{}: {:.0}", step.viewers, step.rss_mb)).collect();
        let bar = in_brackets(compared.bar_of_memory(name, What::RssAfterCrowdRatio));
        line(
            out,
            &format!(
                "| {name} | {:.1} % of a core, {:.0} MB | {}{bar} | {:.1}, {:.0}, {} |",
                idle.cpu_percent,
                idle.rss_mb,
                steps.join(" → "),
                camera.frames_per_s,
                camera.kbps,
                pair(camera.frame_gap_ms, 1),
            ),
        );
    }
}

fn cycles_text(out: &mut String, servers: &[Server], compared: &Compared) {
    for Server { name, cycles, .. } in servers {
        let Some(cycles) = cycles else { continue };
        let curve: Vec<_> = cycles.rss_mb.iter().map(|(n, mb)| format!("{n}: {mb:.1}")).collect();
        let bar = in_brackets(compared.bar_of_memory(name, What::RssSlopeBytes));
        line(out, "");
        line(
            out,
            &format!(
                "{name}, {} connections in {:.0} s ({} failed): RSS in MB {}; {} bytes a connection over the last half{bar}.",
                cycles.count,
                cycles.secs,
                cycles.failed,
                curve.join(", "),
                cycles.slope_bytes_per_cycle.map_or_else(|| "–".to_owned(), |b| format!("{b:.0}")),
            ),
        );
    }
}

fn in_brackets(text: String) -> String {
    if text.is_empty() { text } else { format!(" ({text})") }
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("writing to a String does not fail");
}

fn pair([middle, high]: Pair, digits: usize) -> String {
    let show = |value: Option<f64>| value.map_or_else(|| "–".into(), |v| format!("{v:.digits$}"));
    format!("{} / {}", show(middle), show(high))
}

#[cfg(test)]
pub mod testing {
    use super::*;

    /// A server with one row, of 100 viewers.
    pub fn server(name: &str, cpu_ms_per_viewer_s: f64) -> Server {
        Server {
            name: name.into(),
            secs: 20,
            camera: Camera {
                frames_per_s: 30.0,
                kbps: 2000.0,
                frame_gap_ms: [Some(33.0), Some(40.0)],
                timestamp_steps_back: 0,
            },
            idle: Idle { cpu_percent: 0.5, rss_mb: 10.0 },
            rows: vec![Row {
                viewers: 100,
                failed: 1,
                cpu_ms_per_viewer_s,
                rss_mb: 20.0,
                packets: 1000,
                lost: 0,
                frames_per_s: 30.0,
                kbps_per_viewer: 2000.0,
                connect_ms: [Some(5.0), Some(30.0)],
                first_packet_ms: [Some(7.0), Some(31.0)],
                added_latency_ms: [None, None],
                cipher: "SRTP_AEAD_AES_128_GCM".into(),
                client_cpu_percent: 10.0,
            }],
            ladder: vec![Step { viewers: 1, failed: 0, rss_mb: 10.0 }],
            cycles: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::server, *};

    #[test]
    fn servers_stand_below_each_other_with_their_ratio() {
        let told = |servers: &[Server]| markdown(servers, &Compared::new(servers));
        let text = told(&[server("Damwall", 0.5), server("go2rtc", 5.0)]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[2],
            "| Damwall | 100 (1 failed) | 0.50 | 20 | 0 / 1000 | 30.0 | 5 / 30 | 7 / 31 | – / – \
             | AEAD_AES_128_GCM | 0.10 ×, 1.00 × | CPU ≤ 0.12 ×, **missed** |"
        );
        assert!(lines[3].starts_with("| go2rtc | 100 (1 failed) | 5.00"));
        assert!(lines[3].ends_with("|  |  |"));
        let mut starved = server("go2rtc", 5.0);
        starved.rows[0].frames_per_s = 20.0;
        assert!(told(&[starved]).contains("| **20.0** |"));
    }

    #[test]
    fn runs_of_the_same_server_are_one() {
        let memory = Server { rows: vec![], ..server("go2rtc", 5.0) };
        let servers = merged(vec![server("Damwall", 0.5), server("go2rtc", 5.0), memory]);
        let shape = |server: &Server| (server.name.clone(), server.rows.len(), server.ladder.len());
        let shapes: Vec<_> = servers.iter().map(shape).collect();
        assert_eq!(shapes, [("Damwall".into(), 1, 1), ("go2rtc".into(), 1, 2)]);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let json = serde_json::to_string(&server("go2rtc", 5.0)).unwrap();
        let read: Server = serde_json::from_str(&json).unwrap();
        let told = |server: Server| markdown(&[server], &Compared::new(&[]));
        assert_eq!(told(read), told(server("go2rtc", 5.0)));
    }
}
