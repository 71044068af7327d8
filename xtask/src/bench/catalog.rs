//! Pages of a large library, on SQLite and on PostgreSQL.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::table;
use crate::args::Args;
use crate::build::{Mode, cargo};
use crate::paths;
use crate::run::{capture, run, say, step, terminate};
use crate::setup;

/// Milliseconds that a filtered page may take.
const BAR_MS: f64 = 50.0;

/// How large a library, and where the table goes.
#[derive(Debug)]
pub struct Options {
    mode: Mode,
    assets: u64,
    /// A catalog to measure in place of a new one.
    sqlite: Option<String>,
    postgres: Option<String>,
    write: bool,
}

impl Options {
    /// Takes `--release`, `--assets`, `--sqlite`, `--postgres` and `--write`.
    ///
    /// # Errors
    /// When a number is none.
    pub fn from_args(args: &mut Args) -> Result<Self> {
        Ok(Self {
            assets: args.number("--assets")?.unwrap_or(1_000_000),
            sqlite: args.value("--sqlite")?,
            postgres: args.value("--postgres")?,
            write: args.flag("--write"),
            mode: Mode::from_args(args),
        })
    }
}

/// Fills a catalog on each database with the same rows and measures the same pages. One that is named
/// is filled if it is empty, and stays.
///
/// # Errors
/// When PostgreSQL is not there, or something cannot be built or read.
pub fn catalog(options: &Options) -> Result<()> {
    let mut build = cargo();
    build.args(["build", "-p", "catalog", "--example", "bench_catalog"]);
    if options.mode == Mode::Release {
        build.arg("--release");
    }
    run(&mut build, "see the compiler's message above")?;
    let profile = if options.mode == Mode::Release { "release" } else { "debug" };
    let exe = paths::target()?.join(profile).join("examples/bench_catalog");
    let measure = |url: &str| {
        let mut command = Command::new(&exe);
        command.args([&options.assets.to_string(), url]).stderr(Stdio::inherit());
        rows(&capture(&mut command)?)
    };
    let sqlite = step("SQLite", || match &options.sqlite {
        Some(url) => measure(url),
        None => in_folder(|folder| {
            measure(&format!("sqlite:{}", folder.join("catalog.sqlite").display()))
        }),
    })?;
    let on_postgres = step("PostgreSQL", || match &options.postgres {
        Some(url) => measure(url),
        None => measure(&Postgres::start()?.url()),
    })?;

    if let Some(row) = sqlite.iter().find(|row| on_postgres.iter().any(|other| row.differs(other)))
    {
        bail!("{}: the two databases do not give the same", row.name);
    }
    let text = tell(options, &sqlite, &on_postgres)?;
    println!("{text}");
    if options.write {
        table::write_into_docs("bench catalog", &text)?;
    }
    let slow = [&sqlite, &on_postgres].into_iter().flat_map(|rows| rows.iter());
    let slow: Vec<&str> = slow
        .filter(|row| row.is_page() && row.p95 >= BAR_MS)
        .map(|row| row.name.as_str())
        .collect();
    say(&match slow.is_empty() {
        true => format!("every page is under {BAR_MS} ms"),
        false => format!("not under {BAR_MS} ms: {}", slow.join(", ")),
    });
    Ok(())
}

/// Calls `with` with an empty folder, which is gone afterwards.
fn in_folder<T>(with: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let folder = paths::target()?.join("bench-catalog");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let outcome = with(&folder);
    fs::remove_dir_all(&folder).ok();
    outcome
}

/// What the example says of one page.
#[derive(Debug, PartialEq)]
struct Row {
    name: String,
    items: u64,
    p50: f64,
    p95: f64,
    /// Of which rows they were.
    hash: String,
}

impl Row {
    fn is_page(&self) -> bool {
        self.name.starts_with("page: ")
    }

    /// Whether the other is of the same page and gave something else.
    fn differs(&self, other: &Self) -> bool {
        self.name == other.name && self.hash != other.hash
    }
}

/// Lines of name, items, p50, p95 and a hash, with tabs between.
fn rows(text: &str) -> Result<Vec<Row>> {
    let row = |line: &str| {
        let [name, items, p50, p95, hash] = line.split('\t').collect::<Vec<_>>().try_into().ok()?;
        let name = str::to_owned(name);
        Some(Row {
            name,
            items: items.parse().ok()?,
            p50: p50.parse().ok()?,
            p95: p95.parse().ok()?,
            hash: hash.to_owned(),
        })
    };
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| row(line).with_context(|| format!("not a measurement: {line}"))).collect()
}

fn tell(options: &Options, sqlite: &[Row], postgres: &[Row]) -> Result<String> {
    let mut command = match options.mode {
        Mode::Release => format!("bench catalog --release --assets {}", options.assets),
        Mode::Dev => format!("bench catalog --assets {}", options.assets),
    };
    // A URL may hold a password.
    for (name, url) in [("--sqlite", &options.sqlite), ("--postgres", &options.postgres)] {
        if url.is_some() {
            command.push_str(&format!(" {name} …"));
        }
    }
    let mut text = table::caption(table::built_as(options.mode), &command)?;
    text.push_str("\n\n| of 100 assets | rows | SQLite ms p50 / p95 | PostgreSQL ms p50 / p95 |\n|---|---|---|---|\n");
    let by_name: BTreeMap<&str, &Row> =
        postgres.iter().map(|row| (row.name.as_str(), row)).collect();
    let ms = |row: &Row| {
        let of = |ms: f64| {
            if row.is_page() && ms >= BAR_MS { format!("**{ms:.1}**") } else { format!("{ms:.1}") }
        };
        format!("{} / {}", of(row.p50), of(row.p95))
    };
    for row in sqlite {
        let other = by_name.get(row.name.as_str()).map_or_else(String::new, |row| ms(row));
        text.push_str(&format!("| {} | {} | {} | {other} |\n", row.name, row.items, ms(row)));
    }
    Ok(text)
}

/// A server of our own, in a folder that goes with it.
struct Postgres {
    server: Child,
    folder: String,
}

/// As the tests start it. It may hold as much in memory as a catalog on SQLite maps; everything else is
/// as it comes.
const SCRIPT: &str = include_str!("../../../catalog/tests/it/postgres.sh");

impl Postgres {
    fn start() -> Result<Self> {
        let bin = setup::postgres().context("no PostgreSQL: apt-get install postgresql")?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]);
        if capture(Command::new("id").arg("-u"))?.trim() == "0" {
            command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
        }
        command.args(["sh", "-c", SCRIPT, "sh"]).arg(Path::new(&bin));
        command.args(["-c", "shared_buffers=4GB"]).current_dir("/");
        let mut server = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start setpriv of util-linux")?;
        let stdout = server.stdout.take().context("its output is piped")?;
        match BufReader::new(stdout).lines().next() {
            Some(Ok(folder)) => Ok(Self { server, folder }),
            _ => bail!("PostgreSQL did not start"),
        }
    }

    fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.folder.replace('/', "%2F"))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It removes its folder then.
        terminate(&mut self.server);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_are_read_line_by_line() {
        let read = rows("page: one kind\t100\t1.25\t2.5\tabc\n\n").unwrap();
        let (name, hash) = ("page: one kind".to_owned(), "abc".to_owned());
        assert_eq!(read, [Row { name, items: 100, p50: 1.25, p95: 2.5, hash }]);
        assert!(rows("hello").is_err());
    }
}
