//! The binary on a node: what an operator does with it, and what befalls it.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod kubeadm;
mod lab;
mod logs;
mod pod;
mod preflight;
mod status;

use lab::{Lab, eventually, targets};
use serde_json::Value;
use sheave_core::{Realized as _, ServiceKey};
use sheave_lab::probe::{Caller, Load, Manner};
use sheave_tests::kernel_or_skip;
use std::collections::BTreeMap;
use std::time::Duration;

const NEEDS: &str = "making namespaces and loading kernel programs needs root";

fn ids(lab: &Lab) -> BTreeMap<ServiceKey, String> {
    let image = lab.image();
    let id = |key: &ServiceKey| {
        let id = image.id(key).unwrap();
        let entry = image.entry(id);
        format!("{id:?} {entry:?} {:?} {:?}", image.slots(entry.cluster), image.members(id))
    };
    image.keys().into_iter().map(|key| (key.clone(), id(&key))).collect()
}

/// I2, I5
#[test]
fn a_second_start_finds_the_pinned_maps_keeps_every_id_and_writes_nothing() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let mut lab = Lab::new();
    lab.start_agent();
    eventually("the first start writes", || lab.log().contains("\"synced\""));
    let before = ids(&lab);
    assert_eq!(before.len(), 2);
    lab.stop_agent();
    lab.start_agent();
    // A change proves that the agent has compared everything before; it is the only write of this start.
    lab.write_manifests(&["10.244.1.11", "10.244.1.12", "10.244.1.13"]);
    eventually("the change is written", || lab.log().contains("\"synced\""));
    let synced: Vec<Value> = lab
        .log()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["fields"]["message"] == "synced")
        .collect();
    // Two Service ports, each: the entry, the slot, the word.
    assert_eq!(synced.len(), 1, "{}", lab.log());
    assert_eq!(synced[0]["fields"]["writes"], 6, "{}", lab.log());
    assert_eq!(before.keys().collect::<Vec<_>>(), ids(&lab).keys().collect::<Vec<_>>());
    lab.write_manifests(&["10.244.1.11", "10.244.1.12"]);
    eventually("the change is taken back", || ids(&lab) == before);
}

#[test]
fn a_second_agent_beside_the_first_is_refused_and_so_is_cleanup() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let mut lab = Lab::new();
    lab.start_agent();
    let files = lab.manifests();
    let second = lab.sheave(&["agent", "--node", "node-a", "--source", files.to_str().unwrap()]);
    let cleanup = lab.sheave(&["cleanup"]);
    for refused in [second, cleanup] {
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains("another agent"), "{said}");
    }
    assert!(lab.has_pins());
    assert!(lab.client("client").request(targets()[1]).unwrap().is_ok());
}

/// L1, L6
#[test]
fn traffic_does_not_notice_an_agent_that_is_killed_and_a_new_pod_is_served_when_it_is_back() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let mut lab = Lab::new();
    lab.start_agent();
    let callers = targets().into_iter().flat_map(|target| {
        [Manner::Fresh, Manner::Held].map(|manner| Caller { client: lab.client("client"), target, manner })
    });
    let (load, samples) = Load::start(callers.collect(), Duration::from_millis(5)).unwrap();
    for _ in 0..3 {
        lab.kill_agent();
        lab.start_agent();
    }
    load.stop();
    let samples: Vec<_> = samples.iter().collect();
    let failed: Vec<_> = samples.iter().filter(|sample| sample.outcome.is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(samples.len() > 100, "{} requests prove nothing", samples.len());

    lab.cluster.add_pod("node-a", "late", &["10.244.1.101".parse().unwrap()]).unwrap();
    let late = lab.client("late");
    // UDP of a pod passes no socket of ours: its device has to be served.
    eventually("the new pod's device is served", || late.request(targets()[1]).unwrap().is_ok());
}

#[test]
fn dump_says_what_is_held_and_cleanup_leaves_nothing() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let mut lab = Lab::new();
    let empty: Value = serde_json::from_slice(&lab.sheave(&["dump", "-o", "json"]).stdout).unwrap();
    assert_eq!(empty["services"].as_array().unwrap().len(), 0);
    lab.start_agent();
    eventually("the Service is held", || ids(&lab).len() == 2);
    let dump: Value = serde_json::from_slice(&lab.sheave(&["dump", "-o", "json"]).stdout).unwrap();
    let http = &dump["services"].as_array().unwrap().iter().find(|s| s["service"] == "shop/web:http").unwrap();
    assert_eq!(http["frontends"][0], serde_json::json!({ "frontend": "10.96.0.10:80/tcp", "kind": "ClusterIP" }));
    assert_eq!(http["backends"].as_array().unwrap().len(), 2);
    let text = String::from_utf8(lab.sheave(&["dump", "--service", "shop/web"]).stdout).unwrap();
    assert!(text.contains("10.244.1.12:5353"), "{text}");

    lab.stop_agent();
    let cleaned = lab.sheave(&["cleanup"]);
    assert!(cleaned.status.success(), "{cleaned:?}");
    assert!(!lab.has_pins());
    for target in targets() {
        assert!(lab.client("client").request(target).unwrap().is_err(), "{target} is still served");
    }
    assert!(lab.sheave(&["cleanup"]).status.success(), "cleanup twice");
}

/// The issue of a file that breaks is told in tests of the source; here: the agent goes on serving what it read before.
#[test]
fn a_manifest_that_breaks_is_named_in_the_log_and_its_services_go_on() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let mut lab = Lab::new();
    lab.start_agent();
    eventually("the Service is held", || ids(&lab).len() == 2);
    let before = ids(&lab);
    std::fs::write(lab.manifests().join("web.yaml"), "kind: [Service\n").unwrap();
    eventually("the file is named", || lab.log().contains("diagnostic") && lab.log().contains("web.yaml"));
    assert_eq!(ids(&lab), before);
    lab.write_manifests(&["10.244.1.11"]);
    eventually("the diagnostic is gone", || lab.log().contains("diagnostic is gone"));
    eventually("the change is written", || ids(&lab) != before);
}
