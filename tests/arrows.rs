//! The arrows between crates, enforced: data flows one way, and each heavy dependency stays behind one crate.
use cargo_metadata::{DependencyKind, MetadataCommand, Package};
use std::collections::BTreeSet;

/// Which of our crates a crate may use (normal and build dependencies). A crate that is not listed fails the test.
const ARROWS: &[(&str, &[&str])] = &[
    ("sheave-abi", &[]),
    ("sheave-core", &[]),
    ("sheave-dataplane", &["core"]),
    ("sheave-bpf", &["abi", "core", "dataplane"]),
    ("sheave-kube-source", &["core"]),
    ("sheave-baseline", &["core"]),
    ("sheave-node", &["abi", "core"]),
    ("sheave-apistub", &[]),
    ("sheave-lab", &[]),
    ("sheave-agent", &["core", "dataplane", "bpf", "kube-source", "node"]),
    ("sheave-conformance", &["abi", "agent", "bpf", "core", "dataplane", "kube-source", "lab"]),
    ("sheave-bench", &["core", "dataplane", "bpf", "baseline", "lab"]),
    ("sheave-cli", &["core", "bpf", "kube-source", "agent", "apistub", "lab", "conformance", "bench"]),
    ("sheave-xtask", &[]),
    ("sheave-tests", &["*"]),
    ("sheave-benches", &["*"]),
];

/// Foreign crates that stand behind one of ours, and nowhere else.
const BEHIND: &[(&str, &[&str])] = &[
    ("kube", &["sheave-kube-source"]),
    ("k8s-openapi", &["sheave-kube-source"]),
    ("aya", &["sheave-bpf"]),
    ("rtnetlink", &["sheave-node", "sheave-lab"]),
    ("hyper", &["sheave-agent", "sheave-apistub"]),
    ("prometheus", &["sheave-agent"]),
    ("etherparse", &["sheave-conformance"]),
    ("clap", &["sheave-cli", "sheave-xtask"]),
    ("criterion", &["sheave-benches"]),
];

/// What the pure crates may use besides the standard library: nothing that does I/O or reads a clock (I6).
const PURE: &[(&str, &[&str])] =
    &[("sheave-abi", &["zerocopy"]), ("sheave-core", &["thiserror", "ipnet"]), ("sheave-dataplane", &["thiserror"])];

fn packages() -> Vec<Package> {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata runs in the workspace");
    metadata.packages.into_iter().filter(|p| p.name.starts_with("sheave-")).collect()
}

fn used(package: &Package) -> impl Iterator<Item = &str> {
    package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development).map(|d| d.name.as_str())
}

#[test]
fn our_crates_use_each_other_only_along_the_arrows() {
    for package in packages() {
        let (_, allowed) = ARROWS
            .iter()
            .find(|(name, _)| *name == package.name.as_str())
            .unwrap_or_else(|| panic!("{} is not in ARROWS: say what it may use", package.name));
        for dependency in used(&package).filter_map(|name| name.strip_prefix("sheave-")) {
            assert!(
                allowed.contains(&"*") || allowed.contains(&dependency),
                "{} must not use sheave-{dependency}",
                package.name
            );
        }
    }
}

#[test]
fn heavy_dependencies_stay_behind_their_crate() {
    for package in packages() {
        for dependency in used(&package) {
            if let Some((_, owners)) = BEHIND.iter().find(|(name, _)| *name == dependency) {
                assert!(owners.contains(&package.name.as_str()), "{} must not use {dependency}", package.name);
            }
        }
    }
}

#[test]
fn pure_crates_use_nothing_that_does_io() {
    for package in packages() {
        let Some((_, allowed)) = PURE.iter().find(|(name, _)| *name == package.name.as_str()) else { continue };
        let foreign: BTreeSet<_> = used(&package).filter(|name| !name.starts_with("sheave-")).collect();
        assert!(
            foreign.iter().all(|name| allowed.contains(name)),
            "{}: {foreign:?}, allowed {allowed:?}",
            package.name
        );
    }
}

#[test]
fn tests_and_benches_are_workspace_packages() {
    let names: BTreeSet<_> = packages().into_iter().map(|p| p.name.to_string()).collect();
    for name in ["sheave-tests", "sheave-benches"] {
        assert!(names.contains(name), "{name} is missing from the workspace: Cargo would ignore it silently");
    }
}
