//! Services to lay out.
use ipnet::IpNet;
use sheave_baseline::{Node, Policy, Ruleset, ServicePort};
use sheave_core::{Backend, Family, Port, Protocol, ServiceName, ServicePortName};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

pub(crate) fn port(number: u16) -> Port {
    Port::new(number).expect("a port is not 0")
}

/// Address `last` of a network that stands for the same thing in both families.
pub(crate) fn addr(family: Family, network: u8, last: u32) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from((10 << 24) + (u32::from(network) << 16) + last).into(),
        Family::V6 => Ipv6Addr::from((0xfd00_0000 + u128::from(network)) << 96 | u128::from(last)).into(),
    }
}

/// The networks of [`addr`]. Services have room for a million of them.
pub(crate) const PODS: u8 = 0x20;
pub(crate) const SERVICES: u8 = 0x60;
pub(crate) const OUTSIDE: u8 = 0xa0;
pub(crate) const NODES: u8 = 0xb0;

pub(crate) fn network(text: &str) -> IpNet {
    text.parse().expect("a network")
}

pub(crate) fn node(family: Family) -> Node {
    let bits = if family == Family::V4 { 11 } else { 32 };
    let [pods, services] = [PODS, SERVICES].map(|net| network(&format!("{}/{bits}", addr(family, net, 0))));
    Node { service_cidrs: vec![services], ..Node::new(addr(family, NODES, 1), pods) }
}

pub(crate) fn backend(family: Family, last: u32) -> Backend {
    Backend { addr: addr(family, PODS, last), port: port(8080) }
}

pub(crate) fn backends(family: Family, last: impl IntoIterator<Item = u32>) -> impl Iterator<Item = Backend> {
    last.into_iter().map(move |last| backend(family, last))
}

/// `shop/NAME:http`, with a ClusterIP and these backends.
pub(crate) fn service(family: Family, name: &str, cluster_ip: u32, last: impl IntoIterator<Item = u32>) -> ServicePort {
    let service = ServiceName::new("shop", name);
    let name = ServicePortName { service, port: "http".into(), protocol: Protocol::Tcp };
    ServicePort::cluster_ip(name, addr(family, SERVICES, cluster_ip), port(80), backends(family, last))
}

/// One Service of each kind.
pub(crate) fn of_each_kind(family: Family) -> Ruleset {
    let mut rules = Ruleset::new(family);
    rules.insert(service(family, "web", 1, [1, 2, 3]));
    rules.insert(ServicePort {
        node_port: Some(port(30_080)),
        load_balancer_ips: vec![addr(family, OUTSIDE, 1)],
        source_ranges: vec![match family {
            Family::V4 => network("10.176.0.0/16"),
            Family::V6 => network("fd00:b0::/32"),
        }],
        external: Policy::Local,
        health_check_node_port: Some(port(30_081)),
        local: backends(family, [4]).collect(),
        ..service(family, "api", 2, [4, 5])
    });
    rules.insert(ServicePort {
        external_ips: vec![addr(family, OUTSIDE, 2)],
        affinity: Some(Duration::from_secs(10_800)),
        ..service(family, "cart", 3, [6, 7])
    });
    rules.insert(ServicePort { node_port: Some(port(30_090)), ..service(family, "idle", 4, []) });
    rules.insert(ServicePort { internal: Policy::Local, ..service(family, "cache", 5, [8]) });
    rules
}

/// The same after an endpoint of `web` was replaced, `cart` grew, and `cache` went.
pub(crate) fn changed(family: Family) -> Ruleset {
    let mut rules = of_each_kind(family);
    rules.insert(service(family, "web", 1, [1, 2, 9]));
    rules.insert(ServicePort {
        external_ips: vec![addr(family, OUTSIDE, 2)],
        affinity: Some(Duration::from_secs(10_800)),
        ..service(family, "cart", 3, [6, 7, 10])
    });
    rules.remove(&ServiceName::new("shop", "cache"));
    rules
}

/// As many Services with a ClusterIP, each with as many backends; beside them, if `apiserver`, the one Service that every
/// cluster has, with one backend.
pub(crate) fn many(services: u32, backends: u32, apiserver: bool) -> Ruleset {
    let family = Family::V4;
    let mut rules = Ruleset::new(family);
    for number in 0..services {
        let first = number * backends;
        rules.insert(service(family, &format!("s{number}"), number + 2, first..first + backends));
    }
    if apiserver {
        let service = ServiceName::new("default", "kubernetes");
        let name = ServicePortName { service, port: "https".into(), protocol: Protocol::Tcp };
        let backend = Backend { addr: addr(family, NODES, 1), port: port(6443) };
        rules.insert(ServicePort::cluster_ip(name, addr(family, SERVICES, 1), port(443), [backend]));
    }
    rules
}
