//! Tasks of the workspace, as `cargo xtask TASK`.
mod build_ebpf;
mod demo;
mod ebpf_tools;
mod preflight;
mod process;
mod selftest;
mod tally;
mod test;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the sheave workspace")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every check: preflight, format, lints, eBPF object, tests, benches, demo, selftest.
    Test(test::Args),
    /// Make the committed kernel object from `ebpf/`, or check it.
    BuildEbpf(build_ebpf::Args),
}

fn main() -> ExitCode {
    match Cli::parse().task {
        Task::Test(args) => test::main(&args),
        Task::BuildEbpf(args) => match build_ebpf::main(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        },
    }
}
