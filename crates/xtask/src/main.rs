//! Tasks of the workspace: build-ebpf, test, tidy.
fn main() {}
