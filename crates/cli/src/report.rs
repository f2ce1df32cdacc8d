//! `sheave report`: a report from any number of runs.
use crate::output::{note, print};
use clap::Args;
use sheave_bench::report::report;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
#[command(after_help = "Runs of one machine and version are put together; others stand one after the other. What is \
    written: index.html (one page that loads nothing), report.md, report.json, metrics.txt (OpenMetrics), perf-dash.json \
    and charts/*.svg.\n\nExamples:\n  sheave report /tmp/quick\n  sheave report monday tuesday --into both")]
pub(crate) struct Arguments {
    /// What `sheave bench --report DIR` wrote: directories, or files called run.json
    #[arg(required = true, value_name = "DIR")]
    runs: Vec<PathBuf>,
    /// Where to write the report; the first DIR unless given
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let report = report(&arguments.runs)?;
    let first = &arguments.runs[0];
    let beside = || if first.is_dir() { first.clone() } else { first.parent().unwrap_or(first).to_owned() };
    let page = report.write(&arguments.into.clone().unwrap_or_else(beside))?;
    print(report.terminal().trim_end())?;
    note(&format!("report: {}", page.display()));
    Ok(ExitCode::SUCCESS)
}
