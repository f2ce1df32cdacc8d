//! connect(): TCP and UDP are translated once, for as long as the socket stays connected.
use super::{ALLOW, Address, Answer, Call, Placed, answer_v4, answer_v6, place, read, unmapped};
use crate::family::{V4, V6};
use crate::select::{Chosen, Dialled, dialled};
use crate::sys::kernel::count;
use crate::sys::{Closing, SockAddr, flow_counts, socket_flows};
use sheave_abi::{Counter, IPPROTO_UDP, NetPort};

/// connect() of an IPv4 socket, or of an IPv6 one to an IPv4 address.
#[inline(always)]
pub fn connect4(socket: &SockAddr) -> i32 {
    answer_v4(socket, &connect::<V4>(socket, socket.addr_v4(), socket.source_v4()))
}

/// connect() of an IPv6 socket: to an IPv6 address, or to an IPv4 one in its mapped form, as Java and Go do.
#[inline(always)]
pub fn connect6(socket: &SockAddr) -> i32 {
    let addr = socket.addr_v6();
    match unmapped(addr) {
        Some(addr) => answer_v6::<V4>(socket, &connect::<V4>(socket, addr, socket.source_v4())),
        // A socket that is bound to ::ffff:0.0.0.0 reaches no IPv6 address; it may count as bound.
        None => answer_v6::<V6>(socket, &connect::<V6>(socket, addr, socket.source_v6())),
    }
}

/// close() of a socket.
#[inline(always)]
pub fn sock_release(socket: &Closing) -> i32 {
    if socket.protocol() == u32::from(IPPROTO_UDP) {
        socket_flows::forget(socket.cookie());
    }
    ALLOW
}

#[inline(always)]
fn connect<F: Address>(socket: &SockAddr, addr: F::Addr, source: F::Addr) -> Answer<F::Addr> {
    let mut call = Call::none();
    if !read::<F>(socket, addr, source, &mut call) {
        return Answer::Leave;
    }
    let answer = decide::<F>(socket, &call);
    // A call before this one may have been translated, and have failed.
    if !matches!(answer, Answer::Translate(..))
        && let Some(origin) = socket.origin()
    {
        origin.set_backend_port(NetPort::ANY);
    }
    answer
}

#[inline(always)]
fn decide<F: Address>(socket: &SockAddr, call: &Call<F::Addr>) -> Answer<F::Addr> {
    let (service, kind) = match dialled::<F>(&call.addr, call.port, call.protocol) {
        Dialled::Frontend { service, kind } => (service, kind),
        Dialled::Claimed => return Answer::rejected(socket, call.owner, 0),
        Dialled::Own | Dialled::Nothing => return Answer::Leave,
    };
    let mut backend = Chosen::none();
    match place::<F>(call, service, kind, &mut backend) {
        Placed::Decline => Answer::declined(),
        Placed::Drop => Answer::dropped(service),
        Placed::Reject => Answer::rejected(socket, call.owner, service),
        Placed::Forward => {
            let Some(origin) = socket.new_origin() else { return Answer::declined() };
            origin.set_vip(F::to_mapped(call.addr));
            origin.set_vip_port(call.port);
            origin.set_backend(F::to_mapped(backend.addr));
            origin.set_backend_port(backend.port);
            origin.set_service(service);
            origin.set_backend_id(backend.id);
            if call.protocol == IPPROTO_UDP && !origin.note(socket.cookie()) {
                return Answer::declined();
            }
            count(Counter::SocketForward);
            flow_counts::begun::<F>(service, backend.id);
            Answer::Translate(backend.addr, backend.port)
        }
    }
}
