//! Names of chains (kubernetes/kubernetes, `pkg/proxy/iptables/proxier.go`, `portProtoHash`, `servicePortEndpointChainName`).
use crate::hash::Hash;
use crate::ruleset::ServedPort;
use sheave_core::Backend;
use std::fmt;

/// A chain of one Service port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Chain {
    kind: Kind,
    hash: Hash<16>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Cluster,
    Local,
    Firewall,
    External,
    Endpoint,
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.kind {
            Kind::Cluster => "KUBE-SVC",
            Kind::Local => "KUBE-SVL",
            Kind::Firewall => "KUBE-FW",
            Kind::External => "KUBE-EXT",
            Kind::Endpoint => "KUBE-SEP",
        };
        write!(f, "{prefix}-{}", self.hash)
    }
}

/// The chains that belong to a Service port as such.
#[derive(Clone, Copy)]
pub(super) struct Chains {
    /// Chooses among the endpoints of the policy Cluster.
    pub(super) cluster: Chain,
    /// Chooses among those of the policy Local.
    pub(super) local: Chain,
    /// Lets sources through to the load balancer's addresses.
    pub(super) firewall: Chain,
    /// What came from outside, or to an address for that.
    pub(super) external: Chain,
}

impl Chains {
    pub(super) fn of(port: &ServedPort) -> Self {
        let hash = Hash::of(&[&port.name.to_string(), &port.name.protocol.to_string()]);
        let chain = |kind| Chain { kind, hash };
        Self {
            cluster: chain(Kind::Cluster),
            local: chain(Kind::Local),
            firewall: chain(Kind::Firewall),
            external: chain(Kind::External),
        }
    }
}

/// Every endpoint that can be reached, with the chain that translates to it; in order.
pub(super) fn endpoints(port: &ServedPort) -> Vec<(Backend, Chain)> {
    let prefix = format!("{}{}", port.name, port.name.protocol);
    let reachable = port.reachable();
    let named = reachable.iter().map(|endpoint| {
        let hash = Hash::of(&[&prefix, &endpoint.to_string()]);
        (*endpoint, Chain { kind: Kind::Endpoint, hash })
    });
    named.collect()
}

/// The chains a Service port has.
pub(super) fn of(port: &ServedPort) -> Vec<Chain> {
    let Chains { cluster, local, firewall, external } = Chains::of(port);
    let own = [
        (port.uses_cluster(), cluster),
        (port.uses_local(), local),
        (uses_firewall(port), firewall),
        (port.uses_external(), external),
    ];
    let own = own.into_iter().filter_map(|(used, chain)| used.then_some(chain));
    own.chain(endpoints(port).into_iter().map(|(_, chain)| chain)).collect()
}

/// Whether the load balancer's addresses are behind a chain that asks for the source.
pub(super) fn uses_firewall(port: &ServedPort) -> bool {
    port.has_endpoints() && port.restricts_sources()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sheave_core::{Port, Protocol, ServiceName, ServicePortName};

    /// Names that kube-proxy gives, from its own tests (`pkg/proxy/iptables/proxier_test.go`, TestOverallIPTablesRules).
    #[test]
    fn names_are_those_that_kube_proxy_gives() {
        let name =
            ServicePortName { service: ServiceName::new("ns1", "svc1"), port: "p80".into(), protocol: Protocol::Tcp };
        let backend = Backend { addr: "10.180.0.1".parse().unwrap(), port: Port::new(80).unwrap() };
        let port = ServedPort::cluster_ip(name, "172.30.0.41".parse().unwrap(), backend.port, [backend]);
        let names: Vec<_> = of(&port).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["KUBE-SVC-XPGD46QRK7WJZT7O", "KUBE-SEP-SXIVWICOYRO3J4NJ"]);
    }
}
