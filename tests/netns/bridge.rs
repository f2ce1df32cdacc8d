//! Pods that are ports of one bridge, with a stateful filter on their node: what goes from one to another by way of a VIP is routed, the
//! answer might be bridged past the stack, and connection tracking is to see both or neither.
use crate::links::shell;
use crate::manifests::{self, ServiceSpec};
use crate::world::{DNS, HTTP, SHORT, TIMEOUT, answer, eventually, targets, web};
use crate::{NEEDS, agent};
use ipnet::IpNet;
use sheave_agent::config::SocketLb;
use sheave_conformance::agent::Agent;
use sheave_lab::probe::{Client, Server, Target, Transport};
use sheave_lab::{Cluster, PodNetwork};
use sheave_tests::kernel_or_skip;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use tempfile::TempDir;

const NODE: &str = "node-a";
const PODS: [(&str, [&str; 2]); 3] = [
    ("client", ["10.180.0.10", "fd18::10"]),
    ("near-1", ["10.180.0.11", "fd18::11"]),
    ("near-2", ["10.180.0.12", "fd18::12"]),
];
const SERVERS: [&str; 2] = ["near-1", "near-2"];
/// A port that no Service has and the filter does not let pass.
const CLOSED: u16 = 9999;
/// For each size; enough that one of two backends is missed once in 10^9 runs, all sizes together.
const REQUESTS: usize = 12;
/// Who dials, over what, with how much data: datagrams in fragments as well. The second one may get itself.
const DIALS: [(&str, Transport, &[usize]); 3] = [
    ("client", Transport::Tcp, &[0, 1000, 20_000]),
    ("near-1", Transport::Tcp, &[0, 1000, 20_000]),
    ("client", Transport::Udp, &[0, 1, 1000, 20_000]),
];
/// Datagrams that one socket sends.
const DATAGRAMS: usize = 5;

/// New flows to the pods' ports, and what connection tracking knows of; neighbour discovery it never sees.
const FILTER: &str = "nft -f - <<END
table inet stateful {
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state invalid drop
        ct state established,related accept
        ct state new tcp dport 8080 accept
        ct state new udp dport 5353 accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    }
}
END";

/// In the order of its end: agent, servers, namespaces.
struct Bridged {
    _agent: Agent,
    _servers: Vec<Server>,
    _manifests: TempDir,
    cluster: Cluster,
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn service() -> ServiceSpec {
    let endpoints = PODS.into_iter().filter(|(pod, _)| SERVERS.contains(pod));
    ServiceSpec { endpoints: endpoints.flat_map(|(_, addrs)| addrs.map(|addr| (ip(addr), NODE))).collect(), ..web(&[]) }
}

impl Bridged {
    fn new(calls: &'static str, socket_lb: SocketLb) -> Self {
        let cidrs = ["10.180.0.0/24", "fd18::/64"].map(|cidr| cidr.parse::<IpNet>().unwrap());
        let builder = Cluster::builder("bridge").network(PodNetwork::Bridge);
        let mut cluster = builder.node(NODE, ["172.30.0.1", "fd30::1"].map(ip), cidrs).build().unwrap();
        for (pod, addrs) in PODS {
            cluster.add_pod(NODE, pod, &addrs.map(ip)).unwrap();
        }
        let node = cluster.node(NODE).unwrap();
        node.set("net/bridge/bridge-nf-call-iptables", calls).unwrap();
        node.set("net/bridge/bridge-nf-call-ip6tables", calls).unwrap();
        shell(node.sandbox(), FILTER.to_owned());
        let serve = |pod| {
            let place = cluster.pod(pod).unwrap();
            let all = |&addr| {
                let [http, dns, closed] = [HTTP.3, DNS.3, CLOSED].map(|port| SocketAddr::new(addr, port));
                [Target::tcp(http), Target::udp(dns), Target::tcp(closed), Target::udp(closed)]
            };
            let targets: Vec<Target> = place.addrs().iter().flat_map(all).collect();
            Server::start(place.sandbox(), pod, &targets).unwrap()
        };
        let (servers, manifests) = (SERVERS.map(serve).into(), TempDir::new().unwrap());
        manifests::write_nodes(manifests.path(), [(node.name(), node.addrs())].into_iter());
        manifests::write(manifests.path(), &service());
        let agent = agent::start(node, manifests.path(), socket_lb);
        Self { _agent: agent, _servers: servers, _manifests: manifests, cluster }
    }

    fn addrs(&self, pod: &str) -> &[IpAddr] {
        self.cluster.pod(pod).unwrap().addrs()
    }

    /// Whether bridged packets pass the filter, as what it does not let pass shows.
    fn bridged_packets_are_filtered(&self, expected: bool) {
        let client = Client::new(self.cluster.pod("client").unwrap().sandbox(), SHORT);
        for closed in self.addrs("near-1").iter().map(|&addr| SocketAddr::new(addr, CLOSED)) {
            for target in [Target::tcp(closed), Target::udp(closed)] {
                assert_eq!(client.request(target).unwrap().is_err(), expected, "{target}");
            }
        }
    }
}

/// A1, R4
#[test]
fn pods_of_one_bridge_reach_each_other_by_a_vip_past_a_stateful_filter() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for (calls, socket_lb) in ["1", "0"].into_iter().flat_map(|calls| [(calls, SocketLb::All), (calls, SocketLb::Off)])
    {
        let world = Bridged::new(calls, socket_lb);
        world.bridged_packets_are_filtered(calls == "1");
        let node: Vec<IpAddr> = world.cluster.node(NODE).unwrap().all_addrs().collect();
        for (place, transport, sizes) in DIALS {
            let client = Client::new(world.cluster.pod(place).unwrap().sandbox(), TIMEOUT);
            for target in targets(&service()).into_iter().filter(|target| target.transport == transport) {
                let case = format!("{place} dials {target}, calls {calls}, socketLb {socket_lb:?}");
                let patient = Client::new(client.sandbox(), SHORT);
                eventually(&case, || patient.request(target).unwrap().is_ok());
                let mut pods = BTreeSet::new();
                for size in sizes.iter().flat_map(|&size| [size; REQUESTS]) {
                    let answer = answer(&client.clone().with_payload(size), target);
                    let told = format!("case: {case}, {size} bytes, {answer:?}");
                    // What is translated at the socket never leaves the pod on its way to itself.
                    let hairpin = answer.pod == place && socket_lb == SocketLb::Off;
                    let seen = if hairpin { &node } else { world.addrs(place) };
                    assert!(seen.contains(&answer.peer.ip()), "{told}");
                    assert!(world.addrs(&answer.pod).contains(&answer.backend.ip()), "{told}");
                    assert_eq!(answer.dialled, target.addr, "{told}");
                    pods.insert(answer.pod);
                }
                assert_eq!(pods, SERVERS.iter().map(|&pod| pod.to_owned()).collect(), "case: {case}");
                converse(&client, target, &case);
            }
        }
    }
}

/// E9: one flow has one backend, which sees one client, packet after packet.
fn converse(client: &Client, target: Target, case: &str) {
    let mut held = client.hold(target).unwrap().unwrap();
    let mut said = || held.round_trip().unwrap_or_else(|failure| panic!("case: {case}, held: {failure}"));
    let first = said();
    for _ in 1..DATAGRAMS {
        let next = said();
        assert_eq!((next.backend, next.peer), (first.backend, first.peer), "case: {case}");
    }
}
