//! Nodes and pods, wired like a routed CNI wires them.
//!
//! ```text
//!   fabric (router, drops what it does not know)
//!     ├── node-a  eth0, own bpffs and cgroup ── veth-<pod> ── pod eth0
//!     └── node-b  …
//! ```
use crate::cgroup::{CgroupError, ProcessCgroup, ThreadCgroup};
use crate::rtnl::{Rtnl, RtnlError};
use crate::sandbox::{Isolation, Sandbox, SandboxError};
use crate::sysctl::{self, Role, SysctlError};
use crate::wire::{self, Leaf};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// IFNAMSIZ without its final zero.
const DEVICE_NAME_MAX: usize = 15;
const POD_DEVICE_PREFIX: &str = "veth-";
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
    fabric: Side,
    next_serial: u16,
    process: ProcessCgroup,
}

/// A node: forwards between its pods and the fabric. Its sandbox has a cgroup and a mount namespace of its own, with a fresh
/// bpffs at `/sys/fs/bpf`.
pub struct Node {
    name: String,
    addrs: Vec<IpAddr>,
    pod_cidrs: Vec<IpNet>,
    pods: BTreeMap<String, Pod>,
    side: Side,
}

/// A pod: a network namespace with `eth0`, in its node's cgroup.
pub struct Pod {
    name: String,
    addrs: Vec<IpAddr>,
    veth: String,
    sandbox: Sandbox,
}

/// A sandbox and the socket that configures its network.
struct Side {
    rtnl: Rtnl,
    sandbox: Sandbox,
}

impl Side {
    fn new(sandbox: Sandbox, role: Role) -> Result<Self, ClusterError> {
        sandbox.run(move || sysctl::apply(role))??;
        Ok(Self { rtnl: Rtnl::open(&sandbox)?, sandbox })
    }
}

impl Builder {
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
        let mut cluster = Cluster { nodes: BTreeMap::new(), fabric, next_serial: 1, process };
        self.nodes.into_iter().try_for_each(|spec| cluster.add_node(spec))?;
        Ok(cluster)
    }
}

impl Cluster {
    /// A cluster without nodes. `purpose` names its scratch cgroup, for people.
    #[must_use]
    pub fn builder(purpose: &str) -> Builder {
        Builder { purpose: purpose.to_owned(), nodes: Vec::new() }
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
        let leaf = Leaf {
            serial,
            parent_device: device_name(&name)?,
            sandbox: &side.sandbox,
            addrs: &addrs,
            networks: &pod_cidrs,
        };
        leaf.connect(&mut self.fabric.rtnl, &mut side.rtnl)?;
        // Like Calico: an address of the block without a pod ends here, it does not go round between node and fabric.
        side.rtnl.apply(pod_cidrs.iter().map(|&cidr| wire::blackhole(cidr)).collect())?;
        self.nodes.insert(name.clone(), Node { name, addrs, pod_cidrs, pods: BTreeMap::new(), side });
        Ok(())
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
        let leaf = Leaf { serial, parent_device: &veth, sandbox: &side.sandbox, addrs: &addrs, networks: &[] };
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

impl Node {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its own addresses.
    #[must_use]
    pub fn addrs(&self) -> &[IpAddr] {
        &self.addrs
    }

    /// The networks of its pods.
    #[must_use]
    pub fn pod_cidrs(&self) -> &[IpNet] {
        &self.pod_cidrs
    }

    /// Where its agent and its host-network clients run.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.side.sandbox
    }

    /// Its device towards the fabric.
    #[must_use]
    pub fn uplink(&self) -> &'static str {
        wire::LEAF_DEVICE
    }

    /// Its pods, by name.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values()
    }
}

impl Pod {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its addresses.
    #[must_use]
    pub fn addrs(&self) -> &[IpAddr] {
        &self.addrs
    }

    /// The node's end of its wire.
    #[must_use]
    pub fn veth(&self) -> &str {
        &self.veth
    }

    /// Where its programs run.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }
}

fn device_name(device: &str) -> Result<&str, ClusterError> {
    if device.len() > DEVICE_NAME_MAX {
        return Err(ClusterError::NameTooLong { device: device.to_owned() });
    }
    Ok(device)
}
