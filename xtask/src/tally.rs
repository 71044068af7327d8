//! Counting tests in what the test runners print.

use std::fmt;

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed, flaky ones among them.
    pub passed: u32,
    /// Tests that failed.
    pub failed: u32,
}

impl Tally {
    /// Adds what one printed line says, if it is a runner's closing line.
    pub fn add_line(&mut self, line: &str) {
        let line = line.trim();
        if let Some(counts) = line.strip_prefix("test result:") {
            // libtest: `test result: ok. 12 passed; 0 failed; 0 ignored; …`
            self.passed += number_before(counts, " passed").unwrap_or(0);
            self.failed += number_before(counts, " failed").unwrap_or(0);
            return;
        }
        // Playwright's list reporter: `12 passed (8.1s)`, `1 failed`, `2 did not run`
        let mut words = line.split(' ');
        let (Some(count), Some(kind)) = (words.next(), words.next()) else {
            return;
        };
        let Ok(count) = count.parse::<u32>() else {
            return;
        };
        let rest: Vec<_> = words.collect();
        match (kind, rest.as_slice()) {
            ("passed", [time]) if time.starts_with('(') => self.passed += count,
            ("passed", []) => self.passed += count,
            ("failed", []) => self.failed += count,
            ("did", ["not", "run"]) => self.failed += count,
            _ => {}
        }
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// The number that stands directly before `word`.
fn number_before(text: &str, word: &str) -> Option<u32> {
    let (before, _) = text.split_once(word)?;
    before.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(output: &str, passed: u32, failed: u32) {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.add_line(line));
        assert_eq!(tally, Tally { passed, failed });
    }

    #[test]
    fn libtest_results_are_summed() {
        check(
            "running 2 tests\n\
             test a ... ok\n\
             test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
             test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out",
            3,
            3,
        );
    }

    #[test]
    fn playwright_results_are_summed() {
        check(
            "  1 failed\n    [chromium] › live.spec.ts\n  2 did not run\n  12 passed (8.1s)",
            12,
            3,
        );
        check("  5 passed (1.2m)", 5, 0);
    }

    #[test]
    fn other_lines_count_nothing() {
        check("3 failed attempts to connect\nok 4 passed\n\n7", 0, 0);
    }
}
