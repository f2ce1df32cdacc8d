//! Writes translated addresses and ports into a packet, and brings the checksums up to date from the differences alone
//! (RFC 1624): cost does not depend on the packet's length, and GSO and checksum offload stay as they are.
use crate::family::Family;
use crate::flow::Target;
use crate::ip::L3;
use crate::segment::Segment;
use crate::sys::packet::difference;
use crate::sys::{Failed, Packet};
use sheave_abi::NetPort;

/// Offsets of the ports within a TCP or UDP header.
const SRC_PORT: u32 = 0;
const DST_PORT: u32 = 2;

/// Client to backend: destination becomes the backend, source port what the backend knows.
#[inline(never)]
pub fn forward<F: Family>(packet: Packet, segment: &Segment<F>, target: &Target<F::Addr>) -> Result<(), Failed> {
    let tuple = segment.tuple();
    address(packet, segment, F::DST, tuple.dst, target.addr)?;
    port(packet, segment, DST_PORT, tuple.dst_port, target.port)?;
    port(packet, segment, SRC_PORT, tuple.src_port, target.client_port)
}

/// Backend to client: source becomes the VIP, destination port what the client knows.
#[inline(never)]
pub fn reply<F: Family>(packet: Packet, segment: &Segment<F>, target: &Target<F::Addr>) -> Result<(), Failed> {
    let tuple = segment.tuple();
    address(packet, segment, F::SRC, tuple.src, target.addr)?;
    port(packet, segment, SRC_PORT, tuple.src_port, target.port)?;
    port(packet, segment, DST_PORT, tuple.dst_port, target.client_port)
}

#[inline(always)]
fn address<F: Family>(packet: Packet, segment: &Segment<F>, at: u32, from: F::Addr, to: F::Addr) -> Result<(), Failed> {
    let diff = difference(&from, &to, 0);
    packet.update_pseudo_checksum(segment.checksum(), diff, F::IS_IPV6, !segment.is_tcp())?;
    if let Some(checksum) = F::HEADER_CHECKSUM {
        packet.update_header_checksum(L3 + checksum, diff)?;
    }
    packet.store(L3 + at, &to)
}

#[inline(always)]
fn port<F: Family>(packet: Packet, segment: &Segment<F>, at: u32, from: NetPort, to: NetPort) -> Result<(), Failed> {
    if from == to {
        return Ok(());
    }
    packet.update_port_checksum(segment.checksum(), from.to_wire(), to.to_wire(), !segment.is_tcp())?;
    packet.store(segment.l4 + at, &to)
}
