//! Flows that the proxy before us began go on by its translation: their packets pass, and their ports are not given away (L6).
use crate::frame::{ACK, Frame, SYN, icmp};
use crate::rig::{BPFFS, NETS, NEXT, Net, Rig, frontend, in_both, service_id, with_rig};
use sheave_abi::{BackendId, FLOW_HALF_OPEN_IDLE_NS, FLOW_UDP_IDLE_NS};
use sheave_bpf::foreign::{ForeignFlows, Import};
use sheave_bpf::image::Image;
use sheave_bpf::ops::{BackendEntry, MapOp};
use sheave_bpf::sweep::monotonic_ns;
use sheave_core::rules::LocalPods;
use sheave_core::{
    Backend, Family, ForeignFlow, FrontendKind, Port, Protocol, ServiceKey, ServiceName, ServicePortName,
};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// What imports a flow reads the exact clock, the programs that of the last tick.
const TICK_NS: u64 = 10_000_000;

/// A Service with one backend, and the other proxy's flows to it.
struct Carried {
    image: Image,
    vip: SocketAddr,
    protocol: Protocol,
    backend: SocketAddr,
    id: BackendId,
}

impl Carried {
    fn new(rig: &mut Rig, protocol: Protocol, vip: SocketAddr, backend: SocketAddr) -> Self {
        let id = rig.service(1, vip, protocol, &[backend])[0];
        let (service, family) = (service_id(1), Family::of(vip.ip()));
        let port = ServicePortName { service: ServiceName::new("test", "web"), port: "web".into(), protocol };
        let addr = Backend { addr: backend.ip(), port: Port::new(backend.port()).unwrap() };
        let entry = BackendEntry { backend: addr, service, serving: true, in_cluster: true, in_local: false };
        let mut image = Image::default();
        image.commit(&MapOp::PutName { service, key: ServiceKey { port, family } });
        image.commit(&MapOp::WriteBackends { family, entries: vec![(id, entry)] });
        let frontend = frontend(vip, protocol);
        image.commit(&MapOp::PutFrontend { frontend, kind: FrontendKind::ClusterIp, service });
        Self { image, vip, protocol, backend, id }
    }

    /// Imports a flow, which is masqueraded if `source` is another than the client.
    fn import(&self, client: SocketAddr, source: SocketAddr, opening: bool) -> Import {
        let Self { vip: dialled, protocol, backend, .. } = *self;
        let (remaining, assured) = (Duration::from_secs(1 << 20), !opening);
        let flow = ForeignFlow { protocol, client, dialled, backend, source, opening, assured, remaining };
        let tables = ForeignFlows::open(Path::new(BPFFS)).unwrap();
        tables.importer(&self.image, monotonic_ns()).import(&flow).unwrap()
    }
}

#[track_caller]
fn passes(rig: &mut Rig, frame: &Frame, counted: &str) {
    let out = rig.ingress(frame, &[counted]);
    assert_eq!((out.verdict, out.bytes), (NEXT, frame.bytes()));
}

/// A UDP flow of the other proxy.
fn udp_flow(rig: &mut Rig, net: Net) -> (Frame, BackendId) {
    let (client, vip, backend) = (net.client(4000), net.vip(10, 53), net.backend(1, 5300));
    let carried = Carried::new(rig, Protocol::Udp, vip, backend);
    assert_eq!(carried.import(client, client, false), Import::GoesOn(1));
    assert_eq!(carried.import(client, client, false), Import::GoesOn(0), "once more");
    (Frame::udp(client, vip, b"question"), carried.id)
}

#[test]
fn datagrams_of_an_imported_flow_pass_and_those_of_others_are_translated() {
    in_both("foreign-udp", |rig, net| {
        let (datagram, _) = udp_flow(rig, net);
        passes(rig, &datagram, "pass_foreign");
        passes(rig, &datagram, "pass_foreign");
        let other = rig.ingress(&Frame { src: net.client(4001), ..datagram }, &["flow_new"]);
        assert_eq!(other.seen().dst, net.backend(1, 5300));
    });
}

/// L2
#[test]
fn an_imported_flow_is_decided_anew_when_its_backend_serves_no_more() {
    in_both("foreign-gone", |rig, net| {
        let (datagram, id) = udp_flow(rig, net);
        rig.write_set(service_id(1), &[net.backend(2, 5300)]);
        passes(rig, &datagram, "pass_foreign");
        rig.retire(1, id, net.backend(1, 5300));
        assert_eq!(rig.ingress(&datagram, &["flow_new"]).seen().dst, net.backend(2, 5300));
        assert_eq!(rig.ingress(&datagram, &["flow_forward"]).seen().dst, net.backend(2, 5300), "it is ours now");
    });
}

#[test]
fn an_imported_flow_is_decided_anew_when_it_was_idle_for_too_long() {
    in_both("foreign-idle", |rig, net| {
        let (datagram, _) = udp_flow(rig, net);
        rig.age_flows(FLOW_UDP_IDLE_NS - 1_000_000_000);
        passes(rig, &datagram, "pass_foreign");
        rig.age_flows(FLOW_UDP_IDLE_NS - 1_000_000_000);
        passes(rig, &datagram, "pass_foreign");
        rig.age_flows(FLOW_UDP_IDLE_NS + TICK_NS);
        assert_eq!(rig.ingress(&datagram, &["flow_new"]).seen().dst, net.backend(1, 5300));
    });
}

#[test]
fn a_syn_that_comes_again_passes_if_the_handshake_was_not_over() {
    in_both("foreign-syn", |rig, net| {
        let (vip, backend) = (net.vip(10, 80), net.backend(1, 8080));
        let carried = Carried::new(rig, Protocol::Tcp, vip, backend);
        let [opening, open] = [4000, 4001].map(|port| net.client(port));
        assert_eq!(carried.import(opening, opening, true), Import::GoesOn(1));
        assert_eq!(carried.import(open, open, false), Import::GoesOn(0));
        passes(rig, &Frame::tcp(opening, vip, SYN), "pass_foreign");
        passes(rig, &Frame::tcp(opening, vip, ACK), "pass_foreign");
        passes(rig, &Frame::tcp(open, vip, ACK), "pass_not_first");
        assert_eq!(rig.ingress(&Frame::tcp(open, vip, SYN), &["flow_new"]).seen().dst, backend, "the next one");
        rig.age_flows(FLOW_HALF_OPEN_IDLE_NS + TICK_NS);
        assert_eq!(rig.ingress(&Frame::tcp(opening, vip, SYN), &["flow_new"]).seen().dst, backend);
    });
}

#[test]
fn the_port_of_a_masqueraded_flow_is_not_given_to_another_and_its_answers_pass() {
    for (net, protocol) in NETS.into_iter().flat_map(|net| [(net, Protocol::Tcp), (net, Protocol::Udp)]) {
        with_rig("foreign-port", move |rig| {
            let (vip, backend, taken) = (net.vip(10, 80), net.backend(1, 8080), net.node(1, 4000));
            rig.rules(true, LocalPods::default());
            rig.device(1, net.device(1));
            let carried = Carried::new(rig, protocol, vip, backend);
            let frame = |src, dst| match protocol {
                Protocol::Tcp => Frame::tcp(src, dst, SYN),
                _ => Frame::udp(src, dst, b"data"),
            };
            let imported = carried.import(net.outside(1, 999), taken, false);
            assert_eq!(imported, Import::GoesOn(if protocol == Protocol::Tcp { 1 } else { 2 }));
            let sent = rig.ingress(&frame(net.client(4000), vip), &["flow_new"]).seen();
            let left = rig.egress(&frame(sent.src, sent.dst), &["flow_masquerade", "event_port_taken"]).seen();
            assert_eq!((left.src.ip(), left.dst), (taken.ip(), backend));
            assert_ne!(left.src.port(), taken.port());
            let answer =
                if protocol == Protocol::Tcp { Frame::tcp(backend, taken, SYN | ACK) } else { frame(backend, taken) };
            passes(rig, &answer, "pass_foreign");
            assert_eq!(rig.ingress(&Frame { dst: left.src, ..answer }, &["flow_reply"]).seen().dst, net.client(4000));
        });
    }
}

#[test]
fn an_error_about_an_imported_flow_passes() {
    with_rig("foreign-error", |rig| {
        let [net, _] = NETS;
        let (vip, backend, taken) = (net.vip(10, 53), net.backend(1, 5300), net.node(1, 4000));
        let carried = Carried::new(rig, Protocol::Udp, vip, backend);
        assert_eq!(carried.import(net.outside(1, 999), taken, false), Import::GoesOn(2));
        let lost = Frame::udp(taken, backend, b"question").bytes();
        // Port unreachable, with the IP header of the lost packet and what follows it.
        let rest = [&[0; 4][..], &lost[14..]].concat();
        let error = icmp(backend.ip(), taken.ip(), 3, 3, &rest);
        let out = rig.run("ingress", &error, &["pass_no_frontend"]);
        assert_eq!((out.verdict, out.bytes), (NEXT, error));
    });
}
