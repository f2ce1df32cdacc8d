//! Which version of a Service the agent says is programmed.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]
use sheave_agent::sync::{Standing, Syncer};
use sheave_core::{
    Endpoint, EndpointSlice, Event, Family, Kind, Object, ObjectName, Port, Protocol, ProxyConfig, Service,
    ServiceName, ServicePort, SliceName, SlicePort, Stamp,
};
use sheave_dataplane::Fake;
use std::collections::BTreeSet;

fn name(name: &str) -> ServiceName {
    ServiceName::new("shop", name)
}

/// A Service as it is at a version.
fn service(service: &str, vip: u8, version: u64) -> Vec<Event> {
    let port =
        ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: Port::new(80).unwrap(), node_port: None };
    let object =
        Service { cluster_ips: vec![[10, 96, 0, vip].into()], ports: vec![port], ..Service::new(name(service)) };
    let seen = Event::Seen { object: ObjectName::Service(name(service)), stamp: stamp(version) };
    vec![Event::Applied(Object::Service(object)), seen]
}

fn stamp(version: u64) -> Stamp {
    Stamp { version, triggered_unix_ns: None }
}

fn slice_name() -> SliceName {
    SliceName::new("shop", "web-1")
}

fn slice(service: &str, endpoints: u8, version: u64) -> Vec<Event> {
    let object = EndpointSlice {
        name: slice_name(),
        service: name(service),
        family: Family::V4,
        ports: vec![SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: Port::new(8080).unwrap() }],
        endpoints: (1..=endpoints).map(|n| Endpoint::ready([10, 244, 0, n].into())).collect(),
    };
    let seen = Event::Seen { object: ObjectName::EndpointSlice(slice_name()), stamp: stamp(version) };
    vec![Event::Applied(Object::EndpointSlice(object)), seen]
}

fn nothing() -> Vec<Event> {
    let listed = |kind| Event::Listed { kind, objects: Vec::new(), kept: Vec::new() };
    Kind::ALL.map(listed).into_iter().chain([Event::LocalAddresses(BTreeSet::new())]).collect()
}

/// A syncer that has carried out an empty cluster; then steps of these numbers fail.
fn syncer(failing: &[u64]) -> Syncer<Fake> {
    let mut syncer = Syncer::new("node-a", ProxyConfig::default(), Fake::failing_at(failing.iter().copied()));
    syncer.observe(nothing());
    assert_eq!(syncer.standing(&name("web")).programmed, None, "nothing was carried out yet");
    assert!(syncer.sync().failed.is_empty());
    syncer
}

/// Programmed and observed versions of the Service and of its slice, and how many parts are pending.
fn told(standing: &Standing) -> (Option<[Option<u64>; 2]>, [Option<u64>; 2], usize) {
    let of = |versions: &sheave_core::index::Versions| [versions.service, versions.slices.get(&slice_name()).copied()];
    (standing.programmed.as_ref().map(of), of(&standing.observed), standing.pending.len())
}

/// The steps a plan takes until the first version of a Service with a slice is programmed.
fn steps_of_first_version() -> u64 {
    let mut syncer = syncer(&[]);
    syncer.observe([service("web", 1, 5), slice("web", 1, 6)].concat());
    syncer.sync().writes.ops
}

#[test]
fn a_service_is_programmed_at_the_version_that_was_seen_unless_something_of_it_is_pending() {
    let first = steps_of_first_version();
    for (case, failing, then, want) in [
        ("all is written", vec![], slice("web", 2, 9), (Some([Some(5), Some(9)]), [Some(5), Some(9)], 0)),
        ("I3: the change fails", vec![first], slice("web", 2, 9), (Some([Some(5), Some(6)]), [Some(5), Some(9)], 1)),
        (
            "W13: only the version is new",
            vec![first],
            slice("web", 1, 9),
            (Some([Some(5), Some(9)]), [Some(5), Some(9)], 0),
        ),
        (
            "two changes, the first of which fails: what was programmed is older than both",
            vec![first, first + 1],
            [slice("web", 2, 9), slice("web", 3, 10)].concat(),
            (Some([Some(5), Some(6)]), [Some(5), Some(10)], 1),
        ),
        (
            "the Service goes, and that fails",
            vec![first],
            vec![Event::Deleted(ObjectName::Service(name("web")))],
            (Some([Some(5), Some(6)]), [None, Some(6)], 1),
        ),
        ("the slice goes to another Service", vec![], slice("api", 1, 9), (Some([Some(5), None]), [Some(5), None], 0)),
        (
            "another Service changes, and that fails",
            vec![first],
            service("api", 2, 9),
            (Some([Some(5), Some(6)]), [Some(5), Some(6)], 0),
        ),
    ] {
        let mut syncer = syncer(&failing);
        syncer.observe([service("web", 1, 5), slice("web", 1, 6)].concat());
        assert!(syncer.sync().failed.is_empty(), "{case}");
        // One batch at a time, as a source sends them.
        for batch in then.chunks(2) {
            syncer.observe(batch.to_vec());
            let _failed = syncer.sync();
        }
        assert_eq!(told(&syncer.standing(&name("web"))), want, "{case}");
        while !syncer.sync().failed.is_empty() {}
        let healed = syncer.standing(&name("web"));
        assert_eq!((healed.programmed, healed.pending.len()), (Some(healed.observed), 0), "I3: {case}");
        assert_eq!(syncer.behind().len(), 0, "nothing is noted of what is programmed: {case}");
    }
}

#[test]
fn a_service_that_was_never_carried_out_has_no_programmed_version() {
    let mut syncer = Syncer::new("node-a", ProxyConfig::default(), Fake::failing_at([0, 1, 2]));
    syncer.observe([service("web", 1, 5), nothing()].concat());
    syncer.observe([service("web", 1, 5), slice("web", 1, 6)].concat());
    assert!(!syncer.sync().failed.is_empty());
    assert_eq!(told(&syncer.standing(&name("web"))), (None, [Some(5), Some(6)], 1));
    assert_eq!(syncer.behind().collect::<Vec<_>>(), [&name("web")]);
    while !syncer.sync().failed.is_empty() {}
    assert_eq!(told(&syncer.standing(&name("web"))), (Some([Some(5), Some(6)]), [Some(5), Some(6)], 0));
}

/// I7
#[test]
fn a_list_that_says_what_is_held_notes_nothing() {
    let mut syncer = syncer(&[]);
    let many = |version| (0..200).flat_map(|n| service(&format!("s{n}"), n, version)).collect::<Vec<_>>();
    syncer.observe(many(5));
    let _written = syncer.sync();
    let (objects, seen): (Vec<_>, Vec<_>) = many(9).into_iter().partition(|event| matches!(event, Event::Applied(_)));
    let objects =
        objects.into_iter().filter_map(|event| if let Event::Applied(object) = event { Some(object) } else { None });
    syncer.observe(vec![Event::Listed { kind: Kind::Service, objects: objects.collect(), kept: Vec::new() }]);
    assert_eq!(syncer.behind().len(), 0);
    syncer.observe(seen);
    assert_eq!(syncer.sync().writes.ops, 0, "I2");
    assert_eq!(syncer.standing(&name("s7")).programmed.unwrap().service, Some(9));
}
