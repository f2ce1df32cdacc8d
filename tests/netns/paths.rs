//! Who answers, and what client and server see of each other.
use crate::NEEDS;
use crate::world::{BACKENDS, SHORT, World, answer, answering, outcome, targets, web};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, getpeername, socket};
use sheave_agent::config::SocketLb;
use sheave_lab::probe::{Failure, Target, Transport};
use sheave_tests::kernel_or_skip;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;

/// Enough that a backend of three is missed once in 10^11 runs.
const REQUESTS: usize = 64;

fn all() -> BTreeSet<String> {
    BACKENDS.iter().map(|&pod| pod.to_owned()).collect()
}

/// A1, E9, W6, R1: without a detector nothing is masqueraded.
#[test]
fn every_backend_answers_and_each_side_sees_the_other_as_it_should() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for socket_lb in [SocketLb::All, SocketLb::Host, SocketLb::Off] {
        let service = web(&BACKENDS);
        let world = World::serving(socket_lb, &service);
        for place in ["client", "node-a"] {
            let client = world.client(place);
            for target in targets(&service) {
                let case = format!("{place} dials {target}, socketLb {socket_lb:?}");
                assert_eq!(answering(&client, target, REQUESTS), all(), "case: {case}");
                for payload in [0, 1000, 20_000] {
                    let answer = answer(&client.clone().with_payload(payload), target);
                    assert!(world.addrs(&answer.pod).contains(&answer.backend.ip()), "case: {case}, {answer:?}");
                    assert!(world.addrs(place).contains(&answer.peer.ip()), "case: {case}, {answer:?}");
                    assert_eq!(answer.dialled, target.addr, "case: {case}");
                }
            }
        }
    }
}

/// E9: every later packet of a flow goes to the same endpoint.
#[test]
fn a_flow_keeps_its_backend() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for socket_lb in [SocketLb::All, SocketLb::Off] {
        let service = web(&BACKENDS);
        let world = World::serving(socket_lb, &service);
        for target in targets(&service) {
            let mut held = world.client("client").hold(target).unwrap().unwrap();
            let backends: BTreeSet<_> = (0..REQUESTS).map(|_| held.round_trip().unwrap().backend).collect();
            assert_eq!(backends.len(), 1, "{target}, socketLb {socket_lb:?}: {backends:?}");
        }
    }
}

#[test]
fn an_agent_serves_its_own_node_and_no_other() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let service = web(&BACKENDS);
    let world = World::serving(SocketLb::All, &service);
    for place in ["stranger", "node-b"] {
        for target in targets(&service) {
            let outcome = outcome(&world, place, target);
            assert!(
                matches!(outcome, Err(Failure::TimedOut(_))),
                "{place} dials {target} within {SHORT:?}: {outcome:?}"
            );
        }
    }
}

#[test]
fn what_is_for_no_service_is_left_alone() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let service = web(&BACKENDS);
    let world = World::serving(SocketLb::All, &service);
    for pod in BACKENDS {
        for target in targets(&service) {
            let addr = world.addrs(pod).iter().find(|addr| addr.is_ipv4() == target.addr.is_ipv4()).copied().unwrap();
            let port = if target.transport == Transport::Tcp { crate::world::HTTP.3 } else { crate::world::DNS.3 };
            let direct = Target { addr: (addr, port).into(), ..target };
            for place in ["client", "node-a", "stranger"] {
                let answer = answer(&world.client(place), direct);
                assert_eq!((answer.pod.as_str(), answer.backend), (pod, direct.addr), "{place} dials {direct}");
                assert!(world.addrs(place).contains(&answer.peer.ip()), "{place} dials {direct}: {answer:?}");
            }
        }
    }
}

/// A socket whose connect() to a VIP failed, and that dials the very same backend by its own address then.
#[test]
fn a_socket_names_as_its_peer_what_it_dialled_last() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let service = web(&["near"]);
    let mut world = World::serving(SocketLb::All, &service);
    for vip in targets(&service).into_iter().filter(|target| target.transport == Transport::Tcp) {
        let near = world.addrs("near").iter().find(|addr| addr.is_ipv4() == vip.addr.is_ipv4()).copied().unwrap();
        let direct = SocketAddr::new(near, crate::world::HTTP.3);
        let client = world.cluster.pod("client").unwrap().sandbox().clone();
        let family = if near.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let made = client.run(move || socket(family, SockType::Stream, SockFlag::empty(), None)).unwrap();
        let (socket, storage) = (made.unwrap(), |addr| SockaddrStorage::from(addr));
        world.stop_server("near");
        assert_eq!(connect(socket.as_raw_fd(), &storage(vip.addr)), Err(nix::Error::ECONNREFUSED), "{vip}");
        world.serve("near");
        connect(socket.as_raw_fd(), &storage(direct)).unwrap();
        assert_eq!(getpeername::<SockaddrStorage>(socket.as_raw_fd()), Ok(storage(direct)), "{vip}");
    }
}
