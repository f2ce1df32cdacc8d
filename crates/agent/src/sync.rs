//! The sync loop's state: what is observed, what is wanted, what is held. No I/O of its own and no clock.
//!
//! Retry is not a code path: what failed stays in `pending`, and the next [`Syncer::sync`] plans it anew from what the
//! kernel really holds (I3).
use sheave_core::plan::{plan, plan_all};
use sheave_core::{Desired, Diagnostic, Event, Index, Touched};
use sheave_dataplane::{ApplyError, Dataplane, Writes};
use std::collections::BTreeSet;

/// What one sync did.
#[derive(Debug, Default)]
pub struct Synced {
    /// Writes to the kernel; zero when nothing changed (I2).
    pub writes: Writes,
    /// What the kernel refused. Not empty: call [`Syncer::sync`] again, after a pause.
    pub failed: Vec<ApplyError>,
}

/// Brings a dataplane to what the observed objects ask for.
pub struct Syncer<D> {
    index: Index,
    desired: Desired,
    dataplane: D,
    pending: Touched,
    refused: BTreeSet<Diagnostic>,
    /// False until a full comparison with what the dataplane holds has succeeded once.
    compared: bool,
}

impl<D: Dataplane> Syncer<D> {
    /// Nothing observed yet, for the node of that name. The dataplane may hold the work of a previous process.
    pub fn new(node: &str, dataplane: D) -> Self {
        Self {
            index: Index::new(node),
            desired: Desired::default(),
            dataplane,
            pending: Touched::default(),
            refused: BTreeSet::new(),
            compared: false,
        }
    }

    /// Takes what a source reports. Writes nothing.
    pub fn observe(&mut self, events: Vec<Event>) {
        for event in events {
            self.index.apply(event);
        }
    }

    /// Whether every source has been listed once; before that [`Syncer::sync`] does nothing (W12, I4).
    pub fn complete(&self) -> bool {
        self.index.complete()
    }

    /// Writes the difference between what is wanted and what is held. Cost: proportional to the Services that changed.
    pub fn sync(&mut self) -> Synced {
        if !self.index.complete() {
            return Synced::default();
        }
        let changed = self.index.take_changed();
        self.pending.merge(self.desired.update(&self.index, &changed));
        let plan = if self.compared {
            plan(&self.desired, &self.dataplane, &self.pending)
        } else {
            plan_all(&self.desired, &self.dataplane)
        };
        let applied = self.dataplane.apply(&plan);
        self.refused = applied.refused.into_iter().collect();
        self.compared |= applied.failed.is_empty();
        self.pending = applied.pending;
        Synced { writes: applied.writes, failed: applied.failed }
    }

    /// What is wrong now, with objects, files and limits; sorted, so that two calls can be compared.
    pub fn diagnostics(&self) -> BTreeSet<Diagnostic> {
        self.index
            .diagnostics()
            .cloned()
            .chain(self.desired.diagnostics())
            .chain(self.refused.iter().cloned())
            .collect()
    }

    /// The dataplane, to read what it holds.
    pub fn dataplane(&self) -> &D {
        &self.dataplane
    }
}
