//! `/metrics` and its neighbours (H4, H6, H7).
use crate::agent::{Agent, applied, service, slice};
use crate::client::get;
use sheave_agent::metrics::{Metrics, ServicesRead};
use sheave_bpf::flow_counts::ServiceFlows;
use sheave_core::{Diagnostic, Event, Object, ObjectName, ObjectRef, Problem, ServiceName, Stamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The value of a series.
async fn value(agent: &Agent, series: &str) -> f64 {
    let text = get(agent.metrics, "/metrics").await.body;
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} in {text}")).parse().unwrap()
}

/// H4
#[tokio::test]
async fn the_metrics_server_has_kube_proxys_paths() {
    let agent = Agent::synced();
    for (path, content_type, body) in [
        ("/healthz", "text/plain; charset=utf-8", Some("ok")),
        ("/proxyMode", "text/plain; charset=utf-8", Some("ebpf")),
        ("/configz", "application/json", None),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8", None),
    ] {
        let answer = get(agent.metrics, path).await;
        assert_eq!((answer.code, answer.header("content-type")), (200, Some(content_type)), "{path}");
        assert!(body.is_none_or(|body| answer.body == body), "{path}: {}", answer.body);
    }
    assert_eq!(get(agent.metrics, "/debug/pprof").await.code, 404);
    let configz = get(agent.metrics, "/configz").await.json();
    assert_eq!(configz["kubeproxy.config.k8s.io"]["metricsBindAddress"], agent.metrics.to_string());
    assert_eq!(configz["kubeproxy.config.k8s.io"]["hostnameOverride"], "node-a");
    assert_eq!(configz["sheave.dev"]["maps"]["flowsMax"], 1 << 20, "nested as in the document");
}

/// H7
#[tokio::test]
async fn changes_syncs_and_probes_are_counted_under_kube_proxys_names() {
    let mut agent = Agent::synced();
    agent.observe(vec![applied(service("web", 1, 0)), Event::Applied(Object::EndpointSlice(slice("web", 0, 2)))]);
    for (series, want) in [
        ("kubeproxy_sync_proxy_rules_service_changes_pending", 1.0),
        ("kubeproxy_sync_proxy_rules_endpoint_changes_pending", 1.0),
        ("kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"}", 1.0),
    ] {
        assert_eq!(value(&agent, series).await, want, "{series} before the sync");
    }
    agent.sync();
    get(agent.healthz, "/healthz").await;
    for (series, want) in [
        ("kubeproxy_sync_proxy_rules_service_changes_pending", 0.0),
        ("kubeproxy_sync_proxy_rules_service_changes_total", 1.0),
        ("kubeproxy_sync_proxy_rules_endpoint_changes_pending", 0.0),
        ("kubeproxy_sync_proxy_rules_endpoint_changes_total", 1.0),
        ("kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv6\"}", 2.0),
        ("kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family=\"IPv4\",le=\"0.002\"}", 0.0),
        ("kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family=\"IPv4\",le=\"0.004\"}", 2.0),
        ("kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family=\"IPv4\",le=\"16.384\"}", 2.0),
        ("kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family=\"IPv4\",traffic_policy=\"external\"}", 1.0),
        ("kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family=\"IPv4\",traffic_policy=\"internal\"}", 0.0),
        ("kubeproxy_proxy_healthz_total{code=\"200\"}", 1.0),
        ("kubeproxy_proxy_healthz_total{code=\"503\"}", 0.0),
        ("sheave_objects{kind=\"Service\"}", 1.0),
        ("sheave_packet_outcomes_total{outcome=\"drop_no_route\"}", 1.0),
    ] {
        assert_eq!(value(&agent, series).await, want, "{series}");
    }
    let queued = value(&agent, "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=\"IPv4\"}").await;
    let synced = value(&agent, "kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv4\"}").await;
    assert!(queued > 1.7e9 && synced >= queued, "{queued} {synced}");
}

/// H6: ClusterLoader2 reads this histogram; the trigger here is far in the past, so the last bucket has it.
#[tokio::test]
async fn programming_latency_is_observed_for_each_slice_that_changed() {
    let mut agent = Agent::synced();
    let seen = |name: &str, triggered_unix_ns| {
        let object = ObjectName::EndpointSlice(slice(name, 0, 0).name);
        Event::Seen { object, stamp: Stamp { version: 1, triggered_unix_ns: Some(triggered_unix_ns) } }
    };
    let web = |endpoints| Event::Applied(Object::EndpointSlice(slice("web", endpoints, 0)));
    let count = "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"}";
    agent.hear(vec![applied(service("web", 1, 0)), web(1), seen("web", 2_000_000_000)]);
    assert_eq!(value(&agent, count).await, 1.0);
    agent.hear(vec![web(1), seen("web", 3_000_000_000)]);
    assert_eq!(value(&agent, count).await, 1.0, "nothing changed");
    agent.hear(vec![web(2), seen("web", 999_999_999)]);
    assert_eq!(value(&agent, count).await, 1.0, "triggered before the start");
    let text = get(agent.metrics, "/metrics").await.body;
    let of_ipv4 = "kubeproxy_network_programming_duration_seconds_bucket{ip_family=\"IPv4\",le=\"";
    let bounds: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix(of_ipv4)?.split_once('"')).map(|(bound, _)| bound).collect();
    assert_eq!(bounds.len(), 81, "80 and +Inf");
    assert_eq!((bounds[0], bounds[2], bounds[61], bounds[73], bounds[79]), ("0.25", "1", "60", "120", "300"));
}

#[tokio::test]
async fn findings_are_counted_by_kind_and_gone_when_they_are() {
    let mut agent = Agent::synced();
    let object = ObjectRef::new("Service", "shop/web");
    let told = |problem: Problem| Diagnostic {
        object: object.clone(),
        field: "spec".to_owned(),
        problem,
        message: "wrong".to_owned(),
        origin: None,
    };
    let diagnosed = |diagnostics| Event::Diagnosed { object: object.clone(), diagnostics };
    agent.hear(vec![diagnosed(vec![told(Problem::Invalid), told(Problem::Unsupported)])]);
    let kinds = Problem::ALL.map(|problem| format!("sheave_diagnostics{{kind=\"{}\"}}", problem.as_str()));
    let mut values = Vec::new();
    for series in &kinds {
        values.push(value(&agent, series).await);
    }
    assert_eq!(values, [0.0, 1.0, 0.0, 0.0, 1.0]);
    agent.hear(vec![diagnosed(Vec::new()), Event::Deleted(ObjectName::Service(ServiceName::new("shop", "web")))]);
    assert_eq!(value(&agent, &kinds[1]).await, 0.0);
}

/// `# TYPE` lines: name and type; and the labels of the series below them.
fn exposed(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut found: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some((of, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            of.clone_into(&mut name);
            found.insert(name.clone(), (kind.to_owned(), BTreeSet::new()));
        } else if let (Some((_, labels)), false) = (line.split_once('{'), line.starts_with('#')) {
            let labels = labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            found.get_mut(&name).unwrap().1.extend(labels.filter(|label| label != "le"));
        }
    }
    found
}

/// Rows of the tables: | `name` | type | labels | meaning |
fn documented(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, meaning, _] = cells[..] else { return None };
        let name = name.strip_prefix('`')?.strip_suffix('`')?;
        assert!(!meaning.is_empty(), "{name} has a meaning");
        let labels = labels.split(',').map(|label| label.trim().trim_matches('`').to_owned());
        Some((name.to_owned(), (kind.to_owned(), labels.filter(|label| !label.is_empty()).collect())))
    };
    text.lines().filter_map(row).collect()
}

/// What the programs count of one Service port, by 64-bit numbers that Prometheus' floats do not all have.
fn read(omitted: usize) -> ServicesRead {
    let flows = ServiceFlows { begun: 1 << 40, rejected: 2, no_local_endpoint: 3, source_range: 4 };
    ServicesRead { ports: vec![("shop/web:http/TCP/IPv4".parse().unwrap(), flows)], omitted }
}

#[test]
fn service_ports_that_have_a_place_are_measured_and_those_that_have_none_are_counted() {
    let metrics = Metrics::new(Arc::new(Vec::new));
    metrics.measure_services(Box::new(|| read(7)));
    for _ in 0..2 {
        let text = metrics.text().unwrap();
        let port = "ip_family=\"IPv4\",namespace=\"shop\",port=\"http\",protocol=\"TCP\"";
        for want in [
            format!("sheave_service_new_flows_total{{{port},service=\"web\"}} 1099511627776"),
            format!("sheave_service_refused_total{{{port},reason=\"no_endpoint\",service=\"web\"}} 2"),
            format!("sheave_service_refused_total{{{port},reason=\"no_local_endpoint\",service=\"web\"}} 3"),
            format!("sheave_service_refused_total{{{port},reason=\"source_range\",service=\"web\"}} 4"),
            "sheave_service_metrics_omitted 7".to_owned(),
        ] {
            assert!(text.lines().any(|line| line == want), "{want} in {text}");
        }
    }
}

#[test]
fn the_document_lists_exactly_what_is_exposed() {
    let metrics = Metrics::new(Arc::new(|| vec![("flow_new", 1)]));
    metrics.measure_services(Box::new(|| read(0)));
    let text = include_str!("../../../../docs/metrics.md");
    assert_eq!(documented(text), exposed(&metrics.text().unwrap()));
}
