//! What sheave does not understand it passes, untouched, and counts why (I10).
use crate::frame::{ACK, Frame, SYN};
use crate::rig::{NETS, NEXT, Net, Rig, with_rig};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sheave_core::Protocol;

/// What IPv6 calls its extension headers, with eight bytes each: type, next header, length, and padding.
const HOP_BY_HOP: [u8; 9] = [0, 0, 0, 1, 4, 0, 0, 0, 0];
const DESTINATION: [u8; 9] = [60, 0, 0, 1, 4, 0, 0, 0, 0];
const ROUTING_DONE: [u8; 9] = [43, 0, 0, 0, 0, 0, 0, 0, 0];
const ROUTING_ON: [u8; 9] = [43, 0, 0, 0, 1, 0, 0, 0, 0];
const LATER_FRAGMENT: [u8; 9] = [44, 0, 0, 0, 9, 0, 0, 0, 0];
const AUTHENTICATION: [u8; 9] = [51, 0, 0, 0, 0, 0, 0, 0, 0];

fn service(rig: &mut Rig, net: Net) -> Frame {
    rig.service(net.service(), net.vip(10, 80), Protocol::Tcp, &[net.backend(1, 8080)]);
    Frame::tcp(net.client(40000), net.vip(10, 80), SYN)
}

#[track_caller]
fn passes(rig: &mut Rig, bytes: &[u8], counted: &str) {
    for program in ["ingress", "egress"] {
        let out = rig.run(program, bytes, &[counted]);
        assert_eq!(out.verdict, NEXT);
        assert_eq!(out.bytes, bytes, "{program} leaves the packet alone");
    }
}

#[test]
fn ip_options_and_extension_headers_are_walked() {
    with_rig("pass-walk", |rig| {
        let [v4, v6] = NETS;
        let (syn4, syn6) = (service(rig, v4), service(rig, v6));
        for (n, options) in [&[][..], &[1, 1, 1, 0], &[1; 40]].into_iter().enumerate() {
            let port = 41000 + u16::try_from(n).unwrap();
            let frame = Frame { src: v4.client(port), ..syn4.clone() }.options(options).payload(b"x");
            assert_eq!(rig.ingress(&frame, &["flow_new"]).seen().dst, v4.backend(1, 8080));
        }
        let walked = [
            vec![HOP_BY_HOP],
            vec![DESTINATION],
            vec![HOP_BY_HOP, DESTINATION, ROUTING_DONE, DESTINATION],
            vec![DESTINATION; 6],
        ];
        for (n, headers) in walked.into_iter().enumerate() {
            let port = 42000 + u16::try_from(n).unwrap();
            let frame = Frame { src: v6.client(port), ..syn6.clone() }.options(&headers.concat()).payload(b"x");
            assert_eq!(rig.ingress(&frame, &["flow_new"]).seen().dst, v6.backend(1, 8080));
        }
        for (headers, counted) in [
            (vec![DESTINATION; 7], "pass_protocol"),
            (vec![ROUTING_ON], "pass_protocol"),
            (vec![AUTHENTICATION], "pass_protocol"),
            (vec![LATER_FRAGMENT], "pass_fragment"),
            (vec![HOP_BY_HOP, LATER_FRAGMENT], "pass_fragment"),
        ] {
            passes(rig, &syn6.clone().options(&headers.concat()).bytes(), counted);
        }
    });
}

#[test]
fn fragments_of_unknown_datagrams_pass() {
    with_rig("pass-fragments", |rig| {
        let [v4, _] = NETS;
        let syn = service(rig, v4).bytes();
        for flags in [[0x20, 1], [0, 1], [0x1f, 0xff]] {
            let mut fragment = syn.clone();
            fragment[20..22].copy_from_slice(&flags);
            passes(rig, &fragment, "pass_fragment");
        }
    });
}

#[test]
fn packets_cut_short_pass() {
    for net in NETS {
        with_rig("pass-short", move |rig| {
            let syn = service(rig, net).payload(b"data").bytes();
            let udp = Frame::udp(net.client(1), net.vip(10, 80), b"data").bytes();
            let shortest = shortest(&syn);
            for len in shortest..syn.len() {
                passes(rig, &syn[..len], "pass_truncated");
            }
            for len in shortest..udp.len() {
                passes(rig, &udp[..len], "pass_truncated");
            }
        });
    }
}

#[test]
fn headers_that_contradict_themselves_pass() {
    with_rig("pass-odd", |rig| {
        let [v4, v6] = NETS;
        let (syn4, syn6) = (service(rig, v4).bytes(), service(rig, v6).bytes());
        let udp = Frame::udp(v4.client(1), v4.vip(10, 80), b"data").bytes();
        for (name, frame, at, byte) in [
            ("IPv4 header below 20 bytes", &syn4, 14, 0x44),
            ("IPv4 header longer than the packet", &syn4, 14, 0x4f),
            ("IPv4 version 5", &syn4, 14, 0x55),
            ("IPv4 total length below the header", &syn4, 17, 19),
            ("TCP header below 20 bytes", &syn4, 46, 0x40),
            ("TCP header longer than the packet", &syn4, 46, 0xf0),
            ("UDP length below 8", &udp, 39, 7),
            ("UDP length beyond the packet", &udp, 39, 200),
            ("IPv6 version 4", &syn6, 14, 0x40),
            ("TCP header longer than the IPv6 packet", &syn6, 66, 0xf0),
        ] {
            let mut odd = frame.clone();
            odd[at] = byte;
            assert_ne!(&odd, frame, "{name}");
            passes(rig, &odd, "pass_truncated");
        }
    });
}

#[test]
fn other_protocols_and_tagged_frames_pass() {
    with_rig("pass-protocol", |rig| {
        let [v4, v6] = NETS;
        let (syn4, syn6) = (service(rig, v4).bytes(), service(rig, v6).bytes());
        let with = |frame: &[u8], at: usize, bytes: &[u8]| {
            let mut changed = frame.to_vec();
            changed[at..at + bytes.len()].copy_from_slice(bytes);
            changed
        };
        let tagged = [&syn4[..12], &[0x81, 0, 0, 5], &syn4[12..]].concat();
        for frame in [
            with(&syn4, 12, &[0x08, 0x06]),
            tagged,
            with(&syn4, 23, &[1]),
            with(&syn4, 23, &[47]),
            with(&syn6, 20, &[58]),
            with(&syn6, 20, &[59]),
        ] {
            passes(rig, &frame, "pass_protocol");
        }
    });
}

#[test]
fn packets_of_no_service_pass() {
    for net in NETS {
        with_rig("pass-none", move |rig| {
            service(rig, net);
            let other = net.backend(9, 80);
            let frame = Frame::tcp(net.client(1), other, SYN);
            assert_eq!(rig.ingress(&frame, &["pass_no_frontend"]).bytes, frame.bytes());
            let frame = Frame::tcp(other, net.client(1), ACK);
            assert_eq!(rig.egress(&frame, &["pass_no_frontend"]).bytes, frame.bytes());
            let frame = Frame::udp(net.client(1), other, b"!");
            assert_eq!(rig.ingress(&frame, &["pass_no_frontend"]).bytes, frame.bytes());
        });
    }
}

/// TEST_RUN takes no frame that ends within the IP header (`bpf_prog_test_run_skb`).
fn shortest(frame: &[u8]) -> usize {
    match frame[12..14] {
        [0x08, 0x00] => 34,
        [0x86, 0xdd] => 54,
        _ => 15,
    }
}

/// A frame with a few bytes changed, or nothing but noise behind an Ethernet header.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let frames: Vec<Vec<u8>> = NETS
        .into_iter()
        .flat_map(|net| {
            let (client, vip) = (net.client(40000), net.vip(10, 80));
            [Frame::tcp(client, vip, SYN).payload(b"data").bytes(), Frame::udp(client, vip, b"data").bytes()]
        })
        .collect();
    let changed =
        (prop::sample::select(frames), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4))
            .prop_map(|(mut frame, changes)| {
                changes.into_iter().for_each(|(at, byte)| *at.get_mut(&mut frame) = byte);
                frame
            });
    let ether_type = prop_oneof![Just([0x08, 0x00]), Just([0x86, 0xdd]), any::<[u8; 2]>()];
    let random = (ether_type, prop::collection::vec(any::<u8>(), 1..200))
        .prop_map(|(ether_type, rest)| [&[0; 12][..], &ether_type, &rest].concat());
    prop_oneof![changed, random].prop_filter("TEST_RUN takes it", |frame| frame.len() >= shortest(frame))
}

#[test]
fn any_bytes_have_exactly_one_outcome() {
    with_rig("pass-noise", |rig| {
        rig.service(1, NETS[0].vip(10, 80), Protocol::Tcp, &[NETS[0].backend(1, 8080)]);
        rig.service(2, NETS[1].vip(10, 80), Protocol::Tcp, &[NETS[1].backend(1, 8080)]);
        rig.service(3, NETS[0].vip(10, 80), Protocol::Udp, &[]);
        let rig = std::cell::RefCell::new(rig);
        let config = Config { cases: 2000, failure_persistence: None, ..Config::default() };
        let result = TestRunner::new(config).run(&noise(), |bytes| {
            for program in ["ingress", "egress"] {
                prop_assert_eq!(rig.borrow_mut().count_run(program, &bytes), 1, "{}", program);
            }
            Ok(())
        });
        result.unwrap_or_else(|failure| panic!("{failure}"));
    });
}
