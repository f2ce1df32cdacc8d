//! The maps modelled in memory, as strict as the kernel and as the contract between agent and kernel programs: what the
//! kernel would refuse fails here, and so does an order of writes that would let a reader see a mixture.
use crate::contents::Contents;
use crate::maps::{MapError, Maps};
use crate::ops::{BackendEntry, MapOp};
use sheave_abi::{BACKENDS_CHUNK, BackendId, CHUNKS_MAX, SERVICES_CHUNK, SLOTS_CHUNK, ServiceId, SetWord};
use sheave_core::{Backend, Family, Frontend, ServiceKey};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

const ENOENT: i32 = 2;
const E2BIG: i32 = 7;
const EINVAL: i32 = 22;

/// An array of arrays; only what was written is modelled, the rest reads as zero.
#[derive(Debug)]
struct Chunks<T> {
    entries_max: u32,
    entries: HashMap<u32, T>,
}

impl<T: Copy> Chunks<T> {
    fn new(chunk: u32) -> Self {
        Self { entries_max: chunk * CHUNKS_MAX, entries: HashMap::new() }
    }

    fn get(&self, index: u32) -> Option<T> {
        self.entries.get(&index).copied()
    }

    fn set(&mut self, index: u32, value: T) -> Result<(), i32> {
        if index >= self.entries_max {
            return Err(E2BIG);
        }
        self.entries.insert(index, value);
        Ok(())
    }

    fn entries(&self) -> impl Iterator<Item = (u32, T)> {
        self.entries.iter().map(|(index, value)| (*index, *value))
    }
}

/// What a new flow to a frontend finds, read the way the kernel programs read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// No frontend, and the address is not ours: the packet passes.
    Nothing,
    /// The address is ours and has no such port: rejected (A2).
    Vip,
    /// The set, empty for a rejection (E11).
    Set {
        /// Where the frontend leads.
        service: ServiceId,
        /// Each slot in order, so that a backend that stands twice is seen twice.
        backends: Vec<Backend>,
    },
    /// A slot of the set leads to no serving backend of the Service: a reader that retries in vain.
    Dangling {
        /// Where the frontend leads.
        service: ServiceId,
        /// The slot.
        slot: u32,
    },
}

/// A failure to have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Which operation fails, counted from 0 over the maps' whole life.
    pub op: u64,
    /// With what, as in errno(3).
    pub errno: i32,
    /// How many entries of it are written first; an operation of one entry writes none.
    pub entries: usize,
}

/// The maps.
#[derive(Debug)]
pub struct MemoryMaps {
    names: HashMap<ServiceId, ServiceKey>,
    words: Chunks<SetWord>,
    slots: Chunks<BackendId>,
    backends: [Chunks<BackendEntry>; 2],
    frontends: HashMap<Frontend, ServiceId>,
    vips: HashSet<IpAddr>,
    frontends_max: [u32; 2],
    entries_used: [u32; 2],
    ops: u64,
    faults: Vec<Fault>,
}

fn at(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

fn backends_map(family: Family) -> &'static str {
    ["backends_v4", "backends_v6"][at(family)]
}

fn frontends_map(family: Family) -> &'static str {
    ["frontends_v4", "frontends_v6"][at(family)]
}

fn no(map: &'static str, operation: &'static str, errno: i32) -> MapError {
    MapError { map, operation, errno }
}

impl MemoryMaps {
    /// Empty maps, with room for so many frontends of each family.
    #[must_use]
    pub fn new(frontends_max: u32) -> Self {
        Self {
            names: HashMap::new(),
            words: Chunks::new(SERVICES_CHUNK),
            slots: Chunks::new(SLOTS_CHUNK),
            backends: [Chunks::new(BACKENDS_CHUNK), Chunks::new(BACKENDS_CHUNK)],
            frontends: HashMap::new(),
            vips: HashSet::new(),
            frontends_max: [frontends_max; 2],
            entries_used: [0; 2],
            ops: 0,
            faults: Vec::new(),
        }
    }

    /// Has operations fail; replaces what was asked before.
    pub fn fail(&mut self, faults: Vec<Fault>) {
        self.faults = faults;
    }

    /// Makes room for so many frontends of each family.
    pub fn set_frontends_max(&mut self, frontends_max: u32) {
        self.frontends_max = [frontends_max; 2];
    }

    /// How many operations were asked for, failed ones included.
    #[must_use]
    pub fn ops(&self) -> u64 {
        self.ops
    }

    /// What a new flow to this frontend finds.
    #[must_use]
    pub fn resolve(&self, frontend: &Frontend) -> Found {
        let Some(&service) = self.frontends.get(frontend) else {
            return if self.vips.contains(&frontend.addr) { Found::Vip } else { Found::Nothing };
        };
        let SetWord { block, count } = self.words.get(service.0.get()).unwrap_or_default();
        let mut backends = Vec::new();
        for slot in block..block + count {
            let id = self.slots.get(slot);
            let entry = id.and_then(|id| self.backends[at(Family::of(frontend.addr))].get(id.0.get()));
            match entry.filter(|entry| entry.service == service && entry.serving) {
                Some(entry) => backends.push(entry.backend),
                None => return Found::Dangling { service, slot },
            }
        }
        Found::Set { service, backends }
    }

    /// Whose id it is.
    #[must_use]
    pub fn name(&self, service: ServiceId) -> Option<&ServiceKey> {
        self.names.get(&service)
    }

    /// Every frontend.
    pub fn frontends(&self) -> impl Iterator<Item = &Frontend> {
        self.frontends.keys()
    }

    /// Whether an entry says that this backend of this Service serves: flows that name it go on (L2).
    #[must_use]
    pub fn serves(&self, service: ServiceId, backend: Backend) -> bool {
        let entries = self.backends[at(Family::of(backend.addr))].entries();
        entries.map(|(_, entry)| entry).any(|e| e.serving && e.service == service && e.backend == backend)
    }

    /// What a read-back finds.
    #[must_use]
    pub fn contents(&self) -> Contents {
        let serving = |family| {
            let entries = self.backends[at(family)].entries().filter(|(_, entry)| entry.serving);
            entries.filter_map(|(id, e)| Some((BackendId(id.try_into().ok()?), e))).collect()
        };
        let mut slots: Vec<_> = self.slots.entries().collect();
        slots.sort_unstable_by_key(|(slot, _)| *slot);
        let mut by_index = vec![None; slots.last().map_or(0, |(slot, _)| *slot as usize + 1)];
        slots.into_iter().for_each(|(slot, id)| by_index[slot as usize] = Some(id));
        let words = self.words.entries().filter(|(_, word)| word.count > 0);
        Contents {
            names: self.names.iter().map(|(id, key)| (*id, key.clone())).collect(),
            words: words.filter_map(|(id, word)| Some((ServiceId(id.try_into().ok()?), word))).collect(),
            slots: by_index,
            backends_v4: serving(Family::V4),
            backends_v6: serving(Family::V6),
            frontends: self.frontends.iter().map(|(frontend, id)| (*frontend, *id)).collect(),
            vips: self.vips.iter().copied().collect::<BTreeSet<_>>().into_iter().collect(),
        }
    }

    fn perform(&mut self, op: &MapOp, entries_max: usize) -> Result<(), MapError> {
        match op {
            MapOp::WriteBackends { family, entries } => {
                entries.iter().take(entries_max).try_for_each(|(id, entry)| self.write_backend(*family, *id, *entry))
            }
            MapOp::WriteSlots { first, ids } => self.write_slots(*first, ids, entries_max),
            _ if entries_max == 0 => Ok(()),
            MapOp::WriteSet { service, word } => self.write_set(*service, *word),
            MapOp::PutFrontend { frontend, service } => self.put_frontend(*frontend, *service),
            MapOp::DeleteFrontend { frontend } => {
                let family = Family::of(frontend.addr);
                self.frontends.remove(frontend).ok_or_else(|| no(frontends_map(family), "delete", ENOENT))?;
                self.entries_used[at(family)] -= 1;
                Ok(())
            }
            MapOp::PutVip { addr } => {
                self.room(Family::of(*addr), !self.vips.contains(addr))?;
                self.vips.insert(*addr);
                Ok(())
            }
            MapOp::DeleteVip { addr } => {
                let family = Family::of(*addr);
                if !self.vips.remove(addr) {
                    return Err(no(frontends_map(family), "delete", ENOENT));
                }
                self.entries_used[at(family)] -= 1;
                Ok(())
            }
            MapOp::PutName { service, key } => {
                self.names.insert(*service, key.clone());
                Ok(())
            }
            MapOp::DeleteName { service } => self.delete_name(*service),
        }
    }

    fn room(&mut self, family: Family, new: bool) -> Result<(), MapError> {
        let used = &mut self.entries_used[at(family)];
        if new && *used >= self.frontends_max[at(family)] {
            return Err(no(frontends_map(family), "update", E2BIG));
        }
        *used += u32::from(new);
        Ok(())
    }

    /// Contract: the address of an entry that a slot in force names does not change, and the entry goes on serving.
    fn write_backend(&mut self, family: Family, id: BackendId, entry: BackendEntry) -> Result<(), MapError> {
        let map = backends_map(family);
        if Family::of(entry.backend.addr) != family || !self.names.contains_key(&entry.service) {
            return Err(no(map, "update", EINVAL));
        }
        let old = self.backends[at(family)].get(id.0.get());
        if let Some(old) = old.filter(|old| *old != entry)
            && self.names.get(&old.service).is_some_and(|key| key.family == family)
            && self.set(old.service).contains(&Some(id))
        {
            return Err(no(map, "update", EINVAL));
        }
        self.backends[at(family)].set(id.0.get(), entry).map_err(|errno| no(map, "update", errno))
    }

    /// Contract: within one chunk; what is in force changes slot by slot only, by a batch of one.
    fn write_slots(&mut self, first: u32, ids: &[BackendId], entries_max: usize) -> Result<(), MapError> {
        let last = first + u32::try_from(ids.len()).map_err(|_| no("slots", "update", E2BIG))? - 1;
        if first / SLOTS_CHUNK != last / SLOTS_CHUNK {
            return Err(no("slots", "update", E2BIG));
        }
        for (slot, id) in (first..).zip(ids).take(entries_max) {
            self.slots.set(slot, *id).map_err(|errno| no("slots", "update", errno))?;
        }
        Ok(())
    }

    fn write_set(&mut self, service: ServiceId, word: SetWord) -> Result<(), MapError> {
        if !self.names.contains_key(&service) {
            return Err(no("services", "update", EINVAL));
        }
        self.words.set(service.0.get(), word).map_err(|errno| no("services", "update", errno))
    }

    fn put_frontend(&mut self, frontend: Frontend, service: ServiceId) -> Result<(), MapError> {
        let family = Family::of(frontend.addr);
        if self.names.get(&service).is_none_or(|key| key.family != family) {
            return Err(no(frontends_map(family), "update", EINVAL));
        }
        self.room(family, !self.frontends.contains_key(&frontend))?;
        self.frontends.insert(frontend, service);
        Ok(())
    }

    /// Contract: the last write of a Service; it has no set any more.
    fn delete_name(&mut self, service: ServiceId) -> Result<(), MapError> {
        if self.words.get(service.0.get()).is_some_and(|word| word.count > 0) {
            return Err(no("names", "delete", EINVAL));
        }
        self.names.remove(&service).map(drop).ok_or_else(|| no("names", "delete", ENOENT))
    }

    /// The slots in force of a Service.
    fn set(&self, service: ServiceId) -> Vec<Option<BackendId>> {
        let SetWord { block, count } = self.words.get(service.0.get()).unwrap_or_default();
        (block..block + count).map(|slot| self.slots.get(slot)).collect()
    }
}

impl Maps for MemoryMaps {
    fn exec(&mut self, op: &MapOp) -> Result<(), MapError> {
        let number = self.ops;
        self.ops += 1;
        let Some(fault) = self.faults.iter().find(|fault| fault.op == number).copied() else {
            return self.perform(op, usize::MAX);
        };
        let entries = if op.entries() == 1 { 0 } else { fault.entries };
        self.perform(op, entries)?;
        Err(no("any", "injected", fault.errno))
    }
}
