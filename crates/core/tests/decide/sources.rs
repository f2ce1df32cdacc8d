//! R8: who may dial a LoadBalancer address.
use crate::world::{NODE, OUTSIDE, POD, World, ip, net, node, port, service, slice, world};
use sheave_core::{Object, Protocol, Service, TrafficPolicy};

const BALANCER: &str = "1.2.3.4:80/tcp";
const SERVED: &str = "forward E1 [1.1 2.1] always";

fn web(ranges: &[&str]) -> Service {
    Service {
        ports: vec![port("http", Protocol::Tcp, 80, 30080)],
        load_balancer_ips: vec![ip("1.2.3.4"), ip("5.6.7.8"), ip("2001:db8::4")],
        external_ips: vec![ip("9.9.9.9"), ip("5.6.7.8")],
        source_ranges: ranges.iter().map(|range| net(range)).collect(),
        ..service("web", &["10.96.0.1", "fd96::1"])
    }
}

fn with(ranges: &[&str]) -> World {
    let web = web(ranges);
    let six = slice(&web, &[("fd10::5", "a")]);
    world().serving(web, 1).with(six)
}

#[test]
fn sources_outside_all_ranges_are_dropped_at_balancer_addresses_only() {
    let world = with(&["203.0.113.0/25", "198.51.100.0/24"]);
    for (case, from, to, want) in [
        ("inside", OUTSIDE, BALANCER, SERVED),
        ("inside the second", "198.51.100.9", BALANCER, SERVED),
        ("outside", "203.0.113.130", BALANCER, "drop R8"),
        ("a pod", POD, BALANCER, "drop R8"),
        ("the node", NODE, BALANCER, "drop R8"),
        ("the address itself", "1.2.3.4", BALANCER, "drop R8"),
        ("A4 not a NodePort", "203.0.113.130", "192.168.0.1:30080/tcp", SERVED),
        ("not an external IP", "203.0.113.130", "9.9.9.9:80/tcp", SERVED),
        ("not a ClusterIP", "203.0.113.130", "10.96.0.1:80/tcp", "forward E1 [1.1 2.1] always"),
        ("balancer and external address in one", "203.0.113.130", "5.6.7.8:80/tcp", "drop R8"),
        ("A11 a port it has not", "203.0.113.130", "1.2.3.4:81/tcp", "pass A11"),
        ("only ranges of the other family", "2001:db8::9", "[2001:db8::4]:80/tcp", "forward E1 [fd10::5] always"),
    ] {
        assert_eq!(world.ask(from, to), want, "R8 {case}");
    }
}

#[test]
fn no_range_and_a_zero_range_allow_all() {
    assert_eq!(with(&[]).ask(OUTSIDE, BALANCER), SERVED, "R8");
    assert_eq!(with(&["198.51.100.0/24"]).ask(OUTSIDE, BALANCER), "drop R8");
    assert_eq!(with(&["198.51.100.0/24", "0.0.0.0/0"]).ask(OUTSIDE, BALANCER), SERVED, "R8 zero");
    assert_eq!(with(&["198.51.100.0/24", "::/0"]).ask(OUTSIDE, BALANCER), "drop R8", "R8 zero of the other family");
}

#[test]
fn with_the_node_inside_the_balancer_addresses_may_be_sources() {
    for (case, ranges, source, want) in [
        ("inside", &["192.168.0.1/32"][..], "1.2.3.4", SERVED),
        ("another of its addresses", &["192.168.0.1/32"], "5.6.7.8", SERVED),
        ("not inside", &["203.0.113.0/25"], "5.6.7.8", "drop R8"),
        ("only its second address inside", &["192.168.0.2/32"], "1.2.3.4", "drop R8"),
        ("an external IP is no balancer address", &["192.168.0.1/32"], "9.9.9.9", "drop R8"),
    ] {
        assert_eq!(with(ranges).ask(source, BALANCER), want, "R8 {case}");
    }
    let moved = with(&["192.168.0.1/32"]).with(node(&["192.168.0.2"]));
    assert_eq!(moved.ask("1.2.3.4", BALANCER), "drop R8", "R8 the node has another address now");
}

#[test]
fn the_ranges_come_before_everything_else() {
    let empty = world().with(Object::Service(web(&["203.0.113.0/25"])));
    assert_eq!(empty.ask(POD, BALANCER), "drop R8", "R8 before E11");
    assert_eq!(empty.ask(OUTSIDE, BALANCER), "reject E11");
    let local = Service { external_policy: TrafficPolicy::Local, ..web(&["203.0.113.0/25"]) };
    let elsewhere = slice(&local, &[("10.0.2.1", "b")]);
    let local = world().with(Object::Service(local)).with(elsewhere);
    assert_eq!(local.ask(POD, BALANCER), "drop R8", "R8 before E6");
    assert_eq!(local.ask(OUTSIDE, BALANCER), "drop E5");
}
