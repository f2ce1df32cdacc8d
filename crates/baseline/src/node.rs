//! What kube-proxy is told about its node.
use ipnet::IpNet;
use std::net::IpAddr;

/// The bit that marks a packet for masquerading: kube-proxy's default, `masqueradeBit: 14`, as it prints it.
pub(crate) const MASQUERADE_MARK: &str = "0x00004000";

/// Configuration of a proxy for one family on one node; everything else has kube-proxy's default.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeConfig {
    /// The node's primary address.
    pub addr: IpAddr,
    /// The pods' network (`clusterCIDR`), by which a local pod is known. Without it nothing is masqueraded on its way to a
    /// ClusterIP.
    pub pods: Option<IpNet>,
    /// ServiceCIDRs; nftables mode drops what is sent to an address in them that no Service has.
    pub service_cidrs: Vec<IpNet>,
}

impl NodeConfig {
    /// A node that knows its pods' network and no ServiceCIDR.
    #[must_use]
    pub fn new(addr: IpAddr, pods: IpNet) -> Self {
        Self { addr, pods: Some(pods), service_cidrs: Vec::new() }
    }
}
