//! Flows counted by Service port and by backend: the arrays beside `services`, `backends_v4` and `backends_v6`, open.
//!
//! The programs add to them, and the agent writes nothing but zeros: a count belongs to whoever has the id, so it begins at zero when the
//! id is given away ([`crate::ops::MapOp::ClearBackendFlows`]). A plain write loses nothing then, because nobody picks what has no id yet.
use crate::chunks::Chunks;
use crate::image::{Image, at};
use crate::load::{LoadError, at_pin};
use crate::maps::{MapError, said};
use crate::pins::Pins;
use sheave_abi::{BACKENDS_CHUNK, BackendId, SERVICES_CHUNK};
pub use sheave_abi::{ServiceFlows, ServiceId};
use sheave_core::{Backend, Family, ServiceKey};
use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The map of counts by Service port.
pub(crate) const SERVICES: &str = "service_flows";
/// The maps of counts by backend, IPv4 first.
pub(crate) const BACKENDS: [&str; 2] = ["backend_flows_v4", "backend_flows_v6"];

/// The pinned counts. For who writes them, one at a time; others only read.
#[derive(Debug)]
pub struct FlowCounts {
    services: Chunks<ServiceFlows>,
    backends: [Chunks<u64>; 2],
}

/// Where the flows of a Service port are counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meter {
    /// The Service port.
    pub key: ServiceKey,
    /// Its id.
    pub service: ServiceId,
    /// Its backends that serve, picked or not, with their ids.
    pub backends: Vec<(Backend, BackendId)>,
}

impl Meter {
    /// Of a Service port that an image holds.
    #[must_use]
    pub fn of(image: &Image, key: &ServiceKey) -> Option<Self> {
        let service = image.id(key)?;
        Some(Self { key: key.clone(), service, backends: image.members(service).into_iter().collect() })
    }
}

/// What was counted of a Service port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortFlows {
    /// Of all of it, since it is held.
    pub service: ServiceFlows,
    /// Flows that each backend got since it serves. Those of backends that are gone are in none of them.
    pub backends: Vec<(Backend, u64)>,
}

impl FlowCounts {
    /// Makes and pins the maps that are not there yet.
    pub(crate) fn create_pinned(maps: &Path) -> Result<(), LoadError> {
        let [v4, v6] = BACKENDS;
        at_pin(maps, SERVICES, |path| Chunks::<ServiceFlows>::create_pinned(SERVICES, path, SERVICES_CHUNK))?;
        at_pin(maps, v4, |path| Chunks::<u64>::create_pinned(v4, path, BACKENDS_CHUNK))?;
        at_pin(maps, v6, |path| Chunks::<u64>::create_pinned(v6, path, BACKENDS_CHUNK))
    }

    /// Opens the counts that [`crate::load::Loader`] has pinned below a BPF file system.
    ///
    /// # Errors
    /// Names the map that is missing or of another layout.
    pub fn open(bpffs: &Path) -> Result<Self, LoadError> {
        let maps = Pins::new(bpffs).maps();
        let backends = |map| at_pin(&maps, map, |path| Chunks::open(path, BACKENDS_CHUNK));
        let [v4, v6] = BACKENDS;
        Ok(Self {
            services: at_pin(&maps, SERVICES, |path| Chunks::open(path, SERVICES_CHUNK))?,
            backends: [backends(v4)?, backends(v6)?],
        })
    }

    /// What was counted of a Service port; zeros for an id without an entry.
    ///
    /// # Errors
    /// As bpf(2).
    pub fn service(&mut self, id: ServiceId) -> io::Result<ServiceFlows> {
        Ok(self.services.get(id.0.get())?.unwrap_or_default())
    }

    /// Flows that a backend got; zero for an id without an entry.
    ///
    /// # Errors
    /// As bpf(2).
    pub fn backend(&mut self, family: Family, id: BackendId) -> io::Result<u64> {
        Ok(self.backends[at(family)].get(id.0.get())?.unwrap_or_default())
    }

    /// What was counted of a Service port and of its backends. One system call for each of them.
    ///
    /// # Errors
    /// As bpf(2).
    pub fn port(&mut self, meter: &Meter) -> io::Result<PortFlows> {
        let Meter { key, service, backends } = meter;
        let count = |(backend, id): &(Backend, BackendId)| Ok((*backend, self.backend(key.family, *id)?));
        let backends = backends.iter().map(count).collect::<io::Result<_>>()?;
        Ok(PortFlows { service: self.service(*service)?, backends })
    }

    /// The Service ids of which anything was counted, in order. One system call reads 4096 entries, of all ids that ever were in use.
    ///
    /// # Errors
    /// As bpf(2).
    pub fn services(&mut self) -> io::Result<Vec<(ServiceId, ServiceFlows)>> {
        let counted = nonzero(&mut self.services, |flows| *flows != ServiceFlows::default())?;
        Ok(counted.into_iter().map(|(id, flows)| (ServiceId(id), flows)).collect())
    }

    /// The backend ids of a family of which anything was counted, in order. Costs as [`Self::services`].
    ///
    /// # Errors
    /// As bpf(2).
    pub fn backends(&mut self, family: Family) -> io::Result<Vec<(BackendId, u64)>> {
        let counted = nonzero(&mut self.backends[at(family)], |flows| *flows != 0)?;
        Ok(counted.into_iter().map(|(id, flows)| (BackendId(id), flows)).collect())
    }

    /// Makes an entry for a Service port, if there is none.
    pub(crate) fn reserve_service(&mut self, id: ServiceId) -> Result<(), MapError> {
        said(SERVICES, "create", self.services.reserve(&[id.0.get()]))
    }

    /// Makes entries for backends, where there are none.
    pub(crate) fn reserve_backends(&mut self, family: Family, ids: &[u32]) -> Result<(), MapError> {
        said(BACKENDS[at(family)], "create", self.backends[at(family)].reserve(ids))
    }

    /// Makes entries for all Service ports with ids below this one.
    pub(crate) fn reserve_services_below(&mut self, end: u32) -> Result<(), MapError> {
        said(SERVICES, "create", self.services.reserve_below(end))
    }

    /// Makes entries for all backends with ids below this one.
    pub(crate) fn reserve_backends_below(&mut self, family: Family, end: u32) -> Result<(), MapError> {
        said(BACKENDS[at(family)], "create", self.backends[at(family)].reserve_below(end))
    }

    pub(crate) fn clear_service(&mut self, id: ServiceId) -> Result<(), MapError> {
        said(SERVICES, "update", self.services.put_all(&[id.0.get()], &[ServiceFlows::default()]))
    }

    pub(crate) fn clear_backends(&mut self, family: Family, ids: &[BackendId]) -> Result<(), MapError> {
        let ids: Vec<u32> = ids.iter().map(|id| id.0.get()).collect();
        said(BACKENDS[at(family)], "update", self.backends[at(family)].put_all(&ids, &vec![0; ids.len()]))
    }

    /// At start, before anything is written: what an image knows to be free begins at zero, and what is in use has an entry. An agent that
    /// stopped between two writes may have left a free id with a count, and one of an earlier version ids without entries.
    ///
    /// # Errors
    /// With the first write the kernel refused, or the map that cannot be read.
    pub fn adopt(&mut self, image: &Image) -> Result<(), MapError> {
        image.keys_by_id().try_for_each(|(id, _)| self.reserve_service(id))?;
        let counted = said(SERVICES, "lookup", self.services())?;
        let free = counted.iter().filter(|(id, _)| image.key(*id).is_none());
        free.map(|(id, _)| *id).try_for_each(|id| self.clear_service(id))?;
        for family in Family::ALL {
            let used: Vec<u32> = image.backends_of(family).map(|id| id.0.get()).collect();
            self.reserve_backends(family, &used)?;
            let counted = said(BACKENDS[at(family)], "lookup", self.backends(family))?;
            let free = counted.into_iter().map(|(id, _)| id).filter(|id| image.backend(family, *id).is_none());
            self.clear_backends(family, &free.collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

/// Index zero is nobody's.
fn nonzero<V: IntoBytes + FromBytes + Immutable>(
    array: &mut Chunks<V>,
    counts: impl Fn(&V) -> bool,
) -> io::Result<Vec<(NonZeroU32, V)>> {
    let entries = array.entries()?.into_iter().filter(|(_, value)| counts(value));
    Ok(entries.filter_map(|(index, value)| Some((NonZeroU32::new(index)?, value))).collect())
}
