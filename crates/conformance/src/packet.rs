//! Packets, built and read field by field. Checksums are those of `etherparse` and `crc`, so that what the programs compute is held against
//! someone else's arithmetic.
//!
//! [`Frame::read`] is the inverse of [`Frame::bytes`]: what goes in and what comes out are compared as values.
mod build;
mod read;
mod sctp;

pub use read::{Embedded, Malformed};

use std::net::{IpAddr, SocketAddr};
use std::ops::BitOr;

/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;
/// IP protocol number of SCTP.
pub const SCTP: u8 = 132;
/// IP protocol number of ICMP.
pub const ICMP: u8 = 1;
/// IP protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;

/// A packet, from the link header to the end of the payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What stands before the IP header.
    pub link: Link,
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// Time to live.
    pub hop_limit: u8,
    /// IPv4 options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// IPv6 extension headers, without a fragment header.
    pub extensions: Vec<Extension>,
    /// Which part of a datagram this is; `None` for all of it. A part's body is [`Body::Rest`].
    pub fragment: Option<Fragment>,
    /// What IP carries.
    pub body: Body,
    /// How the checksum of the body stands.
    pub checksum: Checksum,
}

/// What stands before the IP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// An Ethernet header.
    Ethernet {
        /// Destination MAC.
        destination: [u8; 6],
        /// Source MAC.
        source: [u8; 6],
        /// The tag of a virtual network, 12 bits.
        vlan: Option<u16>,
    },
    /// Nothing: a tunnel, a point-to-point link.
    None,
}

/// An IPv6 extension header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extension {
    /// Its own number: 0 hop-by-hop, 43 routing, 60 destination.
    pub kind: u8,
    /// What follows its length field: 6 bytes, or 8 more, or 16 more.
    pub content: Vec<u8>,
}

/// A part of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// Which datagram; 16 bits for IPv4.
    pub id: u32,
    /// From which byte on, a multiple of eight.
    pub offset: u16,
    /// Whether another part follows.
    pub more: bool,
}

/// What IP carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// A TCP segment.
    Tcp(Tcp),
    /// A UDP datagram.
    Udp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
        /// Data.
        payload: Vec<u8>,
    },
    /// A packet of SCTP.
    Sctp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
        /// Verification tag.
        tag: u32,
        /// Chunks, each padded to a multiple of four bytes.
        chunks: Vec<u8>,
    },
    /// An ICMP message, ICMPv6 in IPv6.
    Icmp {
        /// Its type.
        kind: u8,
        /// Its code.
        code: u8,
        /// The four bytes after the checksum: of an echo its identifier and number, of an error nothing or the MTU.
        word: [u8; 4],
        /// Data; of an error the packet it is about.
        payload: Vec<u8>,
    },
    /// Something that is not looked into: another protocol, or a part of a datagram.
    Rest {
        /// IP protocol number.
        protocol: u8,
        /// Bytes.
        payload: Vec<u8>,
    },
}

/// A TCP segment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tcp {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Flags.
    pub flags: Flags,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// Options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// Data.
    pub payload: Vec<u8>,
}

/// TCP's flags, as in the 14th byte of its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Begins a connection.
    pub const SYN: Self = Self(0x02);
    /// Ends a connection.
    pub const RST: Self = Self(0x04);
    /// Hands data over at once.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment number counts.
    pub const ACK: Self = Self(0x10);

    /// Whether all of `flags` are set.
    #[must_use]
    pub fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// How a checksum stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Checksum {
    /// It is right, or nothing here has one.
    #[default]
    Right,
    /// It is the right one plus this, in one's complement. Translating a packet must not change the difference.
    Off(u16),
    /// SCTP's is the right one, exclusive or this. Translating a packet must not change the difference.
    CrcOff(u32),
    /// UDP over IPv4 without one.
    Absent,
}

impl Frame {
    /// A whole packet without options, between stations of no interest.
    #[must_use]
    pub fn new(source: IpAddr, destination: IpAddr, body: Body) -> Self {
        Self {
            link: Link::Ethernet { destination: [0; 6], source: [0x02, 0, 0, 0, 0, 1], vlan: None },
            source,
            destination,
            hop_limit: 64,
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            body,
            checksum: Checksum::Right,
        }
    }

    /// A TCP segment without data.
    #[must_use]
    pub fn tcp(source: SocketAddr, destination: SocketAddr, flags: Flags) -> Self {
        let (source_port, destination_port) = (source.port(), destination.port());
        let tcp = Tcp { source_port, destination_port, flags, ..Tcp::default() };
        Self::new(source.ip(), destination.ip(), Body::Tcp(tcp))
    }

    /// A UDP datagram.
    #[must_use]
    pub fn udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Self {
        let (source_port, destination_port, payload) = (source.port(), destination.port(), payload.to_vec());
        Self::new(source.ip(), destination.ip(), Body::Udp { source_port, destination_port, payload })
    }

    /// What a router says about a packet: the error's type, code and word, and as much of the packet as `len` bytes hold.
    #[must_use]
    pub fn error(router: IpAddr, about: &Self, (kind, code): (u8, u8), word: [u8; 4], len: usize) -> Self {
        let mut payload = about.ip_bytes();
        payload.truncate(len);
        Self::new(router, about.source, Body::Icmp { kind, code, word, payload })
    }

    /// Source port, of a protocol that has ports.
    #[must_use]
    pub fn source_port(&self) -> Option<u16> {
        match &self.body {
            Body::Tcp(tcp) => Some(tcp.source_port),
            Body::Udp { source_port, .. } | Body::Sctp { source_port, .. } => Some(*source_port),
            Body::Icmp { .. } | Body::Rest { .. } => None,
        }
    }

    /// Destination port, of a protocol that has ports.
    #[must_use]
    pub fn destination_port(&self) -> Option<u16> {
        match &self.body {
            Body::Tcp(tcp) => Some(tcp.destination_port),
            Body::Udp { destination_port, .. } | Body::Sctp { destination_port, .. } => Some(*destination_port),
            Body::Icmp { .. } | Body::Rest { .. } => None,
        }
    }

    /// Whether every checksum is right, or rightly absent. That of an IPv4 header was looked at when it was read.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        matches!(self.checksum, Checksum::Right | Checksum::Absent)
    }
}

impl Body {
    /// An echo request of the family of `source`.
    #[must_use]
    pub fn echo(source: IpAddr, id: u16) -> Self {
        let [high, low] = id.to_be_bytes();
        let kind = if source.is_ipv4() { 8 } else { 128 };
        Self::Icmp { kind, code: 0, word: [high, low, 0, 1], payload: b"echo".to_vec() }
    }

    /// IP protocol number, in a packet of the family of `source`.
    #[must_use]
    pub fn protocol(&self, source: IpAddr) -> u8 {
        match self {
            Self::Tcp(_) => TCP,
            Self::Udp { .. } => UDP,
            Self::Sctp { .. } => SCTP,
            Self::Icmp { .. } if source.is_ipv4() => ICMP,
            Self::Icmp { .. } => ICMPV6,
            Self::Rest { protocol, .. } => *protocol,
        }
    }
}

#[cfg(test)]
mod tests;
