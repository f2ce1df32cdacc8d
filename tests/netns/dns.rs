//! UDP whose Service changes: the next datagram goes where it should, from the very same socket (L2 to L7).
use crate::NEEDS;
use crate::manifests::{PortSpec, ServiceSpec};
use crate::world::{BACKENDS, DNS, World, answer, eventually, outcome, targets, web};
use sheave_agent::config::SocketLb;
use sheave_lab::probe::{Failure, Held, Phase, Server, Target, Transport};
use sheave_tests::kernel_or_skip;

/// The same Service with another target port.
const MOVED: PortSpec = PortSpec(DNS.0, DNS.1, DNS.2, 5354);
const REFUSED: Failure = Failure::Refused(Phase::Exchange);
const SOCKET_LBS: [SocketLb; 3] = [SocketLb::All, SocketLb::Host, SocketLb::Off];

fn dns(pods: &[&str]) -> ServiceSpec {
    ServiceSpec { name: "dns", ports: vec![DNS], ..web(pods) }
}

/// Sockets of a pod that have been answered by a pod of the Service.
fn hold(world: &World, service: &ServiceSpec) -> Vec<(Target, Held)> {
    let client = world.client("client");
    let held = targets(service).into_iter().map(|target| (target, client.hold(target).unwrap().unwrap()));
    held.map(|(target, mut held)| {
        held.round_trip().unwrap_or_else(|failure| panic!("{target}: {failure}"));
        (target, held)
    })
    .collect()
}

/// Waits until fresh sockets are refused, which says that the agent has taken a change in.
fn until_refused(world: &World, service: &ServiceSpec) {
    for target in targets(service) {
        eventually(&format!("{target} refuses"), || outcome(world, "client", target) == Err(REFUSED));
    }
}

/// L3: a Service that is scaled to zero refuses. L5: as soon as it has an endpoint again, it answers.
#[test]
fn a_socket_is_refused_while_there_is_no_endpoint_and_answered_when_there_is_one() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for socket_lb in SOCKET_LBS {
        let world = World::serving(socket_lb, &dns(&["near"]));
        let mut held = hold(&world, &dns(&["near"]));
        for pod in ["far-1", "far-2", "near"] {
            world.put(&dns(&[]));
            until_refused(&world, &dns(&[]));
            for (target, held) in &mut held {
                assert_eq!(held.round_trip(), Err(REFUSED), "{target}, {socket_lb:?}");
            }
            world.put(&dns(&[pod]));
            world.until_served(&dns(&[pod]));
            for (target, held) in &mut held {
                assert_eq!(held.round_trip().unwrap().pod, pod, "{target}, {socket_lb:?}");
            }
        }
    }
}

/// L2: an endpoint is replaced by another.
#[test]
fn a_socket_follows_each_replacement() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for socket_lb in SOCKET_LBS {
        let world = World::serving(socket_lb, &dns(&["near"]));
        let mut held = hold(&world, &dns(&["near"]));
        for pod in BACKENDS.into_iter().cycle().skip(1).take(6) {
            world.put(&dns(&[pod]));
            for target in targets(&dns(&[pod])) {
                world.until_answered_only_by(target, &[pod]);
            }
            for (target, held) in &mut held {
                assert_eq!(held.round_trip().unwrap().pod, pod, "{target}, {socket_lb:?}");
            }
        }
    }
}

/// L4: nobody answers for a Service that is gone, and whoever gets its address next is asked at once.
#[test]
fn a_socket_of_a_deleted_service_gets_no_answer_until_another_has_the_address() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for socket_lb in SOCKET_LBS {
        let service = dns(&["near"]);
        let world = World::serving(socket_lb, &service);
        let mut held = hold(&world, &service);
        world.remove(&service);
        for (target, held) in &mut held {
            eventually(&format!("{target} is nobody's"), || outcome(&world, "client", *target).is_err());
            assert!(held.round_trip().is_err(), "{target}, {socket_lb:?}");
        }
        let heir = ServiceSpec { name: "heir", ..dns(&["far-2"]) };
        world.put(&heir);
        world.until_served(&heir);
        for (target, held) in &mut held {
            assert_eq!(held.round_trip().unwrap().pod, "far-2", "{target}, {socket_lb:?}");
        }
    }
}

/// L7: the same endpoint, another target port.
#[test]
fn a_socket_follows_a_changed_target_port() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for socket_lb in SOCKET_LBS {
        let (before, after) = (dns(&["near"]), ServiceSpec { ports: vec![MOVED], ..dns(&["near"]) });
        let world = World::serving(socket_lb, &before);
        let near = world.cluster.pod("near").unwrap();
        let moved: Vec<Target> = near.addrs().iter().map(|&addr| Target::udp((addr, MOVED.3).into())).collect();
        let _server = Server::start(near.sandbox(), "near-moved", &moved).unwrap();
        let mut held = hold(&world, &before);
        for (service, pod) in [(&after, "near-moved"), (&before, "near"), (&after, "near-moved")] {
            world.put(service);
            for target in targets(service) {
                world.until_answered_only_by(target, &[pod]);
            }
            for (target, held) in &mut held {
                assert_eq!(held.round_trip().unwrap().pod, pod, "{target}, {socket_lb:?}");
            }
        }
    }
}

/// The same source port to the same VIP, again and again, while everything changes: what a resolver with few ports does.
#[test]
fn no_datagram_is_lost_to_a_flow_of_an_endpoint_that_went() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let world = World::serving(SocketLb::Off, &dns(&BACKENDS));
    let mut held = hold(&world, &dns(&BACKENDS));
    for round in 0..12 {
        let pods = [BACKENDS[round % 3], BACKENDS[(round + 1) % 3]];
        world.put(&dns(&pods));
        for target in targets(&dns(&pods)) {
            world.until_answered_only_by(target, &pods);
        }
        for (target, held) in &mut held {
            let pod = held.round_trip().unwrap().pod;
            assert!(pods.contains(&pod.as_str()), "round {round}, {target}: {pod}");
            assert_eq!(target.transport, Transport::Udp);
        }
    }
    let client = world.client("client");
    for target in targets(&dns(&BACKENDS)) {
        answer(&client, target);
    }
}
