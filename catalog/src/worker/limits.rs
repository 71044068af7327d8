//! What a worker process may use, set by the process itself before it touches a user's bytes.
//!
//! All of it holds without any privilege: `setrlimit`, a seccomp filter under `no_new_privs`, and the
//! parent-death signal. No namespace is made, because many systems forbid that to ordinary users.
//!
//! Must not: be undone. Limits are inherited by every program that the worker becomes.

use std::{io, time::Duration};

use rlimit::Resource;
use rustix::process::{Signal, nice, set_parent_process_death_signal};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::renditions::proxy;

/// What takes long goes behind pages and cameras in the queue for the processor.
const NICENESS: i32 = 10;

/// How much a kind of work may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limits {
    /// A picture, the measures of a video, one of its frames.
    Quick,
    /// Reading a video or sound from beginning to end.
    Scan,
    /// Encoding a video.
    Proxy,
}

impl Limits {
    const ALL: [Self; 3] = [Self::Quick, Self::Scan, Self::Proxy];

    /// Name on the worker's command line.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Scan => "scan",
            Self::Proxy => "proxy",
        }
    }

    /// Limits of that name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|limits| limits.as_str() == name)
    }

    /// Wall time, which the parent watches.
    pub(crate) fn wall(self) -> Duration {
        Duration::from_secs(match self {
            Self::Quick => 60,
            Self::Scan => 30 * 60,
            Self::Proxy => 6 * 3600,
        })
    }

    /// Address space.
    fn memory_bytes(self) -> u64 {
        match self {
            Self::Quick | Self::Scan => 2 << 30,
            Self::Proxy => 4 << 30,
        }
    }

    /// Processor time.
    fn cpu_secs(self) -> u64 {
        match self {
            Self::Quick => 30,
            Self::Scan => 20 * 60,
            Self::Proxy => 12 * 3600,
        }
    }

    /// Longest file.
    fn file_bytes(self) -> u64 {
        match self {
            Self::Quick | Self::Scan => 64 << 20,
            Self::Proxy => proxy::MAX_BYTES,
        }
    }

    /// Takes them on, for this process and all it becomes.
    ///
    /// # Errors
    /// When one of them cannot be had; nothing may be decoded then.
    pub(crate) fn apply(self) -> io::Result<()> {
        let limits = [
            (Resource::AS, self.memory_bytes()),
            (Resource::CPU, self.cpu_secs()),
            (Resource::FSIZE, self.file_bytes()),
            (Resource::CORE, 0),
        ];
        for (resource, value) in limits {
            // A stricter limit that is already there stays.
            let value = value.min(resource.get_hard()?);
            resource.set(value, value)?;
        }
        if self != Self::Quick {
            nice(NICENESS)?;
        }
        // A server that is killed leaves nobody encoding. The kernel looks at the thread that started
        // this process: one of the runtime's, which live as long as the server.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        without_network().map_err(io::Error::other)
    }
}

/// Makes every attempt to open a socket fail, of whatever family; and `io_uring`, which has sockets
/// of its own. No socket is inherited either: Rust opens all its files close-on-exec.
fn without_network() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let forbidden = [libc::SYS_socket, libc::SYS_io_uring_setup];
    let filter = SeccompFilter::new(
        // Without conditions a rule holds for any arguments.
        forbidden.into_iter().map(|syscall| (syscall, Vec::new())).collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_found_by_their_names() {
        for limits in Limits::ALL {
            assert_eq!(Limits::of_name(limits.as_str()), Some(limits));
        }
        assert_eq!(Limits::of_name("none"), None);
    }
}
