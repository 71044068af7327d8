//! The explorer's pages and thumbnails beside nginx and Next.js, with the same bytes and the same client.
//!
//! One server at a time is asked, all in one run; server and client share the processor, and nothing is
//! bound to a part of it.

mod crowd;
mod http;
mod load;
mod next;
mod nginx;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use self::load::{Client, Figures};
use super::table;
use crate::args::Args;
use crate::build::{self, Mode};
use crate::run::{run, say, step};
use crate::serving::Server;
use crate::{demo, paths, setup};

/// The page that is measured.
const PAGE: &str = "/assets?limit=100";
/// Pictures in the library.
const PICTURES: u32 = 120;
/// Thumbnails are made by then.
const THUMBS_TIMEOUT: Duration = Duration::from_secs(300);

/// What to measure.
#[derive(Debug)]
pub struct Options {
    mode: Mode,
    program: Option<PathBuf>,
    secs: u64,
    hey: bool,
    next: bool,
    write: bool,
    line: String,
}

impl Options {
    /// Takes `--dev`, `--program`, `--secs`, `--no-hey`, `--no-next` and `--write`.
    ///
    /// # Errors
    /// When a number is none.
    pub fn from_args(args: &mut Args) -> Result<Self> {
        let line = format!("bench explorer {args}").trim_end().to_owned();
        Ok(Self {
            mode: if args.flag("--dev") { Mode::Dev } else { Mode::Release },
            program: args.value("--program")?.map(PathBuf::from),
            secs: args.number("--secs")?.unwrap_or(60),
            hey: !args.flag("--no-hey"),
            next: !args.flag("--no-next"),
            write: args.flag("--write"),
            line,
        })
    }
}

/// A row of the table.
struct Row {
    what: &'static str,
    client: &'static str,
    server: &'static str,
    figures: Figures,
    /// Times what this server does that our figure is to be, at least.
    bar: Option<f64>,
}

/// Measures and prints.
///
/// # Errors
/// When a server or a client cannot be had or does not answer as expected.
pub fn explorer(options: &Options) -> Result<()> {
    setup::install_programs(&[("nginx", "nginx"), ("wrk", "wrk"), ("hey", "hey")])?;
    let damwall = match &options.program {
        Some(program) => program.clone(),
        None => build::build(options.mode)?,
    };
    let build = table::says(&damwall)?;
    let folder = paths::target()?.join("bench-explorer");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let data = folder.join("data");
    demo::import(&damwall, &pictures(&folder)?, &data)?;
    let mut serve = Command::new(&damwall);
    serve.args(["serve", "--addr", "127.0.0.1:0", "--data-dir"]).arg(&data).current_dir(&folder);
    let server = Server::start(&mut serve)?;
    let ours = server.url().trim_start_matches("http://").to_owned();
    let thumb = step("waiting for the thumbnails", || wait_for_thumbs(&ours))?;
    let page = http::get(&ours, PAGE, &[])?;
    let gzip_bytes = http::get(&ours, PAGE, &["Accept-Encoding: gzip"])?.body.len();
    let picture = http::get(&ours, &thumb, &[])?;

    let nginx = nginx::Nginx::start(&folder, &page.body, &picture.body)?;
    let next = match options.next {
        true => next::Next::start(&http::get(&ours, "/api/assets?limit=100", &[])?.body)?,
        false => None,
    };
    let mut rows = Vec::new();
    let mut measure = |what, client: Client, (server, pid), url: String, bar| -> Result<()> {
        say(&format!("{what}: {server}, {}", client.name()));
        let figures = client.run(&url, options.secs, pid)?;
        say(&format!("{:.0} requests/s, p99 {:.1} ms", figures.per_sec, figures.p99_ms));
        rows.push(Row { what, client: client.name(), server, figures, bar });
        Ok(())
    };
    let (damwall, peer) = (("Damwall", server.pid()), ("nginx", nginx.pid()));
    let url = |addr: &str, path: &str| format!("http://{addr}{path}");
    let mut page_clients = vec![("page", Client::Wrk), ("page, gzip", Client::WrkGzip)];
    if options.hey {
        page_clients.push(("page, gzip", Client::Hey));
    }
    for (what, client) in page_clients {
        let (nginx_bar, next_bar) = if what == "page" { (1.2, 4.0) } else { (10.0, 50.0) };
        measure(what, client, damwall, url(&ours, PAGE), None)?;
        let cache = if what == "page" { nginx.cached() } else { nginx.cached_gzip() };
        measure(what, client, peer, url(&cache, "/page"), Some(nginx_bar))?;
        if let Some(next) = &next {
            measure(
                what,
                client,
                ("Next.js", next.pid()),
                url(&next.addr(), "/assets"),
                Some(next_bar),
            )?;
        }
    }
    measure("thumbnail", Client::Wrk, damwall, url(&ours, &thumb), None)?;
    measure("thumbnail", Client::Wrk, peer, url(&nginx.files(), "/thumb.webp"), Some(0.8))?;

    let calm = Client::Wrk.run(&url(&ours, PAGE), options.secs, server.pid())?;
    http::get(&ours, crowd::PAGE, &[])?;
    say("waiting until a page is no longer fresh");
    sleep(Duration::from_secs(61));
    let (crowded, never_made, stale) = std::thread::scope(|scope| -> Result<_> {
        let hits = scope.spawn(|| Client::Wrk.run(&url(&ours, PAGE), options.secs, server.pid()));
        sleep(Duration::from_millis(options.secs * 300));
        let never_made = crowd::ask(&ours, "/assets?limit=98")?;
        let stale = crowd::ask(&ours, crowd::PAGE)?;
        let hits = hits.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
        Ok((hits, never_made, stale))
    })?;
    // What was made behind is told by the next answer's time to live.
    let fresh = http::get(&ours, crowd::PAGE, &[])?;
    let text = report(&build, options, &rows, &page.body, gzip_bytes, picture.body.len())?
        + &format!(
            "\n1000 askers at once while others are served hits (p99 {:.1} ms without the crowd, {:.1} ms with it):\n\
             - of a page that was never made: {never_made}\n- of a stale page: {stale}; then `{}`\n",
            calm.p99_ms,
            crowded.p99_ms,
            fresh.header("cache-status").unwrap_or("nothing"),
        );
    println!("{text}");
    if options.write {
        table::write_into_docs("bench explorer", &text)?;
    }
    Ok(())
}

fn report(
    build: &str,
    options: &Options,
    rows: &[Row],
    page: &[u8],
    gzip_bytes: usize,
    thumb_bytes: usize,
) -> Result<String> {
    let mut text = table::caption(build, &options.line)?;
    text += &format!(
        " Page {} bytes, {gzip_bytes} in gzip; thumbnail {thumb_bytes} bytes.\n\n\
         | what | client | server | requests/s | p50 ms | p99 ms | server's CPU, µs an answer | Damwall's are | bar |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        page.len()
    );
    for row in rows {
        let ours = rows
            .iter()
            .find(|ours| ours.bar.is_none() && (ours.what, ours.client) == (row.what, row.client));
        let ratio = match (ours, row.bar) {
            (Some(ours), Some(bar)) => {
                let ratio = ours.figures.per_sec / row.figures.per_sec.max(0.001);
                let verdict = if ratio >= bar { "met" } else { "**missed**" };
                format!("{ratio:.2} × | ≥ {bar} ×, {verdict}")
            }
            _ => " | ".to_owned(),
        };
        text += &format!(
            "| {} | {} | {} | {:.0} | {:.1} | {:.1} | {:.0} | {ratio} |\n",
            row.what,
            row.client,
            row.server,
            row.figures.per_sec,
            row.figures.p50_ms,
            row.figures.p99_ms,
            row.figures.cpu_us
        );
    }
    Ok(text)
}

/// Pictures that differ, drawn once.
fn pictures(folder: &Path) -> Result<PathBuf> {
    let pictures = folder.join("pictures");
    fs::create_dir_all(&pictures).with_context(|| format!("cannot make {}", pictures.display()))?;
    step(&format!("drawing {PICTURES} pictures"), || {
        run(
            Command::new("ffmpeg")
                .args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=1280x960:r=1"])
                .args(["-frames:v", &PICTURES.to_string(), "-q:v", "4"])
                .arg(pictures.join("Camera A roll %03d.jpg")),
            "see ffmpeg's message above",
        )
    })?;
    Ok(pictures)
}

/// Waits until every picture has its thumbnails; the path of one.
fn wait_for_thumbs(addr: &str) -> Result<String> {
    let deadline = Instant::now() + THUMBS_TIMEOUT;
    while Instant::now() < deadline {
        let list = http::get(addr, "/api/assets?limit=500", &[])?;
        let list = String::from_utf8_lossy(&list.body).into_owned();
        let urls: Vec<&str> = list.split("\"url_320\":\"").skip(1).collect();
        if urls.len() == PICTURES as usize {
            let url = urls[0].split('"').next().unwrap_or_default();
            return Ok(url.to_owned());
        }
        sleep(Duration::from_millis(500));
    }
    bail!("the thumbnails were not made in {} s", THUMBS_TIMEOUT.as_secs())
}
