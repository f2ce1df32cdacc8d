//! `sheave demo`: a small cluster on this machine, the real agent, real traffic, changes under load, a table.
//!
//! `world` is the cluster, `control` what the API says, `traffic` who asks, `ledger` what counts as a failure, `script` what
//! happens when.
mod api_server;
mod control;
mod ledger;
mod live;
mod manifests;
mod process;
mod report;
mod script;
mod traffic;
mod world;

use crate::interrupt;
use crate::output::{Output, is_root, with_sudo};
use clap::Args;
use std::process::ExitCode;

#[derive(Args)]
#[command(
    after_help = "Nothing is left behind, also after Ctrl-C: the lab lives in namespaces without names.\nExit status: 0 \
    without failures, 1 with some, 2 when the demo could not run.\n\nExamples:\n  sudo sheave demo\n  sudo sheave demo \
    --services 10000      the same latencies with 10,000 more Services\n  sudo sheave demo -o json | jq .failures\n  sudo \
    sheave demo --keep                leave the lab up and say how to look around"
)]
pub(crate) struct Arguments {
    /// That many more Services in the background
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    services: u32,
    /// Leave the lab up until Ctrl-C and say how to look around
    #[arg(long)]
    keep: bool,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if !is_root() {
        anyhow::bail!(
            "the demo makes network namespaces and loads eBPF programs, which needs root; run: {}",
            with_sudo()
        );
    }
    let interrupted = interrupt::flag()?;
    let finished = script::play(arguments, &interrupted)?;
    Ok(if finished.failures == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
