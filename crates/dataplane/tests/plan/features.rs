//! Every wish a Service can have is one step when it changes, and none while it does not (I2).
use crate::node::{NODE, Node, applied, number, pod, port, slice, want, web};
use sheave_core::{Affinity, Endpoint, Event, Protocol, Service, TrafficPolicy};
use sheave_dataplane::Fake;

/// One of each: both policies, every kind of frontend, affinity, source ranges.
fn everything() -> Service {
    let mut http = port("http", Protocol::Tcp, 80);
    http.node_port = Some(number(30080));
    Service {
        ports: vec![http],
        load_balancer_ips: vec![[203, 0, 113, 1].into()],
        external_ips: vec![[203, 0, 113, 2].into()],
        external_policy: TrafficPolicy::Local,
        affinity: Some(Affinity { timeout_s: 10_800 }),
        source_ranges: vec!["198.51.100.0/24".parse().expect("a CIDR")],
        ..web("10.96.0.1")
    }
}

fn slices() -> Event {
    let here = |n| Endpoint { node: Some(NODE.into()), ..pod(n) };
    slice("web", 80, vec![here(1), here(2), pod(3)])
}

#[test]
fn a_wish_that_changes_is_one_step() {
    type Edit = fn(&mut Service);
    let cases: [(&str, Edit, &[&str], &[&str]); 11] = [
        ("nothing", |_| {}, &[], &[]),
        ("only its age", |s| s.created_unix_s = 7, &[], &[]),
        ("E4", |s| s.internal_policy = TrafficPolicy::Local, &["serve web 4/3[2]"], &[]),
        ("E5", |s| s.external_policy = TrafficPolicy::Cluster, &["serve web 4/3"], &[]),
        ("E10: off", |s| s.affinity = None, &["serve web 4/3[2]"], &[]),
        ("E10: shorter", |s| s.affinity = Some(Affinity { timeout_s: 1 }), &["serve web 4/3[2]"], &[]),
        ("R8", |s| s.source_ranges.clear(), &["serve web 4/3[2]"], &[]),
        ("A4", |s| s.ports[0].node_port = Some(number(30081)), &["serve web 4/3[2]"], &["release 0.0.0.0:30080/tcp"]),
        ("A9", |s| s.ports[0].node_port = None, &[], &["release 0.0.0.0:30080/tcp"]),
        ("A7", |s| s.load_balancer_ips.clear(), &[], &["release 203.0.113.1:80/tcp"]),
        (
            "A10, R8: an external IP becomes an address of the load balancer",
            |s| s.load_balancer_ips.append(&mut s.external_ips),
            &["serve web 4/3[2]"],
            &[],
        ),
    ];
    for (case, edit, make, break_) in cases {
        let mut node = Node::new(Fake::default());
        node.steps([applied(everything()), slices()]);
        let mut edited = everything();
        edit(&mut edited);
        assert_eq!(node.steps([applied(edited.clone())]), want(make, break_), "case: {case}");
        assert_eq!(node.steps([applied(edited), slices()]), want(&[], &[]), "I2, case: {case}");
    }
}

#[test]
fn an_endpoint_matters_to_the_sets_it_is_in() {
    let here = |n| Endpoint { node: Some(NODE.into()), ..pod(n) };
    for (case, endpoints, make, break_) in [
        ("one elsewhere goes", vec![here(1), here(2)], &["serve web 4/2[2]"], &["retire 10.244.0.3:80 of web"][..]),
        ("one here goes", vec![here(1), pod(3)], &["serve web 4/2[1]"], &["retire 10.244.0.2:80 of web"]),
        ("one moves away", vec![here(1), pod(2), pod(3)], &["serve web 4/3[1]"], &[]),
        (
            "E2: the last ones here drain, others are ready",
            vec![drain(here(1)), drain(here(2)), pod(3)],
            &["serve web 4/1[2]"],
            &[],
        ),
    ] {
        let mut node = Node::new(Fake::default());
        node.steps([applied(everything()), slices()]);
        assert_eq!(node.steps([slice("web", 80, endpoints)]), want(make, break_), "case: {case}");
    }
}

fn drain(endpoint: Endpoint) -> Endpoint {
    Endpoint { ready: false, terminating: true, ..endpoint }
}
