//! REJECT: the client learns at once (E11, A2).
use crate::frame::{ACK, FIN, Frame, RST, SYN, Unreachable};
use crate::rig::{NETS, NEXT, REDIRECT, with_rig};
use sheave_bpf::ops::MapOp;
use sheave_core::Protocol;
use std::net::SocketAddr;

/// The frame's addresses the other way round.
fn returned(frame: &Frame) -> [u8; 12] {
    let bytes = frame.bytes();
    [&bytes[6..12], &bytes[..6]].concat().try_into().unwrap()
}

#[test]
fn a_syn_to_a_service_without_endpoints_is_answered_with_a_reset_e11() {
    for net in NETS {
        with_rig("reject-tcp", move |rig| {
            let (client, vip) = (net.client(40000), net.vip(10, 80));
            rig.service(1, vip, Protocol::Tcp, &[]);
            let syn = Frame::tcp(client, vip, SYN).seq(u32::MAX);
            for (name, frame, ack) in [
                ("plain", syn.clone(), 0),
                ("with data (RFC 7413)", syn.clone().payload(b"hello"), 5),
                ("with FIN", Frame { flags: SYN | FIN, ..syn.clone() }, 1),
                ("with options", syn.clone().options(options(net.vip(1, 1).is_ipv4())), 0),
            ] {
                let out = rig.ingress(&frame, &["reject_reset"]);
                let seen = out.seen();
                assert_eq!(out.verdict, REDIRECT, "{name}");
                assert_eq!((seen.src, seen.dst, seen.flags), (vip, client, RST | ACK), "{name}");
                assert_eq!((seen.seq, seen.ack, seen.payload.len()), (0, ack, 0), "{name}");
                assert_eq!(seen.macs, returned(&frame), "{name}");
            }
            assert_eq!(rig.states(), []);
        });
    }
}

#[test]
fn a_datagram_to_a_service_without_endpoints_is_answered_with_port_unreachable_e11() {
    for net in NETS {
        with_rig("reject-udp", move |rig| {
            let (client, vip) = (net.client(5353), net.vip(10, 53));
            rig.service(1, vip, Protocol::Udp, &[]);
            let v4 = vip.is_ipv4();
            for (name, frame) in [
                ("plain", Frame::udp(client, vip, b"question")),
                ("empty", Frame::udp(client, vip, b"")),
                ("long", Frame::udp(client, vip, &[7; 1400])),
                ("with options", Frame::udp(client, vip, b"question").options(options(v4))),
            ] {
                let out = rig.ingress(&frame, &["reject_unreachable"]);
                let seen = Unreachable::read(&out.bytes);
                assert_eq!(out.verdict, REDIRECT, "{name}");
                assert_eq!((seen.src, seen.dst), (vip.ip(), client.ip()), "{name}");
                assert_eq!((seen.kind, seen.code), if v4 { (3, 3) } else { (1, 4) }, "{name}");
                assert_eq!(seen.word, [0; 4], "{name}");
                let headers = (if v4 { 20 } else { 40 }) + 8 + options_len(&frame);
                assert_eq!(seen.about, frame.bytes()[14..14 + headers], "{name}");
                assert_eq!(seen.macs, returned(&frame), "{name}");
            }
        });
    }
}

#[test]
fn a_port_the_vip_does_not_have_is_refused_and_an_address_that_is_no_vip_is_not_a2() {
    for net in NETS {
        with_rig("reject-a2", move |rig| {
            rig.service(1, net.vip(10, 80), Protocol::Tcp, &[net.backend(1, 8080)]);
            rig.exec(&MapOp::PutVip { addr: net.vip(10, 1).ip() });
            let (client, other) = (net.client(40000), net.vip(10, 81));
            rig.ingress(&Frame::tcp(client, other, SYN), &["reject_reset"]);
            rig.ingress(&Frame::udp(client, net.vip(10, 80), b"!"), &["reject_unreachable"]);
            rig.ingress(&Frame::tcp(client, net.vip(10, 80), SYN), &["flow_new"]);
            for flags in [ACK, RST, SYN | RST, SYN | ACK] {
                let out = rig.ingress(&Frame::tcp(client, other, flags), &["pass_not_first"]);
                assert_eq!(out.verdict, NEXT, "only new flows are refused, and never a reset: {flags:#x}");
            }
            rig.exec(&MapOp::DeleteVip { addr: net.vip(10, 1).ip() });
            rig.ingress(&Frame::tcp(client, other, SYN), &["pass_no_frontend"]);
        });
    }
}

#[test]
fn frames_for_another_host_or_for_many_are_neither_answered_nor_translated() {
    for net in NETS {
        with_rig("reject-not-host", move |rig| {
            let (client, vip, empty) = (net.client(40000), net.vip(10, 80), net.vip(11, 80));
            rig.service(1, vip, Protocol::Tcp, &[net.backend(1, 8080)]);
            rig.service(2, empty, Protocol::Tcp, &[]);
            for mac in [[2, 9, 9, 9, 9, 9], [0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
                for dst in [vip, empty] {
                    let frame = Frame { mac, ..Frame::tcp(client, dst, SYN) };
                    let out = rig.ingress(&frame, &["pass_not_host"]);
                    assert_eq!((out.verdict, out.bytes), (NEXT, frame.bytes()));
                }
                rig.ingress(&Frame { mac, ..Frame::tcp(client, net.vip(9, 9), SYN) }, &["pass_no_frontend"]);
            }
        });
    }
}

#[test]
fn a_source_that_is_no_single_host_is_not_answered() {
    for (net, sources) in NETS
        .into_iter()
        .zip([["0.0.0.0", "224.0.0.1", "239.255.255.255", "255.255.255.255"], ["::", "ff02::1", "ff0e::2", "ffff::"]])
    {
        with_rig("reject-source", move |rig| {
            let vip = net.vip(10, 80);
            rig.service(1, vip, Protocol::Tcp, &[]);
            for source in sources {
                let source = SocketAddr::new(source.parse().unwrap(), 40000);
                for frame in [Frame::tcp(source, vip, SYN), Frame::udp(source, vip, b"!")] {
                    rig.exec(&MapOp::PutVip { addr: vip.ip() });
                    let out = rig.ingress(&frame, &["pass_source"]);
                    assert_eq!((out.verdict, out.bytes), (NEXT, frame.bytes()), "{source}");
                }
            }
        });
    }
}

/// Three no-operations and the end; or a destination options header with padding.
fn options(v4: bool) -> &'static [u8] {
    if v4 { &[1, 1, 1, 0] } else { &[60, 0, 0, 1, 4, 0, 0, 0, 0] }
}

fn options_len(frame: &Frame) -> usize {
    if frame.src.is_ipv4() { frame.options.len() } else { frame.options.len() / 9 * 8 }
}
