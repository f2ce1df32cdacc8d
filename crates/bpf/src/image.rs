//! What the maps hold, mirrored: the only thing `lower` looks at.
//!
//! An operation is committed after the kernel said yes and never before, so the image is true after a failure anywhere
//! (I3). Whatever is derived, free ids and free blocks among it, follows from the contents alone: an image built from maps
//! found at start serves the same under the same ids (I5).
use crate::blocks::{self, Blocks};
use crate::ids::IdPool;
use crate::ops::{AddrUse, BackendEntry, Hash, HashRooms, MapOp, RulesEntry, ServiceEntry};
use ipnet::IpNet;
use sheave_abi::{BackendId, ServiceId, SetWord};
use sheave_core::{
    Backend, Family, FlatMap, FlatSet, Frontend, FrontendKind, NodeRules, Realized, ServiceKey, Serving, Sources,
    Table, beyond,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

/// The contents of the maps.
#[derive(Clone, Debug, Default)]
pub struct Image {
    ids: Table<ServiceKey, ServiceId>,
    /// `names` and `services`, by id.
    services: Vec<Option<Box<Service>>>,
    slots: Vec<Option<BackendId>>,
    backends: [Backends; 2],
    frontends: Table<Frontend, (ServiceId, FrontendKind)>,
    vips: BTreeSet<IpAddr>,
    /// Frontends and addresses per family: they share a map.
    frontend_entries: [u32; 2],
    rooms: HashRooms,
    rules: RulesEntry,
    addrs: BTreeMap<IpAddr, AddrUse>,
    service_cidrs: BTreeSet<IpNet>,
    /// Sources and ServiceCIDRs per family: they share a map.
    range_entries: [u32; 2],
    pub(crate) service_ids: IdPool,
    pub(crate) blocks: Blocks,
}

/// A Service that has a name.
#[derive(Clone, Debug)]
struct Service {
    key: ServiceKey,
    entry: ServiceEntry,
    /// What leads here.
    frontends: Vec<Frontend>,
    /// Its entries that serve.
    members: Vec<BackendId>,
    /// Its sources; they count while its entry is restricted (R8).
    ranges: BTreeSet<IpNet>,
}

/// `backends_v4` or `backends_v6`: the entries that serve. Nothing acts on one that does not.
#[derive(Clone, Debug, Default)]
struct Backends {
    entries: Vec<Option<BackendEntry>>,
    /// Entries of which it is not known whether they were written: a batch failed on its way.
    unsure: BTreeSet<BackendId>,
    ids: IdPool,
}

/// Where what is kept by family has its place: IPv4 first.
pub(crate) fn at(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

/// The element at `index`, after the array was grown to hold it.
fn grown<T: Clone + Default>(array: &mut Vec<T>, index: u32) -> &mut T {
    let index = index as usize;
    if array.len() <= index {
        array.resize(index + 1, T::default());
    }
    &mut array[index]
}

/// Reading.
impl Image {
    /// The id of a key.
    #[must_use]
    pub fn id(&self, key: &ServiceKey) -> Option<ServiceId> {
        self.ids.get(key).copied()
    }

    /// Whose id it is.
    #[must_use]
    pub fn key(&self, id: ServiceId) -> Option<&ServiceKey> {
        self.service(id).map(|service| &service.key)
    }

    /// Whose each id is, in the order of the ids.
    pub fn keys_by_id(&self) -> impl Iterator<Item = (ServiceId, &ServiceKey)> {
        let held =
            (0..).zip(&self.services).filter_map(|(id, service)| Some((NonZeroU32::new(id)?, service.as_ref()?)));
        held.map(|(id, service)| (ServiceId(id), &service.key))
    }

    /// The backends of a family that serve, in order.
    pub(crate) fn backends_of(&self, family: Family) -> impl Iterator<Item = BackendId> {
        let held = (0..).zip(&self.backends[at(family)].entries).filter(|(_, entry)| entry.is_some());
        held.filter_map(|(id, _)| NonZeroU32::new(id).map(BackendId))
    }

    /// The sets and policies of a Service; sets of none for an id without a name.
    #[must_use]
    pub fn entry(&self, id: ServiceId) -> ServiceEntry {
        self.service(id).map(|service| service.entry).unwrap_or_default()
    }

    /// The slots of a set, in order.
    #[must_use]
    pub fn slots(&self, SetWord { block, count }: SetWord) -> Vec<BackendId> {
        let mut slots = Vec::with_capacity(count as usize);
        slots.extend(self.slots.iter().skip(block as usize).take(count as usize).filter_map(|slot| *slot));
        slots
    }

    /// The sources of a Service, which count while its entry is restricted (R8); of `None` the ServiceCIDRs (A3).
    #[must_use]
    pub fn ranges(&self, id: Option<ServiceId>) -> &BTreeSet<IpNet> {
        static NONE: BTreeSet<IpNet> = BTreeSet::new();
        match id {
            Some(id) => self.service(id).map_or(&NONE, |service| &service.ranges),
            None => &self.service_cidrs,
        }
    }

    /// What holds for the node, addresses and prefixes apart.
    #[must_use]
    pub fn rules_entry(&self) -> &RulesEntry {
        &self.rules
    }

    /// What addresses are to the node.
    #[must_use]
    pub fn addrs(&self) -> &BTreeMap<IpAddr, AddrUse> {
        &self.addrs
    }

    /// The entry of a backend that serves.
    #[must_use]
    pub fn backend(&self, family: Family, id: BackendId) -> Option<&BackendEntry> {
        self.backends[at(family)].entries.get(id.0.get() as usize)?.as_ref()
    }

    /// The backends of a Service that serve, picked or not.
    #[must_use]
    pub fn members(&self, id: ServiceId) -> FlatMap<Backend, BackendId> {
        // So much at most, nearly always so much: asked for at once.
        let mut members = Vec::with_capacity(self.service(id).map_or(0, |service| service.members.len()));
        members.extend(self.each_member(id));
        members.into_iter().collect()
    }

    /// The same in no order.
    pub(crate) fn each_member(&self, id: ServiceId) -> impl Iterator<Item = (Backend, BackendId)> {
        self.service(id).into_iter().flat_map(|service| {
            let entry = |id: &BackendId| self.backend(service.key.family, *id);
            service.members.iter().filter_map(move |id| Some((entry(id)?.backend, *id)))
        })
    }

    /// Whether a frontend leads to a Service.
    #[must_use]
    pub fn is_led_to(&self, id: ServiceId) -> bool {
        self.service(id).is_some_and(|service| !service.frontends.is_empty())
    }

    /// The id a frontend leads to, whether that has a name or not, and as what.
    #[must_use]
    pub fn leads_to(&self, frontend: &Frontend) -> Option<(ServiceId, FrontendKind)> {
        self.frontends.get(frontend).copied()
    }

    /// How many slots the blocks of all sets take, spare ones included.
    #[must_use]
    pub fn slots_used(&self) -> u32 {
        self.blocks.used()
    }

    /// How many Service ids are in use, those without a name included.
    pub(crate) fn services_used(&self) -> u32 {
        self.service_ids.used()
    }

    /// Entries in use in a family's map of the node's addresses.
    pub(crate) fn addr_entries(&self, family: Family) -> u32 {
        let of_family = self.addrs.keys().filter(|addr| Family::of(**addr) == family).count();
        u32::try_from(of_family).expect("invariant: no more than the map holds")
    }

    /// Whether it is known what the entry of a backend holds.
    pub(crate) fn is_sure(&self, family: Family, id: BackendId) -> bool {
        !self.backends[at(family)].unsure.contains(&id)
    }

    /// The free ids of a family's backends.
    pub(crate) fn backend_ids(&self, family: Family) -> &IdPool {
        &self.backends[at(family)].ids
    }

    /// Entries in use in a family's frontends map.
    pub(crate) fn frontend_entries(&self, family: Family) -> u32 {
        self.frontend_entries[at(family)]
    }

    /// Entries in use in a hash that grows, or a few more.
    pub(crate) fn hash_entries(&self, hash: Hash) -> u32 {
        match hash {
            Hash::Frontends(family) => self.frontend_entries(family),
            Hash::Names => self.services_used(),
        }
    }

    /// Entries that a hash has room for without growing.
    #[must_use]
    pub fn room(&self, hash: Hash) -> u32 {
        self.rooms.of(hash)
    }

    /// Entries in use in a family's map of prefixes.
    pub(crate) fn range_entries(&self, family: Family) -> u32 {
        self.range_entries[at(family)]
    }

    fn service(&self, id: ServiceId) -> Option<&Service> {
        self.services.get(id.0.get() as usize)?.as_deref()
    }

    fn service_mut(&mut self, id: ServiceId) -> Option<&mut Service> {
        self.services.get_mut(id.0.get() as usize)?.as_deref_mut()
    }
}

/// Writing.
impl Image {
    /// The kernel performed this operation.
    pub fn commit(&mut self, op: &MapOp) {
        match op {
            MapOp::Grow { hash, entries } => self.rooms.set(*hash, *entries),
            // Which chunks there are is nothing to plan by.
            MapOp::Reserve { .. } => {}
            MapOp::WriteBackends { family, entries } => self.write_backends(*family, entries),
            MapOp::WriteSlots { first, ids } => {
                for (slot, id) in (*first..).zip(ids) {
                    *grown(&mut self.slots, slot) = Some(*id);
                }
            }
            MapOp::WriteService { service, entry } => self.write_service(*service, *entry),
            MapOp::PutFrontend { frontend, kind, service } => self.put_frontend(*frontend, (*service, *kind)),
            MapOp::DeleteFrontend { frontend } => self.delete_frontend(frontend),
            MapOp::PutVip { addr } => {
                let added = self.vips.insert(*addr);
                self.frontend_entries[at(Family::of(*addr))] += u32::from(added);
            }
            MapOp::DeleteVip { addr } => {
                let removed = self.vips.remove(addr);
                self.frontend_entries[at(Family::of(*addr))] -= u32::from(removed);
            }
            MapOp::PutAddr { addr, uses } => drop(self.addrs.insert(*addr, *uses)),
            MapOp::DeleteAddr { addr } => drop(self.addrs.remove(addr)),
            MapOp::PutRange { service, range } => self.put_range(*service, *range),
            MapOp::DeleteRange { service, range } => self.delete_range(*service, range),
            MapOp::WriteRules { rules } => self.rules = rules.clone(),
            // Counts are the programs': nothing of them is mirrored.
            MapOp::ClearServiceFlows { .. } | MapOp::ClearBackendFlows { .. } => {}
            MapOp::PutName { service, key } => self.put_name(*service, key.clone()),
            MapOp::DeleteName { service } => self.delete_name(*service),
        }
    }

    /// The kernel failed to perform this operation, and may have written a part of it. Backends are the only entries that
    /// matter before a word publishes them: they count as held, and as not known (see [`Realized::settled`]), so that they
    /// are written again before they are used and retired if they are not wanted.
    pub fn doubt(&mut self, op: &MapOp) {
        let MapOp::WriteBackends { family, entries } = op else { return };
        if entries.len() < 2 {
            return;
        }
        let new = entries.iter().filter(|(id, entry)| entry.serving && self.backend(*family, *id).is_none());
        let new: Vec<_> = new.copied().collect();
        self.write_backends(*family, &new);
        let backends = &mut self.backends[at(*family)];
        let held = entries.iter().map(|(id, _)| *id).filter(|id| {
            let entry = backends.entries.get(id.0.get() as usize);
            entry.is_some_and(Option::is_some)
        });
        backends.unsure.extend(held);
    }

    /// Marks an id as in use though nothing with a name has it.
    pub(crate) fn reserve_service(&mut self, id: ServiceId) {
        self.service_ids.take(id.0.get());
    }

    fn write_backends(&mut self, family: Family, entries: &[(BackendId, BackendEntry)]) {
        let mut left = BTreeSet::new();
        for (id, entry) in entries {
            let backends = &mut self.backends[at(family)];
            backends.unsure.remove(id);
            let held = grown(&mut backends.entries, id.0.get());
            let old = std::mem::replace(held, entry.serving.then_some(*entry));
            match (old.is_some(), entry.serving) {
                (false, true) => backends.ids.take(id.0.get()),
                (true, false) => backends.ids.release(id.0.get()),
                _ => {}
            }
            if entry.serving && old.is_none_or(|old| old.service != entry.service) {
                self.service_mut(entry.service).into_iter().for_each(|service| service.members.push(*id));
            }
            left.extend(old.filter(|old| !entry.serving || old.service != entry.service).map(|old| old.service));
        }
        left.into_iter().for_each(|service| self.drop_members(family, service));
    }

    /// Forgets the members of a Service whose entries are its own no more.
    fn drop_members(&mut self, family: Family, id: ServiceId) {
        let Some(service) = self.services.get_mut(id.0.get() as usize).and_then(Option::as_deref_mut) else { return };
        let entries = &self.backends[at(family)].entries;
        service.members.retain(|member| {
            let entry = entries.get(member.0.get() as usize).and_then(Option::as_ref);
            entry.is_some_and(|entry| entry.service == id)
        });
    }

    fn write_service(&mut self, id: ServiceId, entry: ServiceEntry) {
        let Some(service) = self.service_mut(id) else { return };
        let old = std::mem::replace(&mut service.entry, entry);
        self.blocks.replace(occupied(old.cluster), occupied(entry.cluster));
        self.blocks.replace(occupied(old.local), occupied(entry.local));
    }

    fn put_frontend(&mut self, frontend: Frontend, to: (ServiceId, FrontendKind)) {
        match self.frontends.insert(frontend, to) {
            Some((old, _)) if old == to.0 => return,
            Some((old, _)) => self.leave(&frontend, old),
            None => self.frontend_entries[at(Family::of(frontend.addr))] += 1,
        }
        self.service_mut(to.0).into_iter().for_each(|service| service.frontends.push(frontend));
    }

    fn delete_frontend(&mut self, frontend: &Frontend) {
        if let Some((id, _)) = self.frontends.remove(frontend) {
            self.frontend_entries[at(Family::of(frontend.addr))] -= 1;
            self.leave(frontend, id);
        }
    }

    fn leave(&mut self, frontend: &Frontend, id: ServiceId) {
        if let Some(service) = self.service_mut(id) {
            service.frontends.retain(|held| held != frontend);
        }
    }

    fn put_range(&mut self, service: Option<ServiceId>, range: IpNet) {
        let added = match service {
            None => self.service_cidrs.insert(range),
            // One of an id that is not taken over takes room all the same.
            Some(id) => self.service_mut(id).is_none_or(|service| service.ranges.insert(range)),
        };
        self.range_entries[at(Family::of(range.addr()))] += u32::from(added);
    }

    fn delete_range(&mut self, service: Option<ServiceId>, range: &IpNet) {
        let removed = match service {
            None => self.service_cidrs.remove(range),
            Some(id) => self.service_mut(id).is_none_or(|service| service.ranges.remove(range)),
        };
        self.range_entries[at(Family::of(range.addr()))] -= u32::from(removed);
    }

    fn put_name(&mut self, id: ServiceId, key: ServiceKey) {
        self.ids.insert(key.clone(), id);
        self.service_ids.take(id.0.get());
        let service = Service {
            key,
            entry: ServiceEntry::default(),
            frontends: Vec::new(),
            members: Vec::new(),
            ranges: BTreeSet::new(),
        };
        *grown(&mut self.services, id.0.get()) = Some(Box::new(service));
    }

    fn delete_name(&mut self, id: ServiceId) {
        let Some(service) = self.services.get_mut(id.0.get() as usize).and_then(Option::take) else { return };
        self.ids.remove(&service.key);
        self.service_ids.release(id.0.get());
        self.blocks.replace(occupied(service.entry.cluster), 0..0);
        self.blocks.replace(occupied(service.entry.local), 0..0);
    }
}

/// The slots of a set in force.
fn occupied(word: SetWord) -> std::ops::Range<u32> {
    blocks::range(word).expect("invariant: only words that name a block are written or read back")
}

/// A Service as the core knows it.
impl Image {
    fn set(&self, family: Family, word: SetWord) -> FlatSet<Backend> {
        let mut backends = Vec::with_capacity(word.count as usize);
        backends.extend(self.slots(word).into_iter().filter_map(|id| Some(self.backend(family, id)?.backend)));
        backends.into_iter().collect()
    }

    /// Whether each slot of a set names another backend of the Service whose entry says that it is in the set, and no other entry does.
    fn is_settled(&self, service: &Service, set: SetWord, is_in: fn(&BackendEntry) -> bool) -> bool {
        let mut named = self.slots(set);
        // As good as sorted: ids are given away in order.
        named.sort();
        let mut members = service.members.clone();
        members.retain(|id| self.backend(service.key.family, *id).is_some_and(is_in));
        members.sort();
        named == members
    }
}

impl Realized for Image {
    fn rules(&self) -> Option<Arc<NodeRules>> {
        let RulesEntry { masquerade_all, local_pods } = self.rules.clone();
        let with =
            |has: fn(&AddrUse) -> bool| self.addrs.iter().filter(move |(_, uses)| has(uses)).map(|(addr, _)| *addr);
        Some(Arc::new(NodeRules {
            masquerade_all,
            local_pods,
            own: with(|uses| uses.own).collect(),
            node_port_addrs: with(|uses| uses.node_ports).collect(),
            service_cidrs: self.service_cidrs.iter().copied().collect(),
        }))
    }

    fn serving(&self, key: &ServiceKey) -> Option<Serving> {
        let id = self.id(key)?;
        let service = self.service(id)?;
        let ServiceEntry { cluster, local, internal, external, affinity, restricted } = service.entry;
        let (cluster, local) = (self.set(key.family, cluster), self.set(key.family, local));
        let keep = beyond(self.members(id).keys(), [&cluster, &local]).copied().collect();
        let frontends = service.frontends.iter().filter_map(|frontend| Some((*frontend, self.leads_to(frontend)?.1)));
        let sources = restricted.then(|| Arc::new(Sources { ranges: service.ranges.iter().copied().collect() }));
        Some(Serving { frontends: frontends.collect(), internal, external, cluster, local, keep, affinity, sources })
    }

    fn settled(&self, key: &ServiceKey) -> bool {
        let Some(service) = self.id(key).and_then(|id| self.service(id)) else { return true };
        let ServiceEntry { cluster, local, restricted, .. } = service.entry;
        // Prefixes of a Service that takes everyone are left over.
        (restricted || service.ranges.is_empty())
            && self.is_settled(service, cluster, |entry| entry.in_cluster)
            && self.is_settled(service, local, |entry| entry.in_local)
            && service.members.iter().all(|id| self.is_sure(service.key.family, *id))
    }

    fn holder(&self, frontend: &Frontend) -> Option<ServiceKey> {
        self.key(self.leads_to(frontend)?.0).cloned()
    }

    fn owns(&self, addr: IpAddr) -> bool {
        self.vips.contains(&addr)
    }

    fn keys(&self) -> Vec<ServiceKey> {
        self.ids.sorted().into_iter().map(|(key, _)| key.clone()).collect()
    }

    fn frontends(&self) -> Vec<Frontend> {
        self.frontends.sorted().into_iter().map(|(frontend, _)| *frontend).collect()
    }

    fn vips(&self) -> Vec<IpAddr> {
        self.vips.iter().copied().collect()
    }
}
