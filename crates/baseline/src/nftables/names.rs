//! Names of chains and sets (kubernetes/kubernetes, `pkg/proxy/nftables/proxier.go`, `servicePortChainNameBase`,
//! `servicePortEndpointChainNameBase`, `hashAndTruncate`).
use crate::hash::Hash;
use crate::ruleset::ServedPort;
use sheave_core::Backend;
use std::net::IpAddr;

/// nft allows names of 256 bytes; 16 are kept for what stands before.
const BASE_BYTES_MAX: usize = 240;

/// The names of one Service port.
pub(super) struct Names {
    /// Chooses among the endpoints of the policy Cluster.
    pub(super) cluster: String,
    /// Chooses among those of the policy Local.
    pub(super) local: String,
    /// What came from outside, or to an address for that.
    pub(super) external: String,
    /// Drops sources that may not use the load balancer's addresses.
    pub(super) firewall: String,
    /// Every endpoint that can be reached, in order.
    pub(super) endpoints: Vec<EndpointNames>,
}

/// The names of one endpoint of a Service port.
pub(super) struct EndpointNames {
    /// Itself.
    pub(super) endpoint: Backend,
    /// The chain that translates to it.
    pub(super) chain: String,
    /// The clients that stay with it.
    pub(super) affinity: String,
}

impl Names {
    pub(super) fn of(port: &ServedPort) -> Self {
        let name = &port.name;
        let plain = format!("{}/{}/{}", name.service, name.protocol, name.port);
        let base = hashed(&plain);
        let endpoints = port.reachable().iter().map(|endpoint| EndpointNames::of(&plain, *endpoint)).collect();
        Self {
            cluster: format!("service-{base}"),
            local: format!("local-{base}"),
            external: format!("external-{base}"),
            firewall: format!("firewall-{base}"),
            endpoints,
        }
    }

    /// The names of an endpoint that can be reached.
    pub(super) fn endpoint(&self, endpoint: &Backend) -> &EndpointNames {
        let at = self.endpoints.binary_search_by(|names| names.endpoint.cmp(endpoint));
        &self.endpoints[at.expect("invariant: what is chosen from can be reached")]
    }

    /// The chains that are there, in the order in which they are made.
    pub(super) fn chains(&self, port: &ServedPort) -> impl Iterator<Item = &str> {
        let own = [
            (port.uses_cluster(), &self.cluster),
            (port.uses_local(), &self.local),
            (port.uses_external(), &self.external),
            (port.restricts_sources(), &self.firewall),
        ];
        let own = own.into_iter().filter_map(|(used, name)| used.then_some(name.as_str()));
        self.endpoints.iter().map(|names| names.chain.as_str()).chain(own)
    }

    /// The sets of clients that are there.
    pub(super) fn affinity_sets(&self, port: &ServedPort) -> impl Iterator<Item = &str> {
        self.endpoints.iter().filter(|_| port.affinity.is_some()).map(|names| names.affinity.as_str())
    }
}

impl EndpointNames {
    /// A colon is not allowed in a name.
    fn of(service: &str, endpoint: Backend) -> Self {
        let port = endpoint.port;
        let base = match endpoint.addr {
            IpAddr::V4(addr) => hashed(&format!("{service}__{addr}/{port}")),
            IpAddr::V6(addr) => hashed(&format!("{service}__{}/{port}", addr.to_string().replace(':', "."))),
        };
        Self { endpoint, chain: format!("endpoint-{base}"), affinity: format!("affinity-{base}") }
    }
}

fn hashed(name: &str) -> String {
    let mut base = format!("{}-{name}", Hash::<8>::of(&[name]));
    if base.len() > BASE_BYTES_MAX {
        base.truncate(BASE_BYTES_MAX - 3);
        base.push_str("...");
    }
    base
}

#[cfg(test)]
mod tests {
    use super::*;
    use sheave_core::{Port, Protocol, ServiceName, ServicePortName};

    fn names(service: &str, cluster_ip: &str, backend: &str) -> Names {
        let name =
            ServicePortName { service: ServiceName::new("ns1", service), port: "p80".into(), protocol: Protocol::Tcp };
        let backend = Backend { addr: backend.parse().unwrap(), port: Port::new(80).unwrap() };
        Names::of(&ServedPort::cluster_ip(name, cluster_ip.parse().unwrap(), backend.port, [backend]))
    }

    /// Names that kube-proxy gives, from the comments of the functions named above.
    #[test]
    fn names_are_those_that_kube_proxy_gives() {
        let v4 = names("svc1", "172.30.0.41", "10.180.0.1");
        assert_eq!(v4.cluster, "service-ULMVA6XW-ns1/svc1/tcp/p80");
        assert_eq!(v4.endpoints[0].chain, "endpoint-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80");
        let v6 = names("svc1", "fd00::1", "fd00:10::1");
        assert!(v6.endpoints[0].chain.ends_with("-ns1/svc1/tcp/p80__fd00.10..1/80"), "{}", v6.endpoints[0].chain);
    }

    #[test]
    fn a_long_name_is_cut_and_stays_unique_by_its_hash() {
        let [one, two] = ["x", "y"].map(|end| names(&format!("{}{end}", "s".repeat(250)), "172.30.0.41", "10.180.0.1"));
        assert_eq!(one.cluster.len(), "service-".len() + BASE_BYTES_MAX);
        assert_ne!(one.cluster, two.cluster);
    }
}
