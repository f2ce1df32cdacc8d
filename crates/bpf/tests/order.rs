//! The write protocol, operation by operation: what a step writes, in which order (I1).
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::image::Image;
use sheave_bpf::limits::Limits;
use sheave_bpf::lower::lower;
use sheave_bpf::memory::MemoryMaps;
use sheave_bpf::ops::{MapOp, ServiceEntry};
use sheave_core::{
    Affinity, Backend, Change, FlatSet, Frontend, FrontendKind, Plan, Port, Protocol, Serving, Sources, TrafficPolicy,
};
use sheave_dataplane::Dataplane as _;
use std::sync::Arc;

fn backends(numbers: &[u8]) -> FlatSet<Backend> {
    numbers.iter().map(|n| Backend { addr: [10, 244, 0, *n].into(), port: Port::new(8080).unwrap() }).collect()
}

/// Cluster 1 and 2; Local 1.
fn plain() -> Serving {
    let frontend = Frontend { addr: [10, 96, 0, 1].into(), port: Port::new(80).unwrap(), protocol: Protocol::Tcp };
    Serving {
        frontends: [(frontend, FrontendKind::LoadBalancer)].into_iter().collect(),
        cluster: backends(&[1, 2]),
        ..Serving::default()
    }
}

fn local() -> Serving {
    Serving { external: TrafficPolicy::Local, local: backends(&[1]), ..plain() }
}

fn restricted(ranges: &[&str]) -> Serving {
    let ranges = ranges.iter().map(|text| text.parse().unwrap()).collect();
    Serving { sources: Some(Arc::new(Sources { ranges })), ..plain() }
}

fn serve(serving: &Serving) -> Change {
    Change::Serve { key: "shop/web:http/TCP/IPv4".parse().unwrap(), serving: Arc::new(serving.clone()) }
}

/// An operation in a few words.
fn shown(op: &MapOp) -> String {
    match op {
        MapOp::WriteBackends { entries, .. } => {
            let entry = |entry: &sheave_bpf::ops::BackendEntry| {
                let sets = [(entry.in_cluster, " cluster"), (entry.in_local, " local")];
                let sets: String = sets.into_iter().filter(|(is_in, _)| *is_in).map(|(_, name)| name).collect();
                let number = entry.backend.addr.to_string().rsplit('.').next().unwrap().to_owned();
                format!("{number}{}", if entry.serving { sets } else { " absent".to_owned() })
            };
            format!("entries {}", entries.iter().map(|(_, e)| entry(e)).collect::<Vec<_>>().join(", "))
        }
        MapOp::WriteSlots { first, ids } => format!("{} slots from {first}", ids.len()),
        MapOp::WriteService { entry: ServiceEntry { cluster, local, external, affinity, restricted, .. }, .. } => {
            let (cluster, local) = (cluster.count, local.count);
            let affinity = if affinity.is_some() { ", affinity" } else { "" };
            let restricted = if *restricted { ", restricted" } else { "" };
            format!("service {cluster}+{local}, {external}{affinity}{restricted}")
        }
        MapOp::PutFrontend { kind, .. } => format!("frontend {}", kind.as_str()),
        MapOp::DeleteFrontend { .. } => "no frontend".to_owned(),
        MapOp::PutRange { range, .. } => format!("range {range}"),
        MapOp::DeleteRange { range, .. } => format!("no range {range}"),
        MapOp::ClearServiceFlows { .. } => "flows of the Service from zero".to_owned(),
        MapOp::ClearBackendFlows { ids, .. } => format!("flows of {} from zero", ids.len()),
        MapOp::PutName { .. } => "name".to_owned(),
        MapOp::DeleteName { .. } => "no name".to_owned(),
        other => format!("{other:?}"),
    }
}

fn written(held: Option<&Serving>, change: &Change) -> Vec<String> {
    let limits = Limits::default();
    let mut dataplane = BpfDataplane::new(Image::default(), limits, MemoryMaps::new());
    let make = held.map(serve).into_iter().collect();
    assert!(dataplane.apply(&Plan { make, break_: vec![] }).pending.is_empty());
    lower(dataplane.image(), &limits, change).unwrap().iter().map(shown).collect()
}

/// What it is, what is held, what is wanted, and what is written.
type Case<'a> = (&'a str, Option<Serving>, Serving, &'a [&'a str]);

#[track_caller]
fn check(cases: &[Case<'_>]) {
    for (case, held, wanted, want) in cases {
        assert_eq!(written(held.as_ref(), &serve(wanted)), *want, "case: {case}");
    }
}

#[test]
fn each_step_writes_what_is_led_to_before_what_leads_there() {
    let a = "198.51.100.0/24";
    let cluster = |numbers| Serving { cluster: backends(numbers), ..plain() };
    check(&[
        (
            "new",
            None,
            Serving { affinity: Some(Affinity { timeout_s: 10 }), ..local() },
            &[
                "name",
                "entries 1 cluster local, 2 cluster",
                "2 slots from 0",
                "1 slots from 4",
                "service 2+1, Local, affinity",
                "frontend LoadBalancer",
            ],
        ),
        (
            "restricted from the start",
            None,
            restricted(&[a]),
            &[
                "name",
                "entries 1 cluster, 2 cluster",
                "range 198.51.100.0/24",
                "2 slots from 0",
                "service 2+0, Cluster, restricted",
                "frontend LoadBalancer",
            ],
        ),
        ("equal", Some(plain()), plain(), &[]),
        (
            "one more",
            Some(plain()),
            cluster(&[1, 2, 3]),
            &["entries 3 cluster", "1 slots from 2", "service 3+0, Cluster"],
        ),
        (
            "one less: its entry is the next step's",
            Some(plain()),
            cluster(&[2]),
            &["1 slots from 0", "service 1+0, Cluster"],
        ),
        (
            "one less with affinity, which asks the entry (E10)",
            Some(Serving { affinity: Some(Affinity { timeout_s: 10 }), ..plain() }),
            Serving { affinity: Some(Affinity { timeout_s: 10 }), ..cluster(&[1]) },
            &["service 1+0, Cluster, affinity", "entries 2"],
        ),
        (
            "one drains",
            Some(plain()),
            Serving { keep: backends(&[2]), ..cluster(&[1]) },
            &["service 1+0, Cluster", "entries 2"],
        ),
    ]);
}

#[test]
fn terms_change_in_an_order_that_lets_no_reader_meet_an_empty_set_or_a_stranger() {
    let (a, b) = ("198.51.100.0/24", "203.0.113.0/24");
    check(&[
        (
            "the policy becomes Local: its set is there before",
            Some(plain()),
            local(),
            &["entries 1 cluster local", "1 slots from 4", "service 2+1, Cluster", "service 2+1, Local"],
        ),
        (
            "and Cluster again: its set goes after",
            Some(local()),
            plain(),
            &["service 2+1, Cluster", "service 2+0, Cluster", "entries 1 cluster"],
        ),
        (
            "an endpoint moves to this node",
            Some(local()),
            Serving { local: backends(&[2]), ..local() },
            &["entries 2 cluster local", "1 slots from 4", "entries 1 cluster"],
        ),
        (
            "restricted",
            Some(plain()),
            restricted(&[a, b]),
            &["range 198.51.100.0/24", "range 203.0.113.0/24", "service 2+0, Cluster, restricted"],
        ),
        (
            "other sources",
            Some(restricted(&[a])),
            restricted(&[b]),
            &["range 203.0.113.0/24", "no range 198.51.100.0/24"],
        ),
        ("for everyone", Some(restricted(&[a])), plain(), &["service 2+0, Cluster", "no range 198.51.100.0/24"]),
        (
            "another kind",
            Some(plain()),
            Serving { frontends: plain().frontends.keys().map(|f| (*f, FrontendKind::ClusterIp)).collect(), ..plain() },
            &["frontend ClusterIP"],
        ),
        (
            "none left",
            Some(local()),
            Serving { local: FlatSet::default(), cluster: FlatSet::default(), ..local() },
            &["service 0+0, Local"],
        ),
    ]);
}

#[test]
fn a_service_goes_from_its_sets_to_its_name() {
    let key = "shop/web:http/TCP/IPv4".parse().unwrap();
    let held = Serving { frontends: [].into_iter().collect(), ..restricted(&["198.51.100.0/24"]) };
    let want = ["service 0+0, Cluster", "no range 198.51.100.0/24", "entries 1 absent, 2 absent", "no name"];
    assert_eq!(written(Some(&held), &Change::Forget { key }), want);
}
