//! A hash table that cannot leak an order: the only way through all of it is sorted, so equal inputs give equal plans.
//!
//! Hashed rather than a tree, because names are compared byte by byte through two pointers each: one probe costs the same
//! at 100 and at 100,000 Services, a descent does not. The random seed of the standard hasher keeps object names chosen by
//! a tenant from colliding, and is not observable.
use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

/// Below this capacity nothing is given back.
const CAPACITY_MIN: usize = 64;

/// A map from `K` to `V`, in no order; gives memory back when it empties.
#[derive(Clone)]
pub struct Table<K, V>(HashMap<K, V>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, V: PartialEq> PartialEq for Table<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<K: Eq + Hash + Ord + fmt::Debug, V: fmt::Debug> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.sorted()).finish()
    }
}

impl<K: Eq + Hash, V> Table<K, V> {
    /// The value under `key`.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0.get(key)
    }

    /// The key as it is held: equal to `key`, and the one whose memory the table has anyway.
    pub fn key<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&K>
    where
        K: Borrow<Q>,
    {
        self.0.get_key_value(key).map(|(key, _)| key)
    }

    /// The value under `key`, to change.
    pub fn get_mut<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.0.get_mut(key)
    }

    /// The value under `key`; a default one is put there first if there is none.
    pub fn get_or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        self.0.entry(key).or_default()
    }

    /// Puts `value` under `key`; returns what was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.0.insert(key, value)
    }

    /// Takes the value under `key` out.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let value = self.0.remove(key);
        if self.0.capacity() > CAPACITY_MIN && self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to(self.0.len() * 2);
        }
        value
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every entry, by key. Costs a sort: for cold starts and audits, not for a change.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&K, &V)>
    where
        K: Ord,
    {
        self.sorted_where(|_, _| true)
    }

    /// How many entries are meant. Costs a look at each.
    pub fn count_where(&self, is_meant: impl Fn(&K, &V) -> bool) -> usize {
        self.0.iter().filter(|(key, value)| is_meant(key, value)).count()
    }

    /// The entries that are meant, by key. Costs a look at each and a sort of those.
    pub fn sorted_where(&self, is_meant: impl Fn(&K, &V) -> bool) -> Vec<(&K, &V)>
    where
        K: Ord,
    {
        let mut entries: Vec<_> = self.0.iter().filter(|(key, value)| is_meant(key, value)).collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_table_is_read_in_the_order_of_its_keys() {
        let mut table = Table::default();
        for key in [7, 1, 9, 3] {
            table.insert(key, key * 10);
        }
        assert_eq!(table.sorted(), [(&1, &10), (&3, &30), (&7, &70), (&9, &90)]);
        assert_eq!(table.sorted_where(|key, value| *key > 1 && *value < 90), [(&3, &30), (&7, &70)]);
    }

    #[test]
    fn an_emptied_table_gives_its_memory_back() {
        let mut table: Table<u32, u64> = Table::default();
        for key in 0..10_000 {
            table.insert(key, 0);
        }
        for key in 0..10_000 {
            table.remove(&key);
        }
        assert!(table.0.capacity() <= 2 * CAPACITY_MIN, "{} entries are still reserved", table.0.capacity());
    }
}
