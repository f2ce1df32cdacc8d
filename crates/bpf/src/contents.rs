//! What was found in the maps, before it is trusted: from the pins of an earlier run, or on an audit.
use crate::blocks;
use crate::image::Image;
use crate::ops::{AddrUse, BackendEntry, Hash, HashRooms, MapOp, RulesEntry, ServiceEntry};
use ipnet::IpNet;
use sheave_abi::{BackendId, ServiceId, SetWord};
use sheave_core::{Family, Frontend, FrontendKind, ServiceKey};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// Everything in the maps. Entries that hold nothing are left out: absent backends, Services without sets and policies.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Contents {
    /// Map `names`.
    pub names: BTreeMap<ServiceId, ServiceKey>,
    /// Map `services`.
    pub services: BTreeMap<ServiceId, ServiceEntry>,
    /// Map `slots`, by index.
    pub slots: Vec<Option<BackendId>>,
    /// Map `backends_v4`.
    pub backends_v4: BTreeMap<BackendId, BackendEntry>,
    /// Map `backends_v6`.
    pub backends_v6: BTreeMap<BackendId, BackendEntry>,
    /// Exact entries of `frontends_v4` and `frontends_v6`: where they lead, and as what.
    pub frontends: BTreeMap<Frontend, (ServiceId, FrontendKind)>,
    /// Whole-address entries of `frontends_v4` and `frontends_v6` (A2).
    pub vips: BTreeSet<IpAddr>,
    /// Maps `ranges_v4` and `ranges_v6`: sources by Service (R8), ServiceCIDRs under `None` (A3).
    pub ranges: BTreeMap<Option<ServiceId>, BTreeSet<IpNet>>,
    /// Maps `node_addrs_v4` and `node_addrs_v6`.
    pub addrs: BTreeMap<IpAddr, AddrUse>,
    /// Map `rules`.
    pub rules: RulesEntry,
    /// How many entries the hashes have room for.
    pub rooms: HashRooms,
}

/// A Service id that is not taken over. It is never handed out again, and a plan from scratch leads every frontend away
/// from it. No stop of sheave at any moment leaves one; another writer or another version might.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stray {
    /// The id.
    pub service: ServiceId,
    /// Its name.
    pub key: Option<ServiceKey>,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a [`Stray`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Something refers to an id without a name.
    Nameless,
    /// A lower id has the same name.
    SameName,
    /// A word of its names no block, or one that another Service or its other set has.
    BadBlock,
    /// A slot of its sets is empty, or names a backend that is absent or another Service's.
    BadSlot,
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.fault {
            Fault::Nameless => "has no name",
            Fault::SameName => "has the name of a lower id",
            Fault::BadBlock => "has a set outside its own block",
            Fault::BadSlot => "has a set with a slot that leads nowhere",
        };
        write!(f, "Service id {} ", self.service.0)?;
        if let Some(key) = &self.key {
            write!(f, "({key}) ")?;
        }
        write!(f, "{why}; it is left alone and what leads to it is led elsewhere")
    }
}

impl Image {
    /// The image of what was found, with the ids that were found (I5). What contradicts itself is not taken over, and named.
    #[must_use]
    pub fn from_contents(contents: Contents) -> (Self, Vec<Stray>) {
        let strays = contents.strays();
        let stray_ids: BTreeSet<_> = strays.iter().map(|stray| stray.service).collect();
        let is_stray = |id: &ServiceId| stray_ids.contains(id);
        let mut image = Self::default();
        for hash in Hash::ALL {
            image.commit(&MapOp::Grow { hash, entries: contents.rooms.of(hash) });
        }
        for (service, key) in contents.names.iter().filter(|(id, _)| !is_stray(id)) {
            image.commit(&MapOp::PutName { service: *service, key: key.clone() });
        }
        strays.iter().for_each(|stray| image.reserve_service(stray.service));
        for (family, backends) in [(Family::V4, contents.backends_v4), (Family::V6, contents.backends_v6)] {
            image.commit(&MapOp::WriteBackends { family, entries: backends.into_iter().collect() });
        }
        for (slot, id) in (0..).zip(&contents.slots) {
            id.iter().for_each(|id| image.commit(&MapOp::WriteSlots { first: slot, ids: vec![*id] }));
        }
        let mut services: Vec<_> = contents.services.into_iter().filter(|(id, _)| !is_stray(id)).collect();
        services.sort_by_key(|(_, entry)| entry.cluster.block);
        for (service, entry) in services {
            image.commit(&MapOp::WriteService { service, entry });
        }
        for (frontend, (service, kind)) in contents.frontends {
            image.commit(&MapOp::PutFrontend { frontend, kind, service });
        }
        contents.vips.into_iter().for_each(|addr| image.commit(&MapOp::PutVip { addr }));
        for (service, ranges) in contents.ranges {
            ranges.into_iter().for_each(|range| image.commit(&MapOp::PutRange { service, range }));
        }
        contents.addrs.into_iter().for_each(|(addr, uses)| image.commit(&MapOp::PutAddr { addr, uses }));
        image.commit(&MapOp::WriteRules { rules: contents.rules });
        (image, strays)
    }
}

impl Contents {
    fn strays(&self) -> Vec<Stray> {
        let mut faults: BTreeMap<ServiceId, Fault> = self.bad_slots().map(|id| (id, Fault::BadSlot)).collect();
        faults.extend(self.bad_blocks().into_iter().map(|id| (id, Fault::BadBlock)));
        let mut named: BTreeMap<&ServiceKey, ServiceId> = BTreeMap::new();
        for (id, key) in &self.names {
            if *named.entry(key).or_insert(*id) != *id {
                faults.insert(*id, Fault::SameName);
            }
        }
        let backends = self.backends_v4.values().chain(self.backends_v6.values()).map(|entry| entry.service);
        let sets = self.words().filter(|(_, word)| word.count > 0).map(|(id, _)| id);
        let frontends = self.frontends.values().map(|(id, _)| *id);
        let referred = sets.chain(frontends).chain(backends).chain(self.ranges.keys().copied().flatten());
        faults.extend(referred.filter(|id| !self.names.contains_key(id)).map(|id| (id, Fault::Nameless)));
        faults
            .into_iter()
            .map(|(service, fault)| Stray { service, key: self.names.get(&service).cloned(), fault })
            .collect()
    }

    /// Both words of each Service.
    fn words(&self) -> impl Iterator<Item = (ServiceId, SetWord)> {
        self.services.iter().flat_map(|(id, entry)| [(*id, entry.cluster), (*id, entry.local)])
    }

    fn bad_slots(&self) -> impl Iterator<Item = ServiceId> {
        self.words().filter(|(id, word)| !self.slots_lead_to_its_own(*id, *word)).map(|(id, _)| id)
    }

    fn slots_lead_to_its_own(&self, id: ServiceId, word: SetWord) -> bool {
        let backends = match self.names.get(&id).map(|key| key.family) {
            Some(Family::V6) => &self.backends_v6,
            _ => &self.backends_v4,
        };
        let mut slots = self.slots.iter().skip(word.block as usize).take(word.count as usize);
        let whole = slots.len() == word.count as usize;
        whole
            && slots
                .all(|slot| slot.and_then(|backend| backends.get(&backend)).is_some_and(|entry| entry.service == id))
    }

    fn bad_blocks(&self) -> Vec<ServiceId> {
        let mut words: Vec<_> = self.words().collect();
        words.sort_by_key(|(id, word)| (word.block, *id));
        let mut end = 0;
        let mut bad = Vec::new();
        for (id, word) in words {
            match blocks::range(word) {
                Some(range) if range.is_empty() => {}
                Some(range) if range.start >= end => end = range.end,
                _ => bad.push(id),
            }
        }
        bad
    }
}
