//! The agent's way from manifests to a dataplane, without clock and kernel; beside it an index for the reference.
use crate::recorder::Recorder;
use crate::scenario::{Scenario, Step};
use sheave_agent::config::Config;
use sheave_agent::explain::Observed;
use sheave_agent::sync::Syncer;
use sheave_core::{Change, Desired, Diagnostic, Event, Index, Kind, Object, ObjectName, ProxyConfig};
use sheave_core::{ServiceName, SliceName};
use sheave_kube_source::manifests::Manifests;
use sheave_kube_source::{Absent, object_ref};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

/// What the world is like, and what was made of it.
pub struct Stage {
    /// The dataplane in memory that the agent's way ends at.
    pub recorder: Recorder,
    /// What is wrong.
    pub diagnostics: BTreeSet<Diagnostic>,
    config: ProxyConfig,
    index: Index,
    node: String,
    syncer: Syncer<Recorder>,
    objects: BTreeMap<ObjectName, Object>,
    absent: BTreeMap<ObjectName, Absent>,
    addresses: BTreeSet<IpAddr>,
    listed: BTreeSet<Kind>,
}

impl Stage {
    /// Nothing observed yet.
    ///
    /// # Errors
    /// What cannot be read or carried out.
    pub fn new(scenario: &Scenario) -> Result<Self, String> {
        let config = Config::parse(&scenario.config, Path::new("config")).map_err(|error| error.to_string())?.proxy();
        let recorder = Recorder::default();
        let mut listed: BTreeSet<Kind> = Kind::ALL.into();
        for kind in kinds(&scenario.unlisted)? {
            listed.remove(&kind);
        }
        Ok(Self {
            index: Index::new(&scenario.node),
            diagnostics: BTreeSet::new(),
            node: scenario.node.clone(),
            syncer: Syncer::new(&scenario.node, config.clone(), recorder.clone()),
            objects: BTreeMap::new(),
            absent: BTreeMap::new(),
            addresses: BTreeSet::new(),
            listed,
            recorder,
            config,
        })
    }

    /// Brings the first objects, as complete lists of every kind that is listed.
    ///
    /// # Errors
    /// What cannot be read or carried out.
    pub fn begin(&mut self, step: &Step) -> Result<(), String> {
        let diagnosed = self.note(step)?;
        let kinds: Vec<_> = self.listed.iter().copied().collect();
        let listed = kinds.into_iter().map(|kind| self.list(kind));
        let events = listed.chain(diagnosed).chain([Event::LocalAddresses(self.addresses.clone())]).collect();
        self.sync(events)
    }

    /// Brings what a step says: lists of kinds that were not listed before, and changes of single objects.
    ///
    /// # Errors
    /// What cannot be read or carried out.
    pub fn go_on(&mut self, step: &Step) -> Result<(), String> {
        let before = self.objects.clone();
        let diagnosed = self.note(step)?;
        let first: BTreeSet<Kind> = kinds(&step.lists)?;
        let mut events: Vec<Event> = first.iter().map(|kind| self.list(*kind)).collect();
        self.listed.extend(first);
        let changed = self.objects.values().filter(|object| before.get(&object.name()) != Some(object));
        events.extend(changed.cloned().map(Event::Applied));
        let gone = before.keys().filter(|name| !self.objects.contains_key(name));
        events.extend(gone.cloned().map(Event::Deleted));
        events.extend(diagnosed);
        events.extend(step.node_addresses.clone().map(Event::LocalAddresses));
        if step.restart {
            self.syncer = Syncer::new(&self.node, self.config.clone(), self.recorder.clone());
            let kinds: Vec<_> = self.listed.iter().copied().collect();
            events.splice(0..0, kinds.into_iter().map(|kind| self.list(kind)));
            events.push(Event::LocalAddresses(self.addresses.clone()));
        }
        self.sync(events)
    }

    /// What questions are asked about.
    #[must_use]
    pub fn observed(&self) -> Observed<'_> {
        Observed { index: &self.index, config: &self.config, absent: &self.absent }
    }

    /// The changes made since the last call.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        self.recorder.take_changes()
    }

    /// Where what is held differs from what the objects ask for, computed anew.
    #[must_use]
    pub fn astray(&self) -> Option<String> {
        let desired = Desired::rebuild(self.config.clone(), &self.index);
        self.index.complete().then(|| self.recorder.differs_from(&desired)).flatten()
    }

    /// Takes the objects of a step in; returns what is said about them.
    fn note(&mut self, step: &Step) -> Result<Vec<Event>, String> {
        let mut diagnosed = Vec::new();
        let manifests = Manifests::parse("manifests", &step.apply);
        for event in manifests.applied(&self.node) {
            match event {
                Event::Applied(object) => {
                    self.absent.remove(&object.name());
                    self.objects.insert(object.name(), object);
                }
                Event::Deleted(name) => drop(self.objects.remove(&name)),
                event => diagnosed.push(event),
            }
        }
        self.absent.extend(manifests.absent().map(|(name, absent)| (name.clone(), absent)));
        for text in &step.delete {
            let name = object_name(text)?;
            let object = self.objects.remove(&name).is_some();
            let absent = self.absent.remove(&name).is_some();
            if !object && !absent {
                return Err(format!("there is no {text} to delete"));
            }
            diagnosed.push(Event::Diagnosed { object: object_ref(&name), diagnostics: Vec::new() });
        }
        if let Some(addresses) = &step.node_addresses {
            self.addresses.clone_from(addresses);
        }
        Ok(diagnosed)
    }

    fn list(&self, kind: Kind) -> Event {
        let objects = self.objects.values().filter(|object| object.name().kind() == kind);
        Event::Listed { kind, objects: objects.cloned().collect(), kept: Vec::new() }
    }

    fn sync(&mut self, events: Vec<Event>) -> Result<(), String> {
        events.iter().cloned().for_each(|event| self.index.apply(event));
        self.index.take_changed();
        self.syncer.observe(events);
        let synced = self.syncer.sync();
        if let Some(diagnostics) = self.syncer.changed_diagnostics() {
            self.diagnostics = diagnostics;
        }
        match synced.failed.first() {
            Some(failed) => Err(failed.to_string()),
            None => Ok(()),
        }
    }
}

fn kinds(names: &[String]) -> Result<BTreeSet<Kind>, String> {
    names.iter().map(|name| kind(name)).collect()
}

fn kind(name: &str) -> Result<Kind, String> {
    Kind::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or_else(|| format!("{name} is no kind that is watched"))
}

/// `Service shop/web`, `Node node-a`.
fn object_name(text: &str) -> Result<ObjectName, String> {
    let (kind_name, name) = text.split_once(' ').ok_or_else(|| format!("{text:?} is not KIND NAME"))?;
    let (namespace, rest) = name.split_once('/').unwrap_or(("", name));
    Ok(match kind(kind_name)? {
        Kind::Service => ObjectName::Service(ServiceName::new(namespace, rest)),
        Kind::EndpointSlice => ObjectName::EndpointSlice(SliceName::new(namespace, rest)),
        Kind::Node => ObjectName::Node(name.into()),
        Kind::ServiceCidr => ObjectName::ServiceCidr(name.into()),
    })
}
