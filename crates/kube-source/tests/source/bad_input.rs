//! Bad input: one diagnostic each with file, object and field, and the rest is served; the same on both sources.
use crate::follower::Follower;
use serde_json::{Value, json};
use sheave_apistub::{Api, Server};
use sheave_kube_source::Source;
use std::fs;

/// A bad object, whether it is served all the same, and what is said of it.
fn table() -> Vec<(Value, bool, &'static str)> {
    let service = |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "bad", "namespace": "shop"}, "spec": spec});
    let slice = |address: &str, kind: Value| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": kind,
            "metadata": {"name": "bad", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
            "ports": [{"port": 80}], "endpoints": [{"addresses": [address]}, {"addresses": ["10.244.1.2"]}]})
    };
    vec![
        (
            service(json!({"clusterIP": "10.96.0.256", "ports": [{"port": 80}]})),
            true,
            "Service shop/bad: spec.clusterIP: \"10.96.0.256\" is not an IP address",
        ),
        (
            service(json!({"clusterIP": "10.96.0.1"})),
            true,
            "Service shop/bad: spec.ports: no port, so every connection to it is rejected; add one",
        ),
        (
            service(
                json!({"clusterIP": "10.96.0.1", "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80000}]}),
            ),
            true,
            "Service shop/bad: spec.ports[1].port: 80000 is no port; use 1 to 65535",
        ),
        (
            service(json!({"clusterIP": "10.96.0.1", "ports": [{"port": 80, "nodePort": -1}]})),
            true,
            "Service shop/bad: spec.ports[0].nodePort: -1 is no port; use 1 to 65535",
        ),
        (
            service(
                json!({"clusterIP": "10.96.0.1", "ports": [{"port": 80}], "externalIPs": ["0.0.0.0", "192.0.2.1"]}),
            ),
            true,
            "Service shop/bad: spec.externalIPs[0]: 0.0.0.0 cannot carry Service traffic: it is unspecified",
        ),
        (service(json!("x")), false, "Service shop/bad: spec: not a map; what was served of this Service before stays"),
        (
            slice("10.244.1.1.1", json!("IPv4")),
            true,
            "EndpointSlice shop/bad: endpoints[0].addresses[0]: \"10.244.1.1.1\" is not an IP address",
        ),
        (
            slice("fd00::1", json!("IPv4")),
            true,
            "EndpointSlice shop/bad: endpoints[0].addresses[0]: fd00::1 is not of the slice's addressType IPv4",
        ),
        (
            slice("10.244.1.1", json!(4)),
            false,
            "EndpointSlice shop/bad: addressType: neither IPv4 nor IPv6; what was served of this slice before stays",
        ),
        (
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a"}, "status": {"addresses": [{"type": "InternalIP", "address": "here"}]}}),
            true,
            "Node node-a: status.addresses[0].address: \"here\" is not an IP address",
        ),
        (
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "bad"}, "spec": {"cidrs": ["10.96.0.0/99"]}}),
            true,
            "ServiceCIDR bad: spec.cidrs[0]: \"10.96.0.0/99\" is not a CIDR; write ADDRESS/PREFIX, such as 10.96.0.0/16",
        ),
    ]
}

/// Values of the wrong type can be said in JSON only.
fn in_json() -> Api {
    let api = Api::new();
    api.set_protobuf(false);
    api
}

fn good() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "good", "namespace": "shop"}, "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 80}]}})
}

#[tokio::test]
async fn each_bad_object_is_one_diagnostic_and_the_rest_is_served() {
    let directory = tempfile::tempdir().unwrap();
    for (object, served, said) in table() {
        let file = directory.path().join("shop.yaml");
        fs::write(&file, format!("{}\n---\n{object}\n", good())).unwrap();
        let api = in_json();
        api.apply(good()).unwrap();
        api.apply(object).unwrap();
        let server = Server::on_loopback(&api).unwrap();
        let mut read = Follower::of(Source::Files(file.clone()));
        read.until("said", |f| f.is_complete() && !f.said.is_empty()).await;
        let mut watched = Follower::of_url(&server.url()).await;
        watched.until("said", |f| f.is_complete() && !f.said.is_empty()).await;
        assert_eq!(read.diagnostics(), [format!("{}:2: {said}", file.display())]);
        assert_eq!(watched.diagnostics(), [said]);
        for follower in [&read, &watched] {
            assert!(follower.holds("Service shop/good"), "{said}");
            assert_eq!(follower.objects.len(), 1 + usize::from(served), "{said}");
        }
    }
}

#[tokio::test]
async fn an_object_that_becomes_unreadable_stays_as_it_was_and_the_diagnostic_goes_with_the_fault() {
    let api = in_json();
    api.apply(good()).unwrap();
    let server = Server::on_loopback(&api).unwrap();
    let mut follower = Follower::of_server(&server).await;
    let held = follower.objects.clone();
    let mut bad = good();
    bad["spec"] = json!([]);
    api.apply(bad).unwrap();
    follower.until("said", |f| !f.said.is_empty()).await;
    assert_eq!(follower.objects, held);
    api.garble_watches();
    follower.until("listed anew", |f| f.listed.values().all(|times| *times == 2)).await;
    assert_eq!(follower.objects, held, "a list keeps it as well");
    api.apply(good()).unwrap();
    follower.until("taken back", |f| f.said.is_empty()).await;
    assert_eq!(follower.objects, held);
}

#[tokio::test]
async fn a_deleted_object_takes_its_diagnostics_with_it() {
    let api = in_json();
    let (object, ..) = table().remove(0);
    api.apply(object).unwrap();
    let server = Server::on_loopback(&api).unwrap();
    let mut follower = Follower::of_url(&server.url()).await;
    follower.until("said", |f| f.is_complete() && f.said.len() == 1).await;
    api.delete("Service", "shop", "bad").unwrap();
    follower.until("taken back", |f| f.said.is_empty() && f.objects.is_empty()).await;
}
