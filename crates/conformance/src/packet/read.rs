//! From bytes to values.
use super::build::plus;
use super::{Body, Checksum, Extension, Flags, Fragment, Frame, ICMP, ICMPV6, Link, SCTP, TCP, Tcp, UDP, sctp};
use etherparse::{
    EtherType, Ethernet2Header, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, SingleVlanHeader,
    TcpHeader, UdpHeader,
};
use std::net::{IpAddr, SocketAddr};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
const ICMP_HEADER: usize = 8;

/// The bytes are no packet.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// A header is cut off, or contradicts itself.
    #[error("no {header} can be read: {why}")]
    Header {
        /// Which header.
        header: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The EtherType is not that of IP.
    #[error("EtherType {0:#06x} is not IP")]
    NotIp(u16),
    /// The checksum of the IPv4 header.
    #[error("the checksum of the IPv4 header is {found:#06x}; right is {right:#06x}")]
    HeaderChecksum {
        /// As it stands there.
        found: u16,
        /// As it must be.
        right: u16,
    },
    /// A length field does not say how much there is.
    #[error("the {header} speaks of {says} bytes, and there are {are}")]
    Length {
        /// Whose field.
        header: &'static str,
        /// What it says.
        says: usize,
        /// How many there are.
        are: usize,
    },
}

/// The beginning of a packet inside of an ICMP error; its IPv4 header checksum is right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Embedded {
    /// Source address, and port if there is one.
    pub source: SocketAddr,
    /// Destination address, and port if there is one.
    pub destination: SocketAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// What there is from the transport header on.
    pub transport: Vec<u8>,
}

impl Frame {
    /// Reads an Ethernet frame.
    ///
    /// # Errors
    /// [`Malformed`]. A wrong checksum of the body is no error: it is what [`Frame::checksum`] says.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let (ethernet, mut rest) = Ethernet2Header::from_slice(bytes).map_err(bad("Ethernet header"))?;
        let (mut ether_type, mut vlan) = (ethernet.ether_type, None);
        if ether_type == EtherType::VLAN_TAGGED_FRAME {
            let (tag, after) = SingleVlanHeader::from_slice(rest).map_err(bad("VLAN tag"))?;
            (ether_type, vlan, rest) = (tag.ether_type, Some(tag.vlan_id.value()), after);
        }
        if ![EtherType::IPV4, EtherType::IPV6].contains(&ether_type) {
            return Err(Malformed::NotIp(ether_type.0));
        }
        let link = Link::Ethernet { destination: ethernet.destination, source: ethernet.source, vlan };
        Ok(Self { link, ..Self::read_ip(rest)? })
    }

    /// Reads a packet that begins with its IP header.
    ///
    /// # Errors
    /// As [`Frame::read`].
    pub fn read_ip(bytes: &[u8]) -> Result<Self, Malformed> {
        let Headers { mut frame, protocol, says, rest } = Headers::read(bytes)?;
        if says != rest.len() {
            return Err(Malformed::Length { header: "IP header", says, are: rest.len() });
        }
        if frame.fragment.is_some() {
            frame.body = Body::Rest { protocol, payload: rest.to_vec() };
            return Ok(frame);
        }
        if protocol == SCTP {
            (frame.body, frame.checksum) = sctp::read(rest)?;
            return Ok(frame);
        }
        let (body, found) = body(protocol, rest)?;
        let right = body.checksum(frame.source, frame.destination);
        frame.checksum = match found {
            None => Checksum::Right,
            Some(0) if protocol == UDP && frame.source.is_ipv4() => Checksum::Absent,
            Some(found) if found == right => Checksum::Right,
            Some(found) => Checksum::Off(plus(found, !right)),
        };
        frame.body = body;
        Ok(frame)
    }
}

impl Embedded {
    /// Reads what an ICMP error is about: as much as is there of it.
    ///
    /// # Errors
    /// As [`Frame::read`], of the IP header.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let Headers { frame, protocol, rest, .. } = Headers::read(bytes)?;
        let later = frame.fragment.is_some_and(|fragment| fragment.offset > 0);
        let port = |at: usize| match rest.get(at..at + 2) {
            Some(&[high, low]) if [TCP, UDP, SCTP].contains(&protocol) && !later => u16::from_be_bytes([high, low]),
            _ => 0,
        };
        Ok(Self {
            source: SocketAddr::new(frame.source, port(0)),
            destination: SocketAddr::new(frame.destination, port(2)),
            protocol,
            transport: rest.to_vec(),
        })
    }
}

/// The IP headers, and what comes after them.
struct Headers<'a> {
    /// With an empty body.
    frame: Frame,
    protocol: u8,
    /// How many bytes come after them, as they say.
    says: usize,
    rest: &'a [u8],
}

impl<'a> Headers<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match bytes.first().map(|first| first >> 4) {
            Some(4) => Self::read_v4(bytes),
            _ => Self::read_v6(bytes),
        }
    }

    fn read_v4(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = Ipv4Header::from_slice(bytes).map_err(bad("IPv4 header"))?;
        let (found, right) = (header.header_checksum, header.calc_header_checksum());
        if found != right {
            return Err(Malformed::HeaderChecksum { found, right });
        }
        let protocol = header.protocol.0;
        let says = usize::from(header.payload_len().map_err(bad("IPv4 length"))?);
        let mut frame = empty(header.source.into(), header.destination.into(), header.time_to_live);
        frame.options = header.options.to_vec();
        frame.fragment = header.is_fragmenting_payload().then(|| Fragment {
            id: header.identification.into(),
            offset: header.fragment_offset.byte_offset(),
            more: header.more_fragments,
        });
        Ok(Self { frame, protocol, says, rest })
    }

    fn read_v6(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, mut rest) = Ipv6Header::from_slice(bytes).map_err(bad("IPv6 header"))?;
        let mut frame = empty(header.source.into(), header.destination.into(), header.hop_limit);
        let all = rest.len();
        let mut next = header.next_header.0;
        loop {
            match next {
                HOP_BY_HOP | ROUTING | DESTINATION => {
                    let (extension, after) =
                        Ipv6RawExtHeader::from_slice(rest).map_err(bad("IPv6 extension header"))?;
                    frame.extensions.push(Extension { kind: next, content: extension.payload().to_vec() });
                    (next, rest) = (extension.next_header.0, after);
                }
                FRAGMENT => {
                    let (header, after) = Ipv6FragmentHeader::from_slice(rest).map_err(bad("IPv6 fragment header"))?;
                    let (id, offset) = (header.identification, header.fragment_offset.byte_offset());
                    frame.fragment = Some(Fragment { id, offset, more: header.more_fragments });
                    (next, rest) = (header.next_header.0, after);
                }
                protocol => {
                    let says = usize::from(header.payload_length).saturating_sub(all - rest.len());
                    return Ok(Self { frame, protocol, says, rest });
                }
            }
        }
    }
}

fn empty(source: IpAddr, destination: IpAddr, hop_limit: u8) -> Frame {
    let body = Body::Rest { protocol: 0, payload: Vec::new() };
    Frame { link: Link::None, hop_limit, ..Frame::new(source, destination, body) }
}

/// The body, and the checksum that stands in it.
fn body(protocol: u8, bytes: &[u8]) -> Result<(Body, Option<u16>), Malformed> {
    match protocol {
        TCP => {
            let (header, payload) = TcpHeader::from_slice(bytes).map_err(bad("TCP header"))?;
            let tcp = Tcp {
                source_port: header.source_port,
                destination_port: header.destination_port,
                // etherparse has them one by one.
                flags: Flags(bytes[13]),
                sequence: header.sequence_number,
                acknowledgment: header.acknowledgment_number,
                options: header.options.as_slice().to_vec(),
                payload: payload.to_vec(),
            };
            Ok((Body::Tcp(tcp), Some(header.checksum)))
        }
        UDP => {
            let (header, payload) = UdpHeader::from_slice(bytes).map_err(bad("UDP header"))?;
            let (says, are) = (usize::from(header.length), bytes.len());
            if says != are {
                return Err(Malformed::Length { header: "UDP header", says, are });
            }
            let UdpHeader { source_port, destination_port, checksum, .. } = header;
            Ok((Body::Udp { source_port, destination_port, payload: payload.to_vec() }, Some(checksum)))
        }
        ICMP | ICMPV6 => {
            let (Some(&[kind, code, high, low, a, b, c, d]), Some(payload)) =
                (bytes.first_chunk::<ICMP_HEADER>(), bytes.get(ICMP_HEADER..))
            else {
                return Err(Malformed::Length { header: "ICMP header", says: ICMP_HEADER, are: bytes.len() });
            };
            let (word, payload) = ([a, b, c, d], payload.to_vec());
            Ok((Body::Icmp { kind, code, word, payload }, Some(u16::from_be_bytes([high, low]))))
        }
        protocol => Ok((Body::Rest { protocol, payload: bytes.to_vec() }, None)),
    }
}

fn bad<E: ToString>(header: &'static str) -> impl FnOnce(E) -> Malformed {
    move |error| Malformed::Header { header, why: error.to_string() }
}
