//! From the Ethernet header to the transport header: IPv4 with options, IPv6 with extension headers, within fixed bounds.
use crate::family::Family;
use crate::sys::packet::{folded, summed};
use crate::sys::{Failed, Packet};
use sheave_abi::{Counter, IPPROTO_TCP, IPPROTO_UDP};
use zerocopy::{FromBytes, Immutable, IntoBytes, transmute};

/// Where the IP header starts.
pub const L3: u32 = 14;
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

/// A packet whose transport header was found.
pub struct Located<A> {
    pub src: A,
    pub dst: A,
    /// TCP or UDP.
    pub protocol: u8,
    /// Offset of the transport header.
    pub l4: u32,
    /// Bytes from the transport header on, as the IP header has it.
    pub l4_len: u32,
}

#[inline(always)]
pub fn locate_v4(packet: Packet) -> Result<Located<u32>, Counter> {
    let header: Ipv4Header = packet.load(L3).ok_or(Counter::PassTruncated)?;
    let header_len = u32::from(header.version_ihl & 0xf) * 4;
    let total_len = match u16::from_be_bytes(header.total_len) {
        0 => beyond_field(packet, L3),
        len => u32::from(len),
    };
    if header.version_ihl >> 4 != 4 || header_len < 20 || total_len < header_len || L3 + total_len > packet.len() {
        return Err(Counter::PassTruncated);
    }
    // "More fragments", or an offset.
    if u16::from_be_bytes(header.fragment) & 0x3fff != 0 {
        return Err(Counter::PassFragment);
    }
    let protocol = served(header.protocol)?;
    Ok(Located {
        src: transmute!(header.src),
        dst: transmute!(header.dst),
        protocol,
        l4: L3 + header_len,
        l4_len: total_len - header_len,
    })
}

#[inline(always)]
pub fn locate_v6(packet: Packet) -> Result<Located<[u32; 4]>, Counter> {
    let header: Ipv6Header = packet.load(L3).ok_or(Counter::PassTruncated)?;
    let end = match u16::from_be_bytes(header.payload_len) {
        0 => L3 + 40 + beyond_field(packet, L3 + 40),
        len => L3 + 40 + u32::from(len),
    };
    let [version, ..] = header.version_class;
    if version >> 4 != 6 || end > packet.len() {
        return Err(Counter::PassTruncated);
    }
    let mut l4 = L3 + 40;
    let mut next = header.next_header;
    for _ in 0..EXTENSIONS_MAX {
        if !matches!(next, HOP_BY_HOP | ROUTING | DESTINATION) {
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
    if next == FRAGMENT {
        return Err(Counter::PassFragment);
    }
    if l4 > end {
        return Err(Counter::PassTruncated);
    }
    let protocol = served(next)?;
    Ok(Located { src: transmute!(header.src), dst: transmute!(header.dst), protocol, l4, l4_len: end - l4 })
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
    packet.store(L3, &F::header(src, dst, protocol, payload_len as u16))
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
fn served(protocol: u8) -> Result<u8, Counter> {
    if protocol == IPPROTO_TCP || protocol == IPPROTO_UDP { Ok(protocol) } else { Err(Counter::PassProtocol) }
}
