//! From the Ethernet header to the transport header: IPv4 with options, IPv6 with extension headers, within fixed bounds.
use crate::family::{Family, V4, V6};
use crate::sys::packet::{folded, summed};
use crate::sys::{Failed, Packet};
use sheave_abi::{Counter, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP};
use zerocopy::{FromBytes, Immutable, IntoBytes, transmute};

/// Where the IP header starts behind an Ethernet header.
pub const ETHERNET_LEN: u32 = 14;
/// EtherTypes.
pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;

/// More extension headers than this and the packet is passed (RFC 8504 §5.3 lets a node set such a limit).
const EXTENSIONS_MAX: u32 = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct EthernetHeader {
    pub dst: [u8; 6],
    pub src: [u8; 6],
    pub ether_type: [u8; 2],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C, align(4))]
pub struct Ipv4Header {
    pub version_ihl: u8,
    pub tos: u8,
    pub total_len: [u8; 2],
    pub id: [u8; 2],
    pub fragment: [u8; 2],
    pub ttl: u8,
    pub protocol: u8,
    pub checksum: [u8; 2],
    pub src: [u8; 4],
    pub dst: [u8; 4],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C, align(8))]
pub struct Ipv6Header {
    pub version_class: [u8; 4],
    pub payload_len: [u8; 2],
    pub next_header: u8,
    pub hop_limit: u8,
    pub src: [u8; 16],
    pub dst: [u8; 16],
}

/// What a transport checksum covers of the IP header (RFC 9293 §3.1).
#[derive(IntoBytes, Immutable)]
#[repr(C, align(4))]
pub struct PseudoHeaderV4 {
    pub src: u32,
    pub dst: u32,
    pub zero: u8,
    pub protocol: u8,
    pub len: [u8; 2],
}

/// What a transport checksum covers of the IP header (RFC 8200 §8.1).
#[derive(IntoBytes, Immutable)]
#[repr(C, align(4))]
pub struct PseudoHeaderV6 {
    pub src: [u32; 4],
    pub dst: [u32; 4],
    pub len: [u8; 4],
    pub zero: [u8; 3],
    pub next_header: u8,
}

/// First bytes of an extension header.
#[derive(Clone, Copy, FromBytes)]
#[repr(C)]
struct Extension {
    next_header: u8,
    /// In units of 8 bytes, without the first 8.
    len: u8,
    kind: u8,
    segments_left: u8,
}

/// RFC 8200 §4.5.
#[derive(Clone, Copy, FromBytes)]
#[repr(C, align(4))]
struct FragmentHeader {
    next_header: u8,
    reserved: u8,
    /// In units of 8 bytes, above three bits of which the lowest is "more fragments".
    offset: [u8; 2],
    id: [u8; 4],
}

/// Where in its datagram a packet stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// The first fragment, which has the transport header.
    First,
    /// Another fragment.
    Later,
}

/// A packet whose transport header was found.
pub struct Located<A> {
    pub src: A,
    pub dst: A,
    /// TCP, UDP, SCTP or the family's ICMP.
    pub protocol: u8,
    /// Offset of the transport header; of a later fragment, of its data.
    pub l4: u32,
    /// Bytes from there on, as the IP header has it.
    pub l4_len: u32,
    pub part: Part,
    /// Identification of a fragmented datagram, as it stands on the wire.
    pub id: u32,
}

#[inline(always)]
pub fn locate_v4(packet: Packet, l3: u32, is_embedded: bool) -> Result<Located<u32>, Counter> {
    let header: Option<Ipv4Header> = if is_embedded { packet.load(l3) } else { packet.read(l3) };
    let header = header.ok_or(Counter::PassTruncated)?;
    let header_len = u32::from(header.version_ihl & 0xf) * 4;
    let total_len = match u16::from_be_bytes(header.total_len) {
        0 => beyond_field(packet, l3),
        len => u32::from(len),
    };
    if header.version_ihl >> 4 != 4 || header_len < 20 || total_len < header_len {
        return Err(Counter::PassTruncated);
    }
    if !is_embedded && l3 + total_len > packet.len() {
        return Err(Counter::PassTruncated);
    }
    let fragment = u16::from_be_bytes(header.fragment);
    let part = match (fragment & 0x1fff, fragment & 0x2000) {
        (0, 0) => Part::Whole,
        (0, _) => Part::First,
        _ => Part::Later,
    };
    Ok(Located {
        src: transmute!(header.src),
        dst: transmute!(header.dst),
        protocol: served(header.protocol, V4::ICMP)?,
        l4: l3 + header_len,
        l4_len: total_len - header_len,
        part,
        id: u32::from(u16::from_ne_bytes(header.id)),
    })
}

#[inline(always)]
pub fn locate_v6(packet: Packet, l3: u32, is_embedded: bool) -> Result<Located<[u32; 4]>, Counter> {
    let header: Option<Ipv6Header> = if is_embedded { packet.load(l3) } else { packet.read(l3) };
    let header = header.ok_or(Counter::PassTruncated)?;
    let mut l4 = l3 + 40;
    let end = match u16::from_be_bytes(header.payload_len) {
        0 => l4 + beyond_field(packet, l4),
        len => l4 + u32::from(len),
    };
    let [version, ..] = header.version_class;
    if version >> 4 != 6 || (!is_embedded && end > packet.len()) {
        return Err(Counter::PassTruncated);
    }
    let (mut part, mut id) = (Part::Whole, 0);
    let mut next = header.next_header;
    for _ in 0..EXTENSIONS_MAX {
        if next == FRAGMENT && part == Part::Whole {
            let fragment: FragmentHeader = packet.load(l4).ok_or(Counter::PassTruncated)?;
            let offset = u16::from_be_bytes(fragment.offset);
            part = match (offset & 0xfff8, offset & 1) {
                // An "atomic" fragment is a whole datagram (RFC 6946).
                (0, 0) => Part::Whole,
                (0, _) => Part::First,
                _ => Part::Later,
            };
            id = u32::from_ne_bytes(fragment.id);
            next = fragment.next_header;
            l4 += 8;
            continue;
        }
        // Behind the header of a later fragment there is data.
        if part == Part::Later || !matches!(next, HOP_BY_HOP | ROUTING | DESTINATION) {
            break;
        }
        let extension: Extension = packet.load(l4).ok_or(Counter::PassTruncated)?;
        // Not at its final destination yet: the addresses are not those of the flow (RFC 8200 §4.4).
        if next == ROUTING && extension.segments_left != 0 {
            return Err(Counter::PassProtocol);
        }
        next = extension.next_header;
        l4 += (u32::from(extension.len) + 1) * 8;
    }
    let protocol = served(next, V6::ICMP)?;
    if l4 > end {
        return Err(Counter::PassTruncated);
    }
    Ok(Located { src: transmute!(header.src), dst: transmute!(header.dst), protocol, l4, l4_len: end - l4, part, id })
}

/// What a length field of zero means, from `offset` on: all there is for a packet too long for the field (BIG TCP, kernel 6.3 for
/// IPv4, 5.19 for IPv6), nothing for others.
#[inline(always)]
fn beyond_field(packet: Packet, offset: u32) -> u32 {
    if packet.is_gso() { packet.len().saturating_sub(offset) } else { 0 }
}

/// Time to live of what the node itself sends.
const TTL: u8 = 64;
const DONT_FRAGMENT: u16 = 0x4000;

/// Writes the IP header of a packet of the node's own.
#[inline(always)]
pub fn write_header<F: Family>(
    packet: Packet,
    src: &F::Addr,
    dst: &F::Addr,
    protocol: u8,
    payload_len: u32,
) -> Result<(), Failed> {
    packet.store(packet.l3(), &F::header(src, dst, protocol, payload_len as u16))
}

#[inline(always)]
pub fn header_v4(src: u32, dst: u32, protocol: u8, payload_len: u16) -> Ipv4Header {
    let mut header = Ipv4Header {
        version_ihl: 0x45,
        tos: 0,
        total_len: payload_len.wrapping_add(size_of::<Ipv4Header>() as u16).to_be_bytes(),
        id: [0; 2],
        fragment: DONT_FRAGMENT.to_be_bytes(),
        ttl: TTL,
        protocol,
        checksum: [0; 2],
        src: transmute!(src),
        dst: transmute!(dst),
    };
    header.checksum = folded(summed(&header, 0));
    header
}

#[inline(always)]
pub fn header_v6(src: [u32; 4], dst: [u32; 4], next_header: u8, payload_len: u16) -> Ipv6Header {
    Ipv6Header {
        version_class: [0x60, 0, 0, 0],
        payload_len: payload_len.to_be_bytes(),
        next_header,
        hop_limit: TTL,
        src: transmute!(src),
        dst: transmute!(dst),
    }
}

#[inline(always)]
fn served(protocol: u8, icmp: u8) -> Result<u8, Counter> {
    if protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP || protocol == icmp {
        Ok(protocol)
    } else {
        Err(Counter::PassProtocol)
    }
}
