//! The course of a measurement: so many viewers, warm-up, a window of time, the next number of viewers.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::latency::{MAX_DELAY_NS, added_ms};
use crate::process::{cpu_ms, rss_bytes};
use crate::reference::Reference;
use crate::report::{Camera, Cycles, Idle, Row, Server, Step};
use crate::stats::{percentile, slope};
use crate::viewer::{Shared, Viewed, now_ns, watch};

/// For a camera to be live behind a server that has just been started.
const LIVE_TIMEOUT: Duration = Duration::from_secs(30);
/// After the last viewer of a stage was told to connect.
const CONNECT_PATIENCE: Duration = Duration::from_secs(40);
/// Between two stages, for a server to clear up.
const PAUSE: Duration = Duration::from_secs(3);
/// Before memory is read in the ladder: a garbage collector needs time to give it back.
const LADDER_PAUSE: Duration = Duration::from_secs(15);
const CYCLES_AT_ONCE: usize = 8;

/// Where to measure.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// WHEP endpoint of the camera.
    #[arg(long)]
    pub whep: Url,
    /// Process whose time and memory are read.
    #[arg(long)]
    pub pid: u32,
    /// RTSP URL of the same camera, for the reference reader.
    #[arg(long)]
    pub camera: Url,
}

/// What to measure of one server.
#[derive(Debug, Args)]
pub struct Plan {
    /// Name in the table.
    #[arg(long)]
    name: String,
    #[command(flatten)]
    target: Target,
    /// Numbers of viewers, one stage each.
    #[arg(long, value_delimiter = ',')]
    viewers: Vec<u32>,
    /// Length of a stage's window.
    #[arg(long, default_value_t = 20)]
    secs: u64,
    /// From the last viewer's first packet to the window.
    #[arg(long, default_value_t = 4)]
    warmup_secs: u64,
    /// Between two viewers that connect.
    #[arg(long, default_value_t = 20)]
    pace_ms: u64,
    /// Numbers of viewers one after another, at each of which memory is read.
    #[arg(long, value_delimiter = ',')]
    ladder: Vec<u32>,
    /// So many viewers connect and leave, a few at a time.
    #[arg(long, default_value_t = 0)]
    cycles: u64,
}

impl Plan {
    /// For a single [`stage`] of so many seconds.
    pub fn of_round(target: Target, secs: u64) -> Self {
        Self {
            name: "soak".to_owned(),
            target,
            viewers: Vec::new(),
            secs,
            warmup_secs: 2,
            pace_ms: 20,
            ladder: Vec::new(),
            cycles: 0,
        }
    }
}

/// Measures all of it.
///
/// # Errors
/// When the server or the camera is not there; viewers that fail are counted instead.
pub async fn measure(plan: &Plan) -> Result<Server> {
    let reference = Reference::start(plan.target.camera.clone())?;
    let shared = Shared::new(plan.target.whep.clone())?;
    wait_until_live(&shared).await?;
    say(&plan.name, "the camera is live");
    sleep(PAUSE).await;
    let idle = idle(plan).await?;
    let mut rows = Vec::new();
    for &viewers in &plan.viewers {
        let row = stage(plan, &shared, &reference, viewers).await?;
        say(
            &plan.name,
            &format!(
                "{viewers} viewers: {:.2} ms of processor per viewer and second, {:.0} MB, {} lost, \
                 {} failed; this side {:.0} % of a core",
                row.cpu_ms_per_viewer_s, row.rss_mb, row.lost, row.failed, row.client_cpu_percent
            ),
        );
        rows.push(row);
        sleep(PAUSE).await;
    }
    // Before the ladder: memory that many viewers leave behind would hide what a connection leaks.
    let cycles = if plan.cycles == 0 { None } else { Some(cycle(plan, &shared).await?) };
    let mut ladder = Vec::new();
    for &viewers in &plan.ladder {
        let step = ladder_step(plan, &shared, viewers).await?;
        say(&plan.name, &format!("with {viewers} viewers {:.1} MB", step.rss_mb));
        ladder.push(step);
    }
    Ok(Server {
        name: plan.name.clone(),
        secs: plan.secs,
        camera: camera(&reference),
        idle,
        rows,
        ladder,
        cycles,
    })
}

/// One line of progress.
pub fn say(server: &str, text: &str) {
    eprintln!("    {server}: {text}");
}

/// Waits until the server shows the camera.
///
/// # Errors
/// When it does not in time.
pub async fn wait_until_live(shared: &Rc<Shared>) -> Result<()> {
    let began = Instant::now();
    loop {
        let group = Group::connect(shared, 1, Duration::ZERO).await;
        let mut viewed = group.leave().await;
        match viewed.pop().context("one viewer gives one outcome")? {
            Ok(_) => return Ok(()),
            Err(error) if began.elapsed() > LIVE_TIMEOUT => {
                return Err(error).context("the camera does not play through the server");
            }
            Err(_) => sleep(Duration::from_millis(500)).await,
        }
    }
}

/// Viewers that came together.
pub struct Group {
    tasks: JoinSet<Result<Viewed>>,
    stop: CancellationToken,
    failed: Vec<Result<Viewed>>,
}

impl Group {
    /// Starts viewers at a pace and waits until each of them has media or has failed.
    pub async fn connect(shared: &Rc<Shared>, count: u32, pace: Duration) -> Self {
        let (watching, mut started) = mpsc::unbounded_channel();
        let mut group =
            Self { tasks: JoinSet::new(), stop: CancellationToken::new(), failed: Vec::new() };
        for n in 0..count {
            if n > 0 {
                sleep(pace).await;
            }
            let viewer = watch(shared.clone(), watching.clone(), group.stop.clone());
            group.tasks.spawn_local(viewer);
        }
        let mut waiting = count;
        let all = async {
            while waiting > 0 {
                tokio::select! {
                    Some(()) = started.recv() => {}
                    Some(ended) = group.tasks.join_next() => group.failed.push(flat(ended)),
                    else => break,
                }
                waiting -= 1;
            }
        };
        // Those that are still on their way then count as failed when they are stopped.
        let _ = timeout(CONNECT_PATIENCE, all).await;
        group
    }

    /// Stops all; gives what became of each.
    pub async fn leave(mut self) -> Vec<Result<Viewed>> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            self.failed.push(flat(ended));
        }
        self.failed
    }
}

fn flat(ended: Result<Result<Viewed>, tokio::task::JoinError>) -> Result<Viewed> {
    ended.unwrap_or_else(|error| bail!("a viewer panicked: {error}"))
}

/// Processor time of the server and of this process over some seconds.
struct Window {
    server_ms: f64,
    client_ms: f64,
    secs: f64,
}

async fn window(pid: u32, secs: u64) -> Result<Window> {
    let ours = std::process::id();
    let (began, server, client) = (Instant::now(), cpu_ms(pid)?, cpu_ms(ours)?);
    sleep(Duration::from_secs(secs)).await;
    Ok(Window {
        server_ms: cpu_ms(pid)?.saturating_sub(server) as f64,
        client_ms: cpu_ms(ours)?.saturating_sub(client) as f64,
        secs: began.elapsed().as_secs_f64(),
    })
}

async fn idle(plan: &Plan) -> Result<Idle> {
    let window = window(plan.target.pid, plan.secs.min(10)).await?;
    Ok(Idle {
        cpu_percent: window.server_ms / window.secs / 10.0,
        rss_mb: rss_mb(plan.target.pid)?,
    })
}

fn rss_mb(pid: u32) -> Result<f64> {
    Ok(rss_bytes(pid)? as f64 / 1e6)
}

/// Measures with so many viewers.
///
/// # Errors
/// When none of them gets media, or the server has ended.
pub async fn stage(
    plan: &Plan,
    shared: &Rc<Shared>,
    reference: &Reference,
    viewers: u32,
) -> Result<Row> {
    let group = Group::connect(shared, viewers, Duration::from_millis(plan.pace_ms)).await;
    sleep(Duration::from_secs(plan.warmup_secs)).await;
    let began_ns = now_ns();
    shared.recording.set(true);
    let window = window(plan.target.pid, plan.secs).await?;
    let rss_mb = rss_mb(plan.target.pid)?;
    shared.recording.set(false);
    // Frames of the camera that viewers got a little later.
    let origin = reference.since(began_ns.saturating_sub(MAX_DELAY_NS));

    let mut watched = Vec::new();
    let mut failed = 0;
    for outcome in group.leave().await {
        match outcome {
            Ok(viewed) => watched.push(viewed),
            Err(error) => {
                if failed == 0 {
                    say(&plan.name, &format!("a viewer failed: {error:#}"));
                }
                failed += 1;
            }
        }
    }
    if watched.is_empty() {
        bail!("no viewer of {viewers} got any media");
    }
    let count = watched.len() as f64;
    let sum = |of: fn(&Viewed) -> u64| watched.iter().map(of).sum::<u64>();
    let mut connect: Vec<f64> = watched.iter().map(|viewed| viewed.connect_ms).collect();
    let mut first_packet: Vec<f64> = watched.iter().map(|viewed| viewed.first_packet_ms).collect();
    let compared: Vec<_> =
        watched.iter().map(|viewed| added_ms(viewed.counter.frames(), &origin)).collect();
    let not_compared = compared.iter().filter(|added| added.is_none()).count();
    if not_compared > 0 {
        say(
            &plan.name,
            &format!("{not_compared} viewers do not fit the reference reader's stream"),
        );
    }
    let mut added: Vec<f64> = compared.into_iter().flatten().flatten().collect();
    let mut ciphers: Vec<_> = watched.iter().map(|viewed| viewed.cipher.clone()).collect();
    ciphers.sort();
    ciphers.dedup();
    Ok(Row {
        viewers,
        failed,
        cpu_ms_per_viewer_s: window.server_ms / window.secs / count,
        rss_mb,
        packets: sum(|viewed| viewed.counter.received()),
        lost: sum(|viewed| viewed.counter.lost()),
        frames_per_s: sum(|viewed| viewed.counter.frames().len() as u64) as f64
            / window.secs
            / count,
        kbps_per_viewer: sum(|viewed| viewed.counter.received_bytes()) as f64 * 8e-3
            / window.secs
            / count,
        connect_ms: [percentile(&mut connect, 50.0), percentile(&mut connect, 99.0)],
        first_packet_ms: [percentile(&mut first_packet, 50.0), percentile(&mut first_packet, 95.0)],
        added_latency_ms: [percentile(&mut added, 50.0), percentile(&mut added, 99.0)],
        cipher: ciphers.join(", "),
        client_cpu_percent: window.client_ms / window.secs / 10.0,
    })
}

async fn ladder_step(plan: &Plan, shared: &Rc<Shared>, viewers: u32) -> Result<Step> {
    let group = Group::connect(shared, viewers, Duration::from_millis(plan.pace_ms)).await;
    sleep(LADDER_PAUSE).await;
    let rss_mb = rss_mb(plan.target.pid)?;
    let failed = group.leave().await.iter().filter(|outcome| outcome.is_err()).count() as u32;
    sleep(PAUSE).await;
    Ok(Step { viewers, failed, rss_mb })
}

async fn cycle(plan: &Plan, shared: &Rc<Shared>) -> Result<Cycles> {
    let every = plan.cycles.div_ceil(20);
    let mut points = vec![(0, rss_mb(plan.target.pid)?)];
    let began = Instant::now();
    let failed = come_and_go_many(shared, plan.cycles, |done| {
        if done.is_multiple_of(every) {
            let point = (done, rss_mb(plan.target.pid)?);
            say(&plan.name, &format!("after {} connections {:.1} MB", point.0, point.1));
            points.push(point);
        }
        Ok(())
    })
    .await?;
    // The first half fills caches and pools; what still grows after it leaks.
    let settled: Vec<_> = points
        .iter()
        .filter(|point| point.0 >= plan.cycles / 2)
        .map(|point| (point.0 as f64, point.1))
        .collect();
    Ok(Cycles {
        count: plan.cycles,
        failed,
        secs: began.elapsed().as_secs_f64(),
        rss_mb: points,
        slope_bytes_per_cycle: slope(&settled).map(|mb| mb * 1e6),
    })
}

/// So many viewers connect and leave, a few at a time; gives how many of them failed. `each` hears how many
/// are done.
///
/// # Errors
/// Those of `each`.
pub async fn come_and_go_many(
    shared: &Rc<Shared>,
    count: u64,
    mut each: impl FnMut(u64) -> Result<()>,
) -> Result<u64> {
    let (mut started, mut done, mut failed) = (0, 0, 0);
    let mut tasks = JoinSet::new();
    while done < count {
        while started < count && tasks.len() < CYCLES_AT_ONCE {
            tasks.spawn_local(come_and_go(shared.clone()));
            started += 1;
        }
        let Some(ended) = tasks.join_next().await else { break };
        done += 1;
        if !matches!(ended, Ok(Ok(_))) {
            failed += 1;
        }
        each(done)?;
    }
    Ok(failed)
}

async fn come_and_go(shared: Rc<Shared>) -> Result<Viewed> {
    let (watching, mut started) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let viewer = watch(shared, watching, stop.clone());
    tokio::pin!(viewer);
    tokio::select! {
        ended = &mut viewer => return ended,
        Some(()) = started.recv() => stop.cancel(),
    }
    viewer.await
}

/// Whether the camera itself was steady, as the reference reader saw it.
fn camera(reference: &Reference) -> Camera {
    let frames = reference.since(0);
    let (first, last) = (frames.first(), frames.last());
    let span_ns = first.zip(last).map_or(0, |(first, last)| last.arrived_ns - first.arrived_ns);
    let mut gaps: Vec<f64> = frames
        .windows(2)
        .map(|pair| (pair[1].arrived_ns - pair[0].arrived_ns) as f64 / 1e6)
        .collect();
    let steps_back = frames
        .windows(2)
        .filter(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp) as i32 <= 0)
        .count() as u64;
    let bytes: u64 = frames.iter().map(|frame| u64::from(frame.len_bytes)).sum();
    let secs = (span_ns as f64 / 1e9).max(1e-3);
    Camera {
        frames_per_s: frames.len().saturating_sub(1) as f64 / secs,
        kbps: bytes as f64 * 8e-3 / secs,
        frame_gap_ms: [percentile(&mut gaps, 50.0), percentile(&mut gaps, 99.0)],
        timestamp_steps_back: steps_back,
    }
}
