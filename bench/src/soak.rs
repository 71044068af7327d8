//! Viewers that come and go for a long time, beside some that stay: memory, loss, latency and drift.
//!
//! Must not: judge.

use std::fs;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::measure::{Group, Plan, Target, come_and_go_many, say, stage, wait_until_live};
use crate::process::rss_bytes;
use crate::reference::Reference;
use crate::report::{Pair, Row};
use crate::rtp::Frame;
use crate::viewer::{Shared, Viewed};

/// Numbers of viewers of the rounds, again and again.
const CROWDS: [u32; 4] = [10, 20, 30, 40];
/// Length of a round's window.
const ROUND_SECS: u64 = 15;
/// Connections of each round that only come and go.
const PASSERS_BY: u64 = 100;
/// Those who stay from the beginning to the end.
const STAYERS: u32 = 3;

/// How long to go on.
#[derive(Debug, Args)]
pub struct SoakPlan {
    #[command(flatten)]
    target: Target,
    /// Minutes.
    #[arg(long, default_value_t = 60)]
    mins: u64,
}

struct Round {
    minute: f64,
    row: Row,
    passers_by_failed: u64,
    files: usize,
}

/// Soaks, says each round, and gives it all as Markdown.
///
/// # Errors
/// When the server or the camera is not there, or a round has no viewer at all.
pub async fn soak(plan: &SoakPlan) -> Result<String> {
    let reference = Reference::start(plan.target.camera.clone())?;
    let (staying, coming) =
        (Shared::new(plan.target.whep.clone())?, Shared::new(plan.target.whep.clone())?);
    wait_until_live(&coming).await?;
    let stayers = Group::connect(&staying, STAYERS, Duration::from_millis(20)).await;
    staying.recording.set(true);
    let (began, mut rounds) = (Instant::now(), Vec::new());
    let until = Duration::from_secs(plan.mins * 60);
    for viewers in CROWDS.into_iter().cycle() {
        let round = round(plan, &coming, &reference, viewers, began).await?;
        say(
            "soak",
            &format!(
                "{:.0} min: {viewers} viewers, {:.1} MB, {} files, {} of {} packets lost",
                round.minute, round.row.rss_mb, round.files, round.row.lost, round.row.packets
            ),
        );
        rounds.push(round);
        if began.elapsed() >= until {
            break;
        }
    }
    staying.recording.set(false);
    let stayed: Vec<Viewed> = stayers.leave().await.into_iter().filter_map(Result::ok).collect();
    markdown(&rounds, &stayed)
}

async fn round(
    plan: &SoakPlan,
    shared: &Rc<Shared>,
    reference: &Reference,
    viewers: u32,
    began: Instant,
) -> Result<Round> {
    let stage_plan = Plan::of_round(plan.target.clone(), ROUND_SECS);
    let row = stage(&stage_plan, shared, reference, viewers).await?;
    let passers_by_failed = come_and_go_many(shared, PASSERS_BY, |_| Ok(())).await?;
    let files = fs::read_dir(format!("/proc/{}/fd", plan.target.pid))
        .context("the server has ended")?
        .count();
    let row = Row { rss_mb: rss_bytes(plan.target.pid)? as f64 / 1e6, ..row };
    Ok(Round { minute: began.elapsed().as_secs_f64() / 60.0, row, passers_by_failed, files })
}

fn markdown(rounds: &[Round], stayed: &[Viewed]) -> Result<String> {
    let (Some(first), Some(last)) = (rounds.first(), rounds.last()) else { bail!("no round") };
    let sum = |of: fn(&Round) -> u64| rounds.iter().map(of).sum::<u64>();
    let pair = |[low, high]: Pair| {
        let ms = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |v| format!("{v:.2}"));
        format!("{} / {}", ms(low), ms(high))
    };
    let mut out = format!(
        "{:.0} minutes, {} rounds, {} viewers and {} that only came and went ({} and {} of them failed); \
         {} of {} packets lost.\n\n\
         | minute | viewers | RSS MB | open files | lost / packets | frames/s | added latency ms p50 / p99 |\n\
         |---|---|---|---|---|---|---|\n",
        last.minute,
        rounds.len(),
        sum(|round| u64::from(round.row.viewers)),
        rounds.len() as u64 * PASSERS_BY,
        sum(|round| u64::from(round.row.failed)),
        sum(|round| round.passers_by_failed),
        sum(|round| round.row.lost),
        sum(|round| round.row.packets),
    );
    let every = rounds.len().div_ceil(12);
    let shown = rounds.iter().enumerate().filter(|(n, _)| n % every == 0 || *n + 1 == rounds.len());
    for (_, Round { minute, row, files, .. }) in shown {
        out += &format!(
            "| {minute:.0} | {} | {:.1} | {files} | {} / {} | {:.1} | {} |\n",
            row.viewers,
            row.rss_mb,
            row.lost,
            row.packets,
            row.frames_per_s,
            pair(row.added_latency_ms)
        );
    }
    let drifts: Vec<String> = stayed
        .iter()
        .map(|viewed| {
            let frames = viewed.counter.frames();
            format!(
                "{} frames, {} of {} packets lost, drift {}",
                frames.len(),
                viewed.counter.lost(),
                viewed.counter.received(),
                drift_ms(frames).map_or_else(|| "unknown".to_owned(), |ms| format!("{ms:+.1} ms"))
            )
        })
        .collect();
    out += &format!(
        "\nThose who stayed from the first round to the last ({} of {STAYERS} to the end): {}. Drift is how \
         much further the clock of arrival went than the RTP timestamps.\nFirst round {:.1} MB, last {:.1} MB.\n",
        stayed.len(),
        drifts.join("; "),
        first.row.rss_mb,
        last.row.rss_mb
    );
    Ok(out)
}

/// How many milliseconds more passed between the first and the last frame's arrival than between their RTP
/// timestamps (90 kHz, up to 13 hours).
fn drift_ms(frames: &[Frame]) -> Option<f64> {
    let (first, last) = (frames.first()?, frames.last()?);
    let sent_ms = f64::from(last.timestamp.wrapping_sub(first.timestamp)) / 90.0;
    Some((last.arrived_ns - first.arrived_ns) as f64 / 1e6 - sent_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_what_arrival_takes_longer_than_the_timestamps_say() {
        let frame = |timestamp, arrived_ns| Frame { timestamp, arrived_ns, len_bytes: 1 };
        let frames = [frame(u32::MAX - 8999, 0), frame(81_000, 1_002_000_000)];
        assert!((drift_ms(&frames).unwrap() - 2.0).abs() < 0.01);
        assert_eq!(drift_ms(&[]), None);
    }
}
