//! Two thumbnails of a photograph: our worker process beside libvips.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{processor, table};
use crate::args::Args;
use crate::build::{self, Mode};
use crate::run::{capture, run, say, step};
use crate::setup::{self, Purpose};
use crate::{paths, run};

/// 2.7 megapixels.
const WIDTH_PX: u32 = 1900;
const HEIGHT_PX: u32 = 1425;
/// Different pictures; each is taken again in every round.
const PICTURES: usize = 6;

/// How long to measure what.
#[derive(Debug)]
pub struct Options {
    mode: Mode,
    rounds: usize,
    writes: bool,
}

impl Options {
    /// Takes `--dev`, `--rounds` and `--write`.
    ///
    /// # Errors
    /// When a number is none.
    pub fn from_args(args: &mut Args) -> Result<Self> {
        Ok(Self {
            rounds: args.number("--rounds")?.unwrap_or(10),
            mode: if args.flag("--dev") { Mode::Dev } else { Mode::Release },
            writes: args.flag("--write"),
        })
    }
}

/// What one way of making both thumbnails took and gave.
struct Row {
    name: &'static str,
    /// Of one picture, both sizes.
    cpu: Duration,
    wall: Duration,
    /// Mean length of a thumbnail.
    bytes: [u64; 2],
    /// Mean likeness to the picture shrunk by ffmpeg's Lanczos, of 1.
    ssim: [f64; 2],
}

const SIZES_PX: [u32; 2] = [320, 640];

/// Processor time per picture of 2.7 megapixels for thumbnails of 320 and 640 px.
///
/// # Errors
/// When something cannot be built or made. Without libvips its rows are left out.
pub fn thumbs(options: &Options) -> Result<()> {
    let worker = build_worker(options.mode)?;
    if let Err(error) = setup::setup(Purpose::Thumbs) {
        say(&format!("no vipsthumbnail to compare with: {error:#}"));
    }
    let has_vips = run::succeeds(Command::new("vipsthumbnail").arg("--version"));
    let folder = paths::target()?.join("bench-thumbs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let pictures = step("making pictures", || make_pictures(&folder, has_vips))?;
    let bytes: u64 =
        pictures.iter().filter_map(|path| fs::metadata(path).ok()).map(|m| m.len()).sum();

    let mut rows = Vec::new();
    let ours = |picture: &Path| {
        let [small, large] = outputs(picture, "ours");
        run(
            quiet(
                Command::new(&worker).args(["worker", "thumb"]).arg(picture).arg(small).arg(large),
            ),
            "",
        )
    };
    let each =
        |work: &dyn Fn(&Path) -> Result<()>| pictures.iter().try_for_each(|picture| work(picture));
    rows.push(measure(
        "Damwall's worker, a process per picture",
        "ours",
        &pictures,
        options.rounds,
        || each(&ours),
    )?);
    let empty = measure_empty(&worker, options.rounds * PICTURES)?;
    if has_vips {
        let one = |picture: &Path| {
            let outputs = outputs(picture, "vips");
            SIZES_PX.iter().zip(outputs).try_for_each(|(&px, output)| vips(&[picture], px, &output))
        };
        rows.push(measure(
            "`vipsthumbnail`, a process per picture and size",
            "vips",
            &pictures,
            options.rounds,
            || each(&one),
        )?);
        let all = || {
            let pictures: Vec<&Path> = pictures.iter().map(PathBuf::as_path).collect();
            SIZES_PX
                .iter()
                .try_for_each(|&px| vips(&pictures, px, &folder.join(format!("%s-{px}-vips.webp"))))
        };
        rows.push(measure(
            "`vipsthumbnail`, a process per size for all pictures",
            "vips",
            &pictures,
            options.rounds,
            all,
        )?);
    } else {
        say("vipsthumbnail is not there (Debian's libvips-tools): only Damwall is measured");
    }

    let mut text = table::caption(table::built_as(options.mode), "bench thumbs")?;
    text.push_str(&format!(
        " {PICTURES} JPEGs of {WIDTH_PX} × {HEIGHT_PX} px, {} KB each; {} rounds.{} A worker that does nothing takes {}.\n\n",
        bytes / 1000 / PICTURES as u64,
        options.rounds,
        vips_version(has_vips),
        ms(empty),
    ));
    text.push_str("| 320 + 640 px WebP | CPU / picture | of the last line's | wall / picture | bytes 320, 640 | SSIM 320, 640 |\n|---|---|---|---|---|---|\n");
    let base = rows.last().filter(|_| has_vips).map(|row| row.cpu);
    for row in &rows {
        let ratio = base.map_or("–".to_owned(), |base| {
            format!("{:.2} ×", row.cpu.as_secs_f64() / base.as_secs_f64())
        });
        text.push_str(&format!(
            "| {} | {} | {ratio} | {} | {}, {} | {:.3}, {:.3} |\n",
            row.name,
            ms(row.cpu),
            ms(row.wall),
            row.bytes[0],
            row.bytes[1],
            row.ssim[0],
            row.ssim[1]
        ));
    }
    println!("\n{text}");
    if options.writes {
        table::write_into_docs("bench thumbs", &text)?;
    }
    Ok(())
}

fn build_worker(mode: Mode) -> Result<PathBuf> {
    step("building the worker", || {
        let mut cargo = build::cargo();
        cargo.args(["build", "--package", "catalog", "--bin", "damwall-thumb-worker"]);
        if mode == Mode::Release {
            cargo.arg("--release");
        }
        run(&mut cargo, "see the compiler's message above")
    })?;
    let folder = if mode == Mode::Release { "release" } else { "debug" };
    Ok(paths::target()?.join(folder).join("damwall-thumb-worker"))
}

/// Pictures with the spectrum of photographs where libvips is there, fractals of ffmpeg's otherwise.
fn make_pictures(folder: &Path, has_vips: bool) -> Result<Vec<PathBuf>> {
    let mut pictures = Vec::new();
    for n in 0..PICTURES {
        let picture = folder.join(format!("{n}.jpg"));
        if !picture.exists() {
            if has_vips {
                make_fractal(folder, &picture)?;
            } else {
                let source = format!(
                    "mandelbrot=size={WIDTH_PX}x{HEIGHT_PX}:start_scale={}",
                    3.0 / (n + 1) as f64
                );
                let mut ffmpeg = Command::new("ffmpeg");
                ffmpeg.args([
                    "-v",
                    "error",
                    "-y",
                    "-f",
                    "lavfi",
                    "-i",
                    &source,
                    "-frames:v",
                    "1",
                    "-q:v",
                    "3",
                ]);
                run(ffmpeg.arg(&picture), "is ffmpeg there?")?;
            }
        }
        pictures.push(picture);
    }
    Ok(pictures)
}

fn make_fractal(folder: &Path, picture: &Path) -> Result<()> {
    let vips = |args: &[&str]| {
        run(Command::new("vips").args(args).current_dir(folder), "is libvips whole?")
    };
    for band in ["r.v", "g.v", "b.v"] {
        vips(&["fractsurf", band, &WIDTH_PX.to_string(), &HEIGHT_PX.to_string(), "2.7"])?;
    }
    vips(&["bandjoin", "r.v g.v b.v", "rgb.v"])?;
    vips(&["scale", "rgb.v", "scaled.v"])?;
    vips(&["jpegsave", "scaled.v", &picture.to_string_lossy(), "--Q", "90"])?;
    for file in ["r.v", "g.v", "b.v", "rgb.v", "scaled.v"] {
        let _ = fs::remove_file(folder.join(file));
    }
    Ok(())
}

fn outputs(picture: &Path, who: &str) -> [PathBuf; 2] {
    let name = picture.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    SIZES_PX.map(|px| picture.with_file_name(format!("{name}-{px}-{who}.webp")))
}

fn vips(pictures: &[&Path], px: u32, output: &Path) -> Result<()> {
    let mut command = Command::new("vipsthumbnail");
    command.args(pictures).args(["--size", &px.to_string(), "-o"]).arg(output);
    run(&mut command, "is libvips whole?")
}

/// Its report is not ours to print.
fn quiet(command: &mut Command) -> &mut Command {
    command.stdout(Stdio::null())
}

fn measure(
    name: &'static str,
    who: &str,
    pictures: &[PathBuf],
    rounds: usize,
    work: impl Fn() -> Result<()>,
) -> Result<Row> {
    // Once without looking: the files are in memory from then on.
    work()?;
    let (cpu, began) = (processor::used_by_ended_children()?, Instant::now());
    step(&format!("{rounds} rounds: {name}"), || (0..rounds).try_for_each(|_| work()))?;
    let wall = began.elapsed();
    let cpu = processor::used_by_ended_children()?.saturating_sub(cpu);
    let times = u32::try_from(rounds * pictures.len()).context("too many rounds")?;
    let (mut bytes, mut ssim) = ([0; 2], [0.0; 2]);
    for picture in pictures {
        for (n, output) in outputs(picture, who).iter().enumerate() {
            let meta = fs::metadata(output).with_context(|| format!("no {}", output.display()))?;
            bytes[n] += meta.len() / pictures.len() as u64;
            ssim[n] += likeness(picture, output, SIZES_PX[n])? / pictures.len() as f64;
        }
    }
    Ok(Row { name, cpu: cpu / times, wall: wall / times, bytes, ssim })
}

fn measure_empty(worker: &Path, times: usize) -> Result<Duration> {
    let cpu = processor::used_by_ended_children()?;
    for _ in 0..times {
        run(Command::new(worker).args(["worker", "limited", "quick", "/bin/true"]), "")?;
    }
    Ok(processor::used_by_ended_children()?.saturating_sub(cpu)
        / u32::try_from(times).context("too many rounds")?)
}

/// SSIM of a thumbnail and the picture shrunk by ffmpeg, of 1.
fn likeness(picture: &Path, thumb: &Path, px: u32) -> Result<f64> {
    let graph = format!(
        "[0]scale={px}:-1:flags=lanczos+accurate_rnd+full_chroma_int,format=gbrp[a];[1]format=gbrp[b];[a][b]ssim=stats_file=-"
    );
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i"]).arg(picture).arg("-i").arg(thumb);
    ffmpeg.args(["-lavfi", &graph, "-f", "null", "-"]);
    let text = capture(&mut ffmpeg)?;
    match text.split_once("All:").and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
    {
        Some(ssim) => Ok(ssim),
        None => bail!("ffmpeg wrote no SSIM: {text}"),
    }
}

fn vips_version(has_vips: bool) -> String {
    if !has_vips {
        return String::new();
    }
    let version = capture(Command::new("vips").arg("--version")).unwrap_or_default();
    format!(
        " {}.",
        version.split_whitespace().take(1).collect::<String>().replace("vips-", "libvips ")
    )
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
