//! What load balancers are told of this node: the endpoints here of each Service with a healthCheckNodePort (H3).
//!
//! Kept up to date Service by Service, as [`Desired`](crate::Desired) is: a change costs what it touches.
use crate::config::NodePortAddresses;
use crate::index::{Changed, Index};
use crate::name::ServiceName;
use crate::net::{Family, Port};
use crate::object::{Service, TrafficPolicy};
use crate::select::Candidates;
use crate::table::Table;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The healthCheckNodePorts to be served.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HealthChecks(Table<ServiceName, HealthCheck>);

/// One healthCheckNodePort.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HealthCheck {
    /// Where load balancers ask.
    pub port: Port,
    /// Ready endpoints on this node, by distinct addresses. Of a Service of both families the greater number: a pod with an
    /// address of each is one endpoint.
    pub local_endpoints: usize,
}

impl HealthChecks {
    /// Brings what changed up to date with the index. Returns each Service of which something differs, with what holds now,
    /// by name; `None` is no check any more.
    pub fn update(&mut self, index: &Index, changed: &Changed) -> Vec<(ServiceName, Option<HealthCheck>)> {
        let now = |name: &ServiceName| index.service(name).and_then(|service| HealthCheck::of(index, service));
        let differing =
            changed.services.iter().map(|name| (name, now(name))).filter(|(name, now)| *now != self.of(name));
        let differing: Vec<_> = differing.map(|(name, now)| (name.clone(), now)).collect();
        for (name, now) in &differing {
            match now {
                Some(check) => drop(self.0.insert(name.clone(), *check)),
                None => drop(self.0.remove(name)),
            }
        }
        differing
    }

    /// The check of a Service; `None` for one that asks for none.
    #[must_use]
    pub fn of(&self, name: &ServiceName) -> Option<HealthCheck> {
        self.0.get(name).copied()
    }
}

impl HealthCheck {
    /// What a Service asks for now.
    fn of(index: &Index, service: &Service) -> Option<Self> {
        let port = service.health_check_node_port.filter(|_| service.external_policy == TrafficPolicy::Local)?;
        let in_family = |family| local_endpoints(index, service, family);
        Some(Self { port, local_endpoints: Family::ALL.into_iter().map(in_family).max().unwrap_or(0) })
    }
}

/// Ready endpoints of any port on this node, by distinct addresses.
fn local_endpoints(index: &Index, service: &Service, family: Family) -> usize {
    let of_family = service.keys().filter(|(key, _)| key.family == family);
    let found: BTreeSet<IpAddr> = of_family
        .flat_map(|(key, _)| {
            let slices = index.slices(&service.name);
            Candidates::of(slices, &key.port, family, index.vantage()).ready_here().collect::<Vec<_>>()
        })
        .collect();
    found.len()
}

/// Where health checks listen: the addresses of A5 that the node has now. `accepted` are those at which NodePorts are
/// accepted, `own` those on its devices; a family of which every address is accepted is its wildcard address alone.
#[must_use]
pub fn listen_addresses(
    config: &NodePortAddresses,
    accepted: &BTreeSet<IpAddr>,
    own: &BTreeSet<IpAddr>,
) -> BTreeSet<IpAddr> {
    let in_family = |family: Family| -> Vec<IpAddr> {
        let is_of = |addr: &&IpAddr| Family::of(**addr) == family;
        let there = |addr: &&IpAddr| addr.is_loopback() || own.contains(*addr);
        match config.accepts_all(family) {
            true => vec![family.wildcard()],
            false => accepted.iter().filter(is_of).filter(there).copied().collect(),
        }
    };
    Family::ALL.into_iter().flat_map(in_family).collect()
}
