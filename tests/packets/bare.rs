//! Devices whose packets begin with the IP header. `BPF_PROG_TEST_RUN` wants an Ethernet header all the same, and reads the type of
//! the packet where an IP header has two bytes of its source: the sources here have that type in that place.
use crate::frame::{Frame, SYN, Seen};
use crate::rig::{NETS, NEXT, REDIRECT, with_rig};
use sheave_core::Protocol;
use std::net::{IpAddr, SocketAddr};

/// A packet without an Ethernet header.
fn bare(frame: &Frame) -> Vec<u8> {
    frame.bytes().split_off(14)
}

/// What came out, read behind an Ethernet header.
fn seen(bytes: &[u8]) -> Seen {
    let ether_type: [u8; 2] = if bytes[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    Seen::read(&[&[0; 12][..], &ether_type, bytes].concat())
}

fn source(v4: bool, port: u16) -> SocketAddr {
    let ip: IpAddr = if v4 { [8, 0, 1, 2].into() } else { [0xfd00, 1, 0x86dd, 0, 0, 0, 0, 2].into() };
    SocketAddr::new(ip, port)
}

#[test]
fn a_flow_through_a_device_without_link_layer_addresses_is_translated_both_ways() {
    for net in NETS {
        with_rig("bare", move |rig| {
            let vip = net.vip(10, 80);
            let (client, backend) = (source(vip.is_ipv4(), 40000), net.backend(1, 8080));
            rig.service(1, vip, Protocol::Tcp, &[backend]);
            let syn = rig.run("ingress_l3", &bare(&Frame::tcp(client, vip, SYN)), &["flow_new"]);
            let seen = seen(&syn.bytes);
            assert_eq!((syn.verdict, seen.src, seen.dst), (NEXT, client, backend));
        });
    }
}

#[test]
fn replies_and_refusals_at_a_device_without_link_layer_addresses_begin_with_the_ip_header() {
    for net in NETS {
        with_rig("bare-refusal", move |rig| {
            let (vip, empty) = (net.vip(10, 80), net.vip(11, 80));
            let v4 = vip.is_ipv4();
            let backend = source(v4, 8080);
            rig.service(1, vip, Protocol::Tcp, &[backend]);
            rig.service(2, empty, Protocol::Tcp, &[]);
            rig.ingress(&Frame::tcp(net.client(40000), vip, SYN), &["flow_new"]);
            let reply = rig.run("egress_l3", &bare(&Frame::tcp(backend, net.client(40000), 0x12)), &["flow_reply"]);
            let reply_seen = seen(&reply.bytes);
            assert_eq!((reply_seen.src, reply_seen.dst), (vip, net.client(40000)));
            let refused = rig.run("ingress_l3", &bare(&Frame::tcp(source(v4, 1), empty, SYN)), &["reject_reset"]);
            let seen = seen(&refused.bytes);
            assert_eq!((refused.verdict, seen.src, seen.dst), (REDIRECT, empty, source(v4, 1)));
        });
    }
}
