//! sendmsg() and recvmsg() with an address: UDP sockets of the node that are not connected, or send elsewhere all the same.
//!
//! What a socket sends to one VIP is a flow: it stays on its backend for as long as that serves and the flow is not idle (E9, L2).
//! Which VIP an answer is from the flow's other entry says. Both ends of a flow have to differ from those of the socket's
//! others; where two VIPs lead it to one backend, the second flow is left to the device, which gives it another source port.
use super::{ALLOW, Address, Answer, Call, Placed, answer_v4, answer_v6, is_own_address, place, unmapped};
use crate::family::{Family as _, V4, V6};
use crate::select::{Chosen, Dialled, dialled, still_serves};
use crate::sys::kernel::{count, now_ns};
use crate::sys::{SockAddr, socket_flows};
use sheave_abi::{Counter, NetPort, SOCKET_RECEIVES, SOCKET_SENDS, SocketFlowKey, SocketFlowValue};
use zerocopy::transmute;

/// sendmsg() to an IPv4 address. The kernel takes an IPv6 socket here, too, when it sends to a v4-mapped address.
#[inline(always)]
pub fn sendmsg4(socket: &SockAddr) -> i32 {
    answer_v4(socket, &send::<V4>(socket, socket.addr_v4(), socket.message_source_v4()))
}

/// sendmsg() to an IPv6 address.
#[inline(always)]
pub fn sendmsg6(socket: &SockAddr) -> i32 {
    answer_v6::<V6>(socket, &send::<V6>(socket, socket.addr_v6(), socket.message_source_v6()))
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
fn send<F: Address>(socket: &SockAddr, addr: F::Addr, source: F::Addr) -> Answer<F::Addr> {
    let Some(call) = Call::of::<F>(socket, addr, source) else { return Answer::Leave };
    let (service, kind) = match dialled::<F>(&call.addr, call.port, call.protocol) {
        Dialled::Frontend { service, kind } => (service, kind),
        Dialled::Claimed => return Answer::rejected(socket, call.owner),
        Dialled::Own | Dialled::Nothing => return Answer::Leave,
    };
    let mut backend = Chosen::none();
    if !connected::<F>(socket, &call, service, &mut backend) {
        let cookie = socket.cookie();
        if !known::<F>(cookie, &call, service, &mut backend) {
            match place::<F>(&call, service, kind, &mut backend) {
                Placed::Decline => return Answer::declined(),
                Placed::Drop => return Answer::dropped(),
                Placed::Reject => return Answer::rejected(socket, call.owner),
                Placed::Forward if !socket.mark() || !begin::<F>(cookie, &call, &backend) => return Answer::declined(),
                Placed::Forward => {}
            }
        }
    }
    count(Counter::SocketForward);
    Answer::Translate(backend.addr, backend.port)
}

/// The backend that the socket is connected to, if this VIP led there: it takes answers from no other.
#[inline(always)]
fn connected<F: Address>(
    socket: &SockAddr,
    call: &Call<F::Addr>,
    service: u32,
    backend: &mut Chosen<F::Addr>,
) -> bool {
    let Some(origin) = socket.origin() else { return false };
    let vip: [u32; 4] = transmute!(origin.vip);
    if origin.service != service || origin.vip_port != call.port || vip != F::to_mapped(call.addr) {
        return false;
    }
    (backend.id, backend.addr, backend.port) =
        (origin.backend_id, F::from_mapped(transmute!(origin.backend)), origin.backend_port);
    still_serves::<F>(origin.backend_id, service, backend.addr, backend.port)
}

/// The backend of the flow that the datagram belongs to, if that goes on.
#[inline(never)]
fn known<F: Address>(cookie: u64, call: &Call<F::Addr>, service: u32, backend: &mut Chosen<F::Addr>) -> bool {
    let (now_ns, vip) = (now_ns(), F::to_mapped(call.addr));
    let mut to = SocketFlowValue::default();
    if !socket_flows::find_and_touch(&key(cookie, vip, call.port, SOCKET_SENDS), &mut to, now_ns) || to.service != service {
        return false;
    }
    (backend.id, backend.addr, backend.port) = (to.backend_id, F::from_mapped(transmute!(to.addr)), to.port);
    if !still_serves::<F>(to.backend_id, service, backend.addr, backend.port) {
        return false;
    }
    let receives = key(cookie, transmute!(to.addr), to.port, SOCKET_RECEIVES);
    let mut from = SocketFlowValue::default();
    if socket_flows::find(&receives, &mut from) {
        let alive = !socket_flows::is_idle(&to, now_ns) || !socket_flows::is_idle(&from, now_ns);
        return alive && leads_to(&from, vip, call.port);
    }
    // Evicted.
    from = SocketFlowValue { seen_ns: now_ns, addr: transmute!(vip), port: call.port, ..to };
    !socket_flows::is_idle(&to, now_ns) && socket_flows::reserve(&receives, &from)
}

/// Enters a new flow; false when it cannot be told from another one of the socket. The side that receives comes first: a flow
/// without it would show the backend.
#[inline(never)]
fn begin<F: Address>(cookie: u64, call: &Call<F::Addr>, backend: &Chosen<F::Addr>) -> bool {
    let (now_ns, vip) = (now_ns(), F::to_mapped(call.addr));
    let mut flow = SocketFlowValue {
        seen_ns: now_ns,
        addr: transmute!(vip),
        port: call.port,
        service: backend.service,
        backend_id: backend.id,
        ..SocketFlowValue::default()
    };
    let at = F::to_mapped(backend.addr);
    let receives = key(cookie, at, backend.port, SOCKET_RECEIVES);
    // Where no device sees the flow, an answer that names the other VIP is better than none.
    let is_free = socket_flows::reserve(&receives, &flow)
        || ((!is_taken(&receives, &flow, now_ns) || is_own_address::<F>(call)) && socket_flows::put(&receives, &flow));
    (flow.addr, flow.port) = (transmute!(at), backend.port);
    is_free && socket_flows::put(&key(cookie, vip, call.port, SOCKET_SENDS), &flow)
}

/// Whether a flow to another VIP than that of `flow` has this side and goes on.
#[inline(always)]
fn is_taken(receives: &SocketFlowKey, flow: &SocketFlowValue, now_ns: u64) -> bool {
    let (mut held, mut other) = (SocketFlowValue::default(), SocketFlowValue::default());
    if !socket_flows::find(receives, &mut held) || leads_to(&held, transmute!(flow.addr), flow.port) {
        return false;
    }
    let sends = key(receives.cookie, transmute!(held.addr), held.port, SOCKET_SENDS);
    socket_flows::find(&sends, &mut other)
        && leads_to(&other, transmute!(receives.addr), receives.port)
        && !(socket_flows::is_idle(&held, now_ns) && socket_flows::is_idle(&other, now_ns))
}

#[inline(always)]
fn leads_to(flow: &SocketFlowValue, addr: [u32; 4], port: NetPort) -> bool {
    let held: [u32; 4] = transmute!(flow.addr);
    held == addr && flow.port == port
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
    let (backend, port): ([u32; 4], NetPort) = (transmute!(origin.backend), socket.port());
    if backend == sender && origin.backend_port == port {
        return Some((transmute!(origin.vip), origin.vip_port));
    }
    let mut from = SocketFlowValue::default();
    let receives = key(socket.cookie(), sender, port, SOCKET_RECEIVES);
    socket_flows::find_and_touch(&receives, &mut from, now_ns()).then(|| (transmute!(from.addr), from.port))
}
