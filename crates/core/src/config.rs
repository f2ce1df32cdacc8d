//! The settings that decide what a Service means on this node; they do not change while the process lives.
use crate::net::Family;
use ipnet::IpNet;
use std::sync::Arc;

/// Settings of the proxy, as `KubeProxyConfiguration` has them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProxyConfig {
    /// masqueradeAll: whatever is sent to a ClusterIP is masqueraded (R1).
    pub masquerade_all: bool,
    /// detectLocalMode, with what it needs (R5).
    pub detect_local: DetectLocal,
    /// nodePortAddresses (A5).
    pub node_port_addresses: NodePortAddresses,
    /// Whether external IPs are served (A10).
    pub external_ips: bool,
}

impl Default for ProxyConfig {
    /// What an empty `KubeProxyConfiguration` means.
    fn default() -> Self {
        Self {
            masquerade_all: false,
            detect_local: DetectLocal::default(),
            node_port_addresses: NodePortAddresses::default(),
            external_ips: true,
        }
    }
}

/// How the pods of this node are told from other sources (R5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DetectLocal {
    /// Sources inside the cluster's pod CIDRs; the first of each family counts. Pods of other nodes match as well.
    ClusterCidr(Vec<IpNet>),
    /// Sources inside this node's `spec.podCIDRs`.
    NodeCidr,
    /// What comes in by this bridge.
    BridgeInterface(Arc<str>),
    /// What comes in by an interface whose name begins so.
    InterfaceNamePrefix(Arc<str>),
}

impl Default for DetectLocal {
    fn default() -> Self {
        Self::ClusterCidr(Vec::new())
    }
}

/// At which addresses of the node NodePorts are accepted (A5).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum NodePortAddresses {
    /// The primary address of each family.
    #[default]
    Primary,
    /// Those inside one of these. A family without a CIDR accepts all its addresses.
    Cidrs(Vec<IpNet>),
}

impl NodePortAddresses {
    /// Whether every address of a family is accepted: there is no CIDR of it, or one that takes everything in.
    #[must_use]
    pub fn accepts_all(&self, family: Family) -> bool {
        let Self::Cidrs(cidrs) = self else { return false };
        let mut of_family = cidrs.iter().filter(|cidr| Family::of(cidr.addr()) == family).peekable();
        of_family.peek().is_none() || of_family.any(|cidr| cidr.prefix_len() == 0)
    }
}
