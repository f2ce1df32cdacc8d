//! What deploy/ holds: that it renders, that the API server and the agent would take it, and that it asks for what the agent needs
//! and no more.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod access;
mod configuration;
mod dashboards;
mod kustomize;
mod manifests;

use std::path::{Path, PathBuf};

/// Each directory that `kubectl apply -k` takes.
const DIRECTORIES: [&str; 5] = ["base", "overlays/canary", "overlays/cleanup", "overlays/ebpf", "overlays/remove"];

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").canonicalize().unwrap()
}
