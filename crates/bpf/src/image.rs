//! What the maps hold, mirrored: the only thing `lower` looks at.
//!
//! An operation is committed after the kernel said yes and never before, so the image is true after a failure anywhere
//! (I3). Whatever is derived, free ids and free blocks among it, follows from the contents alone: an image built from maps
//! found at start serves the same under the same ids (I5).
use crate::blocks::{self, Blocks};
use crate::carried::carried;
use crate::ids::IdPool;
use crate::ops::{BackendEntry, MapOp};
use sheave_abi::{BackendId, ServiceId, SetWord};
use sheave_core::{Backend, Family, FlatSet, Frontend, FrontendKind, NodeRules, Realized, ServiceKey, Serving, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The contents of the maps.
#[derive(Clone, Debug, Default)]
pub struct Image {
    ids: Table<ServiceKey, ServiceId>,
    /// `names` and `services`, by id.
    services: Vec<Option<Box<Service>>>,
    slots: Vec<Option<BackendId>>,
    backends: [Backends; 2],
    frontends: Table<Frontend, ServiceId>,
    vips: BTreeSet<IpAddr>,
    /// Frontends and addresses per family: they share a map.
    frontend_entries: [u32; 2],
    pub(crate) service_ids: IdPool,
    pub(crate) blocks: Blocks,
}

/// A Service that has a name.
#[derive(Clone, Debug)]
struct Service {
    key: ServiceKey,
    word: SetWord,
    /// What leads here.
    frontends: Vec<Frontend>,
    /// Its entries that serve.
    members: Vec<BackendId>,
}

/// `backends_v4` or `backends_v6`: the entries that serve. Nothing acts on one that does not.
#[derive(Clone, Debug, Default)]
struct Backends {
    entries: Vec<Option<BackendEntry>>,
    /// Entries of which it is not known whether they were written: a batch failed on its way.
    unsure: BTreeSet<BackendId>,
    ids: IdPool,
}

/// Where the arrays of a family stand.
fn at(family: Family) -> usize {
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

    /// The set of a Service; of none for an id without a name.
    #[must_use]
    pub fn word(&self, id: ServiceId) -> SetWord {
        self.service(id).map(|service| service.word).unwrap_or_default()
    }

    /// The slots of a Service's set, in order.
    #[must_use]
    pub fn slots(&self, id: ServiceId) -> Vec<BackendId> {
        let SetWord { block, count } = self.word(id);
        self.slots.iter().skip(block as usize).take(count as usize).flatten().copied().collect()
    }

    /// The entry of a backend that serves.
    #[must_use]
    pub fn backend(&self, family: Family, id: BackendId) -> Option<&BackendEntry> {
        self.backends[at(family)].entries.get(id.0.get() as usize)?.as_ref()
    }

    /// The backends of a Service that serve, picked or not.
    #[must_use]
    pub fn members(&self, id: ServiceId) -> BTreeMap<Backend, BackendId> {
        let Some(Service { key, members, .. }) = self.service(id) else { return BTreeMap::new() };
        members.iter().filter_map(|id| Some((self.backend(key.family, *id)?.backend, *id))).collect()
    }

    /// Whether a frontend leads to a Service.
    #[must_use]
    pub fn is_led_to(&self, id: ServiceId) -> bool {
        self.service(id).is_some_and(|service| !service.frontends.is_empty())
    }

    /// The id a frontend leads to, whether that has a name or not.
    #[must_use]
    pub fn leads_to(&self, frontend: &Frontend) -> Option<ServiceId> {
        self.frontends.get(frontend).copied()
    }

    /// How many slots the blocks of all sets take, spare ones included.
    #[must_use]
    pub fn slots_used(&self) -> u32 {
        self.blocks.used()
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
            MapOp::WriteBackends { family, entries } => self.write_backends(*family, entries),
            MapOp::WriteSlots { first, ids } => {
                for (slot, id) in (*first..).zip(ids) {
                    *grown(&mut self.slots, slot) = Some(*id);
                }
            }
            MapOp::WriteSet { service, word } => self.write_set(*service, *word),
            MapOp::PutFrontend { frontend, service } => self.put_frontend(*frontend, *service),
            MapOp::DeleteFrontend { frontend } => self.delete_frontend(frontend),
            MapOp::PutVip { addr } => {
                let added = self.vips.insert(*addr);
                self.frontend_entries[at(Family::of(*addr))] += u32::from(added);
            }
            MapOp::DeleteVip { addr } => {
                let removed = self.vips.remove(addr);
                self.frontend_entries[at(Family::of(*addr))] -= u32::from(removed);
            }
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

    fn write_set(&mut self, id: ServiceId, word: SetWord) {
        let Some(service) = self.service_mut(id) else { return };
        let old = std::mem::replace(&mut service.word, word);
        self.blocks.replace(occupied(old), occupied(word));
    }

    fn put_frontend(&mut self, frontend: Frontend, id: ServiceId) {
        match self.frontends.insert(frontend, id) {
            Some(old) if old == id => return,
            Some(old) => self.leave(&frontend, old),
            None => self.frontend_entries[at(Family::of(frontend.addr))] += 1,
        }
        self.service_mut(id).into_iter().for_each(|service| service.frontends.push(frontend));
    }

    fn delete_frontend(&mut self, frontend: &Frontend) {
        if let Some(id) = self.frontends.remove(frontend) {
            self.frontend_entries[at(Family::of(frontend.addr))] -= 1;
            self.leave(frontend, id);
        }
    }

    fn leave(&mut self, frontend: &Frontend, id: ServiceId) {
        if let Some(service) = self.service_mut(id) {
            service.frontends.retain(|held| held != frontend);
        }
    }

    fn put_name(&mut self, id: ServiceId, key: ServiceKey) {
        self.ids.insert(key.clone(), id);
        self.service_ids.take(id.0.get());
        let service = Service { key, word: SetWord::default(), frontends: Vec::new(), members: Vec::new() };
        *grown(&mut self.services, id.0.get()) = Some(Box::new(service));
    }

    fn delete_name(&mut self, id: ServiceId) {
        let Some(service) = self.services.get_mut(id.0.get() as usize).and_then(Option::take) else { return };
        self.ids.remove(&service.key);
        self.service_ids.release(id.0.get());
        self.blocks.replace(occupied(service.word), 0..0);
    }
}

/// The slots of a set in force.
fn occupied(word: SetWord) -> std::ops::Range<u32> {
    blocks::range(word).expect("invariant: only words that name a block are written or read back")
}

impl Realized for Image {
    fn carried(&self, wanted: &Arc<Serving>) -> Arc<Serving> {
        carried(wanted)
    }

    fn rules(&self) -> Option<Arc<NodeRules>> {
        None
    }

    fn serving(&self, key: &ServiceKey) -> Option<Serving> {
        let id = self.id(key)?;
        let service = self.service(id)?;
        let entry = |id: &BackendId| Some(self.backend(key.family, *id)?.backend);
        let cluster: FlatSet<_> = self.slots(id).iter().filter_map(entry).collect();
        let keep = service.members.iter().filter_map(entry).filter(|backend| !cluster.contains(backend)).collect();
        let frontends = service.frontends.iter().map(|frontend| (*frontend, FrontendKind::ClusterIp)).collect();
        Some(Serving { frontends, cluster, keep, ..Serving::default() })
    }

    fn settled(&self, key: &ServiceKey) -> bool {
        let Some(id) = self.id(key) else { return true };
        let mut slots = self.slots(id);
        let count = slots.len();
        slots.sort_unstable();
        slots.dedup();
        let sure = self.backends[at(key.family)].unsure.is_empty()
            || self.members(id).values().all(|member| self.is_sure(key.family, *member));
        slots.len() == count && sure
    }

    fn holder(&self, frontend: &Frontend) -> Option<ServiceKey> {
        self.key(self.leads_to(frontend)?).cloned()
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
