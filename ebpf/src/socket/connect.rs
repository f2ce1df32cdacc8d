//! connect(): TCP and UDP are translated once, for as long as the socket stays connected.
use super::{Address, Answer, Call, Placed, answer_v4, answer_v6, place, unmapped};
use crate::family::{V4, V6};
use crate::select::{Chosen, Dialled, dialled};
use crate::sys::SockAddr;
use crate::sys::kernel::count;
use sheave_abi::{Counter, Origin};
use zerocopy::transmute;

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

#[inline(always)]
fn connect<F: Address>(socket: &SockAddr, addr: F::Addr, source: F::Addr) -> Answer<F::Addr> {
    let Some(call) = Call::of::<F>(socket, addr, source) else { return Answer::Leave };
    let answer = decide::<F>(socket, &call);
    // A call before this one may have been translated, and have failed.
    if !matches!(answer, Answer::Translate(..)) {
        socket.forget();
    }
    answer
}

#[inline(always)]
fn decide<F: Address>(socket: &SockAddr, call: &Call<F::Addr>) -> Answer<F::Addr> {
    let (service, kind) = match dialled::<F>(&call.addr, call.port, call.protocol) {
        Dialled::Frontend { service, kind } => (service, kind),
        Dialled::Claimed => return Answer::rejected(socket, call.owner),
        Dialled::Own | Dialled::Nothing => return Answer::Leave,
    };
    let mut backend = Chosen::none();
    match place::<F>(call, service, kind, &mut backend) {
        Placed::Decline => Answer::declined(),
        Placed::Drop => Answer::dropped(),
        Placed::Reject => Answer::rejected(socket, call.owner),
        Placed::Forward => {
            let origin = Origin {
                vip: transmute!(F::to_mapped(call.addr)),
                backend: transmute!(F::to_mapped(backend.addr)),
                vip_port: call.port,
                backend_port: backend.port,
                service,
                backend_id: backend.id,
                zero: [0; 4],
            };
            if !socket.remember(&origin) {
                return Answer::declined();
            }
            count(Counter::SocketForward);
            Answer::Translate(backend.addr, backend.port)
        }
    }
}
