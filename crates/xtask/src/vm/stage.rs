//! What CI asks of virtual machines: whether the oldest verifier takes the programs, whether other kernels do with them what this one does,
//! and what needs devices and sockets that not every kernel has.
use super::matrix::{Row, print_table, tried};
use super::side_by_side::side_by_side;
use super::{default_cache, guest, kernel};
use crate::executable;
use crate::tally::{LibtestReader, Report, Tally};
use anyhow::Result;
use std::collections::BTreeMap;
use std::path::Path;

/// What is asked of one kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    /// `sheave check`.
    Check,
    /// A part of the selftest.
    Selftest,
    /// Tests that need what not every kernel has: of this binary, those whose names begin so.
    Tests(&'static str, &'static [&'static str]),
}

/// Of an old kernel only whether it takes the programs; put to the test are one without tcx, one of long support, and the newest, which
/// has all devices as well. The longest first, so that none is left alone at the end.
const ASKED: [(&str, Question); 7] = [
    ("7", Question::Tests("netns", &["links::", "sctp::"])),
    ("6.1", Question::Selftest),
    ("6.12", Question::Selftest),
    ("7", Question::Selftest),
    ("7", Question::Tests("packets", &["scattered::"])),
    ("5.10", Question::Tests("netns", &["released::"])),
    ("5.10", Question::Check),
];
/// What of the selftest there is time for: every decision, and real traffic of the node, of pods and of clients outside.
const OF_THE_SELFTEST: [&str; 4] = [
    "decision/",
    "matrix/bridge/off/node/",
    "matrix/bridge/off/pod/cluster-ip/",
    "matrix/bridge/off/outside/node-port/",
];
/// Seconds for the tests of one binary.
const TESTS_LIMIT: u64 = 1800;
/// What `sheave check` exits with on a node that can be served, with warnings or without.
const SERVABLE: [u8; 2] = [0, 1];

/// What came of one question.
struct Answer {
    report: Report,
    /// What a selftest adds to the table.
    row: Option<Row>,
}

/// Asks all of it, and prints what was said.
///
/// # Errors
/// The tests do not compile.
pub(crate) fn stage(sheave: &Path) -> Result<Report> {
    let cache = default_cache()?;
    let mut binaries = BTreeMap::new();
    for (_, question) in ASKED {
        if let Question::Tests(binary, _) = question {
            binaries.insert(binary, executable::tests(binary)?);
        }
    }
    let mut report = Report::default();
    let ask = |(version, question)| match question {
        Question::Check => checked(version, &cache, sheave),
        Question::Selftest => {
            let row = tried(version, &cache, guest::Size::default(), sheave, &OF_THE_SELFTEST, |_| ());
            Answer { report: Report { tally: row.tally(), failures: row.failures() }, row: Some(row) }
        }
        Question::Tests(binary, names) => tested(version, &cache, &binaries[binary], names),
    };
    let answers = side_by_side(&ASKED, guest::AT_A_TIME, ask);
    print_table(answers.iter().filter_map(|answer| answer.row.as_ref()));
    for answer in answers {
        report.tally += answer.report.tally;
        report.failures.extend(answer.report.failures);
    }
    Ok(report)
}

/// Whether a kernel takes the programs.
fn checked(version: &str, cache: &Path, sheave: &Path) -> Answer {
    let words = [sheave.display().to_string(), "check".to_owned()];
    let ended = asked(version, cache, &words, guest::Size::default());
    let report = match ended {
        Ok((status, _)) if SERVABLE.contains(&status) => Tally::PASSED.into(),
        Ok((status, text)) => Report::failed(format!("on Linux {version}: sheave check ended with {status}: {text}")),
        Err(error) => Report::failed(format!("on Linux {version}: {error:#}")),
    };
    println!("{version}: sheave check: {}", report.tally);
    Answer { report, row: None }
}

/// Tests that need devices, sockets and system calls, on a kernel that has to have them.
fn tested(version: &str, cache: &Path, binary: &Path, names: &[&str]) -> Answer {
    let required = ["env", "REQUIRE_KERNEL=1", "REQUIRE_DEVICES=1"].map(str::to_owned);
    let binary = binary.display().to_string();
    let words = required.into_iter().chain([binary]).chain(names.iter().map(|&name| name.to_owned()));
    let words: Vec<String> = words.collect();
    let report = match asked(version, cache, &words, guest::Size::default().lasting(TESTS_LIMIT)) {
        Ok((status, text)) => judged(status, &text),
        Err(error) => Report::failed(format!("{error:#}")),
    };
    println!("{version}: {}: {}", names.join(" "), report.tally);
    let failures = report.failures.into_iter().map(|failure| format!("on Linux {version}: {failure}")).collect();
    Answer { report: Report { failures, ..report }, row: None }
}

/// What a test binary found, by its output and its exit status: one that found no test, or did not live to say so, has failed.
fn judged(status: u8, text: &str) -> Report {
    let mut reader = LibtestReader::default();
    text.lines().for_each(|line| reader.read(line));
    let report = reader.report();
    if report.tally.failed > 0 {
        println!("{text}");
    } else if status != 0 || report.tally.passed == 0 {
        return Report::failed(format!("the tests ended with {status}: {text}"));
    }
    report
}

fn asked(version: &str, cache: &Path, words: &[String], size: guest::Size) -> Result<(u8, String)> {
    let mut text = String::new();
    let kernel = kernel::get(version, cache)?;
    let status = guest::run_telling(&kernel, words, size, |line| text.extend([line, "\n"]))?;
    Ok((status, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_in_a_guest_pass_only_if_there_were_some_and_they_lived_to_say_so() {
        let ok = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out";
        let bad = "failures:\n    sctp::a\n\ntest result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured";
        let none = "running 0 tests\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out";
        for (name, status, text, want) in [
            ("good", 0, ok, (2, 0)),
            ("one fails", 101, bad, (1, 1)),
            ("no such test", 0, none, (0, 1)),
            ("killed", 137, "running 2 tests", (0, 1)),
            ("ended by its time", guest::TIMED_OUT, ok, (0, 1)),
        ] {
            let Tally { passed, failed, .. } = judged(status, text).tally;
            assert_eq!((passed, failed), want, "case: {name}");
        }
    }
}
