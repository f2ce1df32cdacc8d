//! The Kubernetes objects sheave reads, reduced to what it acts on and parsed once, at the edge (`sheave-kube-source`).
use crate::name::{ServiceKey, ServiceName, ServicePortName, SliceName};
use crate::net::{Family, Port, Protocol};
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// A Service that asks to be served: W1, W2 and W3 have been applied by the source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Creation time in seconds since the epoch; the older of two claimants wins a frontend (X1).
    pub created_unix_s: i64,
    /// The addresses of A1, at most one per family. Empty where none can be used: then it gives no rules. Services that
    /// never have one (W1, W2, W3) do not get here.
    pub cluster_ips: Vec<IpAddr>,
    /// Its ports. Unique by (name, protocol); the source drops later duplicates with a diagnostic.
    pub ports: Vec<ServicePort>,
    /// The addresses of A7: `status.loadBalancer.ingress[].ip` with ipMode nil or VIP (A8).
    pub load_balancer_ips: Vec<IpAddr>,
    /// The other addresses of its status, with ipMode Proxy (A8): the load balancer itself passes what is sent to them. Kept to
    /// say why nothing is served there.
    pub proxied_ips: Vec<IpAddr>,
    /// `spec.externalIPs` (A10).
    pub external_ips: Vec<IpAddr>,
    /// internalTrafficPolicy, which governs its ClusterIPs (E4).
    pub internal_policy: TrafficPolicy,
    /// externalTrafficPolicy, which governs NodePorts, LoadBalancer addresses and external IPs (E5).
    pub external_policy: TrafficPolicy,
    /// sessionAffinity (E10); `None` = each flow picks anew.
    pub affinity: Option<Affinity>,
    /// loadBalancerSourceRanges (R8), of both families; empty = not restricted.
    pub source_ranges: Vec<IpNet>,
    /// healthCheckNodePort, of type LoadBalancer only: where load balancers ask whether this node has an endpoint (H3). It
    /// counts while the external policy is Local.
    pub health_check_node_port: Option<Port>,
    /// The file and line it was read from, if any: for diagnostics.
    pub origin: Option<Arc<str>>,
}

impl Service {
    /// A Service that asks for nothing: no address, no port.
    #[must_use]
    pub fn new(name: ServiceName) -> Self {
        Self {
            name,
            created_unix_s: 0,
            cluster_ips: Vec::new(),
            ports: Vec::new(),
            load_balancer_ips: Vec::new(),
            proxied_ips: Vec::new(),
            external_ips: Vec::new(),
            internal_policy: TrafficPolicy::Cluster,
            external_policy: TrafficPolicy::Cluster,
            affinity: None,
            source_ranges: Vec::new(),
            health_check_node_port: None,
            origin: None,
        }
    }

    /// Whether it is served in a family at all: one in which it has no ClusterIP has no frontend of any kind, as in kube-proxy.
    #[must_use]
    pub fn has_family(&self, family: Family) -> bool {
        self.cluster_ips.iter().any(|addr| Family::of(*addr) == family)
    }

    /// Each port in each family that it is served in.
    pub fn keys(&self) -> impl Iterator<Item = (ServiceKey, &ServicePort)> {
        Family::ALL.into_iter().filter(|family| self.has_family(*family)).flat_map(move |family| {
            self.ports.iter().map(move |port| {
                let (name, protocol) = (port.name.clone(), port.protocol);
                (
                    ServiceKey { port: ServicePortName { service: self.name.clone(), port: name, protocol }, family },
                    port,
                )
            })
        })
    }

    /// Every address it is dialled at, NodePorts apart.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.cluster_ips.iter().chain(&self.load_balancer_ips).chain(&self.external_ips).copied()
    }
}

/// One port of a [`Service`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServicePort {
    /// Name, empty for the only, unnamed port.
    pub name: Arc<str>,
    /// Protocol.
    pub protocol: Protocol,
    /// The port clients dial at a VIP.
    pub port: Port,
    /// The port clients dial at a node (A4); `None` where none is allocated (A9).
    pub node_port: Option<Port>,
}

/// Which endpoints traffic may go to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum TrafficPolicy {
    /// All of the cluster (E1).
    #[default]
    Cluster,
    /// Those on this node (E2).
    Local,
}

impl fmt::Display for TrafficPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "Cluster",
            Self::Local => "Local",
        })
    }
}

/// sessionAffinity ClientIP: new flows of one client go where its last one went (E10).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Affinity {
    /// For how long after the client's last new flow, in seconds: 1 to 86400.
    pub timeout_s: u32,
}

/// An EndpointSlice of one Service and one family. Slices without a Service (W5), headless ones (W2) and FQDN ones (W4)
/// never get here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointSlice {
    /// Its name.
    pub name: SliceName,
    /// The Service it belongs to, from the label `kubernetes.io/service-name`.
    pub service: ServiceName,
    /// The family of its `addressType`; every endpoint's address is of it.
    pub family: Family,
    /// Ports with a number (W6: nil and 0 are ignored).
    pub ports: Vec<SlicePort>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A port of a slice: the number behind a Service port's name in this slice (W6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlicePort {
    /// Name, empty for the unnamed port.
    pub name: Arc<str>,
    /// Protocol.
    pub protocol: Protocol,
    /// Target port.
    pub port: Port,
}

/// What an EndpointSlice reports of one endpoint. Conditions have their defaults applied (W7).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// `addresses[0]` (W8).
    pub addr: IpAddr,
    /// Condition `ready`, nil = true.
    pub ready: bool,
    /// Condition `serving`, nil = true.
    pub serving: bool,
    /// Condition `terminating`, nil = false.
    pub terminating: bool,
    /// Node it runs on; nil = not local.
    pub node: Option<Arc<str>>,
    /// For whom it is meant (E7); `None` = it carries no hint.
    pub hints: Option<Arc<Hints>>,
}

impl Endpoint {
    /// A ready one of which nothing else is known.
    #[must_use]
    pub fn ready(addr: IpAddr) -> Self {
        Self { addr, ready: true, serving: true, terminating: false, node: None, hints: None }
    }
}

/// Topology hints of an endpoint (KEP-2433, KEP-4444): the control plane's wish who should use it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Hints {
    /// Names of nodes, `hints.forNodes`.
    pub nodes: Vec<Arc<str>>,
    /// Zones, `hints.forZones`.
    pub zones: Vec<Arc<str>>,
}

/// A Node, of which only this one is watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// The zone it is in, from the label `topology.kubernetes.io/zone` (E7, W14).
    pub zone: Option<Arc<str>>,
    /// `status.addresses`: InternalIPs, then ExternalIPs, each in the API's order. The first of a family is its primary one
    /// (A5).
    pub addresses: Vec<IpAddr>,
    /// `spec.podCIDRs`, for detectLocalMode NodeCIDR (R5).
    pub pod_cidrs: Vec<IpNet>,
    /// Why it is about to go, if it is: load balancers should send it nothing new (H1, KEP-3836).
    pub leaving: Option<Leaving>,
}

/// Why a node is about to go (H1, KEP-3836).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaving {
    /// Its object has a deletionTimestamp.
    Deleted,
    /// It has the taint `ToBeDeletedByClusterAutoscaler`.
    ScaledDown,
}

/// A ServiceCIDR object (KEP-1880).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceCidr {
    /// Its name.
    pub name: Arc<str>,
    /// Its CIDRs, at most one per family.
    pub cidrs: Vec<IpNet>,
}
