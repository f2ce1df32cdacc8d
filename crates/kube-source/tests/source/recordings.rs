//! What a real API server sent, in both encodings, and what a real kube-proxy asked for.
use crate::follower::Follower;
use crate::replay::{Asked, Replay, Reply};
use sheave_core::{Event, Kind, Object, ObjectName, ServiceName, SliceName, Stamp};
use std::collections::BTreeMap;

/// The recordings in the order in which they answer: the node and the ServiceCIDRs were recorded as lists in JSON, so streaming
/// lists of them are refused.
fn in_json(asked: &Asked) -> Reply {
    match asked.resource.as_str() {
        "endpointslices" if asked.streams() => Reply::recorded("stream-list"),
        "services" if !asked.watches() => Reply::recorded("services-list"),
        _ => lists(asked),
    }
}

fn in_protobuf(asked: &Asked) -> Reply {
    match asked.resource.as_str() {
        "services" if asked.streams() => Reply::recorded("stream-list-protobuf"),
        "endpointslices" if !asked.watches() => Reply::recorded("slices-list-protobuf"),
        "endpointslices" if !asked.streams() => Reply::recorded("watch-protobuf"),
        _ => lists(asked),
    }
}

fn lists(asked: &Asked) -> Reply {
    match (asked.resource.as_str(), asked.watches()) {
        (_, true) if asked.streams() => Reply::recorded("continue-garbage"),
        ("nodes", false) => Reply::recorded("node-list"),
        ("servicecidrs", false) => Reply::recorded("servicecidrs-list"),
        _ => Reply::new(200, "application/json", "").open(),
    }
}

fn slice(name: &str) -> ObjectName {
    ObjectName::EndpointSlice(SliceName { namespace: "shop".into(), name: name.into() })
}

/// What was reported of slices.
fn of_slices(follower: &Follower) -> Vec<Event> {
    let of_slices = |event: &&Event| match event {
        Event::Applied(object) => object.name().kind() == Kind::EndpointSlice,
        Event::Deleted(name) => name.kind() == Kind::EndpointSlice,
        Event::Listed { kind, .. } => *kind == Kind::EndpointSlice,
        _ => false,
    };
    follower.log.iter().filter(of_slices).cloned().collect()
}

async fn followed(reply: fn(&Asked) -> Reply) -> (Replay, Follower) {
    let server = Replay::new(reply).await;
    let mut follower = Follower::of_url(&server.url).await;
    follower
        .until("the last recorded change", |f| f.is_complete() && !f.objects.contains_key(&slice("edge-xyz")))
        .await;
    (server, follower)
}

#[tokio::test]
async fn recorded_lists_and_watches_mean_the_same_in_json_and_in_protobuf() {
    let (_json, json) = followed(in_json).await;
    let (_protobuf, protobuf) = followed(in_protobuf).await;
    assert_eq!(json.objects, protobuf.objects);
    assert_eq!(json.stamps, protobuf.stamps);
    assert_eq!(of_slices(&json), of_slices(&protobuf), "event by event");
    assert_eq!(json.diagnostics(), [""; 0]);
    assert_eq!(protobuf.diagnostics(), [""; 0]);
    let want = [
        "Service default/kubernetes",
        "Service shop/edge",
        "Service shop/web",
        "EndpointSlice default/kubernetes",
        "EndpointSlice shop/web-abc12",
        "Node node-a",
        "ServiceCIDR kubernetes",
    ];
    assert_eq!(
        protobuf.names(),
        want,
        "W1, W2, W3: the rest is not for us, though protobuf was recorded without selectors"
    );
    let Object::Service(edge) = &protobuf.objects[&ObjectName::Service(ServiceName::new("shop", "edge"))] else {
        panic!("a Service")
    };
    assert_eq!((edge.created_unix_s, edge.affinity.map(|a| a.timeout_s)), (1_795_297_220, Some(10_800)), "E10, X1");
    assert_eq!(edge.load_balancer_ips, ["203.0.113.80".parse::<std::net::IpAddr>().unwrap()], "A7, A8");
    assert_eq!(edge.health_check_node_port.map(sheave_core::Port::get), Some(32_275), "H3");
    let Object::EndpointSlice(web) = &protobuf.objects[&slice("web-abc12")] else { panic!("a slice") };
    let hints = web.endpoints[0].hints.as_deref().unwrap();
    assert_eq!((&*hints.nodes[0], &*hints.zones[0]), ("node-a", "z1"), "E7");
    let conditions = |endpoint: &sheave_core::Endpoint| (endpoint.ready, endpoint.serving, endpoint.terminating);
    let listed = of_slices(&protobuf).into_iter().find_map(|event| match event {
        Event::Listed { objects, .. } => objects.into_iter().find(|object| object.name() == slice("web-abc12")),
        _ => None,
    });
    let Some(Object::EndpointSlice(listed)) = listed else { panic!("a slice") };
    assert_eq!(
        listed.endpoints.iter().map(conditions).collect::<Vec<_>>(),
        [(true, true, false), (false, true, true)],
        "W7"
    );
}

/// H6 needs the trigger, waiting for a version needs the version.
#[tokio::test]
async fn h6_versions_and_triggers_are_reported_as_recorded() {
    for reply in [in_json as fn(&Asked) -> Reply, in_protobuf] {
        let (_server, follower) = followed(reply).await;
        let triggered_unix_ns = Some(1_795_297_200_123_456_789);
        assert_eq!(follower.stamps[&slice("web-abc12")], Stamp { version: 92, triggered_unix_ns });
        let kubernetes = ObjectName::Service(ServiceName::new("default", "kubernetes"));
        assert_eq!(follower.stamps[&kubernetes], Stamp { version: 57, triggered_unix_ns: None });
    }
}

#[tokio::test]
async fn a_watch_from_a_compacted_version_is_followed_by_a_list() {
    for (list, too_old) in [("slices-list", "watch-too-old"), ("slices-list-protobuf", "watch-too-old-protobuf")] {
        let server = Replay::new(move |asked| match asked.resource.as_str() {
            "endpointslices" if asked.streams() => Reply::recorded("continue-garbage"),
            "endpointslices" if asked.watches() => Reply::recorded(too_old),
            "endpointslices" => Reply::recorded(list),
            other => Reply::nothing(other),
        })
        .await;
        let mut follower = Follower::of_url(&server.url).await;
        follower.until("listed again", |f| f.listed.get(&Kind::EndpointSlice).is_some_and(|times| *times > 1)).await;
        assert!(follower.objects.contains_key(&slice("web-abc12")), "{too_old}");
        let deleted = |event: &Event| matches!(event, Event::Deleted(_));
        assert!(!follower.log.iter().any(deleted), "{too_old}: nothing was forgotten in between");
    }
}

#[tokio::test]
async fn recorded_pages_are_one_list_and_an_expired_one_begins_anew() {
    let server = Replay::new(|asked| {
        match (asked.resource.as_str(), asked.query.get("continue")) {
            ("endpointslices", _) if asked.streams() => Reply::recorded("continue-garbage"),
            ("endpointslices", _) if asked.watches() => Reply::new(200, "application/json", "").open(),
            ("endpointslices", None) => Reply::recorded("slices-page1"),
            // The second request of the first list finds its token expired.
            ("endpointslices", Some(_)) if asked.before == 1 => Reply::recorded("continue-expired"),
            ("endpointslices", Some(_)) => Reply::recorded("slices-page2"),
            (other, _) => Reply::nothing(other),
        }
    })
    .await;
    let mut follower = Follower::of_url(&server.url).await;
    follower.until("complete", Follower::is_complete).await;
    assert_eq!(follower.listed[&Kind::EndpointSlice], 1);
    let want = ["EndpointSlice default/kubernetes", "EndpointSlice shop/edge-xyz", "EndpointSlice shop/web-abc12"];
    assert_eq!(follower.names(), want, "both pages");
}

/// kube-proxy 1.36.2 at its start, path and query as recorded; `timeoutSeconds` is random, and `timeout` goes with it.
const KUBE_PROXY: [&str; 4] = [
    "nodes?allowWatchBookmarks=true&fieldSelector=metadata.name%3Dnode-a&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&timeout=8m33s&timeoutSeconds=513&watch=true",
    "endpointslices?allowWatchBookmarks=true&labelSelector=%21service.kubernetes.io%2Fheadless&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&timeoutSeconds=552&watch=true",
    "servicecidrs?allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&timeoutSeconds=496&watch=true",
    "services?allowWatchBookmarks=true&fieldSelector=spec.clusterIP%21%3DNone&labelSelector=%21service.kubernetes.io%2Fservice-proxy-name&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&timeoutSeconds=360&watch=true",
];

#[tokio::test]
async fn the_server_is_asked_what_kube_proxy_asks() {
    let server = Replay::new(|asked| Reply::nothing(&asked.resource)).await;
    let mut follower = Follower::of_url(&server.url).await;
    follower.until("complete", Follower::is_complete).await;
    let asked = server.asked();
    assert_eq!(asked.len(), KUBE_PROXY.len(), "one request for each kind: {asked:#?}");
    for recorded in KUBE_PROXY {
        let (resource, query) = recorded.split_once('?').unwrap();
        let mut want: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        want.retain(|name, _| !name.starts_with("timeout"));
        let mut got = asked.iter().find(|asked| asked.resource == resource).unwrap().clone();
        let seconds: u64 = got.query.remove("timeoutSeconds").unwrap().parse().unwrap();
        assert!((300..=600).contains(&seconds), "as long as the pace says, as random as kube-proxy: {seconds}");
        assert_eq!(got.query, want, "{resource}");
        assert_eq!(got.accept, "application/vnd.kubernetes.protobuf, application/json", "{resource}");
    }
}
