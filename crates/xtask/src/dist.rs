//! `cargo xtask dist`: the binary as an image carries it, static, so that it needs nothing of the system it runs on.
use crate::ebpf_tools::target_directory;
use crate::executable;
use crate::process::cargo;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// Makes the static binary and leaves it in `target/static/sheave`.
#[derive(clap::Args)]
#[group(id = "dist")]
pub(crate) struct Args {
    /// The profile of the build: `dist` takes long and runs fastest, `release` is for trying things.
    #[arg(long, default_value = DIST, value_parser = [DIST, "release"])]
    pub(crate) profile: String,
}

/// The profile of what users get.
pub(crate) const DIST: &str = "dist";

/// Where the binary is left, alone: an image is made of what is in this directory.
fn directory() -> PathBuf {
    target_directory().join("static")
}

/// Builds, and says where the binary is and how large.
///
/// # Errors
/// When the build fails, or what it made needs a loader.
pub(crate) fn main(args: &Args) -> Result<PathBuf> {
    take(&build(&args.profile)?)
}

/// Puts a static binary where an image is made of it.
///
/// # Errors
/// When it is not static, or cannot be copied.
pub(crate) fn take(built: &Path) -> Result<PathBuf> {
    ensure_static(built)?;
    let binary = directory().join("sheave");
    fs::create_dir_all(directory())?;
    fs::copy(built, &binary).with_context(|| format!("cannot copy {} to {}", built.display(), binary.display()))?;
    let bytes = fs::metadata(&binary)?.len();
    println!("{}: {}.{} MB, static", binary.display(), bytes / 1_000_000, bytes / 100_000 % 10);
    Ok(binary)
}

/// With an explicit target, `RUSTFLAGS` reach the binary alone: a procedural macro cannot be static.
fn build(profile: &str) -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = cargo(&["build", "--locked", "--bin", "sheave"]);
    cargo.args(["--profile", profile, "--target", &target]).env("RUSTFLAGS", "-Ctarget-feature=+crt-static");
    executable::built(cargo, "sheave")
}

/// A program with an interpreter (`PT_INTERP`) asks for the C library's loader, which an empty image has not.
fn ensure_static(binary: &Path) -> Result<()> {
    use object::read::elf::{FileHeader as _, ProgramHeader as _};
    let data = fs::read(binary)?;
    let header = object::elf::FileHeader64::<object::Endianness>::parse(&*data)?;
    let endian = header.endian()?;
    let interpreted =
        header.program_headers(endian, &*data)?.iter().any(|p| p.p_type(endian) == object::elf::PT_INTERP);
    ensure!(!interpreted, "{} is not static: it asks for a loader", binary.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_that_asks_for_a_loader_is_refused() {
        let this = std::env::current_exe().unwrap();
        let error = ensure_static(&this).unwrap_err().to_string();
        assert!(error.contains("not static"), "{error}");
    }
}
