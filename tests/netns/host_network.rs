//! A backend in the host network of a node: its address is the node's, and no device of a pod leads to it.
use crate::manifests::ServiceSpec;
use crate::outside::{NODE_PORTS, OUTSIDE, ips, open_to_the_outside};
use crate::world::{DNS, HTTP, SHORT, TIMEOUT, World, answer, eventually, targets, web};
use crate::{NEEDS, agent};
use sheave_agent::config::SocketLb;
use sheave_lab::probe::{Client, Failure, Server, Target};
use sheave_tests::kernel_or_skip;
use std::net::{IpAddr, SocketAddr};

/// The node whose backend it is.
const HOME: &str = "node-a";
const OTHER: &str = "node-b";
const REQUESTS: usize = 5;

/// What is dialled.
#[derive(Clone, Copy, Debug)]
enum Dialled {
    ClusterIp,
    NodePortOf(&'static str),
}
use Dialled::{ClusterIp, NodePortOf};

/// Who dials what, and whose address the server sees then. What is delivered to the node itself keeps its source under either
/// policy (R2).
const ANSWERED: [(&str, Dialled, &str); 7] = [
    ("client", ClusterIp, "client"),
    ("stranger", ClusterIp, "stranger"),
    (OTHER, ClusterIp, OTHER),
    ("client", NodePortOf(HOME), "client"),
    ("stranger", NodePortOf(HOME), "stranger"),
    (OTHER, NodePortOf(HOME), OTHER),
    ("outside", NodePortOf(HOME), "outside"),
];
/// The node itself: at the socket, and nowhere else.
const AT_THE_SOCKET: [(&str, Dialled, &str); 2] = [(HOME, ClusterIp, HOME), (HOME, NodePortOf(HOME), HOME)];
/// By way of a node that has no such backend. That is an answer under policy Cluster alone.
const BY_THE_OTHER: [(&str, Dialled, &str); 2] =
    [("client", NodePortOf(OTHER), OTHER), ("outside", NodePortOf(OTHER), OTHER)];

/// The Service `web` with that backend alone.
fn service(world_addrs: [&str; 2]) -> ServiceSpec {
    ServiceSpec { endpoints: ips(world_addrs).map(|addr| (addr, HOME)).into(), ..web(&[]) }
}

fn serve(world: &World) -> Server {
    let both = |&addr| [Target::tcp(SocketAddr::new(addr, HTTP.3)), Target::udp(SocketAddr::new(addr, DNS.3))];
    let targets: Vec<Target> = world.addrs(HOME).iter().flat_map(both).collect();
    Server::start(world.cluster.node(HOME).unwrap().sandbox(), HOME, &targets).unwrap()
}

fn dialled(world: &World, service: &ServiceSpec, dialled: Dialled) -> Vec<Target> {
    let node_ports =
        |&addr: &IpAddr| NODE_PORTS.map(|(transport, port)| Target { addr: SocketAddr::new(addr, port), transport });
    match dialled {
        ClusterIp => targets(service),
        NodePortOf(node) => world.addrs(node).iter().flat_map(node_ports).collect(),
    }
}

/// A1, A4, E5, R1, R2, R3: also where a request takes more than a packet.
#[test]
fn a_backend_in_the_host_network_is_reached_from_everywhere_and_sees_who_it_is() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let service = service(["172.30.0.1", "fd30::1"]);
    for (policy, socket_lb) in
        [("Cluster", SocketLb::All), ("Cluster", SocketLb::Off), ("Local", SocketLb::All), ("Local", SocketLb::Off)]
    {
        let world = open_to_the_outside(socket_lb, &service, policy);
        let _server = serve(&world);
        let _agent = agent::start(world.cluster.node(OTHER).unwrap(), world.manifests(), socket_lb);
        let at_the_socket: &[_] = if socket_lb == SocketLb::Off { &[] } else { &AT_THE_SOCKET };
        let by_the_other: &[_] = if policy == "Cluster" { &BY_THE_OTHER } else { &[] };
        for &(place, what, seen) in ANSWERED.iter().chain(at_the_socket).chain(by_the_other) {
            let seen = if seen == "outside" { ips(OUTSIDE).to_vec() } else { world.addrs(seen).to_vec() };
            let client = Client::new(world.cluster.place(place).unwrap(), TIMEOUT);
            for target in dialled(&world, &service, what) {
                let case = format!("{place} dials {target}, policy {policy}, socketLb {socket_lb:?}");
                eventually(&case, || client.request(target).unwrap().is_ok());
                for payload in [0, 1000, 20_000] {
                    for _ in 0..REQUESTS {
                        let answer = answer(&client.clone().with_payload(payload), target);
                        assert!(world.addrs(HOME).contains(&answer.backend.ip()), "case: {case}, {answer:?}");
                        assert!(seen.contains(&answer.peer.ip()), "case: {case}, {answer:?}");
                        assert_eq!((answer.pod.as_str(), answer.dialled), (HOME, target.addr), "case: {case}");
                    }
                }
            }
        }
        if policy == "Local" {
            nobody_answers_by_the_other(&world, &service);
        }
    }
}

/// E5: a node without a local endpoint drops. Were the port nobody's, it would be refused.
fn nobody_answers_by_the_other(world: &World, service: &ServiceSpec) {
    for (place, what, _) in BY_THE_OTHER {
        let client = Client::new(world.cluster.place(place).unwrap(), SHORT);
        for target in dialled(world, service, what) {
            let outcome = client.request(target).unwrap();
            assert!(matches!(outcome, Err(Failure::TimedOut(_))), "{place} dials {target}: {outcome:?}");
        }
    }
}
