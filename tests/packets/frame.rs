//! Ethernet frames, built and read field by field; checksums are computed here, independently of the programs.
use crc::{CRC_32_ISCSI, Crc};
use std::net::{IpAddr, SocketAddr};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const SCTP: u8 = 132;

/// A chunk of SCTP that begins an association: its tag, window, streams, first number.
pub(crate) const INIT: &[u8] = &[1, 0, 0, 20, 0, 0, 0, 7, 0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1];

const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The loopback device's, by which TEST_RUN lets packets come in.
const NODE_MAC: [u8; 6] = [0; 6];

/// A TCP segment, UDP datagram or SCTP packet to be built.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) src: SocketAddr,
    pub(crate) dst: SocketAddr,
    pub(crate) protocol: u8,
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) payload: Vec<u8>,
    /// IPv4 options, a multiple of four bytes; for IPv6 whole extension headers, each with its type in front.
    pub(crate) options: Vec<u8>,
    pub(crate) mac: [u8; 6],
    /// UDP without a checksum, which IPv4 allows.
    pub(crate) no_checksum: bool,
}

impl Frame {
    pub(crate) fn tcp(src: SocketAddr, dst: SocketAddr, flags: u8) -> Self {
        Self {
            src,
            dst,
            protocol: TCP,
            flags,
            seq: 0x1000_0000,
            ack: 0,
            payload: Vec::new(),
            options: Vec::new(),
            mac: NODE_MAC,
            no_checksum: false,
        }
    }

    pub(crate) fn udp(src: SocketAddr, dst: SocketAddr, payload: &[u8]) -> Self {
        Self { protocol: UDP, payload: payload.to_vec(), ..Self::tcp(src, dst, 0) }
    }

    /// A packet of SCTP with these chunks; `seq` is its verification tag.
    pub(crate) fn sctp(src: SocketAddr, dst: SocketAddr, chunks: &[u8]) -> Self {
        Self { protocol: SCTP, payload: chunks.to_vec(), ..Self::tcp(src, dst, 0) }
    }

    pub(crate) fn seq(self, seq: u32) -> Self {
        Self { seq, ..self }
    }

    pub(crate) fn ack(self, ack: u32) -> Self {
        Self { ack, ..self }
    }

    pub(crate) fn payload(self, payload: &[u8]) -> Self {
        Self { payload: payload.to_vec(), ..self }
    }

    pub(crate) fn options(self, options: &[u8]) -> Self {
        Self { options: options.to_vec(), ..self }
    }

    /// The frame cut in two behind so many bytes of the transport header and data, a multiple of eight.
    pub(crate) fn fragments(&self, cut: usize) -> [Vec<u8>; 2] {
        let transport = self.transport();
        let (first, later) = transport.split_at(cut);
        let units = u16::try_from(cut / 8).unwrap();
        [self.fragment(first, 0, true), self.fragment(later, units, false)]
    }

    fn fragment(&self, part: &[u8], units: u16, more: bool) -> Vec<u8> {
        let (src, dst) = (self.src.ip(), self.dst.ip());
        if src.is_ipv4() {
            let mut frame = packet(self.mac, src, dst, self.protocol, part);
            let field = units | if more { 0x2000 } else { 0 };
            frame[20..22].copy_from_slice(&field.to_be_bytes());
            mend_header(&mut frame);
            return frame;
        }
        let field = units << 3 | u16::from(more);
        let header = [&[self.protocol, 0], &field.to_be_bytes()[..], &[0x12, 0x34, 0x56, 0x78]].concat();
        packet(self.mac, src, dst, 44, &[&header, part].concat())
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut frame = [self.mac, CLIENT_MAC].concat();
        let transport = self.transport();
        match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                frame.extend([0x08, 0x00]);
                let header_len = 20 + self.options.len();
                let total = u16::try_from(header_len + transport.len()).unwrap();
                let mut ip = vec![0x40 | u8::try_from(header_len / 4).unwrap(), 0];
                ip.extend(total.to_be_bytes());
                ip.extend([0x12, 0x34, 0x40, 0, 64, self.protocol, 0, 0]);
                ip.extend(src.octets());
                ip.extend(dst.octets());
                ip.extend(&self.options);
                let sum = checksum(&ip);
                ip[10..12].copy_from_slice(&sum.to_be_bytes());
                frame.extend(ip);
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                let (first, extensions) = self.extensions();
                frame.extend(u16::try_from(extensions.len() + transport.len()).unwrap().to_be_bytes());
                frame.extend([first, 64]);
                frame.extend(src.octets());
                frame.extend(dst.octets());
                frame.extend(extensions);
            }
            _ => panic!("a frame has one family"),
        }
        frame.extend(transport);
        frame
    }

    /// The type of the first header after the IPv6 header, and the extension headers linked to each other.
    fn extensions(&self) -> (u8, Vec<u8>) {
        let mut headers: Vec<Vec<u8>> = self.options.chunks(9).map(<[u8]>::to_vec).collect();
        let mut next = self.protocol;
        for header in headers.iter_mut().rev() {
            let kind = header.remove(0);
            header[0] = next;
            next = kind;
        }
        (next, headers.concat())
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.src.port().to_be_bytes());
        bytes.extend(self.dst.port().to_be_bytes());
        if self.protocol == SCTP {
            bytes.extend(self.seq.to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(&self.payload);
            let sum = sctp_checksum(&bytes);
            bytes[8..12].copy_from_slice(&sum.to_le_bytes());
            return bytes;
        }
        let at = if self.protocol == TCP {
            bytes.extend(self.seq.to_be_bytes());
            bytes.extend(self.ack.to_be_bytes());
            bytes.extend([0x50, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
            16
        } else {
            bytes.extend(u16::try_from(8 + self.payload.len()).unwrap().to_be_bytes());
            bytes.extend([0, 0]);
            6
        };
        bytes.extend(&self.payload);
        if !self.no_checksum {
            let sum = match transport_checksum(self.src.ip(), self.dst.ip(), self.protocol, &bytes) {
                0 if self.protocol == UDP => 0xffff,
                sum => sum,
            };
            bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        bytes
    }
}

/// A frame with an IP header before what is given.
pub(crate) fn packet(mac: [u8; 6], src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = [mac, CLIENT_MAC].concat();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend(u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
            frame.extend([0x12, 0x34, 0, 0, 64, protocol, 0, 0]);
            frame.extend(src.octets());
            frame.extend(dst.octets());
            mend_header(&mut frame);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend(src.octets());
            frame.extend(dst.octets());
        }
        _ => panic!("a frame has one family"),
    }
    frame.extend(payload);
    frame
}

fn mend_header(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let sum = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// An ICMP message, of the family of its addresses.
pub(crate) fn icmp(src: IpAddr, dst: IpAddr, kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0], rest].concat();
    let protocol = if src.is_ipv4() { 1 } else { 58 };
    let sum = if src.is_ipv4() { checksum(&message) } else { transport_checksum(src, dst, 58, &message) };
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    packet(NODE_MAC, src, dst, protocol, &message)
}

/// What two fragments say together; their IP headers are verified, and the checksum of the whole.
pub(crate) fn reassembled(first: &[u8], later: &[u8]) -> Seen {
    let [first, later] = [ip(first), ip(later)];
    assert_eq!((first.src, first.dst, first.protocol), (later.src, later.dst, later.protocol));
    let (protocol, header) = if first.protocol == 44 { (first.rest[0], 8) } else { (first.protocol, 0) };
    let transport = [&first.rest[header..], &later.rest[header..]].concat();
    Seen::read(&packet(NODE_MAC, first.src, first.dst, protocol, &transport))
}

/// A packet as it came out. Reading it has verified every checksum.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) src: SocketAddr,
    pub(crate) dst: SocketAddr,
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) payload: Vec<u8>,
    pub(crate) macs: [u8; 12],
}

/// An ICMP error as it came out; its checksums are verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unreachable {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) kind: u8,
    pub(crate) code: u8,
    /// Unused, or the MTU.
    pub(crate) word: [u8; 4],
    /// The embedded packet.
    pub(crate) about: Vec<u8>,
    pub(crate) macs: [u8; 12],
}

/// The IP header, verified: addresses, protocol, what follows it, the MAC addresses.
struct Ip {
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    rest: Vec<u8>,
    macs: [u8; 12],
}

impl Seen {
    pub(crate) fn read(frame: &[u8]) -> Self {
        let Ip { src, dst, protocol, rest, macs } = ip(frame);
        if protocol == SCTP {
            return Self::read_sctp(src, dst, &rest, macs);
        }
        let zero_is_none = protocol == UDP && src.is_ipv4() && rest[6..8] == [0, 0];
        let sum = transport_checksum(src, dst, protocol, &rest);
        assert!(zero_is_none || sum == 0, "transport checksum is off by {sum:#06x}");
        let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
        let word = |at: usize| u32::from_be_bytes(rest[at..at + 4].try_into().unwrap());
        let (src, dst) = (SocketAddr::new(src, port(0)), SocketAddr::new(dst, port(2)));
        if protocol == TCP {
            let data = usize::from(rest[12] >> 4) * 4;
            let payload = rest[data..].to_vec();
            return Self { src, dst, flags: rest[13], seq: word(4), ack: word(8), payload, macs };
        }
        assert_eq!(usize::from(port(4)), rest.len(), "UDP length");
        Self { src, dst, flags: 0, seq: 0, ack: 0, payload: rest[8..].to_vec(), macs }
    }
}

impl Seen {
    fn read_sctp(src: IpAddr, dst: IpAddr, packet: &[u8], macs: [u8; 12]) -> Self {
        let word = |at: usize| packet[at..at + 4].try_into().unwrap();
        assert_eq!(u32::from_le_bytes(word(8)), sctp_checksum(packet), "SCTP checksum");
        let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let (src, dst) = (SocketAddr::new(src, port(0)), SocketAddr::new(dst, port(2)));
        Self { src, dst, flags: 0, seq: u32::from_be_bytes(word(4)), ack: 0, payload: packet[12..].to_vec(), macs }
    }
}

impl Unreachable {
    pub(crate) fn read(frame: &[u8]) -> Self {
        let Ip { src, dst, protocol, rest, macs } = ip(frame);
        let sum = match protocol {
            1 => checksum(&rest),
            58 => transport_checksum(src, dst, 58, &rest),
            other => panic!("protocol {other} is no ICMP"),
        };
        assert_eq!(sum, 0, "ICMP checksum");
        let word = rest[4..8].try_into().unwrap();
        Self { src, dst, kind: rest[0], code: rest[1], word, about: rest[8..].to_vec(), macs }
    }
}

fn ip(frame: &[u8]) -> Ip {
    let macs = frame[..12].try_into().unwrap();
    let ip = &frame[14..];
    match frame[12..14] {
        [0x08, 0x00] => {
            let header = usize::from(ip[0] & 0xf) * 4;
            let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
            assert_eq!(checksum(&ip[..header]), 0, "IP header checksum");
            assert_eq!(total, ip.len(), "IP total length");
            let addr = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).unwrap());
            Ip { src: addr(12), dst: addr(16), protocol: ip[9], rest: ip[header..].to_vec(), macs }
        }
        [0x86, 0xdd] => {
            let addr = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).unwrap());
            assert_eq!(usize::from(u16::from_be_bytes([ip[4], ip[5]])), ip.len() - 40, "IPv6 payload length");
            let (mut next, mut at) = (ip[6], 40);
            while matches!(next, 0 | 43 | 60) {
                next = ip[at];
                at += 8 * (usize::from(ip[at + 1]) + 1);
            }
            Ip { src: addr(8), dst: addr(24), protocol: next, rest: ip[at..].to_vec(), macs }
        }
        _ => panic!("not IP"),
    }
}

/// Over pseudo header and transport header with data; zero when the checksum inside is right.
fn transport_checksum(src: IpAddr, dst: IpAddr, protocol: u8, transport: &[u8]) -> u16 {
    let octets = |addr: IpAddr| match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    };
    let mut bytes = [octets(src), octets(dst)].concat();
    bytes.extend(u32::try_from(transport.len()).unwrap().to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes.extend(transport);
    checksum(&bytes)
}

/// Over the whole packet, as if there were zeros in place of the checksum (RFC 9260 §6.8).
fn sctp_checksum(packet: &[u8]) -> u32 {
    let plain = [&packet[..8], &[0; 4], &packet[12..]].concat();
    Crc::<u32>::new(&CRC_32_ISCSI).checksum(&plain)
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
