//! The lab itself, with real sockets: what it says about a dataplane is worth what it says about none.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]
use sheave_lab::probe::{Client, Failure, Phase, Server, Target, Transport, has_sctp};
use sheave_lab::{Cluster, Sandbox};
use sheave_tests::kernel_or_skip;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const NEEDS: &str = "making network namespaces needs root";
const TIMEOUT: Duration = Duration::from_secs(5);
/// For requests that must not be answered.
const SHORT: Duration = Duration::from_millis(200);
const PORT: u16 = 8080;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Two nodes, two pods on the first and one on the second.
fn cluster() -> Cluster {
    let mut cluster = Cluster::builder("labtest")
        .node(
            "node-a",
            [ip("172.30.0.1"), ip("fd30::1")],
            ["10.180.0.0/24", "fd18:0::/64"].map(|net| net.parse().unwrap()),
        )
        .node(
            "node-b",
            [ip("172.30.0.2"), ip("fd30::2")],
            ["10.180.1.0/24", "fd18:0:0:1::/64"].map(|net| net.parse().unwrap()),
        )
        .build()
        .unwrap();
    for (node, pod, v4, v6) in [
        ("node-a", "a1", "10.180.0.1", "fd18::1"),
        ("node-a", "a2", "10.180.0.2", "fd18::2"),
        ("node-b", "b1", "10.180.1.1", "fd18:0:0:1::1"),
    ] {
        cluster.add_pod(node, pod, &[ip(v4), ip(v6)]).unwrap();
    }
    cluster
}

fn place<'a>(cluster: &'a Cluster, name: &str) -> (&'a Sandbox, &'a [IpAddr]) {
    match (cluster.node(name), cluster.pod(name)) {
        (Some(node), _) => (node.sandbox(), node.addrs()),
        (_, Some(pod)) => (pod.sandbox(), pod.addrs()),
        _ => panic!("no {name}"),
    }
}

/// Over TCP and UDP, and over SCTP where this kernel has it.
fn targets(addrs: &[IpAddr]) -> Vec<Target> {
    let mut protocols: Vec<fn(SocketAddr) -> Target> = vec![Target::tcp, Target::udp];
    protocols.extend(has_sctp().then_some(Target::sctp as fn(SocketAddr) -> Target));
    let all = |&addr| protocols.iter().map(move |target| target(SocketAddr::new(addr, PORT)));
    addrs.iter().flat_map(all).collect()
}

#[test]
fn every_pair_of_pods_and_nodes_reaches_the_other_under_its_own_address() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let cluster = cluster();
    for (from, to) in [
        ("a1", "a2"),
        ("a1", "b1"),
        ("b1", "a2"),
        ("node-a", "a1"),
        ("node-a", "b1"),
        ("a1", "node-a"),
        ("a1", "node-b"),
    ] {
        let (client, client_addrs) = place(&cluster, from);
        let (server, server_addrs) = place(&cluster, to);
        let server = Server::start(server, to, &targets(server_addrs)).unwrap();
        for &target in server.targets() {
            for payload in [0, 5000] {
                let case = format!("{from} to {to} at {target}, {payload} bytes");
                let outcome = Client::new(client, TIMEOUT).with_payload(payload).request(target).unwrap();
                let answer = outcome.unwrap_or_else(|failure| panic!("{case}: {failure}"));
                assert_eq!((answer.backend, answer.pod.as_str()), (target.addr, to), "case: {case}");
                assert!(client_addrs.contains(&answer.peer.ip()), "case: {case}, peer {}", answer.peer);
                assert_eq!(answer.dialled, target.addr, "case: {case}");
            }
        }
    }
}

#[test]
fn nobody_answers_for_an_address_that_is_nowhere() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let cluster = cluster();
    for from in ["a1", "node-a"] {
        let (client, _) = place(&cluster, from);
        for vip in ["10.96.0.1", "fd96::1", "10.180.0.200"] {
            for transport in [Transport::Tcp, Transport::Udp] {
                let target = Target { addr: SocketAddr::new(ip(vip), 443), transport };
                let outcome = Client::new(client, SHORT).request(target).unwrap();
                let unanswered =
                    matches!(outcome, Err(Failure::TimedOut(_) | Failure::Other { .. } | Failure::Unreachable(_)));
                assert!(unanswered, "{from} to {target}: {outcome:?}");
            }
        }
    }
}

#[test]
fn a_vip_leaves_a_node_by_its_uplink_and_is_dropped_by_the_fabric() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let cluster = cluster();
    let target = Target::tcp(SocketAddr::new(ip("10.96.0.1"), 443));
    let outcome = Client::new(cluster.node("node-a").unwrap().sandbox(), SHORT).request(target).unwrap();
    assert_eq!(outcome, Err(Failure::TimedOut(Phase::Connect)));
}

#[test]
fn a_stopped_server_resets_what_it_had_and_refuses_from_then_on() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let cluster = cluster();
    let (client, _) = place(&cluster, "a1");
    let (server, addrs) = place(&cluster, "b1");
    let client = Client::new(client, TIMEOUT);
    let server = Server::start(server, "b1", &targets(addrs)).unwrap();
    let targets = server.targets().to_vec();
    let mut held: Vec<_> = targets.iter().map(|&target| client.hold(target).unwrap().unwrap()).collect();
    assert!(held.iter_mut().all(|held| held.round_trip().is_ok()));
    server.stop();
    for (held, target) in held.iter_mut().zip(targets) {
        let (want_held, want_fresh) = match target.transport {
            Transport::Tcp | Transport::Sctp => (Failure::Reset(Phase::Exchange), Failure::Refused(Phase::Connect)),
            Transport::Udp => (Failure::Refused(Phase::Exchange), Failure::Refused(Phase::Exchange)),
        };
        assert_eq!(held.round_trip(), Err(want_held), "held, {target}");
        assert_eq!(client.request(target).unwrap(), Err(want_fresh), "fresh, {target}");
    }
}

#[test]
fn the_first_packet_over_a_fresh_wire_arrives() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for round in 0..20 {
        let cluster = cluster();
        let (server, addrs) = place(&cluster, "b1");
        let server = Server::start(server, "b1", &targets(addrs)).unwrap();
        let (client, _) = place(&cluster, "a2");
        for &target in server.targets().iter().filter(|target| target.transport == Transport::Udp) {
            // A lost datagram is not sent again, so nothing hides it.
            let outcome = Client::new(client, TIMEOUT).request(target).unwrap();
            assert!(outcome.is_ok(), "round {round}, {target}: {outcome:?}");
        }
    }
}
