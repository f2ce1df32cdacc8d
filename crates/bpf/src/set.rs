//! How a Service's set becomes another one, with every prefix the old set or the new one (I1).
//!
//! One backend more or less, or one for another: in place, so that the cost does not grow with the backends. Several: a
//! new block, published by one store; the old block is free from then on.
use crate::image::Image;
use crate::limits::{Knob, Limits};
use crate::ops::MapOp;
use crate::refused::{Full, Refused};
use sheave_abi::{BackendId, SLOTS_CHUNK, ServiceId, SetWord};
use sheave_core::ServiceKey;
use std::collections::BTreeSet;

/// The operations that make `target`, which has no duplicates, the set of a Service.
pub(crate) fn change(
    image: &Image,
    limits: &Limits,
    (key, service): (&ServiceKey, ServiceId),
    target: &[BackendId],
) -> Result<Vec<MapOp>, Refused> {
    let word = image.word(service);
    let slots = image.slots(service);
    let (holes, added) = difference(&slots, target);
    match (&holes[..], &added[..]) {
        ([], []) => Ok(Vec::new()),
        ([hole], [id]) => Ok(vec![MapOp::WriteSlots { first: word.block + hole, ids: vec![*id] }]),
        ([hole], []) => Ok(remove(service, word, *hole, &slots)),
        ([], [id]) if image.blocks.fits(word, more(word), limits.slots_max) => {
            let write = MapOp::WriteSlots { first: word.block + word.count, ids: vec![*id] };
            Ok(vec![write, MapOp::WriteSet { service, word: more(word) }])
        }
        _ => replace(image, limits, (key, service), target),
    }
}

/// Where `slots` has what `target` has not, or has it again; and what only `target` has.
fn difference(slots: &[BackendId], target: &[BackendId]) -> (Vec<u32>, Vec<BackendId>) {
    let wanted: BTreeSet<_> = target.iter().copied().collect();
    let mut kept = BTreeSet::new();
    let holes =
        (0..).zip(slots).filter(|(_, id)| !wanted.contains(id) || !kept.insert(**id)).map(|(at, _)| at).collect();
    let added = target.iter().filter(|id| !kept.contains(id)).copied().collect();
    (holes, added)
}

fn more(word: SetWord) -> SetWord {
    SetWord { count: word.count + 1, ..word }
}

/// The last slot is copied into the hole first: until the word follows, the set has that backend twice and the one that
/// goes not at all, which as a set is the new one.
fn remove(service: ServiceId, word: SetWord, hole: u32, slots: &[BackendId]) -> Vec<MapOp> {
    let last = word.count - 1;
    let smaller = if last == 0 { SetWord::default() } else { SetWord { count: last, ..word } };
    let publish = MapOp::WriteSet { service, word: smaller };
    match slots.last() {
        Some(id) if hole != last => vec![MapOp::WriteSlots { first: word.block + hole, ids: vec![*id] }, publish],
        _ => vec![publish],
    }
}

fn replace(
    image: &Image,
    limits: &Limits,
    (key, service): (&ServiceKey, ServiceId),
    target: &[BackendId],
) -> Result<Vec<MapOp>, Refused> {
    if target.is_empty() {
        return Ok(vec![MapOp::WriteSet { service, word: SetWord::default() }]);
    }
    let count = u32::try_from(target.len()).unwrap_or(u32::MAX);
    if count > SLOTS_CHUNK {
        return Err(Refused::TooManyBackends { key: key.clone(), count, max: SLOTS_CHUNK });
    }
    let max = limits.slots_max;
    let full = || Refused::full(Full { map: "slots", knob: Knob::Slots, max }, key, image);
    let block = image.blocks.find(count, max).ok_or_else(full)?;
    let word = SetWord { block, count };
    Ok(vec![MapOp::WriteSlots { first: block, ids: target.to_vec() }, MapOp::WriteSet { service, word }])
}
