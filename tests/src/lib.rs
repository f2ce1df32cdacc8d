//! What tests of several crates share.
use std::io::Write as _;

/// Whether this process may load kernel programs and make namespaces. Without root it says why the test is skipped, in the
/// form that `cargo xtask test` counts, and the test returns.
///
/// # Panics
/// Without root where `REQUIRE_KERNEL=1`: there, nothing may skip itself.
#[must_use]
pub fn kernel_or_skip(reason: &str) -> bool {
    if is_root() {
        return true;
    }
    let required = std::env::var_os("REQUIRE_KERNEL").is_some_and(|value| value == "1");
    assert!(!required, "REQUIRE_KERNEL=1, but this process is not root: {reason}");
    say("SKIPPED", reason);
    false
}

/// Whether this kernel has the devices or sockets that a test needs. Without them it says so, in the form that `cargo xtask test`
/// counts as not run at all, since its stage `vm` runs the same test on a kernel that has them; and the test returns.
///
/// # Panics
/// Without them where `REQUIRE_DEVICES=1`: that is the kernel that has to have them.
#[must_use]
pub fn device_or_defer(kind: &str, present: bool) -> bool {
    if present {
        return true;
    }
    let required = std::env::var_os("REQUIRE_DEVICES").is_some_and(|value| value == "1");
    assert!(!required, "REQUIRE_DEVICES=1, but this kernel has nothing of the kind {kind:?}");
    say("DEFERRED", &format!("this kernel has nothing of the kind {kind:?}; the stage vm runs this test"));
    false
}

/// One line that `cargo xtask test` reads.
fn say(what: &str, reason: &str) {
    let thread = std::thread::current();
    let line = format!("{what} {}: {reason}\n", thread.name().unwrap_or("a test"));
    // Not eprintln!: libtest keeps that to itself when the test passes.
    std::io::stderr().write_all(line.as_bytes()).expect("standard error is open");
}

/// The effective uid is the second of the four that the kernel prints.
fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uids.and_then(|uids| uids.split_whitespace().nth(1)) == Some("0")
}
