//! `sheave bench`: measures a scenario and reports it.
mod live;

use crate::interrupt;
use crate::output::{Output, is_root, note, print, with_sudo};
use crate::report::show;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use live::Live;
use sheave_bench::record::Dataplane;
use sheave_bench::report::Report;
use sheave_bench::run::Bench;
use sheave_bench::scenario::{BUILT_IN, ScenarioFile};
use std::fmt::Write as _;
use std::io::{stdin, stdout};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = false,
    after_help = "Every dataplane that is found here is measured in turns with the others, in namespaces of its own; what is \
    left out is named. Nothing but DIR is left behind, also after Ctrl-C, which keeps what was measured.\nExit status: 0, or 2 \
    when nothing could be measured.\n\nExamples:\n  sudo sheave bench --quick --report /tmp/quick   three sizes in three \
    minutes\n  sudo sheave bench sync --report DIR             the cost of a rule change, in full\n  sudo sheave bench sync \
    --scenario mine.yaml --dataplane sheave-ebpf,nftables --report DIR\n  sheave bench --list                             the \
    scenarios that come with it"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    which: Option<Which>,
    /// Everything at three sizes, few rounds
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    options: Options,
    /// Name the scenarios that come with sheave, and the dataplanes
    #[arg(long)]
    list: bool,
}

#[derive(Args, Clone)]
struct Options {
    /// Where to write the raw data (run.json) and the report
    #[arg(long, value_name = "DIR", global = true)]
    report: Option<PathBuf>,
    /// Measure this scenario: a file, or the name of one that comes with sheave
    #[arg(long, value_name = "FILE", global = true)]
    scenario: Option<String>,
    /// Only these dataplanes
    #[arg(long, value_name = "NAME", value_delimiter = ',', global = true)]
    dataplane: Vec<String>,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t, global = true)]
    output: Output,
}

#[derive(Subcommand, Clone, Copy, PartialEq, Eq)]
enum Which {
    /// What a rule change costs
    Sync,
    /// What a decision in the kernel costs
    Lookup,
    /// What a client's connection costs
    Connect {
        /// While a Service rolls and 1 % of all endpoints are replaced
        #[arg(long)]
        churn: bool,
    },
    /// What `bench` starts itself
    #[command(hide = true)]
    Worker,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.which == Some(Which::Worker) {
        sheave_bench::worker::serve(&mut stdin().lock(), &mut stdout().lock())?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.list {
        print(&list())?;
        return Ok(ExitCode::SUCCESS);
    }
    let scenario = scenario(arguments)?;
    let dir = arguments.options.report.as_ref().context("say where the report is to go: --report DIR")?;
    if !is_root() {
        anyhow::bail!(
            "the bench makes network namespaces and loads rules into the kernel, which needs root; run: {}",
            with_sudo()
        );
    }
    let interrupted = interrupt::flag()?;
    let worker = || {
        // This very program, also if its file is replaced while it runs.
        let mut command = Command::new("/proc/self/exe");
        command.args(["bench", "worker"]);
        command
    };
    let live = Live::new(Arc::clone(&interrupted));
    let run = Bench { scenario: &scenario, worker: &worker, watch: &live }.run(dir)?;
    live.finish();
    let report = Report::of(&[run]);
    let page = report.write(dir)?;
    show(&report, arguments.options.output)?;
    if interrupted.load(Ordering::Relaxed) {
        note("interrupted: the report is of what was measured until then");
    }
    note(&format!("report: {}", page.display()));
    Ok(ExitCode::SUCCESS)
}

/// The scenario that was asked for, with the benches and dataplanes that were asked for.
fn scenario(arguments: &Arguments) -> anyhow::Result<ScenarioFile> {
    let named = arguments.options.scenario.as_deref();
    let default = match arguments.which {
        _ if arguments.quick => "quick",
        Some(Which::Sync) => "sync",
        Some(Which::Lookup) => "lookup",
        Some(Which::Connect { churn: true }) => "churn",
        Some(Which::Connect { churn: false }) => "connect",
        Some(Which::Worker) | None => {
            named.context("say what to measure: --quick, sync, lookup, connect, or --scenario FILE")?
        }
    };
    let mut scenario = read(named.unwrap_or(default))?;
    match arguments.which {
        Some(Which::Sync) => (scenario.lookup, scenario.connect) = (Vec::new(), Vec::new()),
        Some(Which::Lookup) => (scenario.sync, scenario.connect) = (Vec::new(), Vec::new()),
        Some(Which::Connect { .. }) => (scenario.sync, scenario.lookup) = (Vec::new(), Vec::new()),
        Some(Which::Worker) | None => {}
    }
    if scenario.works().next().is_none() {
        anyhow::bail!("the scenario {} has nothing of this bench; name another one with --scenario", scenario.name);
    }
    if !arguments.options.dataplane.is_empty() {
        let named: Result<Vec<Dataplane>, _> = arguments.options.dataplane.iter().map(|name| name.parse()).collect();
        scenario.dataplanes = named?;
    }
    Ok(scenario)
}

fn read(named: &str) -> anyhow::Result<ScenarioFile> {
    let is_built_in = BUILT_IN.iter().any(|(name, _)| *name == named);
    let looks_like_a_file = named.contains(['/', '.']);
    Ok(if is_built_in || !looks_like_a_file {
        ScenarioFile::built_in(named)?
    } else {
        ScenarioFile::read(named.as_ref())?
    })
}

fn list() -> String {
    let mut text = "scenarios:\n".to_owned();
    for (name, _) in BUILT_IN {
        let purpose = ScenarioFile::built_in(name).map_or_else(|error| error.to_string(), |scenario| scenario.purpose);
        // Writing to a String does not fail.
        let _unused = writeln!(text, "  {name:26}{purpose}");
    }
    text.push_str("dataplanes:\n");
    for dataplane in Dataplane::ALL {
        let _unused = writeln!(text, "  {:26}{}", dataplane.name(), dataplane.meaning());
    }
    text.trim_end().to_owned()
}
