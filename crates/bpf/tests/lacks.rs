//! What is said of a Service that asks for something the programs do not do (I7).
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::image::Image;
use sheave_bpf::limits::Limits;
use sheave_bpf::memory::MemoryMaps;
use sheave_core::{
    Affinity, Port, Problem, Protocol, Realized as _, Service, ServiceName, ServicePort, Serving, TrafficPolicy,
};
use sheave_dataplane::Dataplane as _;
use std::sync::Arc;

fn dataplane() -> BpfDataplane<MemoryMaps> {
    BpfDataplane::new(Image::default(), Limits::default(), MemoryMaps::new())
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

#[test]
fn whatever_is_wanted_is_held_whole() {
    let wanted = Arc::new(Serving { internal: TrafficPolicy::Local, ..Serving::default() });
    assert!(Arc::ptr_eq(&dataplane().carried(&wanted), &wanted));
}

#[test]
fn every_wish_that_is_left_out_is_named_with_its_field() {
    let http = || ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: port(80), node_port: None };
    let sctp = || ServicePort { protocol: Protocol::Sctp, ..http() };
    let plain = || Service {
        cluster_ips: vec![[10, 96, 0, 1].into()],
        ports: vec![http()],
        origin: Some("shop.yaml:1".into()),
        ..Service::new(ServiceName::new("shop", "web"))
    };
    let addr = || vec![[203, 0, 113, 1].into()];
    let all = || Service {
        ports: vec![ServicePort { node_port: Some(port(30080)), ..http() }],
        load_balancer_ips: addr(),
        external_ips: addr(),
        internal_policy: TrafficPolicy::Local,
        external_policy: TrafficPolicy::Local,
        affinity: Some(Affinity { timeout_s: 10 }),
        ..plain()
    };
    for (case, service, fields) in [
        ("none", plain(), &[][..]),
        ("A4, A7, A10, E4, E5, E10", all(), &[]),
        ("A13", Service { ports: vec![http(), sctp()], ..plain() }, &["spec.ports.protocol"]),
        ("W1 to W3: nothing is asked for", Service { cluster_ips: vec![], ports: vec![sctp()], ..plain() }, &[]),
    ] {
        let lacks = dataplane().lacks(&service);
        assert_eq!(lacks.iter().map(|d| d.field.as_str()).collect::<Vec<_>>(), fields, "case: {case}");
        for diagnostic in lacks {
            assert_eq!((diagnostic.problem, diagnostic.origin.as_deref()), (Problem::Unsupported, Some("shop.yaml:1")));
            assert_eq!(&*diagnostic.object.name, "shop/web");
        }
    }
}
