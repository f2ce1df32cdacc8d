//! The socket entrance: every kind of frontend for the node, TCP and UDP, connected or not; and what pods' sockets leave to devices.
pub(crate) mod node;

use crate::NEEDS;
use crate::world::eventually;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};
use node::{Node, Web, exchange, ip, mapped, received, tcp_frontends, udp_frontends};
use serde_json::json;
use sheave_lab::probe::{Failure, Phase, Target};
use sheave_tests::kernel_or_skip;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;

/// Enough that one of two pods is missed once in 10^9 runs.
const REQUESTS: usize = 30;
const BOTH: &[&str] = &["near", "far"];

fn both() -> BTreeSet<String> {
    BOTH.iter().map(|&pod| pod.to_owned()).collect()
}

/// A1, A4, A6, A7, A10, E9: each has the node's address for the backend (R1 to R3), and the VIP for the client.
#[test]
fn the_node_reaches_every_kind_of_frontend_over_connected_sockets() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let node = Node::serving(&Web::on(BOTH));
    for of in [0, 1] {
        let targets = [tcp_frontends(of).map(Target::tcp), udp_frontends(of).map(Target::udp)].concat();
        for target in targets {
            let mut pods = BTreeSet::new();
            for _ in 0..REQUESTS {
                let answer = node.request(target).unwrap_or_else(|failure| panic!("{target}: {failure}"));
                assert_eq!(answer.dialled, target.addr, "{answer:?}");
                assert!(["172.30.0.1", "fd30::1"].map(ip).contains(&answer.peer.ip()), "{target}: {answer:?}");
                pods.insert(answer.pod);
            }
            assert_eq!(pods, both(), "{target}");
        }
    }
}

/// To connect to the wildcard address is to connect to loopback (A6).
#[test]
fn a_node_port_at_the_wildcard_address_is_that_of_loopback() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let node = Node::serving(&Web::on(BOTH));
    for (wildcard, loopback) in [("0.0.0.0:30080", "127.0.0.1:30080"), ("[::]:30080", "[::1]:30080")] {
        let answer = node.request(Target::tcp(wildcard.parse().unwrap())).unwrap();
        assert_eq!(answer.dialled.to_string(), loopback);
    }
}

/// E9: a socket that names the VIP with each datagram has one flow with it.
#[test]
fn datagrams_of_one_socket_to_one_vip_stay_on_one_backend_and_their_answers_come_from_the_vip() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let node = Node::serving(&Web::on(BOTH));
    let (v4, v6) = (IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED));
    let cases = [(v4, udp_frontends(0)), (v6, udp_frontends(1)), (v6, udp_frontends(0).map(mapped))];
    for (bound, vips) in cases {
        for vip in vips {
            let mut pods = BTreeSet::new();
            for _ in 0..REQUESTS {
                let socket = node.udp(bound);
                let answers: BTreeSet<_> = (0..4).map(|_| exchange(&socket, vip).unwrap()).collect();
                assert_eq!(answers.len(), 1, "{vip}: {answers:?}");
                let (from, pod) = answers.into_iter().next().unwrap();
                assert_eq!(from, vip);
                pods.insert(pod);
            }
            assert_eq!(pods, both(), "{vip}");
        }
    }
}

/// A connected socket takes answers from its peer only.
#[test]
fn a_connected_socket_that_names_its_vip_again_reaches_the_backend_it_is_connected_to() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let node = Node::serving(&Web::on(BOTH));
    for of in [0, 1] {
        for vip in udp_frontends(of) {
            for _ in 0..8 {
                let socket = node.udp(if of == 0 { ip("0.0.0.0") } else { ip("::") });
                socket.connect(vip).unwrap();
                assert_eq!(socket.peer_addr().unwrap(), vip);
                socket.send(b"ask 1 x\n").unwrap();
                let first = received(&socket).unwrap();
                assert_eq!(first.0, vip);
                assert_eq!(exchange(&socket, vip).unwrap(), first);
            }
        }
    }
}

/// Two VIPs, one backend, one socket: only one of the two may have the answers of that backend.
#[test]
fn a_second_vip_that_leads_to_the_same_backend_is_left_to_the_device() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let node = Node::serving(&Web::on(&["near"]));
    let [cluster_ip, external_ip, .., loopback] = udp_frontends(0);
    let socket = node.udp(ip("0.0.0.0"));
    assert_eq!(node.counted(|| assert_eq!(exchange(&socket, cluster_ip).unwrap().0, cluster_ip)), [1, 0, 0]);
    let declined = node.counted(|| {
        socket.send_to(b"ask 1 x\n", external_ip).unwrap();
    });
    assert_eq!(declined, [0, 0, 1], "the device gives it another source port");
    // No device sees this one: better the other VIP's name than no answer.
    let socket = node.udp(ip("0.0.0.0"));
    exchange(&socket, cluster_ip).unwrap();
    assert_eq!(exchange(&socket, loopback).unwrap().0, loopback);
}

/// E11, A2: at once, for what is not connected as well.
#[test]
fn what_has_no_endpoint_or_no_such_port_is_refused() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let node = Node::serving(&Web::on(&[]));
    for of in [0, 1] {
        let another_port = udp_frontends(of)[0];
        let udp = [&udp_frontends(of)[..], &[SocketAddr::new(another_port.ip(), 54)]].concat();
        for vip in udp {
            let socket = node.udp(if of == 0 { ip("0.0.0.0") } else { ip("::") });
            let refused = |result: io::Result<usize>| {
                assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionRefused, "{vip}");
            };
            let counted = node.counted(|| {
                refused(socket.send_to(b"x", vip));
                refused(socket.connect(vip).map(|()| 0));
            });
            assert_eq!(counted, [0, 2, 0], "{vip}");
        }
        for vip in tcp_frontends(of) {
            assert_eq!(node.request(Target::tcp(vip)), Err(Failure::Refused(Phase::Connect)), "{vip}");
        }
    }
}

/// L8: a connected socket is broken when its backend goes, and the next one reaches a living backend. L2: one that is not
/// connected goes on with another backend at once. What names a living backend is left alone.
#[test]
fn no_socket_of_the_node_stays_on_a_backend_that_is_gone() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let node = Node::serving(&Web::on(&["near"]));
    let vips = [udp_frontends(0), udp_frontends(1), udp_frontends(0).map(mapped)].concat();
    let bound = |vip: &SocketAddr| if vip.is_ipv4() { ip("0.0.0.0") } else { ip("::") };
    let connected = |vip: &SocketAddr| {
        let socket = node.udp(bound(vip));
        socket.connect(vip).unwrap();
        assert_eq!(exchange_connected(&socket).unwrap().1, "near", "{vip}");
        socket
    };
    let held: Vec<_> = vips.iter().map(|vip| (vip, connected(vip), node.udp(bound(vip)))).collect();
    for (vip, _, open) in &held {
        assert_eq!(exchange(open, **vip).unwrap(), (**vip, "near".to_owned()));
    }
    node.put(&Web::on(BOTH));
    node.put(&Web::on(&["far"]));
    node.until_answered_by(&["far"]);
    let others: Vec<_> = vips.iter().map(|vip| (vip, node.udp(bound(vip)))).collect();
    for (vip, other) in &others {
        other.connect(**vip).unwrap();
    }
    for (vip, broken, open) in &held {
        assert_eq!(exchange(open, **vip).unwrap(), (**vip, "far".to_owned()));
        eventually(&format!("the socket connected to {vip} is broken"), || {
            broken.take_error().unwrap().is_some_and(|error| error.raw_os_error() == Some(Errno::ECONNABORTED as i32))
        });
        broken.connect(**vip).unwrap();
        assert_eq!(exchange_connected(broken).unwrap(), (**vip, "far".to_owned()));
    }
    for (vip, other) in &others {
        assert_eq!(exchange_connected(other).unwrap(), (**vip, "far".to_owned()), "a living backend");
    }
}

fn exchange_connected(socket: &std::net::UdpSocket) -> io::Result<(SocketAddr, String)> {
    socket.send(b"ask 1 x\n")?;
    received(socket)
}

/// L6
#[test]
fn a_restart_of_the_agent_leaves_flows_of_sockets_where_they_are() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let mut node = Node::serving(&Web::on(BOTH));
    let vips = udp_frontends(0);
    let held: Vec<_> =
        vips.iter().flat_map(|vip| (0..4).map(move |_| vip)).map(|vip| (vip, node.udp(ip("0.0.0.0")))).collect();
    let before: Vec<_> = held.iter().map(|(vip, socket)| exchange(socket, **vip).unwrap()).collect();
    node.stop_agent();
    let without: Vec<_> = held.iter().map(|(vip, socket)| exchange(socket, **vip).unwrap()).collect();
    assert_eq!(without, before);
    node.start_agent();
    node.put(&Web { spec: json!({"sessionAffinity": "None"}), ..Web::on(BOTH) });
    node.until_answered_by(BOTH);
    let after: Vec<_> = held.iter().map(|(vip, socket)| exchange(socket, **vip).unwrap()).collect();
    assert_eq!(after, before);
}

/// R1, R2, E10: what may need a source of the node's, or the client's address, pods leave to the devices; their UDP altogether.
#[test]
fn pods_sockets_are_served_only_where_nothing_but_the_destination_changes() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let affinity = Web { spec: json!({"sessionAffinity": "ClientIP"}), ..Web::on(BOTH) };
    for (case, web, masquerade_all, cluster_ip) in [
        ("plain", Web::on(BOTH), false, [1, 0, 0]),
        ("affinity", affinity, false, [0, 0, 1]),
        ("masqueradeAll", Web::on(BOTH), true, [0, 0, 1]),
    ] {
        let node = Node::configured(&web, |config| config.kube_proxy.masquerade_all = masquerade_all);
        for of in [0, 1] {
            // A NodePort at loopback is none for a pod (A6): it has a loopback of its own.
            for (vip, want) in tcp_frontends(of).into_iter().zip([cluster_ip, [0, 0, 1], [0, 0, 1], [0, 0, 1]]) {
                let counted = node.counted(|| drop(node.request_of_pod(Target::tcp(vip))));
                assert_eq!(counted, want, "{case}: a pod dials {vip}");
            }
            for vip in udp_frontends(of) {
                assert_eq!(node.counted(|| drop(node.request_of_pod(Target::udp(vip)))), [0; 3], "{case}: {vip}/udp");
            }
        }
    }
}

/// What a bound socket sends from is not the route's choice.
#[test]
fn bound_sockets_are_served_where_no_device_sees_them_and_their_source_may_leave() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let node = Node::serving(&Web::on(BOTH));
    let [cluster_ip, .., own, loopback] = udp_frontends(0);
    for (source, vip, want) in [
        ("172.30.0.1", own, [1, 0, 0]),
        ("172.30.0.1", loopback, [1, 0, 0]),
        ("172.30.0.1", cluster_ip, [0, 0, 1]),
        ("127.0.0.1", own, [0, 0, 1]),
        ("127.0.0.1", loopback, [0, 0, 1]),
    ] {
        let socket = node.udp(ip(source));
        assert_eq!(node.counted(|| drop(socket.send_to(b"ask 1 x\n", vip))), want, "{source} sends to {vip}");
        assert_eq!(node.counted(|| drop(socket.connect(vip))), want, "{source} connects to {vip}");
        if want == [1, 0, 0] {
            assert_eq!(exchange_connected(&socket).unwrap().0, vip);
        }
    }
}

/// R8 for a LoadBalancer address that the node has itself; no device sees what it sends there.
#[test]
fn source_ranges_hold_for_the_node_at_its_own_addresses() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let own: SocketAddr = "172.30.0.1:80".parse().unwrap();
    let web = |range: &str| Web {
        ingress: vec!["172.30.0.1"],
        spec: json!({"loadBalancerSourceRanges": [range]}),
        ..Web::on(BOTH)
    };
    let node = Node::serving(&web("172.30.0.0/24"));
    assert_eq!(node.request(Target::tcp(own)).unwrap().dialled, own);
    node.put(&web("192.0.2.0/24"));
    let errno = || {
        let dial = move || {
            let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).unwrap();
            connect(socket.as_raw_fd(), &SockaddrStorage::from(own))
        };
        node.sandbox().run(dial).unwrap()
    };
    eventually("the node is outside of the ranges", || errno() == Err(Errno::EPERM));
    assert_eq!(node.counted(|| assert_eq!(errno(), Err(Errno::EPERM))), [0, 1, 0]);
}

/// E10: where the socket entrance has to serve, the node is one client.
#[test]
fn affinity_holds_for_the_node_at_its_own_addresses() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let node = Node::serving(&Web::on(BOTH));
    node.put(&Web { spec: json!({"sessionAffinity": "ClientIP"}), ..Web::on(BOTH) });
    let [cluster_ip, _, _, own, loopback] = tcp_frontends(0);
    eventually("affinity is in force", || node.counted(|| drop(node.request(Target::tcp(cluster_ip)))) == [0, 0, 1]);
    let pods: BTreeSet<_> = (0..REQUESTS)
        .map(|request| node.request(Target::tcp(if request % 2 == 0 { own } else { loopback })).unwrap().pod)
        .collect();
    assert_eq!(pods.len(), 1, "{pods:?}");
}
