//! One kernel write each: what `lower` produces, `exec` performs and `Image` commits.
use ipnet::IpNet;
use sheave_abi::{BACKENDS_CHUNK, BackendId, HASH_FIRST, SERVICES_CHUNK, SLOTS_CHUNK, ServiceId, SetWord};
use sheave_core::rules::LocalPods;
use sheave_core::{Affinity, Backend, Family, Frontend, FrontendKind, ServiceKey, TrafficPolicy};
use std::net::IpAddr;

/// An entry of `backends_v4` or `backends_v6`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BackendEntry {
    /// Its address and target port; its family chooses the map.
    pub backend: Backend,
    /// The Service it belongs to.
    pub service: ServiceId,
    /// False once its flows have to be decided anew (L2).
    pub serving: bool,
    /// Whether it is in the Cluster set. Affinity asks that of one backend without reading the set (E10).
    pub in_cluster: bool,
    /// Whether it is in the Local set.
    pub in_local: bool,
}

/// An entry of `services`: all a new flow has to know of a Service port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ServiceEntry {
    /// Where its Cluster set stands (E1).
    pub cluster: SetWord,
    /// Where its Local set stands (E2).
    pub local: SetWord,
    /// The policy of its ClusterIPs (E4).
    pub internal: TrafficPolicy,
    /// The policy of its other frontends (E5).
    pub external: TrafficPolicy,
    /// New flows of one client go where its last one went (E10).
    pub affinity: Option<Affinity>,
    /// Whether its LoadBalancer addresses take only the sources in `ranges` (R8).
    pub restricted: bool,
}

/// An entry of `rules`: what holds for the node, addresses and prefixes apart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RulesEntry {
    /// Everything to a ClusterIP is masqueraded (R1).
    pub masquerade_all: bool,
    /// How pods of this node are told from other sources (R5).
    pub local_pods: LocalPods,
}

/// An entry of `node_addrs_v4` or `node_addrs_v6`: what an address is to the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AddrUse {
    /// It is the node's own. Never set for loopback, which is without saying.
    pub own: bool,
    /// It accepts NodePorts (A5, A6).
    pub node_ports: bool,
}

/// A hash that grows on line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hash {
    /// `frontends_v4` or `frontends_v6`.
    Frontends(Family),
    /// `names`.
    Names,
}

impl Hash {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Frontends(Family::V4), Self::Frontends(Family::V6), Self::Names];

    /// Its name in the kernel.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Frontends(Family::V4) => "frontends_v4",
            Self::Frontends(Family::V6) => "frontends_v6",
            Self::Names => "names",
        }
    }
}

/// An array of arrays, which grows chunk by chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Array {
    /// `services`, and `service_flows` beside it.
    Services,
    /// `slots`.
    Slots,
    /// `backends_v4` or `backends_v6`, and what counts their flows beside it.
    Backends(Family),
}

impl Array {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Services, Self::Slots, Self::Backends(Family::V4), Self::Backends(Family::V6)];

    /// Entries in a chunk.
    #[must_use]
    pub fn chunk(self) -> u32 {
        match self {
            Self::Services => SERVICES_CHUNK,
            Self::Slots => SLOTS_CHUNK,
            Self::Backends(_) => BACKENDS_CHUNK,
        }
    }
}

/// Entries that each [`Hash`] has room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HashRooms {
    frontends: [u32; 2],
    names: u32,
}

impl Default for HashRooms {
    /// As they are made.
    fn default() -> Self {
        Self::all(HASH_FIRST)
    }
}

impl HashRooms {
    /// Room for so many entries in each.
    #[must_use]
    pub fn all(entries: u32) -> Self {
        Self { frontends: [entries; 2], names: entries }
    }

    /// The room of one.
    #[must_use]
    pub fn of(&self, hash: Hash) -> u32 {
        match hash {
            Hash::Frontends(Family::V4) => self.frontends[0],
            Hash::Frontends(Family::V6) => self.frontends[1],
            Hash::Names => self.names,
        }
    }

    /// Notes the room of one.
    pub fn set(&mut self, hash: Hash, entries: u32) {
        *match hash {
            Hash::Frontends(Family::V4) => &mut self.frontends[0],
            Hash::Frontends(Family::V6) => &mut self.frontends[1],
            Hash::Names => &mut self.names,
        } = entries;
    }
}

/// A write to the maps. An operation writes one map; several entries of it go in one batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MapOp {
    /// Has a larger hash with the same entries take the place of one. Stands before what needs the room. It may have been performed
    /// even if it failed: then there is more room than is known.
    Grow {
        /// Which one.
        hash: Hash,
        /// Entries it has room for from then on.
        entries: u32,
    },
    /// Makes the chunks of an array below an index, all at once. Only spares time: an entry that is written has its chunk made.
    Reserve {
        /// Which one.
        array: Array,
        /// The index.
        end: u32,
    },
    /// Writes entries of the backends map of one family. Never rewrites the address of an entry that a slot names.
    WriteBackends {
        /// Chooses the map.
        family: Family,
        /// The entries; at least one.
        entries: Vec<(BackendId, BackendEntry)>,
    },
    /// Writes the slots `first..first + ids.len()`, all in one chunk. Each slot changes atomically.
    WriteSlots {
        /// The first slot.
        first: u32,
        /// Their new contents; at least one.
        ids: Vec<BackendId>,
    },
    /// Publishes sets and policies of a Service, all of them at once (I1).
    WriteService {
        /// The Service.
        service: ServiceId,
        /// What it is from now on.
        entry: ServiceEntry,
    },
    /// Creates a frontend, or moves it to another Service, or makes it one of another kind, in one write.
    PutFrontend {
        /// The frontend; a NodePort's has the wildcard address.
        frontend: Frontend,
        /// By what right it is the Service's: says which policy governs it.
        kind: FrontendKind,
        /// The Service it leads to from now on.
        service: ServiceId,
    },
    /// Removes a frontend.
    DeleteFrontend {
        /// The frontend.
        frontend: Frontend,
    },
    /// Claims every port of an address, so that ports it does not have are rejected (A2).
    PutVip {
        /// The address.
        addr: IpAddr,
    },
    /// Gives an address back.
    DeleteVip {
        /// The address.
        addr: IpAddr,
    },
    /// Says what an address is to the node (A5).
    PutAddr {
        /// The address.
        addr: IpAddr,
        /// What it is. Not nothing at all: such an entry is deleted.
        uses: AddrUse,
    },
    /// The address is nothing to the node any more.
    DeleteAddr {
        /// The address.
        addr: IpAddr,
    },
    /// Adds a prefix: sources that may dial a Service's LoadBalancer addresses (R8), or a ServiceCIDR (A3).
    PutRange {
        /// The Service; `None` for a ServiceCIDR.
        service: Option<ServiceId>,
        /// The prefix, host bits zero.
        range: IpNet,
    },
    /// Removes a prefix.
    DeleteRange {
        /// The Service; `None` for a ServiceCIDR.
        service: Option<ServiceId>,
        /// The prefix, host bits zero.
        range: IpNet,
    },
    /// Writes what holds for the node, all of it at once.
    WriteRules {
        /// What is to hold.
        rules: RulesEntry,
    },
    /// Counts the flows of a Service from zero: before its id is given to it, if it was another one's.
    ClearServiceFlows {
        /// The Service.
        service: ServiceId,
    },
    /// Counts the flows of backends from zero: before their ids are given to them, if they were others'.
    ClearBackendFlows {
        /// Chooses the map.
        family: Family,
        /// The backends; at least one.
        ids: Vec<BackendId>,
    },
    /// Names a Service id. The first write for a new Service and the last one of a deleted one.
    PutName {
        /// The id.
        service: ServiceId,
        /// Whose it is.
        key: ServiceKey,
    },
    /// Frees a Service id.
    DeleteName {
        /// The id.
        service: ServiceId,
    },
}

impl MapOp {
    /// Map entries this operation writes.
    #[must_use]
    pub fn entries(&self) -> usize {
        match self {
            Self::WriteBackends { entries, .. } => entries.len(),
            Self::WriteSlots { ids, .. } | Self::ClearBackendFlows { ids, .. } => ids.len(),
            _ => 1,
        }
    }
}
