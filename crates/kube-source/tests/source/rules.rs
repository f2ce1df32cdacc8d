//! The W rules mean the same on files and on the watch: one table, run through both.
use crate::follower::Follower;
use serde_json::{Value, json};
use sheave_apistub::{Api, Server};
use sheave_core::{Event, Kind, Object};
use sheave_kube_source::Source;

/// A rule, an object, and what the source holds of it.
type Row = (&'static str, Value, Option<&'static str>);

fn table() -> Vec<Row> {
    [services(), slices()].concat()
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
        ("W8 first only", with(json!({"addresses": ["10.244.1.1", "10.244.1.2"]})), Some("10.244.1.1 ready serving")),
        ("W8 none", with(json!({"addresses": []})), Some("")),
        ("W11 sloppy endpoint", with(json!({"addresses": ["010.244.01.1"]})), Some("10.244.1.1 ready serving")),
    ]
}

fn shown(object: &Object) -> String {
    match object {
        Object::Service(service) => service.cluster_ips.iter().map(ToString::to_string).collect(),
        Object::EndpointSlice(slice) => {
            let ports =
                slice.ports.iter().filter(|port| &*port.name != "a").map(|port| format!("{}:{}", port.name, port.port));
            let endpoints = slice.endpoints.iter().map(|endpoint| {
                let mut text = endpoint.addr.to_string();
                for (name, holds) in
                    [("ready", endpoint.ready), ("serving", endpoint.serving), ("terminating", endpoint.terminating)]
                {
                    text += &if holds { format!(" {name}") } else { String::new() };
                }
                text + &endpoint.node.as_ref().map_or(String::new(), |node| format!(" on {node}"))
            });
            ports.chain(endpoints).collect::<Vec<_>>().join(" ")
        }
        other => panic!("not in the table: {other:?}"),
    }
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
