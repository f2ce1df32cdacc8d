//! getpeername(): a socket's peer is what it dialled.
use super::{ALLOW, unmapped};
use crate::family::{Family as _, V4};
use crate::sys::{SockAddr, SocketOrigin};

/// getpeername() of an IPv4 socket.
#[inline(always)]
pub fn getpeername4(socket: &SockAddr) -> i32 {
    if let Some(origin) = connected(socket, V4::to_mapped(socket.addr_v4()))
        && let Some(vip) = unmapped(origin.vip())
    {
        socket.set_addr_v4(vip);
        socket.set_port(origin.vip_port());
    }
    ALLOW
}

/// getpeername() of an IPv6 socket.
#[inline(always)]
pub fn getpeername6(socket: &SockAddr) -> i32 {
    if let Some(origin) = connected(socket, socket.addr_v6()) {
        socket.set_addr_v6(origin.vip());
        socket.set_port(origin.vip_port());
    }
    ALLOW
}

/// What the socket dialled, when it is still connected to the backend chosen then: to `peer` and the port of the call.
#[inline(always)]
fn connected(socket: &SockAddr, peer: [u32; 4]) -> Option<SocketOrigin> {
    socket.origin().filter(|origin| origin.backend() == peer && origin.backend_port() == socket.port())
}
