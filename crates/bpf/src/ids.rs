//! Ids handed out so that a freed one rests: a reader in the kernel may still hold it for a moment, a flow for longer (I5).
//!
//! Reuse is harmless even then: a reader compares the entry's Service, a UDP flow also its address and port. The rest
//! makes the comparison succeed by chance still less likely, and costs at most [`REST`] entries of map memory.
use std::collections::VecDeque;

/// How many ids have to be freed after one before it is handed out again, while fresh ids are left.
const REST: usize = 4096;

/// The ids 1 to a limit that are free. Derived from map contents by [`IdPool::take`] and [`IdPool::release`].
#[derive(Clone, Debug)]
pub(crate) struct IdPool {
    /// The first id that was never in use.
    fresh: u32,
    /// Freed ids, the longest rest first.
    resting: VecDeque<u32>,
}

impl Default for IdPool {
    fn default() -> Self {
        Self { fresh: 1, resting: VecDeque::new() }
    }
}

impl IdPool {
    /// The next `count` ids, none above `max`; `None` if fewer are free. Takes nothing.
    pub(crate) fn peek(&self, count: usize, max: u32) -> Option<Vec<u32>> {
        let rested = self.resting.len().saturating_sub(REST);
        let usable = |id: &&u32| **id <= max;
        let first = self.resting.iter().take(rested).filter(usable).copied();
        let last = self.resting.iter().skip(rested).filter(usable).copied();
        let ids: Vec<_> = first.chain(self.fresh..=max).chain(last).take(count).collect();
        (ids.len() == count).then_some(ids)
    }

    /// The first id that is not in use and was not before, once so many more are taken.
    pub(crate) fn end(&self, more: u32) -> u32 {
        let rested = u32::try_from(self.resting.len().saturating_sub(REST)).unwrap_or(u32::MAX);
        self.fresh.saturating_add(more.saturating_sub(rested))
    }

    /// Whether an id was never in use, as far as is known: above every one that was.
    pub(crate) fn is_fresh(&self, id: u32) -> bool {
        id >= self.fresh
    }

    /// How many ids are in use.
    pub(crate) fn used(&self) -> u32 {
        let resting = u32::try_from(self.resting.len()).expect("invariant: no more rest than there are");
        self.fresh - 1 - resting
    }

    /// The id is in use from now on.
    pub(crate) fn take(&mut self, id: u32) {
        if id >= self.fresh {
            self.resting.extend(self.fresh..id);
            self.fresh = id + 1;
        } else if let Some(at) = self.resting.iter().position(|resting| *resting == id) {
            // `peek` takes from the front: the search ends at once.
            self.resting.remove(at);
        }
    }

    /// The id is in use no more.
    pub(crate) fn release(&mut self, id: u32) {
        self.resting.push_back(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_id_rests_until_many_others_were_freed() {
        let mut pool = IdPool::default();
        (1..=5000).for_each(|id| pool.take(id));
        pool.release(7);
        assert_eq!(pool.peek(1, 10_000), Some(vec![5001]), "a fresh id comes first");
        assert!(pool.is_fresh(5001) && !pool.is_fresh(5000) && !pool.is_fresh(7), "7 was in use");
        (1000..1000 + 4096).for_each(|id| pool.release(id));
        assert_eq!(pool.peek(2, 10_000), Some(vec![7, 5001]), "7 has rested, the next one has not");
    }

    #[test]
    fn a_resting_id_is_used_when_nothing_else_is_left() {
        let mut pool = IdPool::default();
        (1..=4).for_each(|id| pool.take(id));
        pool.release(3);
        pool.release(1);
        assert_eq!(pool.peek(2, 4), Some(vec![3, 1]));
        assert_eq!(pool.peek(3, 4), None);
        assert_eq!(pool.peek(2, 5), Some(vec![5, 3]));
    }

    #[test]
    fn ids_below_one_that_is_found_in_use_are_free() {
        let mut pool = IdPool::default();
        pool.take(3);
        assert_eq!(pool.peek(3, 4), Some(vec![4, 1, 2]));
        assert_eq!(pool.used(), 1);
        assert_eq!(pool.peek(1, 2), Some(vec![1]));
        pool.release(3);
        assert_eq!(pool.used(), 0);
        assert_eq!(pool.peek(3, 2), None, "an id above a lowered limit is never handed out again");
    }
}
