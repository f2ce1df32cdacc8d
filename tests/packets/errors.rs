//! ICMP errors about translated flows, translated with what is embedded; redirects dropped; echoes to ClusterIPs refused.
use crate::frame::{Frame, SYN, Unreachable, icmp};
use crate::rig::{DROP, NEXT, Net, REDIRECT, Rig, in_both};
use sheave_bpf::ops::MapOp;
use sheave_core::Protocol;
use sheave_core::rules::LocalPods;
use std::net::{IpAddr, SocketAddr};

/// "Too long for the path", with the MTU 1400; "port unreachable"; "time exceeded".
fn kinds(net: Net) -> [(u8, u8, [u8; 4]); 3] {
    match net.vip(1, 1).is_ipv4() {
        true => [(3, 4, [0, 0, 5, 0x78]), (3, 3, [0; 4]), (11, 0, [0; 4])],
        false => [(2, 0, [0, 0, 5, 0x78]), (1, 4, [0; 4]), (3, 0, [0; 4])],
    }
}

/// An error about a frame, with so many bytes of its transport header.
fn error(net: Net, from: IpAddr, about: &Frame, transport: usize, n: usize) -> Vec<u8> {
    let (kind, code, word) = kinds(net)[n];
    let header = if from.is_ipv4() { 20 } else { 40 };
    let embedded = &about.bytes()[14..14 + header + transport];
    icmp(from, about.src.ip(), kind, code, &[&word, embedded].concat())
}

/// Addresses and ports of an embedded packet; the embedded IP header's checksum is verified.
fn embedded(about: &[u8]) -> (SocketAddr, SocketAddr) {
    let v4 = about[0] >> 4 == 4;
    if v4 {
        let sum: u32 = about[..20].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "embedded header checksum");
    }
    let addr = |at: usize| -> IpAddr {
        if v4 {
            <[u8; 4]>::try_from(&about[at..at + 4]).unwrap().into()
        } else {
            <[u8; 16]>::try_from(&about[at..at + 16]).unwrap().into()
        }
    };
    let (src, dst, l4) = if v4 { (12, 16, 20) } else { (8, 24, 40) };
    let port = |at: usize| u16::from_be_bytes([about[at], about[at + 1]]);
    (SocketAddr::new(addr(src), port(l4)), SocketAddr::new(addr(dst), port(l4 + 2)))
}

/// What is expected of an error behind a hook.
struct Want {
    from: IpAddr,
    to: IpAddr,
    about: (SocketAddr, SocketAddr),
}

#[track_caller]
fn passes(rig: &mut Rig, program: &str, bytes: &[u8], want: &Want) -> Vec<u8> {
    let out = rig.run(program, bytes, &["flow_error"]);
    let seen = Unreachable::read(&out.bytes);
    assert_eq!(out.verdict, NEXT);
    assert_eq!((seen.src, seen.dst, embedded(&seen.about)), (want.from, want.to, want.about));
    let ip = if want.from.is_ipv4() { 34 } else { 54 };
    assert_eq!(out.bytes[ip..ip + 2], bytes[ip..ip + 2], "type and code");
    assert_eq!(out.bytes[ip + 4..ip + 8], bytes[ip + 4..ip + 8], "the MTU");
    out.bytes
}

/// A flow through the VIP; masqueraded, its backend sees the node.
fn flow(rig: &mut Rig, net: Net, masqueraded: bool) -> [SocketAddr; 4] {
    let (client, vip, backend) = (net.client(40000), net.vip(10, 80), net.backend(1, 8080));
    rig.rules(masqueraded, LocalPods::default());
    rig.device(1, net.device(1));
    rig.service(1, vip, Protocol::Tcp, &[backend]);
    rig.ingress(&Frame::tcp(client, vip, SYN), &["flow_new"]);
    if !masqueraded {
        return [client, vip, backend, client];
    }
    let sent = rig.egress(&Frame::tcp(client, backend, SYN), &["flow_masquerade"]).seen();
    [client, vip, backend, sent.src]
}

#[test]
fn an_error_about_a_request_reaches_the_client_as_one_about_what_it_sent() {
    in_both("error-request", |rig, net| {
        let [client, vip, backend, _] = flow(rig, net, false);
        let sent = Frame::tcp(client, backend, SYN);
        for (n, transport) in [(0, 8), (1, 20), (2, 8)] {
            for (from, seen_from) in [(net.outside(1, 0).ip(), net.outside(1, 0).ip()), (backend.ip(), vip.ip())] {
                let bytes = error(net, from, &sent, transport, n);
                passes(rig, "egress", &bytes, &Want { from: seen_from, to: client.ip(), about: (client, vip) });
            }
        }
    });
}

#[test]
fn an_error_about_a_masqueraded_request_is_translated_at_both_hooks() {
    in_both("error-masqueraded", |rig, net| {
        let [client, vip, backend, snat] = flow(rig, net, true);
        let router = net.outside(1, 0).ip();
        let bytes = error(net, router, &Frame::tcp(snat, backend, SYN), 8, 0);
        let between = passes(rig, "ingress", &bytes, &Want { from: router, to: client.ip(), about: (client, backend) });
        passes(rig, "egress", &between, &Want { from: router, to: client.ip(), about: (client, vip) });
    });
}

#[test]
fn an_error_about_a_reply_reaches_the_backend_as_one_about_what_it_sent() {
    in_both("error-reply", |rig, net| {
        let [client, vip, backend, snat] = flow(rig, net, true);
        let bytes = error(net, client.ip(), &Frame::tcp(vip, client, SYN), 8, 0);
        let want = Want { from: client.ip(), to: backend.ip(), about: (backend, client) };
        let between = passes(rig, "ingress", &bytes, &want);
        passes(rig, "egress", &between, &Want { from: snat.ip(), to: backend.ip(), about: (backend, snat) });
    });
}

#[test]
fn errors_about_other_flows_pass() {
    in_both("error-other", |rig, net| {
        let [client, _, backend, _] = flow(rig, net, false);
        let other = SocketAddr::new(client.ip(), 1);
        for program in ["ingress", "egress"] {
            let bytes = error(net, net.outside(1, 0).ip(), &Frame::tcp(other, backend, SYN), 8, 0);
            let out = rig.run(program, &bytes, &["pass_no_frontend"]);
            assert_eq!((out.verdict, out.bytes), (NEXT, bytes));
        }
    });
}

#[test]
fn an_error_that_is_cut_short_or_about_another_protocol_passes() {
    in_both("error-short", |rig, net| {
        let [client, _, backend, _] = flow(rig, net, false);
        let router = net.outside(1, 0).ip();
        let whole = error(net, router, &Frame::tcp(client, backend, SYN), 8, 0);
        let header = if client.is_ipv4() { 20 } else { 40 };
        for len in [0, 8, header - 1, header + 3] {
            let (kind, code, word) = kinds(net)[0];
            let embedded = &whole[14 + header + 8..][..len];
            let bytes = icmp(router, client.ip(), kind, code, &[&word, embedded].concat());
            let out = rig.run("egress", &bytes, &["pass_protocol"]);
            assert_eq!((out.verdict, out.bytes), (NEXT, bytes), "{len} bytes");
        }
    });
}

#[test]
fn a_redirect_about_a_translated_flow_is_dropped_and_others_pass() {
    in_both("error-redirect", |rig, net| {
        let [client, _, backend, _] = flow(rig, net, false);
        let router = net.outside(1, 0).ip();
        let redirect = |src: SocketAddr, dst: SocketAddr| {
            let header = if src.is_ipv4() { 20 } else { 40 };
            let about = Frame::tcp(src, dst, SYN).bytes()[14..14 + header + 8].to_vec();
            match (router, src.ip()) {
                (IpAddr::V4(gateway), _) => icmp(router, src.ip(), 5, 1, &[&gateway.octets()[..], &about].concat()),
                (IpAddr::V6(target), IpAddr::V6(_)) => {
                    // Reserved, target, destination; a link-layer address; what it is about.
                    let fixed = [&[0; 4][..], &target.octets(), &target.octets(), &[2, 1, 2, 0, 0, 0, 0, 9]].concat();
                    let option = [&[4, 7, 0, 0, 0, 0, 0, 0][..], &about].concat();
                    icmp(router, src.ip(), 137, 0, &[fixed, option].concat())
                }
                _ => panic!("a message has one family"),
            }
        };
        for (src, dst) in [(client, backend), (backend, client)] {
            let out = rig.run("egress", &redirect(src, dst), &["drop_redirect"]);
            assert_eq!(out.verdict, DROP, "{src} {dst}");
        }
        let other = redirect(SocketAddr::new(client.ip(), 1), backend);
        assert_eq!(rig.run("egress", &other, &["pass_protocol"]).verdict, NEXT);
    });
}

#[test]
fn an_echo_to_a_cluster_ip_is_refused_and_to_others_passes_a2() {
    in_both("error-echo", |rig, net| {
        flow(rig, net, false);
        rig.exec(&MapOp::PutVip { addr: net.vip(10, 0).ip() });
        let kind = if net.vip(1, 1).is_ipv4() { 8 } else { 128 };
        let echo = |dst| icmp(net.client(0).ip(), dst, kind, 0, &[0, 1, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9]);
        for program in ["ingress", "egress"] {
            let out = rig.run(program, &echo(net.vip(10, 0).ip()), &["reject_unreachable"]);
            let seen = Unreachable::read(&out.bytes);
            assert_eq!((out.verdict, seen.src, seen.dst), (REDIRECT, net.vip(10, 0).ip(), net.client(0).ip()));
            assert_eq!(rig.run(program, &echo(net.backend(1, 0).ip()), &["pass_protocol"]).verdict, NEXT);
        }
    });
}
