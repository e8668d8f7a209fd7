//! How many tests passed and failed, read from the runners' own summaries. Runs nothing.

/// Whose output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    /// What `cargo test` runs: one summary for each test binary.
    Libtest,
    /// `cargo nextest`: one summary in all.
    Nextest,
}

impl Runner {
    /// The variable that says how many tests run side by side.
    pub(crate) fn threads(self) -> &'static str {
        match self {
            Self::Libtest => "RUST_TEST_THREADS",
            Self::Nextest => "NEXTEST_TEST_THREADS",
        }
    }
}

/// Counts of tests.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Ran and passed, including those that reported a skip and returned.
    pub(crate) passed: u64,
    /// Ran and failed, timed out, or could not be started.
    pub(crate) failed: u64,
}

impl Tally {
    /// Takes in one line of the runner's output; lines that are no summary change nothing.
    ///
    /// Only the runner's own summary counts: nextest repeats the output of a failed test, and with
    /// it the summary that libtest made of that single test.
    pub(crate) fn see(&mut self, runner: Runner, line: &str) {
        let line = without_colours(line);
        let counts = match runner {
            Runner::Libtest => line.strip_prefix("test result:"),
            Runner::Nextest => {
                let summary = line.trim_start().strip_prefix("Summary [");
                summary.and_then(|rest| rest.split_once(" run: ")).map(|(_, counts)| counts)
            }
        };
        if let Some(counts) = counts {
            self.passed += count_before(counts, "passed");
            for word in ["failed", "timed"] {
                self.failed += count_before(counts, word);
            }
        }
    }
}

/// The number in front of the word, or zero.
fn count_before(counts: &str, word: &str) -> u64 {
    let words: Vec<&str> = counts.split([' ', ',', ';', '(', ')', '\n', '\r']).collect();
    words
        .windows(2)
        .find_map(|pair| match pair {
            [number, next] if *next == word => number.parse().ok(),
            _ => None,
        })
        .unwrap_or(0)
}

/// Drops `ESC [ … letter`, the only sequences that test runners write.
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(next) = chars.next() {
        if next == '\u{1b}' {
            chars.by_ref().skip(1).find(char::is_ascii_alphabetic);
        } else {
            plain.push(next);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(runner: Runner, lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.see(runner, line));
        tally
    }

    #[test]
    fn both_runners_summaries_are_understood() {
        let libtest = "test result: FAILED. 11 passed; 2 failed; 1 ignored; 0 measured; 5 filtered out; finished in 0.00s\n";
        assert_eq!(tally(Runner::Libtest, &[libtest, libtest]), Tally { passed: 22, failed: 4 });
        let nextest = "     Summary [   0.502s] 23 tests run: 20 passed (1 slow), 2 failed, 1 timed out, 3 skipped\n";
        assert_eq!(tally(Runner::Nextest, &[nextest]), Tally { passed: 20, failed: 3 });
        let stopped = "     Summary [   0.502s] 3/9 tests run: 2 passed, 1 failed, 0 skipped\n";
        assert_eq!(tally(Runner::Nextest, &[stopped]), Tally { passed: 2, failed: 1 });
    }

    #[test]
    fn colours_do_not_hide_a_number() {
        let line = "\u{1b}[32;1m     Summary\u{1b}[0m [   0.502s] \u{1b}[1m23\u{1b}[0m tests run: \u{1b}[1m23\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, \u{1b}[1m0\u{1b}[0m skipped\n";
        assert_eq!(tally(Runner::Nextest, &[line]), Tally { passed: 23, failed: 0 });
    }

    #[test]
    fn other_lines_count_nothing() {
        let other = ["test a ... ok\n", "1 passed\n", ""];
        assert_eq!(tally(Runner::Libtest, &other), Tally::default());
        let repeated = "test result: FAILED. 0 passed; 1 failed; 0 ignored\n";
        assert_eq!(tally(Runner::Nextest, &[repeated]), Tally::default());
    }
}
