//! ICMP: errors about translated flows are translated, with the packet they are about, so that path MTU discovery works through a
//! Service; redirects about them are dropped; an echo request to a ClusterIP is refused (A2).
//!
//! An error goes where the packet it is about came from. So it is about what meets the entry of the other direction, at the hook it is
//! seen at: with that entry's key, turned round, embedded in it, it gets what the entry rewrites to, turned round.
use crate::family::{Family, IcmpKind, Tuple};
use crate::first;
use crate::flow;
use crate::ip::Part;
use crate::outcome::Outcome;
use crate::reject::IcmpHeader;
use crate::rewrite::outer_address;
use crate::segment::{Ports, Segment};
use crate::select::{Dialled, dialled};
use crate::sys::packet::difference;
use crate::sys::{Failed, Packet};
use sheave_abi::{Counter, FLOW_EGRESS, NetPort};
use zerocopy::{FromBytes, transmute};

/// Bytes of an ICMP header before the embedded packet.
const HEADER_LEN: u32 = 8;
/// Offset of the checksum in it.
const CHECKSUM: u32 = 2;

/// Bytes of an IPv6 redirect before its options.
const REDIRECT_LEN: u32 = 40;
/// Options looked at: two are defined for a redirect.
const OPTIONS_MAX: u32 = 3;
const REDIRECTED_HEADER: u8 = 4;

/// First bytes of an option of neighbour discovery.
#[derive(Clone, Copy, FromBytes)]
#[repr(C)]
struct NeighbourOption {
    kind: u8,
    /// In units of 8 bytes.
    len: u8,
}

/// Where the headers of an embedded packet stand.
#[derive(Clone, Copy)]
struct Offsets {
    l3: u32,
    l4: u32,
}

/// An ICMP message; `segment` has its addresses.
#[inline(never)]
pub fn handle<F: Family>(packet: Packet, segment: &mut Segment<F>) -> Outcome {
    let Some(header) = packet.load::<IcmpHeader>(segment.l4) else { return Outcome::next(Counter::PassTruncated) };
    match F::icmp_kind(header.kind) {
        IcmpKind::Error => error(packet, segment),
        IcmpKind::Redirect => redirect(packet, segment),
        IcmpKind::EchoRequest => echo(packet, segment),
        IcmpKind::Other => Outcome::next(Counter::PassProtocol),
    }
}

/// An address of ours answers no echo.
#[inline(never)]
fn echo<F: Family>(packet: Packet, segment: &Segment<F>) -> Outcome {
    let dst = segment.tuple().dst;
    let is_egress = segment.hook() == FLOW_EGRESS;
    match dialled::<F>(&dst, NetPort::ANY, segment.protocol) {
        Dialled::Claimed if is_egress || packet.is_to_host() => first::refuse(packet, segment),
        Dialled::Claimed => Outcome::next(Counter::PassNotHost),
        Dialled::Nothing if is_egress && first::is_unallocated::<F>(&dst) => Outcome::drop(Counter::DropUnallocated),
        _ => Outcome::next(Counter::PassProtocol),
    }
}

#[inline(never)]
fn redirect<F: Family>(packet: Packet, segment: &mut Segment<F>) -> Outcome {
    let l3 = if F::IS_IPV6 { redirected(packet, segment.l4) } else { segment.l4 + HEADER_LEN };
    if l3 == 0 || read_embedded(packet, segment, l3) == 0 {
        return Outcome::next(Counter::PassProtocol);
    }
    let hook = segment.hook();
    for _ in 0..2 {
        segment.partner_key = F::flow_key(&segment.to, hook);
        if flow::find::<F>(&segment.partner_key).is_some() {
            return Outcome::drop(Counter::DropRedirect);
        }
        segment.to = segment.to.reversed();
    }
    Outcome::next(Counter::PassProtocol)
}

#[inline(never)]
fn error<F: Family>(packet: Packet, segment: &mut Segment<F>) -> Outcome {
    let l3 = segment.l4 + HEADER_LEN;
    let l4 = read_embedded(packet, segment, l3);
    if l4 == 0 {
        return Outcome::next(Counter::PassProtocol);
    }
    segment.partner_key = F::flow_key(&segment.to, segment.hook());
    let Some(found) = flow::find::<F>(&segment.partner_key).filter(|found| !found.is_pending() && !found.is_foreign())
    else {
        return Outcome::next(Counter::PassNoFrontend);
    };
    let to = found.to::<F>(segment.to.protocol);
    match inner(packet, segment, &to, Offsets { l3, l4 }).and_then(|()| outer(packet, segment, &to)) {
        Ok(()) => Outcome::next(Counter::FlowError),
        Err(Failed) => Outcome::drop(Counter::DropRewriteFailed),
    }
}

/// Reads what a message is about, if it is of a protocol with ports and has them: of a later fragment there are none. Makes
/// `segment.to` the answers to it, and returns where its transport header stands; 0 when it is of no use.
#[inline(never)]
fn read_embedded<F: Family>(packet: Packet, segment: &mut Segment<F>, l3: u32) -> u32 {
    let Ok(ip) = F::locate(packet, l3, true) else { return 0 };
    if ip.protocol == F::ICMP || ip.part == Part::Later {
        return 0;
    }
    let Some(Ports { src, dst }) = packet.load(ip.l4) else { return 0 };
    segment.to = Tuple { src: ip.dst, dst: ip.src, src_port: dst, dst_port: src, protocol: ip.protocol };
    ip.l4
}

/// Where the packet stands that an IPv6 redirect is about: in one of its options (RFC 4861 §4.5, §4.6.3). 0 for nowhere.
#[inline(always)]
fn redirected(packet: Packet, l4: u32) -> u32 {
    let mut at = l4 + REDIRECT_LEN;
    for _ in 0..OPTIONS_MAX {
        let Some(NeighbourOption { kind, len }) = packet.load(at) else { return 0 };
        if kind == REDIRECTED_HEADER {
            return at + HEADER_LEN;
        }
        at += u32::from(len) * 8;
    }
    0
}

/// Rewrites the embedded packet, whose answers are `segment.to` and become `to`. Its transport checksum stays as it is: it may not be
/// there in full, and nobody verifies it. In IPv4 the addresses and the checksum of the embedded header cancel out in the checksum of
/// the message.
#[inline(never)]
fn inner<F: Family>(packet: Packet, segment: &Segment<F>, to: &Tuple<F::Addr>, offsets: Offsets) -> Result<(), Failed> {
    let Offsets { l3, l4 } = offsets;
    let from = &segment.to;
    let wide = F::to_wide;
    let sources = difference(wide(from.src), wide(to.src), 0);
    let addresses = difference(wide(from.dst), wide(to.dst), sources);
    if let Some(checksum) = F::HEADER_CHECKSUM {
        packet.update_header_checksum(l3 + checksum, addresses)?;
    }
    packet.store(l3 + F::SRC, &to.dst)?;
    packet.store(l3 + F::DST, &to.src)?;
    let ports = |answers: &Tuple<F::Addr>| Ports { src: answers.dst_port, dst: answers.src_port };
    packet.store(l4, &ports(to))?;
    let summed = if F::HEADER_CHECKSUM.is_some() { 0 } else { addresses };
    let diff = difference::<1>(transmute!(ports(from)), transmute!(ports(to)), summed);
    packet.update_message_checksum(segment.l4 + CHECKSUM, diff)
}

/// Rewrites the addresses of the message itself where they are the flow's: an error may be made by a router in between.
#[inline(never)]
fn outer<F: Family>(packet: Packet, segment: &Segment<F>, to: &Tuple<F::Addr>) -> Result<(), Failed> {
    let message = segment.tuple();
    if message.src == segment.to.src {
        outer_address_of(packet, segment, F::SRC, &message.src, &to.src)?;
    }
    if message.dst == segment.to.dst {
        outer_address_of(packet, segment, F::DST, &message.dst, &to.dst)?;
    }
    Ok(())
}

#[inline(always)]
fn outer_address_of<F: Family>(
    packet: Packet,
    segment: &Segment<F>,
    at: u32,
    from: &F::Addr,
    to: &F::Addr,
) -> Result<(), Failed> {
    let diff = difference(F::to_wide(*from), F::to_wide(*to), 0);
    if F::IS_IPV6 {
        packet.update_pseudo_checksum(segment.l4 + CHECKSUM, diff, true, false)?;
    }
    outer_address::<F>(packet, at, diff, to)
}
