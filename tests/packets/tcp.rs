//! TCP: from the SYN to the last FIN, and what a flow survives.
use crate::frame::{ACK, FIN, Frame, RST, SYN, Seen};
use crate::rig::{DROP, FLOWS_MAX, NETS, NEXT, Net, Rig, in_both, with_rig};
use sheave_abi::{
    FLOW_CLOSING, FLOW_EGRESS, FLOW_ESTABLISHED, FLOW_HALF_OPEN, FLOW_HALF_OPEN_IDLE_NS, FLOW_INGRESS, FLOW_RESET,
    FLOW_RESET_IDLE_NS, FLOW_SILENT_NS,
};
use sheave_core::Protocol;
use std::net::SocketAddr;

const CLIENT_SEQ: u32 = 1000;
const SERVER_SEQ: u32 = 0xffff_ffff;

/// A connection between a client's port and a VIP, packet by packet.
struct Connection {
    client: SocketAddr,
    vip: SocketAddr,
    backend: SocketAddr,
}

impl Connection {
    /// Sends the SYN; the flow is new.
    #[track_caller]
    fn open(rig: &mut Rig, client: SocketAddr, vip: SocketAddr) -> Self {
        let out = rig.ingress(&Frame::tcp(client, vip, SYN).seq(CLIENT_SEQ), &["flow_new"]);
        assert_eq!(out.verdict, NEXT);
        let seen = out.seen();
        assert_eq!((seen.src, seen.flags, seen.seq), (client, SYN, CLIENT_SEQ));
        Self { client, vip, backend: seen.dst }
    }

    /// SYN-ACK and ACK.
    #[track_caller]
    fn establish(&self, rig: &mut Rig) {
        self.backend_sends(rig, &self.backend_frame(SYN | ACK).seq(SERVER_SEQ).ack(CLIENT_SEQ + 1));
        self.client_sends(rig, &self.client_frame(ACK).seq(CLIENT_SEQ + 1).ack(SERVER_SEQ.wrapping_add(1)));
    }

    fn client_frame(&self, flags: u8) -> Frame {
        Frame::tcp(self.client, self.vip, flags)
    }

    fn backend_frame(&self, flags: u8) -> Frame {
        Frame::tcp(self.backend, self.client, flags)
    }

    #[track_caller]
    fn client_sends(&self, rig: &mut Rig, frame: &Frame) {
        let seen = rig.ingress(frame, &["flow_forward"]).seen();
        assert_eq!((seen.src, seen.dst, &seen.payload), (self.client, self.backend, &frame.payload));
    }

    #[track_caller]
    fn backend_sends(&self, rig: &mut Rig, frame: &Frame) {
        let seen = rig.egress(frame, &["flow_reply"]).seen();
        assert_eq!((seen.src, seen.dst, &seen.payload), (self.vip, self.client, &frame.payload));
    }
}

fn service(rig: &mut Rig, net: Net, backends: u16) -> SocketAddr {
    let vip = net.vip(10, 80);
    let backends: Vec<_> = (1..=backends).map(|n| net.backend(n, 8080)).collect();
    rig.service(1, vip, Protocol::Tcp, &backends);
    vip
}

/// Runs a test in both families.
#[test]
fn a_connection_is_translated_both_ways_from_syn_to_data() {
    in_both("tcp-both-ways", |rig, net| {
        let vip = service(rig, net, 4);
        let connection = Connection::open(rig, net.client(40000), vip);
        assert_eq!(rig.states(), [(false, FLOW_HALF_OPEN); 2]);
        connection.establish(rig);
        assert_eq!(rig.states(), [(true, FLOW_ESTABLISHED); 2]);
        connection.client_sends(rig, &connection.client_frame(ACK).payload(b"an odd number of bytes"));
        connection.backend_sends(rig, &connection.backend_frame(ACK).payload(b"and an answer"));
    });
}

#[test]
fn a_retransmitted_syn_goes_to_the_same_backend() {
    in_both("tcp-again", |rig, net| {
        let vip = service(rig, net, 64);
        for port in 40000..40016 {
            let connection = Connection::open(rig, net.client(port), vip);
            connection.client_sends(rig, &connection.client_frame(SYN).seq(CLIENT_SEQ));
        }
    });
}

#[test]
fn a_flow_is_established_only_by_the_acknowledgement_of_its_syn_ack() {
    in_both("tcp-handshake", |rig, net| {
        let vip = service(rig, net, 4);
        let connection = Connection::open(rig, net.client(40000), vip);
        connection.client_sends(rig, &connection.client_frame(ACK).ack(1));
        assert_eq!(rig.states(), [(false, FLOW_HALF_OPEN); 2], "no SYN-ACK was seen");
        connection.backend_sends(rig, &connection.backend_frame(SYN | ACK).seq(SERVER_SEQ).ack(CLIENT_SEQ + 1));
        connection.client_sends(rig, &connection.client_frame(ACK).ack(0x8000_0000));
        assert_eq!(rig.states(), [(false, FLOW_HALF_OPEN); 2], "it acknowledges something else");
        connection.client_sends(rig, &connection.client_frame(ACK).ack(SERVER_SEQ.wrapping_add(1)));
        assert_eq!(rig.states(), [(true, FLOW_ESTABLISHED); 2]);
    });
}

#[test]
fn a_flow_closes_when_both_sides_have_sent_fin_and_its_last_packets_still_pass() {
    in_both("tcp-fin", |rig, net| {
        let vip = service(rig, net, 4);
        let connection = Connection::open(rig, net.client(40000), vip);
        connection.establish(rig);
        connection.client_sends(rig, &connection.client_frame(FIN | ACK));
        assert_eq!(rig.states(), [(true, FLOW_ESTABLISHED); 2], "half closed");
        connection.backend_sends(rig, &connection.backend_frame(ACK).payload(b"the rest"));
        connection.backend_sends(rig, &connection.backend_frame(FIN | ACK));
        assert_eq!(rig.states(), [(false, FLOW_CLOSING); 2]);
        connection.client_sends(rig, &connection.client_frame(ACK));
        connection.backend_sends(rig, &connection.backend_frame(FIN | ACK));
        assert_eq!(rig.states(), [(false, FLOW_CLOSING); 2]);
    });
}

#[test]
fn a_reset_from_either_side_ends_the_flow_in_any_state() {
    in_both("tcp-rst", |rig, net| {
        let vip = service(rig, net, 4);
        for (port, by_client, established) in
            [(40000, true, true), (40001, false, true), (40002, true, false), (40003, false, false)]
        {
            let connection = Connection::open(rig, net.client(port), vip);
            if established {
                connection.establish(rig);
            }
            if by_client {
                connection.client_sends(rig, &connection.client_frame(RST));
            } else {
                connection.backend_sends(rig, &connection.backend_frame(RST | ACK));
            }
        }
        assert_eq!(rig.states(), [(false, FLOW_RESET); 8]);
    });
}

#[test]
fn a_syn_on_a_flow_that_has_ended_begins_a_new_one() {
    in_both("tcp-reuse", |rig, net| {
        let vip = service(rig, net, 1);
        let connection = Connection::open(rig, net.client(40000), vip);
        connection.establish(rig);
        connection.client_sends(rig, &connection.client_frame(FIN | ACK));
        connection.backend_sends(rig, &connection.backend_frame(FIN | ACK));
        Connection::open(rig, net.client(40000), vip).establish(rig);
        assert_eq!(rig.states(), [(true, FLOW_ESTABLISHED); 2]);
        connection.backend_sends(rig, &connection.backend_frame(RST));
        Connection::open(rig, net.client(40000), vip);
        assert_eq!(rig.states(), [(false, FLOW_HALF_OPEN); 2]);
    });
}

#[test]
fn an_established_flow_outlives_its_backends_place_in_the_set_l1() {
    in_both("tcp-l1", |rig, net| {
        let vip = net.vip(10, 80);
        let ids = rig.service(1, vip, Protocol::Tcp, &[net.backend(1, 8080)]);
        let connection = Connection::open(rig, net.client(40000), vip);
        connection.establish(rig);
        rig.write_set(crate::rig::service_id(1), &[]);
        rig.retire(1, ids[0], net.backend(1, 8080));
        connection.client_sends(rig, &connection.client_frame(ACK).payload(b"still here"));
        connection.backend_sends(rig, &connection.backend_frame(ACK).payload(b"so am I"));
    });
}

#[test]
fn a_syn_nobody_answered_is_decided_anew_when_its_backend_has_gone() {
    in_both("tcp-moved", |rig, net| {
        let vip = net.vip(10, 80);
        let ids = rig.service(1, vip, Protocol::Tcp, &[net.backend(1, 8080)]);
        let lost = Connection::open(rig, net.client(40000), vip);
        let answered = Connection::open(rig, net.client(40001), vip);
        answered.backend_sends(rig, &answered.backend_frame(SYN | ACK).seq(SERVER_SEQ));
        rig.write_set(crate::rig::service_id(1), &[net.backend(2, 8080)]);
        rig.retire(1, ids[0], net.backend(1, 8080));
        let moved = Connection::open(rig, lost.client, vip);
        assert_eq!(moved.backend, net.backend(2, 8080));
        answered.client_sends(rig, &answered.client_frame(SYN));
    });
}

#[test]
fn a_flow_idle_in_both_directions_counts_as_absent() {
    in_both("tcp-idle", |rig, net| {
        let vip = service(rig, net, 1);
        let connection = Connection::open(rig, net.client(40000), vip);
        rig.age_flows(FLOW_HALF_OPEN_IDLE_NS + 1);
        rig.egress(&connection.backend_frame(SYN | ACK), &["pass_no_frontend"]);
        rig.ingress(&connection.client_frame(ACK), &["pass_not_first"]);
        assert_eq!(rig.states(), []);
        let connection = Connection::open(rig, net.client(40000), vip);
        rig.age_flows(FLOW_HALF_OPEN_IDLE_NS - 5_000_000_000);
        connection.backend_sends(rig, &connection.backend_frame(SYN | ACK).seq(SERVER_SEQ));
        rig.age_flows(FLOW_HALF_OPEN_IDLE_NS - 5_000_000_000);
        connection.client_sends(rig, &connection.client_frame(ACK).ack(SERVER_SEQ.wrapping_add(1)));
        assert_eq!(rig.states(), [(true, FLOW_ESTABLISHED); 2], "the reply kept it alive");
    });
}

#[test]
fn a_lost_reply_entry_is_put_back_and_a_lost_forward_entry_leads_to_a_new_flow() {
    in_both("tcp-evicted", |rig, net| {
        let vip = service(rig, net, 1);
        let connection = Connection::open(rig, net.client(40000), vip);
        rig.evict(FLOW_EGRESS);
        connection.client_sends(rig, &connection.client_frame(SYN).seq(CLIENT_SEQ));
        connection.establish(rig);
        let connection = Connection::open(rig, net.client(40001), vip);
        rig.evict(FLOW_INGRESS);
        let again = Connection::open(rig, net.client(40001), vip);
        assert_eq!(again.backend, connection.backend);
        again.establish(rig);
        assert_eq!(rig.states(), [(true, FLOW_ESTABLISHED); 4]);
    });
}

#[test]
fn a_handshake_that_ends_when_the_table_of_established_flows_is_full_waits_for_room() {
    with_rig("tcp-full", |rig| {
        let [net, _] = NETS;
        let vip = service(rig, net, 4);
        let held = Connection::open(rig, net.client(39999), vip);
        held.establish(rig);
        rig.occupy(net.backend(9, 9), net.client(1), 1..=FLOWS_MAX - 2);
        let connection = Connection::open(rig, net.client(40000), vip);
        connection.backend_sends(rig, &connection.backend_frame(SYN | ACK).seq(SERVER_SEQ));
        let ack = connection.client_frame(ACK).ack(SERVER_SEQ.wrapping_add(1));
        // Full, then with room for one entry of the two.
        for _ in 0..2 {
            let out = rig.ingress(&ack, &["drop_flow_table_full"]);
            assert_eq!((out.verdict, out.bytes), (DROP, ack.bytes()));
            let lru: Vec<_> = rig.states().into_iter().filter(|(kept, _)| !kept).collect();
            assert_eq!(lru, [(false, FLOW_HALF_OPEN); 2], "both or neither");
            connection.backend_sends(rig, &connection.backend_frame(SYN | ACK).seq(SERVER_SEQ));
            held.client_sends(rig, &held.client_frame(ACK).payload(b"what is in the table goes on"));
            rig.vacate(net.backend(9, 9), net.client(1), 1..=1);
        }
        rig.vacate(net.backend(9, 9), net.client(1), 2..=2);
        connection.client_sends(rig, &connection.client_frame(ACK).ack(SERVER_SEQ.wrapping_add(1)));
        assert!(rig.states().into_iter().all(|(kept, _)| kept), "now there is room");
    });
}

#[test]
fn a_forged_reset_or_fin_ends_no_connection_that_goes_on() {
    in_both("tcp-forged", |rig, net| {
        let vip = service(rig, net, 4);
        for (port, forged) in [(40000, RST), (40001, FIN | ACK)] {
            let connection = Connection::open(rig, net.client(port), vip);
            connection.establish(rig);
            rig.age_flows(FLOW_SILENT_NS + 1);
            connection.client_sends(rig, &connection.client_frame(forged));
            connection.backend_sends(rig, &connection.backend_frame(forged));
            connection.client_sends(rig, &connection.client_frame(ACK).payload(b"at once"));
            rig.age_flows(10 * FLOW_RESET_IDLE_NS + FLOW_HALF_OPEN_IDLE_NS);
            connection.backend_sends(rig, &connection.backend_frame(ACK).payload(b"and after a while"));
            connection.client_sends(rig, &connection.client_frame(ACK).payload(b"both ways"));
        }
    });
}

#[test]
fn a_late_packet_of_the_former_backend_does_not_touch_the_flow_of_the_next_one() {
    in_both("tcp-late", |rig, net| {
        let vip = net.vip(10, 80);
        let ids = rig.service(1, vip, Protocol::Tcp, &[net.backend(1, 8080)]);
        let former = Connection::open(rig, net.client(40000), vip);
        rig.write_set(crate::rig::service_id(1), &[net.backend(2, 8080)]);
        rig.retire(1, ids[0], net.backend(1, 8080));
        rig.evict(FLOW_INGRESS);
        let next = Connection::open(rig, net.client(40000), vip);
        next.establish(rig);
        assert_eq!(next.backend, net.backend(2, 8080));
        rig.egress(&former.backend_frame(RST), &["pass_no_frontend"]);
        assert_eq!(rig.states(), [(true, FLOW_ESTABLISHED); 2], "the stale entry is gone, the flow stands");
        next.client_sends(rig, &next.client_frame(ACK).payload(b"on"));
    });
}

#[test]
fn a_flood_between_syn_ack_and_ack_costs_no_connection() {
    in_both("tcp-flood", |rig, net| {
        let vip = service(rig, net, 4);
        for (port, lost) in [(40000, FLOW_INGRESS), (40001, FLOW_EGRESS)] {
            let connection = Connection::open(rig, net.client(port), vip);
            let syn_ack = connection.backend_frame(SYN | ACK).seq(SERVER_SEQ).ack(CLIENT_SEQ + 1);
            connection.backend_sends(rig, &syn_ack);
            rig.evict(lost);
            if lost == FLOW_INGRESS {
                connection.backend_sends(rig, &syn_ack);
            }
            let ack = connection.client_frame(ACK).ack(SERVER_SEQ.wrapping_add(1));
            connection.client_sends(rig, &ack);
            connection.backend_sends(rig, &connection.backend_frame(ACK).seq(SERVER_SEQ.wrapping_add(1)));
            connection.client_sends(rig, &ack);
            assert!(rig.states().into_iter().all(|state| state == (true, FLOW_ESTABLISHED)), "{:?}", rig.states());
        }
    });
}

#[test]
fn a_syn_on_a_connection_to_a_backend_that_has_gone_begins_a_new_flow_once_the_backend_is_silent() {
    in_both("tcp-gone", |rig, net| {
        let vip = net.vip(10, 80);
        let ids = rig.service(1, vip, Protocol::Tcp, &[net.backend(1, 8080)]);
        let connection = Connection::open(rig, net.client(40000), vip);
        connection.establish(rig);
        rig.write_set(crate::rig::service_id(1), &[net.backend(2, 8080)]);
        rig.retire(1, ids[0], net.backend(1, 8080));
        connection.client_sends(rig, &connection.client_frame(SYN));
        assert_eq!(rig.states(), [(true, FLOW_ESTABLISHED); 2], "a forged SYN ends nothing (L1)");
        rig.age_flows(FLOW_SILENT_NS + 1);
        let next = Connection::open(rig, net.client(40000), vip);
        assert_eq!(next.backend, net.backend(2, 8080));
        assert_eq!(rig.states(), [(false, FLOW_HALF_OPEN); 2]);
    });
}

#[test]
fn a_backend_dialled_by_its_own_address_after_the_flow_has_ended_answers_by_its_own_address() {
    in_both("tcp-direct", |rig, net| {
        let vip = service(rig, net, 1);
        let connection = Connection::open(rig, net.client(40000), vip);
        connection.establish(rig);
        connection.client_sends(rig, &connection.client_frame(FIN | ACK));
        connection.backend_sends(rig, &connection.backend_frame(FIN | ACK));
        rig.egress(&connection.backend_frame(SYN | ACK), &["pass_no_frontend"]);
        assert_eq!(rig.states(), [], "the flow gives way to that connection");
        let data = connection.backend_frame(ACK).payload(b"hello");
        let out = rig.egress(&data, &["pass_no_frontend"]);
        assert_eq!(out.bytes, data.bytes(), "and all of it passes as it is");
    });
}

#[test]
fn tcp_that_does_not_begin_a_flow_passes_untouched() {
    in_both("tcp-not-first", |rig, net| {
        let vip = service(rig, net, 4);
        for flags in [ACK, SYN | ACK, RST, SYN | RST, FIN | ACK, 0] {
            let frame = Frame::tcp(net.client(40000), vip, flags);
            let out = rig.ingress(&frame, &["pass_not_first"]);
            assert_eq!((out.verdict, out.bytes), (NEXT, frame.bytes()), "flags {flags:#x}");
        }
        assert_eq!(rig.states(), []);
    });
}

#[test]
fn a_set_that_never_holds_still_costs_the_packet_and_nothing_else() {
    in_both("tcp-raced", |rig, net| {
        let vip = net.vip(10, 80);
        let ids = rig.service(1, vip, Protocol::Tcp, &[net.backend(1, 8080)]);
        rig.retire(1, ids[0], net.backend(1, 8080));
        let out = rig.ingress(&Frame::tcp(net.client(40000), vip, SYN), &["drop_set_raced"]);
        assert_eq!((out.verdict, rig.states()), (DROP, vec![]));
    });
}

#[test]
fn a_packet_too_long_for_its_length_field_is_translated_as_the_others_are() {
    in_both("tcp-big", |rig, net| {
        let vip = service(rig, net, 1);
        let connection = Connection::open(rig, net.client(40000), vip);
        connection.establish(rig);
        let field = if vip.is_ipv4() { 16..18 } else { 18..20 };
        let mut big = connection.client_frame(ACK).payload(&[7; 3000]).bytes();
        let len: Vec<u8> = big[field.clone()].to_vec();
        big[field.clone()].fill(0);
        let mut out = rig.run_gso("ingress", &big, "flow_forward").bytes;
        out[field].copy_from_slice(&len);
        let seen = Seen::read(&out);
        assert_eq!((seen.dst, seen.payload), (connection.backend, vec![7; 3000]));
        rig.run("ingress", &big, &["pass_truncated"]);
    });
}
