//! Small worlds of everything a verdict depends on: few names, addresses and numbers, so that conflicts, coincidences and
//! near misses are common.
use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::subsequence;
use sheave_core::{
    Affinity, DetectLocal, Endpoint, EndpointSlice, Event, Family, Hints, Node, NodePortAddresses, Object, ObjectName,
    Port, Protocol, ProxyConfig, Service, ServiceCidr, ServiceName, ServicePort, SliceName, SlicePort, TrafficPolicy,
};
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) const NODE: &str = "node-a";
pub(crate) const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
/// Numbers of Services, NodePorts, and one that nobody has. One number is both.
pub(crate) const NUMBERS: [u16; 6] = [80, 81, 30080, 30081, 9, 0];
/// ClusterIPs, addresses of load balancers, and addresses the node may have. Each may be had as each.
pub(crate) const ADDRESSES: [&str; 14] = [
    "10.96.0.1",
    "10.96.0.2",
    "203.0.113.1",
    "203.0.113.2",
    "192.0.2.1",
    "192.0.2.129",
    "10.244.0.1",
    "fd00:96::1",
    "fd00:96::2",
    "2001:db8::1",
    "2001:db8::2",
    "fd00::1",
    "fd00::81",
    "fd00:244::1",
];
const CIDRS: [&str; 12] = [
    "0.0.0.0/0",
    "10.96.0.0/28",
    "10.244.0.0/24",
    "10.244.0.0/16",
    "192.0.2.0/25",
    "127.0.0.0/8",
    "::/0",
    "fd00:96::/124",
    "fd00:244::/64",
    "fd00::/122",
    "::1/128",
    "198.51.100.0/24",
];
const INTERFACES: [&str; 3] = ["cni0", "veth12", "eth0"];

pub(crate) fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn addrs(v4: Vec<&str>) -> Vec<IpAddr> {
    v4.into_iter().map(addr).collect()
}

fn some_addrs(count: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<IpAddr>> {
    subsequence(ADDRESSES.to_vec(), count).prop_shuffle().prop_map(addrs)
}

fn some_cidrs(count: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<IpNet>> {
    let parse = |texts: Vec<&str>| texts.into_iter().map(|text| text.parse().expect("a CIDR")).collect();
    subsequence(CIDRS.to_vec(), count).prop_shuffle().prop_map(parse)
}

pub(crate) fn config() -> impl Strategy<Value = ProxyConfig> {
    let interface = |n: usize| -> Arc<str> { INTERFACES[n].into() };
    let detect_local = prop_oneof![
        some_cidrs(0..=2).prop_map(DetectLocal::ClusterCidr),
        Just(DetectLocal::NodeCidr),
        Just(DetectLocal::BridgeInterface(interface(0))),
        Just(DetectLocal::InterfaceNamePrefix("veth".into())),
    ];
    let node_port_addresses =
        prop_oneof![Just(NodePortAddresses::Primary), some_cidrs(0..=3).prop_map(NodePortAddresses::Cidrs)];
    let parts = (prop::bool::weighted(0.2), detect_local, node_port_addresses, prop::bool::weighted(0.8));
    parts.prop_map(|(masquerade_all, detect_local, node_port_addresses, external_ips)| ProxyConfig {
        masquerade_all,
        detect_local,
        node_port_addresses,
        external_ips,
    })
}

/// One thing that happens.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => service().prop_map(|service| Event::Applied(Object::Service(service))),
        1 => service_name().prop_map(|name| Event::Deleted(ObjectName::Service(name))),
        8 => slice().prop_map(|slice| Event::Applied(Object::EndpointSlice(slice))),
        1 => slice_name().prop_map(|name| Event::Deleted(ObjectName::EndpointSlice(name))),
        3 => node().prop_map(|node| Event::Applied(Object::Node(node))),
        1 => Just(Event::Deleted(ObjectName::Node(NODE.into()))),
        2 => some_addrs(0..=3).prop_map(|addresses| Event::LocalAddresses(addresses.into_iter().collect())),
        2 => (0..2u8, some_cidrs(0..=2)).prop_map(|(n, cidrs)| Event::Applied(Object::ServiceCidr(service_cidr(n, cidrs)))),
        1 => (0..2u8).prop_map(|n| Event::Deleted(ObjectName::ServiceCidr(service_cidr(n, Vec::new()).name))),
    ]
}

fn service_cidr(n: u8, cidrs: Vec<IpNet>) -> ServiceCidr {
    ServiceCidr { name: format!("cidr-{n}").into(), cidrs }
}

fn service_name() -> impl Strategy<Value = ServiceName> {
    (0..4u8).prop_map(|n| ServiceName::new("shop", &format!("s{n}")))
}

fn slice_name() -> impl Strategy<Value = SliceName> {
    (0..5u8).prop_map(|n| SliceName::new("shop", &format!("e{n}")))
}

fn port(number: u16) -> Port {
    Port::new(number).expect("not 0")
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    prop_oneof![Just(TrafficPolicy::Cluster), Just(TrafficPolicy::Local)]
}

/// At most one address of each family.
fn cluster_ips() -> impl Strategy<Value = Vec<IpAddr>> {
    let of = |range: std::ops::Range<usize>| option::weighted(0.8, range.prop_map(|n| addr(ADDRESSES[n])));
    (of(0..4), of(7..10)).prop_map(|(v4, v6)| v4.into_iter().chain(v6).collect())
}

fn service_ports() -> impl Strategy<Value = Vec<ServicePort>> {
    let number = || prop_oneof![4 => Just(80u16), 2 => Just(81), 1 => Just(30080)];
    let node_port = option::weighted(0.6, prop_oneof![Just(30080u16), Just(30081), Just(81)]);
    let part = (0..3usize, 0..3usize, number(), node_port);
    vec(part, 0..3).prop_map(|parts| {
        let mut ports: Vec<ServicePort> = Vec::new();
        for (name, protocol, number, node_port) in parts {
            let (name, protocol): (Arc<str>, _) = (["", "a", "b"][name].into(), PROTOCOLS[protocol]);
            // Unique, as the source leaves them.
            if ports.iter().all(|held| (&held.name, held.protocol) != (&name, protocol)) {
                ports.push(ServicePort { name, protocol, port: port(number), node_port: node_port.map(port) });
            }
        }
        ports
    })
}

fn service() -> impl Strategy<Value = Service> {
    let names = (service_name(), 0..3i64, cluster_ips(), service_ports());
    let asks = (some_addrs(0..=2), some_addrs(0..=2), policy(), policy());
    let terms = (option::of(1..3u32), prop_oneof![Just(Vec::new()), some_cidrs(0..=2)]);
    (names, asks, terms).prop_map(
        |((name, created, cluster_ips, ports), (balancer, external, internal_policy, external_policy), terms)| {
            Service {
                created_unix_s: created,
                cluster_ips,
                ports,
                load_balancer_ips: balancer,
                external_ips: external,
                internal_policy,
                external_policy,
                affinity: terms.0.map(|timeout_s| Affinity { timeout_s }),
                source_ranges: terms.1,
                ..Service::new(name)
            }
        },
    )
}

fn slice() -> impl Strategy<Value = EndpointSlice> {
    let family = prop_oneof![Just(Family::V4), Just(Family::V6)];
    let ports = subsequence(vec![0usize, 1, 2, 3, 4, 5, 6, 7, 8], 2..=9);
    let parts = (slice_name(), service_name(), family, ports, 0..2u16);
    (parts, vec(endpoint(), 0..4)).prop_map(|((name, service, family, ports, more), endpoints)| EndpointSlice {
        name,
        service,
        family,
        ports: ports
            .into_iter()
            .map(|n| SlicePort {
                name: ["", "a", "b"][n % 3].into(),
                protocol: PROTOCOLS[n / 3],
                port: port(8080 + more),
            })
            .collect(),
        endpoints: endpoints.iter().map(|endpoint| endpoint.of(family)).collect(),
    })
}

/// Of either family.
#[derive(Clone, Debug)]
struct Report {
    number: u8,
    conditions: u8,
    node: Option<Arc<str>>,
    hints: Option<Arc<Hints>>,
}

impl Report {
    fn of(&self, family: Family) -> Endpoint {
        let bit = |n: u8| self.conditions >> n & 1 == 1;
        let addr = match family {
            Family::V4 => addr(&format!("10.244.0.{}", self.number)),
            Family::V6 => addr(&format!("fd00:244::{}", self.number)),
        };
        Endpoint {
            addr,
            ready: bit(0),
            serving: bit(1),
            terminating: bit(2),
            node: self.node.clone(),
            hints: self.hints.clone(),
        }
    }
}

fn endpoint() -> impl Strategy<Value = Report> {
    let some = |of: &[&str]| subsequence(of.iter().map(|text| Arc::from(*text)).collect::<Vec<Arc<str>>>(), 0..=2);
    let hints = (some(&[NODE, "node-b"]), some(&["zone-a", "zone-b"]));
    let hints = hints.prop_map(|(nodes, zones)| Arc::new(Hints { nodes, zones }));
    let conditions = prop_oneof![3 => Just(0b011u8), 1 => Just(0b110), 2 => 0..8u8];
    let node = prop_oneof![Just(Some(NODE.into())), Just(Some("node-b".into())), Just(None)];
    let parts = (1..5u8, conditions, node, option::weighted(0.85, hints));
    parts.prop_map(|(number, conditions, node, hints)| Report { number, conditions, node, hints })
}

fn node() -> impl Strategy<Value = Node> {
    let zone = prop_oneof![Just(None), Just(Some("zone-a".into())), Just(Some("zone-b".into()))];
    let name = prop_oneof![5 => Just(NODE), 1 => Just("node-b")];
    (name, zone, some_addrs(0..=3), some_cidrs(0..=2)).prop_map(|(name, zone, addresses, pod_cidrs)| Node {
        name: name.into(),
        zone,
        addresses,
        pod_cidrs,
        leaving: None,
    })
}

/// Sources and destinations that nobody has, and those that mean something else.
const OTHERS: [&str; 10] = [
    "198.51.100.7",
    "127.0.0.1",
    "127.0.0.2",
    "10.96.0.9",
    "0.0.0.0",
    "2001:db8:f::7",
    "::1",
    "fd00:96::9",
    "::",
    "10.244.1.3",
];

/// Source, destination of the same family, what is above IP, and where it comes in.
pub(crate) fn packet() -> impl Strategy<Value = sheave_core::Packet> {
    use sheave_core::decide::Transport;
    let pods = (1..5u8).flat_map(|n| [format!("10.244.0.{n}"), format!("fd00:244::{n}")]);
    let all: Vec<IpAddr> = ADDRESSES.into_iter().chain(OTHERS).map(addr).chain(pods.map(|text| addr(&text))).collect();
    let (v4, v6): (Vec<_>, Vec<_>) = all.into_iter().partition(IpAddr::is_ipv4);
    let pair = |of: Vec<IpAddr>| (prop::sample::select(of.clone()), prop::sample::select(of));
    let transport = prop_oneof![
        9 => (prop::sample::select(PROTOCOLS.to_vec()), prop::sample::select(NUMBERS.to_vec()))
            .prop_map(|(protocol, port)| Transport::Port(protocol, port)),
        1 => Just(Transport::Echo),
    ];
    let interface = prop_oneof![1 => Just(None), 2 => prop::sample::select(INTERFACES.to_vec()).prop_map(Some)];
    (prop_oneof![pair(v4), pair(v6)], transport, interface).prop_map(|((source, destination), transport, interface)| {
        sheave_core::Packet { source, destination, transport, interface: interface.map(Into::into) }
    })
}
