//! Writes translated addresses and ports into a packet, and brings the checksums up to date from the differences alone
//! (RFC 1624): cost does not depend on the packet's length, and GSO and checksum offload stay as they are.
use crate::family::Family;
use crate::fragment;
use crate::outcome::Outcome;
use crate::segment::{Kind, Segment};
use crate::sys::packet::difference;
use crate::sys::{Failed, Packet};
use sheave_abi::{Counter, NetPort};

mod sctp;

/// Offsets of the ports within a TCP or UDP header.
const SRC_PORT: u32 = 0;
const DST_PORT: u32 = 2;

/// Translates a packet, and lets the fragments that follow a first one be translated as well; or says how the packet ends.
#[inline(always)]
pub fn translate<F: Family>(packet: Packet, segment: &Segment<F>) -> Result<(), Outcome> {
    if segment.is_first_fragment {
        if sctp::changes_ports(segment) {
            return Err(Outcome::drop(Counter::DropSctpFragment));
        }
        fragment::remember(segment);
    }
    rewrite(packet, segment).map_err(|Failed| Outcome::drop(Counter::DropRewriteFailed))
}

/// Rewrites whatever differs. Of a later fragment only the addresses: the first one carries checksum and ports.
#[inline(never)]
fn rewrite<F: Family>(packet: Packet, segment: &Segment<F>) -> Result<(), Failed> {
    let (from, to) = (segment.tuple(), &segment.to);
    if from.src != to.src {
        address(packet, segment, F::SRC, from.src, to.src)?;
    }
    if from.dst != to.dst {
        address(packet, segment, F::DST, from.dst, to.dst)?;
    }
    if segment.kind == Kind::LaterFragment {
        return Ok(());
    }
    if segment.is_sctp() {
        return sctp::rewrite_ports(packet, segment);
    }
    port(packet, segment, SRC_PORT, from.src_port, to.src_port)?;
    port(packet, segment, DST_PORT, from.dst_port, to.dst_port)
}

#[inline(always)]
fn address<F: Family>(packet: Packet, segment: &Segment<F>, at: u32, from: F::Addr, to: F::Addr) -> Result<(), Failed> {
    let diff = difference(F::to_wide(from), F::to_wide(to), 0);
    if segment.is_sctp() {
        // Its checksum covers no address. IPv4's header has one that does.
        if F::IS_IPV6 {
            packet.update_device_sum(diff);
        }
    } else if segment.kind == Kind::Flow {
        packet.update_pseudo_checksum(segment.checksum(), diff, F::IS_IPV6, !segment.is_tcp())?;
    }
    outer_address::<F>(packet, at, diff, &to)
}

/// Writes an address into the packet's IP header; `diff` is what that adds to a sum.
#[inline(always)]
pub fn outer_address<F: Family>(packet: Packet, at: u32, diff: u32, to: &F::Addr) -> Result<(), Failed> {
    if let Some(checksum) = F::HEADER_CHECKSUM {
        packet.update_header_checksum(packet.l3() + checksum, diff)?;
    }
    packet.store(packet.l3() + at, to)
}

#[inline(always)]
fn port<F: Family>(packet: Packet, segment: &Segment<F>, at: u32, from: NetPort, to: NetPort) -> Result<(), Failed> {
    if from == to {
        return Ok(());
    }
    packet.update_port_checksum(segment.checksum(), from.to_wire(), to.to_wire(), !segment.is_tcp())?;
    packet.store(segment.l4 + at, &to)
}
