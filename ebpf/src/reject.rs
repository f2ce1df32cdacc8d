//! Refusals, made in place from the refused packet and sent back (E11, A2): a client learns at once what it would otherwise find
//! out by waiting. What came in leaves by its device; what was going out comes in by it, as if a host behind it had answered.
use crate::family::{Family, Tuple};
use crate::ip::{EthernetHeader, write_header};
use crate::outcome::Outcome;
use crate::segment::{ACK, FIN, RST, Segment, TcpHeader};
use crate::sys::packet::{SUMMED_MAX, folded, summed};
use crate::sys::{Failed, Packet};
use sheave_abi::{Counter, FLOW_INGRESS, IPPROTO_TCP};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Of the refused datagram an ICMP error carries all headers (RFC 792, RFC 4443 §3.1), which is what sockets look at.
const UDP_HEADER_LEN: u32 = 8;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C, align(4))]
pub struct IcmpHeader {
    pub kind: u8,
    pub code: u8,
    pub checksum: [u8; 2],
    pub unused: [u8; 4],
}

/// Turns the packet into its own refusal.
#[inline(never)]
pub fn reject<F: Family>(packet: Packet, segment: &Segment<F>) -> Outcome {
    let (made, counter) = if segment.is_tcp() {
        (reset(packet, segment), Counter::RejectReset)
    } else {
        (unreachable(packet, segment), Counter::RejectUnreachable)
    };
    match made.and_then(|()| turn_round(packet)) {
        Ok(()) if segment.hook() == FLOW_INGRESS => Outcome::redirect(counter, packet.send_by(packet.ifindex())),
        Ok(()) => Outcome::redirect(counter, packet.come_in_by(packet.ifindex())),
        Err(Failed) => Outcome::drop(Counter::DropRewriteFailed),
    }
}

/// A reset that acknowledges the SYN (RFC 9293 §3.10.7.1). Never the answer to a reset: those begin no flow.
#[inline(always)]
fn reset<F: Family>(packet: Packet, segment: &Segment<F>) -> Result<(), Failed> {
    const LEN: u32 = size_of::<TcpHeader>() as u32;
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

/// Port unreachable: type 3 code 3 (RFC 792), for ICMPv6 type 1 code 4 (RFC 4443 §3.1).
#[inline(always)]
fn unreachable<F: Family>(packet: Packet, segment: &Segment<F>) -> Result<(), Failed> {
    const LEN: u32 = size_of::<IcmpHeader>() as u32;
    let Tuple { src, dst, .. } = segment.tuple();
    let embedded = (segment.l4 - packet.l3() + UDP_HEADER_LEN).min(SUMMED_MAX);
    let (kind, code) = F::PORT_UNREACHABLE;
    let mut header = IcmpHeader { kind, code, checksum: [0; 2], unused: [0; 4] };
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
