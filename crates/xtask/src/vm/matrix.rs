//! The selftest on several kernels.
use super::side_by_side::side_by_side;
use super::{guest, kernel};
use crate::executable;
use crate::selftest::{Verdict, judge};
use crate::tally::Tally;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::ExitCode;

/// From the oldest kernel that Debian still has to the newest one; docs/kernel-support.md says what each of them lacks.
const KERNELS: [&str; 4] = ["5.10", "6.1", "6.12", "7"];
/// A processor that qemu emulates is ten to thirty times slower than one that it is.
const PATIENCE: &str = "20";
/// Seconds that the whole selftest may take in a guest.
const WHOLE_LIMIT: u64 = 7200;

/// Runs the selftest on each kernel, all of it or the cases that are named, tells how far each is, and prints one table.
pub(super) fn main(cache: &Path, size: guest::Size, only: &[String]) -> Result<ExitCode> {
    let sheave = executable::sheave()?;
    let size = size.lasting(WHOLE_LIMIT);
    let only: Vec<&str> = only.iter().map(String::as_str).collect();
    let rows = side_by_side(&KERNELS, guest::AT_A_TIME, |version| {
        let row = tried(version, cache, size, &sheave, &only, |line| eprintln!("{version}: {line}"));
        println!("{version}: {}", row.text());
        row.failures().iter().for_each(|failure| println!("FAILED {failure}"));
        row
    });
    print_table(rows.iter());
    Ok(if rows.iter().all(|row| row.tally().failed == 0) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The table, of a row for each kernel.
pub(super) fn print_table<'a>(rows: impl Iterator<Item = &'a Row>) {
    println!(
        "\n{:<8} {:<24} {:>6} {:>7} {:>7} {:>11}  first failure",
        "kernel", "release", "cases", "passed", "failed", "not asked"
    );
    rows.for_each(|row| println!("{}", row.line()));
}

/// One kernel's row of the table.
pub(super) struct Row {
    version: &'static str,
    release: String,
    verdict: Result<Verdict>,
}

impl Row {
    /// What its selftest found; no selftest is a failure.
    pub(super) fn tally(&self) -> Tally {
        self.verdict.as_ref().map_or(Tally::FAILED, |verdict| verdict.tally)
    }

    /// What failed, each with the kernel that it failed on.
    pub(super) fn failures(&self) -> Vec<String> {
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

/// The selftest on one kernel. `tell` gets each line that it prints on its way.
pub(super) fn tried(
    version: &'static str,
    cache: &Path,
    size: guest::Size,
    sheave: &Path,
    only: &[&str],
    tell: impl Fn(&str) + Sync,
) -> Row {
    let mut row = Row { version, release: String::new(), verdict: Err(anyhow::anyhow!("not tried")) };
    row.verdict = kernel::get(version, cache).and_then(|kernel| {
        row.release.clone_from(&kernel.release);
        let sheave = sheave.display().to_string();
        let words = [&sheave, "selftest", "-o", "json", "--patience", PATIENCE].into_iter();
        let only = only.iter().flat_map(|&pattern| ["--only", pattern]);
        let words: Vec<String> = words.chain(only).map(str::to_owned).collect();
        // What the run says on its way goes to the same line of the guest; the object is what comes last.
        let mut object = None;
        let mut last = String::new();
        let status = guest::run_telling(&kernel, &words, size, |line| match &mut object {
            Some(object) => *object += line,
            None if line.starts_with('{') => object = Some(line.to_owned()),
            None => {
                tell(line);
                line.clone_into(&mut last);
            }
        })?;
        ensure!(status != guest::TIMED_OUT, "`{}` takes too long; the last it said: {last}", words.join(" "));
        judge(&object.unwrap_or(last)).with_context(|| format!("on Linux {}", kernel.release))
    });
    row
}
