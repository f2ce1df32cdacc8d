//! `cargo xtask test`: everything, stage by stage, and one plain line at the end.
use crate::process::{cargo, command, run, run_seen};
use crate::tally::{LibtestReader, Report, Tally};
use crate::{demo, executable, image, preflight, selftest, vm};
use anyhow::Result;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Runs the checks of this workspace.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Install what is missing (Debian packages, components of the toolchain) before the first stage.
    #[arg(long)]
    install: bool,
    /// Run only this stage; may be given several times.
    #[arg(long, value_name = "STAGE", value_parser = clap::builder::PossibleValuesParser::new(STAGES.iter().map(|s| s.name)))]
    only: Vec<String>,
    /// List the stages and leave.
    #[arg(long)]
    list: bool,
}

/// One part of the run.
struct Stage {
    name: &'static str,
    what: &'static str,
    run: fn(&Args) -> Result<Report>,
    /// A failure makes every later stage pointless.
    needed_by_all: bool,
}

const fn stage(name: &'static str, what: &'static str, run: fn(&Args) -> Result<Report>) -> Stage {
    Stage { name, what, run, needed_by_all: false }
}

const STAGES: &[Stage] = &[
    Stage {
        needed_by_all: true,
        ..stage("preflight", "packages and tools this machine must have", |args| one(preflight::check(args.install)))
    },
    stage("fmt", "rustfmt changes nothing, in the workspace and in ebpf/", |_| one(fmt())),
    stage("clippy", "no lint, warnings are errors", |_| one(clippy())),
    stage("ebpf", "the kernel programs built anew equal the committed objects, byte for byte", |_| one(ebpf())),
    stage("test", "cargo test: pure, packets, namespaces; as root nothing may skip itself", |_| test()),
    stage("bench", "the benchmarks compile", |_| one(bench())),
    stage("demo", "sheave demo answers every request and leaves nothing behind", |_| {
        with_binary("demo", |sheave| one(demo::run(sheave)))
    }),
    stage("selftest", "sheave selftest: decisions and traffic on this very kernel", |_| {
        with_binary("selftest", selftest::run)
    }),
    stage("image", "the static binary, its image, and its work in an empty root directory", |_| one(image::stage())),
    stage(
        "vm",
        "in virtual machines: the selftest's decisions and some of its traffic on other kernels, and whether the oldest takes the programs",
        |_| with_binary("vm", vm::stage),
    ),
];

/// So many failures are listed in the end, each with so much of its reason; all of them stand above, where their stage ended.
const FAILURES_SHOWN: usize = 18;
const FAILURE_WIDTH: usize = 200;

/// What became of a stage.
struct Outcome {
    name: &'static str,
    report: Report,
    took: Duration,
}

/// Runs the chosen stages; the exit code says whether all passed.
pub(crate) fn main(args: &Args) -> ExitCode {
    if args.list {
        STAGES.iter().for_each(|stage| println!("{:<10} {}", stage.name, stage.what));
        return ExitCode::SUCCESS;
    }
    let chosen: Vec<_> =
        STAGES.iter().filter(|s| args.only.is_empty() || args.only.iter().any(|o| o == s.name)).collect();
    let mut outcomes = Vec::new();
    for (index, stage) in chosen.iter().enumerate() {
        println!("\n==> [{}/{}] {}: {}", index + 1, chosen.len(), stage.name, stage.what);
        let outcome = perform(stage, args);
        let stop = stage.needed_by_all && outcome.report.tally.failed > 0;
        outcomes.push(outcome);
        if stop {
            break;
        }
    }
    conclude(&outcomes)
}

fn perform(stage: &Stage, args: &Args) -> Outcome {
    let start = Instant::now();
    let report = (stage.run)(args).unwrap_or_else(|error| {
        println!("{}: {error:#}", stage.name);
        Report::failed(format!("{error:#}"))
    });
    let took = start.elapsed();
    println!("<== {}: {} in {}", stage.name, if report.tally.failed == 0 { "ok" } else { "FAILED" }, minutes(took));
    Outcome { name: stage.name, report, took }
}

/// Prints what failed, what each stage gave and took, then the plain line.
fn conclude(outcomes: &[Outcome]) -> ExitCode {
    let mut total = Tally::default();
    let mut took = Duration::ZERO;
    let failures = outcomes
        .iter()
        .flat_map(|outcome| outcome.report.failures.iter().map(|failure| format!("{}: {failure}", outcome.name)));
    failed(failures.collect()).iter().for_each(|line| println!("{line}"));
    println!("\n{:<10} {:>8} {:>8} {:>8} {:>10}", "stage", "passed", "failed", "skipped", "minutes");
    for outcome in outcomes {
        let Tally { passed, failed, skipped } = outcome.report.tally;
        println!("{:<10} {passed:>8} {failed:>8} {skipped:>8} {:>10}", outcome.name, minutes(outcome.took));
        total += outcome.report.tally;
        took += outcome.took;
    }
    println!("{:<10} {:>8} {:>8} {:>8} {:>10}\n", "all", total.passed, total.failed, total.skipped, minutes(took));
    println!("{total}");
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The list above the table: what failed, a line each, as far as there is room.
fn failed(failures: Vec<String>) -> Vec<String> {
    if failures.is_empty() {
        return Vec::new();
    }
    let more = failures.len().saturating_sub(FAILURES_SHOWN);
    let lines = failures.into_iter().take(FAILURES_SHOWN).map(|failure| format!("  {}", short(&failure)));
    let more = (more > 0).then(|| format!("  and {more} more"));
    std::iter::once("\nfailed:".to_owned()).chain(lines).chain(more).collect()
}

/// The beginning of a text, on one line.
fn short(text: &str) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(FAILURE_WIDTH) {
        line.truncate(end);
        line.push('…');
    }
    line
}

fn minutes(took: Duration) -> String {
    let seconds = took.as_secs();
    format!("{}m{:02}s", seconds / 60, seconds % 60)
}

/// A stage that is one check.
fn one(result: Result<()>) -> Result<Report> {
    result.map(|()| Tally::PASSED.into())
}

fn fmt() -> Result<()> {
    run(cargo(&["fmt", "--all", "--check"]))?;
    run(cargo(&["fmt", "--manifest-path", "ebpf/Cargo.toml", "--check"]))
}

fn clippy() -> Result<()> {
    run(cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
}

/// As a process of its own: it changes its environment for the pinned toolchain.
fn ebpf() -> Result<()> {
    let own = std::env::current_exe()?;
    run(command(&own.to_string_lossy(), &["build-ebpf", "--check"]))
}

/// One failing test must not hide the next one, and a build that fails is one failure.
fn test() -> Result<Report> {
    let mut cargo = cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    if preflight::is_root() {
        cargo.env("REQUIRE_KERNEL", "1");
    }
    let mut reader = LibtestReader::default();
    let result = run_seen(cargo, |line| reader.read(line));
    let mut report = reader.report();
    if let Err(error) = result
        && report.tally.failed == 0
    {
        // No test failed, and neither did a binary: it is the build that did.
        println!("{error:#}");
        report.tally.failed = 1;
        report.failures.push(format!("{error:#}"));
    }
    Ok(report)
}

fn bench() -> Result<()> {
    run(cargo(&["bench", "--package", "sheave-benches", "--locked", "--no-run"]))
}

/// Runs the product itself, as its users build it.
fn with_binary(stage: &str, run: fn(&Path) -> Result<Report>) -> Result<Report> {
    let sheave = executable::sheave()?;
    if !preflight::is_root() {
        println!("SKIPPED {stage}: it makes namespaces and loads kernel programs, which needs root");
        return Ok(Tally::SKIPPED.into());
    }
    run(&sheave)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_listed_in_no_more_lines_than_end_a_log() {
        let failures = |count: usize| (0..count).map(|n| format!("test: a::b{n}\nand why")).collect::<Vec<_>>();
        for (count, lines, last) in
            [(0, 0, ""), (1, 2, "  test: a::b0 and why"), (18, 19, "b17 and why"), (99, 20, "  and 81 more")]
        {
            let listed = failed(failures(count));
            assert_eq!(listed.len(), lines, "{count} failures: {listed:?}");
            assert!(listed.last().is_none_or(|line| line.ends_with(last)), "{count} failures: {listed:?}");
        }
        assert_eq!(short(&"é".repeat(300)).chars().count(), FAILURE_WIDTH + 1);
    }
}
