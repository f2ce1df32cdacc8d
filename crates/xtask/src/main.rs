//! Tasks of the workspace, as `cargo xtask TASK`.
mod demo;
mod preflight;
mod process;
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
    /// Run every check: preflight, format, lints, eBPF object, tests, benches, demo.
    Test(test::Args),
}

fn main() -> ExitCode {
    match Cli::parse().task {
        Task::Test(args) => test::main(&args),
    }
}
