//! Whether this machine lets a test make namespaces.

/// `false` without root, with the reason on stderr; a failure instead where `REQUIRE_KERNEL=1`.
pub(crate) fn kernel_or_skip() -> bool {
    let root = nix::unistd::geteuid().is_root();
    let required = std::env::var_os("REQUIRE_KERNEL").is_some_and(|value| value == "1");
    assert!(root || !required, "REQUIRE_KERNEL=1, but the process is not root: it cannot make namespaces");
    if !root {
        eprintln!("skipped: making namespaces needs root");
    }
    root
}
