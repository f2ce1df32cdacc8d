//! sendmsg() and recvmsg() with an address: UDP sockets of the node that are not connected, or send elsewhere all the same.
//!
//! What a socket sends to one VIP is a flow: it stays on its backend for as long as that serves and the flow is not idle (E9, L2).
//! Which VIP an answer is from the flow's other entry says. Both ends of a flow have to differ from those of the socket's
//! others; where two VIPs lead it to one backend, the second flow is left to the device, which gives it another source port.
use super::{ALLOW, Address, Answer, Call, Placed, answer_v4, answer_v6, is_nodes, place, read, unmapped};
use crate::family::{Family as _, V4, V6};
use crate::select::{Chosen, Dialled, dialled, still_serves};
use crate::sys::kernel::{count, now_ns};
use crate::sys::socket_flows::SocketFlow;
use crate::sys::{SockAddr, flow_counts, socket_flows};
use sheave_abi::{Counter, NetPort, SOCKET_RECEIVES, SOCKET_SENDS, SocketFlowKey, SocketFlowValue};
use zerocopy::transmute;

/// sendmsg() to an IPv4 address. The kernel takes an IPv6 socket here, too, when it sends to a v4-mapped address.
#[inline(always)]
pub fn sendmsg4(socket: &SockAddr) -> i32 {
    let mut call = Call::none();
    if !read_v4(socket, &mut call) {
        return ALLOW;
    }
    answer_v4(socket, &send::<V4>(socket, &call))
}

/// sendmsg() to an IPv6 address.
#[inline(always)]
pub fn sendmsg6(socket: &SockAddr) -> i32 {
    let mut call = Call::none();
    if !read_v6(socket, &mut call) {
        return ALLOW;
    }
    answer_v6::<V6>(socket, &send::<V6>(socket, &call))
}

/// Functions of their own, for their own part of the stack.
#[inline(never)]
fn read_v4(socket: &SockAddr, call: &mut Call<u32>) -> bool {
    read::<V4>(socket, socket.addr_v4(), socket.message_source_v4(), call)
}

#[inline(never)]
fn read_v6(socket: &SockAddr, call: &mut Call<[u32; 4]>) -> bool {
    read::<V6>(socket, socket.addr_v6(), socket.message_source_v6(), call)
}

/// recvmsg() of an IPv4 socket.
#[inline(always)]
pub fn recvmsg4(socket: &SockAddr) -> i32 {
    if let Some((vip, port)) = receive(socket, V4::to_mapped(socket.addr_v4()))
        && let Some(vip) = unmapped(vip)
    {
        socket.set_addr_v4(vip);
        socket.set_port(port);
    }
    ALLOW
}

/// recvmsg() of an IPv6 socket; what comes over IPv4 has a v4-mapped address.
#[inline(always)]
pub fn recvmsg6(socket: &SockAddr) -> i32 {
    if let Some((vip, port)) = receive(socket, socket.addr_v6()) {
        socket.set_addr_v6(vip);
        socket.set_port(port);
    }
    ALLOW
}

#[inline(always)]
fn send<F: Address>(socket: &SockAddr, call: &Call<F::Addr>) -> Answer<F::Addr> {
    let (service, kind) = match dialled::<F>(&call.addr, call.port, call.protocol) {
        Dialled::Frontend { service, kind } => (service, kind),
        Dialled::Claimed => return Answer::rejected(socket, call.owner, 0),
        Dialled::Own | Dialled::Nothing => return Answer::Leave,
    };
    let mut backend = Chosen::none();
    let sends = key(socket.cookie(), F::to_mapped(call.addr), call.port, SOCKET_SENDS);
    let known = known::<F>(socket, &sends, service, &mut backend);
    let placed = match known {
        Known::Whole => None,
        Known::Half => Some(Placed::Forward),
        Known::Not => Some(place::<F>(call, service, kind, &mut backend)),
    };
    match placed {
        None => {}
        Some(Placed::Decline) => return Answer::declined(),
        Some(Placed::Drop) => return Answer::dropped(service),
        Some(Placed::Reject) => return Answer::rejected(socket, call.owner, service),
        Some(Placed::Forward) => {
            if socket.new_origin().is_none() || !begin::<F>(&sends, &backend) {
                return Answer::declined();
            }
            if known == Known::Not {
                flow_counts::begun::<F>(service, backend.id);
            }
        }
    }
    count(Counter::SocketForward);
    Answer::Translate(backend.addr, backend.port)
}

/// What is there of a flow that goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Whole,
    /// The side that receives was evicted.
    Half,
    Not,
}

/// Fills in the backend of the flow that the datagram belongs to, if that goes on. A function of its own, for its own part of the
/// stack.
#[inline(never)]
fn known<F: Address>(socket: &SockAddr, sends: &SocketFlowKey, service: u32, backend: &mut Chosen<F::Addr>) -> Known {
    let vip: [u32; 4] = transmute!(sends.addr);
    backend.service = service;
    // Of a VIP that the socket is connected to: it takes answers from that backend only.
    if let Some(origin) = socket.origin()
        && (origin.service(), origin.vip_port()) == (service, sends.port)
        && origin.vip() == vip
    {
        (backend.addr, backend.port) = (F::from_mapped(origin.backend()), origin.backend_port());
        if still_serves::<F>(origin.backend_id(), service, backend.addr, backend.port) {
            return Known::Whole;
        }
    }
    let Some(to) = socket_flows::find(sends).filter(|to| to.service() == service) else { return Known::Not };
    let now_ns = now_ns();
    let is_idle = to.is_idle(now_ns);
    let receives = key(sends.cookie, to.addr(), to.port(), SOCKET_RECEIVES);
    (backend.id, backend.addr, backend.port) =
        (to.backend_id(), F::from_mapped(transmute!(receives.addr)), receives.port);
    if !still_serves::<F>(backend.id, service, backend.addr, backend.port) {
        return Known::Not;
    }
    to.touch(now_ns);
    match socket_flows::find(&receives) {
        Some(from) if is_idle && from.is_idle(now_ns) => Known::Not,
        Some(from) if leads_to(from, vip, sends.port) => Known::Whole,
        None if !is_idle => Known::Half,
        _ => Known::Not,
    }
}

/// Enters a new flow; false when it cannot be told from another one of the socket. The side that receives comes first: a flow
/// without it would show the backend.
#[inline(never)]
fn begin<F: Address>(sends: &SocketFlowKey, backend: &Chosen<F::Addr>) -> bool {
    let mut flow = SocketFlowValue {
        seen_ns: now_ns(),
        addr: sends.addr,
        port: sends.port,
        service: backend.service,
        backend_id: backend.id,
        ..SocketFlowValue::default()
    };
    let receives = key(sends.cookie, F::to_mapped(backend.addr), backend.port, SOCKET_RECEIVES);
    if !socket_flows::reserve(&receives, &flow) {
        // Where no device sees the flow, an answer that names the other VIP is better than none.
        let is_nodes = is_nodes::<F>(&F::from_mapped(transmute!(sends.addr)));
        if (is_taken(&receives, &flow) && !is_nodes) || !socket_flows::put(&receives, &flow) {
            return false;
        }
    }
    (flow.addr, flow.port) = (receives.addr, receives.port);
    socket_flows::put(sends, &flow)
}

/// Whether a flow to another VIP than that of `flow` has this side and goes on.
#[inline(never)]
fn is_taken(receives: &SocketFlowKey, flow: &SocketFlowValue) -> bool {
    let Some(held) = socket_flows::find(receives) else { return false };
    let (vip, port) = (held.addr(), held.port());
    if (vip, port) == (transmute!(flow.addr), flow.port) {
        return false;
    }
    let sends = key(receives.cookie, vip, port, SOCKET_SENDS);
    socket_flows::find(&sends).is_some_and(|other| {
        leads_to(other, transmute!(receives.addr), receives.port)
            && !(held.is_idle(flow.seen_ns) && other.is_idle(flow.seen_ns))
    })
}

#[inline(always)]
fn leads_to(flow: SocketFlow, addr: [u32; 4], port: NetPort) -> bool {
    flow.addr() == addr && flow.port() == port
}

#[inline(always)]
fn key(cookie: u64, addr: [u32; 4], port: NetPort, side: u8) -> SocketFlowKey {
    SocketFlowKey { cookie, addr: transmute!(addr), port, side, zero: [0; 5] }
}

/// What a datagram's sender is to be called; `None` for one that is no backend of a flow of the socket.
#[inline(always)]
fn receive(socket: &SockAddr, sender: [u32; 4]) -> Option<([u32; 4], NetPort)> {
    // Only sockets that have dialled a VIP have one, so that it costs the others nothing more.
    let origin = socket.origin()?;
    let port = socket.port();
    if origin.backend() == sender && origin.backend_port() == port {
        return Some((origin.vip(), origin.vip_port()));
    }
    let receives = key(socket.cookie(), sender, port, SOCKET_RECEIVES);
    let from = socket_flows::find(&receives)?;
    let vip = (from.addr(), from.port());
    from.touch(now_ns());
    from.is_still(&receives).then_some(vip)
}
