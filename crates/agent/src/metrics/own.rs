//! Metrics that kube-proxy does not have.
use super::SyncReport;
use super::family::PerFamily;
use super::family::{as_gauge, counter, counter_per_family, counters, gauge, gauges};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};
use sheave_core::{Diagnostic, Family, Kind, Problem};
use sheave_dataplane::Room;
use sheave_kube_source::{Tallied, Tally};
use std::collections::BTreeSet;

pub(super) struct OwnMetrics {
    writes: IntCounter,
    entries: IntCounter,
    failures: PerFamily<IntCounter>,
    diagnostics: IntGaugeVec,
    objects: IntGaugeVec,
    map_entries: IntGaugeVec,
    map_entries_max: IntGaugeVec,
    checks: IntGauge,
    checks_failing: IntGauge,
    watch_lists: IntCounterVec,
    watch_interruptions: IntCounterVec,
    watch_bytes: IntCounterVec,
    events: IntCounterVec,
    log_lines_dropped: IntCounter,
}

/// The maps of which it is told how full they are.
const MAPS: [&str; 12] = [
    "frontends_v4",
    "frontends_v6",
    "services",
    "slots",
    "backends_v4",
    "backends_v6",
    "ranges_v4",
    "ranges_v6",
    "node_addrs_v4",
    "node_addrs_v6",
    "flows_v4",
    "flows_v6",
];

const WRITTEN: &str = "written";
const DROPPED: &str = "dropped";

impl OwnMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let r = registry;
        let problems = Problem::ALL.map(Problem::as_str);
        let kinds = Kind::ALL.map(Kind::as_str);
        let build = "A constant 1, labelled with the version of sheave";
        gauges(r, "sheave_build_info", build, "version", &[env!("CARGO_PKG_VERSION")])
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        Self {
            writes: counter(r, "sheave_sync_writes_total", "Operations on the kernel's maps, successful or not"),
            entries: counter(r, "sheave_sync_entries_total", "Map entries in those operations"),
            failures: counter_per_family(
                r,
                "sheave_sync_failures_total",
                "Steps of a sync that the kernel refused; they are planned again",
            ),
            diagnostics: gauges(
                r,
                "sheave_diagnostics",
                "Findings in force about objects, files and limits, by kind",
                "kind",
                &problems,
            ),
            objects: gauges(r, "sheave_objects", "Objects held, as the API server reported them", "kind", &kinds),
            map_entries: gauges(r, "sheave_map_entries", "Entries of a kernel map in use", "map", &MAPS),
            map_entries_max: gauges(r, "sheave_map_entries_max", "Entries a kernel map may have", "map", &MAPS),
            checks: gauge(r, "sheave_health_check_servers", "Servers of healthCheckNodePorts"),
            checks_failing: gauge(
                r,
                "sheave_health_check_servers_failing",
                "Servers of healthCheckNodePorts that cannot listen at every address",
            ),
            watch_lists: counters(r, "sheave_watch_lists_total", "Complete lists from the API server", "kind", &kinds),
            watch_interruptions: counters(
                r,
                "sheave_watch_interruptions_total",
                "Lists and watches that ended before their time",
                "kind",
                &kinds,
            ),
            watch_bytes: counters(
                r,
                "sheave_watch_received_bytes_total",
                "Bytes of lists and watches, without headers",
                "kind",
                &kinds,
            ),
            events: counters(
                r,
                "sheave_events_total",
                "Events for the API server, by what became of them",
                "result",
                &[WRITTEN, DROPPED],
            ),
            log_lines_dropped: counter(
                r,
                "sheave_log_lines_dropped_total",
                "Log lines that were dropped because nobody read those before",
            ),
        }
    }

    pub(super) fn synced(&self, report: &SyncReport<'_>) {
        self.writes.inc_by(report.writes.ops);
        self.entries.inc_by(report.writes.entries);
        for (family, failures) in Family::ALL.into_iter().zip(report.failures) {
            self.failures.of(family).inc_by(failures as u64);
        }
    }

    pub(super) fn held(&self, count: impl Fn(Kind) -> usize) {
        for kind in Kind::ALL {
            self.objects.with_label_values(&[kind.as_str()]).set(as_gauge(count(kind)));
        }
    }

    pub(super) fn diagnosed(&self, diagnostics: &BTreeSet<Diagnostic>) {
        for problem in Problem::ALL {
            let count = diagnostics.iter().filter(|diagnostic| diagnostic.problem == problem).count();
            self.diagnostics.with_label_values(&[problem.as_str()]).set(as_gauge(count));
        }
    }

    pub(super) fn rooms(&self, rooms: impl IntoIterator<Item = Room>) {
        let as_gauge = |entries: u64| i64::try_from(entries).unwrap_or(i64::MAX);
        for Room { map, used, max } in rooms {
            self.map_entries.with_label_values(&[map]).set(as_gauge(used));
            self.map_entries_max.with_label_values(&[map]).set(as_gauge(max));
        }
    }

    pub(super) fn health_checks(&self, servers: usize, failing: usize) {
        self.checks.set(as_gauge(servers));
        self.checks_failing.set(as_gauge(failing));
    }

    pub(super) fn events(&self, written: u64, dropped: u64) {
        for (result, now) in [(WRITTEN, written), (DROPPED, dropped)] {
            advance(&self.events.with_label_values(&[result]), now);
        }
    }

    pub(super) fn watched(&self, tally: &Tally) {
        for kind in Kind::ALL {
            let Tallied { lists, interruptions, bytes } = tally.of(kind);
            for (counter, now) in
                [(&self.watch_lists, lists), (&self.watch_interruptions, interruptions), (&self.watch_bytes, bytes)]
            {
                advance(&counter.with_label_values(&[kind.as_str()]), now);
            }
        }
    }

    pub(super) fn log_lines_dropped(&self, so_far: u64) {
        advance(&self.log_lines_dropped, so_far);
    }
}

/// Brings a counter to what somebody else has counted; it never goes back.
fn advance(counter: &IntCounter, so_far: u64) {
    counter.inc_by(so_far.saturating_sub(counter.get()));
}
