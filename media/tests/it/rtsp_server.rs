//! GStreamer's RTSP server as a camera, started and ended by a test.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

/// A running camera; ends when dropped.
pub struct RtspServer {
    child: Child,
    url: String,
    events: mpsc::Receiver<String>,
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
            .args(["--port", &port.to_string(), "--width", "320", "--height", "180", "--events"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts; `cargo xtask test` installs what this test needs");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let url = lines.next().expect("the server prints its URL").expect("the URL is text");
        assert!(
            url.starts_with("rtsp"),
            "the RTSP server did not start; `cargo xtask test` installs what it needs"
        );
        let (sender, events) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // The test may not want to know.
                let _ = sender.send(line);
            }
        });
        Self { child, url, events }
    }

    /// `rtsp://127.0.0.1:PORT/cam`
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Port it listens on.
    pub fn port(&self) -> u16 {
        url::Url::parse(&self.url).expect("a URL").port().expect("a port")
    }

    /// Waits for a PLAY or TEARDOWN, as in `play /cam`.
    pub fn wait_for_event(&self, patience: Duration) -> Option<String> {
        self.events.recv_timeout(patience).ok()
    }

    /// Freezes it: its connections stay open, and nothing comes.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Ends a freeze.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().expect("kill is there");
        assert!(status.success());
    }
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
