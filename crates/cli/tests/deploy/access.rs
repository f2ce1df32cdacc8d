//! The ClusterRole against what the agent really asks of an API server.
use crate::deploy;
use crate::kustomize::render;
use serde_json::Value;
use sheave_apistub::{Api, Request, Server, Verb};
use sheave_core::ObjectRef;
use sheave_kube_source::events::{EventPace, Note, Severity, Witness, recorder};
use sheave_kube_source::{KubeConfig, Pace, Source};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// API group, resource, verb.
type Access = (String, String, String);

/// What the role grants. Names of objects are none of it: a grant for named objects alone would be missing here.
fn granted() -> BTreeSet<Access> {
    let base = render(&deploy().join("base"));
    let strings = |list: &Value| {
        list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut granted = BTreeSet::new();
    for rule in base.only("ClusterRole")["rules"].as_array().unwrap() {
        assert!(rule["resourceNames"].is_null(), "{rule}");
        for group in strings(&rule["apiGroups"]) {
            for resource in strings(&rule["resources"]) {
                granted.extend(strings(&rule["verbs"]).into_iter().map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    granted
}

/// As the API server names a request when it asks whether it is allowed (`RequestInfoFactory`).
fn access(request: &Request) -> Option<Access> {
    let path = request.uri.split('?').next()?;
    let (group, rest) = match path.trim_start_matches('/').split('/').collect::<Vec<_>>()[..] {
        ["api", _version, ref rest @ ..] => (String::new(), rest.to_vec()),
        ["apis", group, _version, ref rest @ ..] => (group.to_owned(), rest.to_vec()),
        _ => return None,
    };
    let resource = match rest[..] {
        ["namespaces", _, resource, ..] | [resource, ..] => resource.to_owned(),
        [] => return None,
    };
    let verb = match request.verb {
        Verb::List => "list",
        Verb::Watch | Verb::WatchList => "watch",
        Verb::Get => "get",
        Verb::Create => "create",
        Verb::Update => "patch",
        Verb::Delete => "delete",
        Verb::Other => return None,
    };
    Some((group, resource, verb.to_owned()))
}

/// Both ways to list: as a stream, and page by page where the server does not stream.
async fn asked_by_the_source() -> BTreeSet<Access> {
    let mut asked = BTreeSet::new();
    for streaming in [true, false] {
        let api = Api::new();
        api.set_streaming_lists(streaming);
        let server = Server::on_loopback(&api).unwrap();
        let client = KubeConfig::url(server.url()).connect().await.unwrap();
        let (sender, mut events) = tokio::sync::mpsc::channel(64);
        let source = sheave_kube_source::spawn(Source::Kube(client, Pace::default()), "node-a", sender);
        let deadline = Instant::now() + Duration::from_secs(30);
        while api.watches() < 4 {
            assert!(Instant::now() < deadline, "four kinds are watched");
            let _unused = tokio::time::timeout(Duration::from_millis(20), events.recv()).await;
        }
        asked.extend(api.requests().iter().filter_map(access));
        source.abort();
    }
    asked
}

/// An Event, and the same one again: it is made once, and then counted on (H9).
async fn asked_by_events() -> BTreeSet<Access> {
    let api = Api::new();
    let server = Server::on_loopback(&api).unwrap();
    let pace = EventPace {
        node_spread: Duration::ZERO,
        repeat_min: Duration::ZERO,
        refill: Duration::from_millis(1),
        ..EventPace::default()
    };
    let (recorder, writer) = recorder("node-a", pace);
    let writer = tokio::spawn(writer.run(KubeConfig::url(server.url()).connect().await.unwrap()));
    let note = Note {
        regarding: ObjectRef::new("Node", "node-a"),
        reason: "Starting",
        action: "StartSheave",
        severity: Severity::Normal,
        message: String::new(),
        witness: Witness::Node,
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    for written in 1..=2 {
        recorder.note(note.clone());
        while recorder.written() < written {
            assert!(Instant::now() < deadline, "{written} requests are written");
            tokio::task::yield_now().await;
        }
    }
    writer.abort();
    api.requests().iter().filter_map(access).collect()
}

/// Least privilege: a right more, or one less, fails.
#[tokio::test]
async fn the_role_grants_what_the_agent_asks_for_and_no_more() {
    let asked: BTreeSet<_> = asked_by_the_source().await.into_iter().chain(asked_by_events().await).collect();
    assert_eq!(granted(), asked);
}
