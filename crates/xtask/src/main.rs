//! Tasks of the workspace, as `cargo xtask TASK`.
mod build_ebpf;
mod debian;
mod demo;
mod dist;
mod ebpf_tools;
mod executable;
mod image;
mod preflight;
mod process;
mod selftest;
mod tally;
mod test;
mod vm;

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
    /// Run every check: preflight, format, lints, eBPF object, tests, benches, demo, selftest, image, virtual machines.
    Test(test::Args),
    /// Make the committed kernel object from `ebpf/`, or check it.
    BuildEbpf(build_ebpf::Args),
    /// Make the static binary that an image carries.
    Dist(dist::Args),
    /// Make the container image, as an OCI archive.
    Image(image::Args),
    #[command(hide = true)]
    TryImage(image::TrialArgs),
    /// Run any command of this checkout under another kernel, in a virtual machine.
    Vm(vm::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Test(args) => return test::main(&args),
        Task::BuildEbpf(args) => build_ebpf::main(&args).map(|()| ExitCode::SUCCESS),
        Task::Dist(args) => dist::main(&args).map(|_| ExitCode::SUCCESS),
        Task::Image(args) => image::main(&args).map(|()| ExitCode::SUCCESS),
        Task::TryImage(args) => image::resolve(&args).map(|()| ExitCode::SUCCESS),
        Task::Vm(args) => vm::main(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::FAILURE
    })
}
