//! The maps modelled in memory, as strict as the kernel and as the contract between agent and kernel programs: what the
//! kernel would refuse fails here, and so does an order of writes that would let a reader see a mixture.
mod chunks;
mod flows;

pub use flows::Flows;

use crate::blocks;
use crate::contents::Contents;
use crate::image::at;
use crate::maps::{MapError, Maps};
use crate::ops::{AddrUse, BackendEntry, Hash, HashRooms, MapOp, RulesEntry, ServiceEntry};
use chunks::Chunks;
use ipnet::IpNet;
use sheave_abi::{
    BACKENDS_CHUNK, BackendId, HASH_FIRST, NODE_ADDRS_MAX, RANGES_MAX, SERVICES_CHUNK, SLOTS_CHUNK, ServiceId, SetWord,
};
use sheave_core::{Backend, Family, Frontend, FrontendKind, ServiceKey, TrafficPolicy};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

const ENOENT: i32 = 2;
const E2BIG: i32 = 7;
const EINVAL: i32 = 22;
const ENOSPC: i32 = 28;

/// What a new flow to a frontend finds, read the way the kernel programs read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// No frontend, and the address is not ours: the packet passes.
    Nothing,
    /// The address is ours and has no such port: rejected (A2).
    Vip,
    /// The set that was asked for.
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
    services: Chunks<ServiceEntry>,
    slots: Chunks<BackendId>,
    backends: [Chunks<BackendEntry>; 2],
    flows: Flows,
    frontends: HashMap<Frontend, (ServiceId, FrontendKind)>,
    vips: HashSet<IpAddr>,
    rules: RulesEntry,
    addrs: BTreeMap<IpAddr, AddrUse>,
    ranges: BTreeMap<Option<ServiceId>, BTreeSet<IpNet>>,
    ranges_used: [u32; 2],
    rooms: HashRooms,
    entries_used: [u32; 2],
    ops: u64,
    faults: Vec<Fault>,
}

impl Default for MemoryMaps {
    fn default() -> Self {
        Self::new()
    }
}

fn backends_map(family: Family) -> &'static str {
    ["backends_v4", "backends_v6"][at(family)]
}

fn frontends_map(family: Family) -> &'static str {
    ["frontends_v4", "frontends_v6"][at(family)]
}

fn addrs_map(addr: IpAddr) -> &'static str {
    ["node_addrs_v4", "node_addrs_v6"][at(Family::of(addr))]
}

fn ranges_map(family: Family) -> &'static str {
    ["ranges_v4", "ranges_v6"][at(family)]
}

fn no(map: &'static str, operation: &'static str, errno: i32) -> MapError {
    MapError { map, operation, errno }
}

/// Whether an entry says that it is in the set of a policy.
fn is_in(entry: &BackendEntry, policy: TrafficPolicy) -> bool {
    match policy {
        TrafficPolicy::Cluster => entry.in_cluster,
        TrafficPolicy::Local => entry.in_local,
    }
}

fn word(entry: &ServiceEntry, policy: TrafficPolicy) -> SetWord {
    match policy {
        TrafficPolicy::Cluster => entry.cluster,
        TrafficPolicy::Local => entry.local,
    }
}

const POLICIES: [TrafficPolicy; 2] = [TrafficPolicy::Cluster, TrafficPolicy::Local];

impl MemoryMaps {
    /// Empty maps, as the loader makes them.
    #[must_use]
    pub fn new() -> Self {
        Self::with_room(HASH_FIRST)
    }

    /// Empty maps, whose hashes have room for so many entries until they grow.
    #[must_use]
    pub fn with_room(entries: u32) -> Self {
        Self {
            names: HashMap::new(),
            services: Chunks::new(SERVICES_CHUNK),
            slots: Chunks::new(SLOTS_CHUNK),
            backends: [Chunks::new(BACKENDS_CHUNK), Chunks::new(BACKENDS_CHUNK)],
            flows: Flows::default(),
            frontends: HashMap::new(),
            vips: HashSet::new(),
            rules: RulesEntry::default(),
            addrs: BTreeMap::new(),
            ranges: BTreeMap::new(),
            ranges_used: [0; 2],
            rooms: HashRooms::all(entries),
            entries_used: [0; 2],
            ops: 0,
            faults: Vec::new(),
        }
    }

    /// Has operations fail; replaces what was asked before.
    pub fn fail(&mut self, faults: Vec<Fault>) {
        self.faults = faults;
    }

    /// How many operations were asked for, failed ones included.
    #[must_use]
    pub fn ops(&self) -> u64 {
        self.ops
    }

    /// What a new flow to this frontend finds that picks from the set of a policy.
    #[must_use]
    pub fn resolve(&self, frontend: &Frontend, policy: TrafficPolicy) -> Found {
        let Some(&(service, _)) = self.frontends.get(frontend) else {
            return if self.vips.contains(&frontend.addr) { Found::Vip } else { Found::Nothing };
        };
        let SetWord { block, count } = word(&self.service(service), policy);
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

    /// The policy under which a flow from outside the node picks at a frontend (E4, E5).
    #[must_use]
    pub fn policy(&self, frontend: &Frontend) -> Option<TrafficPolicy> {
        let (service, kind) = *self.frontends.get(frontend)?;
        let ServiceEntry { internal, external, .. } = self.service(service);
        Some(if kind == FrontendKind::ClusterIp { internal } else { external })
    }

    /// The sources to which a frontend is restricted, as they are (R8); `None` where everyone may dial.
    #[must_use]
    pub fn sources(&self, frontend: &Frontend) -> Option<BTreeSet<IpNet>> {
        let (service, kind) = *self.frontends.get(frontend)?;
        let restricted = kind == FrontendKind::LoadBalancer && self.service(service).restricted;
        restricted.then(|| self.ranges.get(&Some(service)).cloned().unwrap_or_default())
    }

    /// Whose id it is.
    #[must_use]
    pub fn name(&self, service: ServiceId) -> Option<&ServiceKey> {
        self.names.get(&service)
    }

    /// What the programs count.
    pub fn flows(&mut self) -> &mut Flows {
        &mut self.flows
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
        let services = self.services.entries().filter(|(_, entry)| *entry != ServiceEntry::default());
        Contents {
            names: self.names.iter().map(|(id, key)| (*id, key.clone())).collect(),
            services: services.filter_map(|(id, entry)| Some((ServiceId(id.try_into().ok()?), entry))).collect(),
            slots: by_index,
            backends_v4: serving(Family::V4),
            backends_v6: serving(Family::V6),
            frontends: self.frontends.iter().map(|(frontend, to)| (*frontend, *to)).collect(),
            vips: self.vips.iter().copied().collect(),
            ranges: self.ranges.clone(),
            addrs: self.addrs.clone(),
            rules: self.rules.clone(),
            rooms: self.rooms,
        }
    }

    fn service(&self, service: ServiceId) -> ServiceEntry {
        self.services.get(service.0.get()).unwrap_or_default()
    }

    fn perform(&mut self, op: &MapOp, entries_max: usize) -> Result<(), MapError> {
        match op {
            MapOp::WriteBackends { family, entries } => {
                entries.iter().take(entries_max).try_for_each(|(id, entry)| self.write_backend(*family, *id, *entry))
            }
            MapOp::WriteSlots { first, ids } => self.write_slots(*first, ids, entries_max),
            _ if entries_max == 0 => Ok(()),
            MapOp::Grow { hash, entries } => {
                self.rooms.set(*hash, self.rooms.of(*hash).max(*entries));
                Ok(())
            }
            MapOp::Reserve { .. } => Ok(()),
            MapOp::WriteService { service, entry } => self.write_service(*service, *entry),
            MapOp::PutFrontend { frontend, kind, service } => self.put_frontend(*frontend, *kind, *service),
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
            MapOp::PutAddr { addr, uses } => self.put_addr(*addr, *uses),
            MapOp::DeleteAddr { addr } => {
                self.addrs.remove(addr).map(drop).ok_or_else(|| no(addrs_map(*addr), "delete", ENOENT))
            }
            MapOp::PutRange { service, range } => self.put_range(*service, *range),
            MapOp::DeleteRange { service, range } => self.delete_range(*service, range),
            MapOp::WriteRules { rules } => {
                self.rules = rules.clone();
                Ok(())
            }
            MapOp::ClearServiceFlows { service } => {
                self.flows.clear_service(*service);
                Ok(())
            }
            MapOp::ClearBackendFlows { family, ids } => {
                self.flows.clear_backends(*family, ids);
                Ok(())
            }
            MapOp::PutName { service, key } => {
                let new = !self.names.contains_key(service);
                if new && self.names.len() >= self.rooms.of(Hash::Names) as usize {
                    return Err(no("names", "update", E2BIG));
                }
                self.names.insert(*service, key.clone());
                Ok(())
            }
            MapOp::DeleteName { service } => self.delete_name(*service),
        }
    }

    fn room(&mut self, family: Family, new: bool) -> Result<(), MapError> {
        let room = self.rooms.of(Hash::Frontends(family));
        let used = &mut self.entries_used[at(family)];
        if new && *used >= room {
            return Err(no(frontends_map(family), "update", E2BIG));
        }
        *used += u32::from(new);
        Ok(())
    }

    /// Contract: an entry that a slot in force names keeps its address, goes on serving, and says which set that slot is in.
    fn write_backend(&mut self, family: Family, id: BackendId, entry: BackendEntry) -> Result<(), MapError> {
        let refused = Err(no(backends_map(family), "update", EINVAL));
        let in_a_set = entry.in_cluster || entry.in_local;
        let foreign = Family::of(entry.backend.addr) != family || !self.names.contains_key(&entry.service);
        if foreign || (in_a_set && !entry.serving) {
            return refused;
        }
        if let Some(old) = self.backends[at(family)].get(id.0.get())
            && self.names.get(&old.service).is_some_and(|key| key.family == family)
        {
            let same = (old.backend, old.service) == (entry.backend, entry.service) && entry.serving;
            let named = |policy| self.set(word(&self.service(old.service), policy)).contains(&Some(id));
            if POLICIES.into_iter().any(|policy| named(policy) && !(same && is_in(&entry, policy))) {
                return refused;
            }
        }
        self.backends[at(family)].set(id.0.get(), entry).map_err(|errno| no(backends_map(family), "update", errno))
    }

    /// Contract: within one chunk. What is in force changes slot by slot only, by a batch of one, and from one backend of its
    /// set to another.
    fn write_slots(&mut self, first: u32, ids: &[BackendId], entries_max: usize) -> Result<(), MapError> {
        let last = first + u32::try_from(ids.len()).map_err(|_| no("slots", "update", E2BIG))? - 1;
        if first / SLOTS_CHUNK != last / SLOTS_CHUNK {
            return Err(no("slots", "update", E2BIG));
        }
        for (slot, id) in (first..).zip(ids).take(entries_max) {
            if let Some((service, policy)) = self.owner(slot)
                && (ids.len() > 1 || !self.may_stand(*id, service, policy))
            {
                return Err(no("slots", "update", EINVAL));
            }
            self.slots.set(slot, *id).map_err(|errno| no("slots", "update", errno))?;
        }
        Ok(())
    }

    /// Whose set a slot is in.
    fn owner(&self, slot: u32) -> Option<(ServiceId, TrafficPolicy)> {
        let id = self.slots.get(slot)?;
        let services = Family::ALL.into_iter().filter_map(|family| {
            let service = self.backends[at(family)].get(id.0.get())?.service;
            self.names.get(&service).is_some_and(|key| key.family == family).then_some(service)
        });
        let sets = services.flat_map(|service| POLICIES.map(|policy| (service, policy)));
        sets.into_iter().find(|(service, policy)| {
            let SetWord { block, count } = word(&self.service(*service), *policy);
            (block..block + count).contains(&slot)
        })
    }

    /// Whether a slot of a set may name a backend.
    fn may_stand(&self, id: BackendId, service: ServiceId, policy: TrafficPolicy) -> bool {
        let entry = self.names.get(&service).and_then(|key| self.backends[at(key.family)].get(id.0.get()));
        entry.is_some_and(|entry| entry.serving && entry.service == service && is_in(&entry, policy))
    }

    /// Contract: what is published is whole, and the two sets have no slot in common.
    fn write_service(&mut self, service: ServiceId, entry: ServiceEntry) -> Result<(), MapError> {
        let refused = Err(no("services", "update", EINVAL));
        let (Some(cluster), Some(local)) = (blocks::range(entry.cluster), blocks::range(entry.local)) else {
            return refused;
        };
        let apart = cluster.is_empty() || local.is_empty() || cluster.end <= local.start || local.end <= cluster.start;
        let whole = POLICIES.into_iter().all(|policy| {
            let set = self.set(word(&entry, policy));
            set.into_iter().all(|id| id.is_some_and(|id| self.may_stand(id, service, policy)))
        });
        if !apart || !whole || !self.names.contains_key(&service) {
            return refused;
        }
        self.services.set(service.0.get(), entry).map_err(|errno| no("services", "update", errno))
    }

    /// Contract: a NodePort has the wildcard address, and nothing else has.
    fn put_frontend(&mut self, frontend: Frontend, kind: FrontendKind, service: ServiceId) -> Result<(), MapError> {
        let family = Family::of(frontend.addr);
        let foreign = self.names.get(&service).is_none_or(|key| key.family != family);
        if foreign || frontend.is_node_port() != (kind == FrontendKind::NodePort) {
            return Err(no(frontends_map(family), "update", EINVAL));
        }
        self.room(family, !self.frontends.contains_key(&frontend))?;
        self.frontends.insert(frontend, (service, kind));
        Ok(())
    }

    /// Contract: an entry says something.
    fn put_addr(&mut self, addr: IpAddr, uses: AddrUse) -> Result<(), MapError> {
        if uses == AddrUse::default() {
            return Err(no(addrs_map(addr), "update", EINVAL));
        }
        let used = self.addrs.keys().filter(|held| Family::of(**held) == Family::of(addr)).count();
        if !self.addrs.contains_key(&addr) && used >= NODE_ADDRS_MAX as usize {
            return Err(no(addrs_map(addr), "update", E2BIG));
        }
        self.addrs.insert(addr, uses);
        Ok(())
    }

    /// Contract: no host bits, and of a Service that has a name, and its family.
    fn put_range(&mut self, service: Option<ServiceId>, range: IpNet) -> Result<(), MapError> {
        let family = Family::of(range.addr());
        let map = ranges_map(family);
        let known = |service| self.names.get(&service).is_some_and(|key| key.family == family);
        if range != range.trunc() || !service.is_none_or(known) {
            return Err(no(map, "update", EINVAL));
        }
        let held = self.ranges.entry(service).or_default();
        if !held.contains(&range) && self.ranges_used[at(family)] >= RANGES_MAX {
            return Err(no(map, "update", ENOSPC));
        }
        self.ranges_used[at(family)] += u32::from(held.insert(range));
        Ok(())
    }

    fn delete_range(&mut self, service: Option<ServiceId>, range: &IpNet) -> Result<(), MapError> {
        let family = Family::of(range.addr());
        let absent = || no(ranges_map(family), "delete", ENOENT);
        let held = self.ranges.get_mut(&service).ok_or_else(absent)?;
        held.remove(range).then_some(()).ok_or_else(absent)?;
        if held.is_empty() {
            self.ranges.remove(&service);
        }
        self.ranges_used[at(family)] -= 1;
        Ok(())
    }

    /// Contract: the last write of a Service; it has neither sets nor sources any more.
    fn delete_name(&mut self, service: ServiceId) -> Result<(), MapError> {
        if self.service(service) != ServiceEntry::default() || self.ranges.contains_key(&Some(service)) {
            return Err(no("names", "delete", EINVAL));
        }
        self.names.remove(&service).map(drop).ok_or_else(|| no("names", "delete", ENOENT))
    }

    /// The slots of a set.
    fn set(&self, SetWord { block, count }: SetWord) -> Vec<Option<BackendId>> {
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
        let may_be_done = op.entries() > 1 || matches!(op, MapOp::Grow { .. });
        let entries = if may_be_done { fault.entries } else { 0 };
        self.perform(op, entries)?;
        Err(no("any", "injected", fault.errno))
    }
}
