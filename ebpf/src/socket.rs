//! The socket entrance: TCP is translated at connect(), once, and costs nothing per packet.
//!
//! What is declined meets the device entrance, if the socket is a pod's. The node's own packets do not pass there yet: what
//! they are declined here goes out untranslated.
use crate::family::{Family, MAPPED, V4, V6};
use crate::select::{Chosen, Decision, Dialled, Set, dialled as look_up, pick};
use crate::sys::SockAddr;
use crate::sys::kernel::{SocketLb, count, has_set_retval, host_netns, socket_lb};
use sheave_abi::{Counter, IPPROTO_TCP, NetPort, Origin};
use zerocopy::transmute;

const ECONNREFUSED: i32 = 111;
/// What a program of these hooks returns.
const ALLOW: i32 = 1;
const DENY: i32 = 0;

/// connect() of an IPv4 socket.
#[inline(always)]
pub fn connect4(socket: &SockAddr) -> i32 {
    if !is_served(socket) {
        return ALLOW;
    }
    match decide::<V4>(socket, socket.addr_v4(), socket.is_bound_v4()) {
        Answer::Translate(addr, port) => {
            socket.set_addr_v4(addr);
            socket.set_port(port);
            ALLOW
        }
        Answer::Leave => ALLOW,
        Answer::Refuse => DENY,
    }
}

/// connect() of an IPv6 socket: to an IPv6 address, or to an IPv4 one in its mapped form, as Java and Go do.
#[inline(always)]
pub fn connect6(socket: &SockAddr) -> i32 {
    if !is_served(socket) {
        return ALLOW;
    }
    let addr = socket.addr_v6();
    let decision = match unmapped(addr) {
        Some(addr) => match decide::<V4>(socket, addr, socket.is_bound_v6()) {
            Answer::Translate(addr, port) => Answer::Translate(V4::to_mapped(addr), port),
            Answer::Leave => Answer::Leave,
            Answer::Refuse => Answer::Refuse,
        },
        None => decide::<V6>(socket, addr, socket.is_bound_v6()),
    };
    match decision {
        Answer::Translate(addr, port) => {
            socket.set_addr_v6(addr);
            socket.set_port(port);
            ALLOW
        }
        Answer::Leave => ALLOW,
        Answer::Refuse => DENY,
    }
}

/// getpeername() of an IPv4 socket shows what was dialled.
#[inline(always)]
pub fn getpeername4(socket: &SockAddr) -> i32 {
    if let Some(origin) = dialled(socket, V4::to_mapped(socket.addr_v4()))
        && let Some(vip) = unmapped(transmute!(origin.vip))
    {
        socket.set_addr_v4(vip);
        socket.set_port(origin.vip_port);
    }
    ALLOW
}

/// getpeername() of an IPv6 socket shows what was dialled.
#[inline(always)]
pub fn getpeername6(socket: &SockAddr) -> i32 {
    if let Some(origin) = dialled(socket, socket.addr_v6()) {
        socket.set_addr_v6(transmute!(origin.vip));
        socket.set_port(origin.vip_port);
    }
    ALLOW
}

enum Answer<A> {
    Translate(A, NetPort),
    Leave,
    Refuse,
}

/// TCP only (MPTCP is another protocol here), and only in the namespaces the configuration names.
#[inline(always)]
fn is_served(socket: &SockAddr) -> bool {
    socket.protocol() == u32::from(IPPROTO_TCP)
        && match socket_lb() {
            SocketLb::Off => false,
            SocketLb::Host => is_hosts(socket),
            SocketLb::All => true,
        }
}

/// True for the node's own sockets.
#[inline(always)]
fn is_hosts(socket: &SockAddr) -> bool {
    socket.netns_cookie() == host_netns()
}

#[inline(always)]
fn decide<F: Family>(socket: &SockAddr, addr: F::Addr, is_bound: bool) -> Answer<F::Addr> {
    let port = socket.port();
    let mut backend = Chosen::none();
    let decision = match look_up::<F>(&addr, port, IPPROTO_TCP) {
        Dialled::Frontend { service, .. } => pick::<F>(service, Set::Cluster, None, &mut backend),
        Dialled::Claimed => Decision::Reject,
        Dialled::Own | Dialled::Nothing => {
            socket.forget();
            return Answer::Leave;
        }
    };
    match decision {
        // A bound source may not reach the backend, and was chosen for the VIP's route.
        _ if is_bound => decline(socket),
        Decision::Raced | Decision::Drop => decline(socket),
        Decision::Reject if has_set_retval() => {
            count(Counter::SocketReject);
            socket.set_errno(ECONNREFUSED);
            Answer::Refuse
        }
        // Without bpf_set_retval (5.18) the caller sees EPERM: for the node's own sockets better than to wait for nothing.
        Decision::Reject if is_hosts(socket) => {
            count(Counter::SocketReject);
            Answer::Refuse
        }
        // For a pod's the device entrance sends a reset.
        Decision::Reject => decline(socket),
        Decision::Forward => {
            let origin = Origin {
                vip: transmute!(F::to_mapped(addr)),
                backend: transmute!(F::to_mapped(backend.addr)),
                vip_port: port,
                backend_port: backend.port,
                zero: [0; 4],
            };
            if !socket.remember(&origin) {
                return decline(socket);
            }
            count(Counter::SocketForward);
            Answer::Translate(backend.addr, backend.port)
        }
    }
}

#[inline(always)]
fn decline<A>(socket: &SockAddr) -> Answer<A> {
    // A call before this one may have been translated, and have failed.
    socket.forget();
    count(Counter::SocketDecline);
    Answer::Leave
}

/// What the socket dialled, when it is still connected to the backend chosen then.
#[inline(always)]
fn dialled(socket: &SockAddr, peer: [u32; 4]) -> Option<Origin> {
    let origin = socket.origin()?;
    let backend: [u32; 4] = transmute!(origin.backend);
    if backend == peer && origin.backend_port == socket.port() { Some(origin) } else { None }
}

/// The IPv4 address in a v4-mapped one.
#[inline(always)]
fn unmapped(addr: [u32; 4]) -> Option<u32> {
    match addr {
        [0, 0, MAPPED, addr] => Some(addr),
        _ => None,
    }
}
