//! `sheave`: a Kubernetes service proxy. One binary; each subcommand is a module.
mod agent;
mod bench;
mod check;
mod cleanup;
mod demo;
mod dump;
mod explain;
mod interrupt;
mod output;
mod report;
mod selftest;
mod settings;
mod status;

use clap::{CommandFactory as _, Parser, Subcommand};
use std::process::ExitCode;

/// Routes Kubernetes Services with hash lookups in eBPF: the cost of a connection and of a change does not grow with the
/// cluster.
#[derive(Parser)]
#[command(name = "sheave", version, max_term_width = 100)]
#[command(
    after_help = "Examples:\n  sudo sheave demo                        a small cluster on this machine, real traffic, \
    a table\n  sheave check                            what this kernel lacks, with the remedy\n  sudo sheave agent \
    --source ./manifests  serve Services from files\n  sheave explain --manifests ./examples --node node-a --from \
    10.244.1.10 --to shop/web\n                                          why a packet goes where it goes\n  sudo sheave status                      what the running agent has programmed\n  sudo sheave dump                        what the kernel holds now"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the agent of this node: watch Services and EndpointSlices, program the kernel
    Agent(agent::Arguments),
    /// Show a small cluster on this machine: namespaces, real traffic, changes under load, a table
    Demo(demo::Arguments),
    /// Say what happens to a packet, and why: answers "why does my Service not work?" from manifests, or by the running agent
    Explain(explain::Arguments),
    /// Ask the running agent: what is programmed, what is wrong, how full the maps are; wait for a Service
    Status(status::Arguments),
    /// Print what the kernel holds now, as Services
    Dump(dump::Arguments),
    /// Look for what this node lacks; each finding names its remedy
    Check(check::Arguments),
    /// Find out whether this kernel does everything right: every rule, packet by packet, then real traffic in namespaces
    Selftest(selftest::Arguments),
    /// Measure what a rule change, a lookup and a connection cost as Services grow: sheave, iptables and nftables
    Bench(bench::Arguments),
    /// Make a report of what `bench` has measured
    Report(report::Arguments),
    /// Remove everything sheave has put on this node
    Cleanup(cleanup::Arguments),
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Agent(arguments) => agent::run(arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Dump(arguments) => dump::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Selftest(arguments) => selftest::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Cleanup(arguments) => cleanup::run(&arguments),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "sheave", &mut script);
            output::print(&String::from_utf8_lossy(&script)).map(|()| ExitCode::SUCCESS)
        }
    };
    result.unwrap_or_else(|error| {
        output::note(&format!("sheave: {}", output::told(&error)));
        ExitCode::from(2)
    })
}
