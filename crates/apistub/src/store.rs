//! What the server holds: objects, and the log of their changes that watches read.
use crate::object::{Key, Stored};
use crate::resource::{RESOURCES, Resource};
use crate::selector::Selector;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

/// Changes kept per resource. Older ones are compacted away, as a real server's watch cache and etcd do.
const LOG_MAX: usize = 100_000;

/// One change of one object.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) before: Option<Arc<Stored>>,
    pub(crate) after: Option<Arc<Stored>>,
}

/// The log no longer reaches back to a version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Compacted;

#[derive(Default, Debug)]
struct Table {
    objects: BTreeMap<Key, Arc<Stored>>,
    log: VecDeque<Change>,
    /// The version before the oldest change in the log.
    compacted: u64,
}

/// All objects. Versions are shared by all resources, as in etcd.
#[derive(Debug)]
pub(crate) struct Store {
    version: u64,
    tables: [Table; RESOURCES.len()],
}

/// A part of a list.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) objects: Vec<Arc<Stored>>,
    /// The last key of this page, when more follow.
    pub(crate) last: Option<Key>,
    /// How many matching objects follow.
    pub(crate) remaining: usize,
}

impl Store {
    pub(crate) fn new() -> Self {
        // A real server never hands out 0, which stands for "any version".
        Self { version: 1, tables: Default::default() }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn get(&self, resource: &Resource, key: &Key) -> Option<&Arc<Stored>> {
        self.tables[resource.index].objects.get(key)
    }

    pub(crate) fn len(&self, resource: &Resource) -> usize {
        self.tables[resource.index].objects.len()
    }

    /// Stores what `make` makes of the next version.
    pub(crate) fn put(&mut self, resource: &Resource, make: impl FnOnce(u64) -> Stored) -> Arc<Stored> {
        self.version += 1;
        let after = Arc::new(make(self.version));
        let table = &mut self.tables[resource.index];
        let before = table.objects.insert(after.key.clone(), after.clone());
        table.log(Change { version: self.version, before, after: Some(after.clone()) });
        after
    }

    /// `None` when there is no such object.
    pub(crate) fn delete(&mut self, resource: &Resource, key: &Key) -> Option<u64> {
        let table = &mut self.tables[resource.index];
        let before = table.objects.remove(key)?;
        self.version += 1;
        table.log(Change { version: self.version, before: Some(before), after: None });
        Some(self.version)
    }

    /// Forgets all changes: watches from an older version get 410, as after a compaction of etcd.
    pub(crate) fn compact(&mut self) {
        for table in &mut self.tables {
            table.log.clear();
            table.compacted = self.version;
        }
    }

    /// Changes after a version.
    pub(crate) fn changes(&self, resource: &Resource, after: u64) -> Result<impl Iterator<Item = &Change>, Compacted> {
        self.tables[resource.index].changes(after)
    }

    /// A page of the objects as they were at a version; as they are now for `None`.
    pub(crate) fn page(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        selector: &Selector,
        (at, after, limit): (Option<u64>, Option<&Key>, usize),
    ) -> Result<Page, Compacted> {
        let table = &self.tables[resource.index];
        let undone = at.map_or(Ok(HashMap::new()), |version| table.undone(version))?;
        let start = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.clone()));
        let in_place = table.objects.range((start, Bound::Unbounded)).filter(|(key, _)| !undone.contains_key(key));
        let restored = undone.iter().filter(|(key, _)| after.is_none_or(|after| *key > after));
        let mut objects: Vec<_> = in_place
            .map(|(_, object)| object)
            .chain(restored.filter_map(|(_, before)| before.as_ref()))
            .filter(|object| namespace.is_none_or(|wanted| object.key.0 == wanted) && selector.matches(object))
            .cloned()
            .collect();
        if !undone.is_empty() {
            objects.sort_by(|a, b| a.key.cmp(&b.key));
        }
        let remaining = objects.len().saturating_sub(limit);
        objects.truncate(limit);
        let last = if remaining > 0 { objects.last().map(|object| object.key.clone()) } else { None };
        Ok(Page { objects, last, remaining })
    }
}

impl Table {
    fn log(&mut self, change: Change) {
        self.log.push_back(change);
        if self.log.len() > LOG_MAX
            && let Some(oldest) = self.log.pop_front()
        {
            self.compacted = oldest.version;
        }
    }

    fn changes(&self, after: u64) -> Result<impl Iterator<Item = &Change>, Compacted> {
        if after < self.compacted {
            return Err(Compacted);
        }
        let first = self.log.partition_point(|change| change.version <= after);
        Ok(self.log.range(first..))
    }

    /// The objects changed since a version, as they were then.
    fn undone(&self, version: u64) -> Result<HashMap<Key, Option<Arc<Stored>>>, Compacted> {
        let mut undone = HashMap::new();
        for change in self.changes(version)? {
            let key = change.before.as_ref().or(change.after.as_ref()).map(|object| object.key.clone());
            if let Some(key) = key {
                undone.entry(key).or_insert_with(|| change.before.clone());
            }
        }
        Ok(undone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(name: &str) -> impl FnOnce(u64) -> Stored {
        let resource = Resource::of_kind("Service").unwrap();
        let object = json!({"metadata": {"name": name, "namespace": "shop"}});
        move |version| Stored::new(resource, object, version)
    }

    fn names(page: &Page) -> Vec<&str> {
        page.objects.iter().map(|object| object.key.1.as_str()).collect()
    }

    #[test]
    fn a_page_shows_the_objects_as_they_were_at_its_version() {
        let resource = Resource::of_kind("Service").unwrap();
        let mut store = Store::new();
        for name in ["a", "b", "c", "d"] {
            store.put(resource, service(name));
        }
        let at = store.version();
        let key = |name: &str| ("shop".to_owned(), name.to_owned());
        store.delete(resource, &key("d"));
        store.put(resource, service("bb"));
        let page = |store: &Store, at, after: Option<&Key>, limit| {
            store.page(resource, None, &Selector::default(), (at, after, limit))
        };
        let first = page(&store, Some(at), None, 2).unwrap();
        assert_eq!((names(&first), first.last.as_ref(), first.remaining), (vec!["a", "b"], Some(&key("b")), 2));
        let second = page(&store, Some(at), Some(&key("b")), 2).unwrap();
        assert_eq!((names(&second), second.last.as_ref()), (vec!["c", "d"], None));
        assert_eq!(names(&page(&store, None, None, 9).unwrap()), ["a", "b", "bb", "c"]);
        store.compact();
        assert_eq!(page(&store, Some(at), None, 2).unwrap_err(), Compacted);
        assert_eq!(names(&page(&store, Some(store.version()), None, 9).unwrap()), ["a", "b", "bb", "c"]);
    }

    #[test]
    fn the_log_is_bounded_and_what_it_lost_is_compacted() {
        let resource = Resource::of_kind("Service").unwrap();
        let mut store = Store::new();
        let before = store.version();
        for _ in 0..=LOG_MAX {
            store.put(resource, service("a"));
        }
        assert!(store.changes(resource, before).is_err());
        assert_eq!(store.changes(resource, before + 1).unwrap().count(), LOG_MAX);
    }
}
