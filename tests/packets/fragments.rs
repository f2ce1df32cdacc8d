//! Fragments of translated flows follow their first one.
use crate::frame::{Frame, reassembled};
use crate::rig::{NEXT, Rig, in_both};
use sheave_core::Protocol;
use sheave_core::rules::LocalPods;
use std::net::SocketAddr;

const DATA: &[u8] = b"more than the first fragment holds, and an odd number of bytes";

/// Sends both fragments; what they say together.
#[track_caller]
fn send(rig: &mut Rig, program: &str, frame: &Frame, first: &str, later: &str) -> (SocketAddr, SocketAddr) {
    let [one, two] = frame.fragments(16);
    let one = rig.run(program, &one, &[first]);
    let two = rig.run(program, &two, &[later]);
    assert_eq!((one.verdict, two.verdict), (NEXT, NEXT));
    let seen = reassembled(&one.bytes, &two.bytes);
    assert_eq!(seen.payload, frame.payload);
    (seen.src, seen.dst)
}

#[test]
fn a_datagram_in_fragments_is_translated_both_ways_and_masqueraded() {
    in_both("fragments", |rig, net| {
        let (client, vip, backend) = (net.client(5353), net.vip(10, 53), net.backend(1, 5300));
        rig.rules(true, LocalPods::default());
        rig.device(1, net.device(1));
        rig.service(1, vip, Protocol::Udp, &[backend]);
        let frame = |src, dst| Frame::udp(src, dst, DATA);
        for (first, source) in [("flow_new", "flow_masquerade"), ("flow_forward", "flow_forward")] {
            let between = send(rig, "ingress", &frame(client, vip), first, "flow_forward");
            assert_eq!(between, (client, backend));
            let sent = send(rig, "egress", &frame(client, backend), source, "flow_forward");
            assert_eq!(sent, (net.node(1, 5353), backend));
            let between = send(rig, "ingress", &frame(backend, sent.0), "flow_reply", "flow_reply");
            assert_eq!(between, (backend, client));
            let back = send(rig, "egress", &frame(backend, client), "flow_reply", "flow_reply");
            assert_eq!(back, (vip, client));
        }
    });
}

#[test]
fn a_later_fragment_that_comes_first_passes_untouched() {
    in_both("fragments-early", |rig, net| {
        let (client, vip, backend) = (net.client(5353), net.vip(10, 53), net.backend(1, 5300));
        rig.service(1, vip, Protocol::Udp, &[backend]);
        let [_, later] = Frame::udp(client, vip, DATA).fragments(16);
        let out = rig.run("ingress", &later, &["pass_fragment"]);
        assert_eq!((out.verdict, out.bytes), (NEXT, later));
        let [first, _] = Frame::udp(client, net.backend(9, 9), DATA).fragments(16);
        rig.run("ingress", &first, &["pass_no_frontend"]);
        let [_, later] = Frame::udp(client, net.backend(9, 9), DATA).fragments(16);
        rig.run("ingress", &later, &["pass_fragment"]);
    });
}

#[test]
fn an_identification_that_comes_back_later_is_another_datagrams() {
    in_both("fragments-age", |rig, net| {
        let (client, vip, backend) = (net.client(5353), net.vip(10, 53), net.backend(1, 5300));
        rig.service(1, vip, Protocol::Udp, &[backend]);
        let [first, later] = Frame::udp(client, vip, DATA).fragments(16);
        rig.run("ingress", &first, &["flow_new"]);
        rig.run("ingress", &later, &["flow_forward"]);
        rig.age_fragments(2);
        let out = rig.run("ingress", &later, &["pass_fragment"]);
        assert_eq!((out.verdict, out.bytes), (NEXT, later));
    });
}

#[test]
fn a_datagram_of_no_flow_that_has_the_identification_of_one_before_it_passes_whole() {
    in_both("fragments-reused", |rig, net| {
        let (client, vip, backend) = (net.client(5353), net.vip(10, 53), net.backend(1, 5300));
        rig.service(1, vip, Protocol::Udp, &[backend]);
        let other = Frame::udp(client, net.vip(10, 9999), DATA);
        for epochs in [0, 1] {
            let [first, _] = Frame::udp(client, vip, DATA).fragments(16);
            rig.count_run("ingress", &first);
            rig.age_fragments(epochs);
            let [first, later] = other.fragments(16);
            rig.run("ingress", &first, &["pass_no_frontend"]);
            let out = rig.run("ingress", &later, &["pass_fragment"]);
            assert_eq!((out.verdict, out.bytes), (NEXT, later), "{epochs}");
        }
    });
}
