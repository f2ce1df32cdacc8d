//! Which slots are free: blocks of a power of two, aligned to their size, so none crosses a chunk.
//!
//! A buddy allocator derived from the set words in force. A block that is freed goes to the end of the queue of its size.
//! A reader that still holds the old word may meet another Service's ids in it; it compares the Service and reads again.
use sheave_abi::{SLOTS_CHUNK, SetWord};
use std::collections::BTreeMap;
use std::ops::Range;

/// log2 of the smallest block: four slots.
const ORDER_MIN: u32 = 2;
/// log2 of the largest block: a chunk.
const ORDER_MAX: u32 = SLOTS_CHUNK.trailing_zeros();

/// log2 of the room a set of so many backends has; `None` beyond the largest block.
fn order(count: u32) -> Option<u32> {
    let order = count.checked_next_power_of_two()?.trailing_zeros().max(ORDER_MIN);
    (order <= ORDER_MAX).then_some(order)
}

/// The slots a set word occupies, used or not: its block and the room in it follow from the word alone. Empty for a set of
/// none; `None` if no such block exists.
pub(crate) fn range(word: SetWord) -> Option<Range<u32>> {
    if word.count == 0 {
        return Some(0..0);
    }
    let size = 1 << order(word.count)?;
    let end = word.block.checked_add(size)?;
    (word.block.is_multiple_of(size)).then_some(word.block..end)
}

/// The free slots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks {
    /// The first slot that was never in use.
    fresh: u32,
    /// Free blocks: start → (order, place in the queue).
    free: BTreeMap<u32, (u32, u64)>,
    /// Per order: place in the queue → start.
    queues: [BTreeMap<u64, u32>; (ORDER_MAX + 1) as usize],
    freed: u64,
}

impl Blocks {
    /// A free block with room for `count` backends below slot `max` and outside `taken`, which the same step is to occupy.
    /// Takes nothing.
    pub(crate) fn find(&self, count: u32, max: u32, taken: &Range<u32>) -> Option<u32> {
        let order = order(count)?;
        let size = 1 << order;
        let reused = self.queues[order as usize..].iter().flat_map(|queue| queue.values());
        let reused = reused.map(|start| (*start, self.free.get(start).map_or(0, |(order, _)| start + (1 << order))));
        // The first one fits, unless it is taken in part, or the limit was lowered after higher slots were in use.
        let fits = |(start, end): (u32, u32)| {
            let start = beside(start, size, taken)?;
            start.checked_add(size).filter(|used| *used <= end.min(max)).map(|_| start)
        };
        reused.chain([(self.fresh, u32::MAX)]).find_map(fits)
    }

    /// Whether the set `old` can become `new` where it is: the same block, grown if need be into slots below `max` that are
    /// free and outside `taken`.
    pub(crate) fn fits(&self, old: SetWord, new: SetWord, max: u32, taken: &Range<u32>) -> bool {
        let (Some(old), Some(new)) = (range(old), range(new)) else { return false };
        let grown = old.end.min(new.end)..new.end;
        !old.is_empty()
            && old.start == new.start
            && new.end <= max
            && self.is_free(grown.clone())
            && !overlap(&grown, taken)
    }

    /// How many slots are taken.
    pub(crate) fn used(&self) -> u32 {
        let free: u32 = self.free.values().map(|(order, _)| 1 << order).sum();
        self.fresh - free
    }

    /// The first slot that is not in use and was not before, once blocks of so many more slots are taken: at most, or a little more where
    /// large ones have to be aligned.
    pub(crate) fn end(&self, more: u32) -> u32 {
        self.fresh.saturating_add(more)
    }

    /// Whether no set occupies any of these slots; they are part of one block.
    pub(crate) fn is_free(&self, range: Range<u32>) -> bool {
        range.is_empty() || range.start >= self.fresh || self.containing(&range).is_some()
    }

    /// A Service's word changes: what it occupied is free, what it occupies is taken.
    pub(crate) fn replace(&mut self, old: Range<u32>, new: Range<u32>) {
        if old.start != new.start || old.is_empty() || new.is_empty() {
            self.take(new);
            self.release(old);
        } else {
            self.take(old.end.min(new.end)..new.end);
            self.release(new.end.min(old.end)..old.end);
        }
    }

    fn take(&mut self, range: Range<u32>) {
        pieces(range).for_each(|(start, order)| self.take_piece(start, order));
    }

    fn release(&mut self, range: Range<u32>) {
        pieces(range).for_each(|(start, order)| self.put(start, order));
    }

    fn take_piece(&mut self, start: u32, order: u32) {
        if start >= self.fresh {
            let gap = self.fresh..start;
            self.fresh = start + (1 << order);
            self.release(gap);
            return;
        }
        let range = start..start + (1 << order);
        let (mut held, mut held_order) = self.containing(&range).expect("invariant: a block that is taken was free");
        self.remove(held);
        while held_order > order {
            held_order -= 1;
            let upper = held + (1 << held_order);
            let (kept, other) = if start >= upper { (upper, held) } else { (held, upper) };
            self.insert(other, held_order);
            held = kept;
        }
    }

    /// The free block that holds all of `range`.
    fn containing(&self, range: &Range<u32>) -> Option<(u32, u32)> {
        let (start, (order, _)) = self.free.range(..=range.start).next_back()?;
        (start + (1 << order) >= range.end).then_some((*start, *order))
    }

    /// Frees a block, joined with its other half where that is free.
    fn put(&mut self, mut start: u32, mut order: u32) {
        while order < ORDER_MAX {
            let buddy = start ^ (1 << order);
            if self.free.get(&buddy).is_none_or(|(held, _)| *held != order) {
                break;
            }
            self.remove(buddy);
            start = start.min(buddy);
            order += 1;
        }
        self.insert(start, order);
    }

    fn insert(&mut self, start: u32, order: u32) {
        self.freed += 1;
        self.free.insert(start, (order, self.freed));
        self.queues[order as usize].insert(self.freed, start);
    }

    fn remove(&mut self, start: u32) {
        if let Some((order, place)) = self.free.remove(&start) {
            self.queues[order as usize].remove(&place);
        }
    }
}

/// The first place from `start` on, aligned to `size`, for so many slots outside `taken`.
fn beside(start: u32, size: u32, taken: &Range<u32>) -> Option<u32> {
    let start = start.checked_next_multiple_of(size)?;
    let end = start.checked_add(size)?;
    if overlap(&(start..end), taken) { taken.end.checked_next_multiple_of(size) } else { Some(start) }
}

/// Whether two ranges have a slot in common.
fn overlap(a: &Range<u32>, b: &Range<u32>) -> bool {
    a.start.max(b.start) < a.end.min(b.end)
}

/// The aligned blocks a range consists of, in order.
fn pieces(mut range: Range<u32>) -> impl Iterator<Item = (u32, u32)> {
    std::iter::from_fn(move || {
        let left = range.end.checked_sub(range.start).filter(|left| *left > 0)?;
        let order = range.start.trailing_zeros().min(left.ilog2()).min(ORDER_MAX);
        let start = range.start;
        range.start += 1 << order;
        Some((start, order))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Range<u32> = 0..0;

    fn word(block: u32, count: u32) -> SetWord {
        SetWord { block, count }
    }

    #[test]
    fn a_block_follows_from_its_word() {
        for (given, want) in [
            (word(0, 0), Some(0..0)),
            (word(4, 1), Some(4..8)),
            (word(8, 5), Some(8..16)),
            (word(4, 5), None),
            (word(0, SLOTS_CHUNK), Some(0..SLOTS_CHUNK)),
            (word(0, SLOTS_CHUNK + 1), None),
            (word(u32::MAX - 3, 4), None),
        ] {
            assert_eq!(range(given), want, "case: {given:?}");
        }
    }

    #[test]
    fn a_set_grows_in_place_while_the_other_half_is_free() {
        let mut blocks = Blocks::default();
        blocks.replace(0..0, 0..4);
        assert!(blocks.fits(word(0, 4), word(0, 5), 64, &NONE));
        assert!(!blocks.fits(word(0, 4), word(0, 5), 7, &NONE), "the limit holds in place, too");
        blocks.replace(0..0, 4..8);
        assert!(!blocks.fits(word(0, 4), word(0, 5), 64, &NONE));
        assert!(blocks.fits(word(0, 4), word(0, 3), 64, &NONE));
        blocks.replace(4..8, 0..0);
        blocks.replace(0..4, 0..8);
        assert_eq!(blocks.find(1, 64, &NONE), Some(8));
    }

    #[test]
    fn freed_blocks_join_and_come_back_last() {
        let mut blocks = Blocks::default();
        for start in [0, 4, 8, 12] {
            blocks.replace(0..0, start..start + 4);
        }
        blocks.replace(8..12, 0..0);
        blocks.replace(0..4, 0..0);
        assert_eq!(blocks.find(3, 64, &NONE), Some(8), "the one that was freed first");
        blocks.replace(4..8, 0..0);
        assert_eq!(blocks.find(8, 64, &NONE), Some(0), "two halves are one block");
        assert_eq!((blocks.used(), blocks.find(16, 64, &NONE), blocks.find(16, 31, &NONE)), (4, Some(16), None));
    }

    /// After a start with a lower limit: sets above it may still be in force, and be freed.
    #[test]
    fn a_free_block_above_the_limit_hides_none_below() {
        let mut blocks = Blocks::default();
        for start in [0, 4, 8, 12] {
            blocks.replace(0..0, start..start + 4);
        }
        blocks.replace(12..16, 0..0);
        blocks.replace(0..4, 0..0);
        assert_eq!((blocks.find(1, 12, &NONE), blocks.find(1, 16, &NONE)), (Some(0), Some(12)), "12 was freed first");
        blocks.replace(8..12, 0..0);
        assert_eq!(blocks.find(1, 4, &NONE), Some(0), "whatever their sizes");
        assert_eq!(blocks.find(5, 12, &NONE), None, "8 to 16 is above in part");
    }

    #[test]
    fn a_gap_before_an_aligned_block_stays_usable() {
        let mut blocks = Blocks::default();
        blocks.replace(0..0, 0..4);
        blocks.replace(0..0, 16..32);
        assert_eq!((blocks.find(1, 64, &NONE), blocks.find(8, 64, &NONE)), (Some(4), Some(8)));
    }

    /// Two sets of a Service get their blocks in one step.
    #[test]
    fn two_blocks_found_in_one_step_have_no_slot_in_common() {
        let mut blocks = Blocks::default();
        assert_eq!((blocks.find(3, 64, &NONE), blocks.find(3, 64, &(0..4))), (Some(0), Some(4)), "fresh");
        assert_eq!(blocks.find(6, 64, &(0..4)), Some(8), "aligned behind it");
        assert_eq!(blocks.find(3, 7, &(0..4)), None, "the limit holds beside it, too");
        blocks.replace(0..0, 0..16);
        blocks.replace(0..16, 0..4);
        assert_eq!(blocks.find(3, 64, &(4..8)), Some(8), "the next free block of the size, or larger");
        assert_eq!(blocks.find(3, 64, &(8..12)), Some(4));
        assert!(blocks.fits(word(0, 4), word(0, 5), 64, &(8..12)));
        assert!(!blocks.fits(word(0, 4), word(0, 5), 64, &(4..8)), "nor does one grow into what the other has taken");
    }
}
