//! Which version of each Service is programmed.
//!
//! A Service of which nothing is pending is programmed as it was last seen, so nothing is kept of it: only of those that a sync
//! left behind is it noted at which versions they were programmed before.
use sheave_core::index::Versions;
use sheave_core::{
    Event, Family, Index, Object, ObjectName, Protocol, ServiceKey, ServiceName, ServicePortName, SliceName, Touched,
};
use std::collections::BTreeMap;

/// Where one Service stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The versions last seen.
    pub observed: Versions,
    /// The versions the dataplane holds; `None` while nothing of it was ever carried out by this process.
    pub programmed: Option<Versions>,
    /// The parts of it that are to be planned again.
    pub pending: Vec<ServiceKey>,
}

/// What is noted of the Services that are not programmed as they were last seen.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    /// At which versions they were programmed; `None` for one that never was.
    versions: BTreeMap<ServiceName, Option<Versions>>,
    /// Whether a sync was carried out: before that there is nothing to fall behind of.
    synced: bool,
}

impl Behind {
    /// To be called before the index takes an event in: the Services it is about may fall behind.
    pub(crate) fn note(&mut self, event: &Event, index: &Index) {
        if !self.synced {
            return;
        }
        match event {
            Event::Applied(object) => self.note_object(object, index),
            Event::Deleted(ObjectName::Service(name)) => self.note_service(name, index),
            Event::Deleted(ObjectName::EndpointSlice(name)) => self.note_owner(name, index),
            // Of what the list leaves out no version is known any more, should its removal fail.
            Event::Listed { objects, .. } => objects.iter().for_each(|object| self.note_object(object, index)),
            Event::Deleted(_) | Event::Seen { .. } | Event::LocalAddresses(_) | Event::Diagnosed { .. } => {}
        }
    }

    fn note_object(&mut self, object: &Object, index: &Index) {
        match object {
            _ if index.holds(object) => {}
            Object::Service(service) => self.note_service(&service.name, index),
            Object::EndpointSlice(slice) => {
                self.note_owner(&slice.name, index);
                self.note_service(&slice.service, index);
            }
            Object::Node(_) | Object::ServiceCidr(_) => {}
        }
    }

    fn note_owner(&mut self, slice: &SliceName, index: &Index) {
        index.owner(slice).into_iter().for_each(|service| self.note_service(service, index));
    }

    fn note_service(&mut self, service: &ServiceName, index: &Index) {
        if !self.versions.contains_key(service) {
            self.versions.insert(service.clone(), Some(index.versions(service)));
        }
    }

    /// After a sync: only what is pending is behind. What was not behind before was programmed as it is seen now.
    pub(crate) fn synced(&mut self, pending: &Touched, index: &Index) {
        let mut behind: BTreeMap<_, _> = BTreeMap::new();
        for service in pending.keys.iter().map(|key| &key.port.service) {
            if !behind.contains_key(service) {
                let before = self.versions.remove(service);
                let before = before.unwrap_or_else(|| self.synced.then(|| index.versions(service)));
                behind.insert(service.clone(), before);
            }
        }
        self.versions = behind;
        self.synced = true;
    }

    /// The names of the Services that are behind, in order.
    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = &ServiceName> {
        self.versions.keys()
    }

    /// Where a Service stands.
    pub(crate) fn standing(&self, service: &ServiceName, index: &Index, pending: &Touched) -> Standing {
        let observed = index.versions(service);
        let programmed = match self.versions.get(service) {
            Some(before) => before.clone(),
            None => self.synced.then(|| observed.clone()),
        };
        let of_service = pending.keys.range(first_key(service)..).take_while(|key| key.port.service == *service);
        Standing { observed, programmed, pending: of_service.cloned().collect() }
    }
}

/// No key of a Service comes before this one.
fn first_key(service: &ServiceName) -> ServiceKey {
    let port = ServicePortName { service: service.clone(), port: "".into(), protocol: Protocol::Tcp };
    ServiceKey { port, family: Family::V4 }
}
