//! A test cluster on one machine: network namespaces, veths, cgroups, probes.
//!
//! [`Cluster`] lays out nodes and pods as a CNI plug-in does, of one [`PodNetwork`] or another; [`probe`] sends real requests between them and says of each what
//! became of it. Nothing of a lab is connected to the machine's own network: the fabric between the nodes drops what it does
//! not know. Everything but the cgroups lives in namespaces without a name and is gone when the process is, however it ends;
//! the cgroups of dead processes are removed by the next lab.

mod cgroup;
mod cluster;
mod netns;
mod place;
mod pod_network;
pub mod probe;
mod rtnl;
mod sandbox;
mod solitary;
mod stand;
mod sysctl;
mod wire;

pub use cgroup::{CgroupError, ProcessCgroup, ThreadCgroup};
pub use cluster::{Builder, Cluster, ClusterError};
pub use netns::{NameError, NetNs, NetNsName};
pub use place::{Host, Node, Pod};
pub use pod_network::PodNetwork;
pub use rtnl::RtnlError;
pub use sandbox::{Sandbox, SandboxError};
pub use stand::{Device, Stand, StandError};
pub use sysctl::SysctlError;
