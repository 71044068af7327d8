//! The program itself as a process, asked over its socket.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use axum::{body::Body, http::Request};
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::fixture::Answer;

/// The program with a site beside it, as an installation has them.
pub(crate) struct Installation {
    pub(crate) dir: TempDir,
}

impl Installation {
    pub(crate) fn new() -> Self {
        // Beside the build, so that the program, which is large, need not be copied.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::hard_link(env!("CARGO_BIN_EXE_damwall"), dir.path().join("damwall")).unwrap();
        fs::write(dir.path().join("hash.txt"), "js: abc\nwasm: abc\ncss: abc\n").unwrap();
        fs::create_dir_all(dir.path().join("site/pkg")).unwrap();
        Self { dir }
    }

    /// The program with a configuration, and a data folder, of that name.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.dir.path().join("damwall"));
        command.current_dir(self.dir.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("DAMWALL_SERVER_DATA_DIR", name).env("DAMWALL_CONFIG", self.config(name));
        command
    }

    fn config(&self, name: &str) -> PathBuf {
        self.dir.path().join(name).with_extension("toml")
    }

    pub(crate) fn configure(&self, name: &str, toml: &str) {
        fs::write(self.config(name), toml).unwrap();
    }

    /// Runs another command than `serve` to its end.
    pub(crate) fn run(&self, name: &str, arguments: &[&str]) -> Output {
        let output = self.command(name).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// What a server has logged.
    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name).with_extension("log")).unwrap()
    }

    /// Begins to start a server.
    pub(crate) fn spawn(&self, name: &str) -> Child {
        let mut command = self.command(name);
        command.args(["serve", "--addr", "127.0.0.1:0"]).stdout(Stdio::piped());
        let log = fs::File::create(self.dir.path().join(name).with_extension("log")).unwrap();
        command.stderr(log).spawn().unwrap()
    }

    /// Starts a server and waits until it listens.
    pub(crate) fn serve(&self, name: &str) -> Server {
        let mut child = self.spawn(name);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let addr = lines.by_ref().map_while(Result::ok).find_map(|line| {
            line.strip_prefix("damwall listening on http://").map(|addr| addr.parse().unwrap())
        });
        let Some(addr) = addr else {
            panic!("no server: {}", self.log(name));
        };
        Server { child, addr }
    }
}

/// One request on a connection of its own.
pub(crate) async fn send(
    addr: SocketAddr,
    method: &str,
    path: &str,
    content_type: &str,
    body: impl Into<Body>,
) -> Answer {
    send_with(addr, method, path, &[("content-type", content_type)], body).await
}

async fn send_with(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Answer {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", addr.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body.into()).unwrap();
    Answer::of(sender.send_request(request).await.unwrap().map(Body::new))
}

/// SIGTERM.
pub(crate) fn terminate(child: &Child) {
    kill_process(Pid::from_child(child), Signal::TERM).unwrap();
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://` and where it listens.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) async fn send(&self, method: &str, path: &str, json: &str) -> Answer {
        send(self.addr, method, path, "application/json", json.to_owned()).await
    }

    pub(crate) async fn send_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        send_with(self.addr, method, path, headers, body.to_owned()).await
    }

    /// Memory of the process, as the system counts it.
    pub(crate) fn rss_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    }

    /// Asks for something until it is as wanted.
    pub(crate) async fn wait_for(&self, what: &str, mut is_so: impl AsyncFnMut(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self).await {
            assert!(began.elapsed() < Duration::from_secs(90), "never {what}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until a camera sends pictures.
    pub(crate) async fn wait_live(&self, id: &str) {
        let is_live = async |server: &Self| {
            let cameras = server.send("GET", "/api/cameras", "").await.json().await;
            let mut cameras = cameras["items"].as_array().unwrap().iter();
            cameras.any(|camera| camera["id"] == id && camera["state"] == "live")
        };
        self.wait_for("live", is_live).await;
    }

    /// `x-cache` and the text of a page.
    pub(crate) async fn page(&self, path: &str) -> (String, String) {
        let answer = self.send("GET", path, "").await;
        assert_eq!(answer.status, 200, "{path}");
        (answer.header("x-cache").to_owned(), answer.text().await)
    }

    /// Asks for a page until it is kept.
    pub(crate) async fn keep(&self, path: &str) -> String {
        let keep = async {
            loop {
                let (x_cache, text) = self.page(path).await;
                if x_cache == "HIT" {
                    return text;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), keep).await.expect("it is kept")
    }

    /// How long a page takes, asked for again and again, to hold a word.
    pub(crate) async fn time_until(&self, path: &str, word: &str) -> Duration {
        let began = Instant::now();
        while !self.page(path).await.1.contains(word) {
            assert!(began.elapsed() < Duration::from_secs(30), "{path} never shows {word}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        began.elapsed()
    }

    /// Name and number of switches between threads of each of its threads.
    pub(crate) fn threads(&self) -> Vec<(String, u64)> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        // A thread may end while it is looked at.
        let read = |task: PathBuf| fs::read_to_string(task.join("status")).ok();
        let statuses = tasks.filter_map(|task| read(task.unwrap().path()));
        let thread = |status: String| {
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
            let switches = field("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok()?;
            Some((field("Name:")?.trim().to_owned(), switches))
        };
        statuses.filter_map(thread).collect()
    }

    /// Tells it to end.
    pub(crate) fn terminate(&self) {
        terminate(&self.child);
    }

    /// Waits until it has ended in good order.
    pub(crate) fn wait_end(mut self) {
        assert!(self.child.wait().unwrap().success());
    }

    /// Ends it in good order.
    pub(crate) fn stop(self) {
        self.terminate();
        self.wait_end();
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A picture of 1 × 1 pixels; other bytes for another number.
pub(crate) fn write_picture(folder: &Path, name: &str, number: u8) {
    fs::create_dir_all(folder).unwrap();
    let png = hex::decode(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6260000000\
         0000ffff030000060005d4a6d4d90000000049454e44ae426082",
    );
    fs::write(folder.join(name), [png.unwrap(), vec![number]].concat()).unwrap();
}
