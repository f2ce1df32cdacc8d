//! Tasks of the workspace, as `cargo xtask TASK`.
mod build_ebpf;
mod demo;
mod dist;
mod ebpf_tools;
mod image;
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
    /// Run every check: preflight, format, lints, eBPF object, tests, benches, demo, selftest, image.
    Test(test::Args),
    /// Make the committed kernel object from `ebpf/`, or check it.
    BuildEbpf(build_ebpf::Args),
    /// Make the static binary that an image carries.
    Dist(dist::Args),
    /// Make the container image, as an OCI archive.
    Image(image::Args),
    #[command(hide = true)]
    TryImage(image::TrialArgs),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Test(args) => return test::main(&args),
        Task::BuildEbpf(args) => build_ebpf::main(&args),
        Task::Dist(args) => dist::main(&args).map(drop),
        Task::Image(args) => image::main(&args),
        Task::TryImage(args) => image::resolve(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
