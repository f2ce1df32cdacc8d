//! E: which endpoints, by policy and source.
use crate::world::{NODE, OUTSIDE, POD, World, cidrs, ip, node, port, service, slice, world};
use sheave_core::{
    Affinity, DetectLocal, Endpoint, EndpointSlice, Hints, Object, Protocol, Service, TrafficPolicy, decide,
};
use std::sync::Arc;

const ALL_WAYS: [&str; 4] = ["10.96.0.1:80/tcp", "192.168.0.1:30080/tcp", "1.2.3.4:80/tcp", "9.9.9.9:80/tcp"];

/// With a frontend of every kind.
fn web(internal_policy: TrafficPolicy, external_policy: TrafficPolicy) -> Service {
    Service {
        ports: vec![port("http", Protocol::Tcp, 80, 30080)],
        load_balancer_ips: vec![ip("1.2.3.4")],
        external_ips: vec![ip("9.9.9.9")],
        internal_policy,
        external_policy,
        ..service("web", &["10.96.0.1"])
    }
}

/// `web` with these endpoints.
fn with(internal: TrafficPolicy, external: TrafficPolicy, endpoints: &[(&str, &str)]) -> World {
    let web = web(internal, external);
    let slice = slice(&web, endpoints);
    world().with(Object::Service(web)).with(slice)
}

use TrafficPolicy::{Cluster, Local};
const HERE: (&str, &str) = ("10.0.1.1", "a");
const THERE: (&str, &str) = ("10.0.2.1", "b");

#[test]
fn internal_policy_local_governs_the_cluster_ip_alone() {
    for (case, internal, endpoints, cluster_ip, other) in [
        ("E1", Cluster, &[HERE, THERE][..], "forward E1 [1.1 2.1]", "forward E1 [1.1 2.1] always"),
        ("E4 one here", Local, &[HERE, THERE], "forward E4 [1.1]", "forward E1 [1.1 2.1] always"),
        ("E4 one elsewhere", Local, &[THERE], "drop E4", "forward E1 [2.1] always"),
        ("E1 one elsewhere", Cluster, &[THERE], "forward E1 [2.1]", "forward E1 [2.1] always"),
        ("E4 E11 none", Local, &[], "reject E11", "reject E11"),
        ("E11 none", Cluster, &[], "reject E11", "reject E11"),
    ] {
        let world = with(internal, Cluster, endpoints);
        assert_eq!(world.ask(POD, ALL_WAYS[0]), cluster_ip, "{case}");
        for to in &ALL_WAYS[1..] {
            assert_eq!(world.ask(OUTSIDE, to), other, "{case} {to}");
        }
    }
}

#[test]
fn external_policy_local_governs_the_other_frontends_by_source() {
    for (case, endpoints, outside, pod, node) in [
        ("both", &[HERE, THERE][..], "forward E5 [1.1]", "forward E6 [1.1 2.1]", "forward E6 [1.1 2.1] always"),
        ("E5 E6 none here", &[THERE], "drop E5", "forward E6 [2.1]", "forward E6 [2.1] always"),
        ("E11 none at all", &[], "reject E11", "reject E11", "reject E11"),
    ] {
        let world = with(Cluster, Local, endpoints);
        for to in &ALL_WAYS[1..] {
            for (from, want) in [(OUTSIDE, outside), (POD, pod), (NODE, node), ("192.168.0.2", node)] {
                assert_eq!(world.ask(from, to), want, "{case}: {from} to {to}");
            }
        }
        let cluster_ip = world.ask(POD, ALL_WAYS[0]);
        assert!(!cluster_ip.contains("E5") && !cluster_ip.contains("drop"), "{case}: E5 is not for ClusterIPs");
    }
}

#[test]
fn without_a_detector_pods_are_not_told_apart() {
    let world = with(Cluster, Local, &[HERE, THERE]).config(|config| config.detect_local = cidrs(&["fd10::/64"]));
    assert_eq!(world.ask(POD, ALL_WAYS[2]), "forward E5 [1.1]", "E6: no CIDR of the family");
    assert_eq!(world.ask(NODE, ALL_WAYS[2]), "forward E6 [1.1 2.1] always", "E6: the node is told by its address");
    let world = world.config(|config| config.detect_local = cidrs(&["10.0.1.0/24"]));
    assert_eq!(world.ask(POD, ALL_WAYS[2]), "forward E6 [1.1 2.1]", "E6");
}

/// kube-proxy asks its detector first as well.
#[test]
fn an_address_of_the_node_inside_the_pod_cidr_counts_as_a_pod() {
    let bridge = "10.0.1.254";
    let world = with(Cluster, Local, &[THERE]).with(node(&[NODE, bridge]));
    assert_eq!(world.ask(bridge, ALL_WAYS[2]), "forward E6 [2.1]", "E6 R5");
    let world = world.config(|config| config.detect_local = DetectLocal::InterfaceNamePrefix("veth".into()));
    assert_eq!(world.ask(bridge, ALL_WAYS[2]), "forward E6 [2.1] always", "E6: now it is the node");
}

#[test]
fn topology_narrows_the_cluster_set_of_every_way_and_never_the_local_one() {
    let web = web(Local, Cluster);
    let Object::EndpointSlice(slice) = slice(&web, &[HERE, THERE]) else { panic!("a slice") };
    let hinted = |zones: [&str; 2]| {
        let hint = |(endpoint, zone): (Endpoint, &str)| Endpoint {
            hints: Some(Arc::new(Hints { nodes: Vec::new(), zones: vec![zone.into()] })),
            ..endpoint
        };
        let endpoints = slice.endpoints.iter().cloned().zip(zones).map(hint).collect();
        let slice = EndpointSlice { endpoints, ..slice.clone() };
        world().with(Object::Service(web.clone())).with(Object::EndpointSlice(slice))
    };
    let (near, far) = (hinted(["y", "x"]), hinted(["y", "z"]));
    assert_eq!(near.ask(OUTSIDE, ALL_WAYS[2]), "forward E7 [2.1] always", "E7: node a is in zone x");
    let why = decide(&crate::world::packet(OUTSIDE, ALL_WAYS[2], None), &near.index, &near.config).why.join("; ");
    assert!(why.contains("only those meant for this node or zone"), "{why}");
    assert_eq!(far.ask(OUTSIDE, ALL_WAYS[2]), "forward E1 [1.1 2.1] always", "E7: none is meant for zone x");
    assert_eq!(near.ask(POD, ALL_WAYS[0]), "forward E4 [1.1]", "E2: topology does not matter");
}

#[test]
fn affinity_is_told_where_a_flow_is_forwarded() {
    let affinity = Some(Affinity { timeout_s: 60 });
    let on = world().serving(Service { affinity, ..web(Cluster, Cluster) }, 1);
    let off = world().serving(web(Cluster, Cluster), 1);
    let asked = |world: &World, to| decide(&crate::world::packet(POD, to, None), &world.index, &world.config).affinity;
    for to in ALL_WAYS {
        assert_eq!(asked(&on, to), affinity, "E10 {to}");
        assert_eq!(asked(&off, to), None, "E10 {to}");
    }
    let none = world().with(Object::Service(Service { affinity, ..web(Cluster, Cluster) }));
    assert_eq!(asked(&none, ALL_WAYS[0]), None, "E10: nothing to go to");
}

#[test]
fn the_endpoints_that_are_not_picked_are_told_with_the_reason() {
    let world = with(Local, Local, &[HERE, THERE]);
    let excluded = |world: &World, from, to| -> Vec<String> {
        let decision = decide(&crate::world::packet(from, to, None), &world.index, &world.config);
        decision.excluded.iter().map(|(backend, reason)| format!("{backend} {reason}")).collect()
    };
    assert_eq!(excluded(&world, OUTSIDE, ALL_WAYS[2]), ["10.0.2.1:8080 not local (E2)"]);
    assert_eq!(excluded(&world, POD, ALL_WAYS[2]), [""; 0], "E6: all of them");
    assert_eq!(excluded(&with(Local, Local, &[THERE]), OUTSIDE, ALL_WAYS[2]), ["10.0.2.1:8080 not local (E2)"], "drop");
}

#[test]
fn each_answer_says_why() {
    let why = |world: &World, from, to| {
        decide(&crate::world::packet(from, to, None), &world.index, &world.config).why.join("; ")
    };
    let (both, there, none): (&[_], &[_], &[_]) = (&[HERE, THERE], &[THERE], &[]);
    for (internal, external, endpoints, from, to, want) in [
        (Cluster, Cluster, none, POD, 0, "none of its endpoints is usable anywhere: rejected"),
        (
            Local,
            Cluster,
            there,
            POD,
            0,
            "internalTrafficPolicy is Local and no usable endpoint is on this node: dropped",
        ),
        (Local, Cluster, both, POD, 0, "internalTrafficPolicy is Local: only endpoints on this node"),
        (
            Cluster,
            Local,
            there,
            OUTSIDE,
            2,
            "externalTrafficPolicy is Local and no usable endpoint is on this node: dropped",
        ),
        (Cluster, Local, both, OUTSIDE, 2, "externalTrafficPolicy is Local: only endpoints on this node"),
        (Cluster, Local, both, NODE, 2, "but the node itself may go to all endpoints"),
        (Cluster, Local, both, POD, 2, "but a pod of this node may go to all endpoints"),
        (Cluster, Cluster, both, POD, 0, "10.96.0.1 is a ClusterIP of shop/web:http"),
        (Cluster, Cluster, both, POD, 1, "this is the NodePort of shop/web:http"),
    ] {
        let said = why(&with(internal, external, endpoints), from, ALL_WAYS[to]);
        assert!(said.contains(want), "{from} to {}: {said}", ALL_WAYS[to]);
    }
    let plain = why(&with(Cluster, Cluster, both), POD, ALL_WAYS[0]);
    assert_eq!(plain.matches(';').count(), 0, "nothing else to say: {plain}");
}
