//! The dataplanes under test, behind one trait: what each does with the cluster it is to serve.
mod peer;
mod sheave;

pub(crate) use peer::Peer;
pub(crate) use sheave::Sheave;

use crate::cluster::Cluster;
use crate::record::{Backends, Dataplane, Shape};
use sheave_baseline::exec::ExecError;
use sheave_baseline::{Layout, Missing, Restore, Variant};
use sheave_bpf::attach::AttachError;
use sheave_bpf::bench_select::BenchError;
use sheave_bpf::load::{LoadError, Programs};
use sheave_core::Touched;
use sheave_lab::{CgroupError, ClusterError, RtnlError, SandboxError};
use std::path::Path;
use std::time::Duration;

/// A dataplane in the network namespace of the calling thread. Each step comes in two parts: making what is to be written,
/// and writing it, which returns when the kernel has acknowledged.
pub(crate) trait Contender: Send {
    /// Makes what an empty kernel needs to serve the cluster.
    fn generate_all(&mut self, cluster: &Cluster);

    /// Makes what a change needs.
    fn generate(&mut self, cluster: &Cluster, touched: &Touched);

    /// Writes what was made last.
    fn write(&mut self) -> Result<Effort, ContenderError>;

    /// Does what a proxy defers to a time after the change, and what therefore is not measured.
    fn tidy(&mut self) -> Result<(), ContenderError> {
        Ok(())
    }

    /// Brings an empty kernel to serve the cluster by whatever way is quickest.
    fn set_up(&mut self, cluster: &Cluster) -> Result<(), ContenderError> {
        self.generate_all(cluster);
        self.write().map(drop)
    }

    /// What of the cluster it cannot serve, if anything.
    fn lacks(&self, cluster: &Cluster) -> Option<String> {
        let _ = cluster;
        None
    }

    /// Its programs, where it has such, for running them on packets, and the BPF file system with their maps.
    fn programs(&self) -> Option<(&Programs, &Path)> {
        None
    }
}

/// What writing took that the process itself does not show.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Effort {
    /// CPU time of tools.
    pub(crate) cpu_children: Duration,
    /// The most memory a tool held.
    pub(crate) rss_children_bytes: u64,
    /// Bytes handed to the kernel or to a tool.
    pub(crate) bytes_written: Option<u64>,
}

impl std::ops::AddAssign for Effort {
    fn add_assign(&mut self, other: Self) {
        self.cpu_children += other.cpu_children;
        self.rss_children_bytes = self.rss_children_bytes.max(other.rss_children_bytes);
        self.bytes_written = self.bytes_written.zip(other.bytes_written).map(|(a, b)| a + b);
    }
}

impl Effort {
    /// None at all.
    pub(crate) fn nothing() -> Self {
        Self { bytes_written: Some(0), ..Self::default() }
    }
}

/// A dataplane could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContenderError {
    /// A tool is missing.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A tool failed.
    #[error(transparent)]
    Tool(#[from] ExecError),
    /// The programs could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The programs could not be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A map refused.
    #[error("{what}: {wrong}")]
    Map {
        /// The object.
        what: String,
        /// What the kernel said, or which limit stands in the way.
        wrong: String,
    },
    /// Threads could not be kept to a processor.
    #[error("cannot keep client and server to one processor: {0}")]
    Processors(#[from] nix::Error),
    /// No place to work in.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// No network to work in.
    #[error(transparent)]
    Network(#[from] RtnlError),
    /// No namespaces to work in.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A lookup was asked of a dataplane without programs.
    #[error("this dataplane has no programs that could be run on a packet")]
    NoPrograms,
    /// Decisions could not be measured.
    #[error(transparent)]
    Decide(#[from] BenchError),
    /// Decisions came out in another way than they must.
    #[error("of {all} decisions {wanted} came out as they must")]
    Decided {
        /// Those that did.
        wanted: u64,
        /// All of them.
        all: u64,
    },
    /// No cgroup to work in.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The listener that stands for all backends.
    #[error("cannot listen for connections to backends: {0}")]
    Listen(std::io::Error),
    /// The first lookup did not find the new rule.
    #[error("the kernel has acknowledged, and then a connection to {frontend} {wrong}")]
    Lookup {
        /// What was dialled.
        frontend: std::net::SocketAddr,
        /// What became of it.
        wrong: String,
    },
}

impl Dataplane {
    /// The rules of a peer that this is.
    pub(crate) fn layout(self) -> Option<Layout> {
        match self {
            Self::IptablesLegacy => Some(Layout::Iptables(Variant::Legacy, Restore::Full)),
            Self::IptablesLegacyPartial => Some(Layout::Iptables(Variant::Legacy, Restore::Partial)),
            Self::IptablesNft => Some(Layout::Iptables(Variant::Nft, Restore::Full)),
            Self::IptablesNftPartial => Some(Layout::Iptables(Variant::Nft, Restore::Partial)),
            Self::Nftables => Some(Layout::Nftables),
            Self::NftSingleMap => Some(Layout::SingleMap),
            Self::SheaveEbpf | Self::SheaveEbpfDevice | Self::SheaveIpvs | Self::Direct => None,
        }
    }

    /// The one that leaves the same rules behind, and writes all of them at every sync; `None` for what is no such variant.
    pub(crate) fn with_full_syncs(self) -> Option<Self> {
        match self {
            Self::IptablesLegacyPartial => Some(Self::IptablesLegacy),
            Self::IptablesNftPartial => Some(Self::IptablesNft),
            _ => None,
        }
    }

    /// Whether the set-up of the other one is the same: syncs differ, the rules do not.
    pub(crate) fn sets_up_like(self, other: Self) -> bool {
        let rules = |dataplane: Self| dataplane.with_full_syncs().unwrap_or(dataplane);
        rules(self) == rules(other)
    }

    /// Whether a set-up does what a cold start does.
    pub(crate) fn sets_up_by_a_cold_start(self) -> bool {
        self != Self::Nftables
    }
}

/// The smallest cluster there is: for finding out whether a dataplane works at all.
pub(crate) fn least() -> Cluster {
    Cluster::new(Shape::new(1, Backends::Each(1)))
}
