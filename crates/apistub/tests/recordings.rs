//! The stub against recordings of a real API server: given the recorded objects, it gives the recorded answers.
//!
//! Only what has to differ is taken out before the comparison: resourceVersions and continue tokens.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;

use client::Client;
use serde_json::{Value, json};
use sheave_apistub::{Api, Server};
use std::path::Path;

const SERVICES: &str = "/api/v1/services?labelSelector=%21service.kubernetes.io%2Fservice-proxy-name&fieldSelector=spec.clusterIP%21%3DNone&limit=500&resourceVersion=0";
const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";
const NOT_HEADLESS: &str = "?labelSelector=%21service.kubernetes.io%2Fheadless";

fn recorded(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn recorded_json(name: &str) -> Value {
    serde_json::from_str(&recorded(&format!("{name}.body"))).unwrap()
}

fn recorded_lines(name: &str) -> Vec<Value> {
    recorded(&format!("{name}.body")).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn recorded_header(name: &str, header: &str) -> Option<String> {
    let headers = recorded(&format!("{name}.headers"));
    let line = headers.lines().find(|line| line.starts_with(&format!("{header}: ")))?;
    Some(line.split_once(": ")?.1.trim().to_owned())
}

fn recorded_code(name: &str) -> u16 {
    recorded(&format!("{name}.headers")).split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Takes out what cannot be the same in two servers.
fn comparable(mut value: Value) -> Value {
    match &mut value {
        Value::Array(list) => list.iter_mut().for_each(|element| *element = comparable(element.take())),
        Value::Object(map) => {
            for (key, element) in map.iter_mut() {
                *element = match key.as_str() {
                    "resourceVersion" => "N".into(),
                    "continue" => "TOKEN".into(),
                    _ => comparable(element.take()),
                };
            }
        }
        _ => {}
    }
    value
}

/// A stub with the recorded objects, those of the streaming list first.
fn stub() -> Api {
    let api = Api::new();
    for (name, kind, version) in [
        ("services-list", "Service", "v1"),
        ("node-list", "Node", "v1"),
        ("servicecidrs-list", "ServiceCIDR", "networking.k8s.io/v1"),
    ] {
        for item in recorded_json(name)["items"].as_array().unwrap() {
            apply(&api, item.clone(), kind, version);
        }
    }
    for event in recorded_lines("stream-list").into_iter().filter(|event| event["type"] == "ADDED") {
        apply(&api, event["object"].clone(), "EndpointSlice", "discovery.k8s.io/v1");
    }
    api
}

fn apply(api: &Api, mut object: Value, kind: &str, version: &str) {
    object["kind"] = kind.into();
    object["apiVersion"] = version.into();
    object["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    api.apply(object).unwrap();
}

async fn client(api: &Api) -> (Server, Client) {
    let server = Server::on_loopback(api).unwrap();
    let client = Client::new(server.address());
    (server, client)
}

#[tokio::test]
async fn lists_are_as_recorded() {
    let (_server, client) = client(&stub()).await;
    for (name, uri) in [
        ("services-list", SERVICES.to_owned()),
        ("slices-list", format!("{SLICES}{NOT_HEADLESS}")),
        ("node-list", "/api/v1/nodes?fieldSelector=metadata.name%3Dnode-a".to_owned()),
        ("servicecidrs-list", "/apis/networking.k8s.io/v1/servicecidrs".to_owned()),
    ] {
        let answer = client.get(&uri).await;
        assert_eq!(answer.code, recorded_code(name), "{name}");
        for header in ["content-type", "cache-control"] {
            assert_eq!(answer.header(header), recorded_header(name, header), "{name}");
        }
        let mut want = recorded_json(name);
        want["items"].as_array_mut().unwrap().sort_by_key(|item| item["metadata"]["name"].as_str().map(str::to_owned));
        let mut got = answer.json();
        got["items"].as_array_mut().unwrap().sort_by_key(|item| item["metadata"]["name"].as_str().map(str::to_owned));
        assert_eq!(comparable(got), comparable(want), "{name}");
    }
}

/// What stands in the bytes is compared where it is written (`src/protobuf.rs`).
#[tokio::test]
async fn protobuf_is_served_to_who_asks_for_it_with_the_recorded_headers() {
    let api = stub();
    let (_server, client) = client(&api).await;
    for (name, uri) in [("services-list-protobuf", SERVICES), ("slices-list-protobuf", SLICES)] {
        let answer = client.get_protobuf(uri).await;
        assert_eq!(answer.code, recorded_code(name), "{name}");
        for header in ["content-type", "cache-control"] {
            assert_eq!(answer.header(header), recorded_header(name, header), "{name}");
        }
        assert!(answer.body.starts_with(b"k8s\0"), "{name}");
    }
    let mut stream = client
        .watch_protobuf(&format!("{SLICES}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"))
        .await;
    for _ in 0..5 {
        let length = u32::from_be_bytes(stream.bytes(4).await.try_into().unwrap());
        let event = stream.bytes(length as usize).await;
        assert!(event.starts_with(b"\x0a\x05ADDED") || event.starts_with(b"\x0a\x08BOOKMARK"), "{event:?}");
    }
    let refused = client.get_protobuf("/api/v1/namespaces/shop/services/nothing").await;
    assert_eq!(
        (refused.code, refused.header("content-type").as_deref()),
        (404, Some("application/vnd.kubernetes.protobuf"))
    );
    let event = client.get_protobuf("/apis/events.k8s.io/v1/events").await;
    assert_eq!(event.header("content-type").as_deref(), Some("application/json"), "kinds without protobuf");
}

#[tokio::test]
async fn a_page_tells_how_many_remain_and_where_to_go_on() {
    let api = stub();
    let (_server, client) = client(&api).await;
    let first = client.get(&format!("{SLICES}?limit=2")).await.json();
    let mut want = recorded_json("slices-page1");
    assert_eq!(comparable(first["metadata"].clone()), comparable(want["metadata"].take()));
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    let second = client.get(&format!("{SLICES}?limit=2&continue={token}")).await.json();
    assert_eq!(second["metadata"], json!({"resourceVersion": first["metadata"]["resourceVersion"]}));
    api.delete("EndpointSlice", "shop", "web-abc12").unwrap();
    api.compact();
    let expired = client.get(&format!("{SLICES}?limit=2&continue={token}")).await;
    let (got, want) = (expired.json(), recorded_json("continue-expired"));
    assert_eq!((expired.code, &got["reason"], &got["code"]), (410, &want["reason"], &want["code"]));
    let anew = got["metadata"]["continue"].as_str().unwrap();
    let rest = client.get(&format!("{SLICES}?limit=2&continue={anew}")).await.json();
    assert_eq!(rest["items"].as_array().map(Vec::len), Some(1), "the remainder, as it is now");
    let garbage = client.get(&format!("{SLICES}?limit=2&continue=garbage")).await;
    let want = recorded_json("continue-garbage");
    assert_eq!((garbage.code, &garbage.json()["reason"]), (recorded_code("continue-garbage"), &want["reason"]));
}

#[tokio::test]
async fn a_streaming_list_is_as_recorded() {
    let api = stub();
    let (_server, client) = client(&api).await;
    let uri =
        format!("{SLICES}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan");
    let mut stream = client.watch(&uri).await;
    let want = recorded_lines("stream-list");
    let (initial, live) = want.split_at(want.iter().position(|event| event["type"] == "BOOKMARK").unwrap() + 1);
    for want in initial {
        assert_eq!(comparable(stream.next().await), comparable(want.clone()));
    }
    replay(&api, live);
    for want in live {
        assert_eq!(comparable(stream.next().await), comparable(want.clone()));
    }
}

#[tokio::test]
async fn a_watch_from_a_version_is_as_recorded() {
    let api = stub();
    let (_server, client) = client(&api).await;
    let uri = format!("{SLICES}?watch=1&allowWatchBookmarks=true&resourceVersion={}", api.version());
    let mut stream = client.watch(&uri).await;
    let want = recorded_lines("watch-json");
    replay(&api, &want);
    for want in &want {
        assert_eq!(comparable(stream.next().await), comparable(want.clone()));
    }
}

/// Makes the recorded changes. A bookmark comes when asked for.
fn replay(api: &Api, events: &[Value]) {
    for event in events {
        match event["type"].as_str().unwrap() {
            "BOOKMARK" => api.bookmark(),
            "DELETED" => drop(
                api.delete("EndpointSlice", "shop", event["object"]["metadata"]["name"].as_str().unwrap()).unwrap(),
            ),
            _ => apply(api, event["object"].clone(), "EndpointSlice", "discovery.k8s.io/v1"),
        }
    }
}

#[tokio::test]
async fn an_object_that_no_longer_matches_is_deleted_to_the_client_and_one_that_does_again_is_added() {
    let api = stub();
    let (_server, client) = client(&api).await;
    let uri = format!("{SLICES}{NOT_HEADLESS}&watch=1&resourceVersion={}", api.version());
    let mut stream = client.watch(&uri).await;
    let want = recorded_lines("watch-json");
    replay(&api, &want[..4]);
    let mut got = Vec::new();
    for _ in 0..4 {
        let event = stream.next().await;
        got.push((
            event["type"].as_str().unwrap().to_owned(),
            event["object"]["metadata"]["name"].as_str().unwrap().to_owned(),
        ));
    }
    let want = [("MODIFIED", "web-abc12"), ("DELETED", "web-abc12"), ("ADDED", "web-abc12"), ("DELETED", "edge-xyz")];
    assert_eq!(got, want.map(|(kind, name)| (kind.to_owned(), name.to_owned())));
}

#[tokio::test]
async fn a_watch_from_a_compacted_version_is_told_so_in_its_first_event() {
    let api = stub();
    let version = api.version();
    api.delete("EndpointSlice", "shop", "web-abc12").unwrap();
    api.compact();
    let (_server, client) = client(&api).await;
    let mut stream = client.watch(&format!("{SLICES}?watch=1&resourceVersion={version}")).await;
    let mut want = recorded_lines("watch-too-old").remove(0);
    want["object"]["message"] = format!("too old resource version: {version} ({})", api.version()).into();
    assert_eq!(stream.next().await, want);
}

#[tokio::test]
async fn refusals_are_as_recorded() {
    let api = stub();
    let (_server, client) = client(&api).await;
    let mut stale = api.get("EndpointSlice", "shop", "web-abc12").unwrap();
    stale["metadata"]["resourceVersion"] = "1".into();
    let bad = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "bad"}, "spec": {"ports": [{"port": 99999}]}});
    let slice = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/web-abc12";
    for (name, answer) in [
        ("conflict", client.send("PUT", slice, &stale).await),
        ("invalid", client.send("POST", "/api/v1/namespaces/default/services", &bad).await),
    ] {
        assert_eq!((answer.code, answer.json()), (recorded_code(name), recorded_json(name)), "{name}");
    }
    let answer = client.get("/apis/nothing.example.org/v1/things").await;
    assert_eq!((answer.code, answer.text()), (404, recorded("not-found.body")));
    assert_eq!(answer.header("content-type"), recorded_header("not-found", "content-type"));
    api.require_token(Some("secret".to_owned()));
    let answer = client.get("/api/v1/services").await;
    assert_eq!((answer.code, answer.json()), (recorded_code("unauthorized"), recorded_json("unauthorized")));
}

#[tokio::test]
async fn discovery_has_the_recorded_shape() {
    let (_server, client) = client(&stub()).await;
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for (name, uri) in [("discovery-api", "/api"), ("discovery-v1", "/apis/discovery.k8s.io/v1")] {
        assert_eq!(keys(&client.get(uri).await.json()), keys(&recorded_json(name)), "{name}");
    }
    let got = client.get("/apis/discovery.k8s.io/v1").await.json();
    let (got, want) = (&got["resources"][0], &recorded_json("discovery-v1")["resources"][0]);
    for field in ["name", "singularName", "namespaced", "kind"] {
        assert_eq!(got[field], want[field], "{field}");
    }
    let (got, want) = (client.get("/version").await.json(), recorded_json("version"));
    assert!(keys(&got).iter().all(|key| want.get(key).is_some()), "{got}");
    assert_eq!(client.get("/readyz").await.text(), "ok");
}

#[tokio::test]
async fn objects_are_written_and_read_over_http() {
    let api = Api::new();
    let (_server, client) = client(&api).await;
    let (list, object) = ("/api/v1/namespaces/shop/services", "/api/v1/namespaces/shop/services/web");
    let service = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}});
    assert_eq!(client.get(object).await.code, 404);
    assert_eq!(client.send("PUT", object, &service).await.code, 404);
    assert_eq!(client.send("POST", list, &service).await.code, 201);
    assert_eq!(client.send("POST", list, &service).await.code, 409);
    let held = client.get(object).await.json();
    assert_eq!((&held["kind"], &held["metadata"]["namespace"]), (&json!("Service"), &json!("shop")));
    let patched = client.send("PATCH", object, &json!({"metadata": {"labels": {"a": "b"}}})).await.json();
    assert_eq!(
        (&patched["metadata"]["labels"], &patched["metadata"]["uid"]),
        (&json!({"a": "b"}), &held["metadata"]["uid"])
    );
    assert_eq!(client.send("PUT", object, &held).await.code, 409, "it was changed meanwhile");
    assert_eq!(client.send("DELETE", object, &Value::Null).await.code, 200);
    assert_eq!(client.send("DELETE", object, &Value::Null).await.code, 404);
    let event = json!({"metadata": {"generateName": "starting-"}, "reason": "Starting"});
    let posted = client.send("POST", "/apis/events.k8s.io/v1/namespaces/default/events", &event).await.json();
    assert!(posted["metadata"]["name"].as_str().unwrap().starts_with("starting-"), "{posted}");
    assert_eq!(client.send("POST", list, &json!("no object")).await.code, 400);
    assert_eq!(client.get("/api/v1/services?labelSelector=a%20in%20%28b%29").await.code, 400, "not silently ignored");
    assert_eq!(client.get("/api/v1/services?resourceVersion=1000000").await.code, 504);
}
