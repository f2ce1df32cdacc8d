//! The selftest on one kernel after another, and what of it CI asks for.
use super::{default_cache, guest, kernel};
use crate::demo;
use crate::process::{cargo, executables};
use crate::selftest::{Verdict, judge};
use crate::tally::{LibtestReader, Tally};
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::{ExitCode, Stdio};

/// From the oldest kernel that Debian still has to the newest one; docs/kernel-support.md says what each of them lacks.
const KERNELS: [&str; 4] = ["5.10", "6.1", "6.12", "7"];
/// Those of the stage: the oldest that is supported, without tcx, and the newest.
const OF_THE_STAGE: [&str; 2] = ["6.1", "7"];
/// What the stage asks for there: who accepts traffic, and a pod in a world that has both entrances and a tunnel.
const PARTS: [&str; 2] = ["decision/A", "matrix/bridge/all/pod/cluster-ip"];
/// Has every device that the tests of devices need.
const OF_THE_DEVICES: &str = "6.12";

/// Runs the whole selftest on each kernel and prints one table.
pub(super) fn main(cache: &Path, size: guest::Size) -> Result<ExitCode> {
    let sheave = demo::build()?;
    let mut rows = Vec::new();
    for version in KERNELS {
        let row = tried(version, cache, size, &sheave, &[""]);
        println!("{version}: {}", row.text());
        rows.push(row);
    }
    println!(
        "\n{:<8} {:<24} {:>6} {:>7} {:>7} {:>11}  first failure",
        "kernel", "release", "cases", "passed", "failed", "not asked"
    );
    rows.iter().for_each(|row| println!("{}", row.line()));
    Ok(if rows.iter().all(|row| row.failed() == 0) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What CI asks of virtual machines.
///
/// # Errors
/// The product or the tests do not build.
pub(crate) fn stage(sheave: &Path) -> Result<Tally> {
    let (cache, mut tally) = (default_cache()?, Tally::default());
    for version in OF_THE_STAGE {
        let row = tried(version, &cache, guest::Size::default(), sheave, &PARTS);
        println!("{}", row.line());
        tally += row.tally();
    }
    tally += devices(&cache)?;
    Ok(tally)
}

/// One kernel's row of the table.
struct Row {
    version: &'static str,
    release: String,
    verdict: Result<Verdict>,
}

impl Row {
    fn failed(&self) -> usize {
        self.tally().failed
    }

    fn tally(&self) -> Tally {
        self.verdict.as_ref().map_or(Tally::FAILED, |verdict| verdict.tally)
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

/// The selftest of these parts on one kernel: in one guest, one after the other.
fn tried(version: &'static str, cache: &Path, size: guest::Size, sheave: &Path, parts: &[&str]) -> Row {
    let mut row = Row { version, release: String::new(), verdict: Err(anyhow::anyhow!("not tried")) };
    row.verdict = kernel::get(version, cache).and_then(|kernel| {
        row.release.clone_from(&kernel.release);
        let mut verdict = Verdict::default();
        for part in parts {
            let words = [&sheave.display().to_string(), "selftest", "-o", "json", "--only", part].map(str::to_owned);
            let text = output(&kernel, &words, size)?;
            // What the run says on its way goes to the same line of the guest; the object is what comes last.
            let object = text.find("\n{\n").map_or(text.as_str(), |at| &text[at..]);
            verdict += judge(object).with_context(|| format!("{} on Linux {}", part, kernel.release))?;
        }
        Ok(verdict)
    });
    row
}

/// What a command printed in a guest.
fn output(kernel: &kernel::Kernel, words: &[String], size: guest::Size) -> Result<String> {
    let mut file = tempfile::NamedTempFile::new()?;
    let status = guest::run(kernel, words, size, Stdio::from(File::options().append(true).open(file.path())?))?;
    let mut text = String::new();
    file.as_file_mut().read_to_string(&mut text)?;
    ensure!(status != guest::TIMED_OUT, "`{}` takes too long; it said: {text}", words.join(" "));
    Ok(text)
}

/// The tests whose devices this machine's kernel may not have.
fn devices(cache: &Path) -> Result<Tally> {
    let mut build = cargo(&["test", "--locked", "--package", "sheave-tests", "--test", "netns", "--no-run"]);
    build.args(["--message-format", "json-render-diagnostics"]);
    let test = executables(build)?.into_iter().next().context("cargo named no executable of the tests")?;
    let kernel = kernel::get(OF_THE_DEVICES, cache)?;
    let command =
        ["env", "REQUIRE_KERNEL=1", "REQUIRE_DEVICES=1", &test, "--test-threads=1", "links::"].map(str::to_owned);
    let text = output(&kernel, &command, guest::Size::default())?;
    print!("{text}");
    let mut reader = LibtestReader::default();
    text.lines().for_each(|line| reader.read(line));
    let tally = reader.tally();
    if tally == Tally::default() {
        bail!("the tests of devices printed no result on Linux {}", kernel.release);
    }
    Ok(tally)
}
