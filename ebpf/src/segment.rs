//! A parsed TCP segment or UDP datagram.
use crate::family::{Family, Tuple};
use crate::ip::Located;
use crate::sys::Packet;
use sheave_abi::{Counter, IPPROTO_TCP, NetPort};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// TCP flags (RFC 9293 §3.1).
pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

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

/// What the programs need to know of a packet. The TCP fields are zero for UDP.
pub struct Segment<F: Family> {
    /// Names the packet's flow; held as key because the stack is too small for more than one copy.
    pub key: F::FlowKey,
    /// TCP or UDP.
    pub protocol: u8,
    /// Offset of the transport header.
    pub l4: u32,
    pub flags: u8,
    pub seq: u32,
    pub ack: u32,
    /// Bytes of data.
    pub payload_len: u32,
}

impl<F: Family> Segment<F> {
    #[inline(always)]
    pub fn empty() -> Self {
        Self { key: F::FlowKey::new_zeroed(), protocol: 0, l4: 0, flags: 0, seq: 0, ack: 0, payload_len: 0 }
    }

    /// Finds and reads the headers; or says why the packet passes. A function of its own: the headers it copies need stack
    /// that its callers need for more. It fills what it is given, because the verifier forbids to return by pointer.
    #[inline(never)]
    pub fn fill(&mut self, packet: Packet, direction: u8) -> Result<(), Counter> {
        let ip = F::locate(packet)?;
        self.protocol = ip.protocol;
        self.l4 = ip.l4;
        let (src_port, dst_port) = if ip.protocol == IPPROTO_TCP {
            let header: TcpHeader = load(packet, &ip)?;
            let header_len = u32::from(header.data_offset >> 4) * 4;
            if header_len < 20 || header_len > ip.l4_len {
                return Err(Counter::PassTruncated);
            }
            self.flags = header.flags;
            self.seq = u32::from_be_bytes(header.seq);
            self.ack = u32::from_be_bytes(header.ack);
            self.payload_len = ip.l4_len - header_len;
            (header.src_port, header.dst_port)
        } else {
            let header: UdpHeader = load(packet, &ip)?;
            let len = u32::from(u16::from_be_bytes(header.len));
            if len < 8 || len > ip.l4_len {
                return Err(Counter::PassTruncated);
            }
            self.payload_len = len - 8;
            (header.src_port, header.dst_port)
        };
        let src_port = NetPort::from_wire(u16::from_ne_bytes(src_port));
        let dst_port = NetPort::from_wire(u16::from_ne_bytes(dst_port));
        self.key =
            F::flow_key(&Tuple { src: ip.src, dst: ip.dst, src_port, dst_port, protocol: ip.protocol }, direction);
        Ok(())
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

    /// True when a flow may begin with it: any datagram, and a SYN alone. A SYN with RST must not be answered by a RST.
    #[inline(always)]
    pub fn begins_flow(&self) -> bool {
        !self.is_tcp() || self.flags & (SYN | ACK | RST) == SYN
    }

    /// Offset of the transport checksum.
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
    packet.load(ip.l4).ok_or(Counter::PassTruncated)
}
