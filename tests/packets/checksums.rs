//! Sums that a device has made of whole packets (`CHECKSUM_COMPLETE`): after each translation they are those of the packet.
use crate::frame::{ACK, Frame, SYN, icmp};
use crate::rig::{NETS, NEXT, Net, Rig, with_rig};
use sheave_bpf::test_run::Metadata;
use sheave_core::Protocol;
use sheave_core::rules::LocalPods;
use std::io::ErrorKind;
use std::net::SocketAddr;

const SUMMED: Metadata = Metadata { ifindex: 0, ingress_ifindex: 0, gso_size: 0, is_summed: true, first_part: 0 };
const DATA: &[u8] = b"an odd number of bytes.";

/// A request through both hooks, and its answer back, each with a sum that the kernel verifies.
#[track_caller]
fn there_and_back(rig: &mut Rig, net: Net, request: &Frame, backend: SocketAddr) {
    let (client, vip, snat) = (request.src, request.dst, net.node(1, request.src.port()));
    for (program, counted, src, dst, flags) in [
        ("ingress", "flow_new", client, vip, SYN),
        ("egress", "flow_masquerade", client, backend, SYN),
        ("ingress", "flow_reply", backend, snat, SYN | ACK),
        ("egress", "flow_reply", backend, client, SYN | ACK),
    ] {
        let sent = Frame { src, dst, flags, ..request.clone() };
        assert_eq!(rig.at(program, SUMMED, &sent.bytes(), &[counted]).verdict, NEXT, "{src} to {dst}");
    }
}

#[test]
fn a_sum_of_the_whole_packet_stays_right_whatever_is_translated() {
    for net in NETS {
        with_rig("sums", move |rig| {
            let probe = Frame::udp(net.client(1), net.vip(99, 9), DATA);
            if rig.refuses(SUMMED, &probe.bytes()) == Some(ErrorKind::InvalidInput) {
                eprintln!("before Linux 6.11 nobody can ask for such a sum");
                return;
            }
            rig.rules(true, LocalPods::default());
            rig.device(1, net.device(1));
            let (client, backend) = (net.client(40000), net.backend(1, 8080));
            rig.service(1, net.vip(10, 80), Protocol::Tcp, &[backend]);
            rig.service(2, net.vip(10, 80), Protocol::Udp, &[backend]);
            rig.service(3, net.vip(10, 53), Protocol::Udp, &[net.backend(2, 53)]);
            let [vip, same_port] = [net.vip(10, 80), net.vip(10, 53)];
            there_and_back(rig, net, &Frame::tcp(client, vip, SYN).payload(DATA), backend);
            there_and_back(rig, net, &Frame::udp(client, vip, DATA), backend);
            // Of a changed port the helper adds nothing where there is no checksum; nobody verifies such a datagram by the sum.
            let unsummed = Frame { no_checksum: true, ..Frame::udp(client, same_port, DATA) };
            there_and_back(rig, net, &unsummed, net.backend(2, 53));
            let (kind, code) = if client.is_ipv4() { (3, 3) } else { (1, 4) };
            let about = Frame::udp(net.node(1, 40000), backend, DATA).bytes();
            let error = icmp(backend.ip(), net.node(1, 0).ip(), kind, code, &[&[0; 4], &about[14..]].concat());
            rig.at("ingress", SUMMED, &error, &["flow_error"]);
        });
    }
}
