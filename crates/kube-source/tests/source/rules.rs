//! What is read means the same on files and on the watch: one table, run through both.
use crate::follower::Follower;
use serde_json::{Value, json};
use sheave_apistub::{Api, Server};
use sheave_core::{Endpoint, Event, Kind, Object, Service, TrafficPolicy};
use sheave_kube_source::Source;

/// A rule, an object, and what the source holds of it.
type Row = (&'static str, Value, Option<&'static str>);

fn table() -> Vec<Row> {
    [services(), frontends(), slices(), nodes()].concat()
}

fn services() -> Vec<Row> {
    let service = |labels: Value, spec: Value| {
        let metadata = json!({"name": "x", "namespace": "shop", "labels": labels});
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    };
    let at = |address: &str| json!({"clusterIP": address, "ports": [{"port": 80}]});
    let (none, proxy) = (json!({}), "service.kubernetes.io/service-proxy-name");
    vec![
        ("W1 no label", service(none.clone(), at("10.96.0.1")), Some("10.96.0.1")),
        ("W1 label", service(json!({proxy: "x"}), at("10.96.0.1")), None),
        ("W1 empty label", service(json!({proxy: ""}), at("10.96.0.1")), None),
        ("W2 headless", service(none.clone(), at("None")), None),
        ("W2 no address", service(none.clone(), at("")), None),
        ("W3 ExternalName", service(none.clone(), json!({"type": "ExternalName", "clusterIP": "10.96.0.1"})), None),
        ("W11 sloppy VIP", service(none, at("172.30.0.041")), Some("172.30.0.41")),
    ]
}

/// What a Service has beside its ClusterIPs; two rows each, which differ in the rule's condition.
fn frontends() -> Vec<Row> {
    let service = |fields: Value, ingress: Value| {
        let mut spec = json!({"clusterIP": "10.96.0.1", "ports": [{"port": 80}]});
        fields.as_object().unwrap().iter().for_each(|(field, value)| spec[field] = value.clone());
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "x", "namespace": "shop"}, "spec": spec,
            "status": {"loadBalancer": {"ingress": ingress}},
        })
    };
    let spec = |fields: Value| service(fields, json!([]));
    let ingress = |ingress: Value| service(json!({}), json!([ingress]));
    let node_port = |number: u16| spec(json!({"ports": [{"port": 80, "nodePort": number}]}));
    let external = |kind: &str| spec(json!({"type": kind, "externalTrafficPolicy": "Local", "ports": [{"port": 80}]}));
    let affinity = |kind: &str| spec(json!({"sessionAffinity": kind}));
    let ranges = |ranges: Value| spec(json!({"loadBalancerSourceRanges": ranges}));
    let lasting = json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}});
    vec![
        ("A4 NodePort", node_port(30080), Some("10.96.0.1 nodePort=30080")),
        ("A9 NodePort 0", node_port(0), Some("10.96.0.1")),
        ("A7 VIP", ingress(json!({"ip": "192.0.2.1", "ipMode": "VIP"})), Some("10.96.0.1 lb=192.0.2.1")),
        ("A7 host name", ingress(json!({"hostname": "lb.example.org"})), Some("10.96.0.1")),
        ("A8 Proxy", ingress(json!({"ip": "192.0.2.1", "ipMode": "Proxy"})), Some("10.96.0.1")),
        ("A10 external", spec(json!({"externalIPs": ["192.0.2.1"]})), Some("10.96.0.1 external=192.0.2.1")),
        ("A10 none", spec(json!({"externalIPs": []})), Some("10.96.0.1")),
        ("E4 Local", spec(json!({"internalTrafficPolicy": "Local"})), Some("10.96.0.1 internal=Local")),
        ("E4 Cluster", spec(json!({"internalTrafficPolicy": "Cluster"})), Some("10.96.0.1")),
        ("E5 Local", external("LoadBalancer"), Some("10.96.0.1 policy=Local")),
        ("E5 Cluster", spec(json!({"type": "LoadBalancer", "externalTrafficPolicy": "Cluster"})), Some("10.96.0.1")),
        ("E10 ClientIP", affinity("ClientIP"), Some("10.96.0.1 affinity=10800")),
        ("E10 ClientIP for 5 s", spec(lasting), Some("10.96.0.1 affinity=5")),
        ("E10 None", affinity("None"), Some("10.96.0.1")),
        ("R8 ranges", ranges(json!([" 203.0.113.000/25", ""])), Some("10.96.0.1 from=203.0.113.0/25")),
        ("R8 no range", ranges(json!([""])), Some("10.96.0.1")),
    ]
}

fn nodes() -> Vec<Row> {
    let node = |labels: Value, cidrs: Value| {
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a", "labels": labels}, "spec": cidrs,
            "status": {"addresses": [
                {"type": "ExternalIP", "address": "198.51.100.1"}, {"type": "InternalIP", "address": "192.0.2.1"},
            ]},
        })
    };
    let zone = json!({"topology.kubernetes.io/zone": "z1"});
    let addresses = "192.0.2.1 198.51.100.1";
    vec![
        ("A5 internal first", node(json!({}), json!({})), Some(addresses)),
        ("W14 zone", node(zone, json!({})), Some("192.0.2.1 198.51.100.1 zone=z1")),
        ("W14 host name", node(json!({"kubernetes.io/hostname": "z1"}), json!({})), Some(addresses)),
        ("R5 one", node(json!({}), json!({"podCIDR": "10.0.0.0/24"})), Some("192.0.2.1 198.51.100.1 pods=10.0.0.0/24")),
        (
            "R5 both families",
            node(json!({}), json!({"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24", "fd00::/64"]})),
            Some("192.0.2.1 198.51.100.1 pods=10.0.0.0/24 pods=fd00::/64"),
        ),
    ]
}

fn slices() -> Vec<Row> {
    let slice = |labels: Value, rest: Value| {
        let metadata = json!({"name": "x", "namespace": "shop", "labels": labels});
        let mut slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "addressType": "IPv4",
            "ports": [{"name": "a", "port": 80}], "endpoints": [{"addresses": ["10.244.1.1"]}],
        });
        rest.as_object().unwrap().iter().for_each(|(field, value)| slice[field] = value.clone());
        slice
    };
    let ours = |rest: Value| slice(json!({"kubernetes.io/service-name": "web"}), rest);
    let with = |endpoint: Value| ours(json!({"endpoints": [endpoint]}));
    let headless = json!({"kubernetes.io/service-name": "web", "service.kubernetes.io/headless": ""});
    let fqdn = json!({"addressType": "FQDN", "endpoints": [{"addresses": ["example.org"]}]});
    let ports = json!({"ports": [{"name": "a"}, {"name": "b", "port": 0}, {"name": "c", "port": 9}]});
    let draining = json!({"ready": false, "serving": true, "terminating": true});
    vec![
        ("W2 headless slice", slice(headless, json!({})), None),
        ("W4 IPv4", ours(json!({})), Some("10.244.1.1 ready serving")),
        ("W4 FQDN", ours(fqdn), None),
        ("W5 no Service", slice(json!({}), json!({})), None),
        ("W5 empty Service", slice(json!({"kubernetes.io/service-name": ""}), json!({})), None),
        ("W6 no number", ours(ports), Some("c:9 10.244.1.1 ready serving")),
        (
            "W7 draining",
            with(json!({"addresses": ["10.244.1.1"], "conditions": draining})),
            Some("10.244.1.1 serving terminating"),
        ),
        (
            "W7 node",
            with(json!({"addresses": ["10.244.1.1"], "nodeName": "node-a"})),
            Some("10.244.1.1 ready serving on node-a"),
        ),
        (
            "E7 hints",
            with(
                json!({"addresses": ["10.244.1.1"], "hints": {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}]}}),
            ),
            Some("10.244.1.1 ready serving for n1 for z1"),
        ),
        (
            "E7 hints for nobody",
            with(json!({"addresses": ["10.244.1.1"], "hints": {"forZones": []}})),
            Some("10.244.1.1 ready serving"),
        ),
        ("W8 first only", with(json!({"addresses": ["10.244.1.1", "10.244.1.2"]})), Some("10.244.1.1 ready serving")),
        ("W8 none", with(json!({"addresses": []})), Some("")),
        ("W11 sloppy endpoint", with(json!({"addresses": ["010.244.01.1"]})), Some("10.244.1.1 ready serving")),
    ]
}

fn shown(object: &Object) -> String {
    let parts = match object {
        Object::Service(service) => shown_service(service),
        Object::EndpointSlice(slice) => {
            let ports = slice.ports.iter().filter(|port| &*port.name != "a");
            let ports = ports.map(|port| format!("{}:{}", port.name, port.port));
            ports.chain(slice.endpoints.iter().map(shown_endpoint)).collect()
        }
        Object::Node(node) => {
            let zone = node.zone.iter().map(|zone| format!("zone={zone}"));
            let pods = node.pod_cidrs.iter().map(|cidr| format!("pods={cidr}"));
            node.addresses.iter().map(ToString::to_string).chain(zone).chain(pods).collect()
        }
        other => panic!("not in the table: {other:?}"),
    };
    parts.join(" ")
}

/// What is not as it is without a wish.
fn shown_service(service: &Service) -> Vec<String> {
    let mut parts: Vec<_> = service.cluster_ips.iter().map(ToString::to_string).collect();
    parts.extend(service.ports.iter().filter_map(|port| Some(format!("nodePort={}", port.node_port?))));
    parts.extend(service.load_balancer_ips.iter().map(|addr| format!("lb={addr}")));
    parts.extend(service.external_ips.iter().map(|addr| format!("external={addr}")));
    for (name, policy) in [("internal", service.internal_policy), ("policy", service.external_policy)] {
        parts.extend((policy == TrafficPolicy::Local).then(|| format!("{name}={policy}")));
    }
    parts.extend(service.affinity.map(|affinity| format!("affinity={}", affinity.timeout_s)));
    parts.extend(service.source_ranges.iter().map(|range| format!("from={range}")));
    parts
}

fn shown_endpoint(endpoint: &Endpoint) -> String {
    let mut text = endpoint.addr.to_string();
    for (name, holds) in
        [("ready", endpoint.ready), ("serving", endpoint.serving), ("terminating", endpoint.terminating)]
    {
        text += &if holds { format!(" {name}") } else { String::new() };
    }
    text += &endpoint.node.as_ref().map_or(String::new(), |node| format!(" on {node}"));
    let hints = endpoint.hints.iter().flat_map(|hints| hints.nodes.iter().chain(&hints.zones));
    text + &hints.map(|hint| format!(" for {hint}")).collect::<String>()
}

fn held(follower: &Follower) -> Option<String> {
    follower.objects.values().next().map(shown)
}

#[tokio::test]
async fn every_rule_means_the_same_in_files_and_in_the_api() {
    let directory = tempfile::tempdir().unwrap();
    for (rule, object, want) in table() {
        let file = directory.path().join("object.yaml");
        std::fs::write(&file, object.to_string()).unwrap();
        let mut read = Follower::of(Source::Files(file));
        read.until("complete", Follower::is_complete).await;
        let api = Api::new();
        api.apply(object).unwrap();
        let server = Server::on_loopback(&api).unwrap();
        let watched = Follower::of_server(&server).await;
        assert_eq!(held(&read).as_deref(), want, "{rule} in files");
        assert_eq!(held(&watched).as_deref(), want, "{rule} in the API");
        assert_eq!((read.diagnostics(), watched.diagnostics()), (vec![], vec![]), "{rule}");
    }
}

#[tokio::test]
async fn every_rule_means_the_same_when_an_object_changes_to_it() {
    let plain =
        |kind: &str| table().into_iter().find(|(_, object, want)| object["kind"] == kind && want.is_some()).unwrap().1;
    for (rule, object, want) in table() {
        let api = Api::new();
        api.apply(plain(object["kind"].as_str().unwrap())).unwrap();
        let server = Server::on_loopback(&api).unwrap();
        let mut follower = Follower::of_server(&server).await;
        assert!(held(&follower).is_some(), "{rule}");
        api.apply(object).unwrap();
        follower.until(rule, |f| held(f).as_deref() == want).await;
        assert!(follower.listed.values().all(|times| *times == 1), "{rule}");
    }
}

#[tokio::test]
async fn w13_an_unchanged_object_is_no_event() {
    let api = Api::new();
    let (_, object, _) = table().remove(0);
    let version = api.apply(object.clone()).unwrap();
    assert_eq!(api.apply(object).unwrap(), version);
}

#[tokio::test]
async fn of_the_nodes_only_this_one_is_watched() {
    let node = |name: &str| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
    let api = Api::new();
    api.apply(node("node-a")).unwrap();
    api.apply(node("node-b")).unwrap();
    let server = Server::on_loopback(&api).unwrap();
    let mut watched = Follower::of_server(&server).await;
    assert_eq!(watched.names(), ["Node node-a"]);
    api.delete("Node", "", "node-a").unwrap();
    watched.until("gone", |f| f.objects.is_empty()).await;
    let listed_nodes = |event: &Event| matches!(event, Event::Listed { kind: Kind::Node, .. });
    assert_eq!(watched.log.iter().filter(|event| listed_nodes(event)).count(), 1);
}
