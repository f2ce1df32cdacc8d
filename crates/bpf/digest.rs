// The digest that ties the committed objects to their sources. Shared by this crate's build script, which refuses objects of
// other sources, and by `cargo xtask build-ebpf`, which writes it.
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What the objects are made from, relative to the root of the repository.
pub(crate) const SOURCES: [&str; 4] = ["ebpf/src", "ebpf/Cargo.toml", "ebpf/Cargo.lock", "crates/abi/src"];
/// Where the objects are, each named after its program binary: the entrances, and what measures `select`.
pub(crate) const OBJECTS: [&str; 2] = ["crates/bpf/object/sheave.o", "crates/bpf/object/bench_select.o"];
/// Where the digest is.
pub(crate) const DIGEST: &str = "crates/bpf/object/sheave.sha256";

/// SHA-256 over paths and contents of the sources and over the objects, in hexadecimal.
pub(crate) fn digest(root: &Path, objects: &[Vec<u8>]) -> io::Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&root.join(source), &mut files)?;
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
        add(&mut hash, name.as_bytes());
        add(&mut hash, &fs::read(&file)?);
    }
    objects.iter().for_each(|object| add(&mut hash, object));
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// With its length, so that no two lists of files look alike.
fn add(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        collect(&entry?.path(), files)?;
    }
    Ok(())
}
