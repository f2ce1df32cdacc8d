//! `sheave bench` and `sheave report`, as someone runs them: what is measured and written, never how long it took.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod host;
#[path = "../snapshot/mod.rs"]
#[expect(dead_code, reason = "only a test that is alone on the machine looks at all of it")]
mod snapshot;

use nix::mount::{MsFlags, mount};
use sheave_bench::record::{Dataplane, Outcome, Point, Quantity, Run, Work, read_all};
use sheave_lab::Sandbox;
use sheave_tests::kernel_or_skip;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const NEEDS: &str = "the bench makes namespaces and loads rules";
/// Every operation of every bench, at a size that takes no time.
const TINY: &str = "
name: tiny
purpose: a test
seed: 7
repeats: 2
pointLimitSeconds: 60
services: [3]
backends: [each: 2]
sync: [endpoint-changed, service-added, service-removed, rolling-update, churn, cold-start]
lookup: [hit-hot, hit-random, miss-hot, miss-random, packet]
connect: [latency-hot, latency-random, round-trip, rate, churn]
";

/// A change and a cold start.
const SMALL: &str = "
name: small
purpose: a test
seed: 7
repeats: 1
pointLimitSeconds: 60
services: [4]
backends: [each: 2]
sync: [endpoint-changed, cold-start]
";

fn sheave(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sheave")).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn scenario(dir: &Path, text: &str) -> String {
    let path = dir.join("scenario.yaml");
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Runs a scenario; returns its only run.
fn measured(dir: &Path, text: &str, dataplanes: &str) -> Run {
    let (file, to) = (scenario(dir, text), dir.join("out").display().to_string());
    let output = sheave(&["bench", "--scenario", &file, "--dataplane", dataplanes, "--report", &to]);
    assert!(output.status.success(), "{}", said(&output));
    let [run] = <[Run; 1]>::try_from(read_all(&[to]).unwrap()).unwrap();
    run
}

/// Control groups of runs that have ended: those of a run that goes on are named after a process that lives.
fn left_behind() -> BTreeSet<String> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let cgroup2 = mounts.lines().find(|line| line.contains(" cgroup2 ")).and_then(|line| line.split(' ').nth(1));
    let entries = fs::read_dir(cgroup2.unwrap()).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let ended = |name: &String| {
        let pid = name.strip_prefix("sheave-bench-");
        pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
    };
    names.filter(ended).collect()
}

fn assert_whole(point: &Point, repeats: usize) {
    let (work, dataplane) = (point.work(), point.dataplane());
    assert_eq!(*point.outcome(), Outcome::Measured, "{work} {dataplane}");
    assert_eq!(point.rounds(), repeats, "{work} {dataplane}");
    if let Work::Connect(_) = work {
        let failures = &point.samples().get(Quantity::Failures).unwrap().values;
        assert_eq!(failures.len(), repeats, "{work} {dataplane}");
        // A peer may lose a connection while its rules change: that is a result. We may not.
        let may_fail = !dataplane.is_sheave();
        assert!(may_fail || failures.iter().all(|count| *count == 0.0), "{work} {dataplane}: {failures:?}");
    }
}

#[test]
fn every_operation_of_every_dataplane_gives_all_its_rounds_and_nothing_stays_behind() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let dataplanes = Dataplane::ALL.into_iter().filter(|dataplane| *dataplane != Dataplane::SheaveIpvs);
    let names: Vec<_> = dataplanes.map(Dataplane::name).collect();
    let run = measured(dir.path(), TINY, &names.join(","));
    run.points.iter().for_each(|point| assert_whole(point, 2));
    // Of sync 6 operations of 7 dataplanes, of lookup 5 of one, of connect 4 of 7 and one of 8.
    assert_eq!(run.points.len(), 6 * 7 + 5 + 4 * 7 + 8);
    let page = fs::read_to_string(dir.path().join("out/index.html")).unwrap();
    assert!(names.iter().all(|name| page.contains(name)));
    // Of runs that other tests end at this moment as well, for a moment.
    host::until("control groups are gone", || left_behind().is_empty());
}

#[test]
fn a_change_costs_sheave_as_many_system_calls_at_every_size() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let text = TINY.replace("services: [3]", "services: [2, 2000]");
    let text: String =
        text.lines().filter(|line| !line.starts_with("connect:")).map(|line| format!("{line}\n")).collect();
    let text = text.replace(
        "sync: [endpoint-changed, service-added, service-removed, rolling-update, churn, cold-start]",
        "sync: [endpoint-changed]",
    );
    let run = measured(dir.path(), &text, "sheave-ebpf");
    let counts: BTreeSet<_> = run
        .points
        .iter()
        .filter_map(|point| point.samples().get(Quantity::Syscalls))
        .flat_map(|series| &series.values)
        .map(|count| format!("{count}"))
        .collect();
    // Not every kernel counts them: then there are none.
    assert!(counts.is_empty() || counts == BTreeSet::from(["3".to_owned()]), "{counts:?}");
}

#[test]
fn what_takes_too_long_is_cut_off_and_not_tried_at_a_larger_size() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let dir = TempDir::new().unwrap();
    // So many endpoints take `iptables-nft-restore` minutes.
    let text = "
name: slow
purpose: a test
seed: 7
repeats: 1
pointLimitSeconds: 1
services: [2000, 3000]
backends: [each: 10]
sync: [endpoint-changed, cold-start]
";
    let run = measured(dir.path(), text, "iptables-nft");
    assert_eq!(run.points.len(), 4);
    for point in &run.points {
        assert!(matches!(point.outcome(), Outcome::CutOff { .. }), "{:?}", point.outcome());
    }
}

#[test]
fn a_tool_that_is_missing_is_named_with_its_package_and_the_rest_is_measured() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (file, to) = (scenario(dir.path(), SMALL), dir.path().join("out").display().to_string());
    // Tools are looked for in PATH, and where Debian has them.
    let host = Sandbox::with_bpffs("host").unwrap();
    let hide = || mount(None::<&str>, "/usr/sbin", Some("tmpfs"), MsFlags::empty(), None::<&str>);
    host.run(hide).unwrap().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sheave"));
    command.args(["bench", "--scenario", &file, "--dataplane", "sheave-ebpf,nftables", "--report", &to]);
    command.env("PATH", dir.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = host.spawn(command).unwrap().unwrap().wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("left out: nftables: nft is not installed; apt-get install nftables"), "{output:?}");
    let run = read_all(&[to]).unwrap().remove(0);
    let measured = |point: &&Point| *point.outcome() == Outcome::Measured;
    let names: BTreeSet<_> = run.points.iter().filter(measured).map(Point::dataplane).collect();
    assert_eq!(names, BTreeSet::from([Dataplane::SheaveEbpf]));
    assert!(String::from_utf8_lossy(&output.stdout).contains("apt-get install nftables"), "the report says so again");
}

#[test]
fn services_with_node_ports_are_measured() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let text = SMALL.replace("backends:", "nodePortPercent: [50]\nbackends:");
    let run = measured(dir.path(), &text, "sheave-ebpf,iptables-legacy");
    assert!(run.points.iter().all(|point| *point.outcome() == Outcome::Measured), "{:?}", run.points);
    assert_eq!(run.points.len(), 4);
}

#[test]
fn a_report_is_made_again_from_the_raw_data() {
    let dir = TempDir::new().unwrap();
    let runs = dir.path().join("runs");
    fs::create_dir(&runs).unwrap();
    let raw = r#"{"format":1,"environment":{"date":"2026-01-02T03:04:05Z","sheave":"0.1.0","kernel":"6.18.5 #1","arch":"x86_64",
        "cpu_model":"Example","cpus":2,"memory_bytes":1,"load_before":[0,0,0]},
        "scenario":{"name":"s","seed":1,"repeats":1,"point_limit_s":1,"grid":{"services":[10],"backends":[{"each":1}],
        "node_port_percent":[0]},"dataplanes":["sheave-ebpf"]},"points":[]}"#;
    fs::write(runs.join("run.json"), raw).unwrap();
    let (from, into) = (runs.display().to_string(), dir.path().join("into").display().to_string());
    for (arguments, page) in [
        (vec!["report", &from], runs.join("index.html")),
        (vec!["report", &from, "--into", &into], dir.path().join("into/index.html")),
        (vec!["report", &from, "--into", &into, "-o", "json"], dir.path().join("into/report.json")),
    ] {
        let output = sheave(&arguments);
        assert!(output.status.success(), "{}", said(&output));
        assert!(page.is_file());
        let printed: Result<serde_json::Value, _> = serde_json::from_slice(&output.stdout);
        assert_eq!(printed.is_ok(), arguments.contains(&"json"), "{arguments:?}");
    }
}

#[test]
fn bad_input_is_refused_before_anything_runs_with_what_to_do() {
    let dir = TempDir::new().unwrap();
    let to = dir.path().join("out").display().to_string();
    let huge = scenario(dir.path(), &TINY.replace("services: [3]", "services: [4000000]"));
    for (case, arguments, want) in [
        ("nothing asked for", vec!["bench"], "--quick, sync, lookup, connect, or --scenario FILE"),
        ("no directory", vec!["bench", "--quick"], "--report DIR"),
        (
            "unknown dataplane",
            vec!["bench", "--quick", "--dataplane", "ebtables", "--report", &to],
            "there are: sheave-ebpf",
        ),
        ("unknown scenario", vec!["bench", "--scenario", "slow", "--report", &to], "there are: quick, sync"),
        (
            "no such file",
            vec!["bench", "--scenario", "/nowhere.yaml", "--report", &to],
            "/nowhere.yaml: cannot be read",
        ),
        ("too large", vec!["bench", "--scenario", &huge, "--report", &to], "services: 4000000; give at most"),
        ("no run", vec!["report", "/proc/self"], "there is no run.json in it"),
    ] {
        let output = sheave(&arguments);
        assert_eq!(output.status.code(), Some(2), "case: {case}");
        assert!(said(&output).contains(want), "case: {case}: {}", said(&output));
    }
    assert!(!Path::new(&to).exists());
}

#[test]
fn everything_that_comes_with_it_is_listed() {
    let output = sheave(&["bench", "--list"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for name in ["quick", "sync", "lookup", "connect", "churn", "sheave-ebpf", "nft-single-map"] {
        assert!(text.contains(name), "{name}: {text}");
    }
}
