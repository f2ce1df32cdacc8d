//! The figures as perf-dash reads them: `PerfData` of kubernetes/kubernetes, test/e2e/perftype/perftype.go.
//!
//! Items with equal labels must have equal buckets and units there, so buckets are the three that every item has, and units are
//! fixed: perf-dash plots the numbers as they are.
use super::comparison::Machine;
use super::measure::Measure;
use crate::record::{Point, Unit};
use crate::stats::Summary;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct PerfData {
    version: &'static str,
    #[serde(rename = "dataItems")]
    data_items: Vec<DataItem>,
}

#[derive(Serialize)]
struct DataItem {
    data: BTreeMap<&'static str, f64>,
    unit: &'static str,
    labels: BTreeMap<&'static str, String>,
}

pub(super) fn perfdash(machines: &[Machine]) -> String {
    let points = machines.iter().flat_map(|machine| machine.points().map(move |point| (machine, point)));
    let items = points.flat_map(|(machine, point)| {
        let item = |measure: &Measure| item(machine, point, *measure);
        Measure::of(point.work()).iter().filter_map(item).collect::<Vec<_>>()
    });
    let data = PerfData { version: "v1", data_items: items.collect() };
    serde_json::to_string_pretty(&data).expect("invariant: only strings and finite numbers, no map with other keys")
        + "\n"
}

fn item(machine: &Machine, point: &Point, measure: Measure) -> Option<DataItem> {
    let Summary { lower, median, upper, .. } = *machine.summary(point, measure)?;
    let (unit, divisor) = match measure.unit() {
        Unit::Nanoseconds => ("us", 1e3),
        Unit::Bytes => ("bytes", 1.0),
        Unit::Count => ("count", 1.0),
        Unit::PerSecond => ("1/s", 1.0),
    };
    let data = [("Perc25", lower), ("Perc50", median), ("Perc75", upper)];
    let shape = point.shape();
    let labels = [
        ("Bench", point.work().bench().to_owned()),
        ("Operation", point.work().operation().to_owned()),
        ("Metric", measure.name().to_owned()),
        ("Dataplane", point.dataplane().to_string()),
        ("Services", shape.services.to_string()),
        ("Backends", shape.backends.label()),
        ("NodePortPercent", u8::from(shape.node_port_percent).to_string()),
        ("Machine", machine.name.clone()),
    ];
    Some(DataItem { data: data.map(|(name, value)| (name, value / divisor)).into(), unit, labels: labels.into() })
}
