//! A: which addresses accept traffic, and what becomes of the rest.
use crate::world::{NODE, OUTSIDE, POD, World, ip, net, node, port, service, service_cidr, slice, world};
use sheave_core::{Event, NodePortAddresses, Protocol, Service};
use std::collections::BTreeSet;

fn check(world: &World, cases: &[(&str, &str, &str, &str)]) {
    for (case, from, to, want) in cases {
        assert_eq!(world.ask(from, to), *want, "case {case}: {from} to {to}");
    }
}

fn cluster_ip() -> World {
    world().serving(service("web", &["10.96.0.1"]), 1).with(service_cidr(&["10.96.0.0/16", "fd96::/112"]))
}

#[test]
fn a_cluster_ip_is_served_on_its_ports_and_rejected_on_others_and_a_free_one_is_dropped() {
    check(
        &cluster_ip(),
        &[
            ("A1", POD, "10.96.0.1:80/tcp", "forward E1 [1.1 2.1]"),
            ("A2 another port", POD, "10.96.0.1:81/tcp", "reject A2"),
            ("A2 another protocol", POD, "10.96.0.1:80/udp", "reject A2"),
            ("A2 echo", POD, "10.96.0.1/icmp", "reject A2"),
            ("A2 port 0", POD, "10.96.0.1:0/tcp", "reject A2"),
            ("A2 the node's own", NODE, "10.96.0.1:81/tcp", "reject A2"),
            ("A3 no Service has it", POD, "10.96.0.2:80/tcp", "drop A3"),
            ("A3 echo", POD, "10.96.0.2/icmp", "drop A3"),
            ("A3 IPv6", POD, "[fd96::7]:80/tcp", "drop A3"),
            ("A15 outside of the ServiceCIDR", POD, "10.97.0.2:80/tcp", "pass A15"),
            ("A15 echo", POD, "10.97.0.2/icmp", "pass A15"),
        ],
    );
    let mut gone = cluster_ip();
    gone.index.apply(Event::Deleted(sheave_core::ObjectName::ServiceCidr("kubernetes".into())));
    check(&gone, &[("A3 no ServiceCIDR", POD, "10.96.0.2:80/tcp", "pass A15")]);
}

#[test]
fn a_rejected_or_dropped_packet_says_whose_the_address_is() {
    let world = cluster_ip();
    let decide = |to| sheave_core::decide(&crate::world::packet(POD, to, None), &world.index, &world.config);
    let (rejected, echo, dropped) = (decide("10.96.0.1:81/udp"), decide("10.96.0.1/icmp"), decide("10.96.0.2:80/tcp"));
    assert_eq!(rejected.service.unwrap().to_string(), "shop/web", "A2: without a port, which it has not");
    assert_eq!(rejected.frontend.unwrap().to_string(), "10.96.0.1:81/udp");
    assert_eq!((echo.service.unwrap().to_string(), echo.frontend), ("shop/web".to_owned(), None));
    assert_eq!((dropped.service, dropped.frontend.unwrap().to_string()), (None, "10.96.0.2:80/tcp".to_owned()));
    let (held, passed) = (decide("10.96.0.1:80/tcp"), decide("10.97.0.2:80/tcp"));
    assert_eq!(held.service.unwrap().to_string(), "shop/web:http");
    assert_eq!((passed.service, passed.frontend), (None, None));
}

fn node_port() -> Service {
    Service { ports: vec![port("http", Protocol::Tcp, 80, 30080)], ..service("web", &["10.96.0.1", "fd96::1"]) }
}

#[test]
fn a_node_port_is_served_at_accepted_addresses_of_the_node() {
    let web = node_port();
    let six = slice(&web, &[("fd10::5", "a")]);
    let list = |cidrs: &[&str]| NodePortAddresses::Cidrs(cidrs.iter().map(|cidr| net(cidr)).collect());
    let at = |addresses: NodePortAddresses| {
        world().serving(web.clone(), 1).with(six.clone()).config(|c| c.node_port_addresses = addresses)
    };
    let (both, six) = ("forward E1 [1.1 2.1] always", "forward E1 [fd10::5] always");
    for (case, addresses, first, second, v6, loopback) in [
        ("primary", NodePortAddresses::Primary, both, "pass A5", six, "pass A5"),
        ("a list, and no CIDR of the other family", list(&["192.168.0.2/32"]), "pass A5", both, six, "pass A5"),
        ("everything", list(&["0.0.0.0/0"]), both, both, six, both),
        ("loopback only", list(&["127.0.0.0/8"]), "pass A5", "pass A5", six, both),
        ("only of the other family", list(&["fd01::/64"]), both, both, "pass A5", both),
    ] {
        let world = at(addresses);
        check(
            &world,
            &[
                (case, OUTSIDE, "192.168.0.1:30080/tcp", first),
                (case, OUTSIDE, "192.168.0.2:30080/tcp", second),
                (case, "2001:db8::9", "[fd00::1]:30080/tcp", v6),
                (case, NODE, "127.0.0.1:30080/tcp", loopback),
                (case, "127.0.0.1", "127.0.0.1:30080/tcp", loopback),
                ("A4 another port", OUTSIDE, "192.168.0.1:30081/tcp", "pass A15"),
                ("A4 another protocol", OUTSIDE, "192.168.0.1:30080/udp", "pass A15"),
                ("A4 no address of the node", OUTSIDE, "192.168.9.1:30080/tcp", "pass A15"),
            ],
        );
    }
    let all = at(list(&["0.0.0.0/0"]));
    check(&all, &[("A6 never from outside", OUTSIDE, "127.0.0.1:30080/tcp", "pass A6")]);
    check(&all, &[("A6 IPv6 loopback", "::1", "[::1]:30080/tcp", six)]);
}

#[test]
fn the_primary_address_is_the_first_of_its_family_and_others_of_the_devices_are_followed() {
    let mut world = world().serving(node_port(), 1).with(node(&["192.168.0.2", NODE]));
    let both = "forward E1 [1.1 2.1] always";
    check(
        &world,
        &[("A5", OUTSIDE, "192.168.0.2:30080/tcp", both), ("A5", OUTSIDE, "192.168.0.1:30080/tcp", "pass A5")],
    );
    world.index.apply(Event::LocalAddresses(BTreeSet::from([ip("192.168.7.7")])));
    check(&world, &[("A5 not primary", OUTSIDE, "192.168.7.7:30080/tcp", "pass A5")]);
    world.config.node_port_addresses = NodePortAddresses::Cidrs(vec![net("192.168.7.0/24")]);
    check(&world, &[("A5 found on a device", OUTSIDE, "192.168.7.7:30080/tcp", both)]);
    world.index.apply(Event::LocalAddresses(BTreeSet::new()));
    check(&world, &[("A5 gone again", OUTSIDE, "192.168.7.7:30080/tcp", "pass A15")]);
}

#[test]
fn a_service_without_a_node_port_or_balancer_address_has_neither() {
    let none = Service { ports: vec![port("http", Protocol::Tcp, 80, 0)], ..node_port() };
    let world = world().serving(none, 1);
    check(&world, &[("A9", OUTSIDE, "192.168.0.1:30080/tcp", "pass A15")]);
}

#[test]
fn balancer_and_external_addresses_are_served_on_their_ports_and_left_alone_on_others() {
    let balanced = Service {
        load_balancer_ips: vec![ip("1.2.3.4"), ip("5.6.7.8")],
        external_ips: vec![ip("9.9.9.9")],
        ..service("web", &["10.96.0.1"])
    };
    let world = world().serving(balanced, 1);
    let both = "forward E1 [1.1 2.1] always";
    check(
        &world,
        &[
            ("A7", OUTSIDE, "1.2.3.4:80/tcp", both),
            ("A7 each of them", POD, "5.6.7.8:80/tcp", both),
            ("A10", OUTSIDE, "9.9.9.9:80/tcp", both),
            ("A11 balancer, another port", OUTSIDE, "1.2.3.4:81/tcp", "pass A11"),
            ("A11 external, another port", OUTSIDE, "9.9.9.9:81/tcp", "pass A11"),
            ("A11 echo", OUTSIDE, "1.2.3.4/icmp", "pass A11"),
        ],
    );
    let off = world.config(|config| config.external_ips = false);
    check(
        &off,
        &[("A10 turned off", OUTSIDE, "9.9.9.9:80/tcp", "pass A10"), ("A7 stays", OUTSIDE, "1.2.3.4:80/tcp", both)],
    );
}

#[test]
fn an_address_that_the_balancer_passes_itself_is_not_served() {
    let with = |load_balancer_ips, proxied_ips| {
        world().serving(Service { load_balancer_ips, proxied_ips, ..service("web", &["10.96.0.1"]) }, 1)
    };
    let (vip, proxied) = (with(vec![ip("1.2.3.4")], vec![]), with(vec![], vec![ip("1.2.3.4")]));
    check(&vip, &[("A7", OUTSIDE, "1.2.3.4:80/tcp", "forward E1 [1.1 2.1] always")]);
    check(&proxied, &[("A8", OUTSIDE, "1.2.3.4:80/tcp", "pass A8"), ("A8", OUTSIDE, "1.2.3.5:80/tcp", "pass A15")]);
}

#[test]
fn an_address_inside_the_service_cidr_is_dropped_on_ports_it_has_not_whatever_its_kind() {
    let balanced = Service { load_balancer_ips: vec![ip("10.96.7.7")], ..service("web", &["10.96.0.1"]) };
    let world = world().serving(balanced, 1).with(service_cidr(&["10.96.0.0/16"]));
    check(
        &world,
        &[
            ("A7", OUTSIDE, "10.96.7.7:80/tcp", "forward E1 [1.1 2.1] always"),
            ("A3", OUTSIDE, "10.96.7.7:81/tcp", "drop A3"),
        ],
    );
}

#[test]
fn a_cluster_ip_that_is_an_address_of_the_node_is_not_translated() {
    let mut world = cluster_ip();
    world.index.apply(Event::LocalAddresses(BTreeSet::from([ip("10.96.0.1"), ip("169.254.20.10")])));
    check(
        &world,
        &[
            ("A12", POD, "10.96.0.1:80/tcp", "pass A12"),
            ("A12 comes before A2", POD, "10.96.0.1:81/tcp", "pass A12"),
            ("A12 comes before A3", POD, "10.96.0.1/icmp", "pass A12"),
            ("A15 an address of the node", POD, "169.254.20.10:53/udp", "pass A15"),
        ],
    );
    world.index.apply(Event::LocalAddresses(BTreeSet::new()));
    check(&world, &[("A12 no more", POD, "10.96.0.1:80/tcp", "forward E1 [1.1 2.1]")]);
}

#[test]
fn nobody_takes_over_a_cluster_ip_that_is_an_address_of_the_node() {
    let thief = Service {
        external_ips: vec![ip("10.96.0.1")],
        load_balancer_ips: vec![ip("10.96.0.1")],
        ports: vec![port("http", Protocol::Tcp, 80, 30080), port("more", Protocol::Tcp, 81, 0)],
        ..service("thief", &["10.96.0.2"])
    };
    let everywhere = NodePortAddresses::Cidrs(vec![net("0.0.0.0/0")]);
    let mut world = cluster_ip().serving(thief, 2).config(|config| config.node_port_addresses = everywhere);
    world.index.apply(Event::LocalAddresses(BTreeSet::from([ip("10.96.0.1")])));
    check(
        &world,
        &[
            ("A12 X1", POD, "10.96.0.1:80/tcp", "pass A12"),
            ("A12 X1 another port", POD, "10.96.0.1:81/tcp", "pass A12"),
            ("A12 A4 not even a NodePort", POD, "10.96.0.1:30080/tcp", "pass A12"),
            ("A4 elsewhere", OUTSIDE, "192.168.0.1:30080/tcp", "forward E1 [1.2 2.2] always"),
        ],
    );
    world.index.apply(Event::LocalAddresses(BTreeSet::new()));
    check(
        &world,
        &[
            ("X1", POD, "10.96.0.1:80/tcp", "forward E1 [1.1 2.1]"),
            ("X2 a port the ClusterIP has not", POD, "10.96.0.1:81/tcp", "forward E1 [1.2 2.2] always"),
        ],
    );
}

#[test]
fn a_port_number_may_serve_several_protocols_with_targets_of_their_own() {
    let dns = Service {
        ports: vec![port("a", Protocol::Tcp, 53, 0), port("b", Protocol::Udp, 53, 0), port("c", Protocol::Sctp, 53, 0)],
        ..service("dns", &["10.96.0.1"])
    };
    let two = Service { ports: dns.ports[..2].to_vec(), ..dns.clone() };
    let (all, fewer) = (world().serving(dns, 1), world().serving(two, 1));
    for protocol in ["tcp", "udp", "sctp"] {
        assert_eq!(all.ask(POD, &format!("10.96.0.1:53/{protocol}")), "forward E1 [1.1 2.1]", "A13 {protocol}");
    }
    assert_eq!(fewer.ask(POD, "10.96.0.1:53/sctp"), "reject A2", "A13: it has no such port");
}

#[test]
fn a_family_without_a_cluster_ip_has_no_frontend_of_any_kind() {
    let both = Service {
        load_balancer_ips: vec![ip("1.2.3.4"), ip("2001:db8::4")],
        ports: vec![port("http", Protocol::Tcp, 80, 30080)],
        ..service("web", &["10.96.0.1", "fd96::1"])
    };
    let one = Service { cluster_ips: vec![ip("10.96.0.1")], ..both.clone() };
    let six = slice(&both, &[("fd10::5", "a")]);
    let (both, one) = (world().serving(both, 1).with(six.clone()), world().serving(one, 1).with(six));
    for to in ["[2001:db8::4]:80/tcp", "[fd00::1]:30080/tcp"] {
        assert_eq!(both.ask("2001:db8::9", to), "forward E1 [fd10::5] always", "A16 {to}");
        assert_eq!(one.ask("2001:db8::9", to), "pass A16", "A16 {to}: no ClusterIP of the family");
    }
    assert_eq!(one.ask("2001:db8::9", "[2001:db8::4]:81/tcp"), "pass A11", "A11");
    assert_eq!(one.ask("2001:db8::9", "[fd00::1]:30081/tcp"), "pass A15", "A15");
    assert_eq!(one.ask(OUTSIDE, "1.2.3.4:80/tcp"), "forward E1 [1.1 2.1] always", "A14: the other family stands");
}
