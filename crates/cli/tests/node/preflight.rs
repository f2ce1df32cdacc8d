//! What `sheave check` proves on a node, and what the agent sets there.
use crate::NEEDS;
use crate::lab::{Lab, eventually};
use serde_json::Value;
use sheave_tests::kernel_or_skip;
use std::path::Path;
use std::process::Stdio;

/// The finding about the cgroup that the configuration names, or about the default one.
fn attachment(lab: &Lab, cgroup: Option<&Path>) -> (String, String) {
    let file = lab.files.path().join("check.yaml");
    let cgroup = cgroup.map(|path| format!("cgroup: {}\n", path.display())).unwrap_or_default();
    std::fs::write(&file, format!("apiVersion: sheave.dev/v1alpha1\nkind: SheaveConfiguration\n{cgroup}")).unwrap();
    let checked = lab.sheave(&["check", "-o", "json", "--config", file.to_str().unwrap()]);
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    let findings = checked["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["name"] == "cgroup-attachment").unwrap();
    (finding["level"].as_str().unwrap().to_owned(), finding["found"].as_str().unwrap().to_owned())
}

#[test]
fn check_tells_by_a_connect_whether_a_cgroup_is_above_a_process_and_by_its_id_whether_it_is_above_all() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let lab = Lab::new();
    let own = lab.node().cgroup().unwrap().path().to_owned();
    // Made for this test below the one of the whole lab, with nobody in it.
    let beside = own.with_file_name(format!("{}-beside", own.file_name().unwrap().to_str().unwrap()));
    std::fs::create_dir(&beside).unwrap();
    let told = [None, Some(&*own), Some(&*beside), Some(lab.files.path())].map(|cgroup| attachment(&lab, cgroup));
    std::fs::remove_dir(&beside).unwrap();
    for ((level, found), (want, part)) in told.iter().zip([
        ("ok", "the root of all cgroups, sees connect()"),
        ("warning", "not the root of all cgroups"),
        ("warning", "does not see a connect() of this process"),
        ("warning", "cannot tell whether"),
    ]) {
        assert!(level == want && found.contains(part), "{level}: {found:?} should be {want} and name {part:?}");
    }
}

/// H8. `nf_conntrack_max` is the machine's: it can be set from its first network namespace alone.
#[test]
fn the_agent_sets_connection_tracking_as_it_is_told_to_in_its_own_network_namespace() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let mut lab = Lab::new();
    let manifests = lab.manifests();
    let sysctl = |lab: &Lab, name: &'static str| {
        let read = move || std::fs::read_to_string(Path::new("/proc/sys/net/netfilter").join(name)).unwrap();
        lab.node().run(read).unwrap().trim().to_owned()
    };
    let here = || std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_udp_timeout").ok();
    let before = here();
    let options =
        ["--conntrack-udp-timeout=77s", "--conntrack-tcp-be-liberal", "--source", manifests.to_str().unwrap()];
    lab.spawn_agent(&options, Stdio::null());
    for (name, want) in [
        ("nf_conntrack_udp_timeout", "77"),
        ("nf_conntrack_tcp_be_liberal", "1"),
        ("nf_conntrack_tcp_timeout_established", "86400"),
        ("nf_conntrack_tcp_timeout_close_wait", "3600"),
    ] {
        eventually(name, || sysctl(&lab, name) == want);
    }
    assert_eq!(here(), before, "of another network namespace");
    lab.stop_agent();
}
