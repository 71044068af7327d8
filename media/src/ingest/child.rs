//! ffmpeg as a child process that never outlives this one. Must not: know what it is for.

use std::process::Stdio;

use domain::CameraId;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin, Command},
};
use tracing::debug;

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
            camera: camera.clone(),
            secret: secret.to_owned(),
        })
    }

    /// Logs what it says until it ends; gives its last words. May be cancelled and called again.
    pub(super) async fn ended(&mut self) -> SourceError {
        if let Some(stderr) = &mut self.stderr {
            while let Ok(Some(line)) = stderr.next_line().await {
                let line = masked(&line, &self.secret);
                debug!(camera.id = %self.camera, "camera {}: ffmpeg: {line}", self.camera);
                self.last_line = Some(line);
            }
            self.stderr = None;
        }
        match self.child.wait().await {
            Ok(status) if status.code() == Some(NOT_FOUND) => SourceError::NoFfmpeg,
            Ok(_) => self.last_line.take().map_or(SourceError::Ended, SourceError::Ffmpeg),
            Err(error) => SourceError::Io(error.kind()),
        }
    }
}

/// A line for the log: without `secret`, without what stands behind a `://`, and of bounded length.
fn masked(line: &str, secret: &str) -> String {
    let line = if secret.is_empty() { line.to_owned() } else { line.replace(secret, "…") };
    let mut masked = String::with_capacity(line.len());
    let mut rest = line.as_str();
    while let Some((before, address)) = rest.split_once("://") {
        masked.push_str(before);
        masked.push_str("://…");
        let ends = |character: char| character.is_whitespace() || matches!(character, '\'' | '"');
        rest = address.find(ends).map_or("", |end| &address[end..]);
    }
    masked.push_str(rest);
    // `[tcp @ 0x55d0c8a4c0] `: which part of ffmpeg speaks is of no use to people.
    let said = masked.strip_prefix('[').and_then(|part| part.split_once("] "));
    let said = said.map_or(masked.as_str(), |(_, said)| said);
    said.chars().filter(|character| !character.is_control()).take(MAX_LINE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_and_inputs_are_left_out_of_the_log() {
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
            let line = format!("{before}https://{user}@host/path?key={user}{after}");
            prop_assert!(!masked(&line, "").contains(&user));
        }
    }
}
