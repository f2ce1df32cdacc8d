//! Connected UDP sockets of this network namespace: listed with what a BPF program keeps in them, and destroyed one by one
//! (sock_diag(7), `NETLINK_SOCK_DIAG`).
//!
//! No crate speaks `INET_DIAG_REQ_SK_BPF_STORAGES` (5.7) or `SOCK_DESTROY` for UDP (4.9), so the messages are made here.
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLA_F_NESTED: u16 = 1 << 15;
/// What of an attribute's type is not flags.
const NLA_TYPE: u16 = 0x3fff;
/// Of a request; it holds [`SK_DIAG_BPF_STORAGE_REQ_MAP_FD`] for each map.
const INET_DIAG_REQ_SK_BPF_STORAGES: u16 = 2;
const SK_DIAG_BPF_STORAGE_REQ_MAP_FD: u16 = 1;
/// Of an answer; it holds a [`SK_DIAG_BPF_STORAGE`] for each map, and that a [`SK_DIAG_BPF_STORAGE_MAP_VALUE`].
const INET_DIAG_SK_BPF_STORAGES: u16 = 19;
const SK_DIAG_BPF_STORAGE: u16 = 1;
const SK_DIAG_BPF_STORAGE_MAP_VALUE: u16 = 3;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_UDP: u8 = 17;
/// A connected UDP socket has the state `TCP_ESTABLISHED`.
const ESTABLISHED: u32 = 1 << 1;
const ALIGN: usize = 4;

/// `struct nlmsghdr`.
#[derive(Clone, Copy, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    len: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
}

/// `struct inet_diag_sockid`. Ports and addresses in network order, IPv4 in the first four bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SocketId {
    source_port: [u8; 2],
    peer_port: [u8; 2],
    source: [u8; 16],
    peer: [u8; 16],
    device: u32,
    cookie: [u32; 2],
}

/// `struct inet_diag_req_v2`.
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
struct Request {
    family: u8,
    protocol: u8,
    extensions: u8,
    zero: u8,
    states: u32,
    id: SocketId,
}

/// `struct inet_diag_msg`.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Message {
    family: u8,
    _state_timer_retransmits: [u8; 3],
    id: SocketId,
    _expires_queues_uid_inode: [u32; 5],
}

/// `struct nlattr`.
#[derive(Clone, Copy, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Attribute {
    len: u16,
    kind: u16,
}

/// A connected UDP socket that has something in a BPF map of type `BPF_MAP_TYPE_SK_STORAGE`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectedUdp {
    family: u8,
    id: SocketId,
    /// What it has there.
    pub storage: Vec<u8>,
}

impl ConnectedUdp {
    /// Whom it is connected to. An IPv4 address, also if the socket is an IPv6 one.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        let addr = match (self.family, &self.id.peer) {
            (AF_INET, &[a, b, c, d, ..]) => IpAddr::from(Ipv4Addr::new(a, b, c, d)),
            (_, peer) => Ipv6Addr::from(*peer).to_canonical(),
        };
        SocketAddr::new(addr, u16::from_be_bytes(self.id.peer_port))
    }
}

/// Asks the kernel for the sockets of the network namespace it was opened in.
#[derive(Debug)]
pub struct SocketDiag(Socket);

impl SocketDiag {
    /// Opens it in the network namespace of the calling thread.
    ///
    /// # Errors
    /// As socket(2).
    pub fn open() -> io::Result<Self> {
        Socket::new(NETLINK_SOCK_DIAG).map(Self)
    }

    /// The connected UDP sockets that have something in `map`, which is of type `BPF_MAP_TYPE_SK_STORAGE`.
    ///
    /// # Errors
    /// `EPERM` without `CAP_BPF`; `ENOENT` where the kernel has no `CONFIG_INET_UDP_DIAG`.
    pub fn connected_udp(&self, map: BorrowedFd<'_>) -> io::Result<Vec<ConnectedUdp>> {
        let fd = u32::try_from(map.as_raw_fd()).map_err(io::Error::other)?;
        let wanted = attribute(SK_DIAG_BPF_STORAGE_REQ_MAP_FD, fd.as_bytes());
        let storages = attribute(INET_DIAG_REQ_SK_BPF_STORAGES | NLA_F_NESTED, &wanted);
        let mut sockets = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let id = SocketId::default();
            self.send(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, ESTABLISHED, id, &storages)?;
            self.receive(|body| sockets.extend(connected(body)))?;
        }
        Ok(sockets)
    }

    /// Breaks a socket: its next call fails with `ECONNABORTED`, and it is connected no more. False when it has gone already.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the kernel has no `CONFIG_INET_DIAG_DESTROY`; `EPERM` without `CAP_NET_ADMIN`.
    pub fn destroy(&self, socket: &ConnectedUdp) -> io::Result<bool> {
        self.send(SOCK_DESTROY, NLM_F_ACK, socket.family, u32::MAX, socket.id, &[])?;
        match self.receive(|_| {}) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            result => result.map(|()| true),
        }
    }

    fn send(&self, kind: u16, flags: u16, family: u8, states: u32, id: SocketId, attributes: &[u8]) -> io::Result<()> {
        let request = Request { family, protocol: IPPROTO_UDP, extensions: 0, zero: 0, states, id };
        let len = size_of::<Header>() + size_of::<Request>() + attributes.len();
        let len = u32::try_from(len).map_err(io::Error::other)?;
        let header = Header { len, kind, flags: flags | NLM_F_REQUEST, sequence: 0, port: 0 };
        let bytes = [header.as_bytes(), request.as_bytes(), attributes].concat();
        self.0.send(&bytes, 0).map(drop)
    }

    /// Hands out what the kernel answers, until it says that this was all.
    fn receive(&self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        loop {
            let (bytes, _) = self.0.recv_from_full()?;
            let mut rest = bytes.as_slice();
            while let Ok((header, _)) = Header::read_from_prefix(rest) {
                let len = usize::try_from(header.len).map_err(io::Error::other)?;
                let body = rest.get(size_of::<Header>()..len).ok_or(io::ErrorKind::InvalidData)?;
                match header.kind {
                    NLMSG_ERROR | NLMSG_DONE => return said(body),
                    _ => take(body),
                }
                rest = rest.get(len.next_multiple_of(ALIGN)..).unwrap_or_default();
            }
        }
    }
}

/// The error at the beginning of a last message, as a negative number; zero or nothing for none.
fn said(body: &[u8]) -> io::Result<()> {
    match i32::read_from_prefix(body) {
        Ok((errno, _)) if errno < 0 => Err(io::Error::from_raw_os_error(errno.wrapping_neg())),
        _ => Ok(()),
    }
}

/// An attribute whose length is a multiple of four.
fn attribute(kind: u16, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(size_of::<Attribute>() + body.len()).expect("invariant: a handful of bytes");
    [Attribute { len, kind }.as_bytes(), body].concat()
}

/// The body of the first attribute of a kind.
fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Ok((Attribute { len, kind }, _)) = Attribute::read_from_prefix(attributes) {
        let body = attributes.get(size_of::<Attribute>()..usize::from(len))?;
        if kind & NLA_TYPE == wanted {
            return Some(body);
        }
        attributes = attributes.get(usize::from(len).next_multiple_of(ALIGN)..)?;
    }
    None
}

/// A socket of the kernel's list, if it has something in the map.
fn connected(body: &[u8]) -> Option<ConnectedUdp> {
    let (message, attributes) = Message::read_from_prefix(body).ok()?;
    let storages = find(attributes, INET_DIAG_SK_BPF_STORAGES)?;
    let storage = find(find(storages, SK_DIAG_BPF_STORAGE)?, SK_DIAG_BPF_STORAGE_MAP_VALUE)?;
    Some(ConnectedUdp { family: message.family, id: message.id, storage: storage.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(family: u8, peer: [u8; 16], attributes: &[u8]) -> Vec<u8> {
        let id = SocketId { peer_port: [0, 53], peer, ..SocketId::default() };
        [&[family, 1, 0, 0][..], id.as_bytes(), &[0; 20], attributes].concat()
    }

    #[test]
    fn a_socket_is_listed_with_its_peer_and_what_it_holds() {
        let value = attribute(SK_DIAG_BPF_STORAGE_MAP_VALUE, b"held");
        let inner = [attribute(2, &7_u32.to_ne_bytes()), value].concat();
        let storages = attribute(INET_DIAG_SK_BPF_STORAGES | NLA_F_NESTED, &attribute(SK_DIAG_BPF_STORAGE, &inner));
        let attributes = [attribute(8, &[0; 4]), storages].concat();
        let v6: Ipv6Addr = "fd18::1".parse().unwrap();
        let mapped: Ipv6Addr = "::ffff:10.180.0.1".parse().unwrap();
        for (family, peer, want) in [
            (AF_INET, [10, 180, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "10.180.0.1:53"),
            (AF_INET6, v6.octets(), "[fd18::1]:53"),
            (AF_INET6, mapped.octets(), "10.180.0.1:53"),
        ] {
            let socket = connected(&message(family, peer, &attributes)).unwrap();
            assert_eq!((socket.peer().to_string().as_str(), socket.storage.as_slice()), (want, &b"held"[..]));
            assert_eq!(connected(&message(family, peer, &[])), None, "{want} without anything in the map");
        }
    }

    #[test]
    fn attributes_that_are_cut_off_end_the_search() {
        let whole = [attribute(1, &[1; 8]), attribute(2, &[2; 4])].concat();
        for len in 0..whole.len() {
            assert_eq!(find(&whole[..len], 2), None, "{len} bytes");
        }
        assert_eq!(find(&whole, 2), Some(&[2; 4][..]));
    }

    #[test]
    fn the_kernels_last_word_is_an_error_or_none() {
        for (body, want) in [(&(-95_i32).to_ne_bytes()[..], Some(95)), (&[0; 4], None), (&[], None)] {
            assert_eq!(said(body).err().and_then(|error| error.raw_os_error()), want);
        }
    }
}
