//! ffmpeg as a child process that never outlives this one. Must not: know what it is for.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use domain::CameraId;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin, Command},
};
use tracing::warn;

use super::SourceError;

/// Runs a program, and kills it as soon as standard input closes: also when this process was killed
/// and could do nothing any more. `PR_SET_PDEATHSIG` would need `unsafe`, and is about threads.
const GUARD: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- & child=$!
{ read -r _ <&3; kill -KILL "$child"; } >/dev/null 2>&1 & guard=$!
exec 3<&-
wait "$child"; status=$?
kill "$guard" 2>/dev/null
exit "$status"
"#;

/// What `sh` says when there is no such program.
const NOT_FOUND: i32 = 127;
/// Most characters of a line that are kept.
const MAX_LINE_CHARS: usize = 200;
/// Lines of one ffmpeg that the log takes in a [`LINES_INTERVAL`]: a damaged stream gives one a packet.
const MAX_LINES: u32 = 10;
const LINES_INTERVAL: Duration = Duration::from_secs(60);

/// `program` as a child that ends with its standard input, which must stay open as long as it runs.
pub(super) fn guarded(program: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", GUARD, "sh", program]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A running ffmpeg; killed when dropped.
pub(super) struct Ffmpeg {
    child: Child,
    _lifeline: Option<ChildStdin>,
    stderr: Option<Lines<BufReader<ChildStderr>>>,
    last_line: Option<String>,
    lines: LineLimit,
    camera: CameraId,
    secret: String,
}

impl Ffmpeg {
    /// Starts it. `secret` is what of the arguments must not be seen in a log.
    pub(super) fn spawn(
        camera: &CameraId,
        arguments: &[String],
        secret: &str,
    ) -> Result<Self, SourceError> {
        let mut command = guarded("ffmpeg");
        command.args(["-nostdin", "-hide_banner", "-loglevel", "warning"]).args(arguments);
        let mut child = command.spawn().map_err(|error| SourceError::Io(error.kind()))?;
        Ok(Self {
            _lifeline: child.stdin.take(),
            stderr: child.stderr.take().map(|stderr| BufReader::new(stderr).lines()),
            child,
            last_line: None,
            lines: LineLimit::new(Instant::now()),
            camera: camera.clone(),
            secret: secret.to_owned(),
        })
    }

    /// Logs what it says until it ends; gives its last words. May be cancelled and called again.
    pub(super) async fn ended(&mut self) -> SourceError {
        if let Some(stderr) = &mut self.stderr {
            while let Ok(Some(line)) = stderr.next_line().await {
                let line = masked(&line, &self.secret);
                let (id, now) = (&self.camera, Instant::now());
                if let Some(left_out) = self.lines.take_left_out(now) {
                    tell_left_out(id, left_out);
                }
                if self.lines.admits() {
                    warn!(camera.id = %id, "camera {id}: ffmpeg: {line}");
                }
                self.last_line = Some(line);
            }
            self.stderr = None;
            if let Some(left_out) = self.lines.left_out() {
                tell_left_out(&self.camera, left_out);
            }
        }
        match self.child.wait().await {
            Ok(status) if status.code() == Some(NOT_FOUND) => SourceError::NoFfmpeg,
            Ok(_) => self.last_line.take().map_or(SourceError::Ended, SourceError::Ffmpeg),
            Err(error) => SourceError::Io(error.kind()),
        }
    }
}

fn tell_left_out(id: &CameraId, lines: u32) {
    warn!(camera.id = %id, lines, "camera {id}: ffmpeg: {lines} more lines are left out here");
}

/// Which of a program's lines the log takes: the first few of a while.
#[derive(Debug)]
struct LineLimit {
    began: Instant,
    lines: u32,
}

impl LineLimit {
    fn new(now: Instant) -> Self {
        Self { began: now, lines: 0 }
    }

    /// Whether one more line is logged.
    fn admits(&mut self) -> bool {
        self.lines = self.lines.saturating_add(1);
        self.lines <= MAX_LINES
    }

    /// How many were not.
    fn left_out(&self) -> Option<u32> {
        self.lines.checked_sub(MAX_LINES).filter(|lines| *lines > 0)
    }

    /// The same of a while that is over, once.
    fn take_left_out(&mut self, now: Instant) -> Option<u32> {
        if now < self.began + LINES_INTERVAL {
            return None;
        }
        let left_out = self.left_out();
        *self = Self::new(now);
        left_out
    }
}

/// A line for the log: without `secret`, without what may hold a password, and of bounded length.
fn masked(line: &str, secret: &str) -> String {
    let line = if secret.is_empty() { line.to_owned() } else { line.replace(secret, "…") };
    let ends = |character: char| character.is_whitespace() || matches!(character, '\'' | '"');
    let masked: String = line.split_inclusive(ends).map(|word| masked_word(word, ends)).collect();
    // `[tcp @ 0x55d0c8a4c0] `: which part of ffmpeg speaks is of no use to people.
    let said = masked.strip_prefix('[').and_then(|part| part.split_once("] "));
    let said = said.map_or(masked.as_str(), |(_, said)| said);
    said.chars().filter(|character| !character.is_control()).take(MAX_LINE_CHARS).collect()
}

/// Of an address its scheme alone; nothing of `user:password@host`; no query.
fn masked_word(word: &str, ends: impl Fn(char) -> bool) -> String {
    let (text, end) = match word.char_indices().next_back() {
        Some((at, last)) if ends(last) => word.split_at(at),
        _ => (word, ""),
    };
    let kept = match (text.split_once("://"), text.split_once('?')) {
        (Some((scheme, _)), _) if !scheme.contains(['@', '?', ':']) => format!("{scheme}://…"),
        (Some(_), _) => "…".to_owned(),
        (None, _) if text.split_once(':').is_some_and(|(_, rest)| rest.contains('@')) => {
            "…".to_owned()
        }
        (None, Some((path, query))) if !query.is_empty() => format!("{path}?…"),
        (None, _) => text.to_owned(),
    };
    kept + end
}

#[cfg(test)]
mod tests {
    use std::{
        fmt,
        sync::{Arc, Mutex},
    };

    use proptest::prelude::*;
    use tokio::time::timeout;
    use tracing::{Event, Level, Metadata, Subscriber, field, span};

    use super::*;

    /// A log that is kept: level and message of each line.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<(Level, String)>>>);

    struct Message(String);

    impl field::Visit for Message {
        fn record_debug(&mut self, field: &field::Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                self.0 = format!("{value:?}");
            }
        }
    }

    impl Subscriber for Log {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, event: &Event<'_>) {
            let mut message = Message(String::new());
            event.record(&mut message);
            self.0.lock().unwrap().push((*event.metadata().level(), message.0));
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    impl Log {
        fn of_ffmpeg(&self) -> Vec<(Level, String)> {
            let lines = self.0.lock().unwrap();
            lines.iter().filter(|(_, line)| line.contains(": ffmpeg: ")).cloned().collect()
        }
    }

    /// What the log says of an ffmpeg with these arguments, until it ends.
    async fn log_of(arguments: &str, secret: &str) -> Vec<(Level, String)> {
        let log = Log::default();
        let _guard = tracing::subscriber::set_default(log.clone());
        let arguments: Vec<_> = arguments.split(' ').map(str::to_owned).collect();
        let mut ffmpeg = Ffmpeg::spawn(&"door".parse().unwrap(), &arguments, secret).unwrap();
        timeout(Duration::from_secs(30), ffmpeg.ended()).await.expect("it ends");
        log.of_ffmpeg()
    }

    #[tokio::test]
    async fn what_ffmpeg_complains_of_is_in_the_log_as_it_is_set_up_and_no_password_is() {
        let urls = [
            "http://user:s3cret@127.0.0.1:9/live.m3u8?token=s3cret",
            "rtsp://user:s3cret@127.0.0.1:9/s3cret",
        ];
        for url in urls {
            for secret in [url, ""] {
                let said = log_of(&format!("-i {url} -f null -"), secret).await;
                let (level, line) = said.first().expect("it says why");
                assert_eq!(*level, Level::WARN, "the default level is `info`");
                assert!(line.starts_with("camera door: ffmpeg: "), "{line}");
                assert!(said.iter().any(|(_, line)| line.contains("refused")), "{said:?}");
                assert!(said.iter().all(|(_, line)| !line.contains("s3cret")), "{said:?}");
            }
        }
    }

    #[tokio::test]
    async fn of_thousands_of_lines_the_log_gets_few() {
        let name = format!("damwall-noise-{}.ts", std::process::id());
        let damaged = std::env::temp_dir().join(name);
        let source = "-v error -y -f lavfi -i testsrc2=s=64x64:r=30:d=20";
        let made = std::process::Command::new("ffmpeg")
            .args(source.split(' '))
            .args(["-c:v", "mpeg2video", "-bsf:v", "noise=100", "-f", "mpegts"])
            .arg(&damaged)
            .status();
        assert!(made.unwrap().success());
        let said = log_of(&format!("-i {} -f null -", damaged.display()), "").await;
        std::fs::remove_file(damaged).unwrap();
        assert_eq!(said.len() as u32, MAX_LINES + 1, "{said:?}");
        assert!(said[MAX_LINES as usize].1.ends_with("more lines are left out here"), "{said:?}");
    }

    #[test]
    fn lines_are_taken_again_after_a_while_and_those_left_out_are_counted() {
        let began = Instant::now();
        let mut limit = LineLimit::new(began);
        let mut logged = |at: Instant, lines: u32| {
            let left_out = limit.take_left_out(at);
            (left_out, (0..lines).filter(|_| limit.admits()).count() as u32)
        };
        assert_eq!(logged(began, 5000), (None, MAX_LINES));
        assert_eq!(logged(began + LINES_INTERVAL / 2, 5), (None, 0));
        assert_eq!(logged(began + LINES_INTERVAL, 3), (Some(5005 - MAX_LINES), 3));
        assert_eq!(logged(began + 2 * LINES_INTERVAL, 3), (None, 3));
    }

    #[test]
    fn addresses_and_inputs_are_left_out_of_the_log() {
        assert_eq!(masked("to user:s3cret@host: failed", ""), "to … failed");
        assert_eq!(
            masked("Opening '/live.m3u8?token=s3cret' now?", ""),
            "Opening '/live.m3u8?…' now?"
        );
        assert_eq!(
            masked("[tcp @ 0x5] Connection to tcp://10.0.0.8:80?x=1 failed", ""),
            "Connection to tcp://… failed"
        );
        assert_eq!(masked("clip.mp4: No such file", "clip.mp4"), "…: No such file");
    }

    proptest! {
        #[test]
        fn credentials_never_show(
            before in "[a-z '\\[\\]]{0,20}", after in "[a-z ']{0,20}", user in "[A-Z0-9@:%]{5,20}",
        ) {
            for line in [
                format!("{before}https://{user}@host/path?key={user}{after}"),
                format!("{before}user:{user}@host/{user} and /path?key={user}{after}"),
            ] {
                prop_assert!(!masked(&line, "").contains(&user), "{line}");
            }
        }
    }
}
