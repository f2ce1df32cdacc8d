//! Whether this machine lets a test make namespaces.
use std::io::Write as _;

/// `false` without root, with the reason on stderr; a failure instead where `REQUIRE_KERNEL=1`.
pub(crate) fn kernel_or_skip() -> bool {
    let root = nix::unistd::geteuid().is_root();
    let required = std::env::var_os("REQUIRE_KERNEL").is_some_and(|value| value == "1");
    assert!(root || !required, "REQUIRE_KERNEL=1, but the process is not root: it cannot make namespaces");
    if !root {
        let thread = std::thread::current();
        let line = format!("SKIPPED {}: making namespaces needs root\n", thread.name().unwrap_or("a test"));
        // Not eprintln!: libtest keeps that to itself when the test passes. `cargo xtask test` counts this line.
        std::io::stderr().write_all(line.as_bytes()).expect("standard error is open");
    }
    root
}
