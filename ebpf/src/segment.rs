//! A parsed packet: a TCP segment, a UDP datagram, an SCTP packet, an ICMP message, or a fragment of one of the first three.
use crate::family::{Family, Tuple};
use crate::flow;
use crate::ip::{Located, Part};
use crate::sctp::{self, SctpHeader};
use crate::sys::{Packet, maps};
use core::mem::MaybeUninit;
use sheave_abi::{Counter, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP, NetPort};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// TCP flags (RFC 9293 §3.1).
pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;
/// What of a segment's flags is looked at.
const TCP_FLAGS: u8 = FIN | SYN | RST | ACK;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C, align(4))]
pub struct TcpHeader {
    pub src_port: [u8; 2],
    pub dst_port: [u8; 2],
    pub seq: [u8; 4],
    pub ack: [u8; 4],
    pub data_offset: u8,
    pub flags: u8,
    pub window: [u8; 2],
    pub checksum: [u8; 2],
    pub urgent: [u8; 2],
}

#[derive(Clone, Copy, FromBytes)]
#[repr(C, align(8))]
struct UdpHeader {
    src_port: [u8; 2],
    dst_port: [u8; 2],
    len: [u8; 2],
    checksum: [u8; 2],
}

/// The first bytes of TCP, UDP and SCTP headers.
#[derive(Clone, Copy, PartialEq, FromBytes, IntoBytes, Immutable)]
#[repr(C, align(4))]
pub struct Ports {
    pub src: NetPort,
    pub dst: NetPort,
}

/// What a packet is to the programs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// TCP, UDP or SCTP with ports: part of a flow.
    Flow,
    /// The same without: in place of ports the key has the identification of the datagram.
    LaterFragment,
    /// The family's ICMP; the key has no ports.
    Icmp,
}

/// What the programs need to know of a packet, and what they make of it. The fields of TCP are zero for others, but that SCTP's first chunk
/// has its flags, too. It stands in a map of this processor, because the stack is too small.
pub struct Segment<F: Family> {
    /// Names the packet's flow.
    pub key: F::FlowKey,
    /// What the packet is to be rewritten to, once that is known.
    pub to: Tuple<F::Addr>,
    /// The key of the entry that answers meet; see [`Segment::find_partner_key`].
    pub partner_key: F::FlowKey,
    pub kind: Kind,
    /// TCP, UDP, SCTP or ICMP.
    pub protocol: u8,
    /// [`FIN`], [`SYN`], [`RST`], [`ACK`]; of SCTP what means the same, and [`sctp::OPENS`].
    pub flags: u8,
    /// Whether fragments without ports follow; `fragment_id` names them.
    pub is_first_fragment: bool,
    /// Whether it is seen at a port of a bridge.
    pub is_at_port: bool,
    /// Whether it was translated where it came in.
    pub was_translated: bool,
    pub fragment_id: u32,
    /// Offset of the transport header.
    pub l4: u32,
    pub seq: u32,
    pub ack: u32,
    /// Bytes of data.
    pub payload_len: u32,
    /// What was decided, as a number.
    pub verdict: MaybeUninit<u8>,
}

impl<F: Family> Segment<F> {
    /// Room on this processor, which holds whatever the last packet left there until it is filled.
    #[inline(always)]
    pub fn room() -> Option<&'static mut Self> {
        maps::scratch_segment::<F>()
    }

    /// Makes `partner_key` the key of the entry that answers meet, from what is rewritten to.
    #[inline(always)]
    pub fn find_partner_key(&mut self) {
        self.partner_key = flow::partner_key::<F>(&self.to, self.hook());
    }

    /// Finds and reads the headers; or says why the packet passes. A function of its own: the headers it copies need stack
    /// that its callers need for more. It fills what it is given, because the verifier forbids to return by pointer.
    #[inline(never)]
    pub fn fill(&mut self, packet: Packet, hook: u8) -> Result<(), Counter> {
        let ip = F::locate(packet, packet.l3(), false)?;
        self.kind = Kind::Flow;
        (self.flags, self.seq, self.ack, self.payload_len) = (0, 0, 0, 0);
        self.protocol = ip.protocol;
        self.l4 = ip.l4;
        self.fragment_id = ip.id;
        self.is_first_fragment = ip.part == Part::First;
        let (src_port, dst_port) = match (ip.protocol, ip.part) {
            (protocol, Part::Whole) if protocol == F::ICMP => {
                self.kind = Kind::Icmp;
                (0, 0)
            }
            (protocol, _) if protocol == F::ICMP => return Err(Counter::PassFragment),
            (_, Part::Later) => {
                self.kind = Kind::LaterFragment;
                (ip.id as u16, (ip.id >> 16) as u16)
            }
            (IPPROTO_TCP, _) => self.read_tcp(packet, &ip)?,
            (IPPROTO_SCTP, _) => self.read_sctp(packet, &ip)?,
            _ => self.read_udp(packet, &ip)?,
        };
        let (src_port, dst_port) = (NetPort::from_wire(src_port), NetPort::from_wire(dst_port));
        self.key = F::flow_key(&Tuple { src: ip.src, dst: ip.dst, src_port, dst_port, protocol: ip.protocol }, hook);
        Ok(())
    }

    /// Returns the ports as they stand on the wire. Of a first fragment less is there than the headers say.
    #[inline(always)]
    fn read_tcp(&mut self, packet: Packet, ip: &Located<F::Addr>) -> Result<(u16, u16), Counter> {
        let header: TcpHeader = load(packet, ip)?;
        let header_len = u32::from(header.data_offset >> 4) * 4;
        if header_len < 20 || (header_len > ip.l4_len && !self.is_first_fragment) {
            return Err(Counter::PassTruncated);
        }
        self.flags = header.flags & TCP_FLAGS;
        self.seq = u32::from_be_bytes(header.seq);
        self.ack = u32::from_be_bytes(header.ack);
        self.payload_len = ip.l4_len.saturating_sub(header_len);
        Ok((u16::from_ne_bytes(header.src_port), u16::from_ne_bytes(header.dst_port)))
    }

    #[inline(always)]
    fn read_udp(&mut self, packet: Packet, ip: &Located<F::Addr>) -> Result<(u16, u16), Counter> {
        let header: UdpHeader = load(packet, ip)?;
        let len = u32::from(u16::from_be_bytes(header.len));
        if len < 8 || (len > ip.l4_len && !self.is_first_fragment) {
            return Err(Counter::PassTruncated);
        }
        self.payload_len = len - 8;
        Ok((u16::from_ne_bytes(header.src_port), u16::from_ne_bytes(header.dst_port)))
    }

    #[inline(always)]
    fn read_sctp(&mut self, packet: Packet, ip: &Located<F::Addr>) -> Result<(u16, u16), Counter> {
        let header: SctpHeader = load(packet, ip)?;
        self.flags = sctp::flags(&header, ip.l4_len).ok_or(Counter::PassTruncated)?;
        self.payload_len = ip.l4_len - sctp::COMMON_HEADER_LEN;
        Ok((u16::from_ne_bytes(header.src_port), u16::from_ne_bytes(header.dst_port)))
    }

    /// The hook the packet is seen at.
    #[inline(always)]
    pub fn hook(&self) -> u8 {
        F::hook(&self.key)
    }

    /// Addresses and ports, as the packet carries them.
    #[inline(always)]
    pub fn tuple(&self) -> Tuple<F::Addr> {
        F::tuple(&self.key)
    }

    #[inline(always)]
    pub fn is_tcp(&self) -> bool {
        self.protocol == IPPROTO_TCP
    }

    /// True for what has neither a handshake nor an end.
    #[inline(always)]
    pub fn is_udp(&self) -> bool {
        self.protocol == IPPROTO_UDP
    }

    #[inline(always)]
    pub fn is_sctp(&self) -> bool {
        self.protocol == IPPROTO_SCTP
    }

    /// True when a flow may begin with it: any datagram, a SYN alone, an INIT. A SYN with RST must not be answered by a RST.
    #[inline(always)]
    pub fn begins_flow(&self) -> bool {
        self.is_udp() || self.flags & (SYN | ACK | RST) == SYN
    }

    /// Offset of the transport checksum of TCP or UDP.
    #[inline(always)]
    pub fn checksum(&self) -> u32 {
        if self.is_tcp() { self.l4 + 16 } else { self.l4 + 6 }
    }
}

#[inline(always)]
fn load<T: FromBytes, A>(packet: Packet, ip: &Located<A>) -> Result<T, Counter> {
    if size_of::<T>() as u32 > ip.l4_len {
        return Err(Counter::PassTruncated);
    }
    packet.read(ip.l4).ok_or(Counter::PassTruncated)
}
