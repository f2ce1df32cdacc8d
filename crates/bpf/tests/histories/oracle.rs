//! What the eBPF programs should hold of a world, said a second time: from scratch, slowly, and without the code under test.
use crate::world::{NODE, World};
use ipnet::IpNet;
use sheave_core::{
    Backend, Family, Frontend, FrontendKind, NodeRules, Port, Protocol, Service, ServiceKey, ServicePortName, Serving,
    Sources, TrafficPolicy,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What should be held.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Expected {
    pub(crate) serving: BTreeMap<ServiceKey, Serving>,
    pub(crate) holders: BTreeMap<Frontend, ServiceKey>,
    pub(crate) vips: BTreeSet<IpAddr>,
    /// Services that lost a frontend of any kind.
    pub(crate) losers: BTreeSet<String>,
    pub(crate) rules: NodeRules,
}

/// A claim as X1 ranks it: kind, age, name.
type Claim = (FrontendKind, i64, ServiceKey);

pub(crate) fn expected(world: &World) -> Expected {
    let mut expected = Expected { rules: rules(world), ..Expected::default() };
    let mut claims: BTreeMap<Frontend, BTreeSet<Claim>> = BTreeMap::new();
    for service in world.services.values() {
        expected.vips.extend(&service.cluster_ips);
        for (frontend, kind, key) in asked(service) {
            claims.entry(frontend).or_default().insert((kind, service.created_unix_s, key.clone()));
            expected.serving.entry(key.clone()).or_insert_with(|| serving(world, service, &key));
        }
    }
    for (frontend, claims) in claims {
        let Some((kind, _, winner)) = claims.first().cloned() else { continue };
        let lost = claims.into_iter().filter(|(_, _, key)| *key != winner);
        expected.losers.extend(lost.map(|(_, _, key)| key.port.service.to_string()));
        let serving = expected.serving.get_mut(&winner).expect("a claim's key is served");
        serving.frontends.insert(frontend, kind);
        expected.holders.insert(frontend, winner);
    }
    expected
}

/// Every frontend a Service asks for: A1, A4, A7, A10.
fn asked(service: &Service) -> Vec<(Frontend, FrontendKind, ServiceKey)> {
    let mut asked = Vec::new();
    let families: Vec<Family> = service.cluster_ips.iter().map(|addr| Family::of(*addr)).collect();
    let mut ask = |addr: IpAddr, (name, protocol, port): (&str, Protocol, Port), kind| {
        let family = Family::of(addr);
        let port_name = ServicePortName { service: service.name.clone(), port: name.into(), protocol };
        let key = ServiceKey { port: port_name, family };
        if families.contains(&family) {
            asked.push((Frontend { addr, port, protocol }, kind, key));
        }
    };
    for port in &service.ports {
        let at = (&*port.name, port.protocol, port.port);
        service.cluster_ips.iter().for_each(|addr| ask(*addr, at, FrontendKind::ClusterIp));
        service.load_balancer_ips.iter().for_each(|addr| ask(*addr, at, FrontendKind::LoadBalancer));
        service.external_ips.iter().for_each(|addr| ask(*addr, at, FrontendKind::ExternalIp));
        for (addr, number) in ["0.0.0.0", "::"].into_iter().zip(port.node_port.into_iter().cycle()) {
            let addr = addr.parse().expect("an address");
            ask(addr, (&*port.name, port.protocol, number), FrontendKind::NodePort);
        }
    }
    asked
}

/// What is known of an endpoint: (ready, serving, terminating, on this node).
type Report = (bool, bool, bool, bool);

/// What the node reports of itself; its first address of a family accepts NodePorts (A5).
fn rules(world: &World) -> NodeRules {
    let own: Vec<IpAddr> = world.node.iter().flat_map(|node| node.addresses.clone()).collect();
    let cidrs: BTreeSet<IpNet> = world.cidrs.values().flat_map(|object| object.cidrs.clone()).collect();
    NodeRules {
        node_port_addrs: Family::ALL.into_iter().filter_map(|family| primary(world, family)).collect(),
        own: own.into_iter().collect(),
        service_cidrs: cidrs.into_iter().collect(),
        ..NodeRules::default()
    }
}

fn primary(world: &World, family: Family) -> Option<IpAddr> {
    let addresses = world.node.iter().flat_map(|node| node.addresses.clone());
    addresses.into_iter().find(|addr| Family::of(*addr) == family)
}

/// R8: nothing is restricted without a range of the family, or with one that takes everything in.
fn sources(world: &World, service: &Service, family: Family) -> Option<Arc<Sources>> {
    let of_family = |addr: IpAddr| Family::of(addr) == family;
    let mut ranges: BTreeSet<IpNet> = service.source_ranges.iter().filter(|r| of_family(r.addr())).copied().collect();
    if ranges.is_empty() || ranges.iter().any(|range| range.prefix_len() == 0) {
        return None;
    }
    if primary(world, family).is_some_and(|node| ranges.iter().any(|range| range.contains(&node))) {
        ranges.extend(service.load_balancer_ips.iter().filter(|vip| of_family(**vip)).map(|vip| IpNet::from(*vip)));
    }
    Some(Arc::new(Sources { ranges: ranges.into_iter().collect() }))
}

fn serving(world: &World, service: &Service, key: &ServiceKey) -> Serving {
    let (cluster, serves) = set(world, key, TrafficPolicy::Cluster);
    let asked = [service.internal_policy, service.external_policy].contains(&TrafficPolicy::Local);
    let local = if asked { set(world, key, TrafficPolicy::Local).0 } else { BTreeSet::new() };
    Serving {
        internal: service.internal_policy,
        external: service.external_policy,
        keep: serves.into_iter().filter(|backend| !cluster.contains(backend) && !local.contains(backend)).collect(),
        cluster: cluster.into_iter().collect(),
        local: local.into_iter().collect(),
        affinity: service.affinity,
        sources: sources(world, service, key.family),
        ..Serving::default()
    }
}

/// The set of a policy, and everything that serves. E1, E2, E3, W6, W9, L2.
fn set(world: &World, key: &ServiceKey, policy: TrafficPolicy) -> (BTreeSet<Backend>, BTreeSet<Backend>) {
    let mut reports: BTreeMap<Backend, Vec<Report>> = BTreeMap::new();
    for slice in world.slices.values().filter(|s| s.service == key.port.service && s.family == key.family) {
        for port in slice.ports.iter().filter(|p| p.name == key.port.port && p.protocol == key.port.protocol) {
            for e in &slice.endpoints {
                let backend = Backend { addr: e.addr, port: port.port };
                let local = e.node.as_deref() == Some(NODE);
                reports.entry(backend).or_default().push((e.ready, e.serving, e.terminating, local));
            }
        }
    }
    let best: BTreeMap<Backend, Report> = reports.into_iter().map(|(backend, all)| (backend, best(all))).collect();
    let of = |wanted: &dyn Fn(Report) -> bool| -> BTreeSet<Backend> {
        best.iter().filter(|(_, report)| wanted(**report)).map(|(backend, _)| *backend).collect()
    };
    let here = |local: bool| local || policy == TrafficPolicy::Cluster;
    let ready = of(&|(ready, _, _, local)| ready && here(local));
    let draining = of(&|(ready, serving, terminating, local)| !ready && serving && terminating && here(local));
    let pick = if ready.is_empty() { draining } else { ready };
    (pick, of(&|(ready, serving, _, _)| ready || serving))
}

/// W9: an entry that is not terminating stands for the address, then the one that is ready, then the one that serves.
fn best(reports: Vec<Report>) -> Report {
    let rank = |(ready, serving, terminating, local): &Report| {
        let class = if *ready { 3 } else { u8::from(*serving) };
        (!terminating, class, *local)
    };
    reports.into_iter().max_by_key(rank).expect("an endpoint has an entry")
}
