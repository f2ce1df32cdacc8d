//! The host is left as it was found, however a run ends. Each test has a network and a mount namespace for its host, so that
//! what other tests do meanwhile is not taken for ours.
use crate::snapshot::Snapshot;
use aya::programs::loaded_programs;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sheave_bench::record::read_all;
use sheave_lab::Sandbox;
use sheave_tests::kernel_or_skip;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);
const DATAPLANES: &str = "sheave-ebpf,iptables-legacy,iptables-nft,nftables,nft-single-map";
/// So long that no run ends before it is interrupted.
const LONG: &str = "
name: long
purpose: a test
seed: 7
repeats: 1000
pointLimitSeconds: 600
services: [50]
backends: [each: 2]
connect: [latency-hot]
sync: [endpoint-changed, cold-start]
";
/// Everything that leaves something in the kernel.
const SHORT: &str = "
name: short
purpose: a test
seed: 7
repeats: 1
pointLimitSeconds: 60
services: [5]
backends: [each: 2]
lookup: [packet]
connect: [churn]
sync: [endpoint-changed, cold-start]
";

fn programs() -> BTreeSet<u32> {
    // One that goes away while they are listed is an error of that one.
    loaded_programs().filter_map(Result::ok).map(|program| program.id()).collect()
}

pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        thread::sleep(POLL);
    }
}

/// A host of one's own, with a directory.
struct Host {
    sandbox: Sandbox,
    dir: TempDir,
    before: Snapshot,
    programs: BTreeSet<u32>,
}

impl Host {
    fn new() -> Self {
        let sandbox = Sandbox::with_bpffs("host").unwrap();
        let before = sandbox.run(Snapshot::of_namespaces).unwrap();
        Self { sandbox, dir: TempDir::new().unwrap(), before, programs: programs() }
    }

    fn start(&self, scenario: &str) -> Child {
        let file = self.dir.path().join("scenario.yaml");
        fs::write(&file, scenario).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sheave"));
        command.args(["bench", "--dataplane", DATAPLANES, "--scenario"]).arg(&file).arg("--report").arg(self.out());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.sandbox.spawn(command).unwrap().unwrap()
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    /// Starts a run that does not end, and returns when it measures.
    fn under_way(&self) -> Child {
        let run = self.start(LONG);
        until("every dataplane has a worker", || children(&run) == DATAPLANES.split(',').count());
        run
    }

    /// Nothing is left of a run.
    fn assert_as_found(&self) {
        let after = self.sandbox.run(Snapshot::of_namespaces).unwrap();
        let differences = self.before.differences(&after);
        assert!(differences.is_empty(), "left behind:\n{}", differences.join("\n"));
        // Other tests load programs and make control groups too; theirs end with them, and ours have to be gone by then.
        let new: BTreeSet<u32> = programs().difference(&self.programs).copied().collect();
        until("programs are gone", || programs().is_disjoint(&new));
        until("control groups are gone", || super::left_behind().is_empty());
    }
}

/// How many programs it has started that go on.
fn children(run: &Child) -> usize {
    let pid = run.id();
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().count()
}

fn signal(run: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(run.id()).unwrap()), signal).unwrap();
}

#[test]
fn a_run_that_ends_leaves_the_host_as_it_was() {
    if !kernel_or_skip("the bench makes namespaces and loads rules") {
        return;
    }
    let host = Host::new();
    let mut run = host.start(SHORT);
    assert!(run.wait().unwrap().success());
    host.assert_as_found();
}

#[test]
fn an_interrupted_run_leaves_the_host_as_it_was_and_keeps_what_it_has() {
    if !kernel_or_skip("the bench makes namespaces and loads rules") {
        return;
    }
    let host = Host::new();
    let mut run = host.under_way();
    signal(&run, Signal::SIGINT);
    assert!(run.wait().unwrap().success(), "what was measured is reported");
    host.assert_as_found();
    assert_eq!(read_all(&[host.out()]).unwrap().len(), 1);
    assert!(host.out().join("index.html").is_file());
}

#[test]
fn the_next_run_removes_what_a_killed_one_left() {
    if !kernel_or_skip("the bench makes namespaces and loads rules") {
        return;
    }
    let host = Host::new();
    let mut killed = host.under_way();
    signal(&killed, Signal::SIGKILL);
    killed.wait().unwrap();
    let mut next = host.start(SHORT);
    assert!(next.wait().unwrap().success());
    host.assert_as_found();
}
