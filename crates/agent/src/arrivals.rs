//! What came since the last complete sync: how many changes (H7), and what the changed slices were triggered by (H6).
use sheave_core::{Event, Family, Index, Kind, Object, ObjectName, SliceName};
use std::collections::{BTreeMap, BTreeSet};

/// How many changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// Of Services.
    pub services: u64,
    /// Of EndpointSlices.
    pub slices: u64,
}

/// Changes that are not in the kernel yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Arrivals {
    /// How many.
    pub changes: Changes,
    /// What moved the endpoints of the changed slices, each slice's first trigger, nanoseconds since 1970.
    triggers: BTreeMap<SliceName, (Family, i64)>,
    /// Triggers before this are of a time when nobody was here to act on them.
    since_unix_ns: i64,
    /// Slices that changed in the event before; their stamps come right behind.
    changed: BTreeMap<SliceName, Family>,
}

impl Arrivals {
    /// None yet. Triggers before `since_unix_ns` do not count.
    #[must_use]
    pub fn since(since_unix_ns: i64) -> Self {
        Self { since_unix_ns, ..Self::default() }
    }

    /// Looks at an event that the index has not taken in yet. What changes nothing is no arrival (W13).
    pub fn note(&mut self, event: &Event, index: &Index) {
        match event {
            Event::Applied(object) => {
                self.changed.clear();
                self.note_object(object, index);
            }
            Event::Listed { kind, objects, kept } => {
                self.changed.clear();
                self.note_gone(*kind, objects, kept, index);
                objects.iter().for_each(|object| self.note_object(object, index));
            }
            Event::Deleted(name) => self.note_deleted(name),
            Event::Seen { object: ObjectName::EndpointSlice(name), stamp } => {
                let since = self.since_unix_ns;
                let trigger = stamp.triggered_unix_ns.filter(|triggered| *triggered >= since);
                if let (Some(family), Some(trigger)) = (self.changed.remove(name), trigger) {
                    self.triggers.entry(name.clone()).or_insert((family, trigger));
                }
            }
            Event::Seen { .. } | Event::LocalAddresses(_) | Event::Diagnosed { .. } => {}
        }
    }

    /// The triggers, with the family of each slice.
    pub fn triggers(&self) -> impl Iterator<Item = (Family, i64)> {
        self.triggers.values().copied()
    }

    /// All of it; none is left.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self::since(self.since_unix_ns))
    }

    fn note_object(&mut self, object: &Object, index: &Index) {
        match object {
            _ if index.holds(object) => {}
            Object::Service(_) => self.changes.services += 1,
            Object::EndpointSlice(slice) => {
                self.changes.slices += 1;
                self.changed.insert(slice.name.clone(), slice.family);
            }
            Object::Node(_) | Object::ServiceCidr(_) => {}
        }
    }

    fn note_deleted(&mut self, name: &ObjectName) {
        match name {
            ObjectName::Service(_) => self.changes.services += 1,
            ObjectName::EndpointSlice(name) => {
                self.changes.slices += 1;
                self.triggers.remove(name);
            }
            ObjectName::Node(_) | ObjectName::ServiceCidr(_) => {}
        }
    }

    /// What a list leaves out is gone.
    fn note_gone(&mut self, kind: Kind, objects: &[Object], kept: &[ObjectName], index: &Index) {
        let mut listed: BTreeSet<ObjectName> = objects.iter().map(Object::name).collect();
        listed.extend(kept.iter().cloned());
        let gone = index.count(kind).saturating_sub(listed.len()) as u64;
        match kind {
            Kind::Service => self.changes.services += gone,
            Kind::EndpointSlice => {
                self.changes.slices += gone;
                self.triggers.retain(|name, _| listed.contains(&ObjectName::EndpointSlice(name.clone())));
            }
            Kind::Node | Kind::ServiceCidr => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sheave_core::{Endpoint, EndpointSlice, ServiceName, Stamp};

    fn slice(name: &str, family: Family, endpoints: u8) -> EndpointSlice {
        let addr = |n: u8| match family {
            Family::V4 => [10, 0, 0, n].into(),
            Family::V6 => [0xfd10, 0, 0, 0, 0, 0, 0, u16::from(n)].into(),
        };
        EndpointSlice {
            name: SliceName::new("shop", name),
            service: ServiceName::new("shop", "web"),
            family,
            ports: Vec::new(),
            endpoints: (0..endpoints).map(|n| Endpoint::ready(addr(n))).collect(),
        }
    }

    fn applied(name: &str, family: Family, endpoints: u8) -> Event {
        Event::Applied(Object::EndpointSlice(slice(name, family, endpoints)))
    }

    fn seen(name: &str, triggered_unix_ns: Option<i64>) -> Event {
        let object = ObjectName::EndpointSlice(SliceName::new("shop", name));
        Event::Seen { object, stamp: Stamp { version: 1, triggered_unix_ns } }
    }

    struct Told(Index, Arrivals);

    impl Told {
        fn tell(&mut self, events: impl IntoIterator<Item = Event>) -> (u64, Vec<(Family, i64)>) {
            for event in events {
                self.1.note(&event, &self.0);
                self.0.apply(event);
            }
            (self.1.changes.slices, self.1.triggers().collect())
        }
    }

    /// H6, W13
    #[test]
    fn a_trigger_counts_once_for_a_slice_that_changed_after_the_start() {
        use Family::{V4, V6};
        for (name, events, want) in [
            ("changed", vec![applied("one", V4, 1), seen("one", Some(100))], (1, vec![(V4, 100)])),
            ("before the start", vec![applied("one", V4, 1), seen("one", Some(99))], (1, vec![])),
            ("without an annotation", vec![applied("one", V4, 1), seen("one", None)], (1, vec![])),
            ("nothing but the version differs", vec![applied("held", V4, 1), seen("held", Some(100))], (0, vec![])),
            (
                "twice: the wait of the first counts",
                vec![applied("one", V4, 1), seen("one", Some(100)), applied("one", V4, 2), seen("one", Some(200))],
                (2, vec![(V4, 100)]),
            ),
            (
                "each slice, each family",
                vec![applied("one", V4, 1), seen("one", Some(100)), applied("two", V6, 1), seen("two", Some(200))],
                (2, vec![(V4, 100), (V6, 200)]),
            ),
            (
                "gone again",
                vec![
                    applied("one", V4, 1),
                    seen("one", Some(100)),
                    Event::Deleted(ObjectName::EndpointSlice(SliceName::new("shop", "one"))),
                ],
                (2, vec![]),
            ),
            (
                "a list tells of one new slice and leaves the held one out",
                vec![
                    Event::Listed {
                        kind: Kind::EndpointSlice,
                        objects: vec![
                            Object::EndpointSlice(slice("one", V4, 1)),
                            Object::EndpointSlice(slice("two", V4, 1)),
                        ],
                        kept: vec![ObjectName::EndpointSlice(SliceName::new("shop", "held"))],
                    },
                    seen("one", Some(100)),
                    seen("two", Some(7)),
                ],
                (2, vec![(V4, 100)]),
            ),
        ] {
            let mut told = Told(Index::new("node-a"), Arrivals::since(100));
            told.tell([applied("held", V4, 1)]);
            let _before = told.1.take();
            assert_eq!(told.tell(events), want, "case: {name}");
            assert_eq!(told.1.take().changes.slices, want.0, "case: {name}");
            assert_eq!(told.tell([]), (0, vec![]), "case: {name}: taken once");
        }
    }
}
