//! UDP: one-way, answered, and backends that go.
use crate::frame::Frame;
use crate::rig::{FLOWS_MAX, NETS, NEXT, Rig, in_both, service_id, with_rig};
use sheave_abi::{
    FLOW_EGRESS, FLOW_ESTABLISHED, FLOW_INGRESS, FLOW_ONE_WAY, FLOW_ONE_WAY_IDLE_NS, FLOW_STREAM_NS, FLOW_UDP_IDLE_NS,
};
use sheave_bpf::ops::MapOp;
use sheave_core::{Frontend, Port, Protocol};
use std::net::SocketAddr;

/// Sends a datagram and returns where it went.
#[track_caller]
fn send(rig: &mut Rig, client: SocketAddr, vip: SocketAddr, counted: &str) -> SocketAddr {
    let out = rig.ingress(&Frame::udp(client, vip, b"question"), &[counted]);
    let seen = out.seen();
    assert_eq!((out.verdict, seen.src, seen.payload.as_slice()), (NEXT, client, &b"question"[..]));
    seen.dst
}

#[track_caller]
fn answer(rig: &mut Rig, backend: SocketAddr, client: SocketAddr, vip: SocketAddr) {
    let seen = rig.egress(&Frame::udp(backend, client, b"answer!"), &["flow_reply"]).seen();
    assert_eq!((seen.src, seen.dst, seen.payload.as_slice()), (vip, client, &b"answer!"[..]));
}

#[test]
fn a_flow_is_established_by_a_reply_two_seconds_after_its_first_packet() {
    in_both("udp-reply", |rig, net| {
        let (client, vip) = (net.client(5353), net.vip(10, 53));
        rig.service(1, vip, Protocol::Udp, &[net.backend(1, 5300), net.backend(2, 5300)]);
        let backend = send(rig, client, vip, "flow_new");
        assert_eq!(send(rig, client, vip, "flow_forward"), backend);
        assert_eq!(rig.states(), [(false, FLOW_ONE_WAY); 2]);
        answer(rig, backend, client, vip);
        assert_eq!(rig.states(), [(false, FLOW_ONE_WAY); 2], "a question and its answer");
        rig.age_flows(FLOW_STREAM_NS + 1);
        answer(rig, backend, client, vip);
        assert_eq!(rig.states(), [(true, FLOW_ESTABLISHED); 2]);
        assert_eq!(send(rig, client, vip, "flow_forward"), backend);
    });
}

#[test]
fn answered_questions_do_not_fill_the_table_of_established_flows() {
    in_both("udp-questions", |rig, net| {
        let vip = net.vip(10, 53);
        rig.service(1, vip, Protocol::Udp, &[net.backend(1, 5300)]);
        for port in 1024..1074 {
            let backend = send(rig, net.client(port), vip, "flow_new");
            answer(rig, backend, net.client(port), vip);
        }
        assert_eq!(rig.states(), [(false, FLOW_ONE_WAY); 100]);
    });
}

#[test]
fn a_pair_for_which_there_is_no_room_stays_in_the_lru_table_whole_and_loses_no_answer() {
    with_rig("udp-full", |rig| {
        let [net, _] = NETS;
        let (client, vip) = (net.client(5353), net.vip(10, 53));
        rig.service(1, vip, Protocol::Udp, &[net.backend(1, 5300)]);
        let backend = send(rig, client, vip, "flow_new");
        // Room for one entry of the two.
        rig.occupy(net.backend(9, 9), net.client(1), 1..=FLOWS_MAX - 1);
        rig.age_flows(FLOW_STREAM_NS + 1);
        let reply = Frame::udp(backend, client, b"answer!");
        let seen = rig.egress_with_events(&reply, &[("flow_reply", 1), ("event_established_full", 1)]).seen();
        assert_eq!((seen.src, seen.dst), (vip, client));
        let lru = |rig: &Rig| rig.states().into_iter().filter(|(kept, _)| !kept).collect::<Vec<_>>();
        assert_eq!(lru(rig), [(false, FLOW_ESTABLISHED); 2]);
        for direction in [FLOW_EGRESS, FLOW_INGRESS] {
            rig.evict(direction);
            let question = Frame::udp(client, vip, b"question");
            if direction == FLOW_EGRESS {
                rig.ingress(&question, &["flow_forward"]);
            }
            let seen = rig.egress_with_events(&reply, &[("flow_reply", 1), ("event_established_full", 1)]).seen();
            assert_eq!((seen.src, seen.dst), (vip, client), "direction {direction} evicted");
        }
        rig.vacate(net.backend(9, 9), net.client(1), 1..=1);
        answer(rig, backend, client, vip);
        assert_eq!(lru(rig), [], "with room it is tried again");
        assert_eq!(send(rig, client, vip, "flow_forward"), backend);
    });
}

#[test]
fn a_flow_whose_backend_is_gone_is_decided_anew_l2() {
    in_both("udp-l2", |rig, net| {
        let (client, vip) = (net.client(5353), net.vip(10, 53));
        for established in [false, true] {
            let client = SocketAddr::new(client.ip(), client.port() + u16::from(established));
            let ids = rig.service(1, vip, Protocol::Udp, &[net.backend(1, 5300)]);
            let backend = send(rig, client, vip, "flow_new");
            if established {
                rig.age_flows(FLOW_STREAM_NS + 1);
                answer(rig, backend, client, vip);
                assert_eq!(rig.states()[..2], [(true, FLOW_ESTABLISHED); 2]);
            }
            rig.write_set(service_id(1), &[net.backend(2, 5300)]);
            assert_eq!(send(rig, client, vip, "flow_forward"), backend, "draining: still serving");
            rig.retire(1, ids[0], net.backend(1, 5300));
            assert_eq!(send(rig, client, vip, "flow_new"), net.backend(2, 5300));
            rig.egress(&Frame::udp(backend, client, b"late"), &["pass_no_frontend"]);
            let flows = if established { 4 } else { 2 };
            assert_eq!(rig.states(), vec![(false, FLOW_ONE_WAY); flows], "nothing is left of the flow that moved");
        }
    });
}

#[test]
fn an_id_that_names_another_endpoint_now_ends_the_flows_of_the_old_one_l7() {
    in_both("udp-l7", |rig, net| {
        let (client, vip) = (net.client(5353), net.vip(10, 53));
        let ids = rig.service(1, vip, Protocol::Udp, &[net.backend(1, 5300)]);
        let backend = send(rig, client, vip, "flow_new");
        answer(rig, backend, client, vip);
        rig.rewrite(1, ids[0], net.backend(1, 5301));
        assert_eq!(send(rig, client, vip, "flow_new"), net.backend(1, 5301));
    });
}

#[test]
fn a_flow_to_a_service_scaled_to_zero_is_refused_and_to_a_deleted_one_passes_l3_l4() {
    in_both("udp-l3", |rig, net| {
        let (client, vip) = (net.client(5353), net.vip(10, 53));
        let ids = rig.service(1, vip, Protocol::Udp, &[net.backend(1, 5300)]);
        send(rig, client, vip, "flow_new");
        rig.write_set(service_id(1), &[]);
        rig.retire(1, ids[0], net.backend(1, 5300));
        rig.ingress(&Frame::udp(client, vip, b"question"), &["reject_unreachable"]);
        assert_eq!(rig.states(), [], "nothing is left of the flow");
        let frontend = Frontend { addr: vip.ip(), port: Port::new(53).unwrap(), protocol: Protocol::Udp };
        rig.exec(&MapOp::DeleteFrontend { frontend });
        rig.ingress(&Frame::udp(client, vip, b"question"), &["pass_no_frontend"]);
    });
}

#[test]
fn an_idle_flow_is_decided_anew() {
    in_both("udp-idle", |rig, net| {
        let (client, vip) = (net.client(5353), net.vip(10, 53));
        rig.service(1, vip, Protocol::Udp, &[net.backend(1, 5300)]);
        let backend = send(rig, client, vip, "flow_new");
        rig.age_flows(FLOW_ONE_WAY_IDLE_NS + 1);
        send(rig, client, vip, "flow_new");
        rig.age_flows(FLOW_STREAM_NS + 1);
        answer(rig, backend, client, vip);
        rig.age_flows(FLOW_ONE_WAY_IDLE_NS + 1);
        send(rig, client, vip, "flow_forward");
        rig.age_flows(FLOW_UDP_IDLE_NS + 1);
        send(rig, client, vip, "flow_new");
    });
}

#[test]
fn a_missing_checksum_stays_missing() {
    with_rig("udp-zero", |rig| {
        let [net, _] = NETS;
        let (client, vip) = (net.client(5353), net.vip(10, 53));
        rig.service(1, vip, Protocol::Udp, &[net.backend(1, 5300)]);
        let frame = Frame { no_checksum: true, ..Frame::udp(client, vip, b"question") };
        let out = rig.ingress(&frame, &["flow_new"]);
        assert_eq!(out.seen().dst, net.backend(1, 5300));
        assert_eq!(out.bytes[40..42], [0, 0]);
    });
}

#[test]
fn a_checksum_that_becomes_zero_is_written_as_all_ones() {
    in_both("udp-ones", |rig, net| {
        let (client, vip) = (net.client(5353), net.vip(10, 53));
        rig.service(1, vip, Protocol::Udp, &[net.backend(1, 5300)]);
        // The two bytes that make the translated datagram's sum come out as zero.
        let plain = Frame::udp(client, net.backend(1, 5300), &[0, 0]).bytes();
        let at = plain.len() - 4;
        let payload = [plain[at], plain[at + 1]];
        let out = rig.ingress(&Frame::udp(client, vip, &payload), &["flow_new"]);
        assert_eq!(out.seen().payload, payload);
        assert_eq!(out.bytes[at..at + 2], [0xff, 0xff]);
    });
}
