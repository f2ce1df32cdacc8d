//! R1 to R5: who is masqueraded.
use crate::world::{NODE, OUTSIDE, POD, World, cidrs, ip, port, service, world};
use sheave_core::{DetectLocal, Protocol, Service, TrafficPolicy};

const CLUSTER_IP: &str = "10.96.0.1:80/tcp";
const NODE_PORT: &str = "192.168.0.1:30080/tcp";
const BALANCER: &str = "1.2.3.4:80/tcp";

fn web(external_policy: TrafficPolicy) -> World {
    let web = Service {
        ports: vec![port("http", Protocol::Tcp, 80, 30080)],
        load_balancer_ips: vec![ip("1.2.3.4")],
        external_policy,
        ..service("web", &["10.96.0.1"])
    };
    world().serving(web, 1)
}

fn masqueraded(world: &World, from: &str, to: &str) -> bool {
    let answer = world.ask(from, to);
    assert!(answer.starts_with("forward"), "{from} to {to}: {answer}");
    answer.ends_with("always")
}

/// Whether pod, node and outside are masqueraded.
fn all(world: &World, to: &str) -> [bool; 3] {
    [POD, NODE, OUTSIDE].map(|from| masqueraded(world, from, to))
}

#[test]
fn each_way_and_source_is_masqueraded_or_not() {
    use TrafficPolicy::{Cluster, Local};
    let no_detector = |world: World| world.config(|config| config.detect_local = DetectLocal::default());
    let everything = |world: World| world.config(|config| config.masquerade_all = true);
    for (case, world, cluster_ip, node_port, balancer) in [
        ("R1 R2", web(Cluster), [false, true, true], [true; 3], [true; 3]),
        ("R1 without a detector", no_detector(web(Cluster)), [false; 3], [true; 3], [true; 3]),
        ("R1 masqueradeAll", everything(web(Cluster)), [true; 3], [true; 3], [true; 3]),
        ("R1 both", everything(no_detector(web(Cluster))), [true; 3], [true; 3], [true; 3]),
        ("R3", web(Local), [false, true, true], [false, true, false], [false, true, false]),
        ("R3 without a detector", no_detector(web(Local)), [false; 3], [false, true, false], [false, true, false]),
        ("R1 R3 masqueradeAll", everything(web(Local)), [true; 3], [false, true, false], [false, true, false]),
    ] {
        let got = [CLUSTER_IP, NODE_PORT, BALANCER].map(|to| all(&world, to));
        assert_eq!(got, [cluster_ip, node_port, balancer], "{case}");
    }
}

#[test]
fn a_client_that_is_one_of_the_endpoints_is_masqueraded_when_it_picks_itself() {
    let world = web(TrafficPolicy::Cluster);
    assert_eq!(world.ask("10.0.1.1", CLUSTER_IP), "forward E1 [1.1 2.1] hairpin", "R4");
    assert_eq!(world.ask("10.0.1.2", CLUSTER_IP), "forward E1 [1.1 2.1]", "R4: another pod");
    assert_eq!(world.ask("10.0.1.1", BALANCER), "forward E1 [1.1 2.1] always", "R2 covers it");
    assert_eq!(web(TrafficPolicy::Local).ask("10.0.1.1", BALANCER), "forward E6 [1.1 2.1] hairpin", "R4 E6");
}

#[test]
fn pods_of_this_node_are_told_by_address_or_by_interface() {
    let detect = |detect| web(TrafficPolicy::Cluster).config(|config| config.detect_local = detect);
    let unmasqueraded = |world: &World, from, interface| !world.ask_by(from, CLUSTER_IP, interface).ends_with("always");
    let other = "10.0.2.9";
    for (case, detector, from, interface, want) in [
        ("ClusterCIDR", cidrs(&["10.0.0.0/16"]), POD, None, true),
        ("ClusterCIDR takes pods of other nodes", cidrs(&["10.0.0.0/16"]), other, None, true),
        ("ClusterCIDR, outside of it", cidrs(&["10.0.0.0/16"]), OUTSIDE, None, false),
        ("ClusterCIDR, the first of a family counts", cidrs(&["10.9.0.0/16", "10.0.0.0/16"]), POD, None, false),
        ("ClusterCIDR, after one of the other family", cidrs(&["fd10::/64", "10.0.0.0/16"]), POD, None, true),
        ("ClusterCIDR of the other family: no detector", cidrs(&["fd10::/64"]), OUTSIDE, None, true),
        ("NodeCIDR", DetectLocal::NodeCidr, POD, None, true),
        ("NodeCIDR, a pod elsewhere", DetectLocal::NodeCidr, other, None, false),
        ("BridgeInterface", DetectLocal::BridgeInterface("cni0".into()), POD, Some("cni0"), true),
        ("BridgeInterface, by another", DetectLocal::BridgeInterface("cni0".into()), POD, Some("cni01"), false),
        ("BridgeInterface, sent by the node", DetectLocal::BridgeInterface("cni0".into()), NODE, None, false),
        ("InterfaceNamePrefix", DetectLocal::InterfaceNamePrefix("veth".into()), POD, Some("veth12"), true),
        ("InterfaceNamePrefix, by another", DetectLocal::InterfaceNamePrefix("veth".into()), POD, Some("eth0"), false),
        ("InterfaceNamePrefix, sent by the node", DetectLocal::InterfaceNamePrefix("veth".into()), NODE, None, false),
    ] {
        assert_eq!(unmasqueraded(&detect(detector), from, interface), want, "R5 {case}");
    }
}
