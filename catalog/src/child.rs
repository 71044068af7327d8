//! Child processes that read user bytes: limited in memory, processor time, wall time and output.
//!
//! Must not: hand a child this process's environment (it holds secrets), or leave one behind.

use std::{
    ffi::OsString,
    io,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{io::AsyncReadExt, process::Command};

use crate::worker::{self, Limits};

/// Output a child may write where it is kept; more is not.
const STDOUT_MAX_BYTES: usize = 1024 * 1024;
/// Error output that is kept for the log; the rest is read and dropped.
const STDERR_MAX_BYTES: u64 = 2048;
/// What is read of the output at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// Why a child did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    /// It could not be started or read.
    #[error("the child process could not be run: {0}")]
    Run(#[from] io::Error),
    /// Its program is not there.
    #[error("{program} is not installed on this server")]
    NotInstalled {
        /// File name of the program.
        program: String,
    },
    /// The machine is at fault, not the file: its disk is full, or it refuses the limits.
    #[error("this server could not do it")]
    Machine {
        /// What it wrote; may contain paths, so only for the log.
        stderr: String,
    },
    /// It was stopped at its wall time.
    #[error("it took longer than {} s", limits.wall().as_secs())]
    TooSlow {
        /// What it was allowed.
        limits: Limits,
    },
    /// It was stopped by one of the limits it runs under, or crashed.
    #[error("it needed too much memory or time, or crashed ({status})")]
    Killed {
        /// How it ended.
        status: ExitStatus,
    },
    /// It ended with an error of its own.
    #[error("it ended with {status}")]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// What it wrote; may contain paths, so only for the log.
        stderr: String,
    },
}

/// Runs `worker_exe worker thumb <args>` and returns what it wrote.
pub(crate) async fn run_thumb(
    worker_exe: &Path,
    args: Vec<OsString>,
) -> Result<Vec<u8>, ChildError> {
    let mut thumb = vec!["thumb".into()];
    thumb.extend(args);
    let mut out = Vec::new();
    run_worker(worker_exe, Limits::Quick, thumb, |bytes| keep(&mut out, bytes)).await?;
    Ok(out)
}

/// Runs another program under limits and returns what it wrote.
pub(crate) async fn run_limited(
    worker_exe: &Path,
    limits: Limits,
    program: &Path,
    args: Vec<OsString>,
) -> Result<Vec<u8>, ChildError> {
    let mut out = Vec::new();
    run_streaming(worker_exe, limits, program, args, |bytes| keep(&mut out, bytes)).await?;
    Ok(out)
}

/// Runs another program under limits and hands over what it writes as it comes.
pub(crate) async fn run_streaming(
    worker_exe: &Path,
    limits: Limits,
    program: &Path,
    args: Vec<OsString>,
    take: impl FnMut(&[u8]),
) -> Result<(), ChildError> {
    let mut limited =
        vec!["limited".into(), limits.as_str().into(), program.as_os_str().to_owned()];
    limited.extend(args);
    match run_worker(worker_exe, limits, limited, take).await {
        Err(ChildError::Failed { status, .. })
            if status.code() == Some(i32::from(worker::EXIT_NOT_INSTALLED)) =>
        {
            let program = program.file_name().unwrap_or(program.as_os_str());
            Err(ChildError::NotInstalled { program: program.to_string_lossy().into_owned() })
        }
        result => result,
    }
}

fn keep(out: &mut Vec<u8>, bytes: &[u8]) {
    let room = STDOUT_MAX_BYTES.saturating_sub(out.len());
    out.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

async fn run_worker(
    worker_exe: &Path,
    limits: Limits,
    args: Vec<OsString>,
    take: impl FnMut(&[u8]),
) -> Result<(), ChildError> {
    let outcome = run_within(limits.wall(), worker_exe, args, take).await;
    // Dropping the child has killed it.
    outcome.unwrap_or(Err(ChildError::TooSlow { limits }))
}

/// `None` when it was killed at the end of its time.
async fn run_within(
    wall: Duration,
    worker_exe: &Path,
    args: Vec<OsString>,
    take: impl FnMut(&[u8]),
) -> Option<Result<(), ChildError>> {
    let mut command = Command::new(worker_exe);
    command.arg("worker").args(args).env_clear();
    // Enough to find programs and their libraries, also where these are not in the usual places.
    for name in ["PATH", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    tokio::time::timeout(wall, collect(command, take)).await.ok()
}

async fn collect(mut command: Command, mut take: impl FnMut(&[u8])) -> Result<(), ChildError> {
    let mut child = command.spawn()?;
    let mut stdout = child.stdout.take().expect("stdout is piped");
    let mut stderr = child.stderr.take().expect("stderr is piped");
    let mut err = Vec::new();
    let read_out = async {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match stdout.read(&mut chunk).await? {
                0 => return Ok::<_, io::Error>(()),
                len => take(&chunk[..len]),
            }
        }
    };
    let read_err = async {
        (&mut stderr).take(STDERR_MAX_BYTES).read_to_end(&mut err).await?;
        // ffprobe complains at length of files that are only a little damaged, and would die of a pipe
        // that is closed.
        tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await
    };
    let (read_out, read_err, status) = tokio::join!(read_out, read_err, child.wait());
    let status = status?;
    read_out?;
    read_err?;
    match status.code() {
        Some(0) => Ok(()),
        None => Err(ChildError::Killed { status }),
        Some(code) => {
            let stderr = String::from_utf8_lossy(&err).into_owned();
            let is_machine = code == i32::from(worker::EXIT_MACHINE) || had_no_room(&stderr);
            Err(match is_machine {
                true => ChildError::Machine { stderr },
                false => ChildError::Failed { status, stderr },
            })
        }
    }
}

/// Whether ffmpeg had no room for what it made; its exit code does not tell in every version.
fn had_no_room(stderr: &str) -> bool {
    // It runs without a locale.
    stderr.contains("No space left on device")
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

    use tempfile::TempDir;

    use super::*;

    /// A program that does what its third argument says.
    fn obedient(dir: &TempDir) -> PathBuf {
        let program = dir.path().join("obedient");
        std::fs::write(&program, "#!/bin/sh -e\neval \"$3\"\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    #[tokio::test]
    async fn a_child_is_killed_at_the_end_of_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("pid");
        let script = format!("echo $$ > {}; exec sleep 1000", pid_file.display());
        let (wall, args) = (Duration::from_secs(2), vec!["".into(), script.into()]);
        assert!(run_within(wall, &obedient(&dir), args, |_| {}).await.is_none());
        let pid = std::fs::read_to_string(&pid_file).unwrap();
        // What is killed is there, without a command line, until it is reaped.
        let is_asleep = || {
            std::fs::read_to_string(format!("/proc/{}/cmdline", pid.trim()))
                .is_ok_and(|line| line.contains("sleep"))
        };
        while is_asleep() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_child_that_complains_at_length_goes_on_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let program = obedient(&dir);
        let complain = "head -c 100000 /dev/zero | tr '\\0' x >&2";
        let run = |end| run_thumb(&program, vec![format!("{complain}; {end}").into()]);
        assert_eq!(run("echo done").await.unwrap(), b"done\n");
        match run("exit 3").await {
            Err(ChildError::Failed { stderr, .. }) => assert_eq!(stderr, "x".repeat(2048)),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn faults_of_the_machine_are_told_from_those_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let program = obedient(&dir);
        for (script, is_machine) in [
            ("exit 125", true),
            ("echo 'av_interleaved_write_frame(): No space left on device' >&2; exit 1", true),
            ("echo 'Invalid data found when processing input' >&2; exit 1", false),
        ] {
            let outcome = run_thumb(&program, vec![script.into()]).await;
            let found = matches!(outcome, Err(ChildError::Machine { .. }));
            assert_eq!(found, is_machine, "{script}: {outcome:?}");
        }
    }
}
