//! Nodes and pods, wired as a CNI plug-in wires them, and machines outside.
//!
//! ```text
//!   fabric (router, drops what it does not know)
//!     ├── node-a  eth0, own bpffs and cgroup ── veth-<pod> ── pod eth0
//!     ├── node-b  …
//!     └── host    eth0
//! ```
use crate::cgroup::{CgroupError, ProcessCgroup, ThreadCgroup};
use crate::place::{Host, Node, Pod};
use crate::pod_network::{NodeNetwork, PodNetwork};
use crate::rtnl::{Request, Rtnl, RtnlError};
use crate::sandbox::{Isolation, Sandbox, SandboxError};
use crate::sysctl::{self, Role, SysctlError};
use crate::wire::{self, End, Hop, Leaf};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// IFNAMSIZ without its final zero.
const DEVICE_NAME_MAX: usize = 15;
const POD_DEVICE_PREFIX: &str = "veth-";
/// The fabric's table of routes that hold for some of its neighbours only, and the place of its rules: before the main one.
const DIRECTED: u8 = 77;
const DIRECTED_PRIORITY: u32 = 1000;
const FAMILIES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

/// Whether this kernel can have the address at all (A14).
fn supported(addr: &IpAddr) -> bool {
    addr.is_ipv4() || sysctl::ipv6_available()
}

/// A cluster could not be built or changed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The cluster has no such node.
    #[error("no node {node:?} in this cluster; it has {known:?}")]
    UnknownNode {
        /// What was asked for.
        node: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Two of one name.
    #[error("{name:?} is in this cluster already; choose another name")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A device name would not fit.
    #[error("device name {device:?} has {} characters; the kernel takes {DEVICE_NAME_MAX}: shorten the name", device.len())]
    NameTooLong {
        /// The device.
        device: String,
    },
    /// More wires than device indexes are set aside for.
    #[error("this cluster has {} wires already; build a second one", u16::MAX)]
    TooManyWires,
    /// A scratch cgroup.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A kernel setting.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// A device, an address or a route.
    #[error(transparent)]
    Rtnl(#[from] RtnlError),
}

/// What a cluster is to consist of.
pub struct Builder {
    purpose: String,
    network: PodNetwork,
    nodes: Vec<NodeSpec>,
}

struct NodeSpec {
    name: String,
    addrs: Vec<IpAddr>,
    pod_cidrs: Vec<IpNet>,
}

/// A running cluster; gone when dropped.
pub struct Cluster {
    // In the order of their end: pods before nodes before the fabric, the process's cgroup last.
    nodes: BTreeMap<String, Node>,
    hosts: BTreeMap<String, Host>,
    network: PodNetwork,
    fabric: Side,
    next_serial: u16,
    process: ProcessCgroup,
}

/// A sandbox and the socket that configures its network.
pub(crate) struct Side {
    pub(crate) rtnl: Rtnl,
    pub(crate) sandbox: Sandbox,
}

impl Side {
    fn new(sandbox: Sandbox, role: Role) -> Result<Self, ClusterError> {
        sandbox.run(move || sysctl::apply(role))??;
        Ok(Self { rtnl: Rtnl::open(&sandbox)?, sandbox })
    }
}

impl Builder {
    /// How pods are wired, and nodes to each other's pods.
    #[must_use]
    pub fn network(mut self, network: PodNetwork) -> Self {
        self.network = network;
        self
    }

    /// Adds a node. `addrs` are its own, `pod_cidrs` what the fabric routes to it. A kernel without IPv6 gets the IPv4 part.
    #[must_use]
    pub fn node(
        mut self,
        name: &str,
        addrs: impl IntoIterator<Item = IpAddr>,
        pod_cidrs: impl IntoIterator<Item = IpNet>,
    ) -> Self {
        self.nodes.push(NodeSpec {
            name: name.to_owned(),
            addrs: addrs.into_iter().filter(supported).collect(),
            pod_cidrs: pod_cidrs.into_iter().filter(|cidr| supported(&cidr.addr())).map(|cidr| cidr.trunc()).collect(),
        });
        self
    }

    /// Builds it.
    ///
    /// # Errors
    /// The process is not root, cgroup v2 is not mounted, or the kernel refuses something; what was built is gone again.
    pub fn build(self) -> Result<Cluster, ClusterError> {
        let process = ProcessCgroup::join(&self.purpose)?;
        let mut fabric = Side::new(Sandbox::new("fabric")?, Role::Router)?;
        let closed = FAMILIES.into_iter().filter(supported).map(|family| wire::blackhole(wire::everything(family)));
        fabric.rtnl.apply([wire::loopback_up()].into_iter().chain(closed).collect())?;
        let (nodes, hosts) = (BTreeMap::new(), BTreeMap::new());
        let mut cluster = Cluster { nodes, hosts, network: self.network, fabric, next_serial: 1, process };
        self.nodes.into_iter().try_for_each(|spec| cluster.add_node(spec))?;
        Ok(cluster)
    }
}

impl Cluster {
    /// A cluster without nodes. `purpose` names its scratch cgroup, for people.
    #[must_use]
    pub fn builder(purpose: &str) -> Builder {
        Builder { purpose: purpose.to_owned(), network: PodNetwork::default(), nodes: Vec::new() }
    }

    fn add_node(&mut self, spec: NodeSpec) -> Result<(), ClusterError> {
        let NodeSpec { name, addrs, pod_cidrs } = spec;
        if self.nodes.contains_key(&name) {
            return Err(ClusterError::Duplicate { name });
        }
        let serial = self.take_serial()?;
        let cgroup: Arc<ThreadCgroup> = Arc::new(self.process.for_threads(&name)?);
        let isolation = Isolation { cgroup: Some(cgroup), mounts: true };
        let mut side = Side::new(Sandbox::isolated(&name, isolation)?, Role::Router)?;
        let networks: &[IpNet] = if self.network.is_tunnelled() { &[] } else { &pod_cidrs };
        let (parent_device, mtu) = (device_name(&name)?, wire::MTU);
        let leaf = Leaf { serial, parent_device, sandbox: &side.sandbox, addrs: &addrs, networks, mtu, end: End::Routed };
        leaf.connect(&mut self.fabric.rtnl, &mut side.rtnl)?;
        let (network, pods) = (self.network, BTreeMap::new());
        let more_addrs = NodeNetwork { network, serial, addrs: &addrs, pod_cidrs: &pod_cidrs }.prepare(&mut side.rtnl)?;
        let mut node = Node { name: name.clone(), serial, addrs, more_addrs, pod_cidrs, network, pods, side };
        for other in self.nodes.values_mut() {
            meet(&mut node, other)?;
            meet(other, &node)?;
        }
        self.nodes.insert(name, node);
        Ok(())
    }

    /// Adds a machine outside the cluster; without its IPv6 addresses, if the kernel has no IPv6.
    ///
    /// # Errors
    /// The name is taken or too long for a device, or the kernel refuses something.
    pub fn add_host(&mut self, name: &str, addrs: &[IpAddr]) -> Result<&Host, ClusterError> {
        let serial = self.take_serial()?;
        if self.hosts.contains_key(name) || self.nodes.contains_key(name) {
            return Err(ClusterError::Duplicate { name: name.to_owned() });
        }
        let mut side = Side::new(Sandbox::new(name)?, Role::Host)?;
        let addrs: Vec<IpAddr> = addrs.iter().copied().filter(supported).collect();
        let (parent_device, mtu) = (device_name(name)?, wire::MTU);
        let sandbox = &side.sandbox;
        let leaf = Leaf { serial, parent_device, sandbox, addrs: &addrs, networks: &[], mtu, end: End::Routed };
        leaf.connect(&mut self.fabric.rtnl, &mut side.rtnl)?;
        let host = Host { name: name.to_owned(), addrs, sandbox: side.sandbox };
        Ok(self.hosts.entry(name.to_owned()).or_insert(host))
    }

    /// Gives a node a second device towards the fabric, `eth1`, with addresses of its own. Its default route stays with the
    /// first; what is sent by the second on purpose has one too.
    ///
    /// # Errors
    /// No such node, it has a second uplink already, or the kernel refuses something.
    pub fn add_uplink(&mut self, node: &str, addrs: &[IpAddr]) -> Result<(), ClusterError> {
        let serial = self.take_serial()?;
        let known = self.nodes.keys().cloned().collect();
        let node = self.nodes.get_mut(node).ok_or(ClusterError::UnknownNode { node: node.to_owned(), known })?;
        let addrs: Vec<IpAddr> = addrs.iter().copied().filter(supported).collect();
        let parent_device = &format!("{}-2", node.name);
        let Side { rtnl, sandbox } = &mut node.side;
        let parent_device = device_name(parent_device)?;
        let mtu = wire::MTU;
        let leaf = Leaf { serial, parent_device, sandbox, addrs: &addrs, networks: &[], mtu, end: End::Second };
        leaf.connect(&mut self.fabric.rtnl, rtnl)?;
        node.more_addrs.extend(addrs);
        Ok(())
    }

    /// The fabric leads these networks to a node, for what comes from these nodes and hosts only: as a load balancer leads
    /// its addresses to a node. What the node itself sends there still ends in the fabric.
    ///
    /// # Errors
    /// No such node, a network was led somewhere before, or the kernel refuses something.
    pub fn lead(&mut self, networks: &[IpNet], node: &str, from: &[&str]) -> Result<(), ClusterError> {
        let known = self.nodes.keys().cloned().collect();
        let to = self.nodes.get(node).ok_or(ClusterError::UnknownNode { node: node.to_owned(), known })?;
        let index = wire::parent_index(to.serial);
        let mut requests = Vec::new();
        for &network in networks.iter().filter(|network| supported(&network.addr())) {
            let gateway = to.addrs.iter().copied().find(|addr| addr.is_ipv4() == network.addr().is_ipv4());
            requests.extend(gateway.map(|gateway| wire::route_in(DIRECTED, network, Hop::Via { gateway, index })));
        }
        for family in FAMILIES.into_iter().filter(supported) {
            requests.extend(from.iter().map(|name| Request::new_rule(name, family, DIRECTED, DIRECTED_PRIORITY)));
        }
        Ok(self.fabric.rtnl.apply(requests)?)
    }

    /// Adds a pod to a running cluster; without its IPv6 addresses, if the kernel has no IPv6.
    ///
    /// # Errors
    /// No such node, the name is taken or too long for a device, or the kernel refuses something.
    pub fn add_pod(&mut self, node: &str, name: &str, addrs: &[IpAddr]) -> Result<&Pod, ClusterError> {
        let serial = self.take_serial()?;
        let known = || self.nodes.keys().cloned().collect();
        if !self.nodes.contains_key(node) {
            return Err(ClusterError::UnknownNode { node: node.to_owned(), known: known() });
        }
        if self.pod(name).is_some() {
            return Err(ClusterError::Duplicate { name: name.to_owned() });
        }
        let node = self.nodes.get_mut(node).expect("invariant: looked up above");
        let device = format!("{POD_DEVICE_PREFIX}{name}");
        let veth = device_name(&device)?.to_owned();
        let mut side = Side::new(node.side.sandbox.nested(name)?, Role::Host)?;
        let addrs: Vec<IpAddr> = addrs.iter().copied().filter(supported).collect();
        let bridge = node.pod_network().bridge();
        let (sandbox, mtu) = (&side.sandbox, self.network.pod_mtu());
        let end = bridge.as_ref().map_or(End::Routed, End::Port);
        let leaf = Leaf { serial, parent_device: &veth, sandbox, addrs: &addrs, networks: &[], mtu, end };
        leaf.connect(&mut node.side.rtnl, &mut side.rtnl)?;
        let pod = Pod { name: name.to_owned(), addrs, veth, sandbox: side.sandbox };
        Ok(node.pods.entry(name.to_owned()).or_insert(pod))
    }

    /// Takes a pod away: its devices go once nothing runs in it any more. `false`: there was none.
    pub fn remove_pod(&mut self, name: &str) -> bool {
        self.nodes.values_mut().any(|node| node.pods.remove(name).is_some())
    }

    /// A node by name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// A pod by name, whatever its node.
    #[must_use]
    pub fn pod(&self, name: &str) -> Option<&Pod> {
        self.nodes.values().find_map(|node| node.pods.get(name))
    }

    /// A machine outside, by name.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.get(name)
    }

    /// Whatever runs something by this name: a pod, a node or a host outside.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<&Sandbox> {
        let node = || self.node(name).map(Node::sandbox);
        self.pod(name).map(Pod::sandbox).or_else(node).or_else(|| self.host(name).map(Host::sandbox))
    }

    /// The router between the nodes; to it, nodes and pods are the cluster, it is the world outside.
    #[must_use]
    pub fn fabric(&self) -> &Sandbox {
        &self.fabric.sandbox
    }

    fn take_serial(&mut self) -> Result<u16, ClusterError> {
        let serial = self.next_serial;
        self.next_serial = serial.checked_add(1).ok_or(ClusterError::TooManyWires)?;
        Ok(serial)
    }
}

/// Tells a node the way to another one's pods.
fn meet(node: &mut Node, other: &Node) -> Result<(), RtnlError> {
    let Node { network, serial, addrs, pod_cidrs, side, .. } = node;
    NodeNetwork { network: *network, serial: *serial, addrs, pod_cidrs }.meet(&mut side.rtnl, &other.pod_network())
}

fn device_name(device: &str) -> Result<&str, ClusterError> {
    if device.len() > DEVICE_NAME_MAX {
        return Err(ClusterError::NameTooLong { device: device.to_owned() });
    }
    Ok(device)
}
