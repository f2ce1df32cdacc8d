//! `cargo xtask vm`: any command of the checkout under another kernel, in a virtual machine that sees this machine's files and changes
//! none of them.
mod cpio;
mod guest;
mod kernel;
mod matrix;
mod side_by_side;
mod stage;

use crate::ebpf_tools::target_directory;
use anyhow::{Result, bail};
pub(crate) use stage::stage;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

/// Arguments of `vm`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The kernel: the beginning of its version, 6.12 for instance. The newest one of Debian's is taken.
    #[arg(required_unless_present = "matrix")]
    kernel: Option<String>,
    /// Run the selftest on several kernels, two at a time, and print one table.
    #[arg(long, conflicts_with_all = ["kernel", "command"])]
    matrix: bool,
    /// With --matrix: only cases whose names contain this; may be given several times.
    #[arg(long, value_name = "PATTERN", requires = "matrix")]
    only: Vec<String>,
    /// Where kernels are kept; they are downloaded once.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    #[command(flatten)]
    size: guest::Size,
    /// What to run, in the directory where this is called.
    #[arg(last = true, required_unless_present = "matrix")]
    command: Vec<String>,
}

/// Runs one command in one guest, or the matrix.
///
/// # Errors
/// There is no such kernel, or the guest dies.
pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    if !cfg!(target_arch = "x86_64") {
        bail!("virtual machines are those of x86-64 machines; this one is none");
    }
    let cache = args.cache.as_deref().map_or_else(default_cache, |cache| Ok(std::path::absolute(cache)?))?;
    let Some(version) = &args.kernel else { return matrix::main(&cache, args.size, &args.only) };
    let kernel = kernel::get(version, &cache)?;
    Ok(ExitCode::from(guest::run(&kernel, &args.command, args.size, Stdio::inherit())?))
}

/// Below the target directory: `cargo clean` takes it away.
fn default_cache() -> Result<PathBuf> {
    Ok(std::path::absolute(target_directory().join("vm"))?)
}
