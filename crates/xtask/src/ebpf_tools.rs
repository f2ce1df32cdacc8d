//! What building the kernel programs needs: the pinned compiler, its library's sources, bpf-linker. What is missing is
//! brought into the target directory.
use crate::debian;
use crate::process::{run, succeeds, workspace_root};
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The compiler the object is made with; another one makes another object.
pub(crate) const TOOLCHAIN: &str = "1.95.0";
const LINKER_VERSION: &str = "0.13.0";
/// LLVM of the toolchain: bpf-linker is linked to the very library the compiler uses.
const LLVM: &str = "22";
/// Debian's package of the library's sources, for machines that cannot reach rustup's servers.
const DEBIAN_SOURCES: &str = "pool/main/r/rustc/rust-src_1.95.0+dfsg1-2~bpo13+1_all.deb";
const DEBIAN_SHA256: &str = "7b76db5b880a77f9e52975d2baa6209d2f76d2c9c2789515c3088cb960e2c83b";

/// Where things are.
pub(crate) struct Tools {
    pub(crate) linker: PathBuf,
    rust_source: PathBuf,
}

impl Tools {
    /// The directory `library` of the compiler's sources.
    pub(crate) fn library(&self) -> PathBuf {
        self.rust_source.join("library")
    }
}

/// Finds everything, and brings what is missing: minutes at the first time.
pub(crate) fn bring() -> Result<Tools> {
    let sysroot = sysroot()?;
    let tools = target_directory().join("tools");
    Ok(Tools { linker: linker(&sysroot, &tools)?, rust_source: rust_source(&sysroot, &tools)? })
}

/// The workspace's target directory.
pub(crate) fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace_root().join("target"), PathBuf::from)
}

fn sysroot() -> Result<PathBuf> {
    let output = Command::new("rustc")
        .args([&format!("+{TOOLCHAIN}"), "--print", "sysroot"])
        .output()
        .context("cannot start rustc; install Rust by rustup")?;
    if !output.status.success() {
        bail!("Rust {TOOLCHAIN} is missing: rustup toolchain install {TOOLCHAIN}");
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

fn linker(sysroot: &Path, tools: &Path) -> Result<PathBuf> {
    let own = tools.join("bin/bpf-linker");
    for candidate in [own.clone(), PathBuf::from("bpf-linker")] {
        let version = Command::new(&candidate).arg("--version").output();
        if version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim().ends_with(LINKER_VERSION)) {
            return Ok(candidate);
        }
    }
    println!("building bpf-linker {LINKER_VERSION} (once, a minute or two)");
    let mut cargo = Command::new("cargo");
    cargo
        .arg(format!("+{TOOLCHAIN}"))
        .args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--no-default-features"])
        .args(["--features", &format!("llvm-{LLVM}"), "--root"])
        .arg(tools)
        .env("CARGO_TARGET_DIR", tools.join("build"))
        .env("LLVM_PREFIX", llvm_prefix(sysroot, tools)?)
        .env_remove("RUSTC")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTFLAGS");
    run(cargo)?;
    fs::remove_dir_all(tools.join("build")).context("cannot remove the linker's build directory")?;
    Ok(own)
}

/// A directory that looks like an installed LLVM and leads to the compiler's own. Its path stays in the linker: keep it.
fn llvm_prefix(sysroot: &Path, tools: &Path) -> Result<PathBuf> {
    let prefix = tools.join(format!("llvm{LLVM}"));
    let lib = prefix.join("lib");
    fs::create_dir_all(&lib)?;
    let versioned = format!("libLLVM.so.{LLVM}");
    let library = fs::read_dir(sysroot.join("lib"))?
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&versioned))
        .with_context(|| format!("{} has no {versioned}: Rust {TOOLCHAIN} from rustup has it", sysroot.display()))?;
    for name in [library.file_name(), "libLLVM.so".into()] {
        let link = lib.join(name);
        if link.symlink_metadata().is_ok() {
            fs::remove_file(&link)?;
        }
        symlink(library.path(), link)?;
    }
    Ok(prefix)
}

fn rust_source(sysroot: &Path, tools: &Path) -> Result<PathBuf> {
    let of_rustup = sysroot.join("lib/rustlib/src/rust");
    let of_debian = tools.join("rust-src/usr/src").join(format!("rustc-{TOOLCHAIN}"));
    let is_there = |source: &Path| source.join("library/core/src/lib.rs").is_file();
    let found = |source: PathBuf| is_there(&source).then_some(source);
    if let Some(source) = found(of_rustup.clone()).or_else(|| found(of_debian.clone())) {
        return Ok(source);
    }
    if succeeds("rustup", &["component", "add", "rust-src", "--toolchain", TOOLCHAIN]) && is_there(&of_rustup) {
        return Ok(of_rustup);
    }
    debian_sources(tools).context(format!(
        "the library's sources are missing: `rustup component add rust-src --toolchain {TOOLCHAIN}`, or Debian's package"
    ))?;
    found(of_debian).context("Debian's package holds no sources where they are expected")
}

/// By apt's own downloader: it knows the machine's proxies, and checks the digest.
fn debian_sources(tools: &Path) -> Result<()> {
    fs::create_dir_all(tools)?;
    let package = tools.join("rust-src.deb");
    let address = format!("{}/{DEBIAN_SOURCES}", debian::mirror());
    let mut download = Command::new("/usr/lib/apt/apt-helper");
    download.args(["download-file", &address]).arg(&package).arg(format!("SHA256:{DEBIAN_SHA256}"));
    run(download)?;
    let mut unpack = Command::new("dpkg");
    unpack.arg("-x").arg(&package).arg(tools.join("rust-src"));
    run(unpack)?;
    fs::remove_file(package).context("cannot remove the package")
}
