//! What the new Services of a plan need room for, made before its first step, all at once: at a first start that is nearly all the room.
//!
//! The kernel waits for all programs to end after each growth of a map of maps, and once only for many in one batch ([`crate::chunks`]): a
//! million backends take 124 arrays. Nothing depends on it. A step that finds no room makes it, and where there can be none it is refused
//! by name (I7).
use crate::blocks;
use crate::ids::IdPool;
use crate::image::{Image, at};
use crate::limits::Limits;
use crate::lower_growth::growth;
use crate::ops::{Array, Hash, MapOp};
use sheave_abi::SetWord;
use sheave_core::{Backend, Change, Family, FlatSet, ServiceKey, Serving};

/// Entries that are to come, at most.
#[derive(Default)]
struct Demand {
    services: u32,
    slots: u32,
    backends: [u32; 2],
    frontends: [u32; 2],
}

/// The operations that make the room these steps need.
pub(crate) fn room(image: &Image, limits: &Limits, steps: &[Change]) -> Vec<MapOp> {
    let mut demand = Demand::default();
    for step in steps {
        match step {
            Change::Serve { key, serving } if image.id(key).is_none() => demand.add(key, serving),
            Change::ClaimVip { addr } => demand.frontends[at(Family::of(*addr))] += 1,
            _ => {}
        }
    }
    // One alone makes its own room, if it is not refused.
    if demand.services < 2 {
        return Vec::new();
    }
    let hashes = Hash::ALL.into_iter().filter_map(|hash| {
        let (more, max) = demand.entries(hash, limits);
        growth(image, hash, more.min(max.saturating_sub(image.hash_entries(hash))) as usize)
    });
    let arrays = Array::ALL.into_iter().filter_map(|array| {
        let [held, end] = [&Demand::default(), &demand].map(|demand| demand.end(array, image, limits));
        // The first chunk is made by who comes first.
        let more = held.max(1).div_ceil(array.chunk()) < end.div_ceil(array.chunk());
        more.then_some(MapOp::Reserve { array, end })
    });
    hashes.chain(arrays).collect()
}

impl Demand {
    fn add(&mut self, key: &ServiceKey, serving: &Serving) {
        let family = at(key.family);
        self.services += 1;
        self.slots = self.slots.saturating_add(slots(&serving.cluster)).saturating_add(slots(&serving.local));
        self.backends[family] = self.backends[family].saturating_add(count(serving.members().count()));
        self.frontends[family] = self.frontends[family].saturating_add(count(serving.frontends.len()));
    }

    /// How many entries more, and how many there may be.
    fn entries(&self, hash: Hash, limits: &Limits) -> (u32, u32) {
        match hash {
            Hash::Frontends(family) => (self.frontends[at(family)], limits.frontends_max),
            Hash::Names => (self.services, limits.services_max),
        }
    }

    /// Where an array will end that is in use. Index 0 is no Service and no backend.
    fn end(&self, array: Array, image: &Image, limits: &Limits) -> u32 {
        let ids = |pool: &IdPool, more, max: u32| pool.end(more).min(max.saturating_add(1));
        match array {
            Array::Services => ids(&image.service_ids, self.services, limits.services_max),
            Array::Slots => image.blocks.end(self.slots).min(limits.slots_max),
            Array::Backends(family) => ids(image.backend_ids(family), self.backends[at(family)], limits.backends_max),
        }
    }
}

/// What the block of a set takes; nothing for one that is too large, which is refused.
fn slots(set: &FlatSet<Backend>) -> u32 {
    blocks::range(SetWord { block: 0, count: count(set.len()) }).map_or(0, |range| range.end)
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
