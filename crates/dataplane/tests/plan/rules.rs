//! What a change of the node plans: its rules in one step, and the Services it concerns, no others (A3, A5, A12, R8, W14).
use crate::node::{NODE, Node, applied, endpoints, pod, slice, want, web};
use sheave_core::{
    Endpoint, Event, Hints, NodePortAddresses, Object, ProxyConfig, Service, ServiceCidr, ServiceName, TrafficPolicy,
};
use sheave_dataplane::Fake;
use std::net::IpAddr;

fn node(zone: &str, addresses: &[&str]) -> Event {
    Event::Applied(Object::Node(sheave_core::Node {
        name: NODE.into(),
        zone: Some(zone.into()),
        addresses: addrs(addresses),
        pod_cidrs: Vec::new(),
        leaving: None,
    }))
}

fn addrs(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

fn local(addresses: &[&str]) -> Event {
    Event::LocalAddresses(addrs(addresses).into_iter().collect())
}

fn cidr(name: &str, cidr: &str) -> Event {
    let cidrs = vec![cidr.parse().expect("a CIDR")];
    Event::Applied(Object::ServiceCidr(ServiceCidr { name: name.into(), cidrs }))
}

/// `web` beside one that nothing of the node concerns.
fn world(service: Service, first: Endpoint) -> Vec<Event> {
    let other = Service { name: ServiceName::new("shop", "other"), ..web("10.96.0.2") };
    let slices = [slice("web", 80, vec![first, hinted(2, "zone-b")]), endpoints("other", &[7, 8])];
    [node("zone-a", &["192.0.2.1"]), applied(service), applied(other)].into_iter().chain(slices).collect()
}

fn hinted(n: u8, zone: &str) -> Endpoint {
    Endpoint { hints: Some(Hints { nodes: Vec::new(), zones: vec![zone.into()] }.into()), ..pod(n) }
}

fn check(case: &str, config: ProxyConfig, service: Service, after: Event, make: &[&str], break_: &[&str]) {
    let mut node = Node::with(config, Fake::default());
    node.steps(world(service, hinted(1, "zone-a")));
    assert_eq!(node.steps([after.clone()]), want(make, break_), "case: {case}");
    assert_eq!(node.steps([after]), want(&[], &[]), "W13: the same again, case: {case}");
}

#[test]
fn a_change_of_the_node_plans_its_rules_and_the_services_it_concerns() {
    let plain = || web("10.96.0.1");
    for (case, after, make, break_) in [
        ("A3: a ServiceCIDR drops, so it comes last", cidr("kubernetes", "10.96.0.0/16"), &[][..], &["rules"][..]),
        ("A5, E6: another address of the node", local(&["192.0.2.9"]), &["rules"], &[]),
        (
            "A12: a ClusterIP is an address of the node",
            local(&["10.96.0.1"]),
            &["rules"],
            &["release 10.96.0.1:80/tcp", "give back 10.96.0.1"],
        ),
        ("W14: another zone, and hints of it", node("zone-b", &["192.0.2.1"]), &["serve web 1/1+1"], &[]),
        ("E7: a zone nobody is meant for", node("zone-c", &["192.0.2.1"]), &["serve web 1/2"], &[]),
        ("A5: another primary address, and not the old one", node("zone-a", &["192.0.2.2"]), &["rules"], &["rules"]),
        ("nothing new", node("zone-a", &["192.0.2.1"]), &[], &[]),
    ] {
        check(case, ProxyConfig::default(), plain(), after, make, break_);
    }
}

#[test]
fn what_the_rules_take_away_waits_until_it_is_served_otherwise() {
    let mut node_a = Node::new(Fake::default());
    node_a.steps(world(web("10.96.0.1"), pod(1)));
    node_a.steps([local(&["10.96.0.1"]), cidr("kubernetes", "10.96.0.0/16")]);
    let back = node_a.steps([local(&[])]);
    assert_eq!(
        back,
        want(&["serve web 1/2", "claim 10.96.0.1"], &["rules"]),
        "A12, A3: not dropped before it is served"
    );
    let mut node_b = Node::new(Fake::default());
    node_b.steps(world(web("10.96.0.1"), pod(1)));
    node_b.steps([cidr("kubernetes", "10.0.0.0/8")]);
    let both = node_b.steps([cidr("kubernetes", "10.96.0.0/16")]);
    assert_eq!(both, want(&["rules"], &["rules"]), "A3: in between neither drops");
}

#[test]
fn a_change_of_zone_leaves_services_without_hints_alone() {
    let mut node_a = Node::new(Fake::default());
    node_a.steps(world(web("10.96.0.1"), pod(1)));
    // E7: one endpoint without a hint, so no hint counts.
    assert_eq!(node_a.steps([node("zone-b", &["192.0.2.1"])]), want(&[], &[]), "W14");
}

#[test]
fn another_primary_address_is_a_matter_of_services_with_source_ranges_only() {
    let ranges = |range: &str| Service {
        load_balancer_ips: addrs(&["203.0.113.1"]),
        source_ranges: vec![range.parse().expect("a CIDR")],
        ..web("10.96.0.1")
    };
    let moved = || node("zone-a", &["192.0.2.200"]);
    let now_outside = ranges("192.0.2.0/25");
    let config = ProxyConfig::default;
    check("R8: out of the range", config(), now_outside, moved(), &["rules", "serve web 2/1+1"], &["rules"]);
    check("R8: outside as before", config(), ranges("198.51.100.0/24"), moved(), &["rules"], &["rules"]);
}

#[test]
fn what_accepts_node_ports_follows_the_addresses_and_the_setting() {
    let accepted = |config: NodePortAddresses, event: Event| {
        let config = ProxyConfig { node_port_addresses: config, ..ProxyConfig::default() };
        let mut node_a = Node::with(config, Fake::default());
        node_a.steps([node("zone-a", &["192.0.2.1"])]);
        node_a.steps([event]);
        node_a.desired.rules().node_port_addrs.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let within = |cidr: &str| NodePortAddresses::Cidrs(vec![cidr.parse().expect("a CIDR")]);
    let second = || local(&["192.0.2.129"]);
    assert_eq!(accepted(NodePortAddresses::Primary, second()), ["192.0.2.1"], "A5");
    let v6 = ["::1"]; // No CIDR of IPv6: all its addresses.
    assert_eq!(accepted(within("192.0.2.0/25"), second()), [&["192.0.2.1"][..], &v6].concat(), "A5");
    assert_eq!(accepted(within("192.0.2.0/24"), second()), [&["192.0.2.1", "192.0.2.129"][..], &v6].concat(), "A5");
}

#[test]
fn rules_come_first_and_nothing_is_broken_in_a_round_in_which_they_failed() {
    // Steps of the start: the rules, two Services, two addresses; then the rules again.
    let mut node = Node::new(Fake::failing_at([5]));
    node.steps(world(Service { internal_policy: TrafficPolicy::Local, ..web("10.96.0.1") }, pod(1)));
    node.see([local(&["10.96.0.1"])]);
    let applied = node.sync();
    let failed: Vec<_> = applied.failed.iter().map(ToString::to_string).collect();
    assert_eq!(failed, ["rules of the node: step 5 fails on purpose; it is planned again at the next sync"]);
    assert!(applied.pending.rules && !applied.pending.frontends.is_empty() && applied.writes.ops == 1, "{applied:?}");
    let again = node.steps([]);
    assert_eq!(again, want(&["rules"], &["release 10.96.0.1:80/tcp", "give back 10.96.0.1"]), "I3");
}
