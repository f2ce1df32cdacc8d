//! How one of a Service's sets becomes another one, with every prefix the old set or the new one (I1).
//!
//! One backend more or less, or one for another: in place, so that the cost does not grow with the backends. Several: a
//! new block, published by one store; the old block is free from then on.
use crate::blocks;
use crate::image::Image;
use crate::limits::{Knob, Limits};
use crate::ops::MapOp;
use crate::refused::{Full, Refused, Remedy};
use sheave_abi::{BackendId, SLOTS_CHUNK, SetWord};
use sheave_core::ServiceKey;
use std::ops::Range;

/// What makes a set another one.
pub(crate) struct Change {
    /// The slots to write first, if any.
    pub(crate) slots: Option<MapOp>,
    /// The word to publish then, if it is another one.
    pub(crate) word: SetWord,
}

impl Change {
    fn only(word: SetWord) -> Self {
        Self { slots: None, word }
    }

    fn new(word: SetWord, first: u32, ids: Vec<BackendId>) -> Self {
        Self { slots: Some(MapOp::WriteSlots { first, ids }), word }
    }

    /// What the other set of the same Service must not occupy: freed blocks are not free before the step is over, and this
    /// one is taken.
    pub(crate) fn occupied(&self) -> Range<u32> {
        blocks::range(self.word).unwrap_or_default()
    }
}

/// What makes `target`, which has no duplicates, of the set at `word`, without the slots of `taken`.
pub(crate) fn change(
    (image, limits): (&Image, &Limits),
    key: &ServiceKey,
    word: SetWord,
    target: &[BackendId],
    taken: &Range<u32>,
) -> Result<Change, Refused> {
    let slots = image.slots(word);
    let (holes, added) = difference(&slots, target);
    match (&holes[..], &added[..]) {
        ([], []) => Ok(Change::only(word)),
        ([hole], [id]) => Ok(Change::new(word, word.block + hole, vec![*id])),
        ([hole], []) => Ok(remove(word, *hole, &slots)),
        ([], [id]) if image.blocks.fits(word, more(word), limits.slots_max, taken) => {
            Ok(Change::new(more(word), word.block + word.count, vec![*id]))
        }
        _ => replace((image, limits), key, target, taken),
    }
}

/// Where `slots` has what `target` has not, or has it again; and what only `target` has.
fn difference(slots: &[BackendId], target: &[BackendId]) -> (Vec<u32>, Vec<BackendId>) {
    // Ids are given away in the order of the backends, so both are nearly sorted: that costs a stable sort next to nothing.
    let mut held: Vec<(BackendId, u32)> = slots.iter().copied().zip(0..).collect();
    held.sort();
    let mut wanted = target.to_vec();
    wanted.sort();
    let (mut holes, mut added) = (Vec::new(), Vec::new());
    let mut held = held.into_iter().peekable();
    for id in wanted {
        while let Some((_, hole)) = held.next_if(|(slot, _)| *slot < id) {
            holes.push(hole);
        }
        // Where a slot has it again, that is less than the next one.
        added.extend(held.next_if(|(slot, _)| *slot == id).is_none().then_some(id));
    }
    holes.extend(held.map(|(_, hole)| hole));
    (holes, added)
}

fn more(word: SetWord) -> SetWord {
    SetWord { count: word.count + 1, ..word }
}

/// The last slot is copied into the hole first: until the word follows, the set has that backend twice and the one that
/// goes not at all, which as a set is the new one.
fn remove(word: SetWord, hole: u32, slots: &[BackendId]) -> Change {
    let last = word.count - 1;
    let smaller = if last == 0 { SetWord::default() } else { SetWord { count: last, ..word } };
    match slots.last() {
        Some(id) if hole != last => Change::new(smaller, word.block + hole, vec![*id]),
        _ => Change::only(smaller),
    }
}

fn replace(
    (image, limits): (&Image, &Limits),
    key: &ServiceKey,
    target: &[BackendId],
    taken: &Range<u32>,
) -> Result<Change, Refused> {
    if target.is_empty() {
        return Ok(Change::only(SetWord::default()));
    }
    let count = u32::try_from(target.len()).unwrap_or(u32::MAX);
    if count > SLOTS_CHUNK {
        return Err(Refused::TooManyBackends { key: key.clone(), count, max: SLOTS_CHUNK });
    }
    let max = limits.slots_max;
    let full = || Refused::full(Full { map: "slots", max, remedy: Remedy::of(Knob::Slots, max) }, key, image);
    let block = image.blocks.find(count, max, taken).ok_or_else(full)?;
    Ok(Change::new(SetWord { block, count }, block, target.to_vec()))
}
