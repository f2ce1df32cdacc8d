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

/// What a stage found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// How many of its tests passed, failed and were skipped.
    pub(crate) tally: Tally,
    /// Which failed: the name of each, and the reason where it is short.
    pub(crate) failures: Vec<String>,
}

impl Report {
    /// Of one check that failed.
    pub(crate) fn failed(why: impl Into<String>) -> Self {
        Self { tally: Tally::FAILED, failures: vec![why.into()] }
    }
}

impl From<Tally> for Report {
    /// Of a run without failures.
    fn from(tally: Tally) -> Self {
        Self { tally, failures: Vec::new() }
    }
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
/// is taken out of the count: it needs devices that this kernel has not.
///
/// The names of those that failed stand in a list before each result, below `failures:` and four spaces in. Above it comes what they
/// printed, below the same word; so the last such list before a result is it.
#[derive(Debug, Default)]
pub(crate) struct LibtestReader {
    printed: Tally,
    skipped: BTreeSet<String>,
    deferred: BTreeSet<String>,
    /// The test binary whose results come next.
    running: Option<String>,
    /// What may be the list of failures.
    listed: Vec<String>,
    failures: Vec<String>,
}

impl LibtestReader {
    /// Takes one line of output.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(binary) = binary(line) {
            self.end_of_binary();
            self.running = Some(binary.to_owned());
        } else if line == "failures:" {
            self.listed.clear();
        } else if let Some(name) = line.strip_prefix("    ") {
            self.listed.push(name.to_owned());
        } else {
            self.read_result(line);
        }
    }

    fn read_result(&mut self, line: &str) {
        if let Some(name) = named(line, "SKIPPED ") {
            self.skipped.insert(name);
        } else if let Some(name) = named(line, "DEFERRED ") {
            self.deferred.insert(name);
        } else if let Some((_, result)) = line.split_once("test result: ") {
            self.printed.passed += number_before(result, " passed");
            let failed = number_before(result, " failed");
            self.printed.failed += failed;
            self.printed.skipped += number_before(result, " ignored");
            let binary = self.running.take().unwrap_or_default();
            let failures = self.listed.drain(..).take(failed).map(|name| format!("{binary}: {name}"));
            self.failures.extend(failures);
        }
    }

    /// A test binary that did not live to print its result has failed, whatever became of its tests.
    fn end_of_binary(&mut self) {
        self.listed.clear();
        if let Some(binary) = self.running.take() {
            self.printed.failed += 1;
            self.failures.push(format!("{binary}: ended before its result"));
        }
    }

    /// What was found, when all output has been read.
    #[must_use]
    pub(crate) fn report(mut self) -> Report {
        self.end_of_binary();
        let moved = self.skipped.len().min(self.printed.passed);
        let passed = (self.printed.passed - moved).saturating_sub(self.deferred.len());
        let tally = Tally { passed, skipped: self.printed.skipped + moved, ..self.printed };
        Report { tally, failures: self.failures }
    }
}

/// The test binary that cargo says it runs now: `netns` of `     Running netns/main.rs (target/debug/deps/netns-0a1b)`, or `   Doc-tests sheave_core`.
fn binary(line: &str) -> Option<&str> {
    let words = line.trim_start();
    if words.starts_with("Doc-tests ") {
        return Some(words);
    }
    // Not what a test says itself: cargo names the file that it runs as well.
    let (_source, file) = words.strip_prefix("Running ")?.strip_suffix(')')?.split_once(" (")?;
    let name = file.rsplit('/').next()?;
    Some(name.rsplit_once('-').map_or(name, |(name, _hash)| name))
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
        reader.report().tally.to_string()
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

    const NETNS: &str = "     Running netns/main.rs (target/debug/deps/netns-0a1b)";
    const TWO: &str =
        "test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s";

    #[test]
    fn failures_are_told_by_test_binary_and_name() {
        let two =
            ["failures:", "", "---- b stdout ----", "    left: 1", "", "failures:", "    a::b", "    c d", "", TWO];
        for (name, lines, want) in [
            ("none", [NETNS, OK].to_vec(), &[][..]),
            ("the list, not what they print", [&[NETNS][..], &two].concat(), &["netns: a::b", "netns: c d"]),
            (
                "of documentation",
                [&["   Doc-tests core"][..], &two].concat(),
                &["Doc-tests core: a::b", "Doc-tests core: c d"],
            ),
            ("died", [NETNS, "test a ... ok", NETNS, OK].to_vec(), &["netns: ended before its result"]),
            ("died as the last one", [NETNS, OK, NETNS].to_vec(), &["netns: ended before its result"]),
            ("a test that talks", [NETNS, "Running away", "    indented", OK].to_vec(), &[]),
        ] {
            let mut reader = LibtestReader::default();
            lines.iter().for_each(|line| reader.read(line));
            let report = reader.report();
            assert_eq!(report.failures, want, "case: {name}");
            assert_eq!(report.tally.failed, want.len(), "case: {name}");
        }
    }
}
