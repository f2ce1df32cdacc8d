// The digest that ties the committed object to its sources. Shared by this crate's build script, which refuses an object of
// other sources, and by `cargo xtask build-ebpf`, which writes it.
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What the object is made from, relative to the root of the repository.
pub(crate) const SOURCES: [&str; 4] = ["ebpf/src", "ebpf/Cargo.toml", "ebpf/Cargo.lock", "crates/abi/src"];
/// Where object and digest are.
pub(crate) const OBJECT: &str = "crates/bpf/object/sheave.o";
pub(crate) const DIGEST: &str = "crates/bpf/object/sheave.sha256";

/// SHA-256 over paths and contents of the sources and over the object, in hexadecimal.
pub(crate) fn digest(root: &Path, object: &[u8]) -> io::Result<String> {
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
    add(&mut hash, object);
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
