//! The program behind a real nginx with the configuration in `deploy/`.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::program::{Installation, send};

/// Tries at finding a free port: another process may take it between the look and the start.
const TRIES: u32 = 3;

struct Nginx {
    child: Child,
    addr: SocketAddr,
    _dir: TempDir,
}

impl Nginx {
    /// In front of that server, on a port of its own.
    fn start(server: SocketAddr) -> Self {
        for _ in 0..TRIES {
            let mut nginx = Self::spawn(server);
            if nginx.listens() {
                return nginx;
            }
        }
        panic!("nginx did not start in {TRIES} tries");
    }

    /// Names and folders of the configuration are this test's.
    fn spawn(server: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().to_str().unwrap();
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/nginx.conf");
        let mut text = fs::read_to_string(path).unwrap();
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
            .concat();
        for (from, to) in [
            ("damwall:3000", server.to_string()),
            ("listen 80;", format!("listen {addr};")),
            ("listen [::]:80;", String::new()),
            ("/tmp/nginx.pid", format!("{folder}/pid")),
            ("/var/cache/nginx/assets", format!("{folder}/assets")),
            ("include mime.types", "include /etc/nginx/mime.types".to_owned()),
            ("http {\n", format!("http {{\n{temp}")),
        ] {
            assert!(text.contains(from), "nginx.conf lacks {from}");
            text = text.replace(from, &to);
        }
        let config = dir.path().join("nginx.conf");
        fs::write(&config, text).unwrap();
        // As root it would give its workers to a user that may not write here.
        let directives = match rustix::process::geteuid().is_root() {
            true => "daemon off; user root;",
            false => "daemon off;",
        };
        let child = Command::new("nginx")
            .args(["-g", directives, "-c"])
            .arg(&config)
            .arg("-e")
            .arg(dir.path().join("error.log"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, addr, _dir: dir }
    }

    /// Waits until it does; `false` if it ends before, since its port is another's by now.
    fn listens(&mut self) -> bool {
        let began = Instant::now();
        while TcpStream::connect(self.addr).is_err() {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "nginx does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = send(self.addr, "POST", path, "application/json", body.to_string()).await;
        assert!(answer.status < 300, "{path}: {}", answer.text().await);
        answer.json().await
    }

    async fn get(&self, path: &str) -> Value {
        let answer = send(self.addr, "GET", path, "text/plain", "").await;
        assert_eq!(answer.status, 200, "{path}");
        answer.json().await
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It ends its workers only when it is asked to.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

/// Something that begins as a JPEG.
fn picture(len_bytes: usize) -> Vec<u8> {
    let mut bytes = b"\xff\xd8\xff\xe0\0\x10JFIF\0".to_vec();
    bytes.resize(len_bytes, b'x');
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_and_forms_pass_through_the_nginx_that_is_recommended() {
    let installation = Installation::new();
    installation.configure("behind", "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n");
    let server = installation.serve("behind");
    let nginx = Nginx::start(server.addr());

    // Two parts, of which the first is as long as parts are.
    let bytes = picture(9 << 20);
    let sha256 = hex::encode(Sha256::digest(&bytes));
    let new = json!({"name": "large.jpg", "size": bytes.len(), "sha256": sha256});
    let upload = nginx.post("/api/uploads", new).await;
    let path = format!("/api/uploads/{}", upload["id"].as_str().unwrap());
    let links = nginx.post(&format!("{path}/parts"), json!({"numbers": [1, 2]})).await;
    let (mut parts, mut sent) = (Vec::new(), 0);
    for link in links["items"].as_array().unwrap() {
        let len = usize::try_from(link["size"].as_u64().unwrap()).unwrap();
        let url = link["url"].as_str().unwrap();
        let target = &url[url.find("/blob/").unwrap()..];
        let body = bytes[sent..sent + len].to_vec();
        let answer = send(nginx.addr, "PUT", target, "application/octet-stream", body).await;
        assert_eq!(answer.status, 200, "{} bytes", len);
        parts.push(json!({"number": link["number"], "etag": answer.header("etag")}));
        sent += len;
    }
    nginx.post(&format!("{path}/complete"), json!({"parts": parts})).await;
    // It may be read for longer than that waits.
    let done = async {
        while nginx.get(&path).await["state"] != "done" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), done).await.expect("it is an asset");
    let asset = nginx.get(&format!("/api/assets/sha256:{sha256}")).await;
    assert_eq!(asset["hash"].as_str().unwrap_or_default().replace("sha256:", ""), sha256);

    // A file in a form, larger than what else may be sent.
    let boundary = "----------boundary";
    let mut form = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"form.jpg\"\r\n\
         Content-Type: image/jpeg\r\n\r\n"
    )
    .into_bytes();
    form.extend(picture(5 << 20));
    form.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
    let content_type = format!("multipart/form-data; boundary={boundary}");
    let answer = send(nginx.addr, "POST", "/api/uploads/form", &content_type, form).await;
    assert_eq!(answer.status, 303);
    assert!(
        answer.header("location").starts_with("/assets/sha256:"),
        "{}",
        answer.header("location")
    );

    // Pages, and what is kept of them, come through as they are.
    let page = send(nginx.addr, "GET", "/assets", "text/plain", "").await;
    assert_eq!(page.status, 200);
    assert!(page.text().await.contains("large.jpg"));
}
