//! Connected UDP sockets of this network namespace: listed, and destroyed one by one (sock_diag(7), `NETLINK_SOCK_DIAG`).
//!
//! The crate for these messages is of another generation than the netlink crates used here, and `SOCK_DESTROY` is not in it; so
//! the two messages are made here.
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
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

/// A connected UDP socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectedUdp {
    family: u8,
    id: SocketId,
}

impl ConnectedUdp {
    /// The number that no other socket ever has.
    #[must_use]
    pub fn cookie(&self) -> u64 {
        let [low, high] = self.id.cookie.map(u64::from);
        high << 32 | low
    }

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

    /// The connected UDP sockets.
    ///
    /// # Errors
    /// `ENOENT` where the kernel has no `CONFIG_INET_UDP_DIAG`.
    pub fn connected_udp(&self) -> io::Result<Vec<ConnectedUdp>> {
        let mut sockets = Vec::new();
        for family in [AF_INET, AF_INET6] {
            self.send(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, ESTABLISHED, SocketId::default())?;
            self.receive(|body| sockets.extend(connected(body)))?;
        }
        Ok(sockets)
    }

    /// Breaks a socket: its next call fails with `ECONNABORTED`, and it is connected no more. False when it has gone already.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the kernel has no `CONFIG_INET_DIAG_DESTROY`; `EPERM` without `CAP_NET_ADMIN`.
    pub fn destroy(&self, socket: &ConnectedUdp) -> io::Result<bool> {
        self.send(SOCK_DESTROY, NLM_F_ACK, socket.family, u32::MAX, socket.id)?;
        match self.receive(|_| {}) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            result => result.map(|()| true),
        }
    }

    fn send(&self, kind: u16, flags: u16, family: u8, states: u32, id: SocketId) -> io::Result<()> {
        let request = Request { family, protocol: IPPROTO_UDP, extensions: 0, zero: 0, states, id };
        let len = u32::try_from(size_of::<Header>() + size_of::<Request>()).map_err(io::Error::other)?;
        let header = Header { len, kind, flags: flags | NLM_F_REQUEST, sequence: 0, port: 0 };
        self.0.send(&[header.as_bytes(), request.as_bytes()].concat(), 0).map(drop)
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

/// A socket of the kernel's list.
fn connected(body: &[u8]) -> Option<ConnectedUdp> {
    let (message, _attributes) = Message::read_from_prefix(body).ok()?;
    Some(ConnectedUdp { family: message.family, id: message.id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_listed_with_its_peer_and_its_cookie() {
        let v4 = [10, 180, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let v6 = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        for (family, peer, want) in [
            (AF_INET, v4, "10.180.0.1:53"),
            (AF_INET6, v6("fd18::1"), "[fd18::1]:53"),
            (AF_INET6, v6("::ffff:10.180.0.1"), "10.180.0.1:53"),
        ] {
            let id = SocketId { peer_port: [0, 53], peer, cookie: [2, 1], ..SocketId::default() };
            let message = [&[family, 1, 0, 0][..], id.as_bytes(), &[0; 20], &[8, 0, 1, 0]].concat();
            let socket = connected(&message).unwrap();
            assert_eq!((socket.peer().to_string().as_str(), socket.cookie()), (want, 0x1_0000_0002));
            assert_eq!(connected(&message[..71]), None, "cut off");
        }
    }

    #[test]
    fn the_kernels_last_word_is_an_error_or_none() {
        for (body, want) in [(&(-95_i32).to_ne_bytes()[..], Some(95)), (&[0; 4], None), (&[], None)] {
            assert_eq!(said(body).err().and_then(|error| error.raw_os_error()), want);
        }
    }
}
