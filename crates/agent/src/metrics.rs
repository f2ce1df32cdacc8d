//! What Prometheus scrapes: kube-proxy's names where the meaning is the same (H7), `sheave_` for the rest. docs/metrics.md
//! lists them all.
//!
//! The loop counts as it goes, without a lock; what the kernel counts is read when somebody scrapes.
mod family;
mod kernel;
mod kube_proxy;
mod own;
mod server;

pub(crate) use server::handler;

use crate::arrivals::{Arrivals, Changes};
use crate::health::Probes;
use kernel::Kernel;
use kube_proxy::KubeProxyMetrics;
use own::OwnMetrics;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Registry, TextEncoder};
use sheave_core::{Diagnostic, Family, Kind, NoLocalEndpoints};
use sheave_dataplane::{Room, Writes};
use sheave_kube_source::Tally;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Counters of the kernel programs, read anew: name and value. Empty when they cannot be read.
pub type ReadCounters = Arc<dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync>;

/// Everything that is measured.
pub struct Metrics {
    registry: Registry,
    kube_proxy: KubeProxyMetrics,
    own: OwnMetrics,
}

/// What one sync did, as far as it is measured.
pub struct SyncReport<'a> {
    /// How long it took.
    pub elapsed: Duration,
    /// What was written.
    pub writes: Writes,
    /// How often the kernel said no, by family.
    pub failures: [usize; 2],
    /// What came before it, if all of that is in the kernel now; else nothing.
    pub arrivals: Option<&'a Arrivals>,
    /// Services without an endpoint here.
    pub no_local: &'a NoLocalEndpoints,
}

impl Metrics {
    /// Nothing measured yet.
    ///
    /// # Panics
    /// Never: no name is registered twice.
    #[must_use]
    pub fn new(counters: ReadCounters) -> Self {
        let registry = Registry::new();
        let metrics = Self { kube_proxy: KubeProxyMetrics::new(&registry), own: OwnMetrics::new(&registry), registry };
        let more: [Box<dyn prometheus::core::Collector>; 2] =
            [Box::new(Kernel::new(counters)), Box::new(ProcessCollector::for_self())];
        more.into_iter().for_each(|collector| family::register(&metrics.registry, collector));
        metrics
    }

    /// In the text format of Prometheus, version 0.0.4.
    ///
    /// # Errors
    /// What the encoder says: a metric without a name or a value, which would be a bug.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// Where probes are counted.
    pub(crate) fn probes(&self) -> Probes {
        self.kube_proxy.probes()
    }

    /// Something came; with what came `before` and is not in the kernel yet either, that makes `pending`.
    pub fn queued(&self, before: Changes, pending: Changes) {
        self.kube_proxy.queued(before, pending);
    }

    /// A sync has ended.
    pub fn synced(&self, report: &SyncReport<'_>) {
        self.kube_proxy.synced(report);
        self.own.synced(report);
    }

    /// How many objects are held.
    pub fn held(&self, count: impl Fn(Kind) -> usize) {
        self.own.held(count);
    }

    /// What is wrong now.
    pub fn diagnosed(&self, diagnostics: &BTreeSet<Diagnostic>) {
        self.own.diagnosed(diagnostics);
    }

    /// How full the maps are.
    pub fn rooms(&self, rooms: impl IntoIterator<Item = Room>) {
        self.own.rooms(rooms);
    }

    /// Servers of healthCheckNodePorts, and how many of them do not listen everywhere.
    pub fn health_checks(&self, servers: usize, failing: usize) {
        self.own.health_checks(servers, failing);
    }

    /// Events for the API server: written and dropped so far.
    pub fn events(&self, written: u64, dropped: u64) {
        self.own.events(written, dropped);
    }

    /// What following the API server has taken so far.
    pub fn watched(&self, tally: &Tally) {
        self.own.watched(tally);
    }

    /// Log lines that were dropped so far.
    pub fn log_lines_dropped(&self, so_far: u64) {
        self.own.log_lines_dropped(so_far);
    }

    /// Flows to backends that serve no longer were looked for: how long that took, and how many were ended in each family.
    pub fn reconciled(&self, elapsed: Duration, ended: impl Fn(Family) -> u64) {
        self.kube_proxy.reconciled(elapsed, ended);
    }
}
