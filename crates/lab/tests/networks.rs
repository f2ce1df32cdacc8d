//! Every pod network carries packets by itself, before any proxy is asked to; hosts outside reach what they are led to.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]
use ipnet::IpNet;
use sheave_lab::probe::{Client, Failure, Outcome, Server, Target, Transport};
use sheave_lab::{Cluster, PodNetwork, Sandbox};
use sheave_tests::kernel_or_skip;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const NEEDS: &str = "making network namespaces needs root";
const TIMEOUT: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(300);
const NETWORKS: [PodNetwork; 3] = [PodNetwork::Routed, PodNetwork::Bridge, PodNetwork::Overlay { mtu: 1400 }];
const PODS: [(&str, &str, [&str; 2]); 3] = [
    ("node-a", "a1", ["10.180.0.11", "fd18::11"]),
    ("node-a", "a2", ["10.180.0.12", "fd18::12"]),
    ("node-b", "b1", ["10.180.1.11", "fd18:0:0:1::11"]),
];
const OUTSIDE: [&str; 2] = ["192.0.2.10", "2001:db8:0:2::10"];
const VIP: &str = "198.51.100.1/32";
const SECOND: [&str; 2] = ["172.31.0.1", "fd31::1"];

fn addrs(texts: [&str; 2]) -> [IpAddr; 2] {
    texts.map(|text| text.parse().unwrap())
}

fn cluster(network: PodNetwork) -> Cluster {
    let cidrs = |texts: [&str; 2]| texts.map(|text| text.parse().unwrap());
    let mut cluster = Cluster::builder("networks")
        .network(network)
        .node("node-a", addrs(["172.30.0.1", "fd30::1"]), cidrs(["10.180.0.0/24", "fd18::/64"]))
        .node("node-b", addrs(["172.30.0.2", "fd30::2"]), cidrs(["10.180.1.0/24", "fd18:0:0:1::/64"]))
        .build()
        .unwrap();
    for (node, pod, pod_addrs) in PODS {
        cluster.add_pod(node, pod, &addrs(pod_addrs)).unwrap();
    }
    cluster.add_host("outside", &addrs(OUTSIDE)).unwrap();
    cluster
}

fn serve(place: &Sandbox, at: &[IpAddr]) -> Server {
    let both = |&addr: &IpAddr| [Target::tcp((addr, 8080).into()), Target::udp((addr, 5353).into())];
    Server::start(place, place.name(), &at.iter().flat_map(both).collect::<Vec<_>>()).unwrap()
}

fn ask(cluster: &Cluster, place: &str, target: Target, timeout: Duration, payload_bytes: usize) -> Outcome {
    Client::new(cluster.place(place).unwrap(), timeout).with_payload(payload_bytes).request(target).unwrap()
}

#[test]
fn pods_and_nodes_reach_pods_in_every_network_with_small_and_large_requests() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for network in NETWORKS {
        let cluster = cluster(network);
        let servers = PODS.map(|(_, pod, _)| {
            let pod = cluster.pod(pod).unwrap();
            serve(pod.sandbox(), pod.addrs())
        });
        for place in ["a1", "a2", "node-a", "b1"] {
            for &target in servers.iter().flat_map(Server::targets) {
                // A router does not break a datagram of IPv6 up: the first one to a smaller MTU is lost.
                let overlay = matches!(network, PodNetwork::Overlay { .. });
                let lost = overlay && target.transport == Transport::Udp && target.addr.is_ipv6();
                for payload_bytes in [0, 20_000].into_iter().take(if lost { 1 } else { 2 }) {
                    let answer = ask(&cluster, place, target, TIMEOUT, payload_bytes);
                    let answer = answer.unwrap_or_else(|failure| {
                        panic!("{network:?}: {place} dials {target} with {payload_bytes} bytes: {failure}")
                    });
                    assert_eq!(answer.backend, target.addr, "{network:?}");
                    let of_pod = cluster.pod(place).is_some_and(|pod| pod.addrs().contains(&answer.peer.ip()));
                    let of_node = cluster.node(place).is_some_and(|n| n.all_addrs().any(|a| a == answer.peer.ip()));
                    assert!(of_pod || of_node, "{network:?}: {place} is {} to {target}", answer.peer);
                }
            }
        }
    }
}

#[test]
fn a_tunnel_has_the_smaller_mtu_and_the_fabric_knows_nothing_of_pods_then() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for network in NETWORKS {
        let cluster = cluster(network);
        let pod = cluster.pod("b1").unwrap();
        let _server = serve(pod.sandbox(), pod.addrs());
        let reached = ask(&cluster, "outside", Target::tcp((pod.addrs()[0], 8080).into()), SHORT, 0).is_ok();
        assert_eq!(reached, !network.is_tunnelled(), "{network:?}");
        let devices = cluster.node("node-a").unwrap().sandbox().run(|| {
            let names = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
            names.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect::<Vec<_>>()
        });
        let tunnels = devices.unwrap().into_iter().filter(|name| name.contains("flannel") || name.contains("calico"));
        assert_eq!(tunnels.count(), if network.is_tunnelled() { 2 } else { 0 }, "{network:?}");
    }
}

#[test]
fn a_host_outside_reaches_nodes_and_what_the_fabric_leads_to_one_and_the_node_itself_does_not() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let mut cluster = cluster(PodNetwork::Routed);
    let vip: IpNet = VIP.parse().unwrap();
    cluster.lead(&[vip], "node-a", &["outside"]).unwrap();
    let node = cluster.node("node-a").unwrap().sandbox().clone();
    node.answer_for(&[vip]).unwrap();
    let own = addrs(["172.30.0.1", "fd30::1"]);
    let _servers = [serve(&node, &own), serve(&node, &[vip.addr()])];
    for addr in own.into_iter().chain([vip.addr()]) {
        let answer = ask(&cluster, "outside", Target::tcp((addr, 8080).into()), TIMEOUT, 0).unwrap();
        assert_eq!(answer.backend, SocketAddr::new(addr, 8080));
        assert!(addrs(OUTSIDE).contains(&answer.peer.ip()));
    }
    let outcome = ask(&cluster, "node-b", Target::tcp((vip.addr(), 8080).into()), SHORT, 0);
    assert!(matches!(outcome, Err(Failure::TimedOut(_))), "node-b is led nowhere: {outcome:?}");
}

/// The node has its default route by the first uplink; the fabric is strict about where packets come from.
#[test]
fn a_second_uplink_has_a_way_in_and_a_way_out_of_its_own() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let mut cluster = cluster(PodNetwork::Routed);
    cluster.add_uplink("node-a", &addrs(SECOND)).unwrap();
    let node = cluster.node("node-a").unwrap();
    assert!(addrs(SECOND).iter().all(|second| node.all_addrs().any(|addr| addr == *second)));
    let _server = serve(node.sandbox(), &addrs(SECOND));
    // Strict: what comes by the second device from where the default route does not lead is dropped.
    let target = Target::udp((addrs(SECOND)[0], 5353).into());
    assert!(matches!(ask(&cluster, "outside", target, SHORT, 0), Err(Failure::TimedOut(_))));
    node.set("net/ipv4/conf/all/rp_filter", "2").unwrap();
    // Loose: it arrives, but the answer leaves by the first device with the second one's address, which the fabric drops.
    assert!(matches!(ask(&cluster, "outside", target, SHORT, 0), Err(Failure::TimedOut(_))));
}
