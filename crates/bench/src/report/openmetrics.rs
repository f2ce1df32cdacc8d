//! The figures as OpenMetrics text (OpenMetrics 1.0: base units, one family after the other, `# EOF` at the end).
//!
//! A family of quantiles is not a summary in the sense of OpenMetrics, whose count and sum only grow, so each is a gauge with a
//! label `stat`. Written here because the metric libraries keep label sets in hash maps, and equal data must give equal text.
use super::comparison::Machine;
use super::measure::Measure;
use crate::record::{Point, Unit};
use std::collections::BTreeMap;
use std::fmt::Write;

pub(super) fn openmetrics(machines: &[Machine]) -> String {
    let mut families: BTreeMap<Measure, Vec<String>> = BTreeMap::new();
    for machine in machines {
        for point in machine.points() {
            for measure in Measure::of(point.work()) {
                families.entry(*measure).or_default().extend(samples(machine, point, *measure));
            }
        }
    }
    let mut text = String::new();
    for (measure, samples) in families.into_iter().filter(|(_, samples)| !samples.is_empty()) {
        let (name, unit) = name(measure);
        // Writing to a String does not fail.
        let _ = writeln!(text, "# TYPE {name} gauge");
        if !unit.is_empty() {
            let _ = writeln!(text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(text, "# HELP {name} {}.", measure.title());
        text.extend(samples);
    }
    text + "# EOF\n"
}

fn name(measure: Measure) -> (String, &'static str) {
    let unit = match measure.unit() {
        Unit::Nanoseconds => "seconds",
        Unit::Bytes => "bytes",
        Unit::Count | Unit::PerSecond => "",
    };
    // A name that already says its unit does not say it twice.
    let stem = format!("sheave_bench_{}", measure.name().trim_start_matches("bytes_"));
    let name = match (unit, measure) {
        ("", Measure::Rate) => format!("{stem}_per_second"),
        ("", _) => stem,
        (unit, _) => format!("{stem}_{unit}"),
    };
    (name, unit)
}

fn samples(machine: &Machine, point: &Point, measure: Measure) -> Vec<String> {
    let Some(summary) = machine.summary(point, measure) else { return Vec::new() };
    let divisor = if measure.unit() == Unit::Nanoseconds { 1e9 } else { 1.0 };
    let (name, _) = name(measure);
    let stats = [
        ("min", Some(summary.min)),
        ("0.25", Some(summary.lower)),
        ("0.5", Some(summary.median)),
        ("0.75", Some(summary.upper)),
        ("0.99", summary.p99),
        ("0.999", summary.p999),
        ("max", Some(summary.max)),
    ];
    let labels = labels(machine, point);
    let line =
        |(stat, value): (&str, Option<f64>)| Some(format!("{name}{{{labels},stat=\"{stat}\"}} {}\n", value? / divisor));
    stats.into_iter().filter_map(line).collect()
}

fn labels(machine: &Machine, point: &Point) -> String {
    let shape = point.shape();
    let labels = [
        ("bench", point.work().bench().to_owned()),
        ("operation", point.work().operation().to_owned()),
        ("dataplane", point.dataplane().to_string()),
        ("services", shape.services.to_string()),
        ("backends", shape.backends.label()),
        ("node_port_percent", u8::from(shape.node_port_percent).to_string()),
        ("machine", machine.name.clone()),
    ];
    labels.map(|(name, value)| format!("{name}=\"{}\"", escaped(&value))).join(",")
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
