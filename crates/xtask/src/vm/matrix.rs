//! The selftest on one kernel after another, and what of it CI asks for.
use super::{default_cache, guest, kernel};
use crate::demo;
use crate::selftest::{Verdict, judge};
use crate::tally::{Report, Tally};
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::{ExitCode, Stdio};

/// From the oldest kernel that Debian still has to the newest one; docs/kernel-support.md says what each of them lacks.
const KERNELS: [&str; 4] = ["5.10", "6.1", "6.12", "7"];
/// Those of the stage that only say whether they take the programs, and those that are put to the test: one without tcx, and the newest.
const CHECKED: [&str; 1] = ["5.10"];
const TESTED: [&str; 2] = ["6.1", "7"];
/// What of the selftest the stage has time for: every decision, and real traffic of the node, of pods and of clients outside.
const OF_THE_STAGE: [&str; 4] = [
    "decision/",
    "matrix/bridge/off/node/",
    "matrix/bridge/off/pod/cluster-ip/",
    "matrix/bridge/off/outside/node-port/",
];
/// What `sheave check` exits with on a node that can be served, with warnings or without.
const SERVABLE: [u8; 2] = [0, 1];
/// A processor that qemu emulates is ten to thirty times slower than one that it is.
const PATIENCE: &str = "20";
/// Seconds that the whole selftest may take in a guest.
const WHOLE_LIMIT: u64 = 7200;

/// Runs the selftest on each kernel, all of it or the cases that are named, and prints one table.
pub(super) fn main(cache: &Path, size: guest::Size, only: &[String]) -> Result<ExitCode> {
    let sheave = demo::build()?;
    let size = size.lasting(WHOLE_LIMIT);
    let only: Vec<&str> = only.iter().map(String::as_str).collect();
    let mut rows = Vec::new();
    for version in KERNELS {
        let row = tried(version, cache, size, &sheave, &only);
        println!("{version}: {}", row.text());
        rows.push(row);
    }
    print_table(&rows);
    Ok(if rows.iter().all(|row| row.tally().failed == 0) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_table(rows: &[Row]) {
    println!(
        "\n{:<8} {:<24} {:>6} {:>7} {:>7} {:>11}  first failure",
        "kernel", "release", "cases", "passed", "failed", "not asked"
    );
    rows.iter().for_each(|row| println!("{}", row.line()));
}

/// What CI asks of virtual machines: whether another verifier takes the programs, and whether other kernels do with them what this one does.
///
/// # Errors
/// There is no such kernel, or a guest dies.
pub(crate) fn stage(sheave: &Path) -> Result<Report> {
    let (cache, mut report) = (default_cache()?, Report::default());
    for version in CHECKED {
        let kernel = kernel::get(version, &cache)?;
        let words = [sheave.display().to_string(), "check".to_owned()];
        let status = guest::run(&kernel, &words, guest::Size::default(), Stdio::inherit())?;
        println!("{version:<8} {:<24} sheave check: {status}", kernel.release);
        if SERVABLE.contains(&status) {
            report.tally += Tally::PASSED;
        } else {
            report.tally += Tally::FAILED;
            report.failures.push(format!("on Linux {}: sheave check ended with {status}", kernel.release));
        }
    }
    let rows = TESTED.map(|version| tried(version, &cache, guest::Size::default(), sheave, &OF_THE_STAGE));
    print_table(&rows);
    for row in rows {
        report.tally += row.tally();
        report.failures.extend(row.failures());
    }
    Ok(report)
}

/// One kernel's row of the table.
struct Row {
    version: &'static str,
    release: String,
    verdict: Result<Verdict>,
}

impl Row {
    fn tally(&self) -> Tally {
        self.verdict.as_ref().map_or(Tally::FAILED, |verdict| verdict.tally)
    }

    /// What failed, each with the kernel that it failed on.
    fn failures(&self) -> Vec<String> {
        let on = |what: &dyn std::fmt::Display| format!("on Linux {}: {what}", self.version);
        match &self.verdict {
            Ok(verdict) => verdict.failures.iter().map(|failure| on(failure)).collect(),
            Err(error) => vec![on(&format_args!("{error:#}"))],
        }
    }

    fn text(&self) -> String {
        match &self.verdict {
            Ok(verdict) => format!("{}, {} not asked", verdict.tally, verdict.unasked()),
            Err(error) => format!("{error:#}"),
        }
    }

    fn line(&self) -> String {
        let begin = format!("{:<8} {:<24}", self.version, self.release);
        match &self.verdict {
            Ok(verdict) => {
                let Tally { passed, failed, .. } = verdict.tally;
                let unasked = verdict.unasked();
                let first = verdict.failures.first().map_or("", String::as_str);
                format!("{begin} {:>6} {passed:>7} {failed:>7} {unasked:>11}  {first}", passed + failed + unasked)
            }
            Err(error) => format!("{begin} {:>6} {:>7} {:>7} {:>11}  {error:#}", "-", "-", "-", "-"),
        }
    }
}

/// The selftest on one kernel.
fn tried(version: &'static str, cache: &Path, size: guest::Size, sheave: &Path, only: &[&str]) -> Row {
    let mut row = Row { version, release: String::new(), verdict: Err(anyhow::anyhow!("not tried")) };
    row.verdict = kernel::get(version, cache).and_then(|kernel| {
        row.release.clone_from(&kernel.release);
        let sheave = sheave.display().to_string();
        let words = [&sheave, "selftest", "-o", "json", "--patience", PATIENCE].into_iter();
        let only = only.iter().flat_map(|&pattern| ["--only", pattern]);
        let words: Vec<String> = words.chain(only).map(str::to_owned).collect();
        let text = output(&kernel, &words, size)?;
        // What the run says on its way goes to the same line of the guest; the object is what comes last.
        let object = text.find("\n{\n").map_or(text.as_str(), |at| &text[at..]);
        judge(object).with_context(|| format!("on Linux {}", kernel.release))
    });
    row
}

/// What a command printed in a guest.
fn output(kernel: &kernel::Kernel, words: &[String], size: guest::Size) -> Result<String> {
    let mut file = tempfile::NamedTempFile::new()?;
    let status = guest::run(kernel, words, size, Stdio::from(File::options().append(true).open(file.path())?))?;
    let mut text = String::new();
    file.as_file_mut().read_to_string(&mut text)?;
    let last = text.lines().last().unwrap_or_default();
    ensure!(status != guest::TIMED_OUT, "`{}` takes too long; the last it said: {last}", words.join(" "));
    Ok(text)
}
