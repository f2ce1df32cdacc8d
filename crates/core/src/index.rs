//! What the sources report, held by name: Services with their slices, this node, ServiceCIDRs.
//!
//! Events coalesce per object and an object that is equal to the one held is no work (W13). Nothing is complete before
//! every kind was listed once (W12, I4).
use crate::diagnostic::{Diagnostic, ObjectRef};
use crate::event::{Event, Kind, Object, ObjectName, Stamp};
use crate::group::Group;
pub use crate::group::Versions;
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
    /// How many of the groups have their Service.
    services: usize,
    /// Which Service a slice is grouped under: a slice may move to another one.
    owners: Table<SliceName, ServiceName>,
    listed: BTreeSet<Kind>,
    /// Addresses found on the node's devices, beside those the Node object reports; `None` before the first report.
    local_addresses: Option<BTreeSet<IpAddr>>,
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

impl Index {
    /// An empty index for the node of this name; reports about other nodes are ignored.
    #[must_use]
    pub fn new(node: &str) -> Self {
        Self {
            node_name: node.into(),
            node: None,
            cidrs: BTreeMap::new(),
            groups: Table::default(),
            services: 0,
            owners: Table::default(),
            listed: BTreeSet::new(),
            local_addresses: None,
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
            Event::Seen { object, stamp } => self.stamp(&object, stamp),
            Event::LocalAddresses(addresses) => {
                let addresses = Some(addresses);
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

    /// Whether every kind has been listed once and the node's addresses are known. Until then nothing is written to the
    /// kernel (W12): a restart must not take away what earlier addresses had given (I4).
    #[must_use]
    pub fn complete(&self) -> bool {
        self.missing().next().is_none() && self.local_addresses.is_some()
    }

    /// The kinds that have not been listed yet.
    pub fn missing(&self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(|kind| !self.listed.contains(kind))
    }

    /// What changed since the last call.
    pub fn take_changed(&mut self) -> Changed {
        std::mem::take(&mut self.changed)
    }

    /// How many objects of a kind are held.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Service => self.services,
            Kind::EndpointSlice => self.owners.len(),
            Kind::Node => usize::from(self.node.is_some()),
            Kind::ServiceCidr => self.cidrs.len(),
        }
    }

    /// The Service of this name.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.groups.get(name)?.service()
    }

    /// How many Services are meant. Costs a look at each, and no memory.
    pub fn count_where(&self, is_meant: impl Fn(&Service) -> bool) -> usize {
        self.groups.count_where(|_, group| group.service().is_some_and(&is_meant))
    }

    /// The Services that are meant, by name. Costs a look at each Service, and nothing else of those that are not meant.
    pub fn services_where(&self, is_meant: impl Fn(&Service) -> bool) -> Vec<&Service> {
        let groups = self.groups.sorted_where(|_, group| group.service().is_some_and(&is_meant));
        groups.into_iter().filter_map(|(_, group)| group.service()).collect()
    }

    /// The slices of this Service, by name.
    pub fn slices(&self, name: &ServiceName) -> impl Iterator<Item = &EndpointSlice> + Clone {
        self.groups.get(name).into_iter().flat_map(Group::slices)
    }

    /// Whether the object is held just as it is: applying it would be no change (W13).
    #[must_use]
    pub fn holds(&self, object: &Object) -> bool {
        match object {
            Object::Service(service) => self.service(&service.name) == Some(service),
            Object::EndpointSlice(slice) => self.slice(&slice.name) == Some(slice),
            Object::Node(node) => self.node.as_ref() == Some(node),
            Object::ServiceCidr(cidr) => self.cidrs.get(&cidr.name) == Some(cidr),
        }
    }

    /// The Service under which a slice is held.
    #[must_use]
    pub fn owner(&self, slice: &SliceName) -> Option<&ServiceName> {
        self.owners.get(slice)
    }

    /// The versions of this Service and of its slices, as last seen.
    #[must_use]
    pub fn versions(&self, name: &ServiceName) -> Versions {
        self.groups.get(name).map(Group::versions).unwrap_or_default()
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
        reported.chain(self.local_addresses.iter().flatten()).copied()
    }

    /// The addresses on the node's devices; none before they were told.
    pub fn device_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.local_addresses.iter().flatten().copied()
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

    /// Of nodes and ServiceCIDRs no version is kept: nobody waits for one.
    fn stamp(&mut self, object: &ObjectName, Stamp { version, .. }: Stamp) {
        match object {
            ObjectName::Service(name) => {
                self.groups.get_mut(name).into_iter().for_each(|group| group.stamp_service(version));
            }
            ObjectName::EndpointSlice(name) => {
                let group = self.owners.get(name).and_then(|owner| self.groups.get_mut(owner));
                group.into_iter().for_each(|group| group.stamp_slice(name, version));
            }
            ObjectName::Node(_) | ObjectName::ServiceCidr(_) => {}
        }
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
        if group.service() != Some(&service) {
            self.changed.services.insert(service.name.clone());
            self.services += usize::from(group.service().is_none());
            group.put_service(service);
        }
    }

    fn slice(&self, name: &SliceName) -> Option<&EndpointSlice> {
        self.groups.get(self.owners.get(name)?)?.slice(name)
    }

    /// The name in the memory of the group that has it: a Service and its slices hold its text once.
    fn one_name(&self, name: ServiceName) -> ServiceName {
        self.groups.key(&name).cloned().unwrap_or(name)
    }

    fn put_slice(&mut self, slice: EndpointSlice) {
        match self.owners.get(&slice.name) {
            Some(owner) if *owner != slice.service => self.remove_slice(&slice.name),
            Some(_) if self.slice(&slice.name) == Some(&slice) => return,
            _ => {}
        }
        let slice = EndpointSlice { service: self.one_name(slice.service), ..slice };
        let slice = self.shared.share(slice);
        self.changed.services.insert(slice.service.clone());
        self.owners.insert(slice.name.clone(), slice.service.clone());
        let replaced = self.groups.get_or_default(slice.service.clone()).put_slice(slice);
        replaced.into_iter().for_each(|slice| self.shared.release(slice));
    }

    fn remove(&mut self, name: &ObjectName) {
        match name {
            ObjectName::Service(name) => {
                let mut taken = false;
                self.edit(name, |group| {
                    taken = group.take_service();
                    taken
                });
                self.services -= usize::from(taken);
            }
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
            taken = group.take_slice(name);
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
                    .filter(|(_, group)| group.service().is_some())
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
