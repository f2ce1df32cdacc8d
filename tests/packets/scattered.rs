//! Packets whose headers do not all stand in the packet's first part: some drivers leave them in the pages that the device wrote.
//! Kernels that can make such a packet for a test are asked by `cargo xtask vm`.
use crate::frame::{ACK, Frame, INIT, SYN, icmp};
use crate::rig::{NETS, NEXT, Net, Rig, with_rig};
use sheave_bpf::test_run::Metadata;
use sheave_core::Protocol;
use sheave_core::rules::LocalPods;
use sheave_tests::device_or_defer;
use std::io::ErrorKind;
use std::net::SocketAddr;

const DATA: &[u8] = b"an odd number of bytes.";

fn scattered(first_part: u32) -> Metadata {
    Metadata { first_part, ..Metadata::default() }
}

/// What the first part ends with: the IP header, which it has to have (`BPF_PROG_TEST_RUN` takes no other), and within the ports behind it.
fn first_parts(net: Net) -> [u32; 2] {
    let headers = if net.vip(1, 1).is_ipv4() { 34 } else { 54 };
    [headers, headers + 3]
}

/// Both hooks, both ways; every byte is as it has to be.
#[track_caller]
fn there_and_back(rig: &mut Rig, net: Net, first_part: u32, request: &Frame, backend: SocketAddr) {
    let (client, vip, snat) = (request.src, request.dst, net.node(1, request.src.port()));
    for (program, counted, sent, want) in [
        ("ingress", "flow_new", [client, vip], [client, backend]),
        ("egress", "flow_masquerade", [client, backend], [snat, backend]),
        ("ingress", "flow_reply", [backend, snat], [backend, client]),
        ("egress", "flow_reply", [backend, client], [vip, client]),
    ] {
        let frame = |[src, dst]: [SocketAddr; 2]| Frame { src, dst, ..request.clone() };
        let out = rig.at(program, scattered(first_part), &frame(sent).bytes(), &[counted]);
        assert_eq!((out.verdict, out.bytes), (NEXT, frame(want).bytes()), "{sent:?}, first part {first_part}");
    }
}

/// Packets of other kinds: the program, the packet, what is counted.
fn others(net: Net, backend: SocketAddr) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let (client, vip, snat) = (net.client(40000), net.vip(10, 80), net.node(1, 40000));
    let (kind, code) = if client.is_ipv4() { (3, 3) } else { (1, 4) };
    let embedded = &Frame::udp(snat, backend, DATA).bytes()[14..];
    let error = icmp(backend.ip(), snat.ip(), kind, code, &[&[0; 4], embedded].concat());
    let options: &[u8] = if client.is_ipv4() { &[1, 1, 1, 0] } else { &[60, 0, 0, 1, 4, 0, 0, 0, 0] };
    let [first, later] = Frame::udp(client, vip, DATA).fragments(16);
    let elsewhere = |flags| Frame::tcp(client, net.outside(1, 80), flags).bytes();
    vec![
        ("ingress", Frame::udp(client, vip, DATA).options(options).bytes(), "flow_forward"),
        ("ingress", first, "flow_forward"),
        ("ingress", later, "flow_forward"),
        ("ingress", error, "flow_error"),
        ("ingress", Frame::tcp(client, net.vip(11, 80), SYN).payload(DATA).bytes(), "reject_reset"),
        ("ingress", Frame::udp(client, net.vip(11, 80), DATA).bytes(), "reject_unreachable"),
        ("ingress", elsewhere(SYN), "pass_no_frontend"),
        ("ingress", elsewhere(ACK), "pass_not_first"),
        ("egress", elsewhere(ACK), "pass_no_frontend"),
    ]
}

#[test]
fn wherever_the_headers_stand_a_packet_becomes_the_same() {
    with_rig("scattered", |rig| {
        let probe = Frame::udp(NETS[0].client(1), NETS[0].vip(99, 9), DATA).bytes();
        let refused = rig.refuses(scattered(first_parts(NETS[0])[0]), &probe) == Some(ErrorKind::InvalidInput);
        if device_or_defer("packet of several parts in BPF_PROG_TEST_RUN", !refused) {
            rig.rules(true, LocalPods::default());
            NETS.into_iter().for_each(|net| becomes_the_same(rig, net));
        }
    });
}

fn becomes_the_same(rig: &mut Rig, net: Net) {
    rig.device(1, net.device(1));
    let (vip, backend) = (net.vip(10, 80), net.backend(1, 8080));
    let ids = net.service() * 10;
    for (n, protocol) in [(0, Protocol::Tcp), (1, Protocol::Udp), (2, Protocol::Sctp)] {
        rig.service(ids + n, vip, protocol, &[backend]);
    }
    for (n, protocol) in [(3, Protocol::Tcp), (4, Protocol::Udp)] {
        rig.service(ids + n, net.vip(11, 80), protocol, &[]);
    }
    // The first is whole.
    for (n, first_part) in (0..).zip([0].into_iter().chain(first_parts(net))) {
        let client = net.client(40000 + n);
        let opening = Frame::tcp(client, vip, SYN).payload(DATA);
        for request in [opening, Frame::udp(client, vip, DATA), Frame::sctp(client, vip, INIT)] {
            there_and_back(rig, net, first_part, &request, backend);
        }
    }
    for (program, bytes, counted) in others(net, backend) {
        let whole = rig.run(program, &bytes, &[counted]);
        for first_part in first_parts(net) {
            let out = rig.at(program, scattered(first_part), &bytes, &[counted]);
            let case = format!("{counted} at {program}, first part {first_part}");
            assert_eq!((out.verdict, &out.bytes), (whole.verdict, &whole.bytes), "{case}");
        }
    }
}
