//! A Service and its EndpointSlices, each with the version it was last seen at.
use crate::name::SliceName;
use crate::object::{EndpointSlice, Service};
use std::collections::BTreeMap;

/// What is held of one Service; either part may come first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Group {
    /// Apart from the table, which has room for more groups than there are.
    service: Option<Box<Stamped<Service>>>,
    /// By name, so that what is computed from them does not depend on the order of events.
    slices: Vec<Stamped<EndpointSlice>>,
}

/// An object and its version; 0 where that is not known.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Stamped<T> {
    object: T,
    version: u64,
}

/// The versions (`metadata.resourceVersion`) of a Service and of its slices; 0 for one that is not known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Versions {
    /// Of the Service; `None` while it is not held.
    pub service: Option<u64>,
    /// Of each slice that is held.
    pub slices: BTreeMap<SliceName, u64>,
}

impl Group {
    pub(crate) fn is_empty(&self) -> bool {
        self.service.is_none() && self.slices.is_empty()
    }

    pub(crate) fn service(&self) -> Option<&Service> {
        self.service.as_deref().map(|held| &held.object)
    }

    pub(crate) fn slices(&self) -> impl Iterator<Item = &EndpointSlice> + Clone {
        self.slices.iter().map(|held| &held.object)
    }

    pub(crate) fn slice(&self, name: &SliceName) -> Option<&EndpointSlice> {
        Some(&self.slices[self.place(name).ok()?].object)
    }

    pub(crate) fn versions(&self) -> Versions {
        let slices = self.slices.iter().map(|held| (held.object.name.clone(), held.version));
        Versions { service: self.service.as_deref().map(|held| held.version), slices: slices.collect() }
    }

    /// Takes the Service as it is now; its version is not known yet.
    pub(crate) fn put_service(&mut self, service: Service) {
        self.service = Some(Box::new(Stamped { object: service, version: 0 }));
    }

    /// Whether there was one.
    pub(crate) fn take_service(&mut self) -> bool {
        self.service.take().is_some()
    }

    /// Puts a slice in its place, its version not known yet; returns the one that stood there.
    pub(crate) fn put_slice(&mut self, slice: EndpointSlice) -> Option<EndpointSlice> {
        let place = self.place(&slice.name);
        let slice = Stamped { object: slice, version: 0 };
        match place {
            Ok(at) => Some(std::mem::replace(&mut self.slices[at], slice).object),
            Err(at) => {
                // Nearly every Service has one slice; a Vec grows to four at its first push.
                self.slices.reserve_exact(1);
                self.slices.insert(at, slice);
                None
            }
        }
    }

    pub(crate) fn take_slice(&mut self, name: &SliceName) -> Option<EndpointSlice> {
        let at = self.place(name).ok()?;
        Some(self.slices.remove(at).object)
    }

    /// Notes the version of the Service, if it is held.
    pub(crate) fn stamp_service(&mut self, version: u64) {
        self.service.iter_mut().for_each(|held| held.version = version);
    }

    /// Notes the version of a slice, if it is held.
    pub(crate) fn stamp_slice(&mut self, name: &SliceName, version: u64) {
        if let Ok(at) = self.place(name) {
            self.slices[at].version = version;
        }
    }

    fn place(&self, name: &SliceName) -> Result<usize, usize> {
        self.slices.binary_search_by(|held| held.object.name.cmp(name))
    }
}
