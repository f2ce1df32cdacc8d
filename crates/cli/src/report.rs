//! `sheave report`: a report from any number of runs.
use crate::output::{Output, note, print};
use anyhow::Context as _;
use clap::Args;
use sheave_bench::report::{Report, report};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args)]
#[command(after_help = "Runs of one machine and version are put together; others stand one after the other. What is \
    written: index.html (one page that loads nothing), report.md, report.json, metrics.txt (OpenMetrics), perf-dash.json \
    and charts/*.svg.\n\nExamples:\n  sheave report /tmp/quick\n  sheave report monday tuesday --into both\n  sheave report \
    results --fill README.md    what stands there between <!-- sheave report: sentence --> and <!-- /sheave report -->")]
pub(crate) struct Arguments {
    /// What `sheave bench --report DIR` wrote: directories, or files called run.json
    #[arg(required = true, value_name = "DIR")]
    runs: Vec<PathBuf>,
    /// Where to write the report; the first DIR unless given
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Write no report, but the figures and charts that this document asks for
    #[arg(long, value_name = "FILE", conflicts_with = "into")]
    fill: Vec<PathBuf>,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let report = report(&arguments.runs)?;
    for document in &arguments.fill {
        fill(&report, document)?;
    }
    if !arguments.fill.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let first = &arguments.runs[0];
    let beside = || if first.is_dir() { first.clone() } else { first.parent().unwrap_or(first).to_owned() };
    let page = report.write(&arguments.into.clone().unwrap_or_else(beside))?;
    show(&report, arguments.output)?;
    note(&format!("report: {}", page.display()));
    Ok(ExitCode::SUCCESS)
}

/// Prints a report: for a terminal, or every figure as JSON.
pub(crate) fn show(report: &Report, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Text => print(report.terminal().trim_end()),
        Output::Json => print(report.json().trim_end()),
    }
}

/// The document, and the charts it shows beside it.
fn fill(report: &Report, document: &Path) -> anyhow::Result<()> {
    let named = || document.display().to_string();
    let filled = report.fill(&fs::read_to_string(document).with_context(named)?).with_context(named)?;
    for (chart, svg) in &filled.charts {
        let path = document.parent().unwrap_or(Path::new("")).join(chart);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::write(&path, svg)).with_context(|| path.display().to_string())?;
    }
    fs::write(document, &filled.text).with_context(named)?;
    note(&format!("filled: {}", named()));
    Ok(())
}
