//! From values to bytes.
use super::{Body, Checksum, Flags, Fragment, Frame, Link, Tcp};
use etherparse::{
    EtherType, Ethernet2Header, Icmpv4Type, Icmpv6Type, IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader,
    Ipv6Header, Ipv6RawExtHeader, SingleVlanHeader, TcpHeader, UdpHeader, VlanId,
};
use std::net::IpAddr;

const WINDOW: u16 = 0xffff;
const FRAGMENT: u8 = 44;

impl Frame {
    /// The packet as it is on the wire.
    ///
    /// # Panics
    /// Where no packet can be as this one says: addresses of two families, options of odd lengths, data beyond 64 KiB.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.link_bytes();
        bytes.extend(self.ip_bytes());
        bytes
    }

    fn link_bytes(&self) -> Vec<u8> {
        let Link::Ethernet { destination, source, vlan } = self.link else { return Vec::new() };
        let ip = if self.source.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 };
        let Some(vlan) = vlan else {
            return Ethernet2Header { source, destination, ether_type: ip }.to_bytes().to_vec();
        };
        let ethernet = Ethernet2Header { source, destination, ether_type: EtherType::VLAN_TAGGED_FRAME };
        let vlan_id = VlanId::try_new(vlan).expect("a tag has 12 bits");
        let tag = SingleVlanHeader { vlan_id, ether_type: ip, ..SingleVlanHeader::default() };
        [&ethernet.to_bytes()[..], &tag.to_bytes()].concat()
    }

    /// The packet from its IP header on.
    ///
    /// # Panics
    /// As [`Frame::bytes`].
    #[must_use]
    pub fn ip_bytes(&self) -> Vec<u8> {
        let body = self.body_bytes();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = Ipv4Header {
                    time_to_live: self.hop_limit,
                    protocol: IpNumber(self.body.protocol(self.source)),
                    source: source.octets(),
                    destination: destination.octets(),
                    dont_fragment: self.fragment.is_none(),
                    options: self.options[..].try_into().expect("options are up to 40 bytes in fours"),
                    ..Ipv4Header::default()
                };
                if let Some(Fragment { id, offset, more }) = self.fragment {
                    header.identification = u16::try_from(id).expect("IPv4 numbers its datagrams with 16 bits");
                    header.fragment_offset = frag_offset(offset);
                    header.more_fragments = more;
                }
                header.set_payload_len(body.len()).expect("an IPv4 packet is up to 64 KiB");
                header.header_checksum = header.calc_header_checksum();
                [&header.to_bytes()[..], &body].concat()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let (next, extensions) = self.extension_bytes();
                let mut header = Ipv6Header {
                    next_header: IpNumber(next),
                    hop_limit: self.hop_limit,
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Ipv6Header::default()
                };
                header.set_payload_length(extensions.len() + body.len()).expect("an IPv6 packet is up to 64 KiB");
                [&header.to_bytes()[..], &extensions, &body].concat()
            }
            (source, destination) => panic!("no packet goes from {source} to {destination}"),
        }
    }

    /// The number of the first header after the IPv6 header, and the extension headers, linked to each other.
    fn extension_bytes(&self) -> (u8, Vec<u8>) {
        let mut next = self.body.protocol(self.source);
        let mut chain: Vec<Vec<u8>> = Vec::new();
        if let Some(Fragment { id, offset, more }) = self.fragment {
            let header = Ipv6FragmentHeader::new(IpNumber(next), frag_offset(offset), more, id);
            chain.push(header.to_bytes().to_vec());
            next = FRAGMENT;
        }
        for extension in self.extensions.iter().rev() {
            let header = Ipv6RawExtHeader::new_raw(IpNumber(next), &extension.content);
            chain.push(header.expect("6 bytes, and eights").to_bytes().to_vec());
            next = extension.kind;
        }
        chain.reverse();
        (next, chain.concat())
    }

    fn body_bytes(&self) -> Vec<u8> {
        let right = match self.checksum {
            Checksum::Right => 0,
            Checksum::Off(by) => by,
            Checksum::CrcOff(by) => return self.body.sctp_bytes(by),
            Checksum::Absent => return self.body_with(|_| 0),
        };
        self.body_with(|sum| if right == 0 { sum } else { plus(sum, right) })
    }

    /// The body, its checksum passed through `written`.
    fn body_with(&self, written: impl FnOnce(u16) -> u16) -> Vec<u8> {
        let sum = written(self.body.checksum(self.source, self.destination));
        match &self.body {
            Body::Tcp(tcp) => {
                let header = TcpHeader { checksum: sum, ..tcp.header() };
                [&header.to_bytes()[..], &tcp.payload].concat()
            }
            Body::Udp { source_port, destination_port, payload } => {
                let header = UdpHeader { checksum: sum, ..udp_header(*source_port, *destination_port, payload) };
                [&header.to_bytes()[..], payload].concat()
            }
            Body::Icmp { kind, code, word, payload } => {
                [&[*kind, *code][..], &sum.to_be_bytes(), word, payload].concat()
            }
            Body::Sctp { .. } => self.body.sctp_bytes(0),
            Body::Rest { payload, .. } => payload.clone(),
        }
    }

    /// The same datagram in parts of at most `len` bytes, a multiple of eight.
    ///
    /// # Panics
    /// As [`Frame::bytes`].
    #[must_use]
    pub fn fragments(&self, id: u32, len: usize) -> Vec<Self> {
        let (protocol, body) = (self.body.protocol(self.source), self.body_bytes());
        let parts = body.chunks(len).count();
        let part = |(n, payload): (usize, &[u8])| {
            let offset = u16::try_from(n * len).expect("a datagram is up to 64 KiB");
            let fragment = Some(Fragment { id, offset, more: n + 1 < parts });
            let body = Body::Rest { protocol, payload: payload.to_vec() };
            Self { fragment, body, checksum: Checksum::Right, ..self.clone() }
        };
        body.chunks(len).enumerate().map(part).collect()
    }
}

impl Body {
    /// The right checksum between these addresses; 0 for what has none.
    pub(super) fn checksum(&self, source: IpAddr, destination: IpAddr) -> u16 {
        let sum = match (self, source, destination) {
            (Self::Tcp(tcp), IpAddr::V4(source), IpAddr::V4(destination)) => {
                tcp.header().calc_checksum_ipv4_raw(source.octets(), destination.octets(), &tcp.payload).ok()
            }
            (Self::Tcp(tcp), IpAddr::V6(source), IpAddr::V6(destination)) => {
                tcp.header().calc_checksum_ipv6_raw(source.octets(), destination.octets(), &tcp.payload).ok()
            }
            (Self::Udp { source_port, destination_port, payload }, IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header = udp_header(*source_port, *destination_port, payload);
                header.calc_checksum_ipv4_raw(source.octets(), destination.octets(), payload).ok()
            }
            (Self::Udp { source_port, destination_port, payload }, IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = udp_header(*source_port, *destination_port, payload);
                header.calc_checksum_ipv6_raw(source.octets(), destination.octets(), payload).ok()
            }
            (Self::Icmp { kind, code, word, payload }, IpAddr::V4(_), _) => {
                let icmp = Icmpv4Type::Unknown { type_u8: *kind, code_u8: *code, bytes5to8: *word };
                Some(icmp.calc_checksum(payload))
            }
            (Self::Icmp { kind, code, word, payload }, IpAddr::V6(source), IpAddr::V6(destination)) => {
                let icmp = Icmpv6Type::Unknown { type_u8: *kind, code_u8: *code, bytes5to8: *word };
                icmp.calc_checksum(source.octets(), destination.octets(), payload).ok()
            }
            _ => Some(0),
        };
        sum.expect("data is up to 64 KiB")
    }
}

impl Tcp {
    fn header(&self) -> TcpHeader {
        let Self { source_port, destination_port, flags, sequence, acknowledgment, .. } = *self;
        let mut header = TcpHeader::new(source_port, destination_port, sequence, WINDOW);
        header.acknowledgment_number = acknowledgment;
        let set = |bit: u8| flags.contains(Flags(bit));
        (header.fin, header.syn, header.rst, header.psh) = (set(0x01), set(0x02), set(0x04), set(0x08));
        (header.ack, header.urg, header.ece, header.cwr) = (set(0x10), set(0x20), set(0x40), set(0x80));
        header.set_options_raw(&self.options).expect("options are up to 40 bytes in fours");
        header
    }
}

fn udp_header(source_port: u16, destination_port: u16, payload: &[u8]) -> UdpHeader {
    let length = u16::try_from(payload.len()).ok().and_then(|len| len.checked_add(UdpHeader::LEN_U16));
    UdpHeader { source_port, destination_port, length: length.expect("a datagram is up to 64 KiB"), checksum: 0 }
}

fn frag_offset(bytes: u16) -> IpFragOffset {
    IpFragOffset::try_new(bytes / 8).expect("13 bits")
}

/// The sum in one's complement.
pub(super) fn plus(a: u16, b: u16) -> u16 {
    let (sum, carried) = a.overflowing_add(b);
    sum + u16::from(carried)
}
