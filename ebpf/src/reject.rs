//! Refusals, made in place from the refused packet and sent back (E11, A2), as is the news that a packet is too long for its way: a
//! client learns at once what it would otherwise find out by waiting. What came in leaves by its device; what was going out comes in by it, as if a host behind it had answered.
use crate::family::{Family, Tuple};
use crate::ip::{EthernetHeader, write_header};
use crate::outcome::Outcome;
use crate::segment::{ACK, FIN, RST, Segment, TcpHeader};
use crate::sys::packet::{SUMMED_MAX, folded, summed};
use crate::sys::{Failed, Packet};
use core::num::NonZeroU32;
use sheave_abi::{Counter, FLOW_INGRESS, IPPROTO_TCP};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Of the refused packet an ICMP error carries all headers (RFC 792, RFC 4443 §3.1), which is what sockets look at.
const UDP_HEADER_LEN: u32 = 8;
/// Of a TCP header the part that every one has: less is not left of a packet whose checksum is still to be filled in
/// (`__bpf_skb_min_len`). Of an SCTP packet as much: with it an INIT has its tag, by which its socket knows it (RFC 9260 §10, ICMP6).
const TCP_HEADER_LEN: u32 = size_of::<TcpHeader>() as u32;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C, align(4))]
pub struct IcmpHeader {
    pub kind: u8,
    pub code: u8,
    pub checksum: [u8; 2],
    /// The MTU of a way that is too narrow; else nothing.
    pub rest: [u8; 4],
}

/// Turns the packet into its own refusal.
#[inline(never)]
pub fn reject<F: Family>(packet: Packet, segment: &Segment<F>) -> Outcome {
    if segment.is_tcp() {
        answer(packet, segment, reset(packet, segment), Counter::RejectReset)
    } else {
        answer(packet, segment, error(packet, segment, None), Counter::RejectUnreachable)
    }
}

/// Turns a packet that is sent on past the stack, which would cut it or say so, into the news of how long an IP packet may be there
/// (RFC 1191 §4, RFC 4443 §3.2). Not said of IPv4 packets that routers may cut.
#[inline(never)]
pub fn too_long<F: Family>(packet: Packet, segment: &Segment<F>, mtu: u32) -> Outcome {
    answer(packet, segment, error(packet, segment, NonZeroU32::new(mtu)), Counter::RejectTooLong)
}

/// Sends back what was made of a packet.
#[inline(always)]
fn answer<F: Family>(packet: Packet, segment: &Segment<F>, made: Result<(), Failed>, counter: Counter) -> Outcome {
    match made.and_then(|()| turn_round(packet)) {
        Ok(()) if segment.hook() == FLOW_INGRESS => Outcome::redirect(counter, packet.send_by(packet.ifindex())),
        Ok(()) => Outcome::redirect(counter, packet.come_in_by(packet.ifindex())),
        Err(Failed) => Outcome::drop(Counter::DropRewriteFailed),
    }
}

/// A reset that acknowledges the SYN (RFC 9293 §3.10.7.1). Never the answer to a reset: those begin no flow.
#[inline(always)]
fn reset<F: Family>(packet: Packet, segment: &Segment<F>) -> Result<(), Failed> {
    const LEN: u32 = TCP_HEADER_LEN;
    let Tuple { src, dst, src_port, dst_port, .. } = segment.tuple();
    let fin = u32::from(segment.flags & FIN != 0);
    let ack = segment.seq.wrapping_add(1).wrapping_add(segment.payload_len).wrapping_add(fin);
    let mut header = TcpHeader {
        src_port: dst_port.to_wire().to_ne_bytes(),
        dst_port: src_port.to_wire().to_ne_bytes(),
        seq: [0; 4],
        ack: ack.to_be_bytes(),
        data_offset: ((LEN / 4) << 4) as u8,
        flags: RST | ACK,
        window: [0; 2],
        checksum: [0; 2],
        urgent: [0; 2],
    };
    header.checksum = folded(summed(&header, F::pseudo_sum(&dst, &src, IPPROTO_TCP, LEN)));
    packet.trim(packet.l3() + F::HEADER_LEN + LEN);
    write_header::<F>(packet, &dst, &src, IPPROTO_TCP, LEN)?;
    packet.store(packet.l3() + F::HEADER_LEN, &header)
}

/// An ICMP error about the packet: what IP packets may have on its way, or else that nobody is at its port.
#[inline(never)]
fn error<F: Family>(packet: Packet, segment: &Segment<F>, mtu: Option<NonZeroU32>) -> Result<(), Failed> {
    const LEN: u32 = size_of::<IcmpHeader>() as u32;
    let Tuple { src, dst, .. } = segment.tuple();
    let ((kind, code), rest) = match mtu {
        Some(mtu) => (F::TOO_LONG, mtu.get().to_be_bytes()),
        None => (F::PORT_UNREACHABLE, [0; 4]),
    };
    let headers = if segment.is_tcp() || segment.is_sctp() { TCP_HEADER_LEN } else { UDP_HEADER_LEN };
    let embedded = (segment.l4 - packet.l3() + headers).min(SUMMED_MAX);
    let mut header = IcmpHeader { kind, code, checksum: [0; 2], rest };
    let pseudo = if F::IS_IPV6 { F::pseudo_sum(&dst, &src, F::ICMP, LEN + embedded) } else { 0 };
    header.checksum = folded(packet.sum(packet.l3(), embedded, summed(&header, pseudo))?);
    packet.trim(packet.l3() + embedded);
    packet.insert_after_ethernet(F::HEADER_LEN + LEN)?;
    write_header::<F>(packet, &dst, &src, F::ICMP, LEN + embedded)?;
    packet.store(packet.l3() + F::HEADER_LEN, &header)
}

/// Back to the neighbour it came from.
#[inline(always)]
fn turn_round(packet: Packet) -> Result<(), Failed> {
    if !packet.has_ethernet() {
        return Ok(());
    }
    let header: EthernetHeader = packet.load(0).ok_or(Failed)?;
    packet.store(0, &EthernetHeader { dst: header.src, src: header.dst, ..header })
}
