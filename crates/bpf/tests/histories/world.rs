//! A small cluster and what can happen in it: few names and addresses, so that moves, conflicts and duplicates are common.
use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::subsequence;
use sheave_core::{
    Affinity, Endpoint, EndpointSlice, Event, Family, Kind, Node, Object, ObjectName, Port, Protocol, Service,
    ServiceCidr, ServiceName, ServicePort, SliceName, SlicePort, TrafficPolicy,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) const SERVICES: u8 = 4;
pub(crate) const SLICES: u8 = 4;
pub(crate) const ENDPOINTS: u8 = 12;
/// The node whose dataplane is under test.
pub(crate) const NODE: &str = "node";
/// Name, protocol, port of the Service; the second and the fourth may clash when both are had.
const PORTS: [(&str, Protocol, u16); 4] =
    [("a", Protocol::Tcp, 80), ("b", Protocol::Tcp, 81), ("a", Protocol::Udp, 80), ("c", Protocol::Tcp, 81)];

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    PutService {
        service: u8,
        created: u8,
        v4: Option<u8>,
        v6: Option<u8>,
        ports: u8,
        asks: Asks,
    },
    DeleteService(u8),
    PutSlice {
        slice: u8,
        service: u8,
        v6: bool,
        ports: u8,
        targets: u8,
        endpoints: Vec<(u8, u8)>,
    },
    /// One endpoint of a slice changes its conditions, comes or goes.
    Toggle {
        slice: u8,
        endpoint: u8,
        conditions: u8,
    },
    DeleteSlice(u8),
    RelistServices {
        gone: u8,
        kept: u8,
    },
    RelistSlices {
        gone: u8,
        kept: u8,
    },
    /// The node has these of its addresses, the first of which is its primary one.
    PutNode {
        addresses: Vec<&'static str>,
    },
    DeleteNode,
    PutCidr {
        object: u8,
        cidrs: Vec<&'static str>,
    },
    DeleteCidr(u8),
}

/// Addresses the node may have; no Service has one of them.
const NODE_ADDRESSES: [&str; 4] = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"];
/// Prefixes of sources and ServiceCIDRs. One takes everything in, some take the node in.
const PREFIXES: [&str; 6] =
    ["198.51.100.0/24", "192.0.2.0/24", "0.0.0.0/0", "10.0.0.0/8", "2001:db8::/64", "fd00:244::/64"];

/// What a Service asks for beside ClusterIPs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asks {
    internal_local: bool,
    external_local: bool,
    node_ports: bool,
    affinity: bool,
    /// The last byte of an address that others may have as ClusterIP.
    load_balancer_ip: Option<u8>,
    external_ip: Option<u8>,
    /// Bits of [`PREFIXES`].
    sources: u8,
}

/// Half of the Services ask for nothing else.
fn asks() -> impl Strategy<Value = Asks> {
    let (address, bit) = (|| option::weighted(0.3, 0..4u8), prop::bool::ANY);
    let sources = prop_oneof![Just(0), 0..64u8];
    let asks = (bit, bit, bit, bit, address(), address(), sources).prop_map(
        |(internal_local, external_local, node_ports, affinity, load_balancer_ip, external_ip, sources)| Asks {
            internal_local,
            external_local,
            node_ports,
            affinity,
            load_balancer_ip,
            external_ip,
            sources,
        },
    );
    prop_oneof![Just(Asks::default()), asks]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let endpoints = vec((0..ENDPOINTS, conditions()), 0..10);
    prop_oneof![
        3 => (0..SERVICES, 0..3u8, option::weighted(0.8, 0..3u8), option::weighted(0.5, 0..2u8), 0..16u8, asks())
            .prop_map(|(service, created, v4, v6, ports, asks)| Step::PutService { service, created, v4, v6, ports, asks }),
        1 => (0..SERVICES).prop_map(Step::DeleteService),
        4 => (0..SLICES, 0..SERVICES, prop::bool::weighted(0.3), 0..16u8, 0..4u8, endpoints).prop_map(
            |(slice, service, v6, ports, targets, endpoints)| Step::PutSlice { slice, service, v6, ports, targets, endpoints }
        ),
        10 => (0..SLICES, 0..ENDPOINTS, conditions())
            .prop_map(|(slice, endpoint, conditions)| Step::Toggle { slice, endpoint, conditions }),
        1 => (0..SLICES).prop_map(Step::DeleteSlice),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(gone, kept)| Step::RelistServices { gone, kept }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(gone, kept)| Step::RelistSlices { gone, kept }),
        1 => subsequence(NODE_ADDRESSES.to_vec(), 0..=4).prop_shuffle().prop_map(|addresses| Step::PutNode { addresses }),
        1 => Just(Step::DeleteNode),
        1 => (0..2u8, subsequence(PREFIXES.to_vec(), 0..=2)).prop_map(|(object, cidrs)| Step::PutCidr { object, cidrs }),
        1 => (0..2u8).prop_map(Step::DeleteCidr),
    ]
}

/// Bits: ready, serving, terminating, on this node. Mostly a plain ready endpoint.
fn conditions() -> impl Strategy<Value = u8> {
    prop_oneof![2 => Just(0b0011u8), 1 => Just(0b1011), 2 => 0..16u8]
}

/// What the API holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) services: BTreeMap<u8, Service>,
    pub(crate) slices: BTreeMap<u8, EndpointSlice>,
    pub(crate) node: Option<Node>,
    pub(crate) cidrs: BTreeMap<u8, ServiceCidr>,
}

impl World {
    /// Lets a step happen; returns what a source reports of it.
    pub(crate) fn happen(&mut self, step: &Step) -> Vec<Event> {
        match step {
            Step::PutService { service, created, v4, v6, ports, asks } => {
                let object = service_object(*service, *created, (*v4, *v6), *ports, *asks);
                self.services.insert(*service, object.clone());
                vec![Event::Applied(Object::Service(object))]
            }
            Step::DeleteService(service) => {
                self.services.remove(service);
                vec![Event::Deleted(ObjectName::Service(service_name(*service)))]
            }
            Step::PutSlice { slice, service, v6, ports, targets, endpoints } => {
                let object = slice_object(*slice, *service, *v6, (*ports, *targets), endpoints);
                self.slices.insert(*slice, object.clone());
                vec![Event::Applied(Object::EndpointSlice(object))]
            }
            Step::Toggle { slice, endpoint, conditions } => self.toggle(*slice, *endpoint, *conditions),
            Step::DeleteSlice(slice) => {
                self.slices.remove(slice);
                vec![Event::Deleted(ObjectName::EndpointSlice(slice_name(*slice)))]
            }
            Step::RelistServices { gone, kept } => self.relist_services(*gone, *kept),
            Step::RelistSlices { gone, kept } => self.relist_slices(*gone, *kept),
            Step::PutNode { addresses } => {
                let object = node_object(addresses);
                self.node = Some(object.clone());
                vec![Event::Applied(Object::Node(object))]
            }
            Step::DeleteNode => {
                self.node = None;
                vec![Event::Deleted(ObjectName::Node(NODE.into()))]
            }
            Step::PutCidr { object, cidrs } => {
                let cidr = ServiceCidr { name: format!("c{object}").into(), cidrs: nets(cidrs) };
                self.cidrs.insert(*object, cidr.clone());
                vec![Event::Applied(Object::ServiceCidr(cidr))]
            }
            Step::DeleteCidr(object) => {
                self.cidrs.remove(object);
                vec![Event::Deleted(ObjectName::ServiceCidr(format!("c{object}").into()))]
            }
        }
    }

    /// The complete lists, as at start.
    pub(crate) fn lists(&self) -> Vec<Event> {
        let services = self.services.values().cloned().map(Object::Service).collect();
        let slices = self.slices.values().cloned().map(Object::EndpointSlice).collect();
        let list = |kind, objects| Event::Listed { kind, objects, kept: Vec::new() };
        vec![
            Event::LocalAddresses(BTreeSet::new()),
            list(Kind::EndpointSlice, slices),
            list(Kind::Service, services),
            list(Kind::Node, self.node.iter().cloned().map(Object::Node).collect()),
            list(Kind::ServiceCidr, self.cidrs.values().cloned().map(Object::ServiceCidr).collect()),
        ]
    }

    fn toggle(&mut self, slice: u8, endpoint: u8, conditions: u8) -> Vec<Event> {
        let Some(object) = self.slices.get_mut(&slice) else { return Vec::new() };
        let new = endpoint_object(object.family, endpoint, conditions);
        match object.endpoints.iter().position(|held| held.addr == new.addr) {
            Some(at) if object.endpoints[at] == new => drop(object.endpoints.remove(at)),
            Some(at) => object.endpoints[at] = new,
            None => object.endpoints.push(new),
        }
        vec![Event::Applied(Object::EndpointSlice(object.clone()))]
    }

    /// Those of `gone` disappear from the list; of these, those of `kept` exist and cannot be read.
    fn relist_services(&mut self, gone: u8, kept: u8) -> Vec<Event> {
        let listed =
            self.services.iter().filter(|(n, _)| gone >> **n & 1 == 0).map(|(_, s)| Object::Service(s.clone()));
        let objects = listed.collect();
        self.services.retain(|n, _| gone >> n & 1 == 0 || kept >> n & 1 == 1);
        let kept = (0..SERVICES).filter(|n| kept >> n & 1 == 1).map(|n| ObjectName::Service(service_name(n))).collect();
        vec![Event::Listed { kind: Kind::Service, objects, kept }]
    }

    fn relist_slices(&mut self, gone: u8, kept: u8) -> Vec<Event> {
        let listed = self.slices.iter().filter(|(n, _)| gone >> **n & 1 == 0);
        let objects = listed.map(|(_, s)| Object::EndpointSlice(s.clone())).collect();
        self.slices.retain(|n, _| gone >> n & 1 == 0 || kept >> n & 1 == 1);
        let kept =
            (0..SLICES).filter(|n| kept >> n & 1 == 1).map(|n| ObjectName::EndpointSlice(slice_name(n))).collect();
        vec![Event::Listed { kind: Kind::EndpointSlice, objects, kept }]
    }
}

fn service_name(service: u8) -> ServiceName {
    ServiceName::new("n", &format!("s{service}"))
}

fn slice_name(slice: u8) -> SliceName {
    SliceName::new("n", &format!("e{slice}"))
}

fn port(number: u16) -> Port {
    Port::new(number).expect("ports of the world are not 0")
}

fn vip(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 96, 0, n))
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().expect("a prefix")).collect()
}

fn node_object(addresses: &[&str]) -> Node {
    let addresses = addresses.iter().map(|text| text.parse().expect("an address")).collect();
    Node { name: NODE.into(), zone: None, addresses, pod_cidrs: Vec::new(), leaving: None }
}

fn policy(local: bool) -> TrafficPolicy {
    if local { TrafficPolicy::Local } else { TrafficPolicy::Cluster }
}

fn service_object(service: u8, created: u8, (v4, v6): (Option<u8>, Option<u8>), ports: u8, asks: Asks) -> Service {
    let v6 = v6.map(|n| IpAddr::V6(Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, n.into())));
    let had = PORTS.iter().enumerate().filter(|(n, _)| ports >> n & 1 == 1);
    let port = |(_, (name, protocol, number)): (usize, &(&str, Protocol, u16))| ServicePort {
        name: (*name).into(),
        protocol: *protocol,
        port: port(*number),
        // Half of the Services share theirs.
        node_port: asks.node_ports.then(|| port(30_000 + number + u16::from(service / 2))),
    };
    Service {
        created_unix_s: created.into(),
        cluster_ips: v4.map(vip).into_iter().chain(v6).collect(),
        ports: had.map(port).collect(),
        load_balancer_ips: asks.load_balancer_ip.map(vip).into_iter().collect(),
        external_ips: asks.external_ip.map(vip).into_iter().collect(),
        internal_policy: policy(asks.internal_local),
        external_policy: policy(asks.external_local),
        affinity: asks.affinity.then_some(Affinity { timeout_s: 10 }),
        source_ranges: nets(
            &PREFIXES
                .into_iter()
                .enumerate()
                .filter(|(n, _)| asks.sources >> n & 1 == 1)
                .map(|(_, p)| p)
                .collect::<Vec<_>>(),
        ),
        ..Service::new(service_name(service))
    }
}

fn slice_object(slice: u8, service: u8, v6: bool, (ports, targets): (u8, u8), endpoints: &[(u8, u8)]) -> EndpointSlice {
    let family = if v6 { Family::V6 } else { Family::V4 };
    let had = PORTS.iter().enumerate().filter(|(n, _)| ports >> n & 1 == 1);
    let target = |n: usize| port(8080 + (u16::from(targets) >> (n % 2) & 1));
    EndpointSlice {
        name: slice_name(slice),
        service: service_name(service),
        family,
        ports: had
            .map(|(n, (name, protocol, _))| SlicePort { name: (*name).into(), protocol: *protocol, port: target(n) })
            .collect(),
        endpoints: endpoints.iter().map(|(n, conditions)| endpoint_object(family, *n, *conditions)).collect(),
    }
}

fn endpoint_object(family: Family, endpoint: u8, conditions: u8) -> Endpoint {
    let addr = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(10, 244, 0, endpoint)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0xfd00, 0x244, 0, 0, 0, 0, 0, endpoint.into())),
    };
    let bit = |n: u8| conditions >> n & 1 == 1;
    Endpoint {
        ready: bit(0),
        serving: bit(1),
        terminating: bit(2),
        node: bit(3).then(|| NODE.into()),
        ..Endpoint::ready(addr)
    }
}
