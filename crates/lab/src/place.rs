//! The places of a cluster where something runs: nodes, their pods, and hosts outside.
use crate::cluster::{ClusterError, Side};
use crate::pod_network::{NodeNetwork, PodNetwork};
use crate::sandbox::Sandbox;
use crate::sysctl;
use crate::wire;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A node: forwards between its pods and the fabric. Its sandbox has a cgroup and a mount namespace of its own, with a fresh
/// bpffs at `/sys/fs/bpf`.
pub struct Node {
    pub(crate) name: String,
    pub(crate) serial: u16,
    pub(crate) addrs: Vec<IpAddr>,
    /// What its other devices have.
    pub(crate) more_addrs: Vec<IpAddr>,
    pub(crate) pod_cidrs: Vec<IpNet>,
    pub(crate) network: PodNetwork,
    pub(crate) pods: BTreeMap<String, Pod>,
    pub(crate) side: Side,
}

/// A pod: a network namespace with `eth0`, in its node's cgroup.
pub struct Pod {
    pub(crate) name: String,
    pub(crate) addrs: Vec<IpAddr>,
    pub(crate) veth: String,
    pub(crate) sandbox: Sandbox,
}

/// A machine outside the cluster: to it the fabric is its network.
pub struct Host {
    pub(crate) name: String,
    pub(crate) addrs: Vec<IpAddr>,
    pub(crate) sandbox: Sandbox,
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

    /// Everything its devices have but loopback: its own addresses, and those of bridge, tunnels and further uplinks.
    pub fn all_addrs(&self) -> impl Iterator<Item = IpAddr> {
        self.addrs.iter().chain(&self.more_addrs).copied()
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

    /// Changes a kernel setting of its network namespace, `net/ipv4/conf/all/rp_filter` for instance.
    ///
    /// # Errors
    /// This kernel has no such setting, or does not take the value.
    pub fn set(&self, key: &'static str, value: &'static str) -> Result<(), ClusterError> {
        Ok(self.side.sandbox.run(move || sysctl::set(key, value))??)
    }

    pub(crate) fn pod_network(&self) -> NodeNetwork<'_> {
        NodeNetwork { network: self.network, serial: self.serial, addrs: &self.addrs, pod_cidrs: &self.pod_cidrs }
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


impl Host {
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

    /// Where its programs run.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }
}
