//! One kernel write each: what `lower` produces, `exec` performs and `Image` commits.
use sheave_abi::{BackendId, ServiceId, SetWord};
use sheave_core::{Backend, Family, Frontend, ServiceKey};
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
}

/// A write to the maps. An operation writes one map; several entries of it go in one batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MapOp {
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
    /// Points a Service at its set: the one store that publishes a change of several backends (I1).
    WriteSet {
        /// The Service.
        service: ServiceId,
        /// Its set.
        word: SetWord,
    },
    /// Creates a frontend, or moves it to another Service in one write.
    PutFrontend {
        /// The frontend.
        frontend: Frontend,
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
            Self::WriteSlots { ids, .. } => ids.len(),
            _ => 1,
        }
    }
}
