//! Sockets of SCTP: one association each, used as a stream is (RFC 6458 §4).
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

/// Associations that wait to be accepted.
const BACKLOG: i32 = 128;

/// Whether this kernel has sockets of SCTP. Asking loads its module where it is one.
#[must_use]
pub fn has_sctp() -> bool {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::SCTP)).is_ok()
}

/// Whether it has them already: asking changes nothing, and a module that nobody uses stays where it is. The kernel makes these settings
/// for each namespace once it has the protocol (`sctp_sysctl_net_register`, net/sctp/sysctl.c).
#[must_use]
pub fn has_sctp_loaded() -> bool {
    Path::new("/proc/sys/net/sctp").exists()
}

/// Opens an association from one address of the machine: a socket that is not bound tells its peer all of them, and what is sent
/// to another one than was dialled from meets no translation. It asks to be told of ICMP: of a refusal, SCTP tells no other socket
/// (`sctp_v4_err`, net/sctp/input.c).
pub(super) fn connect(server: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let socket = socket_at(SocketAddr::new(own_address(server.is_ipv4())?, 0))?;
    match server.is_ipv4() {
        true => setsockopt(&socket, Ipv4RecvErr, &true)?,
        false => setsockopt(&socket, Ipv6RecvErr, &true)?,
    }
    socket.connect_timeout(&server.into(), timeout)?;
    Ok(socket.into())
}

/// Listens, without blocking.
pub(super) fn listen(server: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket_at(server)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The first address of a family that other machines can send to.
fn own_address(v4: bool) -> io::Result<IpAddr> {
    let of_family = getifaddrs()?.filter_map(|interface| {
        let addr = interface.address?;
        match v4 {
            true => addr.as_sockaddr_in().map(|addr| IpAddr::from(addr.ip())),
            false => addr.as_sockaddr_in6().map(|addr| IpAddr::from(addr.ip())),
        }
    });
    let is_link_local = |addr: &IpAddr| matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
    let mut reached = of_family.filter(|addr| !addr.is_loopback() && !is_link_local(addr));
    reached.next().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

fn socket_at(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::SCTP))?;
    socket.bind(&addr.into())?;
    Ok(socket)
}
