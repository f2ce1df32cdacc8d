//! Sockets of SCTP: one association each, used as a stream is (RFC 6458 §4).
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// Associations that wait to be accepted.
const BACKLOG: i32 = 128;

/// Whether this kernel has sockets of SCTP. Asking loads its module where it is one.
#[must_use]
pub fn has_sctp() -> bool {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::SCTP)).is_ok()
}

/// Opens an association from the one address by which the server is reached: a socket that is not bound tells its peer all that the
/// machine has, and what is sent to another one than was dialled from meets no translation.
pub(super) fn connect(server: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let any = SocketAddr::new(if server.is_ipv4() { [0; 4].into() } else { [0; 16].into() }, 0);
    let way = UdpSocket::bind(any)?;
    way.connect(server)?;
    let client = SocketAddr::new(way.local_addr()?.ip(), 0);
    let socket = socket_at(client)?;
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

fn socket_at(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::SCTP))?;
    socket.bind(&addr.into())?;
    Ok(socket)
}
