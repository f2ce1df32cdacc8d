//! What is left after a failure or a refusal, and how the next plan goes on from there (I1, I3, I7).
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
use ipnet::IpNet;
use sheave_abi::{NODE_ADDRS_MAX, RANGES_MAX, SetWord};
use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::contents::{Contents, Fault as Contradiction};
use sheave_bpf::image::Image;
use sheave_bpf::limits::Limits;
use sheave_bpf::lower::lower;
use sheave_bpf::memory::{Fault, Found, MemoryMaps};
use sheave_bpf::ops::{BackendEntry, MapOp, ServiceEntry};
use sheave_core::plan::plan_all;
use sheave_core::{
    Backend, Change, Desired, Frontend, FrontendKind, NodeRules, Plan, Port, Realized, ServiceKey, Serving, Sources,
    TrafficPolicy,
};
use sheave_dataplane::{Applied, Dataplane};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const ENOMEM: i32 = 12;

fn key(name: &str) -> ServiceKey {
    format!("shop/{name}:http/TCP/IPv4").parse().unwrap()
}

fn frontend(n: u8) -> Frontend {
    Frontend { addr: [10, 96, 0, n].into(), port: Port::new(80).unwrap(), protocol: sheave_core::Protocol::Tcp }
}

fn backends(numbers: &[u8]) -> BTreeSet<Backend> {
    numbers.iter().map(|n| Backend { addr: [10, 244, 0, *n].into(), port: Port::new(8080).unwrap() }).collect()
}

fn serve(name: &str, vip: u8, pick: &[u8], keep: &[u8]) -> Change {
    let serving = Serving {
        frontends: [(frontend(vip), FrontendKind::ClusterIp)].into_iter().collect(),
        cluster: backends(pick).into_iter().collect(),
        keep: backends(keep).into_iter().collect(),
        ..Serving::default()
    };
    Change::Serve { key: key(name), serving: Arc::new(serving) }
}

fn retire(name: &str, numbers: &[u8]) -> Change {
    Change::Retire { key: key(name), backends: backends(numbers) }
}

fn dataplane(limits: Limits) -> BpfDataplane<MemoryMaps> {
    BpfDataplane::new(Image::default(), limits, MemoryMaps::new())
}

fn apply(dataplane: &mut BpfDataplane<MemoryMaps>, make: &[Change], break_: &[Change]) -> Applied {
    dataplane.apply(&Plan { make: make.to_vec(), break_: break_.to_vec() })
}

/// The operation of this number from now on fails, with some of its entries written.
fn fail(dataplane: &mut BpfDataplane<MemoryMaps>, op: u64, entries: usize) {
    let op = dataplane.maps().ops() + op;
    dataplane.maps_mut().fail(vec![Fault { op, errno: ENOMEM, entries }]);
}

/// The last bytes of what a frontend resolves to, in slot order.
fn resolved(dataplane: &BpfDataplane<MemoryMaps>, vip: u8) -> Vec<u8> {
    let found = dataplane.maps().resolve(&frontend(vip), TrafficPolicy::Cluster);
    let Found::Set { backends, .. } = found else { panic!("{found:?}") };
    backends.iter().map(|backend| backend.addr.to_string().rsplit('.').next().unwrap().parse().unwrap()).collect()
}

/// Maps that are found at start may hold what nobody would write.
#[test]
fn a_set_with_a_backend_of_another_service_is_not_settled() {
    let mut dataplane = dataplane(Limits::default());
    apply(&mut dataplane, &[serve("web", 1, &[1, 2], &[]), serve("other", 2, &[3], &[])], &[]);
    let mut image = dataplane.image().clone();
    let [service, other] = ["web", "other"].map(|name| image.id(&key(name)).unwrap());
    let (_, stranger) = image.members(other).into_iter().next().unwrap();
    let entry = image.entry(service);
    assert!(image.settled(&key("web")));
    image.commit(&MapOp::WriteSlots { first: entry.cluster.block + 2, ids: vec![stranger] });
    assert!(image.settled(&key("web")), "it is not in the set");
    let larger = SetWord { count: 3, ..entry.cluster };
    image.commit(&MapOp::WriteService { service, entry: ServiceEntry { cluster: larger, ..entry } });
    assert!(!image.settled(&key("web")));
    let ops = lower(&image, &Limits::default(), &serve("web", 1, &[1, 2], &[])).unwrap();
    assert_eq!(ops, [MapOp::WriteService { service, entry }], "I3");
}

#[test]
fn a_removal_that_stopped_between_slot_and_word_is_finished_by_the_word() {
    let mut dataplane = dataplane(Limits::default());
    apply(&mut dataplane, &[serve("web", 1, &[1, 2, 3, 4], &[])], &[]);
    fail(&mut dataplane, 1, 0);
    let without_2 = serve("web", 1, &[1, 3, 4], &[2]);
    assert_eq!(apply(&mut dataplane, std::slice::from_ref(&without_2), &[]).failed.len(), 1);
    assert_eq!(resolved(&dataplane, 1), [1, 4, 3, 4], "as a set it is the new one");
    assert!(!dataplane.settled(&key("web")), "E9: 4 is picked twice as often");
    let applied = apply(&mut dataplane, &[without_2], &[]);
    // The word; then 2's entry says that it is in no set.
    assert_eq!((applied.writes.ops, resolved(&dataplane, 1)), (2, vec![1, 4, 3]));
    assert!(dataplane.settled(&key("web")));
}

#[test]
fn an_entry_that_may_have_been_retired_is_written_again_before_it_is_used() {
    for (case, pick, keep) in [("picked again", &[1u8, 2, 3][..], &[][..]), ("kept again", &[1], &[2, 3])] {
        let mut dataplane = dataplane(Limits::default());
        apply(&mut dataplane, &[serve("web", 1, &[1], &[2, 3])], &[]);
        fail(&mut dataplane, 0, 1);
        assert_eq!(apply(&mut dataplane, &[], &[retire("web", &[2, 3])]).failed.len(), 1);
        let service = dataplane.image().id(&key("web")).unwrap();
        let gone = backends(&[2]).pop_first().unwrap();
        assert!(!dataplane.maps().serves(service, gone), "case {case}: it was retired before the failure");
        assert!(!dataplane.settled(&key("web")), "case {case}");
        let applied = apply(&mut dataplane, &[serve("web", 1, pick, keep)], &[]);
        assert!(applied.pending.is_empty(), "case {case}: {:?}", applied.failed);
        assert!(dataplane.maps().serves(service, gone), "case {case}");
        assert_eq!(resolved(&dataplane, 1), pick, "case {case}");
        assert!(dataplane.settled(&key("web")), "case {case}");
    }
}

#[test]
fn an_entry_that_may_have_been_written_is_retired_when_it_is_not_wanted_after_all() {
    let mut dataplane = dataplane(Limits::default());
    apply(&mut dataplane, &[serve("web", 1, &[1], &[])], &[]);
    fail(&mut dataplane, 0, 1);
    assert_eq!(apply(&mut dataplane, &[serve("web", 1, &[1, 2, 3], &[])], &[]).failed.len(), 1);
    let service = dataplane.image().id(&key("web")).unwrap();
    assert!(dataplane.maps().serves(service, backends(&[2]).pop_first().unwrap()), "it was written before the failure");
    assert_eq!(
        dataplane.serving(&key("web")).unwrap().keep,
        backends(&[2, 3]).into_iter().collect(),
        "so the next plan sees it"
    );
    assert!(apply(&mut dataplane, &[], &[retire("web", &[2, 3])]).pending.is_empty());
    assert!(!dataplane.maps().serves(service, backends(&[2]).pop_first().unwrap()), "L2");
}

#[test]
fn what_a_stop_before_the_last_write_left_over_is_found_and_goes() {
    let change = |restricted: bool, keep: &[u8]| {
        let Change::Serve { key, serving } = serve("web", 1, &[1], keep) else { unreachable!() };
        let sources = restricted.then(|| Arc::new(Sources { ranges: vec!["198.51.100.0/24".parse().unwrap()] }));
        Change::Serve { key, serving: Arc::new(Serving { sources, ..(*serving).clone() }) }
    };
    for (case, before, after) in [
        ("a source that does not count (R8)", change(true, &[]), change(false, &[])),
        ("an entry that says it is in the set (E10)", serve("web", 1, &[1, 2], &[]), change(false, &[2])),
    ] {
        let mut dataplane = dataplane(Limits::default());
        apply(&mut dataplane, &[before], &[]);
        fail(&mut dataplane, 1, 0);
        assert_eq!(apply(&mut dataplane, std::slice::from_ref(&after), &[]).failed.len(), 1, "case: {case}");
        assert!(!dataplane.settled(&key("web")), "case: {case}");
        let (image, strays) = Image::from_contents(dataplane.maps().contents());
        assert_eq!((image.settled(&key("web")), strays), (false, vec![]), "after a restart, case: {case}");
        assert_eq!(apply(&mut dataplane, &[after], &[]).writes.ops, 1, "case: {case}");
        assert!(dataplane.settled(&key("web")), "case: {case}");
    }
}

#[test]
fn nothing_is_broken_in_a_round_in_which_something_failed_to_be_made() {
    let mut dataplane = dataplane(Limits::default());
    apply(&mut dataplane, &[serve("web", 1, &[1], &[])], &[]);
    fail(&mut dataplane, 0, 0);
    let release = Change::Release { frontend: frontend(1), key: Some(key("web")) };
    let break_ = [release, Change::Forget { key: key("web") }];
    let applied = apply(&mut dataplane, &[serve("api", 2, &[2], &[])], &break_);
    assert_eq!((applied.failed.len(), applied.writes.ops), (1, 1));
    assert_eq!(applied.pending.keys, BTreeSet::from([key("api"), key("web")]));
    assert_eq!(applied.pending.frontends, BTreeSet::from([frontend(1), frontend(2)]));
    assert_eq!(resolved(&dataplane, 1), [1], "I1");
}

#[test]
fn what_is_still_used_does_not_go() {
    let mut dataplane = dataplane(Limits::default());
    apply(&mut dataplane, &[serve("web", 1, &[1, 2], &[])], &[]);
    for change in [retire("web", &[2]), Change::Forget { key: key("web") }] {
        assert!(lower(dataplane.image(), dataplane.limits(), &change).is_err(), "I1: {change:?}");
        let applied = apply(&mut dataplane, &[], std::slice::from_ref(&change));
        assert_eq!((applied.writes.ops, applied.refused.len(), applied.failed.len()), (0, 0, 0));
        assert_eq!(applied.pending.keys, BTreeSet::from([key("web")]), "it is planned again");
    }
}

#[test]
fn a_full_map_is_named_with_its_setting_and_the_others_are_served() {
    let narrow = Limits { frontends_max: 2, services_max: 2, slots_max: 8, backends_max: 4 };
    let wide = Limits::default();
    for (limits, change, want) in [
        (
            Limits { services_max: 2, ..wide },
            serve("c", 3, &[5], &[]),
            "map services is full (at most 2); raise `maps.servicesMax` and start the agent again; shop/c:http/TCP/IPv4 is not served until then",
        ),
        (
            Limits { frontends_max: 2, ..wide },
            serve("c", 3, &[5], &[]),
            "map frontends_v4 is full (at most 2); raise `maps.frontendsMax` and start the agent again; shop/c:http/TCP/IPv4 is not served until then",
        ),
        (
            Limits { slots_max: 8, ..wide },
            serve("c", 3, &[5], &[]),
            "map slots is full (at most 8); raise `maps.slotsMax` and start the agent again; shop/c:http/TCP/IPv4 is \
             not served until then",
        ),
        (
            Limits { backends_max: 4, ..wide },
            serve("b", 2, &[3, 4, 5], &[]),
            "map backends_v4 is full (at most 4); raise `maps.backendsMax` and start the agent again; \
             shop/b:http/TCP/IPv4 keeps the backends and frontends it has until then",
        ),
        (
            narrow,
            Change::ClaimVip { addr: [10, 96, 0, 1].into() },
            "map frontends_v4 is full (at most 2); raise `maps.frontendsMax` and start the agent again; ports that 10.96.0.1 does not have are not \
             rejected until then",
        ),
    ] {
        let mut dataplane = dataplane(limits);
        let make = [serve("a", 1, &[1, 2], &[]), serve("b", 2, &[3, 4], &[])];
        assert!(apply(&mut dataplane, &make, &[]).pending.is_empty());
        let before = dataplane.maps().contents();
        let applied = apply(&mut dataplane, &[change], &[]);
        assert_eq!(applied.refused.iter().map(|d| d.message.as_str()).collect::<Vec<_>>(), [want], "I7");
        assert_eq!(
            (applied.writes.ops, dataplane.maps().contents() == before),
            (0, true),
            "I7: nothing of it is written"
        );
        // The promise of the message: with a higher limit it fits.
        let (image, maps) = (dataplane.image().clone(), MemoryMaps::new());
        let maps = std::mem::replace(dataplane.maps_mut(), maps);
        let mut dataplane = BpfDataplane::new(image, wide, maps);
        assert!(apply(&mut dataplane, &[serve("c", 3, &[5], &[])], &[]).pending.is_empty());
        assert_eq!((resolved(&dataplane, 1), resolved(&dataplane, 3)), (vec![1, 2], vec![5]));
    }
}

/// To take everyone in, or to let in some of those it should, would both be silent.
#[test]
fn a_service_whose_sources_do_not_fit_is_refused_as_a_whole() {
    let Change::Serve { key, serving } = serve("web", 1, &[1], &[]) else { unreachable!() };
    let source = |n: u32| format!("{}/32", Ipv4Addr::from_bits(0x0b00_0000 + n)).parse().unwrap();
    let restricted = |count| {
        let sources = Some(Arc::new(Sources { ranges: (0..count).map(source).collect() }));
        Change::Serve { key: key.clone(), serving: Arc::new(Serving { sources, ..(*serving).clone() }) }
    };
    let mut dataplane = dataplane(Limits::default());
    let applied = apply(&mut dataplane, &[restricted(RANGES_MAX + 1)], &[]);
    let want = "map ranges_v4 is full (at most 1048576); that many is all it takes: have fewer loadBalancerSourceRanges \
                and ServiceCIDRs; shop/web:http/TCP/IPv4 is not served until then";
    assert_eq!(applied.refused.iter().map(|d| d.message.as_str()).collect::<Vec<_>>(), [want], "I7, R8");
    assert_eq!((applied.writes.ops, dataplane.serving(&key)), (0, None), "R8");
    assert!(apply(&mut dataplane, &[restricted(3)], &[]).pending.is_empty(), "one with fewer is served");
}

/// Neither does it wait for room elsewhere, nor does it stay open where its sources find none.
#[test]
fn a_held_service_is_restricted_whatever_else_of_it_is_refused() {
    let ranges = |count| -> Vec<_> {
        (0..count).map(|n| IpNet::from(IpAddr::from(Ipv4Addr::from_bits(0x0b00_0000 + n)))).collect()
    };
    let change = |pick: &[u8], count| {
        let Change::Serve { key, serving } = serve("web", 1, pick, &[]) else { unreachable!() };
        let sources = (count > 0).then(|| Arc::new(Sources { ranges: ranges(count) }));
        let frontends = [(frontend(1), FrontendKind::LoadBalancer)].into_iter().collect();
        Change::Serve { key, serving: Arc::new(Serving { frontends, sources, ..(*serving).clone() }) }
    };
    for (case, held, pick, wanted, lets_in) in [
        ("the backends find no room", 0, &[1, 2, 3][..], 2, Some(2)),
        ("those neither, and fewer may dial", 3, &[1, 2, 3], 1, Some(1)),
        ("and everyone may", 3, &[1, 2, 3], 0, None),
        ("its sources find none", 0, &[1], RANGES_MAX + 1, Some(0)),
        ("its new sources find none", 2, &[1], RANGES_MAX + 1, Some(2)),
    ] {
        let mut dataplane = dataplane(Limits { backends_max: 2, ..Limits::default() });
        assert!(apply(&mut dataplane, &[change(&[1], held)], &[]).pending.is_empty(), "case: {case}");
        let applied = apply(&mut dataplane, &[change(pick, wanted)], &[]);
        assert_eq!((applied.refused.len(), applied.failed.len()), (1, 0), "case: {case}");
        assert_eq!(applied.pending.keys, BTreeSet::from([key("web")]), "case: {case}");
        let restriction = dataplane.maps().sources(&frontend(1));
        assert_eq!(restriction, lets_in.map(|count| ranges(count).into_iter().collect()), "R8, case: {case}");
        assert_eq!(resolved(&dataplane, 1), [1], "case: {case}");
        let again = apply(&mut dataplane, &[change(pick, wanted)], &[]);
        assert_eq!((again.refused.len(), again.writes.ops), (1, 0), "I2, case: {case}");
    }
}

#[test]
fn rules_of_the_node_that_do_not_fit_are_refused_as_a_whole() {
    let own = |count| (0..count).map(|n| Ipv4Addr::from_bits(0xac10_0000 + n).into()).collect();
    let rules = |count| NodeRules { own: own(count), masquerade_all: true, ..NodeRules::default() };
    let mut dataplane = dataplane(Limits::default());
    let change = |count| [Change::Rules { rules: Arc::new(rules(count)) }];
    let applied = apply(&mut dataplane, &change(NODE_ADDRS_MAX + 1), &[]);
    let want = "map node_addrs_v4 is full (at most 16384); that many is all it takes: have fewer addresses on the node; \
                the node keeps the rules, addresses and ServiceCIDRs it has until then";
    assert_eq!(applied.refused.iter().map(|d| d.message.as_str()).collect::<Vec<_>>(), [want], "I7");
    assert_eq!(dataplane.rules(), Some(Arc::default()));
    assert!(apply(&mut dataplane, &change(NODE_ADDRS_MAX), &[]).pending.is_empty());
    assert_eq!(dataplane.rules(), Some(Arc::new(rules(NODE_ADDRS_MAX))));
}

/// It would be logged as gone and as new at every change of the others.
#[test]
fn what_is_said_of_a_full_map_does_not_move_with_what_others_use() {
    let limits = Limits { slots_max: 16, ..Limits::default() };
    let said = |others: &[Change]| {
        let mut dataplane = dataplane(limits);
        assert!(apply(&mut dataplane, others, &[]).pending.is_empty());
        apply(&mut dataplane, &[serve("c", 3, &[1, 2, 3, 4, 5, 6, 7, 8, 9], &[])], &[]).refused
    };
    let (one, two) = (serve("a", 1, &[1], &[]), serve("b", 2, &[1], &[]));
    let first = said(std::slice::from_ref(&one));
    assert_eq!(first.len(), 1, "I7");
    assert_eq!(said(&[one, two]), first);
}

#[test]
fn a_name_that_the_kernels_table_cannot_hold_is_refused_and_never_cut_off() {
    let mut dataplane = dataplane(Limits::default());
    let long = format!("{}:http/TCP/IPv4", ["n".repeat(120), "s".repeat(120)].join("/"));
    let change = |key: &str| Change::Serve { key: key.parse().unwrap(), serving: Arc::default() };
    let applied = apply(&mut dataplane, &[change(&long), serve("web", 1, &[1], &[])], &[]);
    let want = format!(
        "{long} has a name of 255 characters and the table of names takes 248; it is not served, give it a shorter one"
    );
    assert_eq!(applied.refused.iter().map(|d| d.message.as_str()).collect::<Vec<_>>(), [want.as_str()], "I7");
    assert_eq!((applied.failed.len(), resolved(&dataplane, 1)), (0, vec![1]), "the others are served");
    assert!(apply(&mut dataplane, &[change(&long[7..])], &[]).refused.is_empty(), "248 characters fit");
}

#[test]
fn contents_that_contradict_themselves_are_not_taken_over_and_led_away_from() {
    type Damage = fn(&mut Contents);
    let cases: [(&str, Damage, Contradiction); 7] = [
        ("a name is gone", |c| drop(c.names.pop_first()), Contradiction::Nameless),
        (
            "two ids, one name",
            |c| drop(c.names.insert(*c.names.last_key_value().unwrap().0, key("a"))),
            Contradiction::SameName,
        ),
        ("a slot names an absent backend", |c| assert!(c.backends_v4.pop_first().is_some()), Contradiction::BadSlot),
        (
            "a backend is another Service's",
            |c| {
                let other = *c.names.last_key_value().unwrap().0;
                let entry = c.backends_v4.first_entry().unwrap().into_mut();
                *entry = BackendEntry { service: other, ..*entry };
            },
            Contradiction::BadSlot,
        ),
        (
            "a set overlaps another one",
            |c| {
                let word = c.services.first_key_value().unwrap().1.cluster;
                c.services.last_entry().unwrap().get_mut().cluster = word;
            },
            Contradiction::BadBlock,
        ),
        (
            "a Service's two sets overlap",
            |c| {
                let entry = c.services.first_entry().unwrap().into_mut();
                entry.local = entry.cluster;
            },
            Contradiction::BadBlock,
        ),
        (
            "a slot of the Local set names an absent backend",
            |c| {
                let entry = c.services.first_entry().unwrap().into_mut();
                entry.local = SetWord { block: 1 << 10, count: 1 };
            },
            Contradiction::BadSlot,
        ),
    ];
    for (case, damage, fault) in cases {
        let mut dataplane = dataplane(Limits::default());
        apply(&mut dataplane, &[serve("a", 1, &[1, 2], &[]), serve("b", 2, &[3, 4], &[])], &[]);
        let mut contents = dataplane.maps().contents();
        damage(&mut contents);
        let (image, strays) = Image::from_contents(contents);
        assert_eq!(strays.iter().map(|stray| stray.fault).collect::<Vec<_>>(), [fault], "case: {case}");
        let led_nowhere = |f: &Frontend| image.holder(f).is_none();
        assert_eq!([frontend(1), frontend(2)].iter().filter(|f| led_nowhere(f)).count(), 1, "case: {case}");
        let plan = plan_all(&Desired::default(), &image);
        let released = plan.break_.iter().filter(|change| matches!(change, Change::Release { .. })).count();
        assert_eq!(released, 2, "a plan from scratch finds frontends that lead nowhere, case: {case}");
        let stray = strays[0].service;
        let ops = lower(&image, &Limits::default(), &serve("c", 3, &[7], &[])).unwrap();
        assert!(!format!("{ops:?}").contains(&format!("{stray:?}")), "its id is not handed out again, case: {case}");
    }
}
