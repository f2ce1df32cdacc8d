//! What the index holds, and what it says has changed.
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
use sheave_core::{
    Diagnostic, Endpoint, EndpointSlice, Event, Family, Index, Kind, Node, Object, ObjectName, ObjectRef, Port,
    Problem, Protocol, Service, ServiceName, ServicePort, SliceName, SlicePort, Stamp,
};
use std::collections::BTreeSet;

fn name(name: &str) -> ServiceName {
    ServiceName::new("shop", name)
}

fn service(service: &str, port: u16) -> Object {
    let port =
        ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: Port::new(port).unwrap(), node_port: None };
    Object::Service(Service {
        cluster_ips: vec!["10.96.0.1".parse().unwrap()],
        ports: vec![port],
        ..Service::new(name(service))
    })
}

fn slice(slice: &str, service: &str, endpoints: u8) -> Object {
    let endpoint = |n: u8| Endpoint::ready([10, 244, 0, n].into());
    Object::EndpointSlice(EndpointSlice {
        name: SliceName::new("shop", slice),
        service: name(service),
        family: Family::V4,
        ports: vec![SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: Port::new(80).unwrap() }],
        endpoints: (0..endpoints).map(endpoint).collect(),
    })
}

fn node(node: &str) -> Object {
    Object::Node(Node { name: node.into(), zone: None, addresses: Vec::new(), pod_cidrs: Vec::new(), leaving: None })
}

fn slice_name(slice: &str) -> ObjectName {
    ObjectName::EndpointSlice(SliceName::new("shop", slice))
}

fn listed(kind: Kind, objects: Vec<Object>) -> Event {
    Event::Listed { kind, objects, kept: Vec::new() }
}

fn index(events: impl IntoIterator<Item = Event>) -> Index {
    let mut index = Index::new("node-a");
    events.into_iter().for_each(|event| index.apply(event));
    index
}

/// Applies events to an index that holds `given`; which Services does it say have changed?
fn changed(given: Vec<Object>, events: Vec<Event>) -> Vec<String> {
    let mut index = index(given.into_iter().map(Event::Applied));
    index.take_changed();
    events.into_iter().for_each(|event| index.apply(event));
    index.take_changed().services.into_iter().map(|name| name.name.to_string()).collect()
}

#[test]
fn it_is_complete_only_after_every_kind_was_listed() {
    for missing in Kind::ALL {
        let mut index = index(Kind::ALL.into_iter().filter(|kind| *kind != missing).map(|kind| listed(kind, vec![])));
        index.apply(Event::Applied(service("web", 80)));
        index.apply(Event::Applied(slice("web-1", "web", 1)));
        index.apply(Event::Applied(node("node-a")));
        index.apply(Event::LocalAddresses(BTreeSet::new()));
        assert!(!index.complete(), "W12: {} was not listed", missing.as_str());
        assert_eq!(index.missing().collect::<Vec<_>>(), [missing]);
        index.apply(listed(missing, vec![]));
        assert!(index.complete(), "W12: all were");
    }
}

#[test]
fn it_is_not_complete_before_the_addresses_of_the_node_are_known() {
    let mut index = index(Kind::ALL.into_iter().map(|kind| listed(kind, vec![])));
    assert!(!index.complete(), "W12, I4");
    assert_eq!(index.missing().count(), 0);
    index.apply(Event::LocalAddresses(BTreeSet::new()));
    assert!(index.complete(), "W12: none is a report, too");
}

#[test]
fn only_a_difference_is_a_change() {
    let web = || vec![service("web", 80), slice("web-1", "web", 1)];
    let applied = |object| vec![Event::Applied(object)];
    for (case, given, events, want) in [
        ("W13 an equal Service", web(), applied(service("web", 80)), vec![]),
        ("W13 another port", web(), applied(service("web", 81)), vec!["web"]),
        ("W13 an equal slice", web(), applied(slice("web-1", "web", 1)), vec![]),
        ("W13 another endpoint", web(), applied(slice("web-1", "web", 2)), vec!["web"]),
        ("W13 an equal list", web(), vec![listed(Kind::Service, vec![service("web", 80)])], vec![]),
        ("a Service left out of the list", web(), vec![listed(Kind::Service, vec![])], vec!["web"]),
        ("a slice left out of the list", web(), vec![listed(Kind::EndpointSlice, vec![])], vec!["web"]),
        ("a list of another kind", web(), vec![listed(Kind::ServiceCidr, vec![])], vec![]),
        ("a slice that moves", web(), applied(slice("web-1", "api", 1)), vec!["api", "web"]),
        ("a slice gone", web(), vec![Event::Deleted(slice_name("web-1"))], vec!["web"]),
        ("one gone that was not there", web(), vec![Event::Deleted(slice_name("web-2"))], vec![]),
        ("a Service gone", web(), vec![Event::Deleted(ObjectName::Service(name("web")))], vec!["web"]),
        ("a Service gone that was not there", web(), vec![Event::Deleted(ObjectName::Service(name("api")))], vec![]),
        ("this node", web(), applied(node("node-a")), vec![]),
    ] {
        assert_eq!(changed(given, events), want, "case: {case}");
    }
}

#[test]
fn what_a_list_cannot_read_stays() {
    let given = [service("web", 80), slice("web-1", "web", 1), slice("web-2", "web", 2)];
    let mut index = index(given.into_iter().map(Event::Applied));
    index.apply(Event::Listed { kind: Kind::EndpointSlice, objects: vec![], kept: vec![slice_name("web-2")] });
    let held: Vec<_> = index.slices(&name("web")).map(|slice| slice.name.name.to_string()).collect();
    assert_eq!(held, ["web-2"], "I4: it exists and could not be read");
}

#[test]
fn nothing_is_left_of_what_was_deleted() {
    let mut index = index([slice("web-1", "web", 1), service("web", 80), slice("web-2", "web", 2)].map(Event::Applied));
    assert_eq!(index.names(), BTreeSet::from([name("web")]));
    index.apply(Event::Deleted(ObjectName::Service(name("web"))));
    index.apply(listed(Kind::EndpointSlice, vec![]));
    assert_eq!(
        (index.names(), index.service(&name("web")), index.slices(&name("web")).count()),
        (BTreeSet::new(), None, 0)
    );
}

#[test]
fn only_this_node_is_held() {
    let mut index = index([Event::Applied(node("node-b")), listed(Kind::Node, vec![node("node-a"), node("node-c")])]);
    assert_eq!(index.node().map(|node| &*node.name), Some("node-a"));
    index.apply(Event::Deleted(ObjectName::Node("node-b".into())));
    assert!(index.node().is_some());
    index.apply(listed(Kind::Node, vec![]));
    assert!(index.node().is_none());
}

#[test]
fn what_was_said_of_an_object_is_replaced_by_what_is_said_next() {
    let object = ObjectRef::new("Service", "shop/web");
    let diagnosed = |messages: &[&str]| Event::Diagnosed {
        object: object.clone(),
        diagnostics: messages.iter().map(|message| diagnostic(&object, message)).collect(),
    };
    let mut index = Index::new("node-a");
    for (messages, want) in [(vec!["one", "two"], vec!["one", "two"]), (vec!["three"], vec!["three"]), (vec![], vec![])]
    {
        index.apply(diagnosed(&messages));
        assert_eq!(index.diagnostics().map(|d| d.message.as_str()).collect::<Vec<_>>(), want);
    }
    assert_eq!(format!("{index:?}"), format!("{:?}", Index::new("node-a")), "an object that is cured leaves nothing");
}

fn diagnostic(object: &ObjectRef, message: &str) -> Diagnostic {
    let (field, message) = (String::new(), message.to_owned());
    Diagnostic { object: object.clone(), field, problem: Problem::Invalid, message, origin: None }
}

fn seen(object: ObjectName, version: u64) -> Event {
    Event::Seen { object, stamp: Stamp { version, triggered_unix_ns: None } }
}

fn service_name(service: &str) -> ObjectName {
    ObjectName::Service(name(service))
}

/// The versions held of `web`: its Service's, then each slice with its own.
fn versions(events: Vec<Event>) -> (Option<u64>, Vec<(String, u64)>) {
    let versions = index(events).versions(&name("web"));
    (versions.service, versions.slices.into_iter().map(|(slice, version)| (slice.name.to_string(), version)).collect())
}

#[test]
fn the_version_of_an_object_is_known_while_the_object_is_held_as_it_was_seen() {
    let applied = Event::Applied;
    let web = |port| applied(service("web", port));
    let known =
        || vec![web(80), seen(service_name("web"), 7), applied(slice("web-1", "web", 1)), seen(slice_name("web-1"), 8)];
    let one = |version| vec![("web-1".to_owned(), version)];
    for (case, more, want) in [
        ("seen", vec![], (Some(7), one(8))),
        ("W13: only the version is new", vec![web(80), seen(service_name("web"), 9)], (Some(9), one(8))),
        ("W13: seen again as before", vec![web(80)], (Some(7), one(8))),
        ("changed, without a version", vec![web(81)], (Some(0), one(8))),
        ("another Service", vec![applied(service("api", 80)), seen(service_name("api"), 9)], (Some(7), one(8))),
        ("the Service is gone", vec![Event::Deleted(service_name("web"))], (None, one(8))),
        ("the slice is gone", vec![Event::Deleted(slice_name("web-1"))], (Some(7), vec![])),
        (
            "the slice is another's",
            vec![applied(slice("web-1", "api", 1)), seen(slice_name("web-1"), 9)],
            (Some(7), vec![]),
        ),
        (
            "nothing is held",
            vec![seen(slice_name("web-2"), 9), seen(ObjectName::Node("node-a".into()), 9)],
            (Some(7), one(8)),
        ),
        (
            "listed anew",
            vec![listed(Kind::Service, vec![service("web", 80)]), seen(service_name("web"), 12)],
            (Some(12), one(8)),
        ),
    ] {
        assert_eq!(versions([known(), more].concat()), want, "{case}");
    }
}

#[test]
fn a_version_is_no_change_and_nothing_is_left_of_it_when_the_objects_are_gone() {
    let given = || vec![service("web", 80), slice("web-1", "web", 1)];
    let stamps = || vec![seen(service_name("web"), 7), seen(slice_name("web-1"), 8)];
    assert_eq!(changed(given(), stamps()), [""; 0], "W13");
    let gone = || vec![Event::Deleted(service_name("web")), Event::Deleted(slice_name("web-1"))];
    let applied = |objects: Vec<Object>| objects.into_iter().map(Event::Applied).collect::<Vec<_>>();
    let left = index([applied(given()), stamps(), gone()].concat());
    assert_eq!(format!("{left:?}"), format!("{:?}", index([applied(given()), gone()].concat())));
    assert_eq!(left.versions(&name("web")), sheave_core::index::Versions::default());
}

#[test]
fn objects_are_counted_by_kind() {
    let mut index = index(
        [service("web", 80), slice("web-1", "web", 1), slice("api-1", "api", 1), node("node-a")].map(Event::Applied),
    );
    let counts = |index: &Index| Kind::ALL.map(|kind| index.count(kind));
    assert_eq!(counts(&index), [1, 2, 1, 0]);
    index.apply(Event::Applied(service("web", 81)));
    assert_eq!(counts(&index), [1, 2, 1, 0], "one that changed is no new one");
    index.apply(Event::Deleted(service_name("web")));
    index.apply(Event::Deleted(service_name("web")));
    index.apply(listed(Kind::EndpointSlice, vec![slice("web-2", "web", 1)]));
    assert_eq!(counts(&index), [0, 1, 1, 0]);
}
