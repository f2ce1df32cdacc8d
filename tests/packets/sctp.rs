//! SCTP (A13): from INIT to SHUTDOWN COMPLETE, and its checksum, which is no sum and covers no address.
use crate::frame::{Frame, INIT, Unreachable, icmp, reassembled};
use crate::rig::{DROP, NETS, NEXT, Net, REDIRECT, Rig, in_both, with_rig};
use sheave_abi::{FLOW_CLOSING, FLOW_ESTABLISHED, FLOW_HALF_OPEN, FLOW_RESET};
use sheave_core::Protocol;
use std::net::SocketAddr;

/// Chunks, by their first byte; of the others that matter to nobody here.
const INIT_ACK: &[u8] = &[2, 0, 0, 20, 0, 0, 0, 9, 0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1];
const SACK: &[u8] = &[3, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
const HEARTBEAT: &[u8] = &[4, 0, 0, 4];
const ABORT: &[u8] = &[6, 0, 0, 4];
const SHUTDOWN: &[u8] = &[7, 0, 0, 8, 0, 0, 0, 1];
const SHUTDOWN_ACK: &[u8] = &[8, 0, 0, 4];
const COOKIE_ECHO: &[u8] = &[10, 0, 0, 8, 0xc0, 0x0c, 0x1e, 0];
const COOKIE_ACK: &[u8] = &[11, 0, 0, 4];
const SHUTDOWN_COMPLETE: &[u8] = &[14, 0, 0, 4];

const CLIENT_TAG: u32 = 7;
const BACKEND_TAG: u32 = 9;
const PORT: u16 = 2905;

fn data(len: usize) -> Vec<u8> {
    let bytes = (0..len).map(|n| u8::try_from(n % 251).unwrap());
    [0, 3, 0, 16].into_iter().chain(bytes).collect()
}

/// An association between a client's port and a VIP.
struct Association {
    client: SocketAddr,
    vip: SocketAddr,
    backend: SocketAddr,
}

impl Association {
    /// Sends the INIT to a Service with one backend; the flow is new.
    #[track_caller]
    fn open(rig: &mut Rig, net: Net, target_port: u16) -> Self {
        let (client, vip, backend) = (net.client(40000), net.vip(10, PORT), net.backend(1, target_port));
        rig.service(1, vip, Protocol::Sctp, &[backend]);
        let association = Self { client, vip, backend };
        let out = rig.ingress(&Frame::sctp(client, vip, INIT), &["flow_new"]);
        assert_eq!((out.verdict, out.bytes), (NEXT, Frame::sctp(client, backend, INIT).bytes()));
        association
    }

    fn established(rig: &mut Rig, net: Net, target_port: u16) -> Self {
        let association = Self::open(rig, net, target_port);
        association.backend_sends(rig, INIT_ACK);
        association.client_sends(rig, COOKIE_ECHO);
        association.backend_sends(rig, COOKIE_ACK);
        assert_eq!(rig.states(), [(true, FLOW_ESTABLISHED); 2]);
        association
    }

    /// What the backend gets is what the client sent, but for the destination.
    #[track_caller]
    fn client_sends(&self, rig: &mut Rig, chunks: &[u8]) {
        let out = rig.ingress(&Frame::sctp(self.client, self.vip, chunks).seq(BACKEND_TAG), &["flow_forward"]);
        let want = Frame::sctp(self.client, self.backend, chunks).seq(BACKEND_TAG).bytes();
        assert_eq!((out.verdict, out.bytes), (NEXT, want));
    }

    #[track_caller]
    fn backend_sends(&self, rig: &mut Rig, chunks: &[u8]) {
        let out = rig.egress(&Frame::sctp(self.backend, self.client, chunks).seq(CLIENT_TAG), &["flow_reply"]);
        let want = Frame::sctp(self.vip, self.client, chunks).seq(CLIENT_TAG).bytes();
        assert_eq!((out.verdict, out.bytes), (NEXT, want));
    }
}

#[test]
fn an_association_is_translated_both_ways_from_init_to_its_end_a13() {
    for target_port in [PORT, 2906] {
        for net in NETS {
            with_rig("sctp", move |rig| {
                let association = Association::open(rig, net, target_port);
                assert_eq!(rig.states(), [(false, FLOW_HALF_OPEN); 2]);
                association.backend_sends(rig, INIT_ACK);
                association.client_sends(rig, &[COOKIE_ECHO, &data(16)].concat());
                assert_eq!(rig.states(), [(false, FLOW_HALF_OPEN); 2], "nobody has said that the cookie is right");
                association.backend_sends(rig, &[COOKIE_ACK, SACK].concat());
                assert_eq!(rig.states(), [(true, FLOW_ESTABLISHED); 2]);
                association.client_sends(rig, &data(1000));
                association.backend_sends(rig, SACK);
                association.backend_sends(rig, HEARTBEAT);
                association.client_sends(rig, SHUTDOWN);
                assert_eq!(rig.states(), [(true, FLOW_ESTABLISHED); 2], "one side has said so");
                association.backend_sends(rig, SHUTDOWN_ACK);
                assert_eq!(rig.states(), [(false, FLOW_CLOSING); 2]);
                association.client_sends(rig, SHUTDOWN_COMPLETE);
                rig.ingress(&Frame::sctp(association.client, association.vip, INIT), &["flow_new"]);
            });
        }
    }
}

#[test]
fn only_the_backends_word_for_the_cookie_ends_the_handshake() {
    in_both("sctp-handshake", |rig, net| {
        let association = Association::open(rig, net, 2906);
        for chunks in [COOKIE_ECHO, COOKIE_ACK, SACK, HEARTBEAT] {
            association.client_sends(rig, chunks);
        }
        for chunks in [INIT_ACK, SACK, HEARTBEAT] {
            association.backend_sends(rig, chunks);
        }
        assert_eq!(rig.states(), [(false, FLOW_HALF_OPEN); 2]);
        association.backend_sends(rig, COOKIE_ACK);
        assert_eq!(rig.states(), [(true, FLOW_ESTABLISHED); 2]);
    });
}

#[test]
fn after_an_abort_of_either_side_an_init_begins_the_next_association() {
    in_both("sctp-abort", |rig, net| {
        for by_client in [true, false] {
            let association = Association::established(rig, net, 2906);
            match by_client {
                true => association.client_sends(rig, ABORT),
                false => association.backend_sends(rig, ABORT),
            }
            assert_eq!(rig.states(), [(false, FLOW_RESET); 2], "by the client: {by_client}");
        }
    });
}

/// L1: what stands goes on; what nobody has answered goes elsewhere with its next INIT.
#[test]
fn an_association_outlives_the_removal_of_its_backend_and_an_unanswered_init_does_not() {
    in_both("sctp-removal", |rig, net| {
        let (client, vip) = (net.client(40000), net.vip(10, PORT));
        let backends = [net.backend(1, 2906), net.backend(2, 2906)];
        let association = Association::established(rig, net, 2906);
        let ids = rig.write_set(crate::rig::service_id(1), &backends[1..]);
        assert_eq!(ids.len(), 1);
        association.client_sends(rig, &data(16));
        let second = Frame::sctp(net.client(40001), vip, INIT);
        assert_eq!(rig.ingress(&second, &["flow_new"]).seen().dst, backends[1]);
        rig.retire(1, ids[0], backends[1]);
        rig.write_set(crate::rig::service_id(1), &backends[..1]);
        assert_eq!(rig.ingress(&second, &["flow_new"]).seen().dst, backends[0]);
        association.client_sends(rig, &data(16));
        assert_eq!(association.client, client);
    });
}

/// The whole packet is compared, so the checksum is; also of one that was damaged on its way, which must not become right.
#[test]
fn the_checksum_follows_the_ports_at_every_length_and_a_wrong_one_stays_as_wrong() {
    in_both("sctp-checksum", |rig, net| {
        let association = Association::established(rig, net, 2906);
        for len in (0..3000).step_by(41) {
            association.client_sends(rig, &data(len));
            association.backend_sends(rig, &data(len + 1));
        }
        let at = if association.client.is_ipv4() { 34 } else { 54 } + 8;
        for damage in [1_u32, 0x8000_0000, 0x0001_0000, u32::MAX] {
            let damaged = |frame: Frame| {
                let mut bytes = frame.bytes();
                bytes[at..at + 4].iter_mut().zip(damage.to_le_bytes()).for_each(|(byte, damage)| *byte ^= damage);
                bytes
            };
            let sent = damaged(Frame::sctp(association.client, association.vip, &data(100)));
            let want = damaged(Frame::sctp(association.client, association.backend, &data(100)));
            assert_eq!(rig.run("ingress", &sent, &["flow_forward"]).bytes, want, "{damage:#x}");
        }
    });
}

#[test]
fn what_begins_no_association_and_belongs_to_none_passes() {
    in_both("sctp-pass", |rig, net| {
        let (client, vip) = (net.client(40000), net.vip(10, PORT));
        rig.service(1, vip, Protocol::Sctp, &[net.backend(1, 2906)]);
        for (chunks, counted) in [
            (INIT_ACK, "pass_not_first"),
            (COOKIE_ECHO, "pass_not_first"),
            (ABORT, "pass_not_first"),
            (&data(16), "pass_not_first"),
            (&INIT[..16], "pass_truncated"),
            (&INIT[..3], "pass_truncated"),
        ] {
            let frame = Frame::sctp(client, vip, chunks);
            let out = rig.ingress(&frame, &[counted]);
            assert_eq!((out.verdict, out.bytes), (NEXT, frame.bytes()), "{chunks:?}");
        }
        rig.ingress(&Frame::udp(client, vip, b"!"), &["pass_no_frontend"]);
        assert_eq!(rig.states(), []);
    });
}

/// The embedded part has the INIT's tag, by which a socket knows it for its own (RFC 9260 §10).
#[test]
fn an_init_to_a_service_without_endpoints_is_answered_with_port_unreachable_e11() {
    in_both("sctp-reject", |rig, net| {
        let (client, vip) = (net.client(40000), net.vip(10, PORT));
        rig.service(1, vip, Protocol::Sctp, &[]);
        let frame = Frame::sctp(client, vip, INIT);
        let out = rig.ingress(&frame, &["reject_unreachable"]);
        let (seen, header) = (Unreachable::read(&out.bytes), if vip.is_ipv4() { 20 } else { 40 });
        assert_eq!((out.verdict, seen.src, seen.dst), (REDIRECT, vip.ip(), client.ip()));
        assert_eq!((seen.kind, seen.code), if vip.is_ipv4() { (3, 3) } else { (1, 4) });
        assert_eq!(seen.about, frame.bytes()[14..14 + header + 20]);
        rig.ingress(&Frame::sctp(client, vip, &data(16)), &["pass_not_first"]);
    });
}

#[test]
fn an_error_with_the_eight_bytes_that_a_router_must_give_is_translated() {
    in_both("sctp-error", |rig, net| {
        let association = Association::established(rig, net, 2906);
        let router = net.outside(1, 0).ip();
        let (kind, code) = if router.is_ipv4() { (3, 4) } else { (2, 0) };
        let embedded = |dst: SocketAddr| {
            let header = if router.is_ipv4() { 20 } else { 40 };
            Frame::sctp(association.client, dst, &data(1400)).seq(BACKEND_TAG).bytes()[14..14 + header + 8].to_vec()
        };
        let error =
            |dst| icmp(router, association.client.ip(), kind, code, &[&[0, 0, 5, 0x78], &embedded(dst)[..]].concat());
        let out = rig.run("egress", &error(association.backend), &["flow_error"]);
        assert_eq!((out.verdict, out.bytes), (NEXT, error(association.vip)));
    });
}

#[test]
fn fragments_are_translated_where_no_port_changes_and_their_first_one_is_dropped_where_one_does() {
    for (target_port, is_translated) in [(PORT, true), (2906, false)] {
        for net in NETS {
            with_rig("sctp-fragments", move |rig| {
                let association = Association::established(rig, net, target_port);
                let frame = |dst| Frame::sctp(association.client, dst, &data(101)).seq(BACKEND_TAG);
                let [first, later] = frame(association.vip).fragments(32);
                if !is_translated {
                    assert_eq!(rig.run("ingress", &first, &["drop_sctp_fragment"]).verdict, DROP);
                    let out = rig.run("ingress", &later, &["pass_fragment"]);
                    assert_eq!((out.verdict, out.bytes), (NEXT, later));
                    return;
                }
                let [first, later] = [first, later].map(|part| rig.run("ingress", &part, &["flow_forward"]).bytes);
                let seen = reassembled(&first, &later);
                assert_eq!((seen.src, seen.dst), (association.client, association.backend));
                assert_eq!(seen.payload, data(101));
            });
        }
    }
}
