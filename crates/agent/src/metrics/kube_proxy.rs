//! Metrics under kube-proxy's names, with its buckets and labels (1.36, pkg/proxy/metrics/metrics.go), where they mean here
//! what they mean there (H6, H7).
use super::SyncReport;
use super::family::{
    IP_FAMILY, PerFamily, as_gauge, counter, counter_per_family, counters, gauge, gauge_per_family, gauge_table,
    histogram_per_family,
};
use crate::arrivals::Changes;
use crate::health::Probes;
use jiff::Timestamp;
use prometheus::{Gauge, Histogram, IntCounter, IntGauge, IntGaugeVec, Registry, exponential_buckets, linear_buckets};
use sheave_core::{Direction, Family};
use std::time::Duration;

pub(super) struct KubeProxyMetrics {
    sync_duration: PerFamily<Histogram>,
    last_synced: PerFamily<Gauge>,
    last_queued: PerFamily<Gauge>,
    services: ChangeMetrics,
    endpoints: ChangeMetrics,
    programming: PerFamily<Histogram>,
    no_local: IntGaugeVec,
    reconciler_duration: PerFamily<Histogram>,
    reconciler_deleted: PerFamily<IntCounter>,
    probes: Probes,
}

/// Changes of one kind of object.
struct ChangeMetrics {
    pending: IntGauge,
    total: IntCounter,
}

impl ChangeMetrics {
    fn new(registry: &Registry, kind: &str, shown: &str) -> Self {
        let name = |what: &str| format!("kubeproxy_sync_proxy_rules_{kind}_changes_{what}");
        Self {
            pending: gauge(registry, &name("pending"), &format!("Pending proxy rules {shown} changes")),
            total: counter(registry, &name("total"), &format!("Cumulative proxy rules {shown} changes")),
        }
    }
}

/// Codes a probe can have.
const CODES: &[&str] = &["200", "503"];

impl KubeProxyMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let r = registry;
        let policies = Direction::ALL.map(Direction::as_str);
        let families = Family::ALL.map(crate::health::family_name);
        Self {
            sync_duration: histogram_per_family(
                r,
                "kubeproxy_sync_proxy_rules_duration_seconds",
                "SyncProxyRules latency in seconds",
                sync_buckets(),
            ),
            last_synced: gauge_per_family(
                r,
                "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                "The last time proxy rules were successfully synced",
            ),
            last_queued: gauge_per_family(
                r,
                "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
                "The last time a sync of proxy rules was queued",
            ),
            services: ChangeMetrics::new(r, "service", "Service"),
            endpoints: ChangeMetrics::new(r, "endpoint", "Endpoint"),
            programming: histogram_per_family(
                r,
                "kubeproxy_network_programming_duration_seconds",
                "In Cluster Network Programming Latency in seconds",
                programming_buckets(),
            ),
            no_local: gauge_table(
                r,
                "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
                "Number of services with a Local traffic policy and no endpoints",
                (IP_FAMILY, &families),
                ("traffic_policy", &policies),
            ),
            reconciler_duration: histogram_per_family(
                r,
                "kubeproxy_conntrack_reconciler_sync_duration_seconds",
                "ReconcileConntrackFlowsLatency latency in seconds",
                sync_buckets(),
            ),
            reconciler_deleted: counter_per_family(
                r,
                "kubeproxy_conntrack_reconciler_deleted_entries_total",
                "Cumulative conntrack flows deleted by conntrack reconciler",
            ),
            probes: Probes {
                healthz: counters(
                    r,
                    "kubeproxy_proxy_healthz_total",
                    "Cumulative proxy healthz HTTP status",
                    "code",
                    CODES,
                ),
                livez: counters(r, "kubeproxy_proxy_livez_total", "Cumulative proxy livez HTTP status", "code", CODES),
            },
        }
    }

    pub(super) fn probes(&self) -> Probes {
        self.probes.clone()
    }

    pub(super) fn queued(&self, before: Changes, pending: Changes) {
        self.services.total.inc_by(pending.services.saturating_sub(before.services));
        self.endpoints.total.inc_by(pending.slices.saturating_sub(before.slices));
        self.pend(pending);
        let now = unix_seconds(Timestamp::now());
        Family::ALL.into_iter().for_each(|family| self.last_queued.of(family).set(now));
    }

    pub(super) fn synced(&self, report: &SyncReport<'_>) {
        let now = Timestamp::now();
        for (family, failures) in Family::ALL.into_iter().zip(report.failures) {
            self.sync_duration.of(family).observe(report.elapsed.as_secs_f64());
            if failures == 0 {
                self.last_synced.of(family).set(unix_seconds(now));
            }
            for direction in Direction::ALL {
                let labels = [crate::health::family_name(family), direction.as_str()];
                self.no_local.with_label_values(&labels).set(as_gauge(report.no_local.count(family, direction)));
            }
        }
        if let Some(arrivals) = report.arrivals {
            self.pend(Changes::default());
            for (family, triggered_unix_ns) in arrivals.triggers() {
                let triggered = Timestamp::from_nanosecond(i128::from(triggered_unix_ns)).unwrap_or(now);
                // A clock of the control plane that is ahead of ours must not make the sum go back.
                let seconds = now.duration_since(triggered).as_secs_f64().max(0.0);
                self.programming.of(family).observe(seconds);
            }
        }
    }

    pub(super) fn reconciled(&self, elapsed: Duration, ended: impl Fn(Family) -> u64) {
        for family in Family::ALL {
            self.reconciler_duration.of(family).observe(elapsed.as_secs_f64());
            self.reconciler_deleted.of(family).inc_by(ended(family));
        }
    }

    fn pend(&self, pending: Changes) {
        self.services.pending.set(i64::try_from(pending.services).unwrap_or(i64::MAX));
        self.endpoints.pending.set(i64::try_from(pending.slices).unwrap_or(i64::MAX));
    }
}

fn unix_seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

fn sync_buckets() -> Vec<f64> {
    exponential_buckets(0.001, 2.0, 15).expect("invariant: these grow")
}

/// 0.25 s, 0.5 s; each second to 59 s; each 5 s to 115 s; each 30 s to 5 min.
fn programming_buckets() -> Vec<f64> {
    let parts = [(0.25, 0.25, 2), (1.0, 1.0, 59), (60.0, 5.0, 12), (120.0, 30.0, 7)];
    parts
        .into_iter()
        .flat_map(|(start, width, count)| linear_buckets(start, width, count).expect("invariant: these grow"))
        .collect()
}
