//! GStreamer's RTSP server as a camera, started and ended by a test.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

/// A running camera; ends when dropped.
pub struct RtspServer {
    child: Child,
    url: String,
}

impl RtspServer {
    /// Starts a camera on a port (0 takes any free one) and waits until it answers.
    pub fn start(port: u16, arguments: &[&str]) -> Self {
        let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../end2end/rtsp_server.py");
        let script =
            std::env::var("DAMWALL_TEST_RTSP_SERVER").unwrap_or_else(|_| default.to_owned());
        // Debian's own Python has the GStreamer bindings; another one on the path may not.
        let mut child = Command::new("/usr/bin/python3")
            .arg(script)
            .args(["--port", &port.to_string(), "--width", "320", "--height", "180"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts; `cargo xtask test` installs what this test needs");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut url = String::new();
        BufReader::new(stdout).read_line(&mut url).expect("the server prints its URL");
        let url = url.trim().to_owned();
        assert!(
            url.starts_with("rtsp://"),
            "the RTSP server did not start; `cargo xtask test` installs what it needs"
        );
        Self { child, url }
    }

    /// `rtsp://127.0.0.1:PORT/cam`
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Port it listens on.
    pub fn port(&self) -> u16 {
        url::Url::parse(&self.url).expect("a URL").port().expect("a port")
    }
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
