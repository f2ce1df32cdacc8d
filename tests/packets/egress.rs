//! What goes out still addressed to a frontend, and replies that leave by another way than they would.
use crate::frame::{ACK, Frame, RST, SYN, Unreachable};
use crate::rig::{DROP, NETS, NEXT, REDIRECT, in_both, with_routes};
use ipnet::IpNet;
use sheave_abi::{DEVICE_BRIDGE_PORT, DeviceValue};
use sheave_bpf::ops::MapOp;
use sheave_bpf::test_run::Metadata;
use sheave_core::Protocol;
use sheave_core::rules::LocalPods;

#[test]
fn an_address_of_a_service_cidr_that_no_service_has_is_dropped_at_egress_only_a3() {
    in_both("egress-a3", |rig, net| {
        let range = IpNet::new(net.vip(0, 0).ip(), if net.vip(0, 0).is_ipv4() { 16 } else { 32 }).unwrap();
        rig.exec(&MapOp::PutRange { service: None, range });
        rig.node_addr(net.vip(9, 0).ip(), true, false);
        for (name, dst, at_egress) in [
            ("unallocated", net.vip(1, 80), "drop_unallocated"),
            ("the node's own (A12)", net.vip(9, 80), "pass_no_frontend"),
            ("elsewhere", net.backend(1, 80), "pass_no_frontend"),
        ] {
            for frame in [Frame::tcp(net.client(1), dst, SYN), Frame::udp(net.client(1), dst, b"!")] {
                assert_eq!(rig.ingress(&frame, &["pass_no_frontend"]).verdict, NEXT, "{name}");
                let verdict = rig.egress(&frame, &[at_egress]).verdict;
                assert_eq!(verdict == DROP, at_egress == "drop_unallocated", "{name}");
            }
        }
    });
}

#[test]
fn a_refusal_at_egress_comes_in_by_the_same_device_e11_a2() {
    in_both("egress-reject", |rig, net| {
        let (client, vip) = (net.client(40000), net.vip(10, 80));
        rig.service(1, vip, Protocol::Tcp, &[]);
        rig.exec(&MapOp::PutVip { addr: vip.ip() });
        let out = rig.egress(&Frame::tcp(client, vip, SYN), &["reject_reset"]);
        let seen = out.seen();
        assert_eq!((out.verdict, seen.src, seen.dst, seen.flags), (REDIRECT, vip, client, RST | ACK));
        assert_eq!(seen.macs[6..], [0; 6], "from whom it was for");
        let out = rig.egress(&Frame::udp(client, vip, b"!"), &["reject_unreachable"]);
        assert_eq!((out.verdict, Unreachable::read(&out.bytes).dst), (REDIRECT, client.ip()));
    });
}

#[test]
fn a_flow_decided_at_egress_is_sent_by_the_route_to_its_backend_and_answered_at_ingress() {
    let [net, _] = NETS;
    for masqueraded in [false, true] {
        with_routes("egress-divert", &["10.2.0.0/16".parse().unwrap()], move |rig| {
            let (client, vip, backend) = (net.node(1, 40000), net.vip(10, 80), net.backend(1, 8080));
            rig.rules(masqueraded, LocalPods::default());
            rig.device(1, net.device(2));
            rig.service(1, vip, Protocol::Tcp, &[backend]);
            let source = if masqueraded { net.node(2, 40000) } else { client };
            let syn = rig.egress(&Frame::tcp(client, vip, SYN), &["flow_new"]);
            assert_eq!((syn.verdict, syn.seen().src, syn.seen().dst), (REDIRECT, source, backend));
            // Without the note that the packet has at the next device, it is another socket's, with the same port.
            let other = rig.egress(&Frame::tcp(source, backend, SYN), &["flow_masquerade", "event_port_taken"]);
            assert_eq!((other.seen().src.ip(), other.seen().dst), (source.ip(), backend));
            assert_ne!(other.seen().src.port(), source.port());
            let answer = rig.ingress(&Frame::tcp(backend, source, SYN | ACK).seq(99), &["flow_reply"]);
            assert_eq!((answer.verdict, answer.seen().src, answer.seen().dst), (NEXT, vip, client));
            let ack = rig.egress(&Frame::tcp(client, vip, ACK).ack(100), &["flow_forward"]);
            assert_eq!((ack.verdict, ack.seen().src, ack.seen().dst), (REDIRECT, source, backend));
            assert_eq!(rig.states().iter().filter(|(kept, _)| *kept).count(), 2, "both sides of it");
        });
    }
}

#[test]
fn a_flow_decided_at_egress_without_a_route_to_its_backend_is_dropped() {
    in_both("egress-no-route", |rig, net| {
        rig.service(1, net.vip(10, 80), Protocol::Tcp, &[net.backend(1, 8080)]);
        let out = rig.egress(&Frame::tcp(net.node(1, 40000), net.vip(10, 80), SYN), &["drop_no_route"]);
        assert_eq!((out.verdict, rig.states()), (DROP, vec![]));
    });
}

#[test]
fn a_packet_translated_to_a_backend_that_is_a_frontend_too_is_not_decided_again() {
    in_both("egress-twice", |rig, net| {
        let (client, vip, backend) = (net.client(40000), net.vip(10, 80), net.backend(1, 8080));
        rig.service(1, vip, Protocol::Udp, &[backend]);
        rig.service(2, backend, Protocol::Udp, &[net.backend(2, 2)]);
        rig.ingress(&Frame::udp(client, vip, b"!"), &["flow_new"]);
        let frame = Frame::udp(client, backend, b"!");
        let out = rig.egress(&frame, &["pass_no_frontend"]);
        assert_eq!((out.verdict, out.bytes), (NEXT, frame.bytes()));
    });
}

/// What is translated at a bridge and at its port is translated twice.
#[test]
fn a_port_leaves_to_its_bridge_what_the_bridge_sends() {
    in_both("egress-port", |rig, net| {
        let (client, vip, backend) = (net.client(40000), net.vip(10, 80), net.backend(1, 8080));
        rig.service(1, vip, Protocol::Udp, &[backend]);
        rig.ingress(&Frame::udp(client, vip, b"!"), &["flow_new"]);
        let by_bridge = Metadata::default();
        let bridged = Metadata { ingress_ifindex: 1, ..by_bridge };
        let reply = Frame::udp(backend, client, b"!").bytes();
        for (device, flags, counted) in [
            ("no port", 0, ["flow_reply", "flow_reply"]),
            ("a port", DEVICE_BRIDGE_PORT, ["pass_bridge_port", "flow_reply"]),
        ] {
            rig.device(1, DeviceValue { flags, ..DeviceValue::default() });
            for (metadata, counted) in [by_bridge, bridged].into_iter().zip(counted) {
                let out = rig.at("egress", metadata, &reply, &[counted]);
                let untouched = counted == "pass_bridge_port";
                assert_eq!((out.verdict, out.bytes == reply), (NEXT, untouched), "{device}, {metadata:?}");
            }
        }
    });
}
