//! What the sources report, held by name: Services with their slices, this node, ServiceCIDRs.
//!
//! Events coalesce per object and an object that is equal to the one held is no work (W13). Nothing is complete before
//! every kind was listed once (W12, I4).
use crate::diagnostic::{Diagnostic, ObjectRef};
use crate::event::{Event, Kind, Object, ObjectName};
use crate::name::{ServiceName, SliceName};
use crate::net::Family;
use crate::object::{EndpointSlice, Node, Service, ServiceCidr};
use crate::select::Vantage;
use crate::shared::Shared;
use crate::table::Table;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The objects sheave watches, as last reported.
#[derive(Clone, Debug)]
pub struct Index {
    node_name: Arc<str>,
    node: Option<Node>,
    cidrs: BTreeMap<Arc<str>, ServiceCidr>,
    groups: Table<ServiceName, Group>,
    /// Which Service a slice is grouped under: a slice may move to another one.
    owners: Table<SliceName, ServiceName>,
    listed: BTreeSet<Kind>,
    /// Addresses found on the node's devices, beside those the Node object reports.
    local_addresses: BTreeSet<IpAddr>,
    /// Text that many endpoints share.
    shared: Shared,
    changed: Changed,
    diagnostics: BTreeMap<ObjectRef, Vec<Diagnostic>>,
}

/// What changed since it was last asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changed {
    /// Services whose own object or slices changed.
    pub services: BTreeSet<ServiceName>,
    /// Whether this Node, its addresses or a ServiceCIDR changed.
    pub node: bool,
}

/// A Service and its slices; either may come first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Group {
    /// Apart from the table, which has room for more groups than there are.
    service: Option<Box<Service>>,
    /// By name, so that what is computed from them does not depend on the order of events.
    slices: Vec<EndpointSlice>,
}

impl Group {
    fn is_empty(&self) -> bool {
        self.service.is_none() && self.slices.is_empty()
    }

    /// Puts a slice in its place; returns the one that stood there.
    fn put(&mut self, slice: EndpointSlice) -> Option<EndpointSlice> {
        match self.slices.binary_search_by(|held| held.name.cmp(&slice.name)) {
            Ok(at) => Some(std::mem::replace(&mut self.slices[at], slice)),
            Err(at) => {
                // Nearly every Service has one slice; a Vec grows to four at its first push.
                self.slices.reserve_exact(1);
                self.slices.insert(at, slice);
                None
            }
        }
    }

    fn take(&mut self, name: &SliceName) -> Option<EndpointSlice> {
        let at = self.slices.binary_search_by(|held| held.name.cmp(name)).ok()?;
        Some(self.slices.remove(at))
    }

    fn get(&self, name: &SliceName) -> Option<&EndpointSlice> {
        let at = self.slices.binary_search_by(|held| held.name.cmp(name)).ok()?;
        Some(&self.slices[at])
    }
}

impl Index {
    /// An empty index for the node of this name; reports about other nodes are ignored.
    #[must_use]
    pub fn new(node: &str) -> Self {
        Self {
            node_name: node.into(),
            node: None,
            cidrs: BTreeMap::new(),
            groups: Table::default(),
            owners: Table::default(),
            listed: BTreeSet::new(),
            local_addresses: BTreeSet::new(),
            shared: Shared::default(),
            // What follows from a node of which nothing is known has to be worked out as well.
            changed: Changed { node: true, ..Changed::default() },
            diagnostics: BTreeMap::new(),
        }
    }

    /// Takes a report in.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Applied(object) => self.put(object),
            Event::Deleted(name) => self.remove(&name),
            Event::Listed { kind, objects, kept } => self.list(kind, objects, kept),
            Event::LocalAddresses(addresses) => {
                self.changed.node |= self.local_addresses != addresses;
                self.local_addresses = addresses;
            }
            Event::Diagnosed { object, diagnostics } if diagnostics.is_empty() => {
                self.diagnostics.remove(&object);
            }
            Event::Diagnosed { object, diagnostics } => {
                self.diagnostics.insert(object, diagnostics);
            }
        }
    }

    /// Whether every kind has been listed once. Until then nothing is written to the kernel (W12).
    #[must_use]
    pub fn complete(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.listed.contains(kind))
    }

    /// The kinds that have not been listed yet.
    pub fn missing(&self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(|kind| !self.listed.contains(kind))
    }

    /// What changed since the last call.
    pub fn take_changed(&mut self) -> Changed {
        std::mem::take(&mut self.changed)
    }

    /// The Service of this name.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.groups.get(name)?.service.as_deref()
    }

    /// The slices of this Service, by name.
    pub fn slices(&self, name: &ServiceName) -> impl Iterator<Item = &EndpointSlice> + Clone {
        self.groups.get(name).into_iter().flat_map(|group| &group.slices)
    }

    /// Every Service of which an object or a slice is held, by name.
    #[must_use]
    pub fn names(&self) -> BTreeSet<ServiceName> {
        self.groups.sorted().into_iter().map(|(name, _)| name.clone()).collect()
    }

    /// This node, once it was reported.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// The node's name, whether it was reported or not.
    #[must_use]
    pub fn node_name(&self) -> &str {
        &self.node_name
    }

    /// Where this node stands (E2, E7).
    #[must_use]
    pub fn vantage(&self) -> Vantage<'_> {
        Vantage { node: &self.node_name, zone: self.node.as_ref().and_then(|node| node.zone.as_deref()) }
    }

    /// The node's addresses, loopback apart: what the Node object reports, in its order, then others on its devices.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let reported = self.node.iter().flat_map(|node| &node.addresses);
        reported.chain(&self.local_addresses).copied()
    }

    /// The node's primary address of a family, as the Node object reports it (A5).
    #[must_use]
    pub fn primary_address(&self, family: Family) -> Option<IpAddr> {
        let reported = self.node.iter().flat_map(|node| &node.addresses);
        reported.copied().find(|addr| Family::of(*addr) == family)
    }

    /// The ServiceCIDR objects, by name.
    pub fn service_cidrs(&self) -> impl Iterator<Item = &ServiceCidr> {
        self.cidrs.values()
    }

    /// What the sources say is wrong, by object.
    pub fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.values().flatten()
    }

    fn put(&mut self, object: Object) {
        match object {
            Object::Service(service) => self.put_service(service),
            Object::EndpointSlice(slice) => self.put_slice(slice),
            Object::Node(node) if node.name == self.node_name => {
                self.changed.node |= self.node.as_ref() != Some(&node);
                self.node = Some(node);
            }
            Object::Node(_) => {}
            Object::ServiceCidr(cidr) => {
                self.changed.node |= self.cidrs.get(&cidr.name) != Some(&cidr);
                self.cidrs.insert(cidr.name.clone(), cidr);
            }
        }
    }

    fn put_service(&mut self, mut service: Service) {
        service.name = self.one_name(service.name);
        let group = self.groups.get_or_default(service.name.clone());
        if group.service.as_deref() != Some(&service) {
            self.changed.services.insert(service.name.clone());
            group.service = Some(Box::new(service));
        }
    }

    /// The name in the memory of the group that has it: a Service and its slices hold its text once.
    fn one_name(&self, name: ServiceName) -> ServiceName {
        self.groups.key(&name).cloned().unwrap_or(name)
    }

    fn put_slice(&mut self, slice: EndpointSlice) {
        match self.owners.get(&slice.name) {
            Some(owner) if *owner != slice.service => self.remove_slice(&slice.name),
            Some(owner) if self.groups.get(owner).and_then(|group| group.get(&slice.name)) == Some(&slice) => return,
            _ => {}
        }
        let slice = EndpointSlice { service: self.one_name(slice.service), ..slice };
        let slice = self.shared.share(slice);
        self.changed.services.insert(slice.service.clone());
        self.owners.insert(slice.name.clone(), slice.service.clone());
        let replaced = self.groups.get_or_default(slice.service.clone()).put(slice);
        replaced.into_iter().for_each(|slice| self.shared.release(slice));
    }

    fn remove(&mut self, name: &ObjectName) {
        match name {
            ObjectName::Service(name) => self.edit(name, |group| group.service.take().is_some()),
            ObjectName::EndpointSlice(name) => self.remove_slice(name),
            ObjectName::Node(name) if *name == self.node_name => self.changed.node |= self.node.take().is_some(),
            ObjectName::Node(_) => {}
            ObjectName::ServiceCidr(name) => self.changed.node |= self.cidrs.remove(name).is_some(),
        }
    }

    fn remove_slice(&mut self, name: &SliceName) {
        let Some(owner) = self.owners.remove(name) else { return };
        let mut taken = None;
        self.edit(&owner, |group| {
            taken = group.take(name);
            taken.is_some()
        });
        taken.into_iter().for_each(|slice| self.shared.release(slice));
    }

    /// Changes a group that exists; `change` says whether anything did. An empty group leaves nothing behind.
    fn edit(&mut self, name: &ServiceName, change: impl FnOnce(&mut Group) -> bool) {
        let Some(group) = self.groups.get_mut(name) else { return };
        if change(group) {
            self.changed.services.insert(name.clone());
        }
        if group.is_empty() {
            self.groups.remove(name);
        }
    }

    fn list(&mut self, kind: Kind, objects: Vec<Object>, kept: Vec<ObjectName>) {
        let mut staying: HashSet<ObjectName> = kept.into_iter().collect();
        staying.extend(objects.iter().map(Object::name));
        let gone: Vec<_> = self.held(kind).into_iter().filter(|name| !staying.contains(name)).collect();
        gone.iter().for_each(|name| self.remove(name));
        objects.into_iter().for_each(|object| self.put(object));
        self.listed.insert(kind);
    }

    fn held(&self, kind: Kind) -> Vec<ObjectName> {
        match kind {
            Kind::Service => {
                let groups = self.groups.sorted().into_iter();
                groups
                    .filter(|(_, group)| group.service.is_some())
                    .map(|(name, _)| ObjectName::Service(name.clone()))
                    .collect()
            }
            Kind::EndpointSlice => {
                self.owners.sorted().into_iter().map(|(name, _)| ObjectName::EndpointSlice(name.clone())).collect()
            }
            Kind::Node => self.node.iter().map(|node| ObjectName::Node(node.name.clone())).collect(),
            Kind::ServiceCidr => self.cidrs.keys().cloned().map(ObjectName::ServiceCidr).collect(),
        }
    }
}
