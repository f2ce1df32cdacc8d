//! A lab whose process is killed leaves no namespace, and its cgroup goes with the next lab.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]
use sheave_lab::{Cluster, ProcessCgroup};
use sheave_tests::kernel_or_skip;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const NEEDS: &str = "making network namespaces needs root";
/// Set in the process that is to be killed.
const VICTIM: &str = "SHEAVE_LAB_VICTIM";
const ROLE: &str = "the_victim_builds_a_lab_and_waits";
const READY: &str = "lab in ";

fn victim() -> (Child, PathBuf) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", ROLE, "--nocapture"]).env(VICTIM, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = lines.map_while(Result::ok).filter_map(|line| Some(line.split_once(READY)?.1.to_owned()));
    let cgroup = told.next().expect("the victim says where its lab is");
    (child, cgroup.into())
}

/// The other process of the test below; on its own it does nothing.
#[test]
fn the_victim_builds_a_lab_and_waits() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let builder = Cluster::builder("victim");
    let cluster =
        builder.node("node-a", ["172.30.0.1".parse().unwrap()], ["10.180.0.0/24".parse().unwrap()]).build().unwrap();
    let cgroup = cluster.node("node-a").unwrap().sandbox().cgroup().unwrap().path();
    println!("\n{READY}{}", cgroup.display());
    // Until killed, or until the test that started this ends.
    let _ = std::io::stdin().lines().next();
}

#[test]
fn the_next_lab_removes_the_cgroups_of_a_killed_one_and_of_none_that_lives() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let (mut killed, killed_cgroup) = victim();
    let (mut living, living_cgroup) = victim();
    killed.kill().unwrap();
    killed.wait().unwrap();
    let scratch = |cgroup: &Path| cgroup.parent().unwrap().to_owned();
    let heir = ProcessCgroup::join("heir").unwrap();
    assert!(!scratch(&killed_cgroup).exists());
    assert!(living_cgroup.exists());
    living.kill().unwrap();
    living.wait().unwrap();
    drop(heir);
    drop(ProcessCgroup::join("heir").unwrap());
    assert!(!scratch(&living_cgroup).exists());
}
