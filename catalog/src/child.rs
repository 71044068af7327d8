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

use crate::worker;

/// Wall time a child gets.
const WALL_LIMIT: Duration = Duration::from_secs(60);
/// Output a child may write; more is not read.
const STDOUT_MAX_BYTES: u64 = 1024 * 1024;
/// Error output that is kept for the log.
const STDERR_MAX_BYTES: u64 = 2048;

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
    /// It was stopped at [`WALL_LIMIT`].
    #[error("it took longer than {} s", WALL_LIMIT.as_secs())]
    TooSlow,
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

/// Runs `worker_exe worker <args>` and returns what it wrote.
pub(crate) async fn run_worker(
    worker_exe: &Path,
    args: Vec<OsString>,
) -> Result<Vec<u8>, ChildError> {
    let mut command = Command::new(worker_exe);
    command.arg("worker").args(args).env_clear();
    // Enough to find programs and their libraries, also where these are not in the usual places.
    for name in ["PATH", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    match tokio::time::timeout(WALL_LIMIT, collect(command)).await {
        Ok(output) => output,
        // Dropping the child has killed it.
        Err(_) => Err(ChildError::TooSlow),
    }
}

/// Runs another program under the worker's limits and returns what it wrote.
pub(crate) async fn run_limited(
    worker_exe: &Path,
    program: &Path,
    args: Vec<OsString>,
) -> Result<Vec<u8>, ChildError> {
    let mut limited = vec!["limited".into(), program.as_os_str().to_owned()];
    limited.extend(args);
    match run_worker(worker_exe, limited).await {
        Err(ChildError::Failed { status, .. })
            if status.code() == Some(i32::from(worker::EXIT_NOT_INSTALLED)) =>
        {
            let program = program.file_name().unwrap_or(program.as_os_str());
            Err(ChildError::NotInstalled { program: program.to_string_lossy().into_owned() })
        }
        result => result,
    }
}

async fn collect(mut command: Command) -> Result<Vec<u8>, ChildError> {
    let mut child = command.spawn()?;
    let mut stdout = child.stdout.take().expect("stdout is piped").take(STDOUT_MAX_BYTES);
    let mut stderr = child.stderr.take().expect("stderr is piped").take(STDERR_MAX_BYTES);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let read_out = async {
        let read = stdout.read_to_end(&mut out).await;
        // A child that writes on finds its pipe closed.
        drop(stdout);
        read
    };
    let read_err = async {
        let read = stderr.read_to_end(&mut err).await;
        drop(stderr);
        read
    };
    let (read_out, read_err, status) = tokio::join!(read_out, read_err, child.wait());
    let status = status?;
    read_out?;
    read_err?;
    if status.success() {
        Ok(out)
    } else if status.code().is_none() {
        Err(ChildError::Killed { status })
    } else {
        Err(ChildError::Failed { status, stderr: String::from_utf8_lossy(&err).into_owned() })
    }
}
