//! Services to lay out.
use ipnet::IpNet;
use sheave_baseline::{NodeConfig, Ruleset, ServedPort};
use sheave_core::{Affinity, Backend, Family, Port, Protocol, ServiceName, ServicePortName, TrafficPolicy};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

pub(crate) fn node(family: Family) -> NodeConfig {
    let bits = if family == Family::V4 { 11 } else { 32 };
    let [pods, services] = [PODS, SERVICES].map(|net| network(&format!("{}/{bits}", addr(family, net, 0))));
    NodeConfig { service_cidrs: vec![services], ..NodeConfig::new(addr(family, NODES, 1), pods) }
}

pub(crate) fn backend(family: Family, last: u32) -> Backend {
    Backend { addr: addr(family, PODS, last), port: port(8080) }
}

pub(crate) fn backends(family: Family, last: impl IntoIterator<Item = u32>) -> impl Iterator<Item = Backend> {
    last.into_iter().map(move |last| backend(family, last))
}

/// `shop/NAME:http`, with a ClusterIP and these backends.
pub(crate) fn service(family: Family, name: &str, cluster_ip: u32, last: impl IntoIterator<Item = u32>) -> ServedPort {
    let service = ServiceName::new("shop", name);
    let name = ServicePortName { service, port: "http".into(), protocol: Protocol::Tcp };
    ServedPort::cluster_ip(name, addr(family, SERVICES, cluster_ip), port(80), backends(family, last))
}

/// One Service of each kind.
pub(crate) fn of_each_kind(family: Family) -> Ruleset {
    let mut rules = Ruleset::new(family);
    rules.insert(service(family, "web", 1, [1, 2, 3]));
    rules.insert(ServedPort {
        node_port: Some(port(30_080)),
        load_balancer_ips: vec![addr(family, OUTSIDE, 1)],
        source_ranges: vec![match family {
            Family::V4 => network("10.176.0.0/16"),
            Family::V6 => network("fd00:b0::/32"),
        }],
        external: TrafficPolicy::Local,
        health_check_node_port: Some(port(30_081)),
        local: backends(family, [4]).collect(),
        ..service(family, "api", 2, [4, 5])
    });
    rules.insert(ServedPort {
        external_ips: vec![addr(family, OUTSIDE, 2)],
        affinity: Some(Affinity { timeout_s: 10_800 }),
        ..service(family, "cart", 3, [6, 7])
    });
    rules.insert(ServedPort { node_port: Some(port(30_090)), ..service(family, "idle", 4, []) });
    rules.insert(ServedPort { internal: TrafficPolicy::Local, ..service(family, "cache", 5, [8]) });
    rules
}

/// The same after an endpoint of `web` was replaced, `cart` grew, and `cache` went.
pub(crate) fn changed(family: Family) -> Ruleset {
    let mut rules = of_each_kind(family);
    rules.insert(service(family, "web", 1, [1, 2, 9]));
    rules.insert(ServedPort {
        external_ips: vec![addr(family, OUTSIDE, 2)],
        affinity: Some(Affinity { timeout_s: 10_800 }),
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
        rules.insert(ServedPort::cluster_ip(name, addr(family, SERVICES, 1), port(443), [backend]));
    }
    rules
}

/// A port of one of six Services, which has whatever a port can have.
pub(crate) fn any_port(random: &mut fastrand::Rng, family: Family) -> ServedPort {
    let number = random.u16(0..6);
    let mut some = |most: u32, network: u8| -> Vec<IpAddr> {
        let count = random.u32(0..=most);
        (1..=count).map(|at| addr(family, network, u32::from(number) * 10 + at)).collect()
    };
    let (load_balancer_ips, external_ips) = (some(2, OUTSIDE), some(1, OUTSIDE + 1));
    let ranges = [addr(family, NODES, 0), addr(family, PODS, 0)].map(|net| network(&format!("{net}/24")));
    let policies = [TrafficPolicy::Cluster, TrafficPolicy::Local];
    let pods =
        |random: &mut fastrand::Rng, of: &[u32]| of.iter().copied().filter(|_| random.bool()).collect::<Vec<u32>>();
    let cluster = if random.u8(0..5) == 0 { vec![] } else { pods(random, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]) };
    let local = pods(random, &cluster);
    ServedPort {
        node_port: random.bool().then(|| port(30_000 + number)),
        load_balancer_ips,
        external_ips,
        source_ranges: ranges.into_iter().filter(|_| random.bool()).collect(),
        internal: policies[random.usize(0..2)],
        external: policies[random.usize(0..2)],
        affinity: random.bool().then_some(Affinity { timeout_s: 60 }),
        health_check_node_port: random.bool().then(|| port(31_000 + number)),
        local: backends(family, local).collect(),
        ..service(family, &format!("s{number}"), u32::from(number) + 1, cluster)
    }
}
