//! `selftest`, `demo` and `bench` change nothing outside their own namespaces and cgroup: after a run, and after a run that
//! was killed and another one that was not. Alone in its binary, because it compares the machine before and after.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

#[path = "../snapshot/mod.rs"]
mod snapshot;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sheave_tests::kernel_or_skip;
use snapshot::Snapshot;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const NEEDS: &str = "selftest, demo and bench make namespaces and load kernel programs";
/// The end of a process is not the moment the kernel has put away all it had.
const DEADLINE: Duration = Duration::from_secs(60);
const TINY: &str = "
name: tiny
purpose: a test
seed: 7
repeats: 1
pointLimitSeconds: 60
services: [3]
backends: [each: 2]
sync: [endpoint-changed]
connect: [round-trip]
";

fn sheave(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sheave"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn assert_as_before(before: &Snapshot, what: &str) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let differences = before.differences(&Snapshot::of_machine());
        if differences.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{what} leaves something behind:\n{}", differences.join("\n"));
        std::thread::yield_now();
    }
}

/// Waits until a run is in the middle: it has a cgroup for a node.
fn until_busy(run: &mut Child) {
    let scratch = |name: &str| name.starts_with("sheave-") && name.ends_with(&format!("-{}", run.id()));
    let deadline = Instant::now() + DEADLINE;
    let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    loop {
        let entries = roots.iter().flat_map(fs::read_dir).flatten().flatten();
        let ours = entries.filter(|entry| entry.file_name().to_str().is_some_and(scratch));
        let nodes = ours.flat_map(|entry| fs::read_dir(entry.path())).flatten().flatten();
        if nodes.filter(|entry| entry.path().is_dir()).count() > 0 {
            return;
        }
        assert!(Instant::now() < deadline, "it never has a node");
        std::thread::yield_now();
    }
}

/// A run that fails at once would leave nothing behind either.
fn succeeds(arguments: &[&str]) {
    let output = sheave(arguments).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}

fn leaves_nothing(arguments: &[&str]) {
    let before = Snapshot::of_machine();
    let what = arguments[0];
    succeeds(arguments);
    assert_as_before(&before, what);
    let mut run = sheave(arguments).spawn().unwrap();
    until_busy(&mut run);
    run.kill().unwrap();
    run.wait().unwrap();
    succeeds(arguments);
    assert_as_before(&before, &format!("{what}, killed and run again,"));
}

/// An interrupt while packets are put to the programs, before there is any traffic: it ends between two cases and puts everything away.
fn is_interrupted_cleanly() {
    let before = Snapshot::of_machine();
    let mut run = sheave(&["selftest"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(run.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("decisions")), "it ends before its first case");
    kill(Pid::from_raw(run.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let rest: Vec<String> = lines.collect();
    assert_eq!(run.wait().unwrap().code(), Some(2), "{rest:#?}");
    assert!(rest.iter().any(|line| line.contains("interrupted after")), "{rest:#?}");
    assert!(!rest.iter().any(|line| line.contains("traffic")), "no world is built any more: {rest:#?}");
    assert_as_before(&before, "selftest, interrupted,");
}

/// One after the other: each of them would see what the others make.
#[test]
fn selftest_demo_and_bench_leave_the_machine_as_it_was_also_when_they_are_killed() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (scenario, report) = (dir.path().join("tiny.yaml"), dir.path().join("out"));
    fs::write(&scenario, TINY).unwrap();
    let (scenario, report) = (scenario.display().to_string(), report.display().to_string());
    is_interrupted_cleanly();
    leaves_nothing(&["selftest", "--only", "/pod/cluster-ip/cluster/"]);
    leaves_nothing(&["demo"]);
    leaves_nothing(&["bench", "--scenario", &scenario, "--dataplane", "sheave-ebpf,nftables", "--report", &report]);
}
