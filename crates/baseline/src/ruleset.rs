//! What a baseline is asked to serve: the Service ports of one family, as one node sees them.
use ipnet::IpNet;
use sheave_core::{Affinity, Backend, Family, Port, ServiceName, ServicePortName, TrafficPolicy};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// One family of one Service port, with what selection left of its endpoints on this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServedPort {
    /// Its name; the protocol is part of it.
    pub name: ServicePortName,
    /// What its clients dial inside the cluster.
    pub cluster_ip: IpAddr,
    /// The port at the ClusterIP, the load balancer's and the external addresses.
    pub port: Port,
    /// The port at the node's own addresses.
    pub node_port: Option<Port>,
    /// Addresses of load balancers that hand packets on with the address they were sent to.
    pub load_balancer_ips: Vec<IpAddr>,
    /// External addresses.
    pub external_ips: Vec<IpAddr>,
    /// Sources that may use the load balancer's addresses; empty for all.
    pub source_ranges: Vec<IpNet>,
    /// internalTrafficPolicy.
    pub internal: TrafficPolicy,
    /// externalTrafficPolicy.
    pub external: TrafficPolicy,
    /// How long a client stays with its endpoint; `None` without session affinity.
    pub affinity: Option<Affinity>,
    /// Where the node answers the load balancer's health checks.
    pub health_check_node_port: Option<Port>,
    /// What the policy Cluster may pick, in order of address and port.
    pub cluster: Arc<[Backend]>,
    /// What the policy Local may pick, in order of address and port.
    pub local: Arc<[Backend]>,
}

impl ServedPort {
    /// A ClusterIP port with nothing else to it: the policy Cluster, no affinity. The backends are put in order.
    #[must_use]
    pub fn cluster_ip(
        name: ServicePortName,
        cluster_ip: IpAddr,
        port: Port,
        backends: impl IntoIterator<Item = Backend>,
    ) -> Self {
        let backends: BTreeSet<Backend> = backends.into_iter().collect();
        Self {
            name,
            cluster_ip,
            port,
            node_port: None,
            load_balancer_ips: Vec::new(),
            external_ips: Vec::new(),
            source_ranges: Vec::new(),
            internal: TrafficPolicy::Cluster,
            external: TrafficPolicy::Cluster,
            affinity: None,
            health_check_node_port: None,
            cluster: backends.into_iter().collect(),
            local: Arc::default(),
        }
    }
}

/// All Service ports of one family. A copy shares its ports with the original.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ruleset {
    family: Family,
    ports: BTreeMap<ServiceName, Vec<Arc<ServedPort>>>,
}

impl Ruleset {
    /// Without any Service.
    #[must_use]
    pub fn new(family: Family) -> Self {
        Self { family, ports: BTreeMap::new() }
    }

    /// The family of every address in it.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// Puts a Service port in, in place of the one of that name.
    ///
    /// # Panics
    /// With a ClusterIP of the other family.
    pub fn insert(&mut self, port: ServedPort) {
        assert_eq!(Family::of(port.cluster_ip), self.family, "{}: a ClusterIP of the other family", port.name);
        let ports = self.ports.entry(port.name.service.clone()).or_default();
        match ports.binary_search_by(|held| held.name.cmp(&port.name)) {
            Ok(at) => ports[at] = Arc::new(port),
            Err(at) => ports.insert(at, Arc::new(port)),
        }
    }

    /// Takes a Service port out.
    pub fn remove_port(&mut self, name: &ServicePortName) {
        let Some(ports) = self.ports.get_mut(&name.service) else { return };
        ports.retain(|port| port.name != *name);
        if ports.is_empty() {
            self.ports.remove(&name.service);
        }
    }

    /// Takes a Service with all its ports out.
    pub fn remove(&mut self, service: &ServiceName) {
        self.ports.remove(service);
    }

    /// The ports of a Service, by name; none for a Service that is not in it.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> &[Arc<ServedPort>] {
        self.ports.get(name).map_or(&[], Vec::as_slice)
    }

    /// All ports, by name.
    pub fn ports(&self) -> impl Iterator<Item = &ServedPort> {
        self.ports.values().flatten().map(|port| &**port)
    }

    /// The names of all Services, in order.
    pub fn services(&self) -> impl Iterator<Item = &ServiceName> {
        self.ports.keys()
    }

    /// The Services that differ between the two: what a proxy's change trackers would report.
    #[must_use]
    pub fn changed_since(&self, before: &Self) -> BTreeSet<ServiceName> {
        let names = self.ports.keys().chain(before.ports.keys());
        names.filter(|name| self.service(name) != before.service(name)).cloned().collect()
    }

    /// Makes the Service what it is in `from`.
    pub(crate) fn copy_service(&mut self, name: &ServiceName, from: &Self) {
        match from.ports.get(name) {
            Some(ports) => self.ports.insert(name.clone(), ports.clone()),
            None => self.ports.remove(name),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sheave_core::Protocol;

    fn port(service: &str, port: &str, cluster_ip: &str) -> ServedPort {
        let service = ServiceName::new("shop", service);
        let name = ServicePortName { service, port: port.into(), protocol: Protocol::Tcp };
        ServedPort::cluster_ip(name, cluster_ip.parse().unwrap(), Port::new(80).unwrap(), [])
    }

    #[test]
    fn what_changed_is_told_by_service() {
        let mut before = Ruleset::new(Family::V4);
        for (service, name) in [("a", "http"), ("b", "http"), ("b", "https"), ("c", "http")] {
            before.insert(port(service, name, "172.30.0.1"));
        }
        let mut after = before.clone();
        assert_eq!(after.changed_since(&before), BTreeSet::new());
        after.insert(port("b", "https", "172.30.0.2"));
        after.remove(&ServiceName::new("shop", "c"));
        after.insert(port("d", "http", "172.30.0.3"));
        let changed = ["b", "c", "d"].map(|name| ServiceName::new("shop", name));
        assert_eq!(after.changed_since(&before), BTreeSet::from(changed));
        assert_eq!(after.ports().count(), 4);
    }
}
