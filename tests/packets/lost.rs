//! The LRU table loses any entry of a masqueraded flow at any time: no packet of it leaves by the client's address (R1), and none of
//! another flow by the node's.
use crate::frame::{ACK, Frame, RST, SYN};
use crate::masquerade::{Flow, frame, service};
use crate::rig::{NETS, Net, Rig, in_both, with_rig};
use sheave_abi::{FLOW_EGRESS, FLOW_INGRESS};
use sheave_bpf::test_run::Metadata;
use sheave_core::Protocol;
use sheave_core::rules::LocalPods;
use std::net::SocketAddr;

/// As a router sees them: they came in by a device.
const FORWARDED: Metadata = Metadata { ifindex: 0, ingress_ifindex: 1, gso_size: 0, is_summed: false, first_part: 0 };

/// The next packet of a flow that was begun, through both hooks; returns the source that it leaves by.
#[track_caller]
fn next(rig: &mut Rig, protocol: Protocol, flow: &Flow, counted: &[&str]) -> SocketAddr {
    let between = rig.ingress(&frame(protocol, flow.client, flow.vip, SYN), &["flow_forward"]).seen();
    assert_eq!((between.src, between.dst), (flow.client, flow.backend));
    let sent = frame(protocol, flow.client, flow.backend, SYN);
    rig.at("egress", FORWARDED, &sent.bytes(), counted).seen().src
}

fn for_each(name: &str, test: fn(&mut Rig, Net, Protocol)) {
    for (net, protocol) in NETS.into_iter().flat_map(|net| [(net, Protocol::Tcp), (net, Protocol::Udp)]) {
        with_rig(name, move |rig| test(rig, net, protocol));
    }
}

#[test]
fn a_flow_whose_backend_side_was_lost_keeps_its_port_unless_another_has_it_r1() {
    for_each("lost-backend", |rig, net, protocol| {
        let vip = service(rig, net, protocol, &[net.backend(1, 8080)]);
        let flow = Flow::begin(rig, protocol, net.client(40000), vip);
        rig.lose(FLOW_INGRESS, flow.backend, flow.snat);
        assert_eq!(next(rig, protocol, &flow, &["flow_forward"]), flow.snat, "nobody has the port");
        rig.lose(FLOW_INGRESS, flow.backend, flow.snat);
        let other = Flow::begin(rig, protocol, net.outside(1, 40000), vip);
        assert_eq!(other.snat, flow.snat, "another flow has it now");
        let src = next(rig, protocol, &flow, &["flow_masquerade", "event_port_taken"]);
        assert_eq!(src.ip(), flow.snat.ip());
        assert_ne!(src.port(), flow.snat.port());
        assert_eq!(next(rig, protocol, &flow, &["flow_forward"]), src, "and keeps to it");
        let moved = Flow { snat: src, ..flow };
        for flow in [&moved, &other] {
            flow.backend_sends(rig, &frame(protocol, flow.backend, flow.snat, SYN | ACK));
        }
    });
}

#[test]
fn a_source_that_was_lost_between_the_hooks_is_chosen_again_for_what_is_forwarded_r1() {
    for_each("lost-between", |rig, net, protocol| {
        let vip = service(rig, net, protocol, &[net.backend(1, 8080)]);
        let (client, backend) = (net.client(40000), net.backend(1, 8080));
        rig.ingress(&frame(protocol, client, vip, SYN), &["flow_new"]);
        let sent = frame(protocol, client, backend, SYN).bytes();
        for (name, counted) in [("not chosen yet", "flow_masquerade"), ("chosen", "flow_masquerade")] {
            rig.lose(FLOW_EGRESS, client, backend);
            assert_eq!(rig.at("egress", FORWARDED, &sent, &[counted]).seen().src, net.node(1, 40000), "{name}");
        }
        rig.lose(FLOW_EGRESS, client, backend);
        let own = rig.egress(&frame(protocol, client, backend, SYN), &["pass_no_frontend"]).seen();
        assert_eq!(own.src, client, "what the node itself sends came by no ingress");
    });
}

/// R1: a pod's address is what a policy knows it by.
#[test]
fn a_flow_that_keeps_its_source_meets_nothing_that_a_masqueraded_one_has_left() {
    for_each("lost-ingress", |rig, net, protocol| {
        let vip = service(rig, net, protocol, &[net.backend(1, 8080)]);
        let flow = Flow::begin(rig, protocol, net.client(40000), vip);
        rig.lose(FLOW_INGRESS, flow.client, vip);
        rig.lose(FLOW_EGRESS, flow.backend, flow.client);
        rig.rules(false, LocalPods::default());
        rig.ingress(&frame(protocol, flow.client, vip, SYN), &["flow_new"]);
        let sent = rig.egress(&frame(protocol, flow.client, flow.backend, SYN), &["pass_no_frontend"]).seen();
        assert_eq!(sent.src, flow.client);
    });
}

#[test]
fn a_connection_that_was_reset_behind_the_first_hook_only_begins_again_masqueraded() {
    in_both("lost-reset", |rig, net| {
        let vip = service(rig, net, Protocol::Tcp, &[net.backend(1, 8080)]);
        let flow = Flow::begin(rig, Protocol::Tcp, net.client(40000), vip);
        rig.egress(&Frame::tcp(flow.client, flow.backend, RST), &["flow_forward"]);
        let src = next(rig, Protocol::Tcp, &flow, &["flow_masquerade"]);
        assert_eq!(src, flow.snat);
    });
}
