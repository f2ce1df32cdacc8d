//! Refuses to embed kernel objects that were not made from the sources beside them.
#[path = "digest.rs"]
mod digest;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    // At run time: a build directory that two checkouts share may hold this program from the other one.
    let crate_dir = std::env::var("CARGO_MANIFEST_DIR").expect("cargo tells build scripts where their crate is");
    let root = Path::new(&crate_dir).ancestors().nth(2).expect("invariant: crates/bpf is two levels down");
    for path in digest::SOURCES.into_iter().chain(digest::OBJECTS).chain([digest::DIGEST]) {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    let held = std::fs::read_to_string(root.join(digest::DIGEST)).unwrap_or_default();
    let objects: Result<Vec<_>, _> = digest::OBJECTS.iter().map(|object| std::fs::read(root.join(object))).collect();
    let now = objects.and_then(|objects| digest::digest(root, &objects));
    if now.is_ok_and(|now| now == held.trim()) {
        return ExitCode::SUCCESS;
    }
    println!(
        "cargo::error=the kernel objects in {} were not made from the sources in ebpf/ and crates/abi/: run `cargo xtask build-ebpf`",
        Path::new(digest::DIGEST).parent().expect("invariant: the digest is in a directory").display()
    );
    ExitCode::FAILURE
}
