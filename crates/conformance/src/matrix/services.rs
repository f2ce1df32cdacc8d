//! The Services of a world, as data and as manifests.
use serde_json::{Value, json};
use sheave_core::Protocol;
use sheave_lab::probe::Transport;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a pod runs, and what it is called.
pub(super) struct PodSpec {
    pub(super) name: &'static str,
    pub(super) node: &'static str,
    pub(super) addrs: [IpAddr; 2],
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(a: u16, b: u16, subnet: u16, host: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, b, 0, subnet, 0, 0, 0, host))
}

const fn pod(name: &'static str, node: &'static str, subnet: u8, host: u8) -> PodSpec {
    PodSpec { name, node, addrs: [v4(10, 180, subnet, host), v6(0xfd18, 0, subnet as u16, host as u16)] }
}

pub(super) const NODE: &str = "node-a";
pub(super) const OTHER_NODE: &str = "node-b";
/// Nodes: name, addresses, pod networks.
pub(super) const NODES: [(&str, [IpAddr; 2], [&str; 2]); 2] = [
    (NODE, [v4(172, 30, 0, 1), v6(0xfd30, 0, 0, 1)], ["10.180.0.0/24", "fd18::/64"]),
    (OTHER_NODE, [v4(172, 30, 0, 2), v6(0xfd30, 0, 0, 2)], ["10.180.1.0/24", "fd18:0:0:1::/64"]),
];
/// Every server beside a client; `near` is a client too.
pub(super) const PODS: [PodSpec; 5] = [
    pod("client", NODE, 0, 10),
    pod("near", NODE, 0, 11),
    pod("far-1", OTHER_NODE, 1, 11),
    pod("far-2", OTHER_NODE, 1, 12),
    pod("stranger", OTHER_NODE, 1, 10),
];
/// The pods that serve.
pub(super) const SERVERS: [&str; 3] = ["near", "far-1", "far-2"];
/// Machines outside; the first is inside the source ranges.
pub(super) const HOSTS: [(&str, [IpAddr; 2]); 2] = [
    ("outside", [v4(192, 0, 2, 10), v6(0x2001, 0xdb8, 2, 0x10)]),
    ("outsider", [v4(192, 0, 2, 20), v6(0x2001, 0xdb8, 2, 0x20)]),
];
/// All addresses that clients outside and on the other node are led to the node for.
pub(super) const LED: [&str; 5] =
    ["10.96.0.0/16", "198.51.100.0/24", "203.0.113.0/24", "fd96::/112", "2001:db8:0:50::/60"];
pub(super) const SERVICE_CIDRS: [&str; 2] = ["10.96.0.0/16", "fd96::/112"];
pub(super) const POD_CIDRS: &str = "10.180.0.0/16,fd18::/48";
/// An address inside the ServiceCIDRs that nobody has (A3).
pub(super) const UNALLOCATED: [IpAddr; 2] = [v4(10, 96, 77, 77), v6(0xfd96, 0, 0, 0x7777)];
/// A port that no Service has (A2).
pub(super) const OTHER_PORT: u16 = 81;

/// Everything that is dialled over, by the name of its port.
pub(super) const TRANSPORTS: [(&str, Transport); 3] =
    [("http", Transport::Tcp), ("dns", Transport::Udp), ("signals", Transport::Sctp)];

/// What the port of a transport is at VIPs, at nodes and at pods.
pub(super) const fn ports(transport: Transport) -> (u16, u16, u16) {
    match transport {
        Transport::Tcp => (80, 30_000, 8080),
        Transport::Udp => (53, 31_000, 5353),
        Transport::Sctp => (2905, 32_000, 2906),
    }
}

/// A transport as objects and the reference call it.
pub(super) const fn protocol(transport: Transport) -> Protocol {
    match transport {
        Transport::Tcp => Protocol::Tcp,
        Transport::Udp => Protocol::Udp,
        Transport::Sctp => Protocol::Sctp,
    }
}

/// A Service: of type LoadBalancer, with addresses of every kind in both families, over each transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spec {
    /// Its name.
    pub name: &'static str,
    number: u8,
    policy: &'static str,
    affinity: bool,
    ranges: &'static [&'static str],
    endpoints: &'static [(&'static str, Condition)],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Condition {
    Ready,
    /// Terminating, still serving (E1, E2).
    Draining,
}
use Condition::{Draining, Ready};

const fn spec(
    name: &'static str,
    number: u8,
    policy: &'static str,
    endpoints: &'static [(&'static str, Condition)],
) -> Spec {
    Spec { name, number, policy, affinity: false, ranges: &[], endpoints }
}

const ALL: &[(&str, Condition)] = &[("near", Ready), ("far-1", Ready), ("far-2", Ready)];

/// All Services. The first is the plain one, which is dialled in more ways than the others.
pub(super) const SERVICES: [Spec; 9] = [
    spec("cluster", 1, "Cluster", ALL),
    spec("local", 2, "Local", &[("near", Ready), ("far-1", Ready)]),
    spec("remote", 3, "Local", &[("far-1", Ready)]),
    spec("empty", 4, "Cluster", &[]),
    spec("empty-local", 5, "Local", &[]),
    spec("draining", 6, "Local", &[("near", Draining), ("far-1", Ready), ("far-2", Draining)]),
    spec("alone", 7, "Cluster", &[("near", Ready)]),
    Spec { affinity: true, ..spec("affinity", 8, "Cluster", ALL) },
    Spec { ranges: &["192.0.2.10/32", "2001:db8:0:2::10/128", "10.180.0.10/32"], ..spec("ranges", 9, "Cluster", ALL) },
];

impl Spec {
    /// Whether its policies are Cluster.
    pub(super) fn is_cluster_wide(&self) -> bool {
        self.policy == "Cluster"
    }

    /// Whether a client's flows stay with one backend (E10).
    pub(super) fn has_affinity(&self) -> bool {
        self.affinity
    }

    /// Its ClusterIP of a family.
    pub(super) fn cluster_ip(&self, v4_family: bool) -> IpAddr {
        if v4_family { v4(10, 96, 0, 10 + self.number) } else { v6(0xfd96, 0, 0, 0x10 + u16::from(self.number)) }
    }

    /// Its LoadBalancer address of a family.
    pub(super) fn load_balancer(&self, v4_family: bool) -> IpAddr {
        if v4_family { v4(198, 51, 100, self.number) } else { v6(0x2001, 0xdb8, 0x51, u16::from(self.number)) }
    }

    /// Its external IP of a family.
    pub(super) fn external_ip(&self, v4_family: bool) -> IpAddr {
        if v4_family { v4(203, 0, 113, self.number) } else { v6(0x2001, 0xdb8, 0x5a, u16::from(self.number)) }
    }

    /// Its NodePort of a transport.
    pub(super) fn node_port(&self, transport: Transport) -> u16 {
        ports(transport).1 + u16::from(self.number)
    }

    /// Its own manifest and those of its slices.
    pub(super) fn manifests(&self) -> impl Iterator<Item = Value> {
        [self.service(), self.slice(true), self.slice(false)].into_iter()
    }

    fn service(&self) -> Value {
        let both = |of: fn(&Self, bool) -> IpAddr| [true, false].map(|family| of(self, family).to_string());
        let port = |(name, transport)| {
            let (port, node_port) = (ports(transport).0, self.node_port(transport));
            json!({ "name": name, "protocol": protocol(transport).as_str(), "port": port, "nodePort": node_port })
        };
        let ingress = both(Self::load_balancer).map(|ip| json!({ "ip": ip, "ipMode": "VIP" }));
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": self.name, "namespace": "matrix" },
            "spec": {
                "type": "LoadBalancer",
                "clusterIP": self.cluster_ip(true).to_string(),
                "clusterIPs": both(Self::cluster_ip), "ipFamilies": ["IPv4", "IPv6"],
                "externalIPs": both(Self::external_ip),
                "internalTrafficPolicy": self.policy, "externalTrafficPolicy": self.policy,
                "sessionAffinity": if self.affinity { "ClientIP" } else { "None" },
                "loadBalancerSourceRanges": self.ranges,
                "ports": TRANSPORTS.map(port),
            },
            "status": { "loadBalancer": { "ingress": ingress } },
        })
    }

    fn slice(&self, v4_family: bool) -> Value {
        let family = if v4_family { "IPv4" } else { "IPv6" };
        let port = |(name, transport)| json!({ "name": name, "protocol": protocol(transport).as_str(), "port": ports(transport).2 });
        let endpoint = |(name, condition): &(&str, Condition)| {
            let pod = PODS.iter().find(|pod| pod.name == *name).expect("invariant: endpoints are pods of the world");
            let ready = *condition == Ready;
            json!({
                "addresses": [pod.addrs[usize::from(!v4_family)].to_string()], "nodeName": pod.node,
                "conditions": { "ready": ready, "serving": true, "terminating": !ready },
            })
        };
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{}-{}", self.name, family.to_lowercase()), "namespace": "matrix",
                "labels": { "kubernetes.io/service-name": self.name },
            },
            "addressType": family,
            "ports": TRANSPORTS.map(port),
            "endpoints": self.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        })
    }
}

/// The manifests of nodes and ServiceCIDRs.
pub(super) fn surroundings() -> impl Iterator<Item = Value> {
    let node = |(name, addrs, cidrs): &(&str, [IpAddr; 2], [&str; 2])| {
        let addresses = addrs.map(|addr| json!({ "type": "InternalIP", "address": addr.to_string() }));
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": name },
            "spec": { "podCIDR": cidrs[0], "podCIDRs": cidrs }, "status": { "addresses": addresses },
        })
    };
    let cidrs = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": { "name": "kubernetes" },
        "spec": { "cidrs": SERVICE_CIDRS },
    });
    NODES.iter().map(node).chain([cidrs]).collect::<Vec<_>>().into_iter()
}
