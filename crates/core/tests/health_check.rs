//! What load balancers are told of this node (H3), and which Services nobody reaches through it (H7).
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
use sheave_core::health_check::listen_addresses;
use sheave_core::{
    Changed, Desired, Direction, Endpoint, EndpointSlice, Event, Family, HealthCheck, HealthChecks, Index,
    NoLocalEndpoints, NodePortAddresses, Object, Port, Protocol, Service, ServiceName, ServicePort, SliceName,
    SlicePort, TrafficPolicy,
};
use std::collections::BTreeSet;
use std::net::IpAddr;

const HERE: &str = "node-a";

fn web() -> Service {
    let port = |name: &str, node_port| ServicePort {
        name: name.into(),
        protocol: Protocol::Tcp,
        port: Port::new(80).unwrap(),
        node_port: Port::new(node_port),
    };
    Service {
        cluster_ips: vec!["10.96.0.1".parse().unwrap(), "fd96::1".parse().unwrap()],
        ports: vec![port("http", 30080), port("admin", 30081)],
        external_policy: TrafficPolicy::Local,
        health_check_node_port: Port::new(31000),
        ..Service::new(ServiceName::new("shop", "web"))
    }
}

/// `ready@here`, `terminating@there`, `unready`: state and node.
fn endpoint((addr, text): &(&str, &str)) -> Endpoint {
    let (state, node) = text.split_once('@').unwrap_or((text, ""));
    let node = match node {
        "here" => Some(HERE.into()),
        "there" => Some("node-b".into()),
        _ => None,
    };
    let (ready, serving, terminating) = match state {
        "ready" => (true, true, false),
        "published" => (true, true, true),
        "terminating" => (false, true, true),
        _ => (false, false, false),
    };
    Endpoint { ready, serving, terminating, node, ..Endpoint::ready(addr.parse().unwrap()) }
}

/// A slice of the ports of these names.
fn slice(name: &str, family: Family, ports: &[&str], endpoints: &[(&str, &str)]) -> EndpointSlice {
    let port =
        |name: &&str| SlicePort { name: (*name).into(), protocol: Protocol::Tcp, port: Port::new(8080).unwrap() };
    EndpointSlice {
        name: SliceName::new("shop", name),
        service: ServiceName::new("shop", "web"),
        family,
        ports: ports.iter().map(port).collect(),
        endpoints: endpoints.iter().map(endpoint).collect(),
    }
}

fn index(service: Service, slices: &[EndpointSlice]) -> Index {
    let mut index = Index::new(HERE);
    index.apply(Event::Applied(Object::Service(service)));
    slices.iter().for_each(|slice| index.apply(Event::Applied(Object::EndpointSlice(slice.clone()))));
    index
}

#[test]
fn h3_ready_endpoints_of_this_node_count_once_each() {
    let v4 = |ports: &[&str], endpoints: &[(&str, &str)]| slice("one", Family::V4, ports, endpoints);
    let both = &["http", "admin"];
    for (name, slices, want) in [
        ("none", vec![], 0),
        ("here", vec![v4(both, &[("10.0.0.1", "ready@here")])], 1),
        ("elsewhere", vec![v4(both, &[("10.0.0.1", "ready@there"), ("10.0.0.2", "ready")])], 0),
        ("not ready", vec![v4(both, &[("10.0.0.1", "down@here")])], 0),
        ("terminating ones do not count", vec![v4(both, &[("10.0.0.1", "terminating@here")])], 0),
        ("E3: ready is ready", vec![v4(both, &[("10.0.0.1", "published@here")])], 1),
        ("two", vec![v4(both, &[("10.0.0.1", "ready@here"), ("10.0.0.2", "ready@here")])], 2),
        (
            "one address in two slices",
            vec![
                v4(&["http"], &[("10.0.0.1", "ready@here")]),
                slice("two", Family::V4, &["admin"], &[("10.0.0.1", "ready@here")]),
            ],
            1,
        ),
        (
            "W9: what runs beats what terminates",
            vec![
                v4(both, &[("10.0.0.1", "published@here")]),
                slice("two", Family::V4, both, &[("10.0.0.1", "down@here")]),
            ],
            0,
        ),
        ("a port the Service does not have", vec![v4(&["other"], &[("10.0.0.1", "ready@here")])], 0),
        (
            "a pod with an address of each family",
            vec![v4(both, &[("10.0.0.1", "ready@here")]), slice("two", Family::V6, both, &[("fd10::1", "ready@here")])],
            1,
        ),
    ] {
        let index = index(web(), &slices);
        let mut checks = HealthChecks::default();
        let everything = Changed { services: index.names(), node: true };
        let want = HealthCheck { port: Port::new(31000).unwrap(), local_endpoints: want };
        assert_eq!(checks.update(&index, &everything), [(web().name, Some(want))], "case: {name}");
        assert_eq!(checks.update(&index, &everything), [], "case: {name}: nothing differs any more");
    }
}

#[test]
fn h3_a_check_comes_moves_and_goes_with_its_service() {
    let (mut index, mut checks) = (Index::new(HERE), HealthChecks::default());
    let mut apply = |service: Service| {
        index.apply(Event::Applied(Object::Service(service)));
        let changed = index.take_changed();
        checks.update(&index, &changed).into_iter().map(|(_, check)| check.map(|check| check.port.get())).collect()
    };
    for (name, service, want) in [
        ("without a port", Service { health_check_node_port: None, ..web() }, vec![]),
        ("with one", web(), vec![Some(31000)]),
        ("another label", Service { created_unix_s: 7, ..web() }, vec![]),
        ("another port", Service { health_check_node_port: Port::new(31001), ..web() }, vec![Some(31001)]),
        ("policy Cluster", Service { external_policy: TrafficPolicy::Cluster, ..web() }, vec![None]),
        ("and back", web(), vec![Some(31000)]),
    ] {
        let got: Vec<Option<u16>> = apply(service);
        assert_eq!(got, want, "case: {name}");
    }
}

#[test]
fn h3_a5_checks_listen_where_node_ports_are_accepted() {
    let cidrs = |texts: &[&str]| NodePortAddresses::Cidrs(texts.iter().map(|text| text.parse().unwrap()).collect());
    let addrs = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<BTreeSet<IpAddr>>();
    let own = addrs(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    for (name, config, accepted, want) in [
        (
            "primary",
            NodePortAddresses::Primary,
            addrs(&["192.0.2.1", "2001:db8::1"]),
            addrs(&["192.0.2.1", "2001:db8::1"]),
        ),
        ("a primary one that no device has", NodePortAddresses::Primary, addrs(&["198.51.100.1"]), addrs(&[])),
        (
            "no CIDR of a family",
            cidrs(&["192.0.2.2/32"]),
            addrs(&["192.0.2.2", "2001:db8::1", "::1"]),
            addrs(&["192.0.2.2", "::"]),
        ),
        ("a zero CIDR", cidrs(&["0.0.0.0/0", "2001:db8::1/128"]), own.clone(), addrs(&["0.0.0.0", "2001:db8::1"])),
        ("everything", cidrs(&["0.0.0.0/0", "::/0"]), own.clone(), addrs(&["0.0.0.0", "::"])),
        ("loopback", cidrs(&["127.0.0.0/8", "2001:db8:1::/48"]), addrs(&["127.0.0.1"]), addrs(&["127.0.0.1"])),
    ] {
        assert_eq!(listen_addresses(&config, &accepted, &own), want, "case: {name}");
    }
}

#[test]
fn h7_a_service_is_counted_where_its_policy_is_local_and_its_endpoints_are_elsewhere() {
    let there = &[("10.0.0.1", "ready@there")];
    let here = &[("10.0.0.1", "ready@here")];
    let both = &["http", "admin"];
    let local = || Service { internal_policy: TrafficPolicy::Local, ..web() };
    let inside_only = || {
        let ports = web().ports.into_iter().map(|port| ServicePort { node_port: None, ..port }).collect();
        Service { ports, ..local() }
    };
    for (name, service, endpoints, want) in [
        ("external", web(), there.as_slice(), [0, 1]),
        ("both", local(), there, [1, 1]),
        ("an endpoint here", local(), here, [0, 0]),
        ("no endpoint anywhere", local(), &[], [0, 0]),
        ("E2: a draining one is as good as one here", local(), &[("10.0.0.1", "terminating@here")], [0, 0]),
        ("nothing outside asks", inside_only(), there, [1, 0]),
        ("Cluster", Service { external_policy: TrafficPolicy::Cluster, ..web() }, there, [0, 0]),
    ] {
        let mut index = index(service, &[slice("one", Family::V4, both, endpoints)]);
        let mut desired = Desired::default();
        let changed = index.take_changed();
        let touched = desired.update(&index, &changed);
        let mut no_local = NoLocalEndpoints::default();
        no_local.update(&desired, &touched.keys);
        let counts =
            |no_local: &NoLocalEndpoints, family| Direction::ALL.map(|direction| no_local.count(family, direction));
        assert_eq!(counts(&no_local, Family::V4), want, "case: {name}");
        assert_eq!(counts(&no_local, Family::V6), [0, 0], "case: {name}: no endpoint of the family");
        index.apply(Event::Deleted(sheave_core::ObjectName::Service(web().name)));
        let changed = index.take_changed();
        let touched = desired.update(&index, &changed);
        no_local.update(&desired, &touched.keys);
        assert_eq!(counts(&no_local, Family::V4), [0, 0], "case: {name}: gone with the Service");
    }
}
