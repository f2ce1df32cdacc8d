//! The ipsets of kube-proxy's IPVS mode, in a network namespace of its own.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]
use sheave_lab::Sandbox;
use sheave_node::kube_proxy::sets;
use sheave_tests::kernel_or_skip;
use std::process::Command;

fn run(line: &str) -> String {
    let (tool, arguments) = line.split_once(' ').unwrap();
    let output = Command::new(tool).args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// H10
#[test]
fn sets_of_kube_proxy_go_and_those_stay_that_rules_look_at_or_that_others_have() {
    if !kernel_or_skip("it makes ipsets in a network namespace of its own") {
        return;
    }
    let node = Sandbox::new("ipsets").unwrap();
    let names = |sets: &[&str]| sets.iter().map(|set| (*set).to_owned()).collect::<Vec<_>>();
    node.run(move || {
        assert_eq!(sets::find().unwrap(), names(&[]), "none is there");
        run("ipset create KUBE-CLUSTER-IP hash:ip,port");
        run("ipset create KUBE-6-CLUSTER-IP hash:ip,port family inet6");
        run("ipset create KUBE-LOOP-BACK hash:ip,port,ip");
        run("ipset create KUBE-SRC-ABCDEFGHIJKLMNOP hash:ip");
        run("ipset add KUBE-CLUSTER-IP 10.96.0.10,udp:53");
        run("iptables-nft -A INPUT -m set --match-set KUBE-LOOP-BACK dst,dst,src -j ACCEPT");
        let found = sets::find().unwrap();
        assert_eq!(found, names(&["KUBE-6-CLUSTER-IP", "KUBE-CLUSTER-IP", "KUBE-LOOP-BACK"]));
        assert_eq!(sets::remove(&found).unwrap(), names(&["KUBE-LOOP-BACK"]), "a rule looks at it");
        run("iptables-nft -F INPUT");
        assert_eq!(sets::remove(&found).unwrap(), names(&[]), "those that are gone are no objection");
        assert_eq!(run("ipset list -n"), "KUBE-SRC-ABCDEFGHIJKLMNOP\n");
    })
    .unwrap();
}
