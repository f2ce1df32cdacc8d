//! `cargo xtask build-ebpf`: makes the committed kernel objects from `ebpf/`, byte for byte the same on every machine.
use crate::ebpf_tools::{self, TOOLCHAIN, Tools};
use crate::process::{run, workspace_root};
use anyhow::{Context, Result, bail};
use object::build::elf::{Builder, SectionData};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "../../bpf/digest.rs"]
mod digest;

const TARGET: &str = "bpfel-unknown-none";

/// Arguments of `build-ebpf`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build anew in an empty directory and compare with the committed objects instead of replacing them.
    #[arg(long)]
    check: bool,
}

/// Builds the objects, or checks them.
///
/// # Errors
/// What is missing and what brings it; a failed build; with `--check`, an object that differs.
pub(crate) fn main(args: &Args) -> Result<()> {
    let root = workspace_root();
    let tools = ebpf_tools::bring()?;
    let target = ebpf_tools::target_directory().join("ebpf");
    if !args.check {
        return write(&root, &build(&root, &tools, &target)?);
    }
    let fresh = target.join(format!("check-{}", std::process::id()));
    let built = build(&root, &tools, &fresh);
    let removed = fs::remove_dir_all(&fresh);
    let built = built?;
    removed.with_context(|| format!("cannot remove {}", fresh.display()))?;
    compare(&root, &built)
}

fn write(root: &Path, objects: &[Vec<u8>]) -> Result<()> {
    fs::create_dir_all(root.join(digest::DIGEST).parent().context("invariant: the digest is in a directory")?)?;
    for (path, object) in digest::OBJECTS.iter().zip(objects) {
        fs::write(root.join(path), object)?;
        println!("{path}: {} bytes", object.len());
    }
    Ok(fs::write(root.join(digest::DIGEST), digest::digest(root, objects)? + "\n")?)
}

fn compare(root: &Path, built: &[Vec<u8>]) -> Result<()> {
    for (path, built) in digest::OBJECTS.iter().zip(built) {
        let committed = fs::read(root.join(path)).with_context(|| format!("cannot read {path}"))?;
        if committed != *built {
            let at = committed.iter().zip(built).position(|(a, b)| a != b);
            bail!(
                "{path} differs from what its sources make, first at byte {} ({} and {} bytes): run `cargo xtask build-ebpf`, commit",
                at.unwrap_or(committed.len().min(built.len())),
                committed.len(),
                built.len()
            );
        }
    }
    let held =
        fs::read_to_string(root.join(digest::DIGEST)).with_context(|| format!("cannot read {}", digest::DIGEST))?;
    if held.trim() != digest::digest(root, built)? {
        bail!("{} is not the digest of the sources: run `cargo xtask build-ebpf`, commit", digest::DIGEST);
    }
    println!("{} are what their sources make, byte for byte", digest::OBJECTS.join(" and "));
    Ok(())
}

/// The stripped objects, in the order of [`digest::OBJECTS`].
fn build(root: &Path, tools: &Tools, target: &Path) -> Result<Vec<Vec<u8>>> {
    let mut cargo = Command::new("cargo");
    cargo
        .arg(format!("+{TOOLCHAIN}"))
        .args(["build", "--locked", "--release", "--target", TARGET, "-Zbuild-std=core"])
        .current_dir(root.join("ebpf"))
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(root, tools)?.join("\x1f"))
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &tools.linker)
        // The standard library's sources: cargo's own tests have this way of saying where they are, rustup has no other.
        .env("__CARGO_TESTS_ONLY_SRC_ROOT", tools.library())
        // -Zbuild-std on the stable compiler; for this child only.
        .env("RUSTC_BOOTSTRAP", "1")
        // Set by the cargo that runs this task; they would override the toolchain chosen above.
        .env_remove("RUSTC")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTFLAGS");
    run(cargo)?;
    let binary = |object: &str| {
        let name = Path::new(object).file_stem().context("invariant: an object has a name")?;
        let path = target.join(TARGET).join("release").join(name);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        strip(&bytes)
    };
    digest::OBJECTS.into_iter().map(binary).collect()
}

/// No path of this machine may end up in the object.
fn rust_flags(root: &Path, tools: &Tools) -> Result<Vec<String>> {
    let mut flags: Vec<String> =
        ["-Cdebuginfo=2", "-Clink-arg=--btf", "-Cpanic=abort"].into_iter().map(str::to_owned).collect();
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).context("no home directory")?;
    let registry = home.join("registry/src");
    let mut remap = |from: &Path, to: &str| flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    remap(&registry, "/registry");
    if let Ok(indices) = fs::read_dir(&registry) {
        // Each registry has a directory of its own, named after its address.
        indices.flatten().for_each(|index| remap(&index.path(), "/registry"));
    }
    remap(&tools.library(), "/rust");
    remap(root, "/sheave");
    Ok(flags)
}

/// Without debug sections: they are four fifths of the object, and only BTF was made from them.
fn strip(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object).context("the linker wrote no ELF file")?;
    for section in &mut builder.sections {
        let name = section.name.to_string();
        if name.starts_with(".debug") || name.starts_with(".rel.debug") {
            section.delete = true;
        }
    }
    for symbol in &mut builder.symbols {
        symbol.name = placeless(&symbol.name.to_string()).into_bytes().into();
    }
    // LLVM keeps the names of sections and symbols in one table; the writer wants two.
    let names = builder.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.data = SectionData::SectionString;
    builder.delete_orphans();
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
}

/// A symbol's name without the hashes of crates (`Cs` … `_` in Rust's v0 mangling): Cargo makes them from the absolute paths
/// of crates outside the workspace, and they would be all that differs from place to place.
fn placeless(symbol: &str) -> String {
    let mut name = String::with_capacity(symbol.len());
    let mut rest = symbol;
    while let Some((before, after)) = rest.split_once("Cs") {
        name.push_str(before);
        let hash = after.find(|c: char| !c.is_ascii_alphanumeric()).filter(|end| after[*end..].starts_with('_'));
        match hash {
            Some(end) => {
                name.push('C');
                rest = &after[end + 1..];
            }
            None => {
                name.push_str("Cs");
                rest = after;
            }
        }
    }
    name + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_loses_the_hashes_of_crates_and_nothing_else() {
        for (symbol, want) in [
            (
                "_RINvNtCsjZ4uk9RuHTE_6sheave4flow4moveNtNtB4_6family2V6EB4_",
                "_RINvNtC6sheave4flow4moveNtNtB4_6family2V6EB4_",
            ),
            ("_RNvCs1_1aCs2_1b", "_RNvC1aC1b"),
            ("ingress", "ingress"),
            ("Cs", "Cs"),
        ] {
            assert_eq!(placeless(symbol), want);
        }
    }
}
