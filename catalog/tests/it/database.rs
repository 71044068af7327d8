//! Both databases that a catalog can be on: an SQLite file, and a database of a real PostgreSQL.

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Seek as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
};

use catalog::{Catalog, CatalogUrl};
use tempfile::TempDir;

/// A database of one test's own.
pub struct Database {
    pub url: CatalogUrl,
    /// Its name on the PostgreSQL server.
    name: String,
    _dir: Option<TempDir>,
}

impl Database {
    pub fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = CatalogUrl::Sqlite(dir.path().join("catalog.sqlite"));
        Self { url, name: String::new(), _dir: Some(dir) }
    }

    pub fn postgres() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test{}", NEXT.fetch_add(1, Ordering::Relaxed));
        server().run("createdb", &[&name]);
        let url = postgres_url(&name).parse().unwrap();
        Self { url, name, _dir: None }
    }

    /// The URL of a PostgreSQL one, as a configuration has it.
    pub fn postgres_url(&self) -> String {
        postgres_url(&self.name)
    }

    /// The URL of either, as a configuration has it.
    pub fn url_text(&self) -> String {
        match &self.url {
            CatalogUrl::Sqlite(path) => format!("sqlite:{}", path.display()),
            CatalogUrl::Postgres(_) => self.postgres_url(),
        }
    }

    /// PostgreSQL's socket, and this database by way of a port of this machine.
    pub fn by_way_of(&self, port: u16) -> (PathBuf, CatalogUrl) {
        let url = format!("postgres://postgres@127.0.0.1:{port}/{}", self.name);
        (server().socket.join(".s.PGSQL.5432"), url.parse().unwrap())
    }

    /// Cuts the connections of this database that listen for changes.
    pub fn cut_listeners(&self) {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND query LIKE 'LISTEN%'";
        server().run("psql", &["-d", &self.name, "-c", sql]);
    }

    /// What tests of import, scan and jobs run on: SQLite, or with `DAMWALL_TEST_DATABASE=postgres`
    /// PostgreSQL. `cargo xtask test` runs them on one, then on the other.
    pub fn of_this_run() -> Self {
        match env::var("DAMWALL_TEST_DATABASE").as_deref() {
            Ok("postgres") => Self::postgres(),
            _ => Self::sqlite(),
        }
    }

    pub async fn open(&self) -> Catalog {
        Catalog::open(&self.url).await.unwrap()
    }
}

/// Makes of each function two tests: of a catalog on SQLite, and of one on PostgreSQL.
macro_rules! on_both {
    ($(async fn $name:ident($db:ident: Database) $body:block)*) => {
        $(mod $name {
            use super::*;

            async fn check($db: Database) $body

            #[tokio::test]
            async fn on_sqlite() {
                check(Database::sqlite()).await;
            }

            #[tokio::test]
            async fn on_postgres() {
                check(Database::postgres()).await;
            }
        })*
    };
}
pub(crate) use on_both;

fn postgres_url(name: &str) -> String {
    let socket = server().socket.to_string_lossy().replace('/', "%2F");
    format!("postgres://postgres@{socket}/{name}")
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

/// One PostgreSQL for all tests of this process; it ends with the process and leaves nothing.
struct Server {
    bin: PathBuf,
    socket: PathBuf,
}

impl Server {
    /// Runs one of PostgreSQL's programs against this server.
    fn run(&self, program: &str, args: &[&str]) {
        let mut command = Command::new(self.bin.join(program));
        let output = command.args(["-U", "postgres", "-h"]).arg(&self.socket).args(args).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn start() -> Self {
        let bin = bin_dir();
        let (ready_tx, ready_rx) = mpsc::channel();
        let program = bin.clone();
        // The kernel ends the server when the thread that started it ends: this one waits for it.
        std::thread::spawn(move || {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "TERM"]);
            if fs::metadata("/proc/self").unwrap().uid() == 0 {
                command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
            }
            let log = tempfile::tempfile().unwrap();
            let mut server = command
                .args(["sh", "-c", include_str!("postgres.sh"), "sh"])
                .arg(&program)
                .args(["-c", "fsync=off", "-c", "max_connections=400"])
                .stdout(Stdio::piped())
                .stderr(log.try_clone().unwrap())
                .current_dir("/")
                .spawn()
                .expect("setpriv of util-linux starts PostgreSQL");
            let Some(Ok(dir)) = BufReader::new(server.stdout.take().unwrap()).lines().next() else {
                (&log).rewind().unwrap();
                panic!("PostgreSQL did not start: {}", io::read_to_string(log).unwrap());
            };
            ready_tx.send(dir.into()).unwrap();
            server.wait().unwrap();
        });
        Self { bin, socket: ready_rx.recv().expect("PostgreSQL starts") }
    }
}

/// Folder of PostgreSQL's programs: `DAMWALL_TEST_POSTGRES`, or where Debian puts the newest.
fn bin_dir() -> PathBuf {
    if let Some(dir) = env::var_os("DAMWALL_TEST_POSTGRES") {
        return dir.into();
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.map(|entry| entry.path().join("bin")).max();
    newest
        .filter(|bin| bin.join("initdb").exists())
        .or_else(|| {
            Some(Path::new("/usr/bin").to_owned()).filter(|bin| bin.join("initdb").exists())
        })
        .expect("no PostgreSQL to test against: run `cargo xtask test`, which installs it")
}
