//! What the programs are given of a Service that asks for more than they can hold, and what is said of the rest.
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::image::Image;
use sheave_bpf::limits::Limits;
use sheave_bpf::memory::MemoryMaps;
use sheave_core::{
    Affinity, Backend, Family, FlatSet, Frontend, FrontendKind, Port, Problem, Protocol, Realized as _, Service,
    ServiceName, ServicePort, Serving, Sources, TrafficPolicy,
};
use sheave_dataplane::Dataplane as _;
use std::sync::Arc;

fn dataplane() -> BpfDataplane<MemoryMaps> {
    BpfDataplane::new(Image::default(), Limits::default(), MemoryMaps::new(16))
}

fn backends(numbers: &[u8]) -> FlatSet<Backend> {
    numbers.iter().map(|n| Backend { addr: [10, 244, 0, *n].into(), port: port(8080) }).collect()
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn frontend(addr: [u8; 4]) -> Frontend {
    Frontend { addr: addr.into(), port: port(80), protocol: Protocol::Tcp }
}

/// Two endpoints of the cluster are ready, one of this node drains, one elsewhere only serves.
fn plain() -> Serving {
    Serving {
        frontends: [(frontend([10, 96, 0, 1]), FrontendKind::ClusterIp)].into_iter().collect(),
        cluster: backends(&[1, 2]),
        keep: backends(&[3, 4]),
        ..Serving::default()
    }
}

#[test]
fn what_can_be_held_whole_is_the_same_object() {
    let wanted = Arc::new(plain());
    assert!(Arc::ptr_eq(&dataplane().carried(&wanted), &wanted));
}

#[test]
fn what_cannot_be_held_is_left_out_and_no_serving_backend_with_it() {
    type Edit = fn(&mut Serving);
    let local = |s: &mut Serving| (s.local, s.keep) = (backends(&[3]), backends(&[4]));
    let edits: [(&str, Edit, Serving); 7] = [
        (
            "A4",
            |s| s.frontends.insert(Frontend::node_port(Family::V4, port(30080), Protocol::Tcp), FrontendKind::NodePort),
            plain(),
        ),
        ("A7", |s| s.frontends.insert(frontend([203, 0, 113, 1]), FrontendKind::LoadBalancer), plain()),
        ("A10", |s| s.frontends.insert(frontend([203, 0, 113, 2]), FrontendKind::ExternalIp), plain()),
        ("E10", |s| s.affinity = Some(Affinity { timeout_s: 10 }), plain()),
        ("R8", |s| s.sources = Some(Arc::new(Sources { ranges: vec!["198.51.100.0/24".parse().unwrap()] })), plain()),
        (
            "E4: the Local set",
            |s| s.internal = TrafficPolicy::Local,
            Serving { cluster: backends(&[3]), keep: backends(&[1, 2, 4]), ..plain() },
        ),
        ("E5: the Cluster set", |s| s.external = TrafficPolicy::Local, plain()),
    ];
    for (case, edit, want) in edits {
        let mut wanted = plain();
        edit(&mut wanted);
        if [wanted.internal, wanted.external].contains(&TrafficPolicy::Local) {
            local(&mut wanted);
        }
        assert_eq!(*dataplane().carried(&Arc::new(wanted)), want, "case: {case}");
    }
}

#[test]
fn every_wish_that_is_left_out_is_named_with_its_field() {
    let http = || ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: port(80), node_port: None };
    let plain = || Service {
        cluster_ips: vec![[10, 96, 0, 1].into()],
        ports: vec![http()],
        origin: Some("shop.yaml:1".into()),
        ..Service::new(ServiceName::new("shop", "web"))
    };
    let addr = || vec![[203, 0, 113, 1].into()];
    for (case, service, fields) in [
        ("none", plain(), &[][..]),
        (
            "A4",
            Service { ports: vec![ServicePort { node_port: Some(port(30080)), ..http() }], ..plain() },
            &["spec.ports.nodePort"],
        ),
        ("A7", Service { load_balancer_ips: addr(), ..plain() }, &["status.loadBalancer"]),
        ("A10", Service { external_ips: addr(), ..plain() }, &["spec.externalIPs"]),
        ("E4", Service { internal_policy: TrafficPolicy::Local, ..plain() }, &["spec.internalTrafficPolicy"]),
        ("E5: it governs what is left out anyway", Service { external_policy: TrafficPolicy::Local, ..plain() }, &[]),
        ("E10", Service { affinity: Some(Affinity { timeout_s: 10 }), ..plain() }, &["spec.sessionAffinity"]),
        (
            "A13",
            Service { ports: vec![ServicePort { protocol: Protocol::Sctp, ..http() }], ..plain() },
            &["spec.ports.protocol"],
        ),
        ("W1 to W3: nothing is asked for", Service { cluster_ips: vec![], external_ips: addr(), ..plain() }, &[]),
    ] {
        let lacks = dataplane().lacks(&service);
        assert_eq!(lacks.iter().map(|d| d.field.as_str()).collect::<Vec<_>>(), fields, "case: {case}");
        for diagnostic in lacks {
            assert_eq!((diagnostic.problem, diagnostic.origin.as_deref()), (Problem::Unsupported, Some("shop.yaml:1")));
            assert_eq!(&*diagnostic.object.name, "shop/web");
        }
    }
}
