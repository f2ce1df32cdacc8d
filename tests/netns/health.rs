//! What the real agent shows of itself, asked from where probes, load balancers and scrapes ask (H1, H3, H4).
use crate::NEEDS;
use crate::world::{HTTP, TIMEOUT, World, answer, eventually, targets, web};
use serde_json::json;
use sheave_agent::config::SocketLb;
use sheave_lab::Sandbox;
use sheave_tests::kernel_or_skip;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

const CHECK: u16 = 31_000;

/// The answer to a GET request from a place; empty if there is none.
fn ask(from: &Sandbox, address: &str, path: &str) -> String {
    let address: SocketAddr = address.parse().unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let asked = move || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    from.run(asked).unwrap().unwrap_or_default()
}

/// A LoadBalancer Service with policy Local, and one endpoint on this node.
fn put_balanced(world: &World, node: &str) {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "balanced", "namespace": "test"},
        "spec": {
            "type": "LoadBalancer", "clusterIP": "10.96.0.20", "externalTrafficPolicy": "Local", "healthCheckNodePort": CHECK,
            "ports": [{"name": HTTP.0, "protocol": "TCP", "port": 80}],
        },
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "balanced-1", "namespace": "test", "labels": {"kubernetes.io/service-name": "balanced"}},
        "addressType": "IPv4", "ports": [{"name": HTTP.0, "protocol": "TCP", "port": 8080}],
        "endpoints": [{"addresses": ["10.180.0.1"], "nodeName": node, "conditions": {"ready": true}}],
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [service, slice]});
    let (unfinished, path) = (world.manifests().join(".balanced.tmp"), world.manifests().join("balanced.json"));
    std::fs::write(&unfinished, list.to_string()).unwrap();
    std::fs::rename(unfinished, path).unwrap();
}

/// H1, H3, H4
#[test]
fn probes_load_balancers_and_scrapes_are_answered_where_they_ask() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let service = web(&["near"]);
    let world = World::serving(SocketLb::All, &service);
    let (here, other) =
        (world.cluster.node("node-a").unwrap().sandbox(), world.cluster.node("node-b").unwrap().sandbox());
    let healthz = ask(other, "172.30.0.1:10256", "/healthz");
    assert!(healthz.starts_with("HTTP/1.1 200") && healthz.contains("\"nodeEligible\":true"), "{healthz}");
    assert!(ask(other, "[fd30::1]:10256", "/livez").starts_with("HTTP/1.1 200"), "by IPv6, as Go listens");

    put_balanced(&world, "node-a");
    for address in ["172.30.0.1", "[fd30::1]"] {
        let address = format!("{address}:{CHECK}");
        eventually("a load balancer finds the endpoint", || {
            ask(other, &address, "/").contains("\"localEndpoints\": 1")
        });
        assert!(ask(other, &address, "/").to_lowercase().contains("x-load-balancing-endpoint-weight: 1\r\n"));
    }
    put_balanced(&world, "node-b");
    let check = format!("172.30.0.1:{CHECK}");
    eventually("and that it has gone", || ask(other, &check, "/").starts_with("HTTP/1.1 503"));

    let client = world.client("client");
    targets(&service).into_iter().for_each(|target| drop(answer(&client, target)));
    let metrics = ask(here, "127.0.0.1:10249", "/metrics");
    let value = |series: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series} in {metrics}")).parse::<f64>().unwrap()
    };
    // TCP at the socket, UDP of a pod at the device; five ports and families are served.
    for (series, least) in [
        ("sheave_packet_outcomes_total{outcome=\"socket_forward\"}", 2.0),
        ("sheave_packet_outcomes_total{outcome=\"flow_new\"}", 2.0),
        ("sheave_map_entries{map=\"services\"}", 5.0),
        ("sheave_map_entries{map=\"backends_v4\"}", 3.0),
        ("sheave_map_entries_max{map=\"flows_v4\"}", 1.0),
        ("sheave_health_check_servers", 1.0),
        ("kubeproxy_sync_proxy_rules_service_changes_total", 2.0),
        ("kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"}", 2.0),
        ("kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family=\"IPv4\",traffic_policy=\"external\"}", 0.0),
        ("process_resident_memory_bytes", 1.0),
    ] {
        assert!(value(series) >= least, "{series} is {}", value(series));
    }
    assert!(ask(here, "127.0.0.1:10249", "/proxyMode").ends_with("\r\n\r\nebpf"));
    assert!(ask(other, "172.30.0.1:10249", "/metrics").is_empty(), "metrics are for the node alone");
}
