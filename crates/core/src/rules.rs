//! What holds for the node as a whole, whatever the Service: made from the settings, this Node and its addresses.
use crate::config::{DetectLocal, NodePortAddresses, ProxyConfig};
use crate::index::Index;
use crate::net::Family;
use crate::object::Node;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// Rules of the node, ready to be carried into a dataplane.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeRules {
    /// Everything to a ClusterIP is masqueraded (R1).
    pub masquerade_all: bool,
    /// How pods of this node are told from other sources (R5).
    pub local_pods: LocalPods,
    /// Addresses of the node itself, loopback apart.
    pub own: BTreeSet<IpAddr>,
    /// Addresses at which NodePorts are accepted (A5); loopback is among them where A6 accepts it, and no ClusterIP (A12).
    pub node_port_addrs: BTreeSet<IpAddr>,
    /// What is dropped unless it is an active ClusterIP (A3). Sorted.
    pub service_cidrs: Vec<IpNet>,
}

/// detectLocalMode with what it needs (R5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LocalPods {
    /// Sources inside the CIDR of their family. A family without one has no detector.
    Cidr {
        /// For IPv4 sources.
        v4: Option<IpNet>,
        /// For IPv6 sources.
        v6: Option<IpNet>,
    },
    /// What comes in by the interface of this name.
    Interface(Arc<str>),
    /// What comes in by an interface whose name begins so.
    InterfacePrefix(Arc<str>),
}

impl Default for LocalPods {
    fn default() -> Self {
        Self::Cidr { v4: None, v6: None }
    }
}

impl LocalPods {
    fn of(config: &DetectLocal, node: Option<&Node>) -> Self {
        let first = |cidrs: &[IpNet], family| cidrs.iter().find(|cidr| Family::of(cidr.addr()) == family).copied();
        let by_cidr = |cidrs: &[IpNet]| Self::Cidr { v4: first(cidrs, Family::V4), v6: first(cidrs, Family::V6) };
        match config {
            DetectLocal::ClusterCidr(cidrs) => by_cidr(cidrs),
            DetectLocal::NodeCidr => by_cidr(node.map_or(&[], |node| &node.pod_cidrs)),
            DetectLocal::BridgeInterface(name) => Self::Interface(name.clone()),
            DetectLocal::InterfaceNamePrefix(prefix) => Self::InterfacePrefix(prefix.clone()),
        }
    }

    /// Whether sources of this family can be told apart at all.
    #[must_use]
    pub fn detects(&self, family: Family) -> bool {
        match (self, family) {
            (Self::Cidr { v4, .. }, Family::V4) => v4.is_some(),
            (Self::Cidr { v6, .. }, Family::V6) => v6.is_some(),
            (Self::Interface(_) | Self::InterfacePrefix(_), _) => true,
        }
    }

    /// Whether what comes from `source` by `interface` (`None` = sent by the node itself) is from a pod of this node.
    #[must_use]
    pub fn matches(&self, source: IpAddr, interface: Option<&str>) -> bool {
        match self {
            Self::Cidr { v4, v6 } => [v4, v6].into_iter().flatten().any(|cidr| cidr.contains(&source)),
            Self::Interface(_) | Self::InterfacePrefix(_) => interface.is_some_and(|name| self.takes_device(name)),
        }
    }

    /// Whether all that comes in by a device of this name is from pods of this node. A detector by address never says so.
    #[must_use]
    pub fn takes_device(&self, name: &str) -> bool {
        match self {
            Self::Cidr { .. } => false,
            Self::Interface(interface) => **interface == *name,
            Self::InterfacePrefix(prefix) => name.starts_with(&**prefix),
        }
    }
}

impl NodeRules {
    /// The rules of the node the index is for. `node_local` are its addresses that are ClusterIPs (A12).
    #[must_use]
    pub fn of(config: &ProxyConfig, index: &Index, node_local: &BTreeSet<IpAddr>) -> Self {
        let own: BTreeSet<IpAddr> = index.own_addresses().collect();
        let node_port_addrs = node_port_addrs(&config.node_port_addresses, index, &own);
        let mut service_cidrs: Vec<IpNet> = index.service_cidrs().flat_map(|object| &object.cidrs).copied().collect();
        service_cidrs.sort_unstable();
        service_cidrs.dedup();
        Self {
            masquerade_all: config.masquerade_all,
            local_pods: LocalPods::of(&config.detect_local, index.node()),
            node_port_addrs: node_port_addrs.difference(node_local).copied().collect(),
            own,
            service_cidrs,
        }
    }

    /// On the way from these rules to `next`: nothing is dropped that neither drops, and no address is refused that either
    /// takes for the node's. What `next` takes away has to wait until it is served otherwise.
    #[must_use]
    pub fn relaxed(&self, next: &Self) -> Self {
        let in_both = |cidr: &&IpNet| self.service_cidrs.contains(cidr);
        Self {
            own: self.own.union(&next.own).copied().collect(),
            node_port_addrs: self.node_port_addrs.union(&next.node_port_addrs).copied().collect(),
            service_cidrs: next.service_cidrs.iter().filter(in_both).copied().collect(),
            ..next.clone()
        }
    }

    /// Whether an address is the node's own, loopback included.
    #[must_use]
    pub fn is_own(&self, addr: IpAddr) -> bool {
        addr.is_loopback() || self.own.contains(&addr)
    }
}

fn node_port_addrs(config: &NodePortAddresses, index: &Index, own: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
    let cidrs = match config {
        NodePortAddresses::Primary => {
            return Family::ALL.into_iter().filter_map(|f| index.primary_address(f)).collect();
        }
        NodePortAddresses::Cidrs(cidrs) => cidrs,
    };
    let accepted = |addr: &IpAddr| {
        let mut of_family = cidrs.iter().filter(|cidr| Family::of(cidr.addr()) == Family::of(*addr)).peekable();
        of_family.peek().is_none() || of_family.any(|cidr| cidr.contains(addr))
    };
    own.iter().copied().chain(Family::ALL.map(Family::loopback)).filter(accepted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_way_the_node_has_what_either_gives_and_drops_what_both_do() {
        let addrs = |hosts: &[u8]| hosts.iter().map(|host| IpAddr::from([192, 0, 2, *host])).collect::<BTreeSet<_>>();
        let cidr = |text: &str| text.parse::<IpNet>().expect("a CIDR");
        let rules = |own: &[u8], node_ports: &[u8], cidrs: &[&str]| NodeRules {
            own: addrs(own),
            node_port_addrs: addrs(node_ports),
            service_cidrs: cidrs.iter().map(|text| cidr(text)).collect(),
            ..NodeRules::default()
        };
        let held = rules(&[1, 2], &[1], &["10.96.0.0/16", "10.97.0.0/16"]);
        let next = NodeRules { masquerade_all: true, ..rules(&[2, 3], &[3], &["10.97.0.0/16", "10.98.0.0/16"]) };
        let relaxed = NodeRules { masquerade_all: true, ..rules(&[1, 2, 3], &[1, 3], &["10.97.0.0/16"]) };
        assert_eq!(held.relaxed(&next), relaxed);
        assert_eq!(next.relaxed(&next), next);
    }
}
