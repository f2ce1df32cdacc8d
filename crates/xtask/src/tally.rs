//! Counting tests: the results that libtest prints, and the tests that say they skipped themselves.
use std::collections::BTreeSet;
use std::fmt;
use std::ops::AddAssign;

/// How many tests passed, failed and were skipped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tally {
    /// Passed.
    pub(crate) passed: usize,
    /// Failed.
    pub(crate) failed: usize,
    /// Skipped, each with a reason in the output.
    pub(crate) skipped: usize,
}

impl Tally {
    /// One check that passed.
    pub(crate) const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    /// One check that failed.
    pub(crate) const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    /// One check that was skipped.
    pub(crate) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    /// The plain line a run ends with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Reads the output of `cargo test` line by line.
///
/// libtest has no way to skip a test at run time: a test that finds itself without root prints `SKIPPED name: reason` and
/// returns, and libtest counts it as passed. Such tests are moved from one column to the other, each name once. One that prints `DEFERRED`
/// is taken out of the count: another stage of the run has it.
#[derive(Debug, Default)]
pub(crate) struct LibtestReader {
    printed: Tally,
    skipped: BTreeSet<String>,
    deferred: BTreeSet<String>,
}

impl LibtestReader {
    /// Takes one line of output.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(name) = named(line, "SKIPPED ") {
            self.skipped.insert(name);
        } else if let Some(name) = named(line, "DEFERRED ") {
            self.deferred.insert(name);
        } else if let Some((_, result)) = line.split_once("test result: ") {
            self.printed.passed += number_before(result, " passed");
            self.printed.failed += number_before(result, " failed");
            self.printed.skipped += number_before(result, " ignored");
        }
    }

    /// The count so far.
    #[must_use]
    pub(crate) fn tally(&self) -> Tally {
        let moved = self.skipped.len().min(self.printed.passed);
        let passed = (self.printed.passed - moved).saturating_sub(self.deferred.len());
        Tally { passed, skipped: self.printed.skipped + moved, ..self.printed }
    }
}

/// The test that says this word of itself, with a reason.
fn named(line: &str, word: &str) -> Option<String> {
    let (name, _reason) = line.split_once(word)?.1.split_once(": ")?;
    Some(name.to_owned())
}

fn number_before(text: &str, word: &str) -> usize {
    let before = text.split_once(word).map_or("", |(before, _)| before);
    before.rsplit(' ').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> String {
        let mut reader = LibtestReader::default();
        lines.iter().for_each(|line| reader.read(line));
        reader.tally().to_string()
    }

    const OK: &str = "test result: ok. 7 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
    const BAD: &str =
        "test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 9 filtered out; finished in 1.20s";

    #[test]
    fn results_of_all_test_binaries_are_summed_and_skipped_tests_are_moved() {
        for (name, lines, want) in [
            ("nothing ran", &[][..], "0 passed, 0 failed, 0 skipped"),
            ("one binary", &[OK], "7 passed, 0 failed, 1 skipped"),
            ("several, one fails", &[OK, BAD, OK], "16 passed, 3 failed, 2 skipped"),
            ("skips", &["SKIPPED a::b: needs root", "SKIPPED c: needs root", OK], "5 passed, 0 failed, 3 skipped"),
            ("said twice", &["SKIPPED a: needs root", "SKIPPED a: needs root", OK], "6 passed, 0 failed, 2 skipped"),
            ("in a line of libtest's", &["test a ... SKIPPED a: needs root", OK], "6 passed, 0 failed, 2 skipped"),
            ("deferred", &["DEFERRED a: no bond", "SKIPPED b: needs root", OK], "5 passed, 0 failed, 2 skipped"),
            (
                "in colour",
                &["test result: \u{1b}[32mok\u{1b}[m. 4 passed; 0 failed; 0 ignored;"],
                "4 passed, 0 failed, 0 skipped",
            ),
            (
                "other words",
                &["3 passed, says a log line", "SKIPPED without a reason"],
                "0 passed, 0 failed, 0 skipped",
            ),
        ] {
            assert_eq!(read(lines), want, "case: {name}");
        }
    }
}
