//! The sync loop's state: what is observed, what is wanted, what is held. No I/O of its own and no clock.
//!
//! Retry is not a code path: what failed stays in `pending`, and the next [`Syncer::sync`] plans it anew from what the
//! kernel really holds (I3).
use crate::arrivals::{Arrivals, Changes};
use crate::standing::Behind;
use sheave_core::plan::{plan, plan_all};
use sheave_core::{
    Change, Desired, Diagnostic, Event, Family, HealthCheck, HealthChecks, Index, NoLocalEndpoints, NodeRules,
    Protocol, ProxyConfig, ServiceName, Touched,
};
use sheave_dataplane::{Applied, ApplyError, Dataplane, Writes};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub use crate::standing::Standing;

/// What one sync did.
#[derive(Debug, Default)]
pub struct Synced {
    /// Writes to the kernel; zero when nothing changed (I2).
    pub writes: Writes,
    /// What the kernel refused. Not empty: call [`Syncer::sync`] again, after a pause.
    pub failed: Vec<ApplyError>,
    /// Whether UDP backends were to be retired: sockets may be connected to them (L8).
    pub udp_retired: bool,
    /// What came before it, if all of that is in the kernel now.
    pub arrivals: Option<Arrivals>,
    /// The healthCheckNodePorts that changed (H3).
    pub health_checks: Vec<(ServiceName, Option<HealthCheck>)>,
}

/// Brings a dataplane to what the observed objects ask for.
pub struct Syncer<D> {
    index: Index,
    desired: Desired,
    dataplane: D,
    pending: Touched,
    /// False until a full comparison with what the dataplane holds has succeeded once.
    compared: bool,
    complaints: Complaints,
    behind: Behind,
    arrivals: Arrivals,
    health_checks: HealthChecks,
    no_local: NoLocalEndpoints,
}

/// What is wrong, apart from what the index says of objects and files.
#[derive(Default)]
struct Complaints {
    conflicts: Vec<Diagnostic>,
    refused: Vec<Diagnostic>,
    /// What the dataplane leaves out, by Service.
    lacking: BTreeMap<ServiceName, Vec<Diagnostic>>,
    /// Whether anything differs since it was last asked for.
    changed: bool,
}

impl<D: Dataplane> Syncer<D> {
    /// Nothing observed yet, for the node of that name. The dataplane may hold the work of a previous process.
    pub fn new(node: &str, config: ProxyConfig, dataplane: D) -> Self {
        Self {
            index: Index::new(node),
            desired: Desired::new(config),
            dataplane,
            pending: Touched::default(),
            compared: false,
            complaints: Complaints::default(),
            behind: Behind::default(),
            arrivals: Arrivals::default(),
            health_checks: HealthChecks::default(),
            no_local: NoLocalEndpoints::default(),
        }
    }

    /// Changes that were triggered before this do not count as waited for (H6).
    #[must_use]
    pub fn since(self, unix_ns: i64) -> Self {
        Self { arrivals: Arrivals::since(unix_ns), ..self }
    }

    /// Takes what a source reports. Writes nothing.
    pub fn observe(&mut self, events: Vec<Event>) {
        for event in events {
            self.complaints.changed |= matches!(event, Event::Diagnosed { .. });
            self.behind.note(&event, &self.index);
            self.arrivals.note(&event, &self.index);
            self.index.apply(event);
        }
    }

    /// Whether every source has been listed once; before that [`Syncer::sync`] does nothing (W12, I4).
    pub fn complete(&self) -> bool {
        self.index.complete()
    }

    /// Writes the difference between what is wanted and what is held. Cost: proportional to the Services that changed.
    pub fn sync(&mut self) -> Synced {
        let mut synced = Synced::default();
        if !self.index.complete() {
            return synced;
        }
        let changed = self.index.take_changed();
        for name in &changed.services {
            let lacking = self.index.service(name).map(|service| self.dataplane.lacks(service)).unwrap_or_default();
            self.complaints.lacks(name, lacking);
        }
        let touched = self.desired.update(&self.index, &changed);
        let conflicts = touched.conflicts.then(|| self.desired.diagnostics());
        synced.health_checks = self.health_checks.update(&self.index, &changed);
        self.no_local.update(&self.desired, &touched.keys);
        self.pending.merge(touched);
        let refused = loop {
            let (refused, wrote) = self.round(&mut synced);
            // What was removed may have made the room that was missing.
            if refused.is_empty() || !wrote || !synced.failed.is_empty() {
                break refused;
            }
        };
        self.complaints.update(conflicts, refused);
        self.behind.synced(&self.pending, &self.index);
        synced.arrivals = synced.failed.is_empty().then(|| self.arrivals.take());
        synced
    }

    /// Plans what is pending and has it carried out; returns what was refused, and whether anything was written.
    fn round(&mut self, synced: &mut Synced) -> (Vec<Diagnostic>, bool) {
        let plan = if self.compared {
            plan(&self.desired, &self.dataplane, &self.pending)
        } else {
            plan_all(&self.desired, &self.dataplane)
        };
        synced.udp_retired |= plan.break_.iter().any(retires_udp);
        let Applied { writes, refused, failed, pending } = self.dataplane.apply(&plan);
        self.compared |= failed.is_empty();
        self.pending = pending;
        synced.writes += writes;
        synced.failed.extend(failed);
        (refused, writes.ops > 0)
    }

    /// The primary addresses of the node, as its Node object has them (A5); `None` before every source has been listed once.
    pub fn primary_addresses(&self) -> Option<Vec<IpAddr>> {
        let of_family = |family| self.index.primary_address(family);
        self.index.complete().then(|| Family::ALL.into_iter().filter_map(of_family).collect())
    }

    /// What is wrong now, with objects, files and limits, if that differs from what was last returned. Costs nothing while
    /// nothing differs, however much is wrong.
    pub fn changed_diagnostics(&mut self) -> Option<BTreeSet<Diagnostic>> {
        if !std::mem::take(&mut self.complaints.changed) {
            return None;
        }
        let Complaints { conflicts, refused, lacking, .. } = &self.complaints;
        let lacking = lacking.values().flatten();
        Some(self.index.diagnostics().chain(conflicts).chain(refused).chain(lacking).cloned().collect())
    }

    /// Where a Service stands: what was seen of it and what is programmed. Cost: that of its slices.
    pub fn standing(&self, service: &ServiceName) -> Standing {
        self.behind.standing(service, &self.index, &self.pending)
    }

    /// The Services that are not programmed as they were last seen, in order.
    pub fn behind(&self) -> impl ExactSizeIterator<Item = &ServiceName> {
        self.behind.names()
    }

    /// What the last sync left to be planned again.
    pub fn pending(&self) -> &Touched {
        &self.pending
    }

    /// What was observed.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// What is wanted.
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// How many changes came that are not in the kernel yet.
    pub fn waiting(&self) -> Changes {
        self.arrivals.changes
    }

    /// Services that nobody reaches through this node, though they have endpoints elsewhere.
    pub fn no_local(&self) -> &NoLocalEndpoints {
        &self.no_local
    }

    /// What holds for the node as a whole.
    pub fn rules(&self) -> &NodeRules {
        self.desired.rules()
    }

    /// The dataplane, for what is no part of any plan.
    pub fn dataplane_mut(&mut self) -> &mut D {
        &mut self.dataplane
    }

    /// The dataplane, to read what it holds.
    pub fn dataplane(&self) -> &D {
        &self.dataplane
    }
}

fn retires_udp(change: &Change) -> bool {
    match change {
        Change::Retire { key, .. } | Change::Forget { key } => key.port.protocol == Protocol::Udp,
        _ => false,
    }
}

impl Complaints {
    /// What the dataplane leaves out of a Service now.
    fn lacks(&mut self, name: &ServiceName, lacking: Vec<Diagnostic>) {
        self.changed |= self.lacking.get(name).map_or(&[][..], Vec::as_slice) != lacking;
        match lacking.is_empty() {
            true => drop(self.lacking.remove(name)),
            false => drop(self.lacking.insert(name.clone(), lacking)),
        }
    }

    /// What was refused, and the conflicts if they may have changed.
    fn update(&mut self, conflicts: Option<Vec<Diagnostic>>, refused: Vec<Diagnostic>) {
        if let Some(conflicts) = conflicts {
            self.changed |= conflicts != self.conflicts;
            self.conflicts = conflicts;
        }
        self.changed |= refused != self.refused;
        self.refused = refused;
    }
}
