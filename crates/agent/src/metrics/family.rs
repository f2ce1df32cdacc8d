//! Metrics made and registered in one step. Every label value is there from the start: a counter that appears with its first
//! event has no increase that Prometheus could see.
use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use sheave_core::Family;

pub(super) const IP_FAMILY: &str = "ip_family";

/// # Panics
/// Never: names are ours, valid and different.
pub(super) fn register(registry: &Registry, collector: Box<dyn Collector>) {
    registry.register(collector).expect("invariant: each metric has a name of its own");
}

/// Makes and registers.
macro_rules! made {
    ($registry:expr, $metric:expr) => {{
        let metric = $metric.expect("invariant: names, labels and buckets are ours, and valid");
        register($registry, Box::new(metric.clone()));
        metric
    }};
}

pub(super) fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    made!(registry, IntCounter::new(name, help))
}

pub(super) fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    made!(registry, IntGauge::new(name, help))
}

pub(super) fn counters(registry: &Registry, name: &str, help: &str, label: &str, values: &[&str]) -> IntCounterVec {
    let metric = made!(registry, IntCounterVec::new(Opts::new(name, help), &[label]));
    values.iter().for_each(|value| drop(metric.with_label_values(&[value])));
    metric
}

pub(super) fn gauges(registry: &Registry, name: &str, help: &str, label: &str, values: &[&str]) -> IntGaugeVec {
    let metric = made!(registry, IntGaugeVec::new(Opts::new(name, help), &[label]));
    values.iter().for_each(|value| drop(metric.with_label_values(&[value])));
    metric
}

/// A label and all the values it has.
pub(super) type Label<'a> = (&'a str, &'a [&'a str]);

/// A gauge with two labels, of which all pairs are there.
pub(super) fn gauge_table(
    registry: &Registry,
    name: &str,
    help: &str,
    rows: Label<'_>,
    columns: Label<'_>,
) -> IntGaugeVec {
    let metric = made!(registry, IntGaugeVec::new(Opts::new(name, help), &[rows.0, columns.0]));
    for row in rows.1 {
        columns.1.iter().for_each(|column| drop(metric.with_label_values(&[row, column])));
    }
    metric
}

/// One metric for each family.
pub(super) struct PerFamily<T>([T; 2]);

impl<T> PerFamily<T> {
    pub(super) fn of(&self, family: Family) -> &T {
        match family {
            Family::V4 => &self.0[0],
            Family::V6 => &self.0[1],
        }
    }

    fn made(child: impl Fn(&str) -> T) -> Self {
        Self(Family::ALL.map(|family| child(crate::health::family_name(family))))
    }
}

pub(super) fn histogram_per_family(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: Vec<f64>,
) -> PerFamily<Histogram> {
    let opts = HistogramOpts::new(name, help).buckets(buckets);
    let metric = made!(registry, HistogramVec::new(opts, &[IP_FAMILY]));
    PerFamily::made(|family| metric.with_label_values(&[family]))
}

pub(super) fn gauge_per_family(registry: &Registry, name: &str, help: &str) -> PerFamily<Gauge> {
    let metric = made!(registry, GaugeVec::new(Opts::new(name, help), &[IP_FAMILY]));
    PerFamily::made(|family| metric.with_label_values(&[family]))
}

pub(super) fn counter_per_family(registry: &Registry, name: &str, help: &str) -> PerFamily<IntCounter> {
    let metric = made!(registry, IntCounterVec::new(Opts::new(name, help), &[IP_FAMILY]));
    PerFamily::made(|family| metric.with_label_values(&[family]))
}

/// A count as a gauge has it.
pub(super) fn as_gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
