//! Small sorted maps and sets in one allocation: a set of backends or frontends is read often, compared whole, and made anew
//! when it changes. A tree would take several times the memory of its elements.
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;

/// A sorted map in a boxed slice. Looking up takes a binary search, changing one element a copy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlatMap<K, V>(Box<[(K, V)]>);

/// A sorted set in a boxed slice.
pub type FlatSet<T> = FlatMap<T, ()>;

impl<K, V> Default for FlatMap<K, V> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for FlatMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match size_of::<V>() {
            0 => f.debug_set().entries(self.keys()).finish(),
            _ => f.debug_map().entries(self.iter()).finish(),
        }
    }
}

impl<K, V> FlatMap<K, V> {
    /// Every key with its value, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + ExactSizeIterator + Clone {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// Every key, in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + ExactSizeIterator + Clone {
        self.0.iter().map(|(key, _)| key)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Ord, V> FlatMap<K, V> {
    /// The value under a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.at(key).ok().map(|at| &self.0[at].1)
    }

    /// Whether the key is there.
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        self.at(key).is_ok()
    }

    /// To be asked about keys in order.
    #[must_use]
    pub fn in_order(&self) -> InOrder<'_, K, V> {
        InOrder(&self.0)
    }

    /// Puts a value under a key, in place of the one there.
    pub fn insert(&mut self, key: K, value: V) {
        let mut entries = std::mem::take(&mut self.0).into_vec();
        match entries.binary_search_by(|(held, _)| held.cmp(&key)) {
            Ok(at) => entries[at].1 = value,
            Err(at) => {
                entries.reserve_exact(1);
                entries.insert(at, (key, value));
            }
        }
        self.0 = entries.into_boxed_slice();
    }

    /// Takes a key away; whether it was there.
    pub fn remove(&mut self, key: &K) -> bool {
        let Ok(at) = self.at(key) else { return false };
        let mut entries = std::mem::take(&mut self.0).into_vec();
        entries.remove(at);
        self.0 = entries.into_boxed_slice();
        true
    }

    fn at(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(held, _)| held.cmp(key))
    }
}

/// What is left of a map that is asked about keys in order, each once: one pass answers for all of them.
#[derive(Debug)]
pub struct InOrder<'a, K, V>(&'a [(K, V)]);

impl<K: Ord, V> InOrder<'_, K, V> {
    /// Whether the key is there; no key up to this one is asked about any more.
    #[inline]
    pub fn has(&mut self, key: &K) -> bool {
        while let [(held, _), rest @ ..] = self.0 {
            match held.cmp(key) {
                Ordering::Less => self.0 = rest,
                Ordering::Equal => {
                    self.0 = rest;
                    return true;
                }
                Ordering::Greater => return false,
            }
        }
        false
    }
}

/// Those of keys in order that none of these maps has, in one pass over each.
pub fn beyond<K: Ord, V, B: Borrow<K>, const N: usize>(
    keys: impl IntoIterator<Item = B>,
    known: [&FlatMap<K, V>; N],
) -> impl Iterator<Item = B> {
    let mut known = known.map(FlatMap::in_order);
    keys.into_iter().filter(move |key| !known.iter_mut().any(|known| known.has(key.borrow())))
}

impl<K: Ord, V> FromIterator<(K, V)> for FlatMap<K, V> {
    /// Of values under one key the first stays.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut entries: Vec<_> = entries.into_iter().collect();
        if !entries.is_sorted_by(|(a, _), (b, _)| a < b) {
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            entries.dedup_by(|(later, _), (first, _)| later == first);
        }
        Self(entries.into_boxed_slice())
    }
}

impl<K, V> IntoIterator for FlatMap<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_vec().into_iter()
    }
}

impl<T: Ord> FromIterator<T> for FlatSet<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        items.into_iter().map(|item| (item, ())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_map_is_sorted_and_keeps_one_value_for_each_key() {
        let mut map: FlatMap<u8, &str> = [(3, "c"), (1, "a"), (3, "x"), (2, "b")].into_iter().collect();
        map.insert(2, "B");
        map.insert(0, "z");
        assert!(map.remove(&1) && !map.remove(&1));
        assert_eq!(map.iter().collect::<Vec<_>>(), [(&0, &"z"), (&2, &"B"), (&3, &"c")]);
        assert_eq!((map.get(&2), map.get(&9), map.contains(&3), map.len()), (Some(&"B"), None, true, 3));
        for given in [vec![1, 2, 3], vec![3, 2, 1], vec![1, 1, 2, 3], vec![3, 3, 2, 1]] {
            let set: FlatSet<u8> = given.iter().copied().collect();
            assert_eq!(set.keys().copied().collect::<Vec<_>>(), [1, 2, 3], "{given:?}");
            assert!(!set.is_empty());
        }
        let mut held = map.in_order();
        assert_eq!([0, 1, 2, 3, 4].map(|key| held.has(&key)), [true, false, true, true, false]);
        assert_eq!(beyond([0, 1, 3, 4], [&map, &FlatMap::from_iter([(4, "")])]).collect::<Vec<_>>(), [1]);
        assert!(FlatSet::<u8>::default().is_empty());
        assert_eq!(format!("{:?}", FlatSet::from_iter([2, 1, 2])), "{1, 2}");
        assert_eq!(format!("{map:?}"), r#"{0: "z", 2: "B", 3: "c"}"#);
    }
}
