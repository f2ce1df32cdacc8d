//! The dashboard and the alerts: every metric, label and packet outcome that they name exists.
//!
//! docs/metrics.md is held against what the agent exposes by a test of its own.
use crate::deploy;
use crate::kustomize::documents;
use serde_json::Value;
use sheave_abi::COUNTER_NAMES;
use std::collections::{BTreeMap, BTreeSet};

/// A metric of docs/metrics.md.
struct Metric {
    histogram: bool,
    labels: BTreeSet<String>,
}

fn metrics() -> BTreeMap<String, Metric> {
    let text = std::fs::read_to_string(deploy().join("../docs/metrics.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|row| row.split_once("` | "));
    let metric = |(name, rest): (&str, &str)| {
        let cells: Vec<_> = rest.split(" | ").collect();
        let labels = cells[1].split(", ").map(|label| label.trim_matches(['`', '|', ' ']).to_owned());
        (
            name.to_owned(),
            Metric { histogram: cells[0] == "histogram", labels: labels.filter(|l| !l.is_empty()).collect() },
        )
    };
    rows.map(metric).collect()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Label and value of `label=~"value"`.
fn matcher(text: &str) -> (&str, &str) {
    let text = text.trim();
    let (label, value) = text.split_at(text.find(|c| !is_word(c)).unwrap_or(text.len()));
    (label, value.trim_start_matches(['=', '~', '!']).trim_matches('"'))
}

/// What an expression says of each metric: its name, and the matchers in braces after it.
fn named(expression: &str) -> Vec<(&str, Vec<(&str, &str)>)> {
    let starts = ["kubeproxy_", "sheave_", "process_"];
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(at) = starts.iter().filter_map(|start| rest.find(start)).min() {
        let (name, after) = rest[at..].split_at(rest[at..].find(|c| !is_word(c)).unwrap_or(rest.len() - at));
        let matchers = after.strip_prefix('{').and_then(|after| after.split_once('}')).map_or("", |(inside, _)| inside);
        found.push((name, matchers.split(',').filter(|text| !text.is_empty()).map(matcher).collect()));
        rest = after;
    }
    found
}

/// What is wrong with an expression.
fn wrong(expression: &str, metrics: &BTreeMap<String, Metric>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, matchers) in named(expression) {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let histogram = base.and_then(|base| metrics.get(base)).filter(|metric| metric.histogram);
        let Some(metric) = histogram.or_else(|| metrics.get(name).filter(|metric| !metric.histogram)) else {
            wrong.push(format!("no metric {name}"));
            continue;
        };
        for (label, value) in matchers {
            // What Prometheus adds to each target.
            if label != "instance" && !metric.labels.contains(label) {
                wrong.push(format!("{name} has no label {label}"));
            }
            if label == "outcome" && !outcomes(value) {
                wrong.push(format!("no outcome {value}"));
            }
        }
    }
    wrong
}

/// Whether an outcome, or a beginning of some (`drop_.*`, `(flow|socket)_.*`), is one that the programs count.
fn outcomes(value: &str) -> bool {
    let Some(beginning) = value.strip_suffix(".*") else { return COUNTER_NAMES.contains(&value) };
    let (group, tail) = beginning.trim_start_matches('(').split_once(')').unwrap_or((beginning, ""));
    let begins_one = |beginning: String| COUNTER_NAMES.iter().any(|name| name.starts_with(&beginning));
    group.split('|').all(|head| begins_one(format!("{head}{tail}")))
}

/// Each expression of the alerts and of the dashboard, with where it stands.
fn expressions() -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let alerts = documents(&deploy().join("alerts/sheave.yaml"));
    let rules = alerts[0]["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    let mut all: Vec<_> = rules.map(|rule| (text(&rule["alert"]), text(&rule["expr"]))).collect();
    let file = std::fs::read(deploy().join("dashboards/sheave.json")).unwrap();
    let dashboard: Value = serde_json::from_slice(&file).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        let targets = panel["targets"].as_array().unwrap().iter();
        all.extend(targets.map(|target| (text(&panel["title"]), text(&target["expr"]))));
    }
    all.push(("the variable".to_owned(), text(&dashboard["templating"]["list"][1]["query"]["query"])));
    all
}

/// H7
#[test]
fn the_dashboard_and_the_alerts_name_only_what_is_exposed() {
    let metrics = metrics();
    let expressions = expressions();
    assert!(
        metrics.len() > 20 && expressions.len() > 20,
        "{} metrics, {} expressions",
        metrics.len(),
        expressions.len()
    );
    for (place, expression) in &expressions {
        assert!(!named(expression).is_empty(), "{place}: it names no metric: {expression}");
        assert_eq!(wrong(expression, &metrics), Vec::<String>::new(), "{place}: {expression}");
    }
}

#[test]
fn a_name_that_is_not_exposed_is_found() {
    let metrics = metrics();
    for (expression, want) in [
        ("sum(rate(sheave_sync_writes_total[5m]))", ""),
        ("sum(rate(sheave_sync_write_total[5m]))", "no metric sheave_sync_write_total"),
        ("sheave_sync_writes_total_bucket", "no metric sheave_sync_writes_total_bucket"),
        ("kubeproxy_sync_proxy_rules_duration_seconds", "no metric kubeproxy_sync_proxy_rules_duration_seconds"),
        ("sheave_diagnostics{instance=~\"a\", sort=\"x\"}", "sheave_diagnostics has no label sort"),
        ("sheave_packet_outcomes_total{outcome=\"drop_everything\"}", "no outcome drop_everything"),
        ("sheave_packet_outcomes_total{outcome=~\"(flow|sock)_.*\"}", "no outcome (flow|sock)_.*"),
    ] {
        assert_eq!(wrong(expression, &metrics).join("; "), want, "{expression}");
    }
}
