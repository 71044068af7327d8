//! When a file that somebody writes is whole: pure, so that tests need no clock.
//!
//! Must not: look at a file system or a clock.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Most files waited for at a time; more are met again by the next look through the folder.
const MAX_WAITING: usize = 10_000;

/// What a file looked like. It is being written while this changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Length in bytes.
    pub len_bytes: u64,
    /// Modification time, microseconds since 1970.
    pub modified_us: i64,
}

/// Files that may still be being written.
#[derive(Debug)]
pub struct Settling {
    /// How long a file has to stay the same.
    settle: Duration,
    waiting: HashMap<PathBuf, (Stamp, Instant)>,
}

impl Settling {
    /// Nothing is waited for yet.
    pub fn new(settle: Duration) -> Self {
        Self { settle, waiting: HashMap::new() }
    }

    /// A file was seen like this; one that changed is waited for anew.
    pub fn saw(&mut self, path: &Path, stamp: Stamp, now: Instant) {
        let has_room = self.waiting.len() < MAX_WAITING;
        match self.waiting.get_mut(path) {
            Some((known, _)) if *known == stamp => {}
            Some(entry) => *entry = (stamp, now),
            None if has_room => {
                self.waiting.insert(path.to_owned(), (stamp, now));
            }
            None => {}
        }
    }

    /// The file is gone, or done with.
    pub fn forget(&mut self, path: &Path) {
        self.waiting.remove(path);
    }

    /// Files to be looked at again: they have stayed the same for long enough, as far as is known.
    pub fn due(&self, now: Instant) -> Vec<(PathBuf, Stamp)> {
        let mut due: Vec<_> = self
            .waiting
            .iter()
            .filter(|(_, (_, since))| now.saturating_duration_since(*since) >= self.settle)
            .map(|(path, (stamp, _))| (path.clone(), *stamp))
            .collect();
        due.sort_by(|a, b| a.0.cmp(&b.0));
        due
    }

    /// When the next file may be due.
    pub fn next_due(&self) -> Option<Instant> {
        self.waiting.values().map(|(_, since)| *since + self.settle).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn stamp(len_bytes: u64) -> Stamp {
        Stamp { len_bytes, modified_us: 0 }
    }

    #[test]
    fn a_file_that_grows_is_waited_for_until_it_stays_the_same() {
        let (start, file) = (Instant::now(), Path::new("/in/a.mp4"));
        let mut settling = Settling::new(5 * SECOND);
        assert_eq!(settling.next_due(), None);
        settling.saw(file, stamp(1), start);
        settling.saw(file, stamp(2), start + 4 * SECOND);
        assert!(settling.due(start + 8 * SECOND).is_empty(), "it grew 4 s ago");
        settling.saw(file, stamp(2), start + 8 * SECOND);
        assert_eq!(settling.next_due(), Some(start + 9 * SECOND));
        assert_eq!(settling.due(start + 9 * SECOND), [(file.to_owned(), stamp(2))]);
        settling.forget(file);
        assert!(settling.due(start + 9 * SECOND).is_empty());
    }

    #[test]
    fn only_so_many_files_are_waited_for() {
        let mut settling = Settling::new(SECOND);
        let now = Instant::now();
        for n in 0..MAX_WAITING + 5 {
            settling.saw(Path::new(&n.to_string()), stamp(1), now);
        }
        assert_eq!(settling.due(now + SECOND).len(), MAX_WAITING);
    }
}
