//! `sheave selftest`: does this kernel do everything right?
//!
//! The conformance cases are put to the programs packet by packet, then real sockets in scratch namespaces to all of it
//! together. Both are held against the reference, and a failure is a failure: nothing is tried twice.
mod live;
mod report;

use crate::interrupt;
use crate::output::{Output, is_root, print, with_sudo};
use clap::{Args, ValueEnum};
use live::Live;
use report::Tally;
use sheave_conformance::matrix::{Pace, Watch as _};
use sheave_conformance::{Engine, FakeEngine, KernelEngine, matrix};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What the names of the conformance cases begin with.
const DECISION: &str = "decision/";

#[derive(Args)]
#[command(
    after_help = "Everything happens in namespaces and a cgroup of its own; nothing else on this machine is touched, and nothing \
    is left behind.\nExit status: 0 when nothing failed, 1 when something did, 2 when it could not run.\n\nExamples:\n  sudo \
    sheave selftest                                 everything, in two minutes\n  sudo sheave selftest --only bridge/off/pod      \
    what a pod on a bridge gets without the socket entrance\n  sheave selftest --dataplane fake                the cases alone, \
    against the dataplane in memory\n  sudo sheave selftest -o json | jq .failures"
)]
pub(crate) struct Arguments {
    /// What is put to the test
    #[arg(long, value_enum, default_value_t)]
    dataplane: Dataplane,
    /// Only cases whose names contain this; given several times, any of these
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// Wait so many times longer for everything: for emulated machines
    #[arg(long, value_name = "TIMES", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=100))]
    patience: u8,
    /// Print the names of the cases and do nothing
    #[arg(long)]
    list: bool,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Dataplane {
    /// The eBPF programs, on this kernel
    #[default]
    Ebpf,
    /// The dataplane in memory: needs no kernel, and has no traffic
    Fake,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.list {
        print(&list(arguments))?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.dataplane == Dataplane::Ebpf && !is_root() {
        anyhow::bail!(
            "the selftest makes network namespaces and loads eBPF programs, which needs root; run: {}",
            with_sudo()
        );
    }
    let interrupted = interrupt::flag()?;
    let live = Live::new(Arc::clone(&interrupted));
    let begun = Instant::now();
    let mut tally = Tally::default();
    cases(arguments, &live, &mut tally)?;
    if arguments.dataplane == Dataplane::Ebpf {
        for report in matrix::run(&|name| arguments.selects(name), Pace::times(arguments.patience), &live) {
            tally.count(report.name, report.outcome);
        }
    }
    tally.took(begun.elapsed());
    live.finish();
    if interrupted.load(Ordering::Relaxed) {
        anyhow::bail!("interrupted after {} cases, of which {} failed", tally.cases(), tally.failed());
    }
    anyhow::ensure!(tally.cases() > 0, "no case has any of {:?} in its name; see them with --list", arguments.only);
    match arguments.output {
        Output::Text => print(&format!("{}\n{}", tally.tables(), tally.object()))?,
        Output::Json => print(&format!("{:#}", tally.everything()))?,
    }
    Ok(if tally.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

impl Arguments {
    fn selects(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|pattern| name.contains(pattern))
    }
}

/// The conformance cases. Nothing is loaded if none of them is selected.
fn cases(arguments: &Arguments, live: &Live, tally: &mut Tally) -> anyhow::Result<()> {
    let selected = |name: &str| arguments.selects(&case_name(name));
    if !sheave_conformance::case_names().iter().any(|name| selected(name)) {
        return Ok(());
    }
    let mut engine: Box<dyn Engine> = match arguments.dataplane {
        Dataplane::Ebpf => Box::new(KernelEngine::start()?),
        Dataplane::Fake => Box::new(FakeEngine::default()),
    };
    sheave_conformance::run_while(&mut *engine, &selected, |result| {
        live.case(&result.name);
        tally.count(case_name(&result.name), result.outcome.clone());
        if live.interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    Ok(())
}

/// The cases of the suite and those of the matrix share one space of names.
fn case_name(name: &str) -> String {
    format!("{DECISION}{name}")
}

fn list(arguments: &Arguments) -> String {
    let mut names: Vec<String> = sheave_conformance::case_names().iter().map(|name| case_name(name)).collect();
    if arguments.dataplane == Dataplane::Ebpf {
        names.extend(matrix::names());
    }
    names.retain(|name| arguments.selects(name));
    names.join("\n")
}
