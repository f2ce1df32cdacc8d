//! Events over HTTP (H9): how many, which, and what is not written.
use crate::follower::{api_until, asked};
use serde_json::{Value, json};
use sheave_apistub::{Api, Misbehaviour, Server, Verb};
use sheave_core::ObjectRef;
use sheave_kube_source::KubeConfig;
use sheave_kube_source::events::{EventPace, Note, Recorder, Severity, Witness, recorder};
use std::collections::BTreeSet;
use std::time::Duration;

/// No waits but those a test asks for.
fn quick() -> EventPace {
    EventPace {
        cluster_spread: Duration::ZERO,
        node_spread: Duration::ZERO,
        repeat_min: Duration::ZERO,
        burst: 1000,
        refill: Duration::from_millis(1),
        retry_min: Duration::from_millis(1),
        answer_timeout: Duration::from_millis(500),
    }
}

/// Nothing that happens within a test.
const NEVER: Duration = Duration::from_secs(3600);

async fn node(name: &str, server: &Server, pace: EventPace) -> Recorder {
    let (recorder, writer) = recorder(name, pace);
    let client = KubeConfig::url(server.url()).connect().await.unwrap();
    tokio::spawn(writer.run(client));
    recorder
}

fn conflict(service: &str, witness: Witness) -> Note {
    Note {
        regarding: ObjectRef::new("Service", service),
        reason: "FrontendConflict",
        action: "Serve",
        severity: Severity::Warning,
        message: "spec.clusterIP: taken".to_owned(),
        witness,
    }
}

fn started(node: &str) -> Note {
    Note {
        regarding: ObjectRef::new("Node", node),
        reason: "Starting",
        action: "StartSheave",
        severity: Severity::Normal,
        message: String::new(),
        witness: Witness::Node,
    }
}

/// The Events there are, by a list.
async fn events(server: &Server) -> Vec<Value> {
    let uri = format!("{}/apis/events.k8s.io/v1/events", server.url());
    let stream = tokio::net::TcpStream::connect(server.url().trim_start_matches("http://")).await.unwrap();
    let list = get(stream, &uri).await;
    list["items"].as_array().unwrap().clone()
}

async fn get(stream: tokio::net::TcpStream, uri: &str) -> Value {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = stream;
    let request = format!("GET {uri} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    serde_json::from_str(body).unwrap()
}

async fn written(recorder: &Recorder, count: u64) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while recorder.written() < count {
        assert!(tokio::time::Instant::now() < deadline, "{} of {count} written", recorder.written());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn h9_a_repeat_is_counted_into_the_series_that_is_there() {
    let api = Api::new();
    let server = Server::on_loopback(&api).unwrap();
    let node = node("node-a", &server, quick()).await;
    node.note(conflict("shop/web", Witness::Node));
    written(&node, 1).await;
    for count in 2..5 {
        node.note(conflict("shop/web", Witness::Node));
        written(&node, count).await;
        let found = events(&server).await;
        assert_eq!(found.len(), 1, "one object whatever the count");
        assert_eq!(found[0]["series"]["count"], count);
    }
    node.note(Note { reason: "CapacityExceeded", ..conflict("shop/web", Witness::Node) });
    node.note(conflict("shop/api", Witness::Node));
    written(&node, 6).await;
    let found: BTreeSet<_> = events(&server)
        .await
        .iter()
        .map(|event| format!("{} {}", event["regarding"]["name"], event["reason"]))
        .collect();
    let want = [r#""api" "FrontendConflict""#, r#""web" "CapacityExceeded""#, r#""web" "FrontendConflict""#];
    assert_eq!(found.iter().collect::<Vec<_>>(), want, "each object and reason has its own");
}

#[tokio::test]
async fn h9_what_the_api_server_asks_of_an_event_is_there() {
    let api = Api::new();
    let server = Server::on_loopback(&api).unwrap();
    let node = node("node-a", &server, quick()).await;
    node.note(started("node-a"));
    written(&node, 1).await;
    let event = events(&server).await.remove(0);
    for (field, want) in [
        ("type", json!("Normal")),
        ("reason", json!("Starting")),
        ("action", json!("StartSheave")),
        ("reportingController", json!("sheave.dev/agent")),
        ("reportingInstance", json!("sheave-node-a")),
        ("regarding", json!({"kind": "Node", "apiVersion": "v1", "name": "node-a", "uid": "node-a"})),
    ] {
        assert_eq!(event[field], want, "{field}");
    }
    assert_eq!(event["metadata"]["namespace"], "default", "where Events of objects without a namespace belong");
}

/// A process that starts again and again counts on where the one before ended.
#[tokio::test]
async fn h9_a_node_that_starts_again_goes_on_with_its_own_series() {
    let api = Api::new();
    let server = Server::on_loopback(&api).unwrap();
    for count in [1, 2, 3] {
        let node = node("node-a", &server, quick()).await;
        node.note(started("node-a"));
        written(&node, 1).await;
        let found = events(&server).await;
        assert_eq!((found.len(), found[0]["series"]["count"].as_u64().unwrap_or(1)), (1, count));
    }
}

#[tokio::test]
async fn h9_of_what_all_nodes_see_one_event_is_written() {
    let api = Api::new();
    let server = Server::on_loopback(&api).unwrap();
    let mut nodes = Vec::new();
    for n in 0..20 {
        let node = node(&format!("node-{n}"), &server, quick()).await;
        node.note(conflict("shop/web", Witness::Cluster));
        nodes.push(node);
    }
    api_until(&api, "all have asked", |api| asked(api, Verb::Create, "Event").len() == 20).await;
    assert_eq!(events(&server).await.len(), 1);
    assert_eq!(asked(&api, Verb::Update, "Event").len(), 0, "nobody counts the others");
    for node in &nodes {
        node.note(conflict("shop/web", Witness::Node));
    }
    api_until(&api, "each its own", |api| api.count("Event") == 21).await;
}

#[tokio::test]
async fn h9_what_holds_no_more_is_not_written() {
    let api = Api::new();
    let server = Server::on_loopback(&api).unwrap();
    let slow = EventPace { cluster_spread: NEVER, ..quick() };
    let node = node("node-a", &server, slow).await;
    node.note(conflict("shop/web", Witness::Cluster));
    node.withdraw(ObjectRef::new("Service", "shop/web"), "FrontendConflict");
    node.note(started("node-a"));
    written(&node, 1).await;
    assert_eq!((api.count("Event"), node.dropped()), (1, 0));
}

#[tokio::test]
async fn h9_a_node_has_a_budget_and_what_is_beyond_it_waits() {
    let api = Api::new();
    let server = Server::on_loopback(&api).unwrap();
    let poor = EventPace { burst: 3, refill: NEVER, ..quick() };
    let node = node("node-a", &server, poor).await;
    for n in 0..10 {
        node.note(conflict(&format!("shop/s-{n}"), Witness::Node));
    }
    written(&node, 3).await;
    // A queue that is taken from: the writer is not stuck in the wait for its budget.
    for n in 0..1000 {
        node.note(conflict(&format!("shop/more-{n}"), Witness::Node));
        tokio::task::yield_now().await;
    }
    api_until(&api, "dropped", |_| node.dropped() > 0).await;
    assert_eq!((api.count("Event"), asked(&api, Verb::Create, "Event").len()), (3, 3));
}

#[tokio::test]
async fn h9_a_refusal_is_no_storm() {
    let api = Api::new();
    let server = Server::on_loopback(&api).unwrap();
    api.refuse("Event", Some(403)).unwrap();
    let node = node("node-a", &server, quick()).await;
    node.note(conflict("shop/web", Witness::Cluster));
    api_until(&api, "refused", |_| node.dropped() == 1).await;
    assert_eq!(asked(&api, Verb::Create, "Event").len(), 1, "asked once");
    api.refuse("Event", None).unwrap();
    node.note(conflict("shop/web", Witness::Cluster));
    written(&node, 1).await;
}

#[tokio::test]
async fn h9_what_may_heal_is_tried_again_a_few_times() {
    for misbehaviour in [
        Misbehaviour::Close,
        Misbehaviour::Stall,
        Misbehaviour::Status(503, None),
        Misbehaviour::Status(429, Some(Duration::from_secs(0))),
    ] {
        let api = Api::new();
        let server = Server::on_loopback(&api).unwrap();
        api.misbehave(Some(misbehaviour));
        let node = node("node-a", &server, quick()).await;
        node.note(conflict("shop/web", Witness::Cluster));
        api_until(&api, "tried again", |api| asked(api, Verb::Create, "Event").len() > 1).await;
        api_until(&api, "given up", |_| node.dropped() == 1).await;
        let tried = asked(&api, Verb::Create, "Event").len();
        assert!(tried <= 4, "{misbehaviour:?}: {tried} times");
        api.misbehave(None);
        node.note(conflict("shop/web", Witness::Cluster));
        written(&node, 1).await;
    }
}

/// Events live for an hour.
#[tokio::test]
async fn h9_a_series_that_expired_begins_anew() {
    let api = Api::new();
    let server = Server::on_loopback(&api).unwrap();
    let node = node("node-a", &server, quick()).await;
    node.note(conflict("shop/web", Witness::Cluster));
    written(&node, 1).await;
    let name = events(&server).await[0]["metadata"]["name"].as_str().unwrap().to_owned();
    api.delete("Event", "shop", &name).unwrap();
    node.note(conflict("shop/web", Witness::Cluster));
    written(&node, 2).await;
    assert_eq!(events(&server).await[0]["metadata"]["name"], name.as_str());
}

#[tokio::test]
async fn h9_nobody_waits_for_an_api_server_that_is_not_there() {
    let (recorder, _writer) = recorder("node-a", quick());
    for n in 0..1000 {
        recorder.note(conflict(&format!("shop/s-{n}"), Witness::Node));
    }
    assert_eq!(recorder.dropped(), 1000 - 256, "the queue is bounded, and drops are counted");
}
